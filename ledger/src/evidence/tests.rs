use std::sync::Arc;

use proptest::prelude::*;
use wallet::{
    codec,
    digest::{Digest, sha256},
    identity::Signature,
    units::NodeId,
};

use super::*;
use crate::{
    block::{Block, Header},
    certificate::CertificateInvalid,
    checks::Direct,
    event::{Entry, Event},
    execute::{BlockInvalid, append, execute},
    governance::{Action, MEMBERS_EVER_MAX, Member, PROPOSALS_MAX, ProposalTerms, ProposalWithdrawn},
    hand_over::HandOver,
    refusal::Refusal,
    state::{GovernanceRecord, Record, State, StateKey},
    testing::{
        Chain, Session, certify, certify_as, consortium,
        evidence::{
            anchor, broken, broken_promise, fork_across_a_view, fork_in_one_view, fork_over_views, grant,
            invalid_block, nullify, on_tip, promise, samples, two_blocks, vote,
        },
        node_key, operator_key, signer,
    },
    tree::partial::{End, EndNode, PartialTree},
};

fn blamed(consortium: &Consortium, evidence: &Evidence) -> Result<Vec<u32>, EvidenceInvalid> {
    let culprits = evidence.verify(consortium)?;
    for culprit in &culprits {
        assert_eq!(consortium.validators().key(culprit.node), Some(culprit.key));
    }
    Ok(culprits.iter().map(|culprit| culprit.node.get()).collect())
}

fn no_contradiction(verdict: Result<Vec<u32>, EvidenceInvalid>) -> bool {
    matches!(verdict, Err(EvidenceInvalid::NoContradiction(_)))
}

#[test]
fn each_kind_names_its_culprits_and_their_keys() {
    let consortium = consortium(4);
    for (evidence, culprits) in samples(&consortium) {
        assert_eq!(blamed(&consortium, &evidence), Ok(culprits), "{}", evidence.kind());
    }
}

#[test]
fn one_view_is_needed_for_a_double_proposal_and_two_blocks() {
    let consortium = consortium(4);
    let [one, other] = two_blocks(&consortium);
    let blame = |one: &Block, other: &Block| {
        let headers = Box::new([one.header.clone(), other.header.clone()]);
        blamed(&consortium, &Evidence::DoubleProposal { headers, signatures: [one.proposal, other.proposal] })
    };
    assert_eq!(blame(&one, &other), Ok(vec![0]));
    assert!(no_contradiction(blame(&one, &one)));
    let mut later = other.clone();
    later.header.view.number = 2;
    later.proposal = later.header.sign(&signer(0).key);
    assert!(no_contradiction(blame(&one, &later)));
    // Whoever puts another name or another signature under it is no leader.
    let mut foreign = other.clone();
    foreign.proposal = foreign.header.sign(&signer(1).key);
    let bad = CertificateInvalid::BadSignature { signer: NodeId::ZERO };
    assert_eq!(blame(&one, &foreign), Err(bad.into()));
}

#[test]
fn two_votes_of_one_view_are_evidence_only_for_different_blocks() {
    let consortium = consortium(4);
    let [one, other] = two_blocks(&consortium);
    let blame = |votes| blamed(&consortium, &Evidence::DoubleVote(Box::new(votes)));
    use VoteKind::{Finalize, Notarize};
    for kinds in [(Notarize, Notarize), (Finalize, Finalize), (Notarize, Finalize), (Finalize, Notarize)] {
        assert_eq!(blame([vote(2, kinds.0, &one.header), vote(2, kinds.1, &other.header)]), Ok(vec![2]));
        assert!(no_contradiction(blame([vote(2, kinds.0, &one.header), vote(2, kinds.1, &one.header)])));
    }
    assert!(no_contradiction(blame([vote(2, Notarize, &one.header), vote(1, Notarize, &other.header)])));
    let mut later = other.header;
    later.view.number = 2;
    assert!(no_contradiction(blame([vote(2, Notarize, &one.header), vote(2, Notarize, &later)])));
}

