//! The port to the other replicas, and what goes through it.
//!
//! The transport authenticates: the `from` that it passes to a replica is the node whose key opened the connection.

use std::time::Duration;

use futures::future::BoxFuture;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse};
use serde::{Deserialize, Serialize};
use wallet::{
    digest::Digest,
    identity::Signature,
    units::{BlockHeight, NodeId},
};

use super::{
    lineage::Lineage,
    log_store::Link,
    raft::{RaftEntry, TypeConfig},
    terms::{Candidacy, Proof},
};
use crate::{
    block::Header,
    certificate::{Certificate, Nullification},
    event::Entry,
    finality::Statements,
    hand_over::ClosingProof,
    vote::{SignedGrant, SignedNullify, Vote},
};

/// Words that one message carries at most.
pub const VOTES_MAX: usize = 64;

/// Certificates that one reply carries at most.
pub const CERTIFICATES_MAX: usize = 64;

/// Entries that one message carries at most.
pub const ENTRIES_MAX: usize = 512;

/// A message carries no further entry once it has so many encoded bytes of them.
pub const ENTRIES_BYTES_MAX: usize = 2 << 20;

/// Sends requests to the other nodes.
pub trait Transport: Send + Sync + 'static {
    /// Sends `request` to `to` and waits for the reply, no longer than `timeout`.
    fn request(
        &self,
        to: NodeId,
        request: PeerRequest,
        timeout: Duration,
    ) -> BoxFuture<'_, Result<PeerReply, TransportFault>>;
}

/// No reply came.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransportFault {
    /// There is no connection.
    #[error("node {0} cannot be reached")]
    Unreachable(NodeId),
    /// The connection broke, or the time was up.
    #[error("the request to node {to} failed: {reason}")]
    Failed {
        /// Who was asked.
        to: NodeId,
        /// What happened.
        reason: String,
    },
}

/// What one replica asks of another.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum PeerRequest {
    /// Raft's AppendEntries from the leader.
    Append {
        /// openraft's message.
        rpc: AppendEntriesRequest<TypeConfig>,
        /// Chain hash of the leader's log at `rpc.prev_log_id`; zero for none.
        prev_chain: Digest,
        /// Why the sender leads, until the receiver has acknowledged an append of the term.
        proof: Option<Box<Proof>>,
    },
    /// Asks for the receiver's grant.
    Candidate(Box<Candidacy>),
    /// What the sender's key signed, at most [`VOTES_MAX`].
    Votes(Vec<Word>),
    /// Entries for the leader to order, at most [`ENTRIES_MAX`].
    Submit(Vec<Entry>),
    /// The certificates from this height on.
    Certificates {
        /// The first height that the sender lacks.
        from: BlockHeight,
    },
    /// What the receiver holds signed by the sender's key.
    Statements,
    /// The raft entries after this place, at which the sender's final block stands, or the log's first entry.
    LogEntries {
        /// The place in the sender's log.
        after: Link,
    },
}

/// A statement of the finality vote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Word {
    /// For a block.
    Vote(Vote),
    /// Against views.
    Nullify {
        /// The vote.
        vote: SignedNullify,
        /// Of the block after which the vote begins; none for genesis.
        best: Option<Certificate>,
    },
}

impl Word {
    /// Who said it, as it says.
    pub fn speaker(&self) -> NodeId {
        match self {
            Self::Vote(vote) => vote.validator,
            Self::Nullify { vote, .. } => vote.validator,
        }
    }

    /// The last term that it speaks of.
    pub fn term(&self) -> u64 {
        match self {
            Self::Vote(vote) => vote.statement.view.term,
            Self::Nullify { vote, .. } => vote.statement.through,
        }
    }
}

