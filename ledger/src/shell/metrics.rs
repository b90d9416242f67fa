//! How a replica stands, for people and dashboards.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError},
};

use wallet::units::{BlockHeight, NodeId, Timestamp};

use super::{fault::Fault, shared::Shared};
use crate::{block::View, finality::Status};

/// How a replica stands.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Who leads, as far as this node knows.
    pub leader: Option<NodeId>,
    /// The term that this node is in.
    pub term: u64,
    /// The final height.
    pub final_height: BlockHeight,
    /// Raft entries that are in the log but not final.
    pub raft_entries_not_final: u64,
    /// Entries that this node submitted and that are neither final nor refused.
    pub entries_open: usize,
    /// Final heights that other nodes told last.
    pub peers: BTreeMap<NodeId, BlockHeight>,
    /// Whether this node signs with its key. It does not before it knows that its vote record is the last one. Whether its
    /// vote counts, the validator set says.
    pub votes: bool,
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
        Metrics {
            leader: self.leader(),
            term: self.terms.entered().term,
            final_height: finality.height,
            raft_entries_not_final,
            entries_open: self.outbox.len(),
            peers: self.peers.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            votes: *self.votes.borrow(),
            signatures_verified: self.checks.verified(),
            stalled: self.stalled(&finality, raft_entries_not_final),
            finality,
            fault: self.fault.borrow().clone(),
        }
    }

    fn stalled(&self, finality: &Status, raft_entries_not_final: u64) -> Option<Stalled> {
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
        let reason = format!("{what}; this term's time is up in {patience_ms} ms, after {failed_terms} that failed");
        Some(Stalled { since: finality.since, reason, missing })
    }
}
