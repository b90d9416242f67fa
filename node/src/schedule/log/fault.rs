//! Why a decision log cannot be trusted.

use std::{io, path::PathBuf};

use wallet::digest::Digest;

/// Why the log cannot be read or written. The node does not run with a log that it cannot trust.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogFault {
    /// The file cannot be opened, read, written or synced.
    #[error("{}: {source}", file.display())]
    Io {
        /// Which file.
        file: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A stored decision is not what was written.
    #[error("{}: the decision log is damaged at byte {at}: {reason}", file.display())]
    Damaged {
        /// Which file.
        file: PathBuf,
        /// Where the damaged record begins.
        at: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// The ledger has an anchor that the log does not contain.
    #[error("{}: the log does not contain decision {decisions} with hash {hash}, which this node anchored", file.display())]
    AnchorMissing {
        /// Which file.
        file: PathBuf,
        /// The anchored length.
        decisions: u64,
        /// The anchored hash.
        hash: Digest,
    },
}

impl LogFault {
    /// The stable code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Io { .. } => "N-420",
            Self::Damaged { .. } => "N-421",
            Self::AnchorMissing { .. } => "N-422",
        }
    }
}
