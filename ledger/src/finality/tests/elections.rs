//! Elections: turns, grants, permits, barred leaders.

use std::time::Duration;

use wallet::units::NodeId;

use super::{super::*, net::*};
use crate::{
    certificate::Nullification,
    testing::{Chain, certify, certify_as, signer},
    vote::VoteKind,
};

const FIRST: View = View { term: 0, number: 1 };

fn node(node: u32) -> NodeId {
    signer(node).node
}

/// A candidate of `term` that builds on genesis.
fn candidate(chain: &Chain, term: u64, candidate: u32) -> Input {
    let permit = (term > 1).then(|| nullification(chain, [1, 2, 3], FIRST, term - 1));
    Input::Candidate { term, candidate: node(candidate), permit, parent: None }
}

fn granted(answer: &Result<Vec<Effect>, Refusal>) -> Option<NodeId> {
    answer.as_ref().ok()?.iter().find_map(|effect| match effect {
        Effect::Grant(grant) => Some(grant.statement.candidate),
        _ => None,
    })
}

fn stands(effects: &[Effect]) -> Option<(u64, Option<Certificate>)> {
    effects.iter().find_map(|effect| match effect {
        Effect::Campaign { term, parent, .. } => Some((*term, parent.clone())),
        _ => None,
    })
}

/// Node 0 in term `term`, at time zero.
fn in_term(chain: &Chain, me: u32, term: u64) -> Voter {
    let mut voter = voter(chain, me, VoteRecord::default());
    for other in [1, 2, 3] {
        step(&mut voter, AT, Input::Nullify(nullify(chain, other, FIRST, term - 1))).expect("taken");
    }
    assert_eq!(voter.term(), term);
    voter
}

#[test]
fn the_turns_begin_with_another_node_in_each_term() {
    let chain = chain();
    for term in 2..7 {
        for rank in 0..2 {
            let me = u32::try_from((term + rank) % 4).expect("small");
            let mut voter = voter(&chain, me, VoteRecord::default());
            let mut stood = Vec::new();
            for other in [0, 1, 2, 3].into_iter().filter(|other| *other != me) {
                let vote = Input::Nullify(nullify(&chain, other, FIRST, term - 1));
                stood.extend(stands(&step(&mut voter, AT, vote).expect("taken")));
            }
            assert_eq!(stood.iter().any(|(stood, _)| *stood == term), rank == 0, "term {term} rank {rank}");
            let later = step(&mut voter, after_ms(500), Input::Tick).expect("taken");
            assert_eq!(stands(&later).map(|(term, _)| term), (rank == 1).then_some(term), "asked once");
        }
    }
}

#[test]
fn the_first_turn_in_an_epoch_is_another_nodes_in_each_epoch() {
    let chain = chain();
    let validators = chain.consortium.validators();
    let first = |epoch| {
        let terms = Terms::new(View::first_term(epoch), Duration::ZERO);
        let has_turn = |other: &u32| terms.is_turn(node(*other), validators, Duration::from_secs(1), Duration::ZERO);
        [0, 1, 2, 3].into_iter().filter(has_turn).collect::<Vec<_>>()
    };
    assert_eq!([0, 1, 2, 3].map(first), [vec![1], vec![2], vec![3], vec![0]]);
}

#[test]
fn a_candidate_is_granted_when_its_turn_has_come_and_no_other_in_that_term_not_even_after_a_restart() {
    let chain = chain();
    let mut voter = in_term(&chain, 0, 2);
    let answer = step(&mut voter, AT, candidate(&chain, 2, 3));
    assert_eq!(answer, Err(Refusal::NotItsTurn { candidate: node(3) }));
    let effects = step(&mut voter, AT, candidate(&chain, 2, 2)).expect("its turn");
    assert!(matches!(effects.as_slice(), [Effect::Record(_), Effect::Grant(_)]), "durable first");
    assert_eq!(granted(&step(&mut voter, AT, candidate(&chain, 2, 2))), Some(node(2)), "the same again");
    let other = Err(WouldEquivocate::SameTerm { other: node(2) }.into());
    assert_eq!(step(&mut voter, after_ms(600), candidate(&chain, 2, 3)), other);
    let mut again = super::net::voter(&chain, 0, voter.record().clone());
    assert_eq!(step(&mut again, AT, candidate(&chain, 2, 3)), Err(Refusal::NotItsTurn { candidate: node(3) }));
    assert_eq!(step(&mut again, after_ms(2_000), candidate(&chain, 2, 3)), other);
}

