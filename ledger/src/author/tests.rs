use proptest::prelude::*;
use wallet::digest::sha256;

use super::*;
use crate::{
    apply::{check_author, check_author_with},
    checks::Remembered,
    event::{DecisionAnchored, Event},
    refusal::Refusal,
    testing::{consortium, node_key},
};

fn bodies(author: u32, count: u64) -> Vec<(EntryBody, Option<&'static SecretKey>)> {
    let consortium = consortium(4).id();
    let body = |decisions: u64| {
        let mut nonce = [0; 16];
        nonce[..8].copy_from_slice(&decisions.to_le_bytes());
        let event = Event::DecisionAnchored(DecisionAnchored { decisions, log_head: Digest([1; 32]) });
        EntryBody { consortium, author: NodeId::new(author), nonce, event }
    };
    (1..=count).map(|number| (body(number), None)).collect()
}

fn check(entry: &Entry) -> Result<(), Refusal> {
    check_author(&consortium(4), entry)
}

fn refused(entry: &Entry) -> bool {
    matches!(check(entry), Err(Refusal::AuthorSignature { .. }))
}

fn batch(entry: &mut EntryParts) -> &mut BatchSignature {
    match &mut entry.signature {
        AuthorSignature::Batch(batch) => batch,
        AuthorSignature::Direct(_) => panic!("signed alone"),
    }
}

#[test]
fn each_entry_of_a_batch_stands_for_itself_and_the_root_is_verified_once() {
    let (consortium, memory) = (consortium(4), Remembered::default());
    let entries = sign_batch(bodies(1, 256), &node_key(1));
    for entry in &entries {
        assert_eq!(check(entry), Ok(()));
        assert_eq!(check_author_with(&consortium, entry, &memory), Ok(()));
    }
    assert_eq!(memory.verified(), 1);
}

#[test]
fn more_than_a_batch_are_several_and_one_alone_is_signed_alone() {
    let entries = sign_batch(bodies(1, 257), &node_key(1));
    assert!(entries.iter().all(|entry| check(entry) == Ok(())));
    assert!(matches!(entries[256].signature, AuthorSignature::Direct(_)));
    assert!(
        matches!(&entries[255].signature, AuthorSignature::Batch(batch) if batch.size == 256 && batch.index == 255)
    );
}

#[test]
fn a_batch_ends_where_the_author_changes() {
    let mixed = [bodies(1, 3), bodies(2, 2)].concat();
    let entries = sign_batch(mixed, &node_key(1));
    assert!(entries[..3].iter().all(|entry| check(entry) == Ok(())));
    assert!(entries[3..].iter().all(refused), "signed by a key that is not their author's");
}

#[test]
fn a_path_that_is_too_long_is_not_decoded() {
    let path = |hashes: usize| codec::encode(&vec![Digest::ZERO; hashes]);
    assert!(codec::decode::<BatchPath>(&path(BATCH_PATH_MAX)).is_ok());
    assert!(codec::decode::<BatchPath>(&path(BATCH_PATH_MAX + 1)).is_err());
}

#[test]
fn a_batch_signature_is_no_entry_signature() {
    let entry = sign_batch(bodies(1, 2), &node_key(1)).remove(0);
    assert!(refused(&entry.changed(|entry| entry.signature = AuthorSignature::Direct(batch(entry).signature))));
    let direct = sign_batch(bodies(1, 1), &node_key(1)).remove(0);
    let AuthorSignature::Direct(signature) = direct.signature.clone() else { panic!("signed in a batch") };
    let of_one = BatchSignature { signature, size: 1, index: 0, path: BatchPath::default() };
    assert!(refused(&direct.changed(|entry| entry.signature = AuthorSignature::Batch(Box::new(of_one)))));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn whoever_changes_id_path_index_size_or_signature_is_refused(
        size in 2_u64..40, at in any::<prop::sample::Index>(), how in 0..8_u8, by in 1_u16..300, bit in 0..256_usize,
    ) {
        let mut entries = sign_batch(bodies(1, size), &node_key(1));
        let entry = entries.swap_remove(at.index(entries.len()));
        let (consortium, memory) = (consortium(4), Remembered::default());
        prop_assert_eq!(check_author_with(&consortium, &entry, &memory), Ok(()));
        let flip = |bytes: &mut [u8]| {
            let bit = bit % (bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
        };
        let changed = entry.changed(|entry| match how {
            0 => flip(&mut entry.body.nonce),
            1 => {
                let path = &mut batch(entry).path.0;
                let which = bit % path.len();
                flip(&mut path[which].0);
            }
            2 => batch(entry).index = batch(entry).index.wrapping_add(by),
            3 => batch(entry).size = batch(entry).size.wrapping_add(by),
            4 => flip(&mut batch(entry).signature.0),
            5 => drop(batch(entry).path.0.pop()),
            6 => batch(entry).path.0.push(sha256("more", &[])),
            _ => entry.body.author = NodeId::new(2),
        });
        prop_assert!(refused(&changed));
        prop_assert!(check_author_with(&consortium, &changed, &memory).is_err(), "the memory knows the other one only");
    }

    #[test]
    fn an_encoded_entry_is_read_back_in_both_forms(size in 1_u64..20, at in any::<prop::sample::Index>()) {
        let mut entries = sign_batch(bodies(1, size), &node_key(1));
        let entry = entries.swap_remove(at.index(entries.len()));
        let bytes = codec::encode(&EntryParts::clone(&entry));
        prop_assert_eq!((codec::encode(&entry), entry.bytes()), (bytes.clone(), bytes.as_slice()));
        prop_assert_eq!(codec::encode(&entry.body), entry.body_bytes());
        prop_assert_eq!(codec::decode::<Entry>(&bytes), Ok(entry));
    }
}
