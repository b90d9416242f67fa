//! Two certificates that contradict each other: more than f validators lied, and this names f + 1 of them at least.
//!
//! Two quorums share f + 1 validators. If a block stands in the view that `lower` finalized, and it is another block, its
//! certificate and `lower` share that many signers, and each of them voted twice in one view. If no block of the higher
//! chain stands in that view, the chain skips it, with a quorum of nullify votes that cover it, and each validator that
//! is in both signed that it votes there no more and that it finalizes there.
//!
//! All of this is within one epoch. A chain of a later one that leaves out what is final descends from another closing
//! block, and then the fork is that of this block's proof, be it a carrier's certificate, with the certificate left out.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use wallet::{
    digest::Digest,
    units::{BlockHeight, NodeId},
};

use super::{Culprit, EvidenceInvalid, Rule, culprit};
use crate::{
    block::{Block, Header, View},
    certificate::{Certificate, Nullification},
    hand_over::ValidatorSets,
    vote::VoteKind,
};

/// Two certificates of kind `Finalize` that contradict each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fork {
    /// The one in the lower view.
    pub lower: Certificate,
    /// The other.
    pub higher: Certificate,
    /// The headers from the block of `higher` down to the first whose parent is in a lower view than `lower`. Empty
    /// where both certificates are of one view.
    pub chain: Vec<Header>,
    /// A certificate of the chain's last header, of either kind, where that is in the view of `lower`.
    pub certificate: Option<Certificate>,
    /// What the chain's last header names as skipped, where that is above the view of `lower`.
    pub skipped: Option<Nullification>,
}

impl Fork {
    /// The fork of two certificates, in any order, with what lies between from `block`, which finds a block by height
    /// and digest. None if they do not contradict each other, or a block is missing.
    pub fn between(
        one: &Certificate,
        other: &Certificate,
        block: impl Fn(BlockHeight, &Digest) -> Option<Block>,
    ) -> Option<Self> {
        let (lower, higher) = if one.view <= other.view { (one, other) } else { (other, one) };
        if lower.view.epoch() != higher.view.epoch() {
            return None;
        }
        let (lower, higher) = (lower.clone(), higher.clone());
        let mut fork = Self { lower, higher, chain: Vec::new(), certificate: None, skipped: None };
        if fork.lower.view == fork.higher.view {
            return (fork.lower.block != fork.higher.block).then_some(fork);
        }
        let (mut height, mut digest, mut certificate) = (fork.higher.height, fork.higher.block, None);
        loop {
            let block = block(height, &digest)?;
            if block.header.digest() != digest {
                return None;
            }
            fork.chain.push(block.header.clone());
            let view = block.header.view;
            if view < fork.lower.view || digest == fork.lower.block {
                return None;
            }
            if view == fork.lower.view {
                return Some(Self { certificate, ..fork });
            }
            match block.parent_certificate {
                Some(parent) if parent.view >= fork.lower.view => {
                    (height, digest) = (parent.height, parent.block);
                    certificate = Some(parent);
                }
                _ => return Some(Self { skipped: Some(block.skipped?), ..fork }),
            }
        }
    }

    pub(super) fn verify(&self, sets: &ValidatorSets) -> Result<Vec<Culprit>, EvidenceInvalid> {
        let Self { lower, higher, chain, certificate, skipped } = self;
        if lower.view.epoch() != higher.view.epoch() {
            return Err(EvidenceInvalid::NoContradiction("the certificates are of two epochs"));
        }
        let epoch = lower.view.epoch();
        let (validators, id) = (sets.of(epoch)?, sets.name_of(epoch));
        if (lower.kind, higher.kind) != (VoteKind::Finalize, VoteKind::Finalize) {
            return Err(EvidenceInvalid::NoContradiction("only two blocks that are both final make a fork"));
        }
        lower.verify(validators, &id)?;
        higher.verify(validators, &id)?;
        let Some(last) = self.last(sets)? else {
            if lower.view != higher.view {
                return Err(EvidenceInvalid::NotBound("the headers between the certificates are missing"));
            }
            if certificate.is_some() || skipped.is_some() {
                return Err(EvidenceInvalid::NotBound("it encloses more than what makes the fork"));
            }
            return double_votes(sets, lower, higher);
        };
        if chain.iter().any(|header| header.view < lower.view || header.digest() == lower.block) {
            return Err(EvidenceInvalid::NoContradiction("the higher block descends from the lower"));
        }
        match (certificate, skipped) {
            (Some(certificate), None) if last.view == lower.view => {
                if (certificate.block, certificate.height) != (last.digest(), last.height) {
                    return Err(EvidenceInvalid::NotBound("the certificate is of another block than the last header"));
                }
                certificate.verify(validators, &id)?;
                double_votes(sets, lower, certificate)
            }
            (None, Some(skipped)) if last.view > lower.view => {
                if last.skipped != skipped.digest() {
                    return Err(EvidenceInvalid::NotBound("the last header names another nullification"));
                }
                skipped.verify(validators, &id)?;
                if !skipped.votes.iter().all(|vote| vote.statement.covers(lower.view)) {
                    return Err(EvidenceInvalid::NoContradiction("the nullification does not cover the lower view"));
                }
                nullified(sets, lower, skipped)
            }
            _ => Err(EvidenceInvalid::NotBound("the last header has neither a certificate nor a nullification")),
        }
    }

    /// The last header of the chain, which hangs together and begins with the block of `higher`; none if it is empty.
    fn last(&self, sets: &ValidatorSets) -> Result<Option<&Header>, EvidenceInvalid> {
        let (mut expected, mut view) = (self.higher.block, self.higher.view);
        for (at, header) in self.chain.iter().enumerate() {
            if header.digest() != expected || (at == 0 && (header.height, header.view) != (self.higher.height, view)) {
                return Err(EvidenceInvalid::NotBound("a header is not the parent of the one above it"));
            }
            let epoch = self.lower.view.epoch();
            if header.consortium != sets.name_of(epoch) || header.epoch != epoch {
                return Err(EvidenceInvalid::NotBound("a header is of another consortium or epoch"));
            }
            if at > 0 && header.view >= view {
                return Err(EvidenceInvalid::NotBound("the views of the headers do not descend"));
            }
            (expected, view) = (header.parent, header.view);
        }
        Ok(self.chain.last())
    }
}

/// Who signed both certificates, which are of one view.
fn double_votes(sets: &ValidatorSets, one: &Certificate, other: &Certificate) -> Result<Vec<Culprit>, EvidenceInvalid> {
    if one.view != other.view || (one.block, one.height) == (other.block, other.height) {
        return Err(EvidenceInvalid::NoContradiction("the certificates are of one block, or of two views"));
    }
    let signers: BTreeMap<NodeId, View> = other.signatures.iter().map(|(node, _)| (*node, other.view)).collect();
    let both = one.signatures.iter().filter(|(node, _)| signers.contains_key(node));
    both.map(|(node, _)| culprit(sets, *node, Rule::OneVote, one.view)).collect()
}

/// Who finalized in a view that it gave up, with two quorums for both.
fn nullified(
    sets: &ValidatorSets,
    lower: &Certificate,
    skipped: &Nullification,
) -> Result<Vec<Culprit>, EvidenceInvalid> {
    let gave_up = |node: &NodeId| skipped.votes.iter().any(|vote| vote.validator == *node);
    let both = lower.signatures.iter().filter(|(node, _)| gave_up(node));
    both.map(|(node, _)| culprit(sets, *node, Rule::NullifiedStaysOpen, lower.view)).collect()
}
