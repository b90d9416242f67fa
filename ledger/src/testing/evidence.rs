//! Liars, and what they sign: evidence of each kind against validators of the sample consortium.

use std::sync::Arc;

use genesis::Consortium;
use wallet::{
    digest::Digest,
    units::{BlockHeight, NodeId, Timestamp},
};

use super::{CREATED_MS, Chain, Session, certify, certify_as, signer};
use crate::{
    block::{Block, Header, View},
    certificate::Nullification,
    event::Entry,
    evidence::{BrokenPromise, Evidence, Execution, Fork, Promise, Promised, SignedPromise, entries_digest},
    execute::{Place, propose},
    vote::{Ballot, Grant, Nullify, Signed, SignedGrant, SignedNullify, Vote, VoteKind},
};

/// Evidence of each kind, forks of both sorts, and who is to blame by each.
pub fn samples(consortium: &Arc<Consortium>) -> Vec<(Evidence, Vec<u32>)> {
    vec![
        (double_proposal(consortium), vec![0]),
        (double_vote(consortium), vec![2]),
        (double_grant(consortium), vec![1]),
        (nullified_finalized(consortium), vec![3]),
        (Evidence::Fork(Box::new(fork_in_one_view(consortium))), vec![1, 2]),
        (Evidence::Fork(Box::new(fork_across_a_view(consortium))), vec![1, 2]),
        (Evidence::Fork(Box::new(fork_over_views(consortium))), vec![1, 2]),
        (Evidence::InvalidBlock(Box::new(invalid_block(consortium))), vec![0]),
        (Evidence::BrokenPromise(Box::new(broken_promise(consortium))), vec![0]),
    ]
}

/// Two blocks of view (1, 1) by node 0: with an entry and without.
pub fn two_blocks(consortium: &Arc<Consortium>) -> [Block; 2] {
    let (chain, session) = (Chain::new(consortium.clone()), Session::in_eu(consortium, 0));
    [chain.propose(vec![session.created()]).block, chain.propose(Vec::new()).block]
}

/// The vote of `node` for the block of `header`.
pub fn vote(node: u32, kind: VoteKind, header: &Header) -> Vote {
    Vote::sign(Ballot::for_header(kind, header), &signer(node))
}

/// The nullify vote of `node` from `from` on.
pub fn nullify(consortium: &Consortium, node: u32, from: View, through: u64) -> SignedNullify {
    let epoch = consortium.validators().epoch;
    Signed::sign(Nullify { consortium: consortium.id(), epoch, from, through }, &signer(node))
}

/// The vote of `node` for leader `candidate` of `term`.
pub fn grant(consortium: &Consortium, node: u32, term: u64, candidate: u32) -> SignedGrant {
    let (epoch, candidate) = (consortium.validators().epoch, NodeId::new(candidate));
    Signed::sign(Grant { consortium: consortium.id(), epoch, term, candidate }, &signer(node))
}

fn double_proposal(consortium: &Arc<Consortium>) -> Evidence {
    let [one, other] = two_blocks(consortium);
    Evidence::DoubleProposal {
        headers: Box::new([one.header, other.header]),
        signatures: [one.proposal, other.proposal],
    }
}

fn double_vote(consortium: &Arc<Consortium>) -> Evidence {
    let [one, other] = two_blocks(consortium);
    let votes = [vote(2, VoteKind::Notarize, &one.header), vote(2, VoteKind::Finalize, &other.header)];
    Evidence::DoubleVote(Box::new(votes))
}

fn double_grant(consortium: &Arc<Consortium>) -> Evidence {
    Evidence::DoubleGrant(Box::new([grant(consortium, 1, 4, 0), grant(consortium, 1, 4, 2)]))
}

fn nullified_finalized(consortium: &Arc<Consortium>) -> Evidence {
    let [block, _] = two_blocks(consortium);
    let nullify = nullify(consortium, 3, View { term: 1, number: 1 }, 2);
    Evidence::NullifiedFinalized { nullify, finalize: vote(3, VoteKind::Finalize, &block.header) }
}

/// Nodes 1 and 2 finalize two blocks of one view.
pub fn fork_in_one_view(consortium: &Arc<Consortium>) -> Fork {
    let [one, other] = two_blocks(consortium).map(|block| (certify(&block, [1, 2]), block));
    let (lower, higher) = (certify(&one.1, [0, 1, 2]), certify(&other.1, [1, 2, 3]));
    Fork::between(&lower, &higher, |_, _| None).expect("two blocks of one view")
}

