//! What operators and the scheduler may ask of a session.

use gpu::continuation::{EffectId, Resolution};
use wallet::{digest::Digest, units::NodeId};

use crate::migration::report::MoveReport;

/// What may be asked of a session.
#[derive(Clone, Debug)]
pub enum SessionCommand {
    /// Move it, and answer when that is final.
    Migrate {
        /// To this node.
        to: NodeId,
        /// Hash of the scheduler's decision behind it.
        decision: Digest,
        /// The scheduler's rule, for the report.
        rule: String,
    },
    /// Park it on disk.
    Suspend {
        /// Whether it goes on when somebody asks for its tokens. If not, it waits for [`Self::Resume`].
        until_read: bool,
    },
    /// Go on.
    Resume,
    /// Write down what somebody found out about an effect in doubt. The session stays parked.
    Resolve {
        /// The effect.
        effect: EffectId,
        /// What is to be done about it.
        how: Resolution,
    },
    /// End it.
    Close,
    /// Drop its pages, with an entry on the ledger.
    Evict {
        /// Hash of the scheduler's decision behind it.
        decision: Digest,
    },
}

/// How a command ended.
#[derive(Clone, Debug)]
pub enum CommandReply {
    /// It is done.
    Done,
    /// The move is final.
    Moved(Box<MoveReport>),
}
