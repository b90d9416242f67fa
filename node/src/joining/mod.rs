//! The ledger of a node that joins, fetched from several running nodes at once.
//!
//! `ledger::snapshot` says what is needed and whether what came is that. This module asks: each node for a few chunks at a
//! time, and nobody again who sent a wrong one or failed too often. An offer of which something turns out false only when
//! all is there, or a state that nobody sends, is left for the next best one; without a state everything is executed.
//! What came is kept in a folder beside the ledger's until
//! all is there, so that a join that was killed goes on with it; it is checked again then, like what comes from a node.

mod fetch;
mod kept;
mod source;

use std::{
    collections::BTreeSet,
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
    snapshot::{Extent, Offer, Verified},
};
use wallet::{digest::Digest, identity::PublicKey, units::BlockHeight};

pub use self::source::Source;
use self::{
    fetch::{Fetched, Fetching},
    kept::Kept,
};
use crate::cli::Failure;

/// What is to be made.
#[derive(Clone, Debug)]
pub struct Order {
    /// Whose ledger: all that is trusted, with the re-geneses.
    pub consortium: Arc<Consortium>,
    /// Those that are taken.
    pub re_geneses: Vec<Digest>,
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
    let Order { consortium, re_geneses, key, folder, replays } = order;
    let kept = Kept::beside(&folder);
    if folder.exists() {
        // A join that was killed when its ledger had just appeared leaves it.
        kept.remove();
        return Err(refused(RestoreFault::FolderExists { folder: folder.clone() }.into(), &folder));
    }
    let asked = join_all(sources.iter().map(|source| source.offer(&consortium, &re_geneses))).await;
    let (mut offering, mut dropped) = (Vec::new(), Vec::new());
    for (source, answer) in sources.into_iter().zip(asked) {
        match answer {
            Ok(verified) => offering.push(Offering { source, verified, is_believed: true }),
            Err(fault) => dropped.push(fault),
        }
    }
    if offering.is_empty() {
        return Err(Failure::new("N-113", "no node offers its ledger", reasons(&dropped)));
    }
    kept.make().map_err(|fault| refused(fault.into(), &folder))?;
    let (mut bytes, mut givers, mut last_failure) = (0, BTreeSet::new(), None);
    // Each round without a ledger leaves fewer offers to believe, or fewer states to take. It costs little: all is kept.
    loop {
        let believed = offering.iter().filter(|offering| offering.is_believed);
        let believed: Vec<Verified> = believed.map(|offering| offering.verified.clone()).collect();
        let not_all =
            || Failure::new("N-114", "no node is left that could send the rest of the ledger", reasons(&dropped));
        let Some(extent) = Extent::choose(&believed) else { return Err(last_failure.unwrap_or_else(not_all)) };
        let extent = if replays { extent.without_state() } else { extent };
        let (offer, state_at) = (extent.offer().clone(), extent.state_at());
        let (place, whose) = (folder.clone(), consortium.clone());
        let joining = apart(move || Joining::begin(&place, whose, extent)).await?;
        let joining = joining.map_err(|fault| refused(fault.into(), &folder))?;
        let peers = offering.iter().map(|offering| (offering.source.clone(), &offering.verified));
        let fetching = Fetching::new(peers, state_at, kept.clone());
        let (fetched, came) = fetching.all(joining, |now| told(Step::Came(bytes + now))).await?;
        bytes += came.bytes;
        givers.extend(came.givers);
        offering.retain(|offering| !came.dropped.iter().any(|dropped| dropped.url == offering.source.url()));
        dropped.extend(came.dropped);
        let finished = match fetched {
            Fetched::All(joining) => {
                let (finished, back) = apart(move || {
                    let finished = joining.finish(key, |height| told(Step::Executed(height)));
                    (finished, told)
                })
                .await?;
                told = back;
                finished
            }
            Fetched::Refused(fault) => Err(fault),
            Fetched::NoState => {
                tracing::warn!(%state_at, "nobody sends the state of this height: another one is taken");
                offering.iter_mut().for_each(|offering| offering.verified.without_state(state_at));
                last_failure = None;
                continue;
            }
            Fetched::NotAll => {
                tracing::warn!(height = %offer.tip.height, "nobody sends all up to this block: a lower one is taken");
                let same = offering.iter_mut().filter(|offering| offering.verified.offer().tip == offer.tip);
                same.for_each(|offering| offering.is_believed = false);
                last_failure = None;
                continue;
            }
        };
        match finished {
            Ok(joined) => {
                kept.remove();
                return Ok(Made { joined, state_at, bytes, sources: givers.len(), dropped });
            }
            // No hash vouches for this. Another node's word may be better.
            Err(fault) if fault.is_of_offer() => {
                tracing::warn!(%fault, "another node is believed what the last block is and where it stands");
                offering.retain_mut(|offering| {
                    let is_same = is_same(offering.verified.offer(), &offer, &fault);
                    offering.is_believed &= !is_same;
                    if is_same && fault.is_lie() {
                        dropped.push(offering.source.dropped(true, &fault));
                    }
                    !(is_same && fault.is_lie())
                });
                last_failure = Some(refused(fault, &folder));
            }
            Err(fault) => return Err(refused(fault, &folder)),
        }
    }
}

/// A node that has a ledger to offer.
struct Offering {
    source: Source,
    verified: Verified,
    /// Whether it is taken at its word for what the last block is and where that stands. If not it still sends chunks.
    is_believed: bool,
}

/// Whether a fault of one offer is a fault of another one, too.
fn is_same(other: &Offer, offer: &Offer, fault: &JoinFault) -> bool {
    let is_of_block = matches!(fault, JoinFault::Carrier { .. } | JoinFault::Replay(_));
    other.tip == offer.tip && (is_of_block || other.raft_index == offer.raft_index)
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
