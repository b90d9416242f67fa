//! Backup and restore: the final chain as an [archive](crate::archive), and a node's files from it.
//!
//! What a node signed is not in it. A restored node therefore falls silent until its `ValidatorResumed` is final, like any
//! node without its vote record.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use genesis::Consortium;
use openraft::{CommittedLeaderId, EntryPayload};
use wallet::units::BlockHeight;

use super::{
    fault::Fault,
    final_store::FinalStore,
    log_store::{Link, LogStore, blocking, chain_hash},
    raft::{RaftEntry, RaftLogId, raft_id},
    replica::Replica,
};
use crate::{
    archive::{self, ArchiveInvalid, ArchiveReader, End},
    block::{Block, FinalBlock},
    execute::Executed,
    finality::Final,
    replay::{Replay, ReplayInvalid, Signatures},
    vote::VoteKind,
};

/// The archive of what was final when it was asked for, piece by piece. Each piece waits for the disk.
#[derive(Clone)]
pub struct Backup {
    store: FinalStore,
    consortium: Arc<Consortium>,
    end: End,
    next: Piece,
}

#[derive(Clone, Copy)]
enum Piece {
    Head,
    Block(BlockHeight),
    Nothing,
}

impl Replica {
    /// The archive of what is final now.
    ///
    /// # Errors
    /// [`Fault`] if the disk cannot give it or the replica stopped.
    pub async fn backup(&self) -> Result<Backup, Fault> {
        let (store, consortium) = (self.store().clone(), self.shared.consortium.clone());
        let mut tip = self.watch_state();
        loop {
            tip.borrow_and_update();
            let reader = store.clone();
            if let Some(end) = blocking(move || end_of(&reader)).await? {
                return Ok(Backup { store, consortium, end, next: Piece::Head });
            }
            // The blocks of one certificate become final one after the other.
            tip.changed().await.map_err(|_| Fault::Stopped)?;
        }
    }
}

/// Where the chain ends; none while its last block waits for the one whose certificate made it final.
fn end_of(store: &FinalStore) -> Result<Option<End>, Fault> {
    let Some((height, log_id)) = store.last()? else {
        return Ok(Some(End { height: BlockHeight::ZERO, raft_index: 0 }));
    };
    let is_final = store.certificate(height)?.is_some_and(|certificate| certificate.kind == VoteKind::Finalize);
    Ok(is_final.then_some(End { height, raft_index: log_id.index }))
}

impl Backup {
    /// Of how many blocks it is.
    pub fn blocks(&self) -> u64 {
        self.end.height.get()
    }

    fn piece(&self, height: BlockHeight) -> Result<Vec<u8>, Fault> {
        let block = self.store.block(height)?;
        let block = block.ok_or_else(|| Fault::Missing { store: "final", what: format!("block {height}") })?;
        Ok(archive::block(block))
    }
}

impl Iterator for Backup {
    type Item = Result<Vec<u8>, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        let (piece, last) = match self.next {
            Piece::Head => (Ok(archive::head(&self.consortium)), BlockHeight::ZERO),
            Piece::Block(height) if height <= self.end.height => (self.piece(height), height),
            Piece::Block(_) => {
                self.next = Piece::Nothing;
                return Some(Ok(archive::end(self.end)));
            }
            Piece::Nothing => return None,
        };
        // After a fault nothing follows, so that nobody takes the rest for an archive.
        self.next = last.next().filter(|_| piece.is_ok()).map_or(Piece::Nothing, Piece::Block);
        Some(piece)
    }
}

/// Makes a node's ledger folder from an archive: what is final, and a raft log that begins after it. The folder appears
/// when all of it is on the disk. `progress` is told each height.
///
/// # Errors
/// [`RestoreFault`]; there is no folder then. Only what ended in the midst leaves `FOLDER.restoring`, which the next try
/// removes.
pub fn restore(
    archive: &mut ArchiveReader<impl Read>,
    folder: &Path,
    mut progress: impl FnMut(BlockHeight),
) -> Result<Executed, RestoreFault> {
    if folder.exists() {
        return Err(RestoreFault::FolderExists { folder: folder.to_owned() });
    }
    let unfinished = folder.with_extension("restoring");
    let file = |path: &Path| {
        let path = path.to_owned();
        move |source| RestoreFault::File { path, source }
    };
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished).map_err(file(&unfinished))?;
    }
    let restored = fill(archive, &unfinished, &mut progress);
    if restored.is_err() {
        fs::remove_dir_all(&unfinished).map_err(file(&unfinished))?;
    }
    let executed = restored?;
    fs::rename(&unfinished, folder).map_err(file(folder))?;
    let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent).and_then(|parent| parent.sync_all()).map_err(file(parent))?;
    Ok(executed)
}

fn fill(
    archive: &mut ArchiveReader<impl Read>,
    folder: &Path,
    progress: &mut dyn FnMut(BlockHeight),
) -> Result<Executed, RestoreFault> {
    let consortium = archive.consortium().clone();
    let (store, tip) = FinalStore::open(folder.join("final"), &consortium)?;
    let mut replay = Replay::new(consortium, Signatures::Certified);
    // Only of the last block is the place in the raft log known, and only at the archive's end.
    let mut waiting: Option<Final> = None;
    let mut before = tip.executed;
    while let Some(next) = archive.next_block()? {
        if let Some(finalized) = waiting.take() {
            before = commit(&store, before, finalized)?;
        }
        replay.step(&next)?;
        let FinalBlock { block, certificate, carriers } = next;
        progress(block.header.height);
        waiting = Some(Final { certificate, carriers, block, executed: replay.executed().clone(), log_index: 0 });
    }
    let replayed = replay.finish()?;
    if let (Some(mut finalized), Some(end)) = (waiting, archive.end()) {
        finalized.log_index = end.raft_index;
        LogStore::open(folder.join("log"))?.begin_after(place(&finalized.block, end.raft_index))?;
        commit(&store, before, finalized)?;
    }
    Ok(replayed.executed)
}

/// Puts a block on the disk, and gives the state after it.
fn commit(store: &FinalStore, before: Executed, finalized: Final) -> Result<Executed, Fault> {
    store.commit(&finalized, &before, place(&finalized.block, finalized.log_index).log_id)?;
    Ok(finalized.executed)
}

/// Where a block stands in the raft log, if it stands at `index`.
fn place(block: &Block, index: u64) -> Link {
    let header = &block.header;
    let log_id = RaftLogId::new(CommittedLeaderId::new(header.view.term, raft_id(header.leader)), index);
    let chain = chain_hash(header.after, &RaftEntry { log_id, payload: EntryPayload::Normal(block.clone().into()) });
    Link { log_id, chain }
}

/// Why there is no restored folder.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreFault {
    /// There is a ledger already.
    #[error("{} exists", folder.display())]
    FolderExists {
        /// Where the ledger was to be.
        folder: PathBuf,
    },
    /// The archive cannot be read.
    #[error("the archive: {0}")]
    Archive(#[from] ArchiveInvalid),
    /// What it says does not hold.
    #[error("{0}")]
    Replay(#[from] ReplayInvalid),
    /// The disk.
    #[error("{0}")]
    Store(#[from] Fault),
    /// The system.
    #[error("{}: {source}", path.display())]
    File {
        /// Where.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}
