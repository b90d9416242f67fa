//! The way to other nodes' streams.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::future::BoxFuture;
use wallet::{codec, units::NodeId};

use super::{
    STREAM_IN_FLIGHT_MAX,
    message::{MalformedAnswer, StreamReply, StreamRequest},
};
use crate::network::{NetworkFault, PeerNetwork, message::PeerMessage, slots::Slots};

/// The port through which remote streams ask their origins.
pub trait StreamLink: Send + Sync + 'static {
    /// Asks `to` and waits for the answer: as long as the request lets the origin wait, and `patience` more.
    fn ask(
        &self,
        to: NodeId,
        request: StreamRequest,
        patience: Duration,
    ) -> BoxFuture<'_, Result<StreamReply, StreamLinkFault>>;
}

/// Why an origin gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum StreamLinkFault {
    /// The request or its answer did not get through.
    #[error(transparent)]
    Network(#[from] NetworkFault),
    /// The answer cannot be read.
    #[error("the answer of node {from} is not understood: {reason}")]
    Nonsense {
        /// Who answered.
        from: NodeId,
        /// What is wrong with it.
        reason: MalformedAnswer,
    },
}

/// Sends requests about streams over the peer network. Each has slots of its own, and its clones share them.
#[derive(Clone, Debug)]
pub struct StreamPeers {
    network: PeerNetwork,
    slots: Arc<Slots>,
}

impl StreamPeers {
    /// The streams' side of `network`.
    pub fn new(network: PeerNetwork) -> Self {
        Self { network, slots: Arc::new(Slots::new(STREAM_IN_FLIGHT_MAX)) }
    }

    async fn request(
        &self,
        to: NodeId,
        mut request: StreamRequest,
        patience: Duration,
    ) -> Result<StreamReply, StreamLinkFault> {
        self.network.check_peer(to)?;
        let slots = self.slots.of(to);
        let slot = tokio::time::timeout(patience, slots.acquire()).await;
        let slot = slot.map_err(|_| NetworkFault::Timeout { to, waited: patience })?;
        let _slot = slot.map_err(|_| NetworkFault::Stopped)?;
        let mut timeout = patience;
        if let StreamRequest::Pull(pull) = &mut request {
            pull.wait_ms = shortened(pull.wait_ms, slots.available_permits());
            timeout += Duration::from_millis(u64::from(pull.wait_ms));
        }
        let body = PeerMessage::Stream(codec::encode(&request)).into_bytes();
        let answer = self.network.request(to, body, timeout).await?;
        StreamReply::decode(Bytes::from(answer)).map_err(|reason| StreamLinkFault::Nonsense { from: to, reason })
    }
}

impl StreamLink for StreamPeers {
    fn ask(
        &self,
        to: NodeId,
        request: StreamRequest,
        patience: Duration,
    ) -> BoxFuture<'_, Result<StreamReply, StreamLinkFault>> {
        Box::pin(self.request(to, request, patience))
    }
}

impl StreamLinkFault {
    /// The stable code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Network(fault) => fault.code(),
            Self::Nonsense { .. } => "N-168",
        }
    }

    /// Whether the same request may succeed later.
    pub const fn retry(&self) -> bool {
        match self {
            Self::Network(fault) => fault.retry(),
            Self::Nonsense { .. } => false,
        }
    }
}

/// A pull that waits holds a slot. The fewer are left, the shorter it waits, so that many streams take turns.
fn shortened(wait_ms: u32, free: usize) -> u32 {
    let half = STREAM_IN_FLIGHT_MAX as u64 / 2;
    let kept = u64::from(wait_ms) * half.min(free as u64) / half;
    u32::try_from(kept).unwrap_or(wait_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pull_waits_less_where_many_wait() {
        assert_eq!(shortened(20_000, STREAM_IN_FLIGHT_MAX), 20_000);
        assert_eq!(shortened(20_000, STREAM_IN_FLIGHT_MAX / 2), 20_000);
        assert_eq!(shortened(20_000, STREAM_IN_FLIGHT_MAX / 4), 10_000);
        assert_eq!(shortened(20_000, 0), 0);
    }
}
