//! The append-only Merkle tree of RFC 9162 section 2.1.
//!
//! A leaf hashes to SHA-256(0x00 || leaf), a node to SHA-256(0x01 || left || right), and the tree over no leaves to
//! SHA-256 of nothing. [`LogTree`] keeps only the roots of the complete subtrees, so that appending costs a few hashes
//! whatever the size. Proofs are made in [`tiles`](super::tiles), and verified here.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use wallet::{digest::Digest, units::LogIndex};

/// A proof never has more hashes than this: a tree has at most 2^64 leaves.
pub const PROOF_HASHES_MAX: usize = 64;

/// The hash of a leaf's bytes.
pub fn leaf_hash(leaf: &[u8]) -> Digest {
    Digest(Sha256::new().chain_update([0]).chain_update(leaf).finalize().into())
}

/// The hash of an inner node.
pub(super) fn node_hash(left: &Digest, right: &Digest) -> Digest {
    Digest(Sha256::new().chain_update([1]).chain_update(left.0).chain_update(right.0).finalize().into())
}

/// The tree's right edge: what appending and the root need.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogTree {
    size: u64,
    /// Roots of the complete subtrees, the largest first: one for each set bit of `size`.
    peaks: Vec<Digest>,
}

impl LogTree {
    /// The tree over `leaves`.
    pub fn from_leaf_hashes(leaves: &[Digest]) -> Self {
        let mut tree = Self::default();
        leaves.iter().for_each(|leaf| tree.append(*leaf));
        tree
    }

    /// The tree of `size` leaves with these peaks, the largest first.
    pub(super) const fn from_peaks(size: u64, peaks: Vec<Digest>) -> Self {
        Self { size, peaks }
    }

    /// How many leaves it has.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Whether it has one peak for each complete subtree. One that was decoded from foreign bytes may not.
    pub const fn is_whole(&self) -> bool {
        self.peaks.len() as u64 == self.size.count_ones() as u64
    }

    /// Where the next leaf will stand.
    pub const fn next_index(&self) -> LogIndex {
        LogIndex::new(self.size)
    }

    /// Adds one leaf by its hash.
    pub fn append(&mut self, leaf: Digest) {
        let mut subtree = leaf;
        for _ in 0..self.size.trailing_ones() {
            let left = self.peaks.pop().expect("one peak for each set bit of the size");
            subtree = node_hash(&left, &subtree);
        }
        self.peaks.push(subtree);
        self.size += 1;
    }

    /// The root over all leaves.
    pub fn root(&self) -> Digest {
        let mut peaks = self.peaks.iter().rev();
        let Some(last) = peaks.next() else { return Digest(Sha256::digest([]).into()) };
        peaks.fold(*last, |right, left| node_hash(left, &right))
    }
}

/// The root over `leaves`, of which there is at least one, and the audit path of each of them
/// (RFC 9162 2.1.3.1): what [`inclusion_proof`](super::tiles::inclusion_proof) gives for one.
pub fn root_and_proofs(leaves: &[Digest]) -> (Digest, Vec<Vec<Digest>>) {
    let mut proofs = vec![Vec::new(); leaves.len()];
    (extend_proofs(leaves, &mut proofs), proofs)
}

/// Adds to each proof what leads it to the root over `leaves`, which comes back.
fn extend_proofs(leaves: &[Digest], proofs: &mut [Vec<Digest>]) -> Digest {
    if let [leaf] = leaves {
        return *leaf;
    }
    let middle = split(leaves.len());
    let (of_left, of_right) = proofs.split_at_mut(middle);
    let left = extend_proofs(&leaves[..middle], of_left);
    let right = extend_proofs(&leaves[middle..], of_right);
    of_left.iter_mut().for_each(|proof| proof.push(right));
    of_right.iter_mut().for_each(|proof| proof.push(left));
    node_hash(&left, &right)
}

/// The largest power of two below `count`, which is at least 2.
const fn split(count: usize) -> usize {
    1 << (count - 1).ilog2()
}

