//! What goes into a voter and what comes out.

use wallet::{
    digest::Digest,
    identity::SecretKey,
    units::{BlockHeight, NodeId, Timestamp},
};

use super::{HEIGHT_WINDOW, PENDING_BLOCKS_MAX, VoteRecord};
use crate::{
    block::{Block, Certificate, View, Vote},
    certificate::CertificateInvalid,
    execute::{BlockInvalid, Executed},
};

/// The key with which this node votes.
#[derive(Clone, Debug)]
pub struct Signer {
    /// Who votes.
    pub node: NodeId,
    /// The node's key of genesis.
    pub key: SecretKey,
}

/// What the shell tells.
#[derive(Clone, Debug)]
pub enum Input {
    /// A block is on the local disk as raft log entry `log_index`, committed or not. Indices ascend.
    Flushed {
        /// Position in the raft log.
        log_index: u64,
        /// Term of the raft log entry: not before that of the block's view, which a carried-over block keeps.
        term: u64,
        /// The block.
        block: Box<Block>,
    },
    /// The raft log was cut: the entries from this index on are gone.
    Truncated {
        /// The first index that is gone.
        from: u64,
    },
    /// A vote from a peer.
    Vote(Vote),
    /// A certificate from a peer or from the own disk.
    Certificate(Certificate),
    /// Time passed; about four a second.
    Tick,
}

/// What the shell does, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Make this record durable in place of the one before, and only then go on to the next effect.
    Record(VoteRecord),
    /// Send a vote of this node to all peers.
    Broadcast(Vote),
    /// The next block is final: store it, let openraft apply up to `log_index`, and tell whoever waits.
    Final(Box<Final>),
    /// A certificate contradicts the own raft log: cut it from this index on, which is above the final one.
    SelfCut {
        /// The first index to cut.
        from: u64,
    },
    /// Ask peers for the certificate of this height, and the block if the log lacks it.
    AskFor {
        /// What is missing.
        height: BlockHeight,
    },
    /// A validator voted for two blocks in one view: portable evidence.
    Equivocation(Box<[Vote; 2]>),
    /// The consortium's rules are broken beyond what f liars can do. The voter has stopped; show the evidence.
    Conflict(Box<Conflict>),
}

/// A block that became final.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Final {
    /// The proof.
    pub certificate: Certificate,
    /// The block.
    pub block: Block,
    /// What executing it gave.
    pub executed: Executed,
    /// Where it stands in the raft log.
    pub log_index: u64,
}

/// What must not happen while at most f validators lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Conflict {
    /// Two valid certificates for one height.
    TwoCertificates {
        /// The one held before.
        ours: Certificate,
        /// The other.
        theirs: Certificate,
    },
    /// A quorum finalized a block that does not execute here.
    CertifiedInvalid {
        /// What the quorum signed.
        certificate: Certificate,
        /// What is wrong with the block.
        reason: BlockInvalid,
    },
}

/// How finality stands, for people and metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The final height.
    pub height: BlockHeight,
    /// Since when nothing newer became final: when this node saw that, by its clock.
    pub since: Timestamp,
    /// The block that is voted on.
    pub open: Option<OpenBlock>,
    /// Why blocks of the log at the next height are not voted for, with their raft index.
    pub invalid: Vec<(u64, BlockInvalid)>,
    /// Whether a conflict stopped this node.
    pub halted: bool,
}

/// The block that is voted on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenBlock {
    /// Its digest.
    pub block: Digest,
    /// Its view.
    pub view: View,
    /// Where it stands in the raft log.
    pub log_index: u64,
    /// Whose notarizations are here.
    pub notarized: Vec<NodeId>,
    /// Whose finalizations are here.
    pub finalized: Vec<NodeId>,
}

/// Why an input was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The vote or certificate proves nothing.
    #[error(transparent)]
    Invalid(#[from] CertificateInvalid),
    /// Too far above the final height to be kept. Send it again when the node has caught up.
    #[error("height {height} is beyond the {HEIGHT_WINDOW} above final height {final_height}")]
    BeyondWindow {
        /// Of the vote or certificate.
        height: BlockHeight,
        /// Of this node.
        final_height: BlockHeight,
    },
    /// More blocks in the log than a certified chain needs.
    #[error("{PENDING_BLOCKS_MAX} blocks wait already")]
    TooManyBlocks,
    /// This node has seen a conflict and does nothing more.
    #[error("the node stopped at conflicting certificates")]
    Halted,
}
