use std::sync::Arc;

use wallet::{
    codec,
    units::{NodeId, Timestamp},
};

use super::*;
use crate::{
    block::{Block, FinalBlock, View},
    certificate::Nullification,
    evidence::{BrokenPromise, Evidence, EvidenceInvalid, Execution, Fork, Promised},
    execute::{BlockInvalid, Executed, Place, execute, is_bound, propose},
    replay::{Reason, Replay, Signatures},
    testing::{CREATED_MS, Session, certify, certify_as, changes, consortium, evidence as sample, signer},
    vote::{Nullify, Signed, Signer, VoteKind},
};

/// Four validators of five nodes: what is closed in block 1, two carriers above it, and the first block of the next epoch.
struct Scene {
    consortium: Arc<Consortium>,
    genesis: Executed,
    closing: Block,
    closed: Executed,
    carriers: [Block; 2],
    /// What the first and the second carrier became.
    carried: [Executed; 2],
    next: ValidatorSet,
}

const OLD: [u32; 4] = [0, 1, 2, 3];

fn view(term: u64) -> View {
    View { term, number: 1 }
}

fn at(step: u64) -> Timestamp {
    Timestamp::new(CREATED_MS + 100 * step)
}

fn place(parent: &Executed, certificate: Option<Certificate>, view: View) -> Place {
    let (parent, carriers, skipped, after) = (parent.clone(), Vec::new(), None, Digest::ZERO);
    Place { parent, certificate, carriers, skipped, view, after }
}

impl Scene {
    fn new() -> Self {
        let consortium = consortium(5);
        let members: Vec<_> = [0, 1, 2, 4].map(|node| (NodeId::new(node), signer(node).key.public_key())).to_vec();
        let next = ValidatorSet { epoch: 1, members: members.clone() };
        changes::plan([(1, members)]);
        let genesis = Executed::genesis(&consortium);
        let made = propose(&consortium, place(&genesis, None, view(1)), &signer(0), at(1), Vec::new());
        let (closing, closed) = (made.block, made.executed);
        let skipped = |from, term| {
            let votes = OLD.map(|node| sample::nullify(&consortium, node, from, term));
            Some(Nullification { votes: votes.to_vec() })
        };
        let notarized = |block: &Block| Some(certify_as(VoteKind::Notarize, block, OLD));
        let first =
            Place { skipped: skipped(View { term: 1, number: 2 }, 1), ..place(&closed, notarized(&closing), view(2)) };
        let first = propose(&consortium, first, &signer(1), at(2), Vec::new());
        let second = Place {
            skipped: skipped(View { term: 2, number: 2 }, 2),
            ..place(&first.executed, notarized(&first.block), view(3))
        };
        let second = propose(&consortium, second, &signer(2), at(3), Vec::new());
        let (carriers, carried) = ([first.block, second.block], [first.executed, second.executed]);
        Self { consortium, genesis, closing, closed, carriers, carried, next }
    }

    fn hand_over(&self, proof: ClosingProof) -> HandOver {
        HandOver { closing: self.closing.header.clone(), proof, next: self.next.clone(), re_genesis: None }
    }

    /// The closing block is final by its own certificate.
    fn direct(&self) -> ClosingProof {
        ClosingProof { certificate: certify(&self.closing, OLD), carriers: Vec::new() }
    }

    /// It is final by the last of so many carriers.
    fn carried(&self, carriers: usize) -> ClosingProof {
        let headers = self.carriers[..carriers].iter().map(|block| block.header.clone()).collect();
        ClosingProof { certificate: certify(&self.carriers[carriers - 1], OLD), carriers: headers }
    }

    fn sets(&self) -> ValidatorSets {
        ValidatorSets::proven(&self.consortium, [&self.hand_over(self.direct())], &[]).expect("proven")
    }

    /// The first block of the next epoch.
    fn first_block(&self, proof: ClosingProof, leader: &Signer) -> Block {
        let ClosingProof { certificate, carriers } = proof;
        let place = Place { carriers, ..place(&self.closed, Some(certificate), view(View::first_term(1))) };
        propose(&self.consortium, place, leader, at(5), Vec::new()).block
    }

