//! Restore: a node's files from an [archive](crate::archive).
//!
//! What a node signed is not in it. A restored node therefore falls silent until its `ValidatorResumed` is final, like any
//! node without its vote record; see also [`super::recovery`].

use std::{
    fs::{self, File, TryLockError},
    io::{self, ErrorKind, Read},
    path::{Path, PathBuf},
};

use genesis::Consortium;
use openraft::{CommittedLeaderId, EntryPayload};
use wallet::{digest::Digest, units::BlockHeight};

use super::{
    fault::Fault,
    final_store::FinalStore,
    log_store::{Link, LogStore, chain_hash},
    raft::{RaftEntry, RaftLogId, first_entry, raft_id},
};
use crate::{
    archive::{ArchiveInvalid, ArchiveReader},
    block::{Block, FinalBlock, View},
    execute::Executed,
    finality::Final,
    replay::{Replay, ReplayInvalid, Signatures},
};

/// No raft log comes that far: ten thousand entries a second for fourteen million years.
const RAFT_INDEX_MAX: u64 = 1 << 62;

/// What a restore came to.
#[derive(Clone, Debug)]
pub struct Restored {
    /// The final state.
    pub executed: Executed,
    /// Where the last block stands in the raft log, as the archive says.
    pub raft_index: u64,
    /// Whether the last block's header proves that. If not, it is believed: with a wrong one the node finds no place in the
    /// others' log, and follows nobody.
    pub is_place_proven: bool,
}

/// Makes a node's ledger folder from an archive: what is final, and a raft log that begins after it. The folder appears
/// when all of it is on the disk. `named` are the re-geneses that may be in it; `progress` is told each height.
///
/// # Errors
/// [`RestoreFault`]; there is no folder then. What ended in the midst leaves `FOLDER.restoring`, which the next try removes.
pub fn restore(
    archive: &mut ArchiveReader<impl Read>,
    folder: &Path,
    named: &[Digest],
    mut progress: impl FnMut(BlockHeight),
) -> Result<Restored, RestoreFault> {
    let unfinished = Unfinished::begin(folder)?;
    let restored = fill(archive, unfinished.folder(), named, &mut progress).inspect_err(|_| unfinished.remove())?;
    unfinished.publish()?;
    Ok(restored)
}

/// A ledger folder that is being filled beside its place.
pub(super) struct Unfinished {
    folder: PathBuf,
    /// Where it will stand.
    place: PathBuf,
    /// The folder itself. It is locked until the process ends with it.
    lock: File,
    /// The folder that is above its place, if that was made for it.
    made_in: Option<PathBuf>,
}

impl Unfinished {
    /// An empty folder for `place`, where nothing may stand, instead of one that ended in the midst.
    pub(super) fn begin(place: &Path) -> Result<Self, RestoreFault> {
        if place.exists() {
            return Err(RestoreFault::FolderExists { folder: place.to_owned() });
        }
        let parent = above(place);
        let is_new = !parent.exists();
        fs::create_dir_all(parent).map_err(file(parent))?;
        let made_in = is_new.then(|| above(parent).to_owned());
        let folder = place.with_extension("restoring");
        match File::open(&folder) {
            Ok(left) => {
                lock(&left, &folder)?;
                fs::remove_dir_all(&folder).map_err(file(&folder))?;
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(file(&folder)(error)),
        }
        fs::create_dir(&folder).map_err(file(&folder))?;
        let own = File::open(&folder).map_err(file(&folder))?;
        lock(&own, &folder)?;
        Ok(Self { folder, place: place.to_owned(), lock: own, made_in })
    }

    /// The folder to fill.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Lets the folder appear in its place. Nobody may have files in it open.
    pub(super) fn publish(self) -> Result<(), RestoreFault> {
        // Else a loss of power could leave the folder without what is in it: that of a node that never was.
        let moved = self.lock.sync_all().map_err(file(&self.folder));
        let moved = moved.and_then(|()| fs::rename(&self.folder, &self.place).map_err(file(&self.place)));
        moved.inspect_err(|_| self.remove())?;
        sync(above(&self.place))?;
        self.made_in.as_deref().map_or(Ok(()), sync)
    }

    /// Removes what was written so far.
    pub(super) fn remove(&self) {
        if let Err(error) = fs::remove_dir_all(&self.folder) {
            tracing::warn!(folder = %self.folder.display(), %error, "an unfinished restore could not be removed");
        }
    }
}

/// The folder in which a path stands.
fn above(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn lock(folder: &File, path: &Path) -> Result<(), RestoreFault> {
    folder.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => RestoreFault::UnderWay { folder: path.to_owned() },
        TryLockError::Error(source) => file(path)(source),
    })
}

