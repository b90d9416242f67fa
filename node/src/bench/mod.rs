//! `batchmind bench NAME`: speeds, each beside its limit in the same run, as one flat JSON object.
//!
//! Keys carry their unit. A ratio compares two figures of this run and is what to quote: machines differ, and so does
//! one machine from minute to minute. The other benches that the design names come with the parts that they measure.

mod engine;
pub mod ledger;
mod required;
mod router;
pub mod sessions;
mod side;
pub mod streams;
pub mod transfer;

use std::{
    collections::BTreeMap,
    fmt, fs,
    path::Path,
    time::{Duration, Instant},
};

use serde::Serialize;
use serde_json::Value;

use required::Required;

/// Where the randomness of every bench starts.
const SEED: u64 = 1;
/// How often each figure is measured; the middle one counts.
const ROUNDS: usize = 5;

/// The figures of a bench.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub struct BenchFigures(BTreeMap<&'static str, Value>);

/// A bench could not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BenchFault {
    /// The model cannot be loaded.
    #[error(transparent)]
    Model(#[from] gpu::ModelFault),
    /// The engine refused the bench's own work.
    #[error(transparent)]
    Engine(#[from] gpu::Refusal),
    /// A stream failed.
    #[error(transparent)]
    Stream(#[from] gpu::stream::StreamFault),
    /// A continuation was refused.
    #[error(transparent)]
    Continuation(#[from] gpu::continuation::ContinuationRefusal),
    /// A session did not go on.
    #[error(transparent)]
    Session(#[from] sessions::SessionFault),
    /// Sessions that were cut off did not come out as they should have.
    #[error(transparent)]
    Unclean(#[from] sessions::Unclean),
    /// The system said no.
    #[error(transparent)]
    System(#[from] std::io::Error),
    /// What was measured did not do what it is there for.
    #[error("{0}")]
    Wrong(String),
}

impl BenchFault {
    /// The stable code.
    pub const fn code(&self) -> &'static str {
        if let Self::Unclean(_) = self { "N-188" } else { "N-171" }
    }
}

/// Decoding and prefill of the model in `folder`.
///
/// # Errors
/// [`BenchFault`].
pub fn engine(folder: &Path, commit: &str) -> Result<BenchFigures, BenchFault> {
    Ok(BenchFigures::new(commit, SEED, engine::figures(folder)?))
}

/// Streams, continuations and sessions that are cut off. It takes minutes.
///
/// # Errors
/// [`BenchFault`].
pub fn streams(args: &streams::StreamsArgs, commit: &str) -> Result<BenchFigures, BenchFault> {
    Ok(BenchFigures::new(commit, args.seed, streams::figures(args)?))
}

/// The ledger of four validators, and of raft alone. It takes minutes.
///
/// # Errors
/// [`BenchFault`].
pub fn ledger(args: &ledger::LedgerArgs, commit: &str) -> Result<BenchFigures, BenchFault> {
    Ok(BenchFigures::new(commit, args.seed, ledger::figures(args)?))
}

/// Sealed pages from one node to another. It takes minutes.
///
/// # Errors
/// [`BenchFault`].
pub fn transfer(args: &transfer::TransferArgs, commit: &str) -> Result<BenchFigures, BenchFault> {
    Ok(BenchFigures::new(commit, args.seed, transfer::figures(args)?))
}

/// Placing requests by cached prefixes.
pub fn router(commit: &str) -> BenchFigures {
    BenchFigures::new(commit, SEED, router::figures())
}

fn wrong(fault: impl fmt::Display) -> BenchFault {
    BenchFault::Wrong(fault.to_string())
}

impl From<rustix::io::Errno> for BenchFault {
    fn from(errno: rustix::io::Errno) -> Self {
        Self::System(errno.into())
    }
}

impl BenchFigures {
    fn new(commit: &str, seed: u64, mut figures: BTreeMap<&'static str, Value>) -> Self {
        figures.insert("commit", commit.into());
        figures.insert("cpu", cpu().into());
        figures.insert("seed", seed.into());
        Self(figures)
    }

    /// The figures that do not reach what they must, each with that.
    pub fn missed(&self) -> Vec<String> {
        let missed = |(name, figure): (&&str, &Value)| {
            let required = Required::of(name).filter(|required| !required.is_met(figure))?;
            Some(format!("{name} = {figure}, {required} is required"))
        };
        self.0.iter().filter_map(missed).collect()
    }
}

/// A line for each figure, with what it must reach and whether it does.
impl fmt::Display for BenchFigures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (name, figure)) in self.0.iter().enumerate() {
            write!(f, "{}{name} = {figure}", if number > 0 { "\n" } else { "" })?;
            if let Some(required) = Required::of(name) {
                write!(f, " ({required}: {})", if required.is_met(figure) { "met" } else { "missed" })?;
            }
        }
        Ok(())
    }
}

/// The processor's name, where the system tells it.
fn cpu() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|line| line.strip_prefix("model name")).and_then(|rest| rest.split_once(':'));
    name.map_or_else(|| "unknown".to_owned(), |(_, name)| name.trim().to_owned())
}

/// How often `work` gets done in a second, in the middle one of some rounds; `work` returns how much it did.
fn rate_per_s(mut work: impl FnMut() -> usize) -> f64 {
    let mut rates: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let (started, mut done) = (Instant::now(), 0);
            while started.elapsed() < Duration::from_millis(400) {
                done += work();
            }
            done as f64 / started.elapsed().as_secs_f64()
        })
        .collect();
    rates.sort_by(f64::total_cmp);
    rates[ROUNDS / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_figure_says_what_it_must_reach_and_a_missed_one_is_found() {
        let figures = [("ring_hop_ns", 90.into()), ("ring_vs_memcpy_ratio", 0.9.into()), ("tokens_lost", 1.into())];
        let figures = BenchFigures(BTreeMap::from(figures));
        let lines: Vec<String> = figures.to_string().lines().map(str::to_owned).collect();
        assert_eq!(lines[0], "ring_hop_ns = 90");
        assert_eq!(lines[1], "ring_vs_memcpy_ratio = 0.9 (at least 0.8: met)");
        assert_eq!(lines[2..], ["tokens_lost = 1 (at most 0: missed)"]);
        assert_eq!(figures.missed(), ["tokens_lost = 1, at most 0 is required"]);
    }
}
