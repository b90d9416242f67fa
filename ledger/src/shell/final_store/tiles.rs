//! The log in tiles, and its hashes above the leaves: written when a block completes a tile, so that a proof reads a few
//! hundred hashes however long the log is.

use std::ops::Range;

use wallet::digest::Digest;

use super::{ENTRIES, FinalStore, LEAVES, STORE, TILES, missing};
use crate::{
    shell::{
        fault::Fault,
        store::{Batch, Scan, number_key},
    },
    tree::tiles::{TILE_WIDTH, Tiles, completed},
};

impl Tiles for FinalStore {
    type Error = Fault;

    fn hashes(&self, level: u8, range: Range<u64>) -> Result<Vec<Digest>, Fault> {
        let family = if level == 0 { LEAVES } else { TILES };
        self.in_order(family, level, range, |key, value| {
            let hash = value.try_into().map_err(|_| Fault::damaged(STORE, family, key, "not a hash"))?;
            Ok(Digest(hash))
        })
    }
}

impl FinalStore {
    /// The entries of a range of the log as they are stored, which is as they are hashed. The caller bounds it.
    ///
    /// # Errors
    /// [`Fault::Missing`] if the range goes beyond what is final.
    pub fn entry_bytes(&self, range: Range<u64>) -> Result<Vec<Vec<u8>>, Fault> {
        self.in_order(ENTRIES, 0, range, |_, value| Ok(value.to_vec()))
    }

    /// Adds the hashes above level 0 that a block's `leaves` complete after the first `first`.
    pub(super) fn put_completed(&self, batch: &mut Batch, first: u64, leaves: &[Digest]) -> Result<(), Fault> {
        for (level, index, hash) in completed(self, first, leaves)? {
            batch.put(TILES, &key(level, index), &hash);
        }
        Ok(())
    }

    /// Writes the hashes above level 0 if they are not there: a store that an earlier version wrote has none.
    pub(super) fn fill_tiles(&self, leaves: &[Digest]) -> Result<(), Fault> {
        let Some(last) = (leaves.len() as u64 / TILE_WIDTH).checked_sub(1) else { return Ok(()) };
        if self.rows.get_bytes(TILES, &key(1, last))?.is_some() {
            return Ok(());
        }
        let mut batch = Batch::default();
        self.put_completed(&mut batch, 0, leaves)?;
        self.rows.write(batch)
    }

    /// The values of a range of numbers, none missing.
    fn in_order<T>(
        &self,
        family: &'static str,
        level: u8,
        range: Range<u64>,
        mut read: impl FnMut(&[u8], &[u8]) -> Result<T, Fault>,
    ) -> Result<Vec<T>, Fault> {
        let (mut values, mut next) = (Vec::new(), range.start);
        self.rows.scan(family, &key(level, range.start), Some(&key(level, range.end)), |found, value| {
            if found != key(level, next) {
                return Ok(Scan::Stop);
            }
            values.push(read(found, value)?);
            next += 1;
            Ok(Scan::More)
        })?;
        let what = || format!("{family} {next}");
        match next < range.end {
            true if self.reach.has_hash(level, next) => self.rows.missing(what()),
            true => Err(missing(what())),
            false => Ok(values),
        }
    }
}

