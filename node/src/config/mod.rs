//! The node's configuration: a TOML file, read once and checked as a whole.
//!
//! ```toml
//! data-dir = "data"                  # ledger, sessions, decision log
//! genesis = "genesis.toml"           # signed by every operator
//! node = "eu-1-a"                    # this node's name, in genesis or on the ledger in data-dir
//! key-file = "eu-1-a.key"            # its key, mode 0600
//! next-key-file = "eu-1-a.next.key"  # only while the key is rotated: the one that it gets, or the one that it had
//! passphrase-file = "/run/credentials/batchmind.service/passphrase"  # of wrapped key files; default: the terminal
//! lock-memory = true                 # start only if no memory can be swapped; default: lock it if the system allows it
//! peer-listen = "0.0.0.0:7001"       # default: the address in genesis
//! api-listen = "127.0.0.1:8001"      # HTTP; without [tls] a loopback address
//! model-dir = "models/tiny"          # config.json, safetensors, tokenizer.json
//! tick = "500ms"                     # the scheduler's clock
//!
//! [tls]                              # default: HTTP in the clear
//! certificate-file = "eu-1-a.pem"    # the node's certificate and those that lead to a root, in PEM
//! key-file = "eu-1-a.tls.key"        # its key in PEM, mode 0600
//!
//! [limits]                           # requests of one client; who asks for more is told to wait
//! key = { per-s = 500, burst = 1000 }    # with one API key
//! address = { per-s = 20, burst = 100 }  # from one address, without a key that opens something here
//! stall = "60s"                      # a client that takes nothing of its answer for so long is cut
//!
//! [engine]
//! block-count = 1024                 # KV blocks of 16 tokens
//! threads = 1
//! place = "inside"                   # or "worker", or { node = "eu-1-b" }: another node of the same operator
//! serves = ["eu-1-c"]                # nodes of the same operator whose engines may stand here; default: none
//!
//! [[tenants]]
//! name = "acme"
//! api-key-hash = "..."               # SHA-256 of the API key, 64 hexadecimal digits
//! regions = ["eu"]                   # where its sessions may be held
//! master-key-file = "acme.key"       # default: made in data-dir/tenants
//! ```
//!
//! Unknown keys are refused. Relative paths start at the file's folder.

mod fault;
mod file;
mod tenant;
pub mod units;

use std::{collections::BTreeSet, fs, net::SocketAddr, path::Path, path::PathBuf, time::Duration};

use genesis::{Consortium, Node, NodeName};
use ledger::{
    shell::final_store::nodes,
    state::{NodeRecord, Standing, State},
};
use wallet::units::NodeId;

use crate::{
    keys::{self, KeyFault, KeyLocation},
    node_keys::NodeKeys,
    tls::{client::Way, server::TlsFiles},
};
pub use fault::{ConfigFault, Place};
use file::{ConfigFile, STALL, Source, TICK};
pub use tenant::{Tenant, TenantName, TenantNameInvalid};

/// What of a configuration its ledger is made from. A node that joins is on no ledger that it has.
#[derive(Clone, Debug)]
pub struct LedgerConfig {
    /// The consortium, from its signed genesis document.
    pub consortium: Consortium,
    /// The node's key, and while it is rotated the other one.
    pub keys: NodeKeys,
    /// Where the node keeps what must survive a restart: its folder `ledger` is the ledger's.
    pub data_dir: PathBuf,
}

/// A configuration that keeps all rules, with the documents and the key that it names.
#[derive(Clone, Debug)]
pub struct ValidConfig {
    /// Where the node keeps what must survive a restart.
    pub data_dir: PathBuf,
    /// The signed consortium document.
    pub consortium: Consortium,
    /// This node.
    pub me: NodeId,
    /// Its name.
    pub name: NodeName,
    /// Who takes part, as the ledger in the data folder has it, or else genesis.
    pub nodes: Vec<(NodeId, Node)>,
    /// This node's key, and while it is rotated the other one.
    pub keys: NodeKeys,
    /// Whether no page of the process's memory may be swapped: it must be so, need not, or, if nothing is said, shall be if
    /// the system allows it.
    pub lock_memory: Option<bool>,
    /// Where peers are awaited.
    pub peer_listen: SocketAddr,
    /// Where HTTP is served: a loopback address if there is no certificate.
    pub api_listen: SocketAddr,
    /// The certificate with which it is served. It could be read.
    pub tls: Option<TlsFiles>,
    /// How much one client may ask for.
    pub limits: Limits,
    /// The model's folder.
    pub model_dir: PathBuf,
    /// The scheduler's interval.
    pub tick: Duration,
    /// The engine's size.
    pub engine: EngineConfig,
    /// Who may use the OpenAI interface.
    pub tenants: Vec<Tenant>,
}

