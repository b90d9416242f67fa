//! What liars sign: each contradiction is evidence, none fills the memory, and more than f of them are named.

use wallet::units::{BlockHeight, NodeId};

use super::{
    super::{nullifies::Nullifies, tally::Tally, *},
    net::*,
};
use crate::{
    block::Block,
    evidence::{Evidence, Fork},
    execute::Place,
    testing::{Chain, certify, signer},
    vote::{Ballot, Signed, Vote, VoteKind},
};

fn vote(kind: VoteKind, block: &Block, node: u32) -> Vote {
    Signed::sign(Ballot::for_header(kind, &block.header), &signer(node))
}

/// Whom the evidence among some effects names, each once.
fn named(chain: &Chain, effects: &[Effect]) -> Vec<(&'static str, Vec<NodeId>)> {
    let evidence = effects.iter().filter_map(|effect| match effect {
        Effect::Evidence(evidence) => Some(evidence),
        _ => None,
    });
    let verified = |evidence: &Evidence| {
        let culprits = evidence.verify(&chain.consortium).expect("it holds");
        (evidence.kind(), culprits.iter().map(|culprit| culprit.node).collect())
    };
    evidence.map(|evidence| verified(evidence)).collect()
}

#[test]
fn two_votes_in_one_view_for_different_blocks_are_evidence_whatever_their_kinds() {
    let chain = chain();
    let (one, other) = two_blocks(&chain);
    for (first, second) in [
        (VoteKind::Notarize, VoteKind::Notarize),
        (VoteKind::Notarize, VoteKind::Finalize),
        (VoteKind::Finalize, VoteKind::Notarize),
        (VoteKind::Finalize, VoteKind::Finalize),
    ] {
        let mut voter = voter(&chain, 0, VoteRecord::default());
        assert_eq!(step(&mut voter, AT, Input::Vote(vote(first, &one, 3))), Ok(Vec::new()));
        let effects = step(&mut voter, AT, Input::Vote(vote(second, &other, 3))).expect("taken");
        assert_eq!(named(&chain, &effects), [("double-vote", vec![signer(3).node])]);
        let same = step(&mut voter, AT, Input::Vote(vote(VoteKind::Notarize, &one, 2))).expect("taken");
        assert_eq!(same, []);
    }
}

#[test]
fn a_finalize_vote_in_a_view_that_its_author_gave_up_is_evidence_in_either_order() {
    let chain = chain();
    let (one, _) = two_blocks(&chain);
    let inputs = [
        Input::Vote(vote(VoteKind::Finalize, &one, 3)),
        Input::Nullify(nullify(&chain, 3, View { term: 1, number: 1 }, 1)),
    ];
    let reversed = [inputs[1].clone(), inputs[0].clone()];
    for [first, second] in [inputs, reversed] {
        let mut voter = voter(&chain, 0, VoteRecord::default());
        step(&mut voter, AT, first).expect("taken");
        let effects = step(&mut voter, AT, second).expect("taken");
        assert_eq!(named(&chain, &effects), [("nullified-finalized", vec![signer(3).node])]);
    }
}

#[test]
fn two_proposals_of_one_view_are_evidence_also_when_the_first_was_cut() {
    let chain = chain();
    let (one, other) = two_blocks(&chain);
    let mut voter = voter(&chain, 1, VoteRecord::default());
    step(&mut voter, AT, flushed(5, &one)).expect("taken");
    step(&mut voter, AT, Input::Truncated { from: 5 }).expect("taken");
    let effects = step(&mut voter, AT, flushed(5, &other)).expect("taken");
    assert_eq!(named(&chain, &effects), [("double-proposal", vec![signer(0).node])]);
}

#[test]
fn a_proposal_that_its_leader_did_not_sign_is_no_evidence() {
    let chain = chain();
    let (one, mut other) = two_blocks(&chain);
    other.proposal = other.header.sign(&signer(3).key);
    let mut voter = voter(&chain, 1, VoteRecord::default());
    step(&mut voter, AT, flushed(5, &one)).expect("taken");
    step(&mut voter, AT, Input::Truncated { from: 5 }).expect("taken");
    let effects = step(&mut voter, AT, flushed(5, &other)).expect("taken");
    assert_eq!(named(&chain, &effects), []);
}

