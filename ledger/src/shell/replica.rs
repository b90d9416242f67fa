//! A node's copy of the ledger: orders with the others, votes, stores what is final, and answers for it.

use std::sync::{Arc, Mutex, PoisonError};

use futures::stream::{self, Stream};
use genesis::Consortium;
use tokio::{sync::watch, task::JoinSet};
use wallet::{
    digest::Digest,
    identity::SecretKey,
    units::{BlockHeight, LogIndex, NodeId},
};

use super::{
    clock::Clock,
    disk::Disk,
    fault::Fault,
    final_store::{FinalStore, StoredView},
    log_store::blocking,
    metrics::Metrics,
    shared::Shared,
    start,
    transport::{PeerReply, PeerRequest, Transport},
    validator::Message,
};
use crate::{
    block::FinalBlock,
    event::{Entry, EntryBody},
    evidence::{Promised, Receipt},
    execute::Executed,
    refusal::Refusal,
};

/// What a replica needs to start.
pub struct ReplicaOptions {
    /// Where it keeps its files. Nobody else may use the folder.
    pub dir: Disk,
    /// The consortium.
    pub consortium: Arc<Consortium>,
    /// Which node it is.
    pub me: NodeId,
    /// The node's key, with which it votes.
    pub node_key: SecretKey,
    /// The key to which that one is to be rotated, or was: it votes with the one that the ledger names.
    pub next_key: Option<SecretKey>,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
}

/// A running replica. Cheap to clone; all clones are one replica, which runs until [`Replica::shutdown`].
#[derive(Clone)]
pub struct Replica {
    pub(crate) shared: Arc<Shared>,
    pub(crate) tasks: Arc<Mutex<Tasks>>,
}

/// What has to end before the files are free again.
#[derive(Default)]
pub(crate) struct Tasks {
    pub(crate) tasks: JoinSet<()>,
    /// The voting thread; none where voting is one of the tasks.
    pub(crate) validator: Option<std::thread::JoinHandle<()>>,
}

/// Where an entry stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryStatus {
    /// On its way to the leader.
    Submitted,
    /// In a block of the local log that is not final.
    Ordered,
    /// On the ledger.
    Final(FinalEntry),
    /// It will not come onto the ledger.
    Refused(Refusal),
    /// This node knows nothing of it.
    Unknown,
}

/// The place of a final entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FinalEntry {
    /// Its block.
    pub height: BlockHeight,
    /// Its leaf.
    pub index: LogIndex,
}

/// An entry that this node sends until it is final or refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submission {
    /// The entry's id.
    pub id: Digest,
    /// Where it stood when it was submitted.
    pub status: EntryStatus,
}

/// Why an entry does not become final.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SubmitError {
    /// A rule says no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The replica stopped; whether the entry becomes final is open.
    #[error("the replica stopped: {0}")]
    Stopped(Arc<Fault>),
}

impl Replica {
    /// Starts a replica on the files of `options.dir`, which may be new.
    ///
    /// # Errors
    /// [`Fault`] if the files are not what was certified, belong to somebody else, or cannot be read.
    pub async fn open(options: ReplicaOptions, transport: Arc<dyn Transport>) -> Result<Self, Fault> {
        start::open(options, transport).await
    }

    /// Answers a request of node `from`, whom the transport has authenticated.
    pub async fn serve(&self, from: NodeId, request: PeerRequest) -> PeerReply {
        self.shared.observed.hear(from);
        self.shared.serve(from, request).await.unwrap_or_else(PeerReply::Refused)
    }

    /// Takes an entry, and sends it to the leader again and again until it is final or refused. The same entry may be
    /// submitted again. What may be taken later is kept until then, but for what operators say
    /// ([`Event::governs`](crate::event::Event::governs)): that is refused, now or as soon as the final state does not take it.
    ///
    /// # Errors
    /// [`SubmitError`] if the final state refuses it, or the replica stopped.
    pub fn submit(&self, entry: Entry) -> Result<Submission, SubmitError> {
        let mut submissions = self.submit_batch(vec![entry])?;
        Ok(submissions.pop().expect("one for each entry"))
    }

    /// Takes several entries as [`Replica::submit`] takes one. They are sent in this order, and may build on each other:
    /// those that one signature covers ([`sign_batch`](crate::author::sign_batch)), say.
    ///
    /// # Errors
    /// [`SubmitError`] if the final state and those before refuse one of them, or the replica stopped; none is sent then.
    pub fn submit_batch(&self, entries: Vec<Entry>) -> Result<Vec<Submission>, SubmitError> {
        let shared = &self.shared;
        shared.check_running()?;
        let mut submissions = Vec::with_capacity(entries.len());
        let mut new = Vec::with_capacity(entries.len());
        for entry in entries {
            let id = entry.id();
            let status = match self.status(id) {
                // Submitted: perhaps only for another node, which leaves the result to that.
                EntryStatus::Unknown | EntryStatus::Refused(_) | EntryStatus::Submitted => {
                    new.push(entry);
                    EntryStatus::Submitted
                }
                status => status,
            };
            submissions.push(Submission { id, status });
        }
        shared.check_all(&new)?;
        shared.outbox.add_all(new);
        Ok(submissions)
    }

    /// Whether the final state takes what `body` says now, for a node that is asked to sign what somebody else says. This
    /// refuses also what may be taken later, whatever it is.
    ///
    /// # Errors
    /// [`SubmitError`] if a rule refuses it, or the replica stopped.
    pub fn check(&self, body: EntryBody) -> Result<(), SubmitError> {
        self.shared.check_running()?;
        Ok(self.shared.check_unsigned(body)?)
    }

