//! Restore: a node's files from an [archive](crate::archive).
//!
//! What a node signed is not in it. A restored node therefore falls silent until its `ValidatorResumed` is final, like any
//! node without its vote record; see also [`super::recovery`].

use std::{
    io::{self, Read},
    mem,
    path::PathBuf,
    sync::Arc,
};

use genesis::Consortium;
use openraft::{CommittedLeaderId, EntryPayload};
use wallet::{digest::Digest, units::BlockHeight};

use super::{
    catch_up::catch_up,
    disk::Disk,
    fault::Fault,
    final_store::FinalStore,
    log_store::{Link, LogStore, chain_hash},
    raft::{RaftEntry, RaftLogId, first_entry, raft_id},
    unfinished::Unfinished,
};
use crate::{
    archive::{ArchiveInvalid, ArchiveReader, End, GROUNDS_BYTES_MAX},
    block::{Block, View},
    bundle::{NotProvable, anchored},
    execute::Executed,
    replay::{Replay, ReplayInvalid, Signatures},
};

/// So many decisions are written together.
const GROUNDS_AT_ONCE: usize = (1 << 20) / GROUNDS_BYTES_MAX;

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
    /// How many decisions that entries name were in it, each with its anchor.
    pub decisions: u64,
    /// How many the entries name.
    pub decisions_named: u64,
}

/// Makes a node's ledger folder from an archive: what is final, and a raft log that begins after it. The folder appears
/// when all of it is on the disk. Of the decisions it has those that their nodes anchored; the others it asks for later. `named` are the re-geneses that may be in it; `progress` is told each height.
///
/// # Errors
/// [`RestoreFault`]; there is no folder then. What ended in the midst leaves `FOLDER.restoring`, which the next try removes.
pub fn restore(
    archive: &mut ArchiveReader<impl Read>,
    folder: impl Into<Disk>,
    named: &[Digest],
    mut progress: impl FnMut(BlockHeight),
) -> Result<Restored, RestoreFault> {
    let unfinished = Unfinished::begin(&folder.into())?;
    let restored = fill(archive, unfinished.folder(), named, &mut progress).inspect_err(|_| unfinished.remove())?;
    unfinished.publish()?;
    Ok(restored)
}

fn fill(
    archive: &mut ArchiveReader<impl Read>,
    folder: &Disk,
    named: &[Digest],
    progress: &mut dyn FnMut(BlockHeight),
) -> Result<Restored, RestoreFault> {
    let consortium = archive.consortium().clone();
    let (store, tip) = FinalStore::open(folder.join("final"), &consortium)?;
    let replay = Replay::after(consortium.clone(), tip.executed, Signatures::Certified).naming(named);
    let executed = catch_up(&store, replay, || Ok::<_, RestoreFault>(archive.next_block()?), progress)?;
    let (height, decisions) = (executed.height, keep_decisions(archive, &store, &executed)?);
    let (Some(last), Some(End { raft_index, .. })) = (store.block(height)?, archive.end()) else {
        return Err(RestoreFault::Empty);
    };
    let parent = height.get().checked_sub(1).map_or(Ok(None), |below| store.block(BlockHeight::new(below)))?;
    let parent = parent.map(|parent| parent.block);
    let is_place_proven = proves_place(&consortium, parent.as_ref(), &last.block, raft_index)?;
    let place = place_of(&last.block, raft_index);
    LogStore::open(folder.join("log"))?.begin_after(place)?;
    store.make_final(height, place.log_id)?;
    Ok(Restored { executed, raft_index, is_place_proven, decisions, decisions_named: archive.named() as u64 })
}

/// Keeps what leads to an anchor of its node: by that and the entry that names it, it is as good as the chain. How many.
fn keep_decisions(
    archive: &mut ArchiveReader<impl Read>,
    store: &FinalStore,
    executed: &Executed,
) -> Result<u64, RestoreFault> {
    let view = store.view(Arc::new(executed.clone()))?;
    let (mut kept, mut some) = (0, Vec::new());
    // A node that starts looks again for all that entries name, and finds these.
    let keep = |some: Vec<_>| store.keep_grounds(&some, BlockHeight::ZERO);
    while let Some((by, grounds)) = archive.next_grounds()? {
        match anchored(&view, by, &grounds) {
            Ok(grounds) => some.push((by, grounds)),
            Err(NotProvable::NotAnchored(_)) => continue,
            Err(unreadable) => return Err(RestoreFault::Decision(Box::new(unreadable))),
        }
        kept += 1;
        if some.len() >= GROUNDS_AT_ONCE {
            keep(mem::take(&mut some))?;
        }
    }
    keep(some)?;
    Ok(kept)
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
    /// What was written cannot be read, as whoever holds a decision against its anchor does.
    #[error("{0}")]
    Decision(Box<NotProvable>),
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
