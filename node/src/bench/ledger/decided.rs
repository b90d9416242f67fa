//! What the operators of a bench's consortium agree on, as entries.

use genesis::OperatorId;
use ledger::{
    author::sign_batch,
    event::{Entry, EntryBody, Event},
    governance::{Action, OperatorBallot, ProposalEnacted, ProposalTerms, quorum},
};
use wallet::{digest::Digest, identity::SecretKey, units::NodeId};

use super::member::wrong;
use crate::{bench::BenchFault, session::context::random};

/// Entries of node 0 with which enough of `operators` propose and approve `actions`, and the one that enacts them.
pub(super) fn decided(
    consortium: Digest,
    electorate: u64,
    operators: &[(OperatorId, SecretKey)],
    actions: Vec<Action>,
    author: &SecretKey,
) -> Result<[Vec<Entry>; 2], BenchFault> {
    let [(operator, key), others @ ..] = operators else { return Err(wrong("no operator")) };
    let terms = ProposalTerms { consortium, electorate, operator: operator.clone(), nonce: random(), actions };
    let proposal = terms.digest();
    let approving = others.iter().take(quorum(operators.len()) - 1);
    let ballots = approving.map(|(operator, key)| {
        let ballot = OperatorBallot { proposal, operator: operator.clone(), approves: true };
        Event::BallotCast(ballot.sign(key))
    });
    let agreed = [Event::ProposalMade(Box::new(terms.sign(key)))].into_iter().chain(ballots).collect();
    let enacted = vec![Event::ProposalEnacted(ProposalEnacted { proposal })];
    Ok([agreed, enacted].map(|events: Vec<Event>| {
        let body = |event| EntryBody { consortium, author: NodeId::ZERO, nonce: random(), event };
        sign_batch(events.into_iter().map(|event| (body(event), None)).collect(), author)
    }))
}
