//! Checkpoints of the final log: this node's own cosignatures, and a quorum of its peers' for the one that it shows.
//!
//! Every node cosigns the same trees without a word to the others: those after the first block of each second of block
//! time, if the log grew. So there is at most one checkpoint a second, none while nothing happens, and the peers have
//! cosigned it too when they are asked. A node cosigns only what is final at it, in the order of the log, so it never
//! says anything that contradicts what it said before.

pub mod messages;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::future::join_all;
use ledger::{
    block::Header,
    shell::{fault::Fault, final_store::FinalStore},
    tlog::{Checkpoint, Cosignature, CosignedCheckpoint},
    vote::Signer,
};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep},
};
use wallet::units::{BlockHeight, NodeId, Timestamp};

use crate::{
    peer::{PeerFault, SessionReply, SessionRequest},
    session::context::{NodeContext, now},
};
use messages::{CosignReply, CosignRequest};

/// Own cosignatures that peers may still ask for: more seconds than anybody gathers for one checkpoint.
const KEPT: usize = 16;

/// How long a peer may take to answer.
const TIMEOUT: Duration = Duration::from_secs(1);

/// How long cosignatures of one checkpoint are gathered while there is a newer one.
const PATIENCE: Duration = Duration::from_secs(5);

/// The time before peers that had no cosignature are asked again.
const PAUSE: Duration = Duration::from_millis(200);

/// The running service. Clones are one service.
#[derive(Clone)]
pub struct Checkpoints {
    shared: Arc<Shared>,
    tasks: Arc<Mutex<JoinSet<()>>>,
}

struct Shared {
    node: Arc<NodeContext>,
    /// What this node cosigned last, the newest at the end.
    own: Mutex<VecDeque<Own>>,
    newest: watch::Sender<Option<Own>>,
    shown: watch::Sender<Option<Arc<CosignedCheckpoint>>>,
}

/// A checkpoint with this node's cosignature.
#[derive(Clone)]
struct Own {
    checkpoint: Checkpoint,
    cosignature: Cosignature,
}

