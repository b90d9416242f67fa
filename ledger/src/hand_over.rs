//! From one validator set to the next: the proof that a block which closes its epoch is final, and the chain of sets.
//!
//! A closing block changes the validator set. The next epoch begins on it and nowhere else, once a quorum of the old set
//! has made it final: by finalizing it, or by finalizing a carrier above it. Carriers are blocks of the old epoch that
//! hold nothing. They exist because votes for the closing block may come too late on some nodes, and then only a later
//! block can make it final; they are no part of the chain.
//!
//! Where no quorum is left, its operators' signatures stand in the place of that quorum: a [re-genesis](crate::re_genesis),
//! which is taken only by who was told its name.

use std::collections::BTreeMap;

use genesis::{Consortium, ValidatorSet};
use serde::{Deserialize, Serialize};
use wallet::{digest::Digest, units::BlockHeight};

use crate::{
    block::{Header, View},
    certificate::{Certificate, CertificateInvalid},
    re_genesis::{ReGenesisProof, Signatories},
    state::RecordInvalid,
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
    #[cfg(feature = "shell")]
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
    /// Of a re-genesis: what leads to it without a word of the old set.
    pub re_genesis: Option<Box<ReGenesisProof>>,
}

impl HandOver {
    /// The name of the re-genesis, if it is one by its header.
    pub fn re_genesis(&self) -> Option<Digest> {
        self.closing.view.is_re_genesis().then(|| self.closing.digest())
    }
}

/// The names of the re-geneses among `hand_overs`, for who made these itself or checked them before.
pub fn re_geneses<'a>(hand_overs: impl IntoIterator<Item = &'a HandOver>) -> Vec<Digest> {
    hand_overs.into_iter().filter_map(HandOver::re_genesis).collect()
}

/// The validator sets of a consortium, from genesis on, each vouched for by the one before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidatorSets {
    by_epoch: BTreeMap<u64, ValidatorSet>,
    /// The [names](crate::re_genesis::name) that were ever in force, each from the epoch on that it began with.
    names: BTreeMap<u64, Digest>,
    /// By the epoch that it closed, the header of the block on which the next one began.
    closings: BTreeMap<u64, Header>,
    /// The re-geneses that may be taken.
    named: Vec<Digest>,
    /// Those that were, by the epoch that they ended, with who had to sign.
    anew: BTreeMap<u64, (ReGenesisProof, Signatories)>,
}

impl ValidatorSets {
    /// The set of genesis.
    pub fn genesis(consortium: &Consortium) -> Self {
        let first = consortium.validators().clone();
        let names = BTreeMap::from([(first.epoch, consortium.id())]);
        let by_epoch = BTreeMap::from([(first.epoch, first)]);
        Self { by_epoch, names, closings: BTreeMap::new(), named: Vec::new(), anew: BTreeMap::new() }
    }

