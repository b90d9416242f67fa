//! The vote record: each rule, and that it stays small.

use proptest::prelude::*;
use wallet::units::{BlockHeight, NodeId};

use super::super::*;
use crate::vote::{Ballot, VoteKind};

const fn view(term: u64, number: u64) -> View {
    View { term, number }
}

fn ballot(kind: VoteKind, view: View, block: u8) -> Ballot {
    let height = BlockHeight::new(view.number);
    Ballot { consortium: Digest([7; 32]), epoch: 0, kind, view, height, block: Digest([block; 32]) }
}

fn notarize(view: View, block: u8) -> Ballot {
    ballot(VoteKind::Notarize, view, block)
}

fn finalize(view: View, block: u8) -> Ballot {
    ballot(VoteKind::Finalize, view, block)
}

#[test]
fn a_key_votes_for_one_block_in_a_view() {
    let mut record = VoteRecord::default();
    let other = Digest([1; 32]);
    assert_eq!(record.sign(&notarize(view(1, 1), 1)), Ok(()));
    assert_eq!(record.sign(&notarize(view(1, 1), 1)), Ok(()), "the same again");
    assert_eq!(record.sign(&notarize(view(1, 1), 2)), Err(WouldEquivocate::SameView { other }));
    assert_eq!(record.sign(&finalize(view(1, 1), 2)), Err(WouldEquivocate::SameView { other }));
    assert_eq!(record.sign(&finalize(view(1, 1), 1)), Ok(()));
    assert!(record.has_signed(&finalize(view(1, 1), 1)) && record.has_signed(&notarize(view(1, 1), 1)));
}

#[test]
fn a_block_is_finalized_only_after_it_was_notarized() {
    let mut record = VoteRecord::default();
    assert_eq!(record.sign(&finalize(view(1, 1), 1)), Err(WouldEquivocate::NotNotarized));
}

#[test]
fn after_finalize_another_block_of_that_height_may_be_voted_for_in_another_view() {
    let mut record = VoteRecord::default();
    record.sign(&notarize(view(1, 1), 1)).expect("first");
    record.sign(&finalize(view(1, 1), 1)).expect("notarized");
    assert_eq!(record.sign(&notarize(view(2, 1), 2)), Ok(()));
    assert_eq!(record.sign(&finalize(view(2, 1), 2)), Ok(()));
}

#[test]
fn a_validator_that_finalized_a_view_never_nullifies_it() {
    let mut record = VoteRecord::default();
    record.sign(&notarize(view(3, 2), 1)).expect("first");
    record.sign(&finalize(view(3, 2), 1)).expect("notarized");
    let finalized = Err(WouldEquivocate::Finalized { view: view(3, 2) });
    assert_eq!(record.nullify(view(3, 1), 3), finalized);
    assert_eq!(record.nullify(view(3, 2), 9), finalized);
    assert_eq!(record.nullify(view(3, 3), 3), Ok(()));
    assert_eq!(record.nullify(view(1, 1), 2), Ok(()), "an earlier term does not cover it");
}

#[test]
fn nothing_is_voted_for_in_a_view_that_was_given_up() {
    let mut record = VoteRecord::default();
    record.sign(&notarize(view(2, 1), 1)).expect("first");
    record.nullify(view(2, 1), 3).expect("not finalized");
    for view in [view(2, 1), view(2, 7), view(3, 1)] {
        assert_eq!(record.sign(&notarize(view, 1)), Err(WouldEquivocate::GivenUp));
        assert_eq!(record.sign(&finalize(view, 1)), Err(WouldEquivocate::GivenUp));
    }
    assert_eq!(record.sign(&notarize(view(4, 1), 1)), Ok(()));
    assert_eq!(record.sign(&notarize(view(1, 9), 1)), Ok(()));
}

#[test]
fn a_term_is_granted_to_one_candidate_and_none_before_it_any_more() {
    let mut record = VoteRecord::default();
    let (one, other) = (NodeId::new(1), NodeId::new(2));
    assert_eq!(record.grant(4, one), Ok(()));
    assert_eq!(record.grant(4, one), Ok(()));
    assert_eq!(record.grant(4, other), Err(WouldEquivocate::SameTerm { other: one }));
    assert_eq!(record.grant(3, one), Err(WouldEquivocate::TermOver { term: 4 }));
    record.enter(6);
    assert_eq!(record.grant(5, one), Err(WouldEquivocate::TermOver { term: 6 }));
    assert_eq!(record.grant(6, other), Ok(()));
}

#[test]
fn at_or_below_the_final_view_nothing_is_signed() {
    let mut record = VoteRecord::default();
    record.sign(&notarize(view(2, 1), 1)).expect("first");
    record.nullify(view(1, 2), 1).expect("free");
    record.raise_floor(view(2, 3));
    let below = Err(WouldEquivocate::BelowFloor { floor: view(2, 3) });
    assert_eq!(record.sign(&notarize(view(2, 3), 1)), below);
    assert_eq!(record.nullify(view(2, 3), 2), below);
    assert_eq!((record.voted.len(), record.nullified.len()), (0, 0), "what lies below is forgotten");
    assert_eq!(record.nullify(view(2, 4), 2), Ok(()));
}

