//! What nodes hold signed by each other's keys: asked for, and answered.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::{sync::oneshot, time::sleep};
use wallet::units::NodeId;

use super::{
    lineage::Lineage,
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
    /// See [`Lineage::left_for`].
    pub(crate) fn left_for(&self) -> Option<Lineage> {
        self.lineage.left_for(&self.validators(), &self.observed.lineages())
    }

    /// What this node holds signed by the key of `node`.
    pub(crate) async fn statements_of(&self, node: NodeId) -> Result<Statements, PeerRefusal> {
        let (reply, held) = oneshot::channel();
        self.tell_validator(Message::Statements { of: node, reply });
        held.await.map_err(|_| PeerRefusal::NotReady)
    }
}

/// Asks the peers what they hold signed by this node's key: all of them until enough have answered, then one in turn.
pub(crate) async fn ask(shared: Arc<Shared>) {
    let (mut turn, mut told) = (0, BTreeSet::new());
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
                let Ok(PeerReply::Statements { held, lineage }) = reply else { return };
                if shared.observed.note_lineage(peer, lineage) && lineage != shared.lineage {
                    let Lineage { number, re_genesis } = lineage;
                    tracing::warn!(node = %peer, lineage = number, %re_genesis, "a peer is in another lineage");
                }
                // Whoever began anew forgot what this node's key signed before: its answer vouches for nothing.
                if held.are_bounded() && lineage == shared.lineage {
                    shared.tell_validator(Message::Heard { from: peer, statements: held });
                }
            }
        };
        futures::future::join_all(asked.into_iter().map(ask)).await;
        if let Some(lineage @ Lineage { number, re_genesis }) = shared.left_for()
            && told.insert(lineage)
        {
            tracing::error!(lineage = number, %re_genesis, "the others left this lineage: this node waits for them in vain");
        }
        sleep(if is_trusted { ASK_LATER } else { ASK_EVERY }).await;
    }
}