/// Table `[limits]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Of one API key. Default 500 in a second, 1000 at once.
    pub key: Rate,
    /// Of one address that shows no key which opens something. Default 20 in a second, 100 at once.
    pub address: Rate,
    /// How long a client may leave its answer unread: a connection to which nothing can be written for so long is closed.
    /// Default 60s, 1s to 1h.
    pub stall: Duration,
}

/// Requests: up to `burst` at once, and `per_s` of them again with each second. Each is 1 to 1000000.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Requests in a second, over a long time.
    pub per_s: u32,
    /// Requests at once, after a rest.
    pub burst: u32,
}

/// Table `[engine]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineConfig {
    /// KV blocks of 16 tokens. Default 1024, 16 to 4194304.
    pub block_count: u32,
    /// Threads that compute. Results do not depend on it. Default 1, up to 1024.
    pub threads: u32,
    /// Where the engine stands.
    pub place: EnginePlace,
    /// Nodes of the same operator whose engines may stand here.
    pub serves: BTreeSet<NodeId>,
}

/// Where a node's engine stands. What it is asked is not encrypted against whoever runs it, so it stands with the same
/// operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnginePlace {
    /// In the node's process.
    Inside,
    /// In a process beside it.
    Worker,
    /// At another node of the same operator.
    Node(NodeId),
}

impl Default for Limits {
    fn default() -> Self {
        let rate = |per_s, burst| Rate { per_s, burst };
        Self { key: rate(500, 1_000), address: rate(20, 100), stall: Duration::from_secs(60) }
    }
}

impl LedgerConfig {
    /// Reads the file, and the genesis document and the key that it names. Creates nothing.
    ///
    /// # Errors
    /// [`ConfigFault`] for the first thing that is wrong, with its place.
    pub fn load(path: &Path) -> Result<Self, ConfigFault> {
        let text = read(path)?;
        let source = Source { path, text: &text };
        Self::of(&source, &source.parse()?)
    }

    fn of(source: &Source<'_>, file: &ConfigFile) -> Result<Self, ConfigFault> {
        let genesis_path = source.resolve(&file.genesis);
        let consortium = genesis::parse(&read(&genesis_path)?)
            .and_then(genesis::Document::verify)
            .map_err(|source| ConfigFault::Genesis { file: genesis_path, source })?;
        let passphrase = file.passphrase_file.as_deref().map(|file| source.resolve(file));
        let open = |key: &Path| match KeyLocation::from(key) {
            KeyLocation::File(key) => keys::open_file(&source.resolve(&key), passphrase.as_deref()),
            KeyLocation::Token(_) => Err(KeyFault::NotInToken { place: source.place(&file.key_file).to_string() }),
        };
        let key = open(file.key_file.get_ref())?;
        let next = file.next_key_file.as_deref().map(open).transpose()?;
        Ok(Self { consortium, keys: NodeKeys::new(key, next), data_dir: source.resolve(&file.data_dir) })
    }

    /// Which node it is of: that of the state whose key it has.
    pub fn own_node(&self, state: &State) -> Option<NodeId> {
        let mut nodes = state.nodes().filter(|(_, record)| record.standing.takes_part());
        nodes.find(|(_, record)| self.keys.named(record.node.key).is_some()).map(|(node, _)| node)
    }
}

fn read(path: &Path) -> Result<String, ConfigFault> {
    fs::read_to_string(path).map_err(|source| ConfigFault::Io { file: path.to_owned(), source })
}

fn of_genesis(consortium: &Consortium) -> Vec<(NodeId, NodeRecord)> {
    State::genesis(consortium).nodes().collect()
}

