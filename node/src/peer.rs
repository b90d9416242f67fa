//! The session protocol between nodes: what one may ask of another, and the answers.
//!
//! One request, one answer. The network authenticates the sender; who may ask what is decided against the ledger's
//! final state. docs/formats/peer-protocol.md describes the bytes.

use std::{sync::Arc, time::Duration};

use crate::{
    migration::{
        messages::{Freeze, Handover, OfferRef, PagesReply, PagesRequest, Reserve, Reserved},
        report::MoveReport,
    },
    network::{NetworkFault, message::SessionPeers},
    routing::messages::{Gossip, GossipReply},
    schedule::messages::{DecisionsReply, DecisionsRequest},
    session::{
        request::{GenerateReply, GenerateRequest, ResumeSecret},
        tokens::{EmittedToken, End},
    },
};
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use wallet::{
    codec,
    grant::WalletAddress,
    seal::envelope::Envelope,
    units::{NodeId, TokenPosition},
};

/// The longest that [`TokensRequest::wait_ms`] may ask for.
pub const WAIT_MS_MAX: u32 = 10_000;

/// Tokens in one [`TokensReply`] at most.
pub const TOKENS_MAX: usize = 512;

/// What one node asks of another. The order of the variants is part of the format.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum SessionRequest {
    /// Load and prefix-cache notices.
    Gossip(Gossip),
    /// A range of the node's decision log.
    Decisions(DecisionsRequest),
    /// Start a session at the node that the grant names.
    Generate(Box<GenerateRequest>),
    /// Tokens that the node emitted.
    Tokens(TokensRequest),
    /// Keep room and draw a prekey for a move.
    Reserve(Box<Reserve>),
    /// The envelope of an offer whose acceptance is final.
    Envelope(OfferRef),
    /// Full pages of an offered session.
    Pages(PagesRequest),
    /// Freeze at the next step boundary and hand over.
    Freeze(Freeze),
    /// The figures of a confirmed move, to its source.
    Report(Box<MoveReport>),
}

/// The answer to a [`SessionRequest`]. The order of the variants is part of the format.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum SessionReply {
    /// To [`SessionRequest::Gossip`].
    Gossip(GossipReply),
    /// To [`SessionRequest::Decisions`].
    Decisions(DecisionsReply),
    /// To [`SessionRequest::Generate`].
    Generate(GenerateReply),
    /// To [`SessionRequest::Tokens`].
    Tokens(TokensReply),
    /// To [`SessionRequest::Reserve`].
    Reserved(Reserved),
    /// To [`SessionRequest::Envelope`].
    Envelope(Envelope),
    /// To [`SessionRequest::Pages`].
    Pages(PagesReply),
    /// To [`SessionRequest::Freeze`].
    Handover(Box<Handover>),
    /// To [`SessionRequest::Report`].
    Noted,
    /// To any request: a rule says no.
    Refused(PeerRefused),
}

/// A refusal as it travels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{title} ({code})")]
pub struct PeerRefused {
    /// The stable code.
    pub code: String,
    /// What is refused, in words.
    pub title: String,
    /// Whether the same request may succeed later.
    pub retry: bool,
}

/// A long poll for the tokens of a session. Who knows the client's resume secret may ask.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TokensRequest {
    /// The wallet.
    pub wallet: WalletAddress,
    /// The first token that is wanted.
    pub from: TokenPosition,
    /// The client's resume secret.
    pub resume_secret: ResumeSecret,
    /// How long to wait for a token; at most [`WAIT_MS_MAX`].
    pub wait_ms: u32,
}

/// Answer to [`TokensRequest`]: without tokens and end, nothing was emitted in time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokensReply {
    /// At most [`TOKENS_MAX`].
    pub tokens: Vec<EmittedToken>,
    /// How the session ended after these.
    pub end: Option<End>,
}

/// Why a peer gave no useful answer.
#[derive(Debug, thiserror::Error)]
pub enum PeerFault {
    /// The request or its answer did not get through.
    #[error(transparent)]
    Network(#[from] NetworkFault),
    /// The peer refused.
    #[error(transparent)]
    Refused(#[from] PeerRefused),
    /// The peer's answer makes no sense.
    #[error("the answer of node {from} makes no sense: {reason}")]
    Nonsense {
        /// Who answered.
        from: NodeId,
        /// What is wrong with it.
        reason: String,
    },
}

/// The port through which sessions ask other nodes.
pub trait SessionLink: Send + Sync + 'static {
    /// Asks `to` and waits for the answer, no longer than `timeout`.
    fn ask(
        &self,
        to: NodeId,
        request: SessionRequest,
        timeout: Duration,
    ) -> BoxFuture<'_, Result<SessionReply, PeerFault>>;
}

impl SessionLink for SessionPeers {
    fn ask(
        &self,
        to: NodeId,
        request: SessionRequest,
        timeout: Duration,
    ) -> BoxFuture<'_, Result<SessionReply, PeerFault>> {
        Box::pin(async move {
            let reply = self.request(to, codec::encode(&request), timeout).await?;
            match codec::decode(&reply) {
                Ok(SessionReply::Refused(refused)) => Err(refused.into()),
                Ok(reply) => Ok(reply),
                Err(error) => Err(PeerFault::Nonsense { from: to, reason: error.to_string() }),
            }
        })
    }
}

impl<L: SessionLink> SessionLink for Arc<L> {
    fn ask(
        &self,
        to: NodeId,
        request: SessionRequest,
        timeout: Duration,
    ) -> BoxFuture<'_, Result<SessionReply, PeerFault>> {
        self.as_ref().ask(to, request, timeout)
    }
}

impl PeerFault {
    /// The answer was of another kind than the request.
    pub fn unexpected(from: NodeId) -> Self {
        Self::Nonsense { from, reason: "it answers another request".to_owned() }
    }

    /// Whether asking again may help.
    pub fn retry(&self) -> bool {
        match self {
            Self::Network(fault) => fault.retry(),
            Self::Refused(refused) => refused.retry,
            Self::Nonsense { .. } => false,
        }
    }
}
