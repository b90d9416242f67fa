//! What the log holds is judged by what is known then: a certificate that comes later has it read once more, and nothing
//! is cut before the log was read on.

use super::{super::*, net::*};
use crate::{
    block::Block,
    execute::Place,
    testing::{Chain, certify, certify_as},
    vote::VoteKind,
};

/// Two blocks of view (1, 1), and one of term 2 on the second of them.
fn two_and_a_child(chain: &Chain) -> (Block, Block, Block) {
    let (first, second) = two_blocks(chain);
    let notarized = certify_as(VoteKind::Notarize, &second, [0, 1, 2]);
    let (view, after_second) = (View { term: 2, number: 1 }, View { term: 1, number: 2 });
    let skipped = Some(nullification(chain, [0, 1, 2], after_second, 1));
    let place = Place { skipped, ..on(chain, &second, notarized, view) };
    let child = block(chain, place, 2, after_ms(9).wall);
    (first, second, child)
}

/// Does what the voter asks for, as the shell does: tells the blocks of the log once more.
fn read_on(net: &mut Net, node: usize, log: &[(u64, &Block)], mut effects: Vec<Effect>) {
    let asked = |effects: &[Effect]| {
        effects.iter().find_map(|effect| match effect {
            Effect::ReadAgain { from } => Some(*from),
            _ => None,
        })
    };
    let mut times = 0;
    while let Some(from) = asked(&effects) {
        times += 1;
        assert!(times < 5, "it comes to an end");
        let again = log.iter().filter(|(index, _)| *index >= from);
        effects = again.flat_map(|(index, block)| net.flush(node, *index, block)).collect();
    }
}

#[test]
fn a_second_block_of_a_view_is_judged_again_when_its_child_shows_that_it_is_certified() {
    let chain = chain();
    let (first, second, child) = two_and_a_child(&chain);
    let mut net = Net::new(&chain, 4);
    net.flush(1, 5, &first);
    net.step(1, Input::Truncated { from: 5 }).expect("taken");
    net.flush(1, 5, &second);
    let effects = net.flush(1, 6, &child);
    read_on(&mut net, 1, &[(5, &second), (6, &child)], effects);
    net.step(1, Input::Certificate(certify(&child, [0, 2, 3]))).expect("taken");
    assert_eq!(net.finals[1], [second.header.digest(), child.header.digest()]);
}

#[test]
fn a_block_that_was_refused_for_its_parent_is_judged_again_when_it_is_certified() {
    let chain = chain();
    let (first, second, child) = two_and_a_child(&chain);
    let mut without = child.clone();
    // As if the word for its parent had been beyond the window when it was read.
    without.parent_certificate = None;
    let mut net = Net::new(&chain, 4);
    net.flush(1, 5, &first);
    net.step(1, Input::Truncated { from: 5 }).expect("taken");
    net.flush(1, 5, &second);
    net.flush(1, 6, &without);
    let effects = net.step(1, Input::Certificate(certify(&child, [0, 2, 3]))).expect("taken");
    read_on(&mut net, 1, &[(5, &second), (6, &child)], effects);
    assert_eq!(net.finals[1], [second.header.digest(), child.header.digest()]);
}

#[test]
fn while_the_log_is_read_once_more_nothing_is_proposed_and_nothing_above_is_judged() {
    let chain = chain();
    let (first, second, child) = two_and_a_child(&chain);
    let mut net = Net::new(&chain, 4);
    net.flush(1, 5, &first);
    net.step(1, Input::Truncated { from: 5 }).expect("taken");
    net.flush(1, 5, &second);
    let effects = net.flush(1, 6, &child);
    assert!(effects.contains(&Effect::ReadAgain { from: 5 }));
    assert!(net.voters[1].status().invalid.is_empty(), "neither is here now");
    net.step(1, Input::Tick).expect("taken");
    assert!(net.cuts[1].is_empty());
    assert!(net.voters[1].may_propose(net.voters[1].term(), Digest::ZERO).is_none());
    net.step(1, Input::Truncated { from: 5 }).expect("taken");
    net.flush(1, 5, &second);
    net.flush(1, 6, &child);
    assert!(net.voters[1].status().invalid.is_empty(), "another log is read as ever");
}

#[test]
fn a_dead_block_before_the_final_one_is_no_reason_to_cut_what_is_read_next() {
    let chain = chain();
    let (dead, living) = two_blocks(&chain);
    let mut net = Net::new(&chain, 4);
    net.step(1, Input::Certificate(certify(&living, [0, 2, 3]))).expect("taken");
    net.flush(1, 5, &dead);
    net.flush(1, 7, &living);
    net.step(1, Input::Tick).expect("taken");
    assert!(net.cuts[1].is_empty());
    assert_eq!(net.finals[1], [living.header.digest()]);
}

#[test]
fn what_is_about_to_be_cut_does_not_become_final_before_it_comes_again() {
    let chain = chain();
    let (dead, living) = two_blocks(&chain);
    let mut net = Net::new(&chain, 4);
    net.flush(1, 5, &dead);
    net.step(1, Input::Certificate(certify(&living, [0, 2, 3]))).expect("taken");
    net.step(1, Input::Tick).expect("taken");
    assert_eq!(net.cuts[1], [5]);
    // The leader's next append came before the cut.
    net.flush(1, 7, &living);
    assert!(net.finals[1].is_empty());
    net.step(1, Input::Truncated { from: 5 }).expect("taken");
    net.flush(1, 5, &living);
    assert_eq!(net.finals[1], [living.header.digest()]);
}

#[test]
fn a_block_that_was_forgotten_in_a_flood_is_judged_again_when_it_is_certified() {
    let chain = chain();
    let (first, second, child) = two_and_a_child(&chain);
    let mut junk = first.clone();
    junk.header.parent = Digest([3; 32]);
    let mut log: Vec<(u64, Block)> = Vec::new();
    for log_index in 6..6 + PENDING_BLOCKS_MAX as u64 {
        junk.header.view.number = log_index;
        log.push((log_index, junk.clone()));
    }
    log.extend([(1_000, second.clone()), (1_001, child.clone())]);
    let mut net = Net::new(&chain, 4);
    net.flush(1, 5, &first);
    net.step(1, Input::Truncated { from: 5 }).expect("taken");
    let log: Vec<(u64, &Block)> = log.iter().map(|(index, block)| (*index, block)).collect();
    let effects: Vec<Effect> = log.iter().flat_map(|(index, block)| net.flush(1, *index, block)).collect();
    read_on(&mut net, 1, &log, effects);
    net.step(1, Input::Certificate(certify(&child, [0, 2, 3]))).expect("taken");
    assert_eq!(net.finals[1], [second.header.digest(), child.header.digest()]);
}
