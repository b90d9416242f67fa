//! Replicas in one process, on real files, over a switchboard that can cut lines and remembers every vote.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::{FutureExt as _, future::BoxFuture};
use genesis::{Consortium, Parameters};
use tempfile::TempDir;
use tokio::time::{Instant, sleep, timeout};
use wallet::{
    codec,
    digest::Digest,
    units::{NodeId, Timestamp},
};

use crate::{
    block::View,
    event::{DecisionAnchored, Entry, EntryBody, Event},
    shell::{
        clock::{Clock, SystemClock},
        fault::Fault,
        replica::{Replica, ReplicaOptions},
        transport::{PeerReply, PeerRequest, Transport, TransportFault, Word},
        validator::Message,
    },
    testing,
    vote::{Nullify, Vote, VoteKind},
};

/// Whether a request may pass.
type Filter = Box<dyn Fn(NodeId, NodeId, &PeerRequest) -> bool + Send>;
/// How long a request is under way: from whom, to whom.
type Delay = Box<dyn Fn(NodeId, NodeId, &PeerRequest) -> Duration + Send>;
/// What a liar makes of a request of its own node.
type Lie = Box<dyn Fn(NodeId, NodeId, &mut PeerRequest) + Send>;
/// What a liar makes of an answer to a node: who asked, who answers.
type FalseReply = Box<dyn Fn(NodeId, NodeId, &mut PeerReply) + Send>;

#[derive(Default)]
pub struct Switchboard {
    replicas: Mutex<BTreeMap<NodeId, Replica>>,
    filter: Mutex<Option<Filter>>,
    delay: Mutex<Option<Delay>>,
    lie: Mutex<Option<Lie>>,
    false_reply: Mutex<Option<FalseReply>>,
    votes: Mutex<HashMap<(NodeId, VoteKind, View), Vote>>,
    nullified: Mutex<HashMap<NodeId, Vec<Nullify>>>,
    granted: Mutex<HashMap<(NodeId, u64), NodeId>>,
}

impl Switchboard {
    /// From now on only what `passes` goes through.
    pub fn filter(&self, passes: impl Fn(NodeId, NodeId, &PeerRequest) -> bool + Send + 'static) {
        *self.filter.lock().expect("lock") = Some(Box::new(passes));
    }

    pub fn heal(&self) {
        *self.filter.lock().expect("lock") = None;
    }

    /// From now on requests take so long, until [`Self::be_honest`].
    pub fn delay(&self, delay: impl Fn(NodeId, NodeId, &PeerRequest) -> Duration + Send + 'static) {
        *self.delay.lock().expect("lock") = Some(Box::new(delay));
    }

    /// From now on requests are what `lie` makes of them.
    pub fn lie(&self, lie: impl Fn(NodeId, NodeId, &mut PeerRequest) + Send + 'static) {
        *self.lie.lock().expect("lock") = Some(Box::new(lie));
    }

    /// From now on answers are what `lie` makes of them; it is told who asked and who answers.
    pub fn answer_falsely(&self, lie: impl Fn(NodeId, NodeId, &mut PeerReply) + Send + 'static) {
        *self.false_reply.lock().expect("lock") = Some(Box::new(lie));
    }

    pub fn be_honest(&self) {
        *self.lie.lock().expect("lock") = None;
        *self.delay.lock().expect("lock") = None;
        *self.false_reply.lock().expect("lock") = None;
    }

    /// No line to or from `node`.
    pub fn isolate(&self, node: NodeId) {
        self.filter(move |from, to, _| from != node && to != node);
    }

    pub fn votes_seen(&self) -> usize {
        self.votes.lock().expect("lock").len()
    }

    pub fn running(&self) -> Vec<Replica> {
        self.replicas.lock().expect("lock").values().cloned().collect()
    }

