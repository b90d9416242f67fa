//! The end of an epoch at one voter: what it is shown, and what came too early.

use std::time::Duration;

use super::{super::*, net::*};
use crate::{
    block::Block,
    certificate::CertificateInvalid,
    execute::{Place, execute},
    testing::{Chain, certify, certify_as, changes, consortium, signer},
    vote::{Ballot, Nullify, Signed, Vote, VoteKind},
};

const ALL: [u32; 4] = [0, 1, 2, 3];

/// The closing block of five validators, of whom node 4 leaves; a carrier above it; and the next epoch's first block.
fn blocks(chain: &Chain) -> [Block; 3] {
    changes::plan([(1, ALL.map(|node| (signer(node).node, signer(node).key.public_key())).to_vec())]);
    let closing = two_blocks(chain).0;
    let carrier = carrier(chain, &closing);
    let proof = certify(&carrier, ALL);
    let place = on(chain, &closing, proof, View { term: View::first_term(1), number: 1 });
    let first = block(chain, Place { carriers: vec![carrier.header.clone()], ..place }, 2, after_ms(9).wall);
    [closing, carrier, first]
}

/// A block of term 2 above a closing block of term 1.
fn carrier(chain: &Chain, closing: &Block) -> Block {
    let notarized = certify_as(VoteKind::Notarize, closing, ALL);
    let place = on(chain, closing, notarized, View { term: 2, number: 1 });
    let skipped = Some(nullification(chain, ALL, View { term: 1, number: 2 }, 1));
    block(chain, Place { skipped, ..place }, 1, after_ms(5).wall)
}

/// Another end of the epoch than that of [`blocks`], by a carrier.
fn other_end(chain: &Chain) -> (Block, ClosingProof) {
    let other = two_blocks(chain).1;
    let carrier = carrier(chain, &other);
    (other, ClosingProof { certificate: certify(&carrier, ALL), carriers: vec![carrier.header] })
}

fn old_fork(effects: &[Effect]) -> Option<[Certificate; 2]> {
    effects.iter().find_map(|effect| match effect {
        Effect::OldFork(certificates) => Some((**certificates).clone()),
        _ => None,
    })
}

