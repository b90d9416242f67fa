//! Beginning anew: what operators do whose validators are no quorum any more, and that everybody sees, and may refuse.
//!
//! Where more than f validators lost their keys, or left, nothing becomes final again. A *re-genesis* goes on from the last
//! final block without their word. It is a block like one that closes an epoch: the only entry, [`ReGenesis`], suspends who
//! is lost, and the header names the set of those that stay. It stands in a view in which nobody votes
//! ([`View::re_genesis`]). In the place of a quorum's votes its certificate has one signature for each validator that stays,
//! by the operator that runs it. From the next block on all is as after any hand-over.
//!
//! The block's digest is its name. It covers the last final block, who stays, who is lost, why, and what was dropped.
//! Whoever has not been told this name takes no such block: no node from its peers, no auditor from a bundle. For the
//! signatures do not prove that the others are lost, only that these say so. Each one counts the *lineage*: 1, and one more
//! for each re-genesis.

mod file;
mod proof;

use genesis::Consortium;
use serde::{Deserialize, Serialize};
use wallet::{
    codec,
    digest::{Digest, sha256},
    identity::{PublicKey, Signature, SignatureInvalid, context},
    keystore::KeyStore,
    units::{BlockHeight, NodeId, Timestamp},
};

pub use self::{
    file::{FileInvalid, MAGIC, RE_GENESIS_BYTES_MAX, ReGenesisFile},
    proof::{ProvenRecord, ReGenesisProof, Signatory},
};
use crate::{
    block::{Block, FinalBlock, Header, View},
    certificate::{Certificate, CertificateInvalid},
    checks::Checks,
    event::{EntryBody, Event},
    execute::{BlockInvalid, Executed, Place, execute_re_genesis, propose},
    governance::{MEMBERS_MAX, Member},
    refusal::Refusal,
    vote::{Ballot, Signer, VoteKind},
};

/// A reason has at most this many bytes.
pub const REASON_BYTES_MAX: usize = 1_024;
/// At most so many operators and nodes are named as lost: all that can be in force.
pub const LOST_MAX: usize = 2 * MEMBERS_MAX;

/// What the operators say that are left. See [`Event::ReGenesis`]. Author: a node that stays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReGenesis {
    /// The lineage that begins.
    pub lineage: u32,
    /// Who is suspended, ascending: operators with all their nodes, and nodes of operators that stay.
    pub lost: Vec<Member>,
    /// Why, in one line of at most [`REASON_BYTES_MAX`] bytes.
    pub reason: String,
    /// What is not in the chain any more.
    pub dropped: Dropped,
}

/// What the node that drafted a re-genesis had seen above the last final block. Others may have seen more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dropped {
    /// Of the highest block; the last final one's if there was none.
    pub highest: BlockHeight,
    /// In all those blocks.
    pub entries: u64,
}

/// The block of a re-genesis, for its operators to sign, and what it leads to. The place says on what it stands; its view
/// is not looked at. `author` is a node that stays.
///
/// # Errors
/// [`Refusal`] for the first rule that it breaks.
pub fn draft(
    consortium: &Consortium,
    place: Place,
    author: &Signer,
    nonce: [u8; 16],
    now: Timestamp,
    event: ReGenesis,
) -> Result<(Block, Executed), Refusal> {
    let view = View::re_genesis(place.parent.state.epoch());
    let event = Event::ReGenesis(Box::new(event));
    let body = EntryBody { consortium: consortium.id(), author: author.node, nonce, event };
    let made = propose(consortium, Place { view, ..place }, author, now, vec![body.sign(&author.key, None)]);
    match made.refused.into_iter().next() {
        Some((_, refusal)) => Err(refusal),
        None => Ok((Block { proposal: NOBODYS_PROPOSAL, ..made.block }, made.executed)),
    }
}

/// Nobody proposes a re-genesis.
pub(crate) const NOBODYS_PROPOSAL: Signature = Signature([0; 64]);

