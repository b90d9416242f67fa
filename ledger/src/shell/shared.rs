//! What the parts of a replica share, and how they reach each other.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use genesis::{Consortium, ValidatorSet};
use tokio::sync::{mpsc, watch};
use wallet::{
    digest::Digest,
    units::{BlockHeight, NodeId},
};

use super::{
    alarm::Alarm,
    clock::Clock,
    core::Cut,
    disk::Disk,
    fault::Fault,
    final_store::FinalStore,
    lineage::Lineage,
    lines::Lines,
    log_store::LogStore,
    observed::Observed,
    pins::Pins,
    promises::Promises,
    raft::{Raft, RaftEntry, RaftLogId, node_id},
    replica::SubmitError,
    submission::{Ordered, Outbox, Queue},
    terms::{Candidacy, Terms},
    transport::{PeerReply, Transport},
    validator::Message,
};
use crate::{
    apply::BlockContext,
    block::epoch_of,
    checks::Remembered,
    event::{Entry, EntryBody},
    execute::Executed,
    finality::{Input, Status},
    hand_over::ClosingProof,
    refusal::{Refusal, Retry},
    state::State,
};

/// What the parts of a replica share.
pub(crate) struct Shared {
    pub(crate) dir: Disk,
    pub(crate) consortium: Arc<Consortium>,
    pub(crate) me: NodeId,
    /// Whether this node signs with its key.
    pub(crate) votes: watch::Sender<bool>,
    /// Whether all that was ever final at this node is final here again; see [`super::recovery`].
    pub(crate) recovered: watch::Sender<bool>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) transport: Arc<dyn Transport>,
    /// What was checked already, wherever that was.
    pub(crate) checks: Arc<Remembered>,
    pub(crate) log: LogStore,
    pub(crate) store: FinalStore,
    /// In which lineage this node is, until it is stopped: no running node takes a re-genesis.
    pub(crate) lineage: Lineage,
    /// The entry with which every log begins.
    pub(crate) first_entry: RaftEntry,
    /// None while it starts, stops or restarts.
    pub(crate) raft: RwLock<Option<Raft>>,
    /// The epoch whose validators the core replicates to.
    pub(crate) core_epoch: AtomicU64,
    /// In which term this node is, and who leads.
    pub(crate) terms: Arc<Terms>,
    /// For which term this node stands for leader.
    pub(crate) campaign: watch::Sender<Option<Candidacy>>,
    /// When the leader was heard.
    pub(crate) heard: Heard,
    /// Held while one message from a peer is checked and passed to openraft.
    pub(crate) guard: tokio::sync::Mutex<()>,
    /// The final state.
    pub(crate) tip: watch::Sender<Arc<Executed>>,
    /// States that are kept for those who join.
    pub(crate) pins: Arc<Pins>,
    /// The raft entry of the final block.
    pub(crate) final_at: watch::Sender<Option<RaftLogId>>,
    /// The raft entry of the highest block that this node signed `Finalize` for.
    pub(crate) finalized_at: watch::Sender<Option<RaftLogId>>,
    pub(crate) status: watch::Sender<Status>,
    pub(crate) alarm: Alarm,
    pub(crate) outbox: Outbox,
    pub(crate) queue: Queue,
    pub(crate) promises: Promises,
    pub(crate) ordered: Ordered,
    pub(crate) validator: mpsc::Sender<Message>,
    pub(crate) lines: Lines,
    pub(crate) cuts: mpsc::UnboundedSender<Cut>,
    pub(crate) asked: watch::Sender<Option<BlockHeight>>,
    pub(crate) peers: Mutex<BTreeMap<NodeId, BlockHeight>>,
    pub(crate) observed: Arc<Observed>,
}

impl Shared {
    /// The validator set of an epoch, if that has begun here.
    pub(crate) fn validators_of(&self, epoch: u64) -> Option<ValidatorSet> {
        self.tip.borrow().state.validators_of(epoch).map(|record| record.set)
    }

    /// The name in force: what the statements of this node carry as their consortium.
    pub(crate) fn name(&self) -> Digest {
        self.tip.borrow().name
    }

    /// Who votes for the block after the final one.
    pub(crate) fn validators(&self) -> ValidatorSet {
        self.tip.borrow().validators()
    }

    /// How the epoch of `term` ended, for whoever still speaks of it.
    pub(crate) fn closing_of(&self, term: u64) -> Result<Option<PeerReply>, Fault> {
        let epoch = epoch_of(term);
        if epoch >= self.tip.borrow().state.epoch() {
            return Ok(None);
        }
        Ok(self.store.hand_over(epoch)?.map(|hand_over| PeerReply::Closing(Box::new(hand_over.proof))))
    }

    /// Whether the final state takes an entry as it is.
    pub(crate) fn check(&self, entry: &Entry) -> Result<(), Refusal> {
        self.check_all([entry])
    }

