//! Four validators, each a process of its own on loopback, and what the driver tells them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{self, BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{
        Arc,
        mpsc::{Receiver, Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

use genesis::{Auditor, Consortium, Document, Draft, Heading, Node, Operator, OperatorId, Parameters, Region};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use wallet::{
    digest::{Digest, from_hex, to_hex},
    identity::{RegionId, SecretKey},
    units::Timestamp,
};

use super::{
    member::wrong,
    orders::{Load, Loaded, Order, Word},
};
use crate::{bench::BenchFault, demo::setup::free_addresses, session::context::random};

/// Nodes of the consortium.
pub(super) const NODES: u32 = 4;
/// The key of the auditor of every consortium here.
pub(super) const AUDITOR: &str = "the-auditors-api-key-of-a-bench";
/// After this a process does not do what it is there for.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a validator said, and when that was heard.
pub(super) struct Heard {
    pub(super) node: u32,
    pub(super) at: Instant,
    pub(super) word: Word,
}

/// The running validators.
pub(super) struct Validators {
    folder: TempDir,
    program: PathBuf,
    keys: Vec<String>,
    next_keys: BTreeMap<u32, String>,
    seed: u64,
    ordering_alone: bool,
    running: BTreeMap<u32, Running>,
    words: Receiver<Heard>,
    speak: Sender<Heard>,
}

struct Running {
    child: Child,
    orders: ChildStdin,
}

impl Validators {
    /// Starts all of them on new files under `dir` and waits until each has a final block.
    pub(super) fn start(program: &Path, dir: &Path, seed: u64, ordering_alone: bool) -> Result<Self, BenchFault> {
        let (document, keys) = genesis()?;
        let consortium = document.verify().map_err(wrong)?;
        let mut validators = Self::prepare(program, dir, seed, &consortium, keys)?;
        validators.ordering_alone = ordering_alone;
        validators.start_all()?;
        Ok(validators)
    }

    /// Files under `dir` for the validators of a consortium, whose keys have these seeds. None runs yet.
    pub(super) fn prepare(
        program: &Path,
        dir: &Path,
        seed: u64,
        consortium: &Consortium,
        keys: Vec<String>,
    ) -> Result<Self, BenchFault> {
        let folder = tempfile::Builder::new().prefix("ledger-bench-").tempdir_in(dir)?;
        fs::write(folder.path().join("genesis"), consortium.to_bytes())?;
        let (speak, words) = channel();
        Ok(Self {
            folder,
            program: program.to_owned(),
            keys,
            next_keys: BTreeMap::new(),
            seed,
            ordering_alone: false,
            running: BTreeMap::new(),
            words,
            speak,
        })
    }

    /// Starts those of genesis and waits until each has a final block.
    pub(super) fn start_all(&mut self) -> Result<(), BenchFault> {
        (0..NODES).try_for_each(|node| self.spawn(node))?;
        let mut ready = BTreeSet::new();
        while ready.len() < NODES as usize {
            let heard = self.hear(PATIENCE)?.ok_or_else(|| silent("a validator's first final block"))?;
            ready.insert(heard.node);
        }
        Ok(())
    }

    /// The key to which that of `node` is to be rotated. It is told at its start.
    pub(super) fn set_next_key(&mut self, node: u32, seed: String) {
        self.next_keys.insert(node, seed);
    }

    pub(super) fn next_key(&self, node: u32) -> Result<String, BenchFault> {
        self.next_keys.get(&node).cloned().ok_or_else(|| wrong(format!("validator {node} has no next key")))
    }

    /// One more validator has the next number, and this key. Where it keeps its files.
    pub(super) fn add(&mut self, seed: String) -> PathBuf {
        self.keys.push(seed);
        self.dir_of(u32::try_from(self.keys.len() - 1).unwrap_or(u32::MAX))
    }

    fn dir_of(&self, node: u32) -> PathBuf {
        self.folder.path().join(format!("node-{node}"))
    }

    /// Starts one on its files.
    pub(super) fn spawn(&mut self, node: u32) -> Result<(), BenchFault> {
        let log =
            fs::OpenOptions::new().create(true).append(true).open(self.folder.path().join(format!("{node}.log")))?;
        let mut command = Command::new(&self.program);
        command.arg("ledger-member").arg("--genesis").arg(self.folder.path().join("genesis"));
        command.arg("--dir").arg(self.dir_of(node));
        command.args(["--node", &node.to_string(), "--key", &self.keys[node as usize]]);
        command.args(["--seed", &self.seed.to_string()]);
        if let Some(next) = self.next_keys.get(&node) {
            command.args(["--next-key", next]);
        }
        if self.ordering_alone {
            command.arg("--ordering-alone");
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log).spawn()?;
        let output = child.stdout.take().ok_or_else(|| io::Error::other("no standard output"))?;
        let orders = child.stdin.take().ok_or_else(|| io::Error::other("no standard input"))?;
        let speak = self.speak.clone();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let at = Instant::now();
                // What the command prints when it has ended is no word.
                let Ok(word) = serde_json::from_str(&line) else { continue };
                if speak.send(Heard { node, at, word }).is_err() {
                    return;
                }
            }
        });
        self.running.insert(node, Running { child, orders });
        Ok(())
    }

    /// Those that run.
    pub(super) fn nodes(&self) -> Vec<u32> {
        self.running.keys().copied().collect()
    }

    /// Tells one of them.
    pub(super) fn tell(&mut self, node: u32, order: &Order) -> Result<(), BenchFault> {
        let running = self.running.get_mut(&node).ok_or_else(|| wrong(format!("validator {node} does not run")))?;
        let mut line = serde_json::to_vec(order).map_err(io::Error::other)?;
        line.push(b'\n');
        Ok(running.orders.write_all(&line)?)
    }

    /// What comes next from any of them; none when `patience` is over.
    pub(super) fn hear(&mut self, patience: Duration) -> Result<Option<Heard>, BenchFault> {
        match self.hear_any(patience) {
            Some(heard) => Ok(Some(heard)),
            None => match self.ended()? {
                Some((node, how)) => Err(wrong(format!("validator {node} ended with {how}"))),
                None => Ok(None),
            },
        }
    }

    /// As [`Self::hear`], also if some of them ended.
    pub(super) fn hear_any(&mut self, patience: Duration) -> Option<Heard> {
        // This end holds a sender, too.
        self.words.recv_timeout(patience).ok()
    }

    /// Gives each its load and waits until all loads are over: what came of them, by validator.
    pub(super) fn load(&mut self, loads: &BTreeMap<u32, Load>) -> Result<BTreeMap<u32, Loaded>, BenchFault> {
        for (node, load) in loads {
            self.tell(*node, &Order::Load(*load))?;
        }
        let longest = loads.values().map(|load| load.lead_ms + load.ms).max().unwrap_or_default();
        let deadline = Instant::now() + Duration::from_millis(longest) + PATIENCE;
        let mut over = BTreeMap::new();
        while over.len() < loads.len() {
            let left = deadline.saturating_duration_since(Instant::now());
            let heard = self.hear(left)?.ok_or_else(|| silent("the end of a load"))?;
            if let Word::Loaded(loaded) = heard.word {
                over.insert(heard.node, loaded);
            }
        }
        Ok(over)
    }

    /// Whom most of those that run follow, once more than half of all follow the same.
    pub(super) fn leader(&mut self) -> Result<u32, BenchFault> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let nodes = self.nodes();
            for node in &nodes {
                self.tell(*node, &Order::Leader)?;
            }
            let (mut answers, mut votes) = (0, BTreeMap::<u32, usize>::new());
            while answers < nodes.len() {
                let heard = self.hear(PATIENCE)?.ok_or_else(|| silent("whom a validator follows"))?;
                if let Word::Leader(leader) = heard.word {
                    answers += 1;
                    leader.into_iter().for_each(|leader| *votes.entry(leader).or_default() += 1);
                }
            }
            let found = votes.into_iter().find(|(leader, votes)| 2 * votes > NODES as usize && nodes.contains(leader));
            if let Some((leader, _)) = found {
                return Ok(leader);
            }
            thread::sleep(Duration::from_millis(50));
        }
        Err(silent("a leader"))
    }

    /// Kills one with SIGKILL; the moment before.
    pub(super) fn kill(&mut self, node: u32) -> Result<Instant, BenchFault> {
        let mut running = self.running.remove(&node).ok_or_else(|| wrong(format!("validator {node} does not run")))?;
        let at = Instant::now();
        running.child.kill()?;
        running.child.wait()?;
        Ok(at)
    }

    /// One that ended by itself, and how.
    pub(super) fn ended(&mut self) -> Result<Option<(u32, String)>, BenchFault> {
        for (node, running) in &mut self.running {
            if let Some(status) = running.child.try_wait()? {
                let log = fs::read_to_string(self.folder.path().join(format!("{node}.log"))).unwrap_or_default();
                let last = log.lines().last().unwrap_or_default();
                return Ok(Some((*node, format!("{status}: {last}"))));
            }
        }
        Ok(None)
    }
}

