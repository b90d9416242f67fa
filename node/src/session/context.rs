//! What every session of a node works with.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use genesis::Consortium;
use ledger::{
    event::{Entry, EntryBody, Event},
    shell::replica::Replica,
};
use scheduler::decision::LogHead;
use tokio::sync::{Semaphore, watch};
use wallet::{
    identity::{RegionId, SecretKey},
    units::{NodeId, Timestamp},
};

use super::{disk::SessionsDir, line::Line};
use crate::{
    engine::EngineHandle,
    governance::OnTheirWay,
    ledger_feed::LedgerFeed,
    members::Members,
    network::stream::{StreamExports, StreamLink},
    node_keys::NodeKeys,
    peer::SessionLink,
    routing::links::Links,
};

/// The node's parts that sessions use.
pub struct NodeContext {
    /// This node.
    pub me: NodeId,
    /// Its key, and while it is rotated the other one: see [`Self::key`].
    pub keys: NodeKeys,
    /// Its region, by genesis.
    pub region: RegionId,
    /// The consortium as it was founded: its id, regions and models. Who takes part is in [`Self::members`].
    pub consortium: Arc<Consortium>,
    /// Its copy of the ledger.
    pub replica: Replica,
    /// The wallets' final entries.
    pub feed: LedgerFeed,
    /// Its engine.
    pub engine: EngineHandle,
    /// The way to the other nodes' sessions.
    pub link: Arc<dyn SessionLink>,
    /// The way to the other nodes' streams.
    pub streams: Arc<dyn StreamLink>,
    /// The same for the tokens of sessions that this node relays, with slots of its own: clients that wait for their next
    /// token take nothing from a move.
    pub token_streams: Arc<dyn StreamLink>,
    /// The streams that this node offers.
    pub exports: StreamExports,
    /// The sessions that wait for room in the engine.
    pub line: Line,
    /// Turns of parked sessions whose pages are looked at. Each reads all that it has on the disk.
    pub counts: Semaphore,
    /// What is measured about the ways there.
    pub links: Links,
    /// Where sessions are kept.
    pub disk: SessionsDir,
    /// Drawn when this process started.
    pub boot_nonce: [u8; 16],
    /// Where this node's decision log stands; the scheduler's service keeps it up to date.
    pub decisions: watch::Sender<LogHead>,
    /// What it is putting on the ledger for operators.
    pub governing: OnTheirWay,
    /// How long things may take.
    pub patience: Patience,
}

/// Parked sessions whose pages are looked at at once: a node that starts finds all of them.
pub const COUNTS_AT_ONCE: usize = 4;

/// How long a node waits before it gives something up.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// From the offer's submission to the receiver's request to freeze.
    pub pre_copy: Duration,
    /// From the freeze to the final confirm.
    pub frozen: Duration,
    /// From a reservation to its final offer.
    pub reservation: Duration,
    /// One answer of a peer.
    pub answer: Duration,
    /// How long the tokens of a session that is over can still be read.
    pub linger: Duration,
    /// How long a session may be idle before it may be evicted.
    pub ttl: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            pre_copy: Duration::from_secs(20),
            frozen: Duration::from_secs(10),
            reservation: Duration::from_secs(20),
            answer: Duration::from_secs(5),
            linger: Duration::from_secs(120),
            ttl: Duration::from_secs(600),
        }
    }
}

impl NodeContext {
    /// Who takes part, as of now.
    pub fn members(&self) -> Members {
        self.replica.state().into()
    }

    /// The key that the ledger names as this node's now. While it names none that this node has, the one it began with,
    /// with which nobody lets it do anything.
    pub fn key(&self) -> &SecretKey {
        let named = self.members().node(self.me).and_then(|node| self.keys.named(node.key));
        named.unwrap_or(self.keys.key())
    }

    /// An entry by this node, signed also by `holder` where the event speaks for the wallet's holder.
    pub fn sign(&self, event: Event, holder: Option<&SecretKey>) -> Entry {
        let body = EntryBody { consortium: self.consortium.id(), author: self.me, nonce: random(), event };
        body.sign(self.key(), holder)
    }
}

/// `N` random bytes.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    fill_random(&mut bytes);
    bytes
}

/// Fills `bytes` from the operating system: the port through which the wallet's core draws.
pub fn fill_random(bytes: &mut [u8]) {
    getrandom::fill(bytes).expect("the operating system has random bytes");
}

/// The time of day.
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::new(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
