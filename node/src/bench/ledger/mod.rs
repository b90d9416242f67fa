//! The ledger: events that four validators make final in a second, beside the signatures that the machine can verify
//! and beside raft's ordering alone; how long one event takes; how long a dead leader costs, and one that lies; what an
//! auditor has to check, how fast a whole ledger is executed again, and how long a node takes to join a long one.
//!
//! Each validator is a process with a node's replica and network, and with files on the disk. Its clients are tasks in the
//! same process, as the parts of a node are that submit events. docs/benches.md says what each figure is.

mod audit;
mod author;
mod chain;
mod changes;
mod clients;
mod consortium;
mod decided;
mod join;
mod kills;
mod liars;
mod limit;
mod member;
mod moves;
mod ordering;
mod orders;
mod peers;
mod proofs;
mod replay;
mod runner;
mod shim;
mod speed;

use std::{
    collections::BTreeMap,
    env,
    path::{Path, PathBuf},
};

use clap::ValueEnum;
use serde_json::Value;

use super::{BenchFault, streams::Figures};
use consortium::Validators;
pub use runner::{MemberArgs, run_member};
pub use shim::{Honest, Shim};

/// What the bench of the ledger is told.
#[derive(Clone, Debug, clap::Args)]
pub struct LedgerArgs {
    /// Where the validators keep their files, which are removed again: a disk. Beside the program if it is not given.
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Folder of the demo model, for the part `proofs`: a node has one.
    #[arg(long, value_name = "DIR", default_value = "gpu/models/tiny")]
    pub model: PathBuf,
    /// Where the randomness starts.
    #[arg(long, default_value_t = super::SEED)]
    pub seed: u64,
    /// How often each speed is measured; the middle one counts.
    #[arg(long, default_value_t = 3)]
    pub rounds: u32,
    /// How long a speed is measured, in milliseconds.
    #[arg(long, default_value_t = 5_000)]
    pub ms: u64,
    /// Only with so many clients, of 1, 16, 64 and 256.
    #[arg(long, value_name = "N")]
    pub clients: Vec<u32>,
    /// How many leaders are killed.
    #[arg(long, default_value_t = 50)]
    pub kills: u64,
    /// How often a leader turns to each lie.
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub lie_runs: u64,
    /// Only these lies, of leaders or not, instead of all of leaders.
    #[arg(long, value_name = "NAME")]
    pub lie: Vec<String>,
    /// Also measure three etcd nodes, if there is such a program.
    #[arg(long)]
    pub peers: bool,
    /// Only these parts, instead of all.
    #[arg(long, value_enum, value_name = "PART")]
    pub only: Vec<Part>,
}

/// A part of the bench.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// Events that become final in a second.
    Speed,
    /// Events whose author signs batches.
    Batch,
    /// Raft's ordering alone.
    Ordering,
    /// How long one event takes.
    Latency,
    /// A leader that dies.
    Kill,
    /// Operators that change who they are.
    Changes,
    /// A leader that turns to lying.
    Liars,
    /// The proof of a move in a long log.
    Audit,
    /// Executing a final chain again.
    Replay,
    /// The proofs that a node makes out of a long log, and its memory.
    Proofs,
    /// A node that joins a long ledger.
    Join,
}

pub(super) fn figures(args: &LedgerArgs) -> Result<BTreeMap<&'static str, Value>, BenchFault> {
    let mut figures = Figures(BTreeMap::new());
    let program = env::current_exe()?;
    let dir = args.dir.as_deref().or(program.parent()).unwrap_or(Path::new("."));
    let wanted = |part| args.only.is_empty() || args.only.contains(&part);
    if [Part::Speed, Part::Batch, Part::Ordering].into_iter().any(wanted) {
        speed::figures(&mut figures, args, &program, dir, wanted)?;
    }
    if wanted(Part::Latency) {
        tracing::info!(part = "latency", "measuring");
        let mut validators = Validators::start(&program, dir, args.seed, false)?;
        speed::latency(&mut figures, &mut validators, "idle", 4.0, 6 * args.ms)?;
        speed::latency(&mut figures, &mut validators, "200", 200.0, 2 * args.ms)?;
    }
    if wanted(Part::Kill) {
        tracing::info!(part = "kill", "measuring");
        let mut validators = Validators::start(&program, dir, args.seed, false)?;
        kills::figures(&mut figures, &mut validators, args.kills, 200.0)?;
    }
    if wanted(Part::Changes) {
        tracing::info!(part = "changes", "measuring");
        changes::figures(&mut figures, args, &program, dir)?;
    }
    if wanted(Part::Liars) {
        tracing::info!(part = "liars", "measuring");
        liars::figures(&mut figures, args, &program, dir)?;
    }
    if wanted(Part::Audit) {
        tracing::info!(part = "audit", "measuring");
        audit::figures(&mut figures)?;
    }
    if wanted(Part::Replay) {
        tracing::info!(part = "replay", "measuring");
        replay::figures(&mut figures, dir, args.rounds)?;
    }
    if wanted(Part::Proofs) {
        tracing::info!(part = "proofs", "measuring");
        proofs::figures(&mut figures, &program, dir, &args.model, args.seed)?;
    }
    if wanted(Part::Join) {
        tracing::info!(part = "join", "measuring");
        join::figures(&mut figures, dir, args.rounds)?;
    }
    if args.peers {
        tracing::info!(part = "peers", "measuring");
        peers::figures(&mut figures, dir, args)?;
    }
    Ok(figures.0)
}
