//! How a replica stands, for people and dashboards.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError},
    time::Duration,
};

use genesis::ValidatorSet;
use wallet::units::{BlockHeight, NodeId, Timestamp};

pub use super::resumption::Custody;
use super::{fault::Fault, lineage::Lineage, shared::Shared};
use crate::{block::View, finality::Status, state::Standing};

/// How a replica stands.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Which node it is.
    pub me: NodeId,
    /// What the final state says that this node may do; none if it is no node.
    pub standing: Option<Standing>,
    /// Who votes for the next block.
    pub validators: ValidatorSet,
    /// Who leads, as far as this node knows.
    pub leader: Option<NodeId>,
    /// The term that this node is in.
    pub term: u64,
    /// The final height.
    pub final_height: BlockHeight,
    /// How long nothing newer has become final here.
    pub final_age: Duration,
    /// How many entries the last final block had that became final since the start.
    pub final_block_entries: u64,
    /// Whether the final block, or the one that is voted on, closes its epoch.
    pub is_closing: bool,
    /// Raft entries that are in the log but not final.
    pub raft_entries_not_final: u64,
    /// Entries that this node submitted and that are neither final nor refused.
    pub entries_open: usize,
    /// How long the first of them has waited.
    pub entries_open_for: Duration,
    /// Entries that wait here for this node to put them into blocks, as the leader.
    pub entries_queued: usize,
    /// In which lineage this node is.
    pub lineage: Lineage,
    /// In which lineages other nodes said last that they are.
    pub peer_lineages: BTreeMap<NodeId, Lineage>,
    /// The lineage for which the others left this one: more of the validators than may lie say that they are in it. This
    /// node waits for them in vain, and its operator decides whether it takes that re-genesis.
    pub left_for: Option<Lineage>,
    /// Final heights that other nodes told last.
    pub peers: BTreeMap<NodeId, BlockHeight>,
    /// How long ago each of the other validators was heard; or since when this replica runs, if it never was.
    pub unheard_for: BTreeMap<NodeId, Duration>,
    /// Whom this node last asked for what it missed.
    pub fetching_from: Option<NodeId>,
    /// Whether this node signs with its key. It does not before it knows that its vote record is the last one. Whether its
    /// vote counts, the validator set says.
    pub votes: bool,
    /// Why it does, or does not.
    pub custody: Custody,
    /// By how much the time of the block that came last was ahead of this node's clock, in ms; negative if behind.
    pub block_skew_ms: i64,
    /// How much it may be ahead, and behind, in ms.
    pub clock_limits_ms: (u64, u64),
    /// How often leaders' messages and peers' words were held back, by the name of the rule, since the start.
    pub held_back: BTreeMap<&'static str, u64>,
    /// Promises of leaders that are kept here because their blocks are not final.
    pub promises: usize,
    /// In how many blocks of this term the first of these is due.
    pub promise_due_blocks: Option<u64>,
    /// Heights of the states that are kept for those who join.
    pub pinned: Vec<BlockHeight>,
    /// Signatures of entries that this node verified since its start. Each is verified once.
    pub signatures_verified: u64,
    /// The voter's own words.
    pub finality: Status,
    /// Since when and why nothing becomes final although something waits.
    pub stalled: Option<Stalled>,
    /// What stopped this replica.
    pub fault: Option<Arc<Fault>>,
}

/// Something waits to become final.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stalled {
    /// When the last block became final here, by this node's clock.
    pub since: Timestamp,
    /// In words.
    pub reason: String,
    /// Validators whose vote is missing, or the leader that proposes nothing.
    pub missing: Vec<NodeId>,
}