#[test]
fn two_grants_of_one_term_are_evidence_only_for_different_candidates() {
    let consortium = consortium(4);
    let blame = |one, other| {
        let grant = |(node, term, candidate)| grant(&consortium, node, term, candidate);
        blamed(&consortium, &Evidence::DoubleGrant(Box::new([grant(one), grant(other)])))
    };
    assert_eq!(blame((1, 4, 0), (1, 4, 1)), Ok(vec![1]));
    for other in [(1, 4, 0), (1, 5, 1), (2, 4, 1)] {
        assert!(no_contradiction(blame((1, 4, 0), other)), "{other:?}");
    }
}

#[test]
fn a_finalized_view_is_evidence_only_where_the_nullify_vote_covers_it() {
    let consortium = consortium(4);
    let [block, _] = two_blocks(&consortium);
    let blame = |node, kind, from: (u64, u64), through| {
        let from = View { term: from.0, number: from.1 };
        let (nullify, finalize) = (nullify(&consortium, node, from, through), vote(3, kind, &block.header));
        blamed(&consortium, &Evidence::NullifiedFinalized { nullify, finalize })
    };
    assert_eq!(blame(3, VoteKind::Finalize, (1, 1), 1), Ok(vec![3]));
    assert_eq!(blame(3, VoteKind::Finalize, (0, 1), 7), Ok(vec![3]));
    // An honest key notarizes a block and gives its view up when its timer is due.
    assert!(no_contradiction(blame(3, VoteKind::Notarize, (1, 1), 1)));
    assert!(no_contradiction(blame(3, VoteKind::Finalize, (1, 2), 1)));
    assert!(no_contradiction(blame(3, VoteKind::Finalize, (0, 1), 0)));
    assert!(no_contradiction(blame(2, VoteKind::Finalize, (1, 1), 1)));
}

#[test]
fn what_is_signed_for_another_consortium_or_by_no_validator_blames_nobody() {
    let (four, seven) = (consortium(4), consortium(7));
    for (evidence, _) in samples(&seven) {
        let foreign = evidence.verify(&four);
        assert!(matches!(foreign, Err(EvidenceInvalid::Statement(_))), "{}: {foreign:?}", evidence.kind());
    }
    let [one, other] = two_blocks(&four);
    let votes = [vote(9, VoteKind::Notarize, &one.header), vote(9, VoteKind::Notarize, &other.header)];
    let verdict = Evidence::DoubleVote(Box::new(votes)).verify(&four);
    assert_eq!(verdict, Err(CertificateInvalid::NotAValidator { signer: NodeId::new(9) }.into()));
}

#[test]
fn a_fork_names_more_than_f_whatever_the_quorums() {
    for nodes in [4, 7, 10] {
        let consortium = consortium(nodes);
        let (quorum, more_than_f) = (consortium.validators().quorum() as u32, consortium.validators().faults_max() + 1);
        let [one, other] = two_blocks(&consortium);
        let (lower, higher) = (certify(&one, 0..quorum), certify(&other, nodes - quorum..nodes));
        let fork = Fork::between(&lower, &higher, |_, _| None).expect("one view");
        let culprits = blamed(&consortium, &Evidence::Fork(Box::new(fork))).expect("a fork");
        assert!(culprits.len() >= more_than_f, "{culprits:?}");
        assert!(culprits.iter().all(|node| (nodes - quorum..quorum).contains(node)));
    }
}

#[test]
fn a_chain_is_no_fork_of_its_own_ancestor() {
    let consortium = consortium(4);
    let mut fork = fork_across_a_view(&consortium);
    fork.lower = certify(&two_blocks(&consortium)[1], [0, 1, 2]);
    assert!(no_contradiction(blamed(&consortium, &Evidence::Fork(Box::new(fork.clone())))));
    let find = |_, _: &Digest| -> Option<Block> { Some(two_blocks(&consortium)[1].clone()) };
    assert_eq!(Fork::between(&fork.lower, &fork.lower, find), None);
}

