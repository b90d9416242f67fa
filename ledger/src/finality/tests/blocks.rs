//! Blocks: which are voted for, and how they become final.

use genesis::Parameters;
use wallet::units::BlockHeight;

use super::{super::*, net::*};
use crate::{
    certificate::CertificateInvalid,
    execute::{BlockInvalid, Place},
    governance::Action,
    testing::{Chain, certify, certify_as, consortium, consortium_with, signer},
    vote::{Ballot, Signed, Vote, VoteKind},
};

#[test]
fn three_of_four_make_a_block_final_and_two_do_not() {
    let chain = chain();
    let (block, _) = two_blocks(&chain);
    for (alive, finals) in [(4, 1), (3, 1), (2, 0)] {
        let mut net = Net::new(&chain, 4);
        let nodes: Vec<usize> = (0..alive).collect();
        nodes.iter().for_each(|node| drop(net.flush(*node, 5, &block)));
        net.settle_among(&nodes);
        assert!(nodes.iter().all(|node| net.finals[*node].len() == finals), "{alive} alive");
        assert_eq!(net.voters[0].status().open.map(|open| open.notarized.len()), (finals == 0).then_some(alive));
    }
}

#[test]
fn a_final_block_comes_with_a_certificate_that_verifies() {
    let chain = chain();
    let (block, _) = two_blocks(&chain);
    let mut net = Net::new(&chain, 4);
    (0..4).for_each(|node| drop(net.flush(node, 5, &block)));
    net.settle();
    let certificate = net.voters[2].tip_certificate().expect("final").clone();
    assert_eq!(certificate.verify_final(chain.consortium.validators(), &chain.consortium.id()), Ok(()));
    assert_eq!(certificate.block, block.header.digest());
}

#[test]
fn a_consortium_of_one_is_final_at_once() {
    let chain = Chain::new(consortium(1));
    let (block, _) = two_blocks(&chain);
    let effects = Net::new(&chain, 1).flush(0, 1, &block);
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Final(_))));
}

#[test]
fn a_block_is_recorded_before_it_is_voted_for() {
    let chain = chain();
    let (block, _) = two_blocks(&chain);
    let effects = Net::new(&chain, 4).flush(0, 5, &block);
    assert!(matches!(effects.as_slice(), [Effect::Record(_), Effect::Broadcast(_)]));
}

#[test]
fn a_second_block_of_the_view_gets_no_vote_not_even_after_a_restart() {
    let chain = chain();
    let (one, other) = two_blocks(&chain);
    let mut net = Net::new(&chain, 4);
    let is_vote = |effect: &Effect| matches!(effect, Effect::Broadcast(_));
    net.flush(0, 5, &one);
    let record = net.records[0].clone();
    net.step(0, Input::Truncated { from: 5 }).expect("taken");
    assert!(!net.flush(0, 5, &other).iter().any(is_vote));
    net.voters[0] = voter(&chain, 0, record.clone());
    assert!(!net.flush(0, 5, &other).iter().any(is_vote));
    (net.voters[0], net.records[0]) = (voter(&chain, 0, record.clone()), record);
    net.flush(0, 5, &one);
    assert!(net.step(0, Input::Tick).expect("taken").iter().any(is_vote), "the same vote is sent again");
}

#[test]
fn a_descendant_makes_its_ancestors_final_lowest_first() {
    let chain = chain();
    let (one, _) = two_blocks(&chain);
    let notarized = certify_as(VoteKind::Notarize, &one, [0, 1, 2]);
    let view = View { term: 2, number: 1 };
    let skipped = Some(nullification(&chain, [0, 1, 2], View { term: 1, number: 2 }, 1));
    let two = block(&chain, Place { skipped, ..on(&chain, &one, notarized.clone(), view) }, 1, after_ms(9).wall);
    let mut net = Net::new(&chain, 4);
    net.flush(3, 5, &one);
    net.flush(3, 6, &two);
    let effects = net.step(3, Input::Certificate(certify(&two, [0, 1, 2]))).expect("taken");
    let finals: Vec<_> = effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Final(block) => Some((block.executed.height.get(), block.certificate.kind, block.log_index)),
            _ => None,
        })
        .collect();
    assert_eq!(finals, [(1, VoteKind::Notarize, 5), (2, VoteKind::Finalize, 6)]);
    assert_eq!(net.voters[3].term(), 2, "the block brought the permit of its term");
}

