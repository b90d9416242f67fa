//! Proposals and ballots: when one passes, and until when.

use super::*;

#[test]
fn what_a_quorum_of_operators_approves_is_enacted_once_its_lock_is_over() {
    let mut chain = chain();
    let proposal = chain.propose_actions(0, vec![cheaper()]).expect("valid");
    chain.cast(1, proposal, true).expect("valid");
    let early = chain.push(chain.enacting(proposal));
    assert_eq!(early, Err(Refusal::ProposalNotPassed { found: 2, quorum: 3 }));
    chain.cast(2, proposal, true).expect("valid");
    let Some(Stage::Passed { enactable_at }) = chain.tip.state.proposal(proposal).map(|record| record.stage) else {
        panic!("it passed");
    };
    assert_eq!(enactable_at.get(), chain.tip.time.get() + Parameters::default().proposal_lock_ms);
    assert_eq!(chain.push(chain.enacting(proposal)), Err(Refusal::ProposalLocked { enactable_at }));
    chain.wait_ms(Parameters::default().proposal_lock_ms);
    chain.push(chain.enacting(proposal)).expect("valid");
    assert_eq!(chain.tip.state.parameters().credit_per_ms, 2);
    assert_eq!(chain.push(chain.enacting(proposal)), Err(Refusal::ProposalDone { proposal }));
    assert_eq!(chain.cast(3, proposal, true), Err(Refusal::ProposalDone { proposal }));
}

#[test]
fn what_takes_power_away_waits_for_no_lock() {
    let mut chain = chain();
    let proposal = chain.pass(vec![Action::Suspend(operator(3))]).expect("valid");
    chain.push(chain.enacting(proposal)).expect("at once");
    assert_eq!(members(&chain), [0, 1, 2]);
    let proposal = chain.pass(vec![Action::RevokeKey(node_key(2).public_key()), cheaper()]).expect("valid");
    let locked = chain.push(chain.enacting(proposal));
    assert!(matches!(locked, Err(Refusal::ProposalLocked { .. })), "the slowest action counts");
}

#[test]
fn a_quorum_of_operators_is_that_of_validators() {
    assert_eq!([1, 2, 3, 4, 5, 6, 7, 10].map(quorum), [1, 2, 3, 3, 4, 5, 5, 7]);
    let mut alone = Chain::new(consortium(1));
    let proposal = alone.propose_actions(0, vec![Action::GrantAuditor(auditor(1))]).expect("valid");
    alone.wait_ms(Parameters::default().proposal_lock_ms);
    alone.push(alone.enacting(proposal)).expect("its own word is enough");
}

#[test]
fn an_operator_has_one_ballot_and_the_proposal_is_the_proposers() {
    let mut chain = chain();
    let proposal = chain.propose_actions(0, vec![cheaper()]).expect("valid");
    assert_eq!(chain.cast(0, proposal, false), Err(Refusal::BallotTwice { operator: operator_id(0) }));
    chain.cast(1, proposal, false).expect("valid");
    assert_eq!(chain.cast(1, proposal, true), Err(Refusal::BallotTwice { operator: operator_id(1) }));
}

#[test]
fn a_ballot_counts_for_one_instance_only() {
    let mut chain = chain();
    let first = chain.propose_actions(0, vec![cheaper()]).expect("valid");
    let second = chain.propose_actions(0, vec![cheaper()]).expect("the same once more");
    chain.cast(1, first, true).expect("valid");
    chain.cast(2, first, true).expect("valid");
    let ballots = |proposal| chain.tip.state.proposal(proposal).expect("made").ballots.len();
    assert_eq!((ballots(first), ballots(second)), (3, 1));
    // What operator 1 signed for the first one cannot be shown for the second.
    let (cast, _) = chain.blocks.iter().rev().nth(1).map(|(block, _)| (&block.entries[0], ())).expect("its ballot");
    let Event::BallotCast(mut cast) = cast.body.event.clone() else { panic!("a ballot") };
    cast.ballot.proposal = second;
    let moved = chain.push(chain.governing(Event::BallotCast(cast)));
    assert_eq!(moved, Err(Refusal::OperatorSignature { operator: operator_id(1) }));
    // And a proposal is made once.
    let Event::ProposalMade(made) = chain.blocks[0].0.entries[0].body.event.clone() else { panic!("a proposal") };
    let again = chain.push(chain.governing(Event::ProposalMade(made)));
    assert_eq!(again, Err(Refusal::ProposalExists { proposal: first }));
}

