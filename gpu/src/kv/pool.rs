//! Fixed-size blocks of keys and values.

use half::bf16;

use crate::{BLOCK_TOKENS, model::LlamaConfig};

/// A block of the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct BlockId(u32);

/// All memory for keys and values. A block holds all layers of 16 tokens, in the order of a page:
/// `[layer][k|v][kv_head][token][dim]`, bfloat16.
pub(crate) struct BlockPool {
    bits: Vec<u16>,
    references: Vec<u32>,
    free: Vec<BlockId>,
    used: usize,
    kv_heads: usize,
    head_dim: usize,
    layers: usize,
}

impl BlockPool {
    pub fn new(config: &LlamaConfig, blocks: usize) -> Self {
        let count = u32::try_from(blocks).expect("a pool has fewer than 2^32 blocks");
        Self {
            bits: vec![0; blocks * config.page_bytes() / 2],
            references: vec![0; blocks],
            free: (0..count).rev().map(BlockId).collect(),
            used: 0,
            kv_heads: config.kv_heads,
            head_dim: config.head_dim,
            layers: config.layers,
        }
    }

    pub fn total(&self) -> usize {
        self.references.len()
    }

    pub fn free(&self) -> usize {
        self.free.len()
    }

    /// Blocks with references.
    pub fn used(&self) -> usize {
        self.used
    }

    /// A free block, with one reference.
    pub fn take(&mut self) -> Option<BlockId> {
        let block = self.free.pop()?;
        self.retain(block);
        Some(block)
    }

    /// Adds a reference and returns how many there are now.
    pub fn retain(&mut self, block: BlockId) -> u32 {
        let references = &mut self.references[block.0 as usize];
        *references += 1;
        self.used += usize::from(*references == 1);
        *references
    }

    /// Drops a reference and returns how many are left.
    pub fn release(&mut self, block: BlockId) -> u32 {
        let references = &mut self.references[block.0 as usize];
        *references = references.checked_sub(1).expect("released as often as retained");
        self.used -= usize::from(*references == 0);
        *references
    }

    /// Makes a block without references free again.
    pub fn give_back(&mut self, block: BlockId) {
        assert_eq!(self.references[block.0 as usize], 0, "{block:?} is in use");
        self.free.push(block);
    }

    /// Numbers in one token's keys (or values) of one layer.
    pub fn kv_width(&self) -> usize {
        self.kv_heads * self.head_dim
    }

    /// Keys and values of one layer: `[k|v][kv_head][token][dim]`.
    pub fn layer(&self, block: BlockId, layer: usize) -> &[u16] {
        let size = self.layer_size();
        &self.block(block)[layer * size..(layer + 1) * size]
    }

    /// Writes the keys and values of one token, rounded to bfloat16.
    pub fn write(&mut self, block: BlockId, layer: usize, token: usize, keys: &[f32], values: &[f32]) {
        let (kv_heads, dim, size) = (self.kv_heads, self.head_dim, self.layer_size());
        let to = &mut self.block_mut(block)[layer * size..(layer + 1) * size];
        for (part, rows) in [keys, values].into_iter().enumerate() {
            for (head, row) in rows.chunks_exact(dim).enumerate() {
                let at = ((part * kv_heads + head) * BLOCK_TOKENS + token) * dim;
                for (to, value) in to[at..at + dim].iter_mut().zip(row) {
                    *to = bf16::from_f32(*value).to_bits();
                }
            }
        }
    }

    /// The first `rows` tokens of a block as a page's payload, little endian; the other rows are zero.
    pub fn export(&self, block: BlockId, rows: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(2 * self.block_size());
        for token_rows in self.block(block).chunks_exact(BLOCK_TOKENS * self.head_dim) {
            let (valid, stale) = token_rows.split_at(rows * self.head_dim);
            bytes.extend(valid.iter().flat_map(|bits| bits.to_le_bytes()));
            bytes.resize(bytes.len() + 2 * stale.len(), 0);
        }
        bytes
    }

    /// Fills a block with a page's payload, which has the right size.
    pub fn import(&mut self, block: BlockId, payload: &[u8]) {
        assert_eq!(payload.len(), 2 * self.block_size(), "the caller checks the size");
        let (pairs, _) = payload.as_chunks::<2>();
        for (to, pair) in self.block_mut(block).iter_mut().zip(pairs) {
            *to = u16::from_le_bytes(*pair);
        }
    }

    fn block(&self, block: BlockId) -> &[u16] {
        let size = self.block_size();
        &self.bits[block.0 as usize * size..][..size]
    }

    fn block_mut(&mut self, block: BlockId) -> &mut [u16] {
        let size = self.block_size();
        &mut self.bits[block.0 as usize * size..][..size]
    }

    fn layer_size(&self) -> usize {
        2 * self.kv_heads * BLOCK_TOKENS * self.head_dim
    }

    fn block_size(&self) -> usize {
        self.layers * self.layer_size()
    }
}
