//! A part of the state tree that stands for all of it where only some keys are looked at: these with what stands under
//! them, or the proof that nothing does, and of everything else the hash.
//!
//! What is put under a known key gives the root that it gives in the whole tree: it changes nodes on the key's path, and
//! these are here. No record is ever taken away. A rule that did so would have to know of the sibling whether it is a leaf,
//! because a leaf that is left alone moves up.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use wallet::{codec, digest::Digest};

use super::{
    parts::Prefix,
    state::{Node, StateTree, Subtree, bit, inner, leaf, leaf_hash, node_hash_of, value_hash},
};

/// A part of a tree: where its paths end, from left to right. Each end has its depth, and that alone says how they hang
/// together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartialTree {
    /// The ends. No two lie on one path, and together they cover all keys.
    pub ends: Vec<End>,
}

/// Where a path ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// How many bits of a key lead here: 0 to 256.
    pub depth: u16,
    /// What stands here.
    pub node: EndNode,
}

/// What stands at the end of a path. The order of the variants is part of the format.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EndNode {
    /// A subtree by its hash; zero if nothing is in it.
    Subtree(Digest),
    /// A leaf that is no key's that was looked at, as key and hash of its value.
    Other(Digest, Digest),
    /// A leaf that was looked at, as key and value.
    Record(Digest, #[serde(with = "codec::bytes")] Vec<u8>),
}

/// A partial tree says nothing of this key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("what stands under key {0} is not shown")]
pub struct NotShown(pub Digest);

impl StateTree {
    /// The part that says what stands under each of these keys, and nothing more. There is one for each set of keys.
    ///
    /// # Errors
    /// [`NotShown`] with the first key of which this tree, being partial itself, says nothing.
    pub fn partial(&self, keys: &BTreeSet<Digest>) -> Result<PartialTree, NotShown> {
        let (keys, mut ends) = (keys.iter().copied().collect::<Vec<Digest>>(), Vec::new());
        collect(self.top(), &keys, 0, &mut ends)?;
        Ok(PartialTree { ends })
    }
}

fn collect(node: Option<&Node>, keys: &[Digest], depth: u16, ends: &mut Vec<End>) -> Result<(), NotShown> {
    let Some(first) = keys.first() else {
        ends.push(End { depth, node: EndNode::Subtree(node_hash_of(node)) });
        return Ok(());
    };
    let is_asked = |key: &Digest| keys.binary_search(key).is_ok();
    let end = match node {
        None => EndNode::Subtree(Digest::ZERO),
        Some(Node::Leaf { key, value, .. }) if is_asked(key) => EndNode::Record(*key, value.clone()),
        Some(Node::Leaf { key, value, .. }) => EndNode::Other(*key, value_hash(value)),
        Some(Node::Other { key, .. }) if is_asked(key) => return Err(NotShown(*key)),
        Some(Node::Other { key, value, .. }) => EndNode::Other(*key, *value),
        Some(Node::Hidden(_)) => return Err(NotShown(*first)),
        Some(Node::Inner { left, right, .. }) => {
            let (zeros, ones) = keys.split_at(keys.partition_point(|key| !bit(key, usize::from(depth))));
            collect(left.as_deref(), zeros, depth + 1, ends)?;
            return collect(right.as_deref(), ones, depth + 1, ends);
        }
    };
    ends.push(End { depth, node: end });
    Ok(())
}

impl PartialTree {
    /// The tree that it is a part of, with all else hidden; none if the ends do not make one. The caller compares the root.
    pub fn tree(&self) -> Option<StateTree> {
        let mut ends = self.ends.iter();
        let root = build(&mut ends, Prefix::ROOT)?;
        ends.as_slice().is_empty().then(|| StateTree::of(root))
    }
}

/// The subtree under `prefix`, whose ends come next. It descends at most as deep as a key is long.
fn build(ends: &mut std::slice::Iter<'_, End>, prefix: Prefix) -> Option<Subtree> {
    let next = ends.as_slice().first()?;
    if usize::from(next.depth) > prefix.depth() {
        let [left, right] = prefix.halves()?;
        let left = build(ends, left)?;
        return Some(Some(inner(left, build(ends, right)?)));
    }
    let is_here = usize::from(next.depth) == prefix.depth()
        && match &next.node {
            EndNode::Subtree(_) => true,
            EndNode::Other(key, _) | EndNode::Record(key, _) => prefix.leads_to(key),
        };
    ends.next();
    is_here.then(|| match &next.node {
        EndNode::Subtree(Digest::ZERO) => None,
        EndNode::Subtree(hash) => Some(Node::Hidden(*hash).into()),
        EndNode::Other(key, value) => {
            Some(Node::Other { key: *key, value: *value, hash: leaf_hash(key, value) }.into())
        }
        EndNode::Record(key, value) => Some(leaf(*key, value.clone())),
    })
}

#[cfg(test)]
mod tests;