#[test]
fn a_fork_needs_two_final_blocks_and_what_lies_between() {
    let consortium = consortium(4);
    let blame = |fork: &Fork| blamed(&consortium, &Evidence::Fork(Box::new(fork.clone())));
    let over = fork_over_views(&consortium);
    let across = fork_across_a_view(&consortium);
    let not_bound = |verdict| matches!(verdict, Err(EvidenceInvalid::NotBound(_)));
    assert!(not_bound(blame(&Fork { chain: Vec::new(), ..over.clone() })));
    assert!(not_bound(blame(&Fork { skipped: None, ..over.clone() })));
    assert!(not_bound(blame(&Fork { certificate: None, ..across.clone() })));
    assert!(not_bound(blame(&Fork { chain: across.chain[..1].to_vec(), ..across.clone() })));
    assert!(not_bound(blame(&Fork { chain: across.chain.iter().rev().cloned().collect(), ..across.clone() })));
    assert!(not_bound(blame(&Fork { skipped: over.skipped.clone(), ..fork_in_one_view(&consortium) })));
    // A notarized block may stand beside a final one.
    let [one, other] = two_blocks(&consortium);
    let notarized = certify_as(VoteKind::Notarize, &other, [1, 2, 3]);
    let fork = Fork { lower: certify(&one, [0, 1, 2]), higher: notarized, ..fork_in_one_view(&consortium) };
    assert!(no_contradiction(blame(&fork)));
}

#[test]
fn it_is_no_fork_where_one_vote_of_the_nullification_does_not_cover_the_lower_view() {
    let consortium = consortium(4);
    let over = fork_over_views(&consortium);
    for (from, holds) in [(View { term: 1, number: 1 }, true), (View { term: 1, number: 2 }, false)] {
        let mut fork = over.clone();
        let mut skipped = over.skipped.clone().expect("views are skipped");
        skipped.votes[0] = nullify(&consortium, 1, from, 1);
        fork.chain[0].skipped = skipped.digest();
        let higher = Block { header: fork.chain[0].clone(), ..two_blocks(&consortium)[0].clone() };
        (fork.higher, fork.skipped) = (certify(&higher, [1, 2, 3]), Some(skipped));
        let verdict = blamed(&consortium, &Evidence::Fork(Box::new(fork)));
        assert!(if holds { verdict == Ok(vec![1, 2]) } else { no_contradiction(verdict) });
    }
}

#[test]
fn a_valid_block_blames_nobody() {
    let consortium = consortium(4);
    let (mut chain, session) = (Chain::new(consortium.clone()), Session::in_eu(&consortium, 0));
    let blame =
        |chain: &Chain, block: &Block| blamed(&consortium, &Evidence::InvalidBlock(Box::new(on_tip(chain, block))));
    let first = chain.propose(vec![session.created()]).block;
    assert_eq!(blame(&chain, &first), Err(EvidenceInvalid::BlockHolds));
    chain.push(session.created()).expect("valid");
    let second = chain.propose(vec![session.touched(&session.record(&chain), 1)]).block;
    assert_eq!(blame(&chain, &second), Err(EvidenceInvalid::BlockHolds));
}

#[test]
fn a_leader_is_blamed_only_for_what_its_header_binds() {
    let consortium = consortium(4);
    let (mut chain, session) = (Chain::new(consortium.clone()), Session::in_eu(&consortium, 0));
    chain.push(session.created()).expect("valid");
    let honest = chain.propose(vec![session.touched(&session.record(&chain), 1)]).block;
    let other = chain.propose(vec![anchor(&consortium, 3)]).block;
    let blame = |block: &Block| blamed(&consortium, &Evidence::InvalidBlock(Box::new(on_tip(&chain, block))));
    // A forger puts other entries, no certificate, or another nullification under an honest header.
    let not_bound = |verdict| matches!(verdict, Err(EvidenceInvalid::NotBound(_)));
    assert!(not_bound(blame(&Block { entries: other.entries.clone(), ..honest.clone() })));
    assert!(not_bound(blame(&Block { entries: Vec::new(), ..honest.clone() })));
    assert!(not_bound(blame(&Block { parent_certificate: None, ..honest.clone() })));
    assert!(not_bound(blame(&Block { skipped: fork_over_views(&consortium).skipped, ..honest.clone() })));
    // Or shows another parent, another state, another log.
    let blame = |execution| blamed(&consortium, &Evidence::InvalidBlock(Box::new(execution)));
    let execution = on_tip(&chain, &honest);
    assert!(not_bound(blame(Execution { parent: Some(other.header.clone()), ..execution.clone() })));
    assert!(not_bound(blame(Execution { state: other_state(), ..execution.clone() })));
    assert!(not_bound(blame(Execution { log: Default::default(), ..execution })));
}

