//! What nodes say to each other about sessions.

use gpu::stream::{Accumulator, Page as StreamPage, StreamId};
use ledger::{bundle::Grounds, testing};
use node::{
    checkpoint::messages::{CosignReply, CosignRequest},
    migration::messages::{Freeze, OfferRef, Reserve, Reserved},
    network::{
        message::PeerMessage,
        stream::{
            message::{OriginState, Pull, Pulled, StreamReply, StreamRequest, Trim},
            refusal::StreamRefusal,
        },
    },
    peer::{PeerRefused, SessionReply, SessionRequest, TokensReply, TokensRequest},
    routing::messages::{Gossip, GossipReply, LoadReport},
    schedule::messages::{GroundsReply, GroundsRequest},
    session::{
        request::{GenerateReply, GenerateRequest, PrefixSalt, ResumeSecret, TenantGrant},
        tokens::{End, TokenPayload, Usage},
        view::FinishReason,
    },
};
use scheduler::load::ServedModel;
use wallet::{
    codec::encode,
    digest::Digest,
    grant::WalletTerms,
    page::{Dtype, Layout, PageHead, PageKind, Part},
    prekey::ExchangeSecret,
    seal::envelope::Envelope,
    tenant::TenantMaster,
    units::{KeyEpoch, Micros, NodeId, TokenCount, TokenPosition},
};

use super::batch::{WALLET, policy, sampling};

pub(crate) fn peer_messages() -> Vec<Vec<u8>> {
    let messages =
        [PeerMessage::Ledger(vec![1, 2, 3]), PeerMessage::Session(Vec::new()), PeerMessage::Stream(vec![4, 5])];
    messages.into_iter().map(PeerMessage::into_bytes).collect()
}

pub(crate) fn session_requests() -> Vec<Vec<u8>> {
    let offer = OfferRef { wallet: WALLET, offer: Digest([3; 32]) };
    let load = LoadReport {
        serves: [ServedModel { model: Digest([1; 32]), numerics: Digest([2; 32]) }].into(),
        blocks_total: 320,
        blocks_free: 40,
        queue: Micros::new(7),
        prefill_tokens_per_s: Some(900),
    };
    let gossip = Gossip { load: Some(load), cleared: true, stored: vec![Digest([3; 32])], removed: vec![Digest::ZERO] };
    let reserve = Reserve {
        wallet: WALLET,
        head: Digest([2; 32]),
        epoch: KeyEpoch::new(1),
        model: Digest([1; 32]),
        numerics: Digest([2; 32]),
        tokens: TokenCount::new(70),
        blocks: 9,
    };
    let tokens = TokensRequest { wallet: WALLET, resume_secret: ResumeSecret([8; 32]) };
    let generate = GenerateRequest {
        tenant: grant(),
        prompt: vec![1, 2, 3],
        sampling: sampling(),
        pace_ms: 25,
        resume_secret_hash: Digest([9; 32]),
        request_id: "chatcmpl-7".to_owned(),
    };
    let requests = [
        SessionRequest::Generate(Box::new(generate)),
        SessionRequest::Gossip(gossip),
        SessionRequest::Grounds(GroundsRequest { by: NodeId::new(7), decision: Digest([1; 32]) }),
        SessionRequest::Tokens(tokens),
        SessionRequest::Reserve(Box::new(reserve)),
        SessionRequest::Envelope(offer),
        SessionRequest::Freeze(Freeze { offer, have: 3 }),
        SessionRequest::Cosign(CosignRequest { size: 70_000 }),
    ];
    requests.iter().map(encode).collect()
}

pub(crate) fn token_payloads() -> Vec<Vec<u8>> {
    vec![encode(&TokenPayload { id: 77, text: "a".to_owned() })]
}

