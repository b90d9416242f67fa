//! What nodes hold signed by each other's keys: asked for, and answered.

use std::{sync::Arc, time::Duration};

use tokio::{sync::oneshot, time::sleep};
use wallet::units::NodeId;

use super::{
    shared::{PEER_TIMEOUT, Shared},
    transport::{PeerRefusal, PeerReply, PeerRequest},
    validator::{Message, Validator},
};
use crate::finality::Statements;

/// How often the peers are asked until enough have answered.
const ASK_EVERY: Duration = Duration::from_millis(250);
/// How often one of them is asked afterwards.
const ASK_LATER: Duration = Duration::from_secs(2);

impl Validator {
    /// What this node holds signed by the key of `node`, the last of it.
    pub(crate) fn held_of(&self, node: NodeId) -> Statements {
        let (votes, nullifies, grant) = self.voter.statements_of(node);
        let mut held = Statements { votes, nullifies, grants: grant.into_iter().collect() };
        let certificates = [self.voter.tip_certificate(), self.voter.best_certificate()];
        for certificate in certificates.into_iter().flatten() {
            held.take_certificate(certificate, node, &self.shared.name());
        }
        held.keep_last();
        held
    }
}

impl Shared {
    /// What this node holds signed by the key of `node`.
    pub(crate) async fn statements_of(&self, node: NodeId) -> Result<Statements, PeerRefusal> {
        let (reply, held) = oneshot::channel();
        self.tell_validator(Message::Statements { of: node, reply });
        held.await.map_err(|_| PeerRefusal::NotReady)
    }
}

/// Asks the peers what they hold signed by this node's key: all of them until enough have answered, then one in turn.
pub(crate) async fn ask(shared: Arc<Shared>) {
    let mut turn = 0;
    loop {
        let (is_trusted, others) = (*shared.votes.borrow(), shared.lines.others());
        let asked: Vec<NodeId> = match others.get(turn % others.len().max(1)) {
            Some(peer) if is_trusted => vec![*peer],
            _ => others,
        };
        turn += 1;
        let ask = |peer| {
            let shared = shared.clone();
            async move {
                let reply = shared.transport.request(peer, PeerRequest::Statements, PEER_TIMEOUT).await;
                if let Ok(PeerReply::Statements(statements)) = reply
                    && statements.are_bounded()
                {
                    shared.tell_validator(Message::Heard { from: peer, statements });
                }
            }
        };
        futures::future::join_all(asked.into_iter().map(ask)).await;
        sleep(if is_trusted { ASK_LATER } else { ASK_EVERY }).await;
    }
}
