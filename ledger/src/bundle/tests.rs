use wallet::{
    digest::{Digest, sha256},
    units::{KeyEpoch, LogIndex, NodeId, Timestamp},
};

use super::{decisions::LogEnd, *};
use crate::testing::{Chain, Session, consortium, decision};

mod anchors;
mod epochs;
mod since;

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
    let bundle =
        build(&consortium, &chain, session.address, KeyEpoch::new(1), &grounds(&decisions), None).expect("provable");
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

fn grounds(decisions: &[Vec<u8>]) -> Grounds {
    Grounds::of(decisions).expect("there is one")
}

fn failing(change: impl FnOnce(&mut Bundle)) -> Check {
    let (chain, _, mut bundle) = sample();
    change(&mut bundle);
    verify(&bundle.to_bytes(), &chain.consortium.id(), &[], None).expect_err("a changed bundle").check
}

#[test]
fn a_good_bundle_proves_the_move() {
    let (chain, session, bundle) = sample();
    assert_eq!(bundle.later.len(), 1, "as far as they are anchored");
    let report = verify(&bundle.to_bytes(), &chain.consortium.id(), &[], None).expect("a good bundle");
    let moved = &report.moved;
    assert_eq!((moved.wallet, moved.epoch), (session.address, KeyEpoch::new(1)));
    assert_eq!((moved.source.0, moved.destination.0), (NodeId::new(0), NodeId::new(1)));
    assert_eq!(moved.decision, chained(1)[0]);
    assert_eq!(report.attested.assurance.class, AssuranceClass::SeveralMustLie);
    assert_eq!(report.attested.signers, [1, 2, 3].map(NodeId::new));
    let head = decision_hash(&chained(2)[1]);
    assert_eq!(report.anchor, Anchored { index: LogIndex::new(7), decisions: 2, log_head: head });
    let not_made = [Check::Checkpoint, Check::Consistency, Check::DecisionSubject];
    assert_eq!(report.checks, Check::ALL.into_iter().filter(|check| !not_made.contains(check)).collect::<Vec<_>>());
}

#[test]
fn the_grounds_end_at_the_first_anchor_that_covers_them_and_prove_as_much_as_all_decisions() {
    let (chain, session, bundle) = sample();
    let by = NodeId::new(0);
    let kept = anchored(&chain, by, &grounds(&chained(3))).expect("anchored");
    assert_eq!((kept.hash(), kept.later.len()), (decision_hash(&chained(1)[0]), 1));
    let again = build(&chain.consortium, &chain, session.address, KeyEpoch::new(1), &kept, None);
    assert_eq!(again, Ok(bundle));
    let alone = anchored(&chain, by, &grounds(&chained(1)));
    assert_eq!(alone, Err(NotProvable::NotAnchored(by)), "what leads to the anchor is missing");
    let mut forged = grounds(&chained(3));
    forged.later[0].reason = Digest::ZERO;
    assert_eq!(anchored(&chain, by, &forged), Err(NotProvable::NotAnchored(by)));
    assert_eq!(Grounds::of(&[]), None);
}

#[test]
fn a_bundle_of_an_earlier_hop_stays_good_when_the_wallet_moves_on() {
    let (mut chain, session, _) = sample();
    session.hop(&mut chain, 2, None).expect("valid");
    let bundle = build(&chain.consortium, &chain, session.address, KeyEpoch::new(1), &grounds(&chained(3)), None)
        .expect("provable");
    let report = verify(&bundle.to_bytes(), &chain.consortium.id(), &[], None).expect("a good bundle");
    assert_eq!(report.moved.destination.0, NodeId::new(1));
}

#[test]
fn another_genesis_is_refused_by_name() {
    let (_, _, bundle) = sample();
    assert_eq!(
        verify(&bundle.to_bytes(), &Digest::ZERO, &[], None).expect_err("another genesis").check,
        Check::GenesisHash
    );
}

