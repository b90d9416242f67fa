use wallet::{
    digest::{Digest, sha256},
    grant::WalletAddress,
    prekey::ExchangeKey,
    units::{KeyEpoch, NodeId},
};

use super::*;
use crate::{
    bundle::AssuranceClass,
    governance::Member,
    testing::{Chain, Session, consortium, every_record, operator_id},
};

fn built(chain: &Chain, key: StateKey) -> StateProofFile {
    build(&chain.consortium, chain, key).expect("provable")
}

fn failing(file: &StateProofFile, chain: &Chain) -> Check {
    verify(&file.to_bytes(), &chain.consortium.id(), &[], None).expect_err("a changed file").check
}

/// Keys under which nothing stands.
fn absent() -> [StateKey; 10] {
    let none = Digest::ZERO;
    [
        StateKey::Wallet(WalletAddress(none)),
        StateKey::Prekey(ExchangeKey(none.0)),
        StateKey::Entry(none),
        StateKey::Baseline(none),
        StateKey::Award(WalletAddress(none), KeyEpoch::new(1)),
        StateKey::Account(NodeId::new(3)),
        StateKey::Anchor(NodeId::new(3)),
        StateKey::Node(NodeId::new(9)),
        StateKey::Validators(2),
        StateKey::Proposal(none),
    ]
}

#[test]
fn a_re_genesis_that_is_the_last_final_block_proves_the_state_after_it() {
    let mut chain = Chain::new(consortium(4));
    chain.push(Session::in_eu(&consortium(4), 0).created()).expect("valid");
    let lost = [2, 3].map(|operator| Member::Operator(operator_id(operator))).to_vec();
    let name = chain.begin_anew(0, lost).expect("valid");
    let genesis = chain.consortium.id();
    let file = built(&chain, StateKey::Lineage);
    let report = verify(&file.to_bytes(), &genesis, &[name], Some(&StateKey::Lineage)).expect("proven");
    assert_eq!((report.attested.epoch, report.attested.lineage, report.attested.re_geneses.len()), (1, 2, 1));
    assert_eq!(report.record, chain.tip.state.record(StateKey::Lineage));
    assert_eq!(failing(&file, &chain), Check::Lineage, "it was not named");
    let mut unsigned = file.clone();
    unsigned.certificate.signatures.pop();
    let verdict = verify(&unsigned.to_bytes(), &genesis, &[name], None);
    assert_eq!(verdict.expect_err("an operator is missing").check, Check::HeaderConsortium);
}

#[test]
fn a_record_of_each_kind_is_proven_from_the_genesis_hash_alone() {
    let (chain, keys) = every_record();
    let genesis = chain.consortium.id();
    assert_eq!(keys.len(), 16);
    for key in keys {
        let file = built(&chain, key.clone());
        let report = verify(&file.to_bytes(), &genesis, &[], Some(&key)).expect("a good file");
        assert_eq!(report.record, chain.tip.state.record(key.clone()), "{key}");
        assert!(report.record.is_some(), "{key}");
        assert_eq!(report.attested.assurance.class, AssuranceClass::SeveralMustLie);
        assert_eq!((report.attested.height, report.attested.epoch), (chain.tip.height, 0), "the closing block's own");
        assert_eq!(report.checks, CHECKS);
        // What is there is not shown to be missing, whatever ends the path.
        for end in [
            PathEnd::Empty,
            PathEnd::Other { key: key.digest(), value_hash: Digest::ZERO },
            PathEnd::Other { key: Digest::ZERO, value_hash: Digest::ZERO },
        ] {
            assert_eq!(failing(&StateProofFile { end, ..file.clone() }, &chain), Check::StateProof, "{key}");
        }
    }
}

#[test]
fn what_is_not_there_is_proven_too() {
    let (chain, _) = every_record();
    let genesis = chain.consortium.id();
    let mut ends = [0, 0];
    for key in absent() {
        let file = built(&chain, key.clone());
        let report = verify(&file.to_bytes(), &genesis, &[], Some(&key)).expect("a good file");
        assert_eq!((report.key, report.record), (key.clone(), None));
        ends[usize::from(file.end == PathEnd::Empty)] += 1;
        let record = codec::encode(&Record::Prekey(Digest::ZERO));
        assert_eq!(failing(&StateProofFile { end: PathEnd::Record(record), ..file }, &chain), Check::StateProof);
    }
    assert!(ends.iter().all(|count| *count > 0), "paths end in nothing and at others: {ends:?}");
}

#[test]
fn a_proof_is_of_the_key_that_was_asked_for() {
    let (chain, keys) = every_record();
    let file = built(&chain, keys[1].clone()).to_bytes();
    for key in &keys {
        let verdict = verify(&file, &chain.consortium.id(), &[], Some(key));
        assert_eq!(verdict.map_err(|failure| failure.check).is_ok(), *key == keys[1], "{key}");
    }
    let other = verify(&file, &chain.consortium.id(), &[], Some(&keys[2])).expect_err("another key");
    assert_eq!(other.check, Check::StateProof);
}

