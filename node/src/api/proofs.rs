//! What is needed to prove a move: where each wallet's entries and each node's anchors stand, and the leaves' hashes.
//!
//! One task reads the final blocks once, from the first on, and follows them. The hashes are kept in memory, 32 bytes
//! for each entry, so that a proof does not read the whole log.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use futures::StreamExt as _;
use genesis::Consortium;
use ledger::{
    block::Header,
    bundle::{Bundle, FinalView, NotProvable, build},
    certificate::Certificate,
    event::{Entry, Event},
    execute::Executed,
    shell::{
        final_store::{FinalBlock, FinalStore},
        replica::Replica,
    },
    state::State,
};
use tokio::{sync::watch, task::JoinHandle, time::timeout};
use wallet::{
    digest::Digest,
    grant::WalletAddress,
    units::{BlockHeight, KeyEpoch, LogIndex, NodeId},
};

use super::{problem::Problem, refusal::Refusal};
use crate::schedule::Schedule;

/// How long a proof waits for the index to reach the final state.
const PATIENCE: Duration = Duration::from_secs(5);

/// Makes proofs. Clones share one index.
#[derive(Clone)]
pub struct Proofs {
    replica: Replica,
    consortium: Arc<Consortium>,
    index: Arc<RwLock<Index>>,
    height: watch::Receiver<BlockHeight>,
}

#[derive(Default)]
struct Index {
    leaves: Vec<Digest>,
    wallets: HashMap<WalletAddress, Vec<LogIndex>>,
    anchors: HashMap<NodeId, Vec<LogIndex>>,
}

/// The final chain at one height.
struct View {
    store: FinalStore,
    executed: Arc<Executed>,
    tip: Option<(Header, Certificate)>,
    leaves: Vec<Digest>,
    wallet_entries: Vec<LogIndex>,
    anchors: Vec<LogIndex>,
}

/// What caused the move to an epoch.
struct Cause {
    source: NodeId,
    decision: Digest,
}

impl Proofs {
    /// Starts to read the final blocks. The task ends with the replica.
    pub fn start(replica: Replica, consortium: Arc<Consortium>) -> (Self, JoinHandle<()>) {
        let (reached, height) = watch::channel(BlockHeight::ZERO);
        let index: Arc<RwLock<Index>> = Arc::default();
        let reader = read(replica.clone(), index.clone(), reached);
        (Self { replica, consortium, index, height }, tokio::spawn(reader))
    }

    /// Where the entries about `wallet` stand, oldest first.
    pub fn wallet_entries(&self, wallet: WalletAddress) -> Vec<LogIndex> {
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        index.wallets.get(&wallet).cloned().unwrap_or_default()
    }

    /// The proof of the move by which `wallet` came to `epoch`, or of its last move.
    ///
    /// # Errors
    /// N-511 for an unknown wallet, N-515 if it did not move, N-514 while the decision is not anchored, and those of
    /// the source if it does not hand out its decisions.
    pub async fn bundle(
        &self,
        schedule: &Schedule,
        wallet: WalletAddress,
        epoch: Option<KeyEpoch>,
    ) -> Result<Bundle, Problem> {
        let executed = self.replica.state();
        let record = executed.state.wallet(wallet).ok_or(Refusal::WalletUnknown)?;
        let epoch = epoch.unwrap_or(record.epoch);
        self.reach(executed.height).await?;
        let entries = self.wallet_entries(wallet);
        let store = self.replica.store().clone();
        let cause = blocking(move || cause(&store, &entries, epoch)).await?;
        let Some(Cause { source, decision }) = cause else {
            return Err(Refusal::NotProvable { reason: format!("no move to epoch {epoch} is final") }.into());
        };
        let decisions = schedule.decisions_of(source, decision).await?;
        let view = self.view(executed, wallet, source);
        let consortium = self.consortium.clone();
        let built = blocking(move || {
            let view = view.with_tip()?;
            Ok::<_, Problem>(build(&consortium, &view, wallet, epoch, &decisions)?)
        });
        built.await
    }

