use wallet::{
    digest::{Digest, sha256},
    units::{KeyEpoch, NodeId},
};

use super::*;
use crate::testing::{Chain, Session, consortium, decision};

/// A chain in which a wallet moved from 0 to 1 after an aborted try, and its bundle.
fn sample() -> (Chain, Session, Bundle) {
    let consortium = consortium(4);
    let (mut chain, session) = (Chain::new(consortium.clone()), Session::in_eu(&consortium, 0));
    let decisions = chained(3);
    chain.push(session.created()).expect("valid");
    let wallet = session.record(&chain);
    chain.push(session.offered(&wallet, session.offer(&wallet, 2, 50))).expect("valid");
    chain.push(session.touched(&session.record(&chain), 1)).expect("valid");
    chain.push(session.anchored(2, 1, Digest([7; 32]))).expect("valid");
    session.hop(&mut chain, 1, None).expect("valid");
    chain.push(session.anchored(0, 2, decision_hash(&decisions[1]))).expect("valid");
    let bundle = build(&consortium, &chain, session.address, KeyEpoch::new(1), &decisions).expect("provable");
    (chain, session, bundle)
}

fn chained(count: u64) -> Vec<Vec<u8>> {
    let mut previous = Digest::ZERO;
    (0..count)
        .map(|sequence| {
            let bytes = decision(sequence, previous);
            previous = decision_hash(&bytes);
            bytes
        })
        .collect()
}

fn failing(change: impl FnOnce(&mut Bundle)) -> String {
    let (chain, _, mut bundle) = sample();
    change(&mut bundle);
    verify(&bundle.to_bytes(), &chain.consortium.id()).expect_err("a changed bundle").check
}

#[test]
fn a_good_bundle_proves_the_move() {
    let (chain, session, bundle) = sample();
    assert_eq!(bundle.decisions.len(), 2, "as far as they are anchored");
    let report = verify(&bundle.to_bytes(), &chain.consortium.id()).expect("a good bundle");
    let moved = &report.moved;
    assert_eq!((moved.wallet, moved.epoch), (session.address, KeyEpoch::new(1)));
    assert_eq!((moved.source.0, moved.destination.0), (NodeId::new(0), NodeId::new(1)));
    assert_eq!(moved.decision, chained(1)[0]);
    let Assurance { operators, validators, quorum, faults } = report.assurance;
    assert_eq!((operators, validators, quorum, faults), (4, 4, 3, 1));
    assert_eq!(report.checks.first().map(String::as_str), Some("decode"));
    assert_eq!(report.checks.last().map(String::as_str), Some("state-proof"));
}

#[test]
fn a_bundle_of_an_earlier_hop_stays_good_when_the_wallet_moves_on() {
    let (mut chain, session, _) = sample();
    session.hop(&mut chain, 2, None).expect("valid");
    let bundle = build(&chain.consortium, &chain, session.address, KeyEpoch::new(1), &chained(3)).expect("provable");
    let report = verify(&bundle.to_bytes(), &chain.consortium.id()).expect("a good bundle");
    assert_eq!(report.moved.destination.0, NodeId::new(1));
}

#[test]
fn a_consortium_of_one_says_so() {
    let assurance = Assurance { operators: 1, validators: 1, quorum: 1, faults: 0 };
    assert_eq!(assurance.to_string(), "a consortium of one: nobody but its operator has checked this");
}

#[test]
fn another_genesis_is_refused_by_name() {
    let (_, _, bundle) = sample();
    assert_eq!(verify(&bundle.to_bytes(), &Digest::ZERO).expect_err("another genesis").check, "genesis-hash");
}

#[test]
fn each_part_is_covered_by_the_check_of_its_name() {
    assert_eq!(failing(|bundle| bundle.version = 2), "decode");
    assert_eq!(failing(|bundle| bundle.header.log_root = Digest::ZERO), "certificate");
    assert_eq!(failing(|bundle| bundle.certificate.signatures[0].1.0[0] ^= 1), "certificate");
    assert_eq!(failing(|bundle| bundle.certificate.signatures.truncate(2)), "certificate");
    assert_eq!(
        failing(|bundle| {
            let entry = &mut bundle.history[1].entry;
            *entry = entry.changed(|entry| entry.body.nonce[0] ^= 1);
        }),
        "inclusion:1"
    );
    assert_eq!(failing(|bundle| drop(bundle.history.remove(1))), "continuity");
    assert_eq!(failing(|bundle| drop(bundle.history.pop())), "continuity");
    assert_eq!(failing(|bundle| bundle.history.clear()), "continuity");
    assert_eq!(failing(|bundle| bundle.decisions[0][20] ^= 1), "decision-in-chain");
    assert_eq!(failing(|bundle| bundle.decisions.clear()), "decision-in-chain");
    assert_eq!(failing(|bundle| drop(bundle.decisions.pop())), "anchor");
    assert_eq!(failing(|bundle| bundle.record[40] ^= 1), "state-proof");
    assert_eq!(failing(|bundle| bundle.record_proof.siblings.truncate(1)), "state-proof");
}

#[test]
fn an_anchor_of_another_node_does_not_count() {
    let consortium = consortium(4);
    let (mut chain, session) = (Chain::new(consortium.clone()), Session::in_eu(&consortium, 0));
    chain.push(session.created()).expect("valid");
    session.hop(&mut chain, 1, None).expect("valid");
    chain.push(session.anchored(1, 1, decision_hash(&chained(1)[0]))).expect("valid");
    let refusal = build(&consortium, &chain, session.address, KeyEpoch::new(1), &chained(1));
    assert_eq!(refusal, Err(NotProvable::NotAnchored(NodeId::new(0))));
    let unknown = build(&consortium, &chain, session.address, KeyEpoch::new(2), &chained(1));
    assert_eq!(unknown, Err(NotProvable::HopUnknown(KeyEpoch::new(2))));
}

/// One in 13 of all bits, each byte in turn losing another one. All bits: `ALL_BITS=1`.
#[test]
fn every_flipped_bit_is_rejected_by_a_named_check() {
    let (chain, _, bundle) = sample();
    let good = bundle.to_bytes();
    let step = if std::env::var_os("ALL_BITS").is_some() { 1 } else { 13 };
    for bit in (0..good.len() * 8).step_by(step) {
        let mut flipped = good.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let failure = verify(&flipped, &chain.consortium.id()).expect_err("a flipped bit");
        assert!(!failure.check.is_empty(), "bit {bit}");
    }
}

#[test]
fn the_encoding_is_pinned() {
    let (_, _, bundle) = sample();
    let golden = sha256("golden", &[&bundle.to_bytes()]).to_string();
    assert_eq!(golden, "2ceec48ada30a42cd4048f8f780b5b8314c3007a8ab214d3e597604a613dfbdc");
}
