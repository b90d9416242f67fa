//! The task that owns the libp2p swarm: sends requests, runs handlers, dials and dials again.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use futures::StreamExt as _;
use libp2p::{
    Multiaddr, PeerId, Swarm,
    request_response::{self, Message, OutboundFailure, OutboundRequestId, ResponseChannel},
    swarm::{SwarmEvent, dial_opts::DialOpts},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch},
    task::JoinSet,
    time::{Instant, sleep_until},
};
use wallet::{identity::SecretKey, units::NodeId};

use super::{
    Handler, IN_FLIGHT_MAX, NetworkFault, Options, Peer, REQUEST_TIMEOUT_MAX,
    swarm::{self, Behaviour, BehaviourEvent},
};

/// The wait before a broken connection is dialled again; doubles up to [`REDIAL_AFTER_MAX`].
const REDIAL_AFTER_MIN: Duration = Duration::from_millis(50);
/// One attempt per second costs a peer nothing and lets a restarted one back in soon.
const REDIAL_AFTER_MAX: Duration = Duration::from_secs(1);

/// What the handles ask of the driver.
#[derive(Debug)]
pub(super) enum Command {
    /// Send a request; the slot is held until libp2p is done with it.
    Request {
        to: NodeId,
        body: Vec<u8>,
        reply: oneshot::Sender<Result<Vec<u8>, NetworkFault>>,
        slot: OwnedSemaphorePermit,
    },
    /// These are the peers.
    Peers(Vec<Peer>),
    /// This is the key.
    SpeakAs(SecretKey),
    /// Say of whom a message came since.
    HeardSince(Instant, oneshot::Sender<BTreeSet<NodeId>>),
    /// End.
    Stop,
}

/// A peer and how the connection to it stands.
struct Link {
    node: NodeId,
    peer: PeerId,
    address: Multiaddr,
    state: LinkState,
    redial_after: Duration,
    heard_at: Instant,
    /// A message came, which no connection brings that the peer refuses.
    spoke_at: Option<Instant>,
    handlers: Arc<Semaphore>,
}

enum LinkState {
    Connected,
    Dialling,
    Waiting { until: Instant },
}

struct Pending {
    to: NodeId,
    reply: oneshot::Sender<Result<Vec<u8>, NetworkFault>>,
    _slot: OwnedSemaphorePermit,
}

pub(super) struct Driver<H> {
    swarm: Swarm<Behaviour>,
    listen: SocketAddr,
    /// Set while the system does not give the listener's address back.
    listen_again: Option<Instant>,
    links: BTreeMap<NodeId, Link>,
    nodes: HashMap<PeerId, NodeId>,
    pending: HashMap<OutboundRequestId, Pending>,
    answers: JoinSet<(ResponseChannel<Vec<u8>>, Vec<u8>)>,
    handler: Arc<H>,
    inbox: mpsc::Receiver<Command>,
    connected: watch::Sender<BTreeSet<NodeId>>,
}

impl<H: Handler> Driver<H> {
    /// A driver whose listener is open, and the listener's address.
    pub(super) async fn open(
        options: Options,
        handler: H,
        inbox: mpsc::Receiver<Command>,
        connected: watch::Sender<BTreeSet<NodeId>>,
    ) -> Result<(Self, SocketAddr), NetworkFault> {
        let now = Instant::now();
        let mut links = BTreeMap::new();
        for peer in &options.peers {
            links.insert(peer.node, Link::to(peer, now)?);
        }
        let nodes: HashMap<_, _> = links.values().map(|link| (link.peer, link.node)).collect();
        let mut swarm = swarm::build(&options.key, nodes.keys().copied());
        let opened = swarm::listen(&mut swarm, options.listen).await?;
        // Of an unspecified address the system names one interface after the other.
        let listen = SocketAddr::new(options.listen.ip(), opened.port());
        let driver = Self {
            swarm,
            listen,
            listen_again: None,
            links,
            nodes,
            pending: HashMap::new(),
            answers: JoinSet::new(),
            handler: Arc::new(handler),
            inbox,
            connected,
        };
        Ok((driver, opened))
    }

