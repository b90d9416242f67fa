//! `batchmind ledger`: backup of the final chain, and a node's files from it.

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, BufReader, Write as _},
    path::{Path, PathBuf},
};

use clap::Subcommand;
use ledger::{
    archive::ArchiveReader,
    shell::backup::{RestoreFault, restore},
};
use reqwest::Method;
use serde::Serialize;
use wallet::{digest::Digest, units::BlockHeight};

use super::{
    Failure, Output,
    client::{Client, ClientArguments},
    progress::Progress,
};
use crate::config::LedgerConfig;

/// Back up the ledger, and restore a node from a backup.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Write everything that is final at a running node to a file.
    ///
    /// The file is an archive: `batchmind audit replay` checks it, `batchmind ledger restore` makes a node's ledger of it.
    /// It holds no keys, no sessions and no votes.
    Backup {
        #[command(flatten)]
        client: ClientArguments,
        /// The archive. It appears when it is whole, and must not exist.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Make the ledger of a node that has none, from an archive.
    ///
    /// The archive may be of any node of the consortium. Every certificate and both roots of every block are checked;
    /// signatures on entries are left to the quorum. The node then takes what followed from the others. It votes again
    /// when its return is final, for which the others must be a quorum without it.
    Restore {
        /// The archive.
        archive: PathBuf,
        /// The node's configuration.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
}

impl Command {
    pub(super) async fn run(self) -> Result<Output, Failure> {
        match self {
            Self::Backup { client, out } => backup(&Client::open(&client)?, out).await,
            Self::Restore { archive, config } => {
                let config = LedgerConfig::load(&config)?;
                super::apart(move || restore_into(&archive, &config)).await
            }
        }
    }
}

/// Writes the archive of a running node to a file.
pub(super) async fn backup(client: &Client, out: PathBuf) -> Result<Output, Failure> {
    let not_written = |error: io::Error| Failure::new("N-152", error, out.display());
    let mut part = out.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    if out.exists() {
        return Err(not_written(io::ErrorKind::AlreadyExists.into()));
    }
    let mut response = client.send(client.request(Method::GET, "/ledger/v1/archive")).await?;
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(&part).map_err(not_written)?;
    let (mut bytes, mut progress) = (0, Progress::new("MiB"));
    loop {
        let chunk = response.chunk().await;
        let chunk =
            chunk.map_err(|error| Failure::new("N-160", "the node stopped in the midst", error.without_url()))?;
        let Some(chunk) = chunk else { break };
        file.write_all(&chunk).map_err(not_written)?;
        bytes += chunk.len() as u64;
        progress.at(bytes >> 20);
    }
    file.sync_all().and_then(|()| fs::rename(&part, &out)).map_err(not_written)?;
    Ok(Output::new(&BackedUp { archive: out, bytes }))
}

/// Why no ledger was made of an archive.
pub(super) fn not_restored(fault: RestoreFault, archive: &Path, folder: &Path) -> Failure {
    match &fault {
        RestoreFault::Archive(_) | RestoreFault::Replay(_) => Failure::new("N-156", fault, archive.display()),
        _ => Failure::new("N-157", fault, folder.display()),
    }
}

fn restore_into(archive: &Path, config: &LedgerConfig) -> Result<Output, Failure> {
    let folder = config.data_dir.join("ledger");
    let file = File::open(archive).map_err(|error| Failure::new("N-150", error, archive.display()))?;
    let refused = |fault| not_restored(fault, archive, &folder);
    let reader = ArchiveReader::open(BufReader::new(file), &config.consortium.id());
    let mut reader = reader.map_err(|invalid| refused(invalid.into()))?;
    let mut progress = Progress::new("blocks");
    let executed = restore(&mut reader, &folder, |height| progress.at(height.get())).map_err(refused)?;
    let (height, entries, state_root) = (executed.height, executed.log.size(), executed.state.root());
    Ok(Output::new(&Restored { folder, height, entries, state_root }))
}

#[derive(Serialize)]
struct BackedUp {
    archive: PathBuf,
    bytes: u64,
}

impl fmt::Display for BackedUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} bytes", self.archive.display(), self.bytes)
    }
}

#[derive(Serialize)]
struct Restored {
    folder: PathBuf,
    height: BlockHeight,
    entries: u64,
    state_root: Digest,
}

impl fmt::Display for Restored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { folder, height, entries, state_root } = self;
        writeln!(f, "{}: restored up to height {height}, {entries} entries", folder.display())?;
        write!(f, "state root   {state_root}")
    }
}
