//! A file that proves that one entry is in the log: C2SP's tlog-proof.

use std::fmt;

use genesis::{Consortium, ValidatorSet};
use wallet::{codec, digest::Digest, units::LogIndex};

use super::{
    Checkpoint, CheckpointInvalid, CosignedCheckpoint, Malformed, Note, from_base64, hash_from_base64, number,
    to_base64,
};
use crate::{
    epochs::Epochs,
    hand_over::{HandOver, HandOverInvalid},
    tree::log::{PROOF_HASHES_MAX, verify_inclusion},
};

/// The first line.
const HEADING: &str = "c2sp.org/tlog-proof@v1";
/// A file has at most this many bytes: most of them are for the hand-overs, in base64.
pub const LOG_PROOF_BYTES_MAX: usize = 16 << 20;

/// An entry's place, the path from there to a root, and the checkpoint that has this root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogProof {
    /// Bytes of which C2SP says nothing; not empty. In this ledger the hand-overs from genesis to those who cosigned
    /// the checkpoint, canonically encoded; none in the first epoch.
    pub extra: Option<Vec<u8>>,
    /// Where the entry stands.
    pub index: LogIndex,
    /// The audit path (RFC 9162 2.1.3), the leaf's sibling first.
    pub path: Vec<Digest>,
    /// The checkpoint, as it was signed.
    pub checkpoint: Note,
}

/// Why a proof does not show that an entry is in the log of a consortium.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LogProofInvalid {
    /// Of the checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointInvalid),
    /// The extra data are no hand-overs.
    #[error("its extra data are no hand-overs: {0}")]
    Extra(#[from] codec::DecodeError),
    /// They do not lead to those who cosigned.
    #[error(transparent)]
    HandOvers(#[from] HandOverInvalid),
    /// The path leads elsewhere.
    #[error("the path does not lead from the entry to the checkpoint's root")]
    NotIncluded,
}

/// The hand-overs make a file that no reader takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a log proof with {bytes} bytes of hand-overs has more than the {LOG_PROOF_BYTES_MAX} that readers take")]
pub struct LogProofTooLarge {
    /// How many bytes the hand-overs have, before they are in base64.
    pub bytes: usize,
}

impl LogProof {
    /// The proof of the entry at `index` under a checkpoint, and the hand-overs from genesis to those who cosigned
    /// that.
    ///
    /// # Errors
    /// [`LogProofTooLarge`] where [`Self::parse`] would refuse the file.
    pub fn new(
        index: LogIndex,
        path: Vec<Digest>,
        checkpoint: Note,
        hand_overs: &[HandOver],
    ) -> Result<Self, LogProofTooLarge> {
        let bytes = codec::encoded_size(hand_overs);
        // What is too large by itself is not encoded.
        if bytes > LOG_PROOF_BYTES_MAX {
            return Err(LogProofTooLarge { bytes });
        }
        let extra = (!hand_overs.is_empty()).then(|| codec::encode(hand_overs));
        let proof = Self { extra, index, path, checkpoint };
        if proof.to_string().len() > LOG_PROOF_BYTES_MAX { Err(LogProofTooLarge { bytes }) } else { Ok(proof) }
    }

    /// Reads the file.
    ///
    /// # Errors
    /// [`Malformed`] if it is none, or has more than [`LOG_PROOF_BYTES_MAX`] bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        if bytes.len() > LOG_PROOF_BYTES_MAX {
            return Err(malformed("it is longer than 16 MiB"));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| malformed("it is not UTF-8"))?;
        let (head, checkpoint) = text.split_once("\n\n").ok_or(malformed("no empty line ends the path"))?;
        let mut lines = head.split('\n');
        if lines.next() != Some(HEADING) {
            return Err(malformed("it does not begin with c2sp.org/tlog-proof@v1"));
        }
        let mut line = lines.next();
        let extra = match line.and_then(|line| line.strip_prefix("extra ")) {
            Some(encoded) => {
                line = lines.next();
                let bytes = from_base64(encoded).filter(|bytes| !bytes.is_empty());
                Some(bytes.ok_or(malformed("its extra data is not base64"))?)
            }
            None => None,
        };
        let index = line.and_then(|line| number(line.strip_prefix("index ")?)).ok_or(malformed("it has no index"))?;
        let path: Option<Vec<Digest>> = lines.by_ref().take(PROOF_HASHES_MAX).map(hash_from_base64).collect();
        let path = path.filter(|_| lines.next().is_none()).ok_or(malformed("its path is not up to 64 hashes"))?;
        let checkpoint = Note::parse(checkpoint.as_bytes())?;
        Checkpoint::parse(&checkpoint.text)?;
        Ok(Self { extra, index: LogIndex::new(index), path, checkpoint })
    }

    /// The checkpoint, and the set of which a quorum cosigned it: that of its tree, by the hand-overs in the file, and by
    /// the re-geneses among them that are `named`. What is in the tree is not checked.
    ///
    /// # Errors
    /// [`LogProofInvalid`] says what is wrong.
    pub fn cosigned(
        &self,
        consortium: &Consortium,
        named: &[Digest],
    ) -> Result<(CosignedCheckpoint, ValidatorSet), LogProofInvalid> {
        let hand_overs: Vec<HandOver> = self.extra.as_deref().map_or(Ok(Vec::new()), codec::decode)?;
        let epochs = Epochs::proven(consortium, &hand_overs, named)?;
        let checkpoint = Checkpoint::parse(&self.checkpoint.text).map_err(CheckpointInvalid::from)?;
        let validators = epochs.of_size(checkpoint.size);
        let cosigned = CosignedCheckpoint::from_note(&self.checkpoint, validators, &consortium.id())?;
        Ok((cosigned, validators.clone()))
    }

    /// Checks that the entry with this leaf hash is in the log of `consortium`, under a checkpoint that a quorum of its
    /// validators cosigned. Gives that checkpoint.
    ///
    /// # Errors
    /// [`LogProofInvalid`] says what is wrong.
    pub fn verify(
        &self,
        leaf: &Digest,
        consortium: &Consortium,
        named: &[Digest],
    ) -> Result<CosignedCheckpoint, LogProofInvalid> {
        let (cosigned, _) = self.cosigned(consortium, named)?;
        let (root, size) = (&cosigned.checkpoint.root, cosigned.checkpoint.size);
        verify_inclusion(root, size, self.index, leaf, &self.path).map_err(|_| LogProofInvalid::NotIncluded)?;
        Ok(cosigned)
    }
}

impl fmt::Display for LogProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEADING}")?;
        if let Some(extra) = &self.extra {
            writeln!(f, "extra {}", to_base64(extra))?;
        }
        writeln!(f, "index {}", self.index)?;
        self.path.iter().try_for_each(|hash| writeln!(f, "{}", to_base64(hash.as_bytes())))?;
        write!(f, "\n{}", self.checkpoint)
    }
}

const fn malformed(reason: &'static str) -> Malformed {
    Malformed { what: "tlog-proof", reason }
}
