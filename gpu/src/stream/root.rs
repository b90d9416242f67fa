//! The root of a growing stream, and proofs that pages stand in it.
//!
//! The tree has the shape of RFC 9162: a leaf is the hash of a head's 64 bytes, complete subtrees are joined in pairs, and
//! the root joins what is left over from right to left. So the root over the first n heads never changes once they are
//! there, and it is made of at most 64 hashes, the *peaks*: the roots of the complete subtrees, the largest first, one
//! for each set bit of n.

use std::collections::VecDeque;

use serde::{Deserialize, Deserializer, Serialize, de};
use wallet::{
    digest::{Digest, blake3},
    page::PageHead,
};

use super::StreamFault;

const EMPTY_DOMAIN: &str = "batchmind/v1/gpu/stream-empty";
const LEAF_DOMAIN: &str = "batchmind/v1/gpu/stream-leaf";
const NODE_DOMAIN: &str = "batchmind/v1/gpu/stream-node";

/// The root of a growing stream, in the least memory: what is needed to append, and no more. A plain value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Unchecked")]
pub struct Accumulator {
    count: u64,
    /// Roots of the complete subtrees, the largest first: one for each set bit of `count`.
    peaks: Vec<Digest>,
}

/// An [`Accumulator`] as it is decoded.
#[derive(Deserialize)]
struct Unchecked {
    count: u64,
    #[serde(deserialize_with = "few")]
    peaks: Vec<Digest>,
}

impl TryFrom<Unchecked> for Accumulator {
    type Error = &'static str;

    fn try_from(Unchecked { count, peaks }: Unchecked) -> Result<Self, Self::Error> {
        Self::from_peaks(count, peaks).ok_or("another number of peaks than the count has")
    }
}

impl Accumulator {
    /// That of a stream without pages.
    pub const fn new() -> Self {
        Self { count: 0, peaks: Vec::new() }
    }

    /// The most pages that are believed of a stream from elsewhere: positions after it can still be counted.
    const PAGES_MAX: u64 = 1 << 48;

    /// That of a stream of `count` pages, from what [`Self::peaks`] gave. None if `count` pages have another number of
    /// peaks, or if no stream has so many.
    pub fn from_peaks(count: u64, peaks: Vec<Digest>) -> Option<Self> {
        (count <= Self::PAGES_MAX && peaks.len() == count.count_ones() as usize).then_some(Self { count, peaks })
    }

    /// Adds the next page's head. Its position is [`Self::len`]: whoever has the heads from elsewhere checks that before.
    pub fn push(&mut self, head: &PageHead) {
        self.push_subtree(0, leaf(head));
    }

    /// Adds the root of a complete subtree of 2^`level` heads. The count is a multiple of that.
    fn push_subtree(&mut self, level: u32, mut subtree: Digest) {
        for _ in 0..(self.count >> level).trailing_ones() {
            if let Some(left) = self.peaks.pop() {
                subtree = node(&left, &subtree);
            }
        }
        self.peaks.push(subtree);
        self.count += 1 << level;
    }

    /// How many pages there are.
    pub const fn len(&self) -> u64 {
        self.count
    }

    /// Whether there are no pages.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The root.
    pub fn root(&self) -> Digest {
        bag(self.peaks.iter().rev()).unwrap_or_else(empty)
    }

    /// Roots of the complete subtrees, the largest first.
    pub fn peaks(&self) -> &[Digest] {
        &self.peaks
    }
}

/// Proves that the heads of `from..to` stand in the stream whose root at size `at` is known, and that this root
/// continues the one at `from`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RangeProof {
    /// The first page.
    pub from: u64,
    /// The page after the last.
    pub to: u64,
    /// The size of the stream whose root is meant.
    pub at: u64,
    /// The peaks at `from`, the largest subtree first.
    #[serde(deserialize_with = "few")]
    pub left: Vec<Digest>,
    /// The subtrees between `to` and `at`, from left to right; those after which nothing is joined in pairs any more are
    /// one hash. None if `to` is `at`.
    #[serde(deserialize_with = "few")]
    pub right: Vec<Digest>,
}

/// What a [`RangeProof`] proves, if these are the roots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Roots {
    /// The root before the range.
    pub from: Digest,
    /// The root after it.
    pub to: Digest,
    /// The root of the whole.
    pub at: Digest,
}

impl RangeProof {
    /// The most hashes on each side.
    pub const HASHES_MAX: usize = 64;

