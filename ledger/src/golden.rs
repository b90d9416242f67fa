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
    execute::{Place, propose},
    finality::VoteRecord,
    state::{Record, StateKey},
    testing::{EveryEntry, certify_as, every_entry, node_key, signer},
    vote::{Ballot, Grant, Nullify, Signed, Vote, VoteKind},
};

fn golden(value: &impl serde::Serialize) -> String {
    sha256("golden", &[&codec::encode(value)]).to_string()[..16].to_owned()
}

#[test]
fn the_encodings_are_pinned() {
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
    let expected = [
        ("WalletCreated", "0fe52b9e56a12717"),
        ("BaselineCommitted", "a83e4d66ce37866b"),
        ("MigrationOffered", "4f2b4c3d840c49c2"),
        ("MigrationAccepted", "c1920bea076c665e"),
        ("KeyConfirmed", "df79d1d1be140b24"),
        ("BatchEvicted", "d312ec16bc04167c"),
        ("LatencyDelta", "a62c267b0d2d7914"),
        ("MigrationAborted", "d350fbe979781a6e"),
        ("Touch", "c286e25572f0f9d6"),
        ("DecisionAnchored", "3cd4156907e881fb"),
        ("BatchClosed", "22bb232bc05696f9"),
        ("ValidatorResumed", "653b4776ca96612e"),
        ("GateNotice", "30545e950390bf95"),
        ("GateNotice", "9a6249432b5baed6"),
        ("GateNotice", "69e892a935bdade7"),
        ("GateNotice", "497d61cd0fd76bed"),
        ("GateNotice", "26ed52f6cda132d3"),
        ("GateNotice", "308a3505a1539774"),
        ("ProposalMade", "880dc3c55015500c"),
        ("BallotCast", "891e68865e4f231c"),
        ("BallotCast", "0d04b53b8bcd840a"),
        ("ProposalEnacted", "3bdc959b253329fc"),
        ("ProposalMade", "21e49974d68b8e50"),
        ("BallotCast", "febe9c5d0af95b54"),
        ("BallotCast", "3b6ad8cd374da03d"),
        ("ProposalEnacted", "2825b8f7105d00b7"),
        ("ProposalMade", "1ff51482af6a4394"),
        ("ProposalWithdrawn", "311081bee9240350"),
        ("ReGenesis", "92d9ef9952f4ba20"),
        ("ReGenesisHandOver", "cdf89f96b1fa7c08"),
        ("Lineage", "587acc9a912e8106"),
        ("ClosingHeader", "49d0f8874c9a7b9b"),
        ("GovernedRecord", "9c5505f5f94c9a64"),
        ("Batch", "8632f588bb4b7341"),
        ("Header", "b750f908d7b9205e"),
        ("Block", "71d5114ec2012ffe"),
        ("Vote", "169ace98d09e9c83"),
        ("Certificate", "e48b877fcdc50e58"),
        ("Notarized", "15d30f6bb41560c9"),
        ("SignedNullify", "311bb9b5d9a6d64b"),
        ("Nullification", "e0617ea2dbe87c85"),
        ("SignedGrant", "56b733a7b53c2b30"),
        ("Leadership", "8cd7c0d51c9bbf0d"),
        ("SkippingBlock", "6e0206a1cdf22dbb"),
        ("VoteRecord", "64879b5656366dd4"),
        ("LogTree", "fd5ad643ad97f8c1"),
        ("Account", "fa7bef6d4b11dd00"),
        ("Record", "ea9371e4536b4afe"),
        ("StateProof", "a6e5c0f5625416f9"),
        ("StateKey", "a1a462d799a4e717"),
    ];
    assert_eq!(found, expected.map(|(name, hash)| (name, hash.to_owned())));
}
