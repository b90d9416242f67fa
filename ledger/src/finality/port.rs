//! What goes into a voter and what comes out.

use std::time::Duration;

use wallet::{
    digest::Digest,
    units::{BlockHeight, NodeId, Timestamp},
};

use super::{HEIGHT_WINDOW, PENDING_BLOCKS_MAX, VoteRecord, WouldEquivocate};
use crate::{
    block::{Block, Header, View},
    certificate::{Certificate, CertificateInvalid, Nullification},
    evidence::Evidence,
    execute::{BlockInvalid, Executed},
    hand_over::ClosingProof,
    vote::{SignedGrant, SignedNullify, Vote},
};

/// What time it is at this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Time of day: compared with block times, and with nothing else.
    pub wall: Timestamp,
    /// A clock that nobody sets, from any beginning: what view timers run on.
    pub steady: Duration,
}

/// What the shell tells.
#[derive(Clone, Debug)]
pub enum Input {
    /// A block is on the local disk as raft log entry `log_index`, committed or not. Indices ascend.
    Flushed {
        /// Position in the raft log.
        log_index: u64,
        /// Term of the raft log entry, as its id says.
        term: u64,
        /// Who led that term, as the id says.
        leader: NodeId,
        /// Chain hash of the raft log before the entry; zero at its beginning.
        after: Digest,
        /// The block.
        block: Box<Block>,
    },
    /// The raft log was cut: the entries from this index on are gone.
    Truncated {
        /// The first index that is gone.
        from: u64,
    },
    /// A vote for a block, from a peer.
    Vote(Vote),
    /// A vote against views, from a peer.
    Nullify(SignedNullify),
    /// A certificate of either kind, from a peer or from the own disk.
    Certificate(Certificate),
    /// A quorum of nullify votes, as peers show it for a permit.
    Nullification(Nullification),
    /// Why the block that closes this node's epoch is final, from a peer.
    Closing(Box<ClosingProof>),
    /// A peer speaks of this epoch, and proves nothing. If it is a later one, this node asks how its own ended.
    Later {
        /// Which.
        epoch: u64,
    },
    /// A node stands for leader of `term`.
    Candidate {
        /// The raft term.
        term: u64,
        /// Who.
        candidate: NodeId,
        /// Why nothing after the parent's view and before that term can become final; none for the epoch's first term.
        permit: Option<Nullification>,
        /// Of the block that it will build on, which it holds; none if that is genesis or closed the epoch before.
        parent: Option<Certificate>,
    },
    /// A quorum granted a term to a node. The shell has verified that.
    Leads {
        /// The raft term.
        term: u64,
        /// Who leads it.
        leader: NodeId,
    },
    /// The guard saw the leader of this term lie: it cut what is final, or its log forked.
    Complaint {
        /// The raft term.
        term: u64,
    },
    /// Whether entries wait here to be put into a block.
    Demand(bool),
    /// Since when, by the steady clock, the final blocks of a term pass over an entry that waits here: they have room for
    /// it, the final state takes it, and it was sent to their leader. None if there is none.
    PassedOver {
        /// The raft term.
        term: u64,
        /// Since when.
        since: Option<Duration>,
    },
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
    /// Send this node's nullify vote to all peers, with the certificate that says from where on.
    BroadcastNullify {
        /// The vote.
        vote: SignedNullify,
        /// Of the highest certified view that this node knows; none before the first.
        best: Option<Certificate>,
    },
    /// A quorum ended all terms before this one.
    Entered {
        /// The raft term.
        term: u64,
        /// The proof.
        permit: Nullification,
    },
    /// The block that became final just before closed its epoch: another set votes from here on.
    Began {
        /// The new epoch.
        epoch: u64,
        /// Its first term, which this node has entered. It needs no permit.
        term: u64,
    },
    /// Stand for leader of this term.
    Campaign {
        /// The raft term.
        term: u64,
        /// Why nothing after the parent's view and before that term can become final; none for the epoch's first term.
        permit: Option<Nullification>,
        /// Of the block to build on, which the own log holds; none if that is genesis or closed the epoch before.
        parent: Option<Certificate>,
    },
    /// The answer to [`Input::Candidate`].
    Grant(SignedGrant),
    /// The next block is final: store it, let openraft apply up to `log_index`, and tell whoever waits.
    Final(Box<Final>),
    /// A certificate contradicts the own raft log: cut it from this index on, which is above the final one.
    SelfCut {
        /// The first index to cut.
        from: u64,
    },
    /// Tell the blocks of the log from this index on once more: a certificate that came later says more of one of them.
    ReadAgain {
        /// The first index to tell.
        from: u64,
    },
    /// Ask peers for the certificate of this height, and the block if the log lacks it.
    AskFor {
        /// What is missing.
        height: BlockHeight,
    },
    /// A key contradicted itself: portable evidence.
    Evidence(Box<Evidence>),
    /// An epoch that is over has two ends: the certificate of the one that is final here, and another. Keep that as
    /// evidence. The vote goes on, because nothing of that epoch is voted on any more.
    OldFork(Box<[Certificate; 2]>),
    /// The consortium's rules are broken beyond what f liars can do. The voter has stopped; show the evidence.
    Conflict(Box<Conflict>),
}