#[test]
fn a_refused_time_never_is_evidence() {
    let consortium = consortium(4);
    let chain = Chain::new(consortium.clone());
    let mut block = chain.propose(Vec::new()).block;
    block.header.time = consortium.created();
    block.proposal = block.header.sign(&signer(0).key);
    let verdict = blamed(&consortium, &Evidence::InvalidBlock(Box::new(on_tip(&chain, &block))));
    assert!(matches!(verdict, Err(EvidenceInvalid::NoFault(BlockInvalid::TimeNotAfterParent { .. }))), "{verdict:?}");
}

#[test]
fn entries_that_no_rule_allows_blame_their_leader() {
    let consortium = consortium(4);
    let (mut chain, session) = (Chain::new(consortium.clone()), Session::in_eu(&consortium, 0));
    chain.push(session.created()).expect("valid");
    // The wallet's creation a second time, with roots that nobody's execution gives.
    let mut block = chain.propose(Vec::new()).block;
    block.entries.push(session.created());
    let mut log = chain.tip.log.clone();
    log.append(block.entries[0].leaf_hash());
    (block.header.log_size, block.header.log_root) = (log.size(), log.root());
    block.proposal = block.header.sign(&signer(0).key);
    assert_eq!(blamed(&consortium, &Evidence::InvalidBlock(Box::new(on_tip(&chain, &block)))), Ok(vec![0]));
}

#[test]
fn a_parent_without_a_quorum_blames_the_leader_that_built_on_it() {
    let consortium = consortium(4);
    let mut execution = invalid_block(&consortium);
    let block = &mut execution.block;
    block.parent_certificate.as_mut().expect("height 2").signatures.pop();
    block.header.parent_certificate = block.parent_certificate.as_ref().expect("height 2").digest();
    block.proposal = block.header.sign(&signer(0).key);
    assert_eq!(blamed(&consortium, &Evidence::InvalidBlock(Box::new(execution))), Ok(vec![0]));
}

/// A part of the tree with nothing in it.
fn other_state() -> PartialTree {
    PartialTree { ends: vec![End { depth: 0, node: EndNode::Subtree(Digest::ZERO) }] }
}

/// Two epochs, and the hand-over to the second; and another one that the quorum of genesis signed for the same place,
/// to a set in which node 0 has its key and nobody else does.
fn two_sets() -> (Chain, HandOver, HandOver) {
    let mut chain = Chain::new(consortium(5));
    chain.enact(vec![Action::Suspend(Member::Node(NodeId::new(4)))]).expect("valid");
    chain.push(anchor(&chain.consortium.clone(), 1)).expect("valid");
    let real = chain.hand_overs[0].clone();
    let mut members = real.next.members.clone();
    members[1..].iter_mut().for_each(|(node, key)| *key = node_key(node.get() + 10).public_key());
    let next = ValidatorSet { epoch: 1, members };
    let closing = Header { next_validators: next.hash(), ..real.closing.clone() };
    let block = Block { header: closing.clone(), ..chain.blocks[0].0.clone() };
    let forged = HandOver { closing, proof: certify(&block, 0..4).into(), next, re_genesis: None };
    (chain, real, forged)
}

#[test]
fn under_a_set_that_an_old_quorum_made_up_the_parent_s_certificate_blames_nobody() {
    let (chain, real, forged) = two_sets();
    let honest = chain.propose(Vec::new()).block;
    assert_eq!((honest.header.leader, honest.header.epoch), (NodeId::ZERO, 1));
    let blame = |hand_over: &HandOver, block: &Block| {
        let sets = ValidatorSets::proven(&chain.consortium, [hand_over], &[]).expect("signed by a quorum of genesis");
        let evidence = Evidence::InvalidBlock(Box::new(on_tip(&chain, block)));
        let culprits = evidence.verify_in(&chain.consortium, &sets)?;
        Ok(culprits.into_iter().map(|culprit| culprit.node.get()).collect::<Vec<u32>>())
    };
    assert_eq!(blame(&real, &honest), Err(EvidenceInvalid::BlockHolds));
    assert!(matches!(blame(&forged, &honest), Err(EvidenceInvalid::NotBound(_))), "{:?}", blame(&forged, &honest));
    // Who builds on a parent that its own set did not certify is to blame still.
    let mut alone = honest;
    let certificate = alone.parent_certificate.as_mut().expect("height 3");
    certificate.signatures.truncate(1);
    alone.header.parent_certificate = certificate.digest();
    alone.proposal = alone.header.sign(&signer(0).key);
    assert_eq!(blame(&real, &alone), Ok(vec![0]));
}

