//! The interfaces of a whole node that is alone in its consortium, over real sockets.

mod damage;

use std::{collections::BTreeSet, fs, net::TcpListener, path::Path, time::Duration};

use ::ledger::{
    block::Header,
    certificate::Certificate,
    event::{DecisionAnchored, Entry, Event},
    governance::{Action, ProposalEnacted, ProposalMade, ProposalTerms},
    shell::cause::Cause,
    state::{Record, Stage, StateKey},
    tlog::{ConsistencyProof, CosignedCheckpoint, LogProof, Note},
    tree::{
        log::{LogTree, leaf_hash, verify_consistency, verify_inclusion},
        state::StateProof,
    },
};
use genesis::{Auditor, Document, Draft, Heading, Node, Operator, Parameters, Region};
use reqwest::{Client, RequestBuilder, Response};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use wallet::{
    digest::{Digest, to_hex},
    grant::WalletAddress,
    identity::{RegionId, SecretKey, Signature},
    prekey::ExchangeKey,
    units::{KeyEpoch, LogIndex, NodeId, Timestamp},
};

use super::limits::{BODY_BYTES_MAX, HEADER_BYTES_MAX};
use crate::{
    config::ValidConfig,
    keys,
    node::{RunningNode, Seams},
    session::context::random,
    testbed::{self, Testbed},
    tls::{
        self,
        client::{Roots, plain},
    },
};

const TENANT: &str = "the-tenants-api-key-0123456789";
const AUDITOR: &str = "the-auditors-api-key-0123456789";

/// A node with one tenant and one auditor.
struct Alone {
    node: RunningNode,
    url: String,
    folder: tempfile::TempDir,
    http: Client,
}

impl Alone {
    async fn start() -> Self {
        Self::start_with("").await
    }

