//! Streams and continuations: transports beside bare memory and bare files, suspending and resuming, the engine in
//! another process or at another host beside the engine in this one, and sessions that are cut off at random points.
//!
//! docs/benches.md says what each figure compares.

mod disk;
mod pages;
mod placement;
mod points;
mod ring;
mod rounds;
mod shared;
mod shm;
mod suspend;

use std::{
    collections::BTreeMap,
    env,
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::ValueEnum;
use gpu::Model;
use serde_json::Value;

use super::{BenchFault, sessions::Ground};
use pages::Source;
use rounds::Rates;
pub(super) use rounds::{median, quantile};
pub use shm::{SideArgs, side};

/// What the bench of streams is told.
#[derive(Clone, Debug, clap::Args)]
pub struct StreamsArgs {
    /// Folder of the demo model.
    #[arg(long, value_name = "DIR")]
    pub model: PathBuf,
    /// Where files are written, and removed again: a disk. Beside the program if it is not given.
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Where the randomness starts.
    #[arg(long, default_value_t = super::SEED)]
    pub seed: u64,
    /// Points at which sessions are cut off.
    #[arg(long, default_value_t = 10_000)]
    pub points: u64,
    /// How many of them kill a process.
    #[arg(long, default_value_t = 300)]
    pub kills: u64,
    /// Only these parts, instead of all.
    #[arg(long, value_enum, value_name = "PART")]
    pub only: Vec<Part>,
}

/// A part of the bench.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// The ring.
    Ring,
    /// Shared memory.
    Shm,
    /// The stream on disk.
    Disk,
    /// Suspending and resuming.
    Suspend,
    /// Sessions that are cut off.
    Points,
    /// The engine in another process and at another node.
    Placement,
}

/// Figures under their names.
pub struct Figures(pub BTreeMap<&'static str, Value>);

impl Figures {
    pub(super) fn set(&mut self, name: &'static str, value: impl Into<Value>) {
        self.0.insert(name, value.into());
    }

    /// The ratio, what was measured, and its limit.
    fn ratio(&mut self, [ratio, measured, limit]: [&'static str; 3], rates: Rates) {
        self.set(ratio, rates.ratio());
        self.set(measured, rates.measured);
        self.set(limit, rates.limit);
    }
}

pub(super) fn figures(args: &StreamsArgs) -> Result<BTreeMap<&'static str, Value>, BenchFault> {
    let mut figures = Figures(BTreeMap::new());
    let program = env::current_exe()?;
    let dir = args.dir.as_deref().or(program.parent()).unwrap_or(Path::new("."));
    let wanted = |part| args.only.is_empty() || args.only.contains(&part);
    let say = |part: &str| tracing::info!(part, "measuring");
    if [Part::Ring, Part::Shm, Part::Disk].into_iter().any(wanted) {
        let source = Source::new(args.seed);
        if wanted(Part::Ring) {
            say("ring");
            ring::figures(&mut figures, &source)?;
        }
        if wanted(Part::Shm) {
            say("shm");
            shm::figures(&mut figures, &source, &program)?;
        }
        if wanted(Part::Disk) {
            say("disk");
            disk::figures(&mut figures, &source, dir)?;
        }
    }
    if [Part::Suspend, Part::Points].into_iter().any(wanted) {
        let model = Arc::new(Model::load(&args.model)?);
        if wanted(Part::Suspend) {
            say("suspend");
            suspend::figures(&mut figures, &model, args.seed, dir)?;
        }
        if wanted(Part::Points) {
            say("points");
            let ground = Ground { program: &program, model_dir: &args.model, dir };
            points::figures(&mut figures, &model, args.seed, (args.points, args.kills), ground)?;
        }
    }
    if wanted(Part::Placement) {
        say("placement");
        placement::figures(&mut figures, args.seed, dir, &program)?;
    }
    Ok(figures.0)
}
