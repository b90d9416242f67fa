//! Checkpoints of the final log: this node's own cosignatures, and a quorum of its peers' for the one that it shows.
//!
//! Every node cosigns the same trees without a word to the others: those after the first block of each second of block
//! time, if the log grew. So there is at most one checkpoint a second, none while nothing happens, and the peers have
//! cosigned it too when they are asked. A node cosigns only what is final at it, in the order of the log, so it never
//! says anything that contradicts what it said before.
//!
//! A tree is cosigned by the validators of the epoch in which the log grew to its size, under their keys of then. So
//! who knows the hand-overs knows by the size whose word counts, and a node without a vote in that epoch says nothing.

pub mod messages;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::future::join_all;
use genesis::ValidatorSet;
use ledger::{
    block::Header,
    shell::{fault::Fault, final_store::FinalStore},
    state::State,
    tlog::{Checkpoint, Cosignature, CosignedCheckpoint, Note},
    vote::Signer,
};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep},
};
use wallet::{
    digest::Digest,
    units::{BlockHeight, NodeId, Timestamp},
};

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
    shown: watch::Sender<Option<Arc<Shown>>>,
}

/// A tree that is cosigned, and by whom.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Tree {
    header: Header,
    validators: ValidatorSet,
    /// The name in force in their epoch.
    name: Digest,
}

/// A checkpoint with this node's cosignature, if it has a vote there.
#[derive(Clone)]
struct Own {
    checkpoint: Checkpoint,
    validators: ValidatorSet,
    name: Digest,
    cosignature: Option<Cosignature>,
}

/// A checkpoint with the cosignatures of a quorum.
#[derive(Debug, PartialEq, Eq)]
pub struct Shown {
    /// The log's head, and who cosigned it.
    pub cosigned: CosignedCheckpoint,
    /// The validators of its epoch.
    pub validators: ValidatorSet,
    /// The name in force then.
    name: Digest,
}

impl Shown {
    /// How many entries the log has there.
    pub const fn size(&self) -> u64 {
        self.cosigned.checkpoint.size
    }

    /// The signed note.
    pub fn note(&self) -> Note {
        self.cosigned.to_note(&self.validators, &self.name)
    }
}

impl Checkpoints {
    /// Starts to cosign and to gather. Must run inside a tokio runtime.
    pub fn start(node: Arc<NodeContext>) -> Self {
        let (shared, newest) = Shared::new(node);
        let mut tasks = JoinSet::new();
        tasks.spawn(cosign_forever(shared.clone()));
        tasks.spawn(gather_forever(shared.clone(), newest));
        Self { shared, tasks: Arc::new(Mutex::new(tasks)) }
    }

    /// The newest checkpoint with the cosignatures of a quorum; none before the first.
    pub fn newest(&self) -> Option<Arc<Shown>> {
        self.shared.shown.borrow().clone()
    }

    /// Answers a node that gathers cosignatures. It is the node's own word about the final log, so any node of the
    /// consortium may have it.
    pub fn on_cosign(&self, request: CosignRequest) -> CosignReply {
        let own = lock(&self.shared.own);
        let asked = own.iter().find(|own| own.checkpoint.size == request.size);
        CosignReply { cosignature: asked.and_then(|own| own.cosignature) }
    }

    /// Ends both tasks.
    pub async fn stop(&self) {
        let mut tasks = std::mem::take(&mut *lock(&self.tasks));
        tasks.shutdown().await;
    }
}

impl Shared {
    /// What both tasks work on, and what is told of the trees from the first one on: on a quiet ledger that of the start is
    /// the last one for long.
    fn new(node: Arc<NodeContext>) -> (Arc<Self>, watch::Receiver<Option<Own>>) {
        let (newest, told) = watch::channel(None);
        let shared = Self { node, own: Mutex::default(), newest, shown: watch::Sender::new(None) };
        (Arc::new(shared), told)
    }