/// What is decided, if the block is a re-genesis by its form.
pub fn decided(block: &Block) -> Option<&ReGenesis> {
    match (block.header.view.is_re_genesis(), block.entries.as_slice()) {
        (true, [entry]) => match &entry.body.event {
            Event::ReGenesis(event) if entry.body.author == block.header.leader => Some(event),
            _ => None,
        },
        _ => None,
    }
}

/// Executes a re-genesis on the last final block and checks all of it, as a node does that was told to take it: that it is
/// named, that it follows, that every operator signed that stays in force.
///
/// # Errors
/// [`ReGenesisInvalid`] for the first thing that does not hold.
pub fn verify(
    consortium: &Consortium,
    parent: &Executed,
    next: &FinalBlock,
    named: &[Digest],
    checks: &dyn Checks,
) -> Result<Executed, ReGenesisInvalid> {
    let FinalBlock { block, certificate, carriers } = next;
    let found = block.header.digest();
    if !named.contains(&found) {
        return Err(ReGenesisInvalid::NotNamed { found });
    }
    let executed = execute(consortium, parent, block, checks)?;
    if !carriers.is_empty() {
        return Err(ReGenesisInvalid::OtherCertificate);
    }
    executed.verify_final(certificate)?;
    Ok(executed)
}

/// Executes a re-genesis that its operators have not all signed yet.
///
/// # Errors
/// [`ReGenesisInvalid`] for the first thing that does not hold.
pub fn execute(
    consortium: &Consortium,
    parent: &Executed,
    block: &Block,
    checks: &dyn Checks,
) -> Result<Executed, ReGenesisInvalid> {
    if parent.height == BlockHeight::ZERO {
        return Err(ReGenesisInvalid::NothingFinal);
    }
    if decided(block).is_none() || block.proposal != NOBODYS_PROPOSAL {
        return Err(ReGenesisInvalid::OtherForm);
    }
    let executed = execute_re_genesis(consortium, parent, block, checks)?;
    if executed.validators().key(block.header.leader).is_none() {
        return Err(ReGenesisInvalid::AuthorLost { author: block.header.leader });
    }
    Ok(executed)
}

/// The name in force after a re-genesis: what headers, votes and all other statements of validators carry as their
/// consortium from then on. Before the first one that is the hash of the genesis document.
///
/// So no signature of one branch is a statement of another: not of the lineage that is left, and not of another re-genesis
/// from the same block, though the keys are the same and the terms are counted alike. A node that honestly votes in two
/// of them contradicts itself in neither.
pub fn name(before: &Digest, re_genesis: &Digest) -> Digest {
    sha256("batchmind/v1/ledger/re-genesis", &[before.as_bytes(), re_genesis.as_bytes()])
}

/// What an operator signs: that this block ends its epoch. It is the first word in the name that begins.
fn ballot(header: &Header) -> Ballot {
    Ballot { consortium: header.name(), ..Ballot::for_header(VoteKind::Finalize, header) }
}

fn message(header: &Header) -> Vec<u8> {
    codec::encode(&ballot(header))
}

/// An operator's word for a re-genesis.
///
/// # Errors
/// Those of [`KeyStore::sign`]; a key in memory has none.
pub fn sign(header: &Header, operator: &dyn KeyStore) -> Result<Signature, wallet::refusal::Refusal> {
    operator.sign(context::GOVERNANCE_RE_GENESIS, &message(header))
}

/// Checks an operator's word for a re-genesis.
///
/// # Errors
/// [`SignatureInvalid`].
pub fn verify_signature(header: &Header, operator: &PublicKey, signature: &Signature) -> Result<(), SignatureInvalid> {
    operator.verify(context::GOVERNANCE_RE_GENESIS, &message(header), signature)
}

