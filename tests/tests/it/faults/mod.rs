//! Real nodes in a storm: killed, stopped, cut off from each other, with a disk or a clock that fails.
//!
//! Every test has the same end: the nodes come back, each has everything that anybody was told is final, at the place
//! that was said, all have one chain, and the proof of a move that follows the storm verifies offline.

mod clock;
mod disk;
mod heights;
mod interposition;
mod kill;
mod load;
mod namespaces;
mod partition;
mod proxies;
mod rollback;
mod steps;
mod stop;
mod storm;
mod switch;

use std::{
    collections::BTreeMap,
    fs,
    ops::{Deref, DerefMut},
    sync::Arc,
};

use genesis::Consortium;
use heights::Heights;
use load::Load;
use node::demo::setup::{Launch, Setup};
use switch::Switch;

use crate::{
    consortium::{Chain, EU, Running, ask, assert_gapless, assert_no_evidence, leader, until, until_height},
    program,
};

/// The nodes in the order of their places.
const NODES: [&str; 4] = ["eu-1", "eu-2", "eu-3", "us-1"];

const HOUR_MS: i64 = 3_600_000;

/// Entries that show that finality goes on. About as many blocks at most.
const SOME: usize = 20;

/// A consortium with authors at work, whose nodes have switches.
pub struct Storm {
    cluster: Running,
    consortium: Arc<Consortium>,
    switches: BTreeMap<&'static str, Switch>,
    /// The authors.
    pub load: Load,
    heights: Heights,
}

impl Storm {
    /// Four nodes that talk on loopback, and authors.
    pub async fn start() -> Self {
        Self::start_in(setup, |_| Launch::default()).await
    }

    /// Four nodes with their places from `setup`, each started as `launch` says.
    pub async fn start_in(setup: impl FnOnce() -> Setup, launch: impl Fn(&'static str) -> Launch) -> Self {
        let mut cluster = Running::prepare(setup).await;
        let mut switches = BTreeMap::new();
        for node in cluster.nodes().collect::<Vec<_>>() {
            let switch = Switch::new(&cluster.folder().join(format!("{node}.faults")));
            let Launch { through, mut variables } = launch(node);
            variables.extend(switch.variables());
            switches.insert(node, switch);
            cluster.launch(node, Launch { through, variables });
        }
        cluster.restart_all().await.expect("four operators start");
        let document = fs::read_to_string(cluster.genesis_path()).expect("its genesis document");
        let consortium = genesis::parse(&document).and_then(genesis::Document::verify).expect("signed by all");
        let consortium = Arc::new(consortium);
        let (load, heights) = (Load::start(&cluster, &consortium), Heights::watch(&cluster));
        load.until_more(SOME, "in fair weather").await;
        for (node, switch) in &switches {
            assert!(switch.loaded() > 0, "{node} has no switch");
        }
        Self { cluster, consortium, switches, load, heights }
    }

    /// The switch of a node.
    pub fn switch(&self, node: &str) -> &Switch {
        &self.switches[node]
    }

    /// The present leader, as another node knows it too.
    pub async fn leader(&self) -> &'static str {
        let mut found = None;
        until("two nodes name one leader", async || {
            let (mut named, mut twice) = (Vec::new(), None);
            for node in self.nodes() {
                let Some(leader) = leader(self, node).await else { continue };
                if named.contains(&leader) {
                    twice = Some(leader);
                }
                named.push(leader);
            }
            found = twice;
            found.is_some()
        })
        .await;
        found.expect("just found")
    }