fn conflict(effects: &[Effect]) -> Option<Conflict> {
    effects.iter().find_map(|effect| match effect {
        Effect::Conflict(conflict) => Some((**conflict).clone()),
        _ => None,
    })
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

#[test]
fn a_patience_that_began_in_one_epoch_gives_up_no_term_of_the_next() {
    let chain = Chain::new(consortium(5));
    let [closing, ..] = blocks(&chain);
    // Just before its end, and in the step that it ends in.
    for ms in [999, 1_001] {
        let mut voter = voter(&chain, 0, VoteRecord::default());
        step(&mut voter, AT, flushed(5, &closing)).expect("taken");
        let passed_over = Input::PassedOver { term: 1, since: Some(Duration::ZERO) };
        step(&mut voter, AT, passed_over).expect("taken");
        let effects = step(&mut voter, after_ms(ms), Input::Certificate(certify(&closing, ALL))).expect("taken");
        assert_eq!(began(&effects), Some(1));
        step(&mut voter, after_ms(1_100), Input::Tick).expect("taken");
        assert_eq!((voter.term(), voter.status().complaint), (View::first_term(1), None));
    }
}

#[test]
fn who_was_barred_and_stays_is_barred_in_the_next_epoch_too() {
    let chain = Chain::new(consortium(5));
    let [closing, carrier, _] = blocks(&chain);
    let mut voter = voter(&chain, 3, VoteRecord::default());
    step(&mut voter, AT, flushed(5, &closing)).expect("taken");
    step(&mut voter, AT, Input::Leads { term: 2, leader: signer(1).node }).expect("taken");
    let is_barred = |voter: &Voter, node: u32| voter.terms.is_barred(signer(node).node, voter.validators());
    assert!(is_barred(&voter, 0), "its term came to nothing");
    let proof = ClosingProof { certificate: certify(&carrier, ALL), carriers: vec![carrier.header.clone()] };
    step(&mut voter, AT, Input::Closing(Box::new(proof))).expect("taken");
    assert_eq!(voter.term(), View::first_term(1));
    assert!(is_barred(&voter, 0) && !is_barred(&voter, 1));
}

#[test]
fn another_end_of_a_closed_epoch_is_evidence_and_stops_nobody() {
    let chain = Chain::new(consortium(5));
    let [closing, ..] = blocks(&chain);
    let (other, proof) = other_end(&chain);
    let mut ended = voter(&chain, 0, VoteRecord::default());
    step(&mut ended, AT, flushed(5, &closing)).expect("taken");
    step(&mut ended, AT, Input::Certificate(certify(&closing, ALL))).expect("taken");
    let (tip, certificate) = (ended.tip().clone(), ended.tip_certificate().cloned());
    let restarted = Voter::new(chain.consortium.clone(), Some(signer(0)), tip, certificate, ended.record().clone(), AT);
    let shown = [Input::Closing(Box::new(proof.clone())), Input::Certificate(certify(&other, ALL))];
    for mut voter in [ended, restarted] {
        assert_eq!((voter.epoch(), voter.tip().digest), (1, closing.header.digest()));
        let same = [Input::Certificate(certify(&closing, ALL)), Input::Certificate(certify(&other, [0, 1]))];
        for input in same {
            let effects = step(&mut voter, AT, input);
            assert_eq!(effects.ok().and_then(|effects| old_fork(&effects)), None, "known, or no quorum's word");
        }
        for input in &shown {
            let mut voter = voter.clone();
            let found = old_fork(&step(&mut voter, AT, input.clone()).expect("taken")).expect("both are kept");
            assert_eq!(found[0], certify(&closing, ALL));
            assert!(found[1] == proof.certificate || found[1].block == other.header.digest());
            for again in &shown {
                assert_eq!(old_fork(&step(&mut voter, AT, again.clone()).expect("taken")), None, "once is enough");
            }
            assert!(!voter.status().halted);
        }
    }
}

#[test]
fn another_end_of_the_present_epoch_stops_a_node_however_it_is_shown() {
    let chain = Chain::new(consortium(5));
    let [closing, carrier, _] = blocks(&chain);
    let (other, _) = other_end(&chain);
    let proof = ClosingProof { certificate: certify(&carrier, ALL), carriers: vec![carrier.header] };
    let show = || Input::Closing(Box::new(proof.clone()));
    // Before the block that this node holds instead is final, itself an end of the epoch.
    let mut early = voter(&chain, 0, VoteRecord::default());
    step(&mut early, AT, flushed(5, &other)).expect("taken");
    assert_eq!(conflict(&step(&mut early, AT, show()).expect("taken")), None, "it may hold the wrong block");
    let found = conflict(&step(&mut early, AT, Input::Certificate(certify(&other, ALL))).expect("taken"));
    let expected =
        |ours: &Block| Some(Conflict::TwoCertificates { ours: certify(ours, ALL), theirs: proof.certificate.clone() });
    assert_eq!(found, expected(&other));
    // After a block that closes nothing is final at its height.
    changes::plan([]);
    let quiet = two_blocks(&chain).0;
    assert_ne!(quiet.header.digest(), closing.header.digest());
    let mut late = voter(&chain, 0, VoteRecord::default());
    step(&mut late, AT, flushed(5, &quiet)).expect("taken");
    step(&mut late, AT, Input::Certificate(certify(&quiet, ALL))).expect("taken");
    assert_eq!((late.epoch(), late.tip().height.get()), (0, 1));
    assert_eq!(conflict(&step(&mut late, AT, show()).expect("taken")), expected(&quiet));
    assert!(late.status().halted);
}

#[test]
fn what_a_key_says_that_has_left_counts_for_nothing() {
    let chain = Chain::new(consortium(5));
    let [closing, _, first] = blocks(&chain);
    let mut voter = voter(&chain, 0, VoteRecord::default());
    step(&mut voter, AT, flushed(5, &closing)).expect("taken");
    step(&mut voter, AT, Input::Certificate(certify(&closing, ALL))).expect("taken");
    let (gone, term) = (signer(4), View::first_term(1));
    let (consortium, from) = (chain.consortium.id(), View { term, number: 1 });
    let vote = Vote::sign(Ballot::for_header(VoteKind::Notarize, &first.header), &gone);
    let nullify = Signed::sign(Nullify { consortium, epoch: 1, from, through: term }, &gone);
    let stranger = Err(Refusal::Invalid(CertificateInvalid::NotAValidator { signer: gone.node }));
    assert_eq!(step(&mut voter, AT, Input::Vote(vote)), stranger);
    assert_eq!(step(&mut voter, AT, Input::Nullify(nullify)), stranger);
    let candidate = Input::Candidate { term, candidate: gone.node, permit: None, parent: None };
    let no_turn = Err(Refusal::NotItsTurn { candidate: gone.node });
    assert_eq!(step(&mut voter, after_ms(60_000), candidate), no_turn);
}

#[test]
fn a_proof_of_a_block_that_closes_nothing_does_not_take_the_place_of_one_that_does() {
    let chain = Chain::new(consortium(5));
    changes::plan([]);
    let quiet = two_blocks(&chain).0;
    let above =
        block(&chain, on(&chain, &quiet, certify(&quiet, ALL), View { term: 1, number: 2 }), 0, after_ms(2).wall);
    let mut voter = voter(&chain, 0, VoteRecord::default());
    step(&mut voter, AT, flushed(5, &quiet)).expect("taken");
    let proof = ClosingProof { certificate: certify(&above, ALL), carriers: vec![above.header] };
    step(&mut voter, AT, Input::Closing(Box::new(proof))).expect("taken");
    assert_eq!((voter.shown.clone(), voter.tip().height.get()), (None, 0));
}

#[test]
fn carriers_above_a_final_closing_block_are_not_said_to_be_invalid() {
    let chain = Chain::new(consortium(5));
    let [closing, carrier, _] = blocks(&chain);
    let mut voter = voter(&chain, 0, VoteRecord::default());
    step(&mut voter, AT, flushed(5, &closing)).expect("taken");
    step(&mut voter, AT, flushed(6, &carrier)).expect("taken");
    step(&mut voter, AT, Input::Certificate(certify(&closing, ALL))).expect("taken");
    step(&mut voter, AT, flushed(6, &carrier)).expect("taken");
    assert_eq!((voter.epoch(), voter.status().invalid), (1, Vec::new()));
}
