use proptest::prelude::*;
use wallet::page::PageKind;

use super::*;
use crate::stream::Draft;

fn head(position: u64) -> PageHead {
    Draft::bytes(PageKind::Journal).head(position, 3, Digest([position as u8; 32]))
}

fn heads(from: u64, to: u64) -> Vec<PageHead> {
    (from..to).map(head).collect()
}

fn log(count: u64) -> RootLog {
    let mut log = RootLog::new();
    heads(0, count).iter().for_each(|head| log.push(head));
    log
}

/// RFC 9162 2.1.1, word for word.
fn root_by_definition(leaves: &[Digest]) -> Digest {
    match leaves {
        [] => empty(),
        [one] => *one,
        _ => {
            let (left, right) = leaves.split_at(1 << (leaves.len() - 1).ilog2());
            node(&root_by_definition(left), &root_by_definition(right))
        }
    }
}

#[test]
fn the_roots_are_pinned() {
    let roots: Vec<String> = [0, 1, 2, 3, 7, 8].iter().map(|at| log(8).root(*at).expect("kept").to_string()).collect();
    assert_eq!(
        roots,
        [
            "ba1412b5a25a2295eb96fe341bd532611dd9c8d1739165750d55c7f3e2b0d4e8",
            "dac1aa135f225fad19ddd408e173202b5135a05d23c97e8371e4d9e4245bb0c8",
            "f861b59d157c8333dda459bf5893f1dec163ec6560014db7bd51e8f8599256fa",
            "a947bd8a0a299ff37125aa01cd7d0aa67c1d9eccdc1639d6e146d094c3af3b9f",
            "fda19e3e4be5fb978191822beefc013b4efc1bb81e5d0ff2ba4e315cc3377dfe",
            "c40893f1ff524a2476a0246ddd81bd6050a0f393adc2227ea18d07a4df16b718",
        ]
    );
}

#[test]
fn the_tree_is_that_of_rfc_9162() {
    let leaves: Vec<Digest> = heads(0, 70).iter().map(leaf).collect();
    let log = log(70);
    for at in 0..=70 {
        assert_eq!(log.root(at).expect("kept"), root_by_definition(&leaves[..at as usize]), "{at}");
    }
}

#[test]
fn the_hashes_are_those_of_every_other_digest() {
    let (one, two) = (Digest([1; 32]), Digest([2; 32]));
    assert_eq!(leaf(&head(5)), blake3(LEAF_DOMAIN, None, &[&head(5).encode()]));
    assert_eq!(node(&one, &two), blake3(NODE_DOMAIN, None, &[&one.0, &two.0]));
}

#[test]
fn an_accumulator_goes_on_from_its_peaks() {
    for at in 0..40 {
        let mut tree = log(at).accumulator(at).expect("kept");
        tree = Accumulator::from_peaks(tree.len(), tree.peaks().to_vec()).expect("as many as there are bits");
        heads(at, 40).iter().for_each(|head| tree.push(head));
        assert_eq!(tree.root(), log(40).root(40).expect("kept"));
    }
    assert_eq!(Accumulator::from_peaks(3, vec![Digest::ZERO]), None);
}

#[test]
fn a_proof_at_the_end_of_the_numbers_does_not_overflow() {
    let full = vec![Digest::ZERO; 64];
    let proof = RangeProof { from: u64::MAX, to: u64::MAX, at: u64::MAX, left: full.clone(), right: vec![] };
    assert!(proof.verify(&[]).is_none(), "no stream has so many pages");
    let proof = RangeProof { from: 1, to: 1, at: u64::MAX, left: vec![Digest::ZERO], right: full };
    assert!(proof.verify(&[]).is_some());
    let proof = RangeProof { from: 0, to: 0, at: u64::MAX, left: vec![], right: vec![Digest::ZERO] };
    assert_eq!(proof.verify(&[]).expect("it fits").at, Digest::ZERO);
}

#[test]
fn a_proof_of_too_many_hashes_is_not_decoded() {
    let proof = |count| RangeProof { from: 0, to: 0, at: 0, left: vec![], right: vec![Digest::ZERO; count] };
    let read = |count| wallet::codec::decode::<RangeProof>(&wallet::codec::encode(&proof(count)));
    assert!(read(64).is_ok());
    assert!(read(65).is_err());
}

