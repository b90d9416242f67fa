//! The interfaces of a whole node that is alone in its consortium, over real sockets. Each file has one subject.

mod access;
mod damage;
mod evidence;
mod governance;
mod log;
mod operation;
mod pages;
mod sessions;
mod shapes;
mod state;

use std::{fs, path::Path, time::Duration};

use ::ledger::{
    event::Event,
    governance::{Action, ProposalMade, ProposalTerms},
    tlog::{CosignedCheckpoint, Note},
};
use genesis::{Auditor, Document, Draft, Heading, Node, Operator, Parameters, Region};
use reqwest::{Client, RequestBuilder, Response};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use wallet::{digest::Digest, identity::RegionId, units::Timestamp};

use crate::{
    config::ValidConfig, demo::setup::free_addresses, keys, node::RunningNode, session::context::random,
    tls::client::plain,
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
        Self::founded(tables, &[AUDITOR]).await
    }

    /// The same, whose genesis document grants these keys to auditors.
    async fn founded(tables: &str, auditors: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let free = free_addresses(1).expect("loopback has free ports")[0];
        let url = format!("http://{free}");
        write_files(folder.path(), &url, &free.to_string(), tables, auditors);
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
        terms.sign(&keys::read(&self.folder.path().join("eu-1.key")).expect("a key file"))
    }

    /// Asks the operator's socket to do something.
    async fn admin_post(&self, path: &str, body: &Value) -> Response {
        let request = self.admin_client().post(format!("http://node/admin/v1/{path}"));
        request.body(body.to_string()).send().await.expect("the node answers")
    }

    fn admin_client(&self) -> reqwest::Client {
        let socket = self.folder.path().join("data/admin.sock");
        plain().unix_socket(socket).build().expect("a client")
    }

    async fn admin(&self, path: &str) -> Value {
        let http = self.admin_client();
        let response = http.get(format!("http://node/admin/v1/{path}")).send().await.expect("the node answers");
        response.json().await.expect("JSON")
    }
}

fn write_files(folder: &Path, url: &str, listen: &str, tables: &str, auditors: &[&str]) {
    let [operator_key, node_key] =
        ["eu-1.key", "node.key"].map(|file| keys::create(&folder.join(file)).expect("a new key"));
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
        auditors: auditors.iter().map(|key| Auditor { name: "Audit".into(), key_hash: hash(key) }).collect(),
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
