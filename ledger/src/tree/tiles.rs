//! The log's tree in tiles of 256 hashes, as C2SP's tlog-tiles cuts it, and proofs that read few of them.
//!
//! A hash of level 0 is that of a leaf, one of level l + 1 the root over 256 of level l. A tile is 256 hashes of one
//! level; the last one of each level may be partial. A proof reads one tile of each level for the leaf and one for the
//! right edge: at 2^24 leaves six tiles, whatever the place.

use std::{collections::HashMap, convert::Infallible, ops::Range};

use sha2::{Digest as _, Sha256};
use wallet::{digest::Digest, units::LogIndex};

use super::log::{LogTree, node_hash};

/// Hashes in a full tile.
pub const TILE_WIDTH: u64 = 256;
/// A tile spans this many levels of the tree.
const TILE_HEIGHT: u32 = 8;

/// Where the hashes of a log are.
pub trait Tiles {
    /// Why they cannot be read.
    type Error;

    /// The hashes of `level` in `range`, exactly as many. Nobody asks for some that the log does not have yet.
    ///
    /// # Errors
    /// One of its own if any is missing.
    fn hashes(&self, level: u8, range: Range<u64>) -> Result<Vec<Digest>, Self::Error>;
}

/// How many hashes of `level` the tree of `size` leaves has.
pub fn width_of_level(level: u8, size: u64) -> u64 {
    size.checked_shr(TILE_HEIGHT * u32::from(level)).unwrap_or(0)
}

/// The leaf hashes themselves, all in memory: for logs that are small or near at hand.
impl Tiles for [Digest] {
    type Error = Infallible;

    fn hashes(&self, level: u8, range: Range<u64>) -> Result<Vec<Digest>, Infallible> {
        let leaves_each = 1_usize << (TILE_HEIGHT * u32::from(level));
        let place = |index: u64| usize::try_from(index).expect("a slice is addressed by usize");
        let root = |leaves: &[Digest]| LogTree::from_leaf_hashes(leaves).root();
        Ok(self.chunks_exact(leaves_each).map(root).take(place(range.end)).skip(place(range.start)).collect())
    }
}

/// The root over the first `size` leaves.
///
/// # Errors
/// What `tiles` says if it lacks a hash.
pub fn root<T: Tiles + ?Sized>(tiles: &T, size: u64) -> Result<Digest, T::Error> {
    Reader::new(tiles, size).root(0..size)
}

/// The tree over the first `size` leaves, to which the next can be appended.
///
/// # Errors
/// What `tiles` says if it lacks a hash.
pub fn right_edge<T: Tiles + ?Sized>(tiles: &T, size: u64) -> Result<LogTree, T::Error> {
    Ok(LogTree::from_peaks(size, Reader::new(tiles, size).peaks(0..size)?))
}

/// The audit path of the leaf at `index` in the tree of `size` leaves (RFC 9162 2.1.3.1), or none beyond its end.
///
/// # Errors
/// What `tiles` says if it lacks a hash.
pub fn inclusion_proof<T: Tiles + ?Sized>(
    tiles: &T,
    index: LogIndex,
    size: u64,
) -> Result<Option<Vec<Digest>>, T::Error> {
    let index = index.get();
    if index >= size {
        return Ok(None);
    }
    let (mut reader, mut leaves, mut proof) = (Reader::new(tiles, size), 0..size, Vec::new());
    while leaves.end - leaves.start > 1 {
        let middle = split(&leaves);
        let (taken, sibling) = if index < middle {
            (leaves.start..middle, middle..leaves.end)
        } else {
            (middle..leaves.end, leaves.start..middle)
        };
        proof.push(reader.root(sibling)?);
        leaves = taken;
    }
    proof.reverse();
    Ok(Some(proof))
}

/// The proof that the tree of `size` leaves only appended to the one of `old_size` (RFC 9162 2.1.4.1), or none if there
/// never was such a tree.
///
/// # Errors
/// What `tiles` says if it lacks a hash.
pub fn consistency_proof<T: Tiles + ?Sized>(
    tiles: &T,
    old_size: u64,
    size: u64,
) -> Result<Option<Vec<Digest>>, T::Error> {
    if !(1..=size).contains(&old_size) {
        return Ok(None);
    }
    let (mut reader, mut leaves, mut proof, mut whole) = (Reader::new(tiles, size), 0..size, Vec::new(), true);
    while old_size < leaves.end {
        let middle = split(&leaves);
        if old_size <= middle {
            proof.push(reader.root(middle..leaves.end)?);
            leaves = leaves.start..middle;
        } else {
            proof.push(reader.root(leaves.start..middle)?);
            leaves = middle..leaves.end;
            whole = false;
        }
    }
    if !whole {
        proof.push(reader.root(leaves)?);
    }
    proof.reverse();
    Ok(Some(proof))
}

