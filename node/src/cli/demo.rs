//! `batchmind demo`: the main job, shown on one machine.

use std::path::PathBuf;

use clap::Args;

use super::{Failure, Output};
use crate::demo::{self, DemoOptions};

/// Run four operators on loopback and show the main job, step by step.
///
/// A live chat moves between operators with the same tokens, survives the death of the node it began on, is refused
/// where its tenant does not allow it, and is proved to an auditor. Succeeds only if every step held.
#[derive(Debug, Args)]
pub(super) struct Command {
    /// Folder of the model that the operators serve.
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// The attacker's program, which is no part of the product: `forger` of the package `tests`.
    #[arg(long, value_name = "FILE")]
    forger: PathBuf,
    /// How many moves the measuring step makes.
    #[arg(long, default_value_t = 24)]
    moves: u32,
    /// Leave the operators running and print where they answer.
    #[arg(long)]
    keep: bool,
}

impl Command {
    pub(super) async fn run(self) -> Result<Output, Failure> {
        let Self { model, forger, moves, keep } = self;
        let figures = demo::run(DemoOptions { model, forger, moves, keep }).await;
        figures.map(|figures| Output::new(&figures)).map_err(|failed| Failure::new("N-170", failed, "demo"))
    }
}