    /// What goes on from the page before the range. None if the proof has not as many hashes as that takes.
    pub fn start(&self) -> Option<Accumulator> {
        Accumulator::from_peaks(self.from, self.left.clone())
    }

    /// The roots that follow from these heads: the proof is worth something if one of them was known before. None if
    /// heads and proof do not fit each other.
    pub fn verify(&self, heads: &[PageHead]) -> Option<Roots> {
        let count = self.to.checked_sub(self.from)?;
        if self.to > self.at || count != heads.len() as u64 || self.right.len() > Self::HASHES_MAX {
            return None;
        }
        let mut tree = self.start()?;
        let from = tree.root();
        for head in heads {
            if head.position != tree.len() {
                return None;
            }
            tree.push(head);
        }
        let to = tree.root();
        let mut right = self.right.iter();
        while let Some(level) = next_level(tree.len(), self.at) {
            tree.push_subtree(level, *right.next()?);
        }
        if tree.len() < self.at {
            tree.peaks.push(*right.next()?);
        }
        right.next().is_none().then(|| Roots { from, to, at: tree.root() })
    }
}

/// The root at every size from the earliest page that is kept on, with proofs: what a transport keeps beside its pages.
/// 64 bytes for each page. Appending costs two hashes, everything else a few for each doubling of the stream.
#[derive(Clone, Debug, Default)]
pub struct RootLog {
    earliest: u64,
    tail: u64,
    levels: Vec<Level>,
}

/// The roots of the complete subtrees of one size.
#[derive(Clone, Debug, Default)]
struct Level {
    /// Which is the first that is kept.
    first: u64,
    nodes: VecDeque<Digest>,
}

impl RootLog {
    /// That of an empty stream.
    pub const fn new() -> Self {
        Self { earliest: 0, tail: 0, levels: Vec::new() }
    }

    /// That of a stream whose pages before `at` are not kept.
    pub fn starting_at(at: &Accumulator) -> Self {
        let mut peaks = at.peaks.iter().rev();
        let levels = (0..u64::BITS - at.count.leading_zeros()).map(|level| {
            let index = at.count >> level;
            match index & 1 {
                1 => Level { first: index - 1, nodes: peaks.next().copied().into_iter().collect() },
                _ => Level { first: index, nodes: VecDeque::new() },
            }
        });
        Self { earliest: at.count, tail: at.count, levels: levels.collect() }
    }

    /// The first position at which there is a root.
    pub const fn earliest(&self) -> u64 {
        self.earliest
    }

    /// How many pages the stream has.
    pub const fn tail(&self) -> u64 {
        self.tail
    }

    /// Adds the head of the page at [`Self::tail`].
    pub fn push(&mut self, head: &PageHead) {
        let (mut subtree, mut index) = (leaf(head), self.tail);
        for level in 0.. {
            if level == self.levels.len() {
                self.levels.push(Level { first: index, nodes: VecDeque::new() });
            }
            let nodes = &mut self.levels[level].nodes;
            nodes.push_back(subtree);
            // The last of a pair makes the node above.
            let Some(left) = nodes.len().checked_sub(2).filter(|_| index & 1 == 1) else { break };
            subtree = node(&nodes[left], &subtree);
            index >>= 1;
        }
        self.tail += 1;
    }

    /// Forgets what only roots and proofs below `before` need. Beyond the tail it means the tail.
    pub fn trim(&mut self, before: u64) {
        let before = before.min(self.tail);
        if before <= self.earliest {
            return;
        }
        self.earliest = before;
        for (bit, level) in self.levels.iter_mut().enumerate() {
            // The peak at `before` is the one to the left.
            let keep = (before >> bit).saturating_sub(1);
            let gone = usize::try_from(keep.saturating_sub(level.first)).unwrap_or(usize::MAX).min(level.nodes.len());
            level.nodes.drain(..gone);
            level.first += gone as u64;
        }
    }

    /// The root over the heads below `at`.
    ///
    /// # Errors
    /// [`StreamFault::NotKept`], [`StreamFault::BeyondTail`].
    pub fn root(&self, at: u64) -> Result<Digest, StreamFault> {
        Ok(self.accumulator(at)?.root())
    }

    /// What goes on from `at`.
    ///
    /// # Errors
    /// [`StreamFault::NotKept`], [`StreamFault::BeyondTail`].
    pub fn accumulator(&self, at: u64) -> Result<Accumulator, StreamFault> {
        self.within(at)?;
        Ok(Accumulator { count: at, peaks: self.peaks(at, u64::BITS).copied().collect() })
    }

