use std::{sync::Arc, vec};

use genesis::Consortium;
use wallet::{digest::Digest, identity::context, units::NodeId};

use super::*;
use crate::{
    finality::Final,
    governance::{Action, Member},
    replay::{Reason, Signatures},
    shell::{
        memory::{MemoryDisk, Trouble},
        raft::RaftLogId,
    },
    testing::{Chain, Session, consortium, node_key},
};

#[derive(Debug, thiserror::Error)]
enum Stopped {
    #[error(transparent)]
    Replay(#[from] ReplayInvalid),
    #[error(transparent)]
    Store(#[from] Fault),
}

/// A chain of more blocks than are written together, with a hand-over in it.
fn chain() -> Chain {
    let consortium = consortium(4);
    let (mut chain, session) = (Chain::new(consortium.clone()), Session::in_eu(&consortium, 0));
    chain.push(session.created()).expect("valid");
    session.hop(&mut chain, 1, None).expect("valid");
    chain.enact(vec![Action::Suspend(Member::Node(NodeId::new(3)))]).expect("allowed");
    for decisions in 1..=GROUP_BLOCKS as u64 {
        chain.push(session.anchored(0, decisions, Digest([7; 32]))).expect("valid");
    }
    chain
}

/// What becomes of these blocks on a disk, and what stands there as final.
fn caught_up(
    disk: &Arc<MemoryDisk>,
    consortium: &Arc<Consortium>,
    blocks: Vec<FinalBlock>,
) -> (Result<Executed, Stopped>, FinalStore) {
    let (store, tip) = FinalStore::open(disk.clone(), consortium).expect("a good disk");
    let replay = Replay::after(consortium.clone(), tip.executed, Signatures::Certified);
    let mut blocks: vec::IntoIter<FinalBlock> = blocks.into_iter();
    let executed = catch_up(&store, replay, || Ok(blocks.next()), &mut |_| {});
    (executed, store)
}

#[test]
fn blocks_written_together_leave_the_disk_as_blocks_that_became_final_one_by_one() {
    let chain = chain();
    assert!(chain.blocks.len() > GROUP_BLOCKS);
    let [together, single] = [Arc::<MemoryDisk>::default(), Arc::default()];
    let (executed, store) = caught_up(&together, &chain.consortium, chain.final_blocks());
    let executed = executed.expect("they follow");
    assert_eq!(executed, chain.tip);
    assert_eq!(store.last().expect("reads"), None, "nothing is final before the caller says so");
    store.make_final(executed.height, RaftLogId::default()).expect("a good disk");
    let (store, tip) = FinalStore::open(single.clone(), &chain.consortium).expect("a good disk");
    let (mut replay, mut before) = (Replay::new(chain.consortium.clone(), Signatures::Certified), tip.executed);
    for next in chain.final_blocks() {
        replay.step(&next).expect("it follows");
        let (FinalBlock { block, certificate, carriers }, executed) = (next, replay.executed().clone());
        let finalized = Final { certificate, carriers, block, executed, log_index: 0 };
        store.commit(&finalized, &before, RaftLogId::default()).expect("a good disk");
        before = finalized.executed;
    }
    assert_eq!(together.image(), single.image());
}

#[test]
fn a_signature_that_no_validator_made_is_found_wherever_it_stands_and_nothing_becomes_final() {
    let chain = chain();
    let blocks = chain.final_blocks();
    for at in [0, 100, blocks.len() - 1] {
        let (mut voted, mut proposed) = (blocks.clone(), blocks.clone());
        let (voter, signature) = &mut voted[at].certificate.signatures[1];
        signature.0[0] ^= 1;
        let voter = *voter;
        proposed[at].block.proposal.0[0] ^= 1;
        let forged = [
            (voted, context::LEDGER_VOTE, voter),
            (proposed, context::LEDGER_PROPOSAL, blocks[at].block.header.leader),
        ];
        for (blocks, context, by) in forged {
            let height = blocks[at].block.header.height;
            let (executed, store) = caught_up(&Arc::default(), &chain.consortium, blocks);
            let Err(Stopped::Replay(invalid)) = executed else { panic!("{executed:?}") };
            let (context, key) = (context.into(), node_key(by.get()).public_key());
            assert_eq!(invalid, ReplayInvalid { height, reason: Reason::Signature { context, key } });
            assert_eq!(store.last().expect("reads"), None);
        }
    }
}

#[test]
fn a_disk_that_fails_is_told_and_not_what_came_of_the_replay() {
    let chain = chain();
    for skipped in [0, 1] {
        let disk = Arc::<MemoryDisk>::default();
        disk.plan(skipped, Trouble::Fail);
        let (executed, _) = caught_up(&disk, &chain.consortium, chain.final_blocks());
        assert!(matches!(executed, Err(Stopped::Store(_))), "{skipped}: {executed:?}");
    }
}
