//! What was said with one key, as others hold it: how a node finds out that its vote record is not the last one.
//!
//! Why a lost record does no harm. Let a key lose what it signed, fall silent, and have its `ValidatorResumed` become
//! final in a block of view w. Whatever was lost was signed in terms that a quorum had let begin, by nullify votes that
//! end all terms before. The block of w was made afterwards, and a quorum voted for it; one honest validator is in both
//! quorums, and votes in no view that it gave up. So no lost statement is of a later term than w. From then on the key
//! votes, grants and proposes in later terms only, and gives up only views after w. A lost finalize vote was for a block
//! that a quorum had notarized before, so it is below w, too. Hence nothing that was lost contradicts what follows,
//! whoever holds it.
//!
//! The first term of an epoch begins without nullify votes: a closing block that is final lets it begin. Let the last of
//! the lost statements be of that term. Then the closing block was final at the key, and with it all below, before the
//! key fell silent and drew the number of its `ValidatorResumed`. So that entry is in a later block, w is in the same
//! epoch or a later one, and no term of it is below its first.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use wallet::{digest::Digest, identity::PublicKey, units::NodeId};

use super::{Input, VoteRecord, Voter};
use crate::{
    block::{Block, View},
    certificate::{Certificate, Nullification},
    vote::{Ballot, Signed, SignedGrant, SignedNullify, Statement, Vote},
};

/// Of each sort, one message carries at most this many.
pub const STATEMENTS_MAX: usize = 64;

/// What one key signed, as far as somebody holds it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statements {
    /// Votes for blocks.
    pub votes: Vec<Vote>,
    /// Votes against views.
    pub nullifies: Vec<SignedNullify>,
    /// Votes for leaders.
    pub grants: Vec<SignedGrant>,
}

impl Statements {
    /// What `node` says in an input, itself or as part of a quorum.
    pub fn within(input: &Input, node: NodeId, name: &Digest) -> Self {
        let mut found = Self::default();
        match input {
            Input::Flushed { block, .. } => found.take_block(block, node, name),
            Input::Vote(vote) => found.votes.extend((vote.validator == node).then_some(*vote)),
            Input::Nullify(nullify) => found.nullifies.extend((nullify.validator == node).then_some(*nullify)),
            Input::Certificate(certificate) => found.take_certificate(certificate, node, name),
            Input::Nullification(nullification) => found.take_nullification(nullification, node),
            Input::Closing(proof) => found.take_certificate(&proof.certificate, node, name),
            Input::Candidate { permit, parent, .. } => {
                permit.iter().for_each(|permit| found.take_nullification(permit, node));
                parent.iter().for_each(|parent| found.take_certificate(parent, node, name));
            }
            _ => {}
        }
        found
    }

    /// Adds the vote of `node` in a certificate.
    pub fn take_certificate(&mut self, certificate: &Certificate, node: NodeId, name: &Digest) {
        let statement: Ballot = certificate.ballot(name);
        let own = certificate.signatures.iter().filter(|(signer, _)| *signer == node);
        self.votes.extend(own.map(|(validator, signature)| Signed {
            statement,
            validator: *validator,
            signature: *signature,
        }));
    }

    fn take_nullification(&mut self, nullification: &Nullification, node: NodeId) {
        self.nullifies.extend(nullification.votes.iter().filter(|vote| vote.validator == node));
    }

    fn take_block(&mut self, block: &Block, node: NodeId, name: &Digest) {
        block.parent_certificate.iter().for_each(|certificate| self.take_certificate(certificate, node, name));
        block.skipped.iter().for_each(|skipped| self.take_nullification(skipped, node));
    }

    /// Whether `node` signed something here with `key` that `record` does not know: then the record is not the last one
    /// of that key. What the key did not sign says nothing, so nobody can silence a node by a forgery.
    pub fn are_beyond(&self, record: &VoteRecord, node: NodeId, key: &PublicKey, name: &Digest) -> bool {
        self.votes.iter().any(|vote| !record.knows_ballot(&vote.statement) && is_by(vote, node, key, name))
            || self.nullifies.iter().any(|vote| !record.knows_nullify(&vote.statement) && is_by(vote, node, key, name))
            || self.grants.iter().any(|grant| !record.knows_grant(&grant.statement) && is_by(grant, node, key, name))
    }

    /// Drops what is more than a message may carry: the lowest first.
    pub fn keep_last(&mut self) {
        self.votes.sort_by_key(|vote| std::cmp::Reverse(vote.statement.view));
        self.nullifies.sort_by_key(|vote| std::cmp::Reverse(vote.statement.through));
        self.votes.truncate(STATEMENTS_MAX);
        self.nullifies.truncate(STATEMENTS_MAX);
        self.grants.truncate(STATEMENTS_MAX);
    }

    /// Whether no list is longer than a message may carry.
    pub fn are_bounded(&self) -> bool {
        [self.votes.len(), self.nullifies.len(), self.grants.len()].iter().all(|count| *count <= STATEMENTS_MAX)
    }
}

/// The last vote for a block and against views that each validator was heard with, also long after it mattered: only so
/// does a node that is set back by more than is open find out. They are not verified before somebody asks.
#[derive(Clone, Debug, Default)]
pub(super) struct LastHeard {
    votes: BTreeMap<NodeId, Vote>,
    nullifies: BTreeMap<NodeId, SignedNullify>,
}

impl LastHeard {
    pub(super) fn vote(&mut self, vote: &Vote) {
        let known = self.votes.entry(vote.validator).or_insert(*vote);
        if known.statement.view < vote.statement.view {
            *known = *vote;
        }
    }

    pub(super) fn nullify(&mut self, vote: &SignedNullify) {
        let known = self.nullifies.entry(vote.validator).or_insert(*vote);
        if known.statement.through < vote.statement.through {
            *known = *vote;
        }
    }

    pub(super) fn of(&self, node: NodeId) -> (Option<Vote>, Option<SignedNullify>) {
        (self.votes.get(&node).copied(), self.nullifies.get(&node).copied())
    }
}

impl Voter {
    /// The key's `ValidatorResumed` became final in `view`. See [`VoteRecord::resume`]; the record must be made durable
    /// before the voter gets its signer back.
    pub fn resume(&mut self, view: View) -> VoteRecord {
        self.record.resume(view);
        self.record.clone()
    }
}

/// Of whatever epoch: the node may be told of one that it does not know yet.
fn is_by<S: Statement>(signed: &Signed<S>, node: NodeId, key: &PublicKey, name: &Digest) -> bool {
    signed.validator == node && signed.statement.consortium() == *name && signed.is_signed_by(key)
}