/// The root of the tree of `old_size` leaves, and the proof that the one of `size` only appended to it; none if there never
/// was such a tree.
///
/// # Errors
/// What `tiles` says if it lacks a hash.
pub fn grown_since<T: Tiles + ?Sized>(
    tiles: &T,
    old_size: u64,
    size: u64,
) -> Result<Option<(Digest, Vec<Digest>)>, T::Error> {
    let Some(proof) = consistency_proof(tiles, old_size, size)? else { return Ok(None) };
    Ok(Some((root(tiles, old_size)?, proof)))
}

/// The hashes above level 0 that `leaves`, appended after the first `first`, complete: level, index and hash of each.
///
/// # Errors
/// What `tiles` says if it lacks a hash before `first`.
pub fn completed<T: Tiles + ?Sized>(
    tiles: &T,
    first: u64,
    leaves: &[Digest],
) -> Result<Vec<(u8, u64, Digest)>, T::Error> {
    let (mut all, mut level, mut first, mut new) = (Vec::new(), 0, first, leaves.to_vec());
    while !new.is_empty() {
        let end = first + new.len() as u64;
        let mut above = Vec::new();
        if first / TILE_WIDTH < end / TILE_WIDTH {
            let mut hashes = tiles.hashes(level, first / TILE_WIDTH * TILE_WIDTH..first)?;
            hashes.extend(new);
            above.extend(hashes.chunks_exact(TILE_WIDTH as usize).map(|tile| LogTree::from_leaf_hashes(tile).root()));
        }
        (first, new, level) = (first / TILE_WIDTH, above, level + 1);
        all.extend(new.iter().zip(first..).map(|(hash, index)| (level, index, *hash)));
    }
    Ok(all)
}

/// Reads each tile once.
pub(super) struct Reader<'a, T: ?Sized> {
    tiles: &'a T,
    size: u64,
    read: HashMap<(u8, u64), Vec<Digest>>,
}

impl<'a, T: Tiles + ?Sized> Reader<'a, T> {
    pub(super) fn new(tiles: &'a T, size: u64) -> Self {
        Self { tiles, size, read: HashMap::new() }
    }

    /// The root over `leaves`, which the splits of RFC 9162 led to: it begins at a multiple of each of its subtrees.
    pub(super) fn root(&mut self, leaves: Range<u64>) -> Result<Digest, T::Error> {
        let mut peaks = self.peaks(leaves)?.into_iter().rev();
        let Some(last) = peaks.next() else { return Ok(Digest(Sha256::digest([]).into())) };
        Ok(peaks.fold(last, |right, left| node_hash(&left, &right)))
    }

    /// The roots of its complete subtrees, the largest first.
    fn peaks(&mut self, leaves: Range<u64>) -> Result<Vec<Digest>, T::Error> {
        let (mut start, mut peaks) = (leaves.start, Vec::new());
        while start < leaves.end {
            let height = (leaves.end - start).ilog2();
            peaks.push(self.subtree(height, start >> height)?);
            start += 1 << height;
        }
        Ok(peaks)
    }

    /// The root of the complete subtree number `index` of 2^`height` leaves.
    fn subtree(&mut self, height: u32, index: u64) -> Result<Digest, T::Error> {
        let (level, within) = ((height / TILE_HEIGHT) as u8, height % TILE_HEIGHT);
        let first = index << within;
        let tile = first / TILE_WIDTH;
        let hashes = match self.read.entry((level, tile)) {
            std::collections::hash_map::Entry::Occupied(read) => read.into_mut(),
            std::collections::hash_map::Entry::Vacant(unread) => {
                let start = tile * TILE_WIDTH;
                let end = width_of_level(level, self.size).min(start.saturating_add(TILE_WIDTH));
                unread.insert(self.tiles.hashes(level, start..end)?)
            }
        };
        let start = (first % TILE_WIDTH) as usize;
        Ok(LogTree::from_leaf_hashes(&hashes[start..start + (1 << within)]).root())
    }
}