    fn blame(&self, block: &Block) -> Result<Vec<crate::evidence::Culprit>, EvidenceInvalid> {
        let execution =
            Execution::of(&self.consortium, Some(&self.closing.header), &self.closed, block).expect("small");
        Evidence::InvalidBlock(Box::new(execution)).verify_in(&self.consortium, &self.sets())
    }
}

#[test]
fn a_closing_block_names_the_next_set_and_what_follows_in_its_epoch_holds_nothing() {
    let scene = Scene::new();
    assert!(scene.closing.header.is_closing() && scene.closed.is_closing());
    assert_eq!(scene.closing.header.next_validators, scene.next.hash());
    for (block, executed) in scene.carriers.iter().zip(&scene.carried) {
        assert!(!block.header.is_closing() && executed.is_closed() && !executed.is_closing());
        assert_eq!((&executed.log, &executed.state), (&scene.closed.log, &scene.closed.state));
        assert_eq!(executed.voted_by(), *scene.consortium.validators());
    }
    let mut filled = scene.carriers[0].clone();
    filled.entries.push(Session::in_eu(&scene.consortium, 0).created());
    let refused = execute(&scene.consortium, &scene.closed, &filled);
    assert_eq!(refused, Err(BlockInvalid::CarriesEntries { entries: 1 }));
}

#[test]
fn a_leader_of_a_closed_epoch_keeps_all_entries_for_the_next() {
    let scene = Scene::new();
    let header = &scene.carriers[0].header;
    let again = Place {
        skipped: scene.carriers[0].skipped.clone(),
        ..place(&scene.closed, scene.carriers[0].parent_certificate.clone(), header.view)
    };
    let entry = Session::in_eu(&scene.consortium, 0).created();
    let made = propose(&scene.consortium, again, &signer(1), at(2), vec![entry.clone()]);
    assert_eq!((made.block.header, made.left_over), (header.clone(), vec![entry]));
}

#[test]
fn the_next_epoch_begins_on_a_final_closing_block_and_nowhere_else() {
    let scene = Scene::new();
    let leader = signer(4);
    for proof in [scene.direct(), scene.carried(1), scene.carried(2)] {
        let block = scene.first_block(proof, &leader);
        let executed = execute(&scene.consortium, &scene.closed, &block).expect("valid");
        assert_eq!((executed.voted_by(), executed.height.get()), (scene.next.clone(), 2));
    }
    let refused = |proof| execute(&scene.consortium, &scene.closed, &scene.first_block(proof, &leader)).map(drop);
    let notarized = ClosingProof { certificate: certify_as(VoteKind::Notarize, &scene.closing, OLD), ..scene.direct() };
    let not_final = BlockInvalid::ParentCertificate(CertificateInvalid::NotFinal);
    assert_eq!(refused(notarized), Err(not_final), "only notarized");
    let few = ClosingProof { certificate: certify(&scene.closing, [0, 1]), ..scene.direct() };
    assert!(matches!(refused(few), Err(BlockInvalid::ParentCertificate(CertificateInvalid::BelowQuorum { .. }))));
    let unlinked = ClosingProof { carriers: vec![scene.carriers[1].header.clone()], ..scene.carried(2) };
    assert_eq!(refused(unlinked), Err(BlockInvalid::ParentNotCertified), "a carrier is missing");
    let on_carrier = place(&scene.carried[0], Some(certify(&scene.carriers[0], OLD)), view(View::first_term(1)));
    let on_carrier = propose(&scene.consortium, on_carrier, &leader, at(5), Vec::new()).block;
    let refused = execute(&scene.consortium, &scene.carried[0], &on_carrier);
    assert!(matches!(refused, Err(BlockInvalid::View { .. })), "carriers are no part of the chain: {refused:?}");
    let skips = place(&scene.closed, Some(certify(&scene.closing, OLD)), View { term: View::first_term(1), number: 2 });
    let skips = propose(&scene.consortium, skips, &leader, at(5), Vec::new()).block;
    assert!(matches!(execute(&scene.consortium, &scene.closed, &skips), Err(BlockInvalid::View { .. })));
}

