//! How libp2p gives out the substreams of a connection: this side opens one by its [`Opener`], and each one that the peer
//! opens is handed to whoever drives the swarm.

use std::{
    collections::VecDeque,
    io,
    task::{Context, Poll},
};

use libp2p::{
    Multiaddr, PeerId, Stream, StreamProtocol,
    core::{Endpoint, transport::PortUse, upgrade::ReadyUpgrade},
    swarm::{
        ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm, NetworkBehaviour,
        StreamUpgradeError, SubstreamProtocol, ToSwarm,
        handler::{ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound},
    },
};
use tokio::sync::{mpsc, oneshot};

use super::PROTOCOL;

const UPGRADE: ReadyUpgrade<StreamProtocol> = ReadyUpgrade::new(StreamProtocol::new(PROTOCOL));

type Reply = oneshot::Sender<io::Result<Stream>>;

/// Opens substreams of one connection.
#[derive(Clone, Debug)]
pub(super) struct Opener(mpsc::UnboundedSender<Reply>);

impl Opener {
    /// One more. Whoever asks has a slot of this peer, which bounds how many are asked for.
    ///
    /// # Errors
    /// The connection is closed, or the peer does not speak [`PROTOCOL`].
    pub(super) async fn open(&self) -> io::Result<Stream> {
        let closed = || io::Error::new(io::ErrorKind::ConnectionReset, "the connection is closed");
        let (reply, opened) = oneshot::channel();
        self.0.send(reply).map_err(|_| closed())?;
        opened.await.map_err(|_| closed())?
    }
}

/// What comes of one connection to a peer.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) peer: PeerId,
    pub(super) connection: ConnectionId,
    pub(super) what: FromConnection,
}

#[derive(Debug)]
pub(super) enum FromConnection {
    /// It stands. Comes first, and once.
    Ready(Opener),
    /// The peer opened a substream.
    Opened(Stream),
}

/// The part of libp2p's behaviour that gives out substreams.
#[derive(Debug, Default)]
pub(super) struct Substreams {
    events: VecDeque<Event>,
}

impl NetworkBehaviour for Substreams {
    type ConnectionHandler = SubstreamHandler;
    type ToSwarm = Event;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<SubstreamHandler, ConnectionDenied> {
        Ok(SubstreamHandler::new())
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<SubstreamHandler, ConnectionDenied> {
        Ok(SubstreamHandler::new())
    }

    fn on_swarm_event(&mut self, _: FromSwarm<'_>) {}

    fn on_connection_handler_event(&mut self, peer: PeerId, connection: ConnectionId, what: FromConnection) {
        self.events.push_back(Event { peer, connection, what });
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Event, std::convert::Infallible>> {
        // Events come from the connections alone, and the swarm polls again after each.
        self.events.pop_front().map_or(Poll::Pending, |event| Poll::Ready(ToSwarm::GenerateEvent(event)))
    }
}

/// The part of one connection.
#[derive(Debug)]
pub(super) struct SubstreamHandler {
    /// Until it is handed up.
    opener: Option<Opener>,
    wanted: mpsc::UnboundedReceiver<Reply>,
    opened_by_peer: VecDeque<Stream>,
}

impl SubstreamHandler {
    fn new() -> Self {
        let (opener, wanted) = mpsc::unbounded_channel();
        Self { opener: Some(Opener(opener)), wanted, opened_by_peer: VecDeque::new() }
    }
}

impl ConnectionHandler for SubstreamHandler {
    type FromBehaviour = std::convert::Infallible;
    type ToBehaviour = FromConnection;
    type InboundProtocol = ReadyUpgrade<StreamProtocol>;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = Reply;

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol> {
        SubstreamProtocol::new(UPGRADE, ())
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, Reply, FromConnection>> {
        if let Some(opener) = self.opener.take() {
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(FromConnection::Ready(opener)));
        }
        if let Some(stream) = self.opened_by_peer.pop_front() {
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(FromConnection::Opened(stream)));
        }
        match self.wanted.poll_recv(cx) {
            Poll::Ready(Some(reply)) => Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest {
                protocol: SubstreamProtocol::new(UPGRADE, reply),
            }),
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }

    fn on_behaviour_event(&mut self, event: Self::FromBehaviour) {
        match event {}
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<'_, Self::InboundProtocol, Self::OutboundProtocol, (), Reply>,
    ) {
        // The connection polls this handler after each event. Whoever asked may have given up already.
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol, .. }) => {
                self.opened_by_peer.push_back(protocol);
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol, info }) => {
                let _ = info.send(Ok(protocol));
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { info, error }) => {
                let _ = info.send(Err(refused(error)));
            }
            _ => {}
        }
    }
}

fn refused(error: StreamUpgradeError<std::convert::Infallible>) -> io::Error {
    match error {
        StreamUpgradeError::Io(error) => error,
        error => io::Error::other(error.to_string()),
    }
}
