//! The inbound guard: stands between the transport and openraft, which believes whatever it is told.
//!
//! A message of a leader passes only in a term that is not over and that a quorum granted to its sender. Then, since
//! raft compares log ids only, the guard compares chain hashes with the local log (see `divergence`).

use openraft::{
    EntryPayload,
    raft::{AppendEntriesRequest, AppendEntriesResponse},
};
use wallet::{digest::Digest, units::NodeId};

use super::{
    core::nobodys_entry,
    divergence::Divergence,
    fault::Fault,
    log_store::is_signed,
    raft::{Raft, RaftEntry, RaftVote, TypeConfig, block_of, leader_of},
    shared::Shared,
    terms::Proof,
    transport::{PeerRefusal, PeerReply},
    validator::Message,
    window::ENTRIES_MAX,
};
use crate::{block::epoch_of, execute::BLOCK_BYTES_MAX, finality::Input, hand_over::CARRIERS_MAX, planted::planted};

/// Entries of one leader above the final one at most. An honest one has one open block at a time.
const OPEN_ENTRIES_MAX: u64 = 1024;
/// A raft entry's block at most: its entries, and what a leader adds to them.
const PACKED_BYTES_MAX: usize = BLOCK_BYTES_MAX + (1 << 20);

impl Shared {
    /// Raft's AppendEntries from node `from`, whose log has chain hash `prev_chain` at the request's previous entry.
    pub(crate) async fn guarded_append(
        &self,
        from: NodeId,
        rpc: AppendEntriesRequest<TypeConfig>,
        prev_chain: Digest,
        proof: Option<Box<Proof>>,
    ) -> Result<PeerReply, PeerRefusal> {
        if leader_of(&rpc.vote) != Some(from) || !rpc.vote.committed {
            return Err(PeerRefusal::NotSender);
        }
        let term = rpc.vote.leader_id.term;
        if let Some(over) = self.over(term)? {
            return Ok(over);
        }
        if !self.terms.is_led_by(term, from) && !planted!(UnprovenLeader) {
            let Some(validators) = self.validators_of(epoch_of(term)) else {
                // It follows once it is shown how its own epoch ended, for which it asks now.
                self.say(from, Input::Later { epoch: epoch_of(term) }).await?;
                return Err(PeerRefusal::Unproven);
            };
            let proof = proof.ok_or(PeerRefusal::Unproven)?;
            self.terms.prove(&validators, &self.name(), term, from, *proof)?;
            // The voter learns of it from `terms`.
            self.tell_validator(Message::Log);
        }
        if !self.is_well_formed(&rpc) {
            return Err(PeerRefusal::Malformed);
        }
        let answer = self.pass_append(from, rpc, prev_chain).await?;
        if !matches!(answer, AppendEntriesResponse::HigherVote(_)) {
            self.heard.hear(term);
        }
        Ok(PeerReply::Append(answer))
    }

    /// The answer to a message of a term that is over here.
    pub(crate) fn over(&self, term: u64) -> Result<Option<PeerReply>, PeerRefusal> {
        let entered = self.terms.entered();
        if entered.term <= term {
            return Ok(None);
        }
        if let Some(closing) = self.closing_of(term).map_err(|fault| self.not_ready(fault))? {
            return Ok(Some(closing));
        }
        let permit = entered.permit.ok_or(PeerRefusal::WildTerm)?;
        Ok(Some(PeerReply::TermOver(Box::new((*permit).clone()))))
    }

    /// Repairs the own log where it differs from that of the proven leader, and passes the request to openraft.
    async fn pass_append(
        &self,
        from: NodeId,
        mut rpc: AppendEntriesRequest<TypeConfig>,
        prev_chain: Digest,
    ) -> Result<AppendEntriesResponse<u64>, PeerRefusal> {
        // One at a time: what is checked must still be so when openraft acts on it.
        let _one_at_a_time = self.guard.lock().await;
        let own_vote = self.log.vote().map_err(|fault| self.not_ready(fault))?.unwrap_or_default();
        if own_vote > rpc.vote {
            self.find_way_back(rpc.vote).await?;
        }
        if self.is_too_far(&rpc).map_err(|fault| self.not_ready(fault))? {
            tracing::warn!(leader = %from, "the leader's log runs too far ahead of what is final here");
            return Err(PeerRefusal::NotReady);
        }
        let divergence = self.divergence(&rpc, prev_chain).map_err(|fault| self.not_ready(fault))?;
        if let Some(at) = divergence.filter(|_| !planted!(ChainNotCompared))
            && let Some(answer) = self.repair(from, rpc.vote, at).await?
        {
            return Ok(answer);
        }
        let final_at = *self.final_at.borrow();
        if rpc.leader_commit.map(|at| at.index) > final_at.map(|at| at.index) && !planted!(CommitNotClamped) {
            rpc.leader_commit = final_at;
        }
        self.core()?.append_entries(rpc).await.map_err(|_| PeerRefusal::NotReady)
    }

    /// The own raft vote is above the one that a quorum proves, in a term that is not over: it was raised without
    /// proof. The core restarts with the proven vote.
    async fn find_way_back(&self, proven: RaftVote) -> Result<(), PeerRefusal> {
        tracing::warn!(vote = %proven, "the own raft vote is above the proven one: restarting the core with that");
        let restarted = self.restart_core(move |log| log.set_vote(&proven)).await;
        restarted.map_err(|fault| self.not_ready(fault))
    }

