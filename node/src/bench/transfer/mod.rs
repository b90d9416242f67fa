//! The transfer of sealed pages between two nodes, each a process of its own on loopback: how fast it is beside plain
//! TCP, and what a cut costs.
//!
//! The source seals pages into a hop stream and the receiver reads, verifies and opens them, both with the code of a
//! move and over a node's own network. docs/benches.md says what each figure is.

mod cuts;
mod orders;
mod pages;
mod plain;
mod processes;
mod receiver;
mod relay;
mod side;
mod source;
mod speed;

use std::{
    collections::BTreeMap,
    env,
    path::{Path, PathBuf},
};

use clap::ValueEnum;
use serde_json::Value;

use super::{BenchFault, streams::Figures};
pub use side::{TransferSideArgs, run_side};

/// What the bench of transfers is told.
#[derive(Clone, Debug, clap::Args)]
pub struct TransferArgs {
    /// Where the receiver keeps pages of transfers that are cut, which are removed again. In memory, or else beside the
    /// program, if it is not given.
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Where the randomness starts.
    #[arg(long, default_value_t = super::SEED)]
    pub seed: u64,
    /// How often each speed is measured; the middle one counts.
    #[arg(long, default_value_t = 5)]
    pub rounds: u32,
    /// How many MiB of pages are moved.
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u64).range(64..=16_384))]
    pub mib: u64,
    /// How many transfers are cut.
    #[arg(long, default_value_t = 100)]
    pub cuts: u64,
    /// Only these parts, instead of all.
    #[arg(long, value_enum, value_name = "PART")]
    pub only: Vec<Part>,
}

/// A part of the bench.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// How fast pages move.
    Speed,
    /// Transfers that are cut.
    Cuts,
}

pub(super) fn figures(args: &TransferArgs) -> Result<BTreeMap<&'static str, Value>, BenchFault> {
    let mut figures = Figures(BTreeMap::new());
    let program = env::current_exe()?;
    let memory = Some(Path::new("/dev/shm")).filter(|memory| memory.is_dir());
    let dir = args.dir.as_deref().or(memory).or(program.parent()).unwrap_or(Path::new("."));
    let wanted = |part| args.only.is_empty() || args.only.contains(&part);
    if wanted(Part::Speed) {
        tracing::info!(part = "speed", "measuring");
        speed::figures(&mut figures, args, &program, dir)?;
    }
    if wanted(Part::Cuts) {
        tracing::info!(part = "cuts", "measuring");
        cuts::figures(&mut figures, args, &program, dir)?;
    }
    Ok(figures.0)
}
