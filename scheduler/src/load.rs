//! The measured load of a node, as its peers tell it and as the rules and the router read it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use wallet::{
    digest::Digest,
    units::{Micros, Timestamp},
};

use crate::{
    ppm::Ppm,
    situation::{CandidateFacts, NodeFacts, bounded, elapsed_us},
};

/// A model as one engine serves it: weights and arithmetic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ServedModel {
    /// Hash of the model's configuration and weights.
    pub model: Digest,
    /// What the engine guarantees about its arithmetic.
    pub numerics: Digest,
}

/// What one node measured about itself, and what we measured about the way to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Load {
    /// When the node measured it, on the clock of whoever reads this.
    pub measured_at: Timestamp,
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
    /// Measured round trip to the node; zero for this node itself.
    pub round_trip: Micros,
    /// Measured transfer rate to the node; absent before the first transfer.
    pub link_bytes_per_s: Option<u64>,
}

impl Load {
    /// How much of the block pool is in use.
    pub fn utilisation(&self) -> Ppm {
        self.facts().utilisation(0)
    }

    pub(crate) fn facts(&self) -> NodeFacts {
        NodeFacts { blocks_total_count: self.blocks_total, blocks_free_count: self.blocks_free.min(self.blocks_total) }
    }

    /// The node as a candidate for anything: allowed nothing yet, matching nothing yet.
    pub(crate) fn candidate(&self, now: Timestamp) -> CandidateFacts {
        let NodeFacts { blocks_total_count, blocks_free_count } = self.facts();
        CandidateFacts {
            load_age_us: elapsed_us(now, self.measured_at),
            blocks_total_count,
            blocks_free_count,
            queue_us: bounded(self.queue.get()),
            prefill_tokens_per_s: self.prefill_tokens_per_s,
            round_trip_us: bounded(self.round_trip.get()),
            link_bytes_per_s: self.link_bytes_per_s.map(bounded),
            ..CandidateFacts::default()
        }
    }

    /// Fills in whether the node serves `model`, and with the same numerics.
    pub(crate) fn matched(&self, facts: CandidateFacts, model: &ServedModel) -> CandidateFacts {
        CandidateFacts {
            model_matches: self.serves.iter().any(|served| served.model == model.model),
            numerics_match: self.serves.contains(model),
            ..facts
        }
    }
}
