//! What nodes tell each other for routing: their load, and which prefix blocks their engines hold.

use std::collections::BTreeSet;

use scheduler::load::{Load, ServedModel};
use serde::{Deserialize, Serialize};
use wallet::{
    digest::Digest,
    units::{Micros, Timestamp},
};

/// Block hashes in one [`Gossip`] at most, held and gone together.
pub const HASHES_MAX: usize = 4096;

/// Models in one [`LoadReport`] at most.
pub const MODELS_MAX: usize = 64;

/// Sent to each peer when there is something to tell, and at each tick.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gossip {
    /// The sender's load; absent if only residency changed.
    pub load: Option<LoadReport>,
    /// What was told before does not hold: this is a new beginning.
    pub cleared: bool,
    /// Blocks that the sender's engine holds since. Only such as the receiver may know of.
    pub stored: Vec<Digest>,
    /// Blocks that it holds no longer.
    pub removed: Vec<Digest>,
}

/// The answer to a [`Gossip`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GossipReply {
    /// Drawn when the receiver started. When it changes, the receiver has forgotten everything.
    pub boot: [u8; 16],
}

/// What a node measured about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadReport {
    /// The models it serves.
    pub serves: BTreeSet<ServedModel>,
    /// Blocks in the engine's pool.
    pub blocks_total: u32,
    /// Blocks that no sequence holds. Blocks that only the prefix cache holds count as free.
    pub blocks_free: u32,
    /// How long a new request waits before its prefill starts.
    pub queue: Micros,
    /// Measured prefill rate; absent before the first prefill.
    pub prefill_tokens_per_s: Option<u32>,
}

impl Gossip {
    /// Whether the message keeps its bounds.
    pub fn is_bounded(&self) -> bool {
        self.stored.len() + self.removed.len() <= HASHES_MAX
            && self.load.as_ref().is_none_or(|load| load.serves.len() <= MODELS_MAX)
    }
}

impl LoadReport {
    /// The report as the rules and the router read it: with what this node measured about the way there. A report
    /// counts as measured when it arrives, so that no two clocks are compared.
    pub fn at(self, arrived: Timestamp, round_trip: Micros, link_bytes_per_s: Option<u64>) -> Load {
        let Self { serves, blocks_total, blocks_free, queue, prefill_tokens_per_s } = self;
        Load {
            measured_at: arrived,
            serves,
            blocks_total,
            blocks_free,
            queue,
            prefill_tokens_per_s,
            round_trip,
            link_bytes_per_s,
        }
    }
}

#[cfg(test)]
mod tests {
    use wallet::{codec::encode, digest::sha256};

    use super::*;

    #[test]
    fn the_encodings_are_pinned() {
        let load = LoadReport {
            serves: [ServedModel { model: Digest([1; 32]), numerics: Digest([2; 32]) }].into(),
            blocks_total: 100,
            blocks_free: 40,
            queue: Micros::new(7),
            prefill_tokens_per_s: Some(900),
        };
        let gossip =
            Gossip { load: Some(load), cleared: true, stored: vec![Digest([3; 32])], removed: vec![Digest([4; 32])] };
        assert_eq!(
            sha256("golden", &[&encode(&gossip)]).to_string(),
            "6da76a011902e9c21f2fdfdd5408607b5da167766b1707b897fcb4f4533863ff"
        );
        assert_eq!(
            sha256("golden", &[&encode(&GossipReply { boot: [5; 16] })]).to_string(),
            "60635c1838130b7cf9ff2ad8298434fda6298b6a1385d28951d5048eaf5fa5c3"
        );
    }

    #[test]
    fn a_message_with_too_many_blocks_breaks_its_bound() {
        let gossip = |count| Gossip { stored: vec![Digest::ZERO; count], ..Gossip::default() };
        assert!(gossip(HASHES_MAX).is_bounded() && !gossip(HASHES_MAX + 1).is_bounded());
    }
}
