//! One inclusion proof for several leaves of the log tree: a hash that their paths share stands in it once.
//!
//! The tree of RFC 9162 is walked from its root, left before right. A subtree without an asked leaf is the next hash of
//! the proof. So size and places alone say how many hashes there are and where each belongs, and a proof has one form.

use std::ops::Range;

use wallet::{digest::Digest, units::LogIndex};

use super::{
    log::{ProofInvalid, node_hash},
    tiles::{Reader, Tiles, split},
};

/// The proof that the leaves at `asked` are among the first `size`; none if a place is beyond their end, or the places do
/// not ascend.
///
/// # Errors
/// What `tiles` says if it lacks a hash.
pub fn prove<T: Tiles + ?Sized>(tiles: &T, size: u64, asked: &[LogIndex]) -> Result<Option<Vec<Digest>>, T::Error> {
    let within = asked.last().is_some_and(|last| last.get() < size);
    if !within || !asked.is_sorted_by(|one, next| one < next) {
        return Ok(None);
    }
    let mut proof = Vec::new();
    collect(&mut Reader::new(tiles, size), 0..size, asked, &mut proof)?;
    Ok(Some(proof))
}

fn collect<T: Tiles + ?Sized>(
    reader: &mut Reader<'_, T>,
    leaves: Range<u64>,
    asked: &[LogIndex],
    proof: &mut Vec<Digest>,
) -> Result<(), T::Error> {
    if asked.is_empty() {
        proof.push(reader.root(leaves)?);
    } else if leaves.end - leaves.start > 1 {
        let middle = split(&leaves);
        let (before, after) = asked.split_at(asked.partition_point(|index| index.get() < middle));
        collect(reader, leaves.start..middle, before, proof)?;
        collect(reader, middle..leaves.end, after, proof)?;
    }
    Ok(())
}

/// Checks that each leaf of `asked`, a place and a leaf hash, stands there in the tree of `size` leaves under `root`.
/// There is at least one, and the places ascend.
///
/// # Errors
/// [`ProofInvalid`] for anything else.
pub fn verify(root: &Digest, size: u64, asked: &[(LogIndex, Digest)], proof: &[Digest]) -> Result<(), ProofInvalid> {
    let within = asked.last().is_some_and(|(last, _)| last.get() < size);
    if !within || !asked.is_sorted_by(|one, next| one.0 < next.0) {
        return Err(ProofInvalid);
    }
    let mut proof = proof.iter();
    let found = subtree(0, size, asked, &mut proof)?;
    if found == *root && proof.next().is_none() { Ok(()) } else { Err(ProofInvalid) }
}

/// The root of the `size` leaves from `first` on. It descends at most 64 levels for each asked leaf.
fn subtree(
    first: u64,
    size: u64,
    asked: &[(LogIndex, Digest)],
    proof: &mut std::slice::Iter<'_, Digest>,
) -> Result<Digest, ProofInvalid> {
    match asked {
        [] => proof.next().copied().ok_or(ProofInvalid),
        [(_, leaf)] if size == 1 => Ok(*leaf),
        _ => {
            let left = 1 << (size - 1).ilog2();
            let (before, after) = asked.split_at(asked.partition_point(|(index, _)| index.get() - first < left));
            let before = subtree(first, left, before, proof)?;
            Ok(node_hash(&before, &subtree(first + left, size - left, after, proof)?))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tree::{
        log::{LogTree, leaf_hash},
        tiles::inclusion_proof,
    };

    fn leaves(count: usize) -> Vec<Digest> {
        (0..count).map(|i| leaf_hash(&i.to_le_bytes())).collect()
    }

    fn proven(leaves: &[Digest], asked: &[LogIndex]) -> Option<Vec<Digest>> {
        prove(leaves, leaves.len() as u64, asked).unwrap_or_else(|never| match never {})
    }

    fn places(of: &[u64]) -> Vec<LogIndex> {
        of.iter().copied().map(LogIndex::new).collect()
    }

    proptest! {
        #[test]
        fn what_is_proven_verifies_and_nothing_else_does(
            size in 1..80_usize,
            asked in prop::collection::vec(any::<prop::sample::Index>(), 1..9),
            bit in any::<prop::sample::Index>(),
        ) {
            let leaves = leaves(size);
            let root = LogTree::from_leaf_hashes(&leaves).root();
            let asked: std::collections::BTreeSet<u64> = asked.iter().map(|at| at.index(size) as u64).collect();
            let asked = places(&asked.into_iter().collect::<Vec<_>>());
            let proof = proven(&leaves, &asked).expect("they are there");
            let named = |at: &LogIndex| (*at, leaves[at.get() as usize]);
            let pairs: Vec<_> = asked.iter().map(named).collect();
            let size = size as u64;
            prop_assert_eq!(verify(&root, size, &pairs, &proof), Ok(()));
            let longer = [proof.clone(), vec![Digest::ZERO]].concat();
            prop_assert!(verify(&root, size, &pairs, &longer).is_err());
            if let Some((_, shorter)) = proof.split_last() {
                prop_assert!(verify(&root, size, &pairs, shorter).is_err());
                let mut flipped = proof.clone();
                flipped[bit.index(proof.len())].0[bit.index(32)] ^= 1;
                prop_assert!(verify(&root, size, &pairs, &flipped).is_err());
            }
            let mut other = pairs.clone();
            other[bit.index(pairs.len())].1.0[0] ^= 1;
            prop_assert!(verify(&root, size, &other, &proof).is_err());
            let mut doubled = pairs.clone();
            doubled.insert(0, pairs[0]);
            prop_assert!(verify(&root, size, &doubled, &proof).is_err());
        }
    }

    #[test]
    fn of_one_leaf_it_is_the_audit_path_in_the_order_of_the_tree() {
        let leaves = leaves(11);
        for at in 0..11 {
            let mut path = inclusion_proof(&leaves[..], LogIndex::new(at), leaves.len() as u64)
                .expect("infallible")
                .expect("it is there");
            let mut proof = proven(&leaves, &places(&[at])).expect("it is there");
            path.sort();
            proof.sort();
            assert_eq!(path, proof);
        }
    }

    #[test]
    fn neighbours_share_their_path() {
        let leaves = leaves(1 << 10);
        assert_eq!(proven(&leaves, &places(&[512, 513, 514, 515])).map(|proof| proof.len()), Some(8));
    }

    #[test]
    fn no_place_a_place_beyond_the_end_and_places_in_disorder_have_no_proof() {
        let leaves = leaves(4);
        for asked in [&[][..], &[4], &[2, 1], &[1, 1]] {
            assert_eq!(proven(&leaves, &places(asked)), None);
        }
        let root = LogTree::from_leaf_hashes(&leaves).root();
        assert!(verify(&root, 4, &[], &[root]).is_err());
        assert!(verify(&root, u64::MAX, &[(LogIndex::new(u64::MAX - 1), root)], &[]).is_err());
    }
}
