//! Credits: computed from final entries by one function, never written and never moved.
//!
//! A confirmed hop whose latency delta shows a shorter time between tokens than its baseline pays the destination node a
//! lot of `credit_per_ms` credits for each millisecond, rounded down. Baseline and delta are reported by the two holders
//! themselves and not yet by tenants, so two operators that lie together can earn what they did not; hops within one
//! operator therefore earn nothing. Everything else earns 0, with the reason. A lot expires by height; the height is rounded up to
//! a multiple of a 64th of its life, so that lots merge and an account stays small.

use std::collections::BTreeMap;

use genesis::{Consortium, Node, Parameters};
use serde::{Deserialize, Serialize};
use wallet::{
    digest::Digest,
    grant::WalletAddress,
    units::{BlockHeight, KeyEpoch, Micros, NodeId},
};

use crate::{
    event::{Entry, Event},
    governance::{Action, ProposalEnacted, ProposalMade},
};

/// Fewer measured intervals than this say nothing.
pub const SAMPLES_MIN: u32 = 8;

/// What a hop earned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Award {
    /// The wallet that moved.
    pub wallet: WalletAddress,
    /// The epoch that the hop began.
    pub epoch: KeyEpoch,
    /// The destination.
    pub node: NodeId,
    /// Id of the entry that settled it: the delta, or the confirm of a hop without a baseline.
    pub entry: Digest,
    /// Height of that entry.
    pub at: BlockHeight,
    /// How much.
    pub earned: Earned,
}

/// A lot, or nothing for a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Earned {
    /// Credits.
    Lot(Lot),
    /// Nothing.
    Nothing(NothingEarned),
}

/// Credits that were earned together and expire together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lot {
    /// How many; at least 1.
    pub amount: u64,
    /// The first height at which they do not count any more.
    pub expires_at: BlockHeight,
}

/// Why a hop earned nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NothingEarned {
    /// The offer named no baseline.
    NoBaseline,
    /// Source and destination belong to one operator.
    SameOperator,
    /// Fewer than [`SAMPLES_MIN`] intervals before or after.
    TooFewSamples,
    /// Not at least 1 us and a tenth shorter.
    NotFaster,
    /// Faster, but by less than one credit.
    BelowOneCredit,
}

/// The unexpired lots of a node, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Lots that had not expired when the last one came, one for each height of expiry.
    pub lots: Vec<Lot>,
}

impl Account {
    /// What counts at `height`.
    pub fn balance(&self, height: BlockHeight) -> u64 {
        let valid = self.lots.iter().filter(|lot| lot.expires_at > height);
        valid.fold(0, |sum: u64, lot| sum.saturating_add(lot.amount))
    }

    /// Adds a lot at `height` and drops those that have expired by then.
    pub(crate) fn add(&mut self, lot: Lot, height: BlockHeight) {
        self.lots.retain(|lot| lot.expires_at > height);
        match self.lots.iter_mut().find(|held| held.expires_at == lot.expires_at) {
            Some(held) => held.amount = held.amount.saturating_add(lot.amount),
            None => self.lots.push(lot),
        }
    }
}

/// A measured latency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Latency {
    /// Median time between tokens.
    pub inter_token_p50: Micros,
    /// How many intervals were measured.
    pub samples: u32,
}

/// What a hop earns: the one function that makes credits. `same_operator` says whether source and destination are run by
/// one operator; `measured` is the baseline and the delta, none if the offer named no baseline; `at` is the height that
/// settles it.
pub fn settle(
    parameters: &Parameters,
    same_operator: bool,
    measured: Option<(Latency, Latency)>,
    at: BlockHeight,
) -> Earned {
    let Some((before, after)) = measured else { return Earned::Nothing(NothingEarned::NoBaseline) };
    if same_operator {
        return Earned::Nothing(NothingEarned::SameOperator);
    }
    if before.samples.min(after.samples) < SAMPLES_MIN {
        return Earned::Nothing(NothingEarned::TooFewSamples);
    }
    let before = before.inter_token_p50.get();
    let saved = before.saturating_sub(after.inter_token_p50.get());
    if saved < 1 || saved < before.div_ceil(10) {
        return Earned::Nothing(NothingEarned::NotFaster);
    }
    let amount = u128::from(saved) * u128::from(parameters.credit_per_ms) / 1_000;
    match u64::try_from(amount).unwrap_or(u64::MAX) {
        0 => Earned::Nothing(NothingEarned::BelowOneCredit),
        amount => {
            let life = parameters.credit_expiry_blocks;
            Earned::Lot(Lot { amount, expires_at: expiry(at, life) })
        }
    }
}