    /// Cuts the own log where the leader's differs from it. The answer to the leader, if it has to go back itself.
    async fn repair(
        &self,
        from: NodeId,
        vote: RaftVote,
        at: Divergence,
    ) -> Result<Option<AppendEntriesResponse<u64>>, PeerRefusal> {
        let (index, term) = (at.index, vote.leader_id.term);
        let is_up_to = |kept: Option<u64>| kept.is_some_and(|kept| index <= kept);
        // Before the first block, entry 0 is every log's.
        if is_up_to(Some(self.final_at.borrow().map_or(0, |at| at.index))) {
            tracing::error!(leader = %from, term, index, "the leader's log contradicts what is final here");
            self.tell_validator(Message::Input(Input::Complaint { term }));
            return Err(PeerRefusal::ContradictsFinal);
        }
        if is_up_to(self.finalized(term).map_err(|fault| self.not_ready(fault))?) {
            // If the block is dead its contradiction's certificate will say so, and the log is cut then.
            tracing::warn!(leader = %from, term, index, "the leader's log lacks a block that this node finalized");
            return Err(PeerRefusal::ContradictsFinalized);
        }
        if at.same_id && at.term == term {
            // It gave two entries one id, in the term that it leads.
            tracing::error!(leader = %from, term, index, "the leader's log is forked");
            self.tell_validator(Message::Input(Input::Complaint { term }));
        }
        let raft = self.core()?;
        let committed = raft.with_raft_state(|state| state.committed).await.map_err(|_| PeerRefusal::NotReady)?;
        if is_up_to(committed.map(|at| at.index)) {
            tracing::error!(leader = %from, term, index, "raft committed what is not final: restarting the core");
            let restarted = self.restart_core(move |log| {
                log.set_vote(&vote)?;
                log.cut(index)
            });
            restarted.await.map_err(|fault| self.not_ready(fault))?;
            return Ok(None);
        }
        if !at.same_id {
            // openraft notices by itself.
            return Ok(None);
        }
        tracing::warn!(leader = %from, index, "the leader's log has other content under the same id: cutting the own");
        let probe = AppendEntriesRequest {
            vote,
            prev_log_id: Some(nobodys_entry(index)),
            entries: Vec::new(),
            leader_commit: None,
        };
        let answer = raft.append_entries(probe).await.map_err(|_| PeerRefusal::NotReady)?;
        let goes_back = at.is_previous || !matches!(answer, AppendEntriesResponse::Conflict);
        Ok(goes_back.then_some(answer))
    }

    /// Index of the highest block in the log that this node signed `Finalize` for, and whose view the leader of `term`
    /// has not shown to be over: so it may be final.
    fn finalized(&self, term: u64) -> Result<Option<u64>, Fault> {
        let Some(at) = *self.finalized_at.borrow() else { return Ok(None) };
        // After a crash in a self-cut the record may name an entry that is gone.
        let stored = self.log.entry(at.index)?.filter(|stored| stored.entry.log_id == at);
        let Some(view) = stored.and_then(|stored| block_of(stored.entry)).map(|block| block.header.view) else {
            return Ok(None);
        };
        if view.epoch() < epoch_of(term) {
            // What closed that epoch is final here.
            return Ok(None);
        }
        let (proof, validators) = (self.terms.proof_of(term), self.validators_of(view.epoch()));
        let is_over = proof.as_ref().and_then(|proof| proof.permit.as_ref()).is_some_and(|permit| {
            permit.votes.iter().all(|vote| vote.statement.covers(view))
                && validators.is_some_and(|validators| permit.verify(&validators, &self.name()).is_ok())
        });
        Ok((!is_over).then_some(at.index))
    }

    /// Whether openraft may see the request: it asserts what it expects of a leader instead of checking it.
    fn is_well_formed(&self, rpc: &AppendEntriesRequest<TypeConfig>) -> bool {
        let mut before = rpc.prev_log_id;
        rpc.entries.len() <= ENTRIES_MAX
            && rpc.entries.iter().all(|entry| {
                let follows = entry.log_id.index == before.map_or(0, |before| before.index.saturating_add(1))
                    && before.is_none_or(|before| before.leader_id <= entry.log_id.leader_id)
                    && entry.log_id.leader_id.term <= rpc.vote.leader_id.term;
                before = Some(entry.log_id);
                follows
                    && is_bounded(entry)
                    && self.keeps_membership(entry)
                    && is_signed(entry, &|epoch| self.validators_of(epoch), &*self.checks)
            })
    }

    /// Whether a leader would have more of its own entries in the log here, above the final one, than an honest one has.
    /// Those of leaders before count apart, so that nobody can use up what its successors need.
    fn is_too_far(&self, rpc: &AppendEntriesRequest<TypeConfig>) -> Result<bool, Fault> {
        let Some(last) = rpc.entries.last().map(|entry| entry.log_id) else { return Ok(false) };
        let final_index = self.final_at.borrow().map_or(0, |at| at.index);
        let Some(before) = last.index.checked_sub(OPEN_ENTRIES_MAX).filter(|before| final_index < *before) else {
            return Ok(false);
        };
        Ok(self.log.link(before)?.is_some_and(|link| link.log_id.leader_id == last.leader_id))
    }

    /// Who replicates is decided by the final state, never by a leader.
    fn keeps_membership(&self, entry: &RaftEntry) -> bool {
        !matches!(entry.payload, EntryPayload::Membership(_)) || *entry == self.first_entry
    }

    fn core(&self) -> Result<Raft, PeerRefusal> {
        self.raft().ok_or(PeerRefusal::NotReady)
    }

    pub(crate) fn not_ready(&self, fault: Fault) -> PeerRefusal {
        self.fail(fault);
        PeerRefusal::NotReady
    }
}

fn is_bounded(entry: &RaftEntry) -> bool {
    match &entry.payload {
        EntryPayload::Normal(packed) => {
            packed.bytes().len() <= PACKED_BYTES_MAX && packed.block().carriers.len() <= CARRIERS_MAX
        }
        _ => true,
    }
}