    async fn reach(&self, height: BlockHeight) -> Result<(), Refusal> {
        let mut reached = self.height.clone();
        let reached = timeout(PATIENCE, reached.wait_for(|reached| *reached >= height)).await;
        match reached {
            Ok(Ok(_)) => Ok(()),
            _ => Err(Refusal::NotReady { reason: "the index of the final entries is behind".to_owned() }),
        }
    }

    fn view(&self, executed: Arc<Executed>, wallet: WalletAddress, source: NodeId) -> View {
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        let size = executed.log.size();
        let within = |places: Option<&Vec<LogIndex>>| -> Vec<LogIndex> {
            places.into_iter().flatten().copied().filter(|at| at.get() < size).collect()
        };
        View {
            store: self.replica.store().clone(),
            tip: None,
            leaves: index.leaves.iter().take(usize::try_from(size).unwrap_or(usize::MAX)).copied().collect(),
            wallet_entries: within(index.wallets.get(&wallet)),
            anchors: within(index.anchors.get(&source)),
            executed,
        }
    }
}

impl View {
    /// Reads the certified header of the state.
    fn with_tip(mut self) -> Result<Self, ledger::shell::fault::Fault> {
        let height = self.executed.height;
        let header = self.store.header(height)?;
        self.tip = header.zip(self.store.certificate(height)?);
        Ok(self)
    }
}

impl FinalView for View {
    fn tip(&self) -> Option<(&Header, &Certificate)> {
        self.tip.as_ref().map(|(header, certificate)| (header, certificate))
    }

    fn state(&self) -> &State {
        &self.executed.state
    }

    fn leaf_hashes(&self) -> &[Digest] {
        &self.leaves
    }

    fn entry(&self, index: LogIndex) -> Option<Entry> {
        self.store.entry(index).ok().flatten()
    }

    fn wallet_entries(&self, _: WalletAddress) -> Vec<LogIndex> {
        self.wallet_entries.clone()
    }

    fn anchors(&self, _: NodeId) -> Vec<LogIndex> {
        self.anchors.clone()
    }
}

impl Index {
    fn take(&mut self, block: &FinalBlock) {
        for (entry, at) in block.block.entries.iter().zip(block.first_index().get()..) {
            let at = LogIndex::new(at);
            self.leaves.push(entry.leaf_hash());
            match entry.body.event.wallet() {
                Some(wallet) => self.wallets.entry(wallet).or_default().push(at),
                None => self.anchors.entry(entry.body.author).or_default().push(at),
            }
        }
    }
}

async fn read(replica: Replica, index: Arc<RwLock<Index>>, reached: watch::Sender<BlockHeight>) {
    let mut blocks = std::pin::pin!(replica.subscribe(BlockHeight::new(1)));
    while let Some(block) = blocks.next().await {
        match block {
            Ok(block) => {
                index.write().unwrap_or_else(PoisonError::into_inner).take(&block);
                reached.send_replace(block.block.header.height);
            }
            Err(fault) => {
                tracing::error!(%fault, "final blocks cannot be read: there are no proofs any more");
                return;
            }
        }
    }
}

/// Source and decision of the move to `epoch`, by the wallet's entries: its last offer before the confirm.
fn cause(store: &FinalStore, entries: &[LogIndex], epoch: KeyEpoch) -> Result<Option<Cause>, Problem> {
    let mut offered = None;
    for at in entries {
        match store.entry(*at)?.as_ref().map(|entry| &entry.body.event) {
            Some(Event::MigrationOffered(offer)) => offered = Some(offer.decision),
            Some(Event::KeyConfirmed(confirm)) if confirm.ticket.ticket.epoch == epoch => {
                let source = confirm.ticket.ticket.source;
                return Ok(offered.map(|decision| Cause { source, decision }));
            }
            _ => {}
        }
    }
    Ok(None)
}

impl From<NotProvable> for Problem {
    fn from(reason: NotProvable) -> Self {
        let words = reason.to_string();
        match reason {
            NotProvable::NotAnchored(_) => Refusal::NotAnchored { reason: words }.into(),
            _ => Refusal::NotProvable { reason: words }.into(),
        }
    }
}

/// Disk work, off the runtime's own threads.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| Err(Refusal::Failed.into()))
}