/// Nodes 1 and 2 finalize one block of a view, and notarize the other, whose child becomes final.
pub fn fork_across_a_view(consortium: &Arc<Consortium>) -> Fork {
    let [one, other] = two_blocks(consortium);
    let lower = certify(&one, [0, 1, 2]);
    let notarized = certify_as(VoteKind::Notarize, &other, [1, 2, 3]);
    let chain = Chain::new(consortium.clone());
    let parent = crate::execute::execute(consortium, &chain.tip, &other).expect("valid");
    let view = View { term: 1, number: 2 };
    let place =
        Place { parent, certificate: Some(notarized), carriers: Vec::new(), skipped: None, view, after: Digest::ZERO };
    let child = propose(consortium, place, &signer(0), now(2), Vec::new()).block;
    let (higher, blocks) = (certify(&child, [1, 2, 3]), [other, child]);
    Fork::between(&lower, &higher, find(&blocks)).expect("the chain is whole")
}

/// Nodes 1 and 2 finalize a block, and nullify its view, so that a later term begins below it.
pub fn fork_over_views(consortium: &Arc<Consortium>) -> Fork {
    let [one, _] = two_blocks(consortium);
    let lower = certify(&one, [0, 1, 2]);
    let votes = [1, 2, 3].map(|node| nullify(consortium, node, View { term: 0, number: 1 }, 1)).to_vec();
    let chain = Chain::new(consortium.clone());
    let view = View { term: 2, number: 1 };
    let place = Place { skipped: Some(Nullification { votes }), ..chain.place(view) };
    let other = propose(consortium, place, &signer(3), now(2), Vec::new()).block;
    let (higher, blocks) = (certify(&other, [1, 2, 3]), [other]);
    Fork::between(&higher, &lower, find(&blocks)).expect("the chain is whole")
}

/// Node 0 proposes a block with a wrong state root on a final block.
pub fn invalid_block(consortium: &Arc<Consortium>) -> Execution {
    let (mut chain, session) = (Chain::new(consortium.clone()), Session::in_eu(consortium, 0));
    chain.push(session.created()).expect("valid");
    let touched = session.touched(&session.record(&chain), 1);
    let mut block = chain.propose(vec![touched]).block;
    block.header.state_root = Digest([5; 32]);
    block.proposal = block.header.sign(&signer(0).key);
    on_tip(&chain, &block)
}

/// Node 0 promises node 1's anchor for block 2 of term 1, and leaves it out.
pub fn broken_promise(consortium: &Arc<Consortium>) -> BrokenPromise {
    let (mut chain, session) = (Chain::new(consortium.clone()), Session::in_eu(consortium, 0));
    chain.push(session.created()).expect("valid");
    let entry = session.anchored(1, 1, Digest([6; 32]));
    let leaves = vec![Digest([8; 32]), entry.leaf_hash()];
    let promised = Promised { promise: promise(consortium, 0, 1, 2, &leaves), leaves };
    broken(&chain, promised, entry, &chain.propose(Vec::new()).block)
}

/// That `entry` was promised, and left out of `block` on the tip of `chain`.
pub fn broken(chain: &Chain, promised: Promised, entry: Entry, block: &Block) -> BrokenPromise {
    let parent = chain.blocks.last().map(|(block, _)| &block.header);
    BrokenPromise::of(&chain.consortium, promised, entry, parent, &chain.tip, block).expect("few records")
}

/// The promise of `leader` to have the entries of these leaves in block `through` of `term`.
pub fn promise(consortium: &Consortium, leader: u32, term: u64, through: u64, leaves: &[Digest]) -> SignedPromise {
    let (consortium, epoch, entries) = (consortium.id(), consortium.validators().epoch, entries_digest(leaves));
    Signed::sign(Promise { consortium, epoch, term, through, entries }, &signer(leader))
}

/// What it takes to show that `block` does not execute on the tip of `chain`.
pub fn on_tip(chain: &Chain, block: &Block) -> Execution {
    let parent = chain.blocks.last().map(|(block, _)| &block.header);
    Execution::of(&chain.consortium, parent, &chain.tip, block).expect("few records")
}

/// An entry that applies on any state of the sample consortium: an anchor of node 1.
pub fn anchor(consortium: &Arc<Consortium>, decisions: u64) -> Entry {
    Session::in_eu(consortium, 0).anchored(1, decisions, Digest([6; 32]))
}

fn find(blocks: &[Block]) -> impl Fn(BlockHeight, &Digest) -> Option<Block> + '_ {
    |_, digest| blocks.iter().find(|block| block.header.digest() == *digest).cloned()
}

const fn now(step: u64) -> Timestamp {
    Timestamp::new(CREATED_MS + 100 * step)
}
