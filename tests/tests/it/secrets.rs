//! Nothing prints key material, and no session lies on a disk in clear.
//!
//! Four nodes log everything they can say while a session runs, moves, survives the death of all nodes, and while
//! clients misbehave. Then every log, every file below the data folders and every problem body is searched for the
//! secrets of operators, tenants and clients, as bytes and as hexadecimal digits, and for the prompt and the answer, as
//! text and as token ids. The key files themselves are left out, and nothing else is.

use std::{
    fs,
    path::{Path, PathBuf},
};

use node::{demo::cluster::Cluster, node_keys::NodeKeys, session::disk::SessionsDir, tls::client::plain};
use reqwest::Method;
use serde_json::{Value, json};
use wallet::{
    digest::{from_hex, to_hex},
    grant::WalletAddress,
    tenant::TenantMaster,
};

use crate::{
    consortium::{Running, ask, assert_gapless, control},
    moves::migrate,
    needles::Needles,
};

/// Words that stand nowhere else.
const CANARY: &str = "heliotrope quagmire fandango";
/// Token ids that no other prompt has in this order.
const CANARY_IDS: [u32; 12] = [201, 177, 254, 139, 188, 233, 145, 219, 162, 247, 171, 226];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_log_no_file_and_no_problem_shows_a_key_a_prompt_or_an_answer() {
    let mut cluster = Running::start("debug").await;
    let mut needles = Needles::default();
    for (name, seed) in key_files(cluster.folder()) {
        needles.add_secret(&name, &seed);
    }
    needles.add_text("the tenant's API key", cluster.api_key());
    needles.add_text("the auditor's API key", cluster.auditor_key());
    needles.add_text("the prompt", CANARY);
    needles.add_ids("the prompt", &CANARY_IDS);

    let moving = ask(&format!("Say {CANARY} and nothing else."), 240, 31, 20);
    let expected = control(&cluster, "eu-3", &moving).await;
    let mut before = cluster.tenant("eu-1").ask(&moving).await.expect("a session");
    before.read_until(20).await.expect("its first tokens");
    let to = if before.served_by == "eu-2" { "eu-1" } else { "eu-2" };
    migrate(&cluster, &before.served_by, &before.wallet, to).await;
    let seen = before.seen.len();
    before.read_until(seen + 20).await.expect("tokens of the new holder");
    let wallet = WalletAddress(before.wallet.parse().expect("an address"));
    for (name, secret) in session_secrets(&cluster, to, wallet) {
        needles.add_secret(name, &secret);
    }
    needles.add_secret("the resume secret", &from_hex(&before.resume_secret).expect("64 digits"));
    let problems = misbehave(&cluster, &before.wallet).await;
    complete(&cluster).await;

    cluster.kill_all().await.expect("all four ran");
    before.read_while_open().await;
    cluster.restart_all().await.expect("all four start on their own files");
    let last = before.seen.last().expect("tokens").position;
    let mut after = cluster.tenant(to).resume(&before.wallet, &before.resume_secret, last).await.expect("it is there");
    after.read_to_end().await.expect("it goes to its end");
    assert_gapless(&[&before, &after]);
    assert_eq!([before.ids(), after.ids()].concat(), expected, "rebuilt from the journal, with the same tokens");
    needles.add_ids("the answer", &expected[..12]);
    needles.add_text("the answer", &before.text());
    cluster.kill_all().await.expect("all four ran");

    let mut searched = 0;
    for file in files(cluster.folder()) {
        let bytes = fs::read(&file).expect("our own folder");
        searched += bytes.len();
        assert_eq!(needles.found_in(&bytes), None, "in {}", file.display());
    }
    assert_eq!(needles.found_in(problems.as_bytes()), None, "in the problems: {problems}");
    assert!(problems.contains("\"code\""), "clients were refused: {problems}");
    println!("{} secrets in {} forms; {searched} bytes searched", needles.names(), needles.len());
    assert_logs_speak(cluster.folder());
}

/// What the holder has of the session, and what follows from the tenant's master key.
fn session_secrets(cluster: &Cluster, holder: &str, wallet: WalletAddress) -> Vec<(&'static str, [u8; 32])> {
    let key = node::keys::read(&cluster.node_key_path(holder)).expect("its key file");
    let sessions = SessionsDir::open(&cluster.folder().join(holder), &NodeKeys::new(key, None)).expect("its folder");
    let keys = sessions.session(wallet).load_keys().expect("they open").expect("the holder has keys");
    let master = node::keys::read(&cluster.folder().join("demo.key")).expect("the tenant's master key");
    let consortium = cluster.consortium().parse().expect("a hash");
    vec![
        ("the chain key", *keys.chain.expose()),
        ("the epoch key", keys.holder.0),
        ("the page-hash key", *keys.page_hash.expose()),
        ("the tenant's key", *keys.tenant_key.expose()),
        ("the prefix salt", TenantMaster::from_bytes(*master.seed()).prefix_salt(&consortium)),
    ]
}

