//! The proof of one migration, in one file, for an auditor who has the genesis hash and nothing else.
//!
//! A bundle holds how each validator set handed over to the next, up to that of a certified header; each entry that
//! ever changed the wallet, from its creation to the asked confirm, and the anchor of the source's decision log, with
//! one inclusion proof for all of them under the header's log root; the decision that caused the move, and what leads
//! from it to the anchored end of the log; the wallet's record and that of the spent prekey with their paths to the state
//! root; and, if it was asked for with the size of a checkpoint, the proof that the log only grew since. [`verify`] makes
//! the checks of [`Check`] in their order and stops at the first that fails. See `docs/formats/bundle.md`.

mod assurance;
mod build;
mod check;
mod decisions;
mod history;
mod hop;
mod members;
mod since;
mod verify;

use serde::{Deserialize, Serialize};
use wallet::{codec, digest::Digest, units::LogIndex};

pub use self::{
    assurance::{Assurance, AssuranceClass},
    build::{FinalView, NotProvable, Unreadable, anchored, build},
    check::{Check, Failure},
    decisions::{Grounds, Link, decision_hash},
    hop::Hop,
    members::{MemberProof, Subject},
    since::Since,
    verify::{Anchored, Attestation, Begun, Move, Report, judge, verify},
};
pub(crate) use self::{
    build::members_of,
    members::Members,
    verify::{Foundation, decode},
};
use crate::{block::Header, certificate::Certificate, event::Entry, hand_over::HandOver};

/// The format that this build writes and reads.
pub const VERSION: u32 = 5;
/// A bundle has at most this many bytes, and so has any other proof of this kind.
pub const BUNDLE_BYTES_MAX: usize = 16 << 20;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bundle {
    /// [`VERSION`].
    pub version: u32,
    /// 1, and one more for each re-genesis among the hand-overs.
    pub lineage: u32,
    /// The genesis document with all its signatures, canonically encoded.
    pub consortium: Vec<u8>,
    /// How each epoch before the header's ended, from genesis on.
    pub hand_overs: Vec<HandOver>,
    /// The block under whose roots everything is proven.
    pub header: Header,
    /// What made it final. Of a block that closes its epoch, that of the last of the carriers if there are any.
    pub certificate: Certificate,
    /// Above a block that closes its epoch, up to what the certificate names; see [`crate::hand_over`].
    pub carriers: Vec<Header>,
    /// Who nodes are of which neither the genesis document nor the validator sets say enough, ascending by subject.
    pub members: Vec<MemberProof>,
    /// In the order of the log: all entries that advanced the wallet's head up to the asked confirm, and the anchor of
    /// the source's decision log.
    pub entries: Vec<PlacedEntry>,
    /// That they are leaves under the log root; see [`crate::tree::several`].
    pub inclusion: Vec<Digest>,
    /// The decision that the confirmed offer names, canonically encoded.
    pub decision: Vec<u8>,
    /// The source's decisions after it, up to the anchored one.
    pub later: Vec<Link>,
    /// The wallet's record under the state root, canonically encoded. It may have moved on since the asked confirm.
    pub record: Vec<u8>,
    /// The hashes beside the path from the state root to the record, the root's children first.
    pub record_path: Vec<Digest>,
    /// The hashes beside the path to the record of the one-time prekey that the confirmed offer spent. The record names
    /// that offer, so a reader makes it.
    pub prekey_path: Vec<Digest>,
    /// That the log goes on from an earlier tree, if it was asked for.
    pub since: Option<Since>,
}

/// An entry and where its leaf stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlacedEntry {
    /// The leaf's place.
    pub index: LogIndex,
    /// The entry. Never a gate's notice.
    #[serde(deserialize_with = "crate::event::of_proof")]
    pub entry: Entry,
}

impl Bundle {
    /// The file.
    pub fn to_bytes(&self) -> Vec<u8> {
        codec::encode(self)
    }

    fn foundation(&self) -> Foundation<'_> {
        Foundation {
            lineage: self.lineage,
            consortium: &self.consortium,
            hand_overs: &self.hand_overs,
            header: &self.header,
            certificate: &self.certificate,
            carriers: &self.carriers,
        }
    }
}

#[cfg(test)]
mod tests;
