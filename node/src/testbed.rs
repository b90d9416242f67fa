//! Whole nodes in one process, for tests: real libp2p on loopback, real RocksDB in a temporary folder, the tiny model.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    time::Duration,
};

use futures::{StreamExt as _, stream::BoxStream};
use genesis::{Auditor, Document, Draft, Heading, Model, Node, Operator, OperatorId, Owner, Parameters, Region};
use ledger::{
    event::Event,
    governance::{Action, OperatorBallot, ProposalTerms, quorum},
};
use sha2::{Digest as _, Sha256};
use wallet::{
    digest::Digest,
    identity::{RegionId, SecretKey},
    tenant::TenantMaster,
    units::{NodeId, Timestamp, TokenCount, TokenPosition},
};

use crate::{
    config::{EngineConfig, EnginePlace, Limits, ValidConfig},
    demo::setup::free_addresses,
    members::Members,
    node::{RunningNode, Seams},
    node_keys::NodeKeys,
    session::{
        Session, agent,
        command::{CommandReply, SessionCommand},
        refusal::Refusal,
        relay,
        request::{GenerateReply, GenerateRequest, ResumeSecret, Sampling},
        tokens::StreamItem,
    },
};

/// Long enough never to matter.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// The auditor's key to every node.
pub const AUDITOR: &str = "the-testbeds-auditors-api-key";

/// The key of the owner of the model that all nodes serve.
pub const OWNER: &str = "the-testbeds-owners-api-key-01";

/// The key of the owner of a model that no node serves, whose hash is zero.
pub const STRANGER: &str = "the-testbeds-strangers-api-key";

/// The consortium of a test.
pub struct Testbed {
    folder: tempfile::TempDir,
    configs: Vec<ValidConfig>,
    nodes: BTreeMap<u32, RunningNode>,
    master: TenantMaster,
}

/// A session that a test started, and its client's secret.
pub struct Client {
    pub reply: GenerateReply,
    pub secret: ResumeSecret,
}

impl Testbed {
    /// One node in each of `regions`, all running.
    pub async fn start(regions: &[&str]) -> Self {
        let mut testbed = Self::prepare(regions);
        for node in 0..regions.len() {
            testbed.start_node(node as u32, Seams::default()).await;
        }
        testbed.until_final().await;
        testbed
    }

    /// Waits until the first block is final everywhere.
    pub async fn until_final(&self) {
        for node in self.nodes.values() {
            let mut state = node.sessions().context().replica.watch_state();
            let first = state.wait_for(|tip| tip.height.get() > 0);
            tokio::time::timeout(PATIENCE, first).await.expect("a block becomes final").expect("the replica runs");
        }
    }

    /// Keys, genesis document and folders; no node runs.
    pub fn prepare(regions: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (document, keys) = consortium(regions);
        let consortium = document.verify().expect("every operator signed");
        let configs = keys
            .into_iter()
            .zip(0..)
            .map(|(key, index)| ValidConfig {
                lock_memory: Some(false),
                data_dir: folder.path().join(format!("node-{index}")),
                me: NodeId::new(index),
                name: consortium.nodes()[index as usize].name.clone(),
                nodes: (0..).map(NodeId::new).zip(consortium.nodes().iter().cloned()).collect(),
                peer_listen: consortium.nodes()[index as usize].peer,
                consortium: consortium.clone(),
                keys: NodeKeys::new(key, None),
                api_listen: address_of(&consortium.nodes()[index as usize].api),
                tls: None,
                limits: Limits::default(),
                model_dir: model_dir(),
                tick: Duration::from_secs(60),
                engine: EngineConfig {
                    block_count: 256,
                    threads: 1,
                    place: EnginePlace::Inside,
                    serves: BTreeSet::new(),
                },
                tenants: Vec::new(),
            })
            .collect();
        Self { folder, configs, nodes: BTreeMap::new(), master: TenantMaster::from_bytes([7; 32]) }
    }

    /// What a node is started with, to be changed before it is.
    pub fn config(&mut self, node: u32) -> &mut ValidConfig {
        &mut self.configs[node as usize]
    }

    pub async fn start_node(&mut self, node: u32, seams: Seams) {
        let started = RunningNode::start_with(self.configs[node as usize].clone(), seams).await;
        self.nodes.insert(node, started.expect("the node starts"));
    }

    pub async fn stop_node(&mut self, node: u32) {
        self.nodes.remove(&node).expect("it runs").stop().await;
    }

    pub fn node(&self, node: u32) -> &RunningNode {
        &self.nodes[&node]
    }

