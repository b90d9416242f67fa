//! What a replica notes of itself and of its peers for people to read. Nothing that it does depends on this.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::{FutureExt as _, future::BoxFuture};
use tokio::time::Instant;
use wallet::units::{NodeId, Timestamp};

use super::{
    lineage::Lineage,
    resumption::Custody,
    transport::{PeerReply, PeerRequest, Transport, TransportFault},
};

/// See the module.
#[derive(Debug)]
pub(crate) struct Observed {
    since: Instant,
    heard: Mutex<BTreeMap<NodeId, Instant>>,
    held_back: Mutex<BTreeMap<&'static str, u64>>,
    custody: Mutex<Custody>,
    fetching_from: Mutex<Option<NodeId>>,
    lineages: Mutex<BTreeMap<NodeId, Lineage>>,
    block_skew_ms: AtomicI64,
    block_entries: AtomicU64,
}

impl Observed {
    pub(crate) fn new() -> Self {
        Self {
            since: Instant::now(),
            heard: Mutex::default(),
            held_back: Mutex::default(),
            custody: Mutex::new(Custody::Asking(Default::default())),
            fetching_from: Mutex::default(),
            lineages: Mutex::default(),
            block_skew_ms: AtomicI64::new(0),
            block_entries: AtomicU64::new(0),
        }
    }

    /// A message or an answer of `node` came.
    pub(crate) fn hear(&self, node: NodeId) {
        lock(&self.heard).insert(node, Instant::now());
    }

    /// How long ago each of these was heard; or how long this replica runs, if it never was.
    pub(crate) fn unheard_for(&self, nodes: impl Iterator<Item = NodeId>) -> BTreeMap<NodeId, Duration> {
        let heard = lock(&self.heard);
        nodes.map(|node| (node, heard.get(&node).unwrap_or(&self.since).elapsed())).collect()
    }

    /// A leader's message, or what somebody said, was not let through because of the rule with this name.
    pub(crate) fn hold_back(&self, rule: &'static str) {
        *lock(&self.held_back).entry(rule).or_default() += 1;
    }

    pub(crate) fn held_back(&self) -> BTreeMap<&'static str, u64> {
        lock(&self.held_back).clone()
    }

    pub(crate) fn note_custody(&self, custody: &Custody) {
        let mut known = lock(&self.custody);
        if *known != *custody {
            *known = custody.clone();
        }
    }

    pub(crate) fn custody(&self) -> Custody {
        lock(&self.custody).clone()
    }

    /// This replica asks `node` for what it misses.
    pub(crate) fn fetch_from(&self, node: NodeId) {
        *lock(&self.fetching_from) = Some(node);
    }

    pub(crate) fn fetching_from(&self) -> Option<NodeId> {
        *lock(&self.fetching_from)
    }

    /// `node` says in which lineage it is: whether it said another one before, or none.
    pub(crate) fn note_lineage(&self, node: NodeId, lineage: Lineage) -> bool {
        lock(&self.lineages).insert(node, lineage) != Some(lineage)
    }

    /// What the others said of that last.
    pub(crate) fn lineages(&self) -> BTreeMap<NodeId, Lineage> {
        lock(&self.lineages).clone()
    }

    /// A block with `time` came to the log at `now`.
    pub(crate) fn note_block_time(&self, time: Timestamp, now: Timestamp) {
        let skew = i128::from(time.get()) - i128::from(now.get());
        self.block_skew_ms.store(i64::try_from(skew).unwrap_or(i64::MAX), Ordering::Relaxed);
    }

    /// By how much the time of the block that came last was ahead of this node's clock, in ms.
    pub(crate) fn block_skew_ms(&self) -> i64 {
        self.block_skew_ms.load(Ordering::Relaxed)
    }

    /// A block with so many entries became final.
    pub(crate) fn note_final(&self, entries: usize) {
        self.block_entries.store(entries as u64, Ordering::Relaxed);
    }

    pub(crate) fn block_entries(&self) -> u64 {
        self.block_entries.load(Ordering::Relaxed)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The transport, which notes who answers.
pub(crate) struct Listening {
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) observed: Arc<Observed>,
}

impl Transport for Listening {
    fn request(
        &self,
        to: NodeId,
        request: PeerRequest,
        timeout: Duration,
    ) -> BoxFuture<'_, Result<PeerReply, TransportFault>> {
        let reply = self.transport.request(to, request, timeout);
        let note = move |reply: &Result<PeerReply, TransportFault>| {
            if reply.is_ok() {
                self.observed.hear(to);
            }
        };
        reply.inspect(note).boxed()
    }
}
