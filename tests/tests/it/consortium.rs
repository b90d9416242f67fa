//! Four real operator processes on loopback, and what the tests ask of them.

use std::{
    fs,
    ops::{Deref, DerefMut},
    path::Path,
    time::{Duration, Instant},
};

use ledger::{block::Header, certificate::Certificate};
use node::demo::{
    StepFailed,
    client::{Ask, Auditor, TokenStream},
    cluster::Cluster,
    setup::Setup,
};
use serde_json::Value;
use tokio::sync::{Mutex, MutexGuard};

use crate::program;

/// The nodes in the tenant's regions.
pub const EU: [&str; 3] = ["eu-1", "eu-2", "eu-3"];

/// How long a test waits for something that has to come.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Four processes are enough for two cores: only one test has them at a time.
static ALONE: Mutex<()> = Mutex::const_new(());

/// A running consortium, stopped when it is dropped.
pub struct Running {
    cluster: Cluster,
    _alone: MutexGuard<'static, ()>,
}

impl Running {
    /// Four operators with new keys and empty folders, which log what `filter` says.
    pub async fn start(filter: &str) -> Self {
        let alone = ALONE.lock().await;
        let cluster = Cluster::start_logging(&program::batchmind(), &program::model(), Some(filter)).await;
        Self { cluster: cluster.expect("four operators start"), _alone: alone }
    }

    /// Four operators with new keys and empty folders, none of which runs yet. `setup` is asked when nobody else runs:
    /// ports that are free before may not be so then.
    pub async fn prepare(setup: impl FnOnce() -> Setup) -> Self {
        let alone = ALONE.lock().await;
        Self { cluster: Cluster::prepare(setup()).expect("files of our own"), _alone: alone }
    }
}

impl Deref for Running {
    type Target = Cluster;
    fn deref(&self) -> &Cluster {
        &self.cluster
    }
}

impl DerefMut for Running {
    fn deref_mut(&mut self) -> &mut Cluster {
        &mut self.cluster
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.cluster.print_log_tails();
        }
    }
}

/// A request that goes on to its last token.
pub fn ask(message: &str, max_tokens: u32, seed: u64, pace_ms: u64) -> Ask {
    Ask { message: message.to_owned(), max_tokens, seed, pace_ms, ignore_eos: true }
}

/// A session whose wallet is final when it returns.
pub async fn say(cluster: &Cluster, node: &str, words: &str) {
    let mut stream = cluster.tenant(node).ask(&ask(words, 4, 7, 0)).await.expect("a session");
    stream.read_to_end().await.expect("it ends");
}

/// The tokens of a run that never moved.
pub async fn control(cluster: &Cluster, at: &str, moved: &Ask) -> Vec<u32> {
    let mut stream = cluster.tenant(at).ask(&Ask { pace_ms: 0, ..moved.clone() }).await.expect("a session");
    stream.read_to_end().await.expect("it goes to its end");
    stream.ids()
}

/// Each position once and in order, over all parts of a stream that was resumed.
pub fn assert_gapless(parts: &[&TokenStream]) {
    let positions: Vec<u32> = parts.iter().flat_map(|part| &part.seen).map(|token| token.position).collect();
    for pair in positions.windows(2) {
        assert_eq!(pair[1], pair[0] + 1, "a token was lost or came twice");
    }
}

/// The name of the leader, as `auditor`'s node knows it; none while there is none.
pub async fn leader(cluster: &Cluster, asked: &str) -> Option<&'static str> {
    let status = cluster.auditor(asked).get("status").await.ok()?;
    cluster.nodes().find(|name| status["leader"] == *name)
}

/// Waits until `node` has this final height.
pub async fn until_height(cluster: &Cluster, node: &str, height: u64) {
    let auditor = cluster.auditor(node);
    let what = format!("{node} at height {height}");
    until(&what, async || auditor.final_height().await.is_ok_and(|reached| reached >= height)).await;
}

/// Waits until `holds`.
///
/// # Panics
/// If it does not within [`PATIENCE`].
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !holds().await {
        assert!(start.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}

/// What one node shows of the final chain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// Id and height of each entry, by index.
    pub entries: Vec<(String, u64)>,
    /// The headers from height 1.
    pub headers: Vec<Header>,
    /// What made them final. Two nodes may have other quorums for one block.
    pub certificates: Vec<Certificate>,
}

impl Chain {
    /// Reads everything that is final at a node now.
    pub async fn read(auditor: &Auditor) -> Result<Self, StepFailed> {
        let height = auditor.final_height().await?;
        let mut chain = Self::default();
        for height in 1..=height {
            let block = auditor.get(&format!("blocks/{height}")).await?;
            chain.headers.push(serde_json::from_value(block["header"].clone())?);
            chain.certificates.push(serde_json::from_value(block["certificate"].clone())?);
        }
        let size = chain.headers.last().map_or(0, |header| header.log_size);
        while (chain.entries.len() as u64) < size {
            let from = chain.entries.len();
            let page = auditor.get(&format!("entries?from={from}&count=256")).await?;
            let page = page["entries"].as_array().map(Vec::as_slice).unwrap_or_default();
            if page.is_empty() {
                return Err(StepFailed::new(format!("no entry {from} of {size}")));
            }
            chain.entries.extend(page.iter().map(|entry| (text(entry, "id"), number(entry, "height"))));
        }
        chain.entries.truncate(usize::try_from(size).unwrap_or(usize::MAX));
        Ok(chain)
    }

    /// Whether everything here is also there, at the same place.
    pub fn is_kept_in(&self, later: &Self) -> bool {
        later.entries.starts_with(&self.entries) && later.headers.starts_with(&self.headers)
    }

    /// Each header follows from the one before, and a quorum made it final.
    pub fn assert_certified(&self, consortium: &genesis::Consortium) {
        let mut parent = wallet::digest::Digest::ZERO;
        for (header, certificate) in self.headers.iter().zip(&self.certificates) {
            assert_eq!((header.parent, certificate.block), (parent, header.digest()), "height {}", header.height);
            certificate.verify(consortium.validators(), &consortium.id()).expect("a quorum signed");
            parent = header.digest();
        }
    }
}

fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_default().to_owned()
}

fn number(value: &Value, key: &str) -> u64 {
    value[key].as_u64().unwrap_or_default()
}

/// Whoever notices that another votes twice, or that the chain forks, keeps the proof in a folder of this name.
pub fn assert_no_evidence(folder: &Path) {
    for entry in fs::read_dir(folder).expect("a node's folder") {
        let path = entry.expect("readable").path();
        assert!(!path.ends_with("evidence"), "{} is there", path.display());
        if path.is_dir() {
            assert_no_evidence(&path);
        }
    }
}
