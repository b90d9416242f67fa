//! A compact sparse Merkle tree over 256-bit keys: the state, with proofs of presence and of absence.
//!
//! The root depends on the content alone, not on the order in which it came about. An empty subtree is 32 zero bytes. A
//! subtree with a single leaf is that leaf, whatever its height: SHA-256(0x00 || key || SHA-256(value)). Every other
//! subtree is SHA-256(0x01 || left || right); bit 0 of a key is the most significant bit of its first byte, and 0 goes
//! left. Nodes are shared, so a clone is cheap, and a change copies of one path what another tree shares. Inner nodes are
//! hashed when somebody asks for the root, and so once for all entries of a block.

use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use wallet::digest::Digest;

pub use super::log::ProofInvalid;

/// A key has this many bits, so a path has at most as many siblings.
pub(super) const KEY_BITS: usize = 256;

/// A map from 32-byte keys to values, with a root.
#[derive(Clone, Debug, Default)]
pub struct StateTree {
    root: Subtree,
}

pub(super) type Subtree = Option<Arc<Node>>;

#[derive(Clone, Debug)]
pub(super) enum Node {
    Leaf {
        key: Digest,
        value: Vec<u8>,
        hash: Digest,
    },
    Inner {
        left: Subtree,
        right: Subtree,
        hash: OnceLock<Digest>,
    },
    /// A leaf with the hash of its value: only in a part of a tree, see [`super::partial`].
    Other {
        key: Digest,
        value: Digest,
        hash: Digest,
    },
    /// A subtree of which nothing but the hash is here: only in a part of a tree.
    Hidden(Digest),
}

impl StateTree {
    pub(super) fn of(root: Subtree) -> Self {
        Self { root }
    }

    /// The root; zero if the tree is empty.
    pub fn root(&self) -> Digest {
        hash_of(&self.root)
    }

    /// The whole tree's node.
    pub(super) fn top(&self) -> Option<&Node> {
        self.root.as_deref()
    }

    /// The value under `key`. In a part of a tree also none where it is not shown: who reads there asks
    /// [`Self::partial`] which keys are.
    pub fn get(&self, key: &Digest) -> Option<&[u8]> {
        let mut subtree = &self.root;
        for depth in 0..=KEY_BITS {
            match subtree.as_deref()? {
                Node::Leaf { key: found, value, .. } => return (found == key).then_some(value),
                Node::Inner { left, right, .. } => subtree = if bit(key, depth) { right } else { left },
                Node::Other { .. } | Node::Hidden(_) => return None,
            }
        }
        None
    }

    /// Puts `value` under `key`, in place of any other.
    pub fn insert(&mut self, key: Digest, value: Vec<u8>) {
        put(&mut self.root, leaf(key, value), &key, 0);
    }

    /// All keys and values, in the order of the keys; of a part of a tree those that are shown.
    pub fn iter(&self) -> impl Iterator<Item = (&Digest, &[u8])> {
        let mut open: Vec<&Node> = self.root.as_deref().into_iter().collect();
        std::iter::from_fn(move || {
            loop {
                match open.pop()? {
                    Node::Leaf { key, value, .. } => return Some((key, value.as_slice())),
                    Node::Inner { left, right, .. } => {
                        open.extend(right.as_deref());
                        open.extend(left.as_deref());
                    }
                    Node::Other { .. } | Node::Hidden(_) => {}
                }
            }
        })
    }

