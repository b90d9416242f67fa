//! The node's configuration: a TOML file, read once and checked as a whole.
//!
//! ```toml
//! data-dir = "data"                  # ledger, sessions, decision log
//! genesis = "genesis.toml"           # signed by every operator
//! node = "eu-1-a"                    # this node's name in genesis
//! key-file = "eu-1-a.key"            # its key, mode 0600
//! peer-listen = "0.0.0.0:7001"       # default: the address in genesis
//! api-listen = "127.0.0.1:8001"      # HTTP; loopback only, as TLS is not built yet
//! model-dir = "models/tiny"          # config.json, safetensors, tokenizer.json
//! tick = "500ms"                     # the scheduler's clock
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

use genesis::{Consortium, NodeName};
use wallet::{identity::SecretKey, units::NodeId};

use crate::keys;
pub use fault::{ConfigFault, Place};
use file::Source;
pub use tenant::{Tenant, TenantName, TenantNameInvalid};

/// A configuration that keeps all rules, with the documents and the key that it names.
#[derive(Clone, Debug)]
pub struct ValidConfig {
    /// Where the node keeps what must survive a restart.
    pub data_dir: PathBuf,
    /// The signed consortium document.
    pub consortium: Consortium,
    /// This node in it.
    pub me: NodeId,
    /// This node's key.
    pub key: SecretKey,
    /// Where peers are awaited.
    pub peer_listen: SocketAddr,
    /// Where HTTP is served: a loopback address.
    pub api_listen: SocketAddr,
    /// The model's folder.
    pub model_dir: PathBuf,
    /// The scheduler's interval.
    pub tick: Duration,
    /// The engine's size.
    pub engine: EngineConfig,
    /// Who may use the OpenAI interface.
    pub tenants: Vec<Tenant>,
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

impl ValidConfig {
    /// Reads the file, and the genesis document and the key that it names. Creates nothing.
    ///
    /// # Errors
    /// [`ConfigFault`] for the first thing that is wrong, with its place.
    pub fn load(path: &Path) -> Result<Self, ConfigFault> {
        let read =
            |path: &Path| fs::read_to_string(path).map_err(|source| ConfigFault::Io { file: path.to_owned(), source });
        let text = read(path)?;
        let source = Source { path, text: &text };
        let file = source.parse()?;
        let genesis_path = source.resolve(&file.genesis);
        let consortium = genesis::parse(&read(&genesis_path)?)
            .and_then(genesis::Document::verify)
            .map_err(|source| ConfigFault::Genesis { file: genesis_path, source })?;

        let name = file.node.get_ref();
        let Some((me, node)) = consortium.node_by_name(name) else {
            return Err(ConfigFault::NodeUnknown { place: source.place(&file.node), node: name.clone() });
        };
        let key_file = source.resolve(file.key_file.get_ref());
        let key = keys::read(&key_file)?;
        let data_dir = source.resolve(&file.data_dir);
        // Once there is a ledger it says which key is the node's: it may have been rotated.
        let has_ledger = data_dir.join("ledger").exists();
        if !has_ledger && key.public_key() != node.key {
            let (place, node, expected) = (source.place(&file.key_file), name.clone(), node.key);
            return Err(ConfigFault::KeyForeign { place, node, expected, found: key.public_key() });
        }
        let api_listen = *file.api_listen.get_ref();
        if !api_listen.ip().is_loopback() {
            return Err(ConfigFault::NotLoopback { place: source.place(&file.api_listen), address: api_listen });
        }
        let colleague = |place: Place, other: &NodeName| match consortium.node_by_name(other) {
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
        Ok(Self {
            me,
            key,
            peer_listen: file.peer_listen.unwrap_or(node.peer),
            api_listen,
            model_dir: source.resolve(&file.model_dir),
            tick: source.interval("tick", &file.tick)?,
            engine,
            tenants: tenant::check(&source, file.tenants, &data_dir, &consortium)?,
            data_dir,
            consortium,
        })
    }
}

#[cfg(test)]
mod tests;
