//! `batchmind demo`: four operators on loopback do the main job for real, one step after the other.
//!
//! Every operator is a process of this very binary with its own keys, ledger, engine and folder. The steps act only
//! as tenants, auditors, operators and (with the separate forger) as an attacker could; each measures what it shows,
//! and the first that does not hold ends the demo with a failure.

pub mod client;
pub mod cluster;
mod figures;
pub mod setup;
mod steps;

use std::path::PathBuf;

use cluster::Cluster;
pub use figures::Figures;

/// How a demo is run.
#[derive(Clone, Debug)]
pub struct DemoOptions {
    /// Folder of the model.
    pub model: PathBuf,
    /// The attacker's program, which is no part of the product.
    pub forger: PathBuf,
    /// Leave the operators running at the end.
    pub keep: bool,
    /// How many moves the measuring step makes.
    pub moves: u32,
}

/// A step did not hold.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StepFailed(String);

impl StepFailed {
    /// With what did not hold.
    pub fn new(why: impl Into<String>) -> Self {
        Self(why.into())
    }
}

macro_rules! step_failed_from {
    ($($fault:ty),*) => {$(
        impl From<$fault> for StepFailed {
            fn from(fault: $fault) -> Self {
                Self(format!("{fault:?}"))
            }
        }
    )*};
}
step_failed_from!(reqwest::Error, serde_json::Error, std::io::Error, tokio::time::error::Elapsed);

/// Fails the step unless `held`.
fn ensure(held: bool, why: impl Into<String>) -> Result<(), StepFailed> {
    if held { Ok(()) } else { Err(StepFailed::new(why)) }
}

/// Runs the whole demo and returns its figures.
///
/// # Errors
/// [`StepFailed`] with the first step that did not hold, after the operators were stopped.
pub async fn run(options: DemoOptions) -> Result<Figures, StepFailed> {
    let mut figures = Figures::default();
    figures.step("four operators start on loopback: eu-1, eu-2, eu-3 in region eu, us-1 in region us");
    let mut cluster = Cluster::start(&std::env::current_exe()?, &options.model).await?;
    let outcome = steps::run_all(&mut cluster, &options, &mut figures).await;
    if outcome.is_err() {
        cluster.print_log_tails();
    }
    if options.keep {
        cluster.print_urls();
        cluster.leave_running();
    } else {
        cluster.stop().await;
    }
    outcome.map(|()| figures)
}
