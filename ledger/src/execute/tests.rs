use super::*;
use crate::{
    planted::{Bug, plant},
    testing::{CREATED_MS, Chain, Session, certify, consortium, signer},
    vote::{Ballot, Vote, VoteKind},
};

/// A chain with one final block, and the next block, not final yet.
fn next_block() -> (Chain, Block) {
    let consortium = consortium(4);
    let (mut chain, session) = (Chain::new(consortium.clone()), Session::in_eu(&consortium, 0));
    chain.push(session.created()).expect("valid");
    let proposal = chain.propose(vec![session.touched(&session.record(&chain), 1)]);
    assert_eq!(proposal.refused, []);
    (chain, proposal.block)
}

fn executed(change: impl FnOnce(&mut Block)) -> Result<Executed, BlockInvalid> {
    let (chain, mut block) = next_block();
    change(&mut block);
    block.proposal = block.header.sign(&signer(0).key);
    execute(&chain.consortium, &chain.tip, &block)
}

#[test]
fn executing_gives_what_the_proposer_got() {
    let (chain, block) = next_block();
    let proposal = chain.propose(block.entries.clone());
    assert_eq!(proposal.block, block);
    assert_eq!(execute(&chain.consortium, &chain.tip, &block), Ok(proposal.executed));
}

#[test]
fn every_claim_of_a_header_is_checked() {
    assert!(executed(|_| {}).is_ok());
    type Change = fn(&mut Block);
    type Expected = fn(&BlockInvalid) -> bool;
    let changes: [(Change, Expected); 15] = [
        (|b| b.header.consortium = Digest::ZERO, |e| matches!(e, BlockInvalid::ForeignConsortium { .. })),
        (|b| b.header.height = BlockHeight::new(3), |e| matches!(e, BlockInvalid::Height { .. })),
        (|b| b.header.view.number = 3, |e| matches!(e, BlockInvalid::View { .. })),
        (|b| b.header.view.term = 0, |e| matches!(e, BlockInvalid::View { .. })),
        (|b| b.header.view = View { term: 2, number: 1 }, |e| matches!(e, BlockInvalid::NotSkipped { .. })),
        (|b| b.header.skipped = Digest([1; 32]), |e| matches!(e, BlockInvalid::SkippedDigest)),
        (|b| b.header.epoch = 1, |e| matches!(e, BlockInvalid::Validators)),
        (|b| b.header.parent = Digest::ZERO, |e| matches!(e, BlockInvalid::Parent { .. })),
        (|b| b.header.parent_certificate = Digest::ZERO, |e| matches!(e, BlockInvalid::ParentCertificateDigest)),
        (|b| b.header.log_size += 1, |e| matches!(e, BlockInvalid::LogRoot { .. })),
        (|b| b.header.log_root = Digest::ZERO, |e| matches!(e, BlockInvalid::LogRoot { .. })),
        (|b| b.header.state_root = Digest::ZERO, |e| matches!(e, BlockInvalid::StateRoot { .. })),
        (|b| b.header.validators = Digest::ZERO, |e| matches!(e, BlockInvalid::Validators)),
        (|b| b.header.next_validators = Digest([1; 32]), |e| matches!(e, BlockInvalid::NextValidators { .. })),
        (|b| b.header.time = Timestamp::new(CREATED_MS), |e| matches!(e, BlockInvalid::TimeNotAfterParent { .. })),
    ];
    for (index, (change, expected)) in changes.into_iter().enumerate() {
        let error = executed(change).expect_err("a false claim");
        assert!(expected(&error), "change {index} gave {error:?}");
    }
}

#[test]
fn a_block_is_signed_by_the_leader_that_it_names() {
    let (chain, block) = next_block();
    let judged = |change: fn(&mut Block)| {
        let mut block = block.clone();
        change(&mut block);
        execute(&chain.consortium, &chain.tip, &block).map(|_| ())
    };
    let refused = |leader| Err(BlockInvalid::Proposal { leader: NodeId::new(leader) });
    assert_eq!(judged(|_| {}), Ok(()));
    assert_eq!(judged(|block| block.header.leader = NodeId::new(1)), refused(1));
    assert_eq!(judged(|block| block.header.leader = NodeId::new(9)), refused(9));
    assert_eq!(judged(|block| block.proposal = block.header.sign(&signer(1).key)), refused(0));
    assert_eq!(judged(|block| block.header.after = Digest([1; 32])), refused(0), "the place in the log is signed, too");
}

