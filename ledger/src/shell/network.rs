//! What openraft sends, and the outbound guard: an acknowledgement counts once this node's own final covers it, and
//! answers that would make openraft panic or follow a stranger are dropped.

use std::{sync::Arc, time::Duration};

use openraft::{
    AnyError, EmptyNode,
    error::{InstallSnapshotError, NetworkError, RPCError, RaftError, Unreachable},
    network::{Backoff, RPCOption, RaftNetwork, RaftNetworkFactory},
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse, VoteRequest,
        VoteResponse,
    },
};
use tokio::{sync::watch, time::Instant};
use wallet::{digest::Digest, units::NodeId};

use super::{
    log_store::LogStore,
    raft::{RaftLogId, RaftVote, TypeConfig, node_id},
    transport::{PeerReply, PeerRequest, Transport},
};

/// A term that is further ahead than this is no election's work. At one election a second it takes twelve days.
pub(crate) const TERM_AHEAD_MAX: u64 = 1 << 20;

type RpcError<E = RaftError<u64>> = RPCError<u64, EmptyNode, E>;

/// Makes a [`Peer`] for each node that openraft replicates to.
#[derive(Clone)]
pub(crate) struct Peers {
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) log: LogStore,
    pub(crate) final_at: watch::Receiver<Option<RaftLogId>>,
    /// How long to leave an unreachable peer alone.
    pub(crate) backoff: Duration,
}

/// openraft's line to one node.
pub(crate) struct Peer {
    to: Option<NodeId>,
    peers: Peers,
    /// The last entry that the peer acknowledged in the term of this vote.
    acknowledged: Option<(RaftVote, RaftLogId)>,
}

impl RaftNetworkFactory<TypeConfig> for Peers {
    type Network = Peer;

    async fn new_client(&mut self, target: u64, _: &EmptyNode) -> Peer {
        Peer { to: node_id(target), peers: self.clone(), acknowledged: None }
    }
}

impl RaftNetwork<TypeConfig> for Peer {
    async fn append_entries(
        &mut self,
        mut rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<u64>, RpcError> {
        let hold_until = Instant::now() + option.hard_ttl().mul_f32(0.8);
        let covered = rpc.entries.last().map(|entry| entry.log_id).or(rpc.prev_log_id);
        let (vote, asked_prev, sent_from) = (rpc.vote, rpc.prev_log_id, rpc.prev_log_id);
        self.skip_acknowledged(&mut rpc);
        let prev = rpc.prev_log_id;
        let prev_chain = self.chain_at(prev).map_err(RPCError::Network)?;
        let reply = self.request(PeerRequest::Append { rpc, prev_chain }, option.hard_ttl()).await?;
        let PeerReply::Append(response) = reply else { return Err(self.unexpected()) };
        match response {
            AppendEntriesResponse::Success => {
                self.acknowledged = covered.map(|log_id| (vote, log_id));
                self.hold(covered, hold_until).await?;
                Ok(AppendEntriesResponse::Success)
            }
            AppendEntriesResponse::PartialSuccess(matching) if sent_from <= matching && matching <= covered => {
                self.hold(matching, hold_until).await?;
                Ok(AppendEntriesResponse::PartialSuccess(matching))
            }
            AppendEntriesResponse::Conflict if prev != asked_prev => {
                // The peer lost what it had acknowledged: let openraft send it again.
                self.acknowledged = None;
                Err(network("the peer's log went back"))
            }
            AppendEntriesResponse::Conflict if prev.is_some() => {
                self.acknowledged = None;
                Ok(AppendEntriesResponse::Conflict)
            }
            AppendEntriesResponse::HigherVote(higher) if higher > vote && !wild(&vote, &higher) => {
                Ok(AppendEntriesResponse::HigherVote(unproven(higher)))
            }
            _ => Err(self.unexpected()),
        }
    }

    async fn install_snapshot(
        &mut self,
        _: InstallSnapshotRequest<TypeConfig>,
        _: RPCOption,
    ) -> Result<InstallSnapshotResponse<u64>, RpcError<RaftError<u64, InstallSnapshotError>>> {
        Err(RPCError::Unreachable(Unreachable::new(&AnyError::error("snapshots are not built yet"))))
    }

    async fn vote(&mut self, rpc: VoteRequest<u64>, option: RPCOption) -> Result<VoteResponse<u64>, RpcError> {
        let asked = rpc.vote;
        match self.request(PeerRequest::RequestVote(rpc), option.hard_ttl()).await? {
            PeerReply::RequestVote(response) if !wild(&asked, &response.vote) => Ok(response),
            _ => Err(self.unexpected()),
        }
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(self.peers.backoff))
    }
}

