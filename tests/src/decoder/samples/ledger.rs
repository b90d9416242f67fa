//! What consortium and ledger write: documents, entries, blocks, votes, proofs, and what replicas say to each other.

use std::sync::{Arc, LazyLock};

use genesis::Consortium;
use ledger::{
    block::{Ballot, Block, Vote, VoteKind},
    bundle,
    shell::{
        raft::RaftEntry,
        transport::{PeerRefusal, PeerReply, PeerRequest, SubmitReply},
    },
    testing::{self, Chain, Session},
};
use openraft::{
    CommittedLeaderId, EntryPayload, LogId,
    raft::{AppendEntriesRequest, AppendEntriesResponse, VoteRequest},
};
use wallet::{
    codec::encode,
    digest::Digest,
    units::{BlockHeight, KeyEpoch, NodeId},
};

/// A wallet that moved from node 0 to node 1, with everything around it on the ledger.
struct Ledger {
    chain: Chain,
    bundle: Vec<u8>,
}

static LEDGER: LazyLock<Ledger> = LazyLock::new(|| {
    let consortium = testing::consortium(4);
    let (mut chain, session) = (Chain::new(consortium.clone()), Session::in_eu(&consortium, 0));
    let decision = testing::decision(0, Digest::ZERO);
    chain.push(session.created()).expect("valid");
    chain.push(session.touched(&session.record(&chain), 1)).expect("valid");
    let baseline = session.baseline(&session.record(&chain), 9_000, 32);
    let baseline_id = baseline.id();
    chain.push(baseline).expect("valid");
    session.hop(&mut chain, 1, Some(baseline_id)).expect("valid");
    chain.push(session.anchored(0, 1, testing::decision_hash(&decision))).expect("valid");
    let proof = bundle::build(&consortium, &chain, session.address, KeyEpoch::new(1), &[decision]).expect("provable");
    chain.push(session.delta(&session.record(&chain), baseline_id, 4_000, 32)).expect("valid");
    chain.push(session.closed(&session.record(&chain))).expect("valid");
    Ledger { chain, bundle: proof.to_bytes() }
});

pub(crate) fn consortium() -> Arc<Consortium> {
    LEDGER.chain.consortium.clone()
}

pub(crate) fn genesis_texts() -> Vec<Vec<u8>> {
    vec![consortium().document().to_toml().into_bytes()]
}

pub(crate) fn genesis_bytes() -> Vec<Vec<u8>> {
    vec![consortium().to_bytes()]
}

pub(crate) fn configs() -> Vec<Vec<u8>> {
    let smallest = "data-dir = \"data\"\ngenesis = \"genesis.toml\"\nnode = \"node-00\"\nkey-file = \"node.key\"\n\
                    api-listen = \"127.0.0.1:8001\"\nmodel-dir = \"model\"\n";
    let rest = "peer-listen = \"127.0.0.1:7001\"\ntick = \"250ms\"\n\n[engine]\nblock-count = 64\nthreads = 2\n\n\
                [[tenants]]\nname = \"acme\"\nregions = [\"eu\", \"us\"]\nmaster-key-file = \"acme.key\"\napi-key-hash = ";
    vec![smallest.into(), format!("{smallest}{rest}\"{}\"\n", "ab".repeat(32)).into_bytes()]
}

pub(crate) fn entries() -> Vec<Vec<u8>> {
    LEDGER.chain.entries().map(|(_, entry)| encode(entry)).collect()
}

pub(crate) fn blocks() -> Vec<Vec<u8>> {
    LEDGER.chain.blocks.iter().map(|(block, _)| encode(block)).collect()
}

pub(crate) fn votes() -> Vec<Vec<u8>> {
    [VoteKind::Notarize, VoteKind::Finalize].map(|kind| encode(&vote(kind))).to_vec()
}

fn vote(kind: VoteKind) -> Vote {
    let (block, _) = &LEDGER.chain.blocks[0];
    Vote::sign(Ballot::for_header(kind, &block.header), NodeId::new(2), &testing::node_key(2))
}

pub(crate) fn certificates() -> Vec<Vec<u8>> {
    LEDGER.chain.blocks.iter().map(|(_, certificate)| encode(certificate)).collect()
}

pub(crate) fn bundles() -> Vec<Vec<u8>> {
    vec![LEDGER.bundle.clone()]
}

pub(crate) fn ledger_requests() -> Vec<Vec<u8>> {
    let entries = LEDGER.chain.entries().map(|(_, entry)| entry.clone()).collect();
    let requests = [
        PeerRequest::Votes(vec![vote(VoteKind::Notarize), vote(VoteKind::Finalize)]),
        PeerRequest::Submit(entries),
        PeerRequest::Certificates { from: BlockHeight::new(3) },
        append(&LEDGER.chain.blocks[0].0),
        PeerRequest::RequestVote(VoteRequest { vote: openraft::Vote::new(2, 1), last_log_id: Some(log_id(9)) }),
    ];
    requests.iter().map(encode).collect()
}

pub(crate) fn ledger_replies() -> Vec<Vec<u8>> {
    let certificates = LEDGER.chain.blocks.iter().map(|(_, certificate)| certificate.clone()).collect();
    let replies = [
        PeerReply::Append(AppendEntriesResponse::Success),
        PeerReply::Votes { final_height: BlockHeight::new(7) },
        PeerReply::Submit(SubmitReply::NotLeader(Some(NodeId::new(1)))),
        PeerReply::Certificates(certificates),
        PeerReply::Refused(PeerRefusal::WildTerm),
    ];
    replies.iter().map(encode).collect()
}

fn append(block: &Block) -> PeerRequest {
    let entries = vec![
        RaftEntry { log_id: log_id(1), payload: EntryPayload::Blank },
        RaftEntry { log_id: log_id(2), payload: EntryPayload::Normal(block.clone()) },
    ];
    let vote = openraft::Vote::new_committed(1, 0);
    let rpc = AppendEntriesRequest { vote, prev_log_id: Some(log_id(0)), entries, leader_commit: None };
    PeerRequest::Append { rpc, prev_chain: Digest([7; 32]) }
}

fn log_id(index: u64) -> LogId<u64> {
    LogId::new(CommittedLeaderId::new(1, 0), index)
}
