//! The end of an epoch at one voter: what it is shown, and what came too early.

use super::{super::*, net::*};
use crate::{
    block::Block,
    execute::{Place, execute},
    testing::{Chain, certify, certify_as, changes, consortium, signer},
    vote::VoteKind,
};

const ALL: [u32; 4] = [0, 1, 2, 3];

/// The closing block of five validators, of whom node 4 leaves; a carrier above it; and the next epoch's first block.
fn blocks(chain: &Chain) -> [Block; 3] {
    changes::plan([(1, ALL.map(|node| (signer(node).node, signer(node).key.public_key())).to_vec())]);
    let closing = two_blocks(chain).0;
    let from = View { term: 1, number: 2 };
    let notarized = certify_as(VoteKind::Notarize, &closing, ALL);
    let place = on(chain, &closing, notarized, View { term: 2, number: 1 });
    let skipped = Some(nullification(chain, ALL, from, 1));
    let carrier = block(chain, Place { skipped, ..place }, 1, after_ms(5).wall);
    let proof = certify(&carrier, ALL);
    let place = on(chain, &closing, proof, View { term: View::first_term(1), number: 1 });
    let first = block(chain, Place { carriers: vec![carrier.header.clone()], ..place }, 2, after_ms(9).wall);
    [closing, carrier, first]
}

fn began(effects: &[Effect]) -> Option<u64> {
    effects.iter().find_map(|effect| match effect {
        Effect::Began { epoch, .. } => Some(*epoch),
        _ => None,
    })
}

#[test]
fn who_lacks_the_carrier_is_shown_that_the_closing_block_is_final() {
    let chain = Chain::new(consortium(5));
    let [closing, carrier, _] = blocks(&chain);
    let mut voter = voter(&chain, 4, VoteRecord::default());
    step(&mut voter, AT, flushed(5, &closing)).expect("taken");
    let proof = |carriers| ClosingProof { certificate: certify(&carrier, ALL), carriers };
    assert!(step(&mut voter, AT, Input::Closing(Box::new(proof(Vec::new())))).is_ok(), "the carrier is not here");
    assert_eq!(voter.tip().height.get(), 0);
    let whole = proof(vec![carrier.header.clone()]);
    let effects = step(&mut voter, AT, Input::Closing(Box::new(whole.clone()))).expect("taken");
    assert_eq!((began(&effects), voter.epoch(), voter.term()), (Some(1), 1, View::first_term(1)));
    assert!(voter.signer().is_none(), "it has left");
    let found = effects.iter().find_map(|effect| match effect {
        Effect::Final(made) => Some((made.certificate.clone(), made.carriers.clone())),
        _ => None,
    });
    assert_eq!(found, Some((whole.certificate, whole.carriers)));
}

#[test]
fn blocks_of_the_next_epoch_that_came_too_early_are_read_again_when_it_begins() {
    let chain = Chain::new(consortium(5));
    let [closing, _, first] = blocks(&chain);
    let executed = execute(&chain.consortium, &chain.tip, &closing).expect("valid");
    let early = block(
        &chain,
        Place {
            parent: executed,
            certificate: Some(certify(&closing, ALL)),
            carriers: Vec::new(),
            skipped: None,
            view: first.header.view,
            after: first.header.after,
        },
        2,
        after_ms(9).wall,
    );
    let bare = Block { parent_certificate: None, ..early.clone() };
    let mut voter = voter(&chain, 0, VoteRecord::default());
    step(&mut voter, AT, flushed(5, &closing)).expect("taken");
    let effects = step(&mut voter, AT, flushed(6, &bare)).expect("taken");
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Evidence(_))), "its epoch has not begun here");
    let effects = step(&mut voter, AT, Input::Certificate(certify(&closing, ALL))).expect("taken");
    assert_eq!(began(&effects), Some(1));
    assert!(effects.contains(&Effect::ReadAgain { from: 6 }), "{effects:?}");
    let effects = step(&mut voter, AT, flushed(6, &early)).expect("taken");
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Broadcast(vote) if vote.statement.epoch == 1)));
}