/// Where RFC 9162 splits a range of at least two leaves: after the largest power of two that is smaller.
pub(super) fn split(leaves: &Range<u64>) -> u64 {
    leaves.start + (1 << (leaves.end - leaves.start - 1).ilog2())
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::{
        super::log::{leaf_hash, verify_consistency, verify_inclusion},
        *,
    };
    use proptest::prelude::*;

    fn leaves(count: u64) -> Vec<Digest> {
        (0..count).map(|i| leaf_hash(&i.to_le_bytes())).collect()
    }

    /// What a store keeps: leaf hashes, and hashes above them as blocks complete them. Counts what is read.
    #[derive(Default)]
    struct Kept {
        levels: Vec<Vec<Digest>>,
        read: RefCell<usize>,
    }

    impl Kept {
        fn append(&mut self, new: &[Digest]) {
            let first = self.levels.first().map_or(0, Vec::len) as u64;
            let completed = completed(self, first, new).expect("all is kept");
            let leaves = new.iter().zip(first..).map(|(hash, index)| (0, index, *hash));
            for (level, index, hash) in leaves.chain(completed) {
                if self.levels.len() == usize::from(level) {
                    self.levels.push(Vec::new());
                }
                let hashes = &mut self.levels[usize::from(level)];
                assert_eq!(hashes.len() as u64, index, "each hash of a level once and in order");
                hashes.push(hash);
            }
        }
    }

    impl Tiles for Kept {
        type Error = String;

        fn hashes(&self, level: u8, range: Range<u64>) -> Result<Vec<Digest>, String> {
            *self.read.borrow_mut() += (range.end - range.start) as usize;
            if range.is_empty() {
                return Ok(Vec::new());
            }
            let found = self
                .levels
                .get(usize::from(level))
                .and_then(|hashes| hashes.get(range.start as usize..range.end as usize));
            found.map(<[Digest]>::to_vec).ok_or(format!("no hashes {range:?} of level {level}"))
        }
    }

    #[test]
    fn a_log_in_blocks_of_any_size_keeps_the_same_hashes_and_the_right_roots() {
        let all = leaves(70_000);
        let mut kept = Kept::default();
        let mut sizes = [1_usize, 254, 1, 255, 257, 1_000, 4_096, 59_000, 672, 999].into_iter().cycle();
        let mut tree = LogTree::default();
        while (tree.size() as usize) < all.len() {
            let first = tree.size() as usize;
            let block = &all[first..all.len().min(first + sizes.next().expect("endless"))];
            kept.append(block);
            block.iter().for_each(|leaf| tree.append(*leaf));
            assert_eq!(root(&kept, tree.size()), Ok(tree.root()), "size {}", tree.size());
            assert_eq!(right_edge(&kept, tree.size()), Ok(tree.clone()));
        }
        assert_eq!(kept.levels.iter().map(Vec::len).collect::<Vec<_>>(), [70_000, 273, 1]);
    }

    #[test]
    fn a_proof_reads_a_few_tiles_however_long_the_log_is() {
        let mut kept = Kept::default();
        kept.append(&leaves(200_000));
        for (index, size) in [(0, 200_000), (131_071, 131_073), (199_999, 200_000), (65_535, 199_999)] {
            *kept.read.borrow_mut() = 0;
            inclusion_proof(&kept, LogIndex::new(index), size).expect("kept").expect("within");
            consistency_proof(&kept, index.max(1), size).expect("kept").expect("within");
            assert!(*kept.read.borrow() <= 2 * 6 * 256, "{} hashes for {index} in {size}", kept.read.borrow());
        }
    }

    #[test]
    fn beyond_the_log_there_is_no_proof() {
        let few = leaves(3);
        assert_eq!(inclusion_proof(&few[..], LogIndex::new(3), 3), Ok(None));
        assert_eq!(consistency_proof(&few[..], 0, 3), Ok(None));
        assert_eq!(consistency_proof(&few[..], 4, 3), Ok(None));
        assert_eq!(root(&few[..], 0), Ok(LogTree::default().root()));
    }

    proptest! {
        #[test]
        fn proofs_from_tiles_are_those_from_all_leaves(
            counts in prop::collection::vec(1..700_usize, 1..6), at in any::<prop::sample::Index>(), cut in any::<prop::sample::Index>(),
        ) {
            let all = leaves(counts.iter().sum::<usize>() as u64);
            let mut kept = Kept::default();
            let mut first = 0;
            for count in counts {
                kept.append(&all[first..first + count]);
                first += count;
            }
            let size = cut.index(all.len()) + 1;
            let (index, old) = (LogIndex::new(at.index(size) as u64), at.index(size) as u64 + 1);
            let tree = LogTree::from_leaf_hashes(&all[..size]);
            let proof = inclusion_proof(&kept, index, size as u64).expect("kept").expect("within");
            prop_assert_eq!(Some(proof.clone()), inclusion_proof(&all[..], index, size as u64).expect("infallible"));
            let leaf = &all[index.get() as usize];
            prop_assert_eq!(verify_inclusion(&tree.root(), size as u64, index, leaf, &proof), Ok(()));
            let proof = consistency_proof(&kept, old, size as u64).expect("kept").expect("within");
            prop_assert_eq!(Some(proof.clone()), consistency_proof(&all[..], old, size as u64).expect("infallible"));
            let old_root = LogTree::from_leaf_hashes(&all[..old as usize]).root();
            prop_assert_eq!(verify_consistency(&old_root, old, &tree.root(), size as u64, &proof), Ok(()));
        }
    }
}
