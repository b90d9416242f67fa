use proptest::prelude::*;
use wallet::codec;

use super::*;

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Nil),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        any::<u32>().prop_map(Value::F32),
        any::<u64>().prop_map(Value::F64),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(Value::Bytes),
        "[a-zäß]{0,20}".prop_map(Value::Text),
        any::<[u8; 32]>().prop_map(|bytes| Value::Hash(Digest(bytes))),
        any::<u32>().prop_map(Value::Effect),
    ];
    leaf.prop_recursive(4, 64, 4, |inner| prop::collection::vec(inner, 0..4).prop_map(Value::Tuple))
}

fn wait() -> impl Strategy<Value = WaitTree> {
    any::<u32>().prop_map(WaitTree::One).prop_recursive(4, 32, 4, |inner| {
        let trees = prop::collection::vec(inner, 0..4);
        (trees, any::<bool>()).prop_map(|(trees, any)| if any { WaitTree::First(trees) } else { WaitTree::All(trees) })
    })
}

fn nested(levels: usize) -> Value {
    (0..levels).fold(Value::Nil, |value, _| Value::Tuple(vec![value]))
}

#[test]
fn bounds_hold_when_values_are_made_and_when_they_are_read() {
    let text = |count: usize| Value::Text("x".repeat(count));
    for (value, allowed) in [
        (nested(4), true),
        (nested(5), false),
        (Value::Tuple(vec![Value::Nil; 255]), true),
        (Value::Tuple(vec![Value::Nil; 256]), false),
        (text(1024), true),
        (text(1025), false),
        (Value::Bytes(vec![0; 1025]), false),
    ] {
        assert_eq!(value.validate().is_ok(), allowed);
        assert_eq!(codec::decode::<Value>(&codec::encode(&value)).is_ok(), allowed);
    }
}

#[test]
fn a_value_nested_a_million_times_is_refused_on_a_small_stack() {
    let nodes = vec![ValueNode::Tuple(1); 1_000_000];
    let bytes = codec::encode(&nodes);
    let small = std::thread::Builder::new().stack_size(64 << 10);
    let verdict = small.spawn(move || codec::decode::<Value>(&bytes).is_err()).expect("a thread");
    assert!(verdict.join().expect("it did not overflow"));
}

#[test]
fn a_tree_is_over_when_any_or_all_are_done() {
    let tree = WaitTree::First(vec![WaitTree::One(1), WaitTree::All(vec![WaitTree::One(2), WaitTree::One(3)])]);
    for (done, over) in [(vec![], false), (vec![2], false), (vec![1], true), (vec![2, 3], true)] {
        assert_eq!(tree.is_over(&|seq| done.contains(&seq)), over, "{done:?}");
    }
}

proptest! {
    #[test]
    fn a_value_reads_back(value in value()) {
        prop_assert_eq!(codec::decode::<Value>(&codec::encode(&value)).expect("within bounds"), value);
    }

    #[test]
    fn a_tree_reads_back(tree in wait()) {
        prop_assert_eq!(codec::decode::<WaitTree>(&codec::encode(&tree)).expect("within bounds"), tree);
    }

    #[test]
    fn what_reads_has_one_encoding(bytes in prop::collection::vec(0..12_u8, 0..80)) {
        if let Ok(value) = codec::decode::<Value>(&bytes) {
            prop_assert_eq!(codec::encode(&value), bytes.clone());
        }
        if let Ok(tree) = codec::decode::<WaitTree>(&bytes) {
            prop_assert_eq!(codec::encode(&tree), bytes);
        }
    }
}