    /// Runs until stopped or until no handle is left. What is in flight then ends with [`NetworkFault::Stopped`].
    pub(super) async fn run(mut self) {
        loop {
            let (redial_at, listen_again) = (self.redial_at(), self.listen_again);
            tokio::select! {
                command = self.inbox.recv() => match command {
                    Some(Command::Request { to, body, reply, slot }) => self.send(to, body, reply, slot),
                    Some(Command::Peers(peers)) => self.set_peers(&peers),
                    Some(Command::SpeakAs(key)) => self.speak_as(&key),
                    Some(Command::HeardSince(moment, reply)) => {
                        // The caller may have given up already.
                        let _ = reply.send(self.heard_since(moment));
                    }
                    Some(Command::Stop) | None => return,
                },
                event = self.swarm.select_next_some() => self.on_event(event),
                Some(answer) = self.answers.join_next() => match answer {
                    // An error means that the peer has gone or waited long enough.
                    Ok((channel, body)) => drop(self.swarm.behaviour_mut().requests.send_response(channel, body)),
                    Err(error) => tracing::error!(%error, "a request's handler panicked"),
                },
                () = sleep_until(redial_at) => self.dial_due(),
                () = sleep_until(listen_again.unwrap_or(redial_at)), if listen_again.is_some() => self.listen(),
            }
        }
    }

    fn send(
        &mut self,
        to: NodeId,
        body: Vec<u8>,
        reply: oneshot::Sender<Result<Vec<u8>, NetworkFault>>,
        slot: OwnedSemaphorePermit,
    ) {
        let Some(link) = self.links.get(&to) else {
            // It was a peer when the caller asked.
            let _ = reply.send(Err(NetworkFault::NotAPeer { to }));
            return;
        };
        if matches!(link.state, LinkState::Waiting { .. }) {
            // The caller may have given up already.
            let _ = reply.send(Err(NetworkFault::Unreachable { to }));
            return;
        }
        let id = self.swarm.behaviour_mut().requests.send_request(&link.peer, body);
        self.pending.insert(id, Pending { to, reply, _slot: slot });
    }

    /// Lets in and dials who is new or has another key or address; disconnects who is none any more.
    fn set_peers(&mut self, peers: &[Peer]) {
        let now = Instant::now();
        let mut links = BTreeMap::new();
        for peer in peers {
            match Link::to(peer, now) {
                Ok(link) => drop(links.insert(peer.node, link)),
                // No node of the ledger has such a key: it signed its consent.
                Err(fault) => tracing::error!(node = %peer.node, %fault, "a peer cannot be reached"),
            }
        }
        let is_kept = |node: &NodeId, link: &Link| {
            links.get(node).is_some_and(|wanted| (wanted.peer, &wanted.address) == (link.peer, &link.address))
        };
        let gone: Vec<NodeId> =
            self.links.iter().filter(|(node, link)| !is_kept(node, link)).map(|(node, _)| *node).collect();
        for node in gone {
            let Some(link) = self.links.remove(&node) else { continue };
            self.nodes.remove(&link.peer);
            self.swarm.behaviour_mut().node_keys.disallow_peer(link.peer);
            self.connected.send_if_modified(|nodes| nodes.remove(&node));
            tracing::info!(%node, "no longer a peer with that key and address");
        }
        for (node, link) in links {
            if self.links.contains_key(&node) {
                continue;
            }
            self.nodes.insert(link.peer, node);
            self.swarm.behaviour_mut().node_keys.allow_peer(link.peer);
            self.links.insert(node, link);
        }
    }

