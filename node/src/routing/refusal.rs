//! Why a request is not placed.

use wallet::units::NodeId;

use crate::{peer::PeerFault, session};

/// Why no node serves a request.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The router found no node.
    #[error(transparent)]
    Router(#[from] scheduler::refusal::Refusal),
    /// The tenant's wallet cannot be made.
    #[error(transparent)]
    Wallet(#[from] wallet::refusal::Refusal),
    /// This node refuses the session.
    #[error(transparent)]
    Session(#[from] session::refusal::Refusal),
    /// The chosen node refuses the session, or gave no useful answer.
    #[error("node {node}: {fault}")]
    Elsewhere {
        /// The node.
        node: NodeId,
        /// What it said.
        fault: PeerFault,
    },
}

impl Refusal {
    /// The stable code.
    pub fn code(&self) -> &str {
        match self {
            Self::Router(refusal) => refusal.code(),
            Self::Wallet(refusal) => refusal.code(),
            Self::Session(refusal) => refusal.code(),
            Self::Elsewhere { fault: PeerFault::Refused(refused), .. } => &refused.code,
            Self::Elsewhere { fault: PeerFault::Network(fault), .. } => fault.code(),
            Self::Elsewhere { fault: PeerFault::Nonsense { .. }, .. } => "N-401",
        }
    }

    /// Whether the same request may succeed later.
    pub fn retry(&self) -> bool {
        match self {
            Self::Router(refusal) => refusal.may_retry(),
            Self::Wallet(_) => false,
            Self::Session(refusal) => refusal.retry(),
            Self::Elsewhere { fault, .. } => fault.retry(),
        }
    }
}
