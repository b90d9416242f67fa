//! Governance at a node: it puts on the ledger what operators signed elsewhere, and enacts what passed.
//!
//! Operators' keys are on no node. What they sign arrives as the bytes of an event, and the node wraps it in an entry of
//! its own: their signature is what counts, and the ledger's rules check it. What passed each node enacts by itself, at its
//! turn (`ledger::governance::Turns`).

use std::{sync::Arc, time::Duration};

use ledger::{
    event::{Entry, EntryBody, Event},
    governance::{ProposalEnacted, Turns},
    shell::replica::{EntryStatus, SubmitError},
};
use tokio::{
    sync::Mutex,
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};
use wallet::{
    codec,
    digest::{Digest, sha256},
};

use crate::session::context::NodeContext;

/// Between two looks at the proposals.
const PAUSE: Duration = Duration::from_millis(500);

/// The bytes are no event of governance.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct NotGovernance {
    /// What was met instead.
    pub reason: String,
}

/// Reads an event of governance from its canonical bytes: a proposal, ballot or withdrawal with its operator's signature, or
/// the proposal to enact. Signatures are left to the ledger.
///
/// # Errors
/// [`NotGovernance`] says what the bytes are instead.
pub fn decode(bytes: &[u8]) -> Result<Event, NotGovernance> {
    let event: Event = codec::decode(bytes).map_err(|error| NotGovernance { reason: error.to_string() })?;
    match event {
        Event::ProposalMade(_) | Event::BallotCast(_) | Event::ProposalWithdrawn(_) | Event::ProposalEnacted(_) => {
            Ok(event)
        }
        other => Err(NotGovernance { reason: format!("a {} is no event of governance", other.name()) }),
    }
}

/// The entry of this node that carries `event`, which anybody may have brought: this node signs what the rules take now, and
/// nothing else. The same event gives the same entry, so that it can be sent again.
///
/// # Errors
/// [`SubmitError`] if a rule refuses it, or the replica stopped.
pub fn entry(node: &NodeContext, event: Event) -> Result<Entry, SubmitError> {
    let body = body(node, event);
    match node.replica.status(body.id()) {
        EntryStatus::Unknown | EntryStatus::Refused(_) => node.replica.check(body.clone())?,
        // It was taken once already.
        EntryStatus::Submitted | EntryStatus::Ordered | EntryStatus::Final(_) => {}
    }
    Ok(body.sign(node.key(), None))
}

fn body(node: &NodeContext, event: Event) -> EntryBody {
    let named = sha256("batchmind/v1/node/governance", &[&codec::encode(&event)]);
    let mut nonce = [0; 16];
    nonce.copy_from_slice(&named.as_bytes()[..16]);
    EntryBody { consortium: node.consortium.id(), author: node.me, nonce, event }
}

/// The service that enacts. Clones are one service.
#[derive(Clone)]
pub struct Enactor(Arc<Mutex<JoinSet<()>>>);

impl Enactor {
    /// Starts to look for what passed. Must run inside a tokio runtime.
    pub fn start(node: Arc<NodeContext>) -> Self {
        let mut tasks = JoinSet::new();
        tasks.spawn(enact_forever(node));
        Self(Arc::new(Mutex::new(tasks)))
    }

    /// Ends it.
    pub async fn stop(&self) {
        self.0.lock().await.shutdown().await;
    }
}

async fn enact_forever(node: Arc<NodeContext>) {
    let mut tips = node.replica.watch_state();
    let (started, mut turns) = (Instant::now(), Turns::new(node.me));
    loop {
        let tip = tips.borrow_and_update().clone();
        turns.step(started.elapsed(), &tip).into_iter().for_each(|proposal| enact(&node, proposal));
        let next = turns.next().map(|next| started + next);
        sleep(PAUSE).await;
        tokio::select! {
            changed = tips.changed() => if changed.is_err() { return },
            () = async { match next { Some(at) => sleep_until(at).await, None => std::future::pending().await } } => {}
        }
    }
}

fn enact(node: &NodeContext, proposal: Digest) {
    let event = Event::ProposalEnacted(ProposalEnacted { proposal });
    match entry(node, event).and_then(|entry| node.replica.submit(entry)) {
        Ok(submission) => tracing::info!(%proposal, entry = %submission.id, "a proposal passed; it is enacted"),
        // Somebody else may have been first, or what it changes is no longer as it was.
        Err(error) => tracing::warn!(%proposal, %error, "a proposal passed and cannot be enacted now"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_events_of_governance_are_read() {
        let enacted = Event::ProposalEnacted(ProposalEnacted { proposal: Digest([7; 32]) });
        let bytes = codec::encode(&enacted);
        assert_eq!(decode(&bytes), Ok(enacted));
        assert!(decode(&bytes[1..]).is_err());
        let other = Event::DecisionAnchored(ledger::event::DecisionAnchored { decisions: 1, log_head: Digest::ZERO });
        let refused = decode(&codec::encode(&other)).expect_err("no governance");
        assert_eq!(refused.to_string(), "a DecisionAnchored is no event of governance");
    }
}
