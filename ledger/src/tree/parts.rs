//! The state tree in parts: what a node that joins takes from several others, each part checked by one hash.
//!
//! Whoever knows the hash of a subtree asks for it by its prefix, and gets its leaves, or, if they are too many, the hashes
//! of its two halves. So it walks from the root of a certified header down to parts of a bounded size, and knows of each
//! what it must hash to before it asks.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use wallet::digest::Digest;

use super::state::{KEY_BITS, Node, StateTree, bit, inner_hash, leaf_hash, node_hash_of, value_hash};

/// The first bits that all keys of a subtree share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    /// Zero after the first `length` bits.
    bits: Digest,
    length: u16,
}

impl Prefix {
    /// That of the whole tree.
    pub const ROOT: Self = Self { bits: Digest::ZERO, length: 0 };

    /// Those of the two halves, the one of the zeros first; none below a single key.
    pub fn halves(&self) -> Option<[Self; 2]> {
        let depth = usize::from(self.length);
        let mut bits = self.bits;
        let byte = bits.0.get_mut(depth / 8)?;
        *byte |= 0x80 >> (depth % 8);
        let length = self.length + 1;
        Some([Self { length, ..*self }, Self { bits, length }])
    }

    /// Whether a key begins like this.
    pub fn leads_to(&self, key: &Digest) -> bool {
        (0..self.depth()).all(|depth| bit(key, depth) == bit(&self.bits, depth))
    }

    pub(super) fn depth(&self) -> usize {
        usize::from(self.length)
    }
}

/// Its bits as digits; `root` if it has none.
impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.length == 0 {
            return f.write_str("root");
        }
        (0..self.depth()).try_for_each(|depth| f.write_str(if bit(&self.bits, depth) { "1" } else { "0" }))
    }
}

impl FromStr for Prefix {
    type Err = NotAPrefix;

    fn from_str(text: &str) -> Result<Self, NotAPrefix> {
        if text == "root" {
            return Ok(Self::ROOT);
        }
        let is_one = |digit| match digit {
            b'0' => Ok(false),
            b'1' => Ok(true),
            _ => Err(NotAPrefix),
        };
        let deeper = |prefix: Self, digit| Ok(prefix.halves().ok_or(NotAPrefix)?[usize::from(is_one(digit)?)]);
        let prefix = text.bytes().try_fold(Self::ROOT, deeper)?;
        if prefix.length == 0 { Err(NotAPrefix) } else { Ok(prefix) }
    }
}

/// A text that is no prefix of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is neither `root` nor 1 to 256 digits 0 and 1")]
pub struct NotAPrefix;

/// What stands under a prefix. The order of the variants is part of the format.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Part {
    /// All keys and values, in the order of the keys.
    Leaves(Vec<(Digest, Vec<u8>)>),
    /// The hashes of its halves.
    Halves(Digest, Digest),
}

impl Part {
    /// The hash of the subtree that has this part and stands under `prefix`; none if there is no such subtree.
    pub fn hash(&self, prefix: &Prefix) -> Option<Digest> {
        match self {
            Self::Leaves(leaves) => {
                let ascend = leaves.is_sorted_by(|(one, _), (next, _)| one < next);
                let all = ascend && leaves.iter().all(|(key, _)| prefix.leads_to(key));
                let hashed = || leaves.iter().map(|(key, value)| (*key, leaf_hash(key, &value_hash(value))));
                all.then(|| hash_of(&hashed().collect::<Vec<_>>(), prefix.depth()))
            }
            Self::Halves(left, right) => prefix.halves().map(|_| inner_hash(left, right)),
        }
    }
}

/// The hash of the subtree at `depth` that has these leaves, which ascend.
fn hash_of(leaves: &[(Digest, Digest)], depth: usize) -> Digest {
    match leaves {
        [] => Digest::ZERO,
        [(_, hash)] => *hash,
        // Two keys differ in one of their bits, so this ends.
        _ => {
            let (left, right) = leaves.split_at(leaves.partition_point(|(key, _)| !bit(key, depth)));
            inner_hash(&hash_of(left, depth + 1), &hash_of(right, depth + 1))
        }
    }
}

impl StateTree {
    /// What stands under `prefix`: the leaves if keys and values have at most `bytes_max` bytes together, or there is only
    /// one. None if no subtree begins there, or it is hidden.
    pub fn part(&self, prefix: &Prefix, bytes_max: usize) -> Option<Part> {
        let mut subtree = self.top();
        for depth in 0..prefix.depth() {
            let Node::Inner { left, right, .. } = subtree? else { return None };
            subtree = if bit(&prefix.bits, depth) { right.as_deref() } else { left.as_deref() };
        }
        let top = subtree?;
        let (mut leaves, mut bytes, mut open) = (Vec::new(), 0, vec![top]);
        while let Some(node) = open.pop() {
            match node {
                Node::Leaf { key, value, .. } => {
                    bytes += KEY_BITS / 8 + value.len();
                    leaves.push((*key, value.clone()));
                }
                Node::Inner { left, right, .. } => {
                    open.extend(right.as_deref());
                    open.extend(left.as_deref());
                }
                Node::Other { .. } | Node::Hidden(_) => return None,
            }
            if let Node::Inner { left, right, .. } = top
                && bytes > bytes_max
            {
                return Some(Part::Halves(node_hash_of(left.as_deref()), node_hash_of(right.as_deref())));
            }
        }
        Some(Part::Leaves(leaves))
    }
}

#[cfg(test)]
mod tests;
