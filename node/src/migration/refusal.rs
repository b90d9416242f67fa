//! Why a session does not move. Codes are stable; each has a page in `docs/errors`.

use std::time::Duration;

use gpu::stream::StreamFault;
use wallet::units::NodeId;

/// A rule of moves says no. Append only: codes are never reused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The destination is no node of the consortium, or the holder itself.
    #[error("node {node} cannot be a destination")]
    DestinationInvalid {
        /// The destination.
        node: NodeId,
    },
    /// The receiver serves another model, or with other arithmetic.
    #[error("the receiver does not serve this model with these numerics")]
    ModelDiffers,
    /// The receiver has too few free blocks.
    #[error("the receiver has {free} free blocks, and {needed} are needed")]
    NoRoom {
        /// What it has.
        free: u32,
        /// What is needed.
        needed: u32,
    },
    /// Somebody other than the receiver of the open offer asks.
    #[error("the offer is not to node {from}")]
    NotReceiver {
        /// Who asks.
        from: NodeId,
    },
    /// No such offer is open.
    #[error("no such offer is open here")]
    OfferUnknown,
    /// Only with a final acceptance.
    #[error("the acceptance is not final here yet")]
    AcceptanceNotFinal,
    /// The move took too long and was given up.
    #[error("the move was given up after {after:?}")]
    TimedOut {
        /// The limit.
        after: Duration,
    },
    /// The offer was closed without a confirm.
    #[error("the offer was closed before the receiver confirmed")]
    OfferClosed,
    /// The other node cannot be reached or does not answer as it should.
    #[error("node {node} failed: {reason}")]
    PeerFailed {
        /// Who was asked.
        node: NodeId,
        /// What happened.
        reason: String,
    },
    /// What the other side sent is not what it committed to.
    #[error("the hand-over does not verify: {reason}")]
    Unverified {
        /// What does not hold.
        reason: String,
    },
    /// Somebody other than the holder asks for a reservation.
    #[error("node {from} is not the holder of record")]
    NotHolder {
        /// Who asks.
        from: NodeId,
    },
    /// The source sent more than the receiver asked for or has room for.
    #[error("the source sent too much: {reason}")]
    TooMuch {
        /// What is beyond its bound.
        reason: &'static str,
    },
    /// The receiver asks to freeze before it has nearly all full pages.
    #[error("the receiver lacks more full pages than may cross in the gap")]
    PagesBehind,
    /// The stream that carries the pages failed.
    #[error("the hop stream failed: {reason} ({code})")]
    StreamFailed {
        /// The stream's code.
        code: &'static str,
        /// What it says.
        reason: String,
    },
}

impl Refusal {
    /// The code of [`Self::NotHolder`], as a peer gives it.
    pub(super) const NOT_HOLDER: &'static str = "N-311";

    /// Every code, in order.
    pub const CODES: [&'static str; 14] = [
        "N-301", "N-302", "N-303", "N-304", "N-305", "N-306", "N-307", "N-308", "N-309", "N-310", "N-311", "N-312",
        "N-313", "N-314",
    ];

    /// What a stream's fault means for a move.
    pub fn of_stream(fault: StreamFault) -> Self {
        Self::StreamFailed { code: fault.code(), reason: fault.to_string() }
    }

    /// The stable code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::DestinationInvalid { .. } => "N-301",
            Self::ModelDiffers => "N-302",
            Self::NoRoom { .. } => "N-303",
            Self::NotReceiver { .. } => "N-304",
            Self::OfferUnknown => "N-305",
            Self::AcceptanceNotFinal => "N-306",
            Self::TimedOut { .. } => "N-307",
            Self::OfferClosed => "N-308",
            Self::PeerFailed { .. } => "N-309",
            Self::Unverified { .. } => "N-310",
            Self::NotHolder { .. } => Self::NOT_HOLDER,
            Self::TooMuch { .. } => "N-312",
            Self::PagesBehind => "N-313",
            Self::StreamFailed { .. } => "N-314",
        }
    }

    /// Whether the same move may succeed later.
    pub const fn retry(&self) -> bool {
        matches!(
            self,
            Self::NoRoom { .. }
                | Self::OfferUnknown
                | Self::AcceptanceNotFinal
                | Self::TimedOut { .. }
                | Self::OfferClosed
                | Self::PeerFailed { .. }
                | Self::PagesBehind
                | Self::NotHolder { .. }
        )
    }
}
