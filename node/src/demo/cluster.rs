//! Four operators on loopback: their keys, their signed genesis document, their processes.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use genesis::{Auditor as AuditorTable, Document, Draft, Heading, Node, Operator, OperatorId, Parameters, Region};
use sha2::{Digest as _, Sha256};
use tokio::process::{Child, Command};
use wallet::{
    digest::{Digest, to_hex},
    identity::RegionId,
    units::Timestamp,
};

use super::{
    StepFailed,
    client::{Admin, Auditor, Tenant},
    setup::{Launch, Place, Setup},
};
use crate::{keys, tls::client::plain};

/// Name of each operator and of its one node, and its region.
pub(super) const OPERATORS: [(&str, &str); 4] = [("eu-1", "eu"), ("eu-2", "eu"), ("eu-3", "eu"), ("us-1", "us")];
/// KV blocks of each engine: small enough that one operator can be filled while people watch.
const BLOCKS: u32 = 320;

/// The running operators.
pub struct Cluster {
    folder: tempfile::TempDir,
    binary: PathBuf,
    model: PathBuf,
    log: Option<String>,
    document: Document,
    /// So many operators signed it.
    founders: usize,
    consortium: String,
    api_key: String,
    auditor_key: String,
    api: BTreeMap<&'static str, String>,
    launches: BTreeMap<&'static str, Launch>,
    children: BTreeMap<&'static str, Child>,
}

impl Cluster {
    /// Makes keys and genesis document, starts four processes of `binary` and waits until each is ready.
    ///
    /// # Errors
    /// [`StepFailed`] if a file cannot be written or a node does not become ready within a minute.
    pub async fn start(binary: &Path, model: &Path) -> Result<Self, StepFailed> {
        Self::start_logging(binary, model, None).await
    }

    /// Like [`Cluster::start`], with a filter for the nodes' logs instead of the environment's.
    ///
    /// # Errors
    /// Those of [`Cluster::start`].
    pub async fn start_logging(binary: &Path, model: &Path, log: Option<&str>) -> Result<Self, StepFailed> {
        let mut cluster = Self::prepare(Setup { log: log.map(str::to_owned), ..Setup::on_loopback(binary, model)? })?;
        cluster.restart_all().await?;
        Ok(cluster)
    }

    /// Makes keys, genesis document and configurations, and starts nothing yet.
    ///
    /// # Errors
    /// [`StepFailed`] if a file cannot be written.
    pub fn prepare(setup: Setup) -> Result<Self, StepFailed> {
        let Setup { binary, model, log, places, parameters } = setup;
        let folder = tempfile::Builder::new().prefix("batchmind-demo-").tempdir()?;
        let (api_key, auditor_key) = (random_hex()?, random_hex()?);
        let api: BTreeMap<_, _> =
            OPERATORS.iter().zip(&places).map(|((name, _), place)| (*name, format!("http://{}", place.api))).collect();
        let document = sign_genesis(folder.path(), &places, parameters, &api, &auditor_key)?;
        fs::write(folder.path().join("genesis.toml"), document.to_toml())?;
        keys::create(&folder.path().join("demo.key")).map_err(|fault| StepFailed::new(fault.to_string()))?;
        let consortium = document.hash().to_string();
        let cluster = Self {
            folder,
            binary: fs::canonicalize(binary)?,
            model: fs::canonicalize(model)?,
            log,
            document,
            founders: places.len(),
            consortium,
            api_key,
            auditor_key,
            api,
            launches: BTreeMap::new(),
            children: BTreeMap::new(),
        };
        OPERATORS.iter().zip(&places).try_for_each(|((name, _), place)| cluster.configure(name, place))?;
        Ok(cluster)
    }

    /// Writes the configuration of a node.
    fn configure(&self, name: &str, place: &Place) -> Result<(), StepFailed> {
        let (Place { listens, api, .. }, model, key_hash) = (place, &self.model, sha256(&self.api_key));
        Ok(fs::write(
            self.folder().join(format!("{name}.toml")),
            format!(
                "data-dir = \"{name}\"\ngenesis = \"genesis.toml\"\nnode = \"{name}\"\nkey-file = \"{name}.key\"\n\
                 peer-listen = \"{listens}\"\napi-listen = \"{api}\"\nmodel-dir = {model:?}\ntick = \"500ms\"\n\n\
                 [engine]\nblock-count = {BLOCKS}\n\n\
                 [[tenants]]\nname = \"demo\"\napi-key-hash = \"{key_hash}\"\nregions = [\"eu\"]\nmaster-key-file = \"demo.key\"\n"
            ),
        )?)
    }

    /// Makes the key and the configuration of one more node, which the operators may let in.
    ///
    /// # Errors
    /// [`StepFailed`] if a file cannot be written.
    pub fn add(&mut self, name: &'static str, place: &Place) -> Result<(), StepFailed> {
        keys::create(&self.node_key_path(name)).map_err(|fault| StepFailed::new(fault.to_string()))?;
        self.api.insert(name, format!("http://{}", place.api));
        self.configure(name, place)
    }