    /// What has to be written to turn `older` into this tree: each changed key with its value, none if it went away.
    /// Shared subtrees are skipped, so the cost follows the size of the change.
    pub fn changes_since<'a>(&'a self, older: &'a Self) -> Vec<(Digest, Option<&'a [u8]>)> {
        let mut changes = Vec::new();
        collect_changes(older.root.as_deref(), self.root.as_deref(), &mut changes);
        changes
    }

    /// The proof of what stands under `key`, be it a value or nothing.
    pub fn prove(&self, key: &Digest) -> StateProof {
        let (mut subtree, mut siblings) = (&self.root, Vec::new());
        loop {
            match subtree.as_deref() {
                None => return StateProof { siblings, terminal: None },
                Some(Node::Leaf { key, value, .. }) => {
                    return StateProof { siblings, terminal: Some((*key, value_hash(value))) };
                }
                Some(Node::Other { key, value, .. }) => {
                    return StateProof { siblings, terminal: Some((*key, *value)) };
                }
                // It proves nothing, and the root says so.
                Some(Node::Hidden(_)) => return StateProof { siblings, terminal: None },
                Some(Node::Inner { left, right, .. }) => {
                    let (taken, sibling) = if bit(key, siblings.len()) { (right, left) } else { (left, right) };
                    siblings.push(hash_of(sibling));
                    subtree = taken;
                }
            }
        }
    }
}

impl PartialEq for StateTree {
    fn eq(&self, other: &Self) -> bool {
        self.root() == other.root()
    }
}

impl Eq for StateTree {}

impl FromIterator<(Digest, Vec<u8>)> for StateTree {
    fn from_iter<I: IntoIterator<Item = (Digest, Vec<u8>)>>(leaves: I) -> Self {
        let mut tree = Self::default();
        leaves.into_iter().for_each(|(key, value)| tree.insert(key, value));
        tree
    }
}

/// What ends the path of a key, and the siblings that lead from there to the root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateProof {
    /// Hashes beside the path, the root's children first.
    pub siblings: Vec<Digest>,
    /// The leaf where the path ends, as key and hash of its value; none if it ends in an empty subtree.
    pub terminal: Option<(Digest, Digest)>,
}

impl StateProof {
    /// Checks that `value` stands under `key`.
    ///
    /// # Errors
    /// [`ProofInvalid`] if the proof does not show that.
    pub fn verify_present(&self, root: &Digest, key: &Digest, value: &[u8]) -> Result<(), ProofInvalid> {
        if self.terminal != Some((*key, value_hash(value))) {
            return Err(ProofInvalid);
        }
        self.verify_path(root, key)
    }

    /// Checks that nothing stands under `key`.
    ///
    /// # Errors
    /// [`ProofInvalid`] if the proof does not show that.
    pub fn verify_absent(&self, root: &Digest, key: &Digest) -> Result<(), ProofInvalid> {
        if let Some((other, _)) = &self.terminal {
            let shares_path = self.siblings.len() <= KEY_BITS
                && (0..self.siblings.len()).all(|depth| bit(other, depth) == bit(key, depth));
            if other == key || !shares_path {
                return Err(ProofInvalid);
            }
        }
        self.verify_path(root, key)
    }

    fn verify_path(&self, root: &Digest, key: &Digest) -> Result<(), ProofInvalid> {
        if self.siblings.len() > KEY_BITS {
            return Err(ProofInvalid);
        }
        let end = self.terminal.as_ref().map_or(Digest::ZERO, |(key, value)| leaf_hash(key, value));
        let top = self.siblings.iter().enumerate().rev().fold(end, |hash, (depth, sibling)| {
            if bit(key, depth) { inner_hash(sibling, &hash) } else { inner_hash(&hash, sibling) }
        });
        if top == *root { Ok(()) } else { Err(ProofInvalid) }
    }
}

pub(super) fn leaf(key: Digest, value: Vec<u8>) -> Arc<Node> {
    let hash = leaf_hash(&key, &value_hash(&value));
    Arc::new(Node::Leaf { key, value, hash })
}

