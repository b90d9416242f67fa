//! The paged KV cache: blocks, who uses them, and which of them hold a known prefix.

mod pool;
mod prefix;

use serde::{Deserialize, Serialize};
use wallet::digest::Digest;

pub(crate) use pool::{BlockId, BlockPool};
pub(crate) use prefix::PrefixCache;

/// What changed in the prefix cache, for the router's residency records. In order of occurrence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CacheNotice {
    /// Blocks became available, one after the other.
    Stored {
        /// Their hashes (`wallet::prefix`).
        hashes: Vec<Digest>,
        /// What the first of them follows: another block, or the root of its salt.
        parent: Digest,
    },
    /// Blocks are gone.
    Removed {
        /// Their hashes.
        hashes: Vec<Digest>,
    },
    /// All blocks are gone.
    Cleared,
}

/// Blocks with reference counts, over which a prefix cache keeps what nobody uses any more.
pub(crate) struct PagedKv {
    pub pool: BlockPool,
    cache: PrefixCache,
    idle_max: usize,
}

/// The pool has fewer blocks to give than were asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exhausted {
    pub needed: usize,
    pub available: usize,
}

impl PagedKv {
    pub fn new(pool: BlockPool, idle_max: usize) -> Self {
        Self { pool, cache: PrefixCache::default(), idle_max }
    }

    /// A table of `count` blocks. The first of them are those that the cache holds for `prefix`, as far as it goes.
    /// Returns how many these are.
    pub fn allocate(&mut self, prefix: &[Digest], count: usize) -> Result<(Vec<BlockId>, usize), Exhausted> {
        let mut table: Vec<BlockId> = prefix.iter().map_while(|hash| self.cache.find(hash)).take(count).collect();
        let hits = table.len();
        for block in &table {
            if self.pool.retain(*block) == 1 {
                self.cache.set_in_use(*block);
            }
        }
        let (needed, available) = (count - hits, self.pool.free() + self.cache.idle());
        if needed > available {
            self.release(&table);
            return Err(Exhausted { needed, available });
        }
        while table.len() < count {
            let block = self.pool.take().or_else(|| {
                self.evict_one();
                self.pool.take()
            });
            table.push(block.expect("idle blocks were counted, and leaves are evicted first"));
        }
        Ok((table, hits))
    }

    /// Gives back a sequence's blocks. What the cache knows stays there, idle.
    pub fn release(&mut self, table: &[BlockId]) {
        for block in table {
            if self.pool.release(*block) == 0 {
                if self.cache.contains(*block) {
                    self.cache.set_idle(*block);
                } else {
                    self.pool.give_back(*block);
                }
            }
        }
        while self.cache.idle() > self.idle_max && self.evict_one() {}
    }

    /// Makes a full block findable under `hash`. `before` is the block before it in its sequence, and `parent` that
    /// block's hash, or the root for the first.
    pub fn publish(&mut self, block: BlockId, hash: Digest, before: Option<BlockId>, parent: Digest) {
        self.cache.insert(block, hash, before, parent);
    }

    /// Removes up to `count` idle blocks, the least recently used first, and returns how many.
    pub fn evict(&mut self, count: usize) -> usize {
        (0..count).take_while(|_| self.evict_one()).count()
    }

    /// Forgets every prefix. Blocks in use stay with their sequences.
    pub fn clear(&mut self) {
        for block in self.cache.clear() {
            self.pool.give_back(block);
        }
    }

    pub fn take_notices(&mut self) -> Vec<CacheNotice> {
        self.cache.take_notices()
    }

    /// Blocks that no sequence uses and the cache keeps.
    pub fn idle(&self) -> usize {
        self.cache.idle()
    }

    fn evict_one(&mut self) -> bool {
        let block = self.cache.evict();
        block.inspect(|block| self.pool.give_back(*block)).is_some()
    }
}
