mod standing;

use std::sync::Arc;

use genesis::{Auditor, Document, Model, Owner, Parameters};
use wallet::{
    digest::Digest,
    units::{BlockHeight, NodeId},
};

use crate::{
    apply::BlockContext,
    checks::Remembered,
    event::{Entry, Event, MigrationOffered},
    execute::{BlockInvalid, Executed, append, execute},
    governance::{Action, KeyClaim, Member, OperatorBallot, PROPOSALS_MAX, ProposalMade, quorum},
    refusal::Refusal,
    state::{KeyStatus, Stage, Standing, State},
    testing::{Chain, Session, consortium, consortium_with, next_node_key, node_key, operator_id, operator_key},
};

fn chain() -> Chain {
    Chain::new(consortium(4))
}

fn node(number: u32) -> Member {
    Member::Node(NodeId::new(number))
}

fn operator(number: u32) -> Member {
    Member::Operator(operator_id(number))
}

fn parameter(name: &str, from: u64, to: u64) -> Action {
    Action::SetParameter { name: name.to_owned(), from, to }
}

fn cheaper() -> Action {
    parameter("credit_per_ms", 1, 2)
}

fn auditor(number: u8) -> Auditor {
    Auditor { name: format!("Auditor {number}"), key_hash: Digest([number; 32]) }
}

fn members(chain: &Chain) -> Vec<u32> {
    chain.tip.validators().members.iter().map(|(node, _)| node.get()).collect()
}

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
fn a_change_of_the_set_closes_the_block_and_its_header_names_the_next_set() {
    let mut chain = chain();
    let before = chain.tip.validators();
    let joining = chain.joining_node(4, 1);
    chain.enact(vec![joining]).expect("valid");
    let promoting = chain.reinstating(node(4));
    let proposal = chain.pass(vec![promoting]).expect("valid");
    chain.wait_ms(Parameters::default().proposal_lock_ms);
    let later = Session::in_eu(&chain.consortium, 1).anchored(1, 1, Digest::ZERO);
    let proposed = chain.propose(vec![chain.enacting(proposal), later.clone()]);
    assert_eq!(proposed.left_over, std::slice::from_ref(&later), "the entry behind waits for the next epoch");
    let (parent, consortium) = (chain.tip.clone(), chain.consortium.clone());
    let executed = execute(&consortium, &parent, &proposed.block).expect("valid");
    assert_eq!(executed, proposed.executed);
    let (header, after) = (&proposed.block.header, executed.validators());
    assert_eq!((header.epoch, header.validators), (0, before.hash()));
    assert_eq!((after.epoch, header.next_validators), (1, after.hash()));
    assert_eq!(after.members.len(), 5);
    assert_eq!((executed.is_closing(), executed.voted_by()), (true, before.clone()));
    // The same block with the entry behind in it, or with another next set.
    let mut longer = proposed.block.clone();
    longer.entries.push(later.clone());
    longer.header.log_size += 1;
    longer.proposal = longer.header.sign(&node_key(0));
    let refused = execute(&consortium, &parent, &longer).expect_err("an entry behind");
    assert_eq!(refused, BlockInvalid::EntryAfterClosing { index: 1 });
    let mut silent = proposed.block.clone();
    silent.header.next_validators = Digest::ZERO;
    silent.proposal = silent.header.sign(&node_key(0));
    let refused = execute(&consortium, &parent, &silent).expect_err("it hides the hand-over");
    assert!(matches!(refused, BlockInvalid::NextValidators { .. }));
    // The next block is of the next epoch.
    chain.push(chain.enacting(proposal)).expect("valid");
    chain.push(later).expect("valid");
    let (block, _) = chain.blocks.last().expect("blocks");
    assert_eq!((block.header.epoch, block.header.validators), (1, after.hash()));
    assert_eq!(block.header.next_validators, Digest::ZERO);
    assert_eq!((chain.tip.is_closing(), chain.tip.voted_by()), (false, after));
    assert_eq!(chain.tip.state.validators_of(0).expect("it stays").set, before);
}