/// Changes the nodes that no other tree shares where they are, and copies the others. What was hidden gives way: whoever
/// puts something there knows that the root says nothing any more, and still finds all that was put.
fn put(subtree: &mut Subtree, leaf: Arc<Node>, key: &Digest, depth: usize) {
    match subtree.as_deref() {
        Some(Node::Inner { .. }) => {}
        Some(Node::Leaf { key: found, .. } | Node::Other { key: found, .. }) if found != key => {
            let goes_right = bit(found, depth);
            let pushed_down = subtree.take();
            *subtree = Some(if goes_right { inner(None, pushed_down) } else { inner(pushed_down, None) });
        }
        _ => {
            *subtree = Some(leaf);
            return;
        }
    }
    if let Some(Node::Inner { left, right, hash }) = subtree.as_mut().map(Arc::make_mut) {
        hash.take();
        put(if bit(key, depth) { right } else { left }, leaf, key, depth + 1);
    }
}

fn collect_changes<'a>(old: Option<&'a Node>, new: Option<&'a Node>, changes: &mut Vec<(Digest, Option<&'a [u8]>)>) {
    let children = |node: Option<&'a Node>| match node {
        Some(Node::Inner { left, right, .. }) => Some((left.as_deref(), right.as_deref())),
        _ => None,
    };
    let same_node = matches!((old, new), (Some(old), Some(new)) if std::ptr::eq(old, new));
    if same_node || node_hash_of(old) == node_hash_of(new) {
        return;
    }
    if let (Some((old_left, old_right)), Some((new_left, new_right))) = (children(old), children(new)) {
        collect_changes(old_left, new_left, changes);
        collect_changes(old_right, new_right, changes);
        return;
    }
    // Most changes are one leaf where there was none, or another value of its key.
    if let Some(Node::Leaf { key, value, .. }) = new
        && (old.is_none() || matches!(old, Some(Node::Leaf { key: was, .. }) if was == key))
    {
        changes.push((*key, Some(value.as_slice())));
        return;
    }
    let leaves = |node: Option<&'a Node>| {
        let mut found = std::collections::BTreeMap::new();
        let mut open: Vec<&Node> = node.into_iter().collect();
        while let Some(node) = open.pop() {
            match node {
                Node::Leaf { key, value, .. } => {
                    found.insert(*key, value.as_slice());
                }
                Node::Inner { left, right, .. } => open.extend(left.as_deref().into_iter().chain(right.as_deref())),
                Node::Other { .. } | Node::Hidden(_) => {}
            }
        }
        found
    };
    let (old, new) = (leaves(old), leaves(new));
    changes.extend(old.keys().filter(|key| !new.contains_key(key)).map(|key| (*key, None)));
    changes
        .extend(new.iter().filter(|(key, value)| old.get(key) != Some(value)).map(|(key, value)| (*key, Some(*value))));
}

pub(super) fn inner(left: Subtree, right: Subtree) -> Arc<Node> {
    Arc::new(Node::Inner { left, right, hash: OnceLock::new() })
}

fn hash_of(subtree: &Subtree) -> Digest {
    node_hash_of(subtree.as_deref())
}

pub(super) fn node_hash_of(node: Option<&Node>) -> Digest {
    match node {
        None => Digest::ZERO,
        Some(Node::Leaf { hash, .. } | Node::Other { hash, .. } | Node::Hidden(hash)) => *hash,
        Some(Node::Inner { left, right, hash }) => *hash.get_or_init(|| inner_hash(&hash_of(left), &hash_of(right))),
    }
}

pub(super) fn value_hash(value: &[u8]) -> Digest {
    Digest(Sha256::digest(value).into())
}

pub(super) fn leaf_hash(key: &Digest, value: &Digest) -> Digest {
    Digest(Sha256::new().chain_update([0]).chain_update(key.0).chain_update(value.0).finalize().into())
}

pub(super) fn inner_hash(left: &Digest, right: &Digest) -> Digest {
    Digest(Sha256::new().chain_update([1]).chain_update(left.0).chain_update(right.0).finalize().into())
}

