//! `batchmind join`: the ledger of a node that the operators let in.

use std::{fmt, path::PathBuf, sync::Arc};

use clap::Args;
use serde::Serialize;
use wallet::{
    digest::Digest,
    units::{BlockHeight, NodeId},
};

use super::{Failure, Output, client::NodeArguments, progress::Progress, re_geneses::ReGeneses};
use crate::{
    config::LedgerConfig,
    joining::{Asker, Chosen, Dropped, Made, Order, Step, join},
};

/// Make the ledger of a node that the operators let in, from running nodes.
///
/// Asks the node at --url, those of the genesis document, and those that one of them proves to take part since, but none
/// under --without, several at a time, with requests that it signs with the node's key: the operators let that in first.
/// What a quorum made final is proven from the genesis document on; blocks, entries and one state below it are checked by
/// their hashes, and what came after that state is executed. Then `batchmind node run` follows the ledger, and once the operators reinstate the node it votes. A join
/// that was stopped goes on with what came.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The configuration of the node that joins.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    #[command(flatten)]
    node: NodeArguments,
    /// Also ask this node, by the address that the ledger has for it; may be repeated.
    #[arg(long, value_name = "URL")]
    peer: Vec<String>,
    /// Do not ask this node for anything, whoever names it; may be repeated.
    #[arg(long, value_name = "URL")]
    without: Vec<String>,
    /// Execute every block instead of taking a state that a quorum certified.
    #[arg(long)]
    replay: bool,
    #[command(flatten)]
    named: ReGeneses,
}

impl Arguments {
    pub(super) async fn run(self) -> Result<Output, Failure> {
        let LedgerConfig { consortium, keys, data_dir } = LedgerConfig::load(&self.config)?;
        let asker = Asker { consortium: consortium.id(), key: keys.key().clone() };
        let roots = self.node.roots();
        let named = consortium.nodes().iter().map(|node| node.api.as_str());
        let given = [self.node.url.as_str()].into_iter().chain(self.peer.iter().map(String::as_str));
        let chosen =
            Chosen { named: given.chain(named).collect(), without: &self.without, re_geneses: self.named.digests() };
        let (sources, unasked) = chosen.sources(&roots, &asker).await?;
        let folder = data_dir.join("ledger");
        let (key, consortium, replays) = (keys.key().public_key(), Arc::new(consortium), self.replay);
        let re_geneses = self.named.digests().to_vec();
        let order = Order { consortium, re_geneses, key, folder: folder.clone().into(), replays };
        let (mut came, mut executed) = (Progress::new("MiB"), Progress::new("blocks"));
        let told = move |step| match step {
            Step::Came(bytes) => came.at(bytes >> 20),
            Step::Executed(height) => executed.at(height.get()),
        };
        let Made { joined, state_at, bytes, sources, dropped } = join(sources, order, told).await?;
        let dropped = unasked.into_iter().chain(dropped).collect();
        let (height, state_root) = (joined.executed.height, joined.executed.state.root());
        Ok(Output::new(&Outcome { folder, node: joined.node, height, state_root, state_at, bytes, sources, dropped }))
    }
}

#[derive(Serialize)]
struct Outcome {
    folder: PathBuf,
    node: NodeId,
    height: BlockHeight,
    state_root: Digest,
    /// Height of the state that was not executed; 0 if all was.
    state_at: BlockHeight,
    bytes: u64,
    sources: usize,
    dropped: Vec<Dropped>,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { folder, node, height, state_root, state_at, bytes, sources, dropped } = self;
        writeln!(f, "{}: the ledger of node {node}, up to height {height}", folder.display())?;
        writeln!(f, "state root   {state_root}")?;
        match state_at.get() {
            0 => writeln!(f, "executed     every block")?,
            _ => writeln!(f, "executed     what followed height {state_at}; the state there is that of a quorum")?,
        }
        write!(f, "came         {bytes} bytes from {sources} nodes")?;
        dropped.iter().try_for_each(|Dropped { url, lied, reason }| {
            let what = if *lied { "sent what is wrong" } else { "failed" };
            write!(f, "\nnote: {url} {what}: {reason}")
        })
    }
}
