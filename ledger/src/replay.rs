//! Executing a final chain again, from genesis on: what an auditor does with an archive, and a node that is restored.
//!
//! Nothing is taken from whoever gives the blocks. Each one must be certified by a quorum, follow the block before it and
//! give both roots that its header names. An auditor also verifies the signatures of author and holder on every entry. A
//! node that is restored leaves that to the quorum: with at most f liars, an honest validator checked every block that a
//! quorum voted for. What an event itself carries, such as a tenant's grant or a ticket, both check.
//!
//! Blocks are executed before their signatures are verified, which other threads do meanwhile. So what comes of them is
//! nothing before [`Replay::finish`] says that all are good.

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

/// Who checks the signatures of author and holder on entries. Those of leaders and validators are always verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signatures {
    /// The replay.
    Verified,
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
    verifiers: Verifiers,
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
        Self {
            validators: executed.validators(),
            final_height: executed.height,
            executed,
            consortium,
            certificate: None,
            named: Vec::new(),
            checks: Deferred::new(signatures),
            verifiers: Verifiers::start(),
        }
    }

    /// With the re-geneses that it takes: those that whoever asks was told of.
    #[must_use]
    pub fn naming(mut self, re_geneses: &[Digest]) -> Self {
        self.named = re_geneses.to_vec();
        self.named.sort_unstable();
        self.named.dedup();
        self
    }

    /// Where it stands.
    pub fn executed(&self) -> &Executed {
        &self.executed
    }

    /// Executes the next block. Its signatures are verified meanwhile: a bad one is reported by a later step or by
    /// [`Self::finish`].
    ///
    /// # Errors
    /// [`ReplayInvalid`] names the lowest height so far at which something does not hold, and what. The replay is over, and
    /// every later step and its end say the same.
    pub fn step(&mut self, next: &FinalBlock) -> Result<(), ReplayInvalid> {
        let FinalBlock { block, certificate, .. } = next;
        let height = block.header.height;
        let executed = self.execute(next);
        self.verifiers.verify(height, self.checks.take())?;
        let executed = executed.map_err(|reason| self.verifiers.refuse(ReplayInvalid { height, reason }))?;
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

    fn execute(&self, next: &FinalBlock) -> Result<Executed, Reason> {
        if next.block.header.view.is_re_genesis() {
            return re_genesis::verify(&self.consortium, &self.executed, next, &self.named, &self.checks)
                .map_err(|error| Reason::ReGenesis(Box::new(error)));
        }
        check_certificate(next, &self.validators, &self.executed.name, &self.checks)?;
        execute_with(&self.consortium, &self.executed, &next.block, &self.checks).map_err(Reason::Block)
    }

    /// Ends it, once every signature is verified.
    ///
    /// # Errors
    /// [`ReplayInvalid`] if a signature is bad, the last block is not final, or a re-genesis that was named is missing.
    pub fn finish(self) -> Result<Replayed, ReplayInvalid> {
        let Self { executed, certificate, final_height, named, verifiers, .. } = self;
        let verified = verifiers.finish()?;
        let invalid = |reason| ReplayInvalid { height: executed.height, reason };
        if final_height != executed.height {
            return Err(invalid(Reason::NotFinal));
        }
        // Each one that is in the chain was named. So they are all there if they are as many.
        let (lineage, named) = (executed.state.lineage(), named.len());
        if u64::from(lineage) <= named as u64 {
            return Err(invalid(Reason::ReGenesisMissing { lineage, named }));
        }
        Ok(Replayed { executed, certificate, verified })
    }
}

/// Whether a quorum of `validators` certified a block, in the form that its place in the epoch asks for.
pub(crate) fn check_certificate(
    next: &FinalBlock,
    validators: &ValidatorSet,
    consortium: &Digest,
    checks: &dyn Checks,
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
    certificate.verify_with(validators, consortium, checks).map_err(Reason::Certificate)
}

/// Takes every signature for good, and keeps for who verifies it what is not left to the quorum. What is left to it may
/// also be malformed: a batch's path is looked at only by who verifies the signature under it.
#[derive(Debug)]
struct Deferred {
    signatures: Signatures,
    claims: Mutex<Vec<Claim>>,
}

impl Deferred {
    fn new(signatures: Signatures) -> Self {
        Self { signatures, claims: Mutex::default() }
    }

    fn claims(&self) -> MutexGuard<'_, Vec<Claim>> {
        self.claims.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Vec<Claim> {
        std::mem::take(&mut self.claims())
    }

    fn keep(&self, is_vote: bool, key: &PublicKey, context: &str, message: &[u8], signature: &Signature) {
        let (context, message) = (context.into(), message.into());
        self.claims().push(Claim { is_vote, key: *key, context, message, signature: *signature });
    }
}

impl Checks for Deferred {
    fn verify(&self, key: &PublicKey, context: &str, message: &[u8], by: &Signature) -> Result<(), SignatureInvalid> {
        if self.signatures == Signatures::Verified {
            self.keep(false, key, context, message, by);
        }
        Ok(())
    }

    fn verify_vote(
        &self,
        key: &PublicKey,
        context: &str,
        message: &[u8],
        by: &Signature,
    ) -> Result<(), SignatureInvalid> {
        self.keep(true, key, context, message, by);
        Ok(())
    }

    fn once(
        &self,
        _claim: Digest,
        check: &mut dyn FnMut() -> Result<(), SignatureInvalid>,
    ) -> Result<(), SignatureInvalid> {
        if self.signatures == Signatures::Verified { check() } else { Ok(()) }
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
    /// It is another lineage than the one that is asked for.
    #[error("it ends in lineage {lineage}, and {named} re-geneses were named: not all of them are in it")]
    ReGenesisMissing {
        /// Of the last block.
        lineage: u32,
        /// How many were named.
        named: usize,
    },
    /// A signature of a leader, a validator, an author or a holder is bad.
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
