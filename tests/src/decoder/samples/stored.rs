//! What a node reads back of its ledger: the record of votes, the raft log, final headers.

use ledger::{
    block::View,
    finality::VoteRecord,
    shell::{
        final_store::StoredHeader,
        log_store::{Chained, Flushed, Link, chain_hash},
        raft::{RaftEntry, first_entry},
        restore::place_of,
        vote_record::Votes,
    },
    vote::{Ballot, VoteKind},
};
use openraft::EntryPayload;
use wallet::{codec::encode, digest::Digest, units::NodeId};

use super::ledger::{chain, consortium};

/// That of a node that has signed nothing, of one that votes, and of one that fell silent.
pub(crate) fn vote_records() -> Vec<Vec<u8>> {
    let (new, (block, certificate)) = (Votes::new(consortium().id(), NodeId::new(2)), &chain().blocks[1]);
    let place = place_of(block, 2);
    let mut record = VoteRecord::default();
    record.enter(1);
    for kind in [VoteKind::Notarize, VoteKind::Finalize] {
        record.sign(&Ballot::for_header(kind, &block.header)).expect("nothing was signed");
    }
    record.nullify(View { term: 1, number: 9 }, 1).expect("nothing was signed there");
    record.grant(2, NodeId::new(1)).expect("the first");
    let voting = Votes {
        record: record.clone(),
        finalized_at: Some(place.log_id),
        best: Some(certificate.clone()),
        log: Flushed { generation: 3, last: Some(place) },
        ..new.clone()
    };
    record.raise_floor(View { term: 1, number: 20 });
    let silent = Votes { record, silent: Some([7; 16]), drawn: vec![[7; 16], [8; 16]], ..voting.clone() };
    [new, voting, silent].iter().map(encode).collect()
}

/// The first entry, one without a block, and one with a block.
pub(crate) fn raft_log() -> Vec<Vec<u8>> {
    let (first, block) = (first_entry(&consortium()), &chain().blocks[1].0);
    let Link { log_id, .. } = place_of(block, 2);
    let blank = RaftEntry { log_id, payload: EntryPayload::Blank };
    let normal = RaftEntry { log_id, payload: EntryPayload::Normal(block.clone().into()) };
    let chained = |entry: RaftEntry| encode(&Chained { chain: chain_hash(Digest::ZERO, &entry), entry });
    [first, blank, normal].map(chained).to_vec()
}

pub(crate) fn stored_headers() -> Vec<Vec<u8>> {
    chain().blocks.iter().map(|(block, _)| encode(&StoredHeader::from(block))).collect()
}