pub(super) fn bit(key: &Digest, depth: usize) -> bool {
    key.0[depth / 8] >> (7 - depth % 8) & 1 == 1
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use proptest::prelude::*;

    /// Keys that differ in few bits, so that leaves collide deep in the tree.
    fn key() -> impl Strategy<Value = Digest> {
        (0..4_u8, 0..4_u8, 0..4_u8).prop_map(|(first, middle, last)| {
            let mut key = [0; 32];
            (key[0], key[15], key[31]) = (first << 6, middle, last);
            Digest(key)
        })
    }

    fn content() -> impl Strategy<Value = Vec<(Digest, Vec<u8>)>> {
        prop::collection::vec((key(), prop::collection::vec(any::<u8>(), 0..4)), 0..24)
    }

    #[test]
    fn the_empty_tree_is_zero_and_a_lone_leaf_is_the_root() {
        let mut tree = StateTree::default();
        assert_eq!(tree.root(), Digest::ZERO);
        tree.insert(Digest([7; 32]), b"value".to_vec());
        assert_eq!(tree.root(), leaf_hash(&Digest([7; 32]), &value_hash(b"value")));
    }

    proptest! {
        #[test]
        fn the_root_depends_on_the_content_alone(content in content()) {
            let map: BTreeMap<Digest, Vec<u8>> = content.iter().cloned().collect();
            let mut tree = StateTree::default();
            for (key, value) in content {
                tree.insert(key, value);
                // A root that was asked for is not the root after the next change.
                tree.root();
            }
            prop_assert_eq!(tree.root(), map.clone().into_iter().rev().collect::<StateTree>().root());
            prop_assert!(tree.iter().eq(map.iter().map(|(key, value)| (key, value.as_slice()))));
        }

        #[test]
        fn a_change_of_a_tree_leaves_its_clone_as_it_was(before in content(), more in content()) {
            let mut tree: StateTree = before.iter().cloned().collect();
            let (clone, root) = (tree.clone(), tree.root());
            more.into_iter().for_each(|(key, value)| tree.insert(key, value));
            let same: StateTree = before.into_iter().collect();
            prop_assert_eq!((clone.root(), same.root()), (root, root));
            prop_assert!(clone.iter().eq(same.iter()));
        }

        #[test]
        fn every_key_is_proven_present_or_absent_and_never_both(content in content(), asked in key()) {
            let tree: StateTree = content.into_iter().collect();
            let proof = tree.prove(&asked);
            match tree.get(&asked) {
                Some(value) => {
                    prop_assert_eq!(proof.verify_present(&tree.root(), &asked, value), Ok(()));
                    prop_assert!(proof.verify_present(&tree.root(), &asked, b"another value").is_err());
                    prop_assert!(proof.verify_absent(&tree.root(), &asked).is_err());
                }
                None => {
                    prop_assert_eq!(proof.verify_absent(&tree.root(), &asked), Ok(()));
                    prop_assert!(proof.verify_present(&tree.root(), &asked, b"").is_err());
                }
            }
        }

        #[test]
        fn a_proof_of_one_key_says_nothing_about_a_present_other(content in content(), asked in key()) {
            let tree: StateTree = content.into_iter().collect();
            let proof = tree.prove(&asked);
            for (key, _) in tree.iter() {
                prop_assert!(proof.verify_absent(&tree.root(), key).is_err());
            }
        }

        #[test]
        fn a_change_is_told_by_its_difference(before in content(), after in content()) {
            let old: StateTree = before.into_iter().collect();
            let new: StateTree = after.into_iter().collect();
            let mut replayed: BTreeMap<Digest, Vec<u8>> =
                old.iter().map(|(key, value)| (*key, value.to_vec())).collect();
            for (key, value) in new.changes_since(&old) {
                match value {
                    Some(value) => replayed.insert(key, value.to_vec()),
                    None => replayed.remove(&key),
                };
            }
            prop_assert_eq!(replayed.into_iter().collect::<StateTree>().root(), new.root());
        }
    }

    #[test]
    fn a_path_longer_than_a_key_is_refused() {
        let proof = StateProof { siblings: vec![Digest::ZERO; KEY_BITS + 1], terminal: None };
        assert_eq!(proof.verify_absent(&Digest::ZERO, &Digest::ZERO), Err(ProofInvalid));
    }
}
