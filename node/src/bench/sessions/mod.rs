//! Sessions that are cut off: a decode session over streams on disk, which is suspended, moved and killed at any point,
//! in this process and in processes of its own, and what its client and its tools see of that.
//!
//! What a place keeps of the session, and how it signs, parks, reads back and takes over, is the node's own code:
//! `Held` and `SessionDir`. What stands for other parts of a node: the engine is called without its queue, a [`World`] is
//! the client's line and the tools, and who drives a session decides, as the ledger does, which place holds it.

mod arrival;
mod chance;
mod client;
mod hands;
mod killed;
mod plan;
mod process;
mod runner;
mod session;
mod tally;
mod tool;
mod within;

pub use arrival::Arrival;
pub use chance::Chance;
pub use client::{Client, Verdict};
pub use hands::{At, Point, World};
pub use killed::{Ground, kill_processes};
pub use plan::{Plan, ToolCall};
pub use process::{Heard, Orders, Running, Scene};
pub use runner::{Decision, RunnerArgs, Stop, run_session};
pub use session::{Session, Turn};
pub use tally::{Doubts, Tally, Unclean};
pub use tool::{Tool, ToolLine};
pub use within::cut_within;

use crate::session::{disk::DiskFault, refusal::Refusal};

/// A session did not go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SessionFault {
    /// Its continuation or its journal.
    #[error(transparent)]
    Continuation(#[from] gpu::continuation::ContinuationRefusal),
    /// The folder of its place.
    #[error(transparent)]
    Disk(#[from] DiskFault),
    /// A rule of sessions says no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Its streams.
    #[error(transparent)]
    Stream(#[from] gpu::stream::StreamFault),
    /// Its engine.
    #[error(transparent)]
    Engine(#[from] gpu::Refusal),
    /// Its model.
    #[error(transparent)]
    Model(#[from] gpu::ModelFault),
    /// The system.
    #[error(transparent)]
    System(#[from] std::io::Error),
    /// It is not as it should be.
    #[error("{0}")]
    Wrong(String),
}

impl SessionFault {
    /// Whether somebody has to decide about an effect before anything else.
    fn is_of_doubt(&self) -> bool {
        let Self::Refused(Refusal::Continuation(refusal)) = self else { return false };
        matches!(**refusal, gpu::continuation::ContinuationRefusal::InDoubt { .. })
    }
}

impl From<wallet::refusal::Refusal> for SessionFault {
    fn from(refusal: wallet::refusal::Refusal) -> Self {
        Self::Refused(refusal.into())
    }
}
