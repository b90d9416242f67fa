//! What peers say to each other: a first byte that names the part of the node concerned, then that part's own encoding.
//!
//! The byte is not put through the codec, because the body is an encoding already: a page of megabytes is not encoded
//! twice.

use std::{sync::Arc, time::Duration};

use serde::Serialize;
use wallet::{codec, units::NodeId};

use super::{Handler, IN_FLIGHT_MAX, NetworkFault, PeerNetwork, slots::Slots, stream::STREAM_IN_FLIGHT_MAX};

/// Requests of sessions that may wait for one peer. With those about streams below [`IN_FLIGHT_MAX`], so that long polls
/// and pages always leave room for the ledger.
pub const SESSION_IN_FLIGHT_MAX: usize = IN_FLIGHT_MAX * 3 / 8;

const _: () = assert!(SESSION_IN_FLIGHT_MAX + 2 * STREAM_IN_FLIGHT_MAX < IN_FLIGHT_MAX, "there is room for the ledger");

/// A request between nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerMessage {
    /// For the ledger: an encoded request of its transport.
    Ledger(Vec<u8>),
    /// For sessions: routing, tokens, transfer.
    Session(Vec<u8>),
    /// For streams that this node offers.
    Stream(Vec<u8>),
}

const LEDGER: u8 = 0;
const SESSION: u8 = 1;
const STREAM: u8 = 2;

impl PeerMessage {
    /// The frame's body of a request to the ledger, which is encoded where it is sent from: blocks are long.
    pub fn to_ledger(request: &impl Serialize) -> Vec<u8> {
        codec::encode_after(&[LEDGER], request)
    }

    /// The frame's body.
    pub fn into_bytes(self) -> Vec<u8> {
        let (kind, mut body) = match self {
            Self::Ledger(body) => (LEDGER, body),
            Self::Session(body) => (SESSION, body),
            Self::Stream(body) => (STREAM, body),
        };
        body.insert(0, kind);
        body
    }

    /// Reads a frame's body; none if it is empty or names no part of a node.
    pub fn from_bytes(mut bytes: Vec<u8>) -> Option<Self> {
        let kind = *bytes.first()?;
        bytes.remove(0);
        match kind {
            LEDGER => Some(Self::Ledger(bytes)),
            SESSION => Some(Self::Session(bytes)),
            STREAM => Some(Self::Stream(bytes)),
            _ => None,
        }
    }
}

/// Hands each request to the part of the node that it is for. Answers carry no first byte: the asker knows what it
/// asked. A message for nobody is answered with nothing, which no part's decoder accepts.
#[derive(Clone, Debug)]
pub struct Dispatch<L, S, T> {
    /// Answers [`PeerMessage::Ledger`].
    pub ledger: L,
    /// Answers [`PeerMessage::Session`].
    pub session: S,
    /// Answers [`PeerMessage::Stream`].
    pub stream: T,
}

impl<L: Handler, S: Handler, T: Handler> Handler for Dispatch<L, S, T> {
    async fn handle(&self, from: NodeId, body: Vec<u8>) -> Vec<u8> {
        match PeerMessage::from_bytes(body) {
            Some(PeerMessage::Ledger(body)) => self.ledger.handle(from, body).await,
            Some(PeerMessage::Session(body)) => self.session.handle(from, body).await,
            Some(PeerMessage::Stream(body)) => self.stream.handle(from, body).await,
            None => {
                tracing::warn!(node = %from, "message for no part of this node");
                Vec::new()
            }
        }
    }
}

/// Sends requests of the session protocol.
#[derive(Clone, Debug)]
pub struct SessionPeers {
    network: PeerNetwork,
    slots: Arc<Slots>,
}

impl SessionPeers {
    /// The session protocol's side of `network`.
    pub fn new(network: PeerNetwork) -> Self {
        Self { network, slots: Arc::new(Slots::new(SESSION_IN_FLIGHT_MAX)) }
    }

    /// Asks the session side of a peer; see [`PeerNetwork::request`]. At most [`SESSION_IN_FLIGHT_MAX`] requests to one
    /// peer wait at a time; the others wait for their turn within `timeout`.
    ///
    /// # Errors
    /// [`NetworkFault`].
    pub async fn request(&self, to: NodeId, body: Vec<u8>, timeout: Duration) -> Result<Vec<u8>, NetworkFault> {
        self.network.check_peer(to)?;
        let slots = self.slots.of(to);
        let answer = async {
            let _slot = slots.acquire().await.map_err(|_| NetworkFault::Stopped)?;
            self.network.request(to, PeerMessage::Session(body).into_bytes(), timeout).await
        };
        tokio::time::timeout(timeout, answer).await.unwrap_or(Err(NetworkFault::Timeout { to, waited: timeout }))
    }

    /// The network underneath.
    pub const fn network(&self) -> &PeerNetwork {
        &self.network
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_its_kind_and_its_body() {
        assert_eq!(PeerMessage::Ledger(vec![7, 8]).into_bytes(), [0, 7, 8]);
        assert_eq!(PeerMessage::to_ledger(&[7_u8, 8]), [0, 7, 8]);
        assert_eq!(PeerMessage::Session(vec![7, 8]).into_bytes(), [1, 7, 8]);
        assert_eq!(PeerMessage::Stream(vec![7, 8]).into_bytes(), [2, 7, 8]);
    }

    #[test]
    fn what_is_written_is_read_back_and_nothing_else_is_read() {
        for message in
            [PeerMessage::Ledger(vec![1, 2, 3]), PeerMessage::Session(Vec::new()), PeerMessage::Stream(vec![4])]
        {
            assert_eq!(PeerMessage::from_bytes(message.clone().into_bytes()), Some(message));
        }
        assert_eq!(PeerMessage::from_bytes(Vec::new()), None);
        assert_eq!(PeerMessage::from_bytes(vec![3, 1]), None);
    }
}
