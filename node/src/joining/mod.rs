//! The ledger of a node that joins, fetched from several running nodes at once.
//!
//! `ledger::snapshot` says what is needed and whether what came is that. This module asks: each node for a few chunks at a
//! time, and nobody again who sent a wrong one or failed too often. What came is kept in a folder beside the ledger's until
//! all is there, so that a join that was killed goes on with it; it is checked again then, like what comes from a node.

mod fetch;
mod kept;
mod source;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use futures::future::join_all;
use genesis::Consortium;
use ledger::{
    shell::{
        join::{JoinFault, Joined, Joining},
        restore::RestoreFault,
    },
    snapshot::{Extent, Verified},
};
use wallet::{identity::PublicKey, units::BlockHeight};

pub use self::source::Source;
use self::{fetch::Fetching, kept::Kept};
use crate::cli::Failure;

/// What is to be made.
#[derive(Clone, Debug)]
pub struct Order {
    /// Whose ledger: all that is trusted.
    pub consortium: Arc<Consortium>,
    /// The key of the node that joins.
    pub key: PublicKey,
    /// Where the ledger will stand.
    pub folder: PathBuf,
    /// Whether every block is executed, instead of taking a state that a quorum certified.
    pub replays: bool,
}

/// What happens, for whoever waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// So many bytes came so far.
    Came(u64),
    /// The block of this height was executed.
    Executed(BlockHeight),
}

/// A ledger that was made.
#[derive(Clone, Debug)]
pub struct Made {
    /// Which node it is of, and its final state.
    pub joined: Joined,
    /// Height of the state that was taken as it is; 0 if every block was executed.
    pub state_at: BlockHeight,
    /// How many bytes came from nodes.
    pub bytes: u64,
    /// How many nodes something came from.
    pub sources: usize,
    /// Nodes that were not asked any more, and why.
    pub dropped: Vec<Dropped>,
}

/// A node that is not asked any more.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Dropped {
    /// Its address.
    pub url: String,
    /// Whether what it sent was wrong. Then it, or whoever stands between, is no honest node with this ledger.
    pub lied: bool,
    /// What it did.
    pub reason: String,
}

/// Makes the ledger of a node that the operators let in, from what `sources` hand out.
///
/// # Errors
/// N-112 if there can be no ledger for this key, N-113 if no source has one to offer, N-114 if not all of it came, N-156 and
/// N-157 as when a ledger is restored.
pub async fn join(
    sources: Vec<Source>,
    order: Order,
    mut told: impl FnMut(Step) + Send + 'static,
) -> Result<Made, Failure> {
    let asked = join_all(sources.iter().map(|source| source.offer(&order.consortium))).await;
    let (mut offered, mut dropped) = (Vec::new(), Vec::new());
    for (source, answer) in sources.into_iter().zip(asked) {
        match answer {
            Ok(verified) => offered.push((source, verified)),
            Err(fault) => dropped.push(fault),
        }
    }
    let kept = Kept::beside(&order.folder).map_err(|fault| refused(fault.into(), &order.folder))?;
    // Who is taken at its word for where the log goes on, and who only sends chunks.
    let mut believed: Vec<Verified> = offered.iter().map(|(_, verified)| verified.clone()).collect();
    loop {
        let Some(extent) = Extent::choose(&believed) else {
            return Err(Failure::new("N-113", "no node offers its ledger", reasons(&dropped)));
        };
        let extent = if order.replays { extent.without_state() } else { extent };
        let offer = extent.offer().clone();
        let state_at = extent.state_at();
        let (place, consortium) = (order.folder.clone(), order.consortium.clone());
        let joining = apart(move || Joining::begin(&place, consortium, extent)).await?;
        let joining = joining.map_err(|fault| refused(fault.into(), &order.folder))?;
        let sources = offered.iter().map(|(source, verified)| (source.clone(), verified.has_state(state_at)));
        let fetching = Fetching::new(sources, dropped.clone(), kept.clone());
        let (joining, came) = fetching.all(joining, &order.folder, |bytes| told(Step::Came(bytes))).await?;
        let key = order.key;
        let (finished, back) = apart(move || {
            let finished = joining.finish(key, |height| told(Step::Executed(height)));
            (finished, told)
        })
        .await?;
        told = back;
        match finished {
            Ok(joined) => {
                kept.remove();
                return Ok(Made { joined, state_at, bytes: came.bytes, sources: came.sources, dropped: came.dropped });
            }
            // Nothing vouches for this one thing before all is there. Another node's word costs little now: all is kept.
            Err(fault) if fault.is_of_place() && believed.len() > 1 => {
                tracing::warn!(%fault, "another node is believed where the log goes on");
                let same =
                    |other: &Verified| (&other.offer().tip, other.offer().raft_index) == (&offer.tip, offer.raft_index);
                believed.retain(|verified| !same(verified));
                if believed.is_empty() {
                    return Err(refused(fault, &order.folder));
                }
            }
            Err(fault) => return Err(refused(fault, &order.folder)),
        }
    }
}

/// Why there is no ledger.
fn refused(fault: JoinFault, folder: &Path) -> Failure {
    let code = match &fault {
        JoinFault::Restore(RestoreFault::WrongPlace { .. }) | JoinFault::Replay(_) => "N-156",
        JoinFault::Restore(_) => "N-157",
        _ => "N-112",
    };
    Failure::new(code, fault, folder.display())
}

fn reasons(dropped: &[Dropped]) -> String {
    let each: Vec<String> = dropped.iter().map(|Dropped { url, reason, .. }| format!("{url}: {reason}")).collect();
    each.join("; ")
}

/// Runs what waits for the disk or computes on a thread of its own.
async fn apart<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Failure::new("N-154", error, "joining"))
}

#[cfg(test)]
mod tests;
