use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// Keys that share long prefixes, so that subtrees of every form occur.
fn key() -> impl Strategy<Value = Digest> {
    (prop::collection::vec(0..2_u8, 12), 0..4_u8).prop_map(|(bits, last)| {
        let mut key = Digest::ZERO;
        bits.iter().enumerate().for_each(|(depth, bit)| key.0[depth / 8] |= bit << (7 - depth % 8));
        key.0[31] = last;
        key
    })
}

fn content() -> impl Strategy<Value = BTreeMap<Digest, Vec<u8>>> {
    prop::collection::btree_map(key(), prop::collection::vec(any::<u8>(), 0..4), 0..60)
}

fn tree(content: &BTreeMap<Digest, Vec<u8>>) -> StateTree {
    content.iter().map(|(key, value)| (*key, value.clone())).collect()
}

/// All that is reached from a root, if each part hashes to what its parent said.
fn walked(tree: &StateTree, bytes_max: usize) -> BTreeMap<Digest, Vec<u8>> {
    let (mut open, mut found) = (vec![(Prefix::ROOT, tree.root())], BTreeMap::new());
    while let Some((prefix, expected)) = open.pop() {
        if expected == Digest::ZERO {
            continue;
        }
        let part = tree.part(&prefix, bytes_max).expect("a hash that the tree named");
        assert_eq!(part.hash(&prefix), Some(expected), "{prefix}");
        match part {
            Part::Leaves(leaves) => found.extend(leaves),
            Part::Halves(left, right) => {
                open.extend(prefix.halves().expect("not a leaf").into_iter().zip([left, right]))
            }
        }
    }
    found
}

/// Every part of a tree that a walk asks for, with its place and its hash.
fn parts(tree: &StateTree, bytes_max: usize) -> Vec<(Prefix, Part, Digest)> {
    let (mut open, mut found) = (vec![Prefix::ROOT], Vec::new());
    while let Some(prefix) = open.pop() {
        let Some(part) = tree.part(&prefix, bytes_max) else { continue };
        if let Part::Halves(..) = part {
            open.extend(prefix.halves().expect("not a leaf"));
        }
        let hash = part.hash(&prefix).expect("our own");
        found.push((prefix, part, hash));
    }
    found
}

proptest! {
    #[test]
    fn a_walk_in_parts_of_any_size_finds_every_leaf_and_no_other(content in content(), bytes_max in 0..2_000_usize) {
        prop_assert_eq!(walked(&tree(&content), bytes_max), content);
    }

    #[test]
    fn a_part_with_a_leaf_changed_added_or_left_out_has_another_hash(
        content in content(), bytes_max in 0..2_000_usize, other in key(), at in any::<prop::sample::Index>(),
    ) {
        for (prefix, part, hash) in parts(&tree(&content), bytes_max) {
            let Part::Leaves(leaves) = part else { continue };
            let at = at.index(leaves.len());
            let (mut changed, mut added, mut short, mut twice) = (leaves.clone(), leaves.clone(), leaves.clone(), leaves);
            changed[at].1.push(0);
            short.remove(at);
            twice.insert(at, twice[at].clone());
            for wrong in [changed, short, twice] {
                prop_assert_ne!(Part::Leaves(wrong).hash(&prefix), Some(hash));
            }
            if let Err(place) = added.binary_search_by_key(&other, |(key, _)| *key) {
                added.insert(place, (other, Vec::new()));
                prop_assert_ne!(Part::Leaves(added).hash(&prefix), Some(hash));
            }
        }
    }

    #[test]
    fn no_part_passes_in_another_part_s_place(content in content(), bytes_max in 0..300_usize) {
        let parts = parts(&tree(&content), bytes_max);
        for (prefix, _, hash) in &parts {
            // All leaves of a subtree are those of the one above if that has no others.
            let apart = |place: &Prefix| !place.leads_to(&prefix.bits) && !prefix.leads_to(&place.bits);
            for (_, other, _) in parts.iter().filter(|(place, ..)| apart(place)) {
                prop_assert_ne!(other.hash(prefix), Some(*hash));
            }
        }
    }

    #[test]
    fn a_prefix_has_one_spelling(bits in prop::collection::vec(any::<bool>(), 0..257)) {
        let prefix = bits.iter().fold(Prefix::ROOT, |prefix, one| prefix.halves().expect("at most 256")[usize::from(*one)]);
        prop_assert_eq!(prefix.to_string().parse(), Ok(prefix));
    }
}

#[test]
fn what_is_no_prefix_is_refused() {
    for text in ["", "2", "0root", "01 ", &"0".repeat(257)] {
        assert_eq!(text.parse::<Prefix>(), Err(NotAPrefix), "{text}");
    }
    let deepest: Prefix = "1".repeat(256).parse().expect("a whole key");
    assert_eq!(deepest.halves(), None);
    assert_eq!(Part::Halves(Digest::ZERO, Digest::ZERO).hash(&deepest), None, "a key has no halves");
}
