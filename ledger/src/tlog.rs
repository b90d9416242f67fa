//! The log in the forms of C2SP (`c2sp.org`), which tools that know nothing of this ledger read: signed checkpoints with
//! the validators' cosignatures, paths of tiles, and offline proofs of one entry and of growth.
//!
//! The tree and its proofs are those of [`crate::tree`]; this module is about texts. Everything that reads one is bounded
//! and refuses what has another spelling, so that what was read is written the same. See `docs/formats/checkpoint.md`.

pub mod checkpoint;
pub mod consistency;
pub mod cosignature;
pub mod note;
pub mod proof;
pub mod tile;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use wallet::digest::Digest;

pub use self::{
    checkpoint::Checkpoint,
    consistency::ConsistencyProof,
    cosignature::{CheckpointInvalid, Cosignature, CosignedCheckpoint},
    note::Note,
    proof::LogProof,
    tile::TilePath,
};

/// A text that is not of the form that its specification gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no {what}: {reason}")]
pub struct Malformed {
    /// What was expected.
    pub what: &'static str,
    /// Where it differs.
    pub reason: &'static str,
}

/// The standard alphabet with padding (RFC 4648 section 4).
fn to_base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Refuses whatever [`to_base64`] does not write.
fn from_base64(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

fn hash_from_base64(text: &str) -> Option<Digest> {
    from_base64(text)?.try_into().ok().map(Digest)
}

/// A decimal number without sign or leading zeros.
fn number(text: &str) -> Option<u64> {
    text.parse().ok().filter(|number: &u64| number.to_string() == text)
}

#[cfg(test)]
mod tests;
