//! What is still to be asked for.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use wallet::units::BlockHeight;

use super::{Checked, ChunkPath, Offer, Piece, Verified, Wanted};
use crate::{block::Header, hand_over::ValidatorSets};

/// How far a ledger goes that is taken from others.
#[derive(Clone, Debug)]
pub struct Extent {
    verified: Verified,
    state_at: BlockHeight,
}

impl Extent {
    /// The highest block that one of `offers` proves, and up to there the state that most of them have; of several the
    /// newest. A block that leads to a later validator set counts as higher: so no carrier, which stands above the end of
    /// its epoch, is preferred to that end. None if there is no offer.
    pub fn choose(offers: &[Verified]) -> Option<Self> {
        let place = |verified: &&Verified| (verified.sets.last().epoch, verified.offer.tip.height);
        let highest = offers.iter().max_by_key(place)?;
        let tip = highest.offer.tip.height;
        let mut holders: BTreeMap<BlockHeight, u32> = BTreeMap::new();
        offers
            .iter()
            .flat_map(|verified| &verified.offer.states)
            .filter(|height| **height <= tip)
            .for_each(|height| *holders.entry(*height).or_default() += 1);
        let state_at = holders.into_iter().max_by_key(|(height, holders)| (*holders, *height));
        let state_at = state_at.map_or(BlockHeight::ZERO, |(height, _)| height);
        Some(Self { verified: highest.clone(), state_at })
    }

    /// The same, but without a state: then every block is executed.
    #[must_use]
    pub fn without_state(self) -> Self {
        Self { state_at: BlockHeight::ZERO, ..self }
    }

    /// The last block.
    pub fn tip(&self) -> &Header {
        &self.verified.offer.tip
    }

    /// What was said of the last block, and what made it final.
    pub fn offer(&self) -> &Offer {
        &self.verified.offer
    }

    /// Height of the state that is taken as it is; 0 if none is.
    pub fn state_at(&self) -> BlockHeight {
        self.state_at
    }

    /// The validator sets up to the last block, and the next one if that closes its epoch.
    pub fn sets(&self) -> &ValidatorSets {
        &self.verified.sets
    }
}

/// Which chunks are needed, as far as that is known: each one that came leads to others.
#[derive(Clone, Debug)]
pub struct Plan {
    extent: Arc<Extent>,
    /// Parts of the state. They are asked for first: nodes keep a state for some minutes, and all else for ever.
    of_state: VecDeque<Wanted>,
    ready: VecDeque<Wanted>,
    /// Asked for and not come.
    open: usize,
}

impl Plan {
    /// The plan to get all of it.
    pub fn new(extent: Extent) -> Self {
        let ready = VecDeque::from([Wanted::first(extent.tip())]);
        Self { extent: Arc::new(extent), of_state: VecDeque::new(), ready, open: 0 }
    }

    /// How far it goes: what chunks are checked by.
    pub fn extent(&self) -> &Arc<Extent> {
        &self.extent
    }

    /// What to ask next of somebody who has such chunks; none while no more of them is known to be needed.
    pub fn ask(&mut self, has: impl Fn(ChunkPath) -> bool) -> Option<Wanted> {
        let wanted = [&mut self.of_state, &mut self.ready].into_iter().find_map(|queue| {
            let place = queue.iter().position(|wanted| has(wanted.path()))?;
            queue.remove(place)
        })?;
        self.open += 1;
        Some(wanted)
    }

    /// It did not come: it is asked for again.
    pub fn give_back(&mut self, wanted: Wanted) {
        self.open -= 1;
        self.put(wanted);
    }

    /// It came: what is to be stored of it.
    pub fn take(&mut self, checked: Checked) -> Option<Piece> {
        self.open -= 1;
        // What came last leads to what is next: the headers below before blocks, the halves of a part before other parts.
        checked.more.into_iter().rev().for_each(|wanted| self.put(wanted));
        checked.piece
    }

    /// Whether a part of the state is to be asked for.
    pub fn wants_state(&self) -> bool {
        !self.of_state.is_empty()
    }

    /// Whether everything came.
    pub fn is_complete(&self) -> bool {
        self.of_state.is_empty() && self.ready.is_empty() && self.open == 0
    }

    fn put(&mut self, wanted: Wanted) {
        match wanted.path() {
            ChunkPath::State { .. } => self.of_state.push_front(wanted),
            _ => self.ready.push_front(wanted),
        }
    }
}
