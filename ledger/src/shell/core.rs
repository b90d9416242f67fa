//! openraft's core in this replica: started, told which vote holds, cut, and started again.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use openraft::{
    CommittedLeaderId, Config, SnapshotPolicy,
    raft::{AppendEntriesRequest, AppendEntriesResponse, VoteRequest},
};
use wallet::units::NodeId;

use super::{
    fault::Fault,
    log_store::{LogStore, blocking},
    network::Peers,
    raft::{Raft, RaftLogId, RaftVote, membership, raft_id},
    shared::Shared,
    state_machine::FinalStateMachine,
    terms::{nobodys_vote, vote_at_start},
    window::ENTRIES_MAX,
};

/// Beyond every log: an index at which openraft finds nothing to cut.
const BEYOND: u64 = u64::MAX >> 1;

/// What the voter wants to be cut from the log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cut {
    /// The first index that is to go.
    pub(crate) from: u64,
    /// Generation of the log that the voter knew.
    pub(crate) generation: u64,
}

impl Shared {
    /// Starts openraft on the log as it is.
    pub(crate) async fn start(&self) -> Result<(), Fault> {
        let _one_at_a_time = self.guard.lock().await;
        // A self-cut may have started it.
        if self.raft().is_some() { Ok(()) } else { self.start_core().await }
    }

    /// Starts openraft on the log as it is, with the vote that is proven. The caller holds the guard.
    async fn start_core(&self) -> Result<(), Fault> {
        let parameters = self.consortium.parameters();
        let config = Config {
            cluster_name: self.consortium.name().to_owned(),
            // openraft gives an append this long. When a leader shows that it is alive is decided in `errands::heartbeat`.
            heartbeat_interval: parameters.leader_timeout_ms / 2,
            enable_heartbeat: false,
            // Elections are the consortium's: see `terms`. openraft asks for two timeouts all the same.
            enable_elect: false,
            election_timeout_min: parameters.leader_timeout_ms,
            election_timeout_max: parameters.leader_timeout_ms + 1,
            snapshot_policy: SnapshotPolicy::Never,
            max_payload_entries: ENTRIES_MAX as u64,
            ..Config::default()
        };
        let config = config.validate().map_err(|error| Fault::Raft(error.to_string()))?;
        let (log, entered, me) = (self.log.clone(), self.terms.entered().term, self.me);
        blocking(move || {
            let saved = log.vote()?.unwrap_or_default();
            let vote = vote_at_start(saved, entered, me);
            if vote != saved { log.set_vote(&vote) } else { Ok(()) }
        })
        .await?;
        let peers = Peers {
            transport: self.transport.clone(),
            log: self.log.clone(),
            final_at: self.final_at.subscribe(),
            terms: self.terms.clone(),
            validator: self.validator.clone(),
            backoff: Duration::from_millis(parameters.heartbeat_ms / 2),
            hold: Duration::from_millis(parameters.heartbeat_ms * 4 / 5),
        };
        // Which block is final is told before the state after it. So the state may be one block behind: then it is that
        // of an epoch before, and the core is started again when this node leaves the term.
        let state = self.tip.borrow().state.clone();
        let final_at = self.final_at.subscribe();
        let at = final_at.borrow().unwrap_or(self.first_entry.log_id);
        self.core_epoch.store(state.epoch(), Ordering::Relaxed);
        let machine =
            FinalStateMachine::new(membership(&state, at), self.log.purged().map(|link| link.log_id), final_at);
        let raft = Raft::new(raft_id(self.me), Arc::new(config), peers, self.log.clone(), machine)
            .await
            .map_err(|error| Fault::Raft(error.to_string()))?;
        self.set_raft(raft);
        // A replica that was stopped meanwhile did not see this core.
        if self.alarm.raised().is_some()
            && let Some(raft) = self.take_raft()
        {
            let _ = raft.shutdown().await;
        }
        Ok(())
    }

