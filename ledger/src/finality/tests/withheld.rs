//! A leader that keeps its own finalize votes to itself, and one node that it starves.

use wallet::units::BlockHeight;

use super::{super::*, net::*};
use crate::{
    block::Block,
    execute::{Place, execute},
    testing::{Chain, certify, certify_as, signer},
    vote::VoteKind,
};

const ALL: [u32; 3] = [0, 1, 2];

/// Blocks of term 1, each on the one before with a quorum's word that only notarizes it.
fn notarized_chain(chain: &Chain, length: u64) -> Vec<Block> {
    let mut parent = chain.tip.clone();
    let mut blocks: Vec<Block> = Vec::new();
    for number in 1..=length {
        let certificate = blocks.last().map(|last| certify_as(VoteKind::Notarize, last, ALL));
        let (view, after) = (View { term: 1, number }, Digest::ZERO);
        let place = Place { parent, certificate, carriers: Vec::new(), skipped: None, view, after };
        let next = block(chain, place.clone(), 0, Timestamp::new(NOW.get() + number));
        parent = execute(&chain.consortium, &place.parent, &next).expect("valid");
        blocks.push(next);
    }
    blocks
}

fn voted_at(effects: &[Effect]) -> Vec<u64> {
    let votes = effects.iter().filter_map(|effect| match effect {
        Effect::Broadcast(vote) if vote.statement.kind == VoteKind::Notarize => Some(vote.statement.height.get()),
        _ => None,
    });
    votes.collect()
}

#[test]
fn within_a_term_nobody_votes_for_a_block_on_one_that_is_not_final() {
    let chain = chain();
    let blocks = notarized_chain(&chain, 2);
    let mut voter = voter(&chain, 3, VoteRecord::default());
    assert_eq!(voted_at(&step(&mut voter, AT, flushed(5, &blocks[0])).expect("taken")), [1]);
    assert_eq!(voted_at(&step(&mut voter, AT, flushed(6, &blocks[1])).expect("taken")), Vec::<u64>::new());
    let is_final = Input::Certificate(certify(&blocks[0], ALL));
    assert_eq!(voted_at(&step(&mut voter, AT, is_final).expect("taken")), [2]);
}

#[test]
fn a_certified_block_on_one_that_is_not_final_is_voted_for_so_that_it_can_become_final() {
    let chain = chain();
    let blocks = notarized_chain(&chain, 2);
    let mut voter = voter(&chain, 3, VoteRecord::default());
    step(&mut voter, AT, flushed(5, &blocks[0])).expect("taken");
    step(&mut voter, AT, flushed(6, &blocks[1])).expect("taken");
    let notarized = Input::Certificate(certify_as(VoteKind::Notarize, &blocks[1], ALL));
    assert_eq!(voted_at(&step(&mut voter, AT, notarized).expect("taken")), [2]);
}

#[test]
fn a_node_that_is_far_behind_still_says_whom_it_follows() {
    let chain = chain();
    let length = HEIGHT_WINDOW + 2;
    let mut far = two_blocks(&chain).0;
    (far.header.height, far.header.view.number) = (BlockHeight::new(length), length);
    let parent = certify(&far, ALL);
    let permit = Some(nullification(&chain, ALL, View { term: 1, number: length + 1 }, 1));
    let ask = |parent: Certificate| {
        let mut voter = voter(&chain, 3, VoteRecord::default());
        let candidate = signer(2).node;
        let input = Input::Candidate { term: 2, candidate, permit: permit.clone(), parent: Some(parent) };
        step(&mut voter, AT, input)
    };
    let granted = ask(parent.clone()).expect("the certificate holds");
    assert!(granted.iter().any(|effect| matches!(effect, Effect::Grant(_))));
    assert!(ask(Certificate { block: Digest::ZERO, ..parent }).is_err(), "but not to a forger");
}

#[test]
fn however_long_the_chain_of_the_own_log_is_the_next_block_can_make_it_final() {
    let chain = chain();
    let blocks = notarized_chain(&chain, HEIGHT_WINDOW + 8);
    let mut net = Net::new(&chain, 4);
    for (log_index, block) in (5..).zip(&blocks) {
        net.flush(3, log_index, block);
    }
    let last = blocks.last().expect("some");
    net.step(3, Input::Certificate(certify(last, ALL))).expect("taken");
    assert_eq!(net.finals[3].len(), blocks.len());
}
