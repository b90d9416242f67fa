use wallet::{
    digest::Digest,
    identity::context,
    units::{NodeId, Timestamp},
};

use super::*;
use crate::{
    block::View,
    execute::propose_with,
    governance::{Action, Member},
    testing::{CREATED_MS, Chain, Session, certify, certify_as, consortium, next_node_key, node_key, signer},
};

const BOTH: [Signatures; 2] = [Signatures::Verified, Signatures::Certified];

/// A chain in which a wallet moved.
fn sample() -> Chain {
    let consortium = consortium(4);
    let (mut chain, session) = (Chain::new(consortium.clone()), Session::in_eu(&consortium, 0));
    chain.push(session.created()).expect("valid");
    session.hop(&mut chain, 1, None).expect("valid");
    chain.push(session.anchored(0, 2, Digest([7; 32]))).expect("valid");
    chain
}

fn replay(chain: &Chain, blocks: &[FinalBlock], signatures: Signatures) -> Result<Replayed, ReplayInvalid> {
    let mut replay = Replay::new(chain.consortium.clone(), signatures);
    blocks.iter().try_for_each(|block| replay.step(block))?;
    replay.finish()
}

/// The sample's blocks after `change`, refused by both kinds of replay for the same reason.
fn refused(change: impl FnOnce(&mut Vec<FinalBlock>)) -> (u64, Reason) {
    let chain = sample();
    let mut blocks = chain.final_blocks();
    change(&mut blocks);
    let [one, other] = BOTH.map(|signatures| replay(&chain, &blocks, signatures).expect_err("changed"));
    assert_eq!(one, other);
    (one.height.get(), one.reason)
}

#[test]
fn a_final_chain_gives_the_same_state_again() {
    let chain = sample();
    // Five entries, three of them signed by their holder too.
    for (signatures, verified) in BOTH.into_iter().zip([8, 0]) {
        let replayed = replay(&chain, &chain.final_blocks(), signatures).expect("final");
        assert_eq!(replayed.executed, chain.tip);
        assert_eq!(replayed.certificate.as_ref(), chain.blocks.last().map(|(_, certificate)| certificate));
        assert_eq!(replayed.verified, verified);
    }
}

#[test]
fn nothing_to_replay_is_genesis() {
    let chain = Chain::new(consortium(4));
    for signatures in BOTH {
        let replayed = replay(&chain, &[], signatures).expect("genesis");
        assert_eq!((replayed.executed, replayed.certificate), (chain.tip.clone(), None));
    }
}

/// A quorum that lies can certify an entry that its author never signed. An auditor sees that; a node that is restored
/// has the quorum's word, as everybody has.
#[test]
fn an_entry_that_its_author_did_not_sign_is_found_by_who_verifies_signatures() {
    let mut chain = sample();
    let session = Session::in_eu(&chain.consortium, 0);
    let forged = session.anchored(2, 9, Digest([8; 32]));
    let other = session.anchored(2, 10, Digest([8; 32]));
    let forged = forged.changed(|parts| parts.signature = other.signature.clone());
    let place = chain.place(View { term: 1, number: chain.tip.view.number + 1 });
    let now = Timestamp::new(CREATED_MS + 10_000);
    let proposal =
        propose_with(&chain.consortium, place, &signer(0), now, vec![forged], &Deferred::new(Signatures::Certified));
    assert_eq!(proposal.refused, []);
    let certificate = certify(&proposal.block, 1..4);
    let height = proposal.block.header.height;
    chain.blocks.push((proposal.block, certificate));
    let found = replay(&chain, &chain.final_blocks(), BOTH[0]).expect_err("forged");
    assert_eq!(found.height, height);
    assert!(matches!(found.reason, Reason::Signature { .. }), "{found}");
    assert!(replay(&chain, &chain.final_blocks(), BOTH[1]).is_ok());
}

#[test]
fn a_certificate_beside_another_block_proves_nothing() {
    let (height, reason) = refused(|blocks| blocks[1].certificate = blocks[2].certificate.clone());
    assert_eq!((height, reason), (2, Reason::OtherCertificate));
}

#[test]
fn a_certificate_below_a_quorum_proves_nothing() {
    let (height, reason) = refused(|blocks| blocks[1].certificate.signatures.truncate(2));
    let below = CertificateInvalid::BelowQuorum { found: 2, quorum: 3 };
    assert_eq!((height, reason), (2, Reason::Certificate(below)));
}

