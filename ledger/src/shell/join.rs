//! The ledger of a node that joins, from what several nodes hand out: see [`crate::snapshot`].
//!
//! Where a restored node has to be silent at first, because its key may have signed what it does not know any more, one
//! that never was a validator has nothing to remember: it begins with an empty vote record, like the nodes of genesis.

mod asking;
mod fetch;
mod giver;
mod kept;

use std::sync::Arc;

use genesis::Consortium;
use wallet::{
    identity::PublicKey,
    units::{BlockHeight, NodeId},
};

pub use asking::{Dropped, Made, Order, Step, join};
pub use giver::{Giver, GiverFault};

use super::{
    catch_up::catch_up,
    disk::Disk,
    fault::Fault,
    final_store::FinalStore,
    log_store::LogStore,
    restore::{RestoreFault, place_of, proves_place},
    unfinished::Unfinished,
    vote_record::{VoteFile, Votes},
};
use crate::{
    block::Header,
    execute::Executed,
    governance::Member,
    replay::{Replay, ReplayInvalid, Signatures},
    snapshot::{Checked, Extent, Piece, Plan, Wanted},
    state::{KeyStatus, State},
};

/// A ledger folder that is being filled with what came. Unless it is finished, the folder does not appear.
pub struct Joining {
    plan: Plan,
    consortium: Arc<Consortium>,
    store: FinalStore,
    /// The state before the first block.
    genesis: Executed,
    unfinished: Unfinished,
}

/// What a node that joined has.
#[derive(Clone, Debug)]
pub struct Joined {
    /// Which node it is.
    pub node: NodeId,
    /// The final state.
    pub executed: Executed,
}

impl Joining {
    /// Begins to fill a ledger folder that will stand at `folder`.
    ///
    /// # Errors
    /// [`RestoreFault`] if there is one, or another process fills it, or the disk says so.
    pub fn begin(folder: &Disk, consortium: Arc<Consortium>, extent: Extent) -> Result<Self, RestoreFault> {
        let unfinished = Unfinished::begin(folder)?;
        let opened = FinalStore::open(unfinished.folder().join("final"), &consortium);
        let (store, tip) = opened.inspect_err(|_| unfinished.remove())?;
        Ok(Self { plan: Plan::new(extent), consortium, store, genesis: tip.executed, unfinished })
    }

    /// What is needed.
    pub fn plan(&mut self) -> &mut Plan {
        &mut self.plan
    }

    /// Stores what came. It waits for the disk.
    ///
    /// # Errors
    /// [`JoinFault::Carrier`], or of the disk.
    pub fn take(&mut self, checked: Checked) -> Result<(), JoinFault> {
        if checked.is_below_carrier {
            return Err(JoinFault::Carrier { height: self.plan.extent().tip().height });
        }
        match self.plan.take(checked) {
            Some(Piece::Blocks(blocks)) => self.store.put_blocks(&blocks, self.plan.extent().sets())?,
            Some(Piece::Leaves(leaves)) => self.store.put_leaves(&leaves)?,
            None => {}
        }
        Ok(())
    }

    /// Gives a chunk back that did not come.
    pub fn give_back(&mut self, wanted: Wanted) {
        self.plan.give_back(wanted);
    }

    /// Makes it the ledger of the node that has `key`, once everything came, and lets that vote once it is reinstated.
    /// Executes what is above the state that came; `progress` is told each height.
    ///
    /// # Errors
    /// [`JoinFault`]; there is no folder then.
    pub fn finish(self, key: PublicKey, mut progress: impl FnMut(BlockHeight)) -> Result<Joined, JoinFault> {
        let Self { plan, consortium, store, genesis, unfinished } = self;
        let made = fill(&plan, &consortium, &store, genesis, unfinished.folder(), &mut progress);
        // Nothing of the folder may be open when it moves.
        drop(store);
        let joined = made.and_then(|executed| {
            let node = newcomer(&executed.state, key)?;
            let votes = Votes::new(executed.name, node);
            VoteFile::new(unfinished.folder().clone()).save(&votes).map_err(RestoreFault::from)?;
            Ok(Joined { node, executed })
        });
        let joined = joined.inspect_err(|_| unfinished.remove())?;
        unfinished.publish()?;
        Ok(joined)
    }

    /// Removes what came.
    pub fn give_up(self) {
        let Self { store, unfinished, .. } = self;
        drop(store);
        unfinished.remove();
    }
}

