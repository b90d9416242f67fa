//! Writing what was checked by its hashes and not executed: a ledger that is taken from others.

use genesis::{Consortium, ValidatorSet};
use wallet::{digest::Digest, units::BlockHeight};

use super::{Ended, FinalStore, META, POINTER, Pointer, STATE};
use crate::{
    block::FinalBlock,
    execute::Executed,
    hand_over::ValidatorSets,
    shell::{fault::Fault, raft::RaftLogId, store::Batch},
};

impl FinalStore {
    /// Writes blocks, in any order. They are final here only once [`Self::adopt`] or a commit says so.
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
            let ended = next.cloned().map(|next| Ended { next, anew: sets.re_genesis_of(header.epoch).cloned() });
            Self::put_block(&mut batch, &block.block, &block.certificate, &block.carriers, ended);
        }
        self.0.write(batch)
    }

    /// Writes leaves of the state that [`Self::adopt`] takes.
    ///
    /// # Errors
    /// [`Fault`] of the disk.
    pub(crate) fn put_leaves(&self, leaves: &[(Digest, Vec<u8>)]) -> Result<(), Fault> {
        let mut batch = Batch::default();
        leaves.iter().for_each(|(key, value)| batch.put_bytes(STATE, key.as_bytes(), value));
        self.0.write(batch)
    }

    /// Makes all blocks up to `height` final, and the leaves that were written the state there. The log's root and the
    /// state's are compared with the header's, as at every start.
    ///
    /// # Errors
    /// [`Fault`] if they are others, or something is missing.
    pub(crate) fn adopt(
        &self,
        consortium: &Consortium,
        height: BlockHeight,
        log_id: RaftLogId,
    ) -> Result<Executed, Fault> {
        let mut batch = Batch::default();
        batch.put(META, POINTER, &Pointer { consortium: consortium.id(), height, log_id });
        self.0.write(batch)?;
        Ok(self.load(consortium)?.executed)
    }
}

fn next_set(sets: &ValidatorSets, epoch: u64) -> Result<&ValidatorSet, Fault> {
    let next = epoch.checked_add(1).and_then(|next| sets.of(next).ok());
    next.ok_or_else(|| Fault::Impossible(format!("epoch {epoch} is closed, and nobody votes after it")))
}
