//! The searches, each to its end; and the same searches on a voter with a bug, which must find it.

use ledger::planted::Bug;
use model::{bounds::Bounds, lab::Lab};
use stateright::{Checker, Expectation, HasDiscoveries, Model};

/// Runs a search. The first property that fails, if one does.
fn search(bounds: Bounds, bug: Option<Bug>) -> Option<&'static str> {
    let search = Lab::new(bounds, bug).checker().finish_when(HasDiscoveries::AnyFailures);
    let checker = search.spawn_bfs().join();
    let (locals, steps) = checker.model().counts();
    let (states, depth) = (checker.unique_state_count(), checker.max_depth());
    println!("{bug:?}: {states} states, {depth} deep; {locals} of single nodes, {steps} steps of the voter");
    let found = checker.discoveries();
    let properties = checker.model().properties();
    let is_failure = |expectation: &Expectation| *expectation == Expectation::Always;
    let failed = properties.iter().find(|known| is_failure(&known.expectation) && found.contains_key(known.name));
    if bug.is_none() {
        assert!(checker.is_done(), "all states were visited");
        for property in properties.iter().filter(|known| known.expectation == Expectation::Sometimes) {
            assert!(found.contains_key(property.name), "the bounds allow that {}", property.name);
        }
    }
    failed.map(|failed| failed.name)
}

#[test]
fn one_liar_of_four_breaks_no_rule_within_the_bounds() {
    assert_eq!(search(Bounds::one_term(), None), None);
}

#[test]
#[ignore = "was never run to its end: cargo test -p model -- --ignored"]
fn one_liar_of_four_breaks_no_rule_over_conflicting_blocks() {
    assert_eq!(search(Bounds::conflict(), None), None);
}

#[test]
#[ignore = "was never run to its end: cargo test -p model -- --ignored"]
fn one_liar_of_four_breaks_no_rule_over_a_chain() {
    assert_eq!(search(Bounds::chain(), None), None);
}

#[test]
fn a_forgotten_vote_record_is_found() {
    assert!(search(Bounds::one_term(), Some(Bug::VoteRecordForgotten)).is_some());
}

#[test]
fn a_late_vote_record_is_found() {
    assert!(search(Bounds::one_term(), Some(Bug::VoteRecordLate)).is_some());
}

#[test]
fn a_quorum_that_is_one_short_is_found() {
    assert!(search(Bounds::one_term(), Some(Bug::QuorumOneShort)).is_some());
}

#[test]
fn a_signer_that_counts_twice_is_found() {
    assert!(search(Bounds::one_term(), Some(Bug::RepeatedSigner)).is_some());
}

#[test]
fn a_second_vote_in_a_view_is_found() {
    assert!(search(Bounds::one_term(), Some(Bug::NotarizeTwice)).is_some());
}

#[test]
fn a_vote_to_notarize_where_the_view_was_given_up_is_found() {
    assert!(search(Bounds::one_term(), Some(Bug::NotarizeAfterNullify)).is_some());
}

#[test]
fn a_vote_to_finalize_where_the_view_was_given_up_is_found() {
    assert!(search(Bounds::one_term(), Some(Bug::FinalizeAfterNullify)).is_some());
}

#[test]
fn giving_up_a_view_after_finalizing_in_it_is_found() {
    assert!(search(Bounds::one_term(), Some(Bug::NullifyAfterFinalize)).is_some());
}

#[test]
fn a_parent_without_a_certificate_is_found() {
    assert!(search(Bounds::chain(), Some(Bug::ParentNotCertified)).is_some());
}

#[test]
fn ancestors_that_are_passed_over_are_found() {
    assert!(search(Bounds::chain(), Some(Bug::AncestorsSkipped)).is_some());
}
