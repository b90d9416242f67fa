//! What openraft sends, and the outbound guard: an acknowledgement counts once this node's own final covers it, and
//! answers that would make openraft panic or follow a stranger never reach it.

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
use tokio::sync::{mpsc, watch};
use wallet::{digest::Digest, units::NodeId};

use super::{
    log_store::LogStore,
    raft::{RaftLogId, RaftVote, TypeConfig, node_id},
    terms::{Proof, Terms},
    transport::{PeerRefusal, PeerReply, PeerRequest, Transport},
    validator::Message,
    window::Window,
};
use crate::{finality::Input, planted::planted};

type RpcError<E = RaftError<u64>> = RPCError<u64, EmptyNode, E>;

/// Makes a [`Peer`] for each node that openraft replicates to.
#[derive(Clone)]
pub(crate) struct Peers {
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) log: LogStore,
    pub(crate) final_at: watch::Receiver<Option<RaftLogId>>,
    pub(crate) terms: Arc<Terms>,
    pub(crate) validator: mpsc::Sender<Message>,
    /// How long to leave an unreachable peer alone.
    pub(crate) backoff: Duration,
    /// How long an acknowledgement waits for the own final.
    pub(crate) hold: Duration,
}

/// openraft's line to one node.
pub(crate) struct Peer {
    to: Option<NodeId>,
    peers: Peers,
    /// The last entry that the peer acknowledged in the term of this vote.
    acknowledged: Option<(RaftVote, RaftLogId)>,
    /// The term in which the peer knows that this node leads.
    proven_in: Option<u64>,
    window: Window,
}

impl RaftNetworkFactory<TypeConfig> for Peers {
    type Network = Peer;

    async fn new_client(&mut self, target: u64, _: &EmptyNode) -> Peer {
        Peer { to: node_id(target), peers: self.clone(), acknowledged: None, proven_in: None, window: Window::new() }
    }
}