/// What clients are told who ask for what they must not have.
async fn misbehave(cluster: &Cluster, wallet: &str) -> String {
    let http = plain().build().expect("a client");
    let api = cluster.api_url("eu-1");
    let chat = json!({"model": "tiny", "messages": [{"role": "user", "content": "hello"}]});
    let requests = [
        http.request(Method::POST, format!("{api}/v1/chat/completions")).bearer_auth("wrong-key").json(&chat),
        http.request(Method::POST, format!("{api}/v1/chat/completions")).bearer_auth(cluster.auditor_key()).json(&chat),
        http.request(Method::POST, format!("{api}/v1/chat/completions")).bearer_auth(cluster.api_key()).body("{"),
        http.request(Method::POST, format!("{api}/v1/chat/completions"))
            .bearer_auth(cluster.api_key())
            .json(&json!({"model": "no-such-model", "messages": [{"role": "user", "content": CANARY}]})),
        http.request(Method::GET, format!("{api}/v1/sessions/{wallet}/stream"))
            .bearer_auth(cluster.api_key())
            .header("x-batchmind-resume", "0".repeat(64)),
        http.request(Method::GET, format!("{api}/ledger/v1/status")).bearer_auth(cluster.api_key()),
        http.request(Method::POST, format!("{api}/ledger/v1/entries"))
            .bearer_auth(cluster.auditor_key())
            .body("no entry"),
    ];
    let mut said = String::new();
    for request in requests {
        let response = request.send().await.expect("an answer");
        assert!(response.status().is_client_error(), "{}", response.status());
        said += &response.text().await.expect("a body");
        said.push('\n');
    }
    for (node, to) in [("eu-1", "us-1"), ("eu-2", "us-1"), ("eu-3", "eu-1")] {
        let refused = cluster.admin(node).expect("its socket").migrate(wallet, to).await.expect("an answer");
        if let Err(problem) = refused {
            said += &format!("{} {}\n", problem.code, problem.title);
        }
    }
    said
}

/// A prompt of token ids, as its ids would lie in memory and in logs.
async fn complete(cluster: &Cluster) {
    let body = json!({"model": "tiny", "prompt": CANARY_IDS, "max_tokens": 24, "ignore_eos": true});
    let request =
        plain().build().expect("a client").post(format!("{}/v1/completions", cluster.api_url("eu-2"))).json(&body);
    let answer: Value =
        request.bearer_auth(cluster.api_key()).send().await.expect("an answer").json().await.expect("JSON");
    assert_eq!(answer["usage"]["prompt_tokens"], CANARY_IDS.len(), "{answer}");
}

/// The key files of the folder, with the seeds that they hold.
fn key_files(folder: &Path) -> Vec<(String, [u8; 32])> {
    let seeds: Vec<_> = files_of(folder)
        .into_iter()
        .filter(|path| is_key_file(path))
        .map(|path| {
            let text = fs::read_to_string(&path).expect("our own folder");
            (path.display().to_string(), from_hex(text.trim_end()).expect("64 digits"))
        })
        .collect();
    assert!(seeds.len() >= 9, "four operators, four nodes, a tenant: {}", seeds.len());
    seeds
}

/// Everything below the folder but key files.
fn files(folder: &Path) -> Vec<PathBuf> {
    files_of(folder).into_iter().filter(|path| !is_key_file(path)).collect()
}

fn is_key_file(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "key")
}

fn files_of(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("our own folder") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            found.append(&mut files_of(&path));
        } else if path.is_file() {
            found.push(path);
        }
    }
    found
}

/// Silence would hide everything: the logs must hold lines of the level that was asked for.
fn assert_logs_speak(folder: &Path) {
    for node in ["eu-1", "eu-2", "eu-3", "us-1"] {
        let log = fs::read_to_string(folder.join(format!("{node}.log"))).expect("its log");
        assert!(log.contains("DEBUG"), "{node} logged nothing at level debug");
    }
}

/// The search itself must find what it looks for, in each form.
#[test]
fn a_secret_is_found_in_each_of_its_forms() {
    let mut needles = Needles::default();
    needles.add_secret("seed", &[0xA7; 32]);
    needles.add_ids("prompt", &CANARY_IDS);
    let bytes: Vec<u8> = CANARY_IDS.iter().flat_map(|id| id.to_le_bytes()).collect();
    let listed = format!("{CANARY_IDS:?}");
    let forms = [
        vec![0xA7; 32],
        to_hex(&[0xA7; 32]).into_bytes(),
        to_hex(&[0xA7; 32]).to_uppercase().into_bytes(),
        bytes,
        listed.trim_matches(['[', ']']).as_bytes().to_vec(),
    ];
    for form in forms {
        assert!(needles.found_in(&form).is_some(), "{form:?}");
        assert!(needles.found_in(&[b"before ", form.as_slice(), b" after"].concat()).is_some());
        assert_eq!(needles.found_in(&form[1..]), None);
    }
}
