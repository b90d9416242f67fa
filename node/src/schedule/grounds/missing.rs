//! Which decisions are still to be asked for, by who made them, and up to which height none is missing.
//!
//! Of each node only a few are waited for at a time. Where it names more, its entries are read again from there once there
//! is room, in turn with the others': so nothing is forgotten, the past of a node that joined is taken as fast as it is
//! answered, and who names what nobody hands out does not delay what others made. It does hold the height up to which none
//! is missing, which is one for all: after a restart the blocks above are read again, and what was given up there is asked
//! for again. What was given up below is asked for once more, and holds nothing.

use std::{
    collections::BTreeMap,
    ops::Bound::{Excluded, Unbounded},
    time::Duration,
};

use ledger::block::Block;
use tokio::time::Instant;
use wallet::{
    digest::Digest,
    grant::WalletAddress,
    units::{BlockHeight, NodeId, Timestamp},
};

/// When a decision is asked for after an entry named it: it is anchored by then. Doubles up to [`AGAIN_AFTER_MAX`].
const AGAIN_AFTER_MIN: Duration = Duration::from_secs(4);
const AGAIN_AFTER_MAX: Duration = Duration::from_secs(300);
/// How long after that entry a decision is asked for, by the times of blocks, in ms; and how often at least half of the other
/// nodes answered without it, which counts for what a node reads that was away for longer.
const ASKED_FOR_MS: u64 = 24 * 60 * 60 * 1000;
const DENIALS_MIN: u32 = 8;
/// While so many decisions of one node are waited for, no further block is searched for what it named.
pub(super) const WANTED_MAX: usize = 256;

/// A decision that an entry names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) by: NodeId,
    pub(super) decision: Digest,
    pub(super) wallet: WalletAddress,
    height: BlockHeight,
    time: Timestamp,
    tries: u32,
    /// Tries that at least half of the others answered.
    denials: u32,
    /// Whether it was given up before.
    is_again: bool,
    due: Instant,
}

/// Blocks that are to be read again for the entries of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unread {
    pub(super) by: NodeId,
    pub(super) from: BlockHeight,
    pub(super) to: BlockHeight,
}

/// What is missing of the decisions of all nodes.
pub(super) struct Missing {
    of: BTreeMap<NodeId, OfOne>,
    read: BlockHeight,
    /// For whose offers blocks were read again last: the next turn is another's.
    turn: NodeId,
}

/// What is missing of one node's decisions.
#[derive(Default)]
struct OfOne {
    waiting: Vec<Wanted>,
    /// What was given up before this start.
    again: Vec<Wanted>,
    /// At most one is asked for at a time: a silent node holds up nobody else's.
    asked: Option<Wanted>,
    /// There was no room for what it named from this height on.
    unread: Option<BlockHeight>,
}

impl OfOne {
    fn wanted(&self) -> impl Iterator<Item = &Wanted> {
        self.waiting.iter().chain(self.asked.as_ref().filter(|asked| !asked.is_again))
    }

    /// What is to be asked for now; what was given up comes last.
    fn take_due(&mut self, now: Instant) -> Option<Wanted> {
        [&mut self.waiting, &mut self.again].into_iter().find_map(|wanted| {
            let at = wanted.iter().position(|wanted| wanted.due <= now)?;
            Some(wanted.swap_remove(at))
        })
    }
}

impl Missing {
    /// Nothing is missing up to `read`.
    pub(super) fn after(read: BlockHeight) -> Self {
        Self { of: BTreeMap::new(), read, turn: NodeId::ZERO }
    }

    /// Takes up what was given up before this start, to be asked for once more. At most [`WANTED_MAX`] of a node.
    pub(super) fn ask_again(&mut self, by: NodeId, given_up: &[(Digest, WalletAddress)], now: Instant) {
        let again = given_up.iter().take(WANTED_MAX).map(|(decision, wallet)| Wanted {
            by,
            decision: *decision,
            wallet: *wallet,
            height: BlockHeight::ZERO,
            time: Timestamp::new(0),
            tries: 0,
            denials: 0,
            is_again: true,
            due: now + AGAIN_AFTER_MIN,
        });
        self.of.entry(by).or_default().again.extend(again);
    }

    /// Takes up what the next block names.
    pub(super) fn read(&mut self, block: &Block, now: Instant) {
        let height = block.header.height;
        let mut all: BTreeMap<NodeId, Vec<Wanted>> = BTreeMap::new();
        for wanted in named(block, now) {
            all.entry(wanted.by).or_default().push(wanted);
        }
        for (by, wanted) in all {
            let of = self.of.entry(by).or_default();
            if of.unread.is_some() || of.wanted().count() >= WANTED_MAX {
                of.unread.get_or_insert(height);
            } else {
                of.waiting.extend(wanted);
            }
        }
        self.read = height;
    }