impl Drop for Validators {
    fn drop(&mut self) {
        for running in self.running.values_mut() {
            // It may be gone already.
            let _ = running.child.kill();
            let _ = running.child.wait();
        }
    }
}

pub(super) fn silent(what: &str) -> BenchFault {
    BenchFault::Wrong(format!("{what} did not come in time"))
}

/// A consortium that nobody runs, and the keys of its nodes.
pub(super) fn founded() -> Result<(Arc<Consortium>, Vec<SecretKey>), BenchFault> {
    let (document, seeds) = genesis()?;
    let key = |seed: &String| from_hex(seed).map(|seed| SecretKey::from_seed(&seed)).map_err(wrong);
    let keys = seeds.iter().map(key).collect::<Result<_, _>>()?;
    Ok((Arc::new(document.verify().map_err(wrong)?), keys))
}

/// A signed genesis document for addresses that were free a moment ago, and the seeds of the nodes' keys.
pub(super) fn genesis() -> Result<(Document, Vec<String>), BenchFault> {
    let unsigned = Unsigned::new()?;
    Ok((unsigned.sign()?, unsigned.seeds))
}

/// A genesis document before anybody signs it.
pub(super) struct Unsigned {
    pub(super) draft: Draft,
    pub(super) operators: Vec<(OperatorId, SecretKey)>,
    /// Of the nodes' keys.
    pub(super) seeds: Vec<String>,
}

