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

use genesis::{Consortium, OperatorId};
use ledger::{
    bundle::{self, Grounds},
    governance::{Action, Member},
    shell::{final_store::FinalStore, restore::restore},
    state::StateKey,
    state_proof,
    tree::log::verify_inclusion,
};
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
    consortium::{AUDITOR, Unsigned},
    member::wrong,
    moves::{Moves, Telling},
};
use crate::{
    bench::{BenchFault, sessions::Chance, streams::quantile},
    demo::setup::free_addresses,
    tls::client::plain,
};

/// Entries in a block.
const BLOCK: usize = 256;
/// Blocks of other entries between two of the wallet's.
const BETWEEN: u64 = 1;
/// The node whose ledger it is. Its own decisions, of which there are none, are its business.
const RUNNING: usize = 3;
/// The source of the move has anchored its decisions in nearly all of the log: no node has more anchors to look through.
const SOURCE: NodeId = NodeId::ZERO;
/// Who says the rest, after the source's last anchor.
const OTHER: NodeId = NodeId::new(2);
/// How many decisions the source made before: more than it anchored until then.
const DECIDED: u64 = 1 << 60;
/// How often the validators of the second ledger changed: each proof of it begins with as many hand-overs.
const HAND_OVERS: usize = 100;
/// How often each kind of proof is asked for.
const REQUESTS: usize = 2_000;
/// Kinds of proofs.
const KINDS: usize = 4;
/// After this a node does not answer. It reads a million records first.
const PATIENCE: Duration = Duration::from_secs(600);

pub(super) fn figures(
    figures: &mut Figures,
    program: &Path,
    dir: &Path,
    model: &Path,
    seed: u64,
) -> Result<(), BenchFault> {
    let mut usual = Measured::new(program, dir, model, seed, 0)?;
    figures.set("proof_log_entries", usual.size);
    figures.set("proof_requests", KINDS * REQUESTS);
    figures.set("proof_endpoint_ms_p99", usual.slowest_p99());
    for ((p50, p99), times) in [
        ("inclusion_endpoint_ms_p50", "inclusion_endpoint_ms_p99"),
        ("state_endpoint_ms_p50", "state_endpoint_ms_p99"),
        ("state_proof_endpoint_ms_p50", "state_proof_endpoint_ms_p99"),
        ("bundle_endpoint_ms_p50", "bundle_endpoint_ms_p99"),
    ]
    .into_iter()
    .zip(&mut usual.took)
    {
        figures.set(p50, quantile(times, 0.5));
        figures.set(p99, quantile(times, 0.99));
    }
    figures.set("rss_mib", usual.rss_mib);
    let mut after = Measured::new(program, dir, model, seed, HAND_OVERS)?;
    figures.set("proof_endpoint_ms_p99_100_hand_overs", after.slowest_p99());
    figures.set("bundle_bytes_100_hand_overs", after.bundle_bytes);
    Ok(())
}

/// What a node with a ledger in which the validators changed so often answered.
struct Measured {
    size: u64,
    took: [Vec<f64>; KINDS],
    bundle_bytes: usize,
    rss_mib: u64,
}

impl Measured {
    fn new(program: &Path, dir: &Path, model: &Path, seed: u64, hand_overs: usize) -> Result<Self, BenchFault> {
        let folder = tempfile::Builder::new().prefix("proofs-bench-").tempdir_in(dir)?;
        let ledger = Prepared::new(folder.path(), hand_overs)?;
        let node = Node::start(folder.path(), program, model)?;
        let runtime = tokio::runtime::Runtime::new()?;
        let (took, bundle_bytes) = runtime.block_on(ask(&node, &ledger, &mut Chance::new(seed, 0)))?;
        Ok(Self { size: ledger.size, took, bundle_bytes, rss_mib: node.rss_mib()? })
    }

    /// Of the slowest kind.
    fn slowest_p99(&mut self) -> f64 {
        self.took.iter_mut().map(|times| quantile(times, 0.99)).fold(0.0, f64::max)
    }
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
    fn new(folder: &Path, hand_overs: usize) -> Result<Self, BenchFault> {
        let unsigned = Unsigned::without_lock()?;
        let (document, Unsigned { operators, seeds, .. }) = (unsigned.sign()?, unsigned);
        fs::write(folder.join("genesis.toml"), document.to_toml())?;
        let key = |seed: &String| from_hex(seed).map(|seed| SecretKey::from_seed(&seed)).map_err(wrong);
        let keys: Vec<SecretKey> = seeds.iter().map(key).collect::<Result<_, _>>()?;
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(folder.join("node.key"))?;
        writeln!(file, "{}", seeds[RUNNING])?;
        let consortium = Arc::new(document.verify().map_err(wrong)?);
        let archive = folder.join("archive");
        let (prepared, grounds) = Self::write(&archive, &consortium, &keys, &operators, hand_overs)?;
        let ledger = folder.join("data").join("ledger");
        let restored = restore(&mut open(&archive, &consortium)?, &ledger, &[], |_| {}).map_err(wrong)?;
        fs::remove_file(archive)?;
        // As a node does that was told of the decision when the offer was final.
        let (store, _) = FinalStore::open(ledger.join("final"), &consortium).map_err(wrong)?;
        store.keep_grounds(&[(SOURCE, grounds)], restored.executed.height).map_err(wrong)?;
        Ok(prepared)
    }

