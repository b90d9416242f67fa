use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// Keys that share long prefixes, so that a path ends in every way.
fn key() -> impl Strategy<Value = Digest> {
    (0..4_u8, 0..4_u8, 0..4_u8).prop_map(|(first, middle, last)| {
        let mut key = Digest::ZERO;
        (key.0[0], key.0[15], key.0[31]) = (first << 6, middle, last);
        key
    })
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..4)
}

fn content() -> impl Strategy<Value = BTreeMap<Digest, Vec<u8>>> {
    prop::collection::btree_map(key(), value(), 0..24)
}

fn whole(content: &BTreeMap<Digest, Vec<u8>>) -> StateTree {
    content.iter().map(|(key, value)| (*key, value.clone())).collect()
}

proptest! {
    #[test]
    fn what_is_asked_for_reads_as_in_the_whole_tree(content in content(), keys in prop::collection::btree_set(key(), 0..8)) {
        let whole = whole(&content);
        let shown = whole.partial(&keys).expect("it is whole");
        prop_assert_eq!(codec::decode::<PartialTree>(&codec::encode(&shown)), Ok(shown.clone()));
        let tree = shown.tree().expect("it is a part of a tree");
        prop_assert_eq!(tree.root(), whole.root());
        for key in &keys {
            prop_assert_eq!(tree.get(key), whole.get(key));
        }
        prop_assert!(tree.iter().all(|(key, _)| keys.contains(key)));
        prop_assert_eq!(tree.partial(&keys), Ok(shown), "there is one for each set of keys");
    }

    #[test]
    fn what_is_put_under_shown_keys_gives_the_root_of_the_whole_tree(
        content in content(),
        changes in prop::collection::btree_map(key(), value(), 0..8),
    ) {
        let mut whole = whole(&content);
        let shown = whole.partial(&changes.keys().copied().collect()).expect("it is whole");
        let mut tree = shown.tree().expect("it is a part of a tree");
        for (key, value) in changes {
            tree.insert(key, value.clone());
            whole.insert(key, value);
            prop_assert_eq!(tree.root(), whole.root());
        }
    }

    #[test]
    fn of_a_present_key_that_was_not_asked_for_nothing_is_said(
        content in content(),
        keys in prop::collection::btree_set(key(), 0..8),
    ) {
        let whole = whole(&content);
        let tree = whole.partial(&keys).expect("it is whole").tree().expect("a part of a tree");
        for key in content.keys().filter(|key| !keys.contains(key)) {
            prop_assert_eq!(tree.get(key), None);
            prop_assert_eq!(tree.partial(&BTreeSet::from([*key])), Err(NotShown(*key)));
        }
    }

    /// Whoever executes over too little comes to the end, and finds what it put.
    #[test]
    fn what_is_put_where_nothing_is_shown_is_found(
        content in content(),
        asked in key(),
        changes in prop::collection::btree_map(key(), value(), 0..8),
    ) {
        let shown = whole(&content).partial(&BTreeSet::from([asked])).expect("it is whole");
        let mut tree = shown.tree().expect("a part of a tree");
        changes.iter().for_each(|(key, value)| tree.insert(*key, value.clone()));
        for (key, value) in &changes {
            prop_assert_eq!(tree.get(key), Some(value.as_slice()));
        }
    }

    #[test]
    fn whatever_ends_are_named_make_a_tree_or_none(
        ends in prop::collection::vec((0..5_u16, 0..3_u8, key()), 0..8),
        more in key(),
    ) {
        let node = |kind, key| match kind {
            0 => EndNode::Subtree(key),
            1 => EndNode::Other(key, Digest([1; 32])),
            _ => EndNode::Record(key, vec![2]),
        };
        let ends = ends.into_iter().map(|(depth, kind, key)| End { depth, node: node(kind, key) }).collect();
        let shown = PartialTree { ends };
        if let Some(mut tree) = shown.tree() {
            let listed = tree.iter().filter(|(key, _)| tree.get(key).is_some()).count();
            prop_assert_eq!(listed, tree.iter().count(), "each stands where it is looked for");
            tree.insert(more, vec![3]);
            prop_assert_eq!(tree.get(&more), Some(&[3][..]));
        }
    }
}

#[test]
fn a_path_is_as_deep_as_a_key_is_long_and_no_deeper() {
    let (zero, one) = (Digest::ZERO, Digest([[0; 31].as_slice(), &[1]].concat().try_into().expect("32 bytes")));
    let mut whole = StateTree::default();
    [zero, one].into_iter().for_each(|key| whole.insert(key, vec![7]));
    let shown = whole.partial(&BTreeSet::from([zero, one])).expect("it is whole");
    assert_eq!((shown.ends.len(), shown.ends[0].depth), (257, 256));
    assert_eq!(shown.tree().expect("a part of a tree").root(), whole.root());
    let mut deeper = shown.clone();
    deeper.ends[0].depth = 257;
    assert!(deeper.tree().is_none());
    deeper.ends[0].depth = u16::MAX;
    assert!(deeper.tree().is_none());
}

#[test]
fn a_leaf_stands_under_its_own_key_alone() {
    let (left, right) = (Digest::ZERO, Digest([0xff; 32]));
    let whole = whole(&BTreeMap::from([(left, vec![1]), (right, vec![2])]));
    let shown = whole.partial(&BTreeSet::from([left, right])).expect("it is whole");
    assert!(shown.tree().is_some());
    let mut swapped = shown.clone();
    swapped.ends.reverse();
    assert!(swapped.tree().is_none());
    let mut more = shown.clone();
    more.ends.push(End { depth: 1, node: EndNode::Subtree(Digest::ZERO) });
    assert!(more.tree().is_none());
    assert!(PartialTree { ends: shown.ends[..1].to_vec() }.tree().is_none());
    assert!(PartialTree::default().tree().is_none());
}