impl Checkpoints {
    /// Starts to cosign and to gather. Must run inside a tokio runtime.
    pub fn start(node: Arc<NodeContext>) -> Self {
        let shared = Arc::new(Shared {
            node,
            own: Mutex::default(),
            newest: watch::Sender::new(None),
            shown: watch::Sender::new(None),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(cosign_forever(shared.clone()));
        tasks.spawn(gather_forever(shared.clone()));
        Self { shared, tasks: Arc::new(Mutex::new(tasks)) }
    }

    /// The newest checkpoint with the cosignatures of a quorum; none before the first.
    pub fn newest(&self) -> Option<Arc<CosignedCheckpoint>> {
        self.shared.shown.borrow().clone()
    }

    /// Answers a node that gathers cosignatures. It is the node's own word about the final log, so any node of the
    /// consortium may have it.
    pub fn on_cosign(&self, request: CosignRequest) -> CosignReply {
        let own = lock(&self.shared.own);
        let asked = own.iter().find(|own| own.checkpoint.size == request.size);
        CosignReply { cosignature: asked.map(|own| own.cosignature) }
    }

    /// Ends both tasks.
    pub async fn stop(&self) {
        let mut tasks = std::mem::take(&mut *lock(&self.tasks));
        tasks.shutdown().await;
    }
}

impl Shared {
    /// Cosigns the tree after `header`, unless this node has cosigned it or a later one.
    fn cosign(&self, header: &Header) {
        let mut own = lock(&self.own);
        if own.back().is_some_and(|last| last.checkpoint.size >= header.log_size) {
            return;
        }
        let node = &self.node;
        let checkpoint = Checkpoint::new(&node.consortium.id(), header.log_size, header.log_root);
        let signer = Signer { node: node.me, key: node.key.clone() };
        let cosignature = Cosignature::sign(&checkpoint, &signer, seconds(now()));
        let newest = Own { checkpoint, cosignature };
        own.push_back(newest.clone());
        if own.len() > KEPT {
            own.pop_front();
        }
        self.newest.send_replace(Some(newest));
    }

    /// Asks the peers for their cosignatures until there is a quorum, or for long enough while there is a newer tree.
    async fn gather(&self, own: Own, newest: &watch::Receiver<Option<Own>>) {
        let (node, validators) = (&self.node, self.node.members().validators());
        let checkpoint = own.checkpoint;
        let mut found = BTreeMap::from([(node.me, own.cosignature)]);
        let begun = Instant::now();
        loop {
            let missing = validators.members.iter().map(|(peer, _)| *peer).filter(|peer| !found.contains_key(peer));
            let missing: Vec<NodeId> = missing.collect();
            let answers = join_all(missing.into_iter().map(|peer| self.ask(peer, &checkpoint))).await;
            found.extend(answers.into_iter().flatten().map(|cosignature| (cosignature.cosigner, cosignature)));
            if found.len() >= validators.quorum() {
                let cosignatures = found.into_values().collect();
                self.shown.send_replace(Some(Arc::new(CosignedCheckpoint { checkpoint, cosignatures })));
                return;
            }
            let is_newer = newest.has_changed().unwrap_or(true);
            if is_newer && begun.elapsed() >= PATIENCE {
                return;
            }
            sleep(PAUSE).await;
        }
    }

    /// The cosignature of `peer`, if it has one and it is right.
    async fn ask(&self, peer: NodeId, checkpoint: &Checkpoint) -> Option<Cosignature> {
        let request = SessionRequest::Cosign(CosignRequest { size: checkpoint.size });
        let answer = self.node.link.ask(peer, request, TIMEOUT).await;
        let cosignature = match answer {
            Ok(SessionReply::Cosign(CosignReply { cosignature })) => cosignature?,
            Ok(_) => {
                let fault = PeerFault::unexpected(peer);
                tracing::warn!(node = %peer, %fault, "no cosignature");
                return None;
            }
            Err(fault) => {
                tracing::debug!(node = %peer, %fault, "no cosignature");
                return None;
            }
        };
        let verified = cosignature.verify(checkpoint, &self.node.members().validators());
        if cosignature.cosigner != peer || verified.is_err() {
            tracing::warn!(node = %peer, size = checkpoint.size, "it cosigned something else than this node has");
            return None;
        }
        Some(cosignature)
    }
}

async fn cosign_forever(shared: Arc<Shared>) {
    let mut tips = shared.node.replica.watch_state();
    let mut seen = None;
    loop {
        let tip = tips.borrow_and_update().height;
        let (store, created) = (shared.node.replica.store().clone(), shared.node.consortium.created());
        let found = tokio::task::spawn_blocking(move || candidates(&store, created, seen, tip)).await;
        match found {
            Ok(Ok(headers)) => headers.iter().for_each(|header| shared.cosign(header)),
            Ok(Err(fault)) => {
                tracing::error!(%fault, "final headers cannot be read: there are no checkpoints any more");
                return;
            }
            // The runtime ends.
            Err(_) => return,
        }
        seen = Some(tip);
        if tips.changed().await.is_err() {
            return;
        }
    }
}

async fn gather_forever(shared: Arc<Shared>) {
    let mut newest = shared.newest.subscribe();
    while newest.changed().await.is_ok() {
        let own = newest.borrow_and_update().clone();
        if let Some(own) = own {
            shared.gather(own, &newest).await;
        }
    }
}

/// The headers after which the log is cosigned: those after `seen` up to `tip`, ascending; after a start only the last.
fn candidates(
    store: &FinalStore,
    created: Timestamp,
    seen: Option<BlockHeight>,
    tip: BlockHeight,
) -> Result<Vec<Header>, Fault> {
    let mut found = VecDeque::new();
    let mut header = store.header(tip)?;
    while let Some(current) = header.filter(|header| seen.is_none_or(|seen| header.height > seen)) {
        let parent = match current.height.get() {
            0 | 1 => None,
            height => store.header(BlockHeight::new(height - 1))?,
        };
        let before = parent.as_ref().map_or(created, |parent| parent.time);
        if seconds(current.time) > seconds(before) {
            found.push_front(current);
            if seen.is_none() || found.len() > KEPT {
                break;
            }
        }
        header = parent;
    }
    Ok(found.into())
}

const fn seconds(time: Timestamp) -> u64 {
    time.get() / 1_000
}

/// Nothing that panics runs under these locks.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
