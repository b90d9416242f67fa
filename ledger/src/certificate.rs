//! What a quorum of signed statements proves: that a block is certified, that views are over, that a node leads.

use genesis::ValidatorSet;
use serde::{Deserialize, Serialize};
use wallet::{
    codec,
    digest::{Digest, sha256},
    identity::Signature,
    units::{BlockHeight, NodeId},
};

use crate::{
    block::View,
    checks::{Checks, Direct},
    planted::planted,
    vote::{Ballot, Grant, Signed, SignedNullify, Statement, VoteKind},
};

/// A quorum of equal ballots. Of kind `Finalize`: the block and its ancestors are final. Of kind `Notarize`: it may be
/// built on. Of a re-genesis: its operators' signatures, see [`crate::re_genesis`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// Which round.
    pub kind: VoteKind,
    /// The block's view.
    pub view: View,
    /// The block's height.
    pub height: BlockHeight,
    /// The block's digest.
    pub block: Digest,
    /// Who signed, in ascending order, each once. Of a re-genesis: for whom its operator did.
    pub signatures: Vec<(NodeId, Signature)>,
}

impl Certificate {
    /// What the next header names.
    pub fn digest(&self) -> Digest {
        sha256("batchmind/v1/ledger/certificate", &[&codec::encode(self)])
    }

    /// The ballot that all of them cast.
    pub fn ballot(&self, consortium: &Digest) -> Ballot {
        Ballot {
            consortium: *consortium,
            epoch: self.view.epoch(),
            kind: self.kind,
            view: self.view,
            height: self.height,
            block: self.block,
        }
    }

    /// Checks that a quorum of `validators` cast the ballot: distinct members in ascending order, each with a valid
    /// signature. One bad signature spoils it, however many good ones there are.
    ///
    /// # Errors
    /// [`CertificateInvalid`] says what is wrong.
    pub fn verify(&self, validators: &ValidatorSet, consortium: &Digest) -> Result<(), CertificateInvalid> {
        self.verify_with(validators, consortium, &Direct)
    }

    /// [`Self::verify`] with a memory of what was checked before.
    ///
    /// # Errors
    /// Those of [`Self::verify`].
    pub fn verify_with(
        &self,
        validators: &ValidatorSet,
        consortium: &Digest,
        checks: &dyn Checks,
    ) -> Result<(), CertificateInvalid> {
        verify_equal(self.ballot(consortium), &self.signatures, validators, consortium, checks)
    }

    /// As [`Self::verify`], and that it makes its block final.
    ///
    /// # Errors
    /// [`CertificateInvalid`] says what is wrong.
    pub fn verify_final(&self, validators: &ValidatorSet, consortium: &Digest) -> Result<(), CertificateInvalid> {
        self.verify_final_with(validators, consortium, &Direct)
    }

    /// [`Self::verify_final`] with a memory of what was checked before.
    ///
    /// # Errors
    /// Those of [`Self::verify_final`].
    pub(crate) fn verify_final_with(
        &self,
        validators: &ValidatorSet,
        consortium: &Digest,
        checks: &dyn Checks,
    ) -> Result<(), CertificateInvalid> {
        if self.kind != VoteKind::Finalize {
            return Err(CertificateInvalid::NotFinal);
        }
        self.verify_with(validators, consortium, checks)
    }
}

/// A quorum of nullify votes: proof that views are over in which nothing can become final any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nullification {
    /// Of distinct validators, in ascending order. They need not be equal.
    pub votes: Vec<SignedNullify>,
}

impl Nullification {
    /// What the header of the block that carries it names.
    pub fn digest(&self) -> Digest {
        sha256("batchmind/v1/ledger/nullification", &[&codec::encode(self)])
    }

    /// Checks that a quorum of distinct `validators` signed these votes.
    ///
    /// # Errors
    /// [`CertificateInvalid`] says what is wrong.
    pub fn verify(&self, validators: &ValidatorSet, consortium: &Digest) -> Result<(), CertificateInvalid> {
        self.verify_with(validators, consortium, &Direct)
    }

    /// [`Self::verify`] with a memory of what was checked before.
    ///
    /// # Errors
    /// Those of [`Self::verify`].
    pub(crate) fn verify_with(
        &self,
        validators: &ValidatorSet,
        consortium: &Digest,
        checks: &dyn Checks,
    ) -> Result<(), CertificateInvalid> {
        self.check_signers(validators)?;
        self.votes.iter().try_for_each(|vote| vote.verify_with(validators, consortium, checks))
    }