#[test]
fn the_hand_overs_of_a_file_end_with_the_epoch_of_its_evidence() {
    let (chain, real, _) = two_sets();
    let [one, other] = two_blocks(&chain.consortium);
    let votes = [vote(2, VoteKind::Notarize, &one.header), vote(2, VoteKind::Notarize, &other.header)];
    let file = |hand_overs| {
        let evidence = Evidence::DoubleVote(Box::new(votes));
        let file = EvidenceFile::new(&chain.consortium, hand_overs, evidence);
        assert_eq!(file.size(), file.to_bytes().len());
        file.verify(&chain.consortium.id(), &[]).map(drop)
    };
    assert_eq!(file(Vec::new()), Ok(()));
    assert!(matches!(file(vec![real]), Err(EvidenceInvalid::NotBound(_))), "they go on");
}

#[test]
fn a_promise_is_kept_by_taking_the_entry_or_where_a_rule_refuses_it() {
    let consortium = consortium(4);
    let (mut chain, session) = (Chain::new(consortium.clone()), Session::in_eu(&consortium, 0));
    chain.push(session.created()).expect("valid");
    let entry = anchor(&consortium, 1);
    let leaves = vec![entry.leaf_hash()];
    let promise = promise(&consortium, 0, 1, 2, &leaves);
    let blame = |chain: &Chain, entries: Vec<crate::event::Entry>| {
        let promised = Promised { promise, leaves: leaves.clone() };
        let broken = broken(chain, promised, entry.clone(), &chain.propose(entries).block);
        blamed(&consortium, &Evidence::BrokenPromise(Box::new(broken)))
    };
    assert_eq!(blame(&chain, Vec::new()), Ok(vec![0]));
    let kept = |verdict| matches!(verdict, Err(EvidenceInvalid::PromiseKept(_)));
    assert!(kept(blame(&chain, vec![entry.clone()])), "it is in the block");
    // Something in the block, or before it, made the entry pointless.
    let newer = Session::in_eu(&consortium, 0).sign(
        1,
        crate::event::Event::DecisionAnchored(crate::event::DecisionAnchored {
            decisions: 2,
            log_head: Digest([7; 32]),
        }),
        None,
    );
    assert!(kept(blame(&chain, vec![newer])));
}

/// A chain on which operator 0 has so many open proposals, and what enters or leaves its list.
fn proposing(open: usize) -> (Chain, Vec<Digest>) {
    let mut chain = Chain::new(consortium(4));
    let made = (0..open).map(|_| chain.propose_actions(0, vec![cheaper()]).expect("there is room")).collect();
    (chain, made)
}

fn cheaper() -> Action {
    Action::SetParameter { name: "credit_per_ms".to_owned(), from: 1, to: 2 }
}

/// One more proposal of operator 0.
fn one_more(chain: &Chain, nonce: u8) -> Entry {
    let terms = ProposalTerms { nonce: [nonce; 16], ..chain.terms(0, vec![cheaper()]) };
    chain.governing(Event::ProposalMade(Box::new(terms.sign(&operator_key(0)))))
}

fn withdrawing(chain: &Chain, proposal: Digest) -> Entry {
    chain.governing(Event::ProposalWithdrawn(ProposalWithdrawn::sign(proposal, &operator_key(0))))
}

/// The leader promised all `candidates` for its next block, and tried them in this order: what the entries that it left
/// out show against it.
fn left_out(chain: &Chain, candidates: Vec<Entry>) -> Vec<Result<Vec<u32>, EvidenceInvalid>> {
    let leaves: Vec<Digest> = candidates.iter().map(Entry::leaf_hash).collect();
    let proposal = chain.propose(candidates);
    let promise = promise(&chain.consortium, 0, 1, proposal.block.header.view.number, &leaves);
    let blame = |(entry, _)| {
        let broken = broken(chain, Promised { promise, leaves: leaves.clone() }, entry, &proposal.block);
        blamed(&chain.consortium, &Evidence::BrokenPromise(Box::new(broken)))
    };
    proposal.refused.into_iter().map(blame).collect()
}

