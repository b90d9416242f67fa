//! Proof that a key broke the rules: self-contained, so that anybody who has the genesis document, and for a later epoch
//! the hand-overs that lead to it, can check it offline.
//!
//! Every kind stands on signatures alone. Each rule is one that an honest node keeps whatever happens to it: it writes
//! down what it signs before the signature leaves, and never signs for a view or a term of which it may have forgotten
//! something. So evidence that verifies never is against an honest key. A refused time never is evidence, because
//! clocks differ; nor is silence.
//!
//! Whose the key is says the genesis document, and for a later epoch the quorums that handed over. Who has the keys of
//! an old quorum can sign a hand-over that gives another key to a node, and evidence of that key.

mod execution;
mod file;
mod fork;
mod invalid;
mod promise;
pub mod receipt;

use std::fmt;

use genesis::{Consortium, ValidatorSet};
use serde::{Deserialize, Serialize};
use wallet::{
    identity::{PublicKey, Signature, context},
    units::NodeId,
};

#[cfg(feature = "shell")]
pub(crate) use self::promise::applies_throughout;
pub use self::{
    execution::{EvidenceTooLarge, Execution, blames_leader},
    file::{EVIDENCE_BYTES_MAX, EvidenceFile, MAGIC, VERSION},
    fork::Fork,
    invalid::EvidenceInvalid,
    promise::{BrokenPromise, PROMISED_MAX, Promise, SignedPromise, entries_digest},
    receipt::{Promised, Receipt},
};
use crate::{
    block::{Header, View},
    certificate::CertificateInvalid,
    hand_over::ValidatorSets,
    vote::{Signed, SignedGrant, SignedNullify, Statement, Vote, VoteKind},
};

/// What was signed that no honest key signs. The order of the variants is part of the format.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Evidence {
    /// A leader proposed two blocks in one view.
    DoubleProposal {
        /// Two headers of one view and leader.
        headers: Box<[Header; 2]>,
        /// The leader's signatures over them.
        signatures: [Signature; 2],
    },
    /// Two votes of one key in one view, for different blocks. They need not be of one kind: an honest key finalizes
    /// only what it notarized.
    DoubleVote(Box<[Vote; 2]>),
    /// Two grants of one term, for different candidates.
    DoubleGrant(Box<[SignedGrant; 2]>),
    /// A finalize vote in a view that the same key gave up.
    NullifiedFinalized {
        /// The one.
        nullify: SignedNullify,
        /// The other.
        finalize: Vote,
    },
    /// Two chains that are both final. It names f + 1 validators at least.
    Fork(Box<Fork>),
    /// A block that does not execute on its certified parent.
    InvalidBlock(Box<Execution>),
    /// An entry that a leader promised to take into a block, and left out of it.
    BrokenPromise(Box<BrokenPromise>),
}

/// A rule that every honest key keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// A leader proposes one block in a view.
    OneProposal,
    /// A validator votes for one block in a view.
    OneVote,
    /// A validator follows one leader in a term.
    OneGrant,
    /// A validator finalizes nothing in a view that it gave up, and gives up no view in which it finalized.
    NullifiedStaysOpen,
    /// A leader proposes only blocks that execute on their parent.
    ValidProposal,
    /// A leader puts what it promised into the block that it named, if the rules of the ledger allow it.
    KeptPromise,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OneProposal => "a leader proposes one block in a view",
            Self::OneVote => "a validator votes for one block in a view",
            Self::OneGrant => "a validator follows one leader in a term",
            Self::NullifiedStaysOpen => "a validator finalizes nothing in a view that it gave up",
            Self::ValidProposal => "a leader proposes only blocks that are valid",
            Self::KeptPromise => "a leader takes up what it promised to take up",
        })
    }
}

/// Who broke which rule, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Culprit {
    /// The node whose key it is.
    pub node: NodeId,
    /// The key by which the contradiction is signed.
    pub key: PublicKey,
    /// What every honest key keeps.
    pub rule: Rule,
    /// The raft term.
    pub term: u64,
    /// The number of the view in it; none where the whole term is meant.
    pub number: Option<u64>,
}

impl Evidence {
    /// The variant's name, in the words of a file's name: `double-vote`.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::DoubleProposal { .. } => "double-proposal",
            Self::DoubleVote(_) => "double-vote",
            Self::DoubleGrant(_) => "double-grant",
            Self::NullifiedFinalized { .. } => "nullified-finalized",
            Self::Fork(_) => "fork",
            Self::InvalidBlock(_) => "invalid-block",
            Self::BrokenPromise(_) => "broken-promise",
        }
    }

    /// Checks everything, with the genesis document and nothing else, and says who is to blame. They ascend, each once,
    /// and there is at least one. For evidence of the first epoch.
    ///
    /// # Errors
    /// Those of [`Self::verify_in`].
    pub fn verify(&self, consortium: &Consortium) -> Result<Vec<Culprit>, EvidenceInvalid> {
        self.verify_in(consortium, &ValidatorSets::genesis(consortium))
    }

    /// As [`Self::verify`], with the sets of later epochs as well.
    ///
    /// # Errors
    /// [`EvidenceInvalid`] says why it proves nothing. Then nobody is to be blamed.
    pub fn verify_in(&self, consortium: &Consortium, sets: &ValidatorSets) -> Result<Vec<Culprit>, EvidenceInvalid> {
        match self {
            Self::DoubleProposal { headers, signatures } => double_proposal(sets, headers, signatures),
            Self::DoubleVote(votes) => double_vote(sets, votes),
            Self::DoubleGrant(grants) => double_grant(sets, grants),
            Self::NullifiedFinalized { nullify, finalize } => nullified_finalized(sets, nullify, finalize),
            Self::Fork(fork) => fork.verify(sets),
            Self::InvalidBlock(execution) => execution.verify(consortium, sets),
            Self::BrokenPromise(broken) => broken.verify(consortium, sets),
        }
    }
}

