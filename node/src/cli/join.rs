//! `batchmind join`: the ledger of a node that the operators let in.

use std::{
    fmt,
    fs::{self, File},
    io::BufReader,
    path::{Path, PathBuf},
};

use clap::Args;
use ledger::{
    archive::ArchiveReader,
    shell::{
        join::{JoinFault, join},
        restore::RestoreFault,
    },
};
use serde::Serialize;
use wallet::units::NodeId;

use super::{
    Failure, Output,
    client::{Client, ClientArguments},
    ledger::{backup, not_restored},
    progress::Progress,
};
use crate::config::LedgerConfig;

/// Make the ledger of a node that the operators let in, from a running node.
///
/// Fetches the final chain, checks every certificate and both roots of every block from the genesis document on, and
/// finds this node in the final state by its key. Then `batchmind node run` follows the ledger, and once the operators
/// reinstate the node it votes.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The configuration of the node that joins.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    #[command(flatten)]
    client: ClientArguments,
}

impl Arguments {
    pub(super) async fn run(self) -> Result<Output, Failure> {
        let config = LedgerConfig::load(&self.config)?;
        let folder = config.data_dir.join("ledger");
        if folder.exists() {
            let fault = RestoreFault::FolderExists { folder: folder.clone() };
            return Err(not_restored(fault, &self.config, &folder));
        }
        let client = Client::open(&self.client)?;
        let failed = |error, path: &Path| Failure::new("N-152", error, path.display());
        fs::create_dir_all(&config.data_dir).map_err(|error| failed(error, &config.data_dir))?;
        let fetched = tempfile::tempdir_in(&config.data_dir).map_err(|error| failed(error, &config.data_dir))?;
        let archive = fetched.path().join("archive");
        backup(&client, archive.clone()).await?;
        super::apart(move || {
            let joined = join_from(&archive, &config);
            drop(fetched);
            joined
        })
        .await
    }
}

fn join_from(archive: &Path, config: &LedgerConfig) -> Result<Output, Failure> {
    let folder = config.data_dir.join("ledger");
    let file = File::open(archive).map_err(|error| Failure::new("N-150", error, archive.display()))?;
    let refused = |fault: JoinFault| match fault {
        JoinFault::Restore(fault) => not_restored(fault, archive, &folder),
        fault => Failure::new("N-112", fault, folder.display()),
    };
    let reader = ArchiveReader::open(BufReader::new(file), &config.consortium.id());
    let mut reader = reader.map_err(|invalid| not_restored(invalid.into(), archive, &folder))?;
    let mut progress = Progress::new("blocks");
    let key = config.keys.key().public_key();
    let node = join(&mut reader, &folder, key, |height| progress.at(height.get())).map_err(refused)?;
    Ok(Output::new(&Joined { folder, node }))
}

#[derive(Serialize)]
struct Joined {
    folder: PathBuf,
    node: NodeId,
}

impl fmt::Display for Joined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: the ledger of node {}", self.folder.display(), self.node)
    }
}
