//! The encodings of all wire types, pinned: changing one is a change of protocol.

use wallet::{
    codec,
    digest::{Digest, sha256},
    units::{BlockHeight, KeyEpoch, NodeId},
};

use crate::{
    block::{Ballot, Vote, VoteKind},
    credits::{Account, Lot},
    event::{AbortReason, BatchEvicted, Event},
    finality::VoteRecord,
    state::{Record, StateKey},
    testing::{Chain, Session, consortium, node_key},
};

fn golden(value: &impl serde::Serialize) -> String {
    sha256("golden", &[&codec::encode(value)]).to_string()[..16].to_owned()
}

#[test]
fn the_encodings_are_pinned() {
    let consortium = consortium(4);
    let (mut chain, session) = (Chain::new(consortium.clone()), Session::in_eu(&consortium, 0));
    chain.push(session.created()).expect("valid");
    let wallet = session.record(&chain);
    let baseline = session.baseline(&wallet, 30_000, 20);
    let evicted =
        BatchEvicted { wallet: wallet.address, head: wallet.head, epoch: wallet.epoch, decision: Digest([1; 32]) };
    let evicted = session.sign(0, Event::BatchEvicted(evicted), Some(&session.epoch_key(0)));
    chain.push(baseline.clone()).expect("valid");
    session.hop(&mut chain, 1, Some(baseline.id())).expect("valid");
    let moved = session.record(&chain);
    let others = [
        evicted,
        session.delta(&moved, baseline.id(), 20_000, 20),
        session.aborted(&moved, 1, AbortReason::Source),
        session.touched(&moved, 1),
        session.anchored(1, 1, Digest([2; 32])),
        session.closed(&moved),
    ];
    let mut found: Vec<(&str, String)> = Vec::new();
    let entries: Vec<_> = chain.entries().map(|(_, entry)| entry.clone()).chain(others).collect();
    found.extend(entries.iter().map(|entry| (entry.body.event.name(), golden(entry))));
    let (block, certificate) = chain.blocks.last().expect("blocks");
    let ballot = Ballot::for_header(VoteKind::Notarize, &block.header);
    let mut record = VoteRecord::default();
    record.sign(&ballot).expect("the first vote");
    found.extend([
        ("Header", golden(&block.header)),
        ("Block", golden(block)),
        ("Vote", golden(&Vote::sign(ballot, NodeId::new(1), &node_key(1)))),
        ("Certificate", golden(certificate)),
        ("VoteRecord", golden(&record)),
        ("LogTree", golden(&chain.tip.log)),
        ("Account", golden(&Account { lots: vec![Lot { amount: 7, expires_at: BlockHeight::new(9) }] })),
        ("Record", golden(&chain.tip.state.records().collect::<Vec<Record>>())),
        ("StateProof", golden(&chain.tip.state.prove(StateKey::Wallet(wallet.address)))),
        ("StateKey", golden(&StateKey::Award(wallet.address, KeyEpoch::new(1)).digest())),
    ]);
    let expected = [
        ("WalletCreated", "e29c2f80e48bf08f"),
        ("BaselineCommitted", "dfac7d24db5e2243"),
        ("MigrationOffered", "81f1d83f26433cd9"),
        ("MigrationAccepted", "f64a2495100663a2"),
        ("KeyConfirmed", "c5319fd432c660be"),
        ("BatchEvicted", "915f3f3d37b23549"),
        ("LatencyDelta", "87da8190345792e6"),
        ("MigrationAborted", "8410e795da3d6af3"),
        ("Touch", "cd11c0d54ae09050"),
        ("DecisionAnchored", "014b4cf397b4d163"),
        ("BatchClosed", "db2604c1c85bb750"),
        ("Header", "845a9ba339f3c44d"),
        ("Block", "a68a456a48ebf0d1"),
        ("Vote", "47b43dae220eefed"),
        ("Certificate", "8b39479d1142fc1e"),
        ("VoteRecord", "d46511ffcd7d6b5f"),
        ("LogTree", "15fcc11858ac0242"),
        ("Account", "fa7bef6d4b11dd00"),
        ("Record", "374939d44cbdc607"),
        ("StateProof", "f66755071783face"),
        ("StateKey", "7181744c044bbeac"),
    ];
    assert_eq!(found, expected.map(|(name, hash)| (name, hash.to_owned())));
}