    fn passes(&self, from: NodeId, to: NodeId, request: &PeerRequest) -> bool {
        self.filter.lock().expect("lock").as_ref().is_none_or(|passes| passes(from, to, request))
    }

    fn delay_of(&self, from: NodeId, to: NodeId, request: &PeerRequest) -> Duration {
        self.delay.lock().expect("lock").as_ref().map_or(Duration::ZERO, |delay| delay(from, to, request))
    }

    fn tell_lies(&self, from: NodeId, to: NodeId, request: &mut PeerRequest) {
        if let Some(lie) = &*self.lie.lock().expect("lock") {
            lie(from, to, request);
        }
    }

    fn answer(&self, from: NodeId, to: NodeId, reply: &mut PeerReply) {
        if let Some(lie) = &*self.false_reply.lock().expect("lock") {
            lie(from, to, reply);
        }
    }

    fn remember(&self, request: &PeerRequest) {
        let PeerRequest::Votes(words) = request else { return };
        let (mut seen, mut nullified) = (self.votes.lock().expect("lock"), self.nullified.lock().expect("lock"));
        for word in words {
            match word {
                Word::Vote(vote) => {
                    let ballot = vote.statement;
                    let first = seen.entry((vote.validator, ballot.kind, ballot.view)).or_insert(*vote);
                    assert_eq!(first.statement, ballot, "node {} signed twice in one view", vote.validator);
                }
                Word::Nullify { vote, .. } => nullified.entry(vote.validator).or_default().push(vote.statement),
            }
        }
        for ((node, kind, view), _) in seen.iter().filter(|((_, kind, _), _)| *kind == VoteKind::Finalize) {
            let gave_up = nullified.get(node).into_iter().flatten().find(|nullify| nullify.covers(*view));
            assert_eq!(gave_up, None, "node {node} signed {kind:?} in view {view:?} and gave it up");
        }
    }

    fn remember_reply(&self, reply: &PeerReply) {
        let PeerReply::Granted(grant) = reply else { return };
        let mut granted = self.granted.lock().expect("lock");
        let first = *granted.entry((grant.validator, grant.statement.term)).or_insert(grant.statement.candidate);
        assert_eq!(first, grant.statement.candidate, "node {} granted a term twice", grant.validator);
    }
}

struct Line {
    from: NodeId,
    board: Arc<Switchboard>,
    /// Whether the board remembers what goes out here: not what a second process with a node's key says.
    is_remembered: bool,
}

impl Transport for Line {
    fn request(
        &self,
        to: NodeId,
        request: PeerRequest,
        limit: Duration,
    ) -> BoxFuture<'_, Result<PeerReply, TransportFault>> {
        async move {
            if self.is_remembered {
                self.board.remember(&request);
            }
            if !self.board.passes(self.from, to, &request) {
                return Err(TransportFault::Unreachable(to));
            }
            let replica = self.board.replicas.lock().expect("lock").get(&to).cloned();
            let replica = replica.ok_or(TransportFault::Unreachable(to))?;
            let mut request: PeerRequest = codec::decode(&codec::encode(&request)).expect("the wire form is canonical");
            self.board.tell_lies(self.from, to, &mut request);
            let (from, delay) = (self.from, self.board.delay_of(self.from, to, &request));
            // As on a real line, the other side finishes even if nobody waits any more.
            let serving = tokio::spawn(async move {
                sleep(delay).await;
                replica.serve(from, request).await
            });
            let failed = |reason: &str| TransportFault::Failed { to, reason: reason.to_owned() };
            let reply = timeout(limit, serving).await.map_err(|_| failed("time is up"))?.map_err(|_| failed("gone"))?;
            let mut reply: PeerReply = codec::decode(&codec::encode(&reply)).expect("the wire form is canonical");
            self.board.remember_reply(&reply);
            self.board.answer(self.from, to, &mut reply);
            Ok(reply)
        }
        .boxed()
    }
}