    /// The sets to which hand-overs lead that were verified before, as each node's own are: no signature is checked.
    ///
    /// # Errors
    /// [`HandOverInvalid`] if a re-genesis among them does not hold together.
    #[cfg(feature = "shell")]
    pub(crate) fn verified_before<'a>(
        consortium: &Consortium,
        hand_overs: impl IntoIterator<Item = &'a HandOver>,
    ) -> Result<Self, HandOverInvalid> {
        let mut sets = Self::genesis(consortium);
        for hand_over in hand_overs {
            let HandOver { closing, next, re_genesis, .. } = hand_over;
            let signatories = re_genesis.as_ref().map(|anew| anew.signatories(closing, next)).transpose()?;
            let anew = re_genesis.as_deref().cloned().zip(signatories);
            sets.add(hand_over, anew);
        }
        Ok(sets)
    }

    /// With the re-geneses that it takes: those that whoever asks was told of.
    #[must_use]
    pub fn naming(mut self, re_geneses: &[Digest]) -> Self {
        self.named = re_geneses.to_vec();
        self
    }

    /// From now on it takes these re-geneses, too.
    pub(crate) fn name_also(&mut self, re_geneses: &[Digest]) {
        self.named.extend_from_slice(re_geneses);
    }

    /// The re-geneses that it takes.
    pub fn named(&self) -> &[Digest] {
        &self.named
    }

    /// The sets up to the one to which the last of `hand_overs` leads, which follow each other from genesis on, by the
    /// re-geneses that are `named`.
    ///
    /// # Errors
    /// [`HandOverInvalid`] if one of them proves nothing.
    pub fn proven<'a>(
        consortium: &Consortium,
        hand_overs: impl IntoIterator<Item = &'a HandOver>,
        named: &[Digest],
    ) -> Result<Self, HandOverInvalid> {
        let mut sets = Self::genesis(consortium).naming(named);
        hand_overs.into_iter().try_for_each(|hand_over| sets.take(hand_over))?;
        Ok(sets)
    }

    /// Adds the next set.
    ///
    /// # Errors
    /// [`HandOverInvalid`]; nothing is added then.
    pub fn take(&mut self, hand_over: &HandOver) -> Result<(), HandOverInvalid> {
        let HandOver { closing, proof, next, re_genesis } = hand_over;
        let last = self.last();
        if closing.consortium != self.name() || closing.epoch != last.epoch || closing.validators != last.hash() {
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
        let anew = match re_genesis {
            Some(anew) if closing.view == View::re_genesis(last.epoch) => {
                let found = closing.digest();
                if !self.named.contains(&found) {
                    return Err(HandOverInvalid::NotNamed { found });
                }
                let signatories = anew.verify(self, closing, next)?;
                signatories.verify(&proof.certificate)?;
                Some((ReGenesisProof::clone(anew), signatories))
            }
            None if !closing.view.is_re_genesis() => {
                proof.verify(last, &self.name())?;
                None
            }
            _ => return Err(HandOverInvalid::ReGenesis("it has the form of one in part")),
        };
        self.add(hand_over, anew);
        Ok(())
    }

    fn add(&mut self, HandOver { closing, next, .. }: &HandOver, anew: Option<(ReGenesisProof, Signatories)>) {
        if let Some(anew) = anew {
            self.names.insert(next.epoch, closing.name());
            self.anew.insert(closing.epoch, anew);
        }
        self.by_epoch.insert(next.epoch, next.clone());
        self.closings.insert(closing.epoch, closing.clone());
    }

    /// Checks that every re-genesis that is named was taken. Else this is another lineage than the one that is asked for,
    /// be it ever so well signed.
    ///
    /// # Errors
    /// [`HandOverInvalid::Missing`] names the first that was not.
    pub fn check_all_taken(&self) -> Result<(), HandOverInvalid> {
        let is_taken = |digest: &Digest| self.anew.values().any(|(_, signatories)| signatories.re_genesis() == *digest);
        match self.named.iter().find(|digest| !is_taken(digest)) {
            Some(digest) => Err(HandOverInvalid::Missing { digest: *digest }),
            None => Ok(()),
        }
    }

    /// Checks that a certificate makes a block of `epoch` final: by a quorum, or a re-genesis that was taken by its
    /// operators.
    ///
    /// # Errors
    /// [`CertificateInvalid`] says what is wrong.
    pub fn verify_final(&self, epoch: u64, certificate: &Certificate) -> Result<(), CertificateInvalid> {
        match self.anew.get(&epoch).filter(|_| certificate.view.is_re_genesis()) {
            Some((_, signatories)) => signatories.verify(certificate),
            None => certificate.verify_final(self.of(epoch)?, &self.name_of(epoch)),
        }
    }

    /// What led to the re-genesis that ended `epoch`, if one did.
    pub fn re_genesis_of(&self, epoch: u64) -> Option<&ReGenesisProof> {
        self.anew.get(&epoch).map(|(proof, _)| proof)
    }

    /// 1, and one more for each re-genesis.
    pub fn lineage(&self) -> u32 {
        u32::try_from(self.anew.len()).unwrap_or(u32::MAX).saturating_add(1)
    }

    /// The block on which the last epoch began; none if that is the first.
    pub(crate) fn began_on(&self) -> Option<Digest> {
        self.closings.last_key_value().map(|(_, closing)| closing.digest())
    }

    /// The headers of the blocks that closed epochs, from the first on.
    pub fn closings(&self) -> &BTreeMap<u64, Header> {
        &self.closings
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
        self.name_of(0)
    }

    /// The name in force in the last epoch.
    pub fn name(&self) -> Digest {
        self.name_of(u64::MAX)
    }

    /// The name that is in force in an epoch: what its statements and headers carry as their consortium.
    pub fn name_of(&self, epoch: u64) -> Digest {
        self.names.range(..=epoch).next_back().map(|(_, name)| *name).expect("that of genesis is there")
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
    /// The ledger begins anew there, and nobody said that this may be taken.
    #[error("the ledger begins anew with the re-genesis {found}, which was not named")]
    NotNamed {
        /// Its digest.
        found: Digest,
    },
    /// What is shown is of another lineage than the one that was asked for.
    #[error("the re-genesis {digest}, which was named, is not in it")]
    Missing {
        /// Its digest.
        digest: Digest,
    },
    /// It is no re-genesis of this chain.
    #[error("the re-genesis: {0}")]
    ReGenesis(&'static str),
    /// A record that it needs is not proven.
    #[error("the re-genesis: a record: {0}")]
    Record(#[from] RecordInvalid),
    /// The proof is of another block.
    #[error("the proof does not make that block final")]
    OtherBlock,
    /// A quorum did not sign.
    #[error(transparent)]
    Certificate(#[from] CertificateInvalid),
}

#[cfg(test)]
mod tests;