/// The height `life` after `at`, rounded up to a multiple of a 64th of `life`.
fn expiry(at: BlockHeight, life: u64) -> BlockHeight {
    let step = (life / 64).max(1);
    BlockHeight::new(at.get().saturating_add(life).div_ceil(step).saturating_mul(step))
}

/// What [`rederive`] gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rederived {
    /// By wallet and epoch.
    pub awards: BTreeMap<(WalletAddress, KeyEpoch), Award>,
    /// All nodes that are or were, by join index.
    pub nodes: Vec<Node>,
}

/// All awards, computed anew from final entries in their order, with the height of each. Reads nothing else, so it checks
/// the state that validators agreed on.
pub fn rederive<'a>(consortium: &Consortium, entries: impl IntoIterator<Item = (BlockHeight, &'a Entry)>) -> Rederived {
    let mut awards = BTreeMap::new();
    let mut baselines = BTreeMap::new();
    // By wallet: the baseline of the open offer, then source and baseline of the confirmed hop.
    let mut offered = BTreeMap::new();
    let mut confirmed = BTreeMap::new();
    let mut rules = Rules::new(consortium);
    for (at, entry) in entries {
        let mut award = |wallet, epoch, node, earned| {
            awards.insert((wallet, epoch), Award { wallet, epoch, node, entry: entry.id(), at, earned });
        };
        match &entry.body.event {
            Event::BaselineCommitted(event) => {
                let latency = Latency { inter_token_p50: event.inter_token_p50, samples: event.samples };
                baselines.insert(entry.id(), latency);
            }
            Event::MigrationOffered(event) => {
                offered.insert(event.wallet, event.baseline);
            }
            Event::KeyConfirmed(event) => {
                let ticket = &event.ticket.ticket;
                let baseline = offered.remove(&ticket.wallet).flatten();
                if baseline.is_none() {
                    let earned = rules.settle(ticket.source, ticket.receiver, None, at);
                    award(ticket.wallet, ticket.epoch, ticket.receiver, earned);
                }
                confirmed.insert(ticket.wallet, (ticket.source, baseline));
            }
            Event::LatencyDelta(event) => {
                let Some((source, Some(baseline))) = confirmed.get(&event.wallet) else { continue };
                let after = Latency { inter_token_p50: event.inter_token_p50, samples: event.samples };
                let measured = baselines.get(baseline).map(|before| (*before, after));
                let earned = rules.settle(*source, entry.body.author, measured, at);
                award(event.wallet, event.epoch, entry.body.author, earned);
            }
            Event::ProposalMade(event) => rules.propose(event),
            Event::ProposalEnacted(event) => rules.enact(event),
            _ => {}
        }
    }
    Rederived { awards, nodes: rules.nodes }
}

/// What credits depend on beside the hops, as governance changes it: the parameters, and who runs which node.
struct Rules {
    parameters: Parameters,
    nodes: Vec<Node>,
    proposed: BTreeMap<Digest, Vec<Action>>,
}

impl Rules {
    fn new(consortium: &Consortium) -> Self {
        let (parameters, nodes) = (consortium.parameters().clone(), consortium.nodes().to_vec());
        Self { parameters, nodes, proposed: BTreeMap::new() }
    }

    fn settle(&self, from: NodeId, to: NodeId, measured: Option<(Latency, Latency)>, at: BlockHeight) -> Earned {
        let operator = |node: NodeId| self.nodes.get(node.get() as usize).map(|node| &node.operator);
        settle(&self.parameters, operator(from) == operator(to), measured, at)
    }

    fn propose(&mut self, event: &ProposalMade) {
        self.proposed.insert(event.terms.digest(), event.terms.actions.clone());
    }

    fn enact(&mut self, event: &ProposalEnacted) {
        for action in self.proposed.remove(&event.proposal).unwrap_or_default() {
            match action {
                // Join indices are given in the order of the log.
                Action::AddNode { node, .. } => self.nodes.push(node),
                Action::SetParameter { name, to, .. } => {
                    if let Some(value) = self.parameters.get_mut(&name) {
                        *value = to;
                    }
                }
                Action::AddOperator { .. }
                | Action::Suspend(_)
                | Action::Reinstate { .. }
                | Action::Remove(_)
                | Action::RotateKey { .. }
                | Action::RevokeKey(_)
                | Action::GrantAuditor(_)
                | Action::RevokeAuditor(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests;