/// Who has to sign a re-genesis: for each validator that stays the operator that runs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signatories {
    /// What they sign, and nothing else.
    ballot: Ballot,
    /// Each validator of the next one, with its operator's key.
    keys: Vec<(NodeId, PublicKey)>,
}

impl Signatories {
    /// Those of the re-genesis that led to `executed`; none if its state does not say who runs a validator, as no state
    /// does that was executed.
    pub fn of(executed: &Executed) -> Option<Self> {
        let members = executed.validators().members.into_iter();
        let keys = members.map(|(node, _)| Some((node, executed.state.operator_key_of(node)?)));
        let (consortium, epoch, kind) = (executed.name, executed.view.epoch(), VoteKind::Finalize);
        let (view, height, block) = (executed.view, executed.height, executed.digest);
        let ballot = Ballot { consortium, epoch, kind, view, height, block };
        Some(Self { ballot, keys: keys.collect::<Option<_>>()? })
    }

    /// The digest of the re-genesis.
    pub(crate) fn re_genesis(&self) -> Digest {
        self.ballot.block
    }

    /// Their certificate, from what each of them signed.
    ///
    /// # Errors
    /// [`CertificateInvalid::SignerMissing`] names the first of whom nothing is there.
    pub fn certify(
        &self,
        signature_of: impl Fn(&PublicKey) -> Option<Signature>,
    ) -> Result<Certificate, CertificateInvalid> {
        let signed = |&(node, key): &(NodeId, PublicKey)| {
            let signature = signature_of(&key).ok_or(CertificateInvalid::SignerMissing { node })?;
            Ok((node, signature))
        };
        let signatures = self.keys.iter().map(signed).collect::<Result<_, _>>()?;
        let Ballot { kind, view, height, block, .. } = self.ballot;
        Ok(Certificate { kind, view, height, block, signatures })
    }

    /// Checks that all of them signed this re-genesis, and nobody else.
    ///
    /// # Errors
    /// [`CertificateInvalid`] says what is wrong.
    pub fn verify(&self, certificate: &Certificate) -> Result<(), CertificateInvalid> {
        if certificate.ballot(&self.ballot.consortium) != self.ballot {
            return Err(CertificateInvalid::OtherReGenesis { found: certificate.block });
        }
        let message = codec::encode(&self.ballot);
        let mut signed = certificate.signatures.iter();
        for (node, key) in &self.keys {
            let (_, signature) = signed
                .next()
                .filter(|(signer, _)| signer == node)
                .ok_or(CertificateInvalid::SignerMissing { node: *node })?;
            key.verify(context::GOVERNANCE_RE_GENESIS, &message, signature)
                .map_err(|_| CertificateInvalid::BadSignature { signer: *node })?;
        }
        signed.next().map_or(Ok(()), |(signer, _)| Err(CertificateInvalid::NotAValidator { signer: *signer }))
    }
}

/// Why a block is no re-genesis of this chain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReGenesisInvalid {
    /// Nobody told to take it.
    #[error("the chain begins anew with the re-genesis {found}, which was not named")]
    NotNamed {
        /// Its digest.
        found: Digest,
    },
    /// Who begins where nothing is final begins with another genesis document.
    #[error("nothing is final yet: begin with another genesis document")]
    NothingFinal,
    /// Something else in a view that is kept for a re-genesis.
    #[error("it does not have the form of a re-genesis")]
    OtherForm,
    /// Its author must stay.
    #[error("its author, node {author}, is lost by it")]
    AuthorLost {
        /// Who.
        author: NodeId,
    },
    /// It does not follow, or breaks a rule.
    #[error(transparent)]
    Block(#[from] BlockInvalid),
    /// The certificate beside it is of a block above it.
    #[error("the certificate is of a block above it")]
    OtherCertificate,
    /// Not all of those signed who have to.
    #[error(transparent)]
    Certificate(#[from] CertificateInvalid),
}

#[cfg(test)]
mod tests;
