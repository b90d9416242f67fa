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
        ("WalletCreated", "a7d10bbd15cb00be"),
        ("BaselineCommitted", "cb96f7f8c912b6ab"),
        ("MigrationOffered", "544239f84efdf097"),
        ("MigrationAccepted", "49fca2ed47733f7c"),
        ("KeyConfirmed", "a72551540ecf600e"),
        ("BatchEvicted", "141945437b5b0b62"),
        ("LatencyDelta", "1c6ed38a872aaada"),
        ("MigrationAborted", "d7cb9cd6630406ee"),
        ("Touch", "15490bb82b4b8e5d"),
        ("DecisionAnchored", "c3dc857064d21256"),
        ("BatchClosed", "5db0e9831753a1c6"),
        ("ValidatorResumed", "6c12e9fdf9cbb95b"),
        ("ProposalMade", "f9a1517825415062"),
        ("BallotCast", "f1295b1ca6057284"),
        ("BallotCast", "2417141c4ed478ca"),
        ("ProposalEnacted", "11702536ef0cee18"),
        ("ProposalMade", "e0ac0f4e61e15d38"),
        ("BallotCast", "ae14dd4bbeaad0a3"),
        ("BallotCast", "e6d1e92979fbf1ca"),
        ("ProposalEnacted", "b16eecf89901dc8f"),
        ("ProposalMade", "ea55ef57bacdcea2"),
        ("ProposalWithdrawn", "589d693f42faf138"),
        ("ReGenesis", "3fff27b749bf618d"),
        ("ReGenesisHandOver", "ab2f933f725ba353"),
        ("Lineage", "6a9cb3266a634b8a"),
        ("ClosingHeader", "67f4995cd6b1280f"),
        ("GovernedRecord", "73cda5fa97853536"),
        ("Batch", "87cde5dd264eea69"),
        ("Header", "baebdb9320b53a0d"),
        ("Block", "dcd0ca32212a9853"),
        ("Vote", "b315e69ed59fa159"),
        ("Certificate", "e86601c70dc16e4a"),
        ("Notarized", "270b41941dfd6af1"),
        ("SignedNullify", "b1e7a6a4e37ea563"),
        ("Nullification", "605c388a9004b5b2"),
        ("SignedGrant", "7786d42ef6911edd"),
        ("Leadership", "896bb4e17ac15830"),
        ("SkippingBlock", "c871f4bab4b6ecd3"),
        ("VoteRecord", "d977453f9876a5b8"),
        ("LogTree", "3ef27976b6f9d4dd"),
        ("Account", "fa7bef6d4b11dd00"),
        ("Record", "c693225860dcd22c"),
        ("StateProof", "992852544e6200c3"),
        ("StateKey", "a2965c16b93a6984"),
    ];
    assert_eq!(found, expected.map(|(name, hash)| (name, hash.to_owned())));
}
