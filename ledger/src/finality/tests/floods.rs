//! What costs a liar nothing takes nothing from the others: neither the room in the log nor the views of later leaders.

use wallet::units::BlockHeight;

use super::{super::*, net::*};
use crate::{
    block::Block,
    execute::{BlockInvalid, Place},
    testing::{Chain, certify, certify_as, signer},
    vote::VoteKind,
};

const YEAR_MS: u64 = 365 * 86_400_000;

/// A header of node 0 alone, signed by it: nothing else in it is right.
fn junk(chain: &Chain, view: View, time: Timestamp) -> Block {
    let mut junk = block(chain, chain.place(View { term: 1, number: 1 }), 0, time);
    (junk.header.view, junk.header.parent) = (view, Digest([3; 32]));
    junk.proposal = junk.header.sign(&signer(0).key);
    junk
}

/// The first block of term 2, by node 2, on genesis.
fn of_term_2(chain: &Chain) -> Block {
    let skipped = Some(nullification(chain, [0, 1, 3], View { term: 0, number: 1 }, 1));
    block(chain, Place { skipped, ..chain.place(View { term: 2, number: 1 }) }, 2, NOW)
}

fn has_voted(effects: &[Effect]) -> bool {
    effects.iter().any(|effect| matches!(effect, Effect::Broadcast(_)))
}

fn early(voter: &Voter) -> usize {
    voter.stages.iter().filter(|(_, staged)| staged.refused().is_none() && staged.executed().is_none()).count()
}

#[test]
fn a_log_full_of_blocks_of_the_future_stops_no_voter_from_reading_on() {
    let chain = chain();
    let mut voter = voter(&chain, 1, VoteRecord::default());
    let future = Timestamp::new(NOW.get() + YEAR_MS);
    for number in 1..1_000 {
        let early = junk(&chain, View { term: 1, number }, future);
        step(&mut voter, AT, flushed(number + 4, &early)).expect("taken");
    }
    assert_eq!(early(&voter), EARLY_BLOCKS_MAX, "an honest leader has one of them at most");
    let next = of_term_2(&chain);
    let effects = step(&mut voter, AT, flushed(2_000, &next)).expect("taken");
    assert!(has_voted(&effects));
    assert_eq!(early(&voter), 0, "their term is over");
    step(&mut voter, AT, Input::Certificate(certify(&next, [0, 2, 3]))).expect("taken");
    assert_eq!(voter.tip().height, BlockHeight::new(1));
}

#[test]
fn a_block_of_the_future_that_found_no_room_is_read_again_when_it_is_certified() {
    let chain = chain();
    let mut voter = voter(&chain, 1, VoteRecord::default());
    let future = Timestamp::new(NOW.get() + YEAR_MS);
    for number in 1..100 {
        let early = junk(&chain, View { term: 1, number: number + 1 }, future);
        step(&mut voter, AT, flushed(number + 4, &early)).expect("taken");
    }
    let block = block(&chain, chain.place(View { term: 1, number: 1 }), 0, future);
    step(&mut voter, AT, flushed(200, &block)).expect("taken");
    let effects = step(&mut voter, AT, Input::Certificate(certify(&block, [0, 2, 3]))).expect("no conflict");
    assert!(effects.contains(&Effect::ReadAgain { from: 200 }), "{effects:?}");
    step(&mut voter, AT, flushed(200, &block)).expect("taken");
    assert_eq!(voter.tip().height, BlockHeight::new(1), "a quorum's word is worth more than the clock");
}

#[test]
fn a_leader_s_headers_of_later_terms_take_no_view_from_their_leaders() {
    let chain = chain();
    let mut voter = voter(&chain, 1, VoteRecord::default());
    let views = (2..1_000).map(|term| View { term, number: 1 });
    for (log_index, view) in (5..).zip(views) {
        let misplaced = junk(&chain, view, NOW);
        let (leader, after, block) = (signer(0).node, Digest::ZERO, Box::new(misplaced));
        step(&mut voter, AT, Input::Flushed { log_index, term: 1, leader, after, block }).expect("taken");
    }
    assert!(voter.stages.outline().count() <= 64, "few are remembered");
    let next = of_term_2(&chain);
    let effects = step(&mut voter, AT, flushed(2_000, &next)).expect("taken");
    let is_taken = |(_, reason): &(u64, BlockInvalid)| matches!(reason, BlockInvalid::ViewTaken);
    assert!(!voter.status().invalid.iter().any(is_taken));
    assert!(has_voted(&effects));
}

#[test]
fn a_block_of_another_than_the_proven_leader_gets_no_vote_unless_it_is_certified() {
    let chain = chain();
    let (block, _) = two_blocks(&chain);
    let mut voter = voter(&chain, 3, VoteRecord::default());
    step(&mut voter, AT, Input::Leads { term: 1, leader: signer(2).node }).expect("taken");
    assert!(!has_voted(&step(&mut voter, AT, flushed(5, &block)).expect("taken")));
    let notarized = certify_as(VoteKind::Notarize, &block, [0, 1, 2]);
    assert!(has_voted(&step(&mut voter, AT, Input::Certificate(notarized)).expect("taken")));
}
