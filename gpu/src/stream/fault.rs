//! Why a stream fails. Codes are stable; each has a page in `docs/errors`.

use std::{io, path::PathBuf};

/// A stream did not do what it is there for. Append only: codes are never reused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StreamFault {
    /// The system says no.
    #[error("{}: {source}", file.display())]
    Io {
        /// Which file.
        file: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// What was read is not what was written.
    #[error("page {position} is damaged: {reason}")]
    Damaged {
        /// Which page.
        position: u64,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The payload is larger than the transport carries.
    #[error("a page of {count} bytes, more than the {max} allowed")]
    PageTooLarge {
        /// Its size.
        count: usize,
        /// The most that it can have.
        max: usize,
    },
    /// The stream's heads carry no hashes, so it cannot leave the memory of its host.
    #[error("a stream without hashes stays in the memory of its host")]
    Unhashed,
    /// The stream's hashes are keyed, and the writer gave none.
    #[error("the hashes of this stream are keyed, and the page has none")]
    HashMissing,
    /// The pages that it would take are gone.
    #[error("pages below {earliest} are not kept, {position} is asked for")]
    NotKept {
        /// What was asked for.
        position: u64,
        /// What there is.
        earliest: u64,
    },
    /// There are not so many pages.
    #[error("there are {tail} pages, {position} is asked for")]
    BeyondTail {
        /// What was asked for.
        position: u64,
        /// What there is.
        tail: u64,
    },
    /// The process or node at the other end is gone.
    #[error("the other end is gone: {reason}")]
    PeerGone {
        /// How it is known.
        reason: String,
    },
    /// It is another stream than the one that was meant.
    #[error("it is another stream: {reason}")]
    AnotherStream {
        /// In what it differs.
        reason: &'static str,
    },
    /// Pages and root or proof do not agree.
    #[error("pages {from} to {to} do not have the root that they should")]
    RootMismatch {
        /// The first page.
        from: u64,
        /// The page after the last.
        to: u64,
    },
    /// Another process has this place at the stream.
    #[error("the stream has a {role} already")]
    RoleTaken {
        /// Which place.
        role: &'static str,
    },
}

impl StreamFault {
    /// Every code, in order.
    pub const CODES: [&'static str; 11] =
        ["E-201", "E-202", "E-203", "E-204", "E-205", "E-206", "E-207", "E-208", "E-209", "E-210", "E-211"];

    /// The stable code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Io { .. } => "E-201",
            Self::Damaged { .. } => "E-202",
            Self::PageTooLarge { .. } => "E-203",
            Self::Unhashed => "E-204",
            Self::HashMissing => "E-205",
            Self::NotKept { .. } => "E-206",
            Self::BeyondTail { .. } => "E-207",
            Self::PeerGone { .. } => "E-208",
            Self::AnotherStream { .. } => "E-209",
            Self::RootMismatch { .. } => "E-210",
            Self::RoleTaken { .. } => "E-211",
        }
    }
}