    /// Whether the final state takes these entries as they are, one after the other. What may be taken later is no reason
    /// against them, but where operators speak: anybody may have brought that, and can bring it again.
    pub(crate) fn check_all<'a>(&self, entries: impl IntoIterator<Item = &'a Entry>) -> Result<(), Refusal> {
        let (mut state, at) = self.next();
        for entry in entries {
            match state.apply_with(&self.consortium, entry, at, &*self.checks) {
                Err(refusal) if refusal.retry() != Retry::Later || entry.body.event.governs() => return Err(refusal),
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether the final state takes `body` as it is, whoever signs it.
    pub(crate) fn check_unsigned(&self, body: EntryBody) -> Result<(), Refusal> {
        let (state, at) = self.next();
        state.check_unsigned(&self.consortium, body, at, &*self.checks)
    }

    /// The final state, and where the next block would stand.
    fn next(&self) -> (State, BlockContext) {
        let tip = self.tip.borrow().clone();
        let height = tip.height.next().unwrap_or(tip.height);
        let at = BlockContext {
            name: tip.name,
            height,
            time: self.clock.now().max(tip.time),
            log_index: tip.log.next_index(),
            is_re_genesis: false,
        };
        (tip.state.clone(), at)
    }

    /// Who leads, as far as this node knows.
    pub(crate) fn leader(&self) -> Option<NodeId> {
        let leader = self.raft().and_then(|raft| raft.metrics().borrow().current_leader);
        // openraft knows it from the appends that it is shown: a leader that starves this node is none to it.
        let proven = || self.terms.proof_of(self.terms.entered().term).map(|proof| proof.leadership.leader);
        let known = || proven().or_else(|| self.last_leader()).filter(|leader| *leader != self.me);
        leader.and_then(node_id).or_else(known)
    }

    /// Who made the final block, if it is of this term: all that a node knows to which nobody replicates yet.
    fn last_leader(&self) -> Option<NodeId> {
        let tip = self.tip.borrow().clone();
        if tip.view.term != self.terms.entered().term {
            return None;
        }
        self.store.header(tip.height).ok().flatten().map(|header| header.leader)
    }

    /// The term that this node leads.
    pub(crate) fn leads(&self) -> Option<u64> {
        let metrics = self.raft()?.metrics().borrow().clone();
        let leads = metrics.state.is_leader() && metrics.current_leader.and_then(node_id) == Some(self.me);
        leads.then_some(metrics.current_term)
    }

    pub(crate) fn raft(&self) -> Option<Raft> {
        self.raft.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_raft(&self, raft: Raft) {
        *self.raft.write().unwrap_or_else(PoisonError::into_inner) = Some(raft);
    }

    pub(crate) fn take_raft(&self) -> Option<Raft> {
        self.raft.write().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Whether the own core leads `term`.
    pub(crate) fn leads_in(&self, term: u64) -> bool {
        self.leads() == Some(term)
    }

    /// Whether entries wait here to become final.
    pub(crate) fn has_demand(&self) -> bool {
        self.outbox.len() > 0 || !self.queue.is_empty()
    }

    /// Tells the voting thread. When it cannot keep up the message is dropped: votes are sent again at each tick, and
    /// the log is looked at anyway.
    pub(crate) fn tell_validator(&self, message: Message) {
        let _ = self.validator.try_send(message);
    }

    /// Tells it how its epoch ended, by what a peer shows.
    pub(crate) fn tell_closing(&self, proof: Box<ClosingProof>) {
        if proof.is_bounded() {
            self.tell_validator(Message::Input(Input::Closing(proof)));
        }
    }

    pub(crate) fn ask_to_cut(&self, cut: Cut) {
        // An error means that the replica shuts down.
        let _ = self.cuts.send(cut);
    }

    pub(crate) fn ask_for(&self, height: BlockHeight) {
        self.asked.send_replace(Some(height));
    }

    /// Stops the replica's work and says why.
    pub(crate) fn fail(&self, fault: Fault) {
        self.alarm.raise(fault);
    }

    pub(crate) fn check_running(&self) -> Result<(), SubmitError> {
        self.alarm.raised().map_or(Ok(()), |fault| Err(SubmitError::Stopped(fault)))
    }

    /// Writes a file into the folder `evidence`, once for each name: whether it was written now.
    pub(crate) fn keep_evidence(&self, name: &str, bytes: &[u8]) -> Result<bool, Fault> {
        let dir = self.dir.join("evidence");
        let fault = |source| Fault::file(dir.path(name), source);
        if dir.read(name).map_err(fault)?.is_some() {
            return Ok(false);
        }
        dir.replace(name, bytes).map_err(fault)?;
        Ok(true)
    }
}

/// Whether the leader was heard since somebody looked.
#[derive(Default)]
pub(crate) struct Heard(AtomicU64);

impl Heard {
    /// The proven leader of `term` was heard.
    pub(crate) fn hear(&self, term: u64) {
        self.0.store(term, Ordering::Relaxed);
    }

    /// Whether the leader of `term` was heard since the last time.
    pub(crate) fn take(&self, term: u64) -> bool {
        self.0.swap(0, Ordering::Relaxed) == term
    }
}

/// How long a peer may take for what is not raft's.
pub(crate) const PEER_TIMEOUT: Duration = Duration::from_secs(2);
