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
        let proof = Self { extra: extra_of(hand_overs)?, index, path, checkpoint };
        bounded(proof, hand_overs)
    }

    /// Reads the file.
    ///
    /// # Errors
    /// [`Malformed`] if it is none, or has more than [`LOG_PROOF_BYTES_MAX`] bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let Lines { heading, extra, number, path, checkpoint } =
            Lines::parse(bytes, "index ", PROOF_HASHES_MAX).map_err(malformed)?;
        if heading != Some(HEADING) {
            return Err(malformed("it does not begin with c2sp.org/tlog-proof@v1"));
        }
        Ok(Self { extra, index: LogIndex::new(number), path, checkpoint })
    }

    /// The checkpoint, the set of which a quorum cosigned it, and the name in force then: those of its tree, by the
    /// hand-overs in the file, and by exactly those re-geneses that are `named`. What is in the tree is not checked.
    ///
    /// # Errors
    /// [`LogProofInvalid`] says what is wrong.
    pub fn cosigned(
        &self,
        consortium: &Consortium,
        named: &[Digest],
    ) -> Result<(CosignedCheckpoint, ValidatorSet, Digest), LogProofInvalid> {
        let epochs = epochs(self.extra.as_deref(), consortium, named)?;
        let cosigned = cosigned_in(&epochs, &self.checkpoint)?;
        let validators = epochs.of_size(cosigned.checkpoint.size).clone();
        let name = epochs.sets().name_of(validators.epoch);
        Ok((cosigned, validators, name))
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
        let (cosigned, ..) = self.cosigned(consortium, named)?;
        let (root, size) = (&cosigned.checkpoint.root, cosigned.checkpoint.size);
        verify_inclusion(root, size, self.index, leaf, &self.path).map_err(|_| LogProofInvalid::NotIncluded)?;
        Ok(cosigned)
    }
}

impl fmt::Display for LogProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEADING}")?;
        write_lines(f, self.extra.as_deref(), ("index", self.index.get()), &self.path, &self.checkpoint)
    }
}

/// The lines of a proof that ends with a checkpoint.
pub(super) struct Lines<'a> {
    pub(super) heading: Option<&'a str>,
    pub(super) extra: Option<Vec<u8>>,
    pub(super) number: u64,
    pub(super) path: Vec<Digest>,
    pub(super) checkpoint: Note,
}

impl<'a> Lines<'a> {
    /// Reads them; the number stands after `named`, and what is above that and no extra data is a heading.
    pub(super) fn parse(bytes: &'a [u8], named: &str, hashes_max: usize) -> Result<Self, &'static str> {
        if bytes.len() > LOG_PROOF_BYTES_MAX {
            return Err("it is longer than 16 MiB");
        }
        let text = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8")?;
        let (head, checkpoint) = text.split_once("\n\n").ok_or("no empty line ends the path")?;
        let mut lines = head.split('\n').peekable();
        let heading = lines.next_if(|line| !line.starts_with("extra ") && !line.starts_with(named));
        let extra = lines.next_if(|line| line.starts_with("extra ")).map(|line| from_base64(&line["extra ".len()..]));
        let extra = match extra {
            Some(bytes) => Some(bytes.filter(|bytes| !bytes.is_empty()).ok_or("its extra data is not base64")?),
            None => None,
        };
        let number = lines.next().and_then(|line| number(line.strip_prefix(named)?)).ok_or("it has no number")?;
        let path: Option<Vec<Digest>> = lines.by_ref().take(hashes_max).map(hash_from_base64).collect();
        let path = path.filter(|_| lines.next().is_none()).ok_or("its path is not hashes, or too many")?;
        let checkpoint = Note::parse(checkpoint.as_bytes()).map_err(|malformed| malformed.reason)?;
        Checkpoint::parse(&checkpoint.text).map_err(|malformed| malformed.reason)?;
        Ok(Self { heading, extra, number, path, checkpoint })
    }
}

/// Writes what [`Lines::parse`] reads, without a heading.
pub(super) fn write_lines(
    f: &mut fmt::Formatter<'_>,
    extra: Option<&[u8]>,
    (named, number): (&str, u64),
    path: &[Digest],
    checkpoint: &Note,
) -> fmt::Result {
    if let Some(extra) = extra {
        writeln!(f, "extra {}", to_base64(extra))?;
    }
    writeln!(f, "{named} {number}")?;
    path.iter().try_for_each(|hash| writeln!(f, "{}", to_base64(hash.as_bytes())))?;
    write!(f, "\n{checkpoint}")
}

/// The sets to which the extra data lead, by exactly those re-geneses that are `named`.
pub(super) fn epochs(
    extra: Option<&[u8]>,
    consortium: &Consortium,
    named: &[Digest],
) -> Result<Epochs, LogProofInvalid> {
    let hand_overs: Vec<HandOver> = extra.map_or(Ok(Vec::new()), codec::decode)?;
    let epochs = Epochs::proven(consortium, &hand_overs, named)?;
    epochs.sets().check_all_taken()?;
    Ok(epochs)
}

/// A checkpoint that a quorum of the set of its tree cosigned.
pub(crate) fn cosigned_in(epochs: &Epochs, note: &Note) -> Result<CosignedCheckpoint, CheckpointInvalid> {
    let validators = epochs.of_size(Checkpoint::parse(&note.text)?.size);
    CosignedCheckpoint::from_note(note, validators, &epochs.sets().name_of(validators.epoch))
}

/// The extra data that lead to a set by `hand_overs`; none where there are none.
pub(super) fn extra_of(hand_overs: &[HandOver]) -> Result<Option<Vec<u8>>, LogProofTooLarge> {
    let bytes = codec::encoded_size(hand_overs);
    // What is too large by itself is not encoded.
    if bytes > LOG_PROOF_BYTES_MAX {
        return Err(LogProofTooLarge { bytes });
    }
    Ok((!hand_overs.is_empty()).then(|| codec::encode(hand_overs)))
}

/// A file that readers take.
pub(super) fn bounded<T: fmt::Display>(proof: T, hand_overs: &[HandOver]) -> Result<T, LogProofTooLarge> {
    let is_small = proof.to_string().len() <= LOG_PROOF_BYTES_MAX;
    if is_small { Ok(proof) } else { Err(LogProofTooLarge { bytes: codec::encoded_size(hand_overs) }) }
}

const fn malformed(reason: &'static str) -> Malformed {
    Malformed { what: "tlog-proof", reason }
}
