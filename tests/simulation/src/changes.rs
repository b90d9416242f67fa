//! The entries by which the operators change who validates.

use genesis::Consortium;
use ledger::{
    event::{Entry, EntryBody, Event},
    governance::{Action, KeyClaim, Member, OperatorBallot, ProposalEnacted, ProposalTerms, Rotation, quorum},
    testing::{next_node_key, node_key, operator_id, operator_key},
};
use wallet::units::NodeId;

use crate::plan::{Change, Plan};

/// What the governing node submits, one after the other: each change is proposed, approved and enacted.
pub fn entries(consortium: &Consortium, plan: &Plan) -> Vec<Entry> {
    let author = NodeId::new(plan.governs);
    let mut events = Vec::new();
    for (number, change) in (1..).zip(&plan.changes) {
        // Nodes come and go, but operators do not: there is one electorate.
        let (consortium, actions) = (consortium.id(), vec![action(consortium, *change)]);
        let terms = ProposalTerms { consortium, electorate: 0, operator: operator_id(0), nonce: [number; 16], actions };
        let proposal = terms.digest();
        events.push(Event::ProposalMade(Box::new(terms.sign(&operator_key(0)))));
        let approving = u32::try_from(quorum(plan.nodes as usize)).expect("few operators");
        events.extend((1..approving).map(|operator| {
            let ballot = OperatorBallot { proposal, operator: operator_id(operator), approves: true };
            Event::BallotCast(ballot.sign(&operator_key(operator)))
        }));
        events.push(Event::ProposalEnacted(ProposalEnacted { proposal }));
    }
    let sign = |(number, event): (u8, Event)| {
        let body = EntryBody { consortium: consortium.id(), author, nonce: [number; 16], event };
        body.sign(&node_key(author.get()), None)
    };
    (100..).zip(events).map(sign).collect()
}

fn action(consortium: &Consortium, change: Change) -> Action {
    let member = |node: u32| Member::Node(NodeId::new(node));
    match change {
        Change::Suspend(node) => Action::Suspend(member(node)),
        Change::Reinstate(node) => Action::Reinstate { member: member(node), key: node_key(node).public_key() },
        Change::Rotate(node) => {
            let (from, to) = (node_key(node), next_node_key(node));
            let rotation = Rotation { member: member(node), from: from.public_key(), to: to.public_key() };
            let sign = |key| KeyClaim::Rotation(&rotation).sign(&consortium.id(), key);
            let (consent, by_old_key) = (sign(&to), Some(sign(&from)));
            Action::RotateKey { rotation, consent, by_old_key }
        }
    }
}
