//! The inbound guard: stands between the transport and openraft, which believes whatever it is told.
//!
//! Raft compares log ids only. The guard compares chain hashes with the local log; where the content differs above the
//! final block it makes openraft cut its log through the public path, and at or below the final block it refuses.

use openraft::{
    CommittedLeaderId, EntryPayload,
    raft::{AppendEntriesRequest, AppendEntriesResponse, VoteRequest, VoteResponse},
};
use wallet::{digest::Digest, units::NodeId};

use super::{
    fault::Fault,
    log_store::chain_hash,
    network::wild,
    raft::{RaftEntry, RaftLogId, TypeConfig, leader_of, raft_id},
    shared::Shared,
    transport::PeerRefusal,
};

impl Shared {
    /// Raft's AppendEntries from node `from`, whose log has chain hash `prev_chain` at the request's previous entry.
    pub(crate) async fn guarded_append(
        &self,
        from: NodeId,
        mut rpc: AppendEntriesRequest<TypeConfig>,
        prev_chain: Digest,
    ) -> Result<AppendEntriesResponse<u64>, PeerRefusal> {
        if leader_of(&rpc.vote) != Some(from) || !rpc.vote.committed {
            return Err(PeerRefusal::NotSender);
        }
        if !self.is_well_formed(&rpc) {
            return Err(PeerRefusal::Malformed);
        }
        let raft = self.raft().ok_or(PeerRefusal::NotReady)?;
        // One at a time: what is checked must still be so when openraft acts on it.
        let _one_at_a_time = self.guard.lock().await;
        let own_vote = self.log.vote().map_err(|fault| self.not_ready(fault))?.unwrap_or_default();
        if wild(&own_vote, &rpc.vote) {
            return Err(PeerRefusal::WildTerm);
        }
        let final_at = *self.final_at.borrow();
        let divergence = if rpc.vote >= own_vote {
            self.divergence(&rpc, prev_chain).map_err(|fault| self.not_ready(fault))?
        } else {
            None
        };
        if let Some(at) = divergence {
            if final_at.is_some_and(|final_at| at.index <= final_at.index) {
                tracing::error!(leader = %from, term = rpc.vote.leader_id.term, index = at.index, "the leader's log contradicts what is final here");
                return Err(PeerRefusal::ContradictsFinal);
            }
            if at.same_id {
                tracing::warn!(leader = %from, index = at.index, "the leader's log has other content under the same id: cutting the own log");
                let probe = AppendEntriesRequest {
                    vote: rpc.vote,
                    prev_log_id: Some(nobodys(at.index)),
                    entries: Vec::new(),
                    leader_commit: None,
                };
                let answer = raft.append_entries(probe).await.map_err(|_| PeerRefusal::NotReady)?;
                if at.is_previous || !matches!(answer, AppendEntriesResponse::Conflict) {
                    return Ok(answer);
                }
            }
        }
        if rpc.leader_commit.map(|at| at.index) > final_at.map(|at| at.index) {
            rpc.leader_commit = final_at;
        }
        raft.append_entries(rpc).await.map_err(|_| PeerRefusal::NotReady)
    }

    /// Raft's RequestVote from node `from`.
    pub(crate) async fn guarded_vote(
        &self,
        from: NodeId,
        rpc: VoteRequest<u64>,
    ) -> Result<VoteResponse<u64>, PeerRefusal> {
        if leader_of(&rpc.vote) != Some(from) || rpc.vote.committed || !self.is_node(from) {
            return Err(PeerRefusal::NotSender);
        }
        let raft = self.raft().ok_or(PeerRefusal::NotReady)?;
        let _one_at_a_time = self.guard.lock().await;
        let own_vote = self.log.vote().map_err(|fault| self.not_ready(fault))?.unwrap_or_default();
        if wild(&own_vote, &rpc.vote) {
            return Err(PeerRefusal::WildTerm);
        }
        let must_hold = self.must_hold();
        if rpc.last_log_id < must_hold {
            // Told what it lacks, an honest candidate leaves the election to others for a while. Left without an answer
            // it would raise its term each time and depose every better candidate.
            let own_last = self.log.last().map(|link| link.log_id);
            return Ok(VoteResponse::new(own_vote, own_last.max(must_hold), false));
        }
        raft.vote(rpc).await.map_err(|_| PeerRefusal::NotReady)
    }

    /// Whether openraft may see the request: it asserts what it expects of a leader instead of checking it.
    fn is_well_formed(&self, rpc: &AppendEntriesRequest<TypeConfig>) -> bool {
        let mut before = rpc.prev_log_id;
        rpc.entries.iter().all(|entry| {
            let follows = entry.log_id.index == before.map_or(0, |before| before.index.saturating_add(1))
                && before.is_none_or(|before| before.leader_id <= entry.log_id.leader_id)
                && entry.log_id.leader_id.term <= rpc.vote.leader_id.term;
            before = Some(entry.log_id);
            follows && self.keeps_membership(entry)
        })
    }

    /// Who replicates is decided by genesis, never by a leader.
    fn keeps_membership(&self, entry: &RaftEntry) -> bool {
        !matches!(entry.payload, EntryPayload::Membership(_)) || *entry == self.first_entry
    }

    /// The first entry that is here too, with another content or id than the leader has.
    fn divergence(
        &self,
        rpc: &AppendEntriesRequest<TypeConfig>,
        prev_chain: Digest,
    ) -> Result<Option<Divergence>, Fault> {
        let diverges = |log_id: RaftLogId, chain: Digest, is_previous| -> Result<Option<Option<Divergence>>, Fault> {
            Ok(self.log.link(log_id.index)?.map(|own| {
                let same_id = own.log_id == log_id;
                (!same_id || own.chain != chain).then_some(Divergence { index: log_id.index, same_id, is_previous })
            }))
        };
        if let Some(prev) = rpc.prev_log_id
            && let Some(Some(found)) = diverges(prev, prev_chain, true)?
        {
            return Ok(Some(found));
        }
        let mut chain = prev_chain;
        for entry in &rpc.entries {
            chain = chain_hash(chain, entry);
            match diverges(entry.log_id, chain, false)? {
                Some(None) => {}
                Some(found) => return Ok(found),
                None => break,
            }
        }
        Ok(None)
    }

    fn is_node(&self, node: NodeId) -> bool {
        self.consortium.node(node).is_some()
    }

    fn not_ready(&self, fault: Fault) -> PeerRefusal {
        self.fail(fault);
        PeerRefusal::NotReady
    }
}

/// Where the leader's log and the local one part.
struct Divergence {
    index: u64,
    /// Whether the ids are equal, so that raft alone would not notice.
    same_id: bool,
    /// Whether it is the entry before those that the request brings.
    is_previous: bool,
}

/// An id that no entry has: openraft cuts the log where it does not match.
fn nobodys(index: u64) -> RaftLogId {
    RaftLogId::new(CommittedLeaderId::new(0, raft_id(NodeId::new(u32::MAX))), index)
}
