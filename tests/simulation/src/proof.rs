//! Checks of final blocks that share as little as they can with the code that made them final.

use std::collections::BTreeSet;

use genesis::Consortium;
use ledger::{
    apply::BlockContext,
    block::{Block, View},
    certificate::{Certificate, Nullification},
    state::State,
    tree::log::LogTree,
    vote::{Ballot, Nullify, Vote},
};
use wallet::{
    digest::Digest,
    units::{BlockHeight, LogIndex, NodeId},
};

/// Whether a quorum of different validators signed `certificate`, for `block`. Of kind `Notarize` it makes the block final
/// only together with a later block's.
pub fn check(consortium: &Consortium, block: &Block, certificate: &Certificate) -> Result<(), String> {
    let ballot = Ballot::for_header(certificate.kind, &block.header);
    if certificate.block != ballot.block {
        return Err("its certificate names another block".to_owned());
    }
    check_quorum(consortium, certificate.signatures.iter().map(|(signer, _)| *signer))?;
    check_signatures(consortium, ballot, certificate)
}

/// Whether `block` carries a quorum's word for `parent`, and for every view between that it is over.
pub fn check_parent(consortium: &Consortium, parent: Option<&Block>, block: &Block) -> Result<(), String> {
    match (parent, &block.parent_certificate) {
        (None, None) => {}
        (Some(parent), Some(certificate)) => {
            let ballot = Ballot::for_header(certificate.kind, &parent.header);
            if certificate.block != ballot.block {
                return Err("it carries the certificate of another parent".to_owned());
            }
            check_quorum(consortium, certificate.signatures.iter().map(|(signer, _)| *signer))?;
            check_signatures(consortium, ballot, certificate)?;
        }
        _ => return Err("its parent is not certified, or genesis is".to_owned()),
    }
    let (before, view) = (parent.map_or(View::START, |parent| parent.header.view), block.header.view);
    let number = if view.term == before.term { before.number + 1 } else { 1 };
    if view.term < before.term || view.number != number {
        return Err(format!("view {view:?} does not follow {before:?}"));
    }
    // Before term 1 there was nothing.
    let skips = view.term > before.term.max(1);
    match &block.skipped {
        None if skips => Err(format!("nothing shows that the views up to {view:?} are over")),
        None => Ok(()),
        Some(skipped) => check_skipped(consortium, before, view, skipped),
    }
}

fn check_skipped(consortium: &Consortium, before: View, view: View, skipped: &Nullification) -> Result<(), String> {
    check_quorum(consortium, skipped.votes.iter().map(|vote| vote.validator))?;
    for vote in &skipped.votes {
        vote.verify(consortium.validators(), &consortium.id()).map_err(|error| error.to_string())?;
        let Nullify { from, through, .. } = vote.statement;
        if (from.term, from.number) > (before.term, before.number + 1) || through + 1 < view.term {
            return Err(format!("node {} did not give up all views up to {view:?}", vote.validator));
        }
    }
    Ok(())
}

fn check_quorum(consortium: &Consortium, signers: impl Iterator<Item = NodeId>) -> Result<(), String> {
    let signers: BTreeSet<NodeId> = signers.collect();
    let quorum = 2 * consortium.nodes().len() / 3 + 1;
    if signers.len() < quorum { Err(format!("{} different signers are no quorum", signers.len())) } else { Ok(()) }
}

fn check_signatures(consortium: &Consortium, ballot: Ballot, certificate: &Certificate) -> Result<(), String> {
    for &(validator, signature) in &certificate.signatures {
        let vote = Vote { statement: ballot, validator, signature };
        vote.verify(consortium.validators(), &consortium.id()).map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// Builds both trees anew from the entries of the blocks from height 1 on, and compares the roots of each header.
pub fn replay(consortium: &Consortium, blocks: &[&Block]) -> Result<(), String> {
    let mut state = State::genesis(consortium);
    let mut leaves = Vec::new();
    let (mut parent, mut time) = (Digest::ZERO, consortium.created());
    for (height, block) in (1..).map(BlockHeight::new).zip(blocks) {
        let header = &block.header;
        if header.height != height || header.parent != parent || header.time <= time {
            return Err(format!("the final block of height {height} does not follow the one before"));
        }
        for entry in &block.entries {
            let at = BlockContext { height, time: header.time, log_index: LogIndex::new(leaves.len() as u64) };
            if let Err(refusal) = state.apply(consortium, entry, at) {
                return Err(format!("final block {height} holds an entry that the rules refuse: {refusal}"));
            }
            leaves.push(entry.leaf_hash());
        }
        let log = LogTree::from_leaf_hashes(&leaves);
        if (header.log_size, header.log_root) != (leaves.len() as u64, log.root()) {
            return Err(format!("final block {height} has another log root than its entries"));
        }
        if header.state_root != state.root() {
            return Err(format!("final block {height} has another state root than its entries"));
        }
        (parent, time) = (header.digest(), header.time);
    }
    Ok(())
}