#[test]
fn a_candidate_s_permit_brings_a_voter_into_its_term() {
    let chain = chain();
    let mut voter = voter(&chain, 0, VoteRecord::default());
    assert_eq!(granted(&step(&mut voter, AT, candidate(&chain, 2, 2))), Some(node(2)));
    assert_eq!(voter.term(), 2);
    assert_eq!(step(&mut voter, AT, candidate(&chain, 1, 1)), Err(Refusal::TermOver { term: 2 }));
}

#[test]
fn the_first_term_needs_no_permit() {
    let chain = chain();
    let mut voter = voter(&chain, 0, VoteRecord::default());
    assert_eq!(granted(&step(&mut voter, AT, candidate(&chain, 1, 1))), Some(node(1)));
}

#[test]
fn a_permit_must_reach_from_the_parent_to_the_term() {
    let chain = chain();
    let (one, _) = two_blocks(&chain);
    let notarized = certify_as(VoteKind::Notarize, &one, [0, 1, 2]);
    let ask = |permit: Option<Nullification>, parent: Option<&Certificate>| {
        let mut voter = voter(&chain, 0, VoteRecord::default());
        let input = Input::Candidate { term: 2, candidate: node(2), permit, parent: parent.cloned() };
        step(&mut voter, AT, input).map(|effects| granted(&Ok(effects)))
    };
    let second = View { term: 1, number: 2 };
    let all = [1, 2, 3];
    assert_eq!(ask(Some(nullification(&chain, all, FIRST, 1)), None), Ok(Some(node(2))));
    assert_eq!(ask(Some(nullification(&chain, all, second, 1)), Some(&notarized)), Ok(Some(node(2))));
    assert_eq!(ask(Some(nullification(&chain, all, second, 1)), None), Err(Refusal::NotPermitted));
    assert_eq!(ask(None, None), Err(Refusal::NotPermitted));
    assert_eq!(ask(Some(nullification(&chain, all, FIRST, 0)), None), Err(Refusal::NotPermitted));
    assert!(ask(Some(nullification(&chain, [1, 2], FIRST, 1)), None).is_err(), "no quorum");
    let forged = Certificate { block: Digest::ZERO, ..notarized };
    assert!(ask(Some(nullification(&chain, all, second, 1)), Some(&forged)).is_err());
}

#[test]
fn a_permit_of_nobody_or_of_one_many_times_is_none() {
    let chain = chain();
    for others in [vec![], vec![1], vec![1, 1, 1], vec![3, 2, 1]] {
        let mut voter = in_term(&chain, 0, 2);
        let permit = Some(nullification(&chain, others, FIRST, 1));
        let answer = step(&mut voter, AT, Input::Candidate { term: 2, candidate: node(2), permit, parent: None });
        assert!(matches!(answer, Err(Refusal::Invalid(_))), "{answer:?}");
    }
}

#[test]
fn what_a_key_said_is_seen_in_a_candidate_s_permit_and_in_the_certificate_of_its_parent() {
    let chain = chain();
    let parent = certify_as(VoteKind::Notarize, &two_blocks(&chain).0, [0, 1, 2]);
    let permit = Some(nullification(&chain, [1, 2, 3], View { term: 1, number: 2 }, 1));
    let input = Input::Candidate { term: 2, candidate: node(2), permit, parent: Some(parent) };
    let found = |me| {
        let found = Statements::within(&input, node(me), &chain.tip.name);
        let unknown = found.are_beyond(&VoteRecord::default(), node(me), &signer(me).key.public_key(), &chain.tip.name);
        (found.votes.len(), found.nullifies.len(), unknown)
    };
    assert_eq!([0, 1, 3].map(found), [(1, 0, true), (1, 1, true), (0, 1, true)]);
}

