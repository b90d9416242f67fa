//! Backup: the final chain of a running or stopped node as an [archive](crate::archive), with the decisions that its entries
//! name as far as the node keeps them.

use std::{collections::BTreeSet, sync::Arc};

use genesis::Consortium;
use wallet::{
    digest::Digest,
    units::{BlockHeight, NodeId},
};

use super::{
    disk::Disk,
    fault::Fault,
    final_store::FinalStore,
    log_store::{LogStore, blocking},
    raft::block_of,
    replica::Replica,
    restore::place_of,
};
use crate::{
    archive::{self, End},
    block::Block,
    vote::VoteKind,
};

/// The archive of what was final when it was asked for, piece by piece. Each piece waits for the disk.
#[derive(Clone)]
pub struct Backup {
    store: FinalStore,
    consortium: Arc<Consortium>,
    end: End,
    next: Piece,
    /// The decisions that the blocks so far name, and that were not written yet.
    named: BTreeSet<(NodeId, Digest)>,
}

#[derive(Clone, Copy)]
enum Piece {
    Head,
    Block(BlockHeight),
    Grounds,
    Nothing,
}

impl Replica {
    /// The archive of what is final now, up to the last block that a certificate of its own made final: of those before, a
    /// later block's may have done so.
    ///
    /// # Errors
    /// [`Fault`] if the disk cannot give it.
    pub async fn backup(&self) -> Result<Backup, Fault> {
        let (store, log) = (self.store().clone(), self.shared.log.clone());
        let consortium = self.shared.consortium.clone();
        let reader = store.clone();
        let end = blocking(move || end_of(&reader, &log)).await?;
        Ok(Backup { store, consortium, end, next: Piece::Head, named: BTreeSet::new() })
    }
}

/// The last block that a certificate of its own made final, and its place in the raft log.
pub(super) fn end_of(store: &FinalStore, log: &LogStore) -> Result<End, Fault> {
    let mut end = match store.last()? {
        Some((height, log_id)) => End { height, raft_index: log_id.index },
        None => return Ok(End { height: BlockHeight::ZERO, raft_index: 0 }),
    };
    // The blocks of one certificate become final one after the other, and a node may have stopped between them.
    while store.certificate(end.height)?.is_none_or(|certificate| certificate.kind != VoteKind::Finalize) {
        let Some(height) = end.height.get().checked_sub(1).filter(|height| *height > 0) else {
            return Ok(End { height: BlockHeight::ZERO, raft_index: 0 });
        };
        let missing = || Fault::Missing { store: "final", what: format!("block {height}") };
        let height = BlockHeight::new(height);
        let block = store.block(height)?.ok_or_else(missing)?.block;
        end = End { height, raft_index: index_of(log, &block, end.raft_index)? };
    }
    Ok(end)
}

/// Where a block stands in the raft log, below `index`.
fn index_of(log: &LogStore, block: &Block, index: u64) -> Result<u64, Fault> {
    for index in (0..index).rev() {
        let Some(stored) = log.entry(index)? else {
            // There the log of a restored node begins, after a block that only the others hold.
            let begins = log.purged().is_some_and(|purged| purged == place_of(block, index));
            if begins { return Ok(index) } else { break }
        };
        if block_of(stored.entry).is_some_and(|stored| stored.header == block.header) {
            return Ok(index);
        }
    }
    Err(Fault::Missing { store: "log", what: format!("the final block {}", block.header.height) })
}

impl Backup {
    /// The archive of what is final in the ledger of a stopped node, up to the same block as [`Replica::backup`].
    ///
    /// # Errors
    /// [`Fault`] if there is no ledger in `folder`, the node runs, or the disk cannot give it. Nothing that the ledger says is
    /// changed, but RocksDB may write its files anew: so this needs a disk that can be written to, as the node does.
    pub fn of_stopped(folder: impl Into<Disk>, consortium: Arc<Consortium>) -> Result<Self, Fault> {
        let folder = folder.into();
        for store in ["final", "log"] {
            if !folder.join(store).has_store() {
                return Err(Fault::Missing { store, what: folder.path(store).display().to_string() });
            }
        }
        let (store, _) = FinalStore::open(folder.join("final"), &consortium)?;
        let end = end_of(&store, &LogStore::open(folder.join("log"))?)?;
        Ok(Self { store, consortium, end, next: Piece::Head, named: BTreeSet::new() })
    }

    /// Of how many blocks it is.
    pub fn blocks(&self) -> u64 {
        self.end.height.get()
    }

    /// The last block that is final in the ledger now. The archive ends below it where that block is final by the certificate
    /// of a later one, which the ledger has not.
    ///
    /// # Errors
    /// [`Fault`] if the disk cannot give it.
    pub fn final_height(&self) -> Result<BlockHeight, Fault> {
        Ok(self.store.last()?.map_or(BlockHeight::ZERO, |(height, _)| height))
    }

    /// What follows, and what comes after it.
    fn piece(&mut self) -> Result<Option<(Vec<u8>, Piece)>, Fault> {
        let after = |height: BlockHeight| {
            let next = height.next().filter(|next| *next <= self.end.height);
            next.map_or(Piece::Grounds, Piece::Block)
        };
        Ok(match self.next {
            Piece::Head => Some((archive::head(&self.consortium), after(BlockHeight::ZERO))),
            Piece::Block(height) => {
                let next = after(height);
                let block = self.store.block(height)?;
                let block = block.ok_or_else(|| Fault::Missing { store: "final", what: format!("block {height}") })?;
                self.named.extend(archive::named(&block.block));
                Some((archive::block(block), next))
            }
            Piece::Grounds => {
                while let Some((by, decision)) = self.named.pop_first() {
                    if let Some(grounds) = self.store.grounds(by, decision)? {
                        return Ok(Some((archive::grounds(by, grounds), Piece::Grounds)));
                    }
                }
                Some((archive::end(self.end), Piece::Nothing))
            }
            Piece::Nothing => None,
        })
    }
}

impl Iterator for Backup {
    type Item = Result<Vec<u8>, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        let piece = self.piece().transpose()?;
        // After a fault nothing follows, so that nobody takes the rest for an archive.
        self.next = piece.as_ref().map_or(Piece::Nothing, |(_, next)| *next);
        Some(piece.map(|(bytes, _)| bytes))
    }
}

#[cfg(test)]
mod tests;