/// Makes final what was stored, and lets the raft log begin after it.
fn fill(
    plan: &Plan,
    consortium: &Arc<Consortium>,
    store: &FinalStore,
    genesis: Executed,
    folder: &Disk,
    progress: &mut dyn FnMut(BlockHeight),
) -> Result<Executed, JoinFault> {
    let extent = plan.extent();
    if !plan.is_complete() {
        return Err(Fault::Impossible("a ledger was made of chunks that did not all come".to_owned()).into());
    }
    let (tip, offer) = (extent.tip(), extent.offer());
    let stored = |height: u64| {
        let missing = || Fault::Missing { store: "final", what: format!("block {height}") };
        store.block(BlockHeight::new(height))?.ok_or_else(missing)
    };
    // What came with the block may be another quorum's word, which did not make it final.
    let mut last = stored(tip.height.get())?;
    (last.certificate, last.carriers) = (offer.proof.certificate.clone(), offer.proof.carriers.clone());
    store.put_blocks(std::slice::from_ref(&last), extent.sets())?;
    let parent = match tip.height.get() {
        1 => None,
        height => Some(stored(height - 1)?.block),
    };
    if !proves_place(consortium, parent.as_ref(), &last.block, offer.raft_index)? {
        return Err(JoinFault::PlaceNotProven { raft_index: offer.raft_index });
    }
    let place = place_of(&last.block, offer.raft_index);
    let begin = match extent.state_at() {
        BlockHeight::ZERO => genesis,
        height => store.load_at(height)?.executed,
    };
    let mut heights = begin.height.get() + 1..=tip.height.get();
    let replay = Replay::after(consortium.clone(), begin, Signatures::Certified).naming(extent.sets().named());
    let executed = catch_up(store, replay, || Ok::<_, JoinFault>(heights.next().map(stored).transpose()?), progress)?;
    store.make_final(tip.height, place.log_id)?;
    LogStore::open(folder.join("log"))?.begin_after(place)?;
    Ok(executed)
}

/// The node that has `key` and never voted.
fn newcomer(state: &State, key: PublicKey) -> Result<NodeId, JoinFault> {
    let record = state.key(key).filter(|record| record.status == KeyStatus::InForce);
    let Some(Member::Node(node)) = record.and_then(|record| record.member) else {
        return Err(JoinFault::NoNode { key });
    };
    if was_validator(state, node) { Err(JoinFault::Voted { node }) } else { Ok(node) }
}

/// Whether a node is or ever was a validator.
pub(crate) fn was_validator(state: &State, node: NodeId) -> bool {
    (0..=state.epoch()).filter_map(|epoch| state.validators_of(epoch)).any(|record| record.set.key(node).is_some())
}

/// Why there is no ledger for a node that joins.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JoinFault {
    /// Its folder cannot be made.
    #[error(transparent)]
    Restore(#[from] RestoreFault),
    /// The blocks above the state that came do not follow from it. A quorum certified them: the software differs, or the
    /// quorum lied.
    #[error("a block does not follow from the certified state: {0}")]
    Replay(#[from] ReplayInvalid),
    /// Nobody has a ledger to offer.
    #[error("no node offers its ledger")]
    NoOffer {
        /// What became of each node that was asked.
        reasons: String,
    },
    /// What came is not all.
    #[error("no node is left that could send the rest of the ledger")]
    NotAll {
        /// What became of those that are not asked any more.
        reasons: String,
    },
    /// What was offered as the last block stands above the end of its epoch.
    #[error("the block of height {height} is a carrier above the end of its epoch, and no part of the chain")]
    Carrier {
        /// Where it stands.
        height: BlockHeight,
    },
    /// What two nodes have is no one chain, and a quorum made both final.
    #[error("two nodes have ledgers of which no chain has both: {0} and {1}")]
    Fork(Box<Forked>, Box<Forked>),
    /// The operators have not let it in yet, or what came is from before.
    #[error("in the final state no node has the key {key}")]
    NoNode {
        /// The key that was given.
        key: PublicKey,
    },
    /// Where the log begins is one node's word alone. With a wrong one the node would follow nobody.
    #[error("nothing proves that the last block has raft index {raft_index}: try again, or ask another node first")]
    PlaceNotProven {
        /// What was said.
        raft_index: u64,
    },
    /// It was a validator, and what it signed is not known any more.
    #[error("node {node} was a validator before: restore it")]
    Voted {
        /// Which.
        node: NodeId,
    },
}

/// One side of a fork.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{url} has block {} of epoch {} at height {}", .header.digest(), .header.epoch, .header.height)]
pub struct Forked {
    /// A node that is on it.
    pub url: String,
    /// A block that is on this side alone.
    pub header: Header,
}

impl JoinFault {
    /// Whether the last block that was offered, or what was said of its place in the raft log, is to blame. Another offer
    /// may be better.
    pub fn is_of_offer(&self) -> bool {
        self.is_lie() || matches!(self, Self::PlaceNotProven { .. } | Self::Replay(_))
    }

    /// Whether it shows that whoever made the offer lied: no node can have such a last block, or have it there.
    pub fn is_lie(&self) -> bool {
        matches!(self, Self::Carrier { .. } | Self::Restore(RestoreFault::WrongPlace { .. }))
    }
}

impl From<Fault> for JoinFault {
    fn from(fault: Fault) -> Self {
        Self::Restore(fault.into())
    }
}
