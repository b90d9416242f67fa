//! A node that joins: it takes the ledger from the others, as `batchmind join` does over HTTP.

use std::{sync::Arc, time::Duration};

use futures::{FutureExt as _, future::BoxFuture};
use ledger::{
    shell::{
        fault::Fault,
        join::{Giver, GiverFault, JoinFault, Made, Order, join},
        restore::RestoreFault,
    },
    snapshot::ChunkPath,
    testing::node_key,
};
use tokio::time::{sleep, timeout};
use wallet::units::NodeId;

use crate::{
    node::Node,
    wire::{Wire, host_name},
};

/// How long a node may take for an answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(700);

impl Node {
    /// Makes the ledger of a newcomer that has none, as often as it takes.
    ///
    /// # Errors
    /// The disk's.
    pub async fn join(&self, wire: &Arc<Wire>) -> Result<(), Fault> {
        let Some(newcomer) = self.joins.clone() else { return Ok(()) };
        sleep(self.watch.until(newcomer.begins_ms)).await;
        while !self.ledger().exists() {
            let others = (0..self.consortium.nodes().len()).filter_map(|node| u32::try_from(node).ok());
            let givers = others.map(NodeId::new).map(|to| Neighbour::at(to, wire.clone())).collect();
            let (consortium, key) = (self.consortium.clone(), node_key(self.id.get()).public_key());
            let (re_geneses, folder, replays) = (Vec::new(), self.ledger(), newcomer.replays);
            let order = Order { consortium, re_geneses, key, folder, replays };
            match join(givers, order, |_| {}).await {
                Ok(Made { joined, state_at, sources, dropped, .. }) => {
                    let height = joined.executed.height;
                    let came =
                        format!("up to {height}, state of {state_at}, from {sources} nodes, without {dropped:?}");
                    self.watch.note(&format_args!("node {} joined: {came}", self.id));
                }
                Err(JoinFault::Restore(RestoreFault::Store(fault))) => return Err(fault),
                Err(JoinFault::Restore(RestoreFault::File { path, source })) => {
                    return Err(Fault::File { path, source: source.into() });
                }
                Err(fault) => {
                    self.watch.note(&format_args!("node {} did not join: {fault}", self.id));
                    sleep(PAUSE).await;
                }
            }
        }
        self.watch.joins(self.id);
        Ok(())
    }
}

/// A node of genesis that is asked for its ledger.
struct Neighbour {
    node: NodeId,
    name: String,
    wire: Arc<Wire>,
}

impl Neighbour {
    fn at(node: NodeId, wire: Arc<Wire>) -> Arc<dyn Giver> {
        Arc::new(Self { node, name: host_name(node), wire })
    }

    async fn ask(&self, path: Option<ChunkPath>) -> Result<Option<Vec<u8>>, GiverFault> {
        let answer = timeout(PATIENCE, self.wire.ask(self.node, path)).await;
        answer.ok().flatten().ok_or_else(|| GiverFault("no answer".to_owned()))
    }
}

impl Giver for Neighbour {
    fn url(&self) -> &str {
        &self.name
    }

    fn offer(&self) -> BoxFuture<'_, Result<Vec<u8>, GiverFault>> {
        let none = || GiverFault("it has nothing".to_owned());
        async move { self.ask(None).await?.ok_or_else(none) }.boxed()
    }

    fn chunk(&self, path: ChunkPath) -> BoxFuture<'_, Result<Option<Vec<u8>>, GiverFault>> {
        self.ask(Some(path)).boxed()
    }
}