    /// Waits until an entry is final. Without a submission here it waits for somebody else's.
    ///
    /// # Errors
    /// [`SubmitError`] if it was submitted here and refused, or the replica stopped.
    pub async fn wait_final(&self, id: Digest) -> Result<FinalEntry, SubmitError> {
        let shared = &self.shared;
        let (mut tip, mut refusals, mut fault) =
            (shared.tip.subscribe(), shared.outbox.refusals.subscribe(), shared.alarm.subscribe());
        loop {
            refusals.borrow_and_update();
            if let Some(record) = tip.borrow_and_update().state.entry(id) {
                return Ok(FinalEntry { height: record.height, index: record.log_index });
            }
            if let Some(refusal) = shared.outbox.refusal(&id).filter(|_| !shared.outbox.holds(&id)) {
                return Err(refusal.into());
            }
            shared.check_running()?;
            tokio::select! {
                _ = tip.changed() => {}
                _ = refusals.changed() => {}
                _ = fault.changed() => {}
            }
        }
    }

    /// Where an entry stands.
    pub fn status(&self, id: Digest) -> EntryStatus {
        let shared = &self.shared;
        if let Some(record) = shared.tip.borrow().state.entry(id) {
            return EntryStatus::Final(FinalEntry { height: record.height, index: record.log_index });
        }
        if shared.ordered.holds(&id) {
            return EntryStatus::Ordered;
        }
        if shared.outbox.holds(&id) {
            return EntryStatus::Submitted;
        }
        shared.outbox.refusal(&id).map_or(EntryStatus::Unknown, EntryStatus::Refused)
    }

    /// What the last leader promised for an entry that this node sent to it, if that is not long ago, and for the earliest
    /// block if it did so again. It is signed, so that it proves something if it is broken; see [`crate::evidence`].
    pub fn promise(&self, id: Digest) -> Option<Promised> {
        self.shared.promise(&id)
    }

    /// That promise as a file which anybody can check.
    ///
    /// # Errors
    /// [`Fault`] if the hand-overs that lead to its epoch cannot be read.
    pub fn receipt(&self, id: Digest) -> Result<Option<Receipt>, Fault> {
        let Some(promised) = self.shared.promise(&id) else { return Ok(None) };
        let hand_overs = self.shared.store.hand_overs(promised.promise.statement.epoch)?;
        Ok(Some(Receipt::new(&self.shared.consortium, hand_overs, promised)))
    }

    /// Waits until a leader promised something for an entry that was submitted here, or it is final or refused.
    pub async fn wait_promised(&self, id: Digest) {
        let mut news = self.shared.promises.news.subscribe();
        let promised = async {
            loop {
                news.borrow_and_update();
                if self.promise(id).is_some() || news.changed().await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            () = promised => {}
            _ = self.wait_final(id) => {}
        }
    }

    /// The final state.
    pub fn state(&self) -> Arc<Executed> {
        self.shared.tip.borrow().clone()
    }

    /// Whether all that was ever final at this node is final here again. False at a node that was restored from a backup,
    /// until what it knew after the backup is final here, and whenever it asks anew whether it may vote. What was written
    /// elsewhere on this node's disk may rest on what is not known here until then.
    pub fn recovered(&self) -> watch::Receiver<bool> {
        self.shared.recovered.subscribe()
    }

    /// The final state as it grows. Steps may be skipped; [`Replica::subscribe`] skips none.
    pub fn watch_state(&self) -> watch::Receiver<Arc<Executed>> {
        self.shared.tip.subscribe()
    }

    /// Stops it for a fault that a reader met.
    pub fn fail(&self, fault: Fault) {
        self.shared.fail(fault);
    }

    /// The final blocks from a height on, each once and in order, for as long as the replica runs.
    pub fn subscribe(&self, from: BlockHeight) -> impl Stream<Item = Result<FinalBlock, Fault>> + Send + use<> {
        let (store, tip) = (self.shared.store.clone(), self.shared.tip.subscribe());
        stream::unfold((store, tip, from), |(store, mut tip, height)| async move {
            tip.wait_for(|tip| tip.height >= height).await.ok()?;
            let reader = store.clone();
            let block = blocking(move || {
                reader.block(height)?.ok_or_else(|| Fault::Missing { store: "final", what: format!("block {height}") })
            });
            Some((block.await, (store, tip, height.next()?)))
        })
    }

    /// What is final, for reading. Reads may wait for the disk.
    pub fn store(&self) -> &FinalStore {
        &self.shared.store
    }

    /// What proof bundles are built from, as of now.
    ///
    /// # Errors
    /// [`Fault`] if the disk cannot give it.
    pub async fn view(&self) -> Result<StoredView, Fault> {
        let (store, executed) = (self.shared.store.clone(), self.state());
        blocking(move || store.view(executed)).await
    }

    /// How the replica stands.
    pub fn metrics(&self) -> Metrics {
        self.shared.metrics()
    }

    /// Set when the replica stopped for a reason that an operator must see.
    pub fn fault(&self) -> watch::Receiver<Option<Arc<Fault>>> {
        self.shared.alarm.subscribe()
    }

    /// Ends everything and returns when the files are no longer written to. Clones then answer as stopped.
    pub async fn shutdown(&self) {
        let raft = self.shared.take_raft();
        self.shared.alarm.end();
        if let Some(raft) = raft {
            // An error means that the core has ended by itself.
            let _ = raft.shutdown().await;
        }
        // One that was just starting again sees the fault and ends.
        drop(self.shared.guard.lock().await);
        let Tasks { mut tasks, validator } = {
            let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *tasks)
        };
        tasks.shutdown().await;
        if let Some(validator) = validator {
            // An error means that the thread has ended by itself.
            let _ = self.shared.validator.send(Message::Stop).await;
            let _ = tokio::task::spawn_blocking(move || validator.join()).await;
        }
    }
}