#[test]
fn an_accumulator_of_the_wrong_number_of_peaks_is_not_decoded() {
    use wallet::codec::{decode, encode};
    let tree = log(7).accumulator(7).expect("kept");
    assert_eq!(decode::<Accumulator>(&encode(&tree)).as_ref(), Ok(&tree));
    assert!(decode::<Accumulator>(&encode(&(6_u64, tree.peaks()))).is_err());
}

#[test]
fn what_is_not_there_is_not_proved() {
    let mut log = log(9);
    log.trim(4);
    assert!(matches!(log.root(3), Err(StreamFault::NotKept { position: 3, earliest: 4 })));
    assert!(matches!(log.prove(3, 9), Err(StreamFault::NotKept { .. })));
    assert!(matches!(log.prove(4, 10), Err(StreamFault::BeyondTail { position: 10, tail: 9 })));
    assert!(matches!(log.prove(6, 5), Err(StreamFault::BeyondTail { .. })));
    assert!(matches!(log.prove_within(5, 8, 7), Err(StreamFault::BeyondTail { .. })));
    log.trim(100);
    assert_eq!((log.earliest(), log.tail()), (9, 9));
}

proptest! {
    #[test]
    fn every_range_is_proved_whatever_was_trimmed(
        count in 1..150_u64, more in 0..40_u64, cuts in any::<[prop::sample::Index; 4]>(), restored in any::<bool>(),
    ) {
        let whole = log(count + more);
        let mut sizes = cuts.map(|cut| cut.index(count as usize + 1) as u64);
        sizes.sort_unstable();
        let [trimmed, from, to, at] = sizes;
        let mut log = log(count);
        log.trim(trimmed / 2);
        log.trim(trimmed);
        if restored {
            log = RootLog::starting_at(&log.accumulator(trimmed).expect("kept"));
            heads(trimmed, count).iter().for_each(|head| log.push(head));
        }
        heads(count, count + more).iter().for_each(|head| log.push(head));
        for at in [at, count + more] {
            let proof = log.prove_within(from, to, at).expect("kept");
            prop_assert_eq!(&proof, &whole.prove_within(from, to, at).expect("kept"));
            let roots = proof.verify(&heads(from, to)).expect("it fits");
            for (root, size) in [(roots.from, from), (roots.to, to), (roots.at, at)] {
                prop_assert_eq!(root, whole.root(size).expect("kept"));
            }
        }
    }

    #[test]
    fn a_proof_of_anything_else_leads_elsewhere(
        count in 1..100_u64, cuts in any::<[prop::sample::Index; 3]>(), what in 0..6_u8,
        which in any::<prop::sample::Index>(), bit in 0..256_usize,
    ) {
        let log = log(count);
        let mut sizes = cuts.map(|cut| cut.index(count as usize + 1) as u64);
        sizes.sort_unstable();
        let [from, to, at] = sizes;
        let mut proof = log.prove_within(from, to, at).expect("kept");
        let mut heads = heads(from, to);
        let flip = |hash: &mut Digest| hash.0[bit / 8] ^= 1 << (bit % 8);
        match what {
            0 if !proof.left.is_empty() => { let i = which.index(proof.left.len()); flip(&mut proof.left[i]); }
            1 if !proof.right.is_empty() => { let i = which.index(proof.right.len()); flip(&mut proof.right[i]); }
            2 if !heads.is_empty() => { let i = which.index(heads.len()); flip(&mut heads[i].hash); }
            3 if !heads.is_empty() => { let i = which.index(heads.len()); heads[i].position += 1; }
            4 => { heads.push(head(to)); }
            _ => { proof.right.push(Digest::ZERO); }
        }
        let right = (log.root(from).expect("kept"), log.root(at).expect("kept"));
        prop_assert_ne!(proof.verify(&heads).map(|roots| (roots.from, roots.at)), Some(right));
    }

    #[test]
    fn pages_elsewhere_in_the_stream_are_not_the_same(from in 0..50_u64, count in 1..9_u64, shift in 1..4_u64) {
        let to = from + count;
        let proof = log(to).prove(from, to).expect("kept");
        let moved = RangeProof { from: from + shift, to: to + shift, at: to + shift, ..proof };
        prop_assert_eq!(moved.verify(&heads(from, to)), None);
    }
}

#[test]
fn a_stream_so_long_that_its_positions_could_not_be_counted_is_not_believed() {
    assert_eq!(Accumulator::from_peaks(u64::MAX, vec![Digest::ZERO; 64]), None);
    assert!(Accumulator::from_peaks(1 << 48, vec![Digest::ZERO]).is_some());
}
