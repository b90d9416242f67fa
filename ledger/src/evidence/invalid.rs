//! Why evidence proves nothing. Codes are part of the interface: append only, each with a page in `docs/errors`.

use genesis::GenesisError;
use wallet::{codec::DecodeError, digest::Digest};

use super::EVIDENCE_BYTES_MAX;
use crate::{
    certificate::CertificateInvalid, execute::BlockInvalid, hand_over::HandOverInvalid, refusal::Refusal,
    tree::partial::NotShown,
};

/// Why a file, or the evidence in it, blames nobody.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EvidenceInvalid {
    /// It does not begin as an evidence file does.
    #[error("this is no evidence file")]
    NotEvidence,
    /// Another format.
    #[error("version {found} of the format is not the one that this build reads")]
    OtherVersion {
        /// The file's.
        found: u32,
    },
    /// More bytes than evidence has.
    #[error("{bytes} bytes are more than the {EVIDENCE_BYTES_MAX} of evidence")]
    TooLarge {
        /// How many there are.
        bytes: usize,
    },
    /// The bytes are not the encoding of evidence.
    #[error(transparent)]
    Malformed(#[from] DecodeError),
    /// The file is of another consortium than the one that the reader trusts.
    #[error("the evidence is of consortium {found}, not of {expected}")]
    OtherConsortium {
        /// What the file names.
        found: Digest,
        /// What the reader named.
        expected: Digest,
    },
    /// The genesis document in the file is not what its hash says, or not signed.
    #[error("the genesis document: {0}")]
    Genesis(#[from] GenesisError),
    /// A validator set in the file is not what the one before handed over to.
    #[error("a hand-over: {0}")]
    HandOver(#[from] HandOverInvalid),
    /// A signature or certificate in it proves nothing.
    #[error(transparent)]
    Statement(#[from] CertificateInvalid),
    /// What was signed can be said by an honest key.
    #[error("no rule is broken: {0}")]
    NoContradiction(&'static str),
    /// Its parts do not belong together, so that they say nothing about what was signed.
    #[error("the parts do not belong together: {0}")]
    NotBound(&'static str),
    /// The execution looks at a record that is not shown. That it is not there would have to be shown, too.
    #[error(transparent)]
    NotShown(#[from] NotShown),
    /// The block executes on its parent.
    #[error("the block is valid")]
    BlockHolds,
    /// The block is refused for something that is not its leader's fault, such as its time.
    #[error("the block is refused, but that is no breach of its leader: {0}")]
    NoFault(BlockInvalid),
    /// The block would not have taken the entry.
    #[error("the promise holds: the entry was refused by a rule of the ledger: {0}")]
    PromiseKept(Refusal),
}

impl EvidenceInvalid {
    /// All codes.
    pub const CODES: [&'static str; 14] = [
        "L-296", "L-301", "L-302", "L-303", "L-304", "L-305", "L-306", "L-307", "L-308", "L-309", "L-310", "L-311",
        "L-312", "L-313",
    ];

    /// The stable code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotShown(_) => "L-296",
            Self::NotEvidence => "L-301",
            Self::OtherVersion { .. } => "L-302",
            Self::TooLarge { .. } => "L-303",
            Self::Malformed(_) => "L-304",
            Self::OtherConsortium { .. } => "L-305",
            Self::Genesis(_) => "L-306",
            Self::Statement(_) => "L-307",
            Self::NoContradiction(_) => "L-308",
            Self::NotBound(_) => "L-309",
            Self::BlockHolds => "L-310",
            Self::NoFault(_) => "L-311",
            Self::PromiseKept(_) => "L-312",
            Self::HandOver(_) => "L-313",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{collections::BTreeSet, fs, path::Path};

    #[test]
    fn every_code_has_a_page_and_every_page_a_code() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/errors");
        let is_ours = |code: &str| ("L-301".."L-350").contains(&code) || code == "L-296";
        let pages: BTreeSet<String> = fs::read_dir(folder)
            .expect("docs/errors")
            .map(|file| file.expect("a file").file_name().into_string().expect("ASCII"))
            .filter_map(|name| name.strip_suffix(".md").filter(|code| is_ours(code)).map(str::to_owned))
            .collect();
        assert_eq!(pages, EvidenceInvalid::CODES.map(str::to_owned).into());
    }
}
