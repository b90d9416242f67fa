//! The ledger's transport port over the peer network: requests out, and requests in.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use futures::future::BoxFuture;
use ledger::shell::{
    replica::Replica,
    transport::{PeerRefusal, PeerReply, PeerRequest, Transport, TransportFault},
};
use wallet::{codec, units::NodeId};

use super::{Handler, NetworkFault, PeerNetwork, message::PeerMessage};

impl Transport for PeerNetwork {
    fn request(
        &self,
        to: NodeId,
        request: PeerRequest,
        timeout: Duration,
    ) -> BoxFuture<'_, Result<PeerReply, TransportFault>> {
        Box::pin(async move {
            let body = PeerMessage::to_ledger(&request);
            let reply = Self::request(self, to, body, timeout).await.map_err(|fault| transport_fault(to, &fault))?;
            codec::decode(&reply).map_err(|error| TransportFault::Failed { to, reason: error.to_string() })
        })
    }
}

/// Gives the peers' requests to the replica. The network starts before the replica, which needs it to speak; until
/// [`Self::attach`] the peers are told to try again.
#[derive(Clone, Default)]
pub struct LedgerHandler(Arc<OnceLock<Replica>>);

impl LedgerHandler {
    /// From here on `replica` answers.
    ///
    /// # Panics
    /// If a replica is attached already.
    pub fn attach(&self, replica: Replica) {
        assert!(self.0.set(replica).is_ok(), "a node has one replica");
    }
}

impl Handler for LedgerHandler {
    async fn handle(&self, from: NodeId, body: Vec<u8>) -> Vec<u8> {
        let reply = match (self.0.get(), codec::decode::<PeerRequest>(&body)) {
            (None, _) => PeerReply::Refused(PeerRefusal::NotReady),
            (Some(_), Err(error)) => {
                tracing::warn!(node = %from, %error, "malformed ledger request");
                PeerReply::Refused(PeerRefusal::Malformed)
            }
            (Some(replica), Ok(request)) => replica.serve(from, request).await,
        };
        codec::encode(&reply)
    }
}

fn transport_fault(to: NodeId, fault: &NetworkFault) -> TransportFault {
    match fault {
        NetworkFault::NotAPeer { .. } | NetworkFault::Unreachable { .. } | NetworkFault::Stopped => {
            TransportFault::Unreachable(to)
        }
        fault => TransportFault::Failed { to, reason: fault.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn before_there_is_a_replica_the_peers_are_told_to_try_again() {
        let reply = futures::executor::block_on(LedgerHandler::default().handle(NodeId::new(1), b"anything".to_vec()));
        let reply: PeerReply = codec::decode(&reply).expect("a reply");
        assert!(matches!(reply, PeerReply::Refused(PeerRefusal::NotReady)) && PeerRefusal::NotReady.retry());
    }
}
