//! Raft's ordering alone, for comparison: the same network, log store, blocks, rules, signatures and final store, and
//! the same way from an author to the leader and into blocks, but no vote. A block is executed and stored when raft has
//! committed it. One lying node could do here whatever it wants; nothing but a bench runs it.

use std::{
    collections::{BTreeSet, VecDeque},
    io::Cursor,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use genesis::Consortium;
use ledger::{
    apply::check_author_with,
    block::{Block, View},
    certificate::Certificate,
    checks::Remembered,
    event::Entry,
    execute::{BLOCK_ENTRIES_MAX, Executed, Place, append_all, propose_with},
    finality::Final,
    shell::{
        clock::{Clock as _, SystemClock},
        final_store::FinalStore,
        log_store::LogStore,
        raft::{Raft, RaftEntry, RaftLogId, RaftMembership, TypeConfig},
        transport::ENTRIES_MAX,
    },
    vote::{Signer, VoteKind},
};
use openraft::{
    AnyError, Config, EmptyNode, EntryPayload, OptionalSend, RaftSnapshotBuilder, Snapshot, SnapshotMeta,
    SnapshotPolicy, StorageError, StorageIOError,
    error::{InstallSnapshotError, RPCError, RaftError, Unreachable},
    network::{RPCOption, RaftNetwork, RaftNetworkFactory},
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse, VoteRequest,
        VoteResponse,
    },
    storage::RaftStateMachine,
};
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{Notify, watch},
    time::{sleep, timeout},
};
use wallet::{codec, digest::Digest, units::NodeId};

use super::member::{Identity, Nobody, wrong};
use crate::{
    bench::BenchFault,
    network::{
        Handler, PeerNetwork,
        message::{Dispatch, PeerMessage},
    },
};

/// An entry that was not taken, or whose leader is gone, is sent again after this long.
const AGAIN: Duration = Duration::from_millis(500);
const PEER_TIMEOUT: Duration = Duration::from_secs(2);

/// What the nodes ask of each other.
#[derive(Serialize, Deserialize)]
enum Request {
    Append(AppendEntriesRequest<TypeConfig>),
    Vote(VoteRequest<u64>),
    Submit(Vec<Entry>),
}

/// The answer to the request of the same name.
#[derive(Serialize, Deserialize)]
enum Reply {
    Append(AppendEntriesResponse<u64>),
    Vote(VoteResponse<u64>),
    /// Whether the entries are queued.
    Submit(bool),
    NotReady,
}

/// One node of raft alone. Clones are one node.
#[derive(Clone)]
pub(super) struct Ordering(Arc<Inner>);

struct Inner {
    consortium: Arc<Consortium>,
    me: NodeId,
    signer: Signer,
    network: OnceLock<PeerNetwork>,
    raft: OnceLock<Raft>,
    store: FinalStore,
    tip: watch::Sender<Arc<Executed>>,
    checks: Remembered,
    outbox: Mutex<VecDeque<Entry>>,
    added: Notify,
    queue: Mutex<VecDeque<Entry>>,
    filled: Notify,
    /// The open proposal of this node, with what executing it gave.
    proposed: Mutex<Option<Executed>>,
}

impl Ordering {
    pub(super) async fn open(identity: &Identity, dir: &Path) -> Result<Self, BenchFault> {
        let consortium = identity.consortium.clone();
        let log = LogStore::open(dir.join("log").as_path()).map_err(wrong)?;
        let (store, tip) = FinalStore::open(dir.join("final").as_path(), &consortium).map_err(wrong)?;
        let this = Self(Arc::new(Inner {
            consortium: consortium.clone(),
            me: identity.me,
            signer: identity.signer(),
            network: OnceLock::new(),
            raft: OnceLock::new(),
            store,
            tip: watch::Sender::new(Arc::new(tip.executed)),
            checks: Remembered::default(),
            outbox: Mutex::default(),
            added: Notify::new(),
            queue: Mutex::default(),
            filled: Notify::new(),
            proposed: Mutex::default(),
        }));
        let dispatch = Dispatch { ledger: this.clone(), session: Nobody, stream: Nobody };
        let network = PeerNetwork::start(identity.network_options()?, dispatch).await.map_err(wrong)?;
        let parameters = consortium.parameters();
        let config = Config {
            cluster_name: consortium.name().to_owned(),
            heartbeat_interval: parameters.heartbeat_ms,
            election_timeout_min: parameters.leader_timeout_ms,
            election_timeout_max: 2 * parameters.leader_timeout_ms,
            snapshot_policy: SnapshotPolicy::Never,
            max_payload_entries: 256,
            ..Config::default()
        };
        let config = Arc::new(config.validate().map_err(wrong)?);
        let machine = Machine { node: this.clone(), applied: None, membership: RaftMembership::default() };
        let me = u64::from(identity.me.get());
        let raft = Raft::new(me, config, Lines(network.clone()), log, machine).await.map_err(wrong)?;
        // Set here and nowhere else.
        let (_, _) = (this.0.network.set(network.clone()), this.0.raft.set(raft.clone()));
        if me == 0 {
            let all = |connected: &BTreeSet<NodeId>| connected.len() + 1 == consortium.nodes().len();
            network.connected().wait_for(all).await.map_err(wrong)?;
            let nodes: BTreeSet<u64> = (0..consortium.nodes().len() as u64).collect();
            raft.initialize(nodes).await.map_err(wrong)?;
        }
        tokio::spawn(this.clone().propose_all());
        tokio::spawn(this.clone().send_all());
        Ok(this)
    }

