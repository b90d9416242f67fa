//! A true header over another body: whoever passes a block on can do that, and it says nothing about the block.

use super::{super::*, net::*};
use crate::{
    block::Block,
    certificate::Nullification,
    evidence::Evidence,
    execute::{BlockInvalid, Place},
    testing::{Session, certify, signer},
};

type Change = fn(&mut Block);

fn changes() -> [Change; 4] {
    [
        |block| block.proposal.0[3] ^= 1,
        |block| block.skipped = Some(Nullification { votes: Vec::new() }),
        |block| block.parent_certificate = Some(certify(block, [0, 1, 2])),
        |block| {
            let session = Session::in_eu(&crate::testing::consortium(4), 0);
            block.entries = vec![session.created(), session.created()];
        },
    ]
}

fn evidence(effects: &[Effect]) -> Vec<&Evidence> {
    let evidence = effects.iter().filter_map(|effect| match effect {
        Effect::Evidence(evidence) => Some(&**evidence),
        _ => None,
    });
    evidence.collect()
}

#[test]
fn a_final_block_whose_body_was_changed_here_is_fetched_again_and_stops_nobody() {
    let chain = chain();
    let (block, _) = two_blocks(&chain);
    for change in changes() {
        let mut net = Net::new(&chain, 4);
        let mut changed = block.clone();
        change(&mut changed);
        assert_eq!(changed.header, block.header);
        let effects = net.flush(1, 5, &changed);
        assert_eq!(evidence(&effects), Vec::<&Evidence>::new(), "nobody is blamed");
        assert_eq!(net.voters[1].status().invalid, [(5, BlockInvalid::OtherBody)]);
        net.step(1, Input::Certificate(certify(&block, [0, 2, 3]))).expect("no conflict");
        net.step(1, Input::Tick).expect("no conflict");
        assert_eq!(net.cuts[1], [5]);
        net.step(1, Input::Truncated { from: 5 }).expect("taken");
        net.flush(1, 5, &block);
        assert_eq!(net.finals[1], [block.header.digest()]);
    }
}

#[test]
fn another_body_does_not_hide_what_its_leader_does_later() {
    let chain = chain();
    let mut changed = two_blocks(&chain).0;
    changes()[3](&mut changed);
    let skipped = Some(nullification(&chain, [1, 2, 3], View { term: 0, number: 1 }, 1));
    let place = Place { skipped, ..chain.place(View { term: 2, number: 1 }) };
    let mut lie = block(&chain, place, 0, NOW);
    lie.header.state_root = Digest::ZERO;
    lie.proposal = lie.header.sign(&signer(0).key);
    let mut voter = voter(&chain, 1, VoteRecord::default());
    step(&mut voter, AT, flushed(5, &changed)).expect("taken");
    let effects = step(&mut voter, AT, flushed(6, &lie)).expect("taken");
    let found = evidence(&effects);
    assert!(matches!(found.as_slice(), [Evidence::InvalidBlock(_)]), "{found:?}");
    assert!(found[0].verify(&chain.consortium).is_ok());
}
