//! Sessions that were suspended by every released version: each goes on here with the tokens that it had there.
//!
//! `goldens/continuation` has a folder for each schema, with what travelled beside each continuation, as one value in the
//! canonical encoding. A file is never written again.

use std::{fs, path::Path, sync::Arc};

use gpu::{
    Engine, EngineOptions, Model, SamplingParams, SequenceId, Session, TailPage,
    continuation::{
        Beside, Body, Bound, DecodeBody, Flags, Journal, SCHEMA, SignedContinuation, Standing, Status, Tail, Terms,
        journal_descriptor, kv_descriptor, v1,
    },
    numerics_id,
    stream::{Appended, Descriptor, Draft, Expect, RingOptions, RingStream, Stream, StreamWriter},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use wallet::{
    chain::PageHashKey,
    codec,
    digest::Digest,
    identity::SecretKey,
    page::{Page, PageHead, payload_hash},
    units::{PageIndex, TokenCount},
};

const SEQUENCE: SequenceId = SequenceId(1);
const ID: Digest = Digest([1; 32]);
const NAMES: [&str; 4] = ["finished", "greedy-mid-decode", "mid-prefill", "sampled-with-stop-strings"];

/// Schema 1.
#[derive(Serialize, Deserialize)]
struct Golden1 {
    continuation: Vec<u8>,
    /// All tokens so far.
    tokens: Vec<u32>,
    /// Payloads of the full pages.
    pages: Vec<Vec<u8>>,
    /// Rows and payload of the page after them.
    tail: Option<(u8, Vec<u8>)>,
    /// The tokens that follow.
    expected: Vec<u32>,
}

/// Schema 2. Signed with [`holder`], hashed under [`key`].
#[derive(Serialize, Deserialize)]
struct Golden2 {
    continuation: Vec<u8>,
    /// Heads and payloads of the journal's pages.
    journal: Vec<(Vec<u8>, Vec<u8>)>,
    /// Heads and payloads of the full KV pages.
    kv: Vec<(Vec<u8>, Vec<u8>)>,
    /// Payload of the page after them; empty if there is none.
    tail: Vec<u8>,
    /// The tokens that follow.
    expected: Vec<u32>,
}

/// What a session consists of.
struct Streams {
    journal: Journal,
    kv: Arc<RingStream>,
    tail: Option<TailPage>,
}

fn folder(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn golden<T: Serialize + DeserializeOwned>(schema: &str, name: &str) -> T {
    let file = folder("goldens/continuation").join(schema).join(name).with_extension("bin");
    codec::decode(&fs::read(file).expect("readable")).expect("a golden file")
}

fn holder() -> SecretKey {
    SecretKey::from_seed(&[2; 32])
}

fn key() -> PageHashKey {
    PageHashKey::from_bytes([3; 32])
}

fn engine() -> Engine {
    let model = Arc::new(Model::load(&folder("models/tiny")).expect("the demo model loads"));
    Engine::new(model, EngineOptions { block_count: 32, prefill_chunk_tokens: 7, idle_blocks_max: 8 })
}

fn ring(descriptor: Descriptor) -> Arc<RingStream> {
    RingStream::new(descriptor, RingOptions { pages: 128, payload_bytes: 1 << 16 })
}

fn journal(stream: Arc<RingStream>) -> Journal {
    Journal::open(stream, key(), 1).expect("readable")
}

/// Appends pages that came from elsewhere.
fn copied(descriptor: Descriptor, pages: &[(Vec<u8>, Vec<u8>)]) -> Arc<RingStream> {
    let stream = ring(descriptor);
    for (position, (head, payload)) in (0..).zip(pages) {
        let head = PageHead::decode(head.as_slice().try_into().expect("64 bytes")).expect("a head");
        let appended = stream.append(1, Expect::At(position), &Draft::of(&head), payload).expect("appends");
        assert_eq!(appended, Appended::Ok(position));
    }
    stream
}

/// The stream of these payloads.
fn kv_stream(model: &Model, payloads: &[Vec<u8>]) -> Arc<RingStream> {
    let format = model.stream_descriptor();
    let stream = ring(kv_descriptor(&ID, format.hash()));
    for (index, payload) in (0..).zip(payloads) {
        let page = Page::new(&format, PageIndex::new(index), 16, payload, Some(&key())).expect("a page");
        stream.append(1, Expect::At(index), &Draft::of(page.head()), page.payload()).expect("appends");
    }
    stream
}

fn bound(stream: &dyn Stream) -> Bound {
    let to = stream.state().tail;
    Bound { root: stream.root(to).expect("there"), to }
}

fn tail_of(tail: Option<&TailPage>) -> Option<Tail> {
    tail.map(|tail| Tail { rows: tail.rows, hash: payload_hash(&tail.payload, Some(&key())) })
}

fn standing() -> Standing {
    Standing {
        id: ID,
        epoch: 1,
        flags: Flags { want_exact: true, ..Flags::default() },
        status: Status::Ready,
        priority: 0,
        parent: Digest::ZERO,
        awaits: gpu::continuation::EffectId::NONE,
        numerics: numerics_id(),
        policy: Digest::ZERO,
        deadline_us: 0,
    }
}

fn sign(body: &DecodeBody) -> SignedContinuation {
    body.sign(&standing(), &holder()).expect("valid")
}

/// All pages of a stream.
fn pages(stream: &dyn Stream) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut cursor = gpu::stream::Cursor(0);
    let mut pages = Vec::new();
    while let gpu::stream::Next::Item(page, after) = stream.next(cursor).expect("readable") {
        pages.push((page.head.encode().to_vec(), page.payload.to_vec()));
        cursor = after;
    }
    pages
}

/// Reads a continuation as it arrives, checks it against its streams, and runs the session to its end. Returns the
/// tokens that were not known before.
fn resume(engine: &mut Engine, bytes: &[u8], streams: &Streams) -> Vec<u32> {
    let signed = SignedContinuation::decode(bytes.to_vec(), &holder().verifying_key()).expect("signed by the holder");
    let beside = Beside {
        tokens: streams.journal.tokens(),
        key: &key(),
        kv: bound(&*streams.kv),
        tail: tail_of(streams.tail.as_ref()),
    };
    let body = signed.body().and_then(|body| body.latest(&beside)).expect("a known schema");
    assert_eq!((body.model, signed.head().numerics), (engine.model().hash(), numerics_id()));
    assert_eq!(body.journal, streams.journal.bound().expect("a root"));
    assert_eq!(body.kv, bound(&*streams.kv));
    assert_eq!(body.tail, tail_of(streams.tail.as_ref()));
    let session = Session {
        tokens: streams.journal.tokens().to_vec(),
        prompt: body.prompt,
        sampling: body.sampling.clone(),
        salt: [0; 32],
    };
    let payloads: Vec<Vec<u8>> = pages(&*streams.kv).into_iter().map(|(_, payload)| payload).collect();
    let started = engine.start(SEQUENCE, &session, &payloads, streams.tail.as_ref()).expect("it fits");
    assert_eq!(u64::from(started.computed.get()), body.positions(), "nothing is computed again");
    assert_eq!(started.finish, body.finish);
    run(engine)[session.tokens.len()..].to_vec()
}

fn run(engine: &mut Engine) -> Vec<u32> {
    while engine.usage().sequences_running > 0 {
        engine.step();
    }
    engine.tokens(SEQUENCE).expect("there").to_vec()
}

/// The journal that whoever takes a session of schema 1 over writes.
fn written(old: &v1::Continuation, tokens: &[u32]) -> Journal {
    let mut journal = journal(ring(journal_descriptor(&ID)));
    let (prompt, generated) = tokens.split_at(old.prompt.get() as usize);
    journal.prompt(prompt).expect("it goes on");
    for token in generated {
        journal.token(journal.seq(), *token).expect("it goes on");
    }
    if let Some(reason) = old.finish {
        journal.finish(reason).expect("it goes on");
    }
    journal
}

/// A session of schema 1 in the latest one, with these tokens and pages beside it.
fn latest(
    old: &v1::Continuation,
    tokens: &[u32],
    (kv, tail): (Bound, Option<Tail>),
) -> Result<DecodeBody, &'static str> {
    let beside = Beside { tokens, key: &key(), kv, tail };
    Body::V1(old.clone()).latest(&beside).map_err(|refusal| refusal.code())
}

