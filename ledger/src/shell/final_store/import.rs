//! Writing a ledger that is taken from others, as blocks that were executed or as what was checked by its hashes. Nothing
//! of it is final here before [`FinalStore::make_final`] says so.

use genesis::ValidatorSet;
use wallet::{digest::Digest, units::BlockHeight};

use super::{Ended, FinalStore, META, POINTER, Pointer, STATE};
use crate::{
    block::FinalBlock,
    execute::Executed,
    hand_over::ValidatorSets,
    shell::{fault::Fault, raft::RaftLogId, store::Batch},
};

impl FinalStore {
    /// Writes blocks that follow each other, and what they made of the state `before`: `after`. A re-genesis comes alone.
    ///
    /// # Errors
    /// [`Fault`] of the disk; nothing of the blocks is stored then.
    pub(crate) fn put_executed(&self, blocks: &[FinalBlock], before: &Executed, after: &Executed) -> Result<(), Fault> {
        let (mut batch, mut leaves) = (Batch::default(), Vec::new());
        for FinalBlock { block, certificate, carriers } in blocks {
            let header = &block.header;
            let ended = header.is_closing().then(|| self.ended(block, before, after)).transpose()?;
            leaves.extend(Self::put_block(&mut batch, block, certificate, carriers, ended));
        }
        self.put_step(&mut batch, before, after, &leaves)?;
        self.rows.write(batch)
    }

    /// Makes all blocks up to `height` final. They are written, and so is the state there.
    ///
    /// # Errors
    /// [`Fault`] of the disk.
    pub(crate) fn make_final(&self, height: BlockHeight, log_id: RaftLogId) -> Result<(), Fault> {
        let mut batch = Batch::default();
        batch.put(META, POINTER, &Pointer { consortium: self.consortium, height, log_id });
        self.rows.write(batch)
    }

    /// Writes blocks, in any order.
    ///
    /// # Errors
    /// [`Fault`] of the disk.
    pub(crate) fn put_blocks(&self, blocks: &[FinalBlock], sets: &ValidatorSets) -> Result<(), Fault> {
        let mut batch = Batch::default();
        for block in blocks {
            let header = &block.block.header;
            let next = match header.is_closing() {
                true => Some(next_set(sets, header.epoch)?),
                false => None,
            };
            let ended = next.cloned().map(|next| Ended {
                next,
                anew: sets.re_genesis_of(header.epoch).filter(|_| header.view.is_re_genesis()).cloned(),
            });
            Self::put_block(&mut batch, &block.block, &block.certificate, &block.carriers, ended);
        }
        self.rows.write(batch)
    }

    /// Writes leaves of the state that [`Self::load_at`] reads.
    ///
    /// # Errors
    /// [`Fault`] of the disk.
    pub(crate) fn put_leaves(&self, leaves: &[(Digest, Vec<u8>)]) -> Result<(), Fault> {
        let mut batch = Batch::default();
        leaves.iter().for_each(|(key, value)| batch.put_bytes(STATE, key.as_bytes(), value));
        self.rows.write(batch)
    }
}

fn next_set(sets: &ValidatorSets, epoch: u64) -> Result<&ValidatorSet, Fault> {
    let next = epoch.checked_add(1).and_then(|next| sets.of(next).ok());
    next.ok_or_else(|| Fault::Impossible(format!("epoch {epoch} is closed, and nobody votes after it")))
}
