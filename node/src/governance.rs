//! Governance at a node: it puts on the ledger what operators signed elsewhere, and enacts what passed.
//!
//! Operators' keys are on no node. What they sign arrives as the bytes of an event, and the node wraps it in an entry of
//! its own: their signature is what counts, and the ledger's rules check it. Enacting is nobody's choice, so each node does
//! it by itself. The nodes take turns, so that usually one does; where two do, the second entry is refused.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use ledger::{
    event::{Entry, EntryBody, Event},
    execute::Executed,
    governance::ProposalEnacted,
    state::{Stage, State},
};
use tokio::{
    sync::Mutex,
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};
use wallet::{
    codec,
    digest::{Digest, sha256},
    units::NodeId,
};

use crate::session::context::NodeContext;

/// How long the next node waits for the one whose turn is before it.
const TURN: Duration = Duration::from_secs(3);

/// When a node tries again what the rules refused.
const AGAIN: Duration = Duration::from_secs(60);

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

/// The entry of this node that carries `event`. The same event gives the same entry, so that it can be sent again.
pub fn entry(node: &NodeContext, event: Event) -> Entry {
    let named = sha256("batchmind/v1/node/governance", &[&codec::encode(&event)]);
    let mut nonce = [0; 16];
    nonce.copy_from_slice(&named.as_bytes()[..16]);
    EntryBody { consortium: node.consortium.id(), author: node.me, nonce, event }.sign(node.key(), None)
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
    let mut due: BTreeMap<Digest, Instant> = BTreeMap::new();
    loop {
        let tip = tips.borrow_and_update().clone();
        let (ready, now) = (ready(&tip), Instant::now());
        due.retain(|proposal, _| ready.contains(proposal));
        for proposal in ready {
            let Some(turn) = turn(&tip.state, node.me, proposal) else { continue };
            let at = due.entry(proposal).or_insert_with(|| now + TURN * turn);
            if *at <= now {
                *at = now + AGAIN;
                enact(&node, proposal);
            }
        }
        let next = due.values().min().copied();
        sleep(PAUSE).await;
        tokio::select! {
            changed = tips.changed() => if changed.is_err() { return },
            () = async { match next { Some(at) => sleep_until(at).await, None => std::future::pending().await } } => {}
        }
    }
}

fn enact(node: &NodeContext, proposal: Digest) {
    match node.replica.submit(entry(node, Event::ProposalEnacted(ProposalEnacted { proposal }))) {
        Ok(submission) => tracing::info!(%proposal, entry = %submission.id, "a proposal passed; it is enacted"),
        // Somebody else may have been first, or what it changes is no longer as it was.
        Err(error) => tracing::warn!(%proposal, %error, "a proposal passed and cannot be enacted now"),
    }
}

/// The proposals that can be enacted after this block, as far as their times and their electorate say.
fn ready(tip: &Executed) -> Vec<Digest> {
    let state = &tip.state;
    let Some(electorate) = state.governance().map(|record| record.electorate) else { return Vec::new() };
    let listed = state.operators().flat_map(|record| record.proposals);
    listed
        .filter(|proposal| {
            state.proposal(*proposal).is_some_and(|record| match record.stage {
                Stage::Passed { enactable_at } => {
                    record.terms.electorate == electorate && (enactable_at..=record.expires_at).contains(&tip.time)
                }
                Stage::Open | Stage::Rejected | Stage::Withdrawn | Stage::Enacted { .. } => false,
            })
        })
        .collect()
}

/// How many nodes enact `proposal` before this one does; none if it is no validator. Whose turn is first follows from the
/// proposal, so that it is not always the same node.
fn turn(state: &State, me: NodeId, proposal: Digest) -> Option<u32> {
    let members = state.validators().members;
    let place = members.iter().position(|(node, _)| *node == me)?;
    let first = usize::from(proposal.as_bytes()[0]) % members.len();
    u32::try_from((place + members.len() - first) % members.len()).ok()
}

#[cfg(test)]
mod tests {
    use ledger::{
        governance::{Action, Member},
        testing::{Chain, consortium},
    };

    use super::*;

    #[test]
    fn what_passed_is_ready_once_its_lock_is_over_and_until_it_is_enacted() {
        let mut chain = Chain::new(consortium(4));
        let lock = chain.tip.state.parameters().proposal_lock_ms;
        let suspended = chain.pass(vec![Action::Suspend(Member::Node(NodeId::new(3)))]).expect("it passes");
        assert_eq!(ready(&chain.tip), [suspended], "what takes power away does not wait");
        chain.push(chain.enacting(suspended)).expect("it is enacted");
        assert_eq!(ready(&chain.tip), []);
        let reinstating = chain.reinstating(Member::Node(NodeId::new(3)));
        let back = chain.pass(vec![reinstating]).expect("it passes");
        assert_eq!(ready(&chain.tip), [], "its lock runs for {lock} ms");
        chain.wait_ms(lock);
        let open = chain.propose_actions(0, vec![Action::Suspend(Member::Node(NodeId::new(1)))]).expect("a proposal");
        assert_eq!(ready(&chain.tip), [back], "{open} has no quorum");
    }

    #[test]
    fn each_validator_has_a_turn_of_its_own_and_who_is_none_has_no_turn() {
        let mut chain = Chain::new(consortium(4));
        chain.enact(vec![Action::Suspend(Member::Node(NodeId::new(3)))]).expect("it is enacted");
        let count = chain.tip.state.validators().members.len() as u32;
        for byte in 0..=255 {
            let turns = |node: u32| turn(&chain.tip.state, NodeId::new(node), Digest([byte; 32]));
            let mut all: Vec<u32> = (0..=count).filter_map(turns).collect();
            all.sort_unstable();
            assert_eq!((all, turns(3)), ((0..count).collect(), None));
        }
    }

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