/// The answer to a [`PeerRequest`].
#[derive(Debug, Serialize, Deserialize)]
pub enum PeerReply {
    /// To [`PeerRequest::Append`].
    Append(AppendEntriesResponse<u64>),
    /// To [`PeerRequest::Candidate`].
    Granted(SignedGrant),
    /// To [`PeerRequest::Append`] and [`PeerRequest::Candidate`]: that term is over, and this is why.
    TermOver(Box<Nullification>),
    /// To [`PeerRequest::Votes`]: where the receiver stands.
    Votes {
        /// Its final height.
        final_height: BlockHeight,
        /// Why a term may begin that is later than the sender's votes show.
        permit: Option<Box<Nullification>>,
    },
    /// To [`PeerRequest::Submit`].
    Submit(SubmitReply),
    /// To [`PeerRequest::Certificates`]: consecutive, from the asked height on, at most [`CERTIFICATES_MAX`], and none of
    /// a block that closes its epoch or later.
    Certificates(Vec<Certificate>),
    /// To [`PeerRequest::Statements`].
    Statements {
        /// What the receiver holds.
        held: Statements,
        /// In which lineage it is. What it signed and heard in another one it does not hold any more.
        lineage: Lineage,
    },
    /// To [`PeerRequest::LogEntries`]: the entries, up to a block that this certificate makes final.
    LogEntries {
        /// Consecutive.
        entries: Vec<RaftEntry>,
        /// Of the block in the last one, or of the last carrier above it, if it closes its epoch.
        certificate: Certificate,
        /// Between that block and what the certificate names.
        carriers: Vec<Header>,
    },
    /// The request was not carried out.
    Refused(PeerRefusal),
    /// To any of them that speaks of an epoch that is over, or asks for the block that closed it: how it ended.
    Closing(Box<ClosingProof>),
}

/// What became of submitted entries. Whether they hold is for the sender to see, in its own final state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SubmitReply {
    /// The leader will put them into blocks, if they are valid then. It says when, unless it is too busy.
    Queued(Option<Given>),
    /// Ask this node, which leads, or wait until one does.
    NotLeader(Option<NodeId>),
    /// The leader's queue is full. Retry.
    Full,
}

/// A leader's promise for the entries of a request, all of them: they are in its block `(term, through)` at the latest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Given {
    /// The raft term that it leads.
    pub term: u64,
    /// The number of the block in it.
    pub through: u64,
    /// Over the [`Promise`](crate::evidence::Promise) that names the leaves of the entries, in the order of the request.
    pub signature: Signature,
}

/// Why a replica did not carry out a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum PeerRefusal {
    /// The message speaks for another node than the one that sent it.
    #[error("the message speaks for another node than its sender")]
    NotSender,
    /// The sender's log contradicts what is final here.
    #[error("the log contradicts what is final here")]
    ContradictsFinal,
    /// The term is over here, and this node cannot show why: it restarted since.
    #[error("the term is not one that may have a leader now")]
    WildTerm,
    /// More items than a message may carry, or not consecutive.
    #[error("the message is not well formed")]
    Malformed,
    /// The replica is starting, stopping or restarting its core. Retry.
    #[error("the replica is not ready")]
    NotReady,
    /// That the sender leads is not proven here. Send the append again with the proof.
    #[error("it is not proven that the sender leads this term")]
    Unproven,
    /// The sender's log lacks a block that the receiver signed `Finalize` for, and nothing shows that it is dead.
    #[error("the log lacks a block that this node finalized")]
    ContradictsFinalized,
    /// The candidate gets no grant: another has it, or the candidate is barred, or it could not propose.
    #[error("this node does not grant the term to the candidate")]
    NotGranted,
}

impl PeerRefusal {
    /// The codes of all.
    pub const CODES: [&'static str; 8] = ["L-901", "L-902", "L-903", "L-904", "L-905", "L-906", "L-907", "L-908"];

    /// Stable name of the refusal.
    pub fn code(self) -> &'static str {
        match self {
            Self::NotSender => "L-901",
            Self::ContradictsFinal => "L-902",
            Self::WildTerm => "L-903",
            Self::Malformed => "L-904",
            Self::NotReady => "L-905",
            Self::Unproven => "L-906",
            Self::ContradictsFinalized => "L-907",
            Self::NotGranted => "L-908",
        }
    }

    /// Whether the same request may succeed later.
    pub fn retry(self) -> bool {
        matches!(self, Self::NotReady | Self::ContradictsFinalized | Self::NotGranted)
    }
}

#[cfg(test)]
mod tests {
    use openraft::{CommittedLeaderId, LogId, Vote as RaftVote};
    use wallet::{
        codec,
        digest::{sha256, to_hex},
        identity::Signature,
    };

