//! How libp2p is put together: TCP, Noise, Yamux, the keys of the nodes as the only guests, and one protocol.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use futures::StreamExt as _;
use libp2p::{
    Multiaddr, PeerId, Swarm, SwarmBuilder, allow_block_list, connection_limits,
    core::upgrade,
    identity,
    multiaddr::Protocol,
    noise,
    swarm::{NetworkBehaviour, SwarmEvent},
    tcp,
};
use wallet::{
    identity::{PublicKey, SecretKey},
    units::NodeId,
};

use super::{IN_FLIGHT_MAX, NetworkFault, gather::GatheringYamux, substreams::Substreams};

/// Both sides may dial at once, and a dead connection may linger beside its successor.
const CONNECTIONS_PER_PEER_MAX: u32 = 4;
/// Handshakes in progress, strangers' included.
const HANDSHAKES_MAX: u32 = 64;
/// Substreams that a peer may keep open here on one connection. A request may come on a new one a moment before the one that
/// its caller gave up is closed.
pub(super) const SUBSTREAMS_MAX: usize = 3 * IN_FLIGHT_MAX;

/// Who may connect, how often, and what is spoken.
#[derive(NetworkBehaviour)]
pub(super) struct Behaviour {
    pub(super) node_keys: allow_block_list::Behaviour<allow_block_list::AllowedPeers>,
    limits: connection_limits::Behaviour,
    pub(super) substreams: Substreams,
}

/// The libp2p name of a node's key.
pub(super) fn peer_id(node: NodeId, key: &PublicKey) -> Result<PeerId, NetworkFault> {
    let key = identity::ed25519::PublicKey::try_from_bytes(&key.0).map_err(|_| NetworkFault::KeyInvalid { node })?;
    Ok(identity::PublicKey::from(key).to_peer_id())
}

/// A swarm with `key` as its identity that lets in `allowed` and nobody else.
pub(super) fn build(key: &SecretKey, allowed: impl Iterator<Item = PeerId>) -> Swarm<Behaviour> {
    // libp2p zeroizes the copy of the seed that it is given.
    let identity = identity::Keypair::ed25519_from_bytes(key.seed().as_mut()).expect("32 bytes are an Ed25519 seed");
    let mut node_keys = allow_block_list::Behaviour::default();
    allowed.for_each(|peer| {
        node_keys.allow_peer(peer);
    });
    let limits = connection_limits::ConnectionLimits::default()
        .with_max_pending_incoming(Some(HANDSHAKES_MAX))
        .with_max_established_per_peer(Some(CONNECTIONS_PER_PEER_MAX));
    let behaviour =
        Behaviour { node_keys, limits: connection_limits::Behaviour::new(limits), substreams: Substreams::default() };
    SwarmBuilder::with_existing_identity(identity)
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, GatheringYamux::default)
        .expect("Noise takes any Ed25519 identity")
        .with_behaviour(|_| behaviour)
        .expect("building it cannot fail")
        .with_swarm_config(|config| {
            config
                .with_idle_connection_timeout(Duration::from_secs(u64::MAX))
                .with_max_negotiating_inbound_streams(SUBSTREAMS_MAX)
                // There is one protocol, so a request need not wait for the peer to agree to it: a round trip less.
                .with_substream_upgrade_protocol_override(upgrade::Version::V1Lazy)
        })
        .build()
}

/// Opens the listener and waits until the system has said where it is.
pub(super) async fn listen(swarm: &mut Swarm<Behaviour>, address: SocketAddr) -> Result<SocketAddr, NetworkFault> {
    let closed = |reason: String| NetworkFault::Listen { address, reason };
    swarm.listen_on(to_multiaddr(address)).map_err(|error| closed(error.to_string()))?;
    loop {
        match swarm.select_next_some().await {
            SwarmEvent::NewListenAddr { address: opened, .. } => {
                return to_socket_address(&opened).ok_or_else(|| closed(format!("{opened} is not TCP")));
            }
            SwarmEvent::ListenerError { error, .. } => return Err(closed(error.to_string())),
            SwarmEvent::ListenerClosed { reason, .. } => return Err(closed(format!("{reason:?}"))),
            _ => {}
        }
    }
}

fn to_socket_address(address: &Multiaddr) -> Option<SocketAddr> {
    let mut parts = address.iter();
    let ip: IpAddr = match parts.next()? {
        Protocol::Ip4(ip) => ip.into(),
        Protocol::Ip6(ip) => ip.into(),
        _ => return None,
    };
    match parts.next()? {
        Protocol::Tcp(port) => Some(SocketAddr::new(ip, port)),
        _ => None,
    }
}

pub(super) fn to_multiaddr(address: SocketAddr) -> Multiaddr {
    Multiaddr::from(address.ip()).with(Protocol::Tcp(address.port()))
}
