//! Blocks: what validators vote on, and what a certificate makes final.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};
use wallet::{
    codec,
    digest::{Digest, sha256},
    identity::Signature,
    units::{BlockHeight, NodeId, Timestamp},
};

use crate::event::Entry;

/// Where a block was proposed: the raft term and the number of the block within it, from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct View {
    /// Raft term of the leader that proposed.
    pub term: u64,
    /// The how manieth block of that term.
    pub number: u64,
}

impl View {
    /// The view after this one when its term or a later one leads; none for an earlier term.
    pub fn next_in(self, term: u64) -> Option<Self> {
        let number = match term.cmp(&self.term) {
            Ordering::Less => return None,
            Ordering::Equal => self.number.checked_add(1)?,
            Ordering::Greater => 1,
        };
        Some(Self { term, number })
    }
}

/// What is signed for. Its digest is the block's digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Hash of the genesis document.
    pub consortium: Digest,
    /// One more than the parent's.
    pub height: BlockHeight,
    /// Where it was proposed.
    pub view: View,
    /// Which validator set votes: 0 is that of genesis.
    pub epoch: u64,
    /// Digest of the parent's header; zero at height 1.
    pub parent: Digest,
    /// Digest of the parent's certificate, which the block carries; zero at height 1.
    pub parent_certificate: Digest,
    /// Number of leaves after this block.
    pub log_size: u64,
    /// RFC 9162 root of these leaves.
    pub log_root: Digest,
    /// Root of the sparse Merkle state tree after this block.
    pub state_root: Digest,
    /// Hash of the validator set.
    pub validators: Digest,
    /// Block time: later than the parent's.
    pub time: Timestamp,
}

impl Header {
    /// The block's digest: what votes name.
    pub fn digest(&self) -> Digest {
        sha256("batchmind/v1/ledger/header", &[&codec::encode(self)])
    }
}

/// A header with what it covers. One raft log entry holds one block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// What is signed for.
    pub header: Header,
    /// What made the parent final; none at height 1.
    pub parent_certificate: Option<Certificate>,
    /// The leaves that this block adds.
    pub entries: Vec<Entry>,
}

/// The two rounds of a view. `Nullify` is not built yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum VoteKind {
    /// "I hold this block, executed it, and its roots are right."
    Notarize,
    /// "I saw a quorum of notarizations of it."
    Finalize,
}

/// What a vote says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Ballot {
    /// Hash of the genesis document.
    pub consortium: Digest,
    /// Which validator set votes.
    pub epoch: u64,
    /// Which round.
    pub kind: VoteKind,
    /// The block's view.
    pub view: View,
    /// The block's height.
    pub height: BlockHeight,
    /// The block's digest.
    pub block: Digest,
}

/// A ballot that one validator signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vote {
    /// What is said.
    pub ballot: Ballot,
    /// Who says it.
    pub validator: NodeId,
    /// By the validator's key, over the encoded ballot.
    pub signature: Signature,
}

/// A quorum of finalize votes for one block: proof that it is final.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// The block's view.
    pub view: View,
    /// The block's height.
    pub height: BlockHeight,
    /// The block's digest.
    pub block: Digest,
    /// Who signed, in ascending order, each once.
    pub signatures: Vec<(NodeId, Signature)>,
}

impl Certificate {
    /// What the next header names.
    pub fn digest(&self) -> Digest {
        sha256("batchmind/v1/ledger/certificate", &[&codec::encode(self)])
    }
}