    use super::*;
    use crate::{
        block::View,
        certificate::Leadership,
        vote::{Ballot, Grant, Nullify, Signed, VoteKind},
    };

    const BY: NodeId = NodeId::new(2);
    const SIGNATURE: Signature = Signature([9; 64]);

    fn golden<T: Serialize>(value: &T) -> String {
        to_hex(&sha256("golden", &[&codec::encode(value)]).0)
    }

    fn certificate() -> Certificate {
        Certificate {
            kind: VoteKind::Notarize,
            view: View { term: 3, number: 5 },
            height: BlockHeight::new(8),
            block: Digest([6; 32]),
            signatures: vec![(BY, SIGNATURE)],
        }
    }

    fn nullify() -> SignedNullify {
        let statement =
            Nullify { consortium: Digest([1; 32]), epoch: 0, from: View { term: 3, number: 6 }, through: 4 };
        Signed { statement, validator: BY, signature: SIGNATURE }
    }

    fn permit() -> Nullification {
        Nullification { votes: vec![nullify()] }
    }

    #[test]
    fn the_wire_form_of_requests_is_fixed() {
        let last = LogId::new(CommittedLeaderId::new(3, 1), 9);
        let rpc = AppendEntriesRequest {
            vote: RaftVote::new_committed(3, 1),
            prev_log_id: Some(last),
            entries: vec![openraft::Entry {
                log_id: LogId::new(CommittedLeaderId::new(3, 1), 10),
                payload: openraft::EntryPayload::Blank,
            }],
            leader_commit: None,
        };
        let leadership = Leadership { term: 3, leader: NodeId::new(1), grants: vec![(BY, SIGNATURE)] };
        let proof = Some(Box::new(Proof { leadership, permit: Some(permit()) }));
        let candidacy = Candidacy { term: 5, permit: Some(permit()), parent: Some(certificate()) };
        let ballot = Ballot {
            consortium: Digest([1; 32]),
            epoch: 0,
            kind: VoteKind::Finalize,
            view: View { term: 3, number: 5 },
            height: BlockHeight::new(8),
            block: Digest([6; 32]),
        };
        let words = vec![
            Word::Vote(Signed { statement: ballot, validator: BY, signature: SIGNATURE }),
            Word::Nullify { vote: nullify(), best: Some(certificate()) },
        ];
        let requests = [
            PeerRequest::Append { rpc, prev_chain: Digest([5; 32]), proof },
            PeerRequest::Candidate(Box::new(candidacy)),
            PeerRequest::Votes(words),
            PeerRequest::Submit(Vec::new()),
            PeerRequest::Certificates { from: BlockHeight::new(7) },
            PeerRequest::Statements,
            PeerRequest::LogEntries { after: Link { log_id: last, chain: Digest([4; 32]) } },
        ];
        assert_eq!(golden(&requests), "b536bc6a1370e63e6673f446b54f8dc5d199c566718fff96a2ef73016a163a9d");
    }

    #[test]
    fn the_wire_form_of_replies_is_fixed() {
        let grant = Grant { consortium: Digest([1; 32]), epoch: 0, term: 5, candidate: NodeId::new(3) };
        let replies = [
            PeerReply::Append(AppendEntriesResponse::Conflict),
            PeerReply::Granted(Signed { statement: grant, validator: BY, signature: SIGNATURE }),
            PeerReply::TermOver(Box::new(permit())),
            PeerReply::Votes { final_height: BlockHeight::new(7), permit: Some(Box::new(permit())) },
            PeerReply::Submit(SubmitReply::NotLeader(Some(NodeId::new(2)))),
            PeerReply::Certificates(Vec::new()),
            PeerReply::Statements { held: Statements::default(), lineage: Lineage::FIRST },
            PeerReply::LogEntries { entries: Vec::new(), certificate: certificate(), carriers: Vec::new() },
            PeerReply::Closing(Box::new(ClosingProof { certificate: certificate(), carriers: Vec::new() })),
            PeerReply::Refused(PeerRefusal::NotReady),
        ];
        assert_eq!(golden(&replies), "2cb87f28bd506c825529d0f46bfb277bee9eeed0661274cb503acd839bb841dc");
    }
}
