//! Why a session does not do what it was asked. Codes are stable; each has a page in `docs/errors`.

use std::sync::Arc;

use gpu::continuation::{ContinuationRefusal, EffectId};
use wallet::units::NodeId;

use super::token_stream::TokenOutOfPlace;
use crate::{
    engine::EngineRefusal,
    migration,
    peer::{PeerFault, PeerRefused},
};

/// A rule of sessions says no, or one of a part below. Append only: codes are never reused.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// This node knows no such session.
    #[error("this node has no such session")]
    Unknown,
    /// It is at its end.
    #[error("the session is at its end")]
    Finished,
    /// It may not move before its wallet is on the ledger.
    #[error("the wallet's creation is not final yet")]
    CreationNotFinal,
    /// Something else is being done with it.
    #[error("a move of the session is under way")]
    Busy,
    /// It is not being served here.
    #[error("the session is {mode} at this node")]
    NotServing {
        /// What it is.
        mode: wallet::handoff::Mode,
    },
    /// The grant is not for this node, this consortium or the model that it serves.
    #[error("the tenant's grant does not fit: {reason}")]
    GrantInvalid {
        /// What does not fit.
        reason: &'static str,
    },
    /// The prompt is empty or leaves no room for a token.
    #[error("the prompt has {tokens} tokens; 1 to {tokens_max} are possible")]
    PromptInvalid {
        /// How many it has.
        tokens: usize,
        /// The most that leave room for a token.
        tokens_max: usize,
    },
    /// The client's resume secret is another.
    #[error("the resume secret is not that of the session")]
    ResumeSecretWrong,
    /// The disk did not keep what must be kept.
    #[error("the session's files cannot be written or read")]
    Disk,
    /// The session went to another node.
    #[error("the session is at node {to}")]
    Moved {
        /// Which one.
        to: NodeId,
    },
    /// The node is stopping, or the session ended while it was asked.
    #[error("the session has stopped")]
    Stopped,
    /// The disk did not take what it wrote, or does not give back what it goes on from.
    #[error("the session waits for this node's disk")]
    DiskAwaited,
    /// It is parked on disk.
    #[error("the session is suspended; resume it first")]
    Suspended,
    /// An effect is to be performed again, and the session's program does not ask for it.
    #[error("the program of the session never performs effect {effect} again")]
    NobodyRetries {
        /// The effect.
        effect: EffectId,
    },
    /// What it emits does not go on from what was shown here.
    #[error(transparent)]
    TokenOutOfPlace(#[from] TokenOutOfPlace),
    /// The node is starting. Retry.
    #[error("the node is starting")]
    Starting,
    /// The continuation is not what it should be.
    #[error("{0}")]
    Continuation(Arc<ContinuationRefusal>),
    /// The engine says no.
    #[error(transparent)]
    Engine(#[from] EngineRefusal),
    /// The wallet's rules say no.
    #[error(transparent)]
    Wallet(#[from] wallet::refusal::Refusal),
    /// The ledger says no.
    #[error(transparent)]
    Ledger(#[from] ledger::refusal::Refusal),
    /// A rule of moves says no.
    #[error(transparent)]
    Migration(#[from] migration::refusal::Refusal),
    /// Another node says no.
    #[error(transparent)]
    Peer(#[from] PeerRefused),
}

impl Refusal {
    /// The codes of this enum's own variants, in order.
    pub const CODES: [&'static str; 16] = [
        "N-201", "N-202", "N-203", "N-204", "N-205", "N-206", "N-207", "N-208", "N-209", "N-210", "N-211", "N-212",
        "N-213", "N-214", "N-194", "N-195",
    ];

    /// The stable code.
    pub fn code(&self) -> &str {
        match self {
            Self::Unknown => "N-201",
            Self::Finished => "N-202",
            Self::CreationNotFinal => "N-203",
            Self::Busy => "N-204",
            Self::NotServing { .. } => "N-205",
            Self::GrantInvalid { .. } => "N-206",
            Self::PromptInvalid { .. } => "N-207",
            Self::ResumeSecretWrong => "N-208",
            Self::Disk => "N-209",
            Self::Moved { .. } => "N-210",
            Self::Stopped => "N-211",
            Self::Suspended => "N-212",
            Self::Starting => "N-213",
            Self::DiskAwaited => "N-214",
            Self::NobodyRetries { .. } => "N-194",
            Self::TokenOutOfPlace(_) => "N-195",
            Self::Continuation(refusal) => refusal.code(),
            Self::Engine(refusal) => refusal.code(),
            Self::Wallet(refusal) => refusal.code(),
            Self::Ledger(refusal) => refusal.code(),
            Self::Migration(refusal) => refusal.code(),
            Self::Peer(refused) => &refused.code,
        }
    }

    /// Whether the same request may succeed later.
    pub fn retry(&self) -> bool {
        match self {
            Self::CreationNotFinal | Self::Busy | Self::NotServing { .. } | Self::Starting | Self::DiskAwaited => true,
            Self::Engine(refusal) => refusal.retry(),
            Self::Wallet(refusal) => refusal.retry() == wallet::refusal::Retry::Later,
            Self::Ledger(refusal) => refusal.retry() != ledger::refusal::Retry::Never,
            Self::Migration(refusal) => refusal.retry(),
            Self::Peer(refused) => refused.retry,
            _ => false,
        }
    }

    /// Whether it only says that the session does not go on here by itself: another engine may take it, or somebody has to
    /// decide something.
    pub(crate) fn leaves_it_standing(&self) -> bool {
        match self {
            Self::Engine(refusal) => refusal.names_another(),
            Self::Continuation(refusal) => {
                matches!(**refusal, ContinuationRefusal::InDoubt { .. } | ContinuationRefusal::Overdue { .. })
            }
            _ => false,
        }
    }

    /// As it travels to another node.
    pub fn to_peer(&self) -> PeerRefused {
        PeerRefused { code: self.code().to_owned(), title: self.to_string(), retry: self.retry() }
    }

    /// A peer's fault, as its asker sees it.
    pub fn of_peer(node: NodeId, fault: PeerFault) -> Self {
        match fault {
            PeerFault::Refused(refused) => refused.into(),
            fault => migration::refusal::Refusal::PeerFailed { node, reason: fault.to_string() }.into(),
        }
    }
}

impl From<ContinuationRefusal> for Refusal {
    fn from(refusal: ContinuationRefusal) -> Self {
        Self::Continuation(Arc::new(refusal))
    }
}

impl From<super::disk::DiskFault> for Refusal {
    fn from(fault: super::disk::DiskFault) -> Self {
        tracing::error!(%fault, "session files");
        Self::Disk
    }
}