    /// A node whose configuration has these tables, too.
    async fn start_with(tables: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let free = TcpListener::bind("127.0.0.1:0").and_then(|held| held.local_addr()).expect("a free port");
        let url = format!("http://{free}");
        write_files(folder.path(), &url, &free.to_string(), tables);
        let config = ValidConfig::load(&folder.path().join("node.toml")).expect("a valid configuration");
        let node = RunningNode::start(config).await.expect("it starts");
        let alone = Self { node, url, folder, http: plain().build().expect("a client") };
        let ready = async {
            while alone.get("/readyz", None).await.status() != 200 {
                tokio::time::sleep(Duration::from_millis(60)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), ready).await.expect("a node alone becomes ready");
        alone
    }

    fn consortium(&self) -> genesis::Consortium {
        ValidConfig::load(&self.folder.path().join("node.toml")).expect("a valid configuration").consortium
    }

    fn request(&self, request: RequestBuilder, key: Option<&str>) -> RequestBuilder {
        key.into_iter().fold(request, |request, key| request.bearer_auth(key))
    }

    async fn get(&self, path: &str, key: Option<&str>) -> Response {
        let request = self.request(self.http.get(format!("{}{path}", self.url)), key);
        request.send().await.expect("the node answers")
    }

    async fn post(&self, path: &str, key: Option<&str>, body: impl Into<reqwest::Body>) -> Response {
        let request = self.request(self.http.post(format!("{}{path}", self.url)), key);
        request.body(body).send().await.expect("the node answers")
    }

    /// Makes what this node says final.
    async fn order(&self, event: Event) {
        let context = self.node.sessions().context();
        let submitted = context.replica.submit(context.sign(event, None)).expect("the rules allow it");
        context.replica.wait_final(submitted.id).await.expect("a node alone is a quorum");
    }

    /// What the only operator proposes, signed.
    fn proposal(&self, actions: Vec<Action>) -> ProposalMade {
        let context = self.node.sessions().context();
        let electorate = context.replica.state().state.governance().expect("genesis puts it").electorate;
        let operator = context.consortium.operators()[0].id.clone();
        let consortium = context.consortium.id();
        let terms = ProposalTerms { consortium, electorate, operator, nonce: random(), actions };
        terms.sign(&operator_key())
    }

    async fn admin(&self, path: &str) -> Value {
        let socket = self.folder.path().join("data/admin.sock");
        let http = plain().unix_socket(socket).build().expect("a client");
        let response = http.get(format!("http://node/admin/v1/{path}")).send().await.expect("the node answers");
        response.json().await.expect("JSON")
    }
}

fn operator_key() -> SecretKey {
    SecretKey::from_seed(&[1; 32])
}

fn write_files(folder: &Path, url: &str, listen: &str, tables: &str) {
    let (operator_key, node_key) = (operator_key(), keys::create(&folder.join("node.key")));
    let node_key = node_key.expect("a new key");
    let region = |id: &str| RegionId::try_from(id.to_owned()).expect("a region's name");
    let operator: genesis::OperatorId = "eu-1".parse().expect("an id");
    let hash = |key: &str| Digest(Sha256::digest(key.as_bytes()).into());
    let draft = Draft {
        consortium: Heading { name: "Alone".into(), created_ms: Timestamp::new(1) },
        parameters: Parameters { proposal_lock_ms: 0, ..Parameters::default() },
        regions: ["eu", "us"].map(|id| Region { id: region(id), name: id.into() }).to_vec(),
        operators: vec![Operator { id: operator.clone(), name: "One".into(), key: operator_key.public_key() }],
        nodes: vec![Node {
            name: "eu-1".parse().expect("a name"),
            operator: operator.clone(),
            region: region("eu"),
            key: node_key.public_key(),
            peer: "127.0.0.1:1".parse().expect("an address"),
            api: url.into(),
        }],
        auditors: vec![Auditor { name: "Audit".into(), key_hash: hash(AUDITOR) }],
        models: Vec::new(),
        signatures: Default::default(),
    };
    let mut document = Document::new(draft).expect("consistent");
    document.sign(&operator, &operator_key).expect("its own key");
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../gpu/models/tiny");
    let config = format!(
        "data-dir = \"data\"\ngenesis = \"genesis.toml\"\nnode = \"eu-1\"\nkey-file = \"node.key\"\n\
         peer-listen = \"127.0.0.1:0\"\napi-listen = \"{listen}\"\nmodel-dir = {model:?}\n\n\
         {tables}\n[engine]\nblock-count = 64\n\n\
         [[tenants]]\nname = \"acme\"\napi-key-hash = \"{}\"\nregions = [\"eu\"]\nmaster-key-file = \"acme.key\"\n",
        hash(TENANT)
    );
    fs::write(folder.join("genesis.toml"), document.to_toml()).expect("our own folder");
    fs::write(folder.join("node.toml"), config).expect("our own folder");
}

fn chat(max_tokens: u32) -> Value {
    json!({
        "model": "tiny", "messages": [{"role": "user", "content": "What is a batch?"}], "max_tokens": max_tokens,
        "seed": 3, "ignore_eos": true, "return_token_ids": true, "stream": true,
    })
}

/// Status and code of an answer that is no success.
async fn problem(response: Response) -> (u16, String) {
    let status = response.status().as_u16();
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    let body: Value = response.json().await.expect("a problem");
    assert!(body["title"].is_string() && body["retry"].is_boolean() && body["detail"].is_string(), "{body}");
    (status, body["code"].as_str().expect("a code").to_owned())
}

/// The (position, token id) of each event, and whether the stream was done.
async fn tokens(response: Response) -> (Vec<(u64, u64)>, bool) {
    let text = response.text().await.expect("the whole stream");
    let token = |event: &str| {
        let id = event.lines().find_map(|line| line.strip_prefix("id:"))?.trim().parse().expect("a position");
        let data = event.lines().find_map(|line| line.strip_prefix("data:")).expect("data");
        let chunk: Value = serde_json::from_str(data).expect("JSON");
        Some((id, chunk["choices"][0]["token_ids"][0].as_u64().expect("a token id")))
    };
    (text.split("\n\n").filter_map(token).collect(), text.trim_end().ends_with("data: [DONE]"))
}

#[test]
fn a_node_whose_finality_is_late_is_not_ready_and_an_idle_one_is() {
    let late = |now: u64| super::stands_still(Timestamp::new(1_000), Timestamp::new(now), 10_000);
    assert!(!late(0) && !late(1_000) && !late(16_000));
    assert!(late(16_001) && late(u64::MAX));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_a_certificate_speaks_tls_alone() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let files = tls::tests::self_signed(folder.path(), "tls");
    let table = "[tls]\ncertificate-file = \"tls.pem\"\nkey-file = \"tls.key\"\n";
    write_files(folder.path(), "https://127.0.0.1:9", "127.0.0.1:0", table);
    let config = ValidConfig::load(&folder.path().join("node.toml")).expect("a valid configuration");
    let node = RunningNode::start(config).await.expect("it starts");
    let address = node.api_address();
    let in_the_clear = plain().build().expect("a client").get(format!("http://{address}/healthz")).send().await;
    assert!(in_the_clear.is_err(), "{in_the_clear:?}");
    let trusting = tls::client::trusting(&Roots::File(files.certificate)).expect("an authority");
    let answer = trusting.build().expect("a client").get(format!("https://{address}/healthz")).send().await;
    assert_eq!(answer.expect("the node answers").text().await.expect("text"), "ok\n");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_too_much_is_told_to_wait_and_nobody_else_is() {
    let alone =
        Alone::start_with("[limits]\nkey = { per-s = 1, burst = 3 }\naddress = { per-s = 1, burst = 2 }\n").await;
    let refused = async |path: &str, key: Option<&str>| {
        for _ in 0..100 {
            let answer = alone.get(path, key).await;
            if answer.status() == 429 {
                let wait: u64 = answer.headers()["retry-after"].to_str().expect("ASCII").parse().expect("seconds");
                assert!((1..=3).contains(&wait), "{wait}");
                assert_eq!(problem(answer).await, (429, "N-527".to_owned()));
                return;
            }
        }
        panic!("{path} is answered without an end");
    };
    refused("/ledger/v1/status", Some(AUDITOR)).await;
    // Guessing keys is asking without one, and so is a path that is not there.
    refused("/ledger/v1/status", Some("guess")).await;
    refused("/nowhere", None).await;
    assert_eq!(alone.get("/v1/models", Some(TENANT)).await.status(), 200, "its share is its own");
    for path in ["/healthz", "/readyz", "/metrics"] {
        for _ in 0..10 {
            assert_eq!(alone.get(path, None).await.status(), 200, "{path}");
        }
    }
    for _ in 0..1_000 {
        assert_eq!(alone.get("/healthz", None).await.status(), 200);
    }
    let metrics = alone.get("/metrics", None).await.text().await.expect("text");
    for of in ["key", "address"] {
        let counted = format!("batchmind_http_requests_refused_total{{of=\"{of}\"}}");
        let is_counted = metrics.lines().any(|line| line.starts_with(&counted) && !line.ends_with(" 0"));
        assert!(is_counted, "{counted} is missing in {metrics}");
    }
    // They ask the engine, so not without an end either.
    let mut watched = false;
    for _ in 0..5_000 {
        watched |= alone.get("/metrics", None).await.status() == 429;
        if watched {
            break;
        }
    }
    assert!(watched, "/metrics is answered without an end");
    alone.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metrics_of_a_running_node_are_those_of_the_documentation() {
    let alone = Alone::start().await;
    // What is counted by its route is shown from the second request on.
    alone.get("/healthz", None).await;
    let shown = alone.get("/metrics", None).await.text().await.expect("text");
    let name = |line: &str| line.split(['{', ' ']).next().map(str::to_owned);
    let shown: BTreeSet<String> = shown.lines().filter(|line| !line.starts_with('#')).filter_map(name).collect();
    let text = include_str!("../../../docs/operating/why-is-it-stuck.md");
    let named = text.split('`').skip(1).step_by(2).filter(|word| word.starts_with("batchmind_"));
    let named: BTreeSet<String> = named.filter_map(name).collect();
    assert_eq!(shown, named, "left is what a node shows, right what docs/operating/why-is-it-stuck.md names");
    let reasons = Cause::ALL.iter().map(|cause| cause.name());
    let untold: Vec<&str> = reasons.filter(|reason| !text.contains(&format!("| `{reason}` |"))).collect();
    assert_eq!(untold, [""; 0], "reasons without a row");
    alone.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_key_opens_its_own_paths_and_nobody_elses() {
    let alone = Alone::start().await;
    for (path, own, other) in [("/v1/models", TENANT, AUDITOR), ("/ledger/v1/status", AUDITOR, TENANT)] {
        assert_eq!(problem(alone.get(path, None).await).await, (401, "N-501".to_owned()));
        assert_eq!(problem(alone.get(path, Some("guess")).await).await, (401, "N-501".to_owned()));
        assert_eq!(problem(alone.get(path, Some(other)).await).await, (403, "N-502".to_owned()));
        assert_eq!(alone.get(path, Some(own)).await.status(), 200);
    }
    let guess = alone.post("/v1/chat/completions", Some(AUDITOR), chat(1).to_string()).await;
    assert_eq!(problem(guess).await, (403, "N-502".to_owned()));
    assert_eq!(problem(alone.get("/admin/v1/status", Some(AUDITOR)).await).await, (404, "N-512".to_owned()));
    alone.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_auditors_key_opens_while_the_ledger_grants_it_and_no_longer() {
    const LATER: &str = "the-later-auditors-api-key-0123";
    let alone = Alone::start().await;
    let status = async |key: &str| alone.get("/ledger/v1/status", Some(key)).await.status().as_u16();
    assert_eq!((status(AUDITOR).await, status(LATER).await), (200, 401));
    let hash = |key: &str| Digest(Sha256::digest(key.as_bytes()).into());
    let later = Auditor { name: "Later".into(), key_hash: hash(LATER) };
    let made = alone.proposal(vec![Action::RevokeAuditor(hash(AUDITOR)), Action::GrantAuditor(later)]);
    let proposal = made.terms.digest();
    alone.order(Event::ProposalMade(Box::new(made))).await;
    alone.order(Event::ProposalEnacted(ProposalEnacted { proposal })).await;
    assert_eq!((status(AUDITOR).await, status(LATER).await), (401, 200));
    alone.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_operator_signed_counts_at_any_node_and_is_enacted_without_anybody_asking() {
    let alone = Alone::start().await;
    let post = async |event: &Event| {
        alone.post("/ledger/v1/governance?wait=final", Some(AUDITOR), wallet::codec::encode(event)).await
    };
    let (from, to) = (Parameters::default().credit_per_ms, Parameters::default().credit_per_ms + 1);
    let change = Action::SetParameter { name: "credit_per_ms".into(), from, to };
    let made = alone.proposal(vec![change]);
    let proposal = made.terms.digest();
    let forged = Event::ProposalMade(Box::new(ProposalMade { signature: Signature([0; 64]), ..made.clone() }));
    assert_eq!(problem(post(&forged).await).await, (403, "L-240".to_owned()));
    let anchored = Event::DecisionAnchored(DecisionAnchored { decisions: 1, log_head: Digest::ZERO });
    assert_eq!(problem(post(&anchored).await).await, (400, "N-524".to_owned()));
    let made = Event::ProposalMade(Box::new(made));
    let refused = alone.post("/ledger/v1/governance", Some(TENANT), wallet::codec::encode(&made)).await;
    assert_eq!(problem(refused).await, (403, "N-502".to_owned()));
    let answer: Value = post(&made).await.json().await.expect("JSON");
    let again: Value = post(&made).await.json().await.expect("JSON");
    assert_eq!(answer["id"], again["id"], "sent again, it is the same entry");
    let mut state = alone.node.sessions().context().replica.watch_state();
    let enacted = state.wait_for(|tip| tip.state.parameters().credit_per_ms == to);
    tokio::time::timeout(Duration::from_secs(60), enacted).await.expect("the node enacts it").expect("it runs");
    let record = alone.node.sessions().context().replica.state().state.proposal(proposal).expect("it was made");
    assert!(matches!(record.stage, Stage::Enacted { .. }), "{:?}", record.stage);
    let enact = Event::ProposalEnacted(ProposalEnacted { proposal });
    let done = post(&enact).await;
    // The node's own entry is the same one.
    assert_eq!(done.status(), 200);
    alone.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_breaks_a_rule_is_refused_with_its_code() {
    let alone = Alone::start().await;
    let refused = |body: Value| alone.post("/v1/chat/completions", Some(TENANT), body.to_string());
    let with = |name: &str, value: Value| {
        let mut body = chat(1);
        body[name] = value;
        body
    };
    assert_eq!(problem(refused(with("temprature", json!(1))).await).await, (400, "N-504".to_owned()));
    assert_eq!(problem(refused(with("temperature", json!(9))).await).await, (400, "N-505".to_owned()));
    assert_eq!(problem(refused(with("model", json!("huge"))).await).await, (404, "N-506".to_owned()));
    assert_eq!(problem(refused(json!([])).await).await, (400, "N-503".to_owned()));
    let endless = "x".repeat(BODY_BYTES_MAX + 1);
    let response = alone.post("/v1/chat/completions", Some(TENANT), endless).await;
    assert_eq!(problem(response).await, (413, "N-507".to_owned()));
    let wide = alone.http.get(format!("{}/v1/models", alone.url)).header("x-filler", "x".repeat(HEADER_BYTES_MAX));
    assert_eq!(problem(wide.send().await.expect("the node answers")).await, (431, "N-508".to_owned()));
    let forbidden = alone.http.post(format!("{}/v1/chat/completions", alone.url)).bearer_auth(TENANT);
    let forbidden = forbidden.header("x-batchmind-regions", "us").body(chat(1).to_string());
    assert_eq!(problem(forbidden.send().await.expect("the node answers")).await, (403, "N-510".to_owned()));
    let long = json!({"model": "tiny", "prompt": vec![7; 3000]}).to_string();
    assert_eq!(problem(alone.post("/v1/completions", Some(TENANT), long).await).await, (400, "E-102".to_owned()));
    assert_eq!(problem(alone.get("/ledger/v1/blocks/x", Some(AUDITOR)).await).await, (400, "N-509".to_owned()));
    assert_eq!(problem(alone.post("/v1/models", Some(TENANT), "").await).await, (405, "N-513".to_owned()));
    let response = alone.post("/ledger/v1/entries?wait=final", Some(AUDITOR), "no entry").await;
    assert_eq!(problem(response).await, (400, "N-517".to_owned()));
    let unknown = format!("/ledger/v1/wallets/{}", Digest::ZERO);
    assert_eq!(problem(alone.get(&unknown, Some(AUDITOR)).await).await, (404, "N-511".to_owned()));
    alone.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_goes_on_after_any_position_for_whoever_has_its_secret() {
    let alone = Alone::start().await;
    let response = alone.post("/v1/chat/completions", Some(TENANT), chat(40).to_string()).await;
    let header = |name: &str| response.headers()[name].to_str().expect("ASCII").to_owned();
    let (wallet, secret) = (header("x-batchmind-wallet"), header("x-batchmind-resume"));
    assert_eq!(header("x-batchmind-served-by"), "eu-1");
    let (all, done) = tokens(response).await;
    assert!(done && all.len() == 40, "{all:?}");
    assert!(all.windows(2).all(|pair| pair[1].0 == pair[0].0 + 1), "ids are positions without a gap: {all:?}");

    let resume = |secret: &str, last: Option<u64>| {
        let request = alone.http.get(format!("{}/v1/sessions/{wallet}/stream", alone.url)).bearer_auth(TENANT);
        let request = request.header("x-batchmind-resume", secret);
        last.map_or(request.try_clone().expect("no body"), |last| request.header("last-event-id", last)).send()
    };
    for skip in [0_usize, 1, 17, 39, 40] {
        let last = skip.checked_sub(1).map(|at| all[at].0);
        let rest = tokens(resume(&secret, last).await.expect("the node answers")).await;
        assert_eq!(rest, (all[skip..].to_vec(), true), "after {last:?}");
    }
    for unseen in [all[39].0 + 1, u64::from(u32::MAX) - 1] {
        let refused = resume(&secret, Some(unseen)).await.expect("the node answers");
        assert_eq!(problem(refused).await, (400, "N-509".to_owned()), "after {unseen}");
    }
    let wrong = resume(&"00".repeat(32), None).await.expect("the node answers");
    assert_eq!(problem(wrong).await, (403, "N-208".to_owned()));
    let malformed = resume("secret", None).await.expect("the node answers");
    assert_eq!(problem(malformed).await, (400, "N-509".to_owned()));
    alone.node.stop().await;
}

/// A node with a wallet on the ledger, the wallet, and a checkpoint that covers it.
async fn with_checkpoint() -> (Alone, String, CosignedCheckpoint) {
    let alone = Alone::start().await;
    let response = alone.post("/v1/chat/completions", Some(TENANT), chat(1).to_string()).await;
    let wallet = response.headers()["x-batchmind-wallet"].to_str().expect("ASCII").to_owned();
    let consortium = alone.consortium();
    let covered = async {
        loop {
            let wallet = alone.get(&format!("/ledger/v1/wallets/{wallet}"), Some(AUDITOR)).await;
            let answer = alone.get("/ledger/v1/log/checkpoint", Some(AUDITOR)).await;
            if wallet.status() == 200 && answer.status() == 200 {
                assert_eq!(answer.headers()["content-type"], "text/plain; charset=utf-8");
                assert_eq!(answer.headers()["cache-control"], "private, max-age=1");
                let note = Note::parse(&answer.bytes().await.expect("a body")).expect("a signed note");
                let read = CosignedCheckpoint::from_note(&note, consortium.validators(), &consortium.id());
                let read = read.expect("a quorum of one cosigned it");
                let history: Value = wallet.json().await.expect("JSON");
                if history["history"][0]["index"].as_u64().expect("an index") < read.checkpoint.size {
                    return read;
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let checkpoint = tokio::time::timeout(Duration::from_secs(60), covered).await.expect("a checkpoint covers it");
    (alone, wallet, checkpoint)
}

fn hashes(list: &Value) -> Vec<Digest> {
    serde_json::from_value(list.clone()).expect("hashes")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_served_in_tiles_that_give_the_root_of_the_checkpoint() {
    let (alone, _, CosignedCheckpoint { checkpoint, .. }) = with_checkpoint().await;
    let size = checkpoint.size;
    let tile = alone.get(&format!("/ledger/v1/log/tile/0/000.p/{size}"), Some(AUDITOR)).await;
    assert_eq!(tile.status(), 200);
    assert_eq!(tile.headers()["content-type"], "application/octet-stream");
    assert_eq!(tile.headers()["cache-control"], "private, no-cache", "a re-genesis may drop it");
    let tag = tile.headers()["etag"].clone();
    let tile = tile.bytes().await.expect("a body");
    let leaves: Vec<Digest> = tile.chunks(32).map(|hash| Digest(hash.try_into().expect("32 bytes"))).collect();
    assert_eq!((leaves.len() as u64, LogTree::from_leaf_hashes(&leaves).root()), (size, checkpoint.root));

    let again = |tag: reqwest::header::HeaderValue| {
        let request = alone.http.get(format!("{}/ledger/v1/log/tile/0/000.p/{size}", alone.url)).bearer_auth(AUDITOR);
        request.header("if-none-match", tag).send()
    };
    let same = again(tag.clone()).await.expect("the node answers");
    assert_eq!((same.status().as_u16(), &same.headers()["etag"]), (304, &tag));
    assert_eq!(again("\"another\"".parse().expect("a header")).await.expect("the node answers").status(), 200);

    let bundle = alone.get(&format!("/ledger/v1/log/tile/entries/000.p/{size}"), Some(AUDITOR)).await;
    let bundle = bundle.bytes().await.expect("a body");
    let (mut rest, mut found) = (&bundle[..], Vec::new());
    while let Some((length, after)) = rest.split_first_chunk() {
        let (entry, after) = after.split_at(usize::from(u16::from_be_bytes(*length)));
        found.push(leaf_hash(entry));
        rest = after;
    }
    assert_eq!(found, leaves);

    for (path, code) in [
        ("tile/0/000", (404, "N-522")),
        ("tile/1/000.p/1", (404, "N-522")),
        ("tile/entries/000", (404, "N-522")),
        ("tile/0/x001/000.p/1", (404, "N-522")),
        ("tile/0/0", (400, "N-509")),
        ("tile/0/000.p/0", (400, "N-509")),
        ("tile/64/000", (400, "N-509")),
        ("tile/0/%2e%2e/000", (400, "N-509")),
    ] {
        let answer = problem(alone.get(&format!("/ledger/v1/log/{path}"), Some(AUDITOR)).await).await;
        assert_eq!(answer, (code.0, code.1.to_owned()), "{path}");
    }
    for path in ["log/checkpoint", "log/tile/0/000.p/1", "log/inclusion?index=0", "state/governance"] {
        let path = format!("/ledger/v1/{path}");
        assert_eq!(problem(alone.get(&path, None).await).await, (401, "N-501".to_owned()), "{path}");
        assert_eq!(problem(alone.get(&path, Some(TENANT)).await).await, (403, "N-502".to_owned()), "{path}");
    }
    alone.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_entry_is_proven_under_the_checkpoint_and_every_tree_to_grow() {
    let (alone, _, cosigned) = with_checkpoint().await;
    let (checkpoint, consortium) = (&cosigned.checkpoint, alone.consortium());
    let size = checkpoint.size;
    let json = async |path: &str| -> Value {
        alone.get(&format!("/ledger/v1/{path}"), Some(AUDITOR)).await.json().await.expect("JSON")
    };
    let entries = json("entries").await;
    for at in 0..size {
        let entry = &entries[usize::try_from(at).expect("small")];
        let leaf = serde_json::from_value::<Entry>(entry["entry"].clone()).expect("an entry").leaf_hash();
        let proof = json(&format!("log/inclusion?index={at}&size={size}")).await;
        assert_eq!((&proof["root"], &proof["leaf_hash"]), (&json!(checkpoint.root), &json!(leaf)));
        let index = LogIndex::new(at);
        verify_inclusion(&checkpoint.root, size, index, &leaf, &hashes(&proof["path"])).expect("it is included");

        let proof = json(&format!("log/consistency?old={}&size={size}", at + 1)).await;
        let old = serde_json::from_value(proof["old_root"].clone()).expect("a hash");
        let path = hashes(&proof["path"]);
        verify_consistency(&old, at + 1, &checkpoint.root, size, &path).expect("it only grew");

        let id = entry["id"].as_str().expect("an id");
        let bytes =
            alone.get(&format!("/ledger/v1/entries/{id}/leaf"), Some(AUDITOR)).await.bytes().await.expect("a body");
        assert_eq!(leaf_hash(&bytes), leaf);
        let file = alone.get(&format!("/ledger/v1/entries/{id}/tlog-proof"), Some(AUDITOR)).await;
        assert_eq!(file.headers()["content-type"], "text/plain; charset=utf-8");
        let file = LogProof::parse(&file.bytes().await.expect("a body")).expect("a proof");
        assert_eq!(file.index, index);
        file.verify(&leaf, &consortium, &[]).expect("it is in the log");
    }
    let earlier = cosigned.to_note(consortium.validators(), &consortium.id());
    let file = alone.get(&format!("/ledger/v1/log/consistency-proof?old={size}"), Some(AUDITOR)).await;
    assert_eq!(file.headers()["content-type"], "text/plain; charset=utf-8");
    let file = ConsistencyProof::parse(&file.bytes().await.expect("a body")).expect("a proof");
    let grown = file.verify(&earlier, &consortium, &[]).expect("it only grew");
    assert_eq!((grown.earlier.checkpoint.size, grown.later.checkpoint.size >= size), (size, true));

    let far = u64::MAX;
    for (path, code) in [
        (format!("log/inclusion?index={size}&size={size}"), (400, "N-505")),
        (format!("log/inclusion?index=0&size={far}"), (404, "N-522")),
        (format!("log/inclusion?index={far}"), (400, "N-505")),
        ("log/inclusion".to_owned(), (400, "N-509")),
        ("log/inclusion?index=-1".to_owned(), (400, "N-509")),
        (format!("log/consistency?old=0&size={size}"), (400, "N-505")),
        (format!("log/consistency?old={}&size={size}", size + 1), (400, "N-505")),
        (format!("log/consistency?old=1&size={far}"), (404, "N-522")),
        ("log/consistency-proof?old=0".to_owned(), (400, "N-505")),
        (format!("log/consistency-proof?old={far}"), (400, "N-505")),
        ("log/consistency-proof".to_owned(), (400, "N-509")),
        (format!("entries/{}/tlog-proof", Digest::ZERO), (404, "N-515")),
        (format!("entries/{}/leaf", Digest::ZERO), (404, "N-515")),
        ("entries/x/tlog-proof".to_owned(), (400, "N-509")),
    ] {
        let answer = problem(alone.get(&format!("/ledger/v1/{path}"), Some(AUDITOR)).await).await;
        assert_eq!(answer, (code.0, code.1.to_owned()), "{path}");
    }
    alone.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_record_of_the_state_is_proven_and_so_is_each_absence() {
    let (alone, wallet, _) = with_checkpoint().await;
    let consortium = alone.consortium();
    let state = async |path: &str| -> (Value, Header, StateProof) {
        let answer = alone.get(&format!("/ledger/v1/state/{path}"), Some(AUDITOR)).await;
        assert_eq!(answer.status(), 200, "{path}");
        let answer: Value = answer.json().await.expect("JSON");
        let header: Header = serde_json::from_value(answer["header"].clone()).expect("a header");
        let certificate: Certificate = serde_json::from_value(answer["certificate"].clone()).expect("a certificate");
        assert_eq!(certificate.block, header.digest());
        certificate.verify(consortium.validators(), &consortium.id()).expect("it is certified");
        let (siblings, terminal) = (hashes(&answer["proof"]["siblings"]), &answer["proof"]["terminal"]);
        let digest = |value: &Value| serde_json::from_value::<Digest>(value.clone()).expect("a hash");
        let terminal = (!terminal.is_null()).then(|| (digest(&terminal["key"]), digest(&terminal["value_hash"])));
        (answer, header, StateProof { siblings, terminal })
    };
    let entries: Value = alone.get("/ledger/v1/entries", Some(AUDITOR)).await.json().await.expect("JSON");
    let entry = entries[0]["id"].as_str().expect("an id").to_owned();
    let of = |hex: &str| hex.parse::<Digest>().expect("a hash");
    let wallet_key = StateKey::Wallet(WalletAddress(of(&wallet)));
    for (path, key) in [
        ("governance".to_owned(), StateKey::Governance),
        (format!("wallet/{wallet}"), wallet_key.clone()),
        ("parameters".to_owned(), StateKey::Parameters),
        ("node/0".to_owned(), StateKey::Node(NodeId::ZERO)),
        ("validators/0".to_owned(), StateKey::Validators(0)),
        (format!("entry/{entry}"), StateKey::Entry(of(&entry))),
    ] {
        let (answer, header, proof) = state(&path).await;
        assert_eq!(answer["key"], json!(key.digest()));
        let record: Record = serde_json::from_value(answer["record"].clone()).expect("a record");
        let value = wallet::codec::encode(&record);
        assert_eq!(answer["value"], to_hex(&value));
        proof.verify_present(&header.state_root, &key.digest(), &value).expect("it is there");
    }
    let none = "00".repeat(32);
    for (path, key) in [
        (format!("wallet/{none}"), StateKey::Wallet(WalletAddress(Digest::ZERO))),
        (format!("prekey/{none}"), StateKey::Prekey(ExchangeKey([0; 32]))),
        (format!("entry/{none}"), StateKey::Entry(Digest::ZERO)),
        (format!("baseline/{none}"), StateKey::Baseline(Digest::ZERO)),
        (format!("award/{wallet}/7"), StateKey::Award(WalletAddress(of(&wallet)), KeyEpoch::new(7))),
        ("account/9".to_owned(), StateKey::Account(NodeId::new(9))),
        ("anchor/9".to_owned(), StateKey::Anchor(NodeId::new(9))),
        ("resumption/9".to_owned(), StateKey::Resumption(NodeId::new(9))),
    ] {
        let (answer, header, proof) = state(&path).await;
        assert_eq!(
            (&answer["key"], &answer["value"], &answer["record"]),
            (&json!(key.digest()), &Value::Null, &Value::Null)
        );
        proof.verify_absent(&header.state_root, &key.digest()).expect("nothing is there");
        assert!(proof.verify_absent(&header.state_root, &wallet_key.digest()).is_err());
    }
    let answer = alone.get("/ledger/v1/state/wallet/x", Some(AUDITOR)).await;
    assert_eq!(problem(answer).await, (400, "N-509".to_owned()));
    alone.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_has_the_shape_that_the_openapi_document_gives_it() {
    let (alone, wallet, _) = with_checkpoint().await;
    let described: Value = alone.get("/openapi.json", None).await.json().await.expect("JSON");
    let document = serde_json::from_value(described).expect("an OpenAPI document");
    let entries: Value = alone.get("/ledger/v1/entries", Some(AUDITOR)).await.json().await.expect("JSON");
    let id = entries[0]["id"].as_str().expect("an id").to_owned();
    let evidence = alone.folder.path().join("data/ledger/evidence");
    fs::create_dir_all(&evidence).expect("our own folder");
    fs::write(evidence.join("fork-9"), b"no file of ours").expect("our own folder");
    for (path, asked, key) in [
        ("/v1/models", String::new(), TENANT),
        ("/ledger/v1/status", String::new(), AUDITOR),
        ("/ledger/v1/checkpoint", String::new(), AUDITOR),
        ("/ledger/v1/entries", "?from=1&count=2".to_owned(), AUDITOR),
        ("/ledger/v1/entries/{id}", id, AUDITOR),
        ("/ledger/v1/blocks/{height}", "1".to_owned(), AUDITOR),
        ("/ledger/v1/wallets", "?from=0&count=3".to_owned(), AUDITOR),
        ("/ledger/v1/wallets/{address}", wallet.clone(), AUDITOR),
        ("/ledger/v1/credits", String::new(), AUDITOR),
        ("/ledger/v1/operators", String::new(), AUDITOR),
        ("/ledger/v1/decisions", String::new(), AUDITOR),
        ("/ledger/v1/evidence", String::new(), AUDITOR),
        ("/ledger/v1/governance", String::new(), AUDITOR),
        ("/ledger/v1/governance/proposals", String::new(), AUDITOR),
        ("/ledger/v1/log/inclusion", "?index=0".to_owned(), AUDITOR),
        ("/ledger/v1/log/consistency", "?old=1".to_owned(), AUDITOR),
        ("/ledger/v1/state/{key}", format!("wallet/{wallet}"), AUDITOR),
    ] {
        let place = path.split('{').next().expect("a beginning");
        let answer = alone.get(&format!("{place}{asked}"), Some(key)).await;
        assert_eq!(answer.status(), 200, "{path}");
        let answer: Value = answer.json().await.expect("JSON");
        super::openapi::tests::assert_described(&document, path, &answer);
    }
    alone.node.stop().await;
}

/// One of two nodes alone makes nothing final.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_final_yet_has_the_shape_that_the_openapi_document_gives_it() {
    let mut testbed = Testbed::prepare(&["eu", "eu"]);
    testbed.start_node(0, Seams::default()).await;
    let (url, http) = (format!("http://{}", testbed.node(0).api_address()), plain().build().expect("a client"));
    let get = async |path: &str| -> Value {
        let answer = http.get(format!("{url}{path}")).bearer_auth(testbed::AUDITOR).send().await;
        let answer = answer.expect("the node answers");
        assert_eq!(answer.status(), 200, "{path}");
        answer.json().await.expect("JSON")
    };
    let context = testbed.node(0).sessions().context();
    let anchored = Event::DecisionAnchored(DecisionAnchored { decisions: 1, log_head: Digest([7; 32]) });
    let id = context.replica.submit(context.sign(anchored, None)).expect("the rules allow it").id;
    let (checkpoint, submitted) = (get("/ledger/v1/checkpoint").await, get(&format!("/ledger/v1/entries/{id}")).await);
    assert_eq!(checkpoint, json!({"header": null, "certificate": null, "carriers": []}));
    assert_eq!(submitted, json!({"id": id, "status": "submitted", "promise": null}));
    let document = serde_json::from_value(get("/openapi.json").await).expect("an OpenAPI document");
    super::openapi::tests::assert_described(&document, "/ledger/v1/checkpoint", &checkpoint);
    super::openapi::tests::assert_described(&document, "/ledger/v1/entries/{id}", &submitted);
    for path in ["/ledger/v1/status", "/ledger/v1/credits", "/ledger/v1/operators", "/ledger/v1/governance"] {
        super::openapi::tests::assert_described(&document, path, &get(path).await);
    }
    testbed.stop_node(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_and_a_leaf_are_not_sent_to_who_has_them() {
    let (alone, _, _) = with_checkpoint().await;
    let entries: Value = alone.get("/ledger/v1/entries", Some(AUDITOR)).await.json().await.expect("JSON");
    let leaf = format!("/ledger/v1/entries/{}/leaf", entries[0]["id"].as_str().expect("an id"));
    // A block's JSON may be another after an update, or from another node.
    for (path, kept) in [
        (leaf.as_str(), "private, max-age=31536000, immutable"),
        ("/ledger/v1/blocks/1", "private, no-cache"),
        ("/ledger/v1/entries?from=0&count=1", "private, no-cache"),
        ("/ledger/v1/decisions?from=0&count=1", "private, no-cache"),
    ] {
        let first = alone.get(path, Some(AUDITOR)).await;
        assert_eq!(first.headers()["cache-control"], kept, "{path}");
        let tag = first.headers()["etag"].clone();
        let again = alone.http.get(format!("{}{path}", alone.url)).bearer_auth(AUDITOR).header("if-none-match", tag);
        assert_eq!(again.send().await.expect("the node answers").status(), 304, "{path}");
    }
    // Nothing is known of what is not final yet.
    for height in [0, 999_999] {
        let far = format!("{}/ledger/v1/blocks/{height}", alone.url);
        let far = alone.http.get(far).bearer_auth(AUDITOR).header("if-none-match", "*").send().await;
        assert_eq!(problem(far.expect("the node answers")).await, (404, "N-515".to_owned()), "{height}");
    }
    alone.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wallets_histories_and_proposals_come_in_pages_by_log_index() {
    let (alone, wallet, _) = with_checkpoint().await;
    let change = |to| Action::SetParameter { name: "credit_per_ms".into(), from: 1, to };
    let made = [2, 3].map(|to| alone.proposal(vec![change(to)]));
    let digests = [0, 1].map(|at: usize| json!(made[at].terms.digest()));
    for made in made {
        alone.order(Event::ProposalMade(Box::new(made))).await;
    }
    let page = async |path: String| -> Value {
        alone.get(&format!("/ledger/v1/{path}"), Some(AUDITOR)).await.json().await.expect("JSON")
    };
    for (path, name, least) in [
        ("wallets".to_owned(), "wallets", 1),
        (format!("wallets/{wallet}"), "history", 1),
        ("governance/proposals".to_owned(), "proposals", 2),
    ] {
        let all = page(path.clone()).await[name].as_array().expect("a list").clone();
        assert!(all.len() >= least, "{path}");
        let (mut from, mut found) = (0, Vec::new());
        loop {
            let one = page(format!("{path}?from={from}&count=1")).await;
            let some = one[name].as_array().expect("a list").clone();
            assert!(some.len() <= 1 && some.iter().all(|one| one["index"].as_u64() >= Some(from)), "{path}: {one}");
            found.extend(some);
            let next = one["next"].as_u64().expect("an index");
            assert!(next > from || one["size"] == from, "{path}: {one}");
            from = next;
            if one["size"] == from {
                break;
            }
        }
        // The ledger may have grown meanwhile.
        assert_eq!(found[..all.len()], all, "{path}");
        if name == "proposals" {
            assert_eq!([&all[0]["digest"], &all[1]["digest"]], [&digests[0], &digests[1]]);
        }
    }
    alone.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn evidence_is_given_by_its_name_and_nothing_else_is() {
    let alone = Alone::start().await;
    let get = async |path: &str| alone.get(&format!("/ledger/v1/evidence{path}"), Some(AUDITOR)).await;
    let page = async |query: &str| get(query).await.json::<Value>().await.expect("JSON");
    assert_eq!(page("").await, json!({"files": [], "next": 0, "size": 0}));
    let folder = alone.folder.path().join("data/ledger/evidence");
    fs::create_dir_all(folder.join("folder")).expect("our own folder");
    fs::write(folder.join("fork-9"), b"two certificates").expect("our own folder");
    let listed = json!([{"name": "fork-9", "bytes": 16, "kind": null, "culprits": null}]);
    assert_eq!(page("").await, json!({"files": listed, "next": 1, "size": 1}));
    // What is being written is not there yet, and what is another file under a name is described as that.
    fs::write(folder.join("invalid-7.next"), b"half of").expect("our own folder");
    fs::write(folder.join("fork-9"), b"the two certificates").expect("our own folder");
    fs::write(folder.join("fork-10"), b"").expect("our own folder");
    let expected = [("fork-10", 0), ("fork-9", 20)];
    let expected = expected.map(|(name, bytes)| json!({"name": name, "bytes": bytes, "kind": null, "culprits": null}));
    assert_eq!(page("").await["files"], json!(expected));
    for (from, one) in (0..).zip(&expected) {
        let listed = page(&format!("?from={from}&count=1")).await;
        assert_eq!(listed, json!({"files": [one], "next": from + 1, "size": 2}));
    }
    assert_eq!(page("?from=9").await, json!({"files": [], "next": 2, "size": 2}));
    fs::remove_file(folder.join("fork-10")).expect("our own folder");
    fs::write(folder.join("fork-9"), b"two certificates").expect("our own folder");
    assert_eq!(get("/fork-9").await.bytes().await.expect("a body"), "two certificates");
    for name in ["fork-8", "fork-10", "invalid-7.next", "folder", "..", "%2e%2e%2fvotes", "..%2f..%2fnode.key"] {
        assert_eq!(problem(get(&format!("/{name}")).await).await, (404, "N-512".to_owned()), "{name}");
    }
    alone.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_and_no_metric_shows_a_key() {
    let alone = Alone::start().await;
    let response = alone.post("/v1/chat/completions", Some(TENANT), chat(20).to_string()).await;
    let secret = response.headers()["x-batchmind-resume"].to_str().expect("ASCII").to_owned();
    let wallet = response.headers()["x-batchmind-wallet"].to_str().expect("ASCII").to_owned();
    let mut said = response.text().await.expect("the whole stream");
    for path in ["/metrics", "/readyz", "/healthz"] {
        said += &alone.get(path, None).await.text().await.expect("text");
    }
    let on_ledger = async {
        while alone.get(&format!("/ledger/v1/wallets/{wallet}"), Some(AUDITOR)).await.status() != 200 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), on_ledger).await.expect("the wallet becomes final");
    for path in ["status", "checkpoint", "entries", "blocks/1", "credits", &format!("wallets/{wallet}")] {
        said += &alone.get(&format!("/ledger/v1/{path}"), Some(AUDITOR)).await.text().await.expect("text");
    }
    for path in ["status", "sessions", &format!("sessions/{wallet}"), "moves", "decisions", "engine", "router"] {
        said += &alone.admin(path).await.to_string();
    }
    let seed = |file: &str| {
        let seed = keys::read(&alone.folder.path().join(file)).expect("a key file").seed();
        [to_hex(seed.as_ref()), json!(seed.as_ref()).to_string()]
    };
    let keys = [seed("node.key"), seed("acme.key"), [TENANT.to_owned(), AUDITOR.to_owned()], [secret.clone(), secret]];
    for key in keys.iter().flatten() {
        assert!(!said.contains(key.as_str()), "a key is shown");
    }
    assert_eq!(alone.admin("decisions/verify").await["verified"], true);
    alone.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_admin_socket_is_for_the_operator_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let alone = Alone::start().await;
    let socket = alone.folder.path().join("data/admin.sock");
    let mode = fs::metadata(&socket).expect("the socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    alone.node.stop().await;
    assert!(!socket.exists(), "a stopped node leaves no socket");
}
