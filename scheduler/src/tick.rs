//! The tick: every 500 ms, what to do with each batch that this node holds.

use std::collections::{BTreeMap, BTreeSet};

use wallet::{
    grant::WalletAddress,
    units::{Micros, NodeId, Timestamp},
};

use crate::{
    action::Action,
    decision::{DecisionLog, LogHead, Logged},
    load::{Load, ServedModel},
    record::{BatchRecord, Identity, MemoryTier, RankedCandidate, Routing, Vitals},
    refusal::Refusal,
    rules::{self, Verdict},
    situation::{BatchFacts, CandidateFacts, NodeFacts, Situation, bounded, elapsed_us},
    thresholds::Thresholds,
};

/// Time between two ticks.
pub const TICK: Micros = Micros::new(500_000);

/// What the tick may see of a batch: C1, C3 and C4, and where the tenant's policy lets it go.
#[derive(Clone, Copy, Debug)]
pub struct TickView<'a> {
    identity: &'a Identity,
    vitals: &'a Vitals,
    routing: &'a Routing,
    allowed: &'a BTreeSet<NodeId>,
}

impl<'a> TickView<'a> {
    /// The view of `record`. `allowed` are the nodes for which the caller verified the policy's opening; empty allows
    /// nobody.
    pub fn new(record: &'a BatchRecord, allowed: &'a BTreeSet<NodeId>) -> Self {
        Self { identity: &record.identity, vitals: &record.vitals, routing: &record.routing, allowed }
    }
}

/// What one tick looks at, all of it measured.
#[derive(Clone, Debug)]
pub struct Snapshot<'a> {
    /// This node's own load.
    pub own: &'a Load,
    /// Whether this node has a host memory tier.
    pub host_tier: bool,
    /// The batches that this node holds.
    pub batches: Vec<TickView<'a>>,
    /// The last load of each other node.
    pub peers: &'a BTreeMap<NodeId, Load>,
    /// Moves in flight from or to this node, begun by whomever.
    pub hops: &'a [HopInFlight],
}

/// A move between this node and a peer that is neither confirmed nor aborted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HopInFlight {
    /// The other node.
    pub peer: NodeId,
    /// Whether the batch comes to this node.
    pub inbound: bool,
    /// Blocks that the batch takes.
    pub blocks: u32,
}

/// Applies the rules to every batch and logs what they decide.
#[derive(Clone, Debug)]
pub struct Scheduler {
    limits: Thresholds,
    log: DecisionLog,
    /// When each batch was last sent away; kept for as long as the cool-down lasts.
    sent: BTreeMap<WalletAddress, Timestamp>,
}

impl Scheduler {
    /// A scheduler whose log goes on after `head`.
    pub fn new(limits: Thresholds, head: LogHead) -> Self {
        Self { limits, log: DecisionLog::resume(head), sent: BTreeMap::new() }
    }

    /// The end of the decision log, to be anchored.
    pub fn log_head(&self) -> LogHead {
        self.log.head()
    }

    /// One tick. Each effect is a decision to store and then to carry out; a batch without one is kept.
    ///
    /// A batch for which something is being done already ([`Routing::next`]) is left alone.
    pub fn step(&mut self, now: Timestamp, snapshot: &Snapshot<'_>, effects: &mut Vec<Logged>) {
        let cool_down_us = self.limits.cool_down_us;
        self.sent.retain(|_, at| elapsed_us(now, *at) < cool_down_us);
        let mut loads = Projection::of(now, snapshot);
        let mut batches = snapshot.batches.clone();
        // Whom a move disturbs least comes first.
        batches.sort_by_key(|batch| (batch.vitals.phase.decoding, batch.identity.wallet));
        for batch in batches.iter().filter(|batch| batch.routing.next.is_none()) {
            let situation = self.situation(now, batch, snapshot.host_tier, &loads);
            if let Some(verdict) = rules::decide(&situation) {
                loads.project(&situation.batch, verdict.chosen);
                effects.push(self.log(now, &situation, verdict));
            }
        }
    }

    /// Where each batch could go, best first: to be written into its C4.
    pub fn rank_candidates(
        &self,
        now: Timestamp,
        snapshot: &Snapshot<'_>,
    ) -> BTreeMap<WalletAddress, Vec<RankedCandidate>> {
        let loads = Projection::of(now, snapshot);
        let ranked =
            |batch: &TickView<'_>| rules::rank_candidates(&self.situation(now, batch, snapshot.host_tier, &loads));
        snapshot.batches.iter().map(|batch| (batch.identity.wallet, ranked(batch))).collect()
    }

