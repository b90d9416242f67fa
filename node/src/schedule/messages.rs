//! What nodes ask each other about decisions: those behind a move, for the proof of it.

use serde::{Deserialize, Serialize};
use wallet::digest::Digest;

/// Decisions in one reply at most. A log is anchored so often that a proof needs far fewer.
pub const DECISIONS_MAX: u32 = 4096;

/// Bytes of decisions in one reply at most.
pub const DECISION_BYTES_MAX: usize = 8 << 20;

/// Asks a node for its own decisions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecisionsRequest {
    /// Hash of the first: the one that an offer names.
    pub from: Digest,
    /// How many at most. [`DECISIONS_MAX`] come at most, too.
    pub count: u32,
}

/// The answer to a [`DecisionsRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecisionsReply {
    /// The decisions, canonically encoded, in the order of the log. Empty if the log does not have the first one.
    pub decisions: Vec<Vec<u8>>,
}

#[cfg(test)]
mod tests {
    use wallet::{codec::encode, digest::sha256};

    use super::*;

    #[test]
    fn the_encodings_are_pinned() {
        let request = DecisionsRequest { from: Digest([1; 32]), count: 7 };
        let reply = DecisionsReply { decisions: vec![vec![1, 2], vec![]] };
        assert_eq!(
            sha256("golden", &[&encode(&request)]).to_string(),
            "e98e77311dc87e06e377b13f62fb18f9e7847ced1f6fb61d6c73ef7a76b168c8"
        );
        assert_eq!(
            sha256("golden", &[&encode(&reply)]).to_string(),
            "496128792237352b0986a869c0eb0d3780ff0dd9ba0ee3bc19a27e22fa053ec8"
        );
    }
}
