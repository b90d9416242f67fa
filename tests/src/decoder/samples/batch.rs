//! What travels with a session or lies on a holder's disk.

use gpu::{
    Millionths, SamplingParams, SessionSeed, StopStrings,
    continuation::{
        Bound, Effect, EffectId, EffectResult, Entry, Flags, Op, Record, Resolution, Standing, Status, Tail, Value,
        v1::{self, PageStreamRef, TokenStreamRef},
    },
};
use node::session::{
    request::Sampling,
    start::{SessionStart, SessionTerms, StreamBounds},
};
use scheduler::{
    action::Action,
    decision::Decision,
    ppm::Ppm,
    record::{
        BatchRecord, Context, Hop, Identity, MemoryTier, MoveCost, NextAction, Phase, RankedCandidate, RequestId,
        Routing, Supervision, Usage, Vitals,
    },
    refusal::Refusal,
    rules::{RuleId, TABLE_VERSION},
};
use wallet::{
    chain::{ChainKey, Link},
    codec::encode,
    digest::Digest,
    grant::WalletAddress,
    identity::{RegionId, SecretKey},
    page::{Dtype, Page, StreamDescriptor},
    policy::{JurisdictionPolicy, PolicyTree},
    seal::{
        envelope::{OfferSecrets, TailContents},
        pages::DataKey,
    },
    tenant::{TenantKey, WalletSecret},
    ticket::{Blind, ContentCommitment, HandoffTicket},
    units::{ByteCount, KeyEpoch, Micros, NodeId, PageIndex, Timestamp, TokenCount, TokenPosition},
};

pub(super) const WALLET: WalletAddress = WalletAddress(Digest([1; 32]));

/// The stream of [`pages`]: of no wallet, so that a page's hash needs no key.
pub(crate) fn stream() -> StreamDescriptor {
    StreamDescriptor {
        model: Digest([1; 32]),
        dtype: Dtype::F32,
        numerics: Digest([2; 32]),
        layers: 1,
        kv_heads: 1,
        head_dim: 2,
        block: 16,
    }
}

pub(crate) fn pages() -> Vec<Vec<u8>> {
    let payload = vec![7; stream().payload_bytes().expect("a possible stream")];
    let page = |index, fill| Page::new(&stream(), PageIndex::new(index), fill, &payload, None).expect("it fits");
    [page(0, 16), page(3, 5)].map(|page| page.as_bytes().to_vec()).to_vec()
}

pub(crate) fn envelopes() -> Vec<Vec<u8>> {
    let chain = ChainKey::first(&WALLET, &WalletSecret::from_bytes([5; 32]));
    let page_hash_key = chain.page_hash_key(&WALLET);
    let policy = policy();
    let offer = OfferSecrets {
        data_key: DataKey::from_bytes([1; 32]),
        link: Link::from_bytes([2; 32]),
        page_hash_key,
        stream: stream(),
        pages: 3,
        blind: Blind::from_bytes([3; 32]),
    };
    let tail = TailContents {
        page: pages().remove(1),
        continuation: vec![1, 2, 3],
        journal: moved_journals().remove(0),
        record: record().encode(),
        root: Digest([6; 32]),
        blind: Blind::from_bytes([7; 32]),
        resume_secret_hash: Digest([8; 32]),
        tenant_key: TenantKey::from_bytes([9; 32]),
        policy: policy.clone(),
        client_cursor: TokenPosition::new(4),
    };
    vec![encode(&offer), encode(&tail), encode(&policy)]
}

pub(super) fn policy() -> PolicyTree {
    let regions = [region("eu"), region("us")].into();
    let policy = JurisdictionPolicy { allowed: [region("eu")].into() };
    policy.tree(&regions, &WalletSecret::from_bytes([5; 32])).expect("known regions")
}

fn region(name: &str) -> RegionId {
    RegionId::try_from(name.to_owned()).expect("a region's name")
}

pub(crate) fn tickets() -> Vec<Vec<u8>> {
    let ticket = HandoffTicket {
        wallet: WALLET,
        head: Digest([2; 32]),
        epoch: KeyEpoch::new(1),
        source: NodeId::ZERO,
        receiver: NodeId::new(1),
        content: ContentCommitment::new(&Digest([3; 32]), &Blind::from_bytes([4; 32])),
        next_token: TokenPosition::new(33),
    };
    vec![encode(&ticket.sign(&SecretKey::from_seed(&[5; 32])))]
}

pub(crate) fn records() -> Vec<Vec<u8>> {
    vec![record().encode()]
}

