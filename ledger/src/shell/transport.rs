//! The port to the other replicas, and what goes through it.
//!
//! The transport authenticates: the `from` that it passes to a replica is the node whose key opened the connection.

use std::time::Duration;

use futures::future::BoxFuture;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, VoteRequest, VoteResponse};
use serde::{Deserialize, Serialize};
use wallet::{
    digest::Digest,
    units::{BlockHeight, NodeId},
};

use super::raft::TypeConfig;
use crate::{
    block::{Certificate, Vote},
    event::Entry,
};

/// Votes that one message carries at most.
pub const VOTES_MAX: usize = 64;

/// Certificates that one reply carries at most.
pub const CERTIFICATES_MAX: usize = 64;

/// Entries that one message carries at most.
pub const ENTRIES_MAX: usize = 128;

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
    },
    /// Raft's RequestVote from a candidate.
    RequestVote(VoteRequest<u64>),
    /// Finality votes, the sender's own.
    Votes(Vec<Vote>),
    /// Entries for the leader to order, at most [`ENTRIES_MAX`].
    Submit(Vec<Entry>),
    /// The certificates from this height on.
    Certificates {
        /// The first height that the sender lacks.
        from: BlockHeight,
    },
}

/// The answer to a [`PeerRequest`].
#[derive(Debug, Serialize, Deserialize)]
pub enum PeerReply {
    /// To [`PeerRequest::Append`].
    Append(AppendEntriesResponse<u64>),
    /// To [`PeerRequest::RequestVote`].
    RequestVote(VoteResponse<u64>),
    /// To [`PeerRequest::Votes`]: where the receiver stands.
    Votes {
        /// Its final height.
        final_height: BlockHeight,
    },
    /// To [`PeerRequest::Submit`].
    Submit(SubmitReply),
    /// To [`PeerRequest::Certificates`]: consecutive, from the asked height on, at most [`CERTIFICATES_MAX`].
    Certificates(Vec<Certificate>),
    /// The request was not carried out.
    Refused(PeerRefusal),
}

/// What became of submitted entries. Whether they hold is for the sender to see, in its own final state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SubmitReply {
    /// The leader will put them into blocks, if they are valid then.
    Queued,
    /// Ask this node, which leads, or wait until one does.
    NotLeader(Option<NodeId>),
    /// The leader's queue is full. Retry.
    Full,
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
    /// The term is further ahead than elections can explain.
    #[error("the term is too far ahead")]
    WildTerm,
    /// More items than a message may carry, or not consecutive.
    #[error("the message is not well formed")]
    Malformed,
    /// The replica is starting, stopping or restarting its core. Retry.
    #[error("the replica is not ready")]
    NotReady,
}

impl PeerRefusal {
    /// Stable name of the refusal.
    pub fn code(self) -> &'static str {
        match self {
            Self::NotSender => "L-901",
            Self::ContradictsFinal => "L-902",
            Self::WildTerm => "L-903",
            Self::Malformed => "L-904",
            Self::NotReady => "L-905",
        }
    }

    /// Whether the same request may succeed later.
    pub fn retry(self) -> bool {
        matches!(self, Self::NotReady)
    }
}

#[cfg(test)]
mod tests {
    use openraft::{CommittedLeaderId, LogId, Vote as RaftVote};
    use wallet::{
        codec,
        digest::{sha256, to_hex},
    };

    use super::*;

    fn golden<T: Serialize>(value: &T) -> String {
        to_hex(&sha256("golden", &[&codec::encode(value)]).0)
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
        let requests = [
            PeerRequest::Append { rpc, prev_chain: Digest([5; 32]) },
            PeerRequest::RequestVote(VoteRequest::new(RaftVote::new(4, 2), Some(last))),
            PeerRequest::Votes(Vec::new()),
            PeerRequest::Submit(Vec::new()),
            PeerRequest::Certificates { from: BlockHeight::new(7) },
        ];
        assert_eq!(golden(&requests), "897ff72ed3d98dcc97a0018d9df9ddea8d0bf5dd37ee5e32bc538c431ce20111");
    }

    #[test]
    fn the_wire_form_of_replies_is_fixed() {
        let replies = [
            PeerReply::Append(AppendEntriesResponse::Conflict),
            PeerReply::RequestVote(VoteResponse::new(RaftVote::new(4, 2), None, true)),
            PeerReply::Votes { final_height: BlockHeight::new(7) },
            PeerReply::Submit(SubmitReply::NotLeader(Some(NodeId::new(2)))),
            PeerReply::Certificates(Vec::new()),
            PeerReply::Refused(PeerRefusal::NotReady),
        ];
        assert_eq!(golden(&replies), "ebf38cd1d30364fb8efb1199cfae4395caefbceb15f6e28bfee602f160a014a8");
    }
}
