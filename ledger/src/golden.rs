//! The encodings of all wire types, pinned: changing one is a change of protocol.

use wallet::{
    codec,
    digest::{Digest, sha256},
    units::{BlockHeight, KeyEpoch, NodeId},
};

use crate::{
    author::sign_batch,
    block::View,
    certificate::{Leadership, Nullification},
    credits::{Account, Lot},
    event::{AbortReason, BatchEvicted, Event},
    execute::{Place, propose},
    finality::VoteRecord,
    state::{Record, StateKey},
    testing::{self, Chain, Session, certify_as, consortium, signer},
    vote::{Ballot, Grant, Nullify, Signed, Vote, VoteKind},
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
        session.resumed(1, 3),
    ];
    let mut found: Vec<(&str, String)> = Vec::new();
    let entries: Vec<_> = chain.entries().map(|(_, entry)| entry.clone()).chain(others).collect();
    found.extend(entries.iter().map(|entry| (entry.body.event.name(), golden(entry))));
    let anchors =
        (1..=3).map(|decisions| (session.anchored(1, decisions, Digest([2; 32])).body.clone(), None)).collect();
    found.push(("Batch", golden(&sign_batch(anchors, &testing::node_key(1)))));
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
    let skipping = propose(&consortium, place, &signer(2), chain.tip.time, Vec::new()).block;
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
    let expected = [
        ("WalletCreated", "4fb456e2289fba14"),
        ("BaselineCommitted", "17aef22bb30b5ad9"),
        ("MigrationOffered", "7a7570f637461526"),
        ("MigrationAccepted", "d921bbe9502070b6"),
        ("KeyConfirmed", "190843a6b33ccbd5"),
        ("BatchEvicted", "b2bef9844c8229ba"),
        ("LatencyDelta", "72b57e66d771a62e"),
        ("MigrationAborted", "5b67e49bdd02b69e"),
        ("Touch", "b786c4af2dce6728"),
        ("DecisionAnchored", "09f962bf86e75f7f"),
        ("BatchClosed", "950183afdd1452b9"),
        ("ValidatorResumed", "013754348bd33cfc"),
        ("Batch", "7d9208d069e857dc"),
        ("Header", "9fda07f9667ed571"),
        ("Block", "32435aafa2c93b7d"),
        ("Vote", "d405f985dcc17cb8"),
        ("Certificate", "bb9a4eed7e0a58f1"),
        ("Notarized", "2631d5ba8615caa6"),
        ("SignedNullify", "12f3b8872cc42bcd"),
        ("Nullification", "53d737b0055a5e8e"),
        ("SignedGrant", "a2199eff6de3974e"),
        ("Leadership", "61d1589aa338604b"),
        ("SkippingBlock", "f48a6648732b0b61"),
        ("VoteRecord", "97dc28594eaff98a"),
        ("LogTree", "b7e06c932183ab01"),
        ("Account", "fa7bef6d4b11dd00"),
        ("Record", "a78f4c1ff73a79ee"),
        ("StateProof", "e1edfc632888590d"),
        ("StateKey", "1e52d2d2cdc3313a"),
    ];
    assert_eq!(found, expected.map(|(name, hash)| (name, hash.to_owned())));
}
