//! What a validator's key signs in the finality vote: statements, each made durable before it leaves.
//!
//! After Simplex (Chan and Pass, 2023): notarize, finalize and nullify, here over the views of raft's terms, and a grant
//! for each term, because raft's own votes are not signed.

use std::fmt::Debug;

use genesis::ValidatorSet;
use serde::{Deserialize, Serialize};
use wallet::{
    codec,
    digest::Digest,
    identity::{PublicKey, SecretKey, Signature, SignatureInvalid, context},
    units::{BlockHeight, NodeId},
};

use crate::{
    block::{Header, View, epoch_of, is_kept},
    certificate::CertificateInvalid,
    checks::{Checks, Direct},
};

/// The key with which a node votes, and proposes when it leads.
#[derive(Clone, Debug)]
pub struct Signer {
    /// Who votes.
    pub node: NodeId,
    /// The node's key, as the ledger names it.
    pub key: SecretKey,
}

/// Something that a validator's key may say. Its signature covers the encoding under a context of its own.
pub trait Statement: Copy + Debug + Eq + Serialize {
    /// What the signature is for.
    const CONTEXT: &'static str;

    /// The name in force; see [`crate::re_genesis::name`].
    fn consortium(&self) -> Digest;

    /// Which validator set speaks.
    fn epoch(&self) -> u64;

    /// The first and the last term that it speaks of.
    fn terms(&self) -> [u64; 2];
}

/// A statement that one validator signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Signed<S> {
    /// What is said.
    pub statement: S,
    /// Who says it.
    pub validator: NodeId,
    /// By the validator's key, over the encoded statement.
    pub signature: Signature,
}

/// A vote for a block.
pub type Vote = Signed<Ballot>;
/// A vote against what a term still may bring.
pub type SignedNullify = Signed<Nullify>;
/// A vote for a leader.
pub type SignedGrant = Signed<Grant>;

/// The two rounds in which a block is voted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum VoteKind {
    /// "I hold this block, executed it, and its roots are right."
    Notarize,
    /// "I saw a quorum of notarizations of it."
    Finalize,
}

/// "This is the block of this view."
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Ballot {
    /// The name in force; see [`crate::re_genesis::name`].
    pub consortium: Digest,
    /// Which validator set votes.
    pub epoch: u64,
    /// Which round.
    pub kind: VoteKind,
    /// The block's view.
    pub view: View,
    /// The block's height.
    pub height: BlockHeight,
    /// The block's digest.
    pub block: Digest,
}

/// "I vote in no view from `from` on, up to the end of term `through`."
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Nullify {
    /// The name in force; see [`crate::re_genesis::name`].
    pub consortium: Digest,
    /// Which validator set votes.
    pub epoch: u64,
    /// The first view in which the validator does not vote any more.
    pub from: View,
    /// The last term in which it does not vote any more; not before that of `from`.
    pub through: u64,
}

impl Nullify {
    /// Whether the validator promised not to vote in `view`.
    pub fn covers(&self, view: View) -> bool {
        self.from <= view && view.term <= self.through
    }
}

/// "In this term I follow that node."
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Grant {
    /// The name in force; see [`crate::re_genesis::name`].
    pub consortium: Digest,
    /// Which validator set votes.
    pub epoch: u64,
    /// The raft term.
    pub term: u64,
    /// Who leads it.
    pub candidate: NodeId,
}

impl Statement for Ballot {
    const CONTEXT: &'static str = context::LEDGER_VOTE;

    fn consortium(&self) -> Digest {
        self.consortium
    }

    fn epoch(&self) -> u64 {
        self.epoch
    }

    fn terms(&self) -> [u64; 2] {
        [self.view.term; 2]
    }
}

impl Statement for Nullify {
    const CONTEXT: &'static str = context::LEDGER_NULLIFY;

    fn consortium(&self) -> Digest {
        self.consortium
    }

    fn epoch(&self) -> u64 {
        self.epoch
    }

    fn terms(&self) -> [u64; 2] {
        [self.from.term, self.through]
    }
}

impl Statement for Grant {
    const CONTEXT: &'static str = context::LEDGER_GRANT;

    fn consortium(&self) -> Digest {
        self.consortium
    }

    fn epoch(&self) -> u64 {
        self.epoch
    }

    fn terms(&self) -> [u64; 2] {
        [self.term; 2]
    }
}

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

/// Verifies a signature; a search through all states may know it already.
pub(crate) fn verify(
    key: &PublicKey,
    context: &str,
    message: &[u8],
    signature: &Signature,
) -> Result<(), SignatureInvalid> {
    #[cfg(any(test, feature = "testing"))]
    return crate::testing::remembered::verify(key, context, message, signature);
    #[cfg(not(any(test, feature = "testing")))]
    key.verify(context, message, signature)
}

impl<S: Statement> Signed<S> {
    /// Signs `statement`. The caller has made it durable before.
    pub fn sign(statement: S, signer: &Signer) -> Self {
        let signature = signer.key.sign(S::CONTEXT, &codec::encode(&statement));
        Self { statement, validator: signer.node, signature }
    }

    /// Whether this key signed it, whatever set it speaks for.
    pub fn is_signed_by(&self, key: &PublicKey) -> bool {
        verify(key, S::CONTEXT, &codec::encode(&self.statement), &self.signature).is_ok()
    }

    /// Checks that a member of `validators` signed this, in this consortium and epoch.
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
        let (signer, statement) = (self.validator, &self.statement);
        if statement.consortium() != *consortium {
            return Err(CertificateInvalid::ForeignConsortium { found: statement.consortium() });
        }
        if statement.epoch() != validators.epoch {
            return Err(CertificateInvalid::OtherEpoch { found: statement.epoch(), expected: validators.epoch });
        }
        if let Some(term) = statement.terms().into_iter().find(|term| epoch_of(*term) != validators.epoch) {
            return Err(CertificateInvalid::OtherEpoch { found: epoch_of(term), expected: validators.epoch });
        }
        if let Some(term) = statement.terms().into_iter().find(|term| is_kept(*term)) {
            return Err(CertificateInvalid::KeptTerm { term });
        }
        let key = validators.key(signer).ok_or(CertificateInvalid::NotAValidator { signer })?;
        checks
            .verify_vote(&key, S::CONTEXT, &codec::encode(statement), &self.signature)
            .map_err(|_| CertificateInvalid::BadSignature { signer })
    }
}