#[test]
fn a_liar_cannot_fill_the_memory_with_votes() {
    let chain = chain();
    let (one, _) = two_blocks(&chain);
    let (mut tally, mut nullifies) = (Tally::default(), Nullifies::default());
    for number in 1..1_000 {
        let ballot = Ballot { view: View { term: 1, number }, ..Ballot::for_header(VoteKind::Notarize, &one.header) };
        let signature = wallet::identity::Signature([0; 64]);
        tally.insert(Signed { statement: ballot, validator: signer(3).node, signature });
        let view = View { term: number, number: 2 };
        nullifies.insert(Signed { signature, ..nullify(&chain, 3, view, number) });
    }
    assert_eq!(tally.of_node(signer(3).node).count(), 16);
    assert_eq!(nullifies.of_node(signer(3).node).count(), 4);
}

#[test]
fn a_log_full_of_nonsense_stops_no_voter_from_reading_on() {
    let chain = chain();
    let (one, other) = two_blocks(&chain);
    let mut voter = voter(&chain, 1, VoteRecord::default());
    let mut nonsense = other;
    nonsense.header.parent = Digest([3; 32]);
    for log_index in 5..1_000 {
        nonsense.header.view.number = log_index;
        step(&mut voter, AT, flushed(log_index, &nonsense)).expect("taken");
    }
    assert!(voter.status().invalid.len() <= PENDING_BLOCKS_MAX);
    step(&mut voter, AT, flushed(1_000, &one)).expect("taken");
    step(&mut voter, AT, Input::Certificate(certify(&one, [0, 2, 3]))).expect("taken");
    assert_eq!(voter.tip().height, BlockHeight::new(1));
}

#[test]
fn f_plus_1_liars_can_fork_one_view_and_both_are_named() {
    let chain = chain();
    let (one, other) = two_blocks(&chain);
    let mut net = Net::new(&chain, 4);
    net.flush(0, 5, &one);
    net.step(0, Input::Certificate(certify(&one, [0, 2, 3]))).expect("taken");
    let effects = net.step(0, Input::Certificate(certify(&other, [1, 2, 3]))).expect("taken");
    assert_eq!(culprits_of_fork(&chain, &effects, &[one, other]), [signer(2).node, signer(3).node]);
}

#[test]
fn f_plus_1_liars_can_fork_by_giving_up_what_they_finalized_and_both_are_named() {
    let chain = chain();
    let (one, _) = two_blocks(&chain);
    let skipped = Some(nullification(&chain, [1, 2, 3], View { term: 0, number: 1 }, 1));
    let place = Place { skipped, ..chain.place(View { term: 2, number: 1 }) };
    let other = block(&chain, place, 2, NOW);
    for (first, second, finals) in [(&one, &other, [[0, 2, 3], [1, 2, 3]]), (&other, &one, [[1, 2, 3], [0, 2, 3]])] {
        let mut net = Net::new(&chain, 4);
        net.flush(0, 5, first);
        net.step(0, Input::Certificate(certify(first, finals[0]))).expect("taken");
        let effects = net.step(0, Input::Certificate(certify(second, finals[1]))).expect("taken");
        let culprits = culprits_of_fork(&chain, &effects, &[one.clone(), other.clone()]);
        assert_eq!(culprits, [signer(2).node, signer(3).node]);
    }
}

/// What whoever has the blocks makes of a conflict.
fn culprits_of_fork(chain: &Chain, effects: &[Effect], blocks: &[Block]) -> Vec<NodeId> {
    let conflict = effects.iter().find_map(|effect| match effect {
        Effect::Conflict(conflict) => Some(&**conflict),
        _ => None,
    });
    let Some(Conflict::TwoCertificates { ours, theirs }) = conflict else { panic!("no fork in {effects:?}") };
    let find = |_, digest: &Digest| blocks.iter().find(|block| block.header.digest() == *digest).cloned();
    let fork = Fork::between(ours, theirs, find).expect("a fork");
    let culprits = Evidence::Fork(Box::new(fork)).verify(&chain.consortium).expect("holds");
    culprits.iter().map(|culprit| culprit.node).collect()
}
