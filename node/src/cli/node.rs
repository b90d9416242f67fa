//! `batchmind node`: runs a node.

use std::{fmt, io, path::PathBuf};

use clap::Subcommand;
use gpu::Model;
use ledger::shell::fault::Fault;
use serde::Serialize;

use super::{Failure, Output};
use crate::{
    config::ValidConfig,
    hardening::{self, NotLocked},
    node::{RunningNode, StartFault},
};

/// Run a node of a consortium.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run until SIGTERM or SIGINT. Sessions stay on the disk; the next start brings them back.
    Run {
        /// The node's configuration.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Check a configuration and everything that it names, the model too, and run nothing.
    Check {
        /// The node's configuration.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
}

impl Command {
    pub(super) async fn run(self) -> Result<Output, Failure> {
        match self {
            Self::Run { config } => {
                // Before a key is opened.
                let locked = hardening::lock_memory();
                run(ValidConfig::load(&config)?, locked).await
            }
            Self::Check { config } => check(ValidConfig::load(&config)?).await,
        }
    }
}

async fn check(config: ValidConfig) -> Result<Output, Failure> {
    let checked = Checked::of(&config);
    check_model(config.model_dir).await?;
    Ok(Output::new(&checked))
}

/// Loads the model as a start would. That takes a while, so it is not done on the runtime's own threads.
async fn check_model(folder: PathBuf) -> Result<(), StartFault> {
    let loaded = tokio::task::spawn_blocking(move || Model::load(&folder)).await;
    loaded.map_err(|error| io::Error::other(error.to_string()))??;
    Ok(())
}

async fn run(config: ValidConfig, locked: Result<(), NotLocked>) -> Result<Output, Failure> {
    let Checked { node, consortium, api } = Checked::of(&config);
    keep_locked(config.lock_memory, locked)?;
    let running = RunningNode::start(config).await?;
    tracing::info!(%node, %consortium, %api, "the node runs");
    match running.run().await {
        Some(reason) => Err(Failure::new("N-551", reason, "a part of the node failed")),
        None => Ok(Output::new(&Stopped { node, stopped: true })),
    }
}

/// What the configuration says of memory that is locked, or could not be. Only one that demands it stops the start.
fn keep_locked(wanted: Option<bool>, locked: Result<(), NotLocked>) -> Result<(), NotLocked> {
    match (wanted, locked) {
        (Some(false), Ok(())) => hardening::unlock_memory(),
        (Some(true), locked) => locked,
        (None, Err(fault)) => {
            tracing::warn!(code = fault.code(), %fault, "secrets are not kept out of swap");
            Ok(())
        }
        _ => Ok(()),
    }
}

impl From<NotLocked> for Failure {
    fn from(fault: NotLocked) -> Self {
        Self::new(fault.code(), fault, "the node does not start")
    }
}

impl From<StartFault> for Failure {
    fn from(fault: StartFault) -> Self {
        let code = match &fault {
            StartFault::Network(fault) => fault.code(),
            StartFault::Tenant(fault) => fault.code(),
            StartFault::Decisions(fault) => fault.code(),
            StartFault::Api(fault) => fault.code(),
            StartFault::Ledger(Fault::MetDamage { .. }) => "N-581",
            _ => "N-550",
        };
        Self::new(code, fault, "the node does not start")
    }
}

#[derive(Serialize)]
struct Checked {
    node: String,
    consortium: String,
    api: String,
}

impl Checked {
    fn of(config: &ValidConfig) -> Self {
        Self {
            node: config.name.to_string(),
            consortium: config.consortium.id().to_string(),
            api: config.api_listen.to_string(),
        }
    }
}

impl fmt::Display for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {} of consortium {}, HTTP on {}", self.node, self.consortium, self.api)
    }
}

#[derive(Serialize)]
struct Stopped {
    node: String,
    stopped: bool,
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {} stopped", self.node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testbed::model_dir;

    #[tokio::test]
    async fn a_configuration_that_is_not_there_is_named() {
        let check = Command::Check { config: "no-such.toml".into() };
        let failure = check.run().await.expect_err("no such file");
        assert!(failure.code == "N-100" && failure.title.contains("no-such.toml"), "{failure}");
    }

    #[tokio::test]
    async fn a_model_folder_that_no_node_could_start_with_fails_the_check() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let broken = |result: Result<(), StartFault>| Failure::from(result.expect_err("no model"));
        let empty = broken(check_model(folder.path().to_owned()).await);
        assert!(empty.code == "N-550" && empty.title.contains("config.json"), "{empty}");
        for file in ["config.json", "model.safetensors"] {
            std::fs::copy(model_dir().join(file), folder.path().join(file)).expect("our own folder");
        }
        check_model(folder.path().to_owned()).await.expect("a whole model");
        std::fs::write(folder.path().join("model.safetensors"), b"no weights").expect("our own folder");
        assert_eq!(broken(check_model(folder.path().to_owned()).await).code, "N-550");
    }
}