/// The system's clock, set back by some ms.
#[derive(Clone, Default)]
struct SetBack(Arc<AtomicU64>);

impl Clock for SetBack {
    fn now(&self) -> Timestamp {
        Timestamp::new(SystemClock.now().get().saturating_sub(self.0.load(Ordering::Relaxed)))
    }
}

/// A consortium of replicas on temporary folders.
pub struct Cluster {
    pub consortium: Arc<Consortium>,
    pub board: Arc<Switchboard>,
    dirs: Vec<TempDir>,
    clocks: Vec<SetBack>,
}

/// Board and replicas hold each other, and so does the thread in which a replica votes. Without this each test would keep
/// its stores open until the last one ends.
impl Drop for Cluster {
    fn drop(&mut self) {
        let replicas = std::mem::take(&mut *self.board.replicas.lock().unwrap_or_else(PoisonError::into_inner));
        for replica in replicas.into_values() {
            // A full inbox means that it may go on for a while.
            let _ = replica.shared.validator.try_send(Message::Stop);
        }
    }
}

impl Cluster {
    pub async fn start(nodes: u32) -> Self {
        Self::start_with(nodes, Parameters::default()).await
    }

    /// As [`Self::start`], for rules that no timer is part of: no pause of the machine ends a term.
    pub async fn start_patient(nodes: u32) -> Self {
        let patient = 8_000;
        let parameters = Parameters {
            leader_timeout_ms: patient,
            view_timeout_ms: patient,
            view_timeout_max_ms: 2 * patient,
            ..Parameters::default()
        };
        Self::start_with(nodes, parameters).await
    }

    pub async fn start_with(nodes: u32, parameters: Parameters) -> Self {
        let dirs = (0..nodes).map(|_| tempfile::tempdir().expect("tempdir")).collect();
        let consortium = testing::consortium_with(nodes, parameters);
        let clocks = (0..nodes).map(|_| SetBack::default()).collect();
        let cluster = Self { consortium, board: Arc::default(), dirs, clocks };
        for node in 0..nodes {
            cluster.open(node).await.expect("a fresh folder opens");
        }
        cluster
    }

    /// Starts a node on its files.
    pub async fn open(&self, node: u32) -> Result<Replica, Fault> {
        // A replica that was closed is not counted any more a moment before its files are free.
        let give_up = Instant::now() + Duration::from_secs(60);
        let replica = loop {
            match self.open_on(node, self.dir(node), true).await {
                Err(Fault::Rocks { source, .. }) if is_held(&source) && Instant::now() < give_up => {
                    sleep(Duration::from_millis(5)).await;
                }
                opened => break opened?,
            }
        };
        self.board.replicas.lock().expect("lock").insert(NodeId::new(node), replica.clone());
        Ok(replica)
    }

    /// Starts a second process of a node on other files. What is sent to the node does not reach it.
    pub async fn open_beside(&self, node: u32, dir: &Path) -> Result<Replica, Fault> {
        self.open_on(node, dir, false).await
    }

    /// From now on this process gets what is sent to its node.
    pub fn redirect(&self, replica: &Replica) {
        self.board.replicas.lock().expect("lock").insert(replica.shared.me, replica.clone());
    }

    async fn open_on(&self, node: u32, dir: &Path, is_remembered: bool) -> Result<Replica, Fault> {
        let me = NodeId::new(node);
        let options = ReplicaOptions {
            dir: dir.into(),
            consortium: self.consortium.clone(),
            me,
            node_key: testing::node_key(node),
            next_key: Some(testing::next_node_key(node)),
            clock: Arc::new(self.clocks[node as usize].clone()),
        };
        Replica::open(options, Arc::new(Line { from: me, board: self.board.clone(), is_remembered })).await
    }

