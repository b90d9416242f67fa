//! A re-genesis as a file: on its way through its operators' hands, and afterwards the certificate that everybody may see.
//! `docs/formats/re-genesis.md` describes it.
//!
//! It is the hand-over that bundles carry, with as many signatures as there are yet. What can be checked without the chain
//! is checked when it is read: then what it shows is what its digest names.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use wallet::{
    codec::{self, DecodeError},
    digest::Digest,
    identity::Signature,
    keystore::KeyStore,
    units::NodeId,
};

use super::{NOBODYS_PROPOSAL, ReGenesis, ReGenesisProof, Signatory, sign, verify_signature};
use crate::{
    block::{Block, FinalBlock, Header, View},
    certificate::Certificate,
    hand_over::{ClosingProof, HandOver, HandOverInvalid},
    vote::VoteKind,
};

/// How a file begins: its name and version.
pub const MAGIC: &[u8; 23] = b"batchmind re-genesis 1\n";
/// A file has at most this many bytes.
pub const RE_GENESIS_BYTES_MAX: usize = 4 << 20;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReGenesisFile {
    hand_over: HandOver,
    decided: ReGenesis,
    signatories: Vec<Signatory>,
}

/// What a file holds after its magic.
#[derive(Serialize, Deserialize)]
struct Body(HandOver);

impl ReGenesisFile {
    /// The file of a hand-over by re-genesis, whoever signed it yet.
    ///
    /// # Errors
    /// [`FileInvalid`] if it is none, or does not hold together.
    pub fn new(hand_over: HandOver) -> Result<Self, FileInvalid> {
        let HandOver { closing, proof, next, re_genesis } = &hand_over;
        let none = FileInvalid::HandOver(HandOverInvalid::ReGenesis("it is none"));
        let anew = re_genesis.as_deref().filter(|_| closing.view == View::re_genesis(closing.epoch)).ok_or(none)?;
        if closing.next_validators != next.hash() || Some(next.epoch) != closing.epoch.checked_add(1) {
            return Err(HandOverInvalid::OtherSet.into());
        }
        if !next.members.is_sorted_by(|(one, _), (next, _)| one < next) {
            return Err(HandOverInvalid::Disorder.into());
        }
        let Certificate { kind, view, height, block, signatures } = &proof.certificate;
        let is_of_it = (*kind, *view, *height, *block)
            == (VoteKind::Finalize, closing.view, closing.height, closing.digest())
            && proof.carriers.is_empty();
        if !is_of_it {
            return Err(HandOverInvalid::OtherBlock.into());
        }
        let signatories = anew.signers(closing, next)?;
        let key_of = |node| signatories.iter().find(|signatory| signatory.node == node).map(|signatory| signatory.key);
        for (node, signature) in signatures {
            let is_signed = key_of(*node).is_some_and(|key| verify_signature(closing, &key, signature).is_ok());
            if !is_signed {
                return Err(FileInvalid::BadSignature { node: *node });
            }
        }
        if !signatures.is_sorted_by(|(one, _), (next, _)| one < next) {
            return Err(HandOverInvalid::Disorder.into());
        }
        let decided = anew.decided().cloned().ok_or(HandOverInvalid::ReGenesis("its entry decides something else"))?;
        Ok(Self { decided, signatories, hand_over })
    }

    /// The file of a draft, which nobody signed yet. `proof` leads to its block.
    ///
    /// # Errors
    /// Those of [`Self::new`].
    pub fn draft(block: &Block, proof: ReGenesisProof, next: genesis::ValidatorSet) -> Result<Self, FileInvalid> {
        let closing = block.header.clone();
        let (view, height, digest) = (closing.view, closing.height, closing.digest());
        let kind = VoteKind::Finalize;
        let certificate = Certificate { kind, view, height, block: digest, signatures: Vec::new() };
        Self::new(HandOver { closing, proof: certificate.into(), next, re_genesis: Some(Box::new(proof)) })
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`FileInvalid`] says what is wrong with it.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FileInvalid> {
        if bytes.len() > RE_GENESIS_BYTES_MAX {
            return Err(FileInvalid::TooLarge { bytes: bytes.len() });
        }
        let body = bytes.strip_prefix(MAGIC).ok_or(FileInvalid::NotAReGenesis)?;
        let Body(hand_over) = codec::decode(body)?;
        Self::new(hand_over)
    }

    /// The file.
    pub fn to_bytes(&self) -> Vec<u8> {
        codec::encode_after(MAGIC, &self.hand_over)
    }