#[test]
fn a_parameter_does_not_close_a_block() {
    let mut chain = chain();
    chain.enact(vec![cheaper()]).expect("valid");
    assert_eq!((chain.tip.state.epoch(), chain.tip.is_closing()), (0, false));
    assert_eq!(chain.blocks.last().expect("blocks").0.header.next_validators, Digest::ZERO);
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
fn a_node_id_is_its_join_index_and_never_used_again() {
    let mut chain = chain();
    chain.expel(node(3)).expect("valid");
    chain.join(5, 0).expect("valid");
    assert_eq!(members(&chain), [0, 1, 2, 4]);
    assert_eq!(chain.tip.state.node(NodeId::new(3)).map(|record| record.standing), Some(Standing::Removed));
    let (key, joining) = (node_key(5).public_key(), chain.joining_node(5, 0));
    assert_eq!(chain.propose_actions(0, vec![joining]), Err(Refusal::MemberExists { what: "the name node-05".into() }));
    chain.expel(node(4)).expect("valid");
    let again = chain.joining_node(5, 0);
    assert_eq!(chain.propose_actions(0, vec![again]), Err(Refusal::KeyKnown { key }), "its key had a role");
    let (gone, back) = (Refusal::MemberUnknown { what: "node 4".to_owned() }, chain.reinstating(node(4)));
    assert_eq!(chain.propose_actions(0, vec![back]), Err(gone));
    assert_eq!(chain.tip.validators().epoch, 3);
}

#[test]
fn a_rotated_key_signs_nothing_and_what_it_signed_stays_provable() {
    let mut chain = chain();
    let session = Session::in_eu(&chain.consortium, 1);
    let before = session.anchored(1, 1, Digest::ZERO);
    let rotating = chain.rotating(node(1), &node_key(1), &next_node_key(1));
    chain.enact(vec![rotating]).expect("valid");
    assert_eq!(chain.push(before), Err(Refusal::AuthorSignature { author: NodeId::new(1) }));
    let body = session.anchored(1, 2, Digest::ZERO).body.clone();
    chain.push(body.sign(&next_node_key(1), None)).expect("signed by the new key");
    let (old, new) = (node_key(1).public_key(), next_node_key(1).public_key());
    let key = |key| chain.tip.state.key(key).map(|record| (record.member, record.status));
    assert_eq!(key(old), Some((Some(node(1)), KeyStatus::Rotated)));
    assert_eq!(key(new), Some((Some(node(1)), KeyStatus::InForce)));
    assert_eq!(chain.tip.validators().key(NodeId::new(1)), Some(new));
    let first = chain.tip.state.validators_of(0).expect("it stays").set;
    assert_eq!(first.key(NodeId::new(1)), Some(old), "what epoch 0 signed is checked with its set");
}

#[test]
fn a_rotation_names_the_key_in_force_and_a_new_one_that_agrees() {
    let mut chain = chain();
    let stale = chain.rotating(node(1), &node_key(2), &next_node_key(1));
    assert_eq!(chain.propose_actions(0, vec![stale]), Err(Refusal::KeyUnfit { key: node_key(2).public_key() }));
    let used = chain.rotating(node(1), &node_key(1), &operator_key(2));
    assert_eq!(chain.propose_actions(0, vec![used]), Err(Refusal::KeyKnown { key: operator_key(2).public_key() }));
    let mut silent = chain.rotating(node(1), &node_key(1), &next_node_key(1));
    if let Action::RotateKey { consent, .. } = &mut silent {
        consent.0[0] ^= 1;
    }
    let key = next_node_key(1).public_key();
    assert_eq!(chain.propose_actions(0, vec![silent]), Err(Refusal::KeyConsent { key }));
    let good = chain.rotating(node(1), &node_key(1), &next_node_key(1));
    let (first, second) = (chain.pass(vec![good.clone()]).expect("valid"), chain.pass(vec![good]).expect("valid"));
    chain.push(chain.enacting(first)).expect("valid");
    let again = chain.push(chain.enacting(second));
    assert_eq!(again, Err(Refusal::KeyUnfit { key: node_key(1).public_key() }), "rules are checked when it is enacted");
}

#[test]
fn a_revoked_key_leaves_its_node_out_until_another_is_reinstated() {
    let mut chain = chain();
    let session = Session::in_eu(&chain.consortium, 1);
    chain.enact(vec![Action::RevokeKey(node_key(1).public_key())]).expect("valid");
    assert_eq!(members(&chain), [0, 2, 3]);
    let anchored = chain.push(session.anchored(1, 1, Digest::ZERO));
    assert_eq!(anchored, Err(Refusal::AuthorSuspended { author: NodeId::new(1) }), "not even to let go");
    let action = chain.reinstating(node(1));
    let reinstated = chain.propose_actions(0, vec![action]);
    assert_eq!(reinstated, Err(Refusal::StandingUnfit { member: node(1) }));
    let (old, new) = (node_key(1).public_key(), next_node_key(1).public_key());
    let by_thief = chain.rotating(node(1), &node_key(1), &next_node_key(1));
    let refused = chain.propose_actions(0, vec![by_thief]);
    assert_eq!(refused, Err(Refusal::KeyUnfit { key: old }), "others may have the key that agrees");
    let replacing = chain.replacing(node(1), old, &next_node_key(1));
    chain.enact(vec![replacing, Action::Reinstate { member: node(1), key: new }]).expect("valid");
    assert_eq!(members(&chain), [0, 1, 2, 3]);
    let revoked = chain.tip.state.key(node_key(1).public_key()).map(|record| record.status);
    assert_eq!(revoked, Some(KeyStatus::Revoked), "and it stays so");
    let twice = chain.propose_actions(0, vec![Action::RevokeKey(node_key(1).public_key())]);
    assert_eq!(twice, Err(Refusal::KeyUnfit { key: node_key(1).public_key() }));
}

#[test]
fn an_operators_new_key_votes_and_its_old_one_does_not() {
    let mut chain = chain();
    let rotating = chain.rotating(operator(1), &operator_key(1), &next_node_key(9));
    chain.enact(vec![rotating]).expect("valid");
    let proposal = chain.propose_actions(0, vec![cheaper()]).expect("valid");
    let by_old_key = OperatorBallot { proposal, operator: operator_id(1), approves: true }.sign(&operator_key(1));
    let refused = chain.push(chain.governing(Event::BallotCast(by_old_key)));
    assert_eq!(refused, Err(Refusal::OperatorSignature { operator: operator_id(1) }));
    chain.cast(1, proposal, true).expect("by the new key");
    assert_eq!((chain.tip.state.epoch(), members(&chain).len()), (0, 4), "its node's key is another");
    let revoked = Action::RevokeKey(next_node_key(9).public_key());
    let proposal = chain.propose_actions(0, vec![revoked]).expect("valid");
    [2, 3].into_iter().try_for_each(|number| chain.cast(number, proposal, true)).expect("valid");
    chain.push(chain.enacting(proposal)).expect("valid");
    let electorate: Vec<_> = chain.tip.state.electorate().into_iter().map(|(id, _)| id).collect();
    assert_eq!(electorate, [0, 2, 3].map(operator_id));
    assert_eq!(members(&chain), [0, 2, 3], "what speaks in its name is out of force, too");
    assert_eq!(chain.tip.state.node(NodeId::new(1)).map(|record| record.standing), Some(Standing::Suspended));
}

#[test]
fn a_suspended_node_lets_go_of_its_wallets_and_takes_none() {
    let mut chain = chain();
    let session = Session::in_eu(&chain.consortium, 1);
    chain.push(session.created()).expect("valid");
    chain.enact(vec![Action::Suspend(operator(1))]).expect("valid");
    assert_eq!(members(&chain), [0, 2, 3]);
    let suspended = Err(Refusal::AuthorSuspended { author: NodeId::new(1) });
    assert_eq!(chain.push(Session::in_eu(&chain.consortium, 1).baseline(&session.record(&chain), 9, 9)), suspended);
    let wallet = session.record(&chain);
    chain.push(session.touched(&wallet, 1)).expect("it serves on");
    // To another node, but not to a suspended one.
    session.hop(&mut chain, 2, None).expect("it lets go");
    let wallet = session.record(&chain);
    let back = session.offer(&wallet, 1, chain.tip.height.get() + 100);
    let refused = chain.push(session.offered(&wallet, back));
    assert_eq!(refused, Err(Refusal::ReceiverInvalid { receiver: NodeId::new(1) }));
    assert_eq!(session.record(&chain).holder, NodeId::new(2));
}

#[test]
fn a_node_that_is_suspended_between_acceptance_and_confirm_gets_nothing() {
    let mut chain = chain();
    let session = Session::in_eu(&chain.consortium, 0);
    chain.push(session.created()).expect("valid");
    let wallet = session.record(&chain);
    let offer = MigrationOffered { deadline: BlockHeight::new(100), ..session.offer(&wallet, 1, 100) };
    chain.push(session.offered(&wallet, offer)).expect("valid");
    chain.push(session.accepted(&session.record(&chain), 1)).expect("valid");
    chain.enact(vec![Action::Suspend(node(1))]).expect("valid");
    let wallet = session.record(&chain);
    let confirmed = chain.push(session.confirmed(&wallet, session.ticket(&wallet)));
    assert_eq!(confirmed, Err(Refusal::AuthorSuspended { author: NodeId::new(1) }));
}

#[test]
fn reinstating_an_operator_leaves_its_nodes_to_be_named() {
    let mut chain = chain();
    chain.enact(vec![Action::Suspend(operator(2))]).expect("valid");
    let action = chain.reinstating(node(2));
    let alone = chain.propose_actions(0, vec![action]);
    assert_eq!(alone, Err(Refusal::OperatorNotInForce { operator: operator_id(2) }));
    let action = chain.reinstating(operator(2));
    chain.enact(vec![action]).expect("valid");
    assert_eq!(members(&chain), [0, 1, 3]);
    let action = chain.reinstating(node(2));
    chain.enact(vec![action]).expect("valid");
    assert_eq!(members(&chain), [0, 1, 2, 3]);
    let action = chain.reinstating(node(2));
    let twice = chain.propose_actions(0, vec![action]);
    assert_eq!(twice, Err(Refusal::StandingUnfit { member: node(2) }));
}

#[test]
fn a_removed_operator_takes_its_nodes_with_it_for_good() {
    let mut chain = chain();
    chain.expel(operator(2)).expect("valid");
    assert_eq!(members(&chain), [0, 1, 3]);
    let said = chain.push(Session::in_eu(&chain.consortium, 2).anchored(2, 1, Digest::ZERO));
    assert_eq!(said, Err(Refusal::AuthorUnknown { author: NodeId::new(2) }));
    for key in [operator_key(2), node_key(2)] {
        let status = chain.tip.state.key(key.public_key()).map(|record| record.status);
        assert_eq!(status, Some(KeyStatus::Retired));
    }
    let joining = chain.joining_operator(2);
    let refused = chain.propose_actions(0, vec![joining]);
    assert_eq!(refused, Err(Refusal::MemberExists { what: "the id op-02".to_owned() }));
    let orphan = chain.joining_node(7, 2);
    let gone = Refusal::MemberUnknown { what: "operator op-02".to_owned() };
    assert_eq!(chain.propose_actions(0, vec![orphan]), Err(gone));
}

#[test]
fn an_operator_and_its_node_join_together_and_vote() {
    let mut chain = chain();
    let joining = vec![chain.joining_operator(4), chain.joining_node(4, 4)];
    chain.enact(joining).expect("valid");
    assert_eq!(members(&chain), [0, 1, 2, 3], "a node that joins does not vote yet");
    let promoting = chain.reinstating(node(4));
    chain.enact(vec![promoting]).expect("valid");
    assert_eq!(members(&chain), [0, 1, 2, 3, 4]);
    assert_eq!(chain.tip.state.electorate().len(), 5);
    let proposal = chain.propose_actions(4, vec![cheaper()]).expect("it proposes");
    for number in [0, 1] {
        chain.cast(number, proposal, true).expect("valid");
    }
    let refused = chain.push(chain.enacting(proposal));
    assert_eq!(refused, Err(Refusal::ProposalNotPassed { found: 3, quorum: 4 }));
    chain.push(Session::in_eu(&chain.consortium, 0).anchored(4, 1, Digest::ZERO)).expect("its node authors");
}

#[test]
fn what_joins_keeps_the_rules_of_the_genesis_document() {
    let mut chain = chain();
    let mut joining = |change: fn(&mut genesis::Node)| {
        let Action::AddNode { mut node, .. } = chain.joining_node(4, 1) else { unreachable!() };
        change(&mut node);
        let sign = |key| KeyClaim::Node(&node).sign(&chain.consortium.id(), key);
        let (consent, by_operator) = (sign(&node_key(4)), sign(&operator_key(1)));
        chain.propose_actions(0, vec![Action::AddNode { node, consent, by_operator }]).map(drop)
    };
    let taken = |what: &str| Err(Refusal::MemberExists { what: what.to_owned() });
    assert_eq!(joining(|_| {}), Ok(()));
    assert_eq!(joining(|node| node.name = "node-00".parse().expect("a name")), taken("the name node-00"));
    assert_eq!(joining(|node| node.peer.set_port(7000)), taken("the address 127.0.0.1:7000"));
    assert!(matches!(joining(|node| node.peer.set_port(0)), Err(Refusal::GenesisRule { .. })));
    assert!(matches!(joining(|node| node.api.clear()), Err(Refusal::GenesisRule { .. })));
    let region = joining(|node| node.region = "mars".to_owned().try_into().expect("a region name"));
    assert_eq!(region, Err(Refusal::MemberUnknown { what: "region mars".to_owned() }));
    let foreign = joining(|node| node.key = node_key(5).public_key());
    assert_eq!(foreign, Err(Refusal::KeyConsent { key: node_key(5).public_key() }));
    let small_order = joining(|node| node.key = wallet::identity::PublicKey([0; 32]));
    assert!(matches!(small_order, Err(Refusal::GenesisRule { .. })));
}

#[test]
fn a_parameter_changes_from_what_it_is_and_within_its_range() {
    let mut chain = chain();
    let mut proposed = |name: &str, from, to| chain.propose_actions(0, vec![parameter(name, from, to)]).map(drop);
    assert_eq!(proposed("credit_per_ms", 1, 2), Ok(()));
    let unfit = |name: &str, from| Err(Refusal::ParameterUnfit { name: name.to_owned(), from });
    assert_eq!(proposed("credit_per_ms", 7, 2), unfit("credit_per_ms", 7));
    assert_eq!(proposed("credits", 1, 2), unfit("credits", 1));
    assert!(matches!(proposed("credit_per_ms", 1, 9_999_999), Err(Refusal::GenesisRule { .. })));
    let fixed = Err(Refusal::ParameterFixed { name: "heartbeat_ms".to_owned() });
    assert_eq!(proposed("heartbeat_ms", 200, 201), fixed, "no node would go by it");
}

#[test]
fn the_rules_read_the_parameters_of_the_state() {
    let mut chain = chain();
    let session = Session::in_eu(&chain.consortium, 0);
    chain.push(session.created()).expect("valid");
    chain.enact(vec![parameter("offer_deadline_blocks", 1_000, 5)]).expect("valid");
    let wallet = session.record(&chain);
    let now = chain.tip.height.get();
    let far = chain.push(session.offered(&wallet, session.offer(&wallet, 1, now + 100)));
    assert!(matches!(far, Err(Refusal::DeadlineOutOfRange { .. })));
    chain.push(session.offered(&wallet, session.offer(&wallet, 1, now + 5))).expect("within the new range");
}

#[test]
fn auditors_are_granted_and_revoked() {
    let mut chain = chain();
    chain.enact(vec![Action::GrantAuditor(auditor(2)), Action::GrantAuditor(auditor(1))]).expect("valid");
    assert_eq!(chain.tip.state.founded().auditors, [1, 2].map(|number| Digest([number; 32])));
    let twice = chain.propose_actions(0, vec![Action::GrantAuditor(auditor(1))]);
    assert!(matches!(twice, Err(Refusal::MemberExists { .. })));
    chain.enact(vec![Action::RevokeAuditor(Digest([1; 32]))]).expect("valid");
    let record = chain.tip.state.auditor(Digest([1; 32])).expect("it stays on record");
    assert!(!record.granted);
    let gone = chain.propose_actions(0, vec![Action::RevokeAuditor(Digest([1; 32]))]);
    assert!(matches!(gone, Err(Refusal::MemberUnknown { .. })));
    let again =
        chain.propose_actions(0, vec![Action::GrantAuditor(Auditor { name: "Other".to_owned(), ..auditor(1) })]);
    assert!(matches!(again, Err(Refusal::MemberExists { .. })), "others may have the key");
    let namesake =
        chain.propose_actions(0, vec![Action::GrantAuditor(Auditor { key_hash: Digest([9; 32]), ..auditor(2) })]);
    assert_eq!(namesake, Err(Refusal::MemberExists { what: "the name Auditor 2".to_owned() }));
    let blank = Auditor { name: " ".to_owned(), ..auditor(3) };
    let blank = chain.propose_actions(0, vec![Action::GrantAuditor(blank)]);
    assert!(matches!(blank, Err(Refusal::GenesisRule { .. })));
}

#[test]
fn the_key_of_a_models_owner_is_made_no_auditors() {
    let mut draft = consortium(4).document().draft().clone();
    let owner = |number: u8| Owner { name: format!("Owner {number}"), key_hash: Digest([number; 32]) };
    draft.models = [5, 6]
        .map(|number| Model {
            hash: Digest([number; 32]),
            name: format!("model-{number}"),
            operator: operator_id(0),
            owner: Some(owner(number)),
        })
        .to_vec();
    draft.signatures = Default::default();
    let mut document = Document::new(draft).expect("it keeps the rules");
    (0..4).for_each(|number| document.sign(&operator_id(number), &operator_key(number)).expect("its own key"));
    let mut chain = Chain::new(Arc::new(document.verify().expect("signed by all")));
    let owners = chain.propose_actions(0, vec![Action::GrantAuditor(auditor(6))]);
    let (key_hash, model) = (Digest([6; 32]), "model-6".to_owned());
    assert_eq!(owners, Err(Refusal::OwnersKey { key_hash, model }));
    chain.enact(vec![Action::GrantAuditor(auditor(7))]).expect("nobody's key");
}

#[test]
fn somebody_is_always_left_to_vote() {
    let mut alone = Chain::new(consortium(1));
    for action in [
        Action::Suspend(node(0)),
        Action::Suspend(operator(0)),
        Action::RevokeKey(node_key(0).public_key()),
        Action::RevokeKey(operator_key(0).public_key()),
    ] {
        assert_eq!(alone.propose_actions(0, vec![action.clone()]), Err(Refusal::NobodyLeft), "{action:?}");
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
fn a_replay_gives_the_same_roots_and_the_same_sets() {
    let parameters = Parameters { proposal_lock_ms: 0, ..Parameters::default() };
    let mut chain = Chain::new(consortium_with(4, parameters));
    let joining = vec![chain.joining_operator(4), chain.joining_node(4, 4)];
    chain.enact(joining).expect("valid");
    let promoting = chain.reinstating(node(4));
    chain.enact(vec![promoting]).expect("valid");
    let rotating = chain.rotating(node(1), &node_key(1), &next_node_key(1));
    chain.enact(vec![rotating, cheaper()]).expect("valid");
    chain.enact(vec![Action::Suspend(operator(2))]).expect("valid");
    chain.enact(vec![Action::Remove(operator(2)), Action::GrantAuditor(auditor(1))]).expect("valid");
    let mut at = crate::execute::Executed::genesis(&chain.consortium);
    for (block, certificate) in &chain.blocks {
        let voters = at.validators();
        certificate.verify(&voters, &chain.consortium.id()).expect("by the set that the state names");
        at = crate::execute::Executed {
            digest: block.header.digest(),
            height: block.header.height,
            view: block.header.view,
            time: block.header.time,
            ..at
        };
        crate::execute::append_all(&chain.consortium, &mut at, &block.entries, &crate::checks::Direct).expect("valid");
        assert_eq!((at.state.root(), at.log.root()), (block.header.state_root, block.header.log_root));
        let next = if at.is_closing() { at.validators().hash() } else { Digest::ZERO };
        assert_eq!((block.header.validators, block.header.next_validators), (voters.hash(), next));
        assert_eq!(at.voted_by(), voters);
    }
    assert_eq!(at, chain.tip);
    assert_eq!(at.state.epoch(), 3);
    let stored = State::from_leaves(at.state.tree().iter().map(|(key, value)| (*key, value.to_vec())));
    assert_eq!(stored.validators(), at.validators(), "it is all in the leaves");
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
fn a_key_changes_at_once_only_by_the_word_of_the_one_before() {
    let mut chain = chain();
    let enactable_at = |chain: &Chain, proposal| match chain.tip.state.proposal(proposal).expect("made").stage {
        Stage::Passed { enactable_at } => enactable_at,
        other => panic!("{other:?}"),
    };
    for (member, key) in [(node(1), node_key(1)), (operator(1), operator_key(1))] {
        let renewing = chain.rotating(member.clone(), &key, &next_node_key(1));
        let renewed = chain.pass(vec![renewing]).expect("valid");
        assert_eq!(enactable_at(&chain, renewed), chain.tip.time, "its owner wants it");
        let replacing = chain.replacing(member.clone(), key.public_key(), &next_node_key(1));
        let replaced = chain.pass(vec![replacing]).expect("valid");
        let lock = Parameters::default().proposal_lock_ms;
        assert_eq!(enactable_at(&chain, replaced).get(), chain.tip.time.get() + lock, "it gives its name to others");
        let mut forged = chain.rotating(member, &key, &next_node_key(1));
        if let Action::RotateKey { by_old_key: Some(signature), .. } = &mut forged {
            signature.0[0] ^= 1;
        }
        assert_eq!(chain.propose_actions(0, vec![forged]), Err(Refusal::KeyConsent { key: key.public_key() }));
    }
}

#[test]
fn a_key_that_its_operator_renews_leaves_the_others_proposals_alone() {
    let mut chain = chain();
    let proposal = chain.propose_actions(0, vec![cheaper()]).expect("valid");
    chain.cast(1, proposal, true).expect("valid");
    let renewing = chain.rotating(operator(1), &operator_key(1), &next_node_key(9));
    chain.enact(vec![renewing]).expect("valid");
    assert_eq!(chain.tip.state.founded().electorate, 0);
    chain.cast(2, proposal, true).expect("still the same operators");
    let replacing = chain.replacing(operator(2), operator_key(2).public_key(), &next_node_key(8));
    chain.enact(vec![replacing]).expect("valid");
    assert_eq!(chain.tip.state.founded().electorate, 1, "who has this key may be somebody else");
    assert_eq!(chain.push(chain.enacting(proposal)), Err(Refusal::ProposalSuperseded { proposal, named: 0 }));
}

#[test]
fn nobody_has_a_node_that_it_does_not_know_of() {
    let mut chain = chain();
    let Action::AddNode { node, consent, .. } = chain.joining_node(4, 3) else { unreachable!() };
    let by_operator = KeyClaim::Node(&node).sign(&chain.consortium.id(), &operator_key(0));
    let refused = chain.propose_actions(0, vec![Action::AddNode { node, consent, by_operator }]);
    assert_eq!(refused, Err(Refusal::KeyConsent { key: operator_key(3).public_key() }));
}

#[test]
fn a_node_joins_and_votes_by_two_decisions() {
    let mut chain = chain();
    let unfit = Err(Refusal::StandingUnfit { member: node(4) });
    let both = vec![chain.joining_node(4, 1), Action::Reinstate { member: node(4), key: node_key(4).public_key() }];
    assert_eq!(chain.propose_actions(0, both), unfit, "nobody has seen it yet");
    let joining = chain.joining_node(4, 1);
    chain.enact(vec![joining]).expect("valid");
    assert_eq!((chain.tip.state.epoch(), members(&chain).len()), (0, 4));
    assert_eq!(chain.tip.state.node(NodeId::new(4)).map(|record| record.standing), Some(Standing::Suspended));
    let promoting = chain.reinstating(node(4));
    chain.enact(vec![promoting]).expect("valid");
    assert_eq!(members(&chain), [0, 1, 2, 3, 4]);
}

#[test]
fn who_stays_can_go_on_without_those_that_join() {
    let mut chain = chain();
    let joining = (4..7).map(|number| chain.joining_node(number, 1)).collect();
    chain.enact(joining).expect("valid");
    let two: Vec<_> = [4, 5].map(|number| chain.reinstating(node(number))).into();
    assert_eq!(chain.propose_actions(0, two), Err(Refusal::StepTooLarge { stay: 4, quorum: 5 }));
    let exchange = vec![chain.reinstating(node(4)), Action::Suspend(node(0)), Action::Suspend(node(1))];
    assert_eq!(chain.propose_actions(0, exchange), Err(Refusal::StepTooLarge { stay: 2, quorum: 3 }));
    for number in 4..7 {
        let promoting = chain.reinstating(node(number));
        chain.enact(vec![promoting]).expect("one by one");
    }
    assert_eq!(members(&chain).len(), 7);
}

/// Their processes still sign with the key of before.
#[test]
fn so_many_keys_at_once_are_not_rotated_that_the_others_could_not_go_on() {
    for (count, refused) in
        [(4, Refusal::StepTooLarge { stay: 2, quorum: 3 }), (3, Refusal::StepTooLarge { stay: 1, quorum: 3 })]
    {
        let mut chain = Chain::new(consortium(count));
        let mut rotate = |of: u32| chain.rotating(node(of), &node_key(of), &next_node_key(of));
        let (first, second) = (rotate(0), rotate(1));
        assert_eq!(chain.propose_actions(0, vec![first.clone(), second]), Err(refused));
        chain.enact(vec![first]).expect("one of them is few enough");
    }
}

#[test]
fn a_consortium_of_one_grows_by_one_at_a_time() {
    let mut alone = Chain::new(consortium(1));
    let joining = (1..4).map(|number| alone.joining_node(number, 0)).collect();
    alone.enact(joining).expect("valid");
    let two: Vec<_> = [1, 2].map(|number| alone.reinstating(node(number))).into();
    assert_eq!(alone.propose_actions(0, two), Err(Refusal::StepTooLarge { stay: 1, quorum: 3 }));
    for number in 1..4 {
        let promoting = alone.reinstating(node(number));
        alone.enact(vec![promoting]).expect("one by one");
    }
    assert_eq!(members(&alone), [0, 1, 2, 3]);
}

#[test]
fn a_reinstatement_is_of_the_key_that_the_operators_saw() {
    let mut chain = chain();
    chain.enact(vec![Action::Suspend(node(3))]).expect("valid");
    let reinstating = chain.reinstating(node(3));
    let proposal = chain.pass(vec![reinstating]).expect("valid");
    let rotating = chain.rotating(node(3), &node_key(3), &next_node_key(3));
    chain.enact(vec![rotating]).expect("valid");
    assert_eq!(chain.push(chain.enacting(proposal)), Err(Refusal::KeyUnfit { key: node_key(3).public_key() }));
}

#[test]
fn nobody_is_removed_from_one_moment_to_the_next() {
    let mut chain = chain();
    for member in [node(3), operator(3)] {
        let unfit = Err(Refusal::StandingUnfit { member: member.clone() });
        assert_eq!(chain.propose_actions(0, vec![Action::Remove(member.clone())]), unfit);
        let at_once = vec![Action::Suspend(member.clone()), Action::Remove(member.clone())];
        assert_eq!(chain.propose_actions(0, at_once), unfit, "it could not let go of its wallets");
        let revoked = if member == node(3) { node_key(3) } else { operator_key(3) };
        let at_once = vec![Action::RevokeKey(revoked.public_key()), Action::Remove(member)];
        assert_eq!(chain.propose_actions(0, at_once), unfit);
    }
    chain.expel(operator(3)).expect("first out of force, then out");
}

#[test]
fn a_consent_is_worth_nothing_once_its_key_is_revoked() {
    let mut chain = chain();
    let (joining, key) = (chain.joining_node(4, 1), node_key(4).public_key());
    chain.enact(vec![Action::RevokeKey(key)]).expect("it has no role yet");
    assert_eq!(chain.tip.state.key(key).map(|record| (record.member, record.status)), Some((None, KeyStatus::Revoked)));
    assert_eq!(chain.propose_actions(0, vec![joining]), Err(Refusal::KeyKnown { key }));
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