    /// A wallet begins in the middle of the log and moves at its end. The validators changed at the beginning.
    fn write(
        file: &Path,
        consortium: &Arc<Consortium>,
        keys: &[SecretKey],
        operators: &[(OperatorId, SecretKey)],
        hand_overs: usize,
    ) -> Result<(Self, Grounds), BenchFault> {
        let mut told = Moves::new(consortium, keys, 1, DECIDED)?;
        let grounds = Grounds::of(told.decisions()).ok_or_else(|| wrong("no decision"))?;
        let author = |node: NodeId| Author::new(consortium.id(), node, keys[node.get() as usize].clone());
        let (source, other) = (author(SOURCE), author(OTHER));
        let mut chain = ChainFile::create(file, consortium, keys)?;
        for change in 0..hand_overs {
            let member = Member::Node(OTHER);
            let key = keys[OTHER.get() as usize].public_key();
            let action = if change % 2 == 0 { Action::Suspend(member) } else { Action::Reinstate { member, key } };
            chain.decide(operators, vec![action])?;
        }
        let (blocks, mut entries) = (ENTRIES / BLOCK as u64, Vec::new());
        let (middle, last) = (blocks / 2, blocks.saturating_sub(6 * BETWEEN));
        let (mut number, mut next) = (0, last);
        loop {
            let is_due = number == middle || number == next;
            let telling = if is_due { told.next(&chain.tip().state)? } else { None };
            if is_due && telling.is_none() {
                break;
            }
            let others = BLOCK - usize::from(telling.is_some());
            let crowd = if number < last { &source } else { &other };
            let mut block = crowd.next(others, |entries| entries);
            if let Some(Telling::Creation(entry) | Telling::Later(entry)) = telling {
                block.push(entry);
            }
            entries.push((LogIndex::new(chain.tip().log.size()), block[0].id()));
            chain.push(block)?;
            if number == next {
                next += 1 + BETWEEN;
            }
            number += 1;
        }
        let (size, log_root) = (chain.tip().log.size(), chain.tip().log.root());
        chain.finish()?;
        Ok((Self { consortium: consortium.clone(), size, log_root, entries, wallet: told.wallet().0 }, grounds))
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
            "data-dir = \"data\"\ngenesis = \"genesis.toml\"\nnode = \"node-{RUNNING}\"\nkey-file = \"node.key\"\n\
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
/// milliseconds, and how many bytes the bundle has.
async fn ask(node: &Node, ledger: &Prepared, chance: &mut Chance) -> Result<([Vec<f64>; KINDS], usize), BenchFault> {
    let http = plain().build().map_err(wrong)?;
    let mut took = [(); KINDS].map(|()| Vec::with_capacity(REQUESTS));
    let mut get = async |kind: usize, path: String| -> Result<Vec<u8>, BenchFault> {
        let started = Instant::now();
        let answer = http.get(format!("http://{}/ledger/v1/{path}", node.api)).bearer_auth(AUDITOR).send().await;
        let answer = answer.and_then(reqwest::Response::error_for_status).map_err(wrong)?;
        let bytes = answer.bytes().await.map_err(wrong)?;
        took[kind].push(started.elapsed().as_secs_f64() * 1e3);
        Ok(bytes.to_vec())
    };
    let (size, genesis, mut bundle_bytes) = (ledger.size, ledger.consortium.id(), 0);
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
        let bytes = get(2, format!("state/entry/{id}/proof")).await?;
        state_proof::verify(&bytes, &genesis, &[], Some(&StateKey::Entry(id))).map_err(wrong)?;
        let bytes = get(3, format!("wallets/{}/bundle?epoch=1", ledger.wallet)).await?;
        bundle::verify(&bytes, &genesis, &[], None).map_err(wrong)?;
        bundle_bytes = bytes.len();
    }
    Ok((took, bundle_bytes))
}

fn parsed(bytes: &[u8]) -> Result<Value, BenchFault> {
    serde_json::from_slice(bytes).map_err(wrong)
}