    /// Checks that these are a quorum of distinct signers, but not that they signed.
    ///
    /// # Errors
    /// [`CertificateInvalid`] says what is wrong.
    pub(crate) fn check_signers(&self, validators: &ValidatorSet) -> Result<(), CertificateInvalid> {
        check_signers(self.votes.iter().map(|vote| vote.validator), validators)
    }

    /// Whether every vote covers all views after `parent` up to the end of the terms before `term`: then a block in
    /// `(term, 1)` may follow one in `parent`.
    pub fn bridges(&self, parent: View, term: u64) -> bool {
        parent.next().is_some_and(|next| self.votes.iter().all(|vote| vote.statement.from <= next))
            && self.permits(term)
    }

    /// Whether every vote ends all terms before `term`, so that it may have a leader.
    pub fn permits(&self, term: u64) -> bool {
        self.votes.iter().all(|vote| vote.statement.through.checked_add(1).is_some_and(|next| term <= next))
    }
}

/// A quorum of grants: proof that a node leads a term. No other node can have one for the same term.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leadership {
    /// The raft term.
    pub term: u64,
    /// Who leads it.
    pub leader: NodeId,
    /// Who granted it, in ascending order, each once.
    pub grants: Vec<(NodeId, Signature)>,
}

impl Leadership {
    /// Checks that a quorum of `validators` granted the term.
    ///
    /// # Errors
    /// [`CertificateInvalid`] says what is wrong.
    pub fn verify(&self, validators: &ValidatorSet, consortium: &Digest) -> Result<(), CertificateInvalid> {
        let (term, candidate) = (self.term, self.leader);
        let grant = Grant { consortium: *consortium, epoch: validators.epoch, term, candidate };
        verify_equal(grant, &self.grants, validators, consortium, &Direct)
    }
}

/// Whether a quorum signed one and the same statement.
fn verify_equal<S: Statement>(
    statement: S,
    signatures: &[(NodeId, Signature)],
    validators: &ValidatorSet,
    consortium: &Digest,
    checks: &dyn Checks,
) -> Result<(), CertificateInvalid> {
    check_signers(signatures.iter().map(|(node, _)| *node), validators)?;
    signatures.iter().try_for_each(|&(validator, signature)| {
        Signed { statement, validator, signature }.verify_with(validators, consortium, checks)
    })
}

/// Whether the signers ascend, which makes them distinct, and are a quorum.
fn check_signers(
    signers: impl ExactSizeIterator<Item = NodeId> + Clone,
    validators: &ValidatorSet,
) -> Result<(), CertificateInvalid> {
    let (found, quorum) = (signers.len(), validators.quorum());
    if !signers.is_sorted_by(|one, next| one < next || (planted!(RepeatedSigner) && one == next)) {
        return Err(CertificateInvalid::Unordered);
    }
    if found + usize::from(planted!(QuorumOneShort)) < quorum {
        return Err(CertificateInvalid::BelowQuorum { found, quorum });
    }
    Ok(())
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
    /// The term is kept for a re-genesis.
    #[error("nobody votes in term {term}, which is kept for a re-genesis")]
    KeptTerm {
        /// Which.
        term: u64,
    },
    /// The signature does not verify.
    #[error("the signature of node {signer} does not verify")]
    BadSignature {
        /// Who is said to have signed.
        signer: NodeId,
    },
    /// The certificate of another re-genesis than the one that was named.
    #[error("the certificate is of {found}, and not of the re-genesis that was taken")]
    OtherReGenesis {
        /// The block that it names.
        found: Digest,
    },
    /// A re-genesis that an operator did not sign who has to.
    #[error("the operator of node {node} did not sign")]
    SignerMissing {
        /// A node that it runs.
        node: NodeId,
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
    /// A nullify vote covers no view.
    #[error("the vote of node {signer} ends before it begins")]
    EmptySpan {
        /// Who signed.
        signer: NodeId,
    },
    /// The carriers are too many, or do not lead down from the certified block one by one.
    #[error("the carriers do not lead from the certified block to the closing one")]
    Carriers,
    /// It certifies a block, but does not make it final.
    #[error("the certificate notarizes, but does not finalize")]
    NotFinal,
}