    /// Proves the pages of `from..to` to who knows the root at `to`.
    ///
    /// # Errors
    /// See [`Self::prove_within`].
    pub fn prove(&self, from: u64, to: u64) -> Result<RangeProof, StreamFault> {
        self.prove_within(from, to, to)
    }

    /// Proves the pages of `from..to` to who knows the root at `at`.
    ///
    /// # Errors
    /// [`StreamFault::NotKept`], [`StreamFault::BeyondTail`]; the latter also for a range that ends before it begins.
    pub fn prove_within(&self, from: u64, to: u64, at: u64) -> Result<RangeProof, StreamFault> {
        self.within(from)?;
        self.within(at)?;
        for (position, tail) in [(from, to), (to, at)] {
            if position > tail {
                return Err(StreamFault::BeyondTail { position, tail });
            }
        }
        let (mut done, mut right) = (to, Vec::new());
        while let Some(level) = next_level(done, at) {
            right.push(*self.node(level, done >> level));
            done += 1 << level;
        }
        if done < at {
            right.extend(bag(self.peaks(at, done.trailing_zeros()).rev()));
        }
        Ok(RangeProof { from, to, at, left: self.peaks(from, u64::BITS).copied().collect(), right })
    }

    const fn within(&self, at: u64) -> Result<(), StreamFault> {
        if at < self.earliest {
            return Err(StreamFault::NotKept { position: at, earliest: self.earliest });
        }
        if at > self.tail {
            return Err(StreamFault::BeyondTail { position: at, tail: self.tail });
        }
        Ok(())
    }

    /// The peaks of a stream of `at` pages that are below `level`, the largest first.
    fn peaks(&self, at: u64, level: u32) -> impl DoubleEndedIterator<Item = &Digest> {
        (0..level.min(u64::BITS))
            .rev()
            .filter(move |bit| at >> bit & 1 == 1)
            .map(move |bit| self.node(bit, (at >> bit) - 1))
    }

    fn node(&self, level: u32, index: u64) -> &Digest {
        let level = &self.levels[level as usize];
        &level.nodes[(index - level.first) as usize]
    }
}

/// The size, as a power of two, of the next subtree between `done` and `at` that will have a partner to its left or right
/// below `at`. None if there is no such, and what remains only meets the others in the root.
fn next_level(done: u64, at: u64) -> Option<u32> {
    let level = done.trailing_zeros();
    (at - done).checked_shr(level).filter(|trees| *trees > 0).map(|_| level)
}

fn leaf(head: &PageHead) -> Digest {
    hash::<{ LEAF_DOMAIN.len() + 80 }, 1>(LEAF_DOMAIN, [&head.encode()])
}

fn node(left: &Digest, right: &Digest) -> Digest {
    hash::<{ NODE_DOMAIN.len() + 88 }, 2>(NODE_DOMAIN, [left.as_bytes(), right.as_bytes()])
}

/// `wallet::digest::blake3` in one piece, without a hasher to set up: every page that is appended pays for it.
fn hash<const BYTES: usize, const PARTS: usize>(domain: &str, parts: [&[u8]; PARTS]) -> Digest {
    let (mut bytes, mut end) = ([0; BYTES], 0);
    for part in std::iter::once(domain.as_bytes()).chain(parts) {
        bytes[end..end + 8].copy_from_slice(&(part.len() as u64).to_le_bytes());
        bytes[end + 8..end + 8 + part.len()].copy_from_slice(part);
        end += 8 + part.len();
    }
    Digest(::blake3::hash(&bytes[..end]).into())
}

fn empty() -> Digest {
    blake3(EMPTY_DOMAIN, None, &[])
}

/// Joins peaks, which come from right to left.
fn bag<'a>(mut peaks: impl Iterator<Item = &'a Digest>) -> Option<Digest> {
    let last = *peaks.next()?;
    Some(peaks.fold(last, |right, left| node(left, &right)))
}

fn few<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Digest>, D::Error> {
    let hashes = Vec::deserialize(from)?;
    match hashes.len() {
        0..=RangeProof::HASHES_MAX => Ok(hashes),
        count => Err(de::Error::invalid_length(count, &"at most 64 hashes")),
    }
}

#[cfg(test)]
mod tests;