    /// The folder of one node's session.
    pub fn session_dir(&self, node: u32, client: &Client) -> PathBuf {
        self.folder.path().join(format!("node-{node}")).join("sessions").join(client.reply.wallet.0.to_string())
    }

    pub fn session(&self, node: u32, client: &Client) -> Arc<Session> {
        self.node(node).sessions().get(client.reply.wallet).expect("the session is known there")
    }

    /// Starts a session at `node` that may enter `regions`.
    pub async fn create(&self, node: u32, regions: &[&str], sampling: &Sampling, pace_ms: u32) -> Client {
        let context = self.node(node).sessions().context();
        let regions: BTreeSet<RegionId> = regions.iter().map(|name| region(name)).collect();
        let served = context.engine.served();
        let tenant = agent::grant(context, &self.master, &regions, NodeId::new(node), served)
            .expect("the node's region is allowed");
        let secret = ResumeSecret(crate::session::context::random());
        let request = GenerateRequest {
            tenant,
            prompt: prompt(),
            sampling: sampling.clone(),
            pace_ms,
            resume_secret_hash: secret.hash(),
            request_id: "test".to_owned(),
        };
        let reply = self.node(node).sessions().create(request).await.expect("the engine has room");
        Client { reply, secret }
    }

    /// The stream of a session as the front door at `at` relays it.
    pub fn follow(&self, at: u32, client: &Client, from: u32) -> BoxStream<'static, StreamItem> {
        let sessions = self.node(at).sessions();
        let (secret, from) = (client.secret.clone(), TokenPosition::new(from));
        relay::follow(sessions, client.reply.wallet, secret, from, client.reply.served_by).boxed()
    }

    /// Waits until the creation of the session's wallet is final at `node`.
    pub async fn until_created(&self, node: u32, client: &Client) {
        let mut state = self.node(node).sessions().context().replica.watch_state();
        let created = state.wait_for(|tip| tip.state.wallet(client.reply.wallet).is_some());
        tokio::time::timeout(PATIENCE, created).await.expect("it becomes final").expect("the replica runs");
    }

    /// Lets the first operators that are a quorum decide this at `node`; the nodes enact it by themselves.
    pub async fn decide(&self, node: u32, actions: Vec<Action>) {
        let context = self.node(node).sessions().context();
        let state = context.replica.state();
        let electorate = state.state.governance().expect("genesis puts it").electorate;
        let (operators, consortium) = (state.state.electorate(), context.consortium.id());
        let operator = |index: usize| (operators[index].0.clone(), SecretKey::from_seed(&[index as u8 + 100; 32]));
        let (proposer, key) = operator(0);
        let terms = ProposalTerms {
            consortium,
            electorate,
            operator: proposer,
            nonce: crate::session::context::random(),
            actions,
        };
        let proposal = terms.digest();
        let mut events = vec![Event::ProposalMade(Box::new(terms.sign(&key)))];
        events.extend((1..quorum(operators.len())).map(|index| {
            let (operator, key) = operator(index);
            Event::BallotCast(OperatorBallot { proposal, operator, approves: true }.sign(&key))
        }));
        for event in events {
            let submitted = crate::governance::submit(context, event).expect("the rules allow it");
            let is_final = context.replica.wait_final(submitted.id);
            tokio::time::timeout(PATIENCE, is_final).await.expect("it becomes final").expect("it is not refused");
        }
    }

    /// Waits until `node` sees the members so.
    pub async fn until(&self, node: u32, is_so: impl Fn(&Members) -> bool) {
        let mut state = self.node(node).sessions().context().replica.watch_state();
        let seen = state.wait_for(|tip| is_so(&tip.clone().into()));
        tokio::time::timeout(PATIENCE, seen).await.expect("it comes to that").expect("the replica runs");
    }

    pub async fn migrate(&self, from: u32, client: &Client, to: u32) -> Result<CommandReply, Refusal> {
        let to = NodeId::new(to);
        let command = SessionCommand::Migrate { to, decision: Digest([3; 32]), rule: "test".to_owned() };
        let session = self.session(from, client);
        tokio::time::timeout(PATIENCE, session.command(command)).await.expect("a move ends")
    }
}

/// The ids of all tokens to the end, whose positions follow each other from `from` on.
pub async fn ids_to_end(stream: BoxStream<'static, StreamItem>, from: u32) -> Vec<u32> {
    ids(stream, from, usize::MAX).await.0
}

