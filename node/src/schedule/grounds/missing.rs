//! Which decisions are still to be asked for, by who made them, and up to which height none is missing.
//!
//! Of each node only a few are waited for at a time. Where it names more, its offers are read again from there once there
//! is room, in turn with the others': so nothing is forgotten, the past of a node that joined is taken as fast as it is
//! answered, and who names what nobody hands out does not delay what others made. It does hold the height up to which none
//! is missing, which is one for all: after a restart the blocks above are read again, and what was given up there is asked
//! for again.

use std::{
    collections::BTreeMap,
    ops::Bound::{Excluded, Unbounded},
    time::Duration,
};

use ledger::{block::Block, event::Event};
use tokio::time::Instant;
use wallet::{
    digest::Digest,
    grant::WalletAddress,
    units::{BlockHeight, NodeId, Timestamp},
};

/// When a decision is asked for after an offer named it: it is anchored by then. Doubles up to [`AGAIN_AFTER_MAX`].
const AGAIN_AFTER_MIN: Duration = Duration::from_secs(4);
const AGAIN_AFTER_MAX: Duration = Duration::from_secs(300);
/// How long after the offer a decision is asked for, by the times of blocks, in ms; and how often at least half of the other
/// nodes answered without it, which counts for what a node reads that was away for longer.
const ASKED_FOR_MS: u64 = 24 * 60 * 60 * 1000;
const DENIALS_MIN: u32 = 8;
/// While so many decisions of one node are waited for, no further block is searched for its offers.
const WANTED_MAX: usize = 256;

/// A decision that an offer names.
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
    due: Instant,
}

/// Blocks that are to be read again for the offers of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unread {
    pub(super) by: NodeId,
    pub(super) from: BlockHeight,
    pub(super) to: BlockHeight,
}

/// What is missing of the decisions of all others.
pub(super) struct Missing {
    me: NodeId,
    of: BTreeMap<NodeId, OfOne>,
    read: BlockHeight,
    /// For whose offers blocks were read again last: the next turn is another's.
    turn: NodeId,
}

/// What is missing of one node's decisions.
#[derive(Default)]
struct OfOne {
    waiting: Vec<Wanted>,
    /// At most one is asked for at a time: a silent node holds up nobody else's.
    asked: Option<Wanted>,
    /// There was no room for its offers from this height on.
    unread: Option<BlockHeight>,
}

impl OfOne {
    fn wanted(&self) -> impl Iterator<Item = &Wanted> {
        self.waiting.iter().chain(&self.asked)
    }
}

impl Missing {
    /// Nothing is missing up to `read` of what others than `me` decided.
    pub(super) fn after(read: BlockHeight, me: NodeId) -> Self {
        Self { me, of: BTreeMap::new(), read, turn: me }
    }

    /// Takes up what the next block names.
    pub(super) fn read(&mut self, block: &Block, now: Instant) {
        let height = block.header.height;
        let mut named: BTreeMap<NodeId, Vec<Wanted>> = BTreeMap::new();
        // Its own log is this node's to keep.
        for wanted in offers(block, now).filter(|wanted| wanted.by != self.me) {
            named.entry(wanted.by).or_default().push(wanted);
        }
        for (by, wanted) in named {
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
        of.waiting.extend(offers(block, now).filter(|wanted| wanted.by == by));
        of.unread = block.header.height.next().filter(|next| *next <= self.read);
        of.unread.is_some() && of.wanted().count() < WANTED_MAX
    }

    /// When somebody is to be asked next.
    pub(super) fn due(&self) -> Option<Instant> {
        let free = self.of.values().filter(|of| of.asked.is_none());
        free.flat_map(|of| &of.waiting).map(|wanted| wanted.due).min()
    }

    /// What is to be asked for now.
    pub(super) fn ask(&mut self, now: Instant) -> Vec<Wanted> {
        let free = self.of.values_mut().filter(|of| of.asked.is_none());
        free.filter_map(|of| {
            let at = of.waiting.iter().position(|wanted| wanted.due <= now)?;
            of.asked = Some(of.waiting.swap_remove(at));
            of.asked
        })
        .collect()
    }

    /// What is asked for of this node came, or is nothing to keep.
    pub(super) fn found(&mut self, by: NodeId) {
        self.of.entry(by).or_default().asked = None;
    }

    /// What is asked for of this node did not come. It is asked for again, unless that was done for long: then it is given
    /// up. `is_denied` if at least half of the others answered: where nobody could be reached, nobody said that it is gone.
    /// `time` is the last block's.
    pub(super) fn not_found(&mut self, by: NodeId, is_denied: bool, time: Timestamp, now: Instant) {
        let of = self.of.entry(by).or_default();
        let Some(mut wanted) = of.asked.take() else { return };
        wanted.tries = wanted.tries.saturating_add(1);
        wanted.denials = wanted.denials.saturating_add(is_denied.into());
        if time.get().saturating_sub(wanted.time.get()) > ASKED_FOR_MS && wanted.denials >= DENIALS_MIN {
            let decision = wanted.decision;
            tracing::warn!(node = %by, %decision, "nobody hands out this decision: given up");
            return;
        }
        wanted.due = now + AGAIN_AFTER_MAX.min(AGAIN_AFTER_MIN * (1 << wanted.tries.min(7)));
        of.waiting.push(wanted);
    }

    /// Up to there nothing is missing.
    pub(super) fn complete_to(&self) -> BlockHeight {
        let wanted = self.of.values().flat_map(OfOne::wanted).map(|wanted| wanted.height);
        let first = wanted.chain(self.of.values().filter_map(|of| of.unread)).min();
        first.map_or(self.read, |height| BlockHeight::new(height.get().saturating_sub(1)))
    }
}

/// The decisions that a block's offers name.
fn offers(block: &Block, now: Instant) -> impl Iterator<Item = Wanted> {
    let header = &block.header;
    block.entries.iter().filter_map(move |entry| {
        let Event::MigrationOffered(offer) = &entry.body.event else { return None };
        let (by, due) = (entry.body.author, now + AGAIN_AFTER_MIN);
        let (decision, wallet) = (offer.decision, offer.wallet);
        Some(Wanted { by, decision, wallet, height: header.height, time: header.time, tries: 0, denials: 0, due })
    })
}

#[cfg(test)]
mod tests;