#[test]
fn a_block_left_out_is_missed() {
    let (height, reason) = refused(|blocks| drop(blocks.remove(1)));
    assert!(height == 3 && matches!(reason, Reason::Block(BlockInvalid::Height { .. })), "{height}: {reason}");
}

#[test]
fn an_entry_put_in_the_place_of_another_changes_the_root() {
    let (height, reason) = refused(|blocks| blocks[4].block.entries = blocks[0].block.entries.clone());
    assert!(height == 5 && matches!(reason, Reason::Block(_)), "{height}: {reason}");
}

#[test]
fn a_chain_that_ends_with_a_notarized_block_is_not_final_up_to_there() {
    let notarized = |blocks: &mut Vec<FinalBlock>| {
        let last = blocks.last_mut().expect("not empty");
        last.certificate = certify_as(VoteKind::Notarize, &last.block, 0..3);
    };
    assert_eq!(refused(notarized).1, Reason::NotFinal);
}

#[test]
fn a_notarized_block_is_final_with_the_one_after_it() {
    let chain = sample();
    let mut blocks = chain.final_blocks();
    let second = &mut blocks[1];
    second.certificate = certify_as(VoteKind::Notarize, &second.block, 0..3);
    for signatures in BOTH {
        assert!(replay(&chain, &blocks, signatures).is_ok());
    }
}

/// A validator leaves and comes back with another key between the blocks.
#[test]
fn the_validators_of_each_epoch_certify_its_blocks() {
    let mut chain = sample();
    let (rotated, from, to) = (Member::Node(NodeId::new(3)), node_key(3), next_node_key(3));
    chain.enact(vec![Action::Suspend(Member::Node(NodeId::new(2)))]).expect("allowed");
    let rotation = chain.rotating(rotated, &from, &to);
    chain.enact(vec![rotation]).expect("allowed");
    let back = chain.reinstating(Member::Node(NodeId::new(2)));
    chain.enact(vec![back]).expect("allowed");
    let session = Session::in_eu(&chain.consortium, 0);
    chain.push(session.anchored(0, 3, Digest([8; 32]))).expect("valid");
    assert_eq!(chain.tip.state.epoch(), 3);
    let mut blocks = chain.final_blocks();
    for signatures in BOTH {
        assert_eq!(replay(&chain, &blocks, signatures).expect("final").executed, chain.tip);
    }
    let (last, genesis) = (blocks.len() - 1, 0..3);
    blocks[last].certificate = certify(&blocks[last].block, genesis);
    assert!(replay(&chain, &blocks, BOTH[1]).is_ok(), "these have kept their keys");
    blocks[last].certificate = certify(&blocks[last].block, 1..4);
    let found = replay(&chain, &blocks, BOTH[1]).expect_err("a key that was rotated away");
    let (context, key) = (context::LEDGER_VOTE.into(), next_node_key(3).public_key());
    assert_eq!(found.reason, Reason::Signature { context, key }, "it is not by the key of this epoch");
}

#[test]
fn of_several_things_that_do_not_hold_the_lowest_is_told() {
    let chain = sample();
    let mut blocks = chain.final_blocks();
    let forged = blocks.len() - 2;
    blocks[forged].block.proposal.0[0] ^= 1;
    blocks[forged + 1].block.header.state_root = Digest([9; 32]);
    let header = &mut blocks[forged + 1].block.header;
    blocks[forged + 1].certificate.block = header.digest();
    for signatures in BOTH {
        let found = replay(&chain, &blocks, signatures).expect_err("changed");
        assert_eq!(found.height, blocks[forged].block.header.height);
        let (context, key) = (context::LEDGER_PROPOSAL.into(), node_key(0).public_key());
        assert_eq!(found.reason, Reason::Signature { context, key });
    }
}

/// A certificate that nobody signed is no quorum's word for a block that does not hold.
#[test]
fn a_forged_certificate_is_told_before_what_is_wrong_with_its_block() {
    let chain = sample();
    let mut blocks = chain.final_blocks();
    let forged = blocks.last_mut().expect("blocks");
    forged.block.header.state_root = Digest([9; 32]);
    forged.certificate.block = forged.block.header.digest();
    let height = forged.block.header.height;
    for signatures in BOTH {
        let mut replay = Replay::new(chain.consortium.clone(), signatures);
        let found = blocks.iter().try_for_each(|block| replay.step(block)).expect_err("forged");
        assert_eq!(found.height, height);
        assert!(matches!(found.reason, Reason::Signature { .. }), "{found}");
        assert_eq!(replay.step(&blocks[0]), Err(found.clone()), "it is over");
        assert_eq!(replay.finish().expect_err("it is over"), found);
    }
}
