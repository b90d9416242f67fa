//! Checks of final blocks that share as little as they can with the code that made them final.

use std::collections::{BTreeMap, BTreeSet};

use genesis::{Consortium, ValidatorSet};
use ledger::{
    apply::BlockContext,
    block::{Block, Header, TERMS_PER_EPOCH, View},
    certificate::{Certificate, Nullification},
    state::State,
    tree::log::LogTree,
    vote::{Ballot, Nullify, Vote, VoteKind},
};
use wallet::{
    digest::Digest,
    units::{BlockHeight, LogIndex, NodeId},
};

/// The validators of each epoch.
pub type Sets = BTreeMap<u64, ValidatorSet>;

/// Whether a quorum of different validators signed `certificate`, for `block`. Of kind `Notarize` it makes the block final
/// only together with a later block's.
/// With carriers it makes them final, and so the block that they carry.
pub fn check(
    consortium: &Consortium,
    sets: &Sets,
    header: &Header,
    carriers: &[Header],
    certificate: &Certificate,
) -> Result<(), String> {
    let mut last = header;
    for carrier in carriers {
        if carrier.parent != last.digest() || carrier.log_root != header.log_root || !header.is_closing() {
            return Err("what stands above it does not carry it".to_owned());
        }
        last = carrier;
    }
    let ballot = Ballot::for_header(certificate.kind, last);
    if certificate.block != ballot.block {
        return Err("its certificate names another block".to_owned());
    }
    let validators = sets.get(&header.epoch).ok_or("nobody knows who votes for it")?;
    check_quorum(validators, certificate.signatures.iter().map(|(signer, _)| *signer))?;
    check_signatures(consortium, validators, ballot, certificate)
}

/// Whether `block` carries a quorum's word for `parent`, and for every view between that it is over.
pub fn check_parent(consortium: &Consortium, sets: &Sets, parent: Option<&Block>, block: &Block) -> Result<(), String> {
    let (epoch, mut before) = (block.header.epoch, parent.map_or(View::START, |parent| parent.header.view));
    match (parent, &block.parent_certificate) {
        (None, None) => {}
        (Some(parent), Some(certificate)) => {
            check(consortium, sets, &parent.header, &block.carriers, certificate)?;
            let closes = parent.header.is_closing();
            if epoch != parent.header.epoch + u64::from(closes) || (closes && certificate.kind != VoteKind::Finalize) {
                return Err("an epoch begins elsewhere than on a final closing block".to_owned());
            }
            if closes {
                before = View { term: epoch * TERMS_PER_EPOCH, number: 0 };
            }
        }
        _ => return Err("its parent is not certified, or genesis is".to_owned()),
    }
    let view = block.header.view;
    let number = if view.term == before.term { before.number + 1 } else { 1 };
    if view.term < before.term || view.number != number {
        return Err(format!("view {view:?} does not follow {before:?}"));
    }
    // Before the first term of an epoch there was nothing.
    let skips = view.term > before.term.max(epoch * TERMS_PER_EPOCH + 1);
    match &block.skipped {
        None if skips => Err(format!("nothing shows that the views up to {view:?} are over")),
        None => Ok(()),
        Some(skipped) => {
            let validators = sets.get(&epoch).ok_or("nobody knows who votes for it")?;
            check_skipped(consortium, validators, before, view, skipped)
        }
    }
}

fn check_skipped(
    consortium: &Consortium,
    validators: &ValidatorSet,
    before: View,
    view: View,
    skipped: &Nullification,
) -> Result<(), String> {
    check_quorum(validators, skipped.votes.iter().map(|vote| vote.validator))?;
    for vote in &skipped.votes {
        vote.verify(validators, &consortium.id()).map_err(|error| error.to_string())?;
        let Nullify { from, through, .. } = vote.statement;
        if (from.term, from.number) > (before.term, before.number + 1) || through + 1 < view.term {
            return Err(format!("node {} did not give up all views up to {view:?}", vote.validator));
        }
    }
    Ok(())
}

fn check_quorum(validators: &ValidatorSet, signers: impl Iterator<Item = NodeId>) -> Result<(), String> {
    let signers: BTreeSet<NodeId> = signers.collect();
    let quorum = 2 * validators.members.len() / 3 + 1;
    if signers.len() < quorum { Err(format!("{} different signers are no quorum", signers.len())) } else { Ok(()) }
}

fn check_signatures(
    consortium: &Consortium,
    validators: &ValidatorSet,
    ballot: Ballot,
    certificate: &Certificate,
) -> Result<(), String> {
    for &(validator, signature) in &certificate.signatures {
        let vote = Vote { statement: ballot, validator, signature };
        vote.verify(validators, &consortium.id()).map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// Builds both trees anew from the entries of the blocks from height 1 on, and compares the roots of each header.
pub fn replay(consortium: &Consortium, blocks: &[&Block]) -> Result<(), String> {
    let mut state = State::genesis(consortium);
    let mut leaves = Vec::new();
    let (mut parent, mut time) = (Digest::ZERO, consortium.created());
    for (height, block) in (1..).map(BlockHeight::new).zip(blocks) {
        let (header, voters) = (&block.header, state.validators());
        if header.height != height || header.parent != parent || header.time <= time {
            return Err(format!("the final block of height {height} does not follow the one before"));
        }
        for entry in &block.entries {
            let at = BlockContext {
                name: header.consortium,
                height,
                time: header.time,
                log_index: LogIndex::new(leaves.len() as u64),
                is_re_genesis: false,
            };
            if let Err(refusal) = state.apply(consortium, entry, at) {
                return Err(format!("final block {height} holds an entry that the rules refuse: {refusal}"));
            }
            leaves.push(entry.leaf_hash());
        }
        let log = LogTree::from_leaf_hashes(&leaves);
        if (header.log_size, header.log_root) != (leaves.len() as u64, log.root()) {
            return Err(format!("final block {height} has another log root than its entries"));
        }
        let next = if state.epoch() > voters.epoch { state.validators().hash() } else { Digest::ZERO };
        if (header.validators, header.next_validators) != (voters.hash(), next) {
            return Err(format!("final block {height} names other validators than its entries make"));
        }
        if header.state_root != state.root() {
            return Err(format!("final block {height} has another state root than its entries"));
        }
        (parent, time) = (header.digest(), header.time);
    }
    Ok(())
}
