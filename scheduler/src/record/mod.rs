//! The batch record: what a batch is, in five clusters.
//!
//! The record travels with the batch, sealed with the tail of every hop; its root stands in the handoff ticket. A field
//! that nothing measures yet is absent, never made up.

mod context;
mod identity;
mod routing;
mod supervision;
mod vitals;

use serde::{Deserialize, Serialize};
use wallet::{
    codec::{self, DecodeError},
    digest::{Digest, sha256},
};

pub use context::{BATCH_TOKENS, Context, Usage};
pub use identity::{Identity, RequestId, RequestIdInvalid};
pub use routing::{Hop, MoveCost, NextAction, RankedCandidate, Routing};
pub use supervision::Supervision;
pub use vitals::{MemoryTier, Phase, Vitals};

/// The largest encoded record.
pub const RECORD_BYTES_MAX: usize = 1 << 20;

/// The record of one batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchRecord {
    /// C1: what it is and whose.
    pub identity: Identity,
    /// C2: what it has computed.
    pub context: Context,
    /// C3: how it is.
    pub vitals: Vitals,
    /// C4: where it was and may go.
    pub routing: Routing,
    /// C5: under which rules.
    pub supervision: Supervision,
}

/// Bytes that are not a batch record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordInvalid {
    /// Larger than any record.
    #[error("a batch record of {0} bytes is larger than the {RECORD_BYTES_MAX} allowed")]
    TooLarge(usize),
    /// Not the canonical encoding.
    #[error(transparent)]
    Encoding(#[from] DecodeError),
}

