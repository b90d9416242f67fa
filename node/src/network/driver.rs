//! The task that owns the libp2p swarm: dials and dials again, says by which connection a peer is reached, and lets the
//! substreams that peers open be served.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use futures::StreamExt as _;
use libp2p::{
    Multiaddr, PeerId, Stream, Swarm,
    swarm::{ConnectionId, SwarmEvent, dial_opts::DialOpts},
};
use tokio::{
    sync::{Semaphore, mpsc, oneshot, watch},
    task::JoinSet,
    time::{Instant, sleep_until},
};
use wallet::{identity::SecretKey, units::NodeId};

use super::{
    Handler, IN_FLIGHT_MAX, NetworkFault, Options, Peer, REQUEST_TIMEOUT_MAX,
    connection::{self, Asker, Connection, Heard},
    routes::{Route, Routes},
    substreams::{self, FromConnection, Opener},
    swarm::{self, Behaviour, BehaviourEvent, SUBSTREAMS_MAX},
};

/// The wait before a broken connection is dialled again; doubles up to [`REDIAL_AFTER_MAX`].
const REDIAL_AFTER_MIN: Duration = Duration::from_millis(50);
/// One attempt per second costs a peer nothing and lets a restarted one back in soon.
const REDIAL_AFTER_MAX: Duration = Duration::from_secs(1);

/// What the handles ask of the driver.
#[derive(Debug)]
pub(super) enum Command {
    /// These are the peers. Answered when it is so.
    Peers(Vec<Peer>, oneshot::Sender<()>),
    /// A request to this peer was not answered in the longest time there is.
    Unanswered(NodeId),
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
    /// The newest last.
    connections: Vec<(ConnectionId, Arc<Connection>)>,
    route: watch::Sender<Route>,
    redial_after: Duration,
    /// When it was last connected to, or waiting began.
    changed_at: Instant,
    /// A message came, which no connection brings that the peer refuses.
    heard: Arc<Heard>,
    handlers: Arc<Semaphore>,
}

#[derive(Clone, Copy)]
enum LinkState {
    Connected,
    Dialling,
    Waiting { until: Instant },
}

pub(super) struct Driver<H> {
    swarm: Swarm<Behaviour>,
    listen: SocketAddr,
    /// Set while the system does not give the listener's address back.
    listen_again: Option<Instant>,
    links: BTreeMap<NodeId, Link>,
    nodes: HashMap<PeerId, NodeId>,
    routes: Arc<Routes>,
    served: JoinSet<()>,
    handler: Arc<H>,
    inbox: mpsc::Receiver<Command>,
    connected: watch::Sender<BTreeSet<NodeId>>,
}