impl Unsigned {
    /// The document that all operators sign.
    pub(super) fn sign(&self) -> Result<Document, BenchFault> {
        let mut document = Document::new(self.draft.clone()).map_err(wrong)?;
        self.operators.iter().try_for_each(|(id, key)| document.sign(id, key)).map_err(wrong)?;
        Ok(document)
    }

    /// What operators decide may be done at once.
    pub(super) fn without_lock() -> Result<Self, BenchFault> {
        let mut unsigned = Self::new()?;
        unsigned.draft.parameters.proposal_lock_ms = 0;
        Ok(unsigned)
    }

    pub(super) fn new() -> Result<Self, BenchFault> {
        let addresses = free_addresses(NODES as usize).map_err(wrong)?;
        let region = RegionId::try_from("eu".to_owned()).map_err(wrong)?;
        let (mut operators, mut nodes, mut signers, mut keys) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (index, address) in (0..NODES).zip(addresses) {
            let id: OperatorId = format!("op-{index}").parse().map_err(wrong)?;
            let (operator_key, seed) = (SecretKey::from_seed(&random()), random());
            operators.push(Operator {
                id: id.clone(),
                name: format!("Operator {index}"),
                key: operator_key.public_key(),
            });
            nodes.push(Node {
                name: format!("node-{index}").parse().map_err(wrong)?,
                operator: id.clone(),
                region: region.clone(),
                key: SecretKey::from_seed(&seed).public_key(),
                peer: address,
                api: format!("http://127.0.0.1:{}", 9 + index),
            });
            signers.push((id, operator_key));
            keys.push(to_hex(&seed));
        }
        let draft = Draft {
            consortium: Heading { name: "Bench".into(), created_ms: Timestamp::new(1_700_000_000_000) },
            parameters: Parameters::default(),
            regions: vec![Region { id: region, name: "European Union".into() }],
            operators,
            nodes,
            auditors: vec![Auditor { name: "Bench".into(), key_hash: Digest(Sha256::digest(AUDITOR).into()) }],
            models: Vec::new(),
            signatures: BTreeMap::new(),
        };
        Ok(Self { draft, operators: signers, seeds: keys })
    }
}
