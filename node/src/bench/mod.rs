//! `batchmind bench NAME`: speeds, each beside its limit in the same run, as one flat JSON object.
//!
//! Keys carry their unit. A ratio compares two figures of this run and is what to quote: machines differ, and so does
//! one machine from minute to minute. The other benches that the design names come with the parts that they measure.

mod engine;
pub mod ledger;
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
    /// The system said no.
    #[error(transparent)]
    System(#[from] std::io::Error),
    /// What was measured did not do what it is there for.
    #[error("{0}")]
    Wrong(String),
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
}

impl fmt::Display for BenchFigures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = self.0.iter();
        lines.next().map_or(Ok(()), |(key, value)| write!(f, "{key} = {value}"))?;
        lines.try_for_each(|(key, value)| write!(f, "\n{key} = {value}"))
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