    /// Ends the core, changes the log while nobody writes to it, and starts the core again. The caller holds the guard.
    pub(crate) async fn restart_core(
        &self,
        change: impl FnOnce(&LogStore) -> Result<(), Fault> + Send + 'static,
    ) -> Result<(), Fault> {
        if self.alarm.raised().is_some() {
            return Ok(());
        }
        if let Some(raft) = self.take_raft() {
            // An error means that the core has ended by itself.
            let _ = raft.shutdown().await;
        }
        let log = self.log.clone();
        blocking(move || change(&log)).await?;
        self.start_core().await
    }

    /// Cuts the log where a certificate contradicts it, and starts the core again on what is left.
    ///
    /// Not if what was contradicted has been replaced meanwhile: what stands there now may be becoming final. The voter
    /// is told of every cut, and asks again if it has to. Until it is told of one it makes nothing final from there on.
    pub(crate) async fn self_cut(&self, cut: Cut) -> Result<(), Fault> {
        let _one_at_a_time = self.guard.lock().await;
        let Cut { from, generation } = cut;
        if self.log.cut_since(generation).is_some_and(|replaced| replaced <= from) {
            return Ok(());
        }
        tracing::warn!(from, "a certificate contradicts the own log: cutting it and restarting the core");
        self.restart_core(move |log| {
            // Openraft may have cut it before it ended.
            let is_replaced = log.cut_since(generation).is_some_and(|replaced| replaced <= from);
            if is_replaced { Ok(()) } else { log.cut(from) }
        })
        .await
    }

    /// Makes the own core leave all terms before `term`: it leads and follows nobody until somebody is proven to lead.
    ///
    /// The message speaks for nobody and refers to an entry that no log has, so openraft takes over its vote and cuts
    /// nothing. An uncommitted vote has no lease, which would delay the next leader.
    ///
    /// In another epoch others replicate. A core learns that when it starts: no entry in the log says it, which a leader
    /// could forge.
    pub(crate) async fn leave_terms_before(&self, term: u64) -> Result<(), Fault> {
        let _one_at_a_time = self.guard.lock().await;
        if self.tip.borrow().state.epoch() != self.core_epoch.load(Ordering::Relaxed) && self.raft().is_some() {
            self.restart_core(|_| Ok(())).await?;
        }
        let Some(raft) = self.raft() else { return Ok(()) };
        let leave = AppendEntriesRequest {
            vote: nobodys_vote(term.saturating_sub(1)),
            prev_log_id: Some(nobodys_entry(BEYOND)),
            entries: Vec::new(),
            leader_commit: None,
        };
        match raft.append_entries(leave).await {
            // A higher vote: this term's leader is known already.
            Ok(AppendEntriesResponse::Conflict | AppendEntriesResponse::HigherVote(_)) => {}
            answer => tracing::warn!(term, ?answer, "the core did not leave its term"),
        }
        Ok(())
    }

    /// Makes the own core lead `term`, which a quorum granted. Whether it does.
    ///
    /// It does not where this node led that term before and came back: its saved vote is nobody's then.
    pub(crate) async fn lead(&self, term: u64) -> bool {
        let _one_at_a_time = self.guard.lock().await;
        let Some(raft) = self.raft() else { return false };
        let vote = RaftVote::new_committed(term, raft_id(self.me));
        let request = VoteRequest::new(vote, self.log.last().map(|link| link.log_id));
        match raft.vote(request).await {
            Ok(answer) => answer.vote_granted,
            Err(error) => {
                tracing::warn!(term, %error, "the core does not lead");
                false
            }
        }
    }
}

/// An id that no entry has: openraft cuts the log where it does not match.
pub(crate) fn nobodys_entry(index: u64) -> RaftLogId {
    RaftLogId::new(CommittedLeaderId::new(0, raft_id(NodeId::new(u32::MAX))), index)
}