fn double_proposal(
    sets: &ValidatorSets,
    headers: &[Header; 2],
    signatures: &[Signature; 2],
) -> Result<Vec<Culprit>, EvidenceInvalid> {
    let [one, other] = headers;
    if (one.leader, one.view) != (other.leader, other.view) {
        return Err(EvidenceInvalid::NoContradiction("the proposals are of two views or two leaders"));
    }
    if one == other {
        return Err(EvidenceInvalid::NoContradiction("both proposals are the same"));
    }
    for (header, signature) in headers.iter().zip(signatures) {
        check_proposal(sets, header, signature)?;
    }
    Ok(vec![culprit(sets, one.leader, Rule::OneProposal, one.view)?])
}

fn double_vote(sets: &ValidatorSets, votes: &[Vote; 2]) -> Result<Vec<Culprit>, EvidenceInvalid> {
    check_signed(sets, votes)?;
    let [one, other] = votes.map(|vote| vote.statement);
    if one.view != other.view || votes[0].validator != votes[1].validator {
        return Err(EvidenceInvalid::NoContradiction("the votes are of two views or two validators"));
    }
    if (one.block, one.height) == (other.block, other.height) {
        return Err(EvidenceInvalid::NoContradiction("both votes are for one block"));
    }
    Ok(vec![culprit(sets, votes[0].validator, Rule::OneVote, one.view)?])
}

fn double_grant(sets: &ValidatorSets, grants: &[SignedGrant; 2]) -> Result<Vec<Culprit>, EvidenceInvalid> {
    check_signed(sets, grants)?;
    let [one, other] = grants.map(|grant| grant.statement);
    if one.term != other.term || grants[0].validator != grants[1].validator {
        return Err(EvidenceInvalid::NoContradiction("the grants are of two terms or two validators"));
    }
    if one.candidate == other.candidate {
        return Err(EvidenceInvalid::NoContradiction("both grants are for one candidate"));
    }
    let culprit = culprit(sets, grants[0].validator, Rule::OneGrant, View { term: one.term, number: 0 })?;
    Ok(vec![Culprit { number: None, ..culprit }])
}

fn nullified_finalized(
    sets: &ValidatorSets,
    nullify: &SignedNullify,
    finalize: &Vote,
) -> Result<Vec<Culprit>, EvidenceInvalid> {
    check_signed(sets, &[*nullify])?;
    check_signed(sets, &[*finalize])?;
    let view = finalize.statement.view;
    if nullify.validator != finalize.validator || finalize.statement.kind != VoteKind::Finalize {
        return Err(EvidenceInvalid::NoContradiction("they are of two validators, or the vote does not finalize"));
    }
    if !nullify.statement.covers(view) {
        return Err(EvidenceInvalid::NoContradiction("the view of the vote was not given up"));
    }
    Ok(vec![culprit(sets, finalize.validator, Rule::NullifiedStaysOpen, view)?])
}

/// Whether each was signed by a validator, in this consortium and epoch.
fn check_signed<S: Statement>(sets: &ValidatorSets, signed: &[Signed<S>]) -> Result<(), EvidenceInvalid> {
    let check = |signed: &Signed<S>| {
        let epoch = signed.statement.epoch();
        signed.verify(sets.of(epoch)?, &sets.name_of(epoch))
    };
    Ok(signed.iter().try_for_each(check)?)
}

/// Whether the header is of this consortium and epoch, and its leader's key proposed it.
fn check_proposal(sets: &ValidatorSets, header: &Header, proposal: &Signature) -> Result<(), EvidenceInvalid> {
    let signer = header.leader;
    if header.consortium != sets.name_of(header.view.epoch()) {
        return Err(CertificateInvalid::ForeignConsortium { found: header.consortium }.into());
    }
    // By the view: a header that names another epoch beside it is invalid, and its leader has signed that.
    key_of(sets.of(header.view.epoch())?, signer)?
        .verify(context::LEDGER_PROPOSAL, header.digest().as_bytes(), proposal)
        .map_err(|_| CertificateInvalid::BadSignature { signer }.into())
}

fn key_of(validators: &ValidatorSet, signer: NodeId) -> Result<PublicKey, CertificateInvalid> {
    validators.key(signer).ok_or(CertificateInvalid::NotAValidator { signer })
}

fn culprit(sets: &ValidatorSets, node: NodeId, rule: Rule, view: View) -> Result<Culprit, EvidenceInvalid> {
    let key = key_of(sets.of(view.epoch())?, node)?;
    Ok(Culprit { node, key, rule, term: view.term, number: Some(view.number) })
}

#[cfg(test)]
mod honest;
#[cfg(test)]
mod shown;
#[cfg(test)]
mod tests;