    pub(super) fn submit(&self, entries: Vec<Entry>) -> Vec<Digest> {
        let ids = entries.iter().map(Entry::id).collect();
        lock(&self.0.outbox).extend(entries);
        self.0.added.notify_one();
        ids
    }

    pub(super) async fn wait(&self, id: Digest) -> bool {
        self.0.tip.subscribe().wait_for(|tip| tip.state.entry(id).is_some()).await.is_ok()
    }

    pub(super) fn leader(&self) -> Option<NodeId> {
        let leader = self.0.raft.get()?.metrics().borrow().current_leader?;
        u32::try_from(leader).ok().map(NodeId::new)
    }

    pub(super) fn state(&self) -> Arc<Executed> {
        self.0.tip.borrow().clone()
    }

    pub(super) fn watch_state(&self) -> watch::Receiver<Arc<Executed>> {
        self.0.tip.subscribe()
    }

    pub(super) fn verifications(&self) -> u64 {
        self.0.checks.verified()
    }

    pub(super) async fn stop(&self) {
        if let Some(raft) = self.0.raft.get() {
            // An error means that the core has ended by itself.
            let _ = raft.shutdown().await;
        }
    }

    /// Sends what this node's clients submitted to the leader.
    async fn send_all(self) {
        loop {
            let entries: Vec<Entry> = {
                let mut outbox = lock(&self.0.outbox);
                let count = outbox.len().min(ENTRIES_MAX);
                outbox.drain(..count).collect()
            };
            if entries.is_empty() {
                let _ = timeout(AGAIN, self.0.added.notified()).await;
                continue;
            }
            let known = |entry: &Entry| check_author_with(&self.0.consortium, entry, &self.0.checks).is_ok();
            let entries: Vec<Entry> = entries.into_iter().filter(known).collect();
            let taken = match self.leader() {
                Some(leader) if leader == self.0.me => self.take(entries.clone()),
                Some(leader) => {
                    let network = self.0.network.get().expect("set before this runs");
                    let request = Request::Submit(entries.clone());
                    matches!(ask(network, leader, &request, PEER_TIMEOUT).await, Ok(Reply::Submit(true)))
                }
                None => false,
            };
            if !taken {
                put_back(&self.0.outbox, entries);
                sleep(AGAIN / 10).await;
            }
        }
    }

    fn take(&self, entries: Vec<Entry>) -> bool {
        if self.leader() != Some(self.0.me) {
            return false;
        }
        let known = |entry: &Entry| check_author_with(&self.0.consortium, entry, &self.0.checks).is_ok();
        let known: Vec<Entry> = entries.into_iter().filter(known).collect();
        lock(&self.0.queue).extend(known);
        self.0.filled.notify_one();
        true
    }

