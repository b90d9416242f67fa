//! Final entries on their way to the sessions: each wallet's facts, in order, from its creation on.
//!
//! A node that is offered a wallet has to know its history from the first entry. So whoever subscribes to a wallet is told
//! what the ledger's index of wallets leads to, and then what one task reads from the blocks that become final. Facts are
//! kept of the wallets that have a session here, and of no others: what the ledger holds besides costs no memory and no
//! time at a start.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use futures::StreamExt as _;
use ledger::{
    block::FinalBlock,
    event::{Entry, Event, next_head},
    execute::Executed,
    shell::{fault::Fault, final_store::FinalStore, replica::Replica},
};
use tokio::{
    sync::{mpsc, watch},
    task::AbortHandle,
};
use wallet::{
    digest::Digest,
    grant::WalletAddress,
    handoff::{Change, WalletFact},
    units::{BlockHeight, KeyEpoch, LogIndex, Timestamp},
};

/// A final entry of one wallet.
#[derive(Clone, Debug)]
pub struct FinalFact {
    /// What the hand-over machine learns from it.
    pub fact: WalletFact,
    /// The entry.
    pub entry: Entry,
    /// Time of its block.
    pub time: Timestamp,
}

/// The facts of the wallets that somebody here asks about; clones share them.
#[derive(Clone)]
pub struct LedgerFeed {
    replica: Replica,
    asked: Arc<Mutex<Asked>>,
    height: watch::Sender<BlockHeight>,
    task: Arc<OnceLock<AbortHandle>>,
}

/// What is kept.
struct Asked {
    /// How many entries the log had after the last block that was read.
    size: u64,
    wallets: HashMap<WalletAddress, Wallet>,
}

/// A wallet for as long as it has a reader.
struct Wallet {
    /// How many entries the log had when the first reader came: what was final before is looked up.
    since: u64,
    facts: Vec<Arc<FinalFact>>,
    epoch: KeyEpoch,
    readers: Vec<mpsc::UnboundedSender<Arc<FinalFact>>>,
    /// What became final while that goes on.
    waiting: Vec<Placed>,
    is_known: watch::Sender<bool>,
}

/// An entry, and where it became final.
struct Placed {
    entry: Entry,
    at: LogIndex,
    time: Timestamp,
}

impl LedgerFeed {
    /// Starts to read the replica's final blocks, from the next one on.
    pub fn start(replica: &Replica) -> Self {
        let executed = replica.state();
        let feed = Self {
            replica: replica.clone(),
            asked: Arc::new(Mutex::new(Asked { size: executed.log.size(), wallets: HashMap::new() })),
            height: watch::Sender::new(executed.height),
            task: Arc::default(),
        };
        let task = tokio::spawn(feed.clone().read(executed.height));
        // Set here and nowhere else.
        let _ = feed.task.set(task.abort_handle());
        feed
    }

    /// Reads no more blocks.
    pub fn stop(&self) {
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }

    /// The facts of a wallet: those that are final already, then each that becomes final. Kept for as long as the receiver
    /// is there.
    pub fn subscribe(&self, wallet: WalletAddress) -> mpsc::UnboundedReceiver<Arc<FinalFact>> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let mut asked = self.lock();
        let size = asked.size;
        if asked.subscribe(wallet, sender) {
            // The state is no older than the last block that was read.
            let executed = self.replica.state();
            if executed.state.wallet(wallet).is_none() {
                asked.learn(wallet, size, Vec::new());
            } else {
                tokio::spawn(self.clone().look_up(wallet, executed, size));
            }
        }
        receiver
    }

    /// The facts of a wallet that are final, if somebody is subscribed to it.
    pub fn facts(&self, wallet: WalletAddress) -> Vec<Arc<FinalFact>> {
        self.lock().wallets.get(&wallet).map(|known| known.facts.clone()).unwrap_or_default()
    }

    /// Returns once the readers of `wallet` were told all that is final up to `height`. Never, if it cannot be read: then the
    /// replica stops.
    pub async fn told(&self, wallet: WalletAddress, height: BlockHeight) {
        let known = self.lock().wallets.get(&wallet).map(|wallet| wallet.is_known.subscribe());
        if let Some(mut known) = known {
            // An error means that nobody reads it any more.
            let _ = known.wait_for(|known| *known).await;
        }
        // The sender is in this scope.
        let _ = self.height().wait_for(|told| *told >= height).await;
    }

    /// The height up to which every reader was told everything, but for what is still looked up.
    pub fn height(&self) -> watch::Receiver<BlockHeight> {
        self.height.subscribe()
    }

    /// How many wallets are kept, and how many facts of them.
    #[cfg(test)]
    pub fn kept(&self) -> (usize, usize) {
        let asked = self.lock();
        (asked.wallets.len(), asked.wallets.values().map(|wallet| wallet.facts.len()).sum())
    }

    async fn read(self, from: BlockHeight) {
        let Some(next) = from.next() else { return };
        let blocks = self.replica.subscribe(next);
        let mut blocks = std::pin::pin!(blocks);
        while let Some(block) = blocks.next().await {
            match block {
                Ok(block) => {
                    self.lock().take(&block);
                    self.height.send_replace(block.block.header.height);
                }
                // Sessions would learn nothing more.
                Err(fault) => return self.replica.fail(fault),
            }
        }
    }

    /// Reads what was final of a wallet when the log had `size` entries.
    async fn look_up(self, wallet: WalletAddress, executed: Arc<Executed>, size: u64) {
        let store = self.replica.store().clone();
        match tokio::task::spawn_blocking(move || history(&store, &executed, wallet, size)).await {
            Ok(Ok(history)) => self.lock().learn(wallet, size, history),
            Ok(Err(fault)) => self.replica.fail(fault),
            // The runtime ends.
            Err(_) => {}
        }
    }

    fn lock(&self) -> MutexGuard<'_, Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Asked {
    /// Adds a reader. True if nothing is known of the wallet yet: then it waits for [`Self::learn`].
    fn subscribe(&mut self, wallet: WalletAddress, reader: mpsc::UnboundedSender<Arc<FinalFact>>) -> bool {
        let is_new = !self.wallets.contains_key(&wallet);
        let known = self.wallets.entry(wallet).or_insert_with(|| Wallet::new(self.size));
        // The receiver is with the caller, so it takes everything.
        known.facts.iter().for_each(|fact| drop(reader.send(fact.clone())));
        known.readers.push(reader);
        is_new
    }

    /// Takes what was final of a wallet when its first reader came, at `since`, and then what became final since.
    fn learn(&mut self, wallet: WalletAddress, since: u64, history: Vec<Placed>) {
        let is_meant = |known: &&mut Wallet| known.since == since && !*known.is_known.borrow();
        // Else that reader went, and this is for another one, who is told something else.
        let Some(known) = self.wallets.get_mut(&wallet).filter(is_meant) else { return };
        let waiting = std::mem::take(&mut known.waiting);
        history.into_iter().chain(waiting).for_each(|placed| known.take(placed));
        known.is_known.send_replace(true);
    }

    fn take(&mut self, block: &FinalBlock) {
        let time = block.block.header.time;
        for (entry, at) in block.block.entries.iter().zip(block.first_index().get()..) {
            let known = entry.body.event.wallet().and_then(|wallet| self.wallets.get_mut(&wallet));
            let Some(known) = known else { continue };
            let placed = Placed { entry: entry.clone(), at: LogIndex::new(at), time };
            let is_known = *known.is_known.borrow();
            match is_known {
                true => known.take(placed),
                false => known.waiting.push(placed),
            }
        }
        self.size = block.block.header.log_size;
        self.wallets.retain(|_, known| {
            known.readers.retain(|reader| !reader.is_closed());
            !known.readers.is_empty()
        });
    }
}

