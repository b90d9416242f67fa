//! How a replica stands, for people and dashboards.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError},
};

use wallet::units::{BlockHeight, NodeId, Timestamp};

use super::{fault::Fault, raft::node_id, shared::Shared};
use crate::finality::Status;

/// How a replica stands.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Who leads, as far as this node knows.
    pub leader: Option<NodeId>,
    /// The raft term.
    pub term: u64,
    /// The final height.
    pub final_height: BlockHeight,
    /// Raft entries that are in the log but not final.
    pub raft_entries_not_final: u64,
    /// Entries that this node submitted and that are neither final nor refused.
    pub entries_open: usize,
    /// Final heights that other nodes told last.
    pub peers: BTreeMap<NodeId, BlockHeight>,
    /// Whether this node votes. It does not if its vote record is missing.
    pub votes: bool,
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
    /// Validators whose vote is missing.
    pub missing: Vec<NodeId>,
}

impl Shared {
    pub(crate) fn metrics(&self) -> Metrics {
        let raft = self.raft().map(|raft| raft.metrics().borrow().clone());
        let finality = self.status.borrow().clone();
        let final_index = self.final_at.borrow().map_or(0, |at| at.index + 1);
        let raft_entries_not_final = self.log.end().index.map_or(0, |last| last + 1).saturating_sub(final_index);
        let leader = raft.as_ref().and_then(|raft| raft.current_leader).and_then(node_id);
        Metrics {
            leader,
            term: raft.map_or(0, |raft| raft.current_term),
            final_height: finality.height,
            raft_entries_not_final,
            entries_open: self.outbox.len(),
            peers: self.peers.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            votes: self.votes,
            stalled: self.stalled(&finality, leader, raft_entries_not_final),
            finality,
            fault: self.fault.borrow().clone(),
        }
    }

    fn stalled(&self, finality: &Status, leader: Option<NodeId>, raft_entries_not_final: u64) -> Option<Stalled> {
        let validators = self.consortium.validators();
        let quorum = validators.quorum();
        let (reason, missing) = if let Some(open) = &finality.open {
            let silent = |voted: &[NodeId]| {
                let members = validators.members.iter().map(|(node, _)| *node);
                members.filter(|node| !voted.contains(node)).collect::<Vec<_>>()
            };
            let (kind, voted) = if open.notarized.len() < quorum {
                ("notarize", &open.notarized)
            } else {
                ("finalize", &open.finalized)
            };
            (format!("{} of {quorum} {kind} votes for block {}", voted.len(), open.block), silent(voted))
        } else if let Some((index, invalid)) = finality.invalid.last() {
            (format!("the block at raft index {index} is invalid: {invalid}"), Vec::new())
        } else if leader.is_none() && (raft_entries_not_final > 0 || self.outbox.len() > 0) {
            ("no leader is known".to_owned(), Vec::new())
        } else if raft_entries_not_final > 0 || self.outbox.len() > 0 {
            ("the leader has proposed no valid block yet".to_owned(), Vec::new())
        } else {
            return None;
        };
        Some(Stalled { since: finality.since, reason, missing })
    }
}
