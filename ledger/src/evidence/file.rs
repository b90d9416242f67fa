//! The file in which evidence travels, with the genesis document that it is checked against.

use genesis::{Consortium, Document};
use serde::{Deserialize, Serialize};
use wallet::{codec, digest::Digest};

use super::{Culprit, Evidence, EvidenceInvalid};
use crate::{
    block::epoch_of,
    hand_over::{HandOver, ValidatorSets},
};

/// What every evidence file begins with.
pub const MAGIC: [u8; 8] = *b"bm-blame";
/// The format that this build writes and reads.
pub const VERSION: u32 = 3;
/// A file has at most this many bytes.
pub const EVIDENCE_BYTES_MAX: usize = 24 << 20;

/// Magic, version and the consortium's id: enough to say what the file is and whose, before anything else is read.
const HEAD_BYTES: usize = MAGIC.len() + 4 + 32;

/// Evidence with the genesis document of its consortium. See `docs/formats/evidence.md`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvidenceFile {
    /// Hash of the genesis document, as the file's head says.
    pub consortium: Digest,
    body: Body,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Body {
    evidence: Evidence,
    /// From genesis to the epoch that the evidence is of.
    hand_overs: Vec<HandOver>,
    /// The genesis document with all its signatures, canonically encoded.
    #[serde(with = "codec::bytes")]
    document: Vec<u8>,
}

impl EvidenceFile {
    /// The file of `evidence` against keys of `consortium`. `hand_overs` are those from genesis to the epoch that it is
    /// of.
    pub fn new(consortium: &Consortium, hand_overs: Vec<HandOver>, evidence: Evidence) -> Self {
        Self { consortium: consortium.id(), body: Body { evidence, hand_overs, document: consortium.to_bytes() } }
    }

    /// What it holds.
    pub const fn evidence(&self) -> &Evidence {
        &self.body.evidence
    }

    /// How many bytes the file has. No reader takes more than [`EVIDENCE_BYTES_MAX`].
    pub fn size(&self) -> usize {
        HEAD_BYTES + codec::encoded_size(&self.body)
    }

    /// The file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = [&MAGIC[..], &VERSION.to_le_bytes(), self.consortium.as_bytes()].concat();
        bytes.append(&mut codec::encode(&self.body));
        bytes
    }

    /// Reads a file, and checks nothing yet.
    ///
    /// # Errors
    /// [`EvidenceInvalid`] for bytes that are not the one encoding of a file of this version.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, EvidenceInvalid> {
        if bytes.len() > EVIDENCE_BYTES_MAX {
            return Err(EvidenceInvalid::TooLarge { bytes: bytes.len() });
        }
        let (head, body) = bytes.split_first_chunk::<HEAD_BYTES>().ok_or(EvidenceInvalid::NotEvidence)?;
        let (magic, rest) = head.split_at(MAGIC.len());
        let (version, consortium) = rest.split_at(4);
        if magic != MAGIC {
            return Err(EvidenceInvalid::NotEvidence);
        }
        let version = version.try_into().map(u32::from_le_bytes).map_err(|_| EvidenceInvalid::NotEvidence)?;
        if version != VERSION {
            return Err(EvidenceInvalid::OtherVersion { found: version });
        }
        let consortium = consortium.try_into().map(Digest).map_err(|_| EvidenceInvalid::NotEvidence)?;
        Ok(Self { consortium, body: codec::decode(body)? })
    }

    /// Checks everything against the genesis document whose hash the reader trusts, and the re-geneses that it was told of:
    /// no network, no clock. Who is to blame, with the consortium that names the keys.
    ///
    /// # Errors
    /// [`EvidenceInvalid`] for the first thing that does not hold. Then nobody is to be blamed.
    pub fn verify(
        &self,
        genesis: &Digest,
        re_geneses: &[Digest],
    ) -> Result<(Consortium, Vec<Culprit>), EvidenceInvalid> {
        let document = Document::from_bytes(&self.body.document)?;
        for found in [self.consortium, document.hash()] {
            if found != *genesis {
                return Err(EvidenceInvalid::OtherConsortium { found, expected: *genesis });
            }
        }
        let consortium = document.verify()?;
        let sets = ValidatorSets::proven(&consortium, &self.body.hand_overs, re_geneses)?;
        let culprits = self.body.evidence.verify_in(&consortium, &sets)?;
        if culprits.iter().any(|culprit| epoch_of(culprit.term) != sets.last().epoch) {
            return Err(EvidenceInvalid::NotBound("the hand-overs do not end with the epoch of the evidence"));
        }
        Ok((consortium, culprits))
    }
}