impl ValidConfig {
    /// Reads the file, and the genesis document and the key that it names. Creates nothing.
    ///
    /// # Errors
    /// [`ConfigFault`] for the first thing that is wrong, with its place.
    pub fn load(path: &Path) -> Result<Self, ConfigFault> {
        let text = read(path)?;
        let source = Source { path, text: &text };
        let file = source.parse()?;
        let LedgerConfig { consortium, keys, data_dir } = LedgerConfig::of(&source, &file)?;
        let known = nodes(&data_dir.join("ledger")).map_err(|source| ConfigFault::Ledger { source })?;
        let known = known.unwrap_or_else(|| of_genesis(&consortium));
        // A name may have been that of a node that left.
        let has_name = |(_, record): &&(NodeId, NodeRecord), name: &NodeName| {
            record.node.name == *name && record.standing != Standing::Removed
        };
        let by_name =
            |name: &NodeName| known.iter().find(|node| has_name(node, name)).map(|(id, record)| (*id, &record.node));

        let name = file.node.get_ref();
        let Some((me, node)) = by_name(name) else {
            return Err(ConfigFault::NodeUnknown { place: source.place(&file.node), node: name.clone() });
        };
        if keys.named(node.key).is_none() {
            let (place, node, expected) = (source.place(&file.key_file), name.clone(), node.key);
            return Err(ConfigFault::KeyForeign { place, node, expected, found: keys.key().public_key() });
        }
        let passphrase = file.passphrase_file.as_deref().map(|file| source.resolve(file));
        let api_listen = *file.api_listen.get_ref();
        let tls = file.tls.as_ref().map(|tls| TlsFiles {
            certificate: source.resolve(&tls.certificate_file),
            key: source.resolve(&tls.key_file),
        });
        if let Some(files) = &tls {
            files.read()?;
            if Way::of(&node.api) == Way::Clear {
                return Err(ConfigFault::ApiInTheClear { place: source.place(&file.node), api: node.api.clone() });
            }
        } else if !api_listen.ip().is_loopback() {
            return Err(ConfigFault::NotLoopback { place: source.place(&file.api_listen), address: api_listen });
        }
        let colleague = |place: Place, other: &NodeName| match by_name(other) {
            Some((id, found)) if id != me && found.operator == node.operator => Ok(id),
            Some(_) => Err(ConfigFault::EngineForeign { place, node: other.clone() }),
            None => Err(ConfigFault::NodeUnknown { place, node: other.clone() }),
        };
        let serves = file.engine.serves.iter().map(|name| colleague(source.place(name), name.get_ref()));
        let engine = EngineConfig {
            block_count: source.within("engine.block-count", &file.engine.block_count, 16..=1 << 22)?,
            threads: source.within("engine.threads", &file.engine.threads, 1..=1024)?,
            serves: serves.collect::<Result<_, _>>()?,
            place: match file.engine.place.get_ref() {
                file::EnginePlace::Inside => EnginePlace::Inside,
                file::EnginePlace::Worker => EnginePlace::Worker,
                file::EnginePlace::Node(name) => EnginePlace::Node(colleague(source.place(&file.engine.place), name)?),
            },
        };
        let limits = Limits {
            key: source.rate(["limits.key.per-s", "limits.key.burst"], &file.limits.key)?,
            address: source.rate(["limits.address.per-s", "limits.address.burst"], &file.limits.address)?,
            stall: source.interval("limits.stall", &file.limits.stall, STALL)?,
        };
        Ok(Self {
            me,
            name: name.clone(),
            keys: keys.with_first(node.key),
            lock_memory: file.lock_memory,
            peer_listen: file.peer_listen.unwrap_or(node.peer),
            api_listen,
            tls,
            limits,
            model_dir: source.resolve(&file.model_dir),
            tick: source.interval("tick", &file.tick, TICK)?,
            engine,
            tenants: tenant::check(&source, file.tenants, &data_dir, passphrase.as_deref(), &consortium)?,
            nodes: {
                let known = known.into_iter().filter(|(_, record)| record.standing.takes_part());
                known.map(|(id, record)| (id, record.node)).collect()
            },
            data_dir,
            consortium,
        })
    }
}

#[cfg(test)]
mod tests;
