//! Signing and checking votes, and the certificates that a quorum of them makes.

use genesis::ValidatorSet;
use wallet::{
    codec,
    digest::Digest,
    identity::{PublicKey, SecretKey, context},
    units::NodeId,
};

use crate::block::{Ballot, Certificate, Header, Vote, VoteKind};

impl Ballot {
    /// What a vote of `kind` for `header` says.
    pub fn for_header(kind: VoteKind, header: &Header) -> Self {
        Self {
            consortium: header.consortium,
            epoch: header.epoch,
            kind,
            view: header.view,
            height: header.height,
            block: header.digest(),
        }
    }
}

impl Vote {
    /// Signs `ballot`. The caller has made it durable before.
    pub fn sign(ballot: Ballot, validator: NodeId, key: &SecretKey) -> Self {
        Self { ballot, validator, signature: key.sign(context::LEDGER_VOTE, &codec::encode(&ballot)) }
    }

    /// Checks that a member of `validators` signed this, in this consortium and epoch.
    ///
    /// # Errors
    /// [`CertificateInvalid`] says what is wrong.
    pub fn verify(&self, validators: &ValidatorSet, consortium: &Digest) -> Result<(), CertificateInvalid> {
        if self.ballot.consortium != *consortium {
            return Err(CertificateInvalid::ForeignConsortium { found: self.ballot.consortium });
        }
        if self.ballot.epoch != validators.epoch {
            return Err(CertificateInvalid::OtherEpoch { found: self.ballot.epoch, expected: validators.epoch });
        }
        let signer = self.validator;
        validator_key(validators, signer)?
            .verify(context::LEDGER_VOTE, &codec::encode(&self.ballot), &self.signature)
            .map_err(|_| CertificateInvalid::BadSignature { signer })
    }
}

impl Certificate {
    /// Checks that a quorum of `validators` finalized the block: distinct members in ascending order, each with a valid
    /// signature of the finalize ballot. One bad signature spoils it, however many good ones there are.
    ///
    /// # Errors
    /// [`CertificateInvalid`] says what is wrong.
    pub fn verify(&self, validators: &ValidatorSet, consortium: &Digest) -> Result<(), CertificateInvalid> {
        if !self.signatures.is_sorted_by(|(one, _), (next, _)| one < next) {
            return Err(CertificateInvalid::Unordered);
        }
        let (found, quorum) = (self.signatures.len(), validators.quorum());
        if found < quorum {
            return Err(CertificateInvalid::BelowQuorum { found, quorum });
        }
        let ballot = Ballot {
            consortium: *consortium,
            epoch: validators.epoch,
            kind: VoteKind::Finalize,
            view: self.view,
            height: self.height,
            block: self.block,
        };
        self.signatures.iter().try_for_each(|&(validator, signature)| {
            Vote { ballot, validator, signature }.verify(validators, consortium)
        })
    }
}

/// The key with which `node` votes.
fn validator_key(validators: &ValidatorSet, node: NodeId) -> Result<PublicKey, CertificateInvalid> {
    validators.key(node).ok_or(CertificateInvalid::NotAValidator { signer: node })
}

/// Why a vote or a certificate proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateInvalid {
    /// Signatures of another consortium are worth nothing here.
    #[error("the vote is for consortium {found}")]
    ForeignConsortium {
        /// The consortium that it names.
        found: Digest,
    },
    /// Another validator set votes in that epoch.
    #[error("the vote is of epoch {found}, not {expected}")]
    OtherEpoch {
        /// The epoch that it names.
        found: u64,
        /// The epoch of the validator set.
        expected: u64,
    },
    /// The signer has no vote.
    #[error("node {signer} is no validator")]
    NotAValidator {
        /// Who signed.
        signer: NodeId,
    },
    /// The signature does not verify.
    #[error("the signature of node {signer} does not verify")]
    BadSignature {
        /// Who is said to have signed.
        signer: NodeId,
    },
    /// Signers must ascend, which also makes them distinct.
    #[error("the signers are not in ascending order")]
    Unordered,
    /// Too few signers.
    #[error("{found} signatures are fewer than the quorum of {quorum}")]
    BelowQuorum {
        /// How many signed.
        found: usize,
        /// How many must.
        quorum: usize,
    },
}