impl BatchRecord {
    /// The canonical encoding.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// Reads a record that came with a hop.
    ///
    /// # Errors
    /// [`RecordInvalid`] if the bytes are too many or not canonical.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordInvalid> {
        if bytes.len() > RECORD_BYTES_MAX {
            return Err(RecordInvalid::TooLarge(bytes.len()));
        }
        Ok(codec::decode(bytes)?)
    }

    /// The record's root, as the handoff ticket's content commits to it: SHA-256 over the five roots of the clusters.
    pub fn root(&self) -> Digest {
        let clusters = [
            codec::encode(&self.identity),
            codec::encode(&self.context),
            codec::encode(&self.vitals),
            codec::encode(&self.routing),
            codec::encode(&self.supervision),
        ];
        let roots = clusters.map(|bytes| sha256("batchmind/v1/record/cluster", &[&bytes]));
        sha256("batchmind/v1/record", &roots.each_ref().map(|root| root.as_bytes().as_slice()))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;
    use wallet::{
        grant::WalletAddress,
        identity::RegionId,
        units::{ByteCount, KeyEpoch, Micros, NodeId, Timestamp, TokenCount},
    };

    use super::*;
    use crate::{action::Action, ppm::Ppm};

    /// A decoding batch that hopped once.
    pub(crate) fn sample() -> BatchRecord {
        BatchRecord {
            identity: Identity {
                wallet: WalletAddress(Digest([1; 32])),
                model: Digest([2; 32]),
                numerics: Digest([3; 32]),
                tenant: Some(vec![4, 5, 6]),
                origin: RegionId::try_from("eu".to_owned()).expect("a region's name"),
                requests: vec![RequestId::try_from("cmpl-1".to_owned()).expect("a request id")],
            },
            context: Context {
                pages: 12,
                tokens: TokenCount::new(197),
                tail_rows: 5,
                reconstruction: Some(Micros::new(40_000)),
                compressed: false,
                embedding: None,
                usage: Usage { context: TokenCount::new(197), record: None },
            },
            vitals: Vitals {
                reengagement_within_60_s: None,
                ttl: Micros::new(1_800_000_000),
                tier: MemoryTier::Engine,
                utilisation: Ppm::new(970_000),
                eviction_risk: None,
                phase: Phase { prefill_complete: true, decoding: true, request_waits: false },
                active_at: Timestamp::new(1_000_000),
                step: Some(Micros::new(20_000)),
            },
            routing: Routing {
                candidates: vec![RankedCandidate { node: NodeId::new(2), price: Micros::new(1_500) }],
                move_cost: MoveCost {
                    blocks: 13,
                    bytes: ByteCount::new(100_000),
                    tail_bytes: ByteCount::new(9_000),
                    time: Some(Micros::new(2_000)),
                    credits: None,
                },
                latency_sla: None,
                next: Some(NextAction {
                    action: Action::Migrate { to: NodeId::new(2) },
                    at: Timestamp::new(1_000_500),
                    decision: Digest([7; 32]),
                }),
                hops: vec![Hop {
                    from: NodeId::new(3),
                    to: NodeId::new(1),
                    epoch: KeyEpoch::new(1),
                    head: Digest([8; 32]),
                    at: Timestamp::new(900_000),
                }],
            },
            supervision: Supervision { rules_version: 1, decisions: 4, decision_head: Digest([9; 32]) },
        }
    }

    #[test]
    fn the_encoding_and_the_root_are_pinned() {
        assert_eq!(
            sha256("golden", &[&sample().encode()]).to_string(),
            "499962b2c05272d88494286e5cf3f295533034017452b6fb2bec583486b7d461"
        );
        assert_eq!(sample().root().to_string(), "0c63503f93933e53c201cfaca0c6fdf50f4d3d499b457caddd216323bc730006");
    }

    #[test]
    fn every_cluster_changes_the_root() {
        let changes: [fn(&mut BatchRecord); 5] = [
            |record| record.identity.tenant = None,
            |record| record.context.compressed = true,
            |record| record.vitals.phase.decoding = false,
            |record| record.routing.hops.clear(),
            |record| record.supervision.decisions += 1,
        ];
        for change in changes {
            let mut record = sample();
            change(&mut record);
            assert_ne!(record.root(), sample().root());
        }
    }

    #[test]
    fn an_oversized_record_is_refused_unread() {
        let bytes = vec![0; RECORD_BYTES_MAX + 1];
        assert_eq!(BatchRecord::decode(&bytes), Err(RecordInvalid::TooLarge(RECORD_BYTES_MAX + 1)));
    }

    proptest! {
        #[test]
        fn a_record_survives_its_encoding(
            pages: u32, tokens: u32, tail_rows in 0..16_u8, reconstruction: Option<u64>, tenant: Option<Vec<u8>>,
            risk: Option<u32>, sla: Option<u64>, nodes in proptest::collection::vec(any::<u32>(), 0..8), text: bool,
        ) {
            let mut record = sample();
            record.identity.tenant = tenant;
            record.context.pages = pages;
            record.context.tokens = TokenCount::new(tokens);
            record.context.tail_rows = tail_rows;
            record.context.reconstruction = reconstruction.map(Micros::new);
            record.vitals.eviction_risk = risk.map(Ppm::new);
            record.routing.latency_sla = sla.map(Micros::new);
            record.routing.candidates = nodes
                .into_iter()
                .map(|node| RankedCandidate { node: NodeId::new(node), price: Micros::new(u64::from(node)) })
                .collect();
            if text {
                let json = serde_json::to_string(&record).expect("a record is JSON for people");
                prop_assert_eq!(serde_json::from_str::<BatchRecord>(&json).expect("and back"), record);
            } else {
                prop_assert_eq!(BatchRecord::decode(&record.encode()), Ok(record));
            }
        }

        #[test]
        fn damaged_bytes_never_pass_for_the_same_record(position in any::<proptest::sample::Index>(), bit in 0..8_u32) {
            let mut bytes = sample().encode();
            let position = position.index(bytes.len());
            bytes[position] ^= 1 << bit;
            if let Ok(record) = BatchRecord::decode(&bytes) {
                prop_assert_ne!(record.root(), sample().root());
            }
        }
    }
}
