//! What the parts of a replica share, and how they reach each other.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, RwLock, mpsc::SyncSender},
    time::Duration,
};

use genesis::Consortium;
use tokio::sync::{mpsc, watch};
use wallet::units::{BlockHeight, NodeId};

use super::{
    clock::Clock,
    fault::Fault,
    final_store::FinalStore,
    log_store::LogStore,
    raft::{Raft, RaftEntry, RaftLogId, node_id},
    replica::SubmitError,
    submission::{Ordered, Outbox, Queue},
    transport::Transport,
    validator::Message,
};
use crate::{
    apply::BlockContext,
    block::Vote,
    event::Entry,
    execute::Executed,
    finality::Status,
    refusal::{Refusal, Retry},
};

/// What the parts of a replica share.
pub(crate) struct Shared {
    pub(crate) dir: PathBuf,
    pub(crate) consortium: Arc<Consortium>,
    pub(crate) me: NodeId,
    pub(crate) votes: bool,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) log: LogStore,
    pub(crate) store: FinalStore,
    /// The entry with which every log begins.
    pub(crate) first_entry: RaftEntry,
    /// None while it starts, stops or restarts.
    pub(crate) raft: RwLock<Option<Raft>>,
    /// Held while one message from a peer is checked and passed to openraft.
    pub(crate) guard: tokio::sync::Mutex<()>,
    /// The final state.
    pub(crate) tip: watch::Sender<Arc<Executed>>,
    /// The raft entry of the final block.
    pub(crate) final_at: watch::Sender<Option<RaftLogId>>,
    /// The raft entry of the highest block that this node signed `Finalize` for.
    pub(crate) finalized_at: watch::Sender<Option<RaftLogId>>,
    pub(crate) status: watch::Sender<Status>,
    pub(crate) fault: watch::Sender<Option<Arc<Fault>>>,
    pub(crate) outbox: Outbox,
    pub(crate) queue: Queue,
    pub(crate) ordered: Ordered,
    pub(crate) validator: SyncSender<Message>,
    pub(crate) outgoing_votes: BTreeMap<NodeId, mpsc::Sender<Vote>>,
    pub(crate) cuts: mpsc::UnboundedSender<u64>,
    pub(crate) asked: watch::Sender<Option<BlockHeight>>,
    pub(crate) peers: Mutex<BTreeMap<NodeId, BlockHeight>>,
}

impl Shared {
    /// Whether the final state takes an entry as it is.
    pub(crate) fn check(&self, entry: &Entry) -> Result<(), Refusal> {
        let tip = self.tip.borrow().clone();
        let height = tip.height.next().unwrap_or(tip.height);
        let at = BlockContext { height, time: self.clock.now().max(tip.time), log_index: tip.log.next_index() };
        match tip.state.clone().apply(&self.consortium, entry, at) {
            Err(refusal) if refusal.retry() != Retry::Later => Err(refusal),
            _ => Ok(()),
        }
    }

    /// Who leads, as far as this node knows.
    pub(crate) fn leader(&self) -> Option<NodeId> {
        let leader = self.raft()?.metrics().borrow().current_leader;
        leader.and_then(node_id)
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

    /// The raft entry that a candidate must hold to get this node's vote.
    pub(crate) fn must_hold(&self) -> Option<RaftLogId> {
        (*self.final_at.borrow()).max(*self.finalized_at.borrow())
    }

    /// Tells the voting thread. When it cannot keep up the message is dropped: votes are sent again at each tick, and
    /// the log is looked at anyway.
    pub(crate) fn tell_validator(&self, message: Message) {
        let _ = self.validator.try_send(message);
    }

    /// Sends a vote to every other node. What a full line drops is sent again at the next tick.
    pub(crate) fn broadcast(&self, vote: &Vote) {
        for line in self.outgoing_votes.values() {
            let _ = line.try_send(vote.clone());
        }
    }

    pub(crate) fn ask_to_cut(&self, from: u64) {
        // An error means that the replica shuts down.
        let _ = self.cuts.send(from);
    }

    pub(crate) fn ask_for(&self, height: BlockHeight) {
        self.asked.send_replace(Some(height));
    }

    /// Stops the replica's work and says why.
    pub(crate) fn fail(&self, fault: Fault) {
        tracing::error!(%fault, "the replica stops");
        self.fault.send_if_modified(|first| {
            let is_first = first.is_none();
            first.get_or_insert_with(|| Arc::new(fault));
            is_first
        });
    }

    pub(crate) fn check_running(&self) -> Result<(), SubmitError> {
        match &*self.fault.borrow() {
            Some(fault) => Err(SubmitError::Stopped(fault.clone())),
            None => Ok(()),
        }
    }

    /// Writes portable evidence into the folder `evidence`, once for each name.
    pub(crate) fn keep_evidence(&self, name: &str, bytes: &[u8]) -> Result<(), Fault> {
        let dir = self.dir.join("evidence");
        let path = dir.join(name);
        if path.exists() {
            return Ok(());
        }
        let write = || {
            std::fs::create_dir_all(&dir)?;
            std::fs::write(&path, bytes)
        };
        write().map_err(|source| Fault::File { path: path.clone(), source })
    }
}

/// How long a peer may take for what is not raft's.
pub(crate) const PEER_TIMEOUT: Duration = Duration::from_secs(2);