    /// What is to be read again: there is room for some of it now.
    pub(super) fn unread(&self) -> Option<Unread> {
        let has_room = |of: &&OfOne| of.wanted().count() <= WANTED_MAX / 2;
        let unread = |(by, of): (&NodeId, &OfOne)| Some((*by, Some(of).filter(has_room)?.unread?));
        let after = self.of.range((Excluded(self.turn), Unbounded));
        let (by, from) = after.chain(self.of.range(..=self.turn)).find_map(unread)?;
        Some(Unread { by, from, to: self.read })
    }

    /// Takes up what node `by` named in its next unread block. Whether there is room for a further one.
    pub(super) fn read_again(&mut self, by: NodeId, block: &Block, now: Instant) -> bool {
        self.turn = by;
        let of = self.of.entry(by).or_default();
        if of.unread != Some(block.header.height) {
            return false;
        }
        of.waiting.extend(named(block, now).filter(|wanted| wanted.by == by));
        of.unread = block.header.height.next().filter(|next| *next <= self.read);
        of.unread.is_some() && of.wanted().count() < WANTED_MAX
    }

    /// When somebody is to be asked next.
    pub(super) fn due(&self) -> Option<Instant> {
        let free = self.of.values().filter(|of| of.asked.is_none());
        free.flat_map(|of| of.waiting.iter().chain(&of.again)).map(|wanted| wanted.due).min()
    }

    /// What is to be asked for now.
    pub(super) fn ask(&mut self, now: Instant) -> Vec<Wanted> {
        let free = self.of.values_mut().filter(|of| of.asked.is_none());
        free.filter_map(|of| {
            of.asked = of.take_due(now);
            of.asked
        })
        .collect()
    }

    /// What is asked for of this node came, or is nothing to keep.
    pub(super) fn found(&mut self, by: NodeId) {
        self.of.entry(by).or_default().asked = None;
    }

    /// What is asked for of this node did not come. It is asked for again, unless that was done for long: then it is given
    /// up, and returned. `is_denied` if at least half of the others answered: where nobody could be reached, nobody said that
    /// it is gone. `time` is the last block's.
    #[must_use]
    pub(super) fn not_found(&mut self, by: NodeId, is_denied: bool, time: Timestamp, now: Instant) -> Option<Wanted> {
        let of = self.of.entry(by).or_default();
        let mut wanted = of.asked.take()?;
        wanted.tries = wanted.tries.saturating_add(1);
        wanted.denials = wanted.denials.saturating_add(is_denied.into());
        let is_for_long = time.get().saturating_sub(wanted.time.get()) > ASKED_FOR_MS && wanted.denials >= DENIALS_MIN;
        if is_for_long || wanted.is_again && is_denied {
            return Some(wanted);
        }
        wanted.due = now + AGAIN_AFTER_MAX.min(AGAIN_AFTER_MIN * (1 << wanted.tries.min(7)));
        if wanted.is_again { &mut of.again } else { &mut of.waiting }.push(wanted);
        None
    }

    /// How many are waited for, by who made them; of those who named none since the start nothing is said.
    pub(super) fn waited_for(&self) -> BTreeMap<NodeId, u64> {
        self.of.iter().map(|(by, of)| (*by, of.wanted().count() as u64)).collect()
    }

    /// Up to there nothing is missing.
    pub(super) fn complete_to(&self) -> BlockHeight {
        let wanted = self.of.values().flat_map(OfOne::wanted).map(|wanted| wanted.height);
        let first = wanted.chain(self.of.values().filter_map(|of| of.unread)).min();
        first.map_or(self.read, |height| BlockHeight::new(height.get().saturating_sub(1)))
    }
}

/// The decisions that a block's offers and evictions name.
fn named(block: &Block, now: Instant) -> impl Iterator<Item = Wanted> {
    let header = &block.header;
    block.entries.iter().filter_map(move |entry| {
        let event = &entry.body.event;
        let (decision, wallet) = (event.decision()?, event.wallet()?);
        let (by, height, time) = (entry.body.author, header.height, header.time);
        let (tries, denials, is_again, due) = (0, 0, false, now + AGAIN_AFTER_MIN);
        Some(Wanted { by, decision, wallet, height, time, tries, denials, is_again, due })
    })
}

#[cfg(test)]
mod tests;