#[test]
fn nobody_votes_or_proposes_without_the_key_of_an_operator_in_force() {
    let mut chain = chain();
    let proposal = chain.propose_actions(0, vec![cheaper()]).expect("valid");
    let unknown = |number| Err(Refusal::OperatorNotInForce { operator: operator_id(number) });
    assert_eq!(chain.cast(9, proposal, true), unknown(9));
    assert_eq!(chain.propose_actions(9, vec![cheaper()]), unknown(9).map(|()| proposal));
    let forged = chain.terms(1, vec![cheaper()]).sign(&operator_key(0));
    let forged = chain.push(chain.governing(Event::ProposalMade(Box::new(forged))));
    assert_eq!(forged, Err(Refusal::OperatorSignature { operator: operator_id(1) }));
    chain.enact(vec![Action::Suspend(operator(3))]).expect("valid");
    let proposal = chain.propose_actions(0, vec![cheaper()]).expect("valid");
    assert_eq!(chain.cast(3, proposal, true), unknown(3), "suspended");
    chain.enact(vec![Action::Remove(operator(3))]).expect("valid");
    let proposal = chain.propose_actions(0, vec![cheaper()]).expect("valid");
    assert_eq!(chain.cast(3, proposal, true), unknown(3), "removed");
}

#[test]
fn what_is_not_signed_by_its_author_yet_is_judged_as_if_it_were() {
    let mut chain = chain();
    let unsigned = |chain: &Chain, entry: &Entry| {
        let Executed { height, time, log, name, .. } = &chain.tip;
        let at = BlockContext {
            name: *name,
            height: height.next().expect("few blocks"),
            time: *time,
            log_index: log.next_index(),
            is_re_genesis: false,
        };
        chain.tip.state.check_unsigned(&chain.consortium, entry.body.clone(), at, &Remembered::default())
    };
    let terms = chain.terms(0, vec![cheaper()]);
    let made = |signature| Event::ProposalMade(Box::new(ProposalMade { terms: terms.clone(), signature }));
    let (good, forged) =
        (terms.clone().sign(&operator_key(0)).signature, terms.clone().sign(&operator_key(1)).signature);
    let refused = Err(Refusal::OperatorSignature { operator: operator_id(0) });
    assert_eq!(unsigned(&chain, &chain.governing(made(forged))), refused);
    let entry = chain.governing(made(good));
    assert_eq!(unsigned(&chain, &entry), Ok(()));
    chain.push(entry.clone()).expect("valid");
    assert_eq!(unsigned(&chain, &entry), Err(Refusal::Replayed { id: entry.id() }));
    // Also what may be taken later, and what a suspended node would carry.
    let (enacting, author) = (chain.enacting(terms.digest()), entry.body.author);
    assert_eq!(unsigned(&chain, &enacting), Err(Refusal::ProposalNotPassed { found: 1, quorum: 3 }));
    chain.enact(vec![Action::Suspend(Member::Node(author))]).expect("valid");
    assert_eq!(unsigned(&chain, &enacting), Err(Refusal::AuthorSuspended { author }));
}

