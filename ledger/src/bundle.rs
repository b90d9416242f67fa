//! The proof of one migration, in one file, for an auditor who has the genesis hash and nothing else.
//!
//! A bundle holds a certified header; each entry that ever changed the wallet, from its creation to the asked confirm,
//! with its inclusion proof under the header's log root; the source's decisions from the one that caused the move to one
//! whose hash the source anchored, with that anchor; and the wallet's record with its proof under the state root.
//! [`verify`] checks them in a fixed order and stops at the first check that fails. See `docs/formats/bundle.md`.

mod build;
mod history;
mod verify;

use serde::{Deserialize, Serialize};
use wallet::{
    codec,
    digest::{Digest, sha256},
    units::LogIndex,
};

pub use self::{
    build::{FinalView, NotProvable, build},
    verify::{Assurance, Failure, Move, Report, verify},
};
use crate::{block::Header, certificate::Certificate, event::Entry, tree::state::StateProof};

/// The format that this build writes and reads.
pub const VERSION: u32 = 1;
/// A bundle has at most this many bytes.
pub const BUNDLE_BYTES_MAX: usize = 16 << 20;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bundle {
    /// [`VERSION`].
    pub version: u32,
    /// The genesis document with all its signatures, canonically encoded.
    pub consortium: Vec<u8>,
    /// The block under whose roots everything is proven.
    pub header: Header,
    /// What made it final.
    pub certificate: Certificate,
    /// All entries that advanced the wallet's head, in order, the last one the asked confirm.
    pub history: Vec<ProvenEntry>,
    /// The anchor of the source's decision log.
    pub anchor: ProvenEntry,
    /// The source's decisions, canonically encoded: the offer's first, the anchored one last.
    pub decisions: Vec<Vec<u8>>,
    /// The wallet's record under the state root, canonically encoded. It may have moved on since the asked confirm.
    pub record: Vec<u8>,
    /// The path from the record to the state root.
    pub record_proof: StateProof,
}

/// An entry and the path from its leaf to the log root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProvenEntry {
    /// Where its leaf stands.
    pub index: LogIndex,
    /// The entry.
    pub entry: Entry,
    /// RFC 9162 inclusion proof.
    pub proof: Vec<Digest>,
}

impl Bundle {
    /// The file.
    pub fn to_bytes(&self) -> Vec<u8> {
        codec::encode(self)
    }
}

/// The hash of an encoded decision: what an offer names, what the next decision names, and what is anchored.
pub fn decision_hash(decision: &[u8]) -> Digest {
    sha256("batchmind/v1/decision", &[decision])
}

#[cfg(test)]
mod tests;