fn record() -> BatchRecord {
    let migrate = Action::Migrate { to: NodeId::new(2) };
    BatchRecord {
        identity: Identity {
            wallet: WALLET,
            model: Digest([2; 32]),
            numerics: Digest([3; 32]),
            tenant: Some(vec![4, 5, 6]),
            origin: region("eu"),
            requests: vec![RequestId::try_from("cmpl-1".to_owned()).expect("a request id")],
        },
        context: Context {
            pages: 12,
            tokens: TokenCount::new(197),
            tail_rows: 5,
            reconstruction: Some(Micros::new(40_000)),
            compressed: false,
            embedding: None,
            usage: Usage { context: TokenCount::new(197), record: None },
        },
        vitals: Vitals {
            reengagement_within_60_s: None,
            ttl: Micros::new(1_800_000_000),
            tier: MemoryTier::Engine,
            utilisation: Ppm::new(970_000),
            eviction_risk: None,
            phase: Phase { prefill_complete: true, decoding: true, request_waits: false },
            active_at: Timestamp::new(1_000_000),
            step: Some(Micros::new(20_000)),
        },
        routing: Routing {
            candidates: vec![RankedCandidate { node: NodeId::new(2), price: Micros::new(1_500) }],
            move_cost: MoveCost {
                blocks: 13,
                bytes: ByteCount::new(100_000),
                tail_bytes: ByteCount::new(9_000),
                time: None,
                credits: None,
            },
            latency_sla: None,
            next: Some(NextAction { action: migrate, at: Timestamp::new(1_000_500), decision: Digest([7; 32]) }),
            hops: vec![Hop {
                from: NodeId::new(3),
                to: NodeId::new(1),
                epoch: KeyEpoch::new(1),
                head: Digest([8; 32]),
                at: Timestamp::new(900_000),
            }],
        },
        supervision: Supervision { rules_version: 1, decisions: 4, decision_head: Digest([9; 32]) },
    }
}

pub(crate) fn decisions() -> Vec<Vec<u8>> {
    let migrate = |to| Action::Migrate { to: NodeId::new(to) };
    let decision = Decision {
        seq: 3,
        at: Timestamp::new(1_000_000),
        previous: Digest([1; 32]),
        wallet: WALLET,
        rules_version: TABLE_VERSION,
        rule: RuleId::R7,
        inputs: [("batch.tokens".to_owned(), 197), ("node.2.blocks_free".to_owned(), 40)].into(),
        chosen: migrate(2),
        refused: vec![(migrate(1), Refusal::Outranked), (Action::Evict, Refusal::NothingToDo)],
    };
    vec![decision.encode()]
}

pub(super) fn sampling() -> Sampling {
    Sampling {
        max_tokens: TokenCount::new(200),
        temperature_ppm: 700_000,
        top_p_ppm: 950_000,
        seed: 11,
        ignore_eos: true,
        stop: vec!["END".to_owned()],
    }
}

/// Whose continuations [`continuations`] has.
pub(crate) fn signer() -> SecretKey {
    SecretKey::from_seed(&[9; 32])
}

fn terms() -> SessionTerms {
    SessionTerms {
        cached_tokens: TokenCount::ZERO,
        pace_ms: 25,
        origin: region("eu"),
        request_id: "chatcmpl-7".to_owned(),
    }
}

pub(crate) fn continuations() -> Vec<Vec<u8>> {
    let start = SessionStart {
        prompt_tokens: TokenCount::new(20),
        sampling: engine_sampling(),
        model: Digest([1; 32]),
        numerics: Digest([2; 32]),
        terms: terms(),
    };
    let bounds = StreamBounds {
        journal: Bound { root: Digest([3; 32]), to: 19 },
        kv: Bound { root: Digest([4; 32]), to: 2 },
        tail: Some(Tail { rows: 5, hash: Digest([5; 32]) }),
        finish: None,
    };
    let standing = Standing {
        id: WALLET.0,
        epoch: 3,
        flags: Flags::default(),
        status: Status::Parked,
        priority: 0,
        parent: Digest::ZERO,
        awaits: EffectId::NONE,
        numerics: Digest([2; 32]),
        policy: Digest([6; 32]),
        deadline_us: 0,
    };
    let body = start.body(bounds).expect("the terms fit");
    let signed = body.sign(&standing, &signer()).expect("a valid body");
    vec![signed.as_bytes().to_vec(), body.encode(), encode(&terms()), first_schema()]
}

pub(crate) fn journal_records() -> Vec<Vec<u8>> {
    let arguments = vec![Value::Text("send".to_owned()), Value::Tuple(vec![Value::Int(-1), Value::Nil])];
    let effect = Effect::new(&WALLET.0, 7, Op::Tool { idempotent: false }, arguments).expect("few arguments");
    let result = EffectResult { id: effect.id, outcome: Ok(Value::Bool(true)) };
    let resolved = Record::Resolved { id: effect.id, how: Resolution::Abort };
    let finished = Record::Finished(gpu::FinishReason::MaxTokens);
    [Record::Intent(effect), Record::Result(result), resolved, finished].iter().map(encode).collect()
}

pub(crate) fn moved_journals() -> Vec<Vec<u8>> {
    let mut entries = vec![Entry::Prompt { first: 0, tokens: vec![5, 6, 7] }, Entry::Token { first: 3, token: 8 }];
    let records = journal_records().into_iter().map(|bytes| wallet::codec::decode(&bytes).expect("a record"));
    entries.extend(records.map(Entry::Record));
    vec![encode(&entries), encode(&Vec::<Entry>::new())]
}

fn engine_sampling() -> SamplingParams {
    SamplingParams {
        temperature: Millionths(800_000),
        top_p: Millionths(950_000),
        top_k: Some(40),
        seed: SessionSeed([3; 32]),
        max_tokens: TokenCount::new(200),
        ignore_eos: false,
        stop: StopStrings::new(vec!["END".to_owned()]).expect("one short text"),
    }
}

fn first_schema() -> Vec<u8> {
    let continuation = v1::Continuation {
        model: Digest([1; 32]),
        numerics: Digest([2; 32]),
        sampling: engine_sampling(),
        prompt: TokenCount::new(20),
        tokens: TokenStreamRef { count: TokenCount::new(38), digest: Digest([4; 32]) },
        pages: PageStreamRef { full: 2, tail_rows: 5 },
        finish: None,
    };
    continuation.encode()
}
