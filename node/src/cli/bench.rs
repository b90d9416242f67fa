//! `batchmind bench`: speeds, each beside its limit.

use std::{fs, path::PathBuf};

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
        let figures = match self.name {
            Name::Engine { model } => {
                bench::engine(&model, &self.commit).map_err(|fault| Failure::new("N-171", fault, model.display()))?
            }
            Name::Ledger(args) => {
                bench::ledger(&args, &self.commit).map_err(|fault| Failure::new("N-171", fault, "ledger"))?
            }
            Name::Router => bench::router(&self.commit),
            Name::Streams(args) => bench::streams(&args, &self.commit)
                .map_err(|fault| Failure::new("N-171", fault, args.model.display()))?,
            Name::Transfer(args) => {
                bench::transfer(&args, &self.commit).map_err(|fault| Failure::new("N-171", fault, "transfer"))?
            }
        };
        let output = Output::new(&figures);
        if let Some(file) = self.out {
            fs::write(&file, format!("{}\n", output.json()))
                .map_err(|fault| Failure::new("N-152", fault, file.display()))?;
        }
        Ok(output)
    }
}
