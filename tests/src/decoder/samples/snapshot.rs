//! What a node that joins asks for, and what it is sent.

use std::sync::LazyLock;

use ledger::{
    block::{FinalBlock, Header},
    hand_over::{ClosingProof, ValidatorSets},
    snapshot::{Blocks, ChunkPath, Extent, Offer, Plan, Wanted},
    testing,
    tree::log::LogTree,
};
use node::joining::request::{self, SignedRequest};
use wallet::{codec::encode, units::Timestamp};

use super::ledger::{chain, consortium, hand_overs};

/// Parts of the state are as small as they can be.
const BYTES_MAX: usize = 500;

/// What is needed, and everything that a newcomer asks for with what it is sent.
type Asked = (Extent, Vec<(Wanted, Vec<u8>)>);

static ASKED: LazyLock<Asked> = LazyLock::new(|| {
    let verified = offer().verify(ValidatorSets::genesis(&consortium())).expect("final");
    let (mut plan, mut asked) = (Plan::new(Extent::choose(&[verified]).expect("an offer")), Vec::new());
    while let Some(wanted) = plan.ask(|_| true) {
        let bytes = chunk(wanted.path());
        plan.take(wanted.check(plan.extent(), &bytes).expect("what it is asked for"));
        asked.push((wanted, bytes));
    }
    assert!(plan.is_complete());
    (Extent::clone(plan.extent()), asked)
});

fn offer() -> Offer {
    let (last, certificate) = chain().blocks.last().expect("blocks").clone();
    let tip = last.header;
    let states = vec![tip.height];
    Offer { tip, proof: ClosingProof::from(certificate), raft_index: 99, states }
}

fn chunk(path: ChunkPath) -> Vec<u8> {
    let blocks = &chain().blocks;
    let within = |header: &Header, first, last| (first..=last).contains(&header.height);
    match path {
        ChunkPath::HandOvers { .. } => encode(hand_overs()),
        ChunkPath::Headers { first, last } => {
            let headers = blocks.iter().map(|(block, _)| block.header.clone());
            encode(&headers.filter(|header| within(header, first, last)).collect::<Vec<_>>())
        }
        ChunkPath::Blocks { first, last } => {
            let mut before = LogTree::default();
            let earlier = blocks.iter().take_while(|(block, _)| block.header.height < first);
            earlier.flat_map(|(block, _)| &block.entries).for_each(|entry| before.append(entry.leaf_hash()));
            let wanted = blocks.iter().filter(|(block, _)| within(&block.header, first, last)).cloned();
            let whole = wanted.map(|(block, certificate)| FinalBlock { block, certificate, carriers: Vec::new() });
            let below = blocks.iter().map(|(block, _)| &block.header).take_while(|header| header.height < first).last();
            encode(&Blocks { below: below.cloned(), before, blocks: whole.collect() })
        }
        ChunkPath::State { prefix, .. } => {
            encode(&chain().tip.state.tree().part(&prefix, BYTES_MAX).expect("a subtree of the state"))
        }
    }
}

pub(crate) fn offers() -> Vec<Vec<u8>> {
    vec![encode(&offer())]
}

pub(crate) fn chunks() -> Vec<Vec<u8>> {
    let asked = ASKED.1.iter().map(|(_, bytes)| bytes.clone());
    asked.chain([encode(hand_overs())]).collect()
}

pub(crate) fn paths() -> Vec<Vec<u8>> {
    let asked = ASKED.1.iter().map(|(wanted, _)| wanted.path().to_string().into_bytes());
    asked.chain([b"hand-overs/7".to_vec(), b"state/18446744073709551615/0110".to_vec()]).collect()
}

/// What the newcomer asks for, and of whom.
pub(crate) fn asked() -> request::Asked<'static> {
    request::Asked { consortium: consortium().id(), api: "https://eu-1.example:8001", path: "/ledger/v1/snapshot" }
}

/// When it asks.
pub(crate) const fn asked_at() -> Timestamp {
    Timestamp::new(1_800_000_000_000)
}

/// Its header.
pub(crate) fn requests() -> Vec<Vec<u8>> {
    let signed = SignedRequest::sign(&asked(), asked_at(), &testing::node_key(4));
    vec![signed.to_string().into_bytes()]
}

/// What a damaged chunk is held against.
pub(crate) fn wanted() -> impl Iterator<Item = (&'static Extent, &'static Wanted)> {
    let (extent, asked) = &*ASKED;
    asked.iter().take(8).map(move |(wanted, _)| (extent, wanted))
}