#[test]
fn what_a_rule_refuses_in_the_middle_of_a_block_is_no_broken_promise() {
    let (chain, made) = proposing(PROPOSALS_MAX - 1);
    let (eighth, ninth) = (one_more(&chain, 8), one_more(&chain, 9));
    let order = vec![eighth, ninth.clone(), withdrawing(&chain, made[0])];
    // The list is full only between the eighth proposal and the withdrawal.
    let block = chain.propose(order.clone()).block;
    let after = execute(&chain.consortium, &chain.tip, &block).expect("valid");
    for at in [&chain.tip, &after] {
        append(&chain.consortium, &mut at.clone(), &ninth, &Direct).expect("it applies at both ends");
    }
    let verdicts = left_out(&chain, order);
    assert_eq!(verdicts.len(), 1);
    assert!(matches!(verdicts[0], Err(EvidenceInvalid::PromiseKept(Refusal::ProposalsFull { .. }))), "{verdicts:?}");
    // Where there was room all the time it was left out without a reason.
    let promise = promise(&chain.consortium, 0, 1, block.header.view.number, &[ninth.leaf_hash()]);
    let block = chain.propose(vec![withdrawing(&chain, made[0])]).block;
    let promised = Promised { promise, leaves: vec![ninth.leaf_hash()] };
    let broken = broken(&chain, promised, ninth, &block);
    assert_eq!(blamed(&chain.consortium, &Evidence::BrokenPromise(Box::new(broken))), Ok(vec![0]));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]
    #[test]
    fn whatever_its_rules_refuse_once_is_no_broken_promise(steps in proptest::collection::vec(0..16_u8, 2..8)) {
        let (chain, made) = proposing(PROPOSALS_MAX - 2);
        let entry = |(nonce, step): (u8, &u8)| match made.get(usize::from(*step)) {
            Some(proposal) => withdrawing(&chain, *proposal),
            None => one_more(&chain, nonce),
        };
        for verdict in left_out(&chain, (0..).zip(&steps).map(entry).collect()) {
            prop_assert!(matches!(verdict, Err(EvidenceInvalid::PromiseKept(_))), "{:?}", verdict);
        }
    }
}

/// A quorum of liars can certify any root.
#[test]
fn leaves_that_no_execution_makes_are_refused() {
    let (mut chain, session) = (Chain::new(consortium(4)), Session::in_eu(&consortium(4), 0));
    chain.push(session.created()).expect("valid");
    let (parent, certificate) = chain.blocks.last_mut().expect("blocks");
    parent.header.state_root = State::from_leaves(std::iter::empty()).root();
    *certificate = certify(parent, [1, 2, 3]);
    chain.tip.digest = parent.header.digest();
    let block = chain.propose(Vec::new()).block;
    let execution = Execution { state: other_state(), ..on_tip(&chain, &block) };
    let verdict = blamed(&chain.consortium, &Evidence::InvalidBlock(Box::new(execution)));
    assert_eq!(verdict, Err(EvidenceInvalid::NotBound("the state is of no consortium")));
}

#[test]
fn a_state_whose_numbers_no_execution_reaches_is_not_founded() {
    let chain = Chain::new(consortium(4));
    let founded = |change: &dyn Fn(&mut GovernanceRecord)| {
        let mut governance = chain.tip.state.governance().expect("founded");
        let mut validators = chain.tip.state.validators_of(0).expect("that of genesis");
        change(&mut governance);
        validators.set.epoch = governance.epoch;
        let changed = [
            (StateKey::Validators(governance.epoch), Record::Validators(validators)),
            (StateKey::Governance, Record::Governance(governance)),
        ];
        let leaves = chain.tip.state.tree().iter().map(|(key, value)| (*key, value.to_vec()));
        let changed = changed.map(|(key, record)| (key.digest(), codec::encode(&record)));
        State::from_leaves(leaves.chain(changed).collect::<std::collections::BTreeMap<_, _>>()).is_founded()
    };
    let nodes_max = u32::try_from(MEMBERS_EVER_MAX).expect("few");
    assert!(founded(&|_| {}) && founded(&|governance| governance.nodes = nodes_max));
    assert!(founded(&|governance| (governance.epoch, governance.electorate) = (u64::MAX - 1, u64::MAX - 1)));
    assert!(!founded(&|governance| governance.nodes = nodes_max + 1));
    assert!(!founded(&|governance| governance.electorate = u64::MAX));
    assert!(!founded(&|governance| governance.epoch = u64::MAX));
}