fn sync(folder: &Path) -> Result<(), RestoreFault> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(file(folder))
}

fn file(path: &Path) -> impl FnOnce(io::Error) -> RestoreFault + use<> {
    let path = path.to_owned();
    move |source| RestoreFault::File { path, source }
}

fn fill(
    archive: &mut ArchiveReader<impl Read>,
    folder: &Path,
    named: &[Digest],
    progress: &mut dyn FnMut(BlockHeight),
) -> Result<Restored, RestoreFault> {
    let consortium = archive.consortium().clone();
    let (store, tip) = FinalStore::open(folder.join("final"), &consortium)?;
    let mut replay = Replay::new(consortium.clone(), Signatures::Certified).naming(named);
    // Only of the last block is the place in the raft log known, and only at the archive's end.
    let (mut waiting, mut parent): (Option<Final>, Option<Block>) = (None, None);
    let mut before = tip.executed;
    while let Some(next) = archive.next_block()? {
        if let Some(finalized) = waiting.take() {
            store.commit(&finalized, &before, place_of(&finalized.block, 0).log_id)?;
            (before, parent) = (finalized.executed, Some(finalized.block));
        }
        replay.step(&next)?;
        let FinalBlock { block, certificate, carriers } = next;
        progress(block.header.height);
        waiting = Some(Final { certificate, carriers, block, executed: replay.executed().clone(), log_index: 0 });
    }
    let executed = replay.finish()?.executed;
    let (Some(mut last), Some(end)) = (waiting, archive.end()) else { return Err(RestoreFault::Empty) };
    let raft_index = end.raft_index;
    let is_place_proven = proves_place(&consortium, parent.as_ref(), &last.block, raft_index)?;
    last.log_index = raft_index;
    let place = place_of(&last.block, raft_index);
    LogStore::open(folder.join("log"))?.begin_after(place)?;
    store.commit(&last, &before, place.log_id)?;
    Ok(Restored { executed, raft_index, is_place_proven })
}

/// Whether a block's header proves that the block stands at `index` in the raft log. It names the hash of the log before
/// it, which ends with its parent, or with the entry with which its leader began the term; unless a block between them
/// never became final, of which an archive knows nothing.
pub(super) fn proves_place(
    consortium: &Consortium,
    parent: Option<&Block>,
    block: &Block,
    index: u64,
) -> Result<bool, RestoreFault> {
    let Block { header, .. } = block;
    let wrong = RestoreFault::WrongPlace { height: header.height, raft_index: index };
    // The first entry of every log holds no block, and no entry holds two.
    if index <= header.height.get() || index > RAFT_INDEX_MAX {
        return Err(wrong);
    }
    let log_until_parent = |index: u64| match parent {
        Some(parent) => place_of(parent, index).chain,
        None => chain_hash(Digest::ZERO, &first_entry(consortium)),
    };
    // A re-genesis is put just after the last final block.
    let follows = |parent: &View| parent.term == header.view.term || header.view.is_re_genesis();
    let parent = parent.map(|parent| parent.header.view).filter(follows);
    let chain = if parent.is_some() {
        log_until_parent(index - 1)
    } else {
        let leader = CommittedLeaderId::new(header.view.term, raft_id(header.leader));
        let began = RaftEntry { log_id: RaftLogId::new(leader, index - 1), payload: EntryPayload::Blank };
        chain_hash(log_until_parent(index.saturating_sub(2)), &began)
    };
    let is_next = parent.is_some_and(|parent| parent.next() == Some(header.view)) || header.view.is_re_genesis();
    match chain == header.after {
        true => Ok(true),
        false if is_next => Err(wrong),
        false => Ok(false),
    }
}

/// Where a block stands in the raft log, if it stands at `index`.
pub fn place_of(block: &Block, index: u64) -> Link {
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
    /// Another process restores it.
    #[error("{} is being filled by another restore or join", folder.display())]
    UnderWay {
        /// What it fills.
        folder: PathBuf,
    },
    /// The archive has no block. The node would be like one that never voted.
    #[error("the archive has no block, so there is nothing to restore: start the node without a ledger")]
    Empty,
    /// The archive cannot be read.
    #[error("the archive: {0}")]
    Archive(#[from] ArchiveInvalid),
    /// What it says does not hold.
    #[error("{0}")]
    Replay(#[from] ReplayInvalid),
    /// What it says of the raft log does not hold.
    #[error("height {height}: it is said that this block has raft index {raft_index}, which its header disproves")]
    WrongPlace {
        /// Of the last block.
        height: BlockHeight,
        /// Where that is said to stand.
        raft_index: u64,
    },
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

#[cfg(test)]
mod tests;