    /// How `node` is started from its next start on.
    pub fn launch(&mut self, node: &'static str, launch: Launch) {
        self.launches.insert(node, launch);
    }

    /// Names of the nodes of the genesis document.
    pub fn nodes(&self) -> impl Iterator<Item = &'static str> + use<> {
        OPERATORS.iter().map(|(name, _)| *name).take(self.founders)
    }

    /// The program that every node runs.
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// The folder that holds everything of this demo.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The signed genesis document.
    pub fn genesis_path(&self) -> PathBuf {
        self.folder().join("genesis.toml")
    }

    /// The genesis document, signed by all.
    pub const fn document(&self) -> &Document {
        &self.document
    }

    /// The hash of the genesis document.
    pub fn consortium(&self) -> &str {
        &self.consortium
    }

    /// The key with which an auditor reads.
    pub fn auditor_key(&self) -> &str {
        &self.auditor_key
    }

    /// The tenant's API key.
    pub fn api_key(&self) -> &str {
        &self.api_key
    }

    /// Where a node's API answers.
    pub fn api_url(&self, node: &str) -> &str {
        &self.api[node]
    }

    /// A node's key file.
    pub fn node_key_path(&self, node: &str) -> PathBuf {
        self.folder().join(format!("{node}.key"))
    }

    /// A tenant of `node`.
    pub fn tenant(&self, node: &str) -> Tenant {
        Tenant::new(&self.api[node], &self.api_key)
    }

    /// An auditor who asks `node`.
    pub fn auditor(&self, node: &str) -> Auditor {
        Auditor::new(&self.api[node], &self.auditor_key)
    }

    /// The operator of `node`.
    ///
    /// # Errors
    /// [`StepFailed`] if no HTTP client can be made.
    pub fn admin(&self, node: &str) -> Result<Admin, StepFailed> {
        Admin::new(&self.folder().join(node))
    }

    /// What a thief takes from a node's disk: the session's sealed keys. With the node's key they open.
    ///
    /// # Errors
    /// [`StepFailed`] if the file cannot be copied.
    pub fn copy_session_keys(&self, node: &str, wallet: &str) -> Result<PathBuf, StepFailed> {
        let copy = self.folder().join(format!("stolen-{wallet}"));
        fs::copy(self.folder().join(node).join("sessions").join(wallet).join("keys"), &copy)?;
        Ok(copy)
    }

    /// The process that runs `node`, if it was not killed.
    pub fn process_id(&self, node: &str) -> Option<u32> {
        self.children.get(node)?.id()
    }

    /// Waits until a node's process ends by itself, and says how it did.
    ///
    /// # Errors
    /// [`StepFailed`] if it was killed before.
    pub async fn ended(&mut self, node: &str) -> Result<ExitStatus, StepFailed> {
        let child = self.children.get_mut(node).ok_or_else(|| StepFailed::new(format!("{node} does not run")))?;
        let status = child.wait().await?;
        self.children.remove(node);
        Ok(status)
    }

    /// What `node` has logged.
    pub fn log(&self, node: &str) -> String {
        let bytes = fs::read(self.folder().join(format!("{node}.log"))).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Kills a node's process with SIGKILL.
    ///
    /// # Errors
    /// [`StepFailed`] if it does not run.
    pub async fn kill(&mut self, node: &str) -> Result<(), StepFailed> {
        let mut child = self.children.remove(node).ok_or_else(|| StepFailed::new(format!("{node} does not run")))?;
        Ok(child.kill().await?)
    }

    /// Kills every node at once, so that none sees the others go.
    ///
    /// # Errors
    /// [`StepFailed`] if a process cannot be killed.
    pub async fn kill_all(&mut self) -> Result<(), StepFailed> {
        self.children.values_mut().try_for_each(Child::start_kill)?;
        for (_, mut child) in std::mem::take(&mut self.children) {
            child.wait().await?;
        }
        Ok(())
    }

    /// Starts every node that does not run, and waits until all are ready.
    ///
    /// # Errors
    /// [`StepFailed`] if one does not become ready.
    pub async fn restart_all(&mut self) -> Result<(), StepFailed> {
        let nodes: Vec<_> = self.nodes().collect();
        self.restart_these(&nodes).await
    }

    /// Starts those of `nodes` that do not run, and waits until all of them are ready: one alone may not become so.
    ///
    /// # Errors
    /// [`StepFailed`] if one does not become ready.
    pub async fn restart_these(&mut self, nodes: &[&'static str]) -> Result<(), StepFailed> {
        for node in nodes {
            if !self.children.contains_key(node) {
                self.spawn(node)?;
            }
        }
        for node in nodes {
            self.wait_ready(node).await?;
        }
        Ok(())
    }

    /// Starts a killed node again on its own files.
    ///
    /// # Errors
    /// [`StepFailed`] if it does not become ready.
    pub async fn restart(&mut self, node: &'static str) -> Result<(), StepFailed> {
        self.spawn(node)?;
        self.wait_ready(node).await
    }

    /// Prints where each node answers.
    pub fn print_urls(&self) {
        eprintln!("left running; folder {}", self.folder().display());
        eprintln!("tenant API key {}, auditor API key {}", self.api_key, self.auditor_key);
        self.api.iter().for_each(|(name, url)| eprintln!("{name}: {url}"));
    }

    /// Prints the last lines of each node's log.
    pub fn print_log_tails(&self) {
        for name in self.api.keys() {
            let log = self.log(name);
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("-- {name}.log\n{}", lines[lines.len().saturating_sub(25)..].join("\n"));
        }
    }

    /// Leaves the processes and the folder.
    pub fn leave_running(mut self) {
        // A child that is dropped is killed; these outlive the demo.
        std::mem::take(&mut self.children).into_values().for_each(std::mem::forget);
        let _kept = self.folder.keep();
    }

    /// Stops every process and removes the folder.
    pub async fn stop(mut self) {
        for child in self.children.values_mut() {
            // A child that already ended needs no kill.
            let _ended = child.kill().await;
        }
    }

    fn spawn(&mut self, node: &'static str) -> Result<(), StepFailed> {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.folder().join(format!("{node}.log")))?;
        let Launch { through, variables } = self.launches.get(node).cloned().unwrap_or_default();
        let mut program = through.into_iter().chain([self.binary.clone().into_os_string()]);
        let mut command = Command::new(program.next().unwrap_or_default());
        command.args(program).envs(variables);
        if let Some(filter) = &self.log {
            command.env("BATCHMIND_LOG", filter);
        }
        let child = command
            .args(["node", "run", "--config"])
            .arg(self.folder().join(format!("{node}.toml")))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()?;
        self.children.insert(node, child);
        Ok(())
    }

    async fn wait_ready(&mut self, node: &'static str) -> Result<(), StepFailed> {
        let url = format!("{}/readyz", self.api[node]);
        let (http, mut said) = (plain().build()?, String::new());
        for _ in 0..600 {
            if let Ok(response) = http.get(&url).send().await {
                if response.status().is_success() {
                    return Ok(());
                }
                said = response.text().await.unwrap_or_default();
            }
            if let Some(status) = self.children.get_mut(node).and_then(|child| child.try_wait().ok().flatten()) {
                return Err(StepFailed::new(format!("{node} ended with {status} before it was ready")));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Err(StepFailed::new(format!("{node} was not ready within a minute: {said}")))
    }
}

/// Draws the keys of operators and nodes, writes them, and lets each operator sign.
fn sign_genesis(
    folder: &Path,
    places: &[Place],
    parameters: Parameters,
    api: &BTreeMap<&'static str, String>,
    auditor_key: &str,
) -> Result<Document, StepFailed> {
    let failed = |fault: &dyn std::fmt::Display| StepFailed::new(fault.to_string());
    let region = |name: &str| RegionId::try_from(name.to_owned()).map_err(|fault| failed(&fault));
    let (mut operators, mut nodes, mut signers) = (Vec::new(), Vec::new(), Vec::new());
    for ((name, home), place) in OPERATORS.iter().zip(places) {
        let operator: OperatorId = name.parse().map_err(|fault| failed(&fault))?;
        let operator_key =
            keys::create(&folder.join(format!("{name}.operator.key"))).map_err(|fault| failed(&fault))?;
        let node_key = keys::create(&folder.join(format!("{name}.key"))).map_err(|fault| failed(&fault))?;
        operators.push(Operator {
            id: operator.clone(),
            name: format!("Operator {name}"),
            key: operator_key.public_key(),
        });
        nodes.push(Node {
            name: name.parse().map_err(|fault| failed(&fault))?,
            operator: operator.clone(),
            region: region(home)?,
            key: node_key.public_key(),
            peer: place.announced,
            api: api[name].clone(),
        });
        signers.push((operator, operator_key));
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|fault| failed(&fault))?;
    let mut document = Document::new(Draft {
        consortium: Heading {
            name: "Demo consortium".into(),
            created_ms: Timestamp::new(u64::try_from(now.as_millis()).map_err(|fault| failed(&fault))?),
        },
        parameters,
        regions: vec![
            Region { id: region("eu")?, name: "European Union".into() },
            Region { id: region("us")?, name: "United States".into() },
        ],
        operators,
        nodes,
        auditors: vec![AuditorTable { name: "Demo auditor".into(), key_hash: sha256(auditor_key) }],
        models: Vec::new(),
        signatures: BTreeMap::new(),
    })
    .map_err(|fault| failed(&fault))?;
    for (operator, key) in signers {
        document.sign(&operator, &key).map_err(|fault| failed(&fault))?;
    }
    Ok(document)
}

/// Plain SHA-256, as genesis and configuration keep the hashes of API keys.
fn sha256(api_key: &str) -> Digest {
    Digest(Sha256::digest(api_key.as_bytes()).into())
}

fn random_hex() -> Result<String, StepFailed> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|fault| StepFailed::new(fault.to_string()))?;
    Ok(to_hex(&bytes))
}