#[test]
fn a_later_term_of_the_next_epoch_needs_its_own_quorums_word_that_nothing_was_left_out() {
    let scene = Scene::new();
    let term = View::first_term(1) + 1;
    let judged = |epoch, nodes: [u32; 3]| {
        let from = View { number: 1, ..View::start_of(1) };
        let nullify = Nullify { consortium: scene.consortium.id(), epoch, from, through: term - 1 };
        let votes = nodes.map(|node| Signed::sign(nullify, &signer(node))).to_vec();
        let place = place(&scene.closed, Some(certify(&scene.closing, OLD)), view(term));
        let place = Place { skipped: Some(Nullification { votes }), ..place };
        let block = propose(&scene.consortium, place, &signer(4), at(5), Vec::new()).block;
        execute(&scene.consortium, &scene.closed, &block).map(drop)
    };
    assert_eq!(judged(1, [0, 1, 4]), Ok(()));
    let stranger = CertificateInvalid::NotAValidator { signer: NodeId::new(3) };
    assert_eq!(judged(1, [0, 1, 3]), Err(BlockInvalid::Skipped(stranger)), "node 3 has left");
    let other = CertificateInvalid::OtherEpoch { found: 0, expected: 1 };
    assert_eq!(judged(0, [0, 1, 4]), Err(BlockInvalid::Skipped(other)));
}

#[test]
fn sets_follow_each_other_from_genesis_on_by_the_old_quorums_word() {
    let scene = Scene::new();
    for proof in [scene.direct(), scene.carried(1), scene.carried(2)] {
        let sets = ValidatorSets::proven(&scene.consortium, [&scene.hand_over(proof)], &[]).expect("proven");
        assert_eq!((sets.of(1), sets.last().epoch), (Ok(&scene.next), 1));
        assert!(sets.of(2).is_err());
        assert_eq!(*sets.last(), scene.closed.state.validators());
    }
    let refused = |hand_over: HandOver| ValidatorSets::proven(&scene.consortium, [&hand_over], &[]).map(drop);
    let good = scene.hand_over(scene.direct());
    let mut other = scene.next.clone();
    other.members.pop();
    assert_eq!(refused(HandOver { next: other, ..good.clone() }), Err(HandOverInvalid::OtherSet));
    assert_eq!(refused(HandOver { proof: scene.carried(1), ..good.clone() }), Ok(()));
    let cut_off = ClosingProof { carriers: Vec::new(), ..scene.carried(1) };
    assert_eq!(refused(HandOver { proof: cut_off, ..good.clone() }), Err(HandOverInvalid::OtherBlock));
    let few = ClosingProof { certificate: certify(&scene.closing, [0, 1]), ..scene.direct() };
    assert!(matches!(refused(HandOver { proof: few, ..good.clone() }), Err(HandOverInvalid::Certificate(_))));
    let closing = scene.carriers[0].header.clone();
    assert_eq!(
        refused(HandOver { closing, ..good.clone() }),
        Err(HandOverInvalid::OtherSet),
        "a carrier closes nothing"
    );
    let twice = ValidatorSets::proven(&scene.consortium, [&good, &good], &[]);
    assert_eq!(twice, Err(HandOverInvalid::OutOfTurn { found: 0, expected: 1 }));
}

#[test]
fn what_others_do_to_an_honest_leaders_first_block_is_no_evidence_against_it() {
    let scene = Scene::new();
    let leader = signer(4);
    for proof in [scene.direct(), scene.carried(1), scene.carried(2)] {
        let block = scene.first_block(proof, &leader);
        assert_eq!(scene.blame(&block), Err(EvidenceInvalid::BlockHolds));
        for carriers in [Vec::new(), vec![scene.carriers[0].header.clone()], vec![scene.carriers[1].header.clone()]] {
            let changed = Block { carriers, ..block.clone() };
            if changed != block {
                assert!(!is_bound(&scene.closed, &changed));
                assert!(
                    matches!(scene.blame(&changed), Err(EvidenceInvalid::NotBound(_))),
                    "{:?}",
                    scene.blame(&changed)
                );
            }
        }
        let mut lie = block;
        lie.header.state_root = Digest([5; 32]);
        lie.proposal = lie.header.sign(&leader.key);
        let named = scene.blame(&lie).expect("a lie");
        assert_eq!(named.iter().map(|culprit| culprit.node).collect::<Vec<_>>(), [leader.node]);
    }
    assert_eq!(scene.blame(&scene.carriers[0]), Err(EvidenceInvalid::BlockHolds));
}