pub(crate) fn session_replies() -> Vec<Vec<u8>> {
    let prekey = ExchangeSecret::from_bytes(&[4; 32]).offer(NodeId::new(1), &testing::node_key(1));
    let generated = GenerateReply {
        wallet: WALLET,
        served_by: NodeId::new(1),
        prompt_tokens: TokenCount::new(20),
        cached_tokens: TokenCount::new(16),
    };
    let first = TokenPosition::new(5);
    let used = Usage { prompt_tokens: TokenCount::new(20), ..Usage::default() };
    let refused = PeerRefused { code: "N-301".to_owned(), title: "no".to_owned(), retry: false };
    let replies = [
        SessionReply::Gossip(GossipReply { boot: [1; 16] }),
        SessionReply::Grounds(GroundsReply { grounds: Some(Grounds { decision: vec![1, 2], later: Vec::new() }) }),
        SessionReply::Generate(generated),
        SessionReply::Tokens(TokensReply { first, next: first, end: None }),
        SessionReply::Tokens(TokensReply { first, next: first, end: Some(End::Finished(FinishReason::Stop, used)) }),
        SessionReply::Reserved(Reserved { prekey }),
        SessionReply::Envelope(Envelope(vec![1; 80])),
        SessionReply::Noted,
        SessionReply::Cosign(CosignReply { cosignature: Some(super::tlog::cosigned().cosignatures[0]) }),
        SessionReply::Refused(refused),
    ];
    replies.iter().map(encode).collect()
}

/// One with a cosignature, and one without.
pub(crate) fn cosign_replies() -> Vec<Vec<u8>> {
    let cosignature = super::tlog::cosigned().cosignatures[0];
    [Some(cosignature), None].map(|cosignature| encode(&CosignReply { cosignature })).to_vec()
}

pub(crate) fn stream_requests() -> Vec<Vec<u8>> {
    let stream = StreamId(Digest([1; 32]));
    let pull = Pull { stream, cursor: 2, pages_max: 3, bytes_max: 4, wait_ms: 5, trim_below: Some(6), peaks: true };
    let requests = [
        StreamRequest::Pull(pull),
        StreamRequest::Pull(Pull { trim_below: None, peaks: false, ..pull }),
        StreamRequest::Trim(Trim { stream, below: 7 }),
    ];
    requests.iter().map(encode).collect()
}

pub(crate) fn stream_replies() -> Vec<Vec<u8>> {
    let state = OriginState { tail: 5, earliest: 1, durable: 4, epoch: 3, closed: true };
    let page = |payload: &[u8]| StreamPage {
        head: PageHead {
            kind: PageKind::Journal,
            dtype: Dtype::U8,
            layout: Layout::Rows,
            rows: 1,
            layer: 0,
            shard: 0,
            part: Part::K,
            sealed: true,
            encrypted: false,
            last: false,
            fill: 1,
            first: 0,
            position: 4,
            payload_bytes: payload.len() as u32,
            hash: Digest([4; 32]),
        },
        payload: payload.to_vec().into(),
    };
    let pulled = Pulled {
        stream: StreamId(Digest([1; 32])),
        state,
        start: Accumulator::from_peaks(3, vec![Digest([2; 32]), Digest([3; 32])]),
        root: Digest([4; 32]),
        pages: vec![page(b"first"), page(b"")],
    };
    let replies = [
        StreamReply::Pulled(pulled.clone()),
        StreamReply::Pulled(Pulled { start: None, pages: Vec::new(), ..pulled }),
        StreamReply::Trimmed,
        StreamReply::Refused(StreamRefusal::Gap { earliest: 9 }),
        StreamReply::Refused(StreamRefusal::Failed { code: "E-202".to_owned(), title: "no".to_owned() }),
    ];
    replies.iter().map(StreamReply::encode).collect()
}

fn grant() -> TenantGrant {
    let (consortium, nonce) = (Digest([1; 32]), [2; 16]);
    let (secret, key) = TenantMaster::from_bytes([3; 32]).wallet(&consortium, &nonce);
    let terms = WalletTerms {
        consortium,
        tenant_key: key.public_key(),
        policy: policy().commitment(),
        model: Digest([4; 32]),
        numerics: Digest([5; 32]),
        holder: NodeId::new(1),
        nonce,
    };
    let grant = terms.sign(&key.secret_key());
    TenantGrant { grant, secret, key, policy: policy(), prefix_salt: PrefixSalt([6; 32]) }
}
