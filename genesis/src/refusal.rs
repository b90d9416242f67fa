//! Why a consortium document is refused: what is wrong, and where.

use std::fmt;

use wallet::{codec::DecodeError, identity::PublicKey, refusal::Refusal};

use crate::OperatorId;

/// Where in the text: both count from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Line.
    pub line: usize,
    /// Column.
    pub column: usize,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// Why a document, a signature or a signing attempt is refused.
///
/// A `place` names table, position and key, such as `nodes[2].key`; positions count from 0, as node ids do. Codes are
/// stable; `docs/errors/` has a page for each.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GenesisError {
    /// The text is not TOML.
    #[error("{position}: not TOML: {reason}")]
    Syntax {
        /// Where the parser stopped.
        position: Position,
        /// What it met.
        reason: String,
    },
    /// The text is TOML, but has an unknown, missing or malformed field.
    #[error("{position}: {reason}")]
    Form {
        /// Where the field stands.
        position: Position,
        /// What is wrong with it.
        reason: String,
    },
    /// A list or text that needs content has none.
    #[error("{place} is empty")]
    Empty {
        /// Which.
        place: String,
    },
    /// Two tables claim the same id, key or address.
    #[error("{place} repeats {first}: {value}")]
    Duplicate {
        /// The second use.
        place: String,
        /// The first use.
        first: String,
        /// What is used twice.
        value: String,
    },
    /// A region that `[[regions]]` does not list.
    #[error("{place} names region {region:?}, which [[regions]] does not list")]
    RegionUnknown {
        /// Who names it.
        place: String,
        /// The region.
        region: String,
    },
    /// An operator that `[[operators]]` does not list.
    #[error("{place} names operator {operator:?}, which [[operators]] does not list")]
    OperatorUnknown {
        /// Who names it.
        place: String,
        /// The operator.
        operator: String,
    },
    /// A number outside its limits.
    #[error("{place} is {value}, outside {min} to {max}")]
    OutOfRange {
        /// Which number.
        place: String,
        /// Its value.
        value: u64,
        /// The smallest that is allowed.
        min: u64,
        /// The largest that is allowed.
        max: u64,
    },
    /// Two parameters that do not go together.
    #[error("parameters.{smaller} must be less than parameters.{larger}")]
    ParametersConflict {
        /// Which must be less.
        smaller: &'static str,
        /// Which must be more.
        larger: &'static str,
    },
    /// An address that others could not use.
    #[error("{place} is {value:?}: {rule}")]
    AddressInvalid {
        /// Which address.
        place: String,
        /// What it says.
        value: String,
        /// What an address must be.
        rule: &'static str,
    },
    /// A text for people that is too long or holds control characters.
    #[error("{place} is longer than {chars_max} characters or has control characters")]
    TextInvalid {
        /// Which text.
        place: String,
        /// How long it may be.
        chars_max: usize,
    },
    /// More than a document may hold.
    #[error("{what}: {count}, more than the {max} allowed")]
    TooLarge {
        /// What there is too much of.
        what: String,
        /// How much there is.
        count: usize,
        /// How much is allowed.
        max: usize,
    },
    /// Operators whose signature is missing.
    #[error("not signed by {}", list(.operators))]
    Unsigned {
        /// All of them.
        operators: Vec<OperatorId>,
    },
    /// A signature that is not over this document: it is forged, or the document changed after it was made.
    #[error("signatures.{operator}: not a signature over this document by {operator}'s key")]
    SignatureInvalid {
        /// Whose it should be.
        operator: OperatorId,
    },
    /// A secret key that does not belong to the operator who is to sign.
    #[error("the key for signing is {found}, but operator {operator} has {expected}")]
    KeyForeign {
        /// Who was to sign.
        operator: OperatorId,
        /// The key that the document lists.
        expected: PublicKey,
        /// The public half of the key that was given.
        found: PublicKey,
    },
    /// A key that no signature can be checked with.
    #[error("{place} is not an Ed25519 public key: {key}")]
    KeyInvalid {
        /// Whose key.
        place: String,
        /// The key.
        key: PublicKey,
    },
    /// Bytes that are not the canonical encoding of a document.
    #[error("genesis bytes: {0}")]
    Encoding(#[from] DecodeError),
    /// Whatever keeps the key did not sign.
    #[error("{0}")]
    KeyStore(#[from] Refusal),
}

impl GenesisError {
    /// The stable code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Syntax { .. } => "G-101",
            Self::Form { .. } => "G-102",
            Self::Empty { .. } => "G-103",
            Self::Duplicate { .. } => "G-104",
            Self::RegionUnknown { .. } => "G-105",
            Self::OperatorUnknown { .. } => "G-106",
            Self::OutOfRange { .. } => "G-107",
            Self::ParametersConflict { .. } => "G-108",
            Self::AddressInvalid { .. } => "G-109",
            Self::TextInvalid { .. } => "G-110",
            Self::TooLarge { .. } => "G-111",
            Self::Unsigned { .. } => "G-112",
            Self::SignatureInvalid { .. } => "G-113",
            Self::KeyForeign { .. } => "G-114",
            Self::Encoding(_) => "G-115",
            Self::KeyInvalid { .. } => "G-116",
            Self::KeyStore(refusal) => refusal.code(),
        }
    }

    /// Whether the same input could pass later. Never: a document must be changed or signed first.
    pub const fn retry(&self) -> bool {
        false
    }
}

fn list(operators: &[OperatorId]) -> String {
    operators.iter().map(OperatorId::as_str).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, path::Path};

    /// Every code that this file gives out, read from its own text so that a new variant cannot be forgotten.
    fn codes() -> BTreeSet<String> {
        let source = include_str!("refusal.rs");
        source
            .split("=> \"")
            .skip(1)
            .filter_map(|rest| rest.get(..5))
            .filter(|code| code.starts_with("G-"))
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn every_code_has_a_page_and_every_page_a_code() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/errors");
        let pages: BTreeSet<String> = std::fs::read_dir(&folder)
            .expect("docs/errors exists")
            .map(|file| file.expect("a readable folder").file_name().to_string_lossy().into_owned())
            .filter_map(|file| file.strip_suffix(".md").map(str::to_owned))
            .filter(|code| code.starts_with("G-"))
            .collect();
        assert_eq!(codes().len(), 16);
        assert_eq!(codes(), pages);
        for code in pages {
            let page = std::fs::read_to_string(folder.join(format!("{code}.md"))).expect("a readable page");
            assert!(page.starts_with(&format!("# {code}: ")), "{code}.md begins with its code");
        }
    }
}