#[test]
fn whoever_proposes_before_the_closing_block_is_final_lies() {
    let scene = Scene::new();
    let notarized = ClosingProof { certificate: certify_as(VoteKind::Notarize, &scene.closing, OLD), ..scene.direct() };
    let block = scene.first_block(notarized, &signer(4));
    assert_eq!(scene.blame(&block).map(|culprits| culprits[0].node), Ok(signer(4).node));
}

#[test]
fn no_promise_is_broken_in_a_block_that_closes_its_epoch_or_carries_it() {
    let scene = Scene::new();
    let entry = sample::anchor(&scene.consortium, 1);
    let leaves = vec![entry.leaf_hash()];
    let blame = |leader: u32, block: &Block, parent: Option<&Header>, on: &Executed| {
        let promise = sample::promise(&scene.consortium, leader, block.header.view.term, 1, &leaves);
        let promised = Promised { promise, leaves: leaves.clone() };
        let broken = BrokenPromise::of(&scene.consortium, promised, entry.clone(), parent, on, block).expect("small");
        Evidence::BrokenPromise(Box::new(broken)).verify_in(&scene.consortium, &scene.sets())
    };
    let closing = blame(0, &scene.closing, None, &scene.genesis);
    assert!(matches!(closing, Err(EvidenceInvalid::NoContradiction(_))), "{closing:?}");
    let carrier = blame(1, &scene.carriers[0], Some(&scene.closing.header), &scene.closed);
    assert!(matches!(carrier, Err(EvidenceInvalid::NoContradiction(_))), "{carrier:?}");
    let mut quiet = scene.closing.clone();
    changes::plan([]);
    let made = propose(&scene.consortium, place(&scene.genesis, None, view(1)), &signer(0), at(1), Vec::new());
    quiet.clone_from(&made.block);
    assert!(blame(0, &quiet, None, &scene.genesis).is_ok(), "but in any other block it is");
}

#[test]
fn a_fork_that_passes_over_carriers_names_who_voted_for_both() {
    let scene = Scene::new();
    let other = propose(&scene.consortium, place(&scene.genesis, None, view(1)), &signer(0), at(9), Vec::new()).block;
    let lower = certify(&other, [0, 2, 3, 4]);
    let proof = scene.carried(2);
    let all = [scene.closing.clone(), scene.carriers[0].clone(), scene.carriers[1].clone()];
    let find = |_, digest: &Digest| all.iter().find(|block| block.header.digest() == *digest).cloned();
    let fork = Fork::between(&lower, &proof.certificate, find).expect("the carriers lead down to it");
    assert_eq!(fork.chain.len(), 3);
    let named = Evidence::Fork(Box::new(fork)).verify_in(&scene.consortium, &scene.sets()).expect("a fork");
    assert_eq!(named.iter().map(|culprit| culprit.node.get()).collect::<Vec<_>>(), [0, 2, 3]);
    let honest = Fork::between(&certify(&scene.closing, OLD), &proof.certificate, find);
    assert_eq!(honest, None, "a carrier does not contradict what it carries");
}

#[test]
fn what_a_key_said_in_one_epoch_contradicts_nothing_of_another() {
    let scene = Scene::new();
    let first = scene.first_block(scene.direct(), &signer(4));
    let said = |block: &Block| sample::vote(1, VoteKind::Finalize, &block.header);
    let votes = Evidence::DoubleVote(Box::new([said(&scene.carriers[0]), said(&first)]));
    assert!(votes.verify_in(&scene.consortium, &scene.sets()).is_err());
    let nullify = sample::nullify(&scene.consortium, 1, View { term: 1, number: 1 }, View::first_term(1));
    let both = Evidence::NullifiedFinalized { nullify, finalize: said(&first) };
    let refused = both.verify_in(&scene.consortium, &scene.sets());
    let other = CertificateInvalid::OtherEpoch { found: 1, expected: 0 };
    assert_eq!(refused, Err(EvidenceInvalid::Statement(other)), "it speaks of another epoch's views");
}