impl Peer {
    /// While finality stalls openraft sends the same range again and again: what the peer has acknowledged is only
    /// pointed at.
    fn skip_acknowledged(&self, rpc: &mut AppendEntriesRequest<TypeConfig>) {
        let Some((vote, acknowledged)) = self.acknowledged else { return };
        let Some(known) = rpc.entries.iter().rposition(|entry| entry.log_id == acknowledged) else { return };
        if vote == rpc.vote {
            rpc.prev_log_id = Some(acknowledged);
            rpc.entries.drain(..=known);
        }
    }

    fn chain_at(&self, log_id: Option<RaftLogId>) -> Result<Digest, NetworkError> {
        let Some(log_id) = log_id else { return Ok(Digest::ZERO) };
        match self.peers.log.link(log_id.index) {
            Ok(Some(link)) if link.log_id == log_id => Ok(link.chain),
            Ok(_) => Err(NetworkError::new(&AnyError::error("the own log was cut meanwhile"))),
            Err(fault) => Err(NetworkError::new(&fault)),
        }
    }

    async fn request(&self, request: PeerRequest, timeout: Duration) -> Result<PeerReply, RpcError> {
        let to = self.to.ok_or_else(|| self.unexpected())?;
        let reply = self.peers.transport.request(to, request, timeout).await;
        match reply {
            Ok(PeerReply::Refused(refusal)) => Err(RPCError::Unreachable(Unreachable::new(&refusal))),
            Ok(reply) => Ok(reply),
            // Also for a broken request: openraft repeats other errors at once, and without end.
            Err(fault) => Err(RPCError::Unreachable(Unreachable::new(&fault))),
        }
    }

    /// The gate: waits until the own final block covers `log_id`, until there is more to send, or until time is up.
    async fn hold(&self, log_id: Option<RaftLogId>, until: Instant) -> Result<(), RpcError> {
        let Some(log_id) = log_id else { return Ok(()) };
        let (mut final_at, mut flushed) = (self.peers.final_at.clone(), self.peers.log.flushed());
        let held = || network("held: not final here yet");
        tokio::select! {
            biased;
            covered = final_at.wait_for(|at| at.is_some_and(|at| log_id.index <= at.index)) => {
                covered.map(|_| ()).map_err(|_| held())
            }
            _ = flushed.wait_for(|flushed| flushed.index > Some(log_id.index)) => Err(held()),
            () = tokio::time::sleep_until(until) => Err(held()),
        }
    }

    fn unexpected(&self) -> RpcError {
        let error = AnyError::error(format!("node {:?} gave an answer that no honest node gives", self.to));
        RPCError::Unreachable(Unreachable::new(&error))
    }
}

/// Whether `found` is in a term that elections since `own` cannot explain.
pub(crate) fn wild(own: &RaftVote, found: &RaftVote) -> bool {
    found.leader_id.term > own.leader_id.term.saturating_add(TERM_AHEAD_MAX)
}

/// A peer's word alone names no leader: only the leader's own append does.
fn unproven(mut vote: RaftVote) -> RaftVote {
    vote.committed = false;
    vote
}

fn network(reason: &str) -> RpcError {
    RPCError::Network(NetworkError::new(&AnyError::error(reason)))
}