#[test]
fn a_session_of_schema_1_goes_on_with_its_tokens() {
    for name in NAMES {
        let golden: Golden1 = golden("v1", name);
        let mut engine = engine();
        let old = v1::Continuation::decode(&golden.continuation).expect("schema 1");
        assert_eq!(old.numerics, numerics_id());
        let tail = golden.tail.map(|(rows, payload)| TailPage { rows, payload });
        let kv = kv_stream(engine.model(), &golden.pages);
        let journal = written(&old, &golden.tokens);
        let pages = (bound(&*kv), tail_of(tail.as_ref()));
        let body = latest(&old, &golden.tokens, pages).expect("it becomes schema 2");
        let signed = sign(&body);
        let streams = Streams { journal, kv, tail };
        assert_eq!(resume(&mut engine, signed.as_bytes(), &streams), golden.expected, "{name}");
    }
}

#[test]
fn schema_1_becomes_schema_2_only_with_its_own_tokens_and_pages() {
    let golden: Golden1 = golden("v1", "greedy-mid-decode");
    let old = v1::Continuation::decode(&golden.continuation).expect("schema 1");
    let kv = bound(&*kv_stream(engine().model(), &golden.pages));
    let tail = |rows| Some(Tail { rows, hash: Digest::ZERO });
    assert!(latest(&old, &golden.tokens, (kv, tail(5))).is_ok(), "its own");
    let mut other = golden.tokens.clone();
    other[20] ^= 1;
    assert_eq!(latest(&old, &other, (kv, tail(5))), Err("E-309"));
    assert_eq!(latest(&old, &golden.tokens, (kv, tail(6))), Err("E-309"));
    let more = Bound { to: kv.to + 1, ..kv };
    assert_eq!(latest(&old, &golden.tokens, (more, None)), Err("E-309"));
    // Pages that are lost are computed again.
    let fewer = Bound { root: Digest::ZERO, to: 0 };
    assert!(latest(&old, &golden.tokens, (fewer, None)).is_ok());
}