impl Shared {
    pub(crate) fn metrics(&self) -> Metrics {
        let finality = self.status.borrow().clone();
        let final_index = self.final_at.borrow().map_or(0, |at| at.index + 1);
        let raft_entries_not_final = self.log.end().index().map_or(0, |last| last + 1).saturating_sub(final_index);
        let (tip, observed) = (self.tip.borrow().clone(), &self.observed);
        let validators = tip.validators();
        let parameters = tip.state.parameters();
        let others = validators.members.iter().map(|(node, _)| *node).filter(|node| *node != self.me);
        let (entries_open, entries_open_for) = self.outbox.waiting();
        let (promises, promise_due_blocks) = self.promises.kept(tip.view);
        Metrics {
            me: self.me,
            standing: tip.state.node(self.me).map(|record| record.standing),
            leader: self.leader(),
            term: self.terms.entered().term,
            final_height: finality.height,
            final_age: Duration::from_millis(self.clock.now().get().saturating_sub(finality.since.get())),
            final_block_entries: observed.block_entries(),
            is_closing: tip.is_closing() || finality.open.as_ref().is_some_and(|open| open.is_closing),
            raft_entries_not_final,
            entries_open,
            entries_open_for,
            entries_queued: self.queue.len(),
            lineage: self.lineage,
            peer_lineages: observed.lineages(),
            left_for: self.left_for(),
            peers: self.peers.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            unheard_for: observed.unheard_for(others),
            fetching_from: observed.fetching_from(),
            votes: *self.votes.borrow(),
            custody: observed.custody(),
            block_skew_ms: observed.block_skew_ms(),
            clock_limits_ms: (parameters.clock_ahead_ms, parameters.clock_behind_ms),
            held_back: observed.held_back(),
            promises,
            promise_due_blocks,
            pinned: self.pins.heights(),
            signatures_verified: self.checks.verified(),
            stalled: self.stalled(&finality, &observed.custody(), raft_entries_not_final),
            validators,
            finality,
            fault: self.alarm.raised(),
        }
    }

    fn stalled(&self, finality: &Status, custody: &Custody, raft_entries_not_final: u64) -> Option<Stalled> {
        let validators = self.validators();
        let quorum = validators.quorum();
        let silent = |voted: &[NodeId]| {
            let members = validators.members.iter().map(|(node, _)| *node);
            members.filter(|node| !voted.contains(node)).collect::<Vec<_>>()
        };
        let term = finality.term;
        let (what, missing) = if !finality.gave_up.is_empty() {
            let because =
                finality.complaint.map_or(String::new(), |complaint| format!(", this node because of {complaint:?}"));
            (format!("{} of {quorum} gave up term {term}{because}", finality.gave_up.len()), silent(&finality.gave_up))
        } else if let Some(open) = &finality.open {
            let (kind, voted) = if open.notarized.len() < quorum {
                ("notarize", &open.notarized)
            } else {
                ("finalize", &open.finalized)
            };
            let View { term, number } = open.view;
            let votes = voted.len();
            (
                format!("{votes} of {quorum} {kind} votes for block {} in view {term}.{number}", open.block),
                silent(voted),
            )
        } else if let Some((index, invalid)) = finality.invalid.last() {
            (format!("the block at raft index {index} is invalid: {invalid}"), Vec::new())
        } else if raft_entries_not_final == 0 && self.outbox.len() == 0 {
            return None;
        } else if let Some(leader) = finality.leader {
            (format!("node {leader} leads term {term} and has proposed no valid block yet"), vec![leader])
        } else {
            (format!("term {term} has no leader yet"), Vec::new())
        };
        let Status { patience_ms, failed_terms, .. } = finality;
        let mut reason =
            format!("{what}; this term's time is up in {patience_ms} ms, after {failed_terms} that failed");
        let mut missing = missing;
        // Where as many as may lie are like this node, nothing else that is said here will ever change.
        if matches!(custody, Custody::Silent(_) | Custody::Doubled) && validators.key(self.me).is_some() {
            reason = format!("this node does not vote ({}); {reason}", custody.name());
            if !missing.contains(&self.me) {
                missing.insert(0, self.me);
            }
        }
        Some(Stalled { since: finality.since, reason, missing })
    }
}
