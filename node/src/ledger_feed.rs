//! Final entries on their way to the sessions: each wallet's facts, in order, from its creation on.
//!
//! One task reads the final blocks. It keeps the facts of every wallet, because a node that is offered a wallet has to
//! know its history from the first entry; they are read from the ledger again at each start.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use futures::StreamExt as _;
use ledger::{
    block::FinalBlock,
    event::{Entry, Event, next_head},
    shell::replica::Replica,
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

/// The facts of all wallets; clones share them.
#[derive(Clone)]
pub struct LedgerFeed {
    wallets: Arc<Mutex<HashMap<WalletAddress, Wallet>>>,
    height: watch::Sender<BlockHeight>,
    task: Arc<OnceLock<AbortHandle>>,
}

#[derive(Default)]
struct Wallet {
    facts: Vec<Arc<FinalFact>>,
    epoch: KeyEpoch,
    readers: Vec<mpsc::UnboundedSender<Arc<FinalFact>>>,
}

impl LedgerFeed {
    /// Starts to read the replica's final blocks.
    pub fn start(replica: &Replica) -> Self {
        let feed =
            Self { wallets: Arc::default(), height: watch::Sender::new(BlockHeight::ZERO), task: Arc::default() };
        let task = tokio::spawn(feed.clone().read(replica.clone()));
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

    /// The facts of a wallet: those that are final already, then each that becomes final.
    pub fn subscribe(&self, wallet: WalletAddress) -> mpsc::UnboundedReceiver<Arc<FinalFact>> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let mut wallets = self.lock();
        let known = wallets.entry(wallet).or_default();
        // The receiver is in this scope, so it takes everything.
        known.facts.iter().for_each(|fact| drop(sender.send(fact.clone())));
        known.readers.push(sender);
        receiver
    }

    /// The facts of a wallet that are final.
    pub fn facts(&self, wallet: WalletAddress) -> Vec<Arc<FinalFact>> {
        self.lock().get(&wallet).map(|known| known.facts.clone()).unwrap_or_default()
    }

    /// The height up to which every reader was told everything.
    pub fn height(&self) -> watch::Receiver<BlockHeight> {
        self.height.subscribe()
    }

    async fn read(self, replica: Replica) {
        let blocks = replica.subscribe(BlockHeight::new(1));
        let mut blocks = std::pin::pin!(blocks);
        while let Some(block) = blocks.next().await {
            match block {
                Ok(block) => self.take(&block),
                // Sessions would learn nothing more.
                Err(fault) => return replica.fail(fault),
            }
        }
    }

    fn take(&self, block: &FinalBlock) {
        let header = &block.block.header;
        for (entry, at) in block.block.entries.iter().zip(block.first_index().get()..) {
            self.take_entry(entry, LogIndex::new(at), header.time);
        }
        self.height.send_replace(header.height);
    }

    fn take_entry(&self, entry: &Entry, at: LogIndex, time: Timestamp) {
        let event = &entry.body.event;
        let (Some(address), Some(before)) = (event.wallet(), event.swaps_head()) else { return };
        let Some(change) = change(event) else { return };
        let mut wallets = self.lock();
        let known = wallets.entry(address).or_default();
        if let Event::KeyConfirmed(confirmed) = event {
            known.epoch = confirmed.ticket.ticket.epoch;
        }
        let author = entry.body.author;
        let after = next_head(&before, &entry.id());
        let fact = WalletFact { at, author, before, after, epoch: known.epoch, change };
        let fact = Arc::new(FinalFact { fact, entry: entry.clone(), time });
        known.readers.retain(|reader| reader.send(fact.clone()).is_ok());
        known.facts.push(fact);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<WalletAddress, Wallet>> {
        self.wallets.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
        | Event::ReGenesis(_) => return None,
    })
}
