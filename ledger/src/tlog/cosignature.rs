//! The validators' word for a checkpoint: C2SP's tlog-cosignature with Ed25519, and the quorum of them that makes a
//! checkpoint of this ledger.
//!
//! A validator cosigns only the trees of final blocks. By that it says more than C2SP asks of a cosigner: that it holds
//! all these entries, that it executed them, and that they are final.

use std::collections::BTreeMap;

use genesis::ValidatorSet;
use serde::{Deserialize, Serialize};
use wallet::{
    digest::Digest,
    identity::{PublicKey, Signature},
    units::NodeId,
};

use super::{
    Checkpoint, Malformed, Note,
    checkpoint::origin,
    note::{NoteSignature, key_id},
    to_base64,
};
use crate::vote::Signer;

/// The algorithm's number among C2SP's signature types.
const TIMED_ED25519: u8 = 4;
/// The bytes of a line after the key's id: time and signature.
const LINE_BYTES: usize = 8 + 64;
/// The last time that a cosignature may have, in seconds since 1970.
pub const TIME_MAX: u64 = i64::MAX as u64;

/// One validator's cosignature of a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cosignature {
    /// Who cosigned.
    pub cosigner: NodeId,
    /// When, in seconds since 1970 by the cosigner's clock.
    pub time: u64,
    /// By the cosigner's key in the epoch in which the log grew to this size; see [`crate::epochs`].
    pub signature: Signature,
}

/// A checkpoint of this ledger with cosignatures of its validators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CosignedCheckpoint {
    /// The log's head.
    pub checkpoint: Checkpoint,
    /// Ascending by cosigner, each once.
    pub cosignatures: Vec<Cosignature>,
}

/// Why a checkpoint proves nothing about the log of a consortium.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointInvalid {
    /// It cannot be read.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// It is about another log.
    #[error("the checkpoint is of the log {found:?}, not of {expected:?}")]
    OtherOrigin {
        /// The log it should be of.
        expected: String,
        /// The log it names.
        found: String,
    },
    /// A key of the validators is named, but did not sign this.
    #[error("the cosignature of node {cosigner} does not verify")]
    BadCosignature {
        /// Whose key.
        cosigner: NodeId,
    },
    /// Nobody of that number validates.
    #[error("node {cosigner} is no validator")]
    NotAValidator {
        /// Who cosigned.
        cosigner: NodeId,
    },
    /// Too few validators cosigned.
    #[error("{found} cosignatures are fewer than the quorum of {quorum}")]
    BelowQuorum {
        /// How many did.
        found: usize,
        /// How many must.
        quorum: usize,
    },
}

/// The name under which a validator cosigns the log of a consortium.
pub fn cosigner_name(consortium: &Digest, node: NodeId) -> String {
    format!("{}/node-{node}", origin(consortium))
}

/// A validator's key as C2SP writes verifier keys, for the policy files of other tools.
pub fn verifier_key(consortium: &Digest, node: NodeId, key: &PublicKey) -> String {
    let name = cosigner_name(consortium, node);
    let id = wallet::digest::to_hex(&key_id(&name, TIMED_ED25519, &key.0));
    let key = to_base64(&[&[TIMED_ED25519], &key.0[..]].concat());
    format!("{name}+{id}+{key}")
}

impl Cosignature {
    /// Cosigns `checkpoint` at `time`, in seconds since 1970. The caller sees to it that the tree is final, and the
    /// largest that it cosigns up to then.
    pub fn sign(checkpoint: &Checkpoint, signer: &Signer, time: u64) -> Self {
        let time = time.min(TIME_MAX);
        Self { cosigner: signer.node, time, signature: signer.key.cosign(&checkpoint.to_string(), time) }
    }

    /// Checks that a validator cosigned `checkpoint`.
    ///
    /// # Errors
    /// [`CheckpointInvalid`] says what is wrong.
    pub fn verify(&self, checkpoint: &Checkpoint, validators: &ValidatorSet) -> Result<(), CheckpointInvalid> {
        let cosigner = self.cosigner;
        let key = validators.key(cosigner).ok_or(CheckpointInvalid::NotAValidator { cosigner })?;
        let valid = self.time <= TIME_MAX
            && key.verify_cosignature(&checkpoint.to_string(), self.time, &self.signature).is_ok();
        if valid { Ok(()) } else { Err(CheckpointInvalid::BadCosignature { cosigner }) }
    }

    /// The form in a note.
    fn to_line(self, consortium: &Digest, key: &PublicKey) -> NoteSignature {
        let name = cosigner_name(consortium, self.cosigner);
        let key_id = key_id(&name, TIMED_ED25519, &key.0);
        NoteSignature { name, key_id, signature: [&self.time.to_be_bytes()[..], &self.signature.0].concat() }
    }

    /// Reads the line of a known key.
    fn from_line(line: &NoteSignature, cosigner: NodeId) -> Option<Self> {
        let bytes: &[u8; LINE_BYTES] = line.signature.as_slice().try_into().ok()?;
        let (time, signature) = bytes.split_first_chunk()?;
        Some(Self { cosigner, time: u64::from_be_bytes(*time), signature: Signature(signature.try_into().ok()?) })
    }
}

impl CosignedCheckpoint {
    /// The signed note. Cosignatures of nodes that are no `validators` are left out.
    pub fn to_note(&self, validators: &ValidatorSet, consortium: &Digest) -> Note {
        let line = |cosignature: &Cosignature| {
            validators.key(cosignature.cosigner).map(|key| cosignature.to_line(consortium, &key))
        };
        Note { text: self.checkpoint.to_string(), signatures: self.cosignatures.iter().filter_map(line).collect() }
    }

    /// Reads a note as a checkpoint of this `consortium` that a quorum of `validators` cosigned. Signatures of other keys
    /// are ignored, as C2SP has it; a bad one of a validator's key spoils the note.
    ///
    /// # Errors
    /// [`CheckpointInvalid`] says what is wrong.
    pub fn from_note(note: &Note, validators: &ValidatorSet, consortium: &Digest) -> Result<Self, CheckpointInvalid> {
        let checkpoint = Checkpoint::parse(&note.text)?;
        let expected = origin(consortium);
        if checkpoint.origin != expected {
            return Err(CheckpointInvalid::OtherOrigin { expected, found: checkpoint.origin });
        }
        let known = |&(node, key): &(NodeId, PublicKey)| {
            let name = cosigner_name(consortium, node);
            let id = key_id(&name, TIMED_ED25519, &key.0);
            ((name, id), node)
        };
        let known: BTreeMap<_, NodeId> = validators.members.iter().map(known).collect();
        let mut valid = BTreeMap::new();
        for line in &note.signatures {
            let Some(&cosigner) = known.get(&(line.name.clone(), line.key_id)) else { continue };
            let bad = CheckpointInvalid::BadCosignature { cosigner };
            let cosignature = Cosignature::from_line(line, cosigner).ok_or(bad)?;
            cosignature.verify(&checkpoint, validators)?;
            valid.insert(cosigner, cosignature);
        }
        let (found, quorum) = (valid.len(), validators.quorum());
        if found < quorum {
            return Err(CheckpointInvalid::BelowQuorum { found, quorum });
        }
        Ok(Self { checkpoint, cosignatures: valid.into_values().collect() })
    }
}