    /// Cosigns the tree, unless this node has cosigned it or a later one, or has no vote there.
    fn cosign(&self, Tree { header, validators, name }: Tree) {
        let mut own = lock(&self.own);
        if own.back().is_some_and(|last| last.checkpoint.size >= header.log_size) {
            return;
        }
        let node = &self.node;
        let checkpoint = Checkpoint::new(&name, header.log_size, header.log_root);
        let key = validators.key(node.me).and_then(|key| node.keys.named(key));
        let cosignature = key.map(|key| {
            let signer = Signer { node: node.me, key: key.clone() };
            Cosignature::sign(&checkpoint, &signer, seconds(now()))
        });
        let newest = Own { checkpoint, validators, name, cosignature };
        own.push_back(newest.clone());
        if own.len() > KEPT {
            own.pop_front();
        }
        self.newest.send_replace(Some(newest));
    }

    /// Asks the peers for their cosignatures until there is a quorum, or for long enough while there is a newer tree.
    async fn gather(&self, own: Own, newest: &watch::Receiver<Option<Own>>) {
        let (node, Own { checkpoint, validators, name, cosignature }) = (&self.node, own);
        let mut found: BTreeMap<NodeId, Cosignature> = cosignature.into_iter().map(|own| (node.me, own)).collect();
        let begun = Instant::now();
        loop {
            let others = validators.members.iter().map(|(peer, _)| *peer).filter(|peer| *peer != node.me);
            let missing = others.filter(|peer| !found.contains_key(peer));
            let missing: Vec<NodeId> = missing.collect();
            let answers = join_all(missing.into_iter().map(|peer| self.ask(peer, &checkpoint, &validators))).await;
            found.extend(answers.into_iter().flatten().map(|cosignature| (cosignature.cosigner, cosignature)));
            if found.len() >= validators.quorum() {
                let cosignatures = found.into_values().collect();
                let cosigned = CosignedCheckpoint { checkpoint, cosignatures };
                self.shown.send_replace(Some(Arc::new(Shown { cosigned, validators, name })));
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
    async fn ask(&self, peer: NodeId, checkpoint: &Checkpoint, validators: &ValidatorSet) -> Option<Cosignature> {
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
        let verified = cosignature.verify(checkpoint, validators);
        if cosignature.cosigner != peer || verified.is_err() {
            tracing::warn!(node = %peer, size = checkpoint.size, "it cosigned something else than this node has");
            return None;
        }
        Some(cosignature)
    }
}

async fn cosign_forever(shared: Arc<Shared>) {
    // Of a ledger that was restored this node may have cosigned more before.
    if shared.node.replica.recovered().wait_for(|recovered| *recovered).await.is_err() {
        return;
    }
    let mut tips = shared.node.replica.watch_state();
    let mut seen = None;
    loop {
        let after = tips.borrow_and_update().clone();
        let tip = after.height;
        let (store, consortium) = (shared.node.replica.store().clone(), shared.node.consortium.clone());
        let found = tokio::task::spawn_blocking(move || {
            let headers = candidates(&store, consortium.created(), seen, tip)?;
            headers
                .into_iter()
                .map(|header| tree(&store, consortium.id(), &after.state, header))
                .collect::<Result<Vec<_>, _>>()
        });
        match found.await {
            Ok(Ok(trees)) => trees.into_iter().for_each(|tree| shared.cosign(tree)),
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

async fn gather_forever(shared: Arc<Shared>, mut newest: watch::Receiver<Option<Own>>) {
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

/// Who cosigns the tree after `header`, by a state at or after it: the validators of the epoch in which the log grew to
/// that size, which may be the one before the header's.
fn tree(store: &FinalStore, consortium: Digest, state: &State, header: Header) -> Result<Tree, Fault> {
    let missing = |epoch: u64| Fault::Missing { store: "final", what: format!("the validators of epoch {epoch}") };
    let epoch = header.epoch + u64::from(header.view.is_re_genesis());
    let mut record = state.validators_of(epoch).ok_or_else(|| missing(epoch))?;
    while let Some(before) = record.set.epoch.checked_sub(1) {
        let closing = store.header(record.since)?.ok_or_else(|| missing(before))?;
        if closing.ends_at() < header.log_size {
            return Ok(Tree { header, validators: record.set, name: closing.name() });
        }
        record = state.validators_of(before).ok_or_else(|| missing(before))?;
    }
    Ok(Tree { header, validators: record.set, name: consortium })
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