#[test]
fn a_promise_speaks_for_one_block_of_one_leader_and_for_the_entries_that_it_names() {
    let consortium = consortium(4);
    let broken = broken_promise(&consortium);
    let blame = |broken: BrokenPromise| blamed(&consortium, &Evidence::BrokenPromise(Box::new(broken)));
    let not_bound = |verdict| matches!(verdict, Err(EvidenceInvalid::NotBound(_)));
    let again = |leader, term, through| promise(&consortium, leader, term, through, &broken.leaves);
    for promise in [again(0, 1, 1), again(0, 1, 3), again(0, 2, 2), again(1, 1, 2)] {
        assert!(not_bound(blame(BrokenPromise { promise, ..broken.clone() })), "{promise:?}");
    }
    assert!(not_bound(blame(BrokenPromise { entry: anchor(&consortium, 9), ..broken.clone() })));
    assert!(not_bound(blame(BrokenPromise { leaves: broken.leaves[1..].to_vec(), ..broken.clone() })));
    // Of two entries with one id the leader may have got the one that a rule refuses.
    let got = broken.entry.changed(|entry| entry.holder_signature = Some(Signature([9; 64])));
    assert_eq!(got.id(), broken.entry.id());
    let leaves = vec![got.leaf_hash()];
    let for_other = promise(&consortium, 0, 1, 2, &leaves);
    assert!(not_bound(blame(BrokenPromise { promise: for_other, leaves, ..broken.clone() })));
    assert!(not_bound(blame(BrokenPromise { entry: got, ..broken.clone() })));
    let many = vec![broken.entry.leaf_hash(); PROMISED_MAX + 1];
    let promise = promise(&consortium, 0, 1, 2, &many);
    assert!(not_bound(blame(BrokenPromise { promise, leaves: many, ..broken.clone() })));
}

#[test]
fn a_file_is_verified_with_the_hash_of_the_genesis_document_and_nothing_else() {
    let (consortium, other) = (consortium(4), consortium(7));
    for (evidence, culprits) in samples(&consortium) {
        let bytes = EvidenceFile::new(&consortium, Vec::new(), evidence.clone()).to_bytes();
        let file = EvidenceFile::from_bytes(&bytes).expect("its own bytes");
        assert_eq!((file.evidence(), file.to_bytes()), (&evidence, bytes));
        let (found, named) = file.verify(&consortium.id(), &[]).expect("evidence");
        let named: Vec<u32> = named.iter().map(|culprit| culprit.node.get()).collect();
        assert_eq!((found.id(), named), (consortium.id(), culprits));
        let foreign = file.verify(&other.id(), &[]);
        assert!(matches!(foreign, Err(EvidenceInvalid::OtherConsortium { .. })));
    }
}

#[test]
fn what_is_no_evidence_file_is_refused_by_name() {
    let consortium = consortium(4);
    let (evidence, _) = samples(&consortium).swap_remove(0);
    let good = EvidenceFile::new(&consortium, Vec::new(), evidence).to_bytes();
    let code = |bytes: &[u8]| EvidenceFile::from_bytes(bytes).expect_err("no evidence").code();
    assert_eq!(code(b""), "L-301");
    assert_eq!(code(&[0; 200]), "L-301");
    let mut newer = good.clone();
    newer[8] = 4;
    assert_eq!(code(&newer), "L-302");
    assert_eq!(code(&good[..good.len() - 1]), "L-304");
    assert_eq!(code(&[&good[..], &[0]].concat()), "L-304");
    assert_eq!(code(&vec![0; EVIDENCE_BYTES_MAX + 1]), "L-303");
}

