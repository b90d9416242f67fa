//! The prefix router: which node answers a prompt, at request time.
//!
//! A node that holds a prompt's first blocks need not compute them again; the router knows which do, from their
//! engines' notices. The price of each node that may serve the request is R4's, with the prefill of what it does not
//! hold. Block keys are those of [`wallet::prefix`]: salted per tenant, so that one tenant's residency tells nothing
//! about another's prompts.

mod residency;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use wallet::{
    digest::Digest,
    prefix::BLOCK_TOKENS,
    units::{Micros, NodeId, Timestamp, TokenCount},
};

use crate::{
    load::{Load, ServedModel},
    refusal::Refusal,
    rules::{
        eligibility,
        price::{self, Offer},
    },
    situation::CandidateFacts,
    thresholds::Thresholds,
};
use residency::Residency;

/// How much the router remembers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RouterLimits {
    /// Blocks remembered for each node; beyond it, those stored longest ago are forgotten. Default 262144, which is 4
    /// million tokens.
    pub blocks_per_node_max: u32,
    /// A block counts as gone this long after it was last reported. Default 600 s, within which fall 94 % of all
    /// re-use in public conversation traces.
    pub residency_us_max: u64,
}

impl Default for RouterLimits {
    fn default() -> Self {
        Self { blocks_per_node_max: 262_144, residency_us_max: 600_000_000 }
    }
}

/// A request to be placed.
#[derive(Clone, Debug)]
pub struct RouteRequest<'a> {
    /// The model it asks for.
    pub model: ServedModel,
    /// Keys of the prompt's full blocks, in order, from [`wallet::prefix::block_hashes`].
    pub hashes: &'a [Digest],
    /// Tokens of the prompt.
    pub tokens: TokenCount,
    /// Nodes that the tenant's policy allows; empty allows nobody.
    pub allowed: &'a BTreeSet<NodeId>,
    /// Breaks ties, so that equal requests do not all go to one node; a hash of the request's id.
    pub subject: Digest,
}

/// Where a request goes, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Routed {
    /// The node.
    pub node: NodeId,
    /// Leading blocks of the prompt that it holds, as far as we know.
    pub matched_blocks: u32,
    /// Every node with a known load, in the order of their ids.
    pub considered: Vec<Considered>,
}

/// What the router made of one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Considered {
    /// The node.
    pub node: NodeId,
    /// Leading blocks of the prompt that it holds; 0 for a node that the policy does not allow, which is not looked up.
    pub matched_blocks: u32,
    /// Its price, or why it is out.
    pub price: Result<Micros, Refusal>,
}

/// Knows which node holds which blocks.
#[derive(Clone, Debug, Default)]
pub struct Router {
    limits: RouterLimits,
    thresholds: Thresholds,
    nodes: BTreeMap<NodeId, Residency>,
}

impl Router {
    /// A router that knows of no block yet.
    pub fn new(limits: RouterLimits, thresholds: Thresholds) -> Self {
        Self { limits, thresholds, nodes: BTreeMap::new() }
    }

    /// `node` holds these blocks: its engine stored them, or used them again.
    pub fn on_stored(&mut self, node: NodeId, hashes: &[Digest], now: Timestamp) {
        let expired_before = self.expired_before(now);
        let residency = self.nodes.entry(node).or_default();
        hashes.iter().for_each(|hash| residency.store(*hash, now));
        residency.shrink(self.limits.blocks_per_node_max, expired_before);
    }

    /// `node` holds these blocks no longer. Takes effect at once.
    pub fn on_removed(&mut self, node: NodeId, hashes: &[Digest]) {
        if let Some(residency) = self.nodes.get_mut(&node) {
            hashes.iter().for_each(|hash| residency.remove(hash));
        }
    }

    /// `node` holds nothing any more: it cleared its cache, restarted, or is out of contact.
    pub fn on_cleared(&mut self, node: NodeId) {
        self.nodes.remove(&node);
    }

    /// How many of the leading blocks `node` holds.
    pub fn matched_blocks(&self, node: NodeId, hashes: &[Digest], now: Timestamp) -> u32 {
        let Some(residency) = self.nodes.get(&node) else { return 0 };
        let expired_before = self.expired_before(now);
        let count = hashes.iter().take_while(|hash| residency.holds(hash, expired_before)).count();
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// Places a request on the cheapest node that may and can serve it.
    ///
    /// # Errors
    /// [`Refusal::NobodyEligible`] if there is none.
    pub fn route(
        &self,
        now: Timestamp,
        request: &RouteRequest<'_>,
        loads: &BTreeMap<NodeId, Load>,
    ) -> Result<Routed, Refusal> {
        let blocks = request.tokens.get().div_ceil(BLOCK_TOKENS as u32);
        let mut offers = Vec::new();
        let mut considered = Vec::new();
        for (&node, load) in loads {
            let allowed = request.allowed.contains(&node);
            let matched_blocks = if allowed { self.matched_blocks(node, request.hashes, now) } else { 0 };
            let candidate = CandidateFacts { allowed, ..load.matched(load.candidate(now), &request.model) };
            let price = match eligibility::unfit(&candidate, blocks, &self.thresholds) {
                Some(refusal) => Err(refusal),
                None => {
                    // The last token is computed in any case, to have something to sample from.
                    let known = matched_blocks.saturating_mul(BLOCK_TOKENS as u32);
                    let uncached = request.tokens.get().saturating_sub(known).max(1);
                    let price_us = price::price_us(&candidate, uncached, 0, &self.thresholds);
                    offers.push(Offer::new(node, &candidate, price_us, &request.subject));
                    Ok(Micros::new(price_us))
                }
            };
            considered.push(Considered { node, matched_blocks, price });
        }
        price::rank(&mut offers, self.thresholds.price_tie_ppm);
        let best = offers.first().ok_or(Refusal::NobodyEligible)?.node;
        let matched_blocks = considered.iter().find(|one| one.node == best).map_or(0, |one| one.matched_blocks);
        Ok(Routed { node: best, matched_blocks, considered })
    }

    fn expired_before(&self, now: Timestamp) -> Timestamp {
        Timestamp::new(now.get().saturating_sub(self.limits.residency_us_max / 1_000))
    }
}

#[cfg(test)]
mod tests;