#[test]
fn a_header_binds_its_whole_block_whether_that_holds_or_not() {
    let (chain, block) = next_block();
    let bound = |change: fn(&mut Block), resigned: bool| {
        let mut block = block.clone();
        change(&mut block);
        if resigned {
            block.proposal = block.header.sign(&signer(0).key);
        }
        is_bound(&chain.tip, &block)
    };
    assert!(bound(|_| {}, false));
    assert!(bound(|block| block.header.state_root = Digest::ZERO, true), "a lie of the leader's own");
    assert!(!bound(|block| block.proposal.0[0] ^= 1, false));
    assert!(!bound(|block| block.parent_certificate = None, false));
    assert!(!bound(|block| block.skipped = Some(Nullification { votes: Vec::new() }), false));
    assert!(!bound(|block| block.entries.clear(), false));
    assert!(!bound(|block| block.entries.push(block.entries[0].clone()), false));
    assert!(!bound(|block| block.header.log_root = Digest::ZERO, true));
}

#[test]
fn a_block_with_an_entry_that_does_not_apply_is_invalid() {
    let twice = executed(|block| block.entries.push(block.entries[0].clone()));
    assert!(matches!(twice, Err(BlockInvalid::EntryRefused { index: 1, refusal: Refusal::Replayed { .. } })));
    let dropped = executed(|block| block.entries.clear());
    assert!(matches!(dropped, Err(BlockInvalid::LogRoot { .. })));
}

#[test]
fn the_parent_needs_a_certificate_of_a_quorum() {
    let with = |certificate: Option<Certificate>| {
        executed(|block| {
            block.header.parent_certificate = certificate_digest(certificate.as_ref());
            block.parent_certificate = certificate;
        })
    };
    let (chain, _) = next_block();
    let parent = &chain.blocks[0].0;
    assert!(with(Some(certify(parent, [0, 2, 3]))).is_ok());
    assert_eq!(with(None), Err(BlockInvalid::ParentNotCertified));
    let short = with(Some(certify(parent, [0, 2])));
    assert_eq!(short, Err(BlockInvalid::ParentCertificate(CertificateInvalid::BelowQuorum { found: 2, quorum: 3 })));
    let twice = with(Some(certify(parent, [0, 2, 2])));
    assert_eq!(twice, Err(BlockInvalid::ParentCertificate(CertificateInvalid::Unordered)));
    let mut notarized = certify(parent, [0, 1, 2]);
    let ballot = Ballot::for_header(VoteKind::Notarize, &parent.header);
    notarized.signatures[1].1 = Vote::sign(ballot, &signer(1)).signature;
    assert!(matches!(
        with(Some(notarized)),
        Err(BlockInvalid::ParentCertificate(CertificateInvalid::BadSignature { .. }))
    ));
}

#[test]
fn a_leader_drops_what_does_not_apply_and_keeps_the_rest() {
    let consortium = consortium(4);
    let (chain, session) = (Chain::new(consortium.clone()), Session::in_eu(&consortium, 0));
    let (good, bad) = (session.created(), session.created());
    let proposal = chain.propose(vec![good.clone(), bad.clone(), session.anchored(1, 1, Digest::ZERO)]);
    assert_eq!(proposal.block.entries.len(), 2);
    assert_eq!(proposal.refused, [(bad, Refusal::WalletExists { wallet: session.address })]);
}

#[test]
fn a_clock_behind_the_parent_still_makes_a_later_block() {
    let (chain, _) = next_block();
    let place = chain.place(View { term: 1, number: 2 });
    let proposal = propose(&chain.consortium, place, &signer(0), Timestamp::ZERO, Vec::new());
    assert_eq!(proposal.block.header.time.get(), chain.tip.time.get() + 1);
    assert!(execute(&chain.consortium, &chain.tip, &proposal.block).is_ok());
}

#[test]
fn a_later_term_begins_with_a_quorums_word_that_the_views_between_are_over() {
    let judged = |bug: Option<Bug>| {
        // A planted bug is its thread's.
        let judging = std::thread::spawn(move || {
            bug.into_iter().for_each(plant);
            executed(|block| block.header.view = View { term: 2, number: 1 }).map(|_| ())
        });
        judging.join().expect("nobody panics")
    };
    assert!(matches!(judged(None), Err(BlockInvalid::NotSkipped { .. })));
    assert_eq!(judged(Some(Bug::BridgeNotChecked)), Ok(()), "this test cannot fail");
}
