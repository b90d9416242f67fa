//! Final blocks that others have, executed and put on the disk: each of the two on a thread of its own, and signatures
//! verified on others.
//!
//! What is written here is final only once the caller makes it so, which it may when this ends without an error.

use std::{
    mem,
    panic::resume_unwind,
    sync::mpsc::{Receiver, sync_channel},
    thread,
};

use wallet::units::BlockHeight;

use super::{fault::Fault, final_store::FinalStore};
use crate::{
    block::FinalBlock,
    execute::Executed,
    replay::{Replay, ReplayInvalid},
};

/// Bytes of entries after which blocks are written.
const GROUP_BYTES: usize = 1 << 20;
/// And so many blocks, if they hold less.
const GROUP_BLOCKS: usize = 256;
/// So many groups wait for the disk at most.
const GROUPS_WAITING: usize = 1;

/// Executes the blocks that `next` gives, from where `replay` stands, and writes them to `store`. The state after the last
/// of them, once all signatures were good. `progress` is told each height.
pub(super) fn catch_up<E: From<ReplayInvalid> + From<Fault>>(
    store: &FinalStore,
    mut replay: Replay,
    mut next: impl FnMut() -> Result<Option<FinalBlock>, E>,
    progress: &mut dyn FnMut(BlockHeight),
) -> Result<Executed, E> {
    let (groups, waiting) = sync_channel(GROUPS_WAITING);
    let before = replay.executed().clone();
    let execute = move || {
        let mut group = Group::default();
        while let Some(block) = next()? {
            let is_re_genesis = block.block.header.view.is_re_genesis();
            // What leads to a re-genesis is made of the state before it, so it stands alone.
            if is_re_genesis && groups.send((mem::take(&mut group).blocks, replay.executed().clone())).is_err() {
                break;
            }
            replay.step(&block)?;
            progress(block.block.header.height);
            group.push(block);
            let is_whole = is_re_genesis || group.is_full();
            // Nobody takes it if the disk failed.
            if is_whole && groups.send((mem::take(&mut group).blocks, replay.executed().clone())).is_err() {
                break;
            }
        }
        let _ = groups.send((group.blocks, replay.executed().clone()));
        Ok(replay.finish()?.executed)
    };
    thread::scope(|scope| {
        let writer = scope.spawn(move || write(store, before, waiting));
        let executed = execute();
        // If the disk failed, that comes first: the replay ended early then.
        writer.join().unwrap_or_else(|panic| resume_unwind(panic))?;
        executed
    })
}

/// Blocks that are written together.
#[derive(Default)]
struct Group {
    blocks: Vec<FinalBlock>,
    bytes: usize,
}

impl Group {
    fn push(&mut self, block: FinalBlock) {
        self.bytes += block.block.entries.iter().map(|entry| entry.bytes().len()).sum::<usize>();
        self.blocks.push(block);
    }

    fn is_full(&self) -> bool {
        self.bytes >= GROUP_BYTES || self.blocks.len() >= GROUP_BLOCKS
    }
}

/// Writes blocks, each time with the state after them, until no more come.
fn write(store: &FinalStore, mut before: Executed, groups: Receiver<(Vec<FinalBlock>, Executed)>) -> Result<(), Fault> {
    for (blocks, after) in groups {
        store.put_executed(&blocks, &before, &after)?;
        before = after;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
