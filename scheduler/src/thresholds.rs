//! The numbers in the rules. All are configuration; every decision records those it was made with.

use serde::{Deserialize, Serialize};

use crate::inputs::facts;

facts! {
    /// The numbers in the rules, with the unit in each name.
    ///
    /// Idle times come from the re-use that public conversation traces show: of all re-use of a session's blocks, 52 %
    /// falls within 120 s of the last use, 94 % within 600 s and 99 % within 1800 s, and the chance of a return is
    /// highest between 20 s and 150 s.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    pub struct Thresholds {
        /// R1: the pause that is always allowed. A client does not notice it. Default 50 ms.
        pub blackout_us_floor: u64,
        /// R1: decode steps that the pause may take beyond the round trip. Default 2.
        pub blackout_steps_max: u32,
        /// R1: a decoding batch that nobody has read for this long may leave a full engine. Default 60 s.
        pub unread_us_min: u64,
        /// R2: free blocks beyond the need, as a share of the need. Default 10 %.
        pub room_reserve_ppm: u32,
        /// R2: a load measured longer ago counts as unknown. Default 2 s.
        pub load_age_us_max: u64,
        /// R4: prices within this share of the lowest are ties. Default 5 %.
        pub price_tie_ppm: u32,
        /// R1, R4: transfer rate of a link that was not measured yet. Default 1 Gbit/s.
        pub link_bytes_per_s_unmeasured: u64,
        /// R4: prefill rate of a node that was not measured yet. Default 1000 tokens a second.
        pub prefill_tokens_per_s_unmeasured: u32,
        /// R7: the source moves batches away from this utilisation on. Default 95 %.
        pub source_utilisation_ppm_min: u32,
        /// R7: the destination stays below this utilisation after the move. Default 85 %.
        pub destination_utilisation_ppm_max: u32,
        /// R7: a session that moved stays for this long. Default 10 s.
        pub cool_down_us: u64,
        /// R9: an idle batch stays in the engine at least this long, even when the engine is full. Default 20 s.
        pub engine_idle_us_min: u64,
        /// R9: an idle batch leaves the engine after this time. Default 150 s.
        pub engine_idle_us_max: u64,
        /// R9: an idle batch leaves host memory after this time. Default 600 s.
        pub host_idle_us_max: u64,
    }
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            blackout_us_floor: 50_000,
            blackout_steps_max: 2,
            unread_us_min: 60_000_000,
            room_reserve_ppm: 100_000,
            load_age_us_max: 2_000_000,
            price_tie_ppm: 50_000,
            link_bytes_per_s_unmeasured: 125_000_000,
            prefill_tokens_per_s_unmeasured: 1_000,
            source_utilisation_ppm_min: 950_000,
            destination_utilisation_ppm_max: 850_000,
            cool_down_us: 10_000_000,
            engine_idle_us_min: 20_000_000,
            engine_idle_us_max: 150_000_000,
            host_idle_us_max: 600_000_000,
        }
    }
}