impl RaftNetwork<TypeConfig> for Peer {
    async fn append_entries(
        &mut self,
        mut rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<u64>, RpcError> {
        let asked = rpc.entries.last().map(|entry| entry.log_id).or(rpc.prev_log_id);
        let (vote, asked_prev) = (rpc.vote, rpc.prev_log_id);
        self.go_on_from_acknowledged(&mut rpc).map_err(RPCError::Network)?;
        let sent = self.window.narrow(&mut rpc.entries);
        let prev = rpc.prev_log_id;
        let covered = rpc.entries.last().map(|entry| entry.log_id).or(prev);
        let answer = self.append(rpc, option.hard_ttl()).await?;
        if sent > 0 {
            self.window.answered(sent);
        }
        match answer {
            AppendEntriesResponse::Success => {
                self.acknowledged = covered.map(|log_id| (vote, log_id));
                // openraft knows of nothing beyond what it asked for.
                let told = covered.min(asked);
                self.hold(told, covered).await?;
                Ok(if told == asked {
                    AppendEntriesResponse::Success
                } else {
                    AppendEntriesResponse::PartialSuccess(told)
                })
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
            // Also for a part, which no honest peer says, and for a higher vote: a peer's word deposes nobody. A permit
            // does, and comes as `TermOver`.
            _ => Err(self.unexpected()),
        }
    }

    /// openraft asks for this where the own log begins after what the peer has. The peer takes those entries over from
    /// others by itself; once it has them openraft goes on from there, as if it had sent them.
    async fn install_snapshot(
        &mut self,
        rpc: InstallSnapshotRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<InstallSnapshotResponse<u64>, RpcError<RaftError<u64, InstallSnapshotError>>> {
        let (vote, prev_log_id) = (rpc.vote, rpc.meta.last_log_id);
        let probe = AppendEntriesRequest { vote, prev_log_id, entries: Vec::new(), leader_commit: None };
        let unreachable = |reason: &str| RPCError::Unreachable(Unreachable::new(&AnyError::error(reason)));
        match self.append(probe, option.hard_ttl()).await {
            Ok(AppendEntriesResponse::Success) => Ok(InstallSnapshotResponse { vote }),
            Ok(_) => Err(unreachable("the peer lacks what the own log begins after")),
            Err(error) => Err(unreachable(&error.to_string())),
        }
    }

    /// openraft holds no elections here; see `terms`.
    async fn vote(&mut self, _: VoteRequest<u64>, _: RPCOption) -> Result<VoteResponse<u64>, RpcError> {
        Err(RPCError::Unreachable(Unreachable::new(&AnyError::error("elections are not openraft's"))))
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(self.peers.backoff))
    }
}

impl Peer {
    /// Sends an append, with the proof of the leadership until the peer has it.
    async fn append(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        ttl: Duration,
    ) -> Result<AppendEntriesResponse<u64>, RpcError> {
        let term = rpc.vote.leader_id.term;
        let proof = self.peers.terms.proof_of(term);
        let proof = proof.ok_or_else(|| network("this node's leadership is not proven, or is over"))?;
        let prev_chain = self.chain_at(rpc.prev_log_id).map_err(RPCError::Network)?;
        let shown: Option<Box<Proof>> = (self.proven_in != Some(term)).then(|| Box::new((*proof).clone()));
        let was_shown = shown.is_some();
        match self.request(PeerRequest::Append { rpc, prev_chain, proof: shown }, ttl).await? {
            PeerReply::Append(response) => {
                self.proven_in = Some(term);
                Ok(response)
            }
            PeerReply::TermOver(permit) => {
                // When the voter cannot keep up this is dropped: the peer says it again.
                let _ = self.peers.validator.try_send(Message::Input(Input::Nullification(*permit)));
                Err(RPCError::Unreachable(Unreachable::new(&AnyError::error("the term is over"))))
            }
            PeerReply::Closing(proof) => {
                let _ = self.peers.validator.try_send(Message::Input(Input::Closing(proof)));
                Err(RPCError::Unreachable(Unreachable::new(&AnyError::error("the epoch is over"))))
            }
            PeerReply::Refused(PeerRefusal::Unproven) if !was_shown => {
                // It restarted. openraft repeats the request at once.
                self.proven_in = None;
                Err(network("the peer does not know that this node leads"))
            }
            PeerReply::Refused(refusal) => Err(RPCError::Unreachable(Unreachable::new(&refusal))),
            _ => Err(self.unexpected()),
        }
    }

    /// openraft learns of an acknowledgement when it is final. Until then it sends the same range again and again, which
    /// may end before the block that would make all of it final: what follows on what the peer has is sent instead.
    fn go_on_from_acknowledged(&self, rpc: &mut AppendEntriesRequest<TypeConfig>) -> Result<(), NetworkError> {
        let Some((_, acknowledged)) = self.acknowledged.filter(|(vote, _)| *vote == rpc.vote) else { return Ok(()) };
        let Some(last) = rpc.entries.last() else { return Ok(()) };
        if acknowledged.index < last.log_id.index {
            let known = rpc.entries.iter().rposition(|entry| entry.log_id == acknowledged);
            let Some(known) = known else { return Ok(()) };
            rpc.entries.drain(..=known);
        } else {
            let log = &self.peers.log;
            let own = log.link(acknowledged.index).map_err(|fault| NetworkError::new(&fault))?;
            if own.is_none_or(|own| own.log_id != acknowledged) {
                return Ok(());
            }
            let rest = log.entries_from(acknowledged.index + 1).map_err(|fault| NetworkError::new(&fault))?;
            rpc.entries = rest.into_iter().map(|stored| stored.entry).collect();
        }
        rpc.prev_log_id = Some(acknowledged);
        Ok(())
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
        // Also for a broken request: openraft repeats other errors at once, and without end.
        reply.map_err(|fault| RPCError::Unreachable(Unreachable::new(&fault)))
    }

    /// The gate: waits until the own final block covers `told`, until there is more to send than `sent`, or until time is
    /// up.
    async fn hold(&self, told: Option<RaftLogId>, sent: Option<RaftLogId>) -> Result<(), RpcError> {
        let Some(told) = told.filter(|_| !planted!(AckGateOff)) else { return Ok(()) };
        let (mut final_at, mut flushed) = (self.peers.final_at.clone(), self.peers.log.flushed());
        let held = || network("held: not final here yet");
        tokio::select! {
            biased;
            covered = final_at.wait_for(|at| at.is_some_and(|at| told.index <= at.index)) => {
                covered.map(|_| ()).map_err(|_| held())
            }
            _ = flushed.wait_for(|flushed| flushed.index() > sent.map(|at| at.index)) => Err(held()),
            () = tokio::time::sleep(self.peers.hold) => Err(held()),
        }
    }

    fn unexpected(&self) -> RpcError {
        let error = AnyError::error(format!("node {:?} gave an answer that no honest node gives", self.to));
        RPCError::Unreachable(Unreachable::new(&error))
    }
}

fn network(reason: &str) -> RpcError {
    RPCError::Network(NetworkError::new(&AnyError::error(reason)))
}