#[test]
fn each_part_is_covered_by_the_check_of_its_name() {
    assert_eq!(failing(|bundle| bundle.version = 2), Check::Version);
    assert_eq!(failing(|bundle| bundle.lineage = 2), Check::Lineage);
    assert_eq!(failing(|bundle| bundle.consortium.truncate(9)), Check::GenesisDocument);
    assert_eq!(failing(|bundle| *bundle.consortium.last_mut().expect("bytes") ^= 1), Check::GenesisSignatures);
    assert_eq!(failing(|bundle| bundle.header.epoch = 1), Check::HeaderConsortium);
    assert_eq!(failing(|bundle| bundle.header.log_root = Digest::ZERO), Check::Certificate);
    assert_eq!(failing(|bundle| bundle.certificate.signatures[0].1.0[0] ^= 1), Check::Certificate);
    assert_eq!(failing(|bundle| bundle.certificate.signatures.truncate(2)), Check::Certificate);
    assert_eq!(
        failing(|bundle| {
            let entry = &mut bundle.entries[1].entry;
            *entry = entry.changed(|entry| entry.body.nonce[0] ^= 1);
        }),
        Check::Inclusion
    );
    assert_eq!(failing(|bundle| bundle.entries.swap(1, 2)), Check::Inclusion);
    assert_eq!(failing(|bundle| bundle.entries.clear()), Check::Inclusion);
    assert_eq!(failing(|bundle| bundle.inclusion.push(Digest::ZERO)), Check::Inclusion);
    assert_eq!(failing(|bundle| bundle.decision[20] ^= 1), Check::DecisionHash);
    assert_eq!(failing(|bundle| bundle.decision.clear()), Check::DecisionHash);
    assert_eq!(failing(|bundle| bundle.later.clear()), Check::Anchor);
    assert_eq!(failing(|bundle| bundle.later[0].at = Timestamp::ZERO), Check::Anchor);
    assert_eq!(failing(|bundle| bundle.record[40] ^= 1), Check::StateProof);
    assert_eq!(failing(|bundle| bundle.record_path.truncate(1)), Check::StateProof);
    assert_eq!(failing(|bundle| bundle.prekey_path.truncate(1)), Check::SoleRelease);
    assert_eq!(failing(|bundle| bundle.prekey_path = bundle.record_path.clone()), Check::SoleRelease);
}

#[test]
fn what_is_left_out_of_the_history_is_missed() {
    let without = |at: usize| {
        let (chain, _, mut bundle) = sample();
        bundle.entries.remove(at);
        let places: Vec<LogIndex> = bundle.entries.iter().map(|placed| placed.index).collect();
        bundle.inclusion = chain.inclusion(&places).expect("reads").expect("they are there");
        verify(&bundle.to_bytes(), &chain.consortium.id(), &[], None).expect_err("an entry is missing").check
    };
    let (_, _, bundle) = sample();
    let names: Vec<_> = bundle.entries.iter().map(|placed| placed.entry.body.event.name()).collect();
    assert_eq!(names.last(), Some(&"DecisionAnchored"));
    assert!((0..names.len() - 1).all(|at| without(at) == Check::Continuity), "{names:?}");
    assert_eq!(without(names.len() - 1), Check::Anchor);
}

#[test]
fn an_anchor_of_another_node_does_not_count() {
    let consortium = consortium(4);
    let (mut chain, session) = (Chain::new(consortium.clone()), Session::in_eu(&consortium, 0));
    chain.push(session.created()).expect("valid");
    session.hop(&mut chain, 1, None).expect("valid");
    chain.push(session.anchored(1, 1, decision_hash(&chained(1)[0]))).expect("valid");
    let refusal = build(&consortium, &chain, session.address, KeyEpoch::new(1), &grounds(&chained(1)), None);
    assert_eq!(refusal, Err(NotProvable::NotAnchored(NodeId::new(0))));
    let unknown = build(&consortium, &chain, session.address, KeyEpoch::new(2), &grounds(&chained(1)), None);
    assert_eq!(unknown, Err(NotProvable::HopUnknown(KeyEpoch::new(2))));
}

/// One in 61 of all bits, each byte in turn losing another one. `tests/auditor` has more, and a second verifier.
#[test]
fn every_flipped_bit_is_rejected() {
    let (chain, _, bundle) = sample();
    let good = bundle.to_bytes();
    for bit in (0..good.len() * 8).step_by(61) {
        let mut flipped = good.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(verify(&flipped, &chain.consortium.id(), &[], None).is_err(), "bit {bit}");
    }
}

#[test]
fn the_encoding_is_pinned() {
    let (_, _, bundle) = sample();
    let golden = sha256("golden", &[&bundle.to_bytes()]).to_string();
    assert_eq!(golden, "16e6eeac9274fe9e775a170e3c4a79de184d45106ab007f113de2c18ef380424");
}

#[test]
fn no_bundle_is_made_that_no_reader_takes() {
    let (chain, session, _) = sample();
    let mut decisions = chained(3);
    decisions[0].resize(BUNDLE_BYTES_MAX, 0);
    // Later in the source's log than what it anchored.
    decisions[0][0] = 7;
    let end = LogEnd::after(&decisions[0]).expect("a decision begins with its position");
    let mut later = chain;
    later.push(session.anchored(0, end.decisions, end.hash)).expect("valid");
    let built = build(&later.consortium, &later, session.address, KeyEpoch::new(1), &grounds(&decisions[..1]), None);
    assert!(matches!(built, Err(NotProvable::TooLarge { bytes }) if bytes > BUNDLE_BYTES_MAX), "{built:?}");
}

#[test]
fn no_bundle_is_made_that_nobody_could_verify() {
    let (mut chain, session, _) = sample();
    let (_, certificate) = chain.blocks.last_mut().expect("blocks");
    certificate.signatures.truncate(2);
    let built = build(&chain.consortium, &chain, session.address, KeyEpoch::new(1), &grounds(&chained(3)), None);
    assert!(
        matches!(&built, Err(NotProvable::NotVerifiable(failure)) if failure.check == Check::Certificate),
        "{built:?}"
    );
}