    /// The name of the re-genesis, which is what is signed: its block's digest.
    pub fn digest(&self) -> Digest {
        self.hand_over.closing.digest()
    }

    /// The header of its block.
    pub fn header(&self) -> &Header {
        &self.hand_over.closing
    }

    /// The header of the last final block, on which it stands.
    pub fn last(&self) -> &Header {
        self.hand_over.re_genesis.as_ref().map(|anew| &anew.last).expect("checked when it was made")
    }

    /// What is decided.
    pub fn decided(&self) -> &ReGenesis {
        &self.decided
    }

    /// Who has to sign, for which validators that stay. That they were these is proven under the last final block, and that
    /// this block is final only by who knows the chain.
    pub fn signatories(&self) -> &[Signatory] {
        &self.signatories
    }

    /// Those of whom no signature is here.
    pub fn missing(&self) -> impl Iterator<Item = &Signatory> {
        let signed = &self.hand_over.proof.certificate.signatures;
        self.signatories.iter().filter(move |signatory| signed.iter().all(|(node, _)| *node != signatory.node))
    }

    /// Signs it for all nodes of the operator that has `key`.
    ///
    /// # Errors
    /// [`FileInvalid::NotASignatory`] if there is none, [`FileInvalid::NotSigned`] if the key does not sign.
    pub fn sign(&mut self, key: &dyn KeyStore) -> Result<(), FileInvalid> {
        let public = key.public_key();
        let own: Vec<NodeId> = self.signatories.iter().filter(|own| own.key == public).map(|own| own.node).collect();
        if own.is_empty() {
            return Err(FileInvalid::NotASignatory);
        }
        let signature = sign(&self.hand_over.closing, key)?;
        self.add(own.into_iter().map(|node| (node, signature)));
        Ok(())
    }

    /// Adds the signatures of another copy of the same re-genesis.
    ///
    /// # Errors
    /// [`FileInvalid::Another`] if it is another one.
    pub fn merge(&mut self, other: &Self) -> Result<(), FileInvalid> {
        if self.hand_over.closing != other.hand_over.closing {
            return Err(FileInvalid::Another { found: other.digest(), expected: self.digest() });
        }
        self.add(other.hand_over.proof.certificate.signatures.iter().copied());
        Ok(())
    }

    fn add(&mut self, more: impl Iterator<Item = (NodeId, Signature)>) {
        let signatures = &mut self.hand_over.proof.certificate.signatures;
        let mut all: BTreeMap<NodeId, Signature> = more.collect();
        all.extend(signatures.iter().copied());
        *signatures = all.into_iter().collect();
    }

    /// The block, with what makes it final once all have signed.
    pub fn block(&self) -> FinalBlock {
        let HandOver { closing, proof, re_genesis, .. } = &self.hand_over;
        let anew = re_genesis.as_ref().expect("checked when it was made");
        let ClosingProof { certificate, carriers } = anew.proof.clone();
        let block = Block {
            header: closing.clone(),
            proposal: NOBODYS_PROPOSAL,
            parent_certificate: Some(certificate),
            carriers,
            skipped: None,
            entries: vec![anew.entry.clone()],
        };
        FinalBlock { block, certificate: proof.certificate.clone(), carriers: Vec::new() }
    }
}

/// Why a file is no re-genesis, or cannot be signed or joined with another one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FileInvalid {
    /// No file is so large.
    #[error("it has {bytes} bytes, more than {RE_GENESIS_BYTES_MAX}")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// It does not begin like one.
    #[error("it does not begin like a re-genesis of version 1")]
    NotAReGenesis,
    /// It is not the one encoding of one.
    #[error("it cannot be read: {0}")]
    Undecodable(#[from] DecodeError),
    /// It does not hold together.
    #[error("{0}")]
    HandOver(#[from] HandOverInvalid),
    /// A signature is not by the operator of that node.
    #[error("what stands for node {node} is no signature of its operator")]
    BadSignature {
        /// Which.
        node: NodeId,
    },
    /// The key is of no operator that has to sign.
    #[error("no operator that stays has this key")]
    NotASignatory,
    /// What keeps the key did not sign.
    #[error(transparent)]
    NotSigned(#[from] wallet::refusal::Refusal),
    /// Two files of different re-geneses.
    #[error("it is the re-genesis {found}, not {expected}")]
    Another {
        /// Of the file that was added.
        found: Digest,
        /// Of the first one.
        expected: Digest,
    },
}
