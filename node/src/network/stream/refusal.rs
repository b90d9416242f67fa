//! Why an origin does not give what a reader asks for. Codes are stable; each has a page in `docs/errors`.

use serde::{Deserialize, Serialize};

/// A refusal as it travels. The order of the variants is part of the format; codes are never reused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum StreamRefusal {
    /// There is no such stream here, or it is not for the node that asks: it cannot tell which.
    #[error("no such stream is offered to this node")]
    Unknown,
    /// The request is not the encoding of one.
    #[error("the request is not understood")]
    Malformed,
    /// The asking node has as many requests here as it may.
    #[error("too many requests of this node wait already")]
    Busy,
    /// The pages at the cursor are gone.
    #[error("pages below {earliest} are not kept")]
    Gap {
        /// The first page that there is.
        earliest: u64,
    },
    /// The cursor is beyond what was ever written: it is of another life of the stream.
    #[error("there are only {tail} pages")]
    Beyond {
        /// How many there are.
        tail: u64,
    },
    /// The origin cannot read its own stream.
    #[error("the origin cannot read the stream: {title} ({code})")]
    Failed {
        /// The code of its fault.
        code: String,
        /// What its fault says.
        title: String,
    },
}

impl StreamRefusal {
    /// The stable code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unknown => "N-162",
            Self::Malformed => "N-163",
            Self::Busy => "N-164",
            Self::Gap { .. } => "N-165",
            Self::Beyond { .. } => "N-166",
            Self::Failed { .. } => "N-167",
        }
    }

    /// Whether the same request may succeed later.
    pub const fn retry(&self) -> bool {
        matches!(self, Self::Unknown | Self::Busy)
    }
}