/// A block that became final.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Final {
    /// What certifies it. Of kind `Notarize` where a later block's certificate made it final as an ancestor. Of a block
    /// that closes its epoch, always of kind `Finalize`, and of the last of the carriers if there are any.
    pub certificate: Certificate,
    /// Blocks above one that closes its epoch, up to what the certificate names.
    pub carriers: Vec<Header>,
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
    /// Which validator set votes.
    pub epoch: u64,
    /// The term that this node is in.
    pub term: u64,
    /// Who leads it, as far as this node knows.
    pub leader: Option<NodeId>,
    /// Who gave up the rest of this term.
    pub gave_up: Vec<NodeId>,
    /// Who may not lead it, because terms that they led failed.
    pub barred: Vec<NodeId>,
    /// Why this node gave it up, if it did.
    pub complaint: Option<Complaint>,
    /// When this node gives the term up if nothing happens, in ms from now.
    pub patience_ms: u64,
    /// How many terms ended in a row without a final block.
    pub failed_terms: u32,
    /// Why blocks of the log at the next height are not voted for, with their raft index.
    pub invalid: Vec<(u64, BlockInvalid)>,
    /// Whether a conflict stopped this node.
    pub halted: bool,
}

/// Why a node gave up the rest of a term.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Complaint {
    /// Something was due for too long.
    TimeUp,
    /// A block of the term is invalid.
    InvalidBlock,
    /// A block's time lags the clock.
    LateBlock,
    /// The leader passes over an entry that waits here.
    PassedOver,
    /// The guard saw the leader lie.
    Guard,
    /// More than f others gave it up.
    Others,
    /// Its leader was replaced before this node saw why.
    Replaced,
}

impl Complaint {
    /// The names of all.
    pub const NAMES: [&'static str; 7] =
        ["time_up", "invalid_block", "late_block", "passed_over", "guard", "others", "replaced"];

    /// The stable name, for labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TimeUp => "time_up",
            Self::InvalidBlock => "invalid_block",
            Self::LateBlock => "late_block",
            Self::PassedOver => "passed_over",
            Self::Guard => "guard",
            Self::Others => "others",
            Self::Replaced => "replaced",
        }
    }
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
    /// Whether it closes its epoch.
    pub is_closing: bool,
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
    /// Too far above the best block of this node's log to be kept. Send it again when the node has caught up.
    #[error("height {height} is beyond the {HEIGHT_WINDOW} above height {best}")]
    BeyondWindow {
        /// Of the vote or certificate.
        height: BlockHeight,
        /// Of the highest certified block of the log, or of the final one.
        best: BlockHeight,
    },
    /// So many blocks of the log are valid and not final that this one has to wait until some are.
    #[error("{PENDING_BLOCKS_MAX} blocks wait already")]
    TooManyBlocks,
    /// The term is over: others have entered a later one.
    #[error("this node is in term {term}")]
    TermOver {
        /// Of this node.
        term: u64,
    },
    /// The candidate shows no quorum's word that what came after its parent is over.
    #[error("the candidate's permit does not reach from its parent to its term")]
    NotPermitted,
    /// The candidate's parent is older than what is final here.
    #[error("the candidate builds on view {parent:?}, and {tip:?} is final")]
    ParentBehind {
        /// The view that it builds on.
        parent: View,
        /// The final one.
        tip: View,
    },
    /// The candidate led a recent term that failed.
    #[error("node {candidate} led a recent term that failed")]
    Barred {
        /// Who.
        candidate: NodeId,
    },
    /// It is not yet that candidate's turn in this term.
    #[error("it is not the turn of node {candidate} yet")]
    NotItsTurn {
        /// Who.
        candidate: NodeId,
    },
    /// The term has a leader, or this node does not vote.
    #[error("term {term} is not to be granted")]
    NotGranted {
        /// The term.
        term: u64,
    },
    /// A signature would contradict an earlier one.
    #[error(transparent)]
    WouldEquivocate(#[from] WouldEquivocate),
    /// This node has seen a conflict and does nothing more.
    #[error("the node stopped at conflicting certificates")]
    Halted,
}

impl Refusal {
    /// The names of all.
    pub const NAMES: [&'static str; 11] = [
        "invalid",
        "beyond_window",
        "too_many_blocks",
        "term_over",
        "not_permitted",
        "parent_behind",
        "barred",
        "not_its_turn",
        "not_granted",
        "would_equivocate",
        "halted",
    ];

    /// The stable name, for labels.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "invalid",
            Self::BeyondWindow { .. } => "beyond_window",
            Self::TooManyBlocks => "too_many_blocks",
            Self::TermOver { .. } => "term_over",
            Self::NotPermitted => "not_permitted",
            Self::ParentBehind { .. } => "parent_behind",
            Self::Barred { .. } => "barred",
            Self::NotItsTurn { .. } => "not_its_turn",
            Self::NotGranted { .. } => "not_granted",
            Self::WouldEquivocate(_) => "would_equivocate",
            Self::Halted => "halted",
        }
    }
}