/// A proof that does not lead to the root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the proof does not lead to the root")]
pub struct ProofInvalid;

/// Checks that `leaf` stands at `index` of the tree of `size` leaves under `root` (RFC 9162 2.1.3.2).
///
/// # Errors
/// [`ProofInvalid`] for anything else.
pub fn verify_inclusion(
    root: &Digest,
    size: u64,
    index: LogIndex,
    leaf: &Digest,
    proof: &[Digest],
) -> Result<(), ProofInvalid> {
    if implied_root(size, index, leaf, proof)? == *root { Ok(()) } else { Err(ProofInvalid) }
}

/// The root of the tree of `size` leaves in which `proof` leads from `leaf` at `index` to the top.
///
/// # Errors
/// [`ProofInvalid`] if a proof in such a tree has another form.
pub fn implied_root(size: u64, index: LogIndex, leaf: &Digest, proof: &[Digest]) -> Result<Digest, ProofInvalid> {
    if index.get() >= size || proof.len() > PROOF_HASHES_MAX {
        return Err(ProofInvalid);
    }
    let (mut position, mut last) = (index.get(), size - 1);
    let mut hash = *leaf;
    for sibling in proof {
        if last == 0 {
            return Err(ProofInvalid);
        }
        if position & 1 == 1 || position == last {
            hash = node_hash(sibling, &hash);
            while position & 1 == 0 && position != 0 {
                position >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        position >>= 1;
        last >>= 1;
    }
    if last == 0 { Ok(hash) } else { Err(ProofInvalid) }
}

/// Checks that the tree of `new_size` leaves under `new_root` only appended to the one of `old_size` under `old_root`
/// (RFC 9162 2.1.4.2).
///
/// # Errors
/// [`ProofInvalid`] for anything else.
pub fn verify_consistency(
    old_root: &Digest,
    old_size: u64,
    new_root: &Digest,
    new_size: u64,
    proof: &[Digest],
) -> Result<(), ProofInvalid> {
    if old_size == new_size {
        return if proof.is_empty() && old_root == new_root { Ok(()) } else { Err(ProofInvalid) };
    }
    if old_size == 0 || old_size > new_size || proof.len() > PROOF_HASHES_MAX + 1 {
        return Err(ProofInvalid);
    }
    // A complete old tree is a node of the new one, and the proof does not repeat it.
    let implied = old_size.is_power_of_two().then_some(old_root);
    let mut path = implied.into_iter().chain(proof);
    let shift = (old_size - 1).trailing_ones();
    let (mut position, mut last) = ((old_size - 1) >> shift, (new_size - 1) >> shift);
    let first = path.next().ok_or(ProofInvalid)?;
    let (mut old, mut new) = (*first, *first);
    for sibling in path {
        if last == 0 {
            return Err(ProofInvalid);
        }
        if position & 1 == 1 || position == last {
            old = node_hash(sibling, &old);
            new = node_hash(sibling, &new);
            while position & 1 == 0 && position != 0 {
                position >>= 1;
                last >>= 1;
            }
        } else {
            new = node_hash(&new, sibling);
        }
        position >>= 1;
        last >>= 1;
    }
    if last == 0 && old == *old_root && new == *new_root { Ok(()) } else { Err(ProofInvalid) }
}

#[cfg(test)]
mod tests {
    use super::{super::tiles, *};
    use proptest::prelude::*;
    use wallet::digest::from_hex;

    /// The leaves of the reference test data of Certificate Transparency (RFC 6962), `merkletree` test vectors.
    const LEAVES: [&str; 8] =
        ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
    const ROOTS: [&str; 9] = [
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];

    fn digest(hex: &str) -> Digest {
        Digest(from_hex(hex).expect("64 digits"))
    }

    fn known_leaves() -> Vec<Digest> {
        let bytes = |hex: &str| -> Vec<u8> {
            (0..hex.len() / 2).map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).expect("hex")).collect()
        };
        LEAVES.iter().map(|leaf| leaf_hash(&bytes(leaf))).collect()
    }

    fn inclusion_proof(leaves: &[Digest], index: u64) -> Vec<Digest> {
        let proof = tiles::inclusion_proof(leaves, LogIndex::new(index), leaves.len() as u64);
        proof.expect("infallible").expect("in range")
    }

    fn consistency_proof(leaves: &[Digest], old_size: u64) -> Vec<Digest> {
        tiles::consistency_proof(leaves, old_size, leaves.len() as u64).expect("infallible").expect("in range")
    }

    fn numbered_leaves(count: u64) -> Vec<Digest> {
        (0..count).map(|i| leaf_hash(&i.to_le_bytes())).collect()
    }

    #[test]
    fn roots_are_those_of_the_certificate_transparency_vectors() {
        for (size, root) in ROOTS.iter().enumerate() {
            assert_eq!(LogTree::from_leaf_hashes(&known_leaves()[..size]).root(), digest(root), "size {size}");
        }
    }

    #[test]
    fn inclusion_paths_are_those_of_the_certificate_transparency_vectors() {
        let path = inclusion_proof(&known_leaves(), 5);
        let expected = [
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ];
        assert_eq!(path, expected.map(digest));
        let path = inclusion_proof(&known_leaves()[..3], 2);
        assert_eq!(path, [digest("fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125")]);
    }

    #[test]
    fn consistency_proofs_are_those_of_the_certificate_transparency_vectors() {
        let expected = [
            "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ];
        assert_eq!(consistency_proof(&known_leaves(), 6), expected.map(digest));
        let expected = [
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ];
        assert_eq!(consistency_proof(&known_leaves()[..5], 2), expected.map(digest));
    }

    #[test]
    fn every_leaf_of_every_size_is_proven_and_nowhere_else() {
        for size in 1..=33_u64 {
            let leaves = numbered_leaves(size);
            let root = LogTree::from_leaf_hashes(&leaves).root();
            let (same_root, proofs) = root_and_proofs(&leaves);
            assert_eq!(same_root, root);
            for ((index, leaf), same_proof) in (0..size).zip(&leaves).zip(proofs) {
                let proof = inclusion_proof(&leaves, index);
                assert_eq!(same_proof, proof);
                assert_eq!(verify_inclusion(&root, size, LogIndex::new(index), leaf, &proof), Ok(()));
                for other in (0..=size).filter(|other| *other != index) {
                    assert!(verify_inclusion(&root, size, LogIndex::new(other), leaf, &proof).is_err());
                }
            }
        }
    }

    #[test]
    fn every_prefix_of_every_size_is_consistent() {
        for size in 1..=33_u64 {
            let leaves = numbered_leaves(size);
            let root = LogTree::from_leaf_hashes(&leaves).root();
            for old in 1..=size {
                let old_root = LogTree::from_leaf_hashes(&leaves[..usize::try_from(old).expect("small")]).root();
                let proof = consistency_proof(&leaves, old);
                assert_eq!(verify_consistency(&old_root, old, &root, size, &proof), Ok(()), "{old} in {size}");
                if old < size {
                    assert!(verify_consistency(&old_root, old + 1, &root, size, &proof).is_err());
                    assert!(verify_consistency(&root, old, &root, size, &proof).is_err());
                }
            }
        }
    }

    proptest! {
        #[test]
        fn a_changed_proof_is_refused(size in 2..200_u64, pick in any::<prop::sample::Index>(), bit in 0..256_usize) {
            let leaves = numbered_leaves(size);
            let root = LogTree::from_leaf_hashes(&leaves).root();
            let index = LogIndex::new(pick.index(leaves.len()) as u64);
            let leaf = leaves[pick.index(leaves.len())];
            let mut proof = inclusion_proof(&leaves, index.get());
            let at = pick.index(proof.len());
            proof[at].0[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(verify_inclusion(&root, size, index, &leaf, &proof).is_err());
            proof.pop();
            prop_assert!(verify_inclusion(&root, size, index, &leaf, &proof).is_err());
        }
    }
}
