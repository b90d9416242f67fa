//! From one validator set to the next: the proof that a block which closes its epoch is final, and the chain of sets.
//!
//! A closing block changes the validator set. The next epoch begins on it and nowhere else, once a quorum of the old set
//! has made it final: by finalizing it, or by finalizing a carrier above it. Carriers are blocks of the old epoch that
//! hold nothing. They exist because votes for the closing block may come too late on some nodes, and then only a later
//! block can make it final; they are no part of the chain.

use std::collections::BTreeMap;

use genesis::{Consortium, ValidatorSet};
use serde::{Deserialize, Serialize};
use wallet::{digest::Digest, units::BlockHeight};

use crate::{
    block::Header,
    certificate::{Certificate, CertificateInvalid},
    state::State,
};

/// A proof names at most this many carriers. A validator holds no more blocks that are not final.
pub const CARRIERS_MAX: usize = 256;

/// Why a closing block is final.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClosingProof {
    /// Of kind `Finalize`, by the set that the block closes: of the block, or of the last carrier.
    pub certificate: Certificate,
    /// Each the parent of the next; the closing block is the parent of the first.
    pub carriers: Vec<Header>,
}

impl From<Certificate> for ClosingProof {
    /// That of a block by its own certificate.
    fn from(certificate: Certificate) -> Self {
        Self { certificate, carriers: Vec::new() }
    }
}

impl ClosingProof {
    /// Whether it names no more carriers than it may. What a peer shows is looked at only then.
    pub(crate) fn is_bounded(&self) -> bool {
        self.carriers.len() <= CARRIERS_MAX
    }

    /// Height and digest of the block that it speaks of; none if the carriers do not hang together.
    pub fn closes(&self) -> Option<(BlockHeight, Digest)> {
        closed_by(&self.certificate, &self.carriers)
    }

    /// Checks that a quorum of `validators` made the block final.
    ///
    /// # Errors
    /// [`CertificateInvalid`] says what is wrong.
    pub fn verify(&self, validators: &ValidatorSet, consortium: &Digest) -> Result<(), CertificateInvalid> {
        self.closes().ok_or(CertificateInvalid::Carriers)?;
        self.certificate.verify_final(validators, consortium)
    }
}

/// See [`ClosingProof::closes`].
pub(crate) fn closed_by(certificate: &Certificate, carriers: &[Header]) -> Option<(BlockHeight, Digest)> {
    let Some((first, last)) = carriers.first().zip(carriers.last()) else {
        return Some((certificate.height, certificate.block));
    };
    let is_certified =
        || (last.view, last.height, last.digest()) == (certificate.view, certificate.height, certificate.block);
    let hang_together = || carriers.windows(2).all(|pair| pair[1].parent == pair[0].digest());
    let height = BlockHeight::new(first.height.get().checked_sub(1)?);
    // Nothing is hashed before it is counted.
    (carriers.len() <= CARRIERS_MAX && is_certified() && hang_together()).then_some((height, first.parent))
}

/// The old set's word that another set votes from here on. That of the new set is the certificate of any later block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandOver {
    /// Of the closing block, which names the next set.
    pub closing: Header,
    /// Why that block is final.
    pub proof: ClosingProof,
    /// The next set.
    pub next: ValidatorSet,
}

/// The validator sets of a consortium, from genesis on, each vouched for by the one before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidatorSets {
    consortium: Digest,
    by_epoch: BTreeMap<u64, ValidatorSet>,
}

impl ValidatorSets {
    /// The set of genesis.
    pub fn genesis(consortium: &Consortium) -> Self {
        let first = consortium.validators().clone();
        Self { consortium: consortium.id(), by_epoch: BTreeMap::from([(first.epoch, first)]) }
    }

    /// The sets up to the one to which the last of `hand_overs` leads, which follow each other from genesis on.
    ///
    /// # Errors
    /// [`HandOverInvalid`] if one of them proves nothing.
    pub fn proven<'a>(
        consortium: &Consortium,
        hand_overs: impl IntoIterator<Item = &'a HandOver>,
    ) -> Result<Self, HandOverInvalid> {
        let mut sets = Self::genesis(consortium);
        hand_overs.into_iter().try_for_each(|hand_over| sets.take(hand_over))?;
        Ok(sets)
    }

    /// The sets that a final state holds.
    pub fn of_state(consortium: &Consortium, state: &State) -> Self {
        let sets = (0..=state.epoch()).filter_map(|epoch| Some((epoch, state.validators_of(epoch)?.set)));
        Self { consortium: consortium.id(), by_epoch: sets.collect() }
    }

    /// Adds the next set.
    ///
    /// # Errors
    /// [`HandOverInvalid`]; nothing is added then.
    pub fn take(&mut self, hand_over: &HandOver) -> Result<(), HandOverInvalid> {
        let HandOver { closing, proof, next } = hand_over;
        let last = self.last();
        if closing.consortium != self.consortium || closing.epoch != last.epoch || closing.validators != last.hash() {
            return Err(HandOverInvalid::OutOfTurn { found: closing.epoch, expected: last.epoch });
        }
        if closing.next_validators != next.hash() || Some(next.epoch) != last.epoch.checked_add(1) {
            return Err(HandOverInvalid::OtherSet);
        }
        if !next.members.is_sorted_by(|(one, _), (next, _)| one < next) {
            return Err(HandOverInvalid::Disorder);
        }
        if proof.closes() != Some((closing.height, closing.digest())) {
            return Err(HandOverInvalid::OtherBlock);
        }
        proof.verify(last, &self.consortium)?;
        self.by_epoch.insert(next.epoch, next.clone());
        Ok(())
    }

    /// Who voted in an epoch, as far as this goes.
    ///
    /// # Errors
    /// [`CertificateInvalid::OtherEpoch`] beyond that.
    pub fn of(&self, epoch: u64) -> Result<&ValidatorSet, CertificateInvalid> {
        let expected = self.last().epoch;
        self.by_epoch.get(&epoch).ok_or(CertificateInvalid::OtherEpoch { found: epoch, expected })
    }

    /// The last set that this goes to.
    pub fn last(&self) -> &ValidatorSet {
        self.by_epoch.last_key_value().map(|(_, set)| set).expect("that of genesis is there")
    }

    /// Hash of the genesis document.
    pub fn consortium(&self) -> Digest {
        self.consortium
    }
}

/// Why a hand-over leads to no other set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandOverInvalid {
    /// Of another consortium, or not the next one.
    #[error("it closes epoch {found}, not {expected}, of these validators")]
    OutOfTurn {
        /// Of the closing block.
        found: u64,
        /// The last epoch before it.
        expected: u64,
    },
    /// The closing block names another set.
    #[error("the closing block names another set")]
    OtherSet,
    /// The next set names its members in disorder.
    #[error("the members of the next set are not in order")]
    Disorder,
    /// The proof is of another block.
    #[error("the proof does not make that block final")]
    OtherBlock,
    /// A quorum did not sign.
    #[error(transparent)]
    Certificate(#[from] CertificateInvalid),
}

#[cfg(test)]
mod tests;
