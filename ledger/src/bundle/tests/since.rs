//! What an auditor asks who kept a checkpoint.

use wallet::digest::Digest;

use super::*;
use crate::{
    governance::Member,
    testing::{next_node_key, node_key, operator_id},
    tlog::{Checkpoint, Cosignature, CosignedCheckpoint},
    tree::log::LogTree,
    vote::Signer,
};

/// The checkpoint of so many entries, cosigned by the set of that time, as the auditor kept it.
fn checkpoint(chain: &Chain, size: u64) -> Vec<u8> {
    let leaves: Vec<Digest> = chain.entries().map(|(_, entry)| entry.leaf_hash()).collect();
    let root = LogTree::from_leaf_hashes(&leaves[..usize::try_from(size).expect("few")]).root();
    let epochs = crate::epochs::Epochs::proven(&chain.consortium, &chain.hand_overs, &named(chain)).expect("proven");
    let set = epochs.of_size(size);
    cosigned(&Checkpoint::new(&epochs.sets().name_of(set.epoch), size, root), set, set.quorum())
}

fn named(chain: &Chain) -> Vec<Digest> {
    crate::hand_over::re_geneses(&chain.hand_overs)
}

/// With so many cosignatures.
fn cosigned(checkpoint: &Checkpoint, set: &genesis::ValidatorSet, count: usize) -> Vec<u8> {
    let signers = set.members.iter().take(count).map(|(node, key)| {
        let second = next_node_key(node.get());
        let key = if second.public_key() == *key { second } else { node_key(node.get()) };
        Signer { node: *node, key }
    });
    let cosignatures = signers.map(|signer| Cosignature::sign(checkpoint, &signer, 1_800_000_000)).collect();
    let name = checkpoint.origin.strip_prefix("batchmind/").expect("an origin").parse().expect("a digest");
    CosignedCheckpoint { checkpoint: checkpoint.clone(), cosignatures }.to_note(set, &name).to_string().into_bytes()
}

/// The bundle of the first hop of `chain`, which goes on from so many entries.
fn since(chain: &Chain, session: &Session, size: u64) -> Bundle {
    build(&chain.consortium, chain, session.address, KeyEpoch::new(1), &grounds(&chained(3)), Some(size))
        .expect("provable")
}

#[test]
fn a_bundle_goes_on_from_every_checkpoint_for_whose_size_it_was_asked() {
    let (mut chain, session, _) = sample();
    let first = chain.tip.log.size();
    let rotation = chain.rotating(Member::Node(NodeId::new(1)), &node_key(1), &next_node_key(1));
    chain.enact(vec![rotation]).expect("valid");
    chain.push(session.anchored(2, 2, Digest([8; 32]))).expect("valid");
    for size in 1..=chain.tip.log.size() {
        let (kept, bundle) = (checkpoint(&chain, size), since(&chain, &session, size));
        let report = verify(&bundle.to_bytes(), &chain.consortium.id(), &[], Some(&kept)).expect("it only grew");
        assert_eq!(report.pinned, Some(size));
        assert_eq!(report.checks[..], Check::ALL[..25], "all but the one that needs to read the decision");
        let report = verify(&bundle.to_bytes(), &chain.consortium.id(), &[], None).expect("nothing to compare with");
        assert_eq!((report.pinned, report.checks.len()), (None, 24), "that the log grew is shown all the same");
        let other = since(&chain, &session, size % first + 1);
        let failure = verify(&other.to_bytes(), &chain.consortium.id(), &[], Some(&kept)).expect_err("another tree");
        assert_eq!(failure.check, Check::Consistency);
    }
}

#[test]
fn after_a_re_genesis_the_kept_checkpoint_is_of_the_part_that_stayed_or_of_the_new_lineage() {
    let (mut chain, session, _) = sample();
    let (before, dropped) = (chain.tip.log.size(), chain.tip.log.size() + 1);
    let mut left = chain.clone();
    left.push(session.anchored(2, 2, Digest([8; 32]))).expect("valid");
    chain.begin_anew(0, [2, 3].map(|operator| Member::Operator(operator_id(operator))).to_vec()).expect("valid");
    chain.push(session.touched(&session.record(&chain), 9)).expect("valid");
    let judged = |kept: &[u8], size| {
        let bundle = since(&chain, &session, size);
        let verdict = verify(&bundle.to_bytes(), &chain.consortium.id(), &named(&chain), Some(kept));
        verdict.map(|report| report.pinned)
    };
    for size in [3, before, dropped, chain.tip.log.size()] {
        assert_eq!(judged(&checkpoint(&chain, size), size), Ok(Some(size)));
    }
    let failure = judged(&checkpoint(&left, dropped), dropped).expect_err("what was left is no past of this");
    assert_eq!(failure.check, Check::Checkpoint, "{failure}");
}

#[test]
fn a_checkpoint_that_nobody_can_rely_on_is_refused_and_so_is_a_log_that_does_not_go_on_from_it() {
    let (chain, session, bundle) = sample();
    let (genesis, size, set) = (chain.consortium.id(), chain.tip.log.size(), chain.consortium.validators());
    let good = since(&chain, &session, 3);
    let fails = |bundle: &Bundle, kept: &[u8]| {
        verify(&bundle.to_bytes(), &genesis, &[], Some(kept)).expect_err("it does not go on").check
    };
    let note = |size, root, count| cosigned(&Checkpoint::new(&genesis, size, root), set, count);
    let kept = checkpoint(&chain, 3);
    assert_eq!(fails(&bundle, &kept), Check::Consistency, "it was not asked for");
    for (wrong, what) in [
        (b"no note".to_vec(), "no note"),
        (note(3, Digest::ZERO, 2), "cosigned by too few"),
        (cosigned(&Checkpoint::new(&Digest::ZERO, 3, Digest::ZERO), set, 4), "of another consortium"),
        (kept.iter().map(|byte| if *byte == b'3' { b'4' } else { *byte }).collect(), "changed"),
    ] {
        assert_eq!(fails(&good, &wrong), Check::Checkpoint, "{what}");
    }
    for (wrong, what) in [
        (note(3, Digest::ZERO, 3), "of another past"),
        (note(size, Digest::ZERO, 3), "of another log of this size"),
        (note(size + 1, Digest::ZERO, 3), "newer than the bundle"),
        (note(0, Digest::ZERO, 3), "of no entries"),
    ] {
        assert_eq!(fails(&good, &wrong), Check::Consistency, "{what}");
    }
    for since in [0, size + 1, u64::MAX] {
        let built =
            build(&chain.consortium, &chain, session.address, KeyEpoch::new(1), &grounds(&chained(3)), Some(since));
        assert_eq!(built, Err(NotProvable::SinceUnknown { since, size }));
    }
}