#[test]
fn a_replay_goes_on_behind_a_closing_block_that_a_carrier_made_final() {
    let scene = Scene::new();
    for proof in [scene.direct(), scene.carried(1), scene.carried(2)] {
        let next = scene.first_block(proof.clone(), &signer(4));
        let ClosingProof { certificate, carriers } = proof;
        let closing = FinalBlock { block: scene.closing.clone(), certificate, carriers };
        let first = FinalBlock { certificate: certify(&next, [0, 1, 4]), block: next, carriers: Vec::new() };
        let replay = |blocks: &[FinalBlock]| {
            let mut replay = Replay::new(scene.consortium.clone(), Signatures::Certified);
            // As it is read from an archive.
            let read = |block| codec::decode::<FinalBlock>(&codec::encode(block)).expect("its own bytes");
            blocks.iter().try_for_each(|block| replay.step(&read(block)))?;
            replay.finish()
        };
        let replayed = replay(&[closing.clone(), first.clone()]).expect("final");
        assert_eq!((replayed.executed.height.get(), replayed.executed.voted_by()), (2, scene.next.clone()));
        if closing.carriers.is_empty() {
            continue;
        }
        let alone = FinalBlock { carriers: Vec::new(), ..closing.clone() };
        assert_eq!(replay(&[alone]).expect_err("of another block").reason, Reason::OtherCertificate);
        let again = FinalBlock { carriers: closing.carriers.clone(), ..first.clone() };
        let reason = replay(&[closing.clone(), again]).expect_err("it closes nothing").reason;
        assert_eq!(reason, Reason::OtherCertificate);
        let below = FinalBlock { certificate: certify(&scene.carriers[0], [0, 1]), ..closing };
        assert!(replay(&[below]).is_err(), "no quorum, or not the last carrier");
    }
}

#[test]
fn a_closing_block_is_final_by_finalize_votes_and_other_blocks_have_no_carriers() {
    let scene = Scene::new();
    let reason = |block: &Block, certificate, carriers| {
        let mut replay = Replay::new(scene.consortium.clone(), Signatures::Certified);
        let block = FinalBlock { block: block.clone(), certificate, carriers };
        replay.step(&block).map_err(|invalid| invalid.reason)
    };
    assert_eq!(reason(&scene.closing, certify(&scene.closing, OLD), Vec::new()), Ok(()));
    let notarized = certify_as(VoteKind::Notarize, &scene.closing, OLD);
    assert_eq!(reason(&scene.closing, notarized, Vec::new()), Err(Reason::OtherCertificate));
    changes::plan([]);
    let made = propose(&scene.consortium, place(&scene.genesis, None, view(1)), &signer(0), at(1), Vec::new());
    // Only liars sign a block in its parent's view.
    let parent_certificate = Some(certify(&made.block, OLD));
    let mut above = Block { parent_certificate, ..made.block.clone() };
    (above.header.parent, above.header.height) = (made.block.header.digest(), BlockHeight::new(2));
    assert_eq!(reason(&made.block, certify(&made.block, OLD), Vec::new()), Ok(()));
    let carried = reason(&made.block, certify(&above, OLD), vec![above.header]);
    assert_eq!(carried, Err(Reason::OtherCertificate));
}

#[test]
fn a_leader_that_names_another_epoch_than_its_views_has_signed_that() {
    let scene = Scene::new();
    let leader = signer(4);
    let mut lie = scene.first_block(scene.direct(), &leader);
    lie.header.epoch = u64::MAX;
    lie.proposal = lie.header.sign(&leader.key);
    assert_eq!(execute(&scene.consortium, &scene.closed, &lie), Err(BlockInvalid::Validators));
    assert!(is_bound(&scene.closed, &lie));
    let named = scene.blame(&lie).expect("a lie");
    assert_eq!(named.iter().map(|culprit| culprit.node).collect::<Vec<_>>(), [leader.node]);
}

#[test]
fn more_carriers_than_a_node_holds_blocks_prove_nothing() {
    let scene = Scene::new();
    let mut block = scene.carriers[0].clone();
    let mut carriers = vec![block.header.clone()];
    let mut proof = |count: usize| {
        while carriers.len() < count {
            (block.header.parent, block.header.view.term) = (block.header.digest(), block.header.view.term + 1);
            carriers.push(block.header.clone());
        }
        ClosingProof { certificate: certify(&block, OLD), carriers: carriers.clone() }
    };
    let whole = proof(CARRIERS_MAX);
    assert_eq!(whole.closes(), Some((scene.closing.header.height, scene.closing.header.digest())));
    let more = proof(CARRIERS_MAX + 1);
    assert_eq!(more.closes(), None);
    // Peers are the shell's.
    #[cfg(feature = "shell")]
    assert!(whole.is_bounded() && !more.is_bounded());
}