#[test]
fn before_the_term_of_its_return_a_key_votes_for_no_block_and_no_candidate() {
    let mut record = VoteRecord { terms_from: 5, ..VoteRecord::default() };
    let before = Err(WouldEquivocate::BeforeReturn { from: 5 });
    assert_eq!(record.sign(&notarize(view(4, 9), 1)), before);
    assert_eq!(record.grant(4, NodeId::new(1)), before);
    assert_eq!(record.nullify(view(4, 9), 4), Ok(()));
    assert_eq!(record.sign(&notarize(view(5, 1), 1)), Ok(()));
}

#[test]
fn spans_that_meet_become_one_and_others_stay_apart() {
    let mut record = VoteRecord::default();
    record.nullify(view(1, 3), 1).expect("free");
    record.nullify(view(3, 4), 3).expect("free");
    assert_eq!(record.nullified.len(), 2, "term 2 lies between");
    record.nullify(view(1, 5), 2).expect("free");
    assert_eq!(record.nullified.len(), 2, "views of term 3 lie between");
    record.nullify(view(3, 1), 3).expect("free");
    assert_eq!(record.nullified_through(), Some(3));
    assert_eq!(record.nullified.len(), 1);
    assert_eq!(record.nullify(view(5, 2), 4), Err(WouldEquivocate::Empty));
}

#[test]
fn a_record_stays_small_however_long_nothing_becomes_final() {
    let mut record = VoteRecord::default();
    for term in 1..2_000 {
        record.sign(&notarize(view(term, 1), 1)).expect("a new view");
        record.sign(&finalize(view(term, 1), 1)).expect("notarized");
        record.nullify(view(term, 2), term).expect("after what was finalized");
    }
    assert!(record.voted.len() <= RECORD_MAX && record.nullified.len() <= RECORD_MAX);
    assert!(record.sign(&notarize(view(1, 1), 2)).is_err(), "what was forgotten is not signed again");
    assert!(record.nullify(view(1, 1), 1).is_err());
}

/// Something that a key is asked to sign.
#[derive(Clone, Debug)]
enum Asked {
    Vote(bool, View, u8),
    Nullify(View, u64),
    Grant(u64, u32),
    Floor(View),
}

fn asked() -> impl Strategy<Value = Asked> {
    let a_view = || (1..6_u64, 1..4_u64).prop_map(|(term, number)| view(term, number));
    prop_oneof![
        6 => (any::<bool>(), a_view(), 0..2_u8).prop_map(|(finalize, view, block)| Asked::Vote(finalize, view, block)),
        2 => (a_view(), 1..6_u64).prop_map(|(from, through)| Asked::Nullify(from, through)),
        1 => (1..6_u64, 0..3_u32).prop_map(|(term, candidate)| Asked::Grant(term, candidate)),
        1 => a_view().prop_map(Asked::Floor),
    ]
}

proptest! {
    /// Whatever a key is asked, in any order, no two of its signatures are evidence against it.
    #[test]
    fn no_two_things_that_a_record_lets_pass_contradict_each_other(requests in prop::collection::vec(asked(), 1..80)) {
        let mut record = VoteRecord::default();
        let (mut votes, mut nullifies, mut grants) = (Vec::new(), Vec::new(), Vec::new());
        for request in requests {
            match request {
                Asked::Vote(finalizes, view, block) => {
                    let kind = if finalizes { VoteKind::Finalize } else { VoteKind::Notarize };
                    let ballot = ballot(kind, view, block);
                    if record.sign(&ballot).is_ok() {
                        votes.push(ballot);
                    }
                }
                Asked::Nullify(from, through) if record.nullify(from, through).is_ok() => nullifies.push((from, through)),
                Asked::Grant(term, candidate) if record.grant(term, NodeId::new(candidate)).is_ok() => {
                    grants.push((term, candidate));
                }
                Asked::Floor(view) => record.raise_floor(view),
                Asked::Nullify(..) | Asked::Grant(..) => {}
            }
        }
        for one in &votes {
            prop_assert!(votes.iter().all(|other| one.view != other.view || one.block == other.block));
            let finalizes = one.kind == VoteKind::Finalize;
            let covered = nullifies.iter().any(|(from, through)| *from <= one.view && one.view.term <= *through);
            prop_assert!(!(finalizes && covered));
        }
        prop_assert!(grants.iter().all(|one| grants.iter().all(|other| one.0 != other.0 || one == other)));
        let apart = |pair: &[record::Span]| pair[0].through < pair[1].from.term;
        prop_assert!(record.nullified.windows(2).all(apart));
    }
}
