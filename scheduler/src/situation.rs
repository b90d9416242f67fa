//! The situation of one batch: everything that the rules may look at, and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use wallet::{
    grant::WalletAddress,
    units::{NodeId, Timestamp},
};

use crate::{
    inputs::{Facts as _, InputInvalid, Inputs, facts},
    ppm::Ppm,
    thresholds::Thresholds,
};

/// What the rules know about one batch at one tick.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Situation {
    /// The batch's wallet. Ties are broken by it.
    pub wallet: WalletAddress,
    /// The batch.
    pub batch: BatchFacts,
    /// The engine that holds it.
    pub source: NodeFacts,
    /// The other nodes, whether or not they may hold it.
    pub candidates: BTreeMap<NodeId, CandidateFacts>,
    /// The numbers in the rules.
    pub limits: Thresholds,
}

facts! {
    /// What is known about the batch: from C3 and C4, at the tick's time.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    pub struct BatchFacts {
        /// Whether a sequence of the batch is decoding.
        pub decoding: bool,
        /// Whether a request waits for the batch.
        pub request_waits: bool,
        /// Whether its blocks are in the engine's pool.
        pub in_engine: bool,
        /// Whether its pages are in host memory.
        pub in_host_memory: bool,
        /// Whether the node has a host memory tier at all.
        pub host_tier: bool,
        /// Time since it was last used: since it computed anything, or, while it decodes, since its stream was last read.
        pub idle_us: u64,
        /// After this idle time it may be evicted.
        pub ttl_us: u64,
        /// Blocks that it holds, or would hold, in an engine.
        pub blocks_count: u32,
        /// Bytes that a move transfers.
        pub move_bytes: u64,
        /// Bytes that a move transfers after the freeze.
        pub tail_bytes: u64,
        /// Median decode step of the engine; absent before the first step.
        pub step_us: Option<u64>,
        /// Time since its last move; absent if it never moved.
        pub since_hop_us: Option<u64>,
    }
}

impl Situation {
    /// Whether the engine that holds the batch is so full that batches have to leave it.
    pub fn is_source_full(&self) -> bool {
        self.source.utilisation(0) >= Ppm::new(self.limits.source_utilisation_ppm_min)
    }
}

facts! {
    /// The block pool of an engine.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct NodeFacts {
        /// Blocks in the pool.
        pub blocks_total_count: u32,
        /// Blocks that no sequence holds.
        pub blocks_free_count: u32,
    }
}

impl NodeFacts {
    /// Utilisation of the pool if it held `more` blocks more (or fewer, if negative).
    pub fn utilisation(&self, more: i64) -> Ppm {
        let used = i64::from(self.blocks_total_count) - i64::from(self.blocks_free_count) + more;
        Ppm::of(u64::try_from(used).unwrap_or(0), u64::from(self.blocks_total_count))
    }

    /// Takes `freed` blocks out of the pool and `taken` blocks into it.
    pub(crate) fn shift(&mut self, freed: u32, taken: u32) {
        let free = self.blocks_free_count.saturating_add(freed).saturating_sub(taken);
        self.blocks_free_count = free.min(self.blocks_total_count);
    }

    /// Whether `blocks` and the reserve beyond them fit.
    pub fn has_room(&self, blocks: u32, limits: &Thresholds) -> bool {
        let need = u64::from(blocks) + Ppm::new(limits.room_reserve_ppm).times(u64::from(blocks));
        u64::from(self.blocks_free_count) >= need
    }
}

facts! {
    /// What is known about one node that might take the batch.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    pub struct CandidateFacts {
        /// Whether the tenant's policy allows the node.
        pub allowed: bool,
        /// Whether it serves the batch's model.
        pub model_matches: bool,
        /// Whether it serves that model with the batch's numerics.
        pub numerics_match: bool,
        /// Age of its load.
        pub load_age_us: u64,
        /// Blocks in its pool.
        pub blocks_total_count: u32,
        /// Blocks that no sequence holds there.
        pub blocks_free_count: u32,
        /// How long a new request waits there.
        pub queue_us: u64,
        /// Its prefill rate; absent before the first prefill.
        pub prefill_tokens_per_s: Option<u32>,
        /// Round trip to it.
        pub round_trip_us: u64,
        /// Transfer rate to it; absent before the first transfer.
        pub link_bytes_per_s: Option<u64>,
        /// Moves in flight between it and the source, in either direction.
        pub hops_in_flight_count: u32,
    }
}

impl CandidateFacts {
    /// Its block pool.
    pub fn pool(&self) -> NodeFacts {
        NodeFacts { blocks_total_count: self.blocks_total_count, blocks_free_count: self.blocks_free_count }
    }

    /// Time to transfer `bytes` to it, without the round trip.
    pub fn transfer_us(&self, bytes: u64, limits: &Thresholds) -> u64 {
        let rate = self.link_bytes_per_s.unwrap_or(limits.link_bytes_per_s_unmeasured).max(1);
        micros_at(bytes, rate)
    }
}

/// Time for `amount` at `per_second`, rounded up.
pub(crate) fn micros_at(amount: u64, per_second: u64) -> u64 {
    let micros = (u128::from(amount) * 1_000_000).div_ceil(u128::from(per_second.max(1)));
    u64::try_from(micros).unwrap_or(u64::MAX)
}

/// The time since `at`; zero if that lies ahead.
pub(crate) fn elapsed_us(now: Timestamp, at: Timestamp) -> u64 {
    bounded(now.get().saturating_sub(at.get()).saturating_mul(1_000))
}

/// A decision stores its inputs as signed integers; what does not fit is as large as they get.
pub(crate) fn bounded(value: u64) -> u64 {
    value.min(i64::MAX as u64)
}

impl Situation {
    /// The situation as a decision stores it; the wallet is a field of its own there.
    pub fn inputs(&self) -> Inputs {
        let mut inputs = Inputs::new();
        self.batch.write("batch", &mut inputs);
        self.source.write("source", &mut inputs);
        self.limits.write("limit", &mut inputs);
        for (node, candidate) in &self.candidates {
            candidate.write(&format!("candidate.{node}"), &mut inputs);
        }
        inputs
    }

    /// The situation that a decision stores.
    ///
    /// # Errors
    /// [`InputInvalid`] if a fact is missing or out of range, or if an input belongs to no fact.
    pub fn from_inputs(wallet: WalletAddress, inputs: &Inputs) -> Result<Self, InputInvalid> {
        let nodes: BTreeSet<NodeId> = inputs.keys().filter_map(|name| candidate_of(name)).collect();
        let candidate = |node| Ok((node, CandidateFacts::read(&format!("candidate.{node}"), inputs)?));
        let candidates = nodes.into_iter().map(candidate).collect::<Result<_, InputInvalid>>()?;
        let situation = Self {
            wallet,
            batch: BatchFacts::read("batch", inputs)?,
            source: NodeFacts::read("source", inputs)?,
            candidates,
            limits: Thresholds::read("limit", inputs)?,
        };
        let known = situation.inputs();
        match inputs.keys().find(|name| !known.contains_key(*name)) {
            Some(stray) => Err(InputInvalid { name: stray.clone(), problem: "read by no rule" }),
            None => Ok(situation),
        }
    }
}

fn candidate_of(name: &str) -> Option<NodeId> {
    let (node, _) = name.strip_prefix("candidate.")?.split_once('.')?;
    node.parse().ok().map(NodeId::new)
}
