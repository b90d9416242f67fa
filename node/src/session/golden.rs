//! Folders of sessions that were parked by every released version: each is opened and goes on here.
//!
//! `goldens/session` has a folder for each schema of continuations, as it stands in a node's data folder: `keys`,
//! `continuation`, `tail`, `journal` and `kv`, sealed under [`node_keys`]. A folder is never written again.

use std::{fs, path::Path, sync::Arc};

use gpu::{EngineOptions, Model, continuation::SCHEMA};
use wallet::{codec, digest::Digest, grant::WalletAddress, identity::SecretKey, units::TokenCount};

use super::{
    disk::{SessionDir, SessionsDir, tests::keys},
    held::Held,
    start::{SessionStart, SessionTerms},
};
use crate::{
    engine::{EngineHandle, Placement, Sequence},
    node_keys::NodeKeys,
    testbed::{PATIENCE, control, model_dir, prompt},
};

const WALLET: WalletAddress = WalletAddress(Digest([1; 32]));
/// Tokens of the whole generation.
const TOKENS: u32 = 48;

fn golden(schema: u16) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("goldens/session/v{schema}"))
}

fn node_keys() -> NodeKeys {
    NodeKeys::new(SecretKey::from_seed(&[11; 32]), None)
}

fn engine() -> EngineHandle {
    let model = Arc::new(Model::load(&model_dir()).expect("the demo model loads"));
    let options = EngineOptions { block_count: 32, prefill_chunk_tokens: 16, idle_blocks_max: 0 };
    EngineHandle::open(model, options, Placement::InProcess).expect("it starts")
}

fn session(data_dir: &Path) -> SessionDir {
    SessionsDir::open(data_dir, &node_keys()).expect("writable").session(WALLET)
}

/// Copies what is in a folder.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("writable");
    for entry in fs::read_dir(from).expect("it is there") {
        let path = entry.expect("readable").path();
        let to = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy(&path, &to);
        } else {
            fs::copy(&path, &to).expect("writable");
        }
    }
}

/// Takes `count` tokens of the engine in, or all up to the end.
async fn take(held: &mut Held, sequence: &mut Sequence, count: usize) -> Vec<u32> {
    let mut taken = Vec::new();
    while taken.len() < count {
        let event = tokio::time::timeout(PATIENCE, sequence.events.recv()).await.expect("in time").expect("a token");
        taken.push(held.push(&event).expect("the journal takes it").id);
        if event.finish.is_some() {
            break;
        }
    }
    taken
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_folder_of_every_schema_goes_on_with_the_tokens_of_an_undisturbed_run() {
    let engine = engine();
    let expected = control(TOKENS).1;
    for schema in FIRST..=SCHEMA {
        let data = tempfile::tempdir().expect("a temporary folder");
        copy(&golden(schema), &data.path().join("sessions").join(WALLET.0.to_string()));
        let dir = session(data.path());
        let keys = dir.load_keys().expect("it opens").expect("it is there");
        let mut held = Held::reopen(&dir, &keys, engine.model()).expect("it opens").expect("all of it is there");
        assert!(held.is_parked(), "schema {schema}");
        let arrival = held.arrival(&dir, &keys, &engine.stream()).expect("readable");
        let before = arrival.tokens.len() - prompt().len();
        assert!((1..expected.len()).contains(&before), "it was parked in the midst");
        assert_eq!(arrival.tokens, [&prompt()[..], &expected[..before]].concat(), "schema {schema}");
        assert!(!arrival.pages.is_empty() && arrival.tail.is_some(), "schema {schema}");
        let known = arrival.tokens.len() as u32;
        let (mut sequence, started) = engine.start(arrival, false).await.expect("room");
        assert_eq!(started.computed.get(), known - 1, "nothing is computed again");
        assert_eq!(take(&mut held, &mut sequence, usize::MAX).await, expected[before..], "schema {schema}");
    }
}

/// The first schema that a node kept. Schema 1 had neither head nor signature: it was the engine's own form, and its
/// goldens are the engine's.
const FIRST: u16 = 2;

#[test]
fn every_schema_has_its_folder_and_it_never_changes() {
    let pinned = ["6774d251e30f2bb9059dbd3e42f90dddb295117f32d6a87bedf05c97c6486b49"];
    assert_eq!(pinned.len(), usize::from(SCHEMA - FIRST + 1), "a schema without a golden folder");
    for (schema, pinned) in (FIRST..).zip(pinned) {
        let mut files = Vec::new();
        list(&golden(schema), &mut files);
        files.sort();
        assert!(files.len() >= 5, "{files:?}");
        let mut hash = blake3::Hasher::new();
        for file in files {
            let name = file.strip_prefix(golden(schema)).expect("in it").to_string_lossy().into_owned();
            hash.update(&codec::encode(&(name, fs::read(&file).expect("readable"))));
        }
        assert_eq!(hash.finalize().to_hex().as_str(), pinned, "schema {schema}");
    }
}

fn list(folder: &Path, files: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(folder).expect("it is there") {
        let path = entry.expect("readable").path();
        if path.is_dir() { list(&path, files) } else { files.push(path) }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "writes the golden folder of the present schema, unless it is there"]
async fn write_the_golden_folder() {
    let to = golden(SCHEMA);
    if to.exists() {
        return;
    }
    let data = tempfile::tempdir().expect("a temporary folder");
    let (dir, keys, engine) = (session(data.path()), keys(), engine());
    let served = engine.served();
    let start = SessionStart {
        prompt_tokens: TokenCount::new(prompt().len() as u32),
        sampling: control(TOKENS).0.to_engine().expect("valid"),
        model: served.model,
        numerics: served.numerics,
        terms: SessionTerms {
            cached_tokens: TokenCount::ZERO,
            // So that it is parked before its end.
            pace_ms: 10,
            origin: "eu".to_owned().try_into().expect("a region name"),
            request_id: "golden".to_owned(),
        },
    };
    dir.save_keys(&keys).expect("writable");
    let mut held = Held::begin(&dir, &keys, start, &prompt(), engine.model()).expect("writable");
    let arrival = held.arrival(&dir, &keys, &engine.stream()).expect("readable");
    let (mut sequence, _) = engine.start(arrival, false).await.expect("room");
    take(&mut held, &mut sequence, 20).await;
    let parked = engine.suspend(sequence.id).await.expect("it decodes");
    while let Ok(event) = sequence.events.try_recv() {
        held.push(&event).expect("the journal takes it");
    }
    let (payloads, full) = engine.pages(sequence.id, 0, u32::MAX).await.expect("it stands");
    assert_eq!(payloads.len() as u32, full);
    held.push_pages(&dir, &keys, &engine.stream(), payloads).expect("writable");
    let tail = parked.tail_page(&engine.stream(), &keys.page_hash).expect("a page");
    held.park(&dir, &keys, false, &tail).expect("writable");
    drop(held);
    copy(&data.path().join("sessions").join(WALLET.0.to_string()), &to);
}