#[test]
fn a_proposal_is_put_to_one_electorate() {
    let mut chain = chain();
    let old = chain.propose_actions(1, vec![cheaper()]).expect("valid");
    chain.cast(3, old, true).expect("valid");
    chain.cast(2, old, true).expect("valid");
    let stale = chain.terms(1, vec![cheaper()]).sign(&operator_key(1));
    chain.enact(vec![Action::Suspend(operator(3))]).expect("valid");
    let over = Err(Refusal::ProposalSuperseded { proposal: old, named: 0 });
    assert_eq!(chain.push(chain.enacting(old)), over, "it had passed with the ballot of one who left");
    assert_eq!(chain.cast(0, old, true), over);
    assert_eq!(chain.withdraw(1, old), over);
    let stale = chain.push(chain.governing(Event::ProposalMade(Box::new(ProposalMade { ..stale }))));
    assert_eq!(stale, Err(Refusal::ElectorateChanged { current: 1, named: 0 }));
    // What does not change who decides leaves the others' proposals alone.
    let new = chain.propose_actions(1, vec![cheaper()]).expect("valid");
    chain.enact(vec![Action::Suspend(node(2))]).expect("valid");
    chain.cast(0, new, true).expect("still the same operators");
}

#[test]
fn a_proposal_expires_open_and_passed() {
    let mut chain = chain();
    let Parameters { proposal_life_ms, proposal_lock_ms, .. } = Parameters::default();
    let open = chain.propose_actions(0, vec![cheaper()]).expect("valid");
    let passed = chain.pass(vec![cheaper()]).expect("valid");
    chain.wait_ms(proposal_life_ms);
    assert!(matches!(chain.cast(1, open, true), Err(Refusal::ProposalExpired { .. })));
    chain.wait_ms(proposal_lock_ms);
    let late = chain.push(chain.enacting(passed));
    assert!(matches!(late, Err(Refusal::ProposalExpired { .. })), "{late:?}");
}

#[test]
fn a_proposal_is_rejected_once_no_quorum_can_be_for_it() {
    let mut chain = chain();
    let proposal = chain.propose_actions(0, vec![cheaper()]).expect("valid");
    chain.cast(1, proposal, false).expect("valid");
    assert_eq!(chain.tip.state.proposal(proposal).map(|record| record.stage), Some(Stage::Open));
    chain.cast(2, proposal, false).expect("valid");
    let rejected = Refusal::ProposalRejected { proposal };
    assert_eq!(chain.cast(3, proposal, true), Err(rejected.clone()));
    assert_eq!(chain.push(chain.enacting(proposal)), Err(rejected));
}

#[test]
fn only_its_proposer_takes_a_proposal_back() {
    let mut chain = chain();
    let proposal = chain.propose_actions(0, vec![cheaper()]).expect("valid");
    assert_eq!(chain.withdraw(1, proposal), Err(Refusal::NotProposer { operator: operator_id(0) }));
    chain.withdraw(0, proposal).expect("valid");
    assert_eq!(chain.cast(1, proposal, true), Err(Refusal::ProposalTakenBack { proposal }));
    let unknown = Digest([9; 32]);
    assert_eq!(chain.withdraw(0, unknown), Err(Refusal::ProposalUnknown { proposal: unknown }));
}

#[test]
fn an_operator_keeps_few_proposals_open() {
    let mut chain = chain();
    let mut last = Digest::ZERO;
    for _ in 0..PROPOSALS_MAX {
        last = chain.propose_actions(0, vec![cheaper()]).expect("valid");
    }
    let full = Refusal::ProposalsFull { operator: operator_id(0), count: PROPOSALS_MAX };
    assert_eq!(chain.propose_actions(0, vec![cheaper()]), Err(full));
    chain.propose_actions(1, vec![cheaper()]).expect("another operator has its own");
    chain.withdraw(0, last).expect("valid");
    chain.propose_actions(0, vec![cheaper()]).expect("there is room again");
}

#[test]
fn the_order_of_ballots_does_not_matter() {
    let stage = |order: [(u32, bool); 3]| {
        let mut chain = chain();
        let proposal = chain.propose_actions(0, vec![Action::Suspend(node(3))]).expect("valid");
        for (number, approves) in order {
            // What comes after a rejection is refused.
            let _ = chain.cast(number, proposal, approves);
        }
        match chain.tip.state.proposal(proposal).expect("made").stage {
            Stage::Passed { .. } => "passed",
            Stage::Rejected => "rejected",
            _ => "open",
        }
    };
    let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    for choices in 0..8_u32 {
        let votes = [1, 2, 3].map(|number| (number, choices & (1 << (number - 1)) != 0));
        let results: Vec<&str> = orders.iter().map(|order| stage(order.map(|at| votes[at]))).collect();
        let approvals = 1 + choices.count_ones();
        assert_eq!(results, [if approvals >= 3 { "passed" } else { "rejected" }; 6], "{votes:?}");
    }
}

