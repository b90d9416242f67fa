//! Which blocks hold a known prefix.
//!
//! A hash names all tokens up to the end of its block, so children need their parents: only leaves are evicted, the
//! least recently used first. Time is a counter of uses.

use std::collections::{BTreeSet, HashMap};

use wallet::digest::Digest;

use super::{BlockId, CacheNotice};

/// Blocks by the hash of the prefix that they end.
#[derive(Default)]
pub(crate) struct PrefixCache {
    entries: HashMap<Digest, Entry>,
    hashes: HashMap<BlockId, Digest>,
    /// Idle entries without children, by last use.
    evictable: BTreeSet<(u64, Digest)>,
    idle: usize,
    uses: u64,
    notices: Vec<CacheNotice>,
}

struct Entry {
    block: BlockId,
    parent: Digest,
    children: usize,
    idle: bool,
    last_use: u64,
}

impl PrefixCache {
    pub fn find(&self, hash: &Digest) -> Option<BlockId> {
        self.entries.get(hash).map(|entry| entry.block)
    }

    pub fn contains(&self, block: BlockId) -> bool {
        self.hashes.contains_key(&block)
    }

    /// How many blocks no sequence uses.
    pub fn idle(&self) -> usize {
        self.idle
    }

    /// Enters a block that a sequence has just filled. Does nothing if the prefix is known already, or if the block
    /// before it is not the one that is known: so whoever uses an entry uses its parents too, and every idle entry is
    /// an ancestor of idle ones only.
    pub fn insert(&mut self, block: BlockId, hash: Digest, before: Option<BlockId>, parent: Digest) {
        if self.entries.contains_key(&hash) || self.hashes.contains_key(&block) {
            return;
        }
        if let Some(before) = before {
            let Some(entry) = self.entries.get_mut(&parent).filter(|entry| entry.block == before) else { return };
            entry.children += 1;
            self.evictable.remove(&(entry.last_use, parent));
        }
        self.uses += 1;
        self.entries.insert(hash, Entry { block, parent, children: 0, idle: false, last_use: self.uses });
        self.hashes.insert(block, hash);
        match self.notices.last_mut() {
            Some(CacheNotice::Stored { hashes, .. }) if hashes.last() == Some(&parent) => hashes.push(hash),
            _ => self.notices.push(CacheNotice::Stored { hashes: vec![hash], parent }),
        }
    }

    /// The block has its first user again.
    pub fn set_in_use(&mut self, block: BlockId) {
        let (hash, entry) = self.entry_of(block);
        assert!(entry.idle, "{block:?} was in use");
        entry.idle = false;
        let key = (entry.last_use, hash);
        self.idle -= 1;
        self.evictable.remove(&key);
    }

    /// The block's last user is gone.
    pub fn set_idle(&mut self, block: BlockId) {
        self.uses += 1;
        let uses = self.uses;
        let (hash, entry) = self.entry_of(block);
        assert!(!entry.idle, "{block:?} was idle");
        entry.idle = true;
        entry.last_use = uses;
        let is_leaf = entry.children == 0;
        self.idle += 1;
        if is_leaf {
            self.evictable.insert((uses, hash));
        }
    }

    /// Forgets the leaf that was used least recently, and returns its block.
    pub fn evict(&mut self) -> Option<BlockId> {
        let (_, hash) = self.evictable.pop_first()?;
        let entry = self.entries.remove(&hash).expect("what is evictable is an entry");
        self.hashes.remove(&entry.block);
        self.idle -= 1;
        if let Some(parent) = self.entries.get_mut(&entry.parent) {
            parent.children -= 1;
            if parent.children == 0 && parent.idle {
                self.evictable.insert((parent.last_use, entry.parent));
            }
        }
        match self.notices.last_mut() {
            Some(CacheNotice::Removed { hashes }) => hashes.push(hash),
            _ => self.notices.push(CacheNotice::Removed { hashes: vec![hash] }),
        }
        Some(entry.block)
    }

    /// Forgets everything and returns the blocks that nobody uses.
    pub fn clear(&mut self) -> Vec<BlockId> {
        let mut idle: Vec<BlockId> =
            self.entries.values().filter(|entry| entry.idle).map(|entry| entry.block).collect();
        idle.sort_unstable();
        *self = Self { uses: self.uses, notices: std::mem::take(&mut self.notices), ..Self::default() };
        self.notices.push(CacheNotice::Cleared);
        idle
    }

    pub fn take_notices(&mut self) -> Vec<CacheNotice> {
        std::mem::take(&mut self.notices)
    }

