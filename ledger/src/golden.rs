//! The encodings of all wire types, pinned: changing one is a change of protocol. `goldens/encodings.txt` has them, a name
//! and the bytes in hexadecimal on each line, for whoever writes a decoder of their own.

use std::{fmt::Write as _, fs, path::PathBuf};

use wallet::{
    codec,
    digest::Digest,
    units::{BlockHeight, KeyEpoch, NodeId},
};

use crate::{
    author::sign_batch,
    block::View,
    certificate::{Leadership, Nullification},
    credits::{Account, Lot},
    execute::{Place, propose},
    finality::VoteRecord,
    state::{Record, StateKey},
    testing::{EveryEntry, certify_as, every_entry, node_key, signer},
    vote::{Ballot, Grant, Nullify, Signed, Vote, VoteKind},
};

fn golden(value: &impl serde::Serialize) -> String {
    codec::encode(value).iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes all");
        text
    })
}

fn file() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("goldens/encodings.txt")
}

/// What the file has today.
fn lines() -> Vec<String> {
    let sample = every_entry();
    let EveryEntry { session, wallet, moved: chain, governed, anew, .. } = &sample;
    let consortium = &chain.consortium;
    let mut found: Vec<(&str, String)> =
        sample.entries().map(|entry| (entry.body.event.name(), golden(entry))).collect();
    let anchors =
        (1..=3).map(|decisions| (session.anchored(1, decisions, Digest([2; 32])).body.clone(), None)).collect();
    found.push(("ReGenesisHandOver", golden(&anew.hand_overs)));
    found.push(("Lineage", golden(&anew.tip.state.record(StateKey::Lineage))));
    let closing = governed.blocks.iter().find(|(block, _)| block.header.is_closing()).expect("the set changed");
    found.push(("ClosingHeader", golden(&closing.0.header)));
    found.push(("GovernedRecord", golden(&governed.tip.state.records().collect::<Vec<Record>>())));
    found.push(("Batch", golden(&sign_batch(anchors, &node_key(1)))));
    let (block, certificate) = chain.blocks.last().expect("blocks");
    let ballot = Ballot::for_header(VoteKind::Notarize, &block.header);
    let mut record = VoteRecord::default();
    record.sign(&ballot).expect("the first vote");
    let after = block.header.view.next().expect("few blocks");
    record.nullify(after, 3).expect("not finalized");
    record.grant(4, NodeId::new(2)).expect("the first grant");
    let (id, epoch) = (consortium.id(), consortium.validators().epoch);
    let nullify = |node| Signed::sign(Nullify { consortium: id, epoch, from: after, through: 3 }, &signer(node));
    let skipped = Nullification { votes: [1, 2, 3].map(nullify).to_vec() };
    let leader = NodeId::new(2);
    let grant = |node| Signed::sign(Grant { consortium: id, epoch, term: 4, candidate: leader }, &signer(node));
    let grants = [1, 2, 3].map(|node| (NodeId::new(node), grant(node).signature)).to_vec();
    let place = Place { skipped: Some(skipped.clone()), ..chain.place(View { term: 4, number: 1 }) };
    let skipping = propose(consortium, place, &signer(2), chain.tip.time, Vec::new()).block;
    found.extend([
        ("Header", golden(&block.header)),
        ("Block", golden(block)),
        ("Vote", golden(&Vote::sign(ballot, &signer(1)))),
        ("Certificate", golden(certificate)),
        ("Notarized", golden(&certify_as(VoteKind::Notarize, block, [0, 1, 2]))),
        ("SignedNullify", golden(&nullify(1))),
        ("Nullification", golden(&skipped)),
        ("SignedGrant", golden(&grant(1))),
        ("Leadership", golden(&Leadership { term: 4, leader, grants })),
        ("SkippingBlock", golden(&skipping)),
        ("VoteRecord", golden(&record)),
        ("LogTree", golden(&chain.tip.log)),
        ("Account", golden(&Account { lots: vec![Lot { amount: 7, expires_at: BlockHeight::new(9) }] })),
        ("Record", golden(&chain.tip.state.records().collect::<Vec<Record>>())),
        ("StateProof", golden(&chain.tip.state.prove(StateKey::Wallet(wallet.address)))),
        ("StateKey", golden(&StateKey::Award(wallet.address, KeyEpoch::new(1)).digest())),
    ]);
    found.into_iter().map(|(name, bytes)| format!("{name} {bytes}")).collect()
}

#[test]
fn the_encodings_are_pinned() {
    let pinned = fs::read_to_string(file()).expect("it is there");
    let (pinned, found): (Vec<&str>, _) = (pinned.lines().collect(), lines());
    for (pinned, found) in pinned.iter().zip(&found) {
        assert_eq!(pinned, found);
    }
    assert_eq!(pinned.len(), found.len());
}

#[test]
#[ignore = "writes the file anew: a format changed"]
fn write_the_encodings() {
    fs::create_dir_all(file().parent().expect("it is in a folder")).expect("writable");
    fs::write(file(), lines().join("\n") + "\n").expect("writable");
}
