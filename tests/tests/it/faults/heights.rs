//! What a node has shown as final it shows for ever: its final height never falls, over every death, unless an operator
//! puts an older folder in place of its own.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use node::demo::{client::Auditor, cluster::Cluster};
use tokio::task::JoinHandle;

/// How often each node is asked.
const PERIOD: Duration = Duration::from_millis(50);

/// Asks all nodes for their heights.
pub struct Heights {
    stop: Arc<AtomicBool>,
    /// The last height of each node.
    shown: BTreeMap<&'static str, Arc<AtomicU64>>,
    watches: Vec<JoinHandle<()>>,
}

impl Heights {
    /// Begins to ask.
    pub fn watch(cluster: &Cluster) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let shown: BTreeMap<_, Arc<AtomicU64>> = cluster.nodes().map(|node| (node, Arc::default())).collect();
        let watch = |(node, shown): (&&'static str, &Arc<AtomicU64>)| {
            tokio::spawn(watch(node, cluster.auditor(node), shown.clone(), stop.clone()))
        };
        let watches = shown.iter().map(watch).collect();
        Self { stop, shown, watches }
    }

    /// The folder of `node`, which is dead, is now an older one.
    pub fn restored(&self, node: &str) {
        self.shown[node].store(0, Ordering::Relaxed);
    }

    /// Ends, and fails if a height fell.
    pub async fn finish(self) {
        self.stop.store(true, Ordering::Relaxed);
        for watch in self.watches {
            watch.await.expect("no final height fell");
        }
    }
}

async fn watch(node: &'static str, auditor: Auditor, shown: Arc<AtomicU64>, stop: Arc<AtomicBool>) {
    while !stop.load(Ordering::Relaxed) {
        if let Ok(height) = auditor.final_height().await {
            let before = shown.swap(height, Ordering::Relaxed);
            assert!(height >= before, "{node} showed height {before} as final and then {height}");
        }
        tokio::time::sleep(PERIOD).await;
    }
}
