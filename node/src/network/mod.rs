//! The wire between operators: one protocol of requests and answers over TCP, Noise and Yamux.
//!
//! A node's libp2p identity is its node key, so Noise authenticates the peer and a request arrives with the [`NodeId`]
//! of its sender. Any identity that is not the present key of a peer is refused. Each request has a Yamux stream to itself until it is answered: a large
//! answer does not hold up a small one. Connections are kept and dialled again when they break; nothing is sent
//! twice, because only the caller knows what may be repeated.

mod carried_through;
mod connection;
mod driver;
pub mod frame;
mod gather;
pub mod ledger_transport;
pub mod message;
mod routes;
mod slots;
pub mod stream;
mod substreams;
mod swarm;

use std::{collections::BTreeSet, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, timeout_at},
};
use wallet::{
    identity::{PublicKey, SecretKey},
    units::NodeId,
};

use carried_through::CarriedThrough;
use connection::Connection;
use driver::{Command, Driver};
use frame::BODY_BYTES_MAX;
use routes::{Route, Routes};
use slots::Slots;

/// The protocol's name, version included.
pub const PROTOCOL: &str = "/batchmind/peer/4";

/// Requests that may wait for an answer from one peer, and as many that one peer may have waiting here.
pub const IN_FLIGHT_MAX: usize = 128;

/// How long a peer may take over one request, whatever the caller is ready to wait. A long poll must be shorter.
pub const REQUEST_TIMEOUT_MAX: Duration = Duration::from_secs(60);

/// Answers the requests of peers.
pub trait Handler: Send + Sync + 'static {
    /// The answer to `body`, which the node `from` sent. Runs beside other requests of the same peer, at most
    /// [`IN_FLIGHT_MAX`] of them.
    fn handle(&self, from: NodeId, body: Vec<u8>) -> impl Future<Output = Vec<u8>> + Send;
}

/// What a node needs to know to take part.
#[derive(Clone, Debug)]
pub struct Options {
    /// This node.
    pub me: NodeId,
    /// This node's key.
    pub key: SecretKey,
    /// Where to listen. Port 0 takes any free port.
    pub listen: SocketAddr,
    /// The other nodes of the consortium, until [`PeerNetwork::set_peers`] says otherwise. Nobody else is let in.
    pub peers: Vec<Peer>,
}

/// Another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its identity on the ledger.
    pub node: NodeId,
    /// The key that it has now.
    pub key: PublicKey,
    /// Where it listens.
    pub address: SocketAddr,
}

/// Why a request has no answer, or why the network did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetworkFault {
    /// A node's key that is no Ed25519 point.
    #[error("the key of node {node} is not an Ed25519 public key")]
    KeyInvalid {
        /// Whose key.
        node: NodeId,
    },
    /// The listener could not be opened.
    #[error("cannot listen on {address}: {reason}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// What the system says.
        reason: String,
    },
    /// No such node in the consortium, or this node itself.
    #[error("node {to} is not a peer of this node")]
    NotAPeer {
        /// The addressee.
        to: NodeId,
    },
    /// No connection, and the next attempt is not due yet. The request was not sent.
    #[error("node {to} cannot be reached")]
    Unreachable {
        /// The addressee.
        to: NodeId,
    },
    /// No answer in time. The peer may have acted on the request.
    #[error("node {to} did not answer within {waited:?}")]
    Timeout {
        /// The addressee.
        to: NodeId,
        /// How long the caller waited.
        waited: Duration,
    },
    /// The stream or its connection broke before the answer was whole. The peer may have acted on the request.
    #[error("the connection to node {to} broke: {reason}")]
    Broken {
        /// The addressee.
        to: NodeId,
        /// What broke.
        reason: String,
    },
    /// The request is larger than a frame may be.
    #[error("a request of {count} bytes, more than the {BODY_BYTES_MAX} allowed")]
    TooLarge {
        /// The request's size.
        count: usize,
    },
    /// This node is shutting down.
    #[error("the network has stopped")]
    Stopped,
}

impl NetworkFault {
    /// The stable code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::KeyInvalid { .. } => "N-140",
            Self::Listen { .. } => "N-141",
            Self::NotAPeer { .. } => "N-142",
            Self::Unreachable { .. } => "N-143",
            Self::Timeout { .. } => "N-144",
            Self::Broken { .. } => "N-145",
            Self::TooLarge { .. } => "N-146",
            Self::Stopped => "N-147",
        }
    }

    /// Whether the same request may succeed later.
    pub const fn retry(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Timeout { .. } | Self::Broken { .. })
    }
}

/// A handle to the running network; clones share it.
#[derive(Clone, Debug)]
pub struct PeerNetwork {
    commands: mpsc::Sender<Command>,
    slots: Arc<Slots>,
    routes: Arc<Routes>,
    connected: watch::Receiver<BTreeSet<NodeId>>,
    listen: SocketAddr,
}

