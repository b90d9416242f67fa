//! Where a request is answered: residency and load of all nodes, the prefix router over both, and the front door.
//!
//! Engines tell which prefix blocks they hold; this service tells the peers, each only of blocks that the tenant's
//! policy lets it know of, and how loaded this node is. A front door asks the router and starts the session here or at
//! another operator.

mod choice;
pub mod front_door;
mod gossip;
pub mod links;
pub mod messages;
pub mod refusal;
mod residency;
pub mod tenants;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use ledger::shell::clock::{Clock as _, SystemClock};
use scheduler::{
    load::Load,
    router::{RouteRequest, Router, RouterLimits},
    thresholds::Thresholds,
};
use serde::Serialize;
use tokio::task::JoinSet;
use wallet::{
    digest::Digest,
    units::{Micros, NodeId},
};

use crate::{
    engine::EngineStats,
    session::{Sessions, context::NodeContext},
};
use choice::Choice;
use links::Links;
use messages::{Gossip, GossipReply, LoadReport};
use residency::{Audience, Residency};

/// What the service needs.
pub struct Parts {
    /// The node's sessions.
    pub sessions: Sessions,
    /// What is measured about the ways to the peers.
    pub links: Links,
    /// How often load is told.
    pub tick: Duration,
}

/// The running service. Clones are one service.
#[derive(Clone)]
pub struct Routing {
    shared: Arc<Shared>,
    tasks: Arc<Mutex<JoinSet<()>>>,
}

struct Shared {
    node: Arc<NodeContext>,
    sessions: Sessions,
    links: Links,
    tick: Duration,
    boot: [u8; 16],
    state: Mutex<State>,
}

struct State {
    router: Router,
    residency: Residency,
    /// Who may know of the blocks under a salt, by the salt's tag.
    audiences: HashMap<Digest, Audience>,
    loads: BTreeMap<NodeId, Load>,
    figures: RouterFigures,
}

/// What the router did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RouterFigures {
    /// Requests that were served here.
    pub requests_here: u64,
    /// Requests that were sent to another node.
    pub requests_elsewhere: u64,
    /// Requests whose node held leading blocks of the prompt.
    pub requests_matched: u64,
    /// Leading blocks that were held, of all requests.
    pub blocks_matched: u64,
    /// Messages about residency that came from peers.
    pub gossip_received: u64,
    /// Blocks of this node's engine that are known here.
    pub blocks_held: u64,
}

impl Routing {
    /// Starts to listen to the engine and to tell the peers. Must run inside a tokio runtime.
    ///
    /// # Panics
    /// If the operating system has no random bytes.
    pub fn start(parts: Parts) -> Self {
        let Parts { sessions, links, tick } = parts;
        let node = sessions.context().clone();
        let mut boot = [0; 16];
        getrandom::fill(&mut boot).expect("the operating system has random bytes");
        let state = Mutex::new(State {
            router: Router::new(RouterLimits::default(), Thresholds::default()),
            residency: Residency::default(),
            audiences: HashMap::new(),
            loads: BTreeMap::new(),
            figures: RouterFigures::default(),
        });
        let shared = Arc::new(Shared { node, sessions, links, tick, boot, state });
        let mut tasks = JoinSet::new();
        tasks.spawn(gossip::listen(shared.clone()));
        tasks.spawn(gossip::tell_peers(shared.clone()));
        Self { shared, tasks: Arc::new(Mutex::new(tasks)) }
    }

    /// Takes what `from` told.
    pub fn on_gossip(&self, from: NodeId, gossip: Gossip) -> GossipReply {
        self.shared.on_gossip(from, gossip);
        GossipReply { boot: self.shared.boot }
    }

    /// What is measured about the ways to the peers.
    pub fn links(&self) -> &Links {
        &self.shared.links
    }

    /// The last load that each peer told.
    pub fn peer_loads(&self) -> BTreeMap<NodeId, Load> {
        self.shared.lock().loads.clone()
    }

    /// This node's load, measured now.
    pub async fn own_load(&self) -> Load {
        self.shared.own_load().await.at(SystemClock.now(), Micros::ZERO, None)
    }

    /// The node that serves a request, this one included.
    ///
    /// # Errors
    /// S-004 if no node may and can serve it.
    pub async fn choose(&self, request: &RouteRequest<'_>) -> Result<Choice, scheduler::refusal::Refusal> {
        let own = self.own_load().await;
        let (me, state) = (self.shared.node.me, self.shared.lock());
        let mut loads = state.loads.clone();
        loads.insert(me, own);
        let routed = state.router.route(SystemClock.now(), request, &loads)?;
        Ok(Choice::of(&routed, &loads, me))
    }

    /// A request was placed on `node`, which is said to hold these leading blocks of its prompt: it will use them.
    pub fn placed(&self, node: NodeId, matched: &[Digest]) {
        let mut state = self.shared.lock();
        let here = node == self.shared.node.me;
        *(if here { &mut state.figures.requests_here } else { &mut state.figures.requests_elsewhere }) += 1;
        state.figures.requests_matched += u64::from(!matched.is_empty());
        state.figures.blocks_matched += matched.len() as u64;
        state.router.on_stored(node, matched, SystemClock.now());
    }

    /// What the router did so far.
    pub fn figures(&self) -> RouterFigures {
        let state = self.shared.lock();
        RouterFigures { blocks_held: state.residency.len() as u64, ..state.figures }
    }

    /// Ends the service.
    pub async fn stop(&self) {
        let mut tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        tasks.shutdown().await;
    }
}

impl Shared {
    fn on_gossip(&self, from: NodeId, gossip: Gossip) {
        if !gossip.is_bounded() || !self.node.members().speaks(from) || from == self.node.me {
            tracing::warn!(node = %from, "gossip out of its bounds");
            return;
        }
        let (now, round_trip) = (SystemClock.now(), self.links.round_trip(from));
        let Gossip { load, cleared, stored, removed } = gossip;
        let mut state = self.lock();
        if cleared {
            state.router.on_cleared(from);
        }
        state.router.on_removed(from, &removed);
        state.router.on_stored(from, &stored, now);
        state.figures.gossip_received += u64::from(cleared || !stored.is_empty() || !removed.is_empty());
        if let Some(load) = load {
            state.loads.insert(from, load.at(now, round_trip, self.links.bytes_per_s(from)));
        }
    }

    async fn own_load(&self) -> LoadReport {
        // Nobody sends anything to an engine that has nothing.
        let stats = self.node.engine.stats().await.unwrap_or_default();
        let waited_for = self.node.line.left_free(stats.blocks_total);
        LoadReport {
            serves: BTreeSet::from([self.node.engine.served()]),
            blocks_total: stats.blocks_total,
            // What is left to those that wait is nothing that another could have.
            blocks_free: stats.blocks_total.saturating_sub(stats.blocks_used.saturating_add(waited_for)),
            queue: queue(&stats),
            prefill_tokens_per_s: stats.prefill_tokens_per_s,
        }
    }

    /// Nothing that panics runs under the lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long a new request waits: the prompt tokens before it, at the measured rate. Nothing before the first prefill.
fn queue(stats: &EngineStats) -> Micros {
    let Some(rate) = stats.prefill_tokens_per_s.filter(|rate| *rate > 0) else { return Micros::ZERO };
    Micros::new(u64::from(stats.prefill_tokens_waiting) * 1_000_000 / u64::from(rate))
}