    /// Proposes while this node leads, one open block at a time.
    async fn propose_all(self) {
        let raft = self.0.raft.get().expect("set before this runs").clone();
        let interval = Duration::from_millis(self.0.consortium.parameters().block_interval_ms);
        let (mut begun, mut last_count) = (false, 1);
        loop {
            if self.leader() != Some(self.0.me) {
                sleep(Duration::from_millis(20)).await;
                continue;
            }
            if begun && lock(&self.0.queue).is_empty() {
                let _ = timeout(AGAIN, self.0.filled.notified()).await;
                continue;
            }
            if begun {
                // As the leader of the whole ledger does.
                let _ = timeout(interval, self.wait_for(last_count)).await;
            }
            begun = true;
            let candidates: Vec<Entry> = {
                let mut queue = lock(&self.0.queue);
                let count = queue.len().min(BLOCK_ENTRIES_MAX);
                queue.drain(..count).collect()
            };
            let this = self.clone();
            let term = raft.metrics().borrow().current_term;
            let proposed = tokio::task::spawn_blocking(move || {
                let parent = this.state();
                let number = if parent.view.term == term { parent.view.number + 1 } else { 1 };
                let parent = Executed::clone(&parent);
                let place = Place {
                    parent,
                    certificate: None,
                    carriers: Vec::new(),
                    skipped: None,
                    view: View { term, number },
                    after: Digest::ZERO,
                };
                let inner = &this.0;
                propose_with(&inner.consortium, place, &inner.signer, SystemClock.now(), candidates, &inner.checks)
            });
            let Ok(proposal) = proposed.await else { return };
            put_back(&self.0.queue, proposal.left_over);
            last_count = proposal.block.entries.len().max(1);
            *lock(&self.0.proposed) = Some(proposal.executed);
            // An error means that the leadership is over.
            let _ = raft.client_write(proposal.block.into()).await;
        }
    }

    /// Returns when at least `count` entries wait.
    async fn wait_for(&self, count: usize) {
        loop {
            let filled = self.0.filled.notified();
            if lock(&self.0.queue).len() >= count {
                return;
            }
            filled.await;
        }
    }

    #[expect(clippy::result_large_err, reason = "openraft's own error")]
    fn apply(&self, log_id: RaftLogId, block: Block) -> Result<(), StorageError<u64>> {
        let failed = |fault: &dyn std::fmt::Display| {
            StorageError::from(StorageIOError::apply(log_id, AnyError::error(fault.to_string())))
        };
        let (inner, parent) = (&self.0, self.state());
        let digest = block.header.digest();
        let own = lock(&inner.proposed).take_if(|executed| executed.digest == digest);
        let executed = match own {
            Some(executed) => executed,
            None => execute(&inner.consortium, &parent, &block, &inner.checks).map_err(|fault| failed(&fault))?,
        };
        let certificate = Certificate {
            kind: VoteKind::Finalize,
            view: executed.view,
            height: executed.height,
            block: digest,
            signatures: Vec::new(),
        };
        let tip = Arc::new(executed.clone());
        let last = Final { certificate, carriers: Vec::new(), block, executed, log_index: log_id.index };
        inner.store.commit(&last, &parent, log_id).map_err(|fault| failed(&fault))?;
        inner.tip.send_replace(tip);
        Ok(())
    }
}

/// What [`ledger::execute::execute`] does, but for the block's place and its parent's certificate.
fn execute(consortium: &Consortium, parent: &Executed, block: &Block, checks: &Remembered) -> Result<Executed, String> {
    let header = &block.header;
    let mut executed = Executed {
        digest: header.digest(),
        height: header.height,
        view: header.view,
        time: header.time,
        ..parent.clone()
    };
    append_all(consortium, &mut executed, &block.entries, checks).map_err(|(_, refusal)| refusal.to_string())?;
    let same = executed.log.root() == header.log_root && executed.state.root() == header.state_root;
    if same { Ok(executed) } else { Err("the roots differ".to_owned()) }
}

impl Handler for Ordering {
    async fn handle(&self, _: NodeId, body: Vec<u8>) -> Vec<u8> {
        let (Some(raft), Ok(request)) = (self.0.raft.get(), codec::decode(&body)) else {
            return codec::encode(&Reply::NotReady);
        };
        let reply = match request {
            Request::Append(rpc) => raft.append_entries(rpc).await.ok().map(Reply::Append),
            Request::Vote(rpc) => raft.vote(rpc).await.ok().map(Reply::Vote),
            Request::Submit(entries) => Some(Reply::Submit(self.take(entries))),
        };
        codec::encode(&reply.unwrap_or(Reply::NotReady))
    }
}

/// openraft's way to the other nodes.
#[derive(Clone)]
struct Lines(PeerNetwork);

struct Line {
    to: NodeId,
    network: PeerNetwork,
}

impl RaftNetworkFactory<TypeConfig> for Lines {
    type Network = Line;

    async fn new_client(&mut self, target: u64, _: &EmptyNode) -> Line {
        Line { to: NodeId::new(u32::try_from(target).unwrap_or(u32::MAX)), network: self.0.clone() }
    }
}