    /// Another identity is another swarm.
    fn speak_as(&mut self, key: &SecretKey) {
        self.swarm = swarm::build(key, self.nodes.keys().copied());
        for (_, Pending { to, reply, .. }) in self.pending.drain() {
            // The caller may have given up already.
            let _ = reply.send(Err(NetworkFault::Broken { to, reason: "this node takes up another key".to_owned() }));
        }
        let now = Instant::now();
        for link in self.links.values_mut() {
            (link.state, link.redial_after) = (LinkState::Waiting { until: now }, REDIAL_AFTER_MIN);
            link.spoke_at = None;
        }
        self.connected.send_replace(BTreeSet::new());
        tracing::info!(key = %key.public_key(), "speaking with another key");
        self.listen();
    }

    fn listen(&mut self) {
        self.listen_again = match self.swarm.listen_on(swarm::to_multiaddr(self.listen)) {
            Ok(_) => None,
            Err(error) => {
                tracing::error!(%error, "peers cannot connect; trying again");
                Some(Instant::now() + REDIAL_AFTER_MAX)
            }
        };
    }

    /// The peers of whom a message came after `moment`.
    fn heard_since(&self, moment: Instant) -> BTreeSet<NodeId> {
        let heard = self.links.values().filter(|link| link.spoke_at.is_some_and(|at| at > moment));
        heard.map(|link| link.node).collect()
    }

    fn finish(&mut self, id: OutboundRequestId, answer: impl FnOnce(NodeId) -> Result<Vec<u8>, NetworkFault>) {
        if let Some(Pending { to, reply, .. }) = self.pending.remove(&id) {
            // The caller may have given up already.
            let _ = reply.send(answer(to));
        }
    }

