//! One operator's process: a replica on its simulated disk, and a client that submits through it.

use std::{
    future,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use genesis::Consortium;
use ledger::{
    event::{DecisionAnchored, Entry, EntryBody, Event},
    shell::{
        clock::Clock,
        disk::Disk,
        fault::Fault,
        memory::MemoryDisk,
        replica::{Replica, ReplicaOptions},
    },
    testing,
};
use liar::{Liar, rng::Rng};
use wallet::{
    digest::sha256,
    units::{NodeId, Timestamp},
};

use crate::{panics, plan::Newcomer, script::Script, watch::Watch, wire::Wire};

/// What of a node outlives its process.
pub struct Node {
    /// Which.
    pub id: NodeId,
    /// Of which consortium.
    pub consortium: Arc<Consortium>,
    /// Its disk.
    pub disk: Arc<MemoryDisk>,
    /// How far its clock is ahead, in milliseconds.
    pub skew_ms: AtomicI64,
    /// The time of the world, in milliseconds since 1970.
    pub now_ms: Arc<AtomicU64>,
    /// Who watches it.
    pub watch: Arc<Watch>,
    /// What lies in its name, if it lies.
    pub liar: Option<Mutex<Liar>>,
    /// How it joins, if genesis does not name it.
    pub joins: Option<Newcomer>,
    /// What the operators decide, if anything.
    pub script: Option<Arc<Script>>,
    /// The running process.
    pub process: Mutex<Process>,
    anchors: AtomicU64,
    client: Mutex<Rng>,
}

/// What a node does beside what every node does.
pub struct Role {
    /// It lies.
    pub liar: Option<Liar>,
    /// It joins.
    pub joins: Option<Newcomer>,
    /// It takes part in this.
    pub script: Option<Arc<Script>>,
}

/// The folder of a node's disk in which its ledger is.
pub const LEDGER: &str = "ledger";

/// The state of a node's process.
#[derive(Clone, Default)]
pub struct Process {
    /// The replica, once it is open.
    pub replica: Option<Replica>,
    /// Why it did not open.
    pub refused: Option<Arc<Fault>>,
}

impl Node {
    /// A node with an empty disk.
    pub fn new(
        id: NodeId,
        consortium: Arc<Consortium>,
        now_ms: Arc<AtomicU64>,
        watch: Arc<Watch>,
        Role { liar, joins, script }: Role,
        seed: u64,
    ) -> Arc<Self> {
        Arc::new(Self {
            id,
            consortium,
            disk: Arc::default(),
            skew_ms: AtomicI64::new(0),
            now_ms,
            watch,
            liar: liar.map(Mutex::new),
            joins,
            script,
            process: Mutex::default(),
            anchors: AtomicU64::new(0),
            client: Mutex::new(Rng::new(seed, &format!("client {id}"))),
        })
    }

    /// The process, from its start until the simulation kills it.
    pub async fn run(self: Arc<Self>) -> turmoil::Result {
        panics::runs_here(self.id);
        self.disk.restart();
        let wire = Wire::open(self.clone()).await?;
        if let Err(fault) = self.join(&wire).await {
            self.process().refused = Some(Arc::new(fault));
            return future::pending().await;
        }
        let options = ReplicaOptions {
            dir: self.ledger(),
            consortium: self.consortium.clone(),
            me: self.id,
            node_key: testing::node_key(self.id.get()),
            next_key: Some(testing::next_node_key(self.id.get())),
            clock: Arc::new(SkewedClock(self.clone())),
        };
        match Replica::open(options, wire.clone()).await {
            Ok(replica) => {
                wire.answer_with(replica.clone());
                self.process().replica = Some(replica.clone());
                match self.script.clone() {
                    None => self.submit(replica).await,
                    Some(script) => {
                        tokio::join!(
                            self.govern(&replica, &script),
                            self.enact(&replica),
                            self.submit(replica.clone())
                        );
                    }
                }
            }
            Err(fault) => self.process().refused = Some(Arc::new(fault)),
        }
        future::pending().await
    }

    /// The folder of its ledger.
    pub fn ledger(&self) -> Disk {
        Disk::from(self.disk.clone()).join(LEDGER)
    }

    /// The process is gone.
    pub fn stopped(&self) {
        *self.process() = Process::default();
    }

    /// The running replica.
    pub fn replica(&self) -> Option<Replica> {
        self.process().replica.clone()
    }

    /// What stopped the process, if something did.
    pub fn fault(&self) -> Option<Arc<Fault>> {
        let process = self.process();
        process.refused.clone().or_else(|| process.replica.as_ref()?.fault().borrow().clone())
    }

    /// The process.
    pub fn process(&self) -> std::sync::MutexGuard<'_, Process> {
        self.process.lock().expect("nobody panics with it")
    }

    /// Submits entries one after the other and tells the watch which were acknowledged as final.
    async fn submit(&self, replica: Replica) {
        loop {
            let (pause, patience) = {
                let mut rng = self.client.lock().expect("lock");
                (rng.range(20..600), rng.range(500..8_000))
            };
            tokio::time::sleep(Duration::from_millis(pause)).await;
            let entry = self.anchor(&replica);
            let id = entry.id();
            self.watch.submits(self.id, id);
            if replica.submit(entry).is_err() {
                continue;
            }
            let waiting = tokio::time::timeout(Duration::from_millis(patience), replica.wait_final(id));
            if let Ok(Ok(place)) = waiting.await
                && !self.disk.is_dead()
            {
                self.watch.acknowledged(self.id, id, place);
            }
        }
    }

    fn anchor(&self, replica: &Replica) -> Entry {
        let decisions = self.anchors.fetch_add(1, Ordering::Relaxed) + 1;
        let mut nonce = [0; 16];
        nonce[..8].copy_from_slice(&decisions.to_le_bytes());
        let log_head = sha256("simulation", &[&decisions.to_le_bytes()]);
        self.sign(replica, nonce, Event::DecisionAnchored(DecisionAnchored { decisions, log_head }))
    }

    /// An entry of this node, with the key that the final state names.
    pub fn sign(&self, replica: &Replica, nonce: [u8; 16], event: Event) -> Entry {
        let body = EntryBody { consortium: self.consortium.id(), author: self.id, nonce, event };
        let (first, next) = (testing::node_key(self.id.get()), testing::next_node_key(self.id.get()));
        let named = replica.state().state.node(self.id).map(|record| record.node.key);
        body.sign(if named == Some(next.public_key()) { &next } else { &first }, None)
    }
}

/// The world's time, as a node's clock shows it.
struct SkewedClock(Arc<Node>);

impl Clock for SkewedClock {
    fn now(&self) -> Timestamp {
        let now = self.0.now_ms.load(Ordering::Relaxed);
        Timestamp::new(now.saturating_add_signed(self.0.skew_ms.load(Ordering::Relaxed)))
    }
}
