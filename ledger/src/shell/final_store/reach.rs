//! What must be on the disk, so that a row that is gone is not taken for one that never was.

use std::sync::atomic::{AtomicU64, Ordering};

use wallet::units::BlockHeight;

use crate::{execute::Executed, tree::tiles::TILE_WIDTH};

/// How far the chain is final here. Blocks that are on the disk and not final yet are not counted.
#[derive(Debug, Default)]
pub(super) struct Reach {
    height: AtomicU64,
    entries: AtomicU64,
    ended: AtomicU64,
}

impl Reach {
    /// All up to here is on the disk.
    pub(super) fn raise(&self, tip: &Executed) {
        self.height.fetch_max(tip.height.get(), Ordering::Release);
        self.entries.fetch_max(tip.log.size(), Ordering::Release);
        self.ended.fetch_max(tip.state.epoch(), Ordering::Release);
    }

    /// Whether there is a block of this height. There is none at genesis.
    pub(super) fn has_height(&self, height: BlockHeight) -> bool {
        (1..=self.height.load(Ordering::Acquire)).contains(&height.get())
    }

    /// Whether this epoch is over.
    pub(super) fn has_ended(&self, epoch: u64) -> bool {
        epoch < self.ended.load(Ordering::Acquire)
    }

    /// Whether the log has this hash: of an entry at level 0, of a complete tile above.
    pub(super) fn has_hash(&self, level: u8, index: u64) -> bool {
        let complete = (0..level).fold(self.entries.load(Ordering::Acquire), |hashes, _| hashes / TILE_WIDTH);
        index < complete
    }
}