type RpcError<E = RaftError<u64>> = RPCError<u64, EmptyNode, E>;

/// Sends a request as the ledger's transport does.
async fn ask(network: &PeerNetwork, to: NodeId, request: &Request, timeout: Duration) -> Result<Reply, RpcError> {
    let body = PeerMessage::to_ledger(request);
    let reply = network.request(to, body, timeout).await;
    let reply = reply.map_err(|fault| RPCError::Unreachable(Unreachable::new(&fault)))?;
    codec::decode(&reply).map_err(|fault| RPCError::Unreachable(Unreachable::new(&fault)))
}

impl Line {
    async fn ask(&self, request: Request, option: &RPCOption) -> Result<Reply, RpcError> {
        ask(&self.network, self.to, &request, option.hard_ttl()).await
    }
}

fn unexpected() -> RpcError {
    RPCError::Unreachable(Unreachable::new(&AnyError::error("not ready")))
}

impl RaftNetwork<TypeConfig> for Line {
    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<u64>, RpcError> {
        match self.ask(Request::Append(rpc), &option).await? {
            Reply::Append(response) => Ok(response),
            _ => Err(unexpected()),
        }
    }

    async fn install_snapshot(
        &mut self,
        _: InstallSnapshotRequest<TypeConfig>,
        _: RPCOption,
    ) -> Result<InstallSnapshotResponse<u64>, RpcError<RaftError<u64, InstallSnapshotError>>> {
        Err(RPCError::Unreachable(Unreachable::new(&AnyError::error("no snapshots"))))
    }

    async fn vote(&mut self, rpc: VoteRequest<u64>, option: RPCOption) -> Result<VoteResponse<u64>, RpcError> {
        match self.ask(Request::Vote(rpc), &option).await? {
            Reply::Vote(response) => Ok(response),
            _ => Err(unexpected()),
        }
    }
}

/// Applies what raft committed.
#[derive(Clone)]
struct Machine {
    node: Ordering,
    applied: Option<RaftLogId>,
    membership: RaftMembership,
}

impl RaftStateMachine<TypeConfig> for Machine {
    type SnapshotBuilder = NoSnapshots;

    async fn applied_state(&mut self) -> Result<(Option<RaftLogId>, RaftMembership), StorageError<u64>> {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<()>, StorageError<u64>>
    where
        I: IntoIterator<Item = RaftEntry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut applied = Vec::new();
        for RaftEntry { log_id, payload } in entries.into_iter().collect::<Vec<_>>() {
            match payload {
                EntryPayload::Normal(block) => {
                    let node = self.node.clone();
                    #[expect(clippy::result_large_err, reason = "openraft's own error")]
                    let work = tokio::task::spawn_blocking(move || node.apply(log_id, block.into_block()));
                    work.await.map_err(|error| StorageIOError::apply(log_id, AnyError::new(&error)))??;
                }
                EntryPayload::Membership(membership) => self.membership = RaftMembership::new(Some(log_id), membership),
                EntryPayload::Blank => {}
            }
            self.applied = Some(log_id);
            applied.push(());
        }
        Ok(applied)
    }

    async fn get_snapshot_builder(&mut self) -> NoSnapshots {
        NoSnapshots
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Cursor<Vec<u8>>>, StorageError<u64>> {
        Err(no_snapshots())
    }

    async fn install_snapshot(
        &mut self,
        _: &SnapshotMeta<u64, EmptyNode>,
        _: Box<Cursor<Vec<u8>>>,
    ) -> Result<(), StorageError<u64>> {
        Err(no_snapshots())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<TypeConfig>>, StorageError<u64>> {
        Ok(None)
    }
}

struct NoSnapshots;

impl RaftSnapshotBuilder<TypeConfig> for NoSnapshots {
    async fn build_snapshot(&mut self) -> Result<Snapshot<TypeConfig>, StorageError<u64>> {
        Err(no_snapshots())
    }
}

fn no_snapshots() -> StorageError<u64> {
    StorageIOError::write_snapshot(None, AnyError::error("no snapshots")).into()
}

/// Puts entries back to the front, in their order.
fn put_back(queue: &Mutex<VecDeque<Entry>>, entries: Vec<Entry>) {
    let mut queue = lock(queue);
    entries.into_iter().rev().for_each(|entry| queue.push_front(entry));
}

/// Every holder of these locks leaves them consistent at each step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