    fn entry_of(&mut self, block: BlockId) -> (Digest, &mut Entry) {
        let hash = self.hashes[&block];
        (hash, self.entries.get_mut(&hash).expect("each known block has its entry"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        kv::{BlockPool, Exhausted, PagedKv},
        model::LlamaConfig,
    };

    const ROOT: Digest = Digest([255; 32]);

    fn hash(name: u8) -> Digest {
        Digest([name; 32])
    }

    fn kv(blocks: usize, idle_max: usize) -> PagedKv {
        let config = LlamaConfig {
            vocabulary: 1,
            hidden: 8,
            intermediate: 8,
            layers: 1,
            heads: 1,
            kv_heads: 1,
            head_dim: 8,
            rms_norm_eps: 0.0,
            rope_theta: 1.0,
            rope_scaling: None,
            positions_max: 1,
            tied_embeddings: true,
            end_tokens: Vec::new(),
        };
        PagedKv::new(BlockPool::new(&config, blocks), idle_max)
    }

    /// A chain of blocks, filled and released.
    fn store(kv: &mut PagedKv, names: &[u8]) {
        let hashes: Vec<Digest> = names.iter().copied().map(hash).collect();
        let (table, _) = kv.allocate(&hashes, hashes.len()).expect("blocks");
        let mut parent = ROOT;
        for (i, (block, hash)) in table.iter().zip(&hashes).enumerate() {
            kv.publish(*block, *hash, i.checked_sub(1).map(|before| table[before]), parent);
            parent = *hash;
        }
        kv.release(&table);
    }

    #[test]
    fn the_least_recently_used_leaf_goes_first() {
        let mut kv = kv(8, 8);
        store(&mut kv, &[1, 2]);
        store(&mut kv, &[1, 3]);
        store(&mut kv, &[1, 2]);
        kv.take_notices();
        assert_eq!(kv.evict(1), 1);
        assert_eq!(kv.take_notices(), [CacheNotice::Removed { hashes: vec![hash(3)] }]);
        assert_eq!(kv.evict(9), 2);
        assert_eq!(kv.take_notices(), [CacheNotice::Removed { hashes: vec![hash(2), hash(1)] }]);
        assert_eq!(kv.pool.free(), 8);
    }

    #[test]
    fn blocks_in_use_are_not_evicted() {
        let mut kv = kv(4, 4);
        store(&mut kv, &[1, 2]);
        let (table, hits) = kv.allocate(&[hash(1), hash(2)], 2).expect("cached");
        assert_eq!(hits, 2);
        assert_eq!(kv.evict(9), 0);
        assert_eq!(kv.allocate(&[], 3), Err(Exhausted { needed: 3, available: 2 }));
        kv.release(&table);
        assert_eq!(kv.allocate(&[], 3).expect("evicts").0.len(), 3);
    }

    #[test]
    fn what_an_allocation_matches_is_not_evicted_for_it() {
        let mut kv = kv(3, 3);
        store(&mut kv, &[1, 2]);
        assert_eq!(kv.allocate(&[hash(1)], 4), Err(Exhausted { needed: 3, available: 2 }));
        let (_, hits) = kv.allocate(&[hash(1)], 3).expect("evicts the second block");
        assert_eq!(hits, 1);
    }

    #[test]
    fn idle_blocks_are_kept_up_to_the_limit() {
        let mut kv = kv(8, 1);
        store(&mut kv, &[1, 2, 3]);
        assert_eq!((kv.idle(), kv.pool.free()), (1, 7));
        assert_eq!(
            kv.take_notices(),
            [
                CacheNotice::Stored { hashes: vec![hash(1), hash(2), hash(3)], parent: ROOT },
                CacheNotice::Removed { hashes: vec![hash(3), hash(2)] },
            ]
        );
    }

    #[test]
    fn clearing_forgets_blocks_in_use_and_frees_idle_ones() {
        let mut kv = kv(4, 4);
        store(&mut kv, &[1, 2]);
        let (table, _) = kv.allocate(&[hash(1)], 1).expect("cached");
        kv.take_notices();
        kv.clear();
        assert_eq!(kv.take_notices(), [CacheNotice::Cleared]);
        assert_eq!((kv.pool.free(), kv.idle()), (3, 0));
        kv.release(&table);
        assert_eq!(kv.pool.free(), 4);
        assert_eq!(kv.allocate(&[hash(1)], 1).expect("free").1, 0);
    }

    #[test]
    fn a_block_behind_one_that_the_cache_does_not_hold_is_not_entered() {
        let mut kv = kv(4, 4);
        store(&mut kv, &[1]);
        kv.take_notices();
        let (table, _) = kv.allocate(&[], 2).expect("free");
        kv.publish(table[0], hash(1), None, ROOT);
        kv.publish(table[1], hash(2), Some(table[0]), hash(1));
        assert_eq!(kv.take_notices(), [], "the first is known from another sequence, the second stands behind a copy");
        kv.release(&table);
        assert_eq!((kv.pool.free(), kv.idle()), (3, 1));
    }
}