#[test]
fn records_that_do_not_fit_are_refused_before_they_are_copied() {
    let consortium = consortium(4);
    let chain = Chain::new(consortium.clone());
    let block = chain.propose(Vec::new()).block;
    let mut parent = chain.tip;
    let governance = parent.state.governance().expect("founded");
    let wide = GovernanceRecord { auditors: vec![Digest::ZERO; 900_000], ..governance };
    parent.state.put(StateKey::Governance, Record::Governance(wide));
    let refused = Execution::of(&consortium, None, &parent, &block).expect_err("28.8 MB");
    assert!(refused.bytes > EVIDENCE_BYTES_MAX);
}

/// Flipping any bit of a file never moves the blame: it is refused, or it says what it said before.
fn stands_flip(consortium: &Arc<Consortium>, bytes: &[u8], bit: usize) -> Result<(), String> {
    let mut flipped = bytes.to_vec();
    flipped[bit / 8] ^= 1 << (bit % 8);
    match EvidenceFile::from_bytes(&flipped).and_then(|file| file.verify(&consortium.id(), &[])) {
        Err(_) => Ok(()),
        Ok((_, culprits)) => Err(format!("bit {bit} was not noticed: {culprits:?}")),
    }
}

#[test]
fn every_flipped_bit_of_the_small_kinds_is_noticed() {
    let consortium = consortium(4);
    for (evidence, _) in samples(&consortium).into_iter().take(4) {
        // The bits of the genesis document are the same in all kinds; `any_flipped_bit_of_a_file_is_noticed` has them.
        let bytes = EvidenceFile::new(&consortium, Vec::new(), evidence.clone()).to_bytes();
        let body = bytes.len() - consortium.to_bytes().len();
        for bit in (0..body * 8).step_by(if cfg!(debug_assertions) { 5 } else { 1 }) {
            stands_flip(&consortium, &bytes, bit).unwrap_or_else(|what| panic!("{}: {what}", evidence.kind()));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_flipped_bit_of_a_file_is_noticed(kind in 0..9_usize, at in any::<prop::sample::Index>()) {
        let consortium = consortium(4);
        let (evidence, _) = samples(&consortium).swap_remove(kind);
        let bytes = EvidenceFile::new(&consortium, Vec::new(), evidence).to_bytes();
        prop_assert_eq!(stands_flip(&consortium, &bytes, at.index(bytes.len() * 8)), Ok(()));
    }
}

#[test]
fn the_encodings_are_pinned() {
    let consortium = consortium(4);
    let golden = |bytes: &[u8]| sha256("golden", &[bytes]).to_string()[..16].to_owned();
    let mut found: Vec<(&str, String)> =
        samples(&consortium).iter().map(|(evidence, _)| (evidence.kind(), golden(&codec::encode(evidence)))).collect();
    found.push(("promise", golden(&codec::encode(&broken_promise(&consortium).promise))));
    let expected = [
        ("double-proposal", "7bd8b7e0b42d5e7b"),
        ("double-vote", "cb6bb30917de3d74"),
        ("double-grant", "96b5ab20143dc4c1"),
        ("nullified-finalized", "f764912ffcc72e61"),
        ("fork", "20a8ec514dbdcc88"),
        ("fork", "851e83be8f72e36e"),
        ("fork", "2e192c614dd99a6f"),
        ("invalid-block", "3005ab1102161a55"),
        ("broken-promise", "e4886604c3b78a63"),
        ("promise", "960d0f174153e9d7"),
    ];
    assert_eq!(found, expected.map(|(kind, hash)| (kind, hash.to_owned())));
}

#[test]
fn a_file_is_magic_version_consortium_evidence_and_document() {
    let consortium = consortium(4);
    let (evidence, _) = samples(&consortium).swap_remove(2);
    let (id, document) = (consortium.id(), consortium.to_bytes());
    let expected = [
        &b"bm-blame"[..],
        &[3, 0, 0, 0],
        id.as_bytes(),
        &[2, 0, 0, 0],
        &codec::encode(&evidence)[4..],
        &[0; 8],
        &(document.len() as u64).to_le_bytes(),
        &document,
    ];
    assert_eq!(EvidenceFile::new(&consortium, Vec::new(), evidence).to_bytes(), expected.concat());
}
