//! `batchmind bench`: speeds, each beside its limit.

use std::{fmt::Display, fs, path::PathBuf};

use clap::{Args, Subcommand};

use super::{Failure, Output};
use crate::bench;

/// Measure speeds, each beside its limit in the same run.
#[derive(Debug, Args)]
pub(super) struct Command {
    #[command(subcommand)]
    name: Name,
    /// Also write the figures to this file, as one flat JSON object.
    #[arg(long, global = true, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Fail if a figure does not reach what it must.
    #[arg(long, global = true)]
    check: bool,
    /// The commit that is measured, for the record.
    #[arg(long, global = true, default_value = "unknown")]
    commit: String,
}

#[derive(Debug, Subcommand)]
enum Name {
    /// Decoding and prefill of a model.
    Engine {
        /// Folder of the model.
        #[arg(long, value_name = "DIR")]
        model: PathBuf,
    },
    /// Events that four validators make final, and what a dead leader costs.
    Ledger(bench::ledger::LedgerArgs),
    /// Placing requests by cached prefixes.
    Router,
    /// Streams, continuations, and sessions that are cut off.
    Streams(bench::streams::StreamsArgs),
    /// Sealed pages from one node to another, and what a cut costs.
    Transfer(bench::transfer::TransferArgs),
}

impl Command {
    pub(super) fn run(self) -> Result<Output, Failure> {
        let failed = |fault: bench::BenchFault, what: &dyn Display| Failure::new(fault.code(), &fault, what);
        let figures = match self.name {
            Name::Engine { model } => {
                bench::engine(&model, &self.commit).map_err(|fault| failed(fault, &model.display()))?
            }
            Name::Ledger(args) => bench::ledger(&args, &self.commit).map_err(|fault| failed(fault, &"ledger"))?,
            Name::Router => bench::router(&self.commit),
            Name::Streams(args) => {
                bench::streams(&args, &self.commit).map_err(|fault| failed(fault, &args.model.display()))?
            }
            Name::Transfer(args) => bench::transfer(&args, &self.commit).map_err(|fault| failed(fault, &"transfer"))?,
        };
        let output = Output::new(&figures);
        if let Some(file) = self.out {
            fs::write(&file, format!("{}\n", output.json()))
                .map_err(|fault| Failure::new("N-152", fault, file.display()))?;
        }
        let missed = figures.missed();
        if self.check && !missed.is_empty() {
            return Ok(output.but(Failure::new("N-187", "figures do not reach what they must", missed.join("; "))));
        }
        Ok(output)
    }
}
