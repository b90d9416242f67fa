//! Actions that an operator puts to the others.

use genesis::OperatorId;
use serde::{Deserialize, Serialize};
use wallet::{
    codec,
    digest::{Digest, sha256},
    identity::{SecretKey, Signature, context},
    keystore::KeyStore,
    refusal::Refusal,
};

use super::Action;

/// What an operator proposes, once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProposalTerms {
    /// Hash of the genesis document.
    pub consortium: Digest,
    /// To whom it is put: the electorate of the state in which it is made.
    pub electorate: u64,
    /// Who proposes, and so approves.
    pub operator: OperatorId,
    /// Drawn by the proposer, so that the same actions can be proposed again.
    pub nonce: [u8; 16],
    /// What shall change, in this order, all of it or nothing: 1 to [`super::ACTIONS_MAX`].
    pub actions: Vec<Action>,
}

impl ProposalTerms {
    /// Names this proposal: what ballots are bound to.
    pub fn digest(&self) -> Digest {
        sha256("batchmind/v1/ledger/governance-proposal", &[&codec::encode(self)])
    }

    /// The proposal with its operator's signature, which also counts as its ballot.
    pub fn sign(self, operator: &SecretKey) -> ProposalMade {
        self.sign_with(operator).expect("a key in memory signs")
    }

    /// As [`Self::sign`], with a key wherever it is kept.
    ///
    /// # Errors
    /// Those of [`KeyStore::sign`].
    pub fn sign_with(self, operator: &dyn KeyStore) -> Result<ProposalMade, Refusal> {
        let signature = operator.sign(context::GOVERNANCE_PROPOSAL, &codec::encode(&self))?;
        Ok(ProposalMade { terms: self, signature })
    }

    /// Whether any of its actions waits for the lock.
    pub fn waits(&self) -> bool {
        self.actions.iter().any(Action::waits)
    }
}

/// See [`crate::event::Event::ProposalMade`]. Author: any node in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProposalMade {
    /// What is proposed.
    pub terms: ProposalTerms,
    /// By the operator's key, under [`context::GOVERNANCE_PROPOSAL`].
    pub signature: Signature,
}

/// See [`crate::event::Event::ProposalWithdrawn`]. Author: any node in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProposalWithdrawn {
    /// Digest of the proposal.
    pub proposal: Digest,
    /// By the key of the operator that made it, over the digest's 32 bytes, under [`context::GOVERNANCE_WITHDRAWAL`].
    pub signature: Signature,
}

impl ProposalWithdrawn {
    /// The proposer's word that it takes the proposal back.
    pub fn sign(proposal: Digest, operator: &SecretKey) -> Self {
        Self::sign_with(proposal, operator).expect("a key in memory signs")
    }

    /// As [`Self::sign`], with a key wherever it is kept.
    ///
    /// # Errors
    /// Those of [`KeyStore::sign`].
    pub fn sign_with(proposal: Digest, operator: &dyn KeyStore) -> Result<Self, Refusal> {
        let signature = operator.sign(context::GOVERNANCE_WITHDRAWAL, proposal.as_bytes())?;
        Ok(Self { proposal, signature })
    }
}

/// See [`crate::event::Event::ProposalEnacted`]. Author: any node in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProposalEnacted {
    /// Digest of the proposal.
    pub proposal: Digest,
}
