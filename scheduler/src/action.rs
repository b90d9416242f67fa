//! What the scheduler can do with a batch.

use std::fmt;

use serde::{Deserialize, Serialize};
use wallet::units::NodeId;

/// One action on one batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Leave it as it is.
    Keep,
    /// From the engine's block pool to host memory, sealed.
    Demote,
    /// Back into the engine's block pool.
    Promote,
    /// To disk, sealed; no memory is held.
    Suspend,
    /// To another node: pre-copied while it decodes, cut over at a step boundary.
    Migrate {
        /// The node that will hold it.
        to: NodeId,
    },
    /// Drop its pages; the batch must be recomputed or closed.
    Evict,
}

impl Action {
    /// The node a migration goes to.
    pub fn destination(self) -> Option<NodeId> {
        match self {
            Self::Migrate { to } => Some(to),
            _ => None,
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keep => f.write_str("keep"),
            Self::Demote => f.write_str("demote"),
            Self::Promote => f.write_str("promote"),
            Self::Suspend => f.write_str("suspend"),
            Self::Migrate { to } => write!(f, "migrate to node {to}"),
            Self::Evict => f.write_str("evict"),
        }
    }
}