/// Leaves and entries have their number as the key; a hash above has its level before that.
fn key(level: u8, index: u64) -> Vec<u8> {
    let number = number_key(index);
    if level == 0 { number.to_vec() } else { [&[level], &number[..]].concat() }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use wallet::{
        codec,
        units::{LogIndex, NodeId},
    };

    use super::*;
    use crate::{
        block::View,
        bundle::FinalView as _,
        execute::{Executed, Place, propose},
        finality::Final,
        shell::{memory::MemoryDisk, raft::RaftLogId},
        testing::{self, CREATED_MS, Session, certify, consortium, signer},
        tree::{
            log::{LogTree, leaf_hash, verify_consistency, verify_inclusion},
            tiles::{consistency_proof, inclusion_proof},
        },
        vote::Signer,
    };
    use genesis::Consortium;
    use wallet::units::Timestamp;

    /// A store with final blocks of so many entries, and the state after each.
    fn store(disk: &Arc<MemoryDisk>, blocks: &[u64]) -> (FinalStore, Vec<Executed>) {
        let consortium: Arc<Consortium> = consortium(1);
        let session = Session::in_eu(&consortium, 0);
        let (store, tip) = FinalStore::open(disk.clone(), &consortium).expect("a new disk");
        let (mut tip, mut certificate, mut steps, mut number) = (tip.executed, None, Vec::new(), 0);
        for count in blocks {
            let entries = (number..number + count).map(|at| session.anchored(0, at + 1, Digest([7; 32]))).collect();
            number += count;
            let view = View { term: 1, number: tip.view.number + 1 };
            let place = Place {
                parent: tip.clone(),
                certificate,
                carriers: Vec::new(),
                skipped: None,
                view,
                after: Digest::ZERO,
            };
            let leader: Signer = signer(0);
            let proposal =
                propose(&consortium, place, &leader, Timestamp::new(CREATED_MS + 100 * view.number), entries);
            assert!(proposal.refused.is_empty() && proposal.left_over.is_empty());
            let certified = certify(&proposal.block, 0..1);
            certificate = Some(certified.clone());
            let (block, executed) = (proposal.block, proposal.executed);
            let finalized =
                Final { certificate: certified, carriers: Vec::new(), block, executed, log_index: view.number };
            store.commit(&finalized, &tip, RaftLogId::default()).expect("our own disk");
            tip = finalized.executed;
            steps.push(tip.clone());
        }
        (store, steps)
    }

    #[test]
    fn every_tree_that_was_final_is_proven_from_the_tiles() {
        let disk = Arc::default();
        let (store, steps) = store(&disk, &[1, 254, 1, 300, 1_000]);
        for now in &steps {
            let (size, root) = (now.log.size(), now.log.root());
            for index in [0, 254, 255, 256, size - 1].into_iter().filter(|index| *index < size).map(LogIndex::new) {
                let leaf = store.entry(index).expect("reads").expect("final").leaf_hash();
                let proof = inclusion_proof(&store, index, size).expect("reads").expect("within");
                assert_eq!(verify_inclusion(&root, size, index, &leaf, &proof), Ok(()), "{index:?} in {size}");
            }
            for old in steps.iter().filter(|old| old.log.size() <= size) {
                let proof = consistency_proof(&store, old.log.size(), size).expect("reads").expect("within");
                let old = (old.log.root(), old.log.size());
                assert_eq!(verify_consistency(&old.0, old.1, &root, size, &proof), Ok(()), "{} to {size}", old.1);
            }
        }
    }

    #[test]
    fn an_entry_is_stored_as_it_is_hashed() {
        let disk = Arc::default();
        let (store, _) = store(&disk, &[3]);
        let bytes = store.entry_bytes(0..3).expect("reads");
        let entries = store.entries(0..3).expect("reads");
        assert_eq!(bytes, entries.iter().map(codec::encode).collect::<Vec<_>>());
        assert_eq!(
            store.hashes(0, 0..3).expect("reads"),
            bytes.iter().map(|entry| leaf_hash(entry)).collect::<Vec<_>>()
        );
    }

    #[test]
    fn a_complete_tile_that_is_gone_raises_the_alarm() {
        let disk = Arc::default();
        let (store, _) = store(&disk, &[600]);
        let alarm = crate::shell::alarm::Alarm::default();
        store.watch_by(&alarm);
        assert!(store.hashes(1, 0..3).is_err() && alarm.raised().is_none(), "the third is not complete");
        let mut batch = Batch::default();
        batch.delete(TILES, &key(1, 1));
        store.rows.write(batch).expect("our own disk");
        assert!(matches!(store.hashes(1, 0..2), Err(Fault::Missing { .. })));
        assert!(alarm.raised().is_some());
    }

    #[test]
    fn hashes_beyond_the_log_are_a_fault_and_not_fewer_hashes() {
        let disk = Arc::default();
        let (store, _) = store(&disk, &[300]);
        assert_eq!(store.hashes(1, 0..1).expect("reads").len(), 1);
        for (level, range) in [(0, 299..301), (1, 0..2), (2, 0..1)] {
            assert!(matches!(store.hashes(level, range), Err(Fault::Missing { .. })), "level {level}");
        }
        assert!(matches!(store.entry_bytes(300..301), Err(Fault::Missing { .. })));
    }

    #[test]
    fn a_store_without_tiles_has_them_after_it_was_opened() {
        let disk = Arc::default();
        let (store, steps) = store(&disk, &[300, 300]);
        let whole = store.hashes(1, 0..2).expect("reads");
        let mut batch = Batch::default();
        batch.delete_range(TILES, &key(1, 0), &key(2, 0));
        store.rows.write(batch).expect("our own disk");
        assert!(store.hashes(1, 0..2).is_err());
        drop(store);
        let consortium = testing::consortium(1);
        let (store, tip) = FinalStore::open(disk, &consortium).expect("opens");
        assert_eq!(store.hashes(1, 0..2).expect("reads"), whole);
        let last = steps.last().expect("blocks");
        assert_eq!((tip.executed.log.size(), &tip.executed.log), (600, &LogTree::clone(&last.log)));
        let view = store.view(Arc::new(tip.executed)).expect("reads");
        assert_eq!(view.anchor_from(NodeId::ZERO, LogIndex::new(599)), Ok(Some(LogIndex::new(599))));
    }
}