#[test]
fn a_path_is_of_one_key_of_one_state_and_has_its_length() {
    let (mut chain, keys) = every_record();
    let older: Vec<_> = keys.iter().map(|key| built(&chain, key.clone())).collect();
    let session = crate::testing::Session::in_eu(&chain.consortium, 0);
    chain.push(session.anchored(1, 1, Digest([8; 32]))).expect("valid");
    for (key, older) in keys.iter().zip(&older) {
        let file = built(&chain, key.clone());
        let changed = |change: fn(&mut StateProofFile)| {
            let mut file = file.clone();
            change(&mut file);
            failing(&file, &chain)
        };
        assert_eq!(changed(|file| _ = file.path.pop()), Check::StateProof, "{key}");
        assert_eq!(changed(|file| _ = file.path.remove(0)), Check::StateProof);
        assert_eq!(changed(|file| file.path.push(Digest::ZERO)), Check::StateProof);
        assert_eq!(changed(|file| file.path[0].0[0] ^= 1), Check::StateProof);
        assert_eq!(changed(|file| file.path = vec![Digest::ZERO; 257]), Check::StateProof);
        assert_eq!(changed(|file| file.path.clear()), Check::StateProof);
        let mixed = StateProofFile { path: older.path.clone(), end: older.end.clone(), ..file.clone() };
        assert_eq!(failing(&mixed, &chain), Check::StateProof, "an older path under a newer root");
        let old_header = StateProofFile { header: older.header.clone(), ..file.clone() };
        assert_eq!(failing(&old_header, &chain), Check::HeaderConsortium, "that of the epoch before");
        assert_eq!(changed(|file| file.hand_overs.clear()), Check::HeaderConsortium);
        assert_eq!(changed(|file| _ = file.certificate.signatures.pop()), Check::Certificate);
    }
    for [one, other] in keys.windows(2).map(|pair| [&pair[0], &pair[1]]) {
        let wrong = StateProofFile { key: other.clone(), ..built(&chain, one.clone()) };
        assert_eq!(failing(&wrong, &chain), Check::StateProof, "{one} as {other}");
    }
}

#[test]
fn a_validator_that_joined_is_named_by_its_record() {
    let mut chain = Chain::new(consortium(4));
    chain.join(4, 0).expect("valid");
    let session = crate::testing::Session::in_eu(&chain.consortium, 0);
    chain.push(session.anchored(1, 1, Digest([8; 32]))).expect("valid");
    let file = built(&chain, StateKey::Account(NodeId::ZERO));
    assert_eq!(file.members.len(), 1);
    let report = verify(&file.to_bytes(), &chain.consortium.id(), &[], None).expect("a good file");
    assert_eq!((report.record, report.attested.assurance.validators), (None, 5));
    let unnamed = StateProofFile { members: Vec::new(), ..file };
    assert_eq!(failing(&unnamed, &chain), Check::Members);
}

#[test]
fn nothing_is_proven_before_the_first_block_nor_by_too_few() {
    let consortium = consortium(4);
    let chain = Chain::new(consortium.clone());
    assert_eq!(build(&consortium, &chain, StateKey::Governance), Err(NotProvable::NothingFinal));
    let (mut chain, _) = every_record();
    let (_, certificate) = chain.blocks.last_mut().expect("blocks");
    certificate.signatures.truncate(2);
    let refused = build(&chain.consortium, &chain, StateKey::Governance);
    assert!(matches!(refused, Err(NotProvable::NotVerifiable(failure)) if failure.check == Check::Certificate));
}

#[test]
fn a_bundle_is_no_state_proof() {
    let (chain, keys) = every_record();
    let genesis = chain.consortium.id();
    let check = |bytes: &[u8]| verify(bytes, &genesis, &[], None).expect_err("no state proof").check;
    let good = built(&chain, keys[0].clone());
    let bundle = StateProofFile { version: crate::bundle::VERSION, ..good.clone() };
    assert_eq!(check(&bundle.to_bytes()), Check::Version);
    assert_eq!(
        crate::bundle::verify(&good.to_bytes(), &genesis, &[], None).expect_err("no bundle").check,
        Check::Version
    );
    assert_eq!(check(&[]), Check::Decode);
    assert_eq!(check(&vec![1; STATE_PROOF_BYTES_MAX + 1]), Check::Decode);
}

#[test]
fn the_encoding_is_pinned() {
    let (chain, keys) = every_record();
    let golden = |key: &StateKey| sha256("golden", &[&built(&chain, key.clone()).to_bytes()]).to_string();
    let found = [&keys[5], &absent()[0]].map(golden);
    assert_eq!(
        found,
        [
            "2d55b7338350092944c33e6d9cf8489f9011de9f5ab0335e89225cc89969eabf",
            "b2d09ac74dda8828ec8e6f052b29880e3ae0292452998d38e065efe2e655841b"
        ]
    );
}