#[test]
fn a_later_term_may_build_on_what_is_only_notarized_but_skips_nothing_without_a_quorum() {
    let chain = chain();
    let (one, _) = two_blocks(&chain);
    let notarized = certify_as(VoteKind::Notarize, &one, [0, 1, 2]);
    let view = View { term: 2, number: 1 };
    let from = View { term: 1, number: 2 };
    let place = on(&chain, &one, notarized, view);
    let judged = |skipped| {
        let mut net = Net::new(&chain, 4);
        net.flush(0, 5, &one);
        net.flush(0, 6, &block(&chain, Place { skipped, ..place.clone() }, 1, after_ms(9).wall));
        let invalid = net.voters[0].status().invalid;
        invalid.into_iter().map(|(_, reason)| reason).next()
    };
    assert_eq!(judged(Some(nullification(&chain, [0, 1, 2], from, 1))), None);
    assert!(matches!(judged(None), Some(BlockInvalid::NotSkipped { .. })));
    let two = judged(Some(nullification(&chain, [0, 1], from, 1)));
    assert_eq!(two, Some(BlockInvalid::Skipped(CertificateInvalid::BelowQuorum { found: 2, quorum: 3 })));
    let late = judged(Some(nullification(&chain, [0, 1, 2], View { term: 1, number: 3 }, 1)));
    assert!(matches!(late, Some(BlockInvalid::NotSkipped { .. })), "a view between is not covered");
}

#[test]
fn a_block_ahead_of_the_clock_is_waited_for() {
    let chain = chain();
    let (block, _) = two_blocks(&chain);
    let mut early = voter(&chain, 0, VoteRecord::default());
    let before = Moment { wall: Timestamp::new(block.header.time.get() - 2_001), ..AT };
    assert_eq!(step(&mut early, before, flushed(5, &block)), Ok(Vec::new()));
    assert!(matches!(early.status().invalid.as_slice(), [(5, BlockInvalid::TimeAhead { .. })]));
    assert!(early.may_propose(1, Digest::ZERO).is_none());
    let effects = step(&mut early, AT, Input::Tick).expect("taken");
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Broadcast(_))));
}

#[test]
fn a_leader_proposes_nothing_while_a_block_is_open() {
    let chain = chain();
    let (block, _) = two_blocks(&chain);
    let mut net = Net::new(&chain, 4);
    assert!(net.voters[0].may_propose(1, Digest::ZERO).is_some());
    (0..4).for_each(|node| drop(net.flush(node, 5, &block)));
    assert!(net.voters[0].may_propose(1, Digest::ZERO).is_none());
    net.settle();
    let place = net.voters[0].may_propose(1, Digest([7; 32])).expect("nothing is open");
    assert_eq!(
        (place.parent.digest, place.view, place.after),
        (block.header.digest(), View { term: 1, number: 2 }, Digest([7; 32]))
    );
    assert!(net.voters[0].may_propose(2, Digest::ZERO).is_none(), "not in that term");
}

#[test]
fn a_certificate_for_another_block_cuts_the_own_suffix_and_the_node_follows() {
    let chain = chain();
    let (one, other) = two_blocks(&chain);
    let mut net = Net::new(&chain, 4);
    net.flush(0, 5, &one);
    net.step(0, Input::Certificate(certify(&other, [1, 2, 3]))).expect("taken");
    assert!(net.cuts[0].is_empty(), "the log may hold it further on");
    net.step(0, Input::Tick).expect("taken");
    assert_eq!(net.cuts[0], [5]);
    net.step(0, Input::Tick).expect("taken");
    assert_eq!(net.cuts[0], [5], "asked once");
    net.step(0, Input::Truncated { from: 5 }).expect("taken");
    net.flush(0, 5, &other);
    assert_eq!(net.finals[0], [other.header.digest()]);
}

#[test]
fn a_block_elsewhere_in_the_log_than_its_leader_put_it_is_not_voted_for_and_is_fetched_again_when_final() {
    let chain = chain();
    let (block, _) = two_blocks(&chain);
    let mut net = Net::new(&chain, 4);
    let place =
        |after, term, leader| Input::Flushed { log_index: 6, term, leader, after, block: Box::new(block.clone()) };
    let (leader, other) = (block.header.leader, signer(2).node);
    for input in [place(Digest([9; 32]), 1, leader), place(Digest::ZERO, 2, leader), place(Digest::ZERO, 1, other)] {
        let effects = net.step(0, input).expect("taken");
        assert!(!effects.iter().any(|effect| matches!(effect, Effect::Broadcast(_))));
        assert_eq!(net.voters[0].status().invalid, [(6, BlockInvalid::Misplaced)]);
        net.step(0, Input::Truncated { from: 6 }).expect("taken");
    }
    net.step(0, place(Digest([9; 32]), 1, leader)).expect("taken");
    net.step(0, Input::Certificate(certify(&block, [1, 2, 3]))).expect("taken");
    net.step(0, Input::Tick).expect("taken");
    assert_eq!((net.cuts[0].as_slice(), net.finals[0].len()), ([6].as_slice(), 0));
    net.step(0, Input::Truncated { from: 6 }).expect("taken");
    net.flush(0, 5, &block);
    assert_eq!(net.finals[0], [block.header.digest()]);
}

