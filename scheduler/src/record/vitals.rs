//! C3, vitals.

use serde::{Deserialize, Serialize};
use wallet::units::{Micros, Timestamp};

use crate::ppm::Ppm;

/// C3: how the batch is. Read by the scheduler at each tick.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vitals {
    /// Chance that the session goes on within 60 s, calibrated. Absent: no predictor is built yet.
    pub reengagement_within_60_s: Option<Ppm>,
    /// Idle time after which it may be evicted.
    pub ttl: Micros,
    /// Where its pages are.
    pub tier: MemoryTier,
    /// Utilisation of the engine's block pool.
    pub utilisation: Ppm,
    /// Chance that it is evicted before the session goes on. Absent: no predictor is built yet.
    pub eviction_risk: Option<Ppm>,
    /// What it is doing.
    pub phase: Phase,
    /// When it was last used: when it computed anything, or, while it decodes, when its stream was last read.
    pub active_at: Timestamp,
    /// Median decode step, unpaced; absent before the first step.
    pub step: Option<Micros>,
}

/// Where a batch's pages are. Outside the engine they are sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemoryTier {
    /// In the engine's block pool.
    Engine,
    /// In host memory.
    Host,
    /// On disk.
    Disk,
}

/// What a batch is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Phase {
    /// Every token that is known has its row.
    pub prefill_complete: bool,
    /// A sequence is decoding.
    pub decoding: bool,
    /// A request waits for the batch to be back in the engine.
    pub request_waits: bool,
}
