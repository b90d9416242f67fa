//! What the figures must reach, in one table. docs/benches.md says what each figure is.

use std::fmt;

use serde_json::Value;

use self::Required::{AtLeast, AtMost};

/// What a figure must reach.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Required {
    /// No less than this.
    AtLeast(f64),
    /// No more than this.
    AtMost(f64),
}

/// By the names of the figures. What is not here is only reported.
const REQUIRED: [(&str, Required); 30] = [
    // streams
    ("continuation_bytes_decode", AtMost(1024.0)),
    ("suspend_us_p99", AtMost(50.0)),
    ("resume_us_p99", AtMost(100.0)),
    ("ring_vs_memcpy_ratio", AtLeast(0.8)),
    ("shm_vs_memcpy_ratio", AtLeast(0.7)),
    ("persistent_write_vs_disk_ratio", AtLeast(0.8)),
    ("persistent_read_vs_disk_ratio", AtLeast(0.8)),
    ("worker_overhead_ratio", AtLeast(0.97)),
    ("points_total", AtLeast(10_000.0)),
    ("process_kills", AtLeast(300.0)),
    ("tokens_lost", AtMost(0.0)),
    ("tokens_duplicated", AtMost(0.0)),
    ("tokens_different", AtMost(0.0)),
    // ledger
    ("final_events_per_s", AtLeast(3_000.0)),
    ("batched_events_per_s", AtLeast(15_000.0)),
    ("finality_overhead_ratio", AtLeast(0.9)),
    ("final_latency_ms_p50", AtMost(100.0)),
    ("leader_kills", AtLeast(50.0)),
    ("leader_kill_ms_p99", AtMost(3_000.0)),
    ("liar_recovery_ms_p99", AtMost(15_000.0)),
    ("liar_forks", AtMost(0.0)),
    ("missed_blocks", AtMost(0.0)),
    ("bundle_bytes", AtMost(12_288.0)),
    ("bundle_verify_ms", AtMost(5.0)),
    ("proof_endpoint_ms_p99", AtMost(20.0)),
    ("catch_up_events_per_s", AtLeast(50_000.0)),
    ("audit_replay_vs_signature_limit_ratio", AtLeast(0.7)),
    // transfer
    ("transfer_vs_sealed_limit_ratio", AtLeast(0.8)),
    ("resume_cuts", AtLeast(100.0)),
    ("resume_wasted_bytes_ratio", AtMost(0.01)),
];

impl Required {
    /// What the figure `name` must reach; none if it is only reported.
    pub fn of(name: &str) -> Option<Self> {
        REQUIRED.into_iter().find(|(figure, _)| *figure == name).map(|(_, required)| required)
    }

    /// Whether `figure` reaches it. What is no number does not.
    pub fn is_met(self, figure: &Value) -> bool {
        figure.as_f64().is_some_and(|figure| match self {
            AtLeast(least) => figure >= least,
            AtMost(most) => figure <= most,
        })
    }
}

impl fmt::Display for Required {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AtLeast(least) => write!(f, "at least {least}"),
            AtMost(most) => write!(f, "at most {most}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_figure_at_its_limit_meets_it_and_one_beyond_does_not() {
        for (required, met, missed) in [(AtLeast(0.8), 0.8, 0.799), (AtMost(0.0), 0.0, 1.0)] {
            assert!(required.is_met(&met.into()) && !required.is_met(&missed.into()), "{required}");
            assert!(!required.is_met(&f64::NAN.into()) && !required.is_met(&"fast".into()), "{required}");
        }
        assert!(AtMost(0.0).is_met(&0_u64.into()) && !AtMost(0.0).is_met(&1_u64.into()));
    }

    #[test]
    fn each_limit_is_of_a_figure_that_the_documents_know_and_stands_beside_it_there() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(root.join("../docs/benches.md")).expect("it is there");
        for (name, required) in REQUIRED {
            let row = format!("| `{name}` | {required} |");
            assert!(text.contains(&row), "docs/benches.md lacks: {row}");
        }
    }
}
