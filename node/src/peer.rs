//! The session protocol between nodes: what one may ask of another, and the answers.
//!
//! One request, one answer. The network authenticates the sender; who may ask what is decided against the ledger's
//! final state. docs/formats/peer-protocol.md describes the bytes.

use std::{sync::Arc, time::Duration};

use crate::{
    checkpoint::messages::{CosignReply, CosignRequest},
    engine::elsewhere::OpenEngine,
    migration::{
        messages::{Freeze, Handover, OfferRef, Reserve, Reserved},
        report::MoveReport,
    },
    network::{NetworkFault, message::SessionPeers},
    routing::messages::{Gossip, GossipReply},
    schedule::messages::{GroundsReply, GroundsRequest},
    session::{
        request::{GenerateReply, GenerateRequest, ResumeSecret},
        tokens::End,
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

/// What one node asks of another. The order of the variants is part of the format.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum SessionRequest {
    /// Load and prefix-cache notices.
    Gossip(Gossip),
    /// A decision, the node's own or one that it kept.
    Grounds(GroundsRequest),
    /// Start a session at the node that the grant names.
    Generate(Box<GenerateRequest>),
    /// To read the stream of tokens that the node emitted.
    Tokens(TokensRequest),
    /// Keep room and draw a prekey for a move.
    Reserve(Box<Reserve>),
    /// The envelope of an offer whose acceptance is final.
    Envelope(OfferRef),
    /// Freeze at the next step boundary and hand over.
    Freeze(Freeze),
    /// The figures of a confirmed move, to its source.
    Report(Box<MoveReport>),
    /// Run an engine for the asking node.
    Engine(OpenEngine),
    /// The node's cosignature of a tree of the final log.
    Cosign(CosignRequest),
}

/// The answer to a [`SessionRequest`]. The order of the variants is part of the format.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum SessionReply {
    /// To [`SessionRequest::Gossip`].
    Gossip(GossipReply),
    /// To [`SessionRequest::Grounds`].
    Grounds(GroundsReply),
    /// To [`SessionRequest::Generate`].
    Generate(GenerateReply),
    /// To [`SessionRequest::Tokens`].
    Tokens(TokensReply),
    /// To [`SessionRequest::Reserve`].
    Reserved(Reserved),
    /// To [`SessionRequest::Envelope`].
    Envelope(Envelope),
    /// To [`SessionRequest::Freeze`].
    Handover(Box<Handover>),
    /// To [`SessionRequest::Report`] and [`SessionRequest::Engine`].
    Noted,
    /// To any request: a rule says no.
    Refused(PeerRefused),
    /// To [`SessionRequest::Cosign`].
    Cosign(CosignReply),
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

/// Asks to read the stream of a session's tokens ([`crate::session::tokens::descriptor`]). Who knows the client's resume
/// secret may.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TokensRequest {
    /// The wallet.
    pub wallet: WalletAddress,
    /// The client's resume secret.
    pub resume_secret: ResumeSecret,
}

/// Answer to [`TokensRequest`]: from now on the asking node may read the stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokensReply {
    /// Position of the token in the stream's first page.
    pub first: TokenPosition,
    /// Position after that in its last page.
    pub next: TokenPosition,
    /// How the stream ended there, if it has.
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

#[cfg(test)]
mod tests {
    use ledger::tlog::Cosignature;
    use wallet::{
        digest::{Digest, sha256},
        identity::Signature,
        prekey::{ExchangeKey, SignedPrekey},
        ticket::{ContentCommitment, HandoffTicket, SignedTicket},
        units::{ByteCount, KeyEpoch, TokenCount},
    };

    use super::*;
    use crate::migration::messages::SourceFigures;

    const WALLET: WalletAddress = WalletAddress(Digest([1; 32]));
    const OFFER: OfferRef = OfferRef { wallet: WALLET, offer: Digest([2; 32]) };

    fn report() -> MoveReport {
        MoveReport {
            wallet: WALLET,
            epoch: KeyEpoch::new(1),
            from: NodeId::new(2),
            to: NodeId::new(3),
            rule: Some("R7".to_owned()),
            decision: Digest([4; 32]),
            reason: None,
            pages_moved: 5,
            pages_verified: 6,
            bytes_moved: ByteCount::new(7),
            tokens_at_freeze: TokenPosition::new(8),
            source_last_step_end_ns: Some(9_000_000),
            destination_first_step_start_ns: Some(12_000_000),
            median_step_us: Some(1_500),
            offer_final_ms: Some(10),
            accept_final_ms: Some(11),
            confirm_final_ms: Some(12),
            freeze_to_confirm_final_ms: None,
            completed: true,
        }
    }

