//! The proofs that a node's HTTP interface makes out of a log of a million entries, asked for by a client on the same
//! machine, and the memory that the node's process takes then.
//!
//! No validators order a million entries for this. A chain is written as an archive, a node's ledger is restored from
//! it, and the node is the program that operators run. Its peers do not answer, so nothing new becomes final; what is
//! final it proves.

use std::{
    fs,
    io::Write as _,
    net::SocketAddr,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use genesis::Consortium;
use ledger::{bundle, shell::restore::restore, state::StateKey, tree::log::verify_inclusion};
use scheduler::decision::{Decision, Logged};
use serde_json::Value;
use wallet::{
    digest::{Digest, from_hex},
    identity::SecretKey,
    units::{LogIndex, NodeId},
};

use super::{
    Figures,
    audit::ENTRIES,
    author::Author,
    chain::{ChainFile, open},
    consortium::{AUDITOR, genesis},
    member::wrong,
    moves::{Moves, Telling},
};
use crate::{
    bench::{BenchFault, sessions::Chance, streams::quantile},
    demo::setup::free_addresses,
    schedule::log::DecisionFile,
    tls::client::plain,
};

/// Entries in a block.
const BLOCK: usize = 256;
/// Blocks of other entries between two of the wallet's.
const BETWEEN: u64 = 1;
/// Who says what nobody looks at: no holder of the wallet, and no node that runs.
const CROWD: NodeId = NodeId::new(3);
/// How often each kind of proof is asked for.
const REQUESTS: usize = 2_000;
/// After this a node does not answer. It reads a million records first.
const PATIENCE: Duration = Duration::from_secs(600);

pub(super) fn figures(
    figures: &mut Figures,
    program: &Path,
    dir: &Path,
    model: &Path,
    seed: u64,
) -> Result<(), BenchFault> {
    let folder = tempfile::Builder::new().prefix("proofs-bench-").tempdir_in(dir)?;
    let ledger = Prepared::new(folder.path())?;
    let node = Node::start(folder.path(), program, model)?;
    let runtime = tokio::runtime::Runtime::new()?;
    let mut took = runtime.block_on(ask(&node, &ledger, &mut Chance::new(seed, 0)))?;
    figures.set("proof_log_entries", ledger.size);
    figures.set("proof_requests", 3 * REQUESTS);
    let mut slowest: f64 = 0.0;
    for ((p50, p99), times) in [
        ("inclusion_endpoint_ms_p50", "inclusion_endpoint_ms_p99"),
        ("state_endpoint_ms_p50", "state_endpoint_ms_p99"),
        ("bundle_endpoint_ms_p50", "bundle_endpoint_ms_p99"),
    ]
    .into_iter()
    .zip(&mut took)
    {
        figures.set(p50, quantile(times, 0.5));
        let late = quantile(times, 0.99);
        figures.set(p99, late);
        slowest = slowest.max(late);
    }
    figures.set("proof_endpoint_ms_p99", slowest);
    figures.set("rss_mib", node.rss_mib()?);
    Ok(())
}

/// The files of a node whose ledger is that long, and what is asked of it.
struct Prepared {
    consortium: Arc<Consortium>,
    size: u64,
    log_root: Digest,
    /// Entries of all parts of the log, with their places.
    entries: Vec<(LogIndex, Digest)>,
    wallet: Digest,
}

impl Prepared {
    fn new(folder: &Path) -> Result<Self, BenchFault> {
        let (document, seeds) = genesis()?;
        fs::write(folder.join("genesis.toml"), document.to_toml())?;
        let key = |seed: &String| from_hex(seed).map(|seed| SecretKey::from_seed(&seed)).map_err(wrong);
        let keys: Vec<SecretKey> = seeds.iter().map(key).collect::<Result<_, _>>()?;
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(folder.join("node.key"))?;
        writeln!(file, "{}", seeds[0])?;
        let consortium = Arc::new(document.verify().map_err(wrong)?);
        let archive = folder.join("archive");
        let prepared = Self::write(&archive, &consortium, &keys, &folder.join("data"))?;
        restore(&mut open(&archive, &consortium)?, folder.join("data").join("ledger"), &[], |_| {}).map_err(wrong)?;
        fs::remove_file(archive)?;
        Ok(prepared)
    }

    /// A wallet begins in the middle of the log and moves at its end; node 0 decides it.
    fn write(file: &Path, consortium: &Arc<Consortium>, keys: &[SecretKey], data: &Path) -> Result<Self, BenchFault> {
        let mut told = Moves::new(consortium, keys, 1)?;
        fs::create_dir_all(data)?;
        let mut decisions = DecisionFile::open(&data.join("decisions")).map_err(wrong)?;
        for decision in told.decisions() {
            let decision = Decision::decode(decision).map_err(wrong)?;
            decisions.append(&Logged { hash: decision.hash(), decision }).map_err(wrong)?;
        }
        let crowd = Author::new(consortium.id(), CROWD, keys[CROWD.get() as usize].clone());
        let mut chain = ChainFile::create(file, consortium, keys)?;
        let (blocks, mut entries) = (ENTRIES / BLOCK as u64, Vec::new());
        let (middle, mut next) = (blocks / 2, blocks.saturating_sub(6 * BETWEEN));
        let mut number = 0;
        loop {
            let is_due = number == middle || number == next;
            let telling = if is_due { told.next(&chain.tip().state)? } else { None };
            if is_due && telling.is_none() {
                break;
            }
            let others = BLOCK - usize::from(telling.is_some());
            let mut block = crowd.next(others, |entries| entries);
            if let Some(Telling::Creation(entry) | Telling::Later(entry)) = telling {
                block.push(entry);
            }
            entries.push((LogIndex::new(number * BLOCK as u64), block[0].id()));
            chain.push(block)?;
            if number == next {
                next += 1 + BETWEEN;
            }
            number += 1;
        }
        let (size, log_root) = (chain.tip().log.size(), chain.tip().log.root());
        chain.finish()?;
        Ok(Self { consortium: consortium.clone(), size, log_root, entries, wallet: told.wallet().0 })
    }
}

/// The node's process.
struct Node {
    child: Child,
    api: SocketAddr,
}

impl Node {
    fn start(folder: &Path, program: &Path, model: &Path) -> Result<Self, BenchFault> {
        let (api, model): (SocketAddr, PathBuf) = (free_addresses(1).map_err(wrong)?[0], model.canonicalize()?);
        // Whoever measures asks without a pause.
        let config = format!(
            "data-dir = \"data\"\ngenesis = \"genesis.toml\"\nnode = \"node-0\"\nkey-file = \"node.key\"\n\
             api-listen = \"{api}\"\nmodel-dir = {model:?}\n\n\
             [limits]\nkey = {{ per-s = 1000000, burst = 1000000 }}\naddress = {{ per-s = 20, burst = 100 }}\n\n\
             [engine]\nblock-count = 64\n"
        );
        fs::write(folder.join("node.toml"), config)?;
        let log = fs::File::create(folder.join("node.log"))?;
        let mut command = Command::new(program);
        command.args(["node", "run", "--config"]).arg(folder.join("node.toml"));
        let child = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?;
        let mut node = Self { child, api };
        let deadline = Instant::now() + PATIENCE;
        while std::net::TcpStream::connect(api).is_err() {
            if let Some(status) = node.child.try_wait()? {
                let log = fs::read_to_string(folder.join("node.log")).unwrap_or_default();
                let last = log.lines().last().unwrap_or_default();
                return Err(BenchFault::Wrong(format!("the node ended with {status}: {last}")));
            }
            if Instant::now() > deadline {
                return Err(BenchFault::Wrong("the node does not answer".to_owned()));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(node)
    }

    /// Its resident memory.
    fn rss_mib(&self) -> Result<u64, BenchFault> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|rest| rest.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
        kib.map(|kib| kib / 1024).ok_or_else(|| BenchFault::Wrong("the system does not say how much memory".to_owned()))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks for each kind of proof in turns and checks what comes; how long each answer took until its last byte, in
/// milliseconds.
async fn ask(node: &Node, ledger: &Prepared, chance: &mut Chance) -> Result<[Vec<f64>; 3], BenchFault> {
    let http = plain().build().map_err(wrong)?;
    let mut took = [(); 3].map(|()| Vec::with_capacity(REQUESTS));
    let mut get = async |kind: usize, path: String| -> Result<Vec<u8>, BenchFault> {
        let started = Instant::now();
        let answer = http.get(format!("http://{}/ledger/v1/{path}", node.api)).bearer_auth(AUDITOR).send().await;
        let answer = answer.and_then(reqwest::Response::error_for_status).map_err(wrong)?;
        let bytes = answer.bytes().await.map_err(wrong)?;
        took[kind].push(started.elapsed().as_secs_f64() * 1e3);
        Ok(bytes.to_vec())
    };
    let size = ledger.size;
    for _ in 0..REQUESTS {
        let (index, id) = ledger.entries[chance.below(ledger.entries.len() as u64) as usize];
        let told: Value = parsed(&get(0, format!("log/inclusion?index={index}&size={size}")).await?)?;
        let leaf = serde_json::from_value(told["leaf_hash"].clone()).map_err(wrong)?;
        let path: Vec<Digest> = serde_json::from_value(told["path"].clone()).map_err(wrong)?;
        verify_inclusion(&ledger.log_root, size, index, &leaf, &path).map_err(wrong)?;

        let told: Value = parsed(&get(1, format!("state/entry/{id}")).await?)?;
        let key = Value::from(StateKey::Entry(id).digest().to_string());
        if told["key"] != key || told["value"].is_null() {
            return Err(BenchFault::Wrong(format!("the state lacks entry {id}")));
        }
        let bytes = get(2, format!("wallets/{}/bundle?epoch=1", ledger.wallet)).await?;
        bundle::verify(&bytes, &ledger.consortium.id(), &[], None).map_err(wrong)?;
    }
    Ok(took)
}

fn parsed(bytes: &[u8]) -> Result<Value, BenchFault> {
    serde_json::from_slice(bytes).map_err(wrong)
}