impl Wallet {
    fn new(since: u64) -> Self {
        let (facts, readers, waiting) = Default::default();
        Self { since, facts, epoch: KeyEpoch::ZERO, readers, waiting, is_known: watch::Sender::new(false) }
    }

    fn take(&mut self, Placed { entry, at, time }: Placed) {
        let event = &entry.body.event;
        let Some((before, change)) = event.swaps_head().zip(change(event)) else { return };
        if let Event::KeyConfirmed(confirmed) = event {
            self.epoch = confirmed.ticket.ticket.epoch;
        }
        let (author, after) = (entry.body.author, next_head(&before, &entry.id()));
        let fact = WalletFact { at, author, before, after, epoch: self.epoch, change };
        let fact = Arc::new(FinalFact { fact, entry, time });
        // Who is not there any more is removed at the end of the block.
        self.readers.iter().for_each(|reader| drop(reader.send(fact.clone())));
        self.facts.push(fact);
    }
}

/// The entries that swapped a wallet's head among the first `size`, by their index. The rest would not be kept.
fn history(store: &FinalStore, executed: &Executed, wallet: WalletAddress, size: u64) -> Result<Vec<Placed>, Fault> {
    let placed = |at: LogIndex| {
        let missing = || Fault::Missing { store: "final", what: format!("entry {at} of wallet {}", wallet.0) };
        let entry = store.entry(at)?.ok_or_else(missing)?;
        let time = executed.state.entry(entry.id()).ok_or_else(missing)?.time;
        Ok(Placed { entry, at, time })
    };
    store.head_swaps(wallet, 0..size, executed)?.into_iter().map(placed).collect()
}

impl FinalFact {
    /// The entry's id.
    pub fn id(&self) -> Digest {
        self.entry.id()
    }
}

fn change(event: &Event) -> Option<Change> {
    Some(match event {
        Event::WalletCreated(created) => Change::Created { holder_key: created.holder_key },
        Event::MigrationOffered(offer) => Change::Offered { receiver: offer.receiver, deadline: offer.deadline },
        Event::MigrationAccepted(_) => Change::Accepted,
        Event::KeyConfirmed(confirmed) => {
            Change::Confirmed { holder_key: confirmed.holder_key, next_token: confirmed.ticket.ticket.next_token }
        }
        Event::MigrationAborted(_) => Change::Aborted,
        Event::Touch(touch) => Change::Touched { boot_nonce: touch.boot_nonce },
        Event::BatchClosed(_) => Change::Closed,
        Event::BaselineCommitted(_)
        | Event::LatencyDelta(_)
        | Event::BatchEvicted(_)
        | Event::DecisionAnchored(_)
        | Event::ValidatorResumed(_)
        | Event::ProposalMade(_)
        | Event::BallotCast(_)
        | Event::ProposalWithdrawn(_)
        | Event::ProposalEnacted(_)
        | Event::ReGenesis(_)
        | Event::GateNotice(_) => return None,
    })
}

#[cfg(test)]
mod tests;
