//! An operator's word on a proposal.

use genesis::OperatorId;
use serde::{Deserialize, Serialize};
use wallet::{
    codec,
    digest::Digest,
    identity::{SecretKey, Signature, context},
    keystore::KeyStore,
    refusal::Refusal,
};

/// What an operator signs. It names the proposal's digest, which covers consortium, electorate and all actions, so it
/// counts for one instance only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorBallot {
    /// See [`super::ProposalTerms::digest`].
    pub proposal: Digest,
    /// Whose ballot it is.
    pub operator: OperatorId,
    /// Whether it is for the proposal, or against it.
    pub approves: bool,
}

/// See [`crate::event::Event::BallotCast`]. Author: any node in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BallotCast {
    /// The ballot.
    pub ballot: OperatorBallot,
    /// By the operator's key, under [`context::GOVERNANCE_BALLOT`].
    pub signature: Signature,
}

impl OperatorBallot {
    /// The ballot with its operator's signature.
    pub fn sign(self, operator: &SecretKey) -> BallotCast {
        self.sign_with(operator).expect("a key in memory signs")
    }

    /// As [`Self::sign`], with a key wherever it is kept.
    ///
    /// # Errors
    /// Those of [`KeyStore::sign`].
    pub fn sign_with(self, operator: &dyn KeyStore) -> Result<BallotCast, Refusal> {
        let signature = operator.sign(context::GOVERNANCE_BALLOT, &codec::encode(&self))?;
        Ok(BallotCast { ballot: self, signature })
    }
}
