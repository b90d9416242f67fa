//! Authors who bring entries to the ledger for as long as a storm lasts, and remember which were said to be final.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use genesis::Consortium;
use ledger::event::{Entry, EntryBody, Event, WalletCreated};
use node::{demo::cluster::Cluster, tls::client::plain};
use reqwest::StatusCode;
use serde_json::Value;
use tokio::task::JoinHandle;
use wallet::{
    codec, digest::Digest, grant::WalletTerms, identity::SecretKey, policy::JurisdictionPolicy, tenant::WalletSecret,
    units::NodeId,
};

use crate::consortium::{Chain, until};

/// How long an author waits for one node before it asks the next. Longer than an election.
const PATIENCE: Duration = Duration::from_secs(4);
/// Between two entries of one author: a storm, not a benchmark.
const PAUSE: Duration = Duration::from_millis(15);

/// Where a node said that an entry is final.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    height: u64,
    index: u64,
}

/// What was said to be final.
#[derive(Debug, Default)]
pub struct Acked(Mutex<BTreeMap<String, Place>>);

/// Running authors.
pub struct Load {
    acked: Arc<Acked>,
    stop: Arc<AtomicBool>,
    authors: Vec<JoinHandle<()>>,
}

impl Load {
    /// One author for each node, with that node's key. It begins there, and goes on to the next node whenever one gives
    /// no answer; with the same entry, until one says that it is final.
    pub fn start(cluster: &Cluster, consortium: &Arc<Consortium>) -> Self {
        let (acked, stop) = (Arc::<Acked>::default(), Arc::<AtomicBool>::default());
        let nodes: Vec<String> = cluster.nodes().map(|node| cluster.api_url(node).to_owned()).collect();
        let mut authors = Vec::new();
        for name in cluster.nodes() {
            let (node, _) = consortium.node_by_name(&name.parse().expect("a name")).expect("genesis lists it");
            let key = node::keys::read(&cluster.node_key_path(name)).expect("its key");
            let author = Author {
                consortium: consortium.clone(),
                node,
                key,
                nodes: nodes.clone(),
                auditor_key: cluster.auditor_key().to_owned(),
                http: plain().timeout(PATIENCE).build().expect("a client"),
            };
            authors.push(tokio::spawn(author.work(acked.clone(), stop.clone())));
        }
        Self { acked, stop, authors }
    }

    /// How many entries were said to be final.
    pub fn len(&self) -> usize {
        self.acked.0.lock().expect("no author panics").len()
    }

    /// Waits until `more` further entries are final.
    pub async fn until_more(&self, more: usize, while_what: &str) {
        let target = self.len() + more;
        until(&format!("{more} more entries final {while_what}"), async || self.len() >= target).await;
    }

    /// Stops the authors, each after its present entry is final.
    pub async fn stop(self) -> Arc<Acked> {
        self.stop.store(true, Ordering::Relaxed);
        for author in self.authors {
            let ended = tokio::time::timeout(crate::consortium::PATIENCE, author).await;
            ended.expect("an author's last entry becomes final").expect("no author panics");
        }
        self.acked
    }
}

impl Acked {
    /// Every entry that anybody was told is final stands in `chain`, where it was said to be.
    pub fn assert_in(&self, chain: &Chain, node: &str) {
        let acked = self.0.lock().expect("no author panics");
        assert!(!acked.is_empty(), "nothing was final: the storm shows nothing");
        for (id, place) in acked.iter() {
            let found = chain.entries.get(usize::try_from(place.index).expect("few entries"));
            assert_eq!(
                found,
                Some(&(id.clone(), place.height)),
                "{node} lost the entry at {place:?}, said to be final"
            );
        }
    }
}

struct Author {
    consortium: Arc<Consortium>,
    node: NodeId,
    key: SecretKey,
    nodes: Vec<String>,
    auditor_key: String,
    http: reqwest::Client,
}

impl Author {
    async fn work(self, acked: Arc<Acked>, stop: Arc<AtomicBool>) {
        let mut asked = self.node.get() as usize;
        while !stop.load(Ordering::Relaxed) {
            let entry = self.entry();
            let place = loop {
                match self.submit(&self.nodes[asked % self.nodes.len()], &entry).await {
                    Some(place) => break place,
                    None => asked += 1,
                }
                tokio::time::sleep(PAUSE).await;
            };
            acked.0.lock().expect("no author panics").insert(entry.id().to_string(), place);
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// None if the node does not answer, or not that the entry is final.
    async fn submit(&self, node: &str, entry: &Entry) -> Option<Place> {
        let request = self.http.post(format!("{node}/ledger/v1/entries?wait=final")).bearer_auth(&self.auditor_key);
        let request = request.header("content-type", "application/octet-stream").body(codec::encode(entry));
        let response = request.send().await.ok()?;
        let status = response.status();
        let body: Value = response.json().await.ok()?;
        if status == StatusCode::OK {
            return Some(Place { height: body["height"].as_u64()?, index: body["index"].as_u64()? });
        }
        assert!(status.is_server_error(), "{node} refuses an honest entry: {status} {body}");
        None
    }

    /// A wallet that begins at the author's own node.
    fn entry(&self) -> Entry {
        let regions = self.consortium.regions().iter().cloned().collect();
        let home = self.consortium.node(self.node).expect("genesis lists it").region.clone();
        let policy = JurisdictionPolicy { allowed: [home.clone()].into() };
        let tree = policy.tree(&regions, &WalletSecret::from_bytes(random())).expect("its region is known");
        let (tenant, holder) = (SecretKey::from_seed(&random()), SecretKey::from_seed(&random()));
        let terms = WalletTerms {
            consortium: self.consortium.id(),
            tenant_key: tenant.public_key(),
            policy: tree.commitment(),
            model: Digest::ZERO,
            numerics: Digest::ZERO,
            holder: self.node,
            nonce: random(),
        };
        let event = Event::WalletCreated(WalletCreated {
            grant: terms.sign(&tenant),
            holder_key: holder.public_key(),
            opening: tree.open(&home).expect("a leaf for each region"),
        });
        let body = EntryBody { consortium: self.consortium.id(), author: self.node, nonce: random(), event };
        body.sign(&self.key, Some(&holder))
    }
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system has random bytes");
    bytes
}

#[test]
#[should_panic(expected = "us-1 lost the entry")]
fn an_entry_that_is_not_where_it_was_said_to_be_is_noticed() {
    let acked = Acked::default();
    for (id, index) in [("a", 0), ("b", 1)] {
        acked.0.lock().expect("our own").insert(id.to_owned(), Place { height: 1, index });
    }
    let chain = |ids: [&str; 2]| Chain { entries: ids.map(|id| (id.to_owned(), 1)).to_vec(), ..Chain::default() };
    acked.assert_in(&chain(["a", "b"]), "eu-1");
    acked.assert_in(&chain(["b", "a"]), "us-1");
}