impl<H: Handler> Driver<H> {
    /// A driver whose listener is open, and the listener's address.
    pub(super) async fn open(
        options: Options,
        handler: H,
        routes: Arc<Routes>,
        inbox: mpsc::Receiver<Command>,
        connected: watch::Sender<BTreeSet<NodeId>>,
    ) -> Result<(Self, SocketAddr), NetworkFault> {
        let now = Instant::now();
        let mut links = BTreeMap::new();
        for peer in &options.peers {
            links.insert(peer.node, Link::to(peer, now)?);
        }
        let nodes: HashMap<_, _> = links.values().map(|link| (link.peer, link.node)).collect();
        links.values().for_each(|link| routes.add(link.node, link.route.subscribe()));
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
            routes,
            served: JoinSet::new(),
            handler: Arc::new(handler),
            inbox,
            connected,
        };
        Ok((driver, opened))
    }

    /// Runs until stopped or until no handle is left. What is in flight then ends with [`NetworkFault::Stopped`].
    pub(super) async fn run(mut self) {
        self.until_stopped().await;
        // Before the connections close, so that whoever waits on one knows why.
        self.inbox.close();
    }

    async fn until_stopped(&mut self) {
        loop {
            let (redial_at, listen_again) = (self.redial_at(), self.listen_again);
            tokio::select! {
                command = self.inbox.recv() => match command {
                    Some(Command::Peers(peers, reply)) => {
                        self.set_peers(&peers);
                        // The caller may have given up already.
                        let _ = reply.send(());
                    }
                    Some(Command::Unanswered(by)) => self.drop_if_silent(by),
                    Some(Command::SpeakAs(key)) => self.speak_as(&key),
                    Some(Command::HeardSince(moment, reply)) => {
                        // The caller may have given up already.
                        let _ = reply.send(self.heard_since(moment));
                    }
                    Some(Command::Stop) | None => return,
                },
                event = self.swarm.select_next_some() => self.on_event(event),
                Some(served) = self.served.join_next() => {
                    if let Err(error) = served {
                        tracing::error!(%error, "a request's handler panicked");
                    }
                }
                () = sleep_until(redial_at) => self.dial_due(),
                () = sleep_until(listen_again.unwrap_or(redial_at)), if listen_again.is_some() => self.listen(),
            }
        }
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
            self.routes.remove(node);
            link.handlers.close();
            self.swarm.behaviour_mut().node_keys.disallow_peer(link.peer);
            self.connected.send_if_modified(|nodes| nodes.remove(&node));
            tracing::info!(%node, "no longer a peer with that key and address");
        }
        for (node, link) in links {
            if self.links.contains_key(&node) {
                continue;
            }
            self.nodes.insert(link.peer, node);
            self.routes.add(node, link.route.subscribe());
            self.swarm.behaviour_mut().node_keys.allow_peer(link.peer);
            self.links.insert(node, link);
        }
    }

    /// Another identity is another swarm.
    fn speak_as(&mut self, key: &SecretKey) {
        self.swarm = swarm::build(key, self.nodes.keys().copied());
        for link in self.links.values_mut() {
            // What is in flight breaks with the connections of the old one.
            link.connections.clear();
            (link.redial_after, link.heard) = (REDIAL_AFTER_MIN, Arc::default());
            link.turn(LinkState::Waiting { until: Instant::now() });
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
        let heard = self.links.values().filter(|link| link.heard.at().is_some_and(|at| at > moment));
        heard.map(|link| link.node).collect()
    }

    fn on_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(BehaviourEvent::Substreams(substreams::Event { peer, connection, what })) => {
                match what {
                    FromConnection::Ready(opener) => self.take_up(&peer, connection, opener),
                    FromConnection::Opened(stream) => self.serve(&peer, connection, stream),
                }
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, num_established, cause, .. } => {
                let Some(link) = self.link_of(&peer_id) else { return };
                link.connections.retain(|(id, _)| *id != connection_id);
                if num_established > 0 {
                    link.turn(link.state);
                    return;
                }
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

    fn take_up(&mut self, peer: &PeerId, id: ConnectionId, opener: Opener) {
        let Some(link) = self.link_of(peer) else { return };
        link.connections.iter().for_each(|(_, older)| older.close_idle());
        link.connections.push((id, Arc::new(Connection::new(opener, Arc::clone(&link.heard)))));
        link.changed_at = Instant::now();
        link.turn(LinkState::Connected);
        let node = link.node;
        if self.connected.send_if_modified(|nodes| nodes.insert(node)) {
            tracing::info!(%node, "peer connected");
        }
    }

    /// Beside everything else. A peer over its bound loses the substream, which it sees as broken.
    fn serve(&mut self, peer: &PeerId, id: ConnectionId, stream: Stream) {
        let Some(link) = self.link_of(peer) else { return };
        let Some((_, connection)) = link.connections.iter().find(|(known, _)| *known == id) else { return };
        let Some(place) = connection.place() else {
            tracing::warn!(node = %link.node, "more than {SUBSTREAMS_MAX} substreams at once; one dropped");
            return;
        };
        let (handlers, heard) = (Arc::clone(&link.handlers), Arc::clone(&link.heard));
        let asker = Asker { node: link.node, handlers, heard, place };
        self.served.spawn(connection::serve(stream, asker, Arc::clone(&self.handler)));
    }

    /// A peer that left a request unanswered for the whole limit and said nothing else meanwhile is gone, whatever
    /// TCP believes.
    fn drop_if_silent(&mut self, node: NodeId) {
        let Some(link) = self.links.get(&node) else { return };
        let heard_at = link.heard.at().map_or(link.changed_at, |at| at.max(link.changed_at));
        if heard_at.elapsed() >= REQUEST_TIMEOUT_MAX {
            tracing::info!(%node, "peer silent; connection dropped");
            // An error means that it is disconnected already.
            let _ = self.swarm.disconnect_peer_id(link.peer);
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
            link.turn(LinkState::Dialling);
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
            connections: Vec::new(),
            route: watch::Sender::new(Route::Closed),
            redial_after: REDIAL_AFTER_MIN,
            changed_at: now,
            heard: Arc::default(),
            handlers: Arc::new(Semaphore::new(IN_FLIGHT_MAX)),
        })
    }

    /// The link stands so from here on, and those who ask the peer are told.
    fn turn(&mut self, state: LinkState) {
        self.state = state;
        self.route.send_replace(match (state, self.connections.last()) {
            (LinkState::Connected, Some((_, connection))) => Route::Open(Arc::clone(connection)),
            (LinkState::Dialling, _) => Route::Dialling,
            (LinkState::Connected | LinkState::Waiting { .. }, _) => Route::Closed,
        });
    }

    /// Puts the next attempt off, twice as long each time that nothing came from the peer since the last.
    fn wait(&mut self) {
        let now = Instant::now();
        if self.heard.at().is_some_and(|at| at > self.changed_at) {
            self.redial_after = REDIAL_AFTER_MIN;
        }
        self.changed_at = now;
        self.turn(LinkState::Waiting { until: now + self.redial_after });
        self.redial_after = (self.redial_after * 2).min(REDIAL_AFTER_MAX);
    }
}