    fn on_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(BehaviourEvent::Requests(event)) => self.on_request_event(event),
            SwarmEvent::ConnectionEstablished { peer_id, .. } => {
                let Some(link) = self.link_of(&peer_id) else { return };
                link.state = LinkState::Connected;
                link.heard_at = Instant::now();
                let node = link.node;
                self.connected.send_if_modified(|nodes| nodes.insert(node));
                tracing::info!(%node, "peer connected");
            }
            SwarmEvent::ConnectionClosed { peer_id, num_established: 0, cause, .. } => {
                let Some(link) = self.link_of(&peer_id) else { return };
                link.wait();
                let node = link.node;
                self.connected.send_if_modified(|nodes| nodes.remove(&node));
                tracing::info!(%node, ?cause, "peer disconnected");
            }
            SwarmEvent::OutgoingConnectionError { peer_id: Some(peer_id), error, .. } => {
                let Some(link) = self.link_of(&peer_id) else { return };
                if matches!(link.state, LinkState::Dialling) {
                    link.wait();
                    tracing::debug!(node = %link.node, %error, "peer not reached");
                }
            }
            SwarmEvent::IncomingConnectionError { send_back_addr, error, .. } => {
                tracing::debug!(from = %send_back_addr, %error, "connection refused");
            }
            SwarmEvent::ListenerError { error, .. } => tracing::warn!(%error, "listener"),
            SwarmEvent::ListenerClosed { reason, .. } => {
                tracing::error!(?reason, "listener closed; opening it again");
                self.listen_again = Some(Instant::now() + REDIAL_AFTER_MAX);
            }
            _ => {}
        }
    }

    fn on_request_event(&mut self, event: request_response::Event<Vec<u8>, Vec<u8>>) {
        use request_response::Event;
        match event {
            Event::Message { peer, message, .. } => {
                let Some(link) = self.link_of(&peer) else { return };
                let now = Instant::now();
                (link.heard_at, link.spoke_at, link.redial_after) = (now, Some(now), REDIAL_AFTER_MIN);
                match message {
                    Message::Request { request, channel, .. } => self.answer(peer, request, channel),
                    Message::Response { request_id, response } => self.finish(request_id, |_| Ok(response)),
                }
            }
            Event::OutboundFailure { peer, request_id, error, .. } => {
                if matches!(error, OutboundFailure::Timeout) {
                    self.drop_if_silent(peer);
                }
                self.finish(request_id, |to| Err(fault(to, error)));
            }
            Event::InboundFailure { peer, error, .. } => tracing::debug!(%peer, %error, "request not answered"),
            Event::ResponseSent { .. } => {}
        }
    }

    /// Runs the handler beside everything else. A peer over its bound loses the stream, which it sees as broken.
    fn answer(&mut self, peer: PeerId, body: Vec<u8>, channel: ResponseChannel<Vec<u8>>) {
        let Some(link) = self.link_of(&peer) else { return };
        let from = link.node;
        let Ok(permit) = Arc::clone(&link.handlers).try_acquire_owned() else {
            tracing::warn!(node = %from, "more than {IN_FLIGHT_MAX} requests at once; one dropped");
            return;
        };
        let handler = Arc::clone(&self.handler);
        self.answers.spawn(async move {
            let body = handler.handle(from, body).await;
            drop(permit);
            (channel, body)
        });
    }

    /// A peer that left a request unanswered for the whole limit and said nothing else meanwhile is gone, whatever
    /// TCP believes.
    fn drop_if_silent(&mut self, peer: PeerId) {
        let Some(link) = self.link_of(&peer) else { return };
        if link.heard_at.elapsed() >= REQUEST_TIMEOUT_MAX {
            tracing::info!(node = %link.node, "peer silent; connection dropped");
            // An error means that it is disconnected already.
            let _ = self.swarm.disconnect_peer_id(peer);
        }
    }

    fn redial_at(&self) -> Instant {
        let due = self.links.values().filter_map(|link| match link.state {
            LinkState::Waiting { until } => Some(until),
            LinkState::Connected | LinkState::Dialling => None,
        });
        due.min().unwrap_or_else(|| Instant::now() + Duration::from_secs(3600))
    }

    fn dial_due(&mut self) {
        let now = Instant::now();
        for link in self.links.values_mut() {
            if !matches!(link.state, LinkState::Waiting { until } if until <= now) {
                continue;
            }
            // Not from the listening port: two nodes that dial each other at once would meet in one TCP connection
            // with two initiators.
            let dial = DialOpts::peer_id(link.peer).addresses(vec![link.address.clone()]).allocate_new_port().build();
            link.state = LinkState::Dialling;
            if let Err(error) = self.swarm.dial(dial) {
                tracing::debug!(node = %link.node, %error, "peer not dialled");
                link.wait();
            }
        }
    }

    fn link_of(&mut self, peer: &PeerId) -> Option<&mut Link> {
        self.nodes.get(peer).and_then(|node| self.links.get_mut(node))
    }
}

impl Link {
    /// Not connected yet.
    fn to(peer: &Peer, now: Instant) -> Result<Self, NetworkFault> {
        Ok(Self {
            node: peer.node,
            peer: swarm::peer_id(peer.node, &peer.key)?,
            address: swarm::to_multiaddr(peer.address),
            state: LinkState::Waiting { until: now },
            redial_after: REDIAL_AFTER_MIN,
            heard_at: now,
            spoke_at: None,
            handlers: Arc::new(Semaphore::new(IN_FLIGHT_MAX)),
        })
    }

    /// Puts the next attempt off, twice as long each time.
    fn wait(&mut self) {
        self.state = LinkState::Waiting { until: Instant::now() + self.redial_after };
        self.redial_after = (self.redial_after * 2).min(REDIAL_AFTER_MAX);
    }
}

fn fault(to: NodeId, error: OutboundFailure) -> NetworkFault {
    match error {
        OutboundFailure::DialFailure => NetworkFault::Unreachable { to },
        OutboundFailure::Timeout => NetworkFault::Timeout { to, waited: REQUEST_TIMEOUT_MAX },
        error => NetworkFault::Broken { to, reason: error.to_string() },
    }
}