#[test]
fn two_certificates_for_one_height_stop_the_node_and_it_shows_both() {
    let chain = chain();
    let (one, other) = two_blocks(&chain);
    let mut net = Net::new(&chain, 4);
    net.flush(0, 5, &one);
    let (ours, theirs) = (certify(&one, [0, 1, 2]), certify(&other, [1, 2, 3]));
    net.step(0, Input::Certificate(ours.clone())).expect("taken");
    let effects = net.step(0, Input::Certificate(theirs.clone())).expect("taken");
    assert_eq!(effects, [Effect::Conflict(Box::new(Conflict::TwoCertificates { ours, theirs }))]);
    assert_eq!(net.step(0, Input::Tick), Err(Refusal::Halted));
    assert!(net.voters[0].status().halted);
}

#[test]
fn a_certified_block_that_does_not_execute_stops_the_node() {
    let chain = chain();
    let (mut block, _) = two_blocks(&chain);
    block.header.state_root = Digest::ZERO;
    block.proposal = block.header.sign(&signer(0).key);
    let mut net = Net::new(&chain, 4);
    net.flush(0, 5, &block);
    let effects = net.step(0, Input::Certificate(certify(&block, [1, 2, 3]))).expect("taken");
    let stopped = |effect: &Effect| {
        matches!(effect, Effect::Conflict(conflict)
            if matches!(**conflict, Conflict::CertifiedInvalid { reason: BlockInvalid::StateRoot { .. }, .. }))
    };
    assert!(effects.iter().any(stopped));
}

#[test]
fn votes_of_strangers_other_consortia_and_far_heights_are_refused() {
    let chain = chain();
    let (block, _) = two_blocks(&chain);
    let mut net = Net::new(&chain, 4);
    let ballot = Ballot::for_header(VoteKind::Finalize, &block.header);
    let mut refused = |ballot, node, key: u32| {
        let forged: Vote = Signed { validator: signer(node).node, ..Signed::sign(ballot, &signer(key)) };
        net.step(0, Input::Vote(forged))
    };
    let stranger = refused(ballot, 9, 9);
    assert_eq!(stranger, Err(CertificateInvalid::NotAValidator { signer: signer(9).node }.into()));
    let forged = refused(ballot, 2, 1);
    assert_eq!(forged, Err(CertificateInvalid::BadSignature { signer: signer(2).node }.into()));
    let foreign = refused(Ballot { consortium: Digest::ZERO, ..ballot }, 2, 2);
    assert_eq!(foreign, Err(CertificateInvalid::ForeignConsortium { found: Digest::ZERO }.into()));
    let height = BlockHeight::new(HEIGHT_WINDOW + 1);
    let far = refused(Ballot { height, ..ballot }, 2, 2);
    assert_eq!(far, Err(Refusal::BeyondWindow { height, best: BlockHeight::ZERO }));
}

#[test]
fn a_validator_goes_by_the_parameters_of_the_final_state() {
    for enacts in [false, true] {
        let parameters = Parameters { proposal_lock_ms: 0, ..Parameters::default() };
        let mut chain = Chain::new(consortium_with(4, parameters));
        let action = Action::SetParameter { name: "clock_ahead_ms".to_owned(), from: 2_000, to: 100 };
        let proposal = chain.pass(vec![action]).expect("valid");
        let mut net = Net::new(&chain, 4);
        let first = chain.propose(if enacts { vec![chain.enacting(proposal)] } else { Vec::new() });
        let certificate = certify(&first.block, [0, 2, 3]);
        net.flush(1, 5, &first.block);
        net.step(1, Input::Certificate(certificate.clone())).expect("no conflict");
        assert_eq!(net.finals[1].len(), 1);
        let view = first.block.header.view.next().expect("few blocks");
        let place = Place { parent: first.executed, certificate: Some(certificate), ..chain.place(view) };
        let ahead = block(&chain, place, 0, Timestamp::new(NOW.get() + 1_000));
        let effects = net.flush(1, 6, &ahead);
        let votes = effects.iter().any(|effect| matches!(effect, Effect::Broadcast(_)));
        assert_eq!(votes, !enacts, "a second ahead of its clock");
    }
}