    /// A node that does not lead now.
    pub async fn follower(&self) -> &'static str {
        let leader = self.leader().await;
        self.nodes().find(|node| *node != leader).expect("three others")
    }

    /// All nodes but one.
    pub fn others(&self, node: &str) -> Vec<&'static str> {
        self.nodes().filter(|other| *other != node).collect()
    }

    /// Waits until every node has what any has now.
    pub async fn until_even(&self) {
        let mut target = 0;
        for node in self.nodes() {
            let auditor = self.auditor(node);
            until(&format!("{node} answers"), async || auditor.final_height().await.is_ok()).await;
            target = target.max(auditor.final_height().await.expect("it just answered"));
        }
        for node in self.nodes() {
            until_height(self, node, target).await;
        }
    }

    /// The weather is fair again: everything that every test has in common.
    pub async fn end(self) {
        let Self { cluster, consortium, load, heights, .. } = self;
        load.until_more(SOME, "after the storm").await;
        let acked = load.stop().await;
        let bundle = bundle_of_a_move(&cluster).await;
        let mut target = 0;
        for node in cluster.nodes() {
            target = target.max(cluster.auditor(node).final_height().await.expect("it runs"));
        }
        let mut chains = Vec::new();
        for node in cluster.nodes() {
            until_height(&cluster, node, target).await;
            let chain = Chain::read(&cluster.auditor(node)).await.expect("the chain");
            acked.assert_in(&chain, node);
            chain.assert_certified(&consortium);
            chains.push(chain);
        }
        for pair in chains.windows(2) {
            assert!(pair[0].is_kept_in(&pair[1]) || pair[1].is_kept_in(&pair[0]), "two nodes show two chains");
        }
        let bundle = bundle.to_str().expect("a plain path");
        let output = program::run(&["audit", "verify", bundle, "--genesis", cluster.consortium()]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        for node in cluster.nodes() {
            assert_no_evidence(&cluster.folder().join(node));
            let log = cluster.log(node);
            assert!(!log.contains("panicked at"), "{node} panicked");
        }
        heights.finish().await;
    }
}

impl Deref for Storm {
    type Target = Running;
    fn deref(&self) -> &Running {
        &self.cluster
    }
}

impl DerefMut for Storm {
    fn deref_mut(&mut self) -> &mut Running {
        &mut self.cluster
    }
}

/// The places of nodes that talk on loopback, and what they log.
fn setup() -> Setup {
    let setup = Setup::on_loopback(&program::batchmind(), &program::model()).expect("free ports");
    Setup { log: Some("warn,node=info,ledger=info,openraft=off".to_owned()), ..setup }
}

/// A session moves while its client reads. The file holds the proof, as the node that took no part gives it.
async fn bundle_of_a_move(cluster: &Running) -> std::path::PathBuf {
    let mut stream = cluster.tenant(EU[0]).ask(&ask("Is it over?", 400, 5, 20)).await.expect("a session");
    stream.read_until(3).await.expect("its first tokens");
    let (holder, wallet) = (stream.served_by.clone(), stream.wallet.clone());
    let to = EU.into_iter().find(|node| *node != holder).expect("two others");
    let known = format!("wallets/{wallet}");
    for node in [holder.as_str(), to] {
        until("the wallet is final", async || cluster.auditor(node).get(&known).await.is_ok()).await;
    }
    let admin = cluster.admin(&holder).expect("its socket");
    let mut report = admin.migrate(&wallet, to).await.expect("an answer");
    // A clock that jumped ages the load that was measured before; the next tick measures again.
    for _ in 0..20 {
        if !report.as_ref().is_err_and(|problem| problem.code == "S-205") {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(250)).await;
        report = admin.migrate(&wallet, to).await.expect("an answer");
    }
    let report = report.unwrap_or_else(|problem| panic!("{holder} does not move it: {problem:?}"));
    assert_eq!(report["completed"], true, "{report}");
    stream.read_until(stream.seen.len() + 20).await.expect("it goes on");
    assert_gapless(&[&stream]);
    let (auditor, file) = (cluster.auditor("us-1"), cluster.folder().join("after.bundle"));
    until("the move can be proved", async || match auditor.bundle(&wallet).await {
        Ok(bundle) => fs::write(&file, bundle).is_ok(),
        Err(_) => false,
    })
    .await;
    file
}