    pub async fn close(&self, node: u32) {
        let replica = self.board.replicas.lock().expect("lock").remove(&NodeId::new(node)).expect("it runs");
        replica.shutdown().await;
        // What it holds is dropped in the order of its fields: the stores before this one.
        let mut gone = replica.shared.asked.subscribe();
        drop(replica);
        let gone = async { while gone.changed().await.is_ok() {} };
        timeout(Duration::from_secs(60), gone).await.expect("the files are free within a minute");
    }

    /// Sets the clock of a node back to so many ms before the others'.
    pub fn set_back(&self, node: u32, ms: u64) {
        self.clocks[node as usize].0.store(ms, Ordering::Relaxed);
    }

    pub fn dir(&self, node: u32) -> &Path {
        self.dirs[node as usize].path()
    }

    /// A folder for the next node, which is not there yet.
    pub fn make_room(&mut self) -> u32 {
        let dir = tempfile::tempdir().expect("tempdir");
        std::fs::remove_dir(dir.path()).expect("it is empty");
        self.dirs.push(dir);
        self.clocks.push(SetBack::default());
        u32::try_from(self.dirs.len() - 1).expect("few")
    }

    pub fn replica(&self, node: u32) -> Replica {
        self.board.replicas.lock().expect("lock")[&NodeId::new(node)].clone()
    }

    pub fn running(&self) -> Vec<Replica> {
        self.board.running()
    }

    /// An entry that every state takes.
    pub fn anchor(&self, author: u32, decisions: u64) -> Entry {
        let body = EntryBody {
            consortium: self.consortium.id(),
            author: NodeId::new(author),
            nonce: [0; 16],
            event: Event::DecisionAnchored(DecisionAnchored { decisions, log_head: Digest([7; 32]) }),
        };
        body.sign(&testing::node_key(author), None)
    }

    /// Submits an entry at its author and waits until it is final there.
    pub async fn finalize(&self, author: u32, decisions: u64) -> Digest {
        let replica = self.replica(author);
        let submission = replica.submit(self.anchor(author, decisions)).expect("the state takes it");
        timeout(Duration::from_secs(60), replica.wait_final(submission.id))
            .await
            .unwrap_or_else(|_| panic!("not final in a minute: {:#?}", replica.metrics()))
            .expect("not refused");
        submission.id
    }

    /// The node that all running nodes follow.
    pub async fn leader(&self) -> u32 {
        let agreed = || {
            let running = self.running();
            let mut leaders: Vec<_> = running.iter().map(|replica| replica.metrics().leader).collect();
            leaders.dedup();
            let [Some(leader)] = leaders[..] else { return None };
            running.iter().any(|replica| replica.shared.me == leader).then_some(leader.get())
        };
        let give_up = Instant::now() + Duration::from_secs(60);
        loop {
            if let Some(leader) = agreed() {
                return leader;
            }
            assert!(Instant::now() < give_up, "no leader in a minute");
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until nothing is open and all running nodes have the same final block, which gives the same state.
    pub async fn settle(&self) {
        let same = || {
            let running = self.running();
            let open: u64 = running.iter().map(|replica| replica.metrics().raft_entries_not_final).sum();
            let tips: Vec<_> = running.iter().map(Replica::state).collect();
            open == 0 && tips.windows(2).all(|two| two[0] == two[1])
        };
        let give_up = Instant::now() + Duration::from_secs(60);
        while !same() {
            if Instant::now() >= give_up {
                let metrics: Vec<_> = self.running().iter().map(Replica::metrics).collect();
                panic!("not the same final state in a minute: {metrics:#?}");
            }
            sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Whether RocksDB says that the files are in somebody's hands.
fn is_held(error: &rocksdb::Error) -> bool {
    error.as_ref().contains("lock hold by current process")
}

pub async fn until(what: &str, done: impl Fn() -> bool) {
    let give_up = Instant::now() + Duration::from_secs(60);
    while !done() {
        assert!(Instant::now() < give_up, "still waiting after a minute: {what}");
        sleep(Duration::from_millis(5)).await;
    }
}