    /// The operator's command, logged as a decision like any other.
    ///
    /// # Errors
    /// [`Refusal`] with its code if nobody may do this (R2), or if the batch is unknown or being moved already.
    pub fn command(
        &mut self,
        now: Timestamp,
        snapshot: &Snapshot<'_>,
        wallet: WalletAddress,
        action: Action,
    ) -> Result<Logged, Refusal> {
        let batch = snapshot.batches.iter().find(|batch| batch.identity.wallet == wallet);
        let batch = batch.ok_or(Refusal::BatchUnknown)?;
        if batch.routing.next.is_some() {
            return Err(Refusal::HopInFlight);
        }
        // The tenant's word comes before what is known of a node: it holds for nodes of which nothing is known, too.
        if action.destination().is_some_and(|to| !batch.allowed.contains(&to)) {
            return Err(Refusal::NotAllowed);
        }
        let situation = self.situation(now, batch, snapshot.host_tier, &Projection::of(now, snapshot));
        let verdict = rules::command(&situation, action)?;
        Ok(self.log(now, &situation, verdict))
    }

    fn log(&mut self, now: Timestamp, situation: &Situation, verdict: Verdict) -> Logged {
        if verdict.chosen.destination().is_some() {
            self.sent.insert(situation.wallet, now);
        }
        self.log.append(now, situation.wallet, situation.inputs(), verdict)
    }

    fn situation(&self, now: Timestamp, batch: &TickView<'_>, host_tier: bool, loads: &Projection<'_>) -> Situation {
        let TickView { identity, vitals, routing, allowed } = batch;
        let arrived = routing.hops.last().map(|hop| hop.at);
        let sent = self.sent.get(&identity.wallet).copied();
        let facts = BatchFacts {
            decoding: vitals.phase.decoding,
            request_waits: vitals.phase.request_waits,
            in_engine: vitals.tier == MemoryTier::Engine,
            in_host_memory: vitals.tier == MemoryTier::Host,
            host_tier,
            idle_us: elapsed_us(now, vitals.active_at),
            ttl_us: bounded(vitals.ttl.get()),
            blocks_count: routing.move_cost.blocks,
            move_bytes: bounded(routing.move_cost.bytes.get()),
            tail_bytes: bounded(routing.move_cost.tail_bytes.get()),
            step_us: vitals.step.map(|step| bounded(step.get())),
            since_hop_us: arrived.max(sent).map(|at| elapsed_us(now, at)),
        };
        let model = ServedModel { model: identity.model, numerics: identity.numerics };
        Situation {
            wallet: identity.wallet,
            batch: facts,
            source: loads.source,
            candidates: loads.peers.iter().map(|(&node, peer)| (node, peer.for_batch(node, &model, allowed))).collect(),
            limits: self.limits.clone(),
        }
    }
}

/// Loads as they will be when the moves in flight and this tick's decisions are done.
struct Projection<'a> {
    source: NodeFacts,
    peers: BTreeMap<NodeId, Peer<'a>>,
}

struct Peer<'a> {
    load: &'a Load,
    facts: CandidateFacts,
}

impl<'a> Projection<'a> {
    fn of(now: Timestamp, snapshot: &Snapshot<'a>) -> Self {
        let peers = snapshot.peers.iter().map(|(&node, load)| (node, Peer { load, facts: load.candidate(now) }));
        let mut projection = Self { source: snapshot.own.facts(), peers: peers.collect() };
        for hop in snapshot.hops {
            let (from_source, to_source) = if hop.inbound { (0, hop.blocks) } else { (hop.blocks, 0) };
            projection.source.shift(from_source, to_source);
            projection.hop(hop.peer, to_source, from_source);
        }
        projection
    }

    /// Takes what was just decided into account.
    fn project(&mut self, batch: &BatchFacts, chosen: Action) {
        let held = if batch.in_engine { batch.blocks_count } else { 0 };
        match chosen {
            Action::Keep => {}
            Action::Promote => self.source.shift(0, batch.blocks_count),
            Action::Demote | Action::Suspend | Action::Evict => self.source.shift(held, 0),
            Action::Migrate { to } => {
                self.source.shift(held, 0);
                self.hop(to, 0, batch.blocks_count);
            }
        }
    }

    fn hop(&mut self, node: NodeId, freed: u32, taken: u32) {
        if let Some(Peer { facts, .. }) = self.peers.get_mut(&node) {
            let mut pool = facts.pool();
            pool.shift(freed, taken);
            facts.blocks_free_count = pool.blocks_free_count;
            facts.hops_in_flight_count = facts.hops_in_flight_count.saturating_add(1);
        }
    }
}

impl Peer<'_> {
    fn for_batch(&self, node: NodeId, model: &ServedModel, allowed: &BTreeSet<NodeId>) -> CandidateFacts {
        CandidateFacts { allowed: allowed.contains(&node), ..self.load.matched(self.facts.clone(), model) }
    }
}

#[cfg(test)]
mod tests;