#[test]
fn all_actions_of_a_proposal_are_done_or_none() {
    let mut chain = chain();
    let state = chain.tip.state.clone();
    let refused = chain.propose_actions(0, vec![cheaper(), Action::Remove(node(9))]);
    assert_eq!(refused, Err(Refusal::MemberUnknown { what: "node 9".to_owned() }));
    assert_eq!(chain.tip.state, state);
    assert_eq!(chain.propose_actions(0, Vec::new()), Err(Refusal::ActionCount { count: 0 }));
    assert_eq!(chain.propose_actions(0, vec![cheaper(); 17]), Err(Refusal::ActionCount { count: 17 }));
    // Each sees what those before it did.
    let twice = chain.propose_actions(0, vec![cheaper(), cheaper()]);
    assert_eq!(twice, Err(Refusal::ParameterUnfit { name: "credit_per_ms".to_owned(), from: 1 }));
    chain.enact(vec![cheaper(), parameter("credit_per_ms", 2, 3)]).expect("one after the other");
    assert_eq!(chain.tip.state.parameters().credit_per_ms, 3);
}

#[test]
fn a_proposal_keeps_the_end_that_it_had() {
    let mut chain = chain();
    let Parameters { proposal_life_ms: life, proposal_lock_ms: lock, .. } = Parameters::default();
    let (open, passed) = (chain.propose_actions(0, vec![cheaper()]), chain.pass(vec![cheaper()]));
    let (open, passed) = (open.expect("valid"), passed.expect("valid"));
    chain.wait_ms(life + lock);
    chain.enact(vec![parameter("proposal_life_ms", life, 10 * life)]).expect("valid");
    assert!(matches!(chain.cast(1, open, true), Err(Refusal::ProposalExpired { .. })), "it is over");
    assert!(matches!(chain.push(chain.enacting(passed)), Err(Refusal::ProposalExpired { .. })), "it is over");
    // Nor does a shorter life end what has begun.
    let begun = chain.pass(vec![cheaper()]).expect("valid");
    chain.enact(vec![parameter("proposal_life_ms", 10 * life, 3_600_000)]).expect("valid");
    chain.wait_ms(life);
    chain.push(chain.enacting(begun)).expect("within the life that it had");
}

#[test]
fn what_passed_is_not_its_proposers_to_take_back() {
    let mut chain = chain();
    let proposal = chain.pass(vec![cheaper()]).expect("valid");
    assert_eq!(chain.withdraw(0, proposal), Err(Refusal::ProposalPassed { proposal }));
}

#[test]
fn what_is_refused_for_a_cheap_reason_costs_two_signatures() {
    let chain = chain();
    let mut actions: Vec<Action> = (4..19).map(|number| chain.joining_node(number, 1)).collect();
    actions.push(Action::Suspend(node(9)));
    let made = chain.terms(0, actions.clone()).sign(&operator_key(0));
    let verified = |entry: &crate::event::Entry| {
        let checks = Remembered::default();
        let applied = append(&chain.consortium, &mut chain.tip.clone(), entry, &checks).map(drop);
        (applied, checks.verified())
    };
    let (applied, count) = verified(&chain.governing(Event::ProposalMade(Box::new(made))));
    assert!(matches!(applied, Err(Refusal::StandingUnfit { .. } | Refusal::MemberUnknown { .. })), "{applied:?}");
    assert_eq!(count, 2, "the author's and the operator's");
    actions.pop();
    let made = chain.terms(0, actions).sign(&operator_key(0));
    assert_eq!(verified(&chain.governing(Event::ProposalMade(Box::new(made)))), (Ok(()), 32));
}
