//! What can be wrong with a session's folder.

use std::{
    io,
    path::{Path, PathBuf},
};

use gpu::{
    continuation::ContinuationRefusal,
    stream::{Appended, StreamFault},
};
use wallet::refusal::Refusal;

/// Why the disk did not keep or give back what a session needs.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiskFault {
    /// The system says no.
    #[error("{}: {source}", file.display())]
    Io {
        /// Which file.
        file: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file does not open under this node's key, or holds something else than it should.
    #[error("{}: {refusal}", file.display())]
    Damaged {
        /// Which file.
        file: PathBuf,
        /// What is wrong with it.
        refusal: Refusal,
    },
    /// A stream cannot be written or read.
    #[error("{}: {fault}", folder.display())]
    Stream {
        /// Which one.
        folder: PathBuf,
        /// What is wrong with it.
        fault: StreamFault,
    },
    /// A stream does not take a page.
    #[error("{}: it takes no page: {appended:?}", folder.display())]
    NotTaken {
        /// Which one.
        folder: PathBuf,
        /// What it says.
        appended: Appended,
    },
    /// The journal does not take or give back what it should.
    #[error("the journal: {0}")]
    Journal(#[from] ContinuationRefusal),
    /// The kept continuation is not one that this software can go on from.
    #[error("the continuation: {0}")]
    Continuation(ContinuationRefusal),
}

impl DiskFault {
    /// Whether the medium itself does not give what is asked of it, which does not pass by waiting.
    pub fn is_unreadable(&self) -> bool {
        match self {
            Self::Io { source, .. } | Self::Stream { fault: StreamFault::Io { source, .. }, .. } => {
                rustix::io::Errno::from_io_error(source) == Some(rustix::io::Errno::IO)
            }
            _ => false,
        }
    }

    /// Whether what is on the disk may be whole all the same: the system did not give it, or another version of this
    /// software wrote it. Then nothing may be concluded from the fault.
    pub fn may_be_whole(&self) -> bool {
        match self {
            Self::Io { .. } => true,
            Self::Stream { fault, .. } => matches!(fault, StreamFault::Io { .. }),
            Self::Journal(ContinuationRefusal::Stream(fault)) => matches!(fault, StreamFault::Io { .. }),
            // What stands in the journal was sealed by the holder, and whoever damages it cannot.
            Self::Journal(refusal) => matches!(refusal, ContinuationRefusal::RecordMalformed { .. }),
            // The same of what the holder has signed.
            Self::Continuation(refusal) => !matches!(
                refusal,
                ContinuationRefusal::Length { .. }
                    | ContinuationRefusal::SignerUnexpected { .. }
                    | ContinuationRefusal::SignatureInvalid
                    | ContinuationRefusal::BodyMismatch
            ),
            Self::Damaged { .. } | Self::NotTaken { .. } => false,
        }
    }
}

pub(super) fn io_fault(file: &Path) -> impl FnOnce(io::Error) -> DiskFault + use<> {
    let file = file.to_owned();
    move |source| DiskFault::Io { file, source }
}

pub(super) fn damaged(file: &Path, refusal: Refusal) -> DiskFault {
    DiskFault::Damaged { file: file.to_owned(), refusal }
}
