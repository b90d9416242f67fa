//! `batchmind ledger`: backup of the final chain, a node's files from it, and beginning anew.

mod backup;
mod re_genesis;
pub(super) mod stopped;

use std::{
    fmt,
    fs::File,
    io::BufReader,
    path::{Path, PathBuf},
};

use clap::Subcommand;
use ledger::{
    archive::ArchiveReader,
    shell::restore::{RestoreFault, Restored, restore},
};
use serde::Serialize;
use wallet::{digest::Digest, units::BlockHeight};

use super::{
    Failure, Output,
    client::{Client, ClientArguments},
    progress::Progress,
    re_geneses::ReGeneses,
};
use crate::{config::LedgerConfig, schedule};

/// Back up the ledger, and restore a node from a backup.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Write everything that is final at a node to a file: at a running one over HTTP, or from the folder of a stopped one.
    ///
    /// The file is an archive: `batchmind audit replay` checks it, `batchmind ledger restore` makes a node's ledger of it.
    /// It also holds the decisions that entries name, as far as the node keeps them, and no keys, no sessions and no votes.
    Backup {
        #[command(flatten)]
        client: ClientArguments,
        /// The configuration of a node on this machine that is stopped, instead of --url.
        #[arg(long, value_name = "FILE", conflicts_with_all = ["url", "ca_file", "api_key_file"])]
        config: Option<PathBuf>,
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
            Self::Backup { client, config: None, out } => backup::of_running(&Client::open(&client)?, out).await,
            Self::Backup { config: Some(config), out, .. } => {
                let config = LedgerConfig::load(&config)?;
                super::apart(move || backup::of_stopped(config, out)).await
            }
            Self::Restore { archive, config, named } => {
                let config = LedgerConfig::load(&config)?;
                super::apart(move || restore_into(&archive, &config, &named)).await
            }
            Self::ReGenesis(command) => super::apart(move || command.run()).await,
        }
    }
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
    let folder = stopped::folder(config)?;
    let file = File::open(archive).map_err(|error| Failure::new("N-150", error, archive.display()))?;
    let refused = |fault| not_restored(fault, archive, &folder);
    let reader = ArchiveReader::open(BufReader::new(file), &config.consortium.id());
    let mut reader = reader.map_err(|invalid| refused(invalid.into()))?;
    let mut progress = Progress::new("blocks");
    let Restored { executed, raft_index, is_place_proven, decisions, decisions_named } =
        restore(&mut reader, &folder, named.digests(), |height| progress.at(height.get())).map_err(refused)?;
    let (height, entries, state_root) = (executed.height, executed.log.size(), executed.state.root());
    let validators = executed.validators();
    let votes = validators.members.iter().any(|(_, member)| config.keys.named(*member).is_some());
    let needs_votes = votes && validators.quorum() == validators.members.len();
    let has_decisions = config.data_dir.join(schedule::FILE).exists();
    Ok(Output::new(&RestoredTo {
        folder,
        height,
        entries,
        state_root,
        raft_index,
        is_place_proven,
        decisions,
        decisions_named,
        needs_votes,
        has_decisions,
    }))
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
    /// How many decisions that entries name the archive holds, each with its anchor.
    decisions: u64,
    /// How many they name; the node asks the others for the rest.
    decisions_named: u64,
    /// Whether the others are no quorum without this node, so that it can vote again only with the votes that it had.
    needs_votes: bool,
    /// Whether the node's decision log is there, which is in no archive.
    has_decisions: bool,
}

impl fmt::Display for RestoredTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { folder, height, entries, state_root, raft_index, needs_votes, has_decisions, .. } = self;
        writeln!(f, "{}: restored up to height {height}, {entries} entries", folder.display())?;
        writeln!(f, "decisions    {} of {} that entries name", self.decisions, self.decisions_named)?;
        write!(f, "state root   {state_root}")?;
        if !self.is_place_proven {
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
        if !has_decisions {
            write!(
                f,
                "\nnote: the decision log of this node is not here. If it is lost, say so before the start, with\n\
                 `batchmind scheduler log-lost`."
            )?;
        }
        Ok(())
    }
}