impl PeerNetwork {
    /// Opens the listener and begins to dial the peers. Must run inside a tokio runtime.
    ///
    /// # Errors
    /// [`NetworkFault::KeyInvalid`] and [`NetworkFault::Listen`].
    pub async fn start<H: Handler>(options: Options, handler: H) -> Result<Self, NetworkFault> {
        let slots = Arc::new(Slots::new(IN_FLIGHT_MAX));
        let routes = Arc::new(Routes::default());
        let (commands, inbox) = mpsc::channel(IN_FLIGHT_MAX);
        let (connected_now, connected) = watch::channel(BTreeSet::new());
        let (driver, listen) = Driver::open(options, handler, Arc::clone(&routes), inbox, connected_now).await?;
        tokio::spawn(driver.run());
        Ok(Self { commands, slots, routes, connected, listen })
    }

    /// Sends `body` to a peer and waits for its answer, at most `timeout` and at most [`REQUEST_TIMEOUT_MAX`].
    ///
    /// # Errors
    /// [`NetworkFault`]; after [`NetworkFault::Timeout`] and [`NetworkFault::Broken`] the peer may have acted.
    pub async fn request(&self, to: NodeId, body: Vec<u8>, timeout: Duration) -> Result<Vec<u8>, NetworkFault> {
        if body.len() > BODY_BYTES_MAX {
            return Err(NetworkFault::TooLarge { count: body.len() });
        }
        if self.commands.is_closed() {
            return Err(NetworkFault::Stopped);
        }
        let route = self.route_to(to)?;
        let late = |_| NetworkFault::Timeout { to, waited: timeout };
        let end = Instant::now() + timeout;
        let slot = timeout_at(end, self.slots.of(to).acquire_owned()).await.map_err(late)?;
        let slot = slot.map_err(|_| NetworkFault::Stopped)?;
        let connection = timeout_at(end, routes::reach(route)).await.map_err(late)?;
        let connection = connection.ok_or(NetworkFault::Unreachable { to })?;
        // No handle: a request that was given up does not keep the network running.
        let commands = self.commands.downgrade();
        let exchange = CarriedThrough::new(async move {
            let answer = exchange(to, &connection, &body, &commands).await;
            // The peer is done with it.
            drop(slot);
            answer
        });
        timeout_at(end, exchange).await.map_err(late)?
    }

    /// The peers with a connection, now and whenever that changes.
    pub fn connected(&self) -> watch::Receiver<BTreeSet<NodeId>> {
        self.connected.clone()
    }

    /// From here on these are the peers, with these keys and addresses. Who is none any more, or has another key, is
    /// disconnected and refused, and what is in flight to it breaks.
    pub async fn set_peers(&self, peers: Vec<Peer>) {
        let (reply, done) = oneshot::channel();
        // An error means that the network has stopped.
        let _ = self.commands.send(Command::Peers(peers, reply)).await;
        let _ = done.await;
    }

    /// From here on this node speaks and listens as who has `key`: all connections are closed and made anew, and what is
    /// in flight breaks.
    pub async fn speak_as(&self, key: SecretKey) {
        // An error means that the network has stopped.
        let _ = self.commands.send(Command::SpeakAs(key)).await;
    }

    /// The peers of whom a message came after `moment`. Whoever refuses this node's key has a connection to it for a moment,
    /// and sends none. Nobody if the network has stopped.
    pub async fn heard_since(&self, moment: Instant) -> BTreeSet<NodeId> {
        let (reply, heard) = oneshot::channel();
        let _ = self.commands.send(Command::HeardSince(moment, reply)).await;
        heard.await.unwrap_or_default()
    }

    /// Only peers can be asked.
    fn check_peer(&self, to: NodeId) -> Result<(), NetworkFault> {
        self.route_to(to).map(drop)
    }

    fn route_to(&self, to: NodeId) -> Result<watch::Receiver<Route>, NetworkFault> {
        self.routes.to(to).ok_or(NetworkFault::NotAPeer { to })
    }

    /// Where this node listens, with the port that port 0 became.
    pub const fn listen_address(&self) -> SocketAddr {
        self.listen
    }

    /// Closes all connections and returns when that is done; requests in flight end with [`NetworkFault::Stopped`].
    /// Dropping every handle does the same.
    pub async fn stop(&self) {
        // An error means that the driver has ended already.
        let _ = self.commands.send(Command::Stop).await;
        self.commands.closed().await;
    }
}

async fn exchange(
    to: NodeId,
    connection: &Connection,
    body: &[u8],
    commands: &mpsc::WeakSender<Command>,
) -> Result<Vec<u8>, NetworkFault> {
    let answer = tokio::time::timeout(REQUEST_TIMEOUT_MAX, connection.exchange(body)).await;
    if let Ok(Ok(answer)) = answer {
        return Ok(answer);
    }
    let Some(commands) = commands.upgrade().filter(|commands| !commands.is_closed()) else {
        return Err(NetworkFault::Stopped);
    };
    match answer {
        Ok(Err(error)) => Err(NetworkFault::Broken { to, reason: error.to_string() }),
        _ => {
            // An error means that the network has stopped.
            let _ = commands.send(Command::Unanswered(to)).await;
            Err(NetworkFault::Timeout { to, waited: REQUEST_TIMEOUT_MAX })
        }
    }
}

#[cfg(test)]
mod tests;