#[test]
fn a_session_of_schema_2_goes_on_with_its_tokens() {
    for name in NAMES {
        let golden: Golden2 = golden("v2", name);
        let mut engine = engine();
        let kv = copied(kv_descriptor(&ID, engine.model().stream_descriptor().hash()), &golden.kv);
        let journal = journal(copied(journal_descriptor(&ID), &golden.journal));
        let rows = SignedContinuation::decode(golden.continuation.clone(), &holder().verifying_key())
            .and_then(|signed| signed.body())
            .map(|body| if let Body::Decode(body) = body { body.tail } else { None });
        let payload = golden.tail;
        let tail = rows.expect("a body").map(|Tail { rows, .. }| TailPage { rows, payload });
        let streams = Streams { journal, kv, tail };
        assert_eq!(resume(&mut engine, &golden.continuation, &streams), golden.expected, "{name}");
    }
}

#[test]
fn every_schema_has_its_golden_files_and_they_never_change() {
    let pinned = [
        "fd9b79e6607719bbdd6be7895e765356e1abd4e2ebdcb6566529c493ef721588",
        "fded9135a64e1ff11555372afd7a3bce7186205703395344d3889788e4990254",
    ];
    assert_eq!(pinned.len(), usize::from(SCHEMA), "a schema without golden files");
    for (schema, pinned) in (1..).zip(pinned) {
        let mut hash = blake3::Hasher::new();
        for name in NAMES {
            let file = folder(&format!("goldens/continuation/v{schema}")).join(name).with_extension("bin");
            hash.update(&fs::read(file).expect("readable"));
        }
        assert_eq!(hash.finalize().to_hex().as_str(), pinned, "schema {schema}");
    }
}