    fn requests() -> Vec<SessionRequest> {
        vec![
            SessionRequest::Tokens(TokensRequest { wallet: WALLET, resume_secret: ResumeSecret([4; 32]) }),
            SessionRequest::Reserve(Box::new(Reserve {
                wallet: WALLET,
                head: Digest([3; 32]),
                epoch: KeyEpoch::new(1),
                model: Digest([4; 32]),
                numerics: Digest([5; 32]),
                tokens: TokenCount::new(100),
                blocks: 12,
            })),
            SessionRequest::Envelope(OFFER),
            SessionRequest::Freeze(Freeze { offer: OFFER, have: 9 }),
            SessionRequest::Report(Box::new(report())),
            SessionRequest::Engine(OpenEngine {
                queue: Digest([1; 32]),
                model: Digest([2; 32]),
                numerics: Digest([3; 32]),
                blocks: 4,
            }),
            SessionRequest::Cosign(CosignRequest { size: 70_000 }),
        ]
    }

    fn replies() -> Vec<SessionReply> {
        let ticket = HandoffTicket {
            wallet: WALLET,
            head: Digest([3; 32]),
            epoch: KeyEpoch::new(1),
            source: NodeId::ZERO,
            receiver: NodeId::new(1),
            content: ContentCommitment(Digest([6; 32])),
            next_token: TokenPosition::new(53),
        };
        let signature = Signature([7; 64]);
        vec![
            SessionReply::Generate(GenerateReply {
                wallet: WALLET,
                served_by: NodeId::new(1),
                prompt_tokens: TokenCount::new(53),
                cached_tokens: TokenCount::new(48),
            }),
            SessionReply::Tokens(TokensReply {
                first: TokenPosition::new(3),
                next: TokenPosition::new(5),
                end: Some(End::Moved(NodeId::new(2))),
            }),
            SessionReply::Reserved(Reserved {
                prekey: SignedPrekey { node: NodeId::new(1), key: ExchangeKey([8; 32]), signature },
            }),
            SessionReply::Envelope(Envelope(vec![9; 5])),
            SessionReply::Handover(Box::new(Handover {
                ticket: SignedTicket { ticket, signature },
                full: 4,
                root: Digest([5; 32]),
                tail: Envelope(vec![9; 7]),
                figures: SourceFigures::default(),
            })),
            SessionReply::Noted,
            SessionReply::Refused(PeerRefused { code: "N-201".to_owned(), title: "no".to_owned(), retry: false }),
            SessionReply::Cosign(CosignReply { cosignature: None }),
            SessionReply::Cosign(CosignReply {
                cosignature: Some(Cosignature { cosigner: NodeId::new(2), time: 1_800_000_000, signature }),
            }),
        ]
    }

    fn hash(bytes: &[u8]) -> String {
        sha256("golden", &[bytes]).to_string()[..16].to_owned()
    }

    #[test]
    fn the_encodings_are_pinned() {
        let requests: Vec<String> = requests().iter().map(|request| hash(&codec::encode(request))).collect();
        let replies: Vec<String> = replies().iter().map(|reply| hash(&codec::encode(reply))).collect();
        let requests_pinned = [
            "05899e5f8df88995",
            "aa347334e554da49",
            "cac896d775ead689",
            "7dd8421176b80fa8",
            "632979d7c9eab8d4",
            "044a8c11bb06af64",
            "7cc84717bb4b4cba",
        ];
        let replies_pinned = [
            "b63f872ca096e1f1",
            "dadbd7f56ac66bf5",
            "658cee092e6e6995",
            "023b8347e8d5e0ba",
            "8cb54447b9118691",
            "614e5207f1519e0c",
            "01bb9f8ef0287fef",
            "a37abdd3737f4073",
            "5026da98349f9283",
        ];
        assert_eq!(requests, requests_pinned);
        assert_eq!(replies, replies_pinned);
    }

    #[test]
    fn a_request_with_a_secret_prints_none() {
        let printed = format!("{:?}", requests()[0]);
        assert!(!printed.contains("4, 4, 4") && !printed.contains("0404"), "{printed}");
    }

    #[test]
    fn damaged_messages_are_refused_without_a_panic() {
        for reply in replies() {
            let bytes = codec::encode(&reply);
            for cut in 0..bytes.len() {
                assert!(codec::decode::<SessionReply>(&bytes[..cut]).is_err());
            }
        }
    }

    #[test]
    fn the_stall_is_a_difference_of_times_in_units_of_the_median_step() {
        assert_eq!(report().compute_stall_us(), Some(3_000));
        assert_eq!(report().compute_stall_steps(), Some(2.0));
        assert_eq!(MoveReport { destination_first_step_start_ns: None, ..report() }.compute_stall_us(), None);
    }
}