/// The ids of the next `count` tokens, and what is left of the stream.
pub async fn ids(
    mut stream: BoxStream<'static, StreamItem>,
    from: u32,
    count: usize,
) -> (Vec<u32>, BoxStream<'static, StreamItem>) {
    let mut ids = Vec::new();
    while ids.len() < count {
        match tokio::time::timeout(PATIENCE, stream.next()).await.expect("a token or the end comes") {
            Some(StreamItem::Token(token)) => {
                assert_eq!(token.position.get(), from + ids.len() as u32, "each position comes once and in order");
                ids.push(token.id);
            }
            Some(StreamItem::Finished { .. }) => break,
            other => panic!("the stream broke off: {other:?}"),
        }
    }
    (ids, stream)
}

/// Sampling for a run of `count` tokens, and the tokens that the bare engine gives.
pub fn control(count: u32) -> (Sampling, Vec<u32>) {
    let model = Arc::new(gpu::Model::load(&model_dir()).expect("the tiny model"));
    let sampling = Sampling {
        max_tokens: TokenCount::new(count),
        temperature_ppm: 700_000,
        top_p_ppm: 950_000,
        seed: 1,
        ignore_eos: true,
        stop: Vec::new(),
    };
    let options = gpu::EngineOptions { block_count: 256, prefill_chunk_tokens: 16, idle_blocks_max: 256 };
    let mut engine = gpu::Engine::new(model, options);
    let id = gpu::SequenceId(1);
    engine.admit(id, prompt(), sampling.to_engine().expect("valid"), [0; 32]).expect("room");
    while engine.usage().sequences_running > 0 {
        engine.step();
    }
    let tokens = engine.tokens(id).expect("it is there")[prompt().len()..].to_vec();
    assert_eq!(tokens.len(), count as usize);
    (sampling, tokens)
}

/// A prompt of some pages.
pub fn prompt() -> Vec<u32> {
    (0..53).map(|index| 40 + index * 7 % 900).collect()
}

pub fn model_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../gpu/models/tiny")
}

/// The hash of the model that all nodes serve.
pub fn served_model() -> Digest {
    static HASH: OnceLock<Digest> = OnceLock::new();
    *HASH.get_or_init(|| gpu::Model::load(&model_dir()).expect("the tiny model").hash())
}

fn key_hash(key: &str) -> Digest {
    Digest(Sha256::digest(key).into())
}

fn region(name: &str) -> RegionId {
    RegionId::try_from(name.to_owned()).expect("a region name")
}

/// Where the node listens that the ledger has under this URL.
fn address_of(api: &str) -> SocketAddr {
    api.trim_start_matches("http://").parse().expect("an address of loopback")
}

fn consortium(regions: &[&str]) -> (Document, Vec<SecretKey>) {
    let addresses = free_addresses(2 * regions.len()).expect("loopback has free ports");
    let (mut operators, mut nodes, mut signers, mut keys) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for ((home, index), [peer, api]) in regions.iter().zip(0_u8..).zip(addresses.as_chunks().0) {
        let id: OperatorId = format!("op-{index}").parse().expect("an operator's id");
        let (operator_key, key) = (SecretKey::from_seed(&[index + 100; 32]), SecretKey::from_seed(&[index + 1; 32]));
        operators.push(Operator { id: id.clone(), name: format!("Operator {index}"), key: operator_key.public_key() });
        nodes.push(Node {
            name: format!("node-{index}").parse().expect("a node's name"),
            operator: id.clone(),
            region: region(home),
            key: key.public_key(),
            peer: *peer,
            api: format!("http://{api}"),
        });
        signers.push((id, operator_key));
        keys.push(key);
    }
    let names: BTreeSet<&str> = regions.iter().copied().collect();
    let mut document = Document::new(Draft {
        consortium: Heading { name: "Testbed".into(), created_ms: Timestamp::new(1_700_000_000_000) },
        parameters: Parameters {
            heartbeat_ms: 100,
            leader_timeout_ms: 400,
            idle_block_ms: 1_000,
            proposal_lock_ms: 0,
            ..Parameters::default()
        },
        regions: names.iter().map(|name| Region { id: region(name), name: (*name).to_owned() }).collect(),
        operators,
        nodes,
        auditors: vec![Auditor { name: "Audit".into(), key_hash: key_hash(AUDITOR) }],
        models: [("tiny", served_model(), OWNER), ("other", Digest::ZERO, STRANGER)]
            .map(|(name, hash, key)| Model {
                hash,
                name: name.into(),
                operator: "op-0".parse().expect("an operator's id"),
                owner: Some(Owner { name: format!("Owner of {name}"), key_hash: key_hash(key) }),
            })
            .to_vec(),
        signatures: BTreeMap::new(),
    })
    .expect("a valid document");
    for (id, key) in signers {
        document.sign(&id, &key).expect("a listed operator");
    }
    (document, keys)
}
