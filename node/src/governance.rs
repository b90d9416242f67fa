//! Governance at a node: it puts on the ledger what operators signed elsewhere, and enacts what passed.
//!
//! Operators' keys are on no node. What they sign arrives as the bytes of an event, and the node wraps it in an entry of
//! its own: their signature is what counts, and the ledger's rules check it. What passed each node enacts by itself, at its
//! turn (`ledger::governance::Turns`).

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use ledger::{
    event::{EntryBody, Event},
    governance::{ProposalEnacted, Turns},
    shell::replica::{EntryStatus, Submission, SubmitError},
};
use tokio::{
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
/// Entries of governance that a node has on their way at most: twice as many as an operator may have proposals pending.
const OPEN_MAX: usize = 16;

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

/// Why a node does not put an event of governance on the ledger.
#[derive(Clone, Debug, thiserror::Error)]
pub enum NotSubmitted {
    /// It has as many on their way as it may.
    #[error("{OPEN_MAX} statements of operators are on their way from this node already")]
    Full,
    /// A rule refuses it, or the replica stopped.
    #[error(transparent)]
    Ledger(#[from] SubmitError),
}

/// The entries of governance that this node has on their way, by the statement that each carries. Anybody may bring what
/// operators signed, and an operator may sign without end, so they are few.
#[derive(Default)]
pub struct OnTheirWay(Mutex<HashMap<Statement, Digest>>);

/// Names what is said, whatever the signature under it is: whoever signs can sign the same thing in many ways.
type Statement = [u8; 16];

/// Puts `event`, which anybody may have brought, on the ledger: this node signs what the rules take now, and nothing else.
/// The same statement gives the same entry, so that it can be sent again.
///
/// # Errors
/// [`NotSubmitted`] if a rule refuses it, the replica stopped, or as many are on their way as may be.
pub fn submit(node: &NodeContext, event: Event) -> Result<Submission, NotSubmitted> {
    let statement = statement_of(&event);
    let body = EntryBody { consortium: node.consortium.id(), author: node.me, nonce: statement, event };
    let (id, status) = (body.id(), node.replica.status(body.id()));
    if !matches!(status, EntryStatus::Unknown | EntryStatus::Refused(_)) {
        return Ok(Submission { id, status });
    }
    node.replica.check(body.clone())?;
    // Held until it is submitted, so that two requests do not both find room.
    let mut open = node.governing.0.lock().unwrap_or_else(PoisonError::into_inner);
    open.retain(|_, id| matches!(node.replica.status(*id), EntryStatus::Submitted | EntryStatus::Ordered));
    if let Some(id) = open.get(&statement).copied() {
        return Ok(Submission { id, status: EntryStatus::Submitted });
    }
    if open.len() >= OPEN_MAX {
        return Err(NotSubmitted::Full);
    }
    let submission = node.replica.submit(body.sign(node.key(), None))?;
    open.insert(statement, submission.id);
    Ok(submission)
}

fn statement_of(event: &Event) -> Statement {
    let said = match event {
        Event::ProposalMade(made) => codec::encode(&made.terms),
        Event::BallotCast(cast) => codec::encode(&cast.ballot),
        Event::ProposalWithdrawn(withdrawn) => codec::encode(&withdrawn.proposal),
        other => codec::encode(other),
    };
    let named = sha256("batchmind/v1/node/governance", &[event.name().as_bytes(), &said]);
    let mut statement = [0; 16];
    statement.copy_from_slice(&named.as_bytes()[..16]);
    statement
}

/// The service that enacts. Clones are one service.
#[derive(Clone)]
pub struct Enactor(Arc<tokio::sync::Mutex<JoinSet<()>>>);

impl Enactor {
    /// Starts to look for what passed. Must run inside a tokio runtime.
    pub fn start(node: Arc<NodeContext>) -> Self {
        let mut tasks = JoinSet::new();
        tasks.spawn(enact_forever(node));
        Self(Arc::new(tokio::sync::Mutex::new(tasks)))
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
    match submit(node, event) {
        Ok(submission) => tracing::info!(%proposal, entry = %submission.id, "a proposal passed; it is enacted"),
        // Somebody else may have been first, or what it changes is no longer as it was.
        Err(error) => tracing::warn!(%proposal, %error, "a proposal passed and cannot be enacted now"),
    }
}

#[cfg(test)]
mod tests {
    use ledger::governance::{Action, BallotCast, OperatorBallot, ProposalMade, ProposalTerms, ProposalWithdrawn};
    use wallet::identity::{SecretKey, Signature};

    use super::*;
    use crate::{node::Seams, testbed::Testbed};

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
    /// The first of the testbed's operators.
    fn operator() -> SecretKey {
        SecretKey::from_seed(&[100; 32])
    }

    fn proposal(node: &NodeContext, number: u8) -> ProposalMade {
        let executed = node.replica.state();
        let state = &executed.state;
        let terms = ProposalTerms {
            consortium: node.consortium.id(),
            electorate: state.governance().expect("genesis puts it").electorate,
            operator: state.electorate()[0].0.clone(),
            nonce: [number; 16],
            actions: vec![Action::SetParameter {
                name: "credit_per_ms".into(),
                from: state.parameters().credit_per_ms,
                to: 1 + u64::from(number),
            }],
        };
        terms.sign(&operator())
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_operator_that_signs_without_end_fills_a_few_places_while_nothing_becomes_final() {
        let mut testbed = Testbed::prepare(&["eu", "eu", "us", "us"]);
        testbed.start_node(0, Seams::default()).await;
        let node = testbed.node(0).sessions().context().clone();
        let bring = |made: ProposalMade| submit(&node, Event::ProposalMade(Box::new(made)));
        let first = bring(proposal(&node, 1)).expect("there is room").id;
        let taken = (2..=100).filter(|number| match bring(proposal(&node, *number)) {
            Ok(_) => true,
            Err(NotSubmitted::Full) => false,
            Err(other) => panic!("{other}"),
        });
        assert_eq!(1 + taken.count(), OPEN_MAX);
        // What is on its way already needs no room.
        assert_eq!(bring(proposal(&node, 1)).expect("it is known").id, first);
        let forged = ProposalMade { signature: Signature([0; 64]), ..proposal(&node, 1) };
        assert!(matches!(bring(forged), Err(NotSubmitted::Ledger(_))), "its place vouches for no other signature");
        testbed.stop_node(0).await;
    }

    #[test]
    fn a_statement_is_what_is_said_and_not_the_signature_under_it() {
        let proposal = Digest([7; 32]);
        let ballot = |approves, signature| {
            let operator = "op-00".parse().expect("an id");
            Event::BallotCast(BallotCast { ballot: OperatorBallot { proposal, operator, approves }, signature })
        };
        let withdrawn = |signature| Event::ProposalWithdrawn(ProposalWithdrawn { proposal, signature });
        let [one, other] = [[1; 64], [2; 64]].map(Signature);
        assert_eq!(statement_of(&ballot(true, one)), statement_of(&ballot(true, other)));
        assert_eq!(statement_of(&withdrawn(one)), statement_of(&withdrawn(other)));
        assert_ne!(statement_of(&ballot(true, one)), statement_of(&ballot(false, one)));
        let enacted = Event::ProposalEnacted(ProposalEnacted { proposal });
        assert_ne!(statement_of(&withdrawn(one)), statement_of(&enacted));
    }
}
