//! The interfaces of a whole node that is alone in its consortium, over real sockets.

use std::{fs, net::TcpListener, path::Path, time::Duration};

use genesis::{Auditor, Document, Draft, Heading, Node, Operator, Parameters, Region};
use reqwest::{Client, RequestBuilder, Response};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use wallet::{
    digest::{Digest, to_hex},
    identity::{RegionId, SecretKey},
    units::Timestamp,
};

use super::limits::{BODY_BYTES_MAX, HEADER_BYTES_MAX};
use crate::{config::ValidConfig, keys, node::RunningNode};

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
        let folder = tempfile::tempdir().expect("a temporary folder");
        let free = TcpListener::bind("127.0.0.1:0").and_then(|held| held.local_addr()).expect("a free port");
        let url = format!("http://{free}");
        write_files(folder.path(), &url, &free.to_string());
        let config = ValidConfig::load(&folder.path().join("node.toml")).expect("a valid configuration");
        let node = RunningNode::start(config).await.expect("it starts");
        let alone = Self { node, url, folder, http: Client::new() };
        let ready = async {
            while alone.get("/readyz", None).await.status() != 200 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), ready).await.expect("a node alone becomes ready");
        alone
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

    async fn admin(&self, path: &str) -> Value {
        let socket = self.folder.path().join("data/admin.sock");
        let http = Client::builder().unix_socket(socket).build().expect("a client");
        let response = http.get(format!("http://node/admin/v1/{path}")).send().await.expect("the node answers");
        response.json().await.expect("JSON")
    }
}

fn write_files(folder: &Path, url: &str, listen: &str) {
    let (operator_key, node_key) = (SecretKey::from_seed(&[1; 32]), keys::create(&folder.join("node.key")));
    let node_key = node_key.expect("a new key");
    let region = |id: &str| RegionId::try_from(id.to_owned()).expect("a region's name");
    let operator: genesis::OperatorId = "eu-1".parse().expect("an id");
    let hash = |key: &str| Digest(Sha256::digest(key.as_bytes()).into());
    let draft = Draft {
        consortium: Heading { name: "Alone".into(), created_ms: Timestamp::new(1) },
        parameters: Parameters::default(),
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
         [engine]\nblock-count = 64\n\n\
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
