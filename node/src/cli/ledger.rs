//! `batchmind ledger`: backup of the final chain, a node's files from it, and beginning anew.

mod re_genesis;

use std::{
    fmt,
    fs::{File, Permissions},
    io::{self, BufReader, Seek as _, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use clap::Subcommand;
use ledger::{
    archive::{ArchiveInvalid, ArchiveReader},
    shell::restore::{RestoreFault, Restored, restore},
};
use reqwest::Method;
use serde::Serialize;
use tempfile::NamedTempFile;
use wallet::{digest::Digest, units::BlockHeight};

use super::{
    Failure, Output,
    client::{Client, ClientArguments},
    progress::Progress,
    re_geneses::ReGeneses,
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
        #[command(flatten)]
        named: ReGeneses,
    },
    /// Go on where the validators are no quorum any more.
    #[command(subcommand)]
    ReGenesis(re_genesis::Command),
}

impl Command {
    pub(super) async fn run(self) -> Result<Output, Failure> {
        match self {
            Self::Backup { client, out } => backup(&Client::open(&client)?, out).await,
            Self::Restore { archive, config, named } => {
                let config = LedgerConfig::load(&config)?;
                super::apart(move || restore_into(&archive, &config, &named)).await
            }
            Self::ReGenesis(command) => super::apart(move || command.run()).await,
        }
    }
}

/// Writes the archive of a running node to a file.
async fn backup(client: &Client, out: PathBuf) -> Result<Output, Failure> {
    let not_written = |error: io::Error| Failure::new("N-152", error, out.display());
    if out.exists() {
        return Err(not_written(io::ErrorKind::AlreadyExists.into()));
    }
    let folder = out.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut response = client.send(client.request(Method::GET, "/ledger/v1/archive")).await?;
    // Of its own, so that two backups do not write into one; gone if this fails.
    let part = tempfile::Builder::new()
        .prefix(".batchmind-backup-")
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(folder);
    let mut part = part.map_err(not_written)?;
    let (mut bytes, mut progress) = (0, Progress::new("MiB"));
    loop {
        let chunk = response.chunk().await;
        let chunk =
            chunk.map_err(|error| Failure::new("N-160", "the node stopped in the midst", error.without_url()))?;
        let Some(chunk) = chunk else { break };
        part.write_all(&chunk).map_err(not_written)?;
        bytes += chunk.len() as u64;
        progress.at(bytes >> 20);
    }
    drop(progress);
    let checked = out.clone();
    let part = super::apart(move || check(&mut part, &checked).map(|()| part)).await?;
    part.as_file().sync_all().map_err(not_written)?;
    part.persist_noclobber(&out).map_err(|fault| not_written(fault.error))?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(not_written)?;
    Ok(Output::new(&BackedUp { archive: out, bytes }))
}

/// Whether what came is an archive, whole and undamaged: whoever stands between may end an answer too early, and make it
/// look as if that were its end. What it says is checked by who replays or restores it.
fn check(archive: &mut NamedTempFile, name: &Path) -> Result<(), Failure> {
    archive.rewind().map_err(|error| Failure::new("N-152", error, name.display()))?;
    let read = || {
        let mut reader = ArchiveReader::of_anyone(BufReader::new(archive))?;
        while reader.next_block()?.is_some() {}
        Ok(())
    };
    read().map_err(|invalid: ArchiveInvalid| Failure::new("N-156", invalid, name.display()))
}

/// Why no ledger was made of an archive.
fn not_restored(fault: RestoreFault, archive: &Path, folder: &Path) -> Failure {
    match &fault {
        RestoreFault::Archive(_) | RestoreFault::Replay(_) | RestoreFault::WrongPlace { .. } => {
            Failure::new("N-156", fault, archive.display())
        }
        _ => Failure::new("N-157", fault, folder.display()),
    }
}

fn restore_into(archive: &Path, config: &LedgerConfig, named: &ReGeneses) -> Result<Output, Failure> {
    let folder = config.data_dir.join("ledger");
    let file = File::open(archive).map_err(|error| Failure::new("N-150", error, archive.display()))?;
    let refused = |fault| not_restored(fault, archive, &folder);
    let reader = ArchiveReader::open(BufReader::new(file), &config.consortium.id());
    let mut reader = reader.map_err(|invalid| refused(invalid.into()))?;
    let mut progress = Progress::new("blocks");
    let Restored { executed, raft_index, is_place_proven } =
        restore(&mut reader, &folder, named.digests(), |height| progress.at(height.get())).map_err(refused)?;
    let (height, entries, state_root) = (executed.height, executed.log.size(), executed.state.root());
    let validators = executed.validators();
    let votes = validators.members.iter().any(|(_, member)| config.keys.named(*member).is_some());
    let needs_votes = votes && validators.quorum() == validators.members.len();
    Ok(Output::new(&RestoredTo { folder, height, entries, state_root, raft_index, is_place_proven, needs_votes }))
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
struct RestoredTo {
    folder: PathBuf,
    height: BlockHeight,
    entries: u64,
    state_root: Digest,
    raft_index: u64,
    /// Whether the last block's header proves the index.
    is_place_proven: bool,
    /// Whether the others are no quorum without this node, so that it can vote again only with the votes that it had.
    needs_votes: bool,
}

impl fmt::Display for RestoredTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { folder, height, entries, state_root, raft_index, is_place_proven, needs_votes } = self;
        writeln!(f, "{}: restored up to height {height}, {entries} entries", folder.display())?;
        write!(f, "state root   {state_root}")?;
        if !is_place_proven {
            write!(
                f,
                "\nnote: that the last block has raft index {raft_index} is the archive's word alone. If the node does not\n\
                 catch up, restore another archive."
            )?;
        }
        if *needs_votes {
            write!(
                f,
                "\nwarning: the other nodes are no quorum without this one, so its return cannot become final, and nothing\n\
                 else can. Before the start, copy the file `votes` of the folder that was lost into this one; only if it is\n\
                 whole and the last one that this node wrote."
            )?;
        }
        Ok(())
    }
}
