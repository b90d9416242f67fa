//! Executing a final chain again, from genesis on: what an auditor does with an archive, and a node that is restored.
//!
//! Nothing is taken from whoever gives the blocks. Each one must be certified by a quorum, follow the block before it and
//! give both roots that its header names. An auditor also verifies the signatures of author and holder on every entry. A
//! node that is restored leaves that to the quorum: with at most f liars, an honest validator checked every block that a
//! quorum voted for. What an event itself carries, such as a tenant's grant or a ticket, both check.

mod verifiers;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use genesis::{Consortium, ValidatorSet};
use wallet::{
    digest::Digest,
    identity::{PublicKey, Signature, SignatureInvalid},
    units::BlockHeight,
};

use self::verifiers::{Claim, Verifiers};
use crate::{
    block::FinalBlock,
    certificate::{Certificate, CertificateInvalid},
    checks::Checks,
    execute::{BlockInvalid, Executed, execute_with},
    hand_over::closed_by,
    re_genesis::{self, ReGenesisInvalid},
    vote::VoteKind,
};

/// Who checks the signatures of author and holder on entries. Those of leaders and validators are always checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signatures {
    /// The replay, on as many threads.
    Verified {
        /// At least one.
        threads: usize,
    },
    /// The quorum that certified the block.
    Certified,
}

/// A chain that is executed block by block.
#[derive(Debug)]
pub struct Replay {
    consortium: Arc<Consortium>,
    executed: Executed,
    /// Who votes for the next block.
    validators: ValidatorSet,
    certificate: Option<Certificate>,
    /// Up to there the chain is final and not only certified.
    final_height: BlockHeight,
    /// The re-geneses that it takes.
    named: Vec<Digest>,
    checks: Deferred,
    verifiers: Option<Verifiers>,
}

/// What a replay came to.
#[derive(Clone, Debug)]
pub struct Replayed {
    /// The final state.
    pub executed: Executed,
    /// What made it final; none at genesis.
    pub certificate: Option<Certificate>,
    /// How many signatures of authors and holders were verified. A batch's counts once.
    pub verified: u64,
}

impl Replay {
    /// A replay that stands at genesis.
    pub fn new(consortium: Arc<Consortium>, signatures: Signatures) -> Self {
        let executed = Executed::genesis(&consortium);
        Self::after(consortium, executed, signatures)
    }

    /// A replay that stands at a final state which the caller trusts.
    pub fn after(consortium: Arc<Consortium>, executed: Executed, signatures: Signatures) -> Self {
        let verifiers = match signatures {
            Signatures::Verified { threads } => Some(Verifiers::start(threads)),
            Signatures::Certified => None,
        };
        Self {
            validators: executed.validators(),
            final_height: executed.height,
            executed,
            consortium,
            certificate: None,
            named: Vec::new(),
            checks: Deferred::default(),
            verifiers,
        }
    }

    /// With the re-geneses that it takes: those that whoever asks was told of.
    #[must_use]
    pub fn naming(mut self, re_geneses: &[Digest]) -> Self {
        self.named = re_geneses.to_vec();
        self
    }

    /// Where it stands.
    pub fn executed(&self) -> &Executed {
        &self.executed
    }

    /// Executes the next block. Signatures of authors and holders are verified meanwhile: a bad one is reported by a later
    /// step or by [`Self::finish`].
    ///
    /// # Errors
    /// [`ReplayInvalid`] names the height and what does not hold; the replay stays where it was.
    pub fn step(&mut self, next: &FinalBlock) -> Result<(), ReplayInvalid> {
        let FinalBlock { block, certificate, .. } = next;
        let height = block.header.height;
        let invalid = |reason| ReplayInvalid { height, reason };
        let executed = match block.header.view.is_re_genesis() {
            true => re_genesis::verify(&self.consortium, &self.executed, next, &self.named, &self.checks)
                .map_err(|error| Reason::ReGenesis(Box::new(error))),
            false => check_certificate(next, &self.validators, &self.consortium.id()).and_then(|()| {
                execute_with(&self.consortium, &self.executed, block, &self.checks).map_err(Reason::Block)
            }),
        };
        let claims = self.checks.take();
        let executed = executed.map_err(invalid)?;
        if let Some(verifiers) = &mut self.verifiers {
            verifiers.verify(height, claims)?;
        }
        if executed.is_closing() {
            self.validators = executed.validators();
        }
        self.executed = executed;
        if certificate.kind == VoteKind::Finalize {
            self.final_height = height;
        }
        self.certificate = Some(certificate.clone());
        Ok(())
    }

    /// Ends it, once every signature is verified.
    ///
    /// # Errors
    /// [`ReplayInvalid`] if a signature is bad, or the last block is not final.
    pub fn finish(self) -> Result<Replayed, ReplayInvalid> {
        let Self { executed, certificate, final_height, verifiers, .. } = self;
        let verified = verifiers.map_or(Ok(0), Verifiers::finish)?;
        if final_height != executed.height {
            return Err(ReplayInvalid { height: executed.height, reason: Reason::NotFinal });
        }
        Ok(Replayed { executed, certificate, verified })
    }
}

/// Whether a quorum of `validators` certified a block, in the form that its place in the epoch asks for.
pub(crate) fn check_certificate(
    next: &FinalBlock,
    validators: &ValidatorSet,
    consortium: &Digest,
) -> Result<(), Reason> {
    let FinalBlock { block, certificate, carriers } = next;
    let header = &block.header;
    let is_its_own = carriers.is_empty() && certificate.view == header.view;
    let fits = match header.is_closing() {
        true => certificate.kind == VoteKind::Finalize && (is_its_own || !carriers.is_empty()),
        false => is_its_own,
    };
    if !fits || closed_by(certificate, carriers) != Some((header.height, header.digest())) {
        return Err(Reason::OtherCertificate);
    }
    certificate.verify(validators, consortium).map_err(Reason::Certificate)
}

/// Takes every signature for good, and keeps it for who verifies it.
#[derive(Debug, Default)]
struct Deferred(Mutex<Vec<Claim>>);

impl Deferred {
    fn claims(&self) -> MutexGuard<'_, Vec<Claim>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Vec<Claim> {
        std::mem::take(&mut self.claims())
    }
}

impl Checks for Deferred {
    fn verify(&self, key: &PublicKey, context: &str, message: &[u8], by: &Signature) -> Result<(), SignatureInvalid> {
        self.claims().push(Claim { key: *key, context: context.into(), message: message.into(), signature: *by });
        Ok(())
    }
}

/// What does not hold in a chain, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("height {height}: {reason}")]
pub struct ReplayInvalid {
    /// The block's height.
    pub height: BlockHeight,
    /// What is wrong with it.
    #[source]
    pub reason: Reason,
}

/// See [`ReplayInvalid`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// The certificate beside the block is of another.
    #[error("the certificate is of another block")]
    OtherCertificate,
    /// The certificate proves nothing.
    #[error("the certificate: {0}")]
    Certificate(#[source] CertificateInvalid),
    /// The block does not give what its header names.
    #[error("{0}")]
    Block(#[source] BlockInvalid),
    /// A re-genesis that cannot be taken.
    #[error("{0}")]
    ReGenesis(#[source] Box<ReGenesisInvalid>),
    /// An author's or a holder's signature is bad.
    #[error("a signature under {context} does not verify with the key {key}")]
    Signature {
        /// What it is said to be for.
        context: Box<str>,
        /// Who is said to have signed.
        key: PublicKey,
    },
    /// The chain ends with a block that is certified but not final.
    #[error("the last block is not final")]
    NotFinal,
}

#[cfg(test)]
mod tests;