#[test]
#[ignore = "writes what is missing of the golden files of schema 2"]
fn write_the_golden_continuations() {
    use gpu::{ChatMessage, Millionths, SessionSeed, StopStrings};

    let greedy = |count| SamplingParams::greedy(TokenCount::new(count));
    let sampled = SamplingParams {
        temperature: Millionths(900_000),
        top_p: Millionths(950_000),
        top_k: Some(50),
        seed: SessionSeed::from_number(12),
        stop: StopStrings::new(vec!["coinage".to_owned(), "is killed".to_owned()]).expect("valid"),
        ..greedy(60)
    };
    for (name, sampling, steps) in [
        ("greedy-mid-decode", greedy(40), 22),
        ("sampled-with-stop-strings", sampled, 8),
        ("mid-prefill", greedy(40), 1),
        ("finished", greedy(5), 30),
    ] {
        let file = folder("goldens/continuation/v2").join(name).with_extension("bin");
        if file.exists() {
            continue;
        }
        let mut engine = engine();
        let content = "What is a continuation, and why is it small?".to_owned();
        let message = ChatMessage { role: "user".to_owned(), content };
        let tokenizer = engine.model().tokenizer().expect("it has one");
        let prompt = tokenizer.encode_chat(&[message]).expect("encodes");
        let session = Session {
            prompt: TokenCount::new(prompt.len() as u32),
            tokens: prompt.clone(),
            sampling: sampling.clone(),
            salt: [0; 32],
        };
        engine.start::<Vec<u8>>(SEQUENCE, &session, &[], None).expect("room");
        for _ in 0..steps {
            engine.step();
        }
        let parked = engine.suspend(SEQUENCE).expect("in the batch");
        let tokens = engine.tokens(SEQUENCE).expect("there").to_vec();
        let payloads: Vec<Vec<u8>> =
            (0..parked.full_pages as usize).map(|index| engine.page(SEQUENCE, index).expect("full")).collect();
        let kv = kv_stream(engine.model(), &payloads);
        let mut journal = journal(ring(journal_descriptor(&ID)));
        journal.prompt(&prompt).expect("it goes on");
        for token in &tokens[prompt.len()..] {
            journal.token(journal.seq(), *token).expect("it goes on");
        }
        if let Some(reason) = parked.finish {
            journal.finish(reason).expect("it goes on");
        }
        let body = DecodeBody {
            model: engine.model().hash(),
            sampling,
            prompt: session.prompt,
            journal: journal.bound().expect("a root"),
            kv: bound(&*kv),
            tail: tail_of(parked.tail.as_ref()),
            finish: parked.finish,
            terms: Terms::new(b"kept by the host".to_vec()).expect("short"),
        };
        engine.resume(SEQUENCE).expect("suspended");
        let expected = run(&mut engine)[tokens.len()..].to_vec();
        println!(
            "{name}: {} tokens, {} of the prompt, {:?} and {:?}, then {} tokens: {:?}",
            tokens.len(),
            prompt.len(),
            body.kv.to,
            body.tail.map(|tail| tail.rows),
            expected.len(),
            engine.model().tokenizer().expect("it has one").decode(&expected),
        );
        let golden = Golden2 {
            continuation: sign(&body).as_bytes().to_vec(),
            journal: pages(&**journal.stream()),
            kv: pages(&*kv),
            tail: parked.tail.map(|tail| tail.payload).unwrap_or_default(),
            expected,
        };
        fs::write(file, codec::encode(&golden)).expect("writable");
    }
}
