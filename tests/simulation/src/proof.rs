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
    codec,
    digest::{Digest, sha256},
    identity::context,
    units::{BlockHeight, LogIndex, NodeId},
};

/// Who votes in an epoch, and in which name.
#[derive(Clone, Debug)]
pub struct Voters {
    /// The validators.
    pub set: ValidatorSet,
    /// The name in force.
    pub name: Digest,
}

/// The voters of each epoch.
pub type Sets = BTreeMap<u64, Voters>;

/// Whether a block stands where nobody votes.
pub fn begins_anew(header: &Header) -> bool {
    header.view == View { term: (header.epoch + 1) * TERMS_PER_EPOCH - 1, number: 1 }
}

/// The name in force after a block.
pub fn name_after(header: &Header) -> Digest {
    match begins_anew(header) {
        true => sha256("batchmind/v1/ledger/re-genesis", &[header.consortium.as_bytes(), header.digest().as_bytes()]),
        false => header.consortium,
    }
}

/// Whether a quorum of different validators signed `certificate`, for `block`. Of kind `Notarize` it makes the block final
/// only together with a later block's.
/// With carriers it makes them final, and so the block that they carry. A re-genesis is final by its operators.
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
    if begins_anew(header) {
        return check_operators(consortium, sets, header, certificate);
    }
    let voters = voters(sets, header.epoch)?;
    check_quorum(&voters.set, certificate.signatures.iter().map(|(signer, _)| *signer))?;
    check_signatures(voters, ballot, certificate)
}

fn voters(sets: &Sets, epoch: u64) -> Result<&Voters, String> {
    sets.get(&epoch).ok_or_else(|| "nobody knows who votes for it".to_owned())
}

/// Whether for each validator of the next epoch the operator signed that runs it, in the name that begins. Each node has
/// an operator of its own.
fn check_operators(
    consortium: &Consortium,
    sets: &Sets,
    header: &Header,
    certificate: &Certificate,
) -> Result<(), String> {
    let stay = &voters(sets, header.epoch + 1)?.set.members;
    if !stay.iter().map(|(node, _)| node).eq(certificate.signatures.iter().map(|(node, _)| node)) {
        return Err("others signed the re-genesis than stay".to_owned());
    }
    let ballot = Ballot { consortium: name_after(header), ..Ballot::for_header(VoteKind::Finalize, header) };
    for (node, signature) in &certificate.signatures {
        let operator = consortium.operators().get(node.get() as usize).ok_or("its operator is not of genesis")?;
        let signed = operator.key.verify(context::GOVERNANCE_RE_GENESIS, &codec::encode(&ballot), signature);
        signed.map_err(|_| format!("the operator of node {node} did not sign the re-genesis"))?;
    }
    Ok(())
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
    if begins_anew(&block.header) {
        return Ok(());
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
        Some(skipped) => check_skipped(voters(sets, epoch)?, before, view, skipped),
    }
}

fn check_skipped(voters: &Voters, before: View, view: View, skipped: &Nullification) -> Result<(), String> {
    check_quorum(&voters.set, skipped.votes.iter().map(|vote| vote.validator))?;
    for vote in &skipped.votes {
        vote.verify(&voters.set, &voters.name).map_err(|error| error.to_string())?;
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

fn check_signatures(voters: &Voters, ballot: Ballot, certificate: &Certificate) -> Result<(), String> {
    for &(validator, signature) in &certificate.signatures {
        let vote = Vote { statement: ballot, validator, signature };
        vote.verify(&voters.set, &voters.name).map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// Builds both trees anew from the entries of the blocks from height 1 on, and compares the roots of each header.
pub fn replay(consortium: &Consortium, blocks: &[&Block]) -> Result<(), String> {
    let mut state = State::genesis(consortium);
    let mut leaves = Vec::new();
    let (mut parent, mut time, mut name) = (Digest::ZERO, consortium.created(), consortium.id());
    for (height, block) in (1..).map(BlockHeight::new).zip(blocks) {
        let (header, voters) = (&block.header, state.validators());
        if (header.height, header.parent, header.consortium) != (height, parent, name) || header.time <= time {
            return Err(format!("the final block of height {height} does not follow the one before"));
        }
        for entry in &block.entries {
            let at = BlockContext {
                name,
                height,
                time: header.time,
                log_index: LogIndex::new(leaves.len() as u64),
                is_re_genesis: begins_anew(header),
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
        (parent, time, name) = (header.digest(), header.time, name_after(header));
    }
    Ok(())
}