#[test]
fn who_would_build_below_what_is_final_is_refused() {
    let chain = chain();
    let (one, _) = two_blocks(&chain);
    let mut voter = voter(&chain, 0, VoteRecord::default());
    step(&mut voter, AT, flushed(5, &one)).expect("taken");
    step(&mut voter, AT, Input::Certificate(certify(&one, [1, 2, 3]))).expect("taken");
    let answer = step(&mut voter, AT, candidate(&chain, 2, 2));
    assert_eq!(answer, Err(Refusal::ParentBehind { parent: View::START, tip: one.header.view }));
}

#[test]
fn the_leader_of_a_term_that_failed_is_barred_for_a_while_and_the_turns_pass_over_it() {
    let chain = chain();
    let mut voter = voter(&chain, 0, VoteRecord::default());
    step(&mut voter, AT, Input::Leads { term: 1, leader: node(2) }).expect("taken");
    step(&mut voter, AT, candidate(&chain, 2, 3)).expect("node 2 would be first, and is barred");
    assert_eq!(step(&mut voter, after_ms(9_000), candidate(&chain, 2, 2)), Err(Refusal::Barred { candidate: node(2) }));
    let much_later = candidate(&chain, 10, 2);
    assert_eq!(granted(&step(&mut voter, AT, much_later)), Some(node(2)), "not for ever");
}

#[test]
fn nobody_is_granted_a_term_that_this_node_gave_up() {
    let chain = chain();
    let mut voter = voter(&chain, 0, VoteRecord::default());
    step(&mut voter, AT, Input::Complaint { term: 1 }).expect("taken");
    assert_eq!(step(&mut voter, AT, candidate(&chain, 1, 1)), Err(Refusal::NotGranted { term: 1 }));
}

#[test]
fn a_node_stands_again_when_it_can_build_on_more() {
    let chain = chain();
    let (one, _) = two_blocks(&chain);
    let mut voter = voter(&chain, 2, VoteRecord::default());
    step(&mut voter, AT, flushed(5, &one)).expect("taken");
    let mut stood = Vec::new();
    for other in [0, 1, 3] {
        let vote = Input::Nullify(nullify(&chain, other, FIRST, 1));
        stood.extend(stands(&step(&mut voter, AT, vote).expect("taken")));
    }
    assert_eq!(stood, [(2, None)]);
    let notarized = certify_as(VoteKind::Notarize, &one, [0, 1, 3]);
    let effects = step(&mut voter, AT, Input::Certificate(notarized.clone())).expect("taken");
    assert_eq!(stands(&effects), Some((2, Some(notarized))));
}

#[test]
fn a_voter_without_a_key_signs_nothing_and_follows() {
    let chain = chain();
    let (one, _) = two_blocks(&chain);
    let mut voter = voter(&chain, 0, VoteRecord::default());
    voter.set_signer(None);
    let mut effects = step(&mut voter, AT, flushed(5, &one)).expect("taken");
    effects.extend(step(&mut voter, after_ms(5_000), Input::Tick).expect("taken"));
    assert!(effects.iter().all(|effect| matches!(effect, Effect::AskFor { .. })), "{effects:?}");
    assert_eq!(step(&mut voter, AT, candidate(&chain, 1, 1)), Err(Refusal::NotGranted { term: 1 }));
    let effects = step(&mut voter, AT, Input::Certificate(certify(&one, [1, 2, 3]))).expect("taken");
    assert!(matches!(effects.as_slice(), [Effect::Final(_)]));
}
