//! The ledger of a node that joins, fetched from several running nodes at once.
//!
//! [`crate::snapshot`] says what is needed and whether what came is that. This module asks: each node for a few chunks at a
//! time, and nobody again who sent a wrong one or failed too often. An offer of which something turns out false only when
//! all is there, or a state that nobody sends, is left for the next best one; without a state everything is executed.
//! What came is kept in a folder beside the ledger's until all is there, so that a join that was killed goes on with it; it
//! is checked again then, like what comes from a node. Where two nodes prove ledgers that contradict each other nothing is
//! made: a quorum signed both, and which of them holds is for people to find out.

use std::{collections::BTreeSet, sync::Arc};

use futures::future::join_all;
use genesis::Consortium;
use serde::Serialize;
use wallet::{digest::Digest, identity::PublicKey, units::BlockHeight};

use super::{
    Forked, JoinFault, Joined, Joining,
    fetch::{Fetched, Fetching},
    giver::{Giver, dropped, proven_offer},
    kept::Kept,
};
use crate::{
    shell::{disk::Disk, fault::Fault, log_store::blocking, restore::RestoreFault},
    snapshot::{Extent, Offer, Verified},
};

/// What is to be made.
#[derive(Clone, Debug)]
pub struct Order {
    /// Whose ledger: all that is trusted, with the re-geneses.
    pub consortium: Arc<Consortium>,
    /// Those that lie between genesis and now, as whoever joins was told.
    pub re_geneses: Vec<Digest>,
    /// The key of the node that joins.
    pub key: PublicKey,
    /// Where the ledger will stand.
    pub folder: Disk,
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Dropped {
    /// Its address.
    pub url: String,
    /// Whether what it sent was wrong. Then it, or whoever stands between, is no honest node with this ledger.
    pub lied: bool,
    /// What it did.
    pub reason: String,
}

/// Makes the ledger of a node that the operators let in, from what `givers` hand out. `told` is told what happens.
///
/// # Errors
/// [`JoinFault`]; there is no folder then.
pub async fn join(
    givers: Vec<Arc<dyn Giver>>,
    order: Order,
    mut told: impl FnMut(Step) + Send + 'static,
) -> Result<Made, JoinFault> {
    let Order { consortium, re_geneses, key, folder, replays } = order;
    let kept = Kept::beside(&folder);
    if folder.exists() {
        // A join that was killed when its ledger had just appeared leaves it.
        kept.remove();
        return Err(RestoreFault::FolderExists { folder: folder.folder().to_owned() }.into());
    }
    let asked = join_all(givers.iter().map(|giver| proven_offer(giver, &consortium, &re_geneses))).await;
    let (mut offering, mut gone) = (Vec::new(), Vec::new());
    for (giver, answer) in givers.into_iter().zip(asked) {
        match answer {
            Ok(verified) => offering.push(Offering { giver, verified, is_believed: true }),
            Err(dropped) => gone.push(dropped),
        }
    }
    if offering.is_empty() {
        return Err(JoinFault::NoOffer { reasons: reasons(&gone) });
    }
    check_one_chain(&offering)?;
    let (mut bytes, mut sources, mut last_fault) = (0, BTreeSet::new(), None);
    // Each round without a ledger leaves fewer offers to believe, or fewer states to take. It costs little: all is kept.
    loop {
        let believed = offering.iter().filter(|offering| offering.is_believed);
        let believed: Vec<Verified> = believed.map(|offering| offering.verified.clone()).collect();
        let not_all = || JoinFault::NotAll { reasons: reasons(&gone) };
        let Some(extent) = Extent::choose(&believed) else { return Err(last_fault.unwrap_or_else(not_all)) };
        let extent = if replays { extent.without_state() } else { extent };
        let (offer, state_at) = (extent.offer().clone(), extent.state_at());
        let (place, whose) = (folder.clone(), consortium.clone());
        let joining = apart(move || Joining::begin(&place, whose, extent)).await??;
        let peers = offering.iter().map(|offering| (offering.giver.clone(), &offering.verified));
        let fetching = Fetching::new(peers, &offer.tip, state_at, kept.clone());
        let (fetched, came) = fetching.all(joining, |now| told(Step::Came(bytes + now))).await?;
        bytes += came.bytes;
        sources.extend(came.givers);
        offering.retain(|offering| !came.dropped.iter().any(|dropped| dropped.url == offering.giver.url()));
        gone.extend(came.dropped);
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
                last_fault = None;
                continue;
            }
            Fetched::NotAll => {
                tracing::warn!(height = %offer.tip.height, "nobody sends all up to this block: a lower one is taken");
                let same = offering.iter_mut().filter(|offering| offering.verified.offer().tip == offer.tip);
                same.for_each(|offering| offering.is_believed = false);
                last_fault = None;
                continue;
            }
        };
        match finished {
            Ok(joined) => {
                kept.remove();
                return Ok(Made { joined, state_at, bytes, sources: sources.len(), dropped: gone });
            }
            // No hash vouches for this. Another node's word may be better.
            Err(fault) if fault.is_of_offer() => {
                tracing::warn!(%fault, "another node is believed what the last block is and where it stands");
                offering.retain_mut(|offering| {
                    let is_same = is_same(offering.verified.offer(), &offer, &fault);
                    offering.is_believed &= !is_same;
                    if is_same && fault.is_lie() {
                        gone.push(dropped(&offering.giver, true, &fault));
                    }
                    !(is_same && fault.is_lie())
                });
                last_fault = Some(fault);
            }
            Err(fault) => return Err(fault),
        }
    }
}

/// A node that has a ledger to offer.
struct Offering {
    giver: Arc<dyn Giver>,
    verified: Verified,
    /// Whether it is taken at its word for what the last block is and where that stands. If not it still sends chunks.
    is_believed: bool,
}

/// Checks that no two offers contradict each other. A longer and a shorter one do not.
fn check_one_chain(offering: &[Offering]) -> Result<(), JoinFault> {
    let others = |at| offering.iter().skip(at + 1);
    let pairs = offering.iter().enumerate().flat_map(|(at, one)| others(at).map(move |other| (one, other)));
    let forked = |offering: &Offering, header| Box::new(Forked { url: offering.giver.url().to_owned(), header });
    let fork = pairs.into_iter().find_map(|(one, other)| {
        let [header, another] = one.verified.fork(&other.verified)?;
        Some(JoinFault::Fork(forked(one, header), forked(other, another)))
    });
    fork.map_or(Ok(()), Err)
}

/// Whether a fault of one offer is a fault of another one, too.
fn is_same(other: &Offer, offer: &Offer, fault: &JoinFault) -> bool {
    let is_of_block = matches!(fault, JoinFault::Carrier { .. } | JoinFault::Replay(_));
    other.tip == offer.tip && (is_of_block || other.raft_index == offer.raft_index)
}

fn reasons(dropped: &[Dropped]) -> String {
    let each: Vec<String> = dropped.iter().map(|Dropped { url, reason, .. }| format!("{url}: {reason}")).collect();
    each.join("; ")
}

/// Runs what waits for the disk or computes apart from what waits for the network.
pub(super) async fn apart<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Fault> {
    blocking(move || Ok(work())).await
}
