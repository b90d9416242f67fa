//! Entries that a leader passes over: it makes blocks, and leaves them out.
//!
//! Blocks with the entries of others are progress, so they keep the view timer from running out. Therefore each node
//! judges the leader by the entries that wait here, its own and those that their authors showed it because they wait. A
//! block of the leader that becomes final passes over an entry if all of this is so:
//!
//! - the entry was sent to this leader, and its author sent it more than once, or it is another node's;
//! - the final state with the block takes it, so no rule refuses it;
//! - the block came here in time. A node that is behind sees blocks that were made before it sent the entry;
//! - the block has room: at most half of what a block may hold. The queue of an honest leader is then empty, or as much
//!   was taken from it as a block may hold.
//!
//! A fuller block is an excuse. There are [`EXCUSES_PER_NODE`] of them for each node of the consortium: what one author
//! may have in a leader's queue fills one block at most in number and one in bytes, and at least half of each block comes
//! from the queue, in its order. The exception is a block with entries of the same author. Who sends more than the
//! leader's queue takes of one author has to wait for itself.
//!
//! After [`BLOCKS_MIN`] such blocks in a row the voter is told since when. It gives up the term when its patience ends,
//! whatever else became final meanwhile. Others are told of an entry when it waits for longer than [`SEND_AGAIN`], so all
//! of them judge alike, and f + 1 that complain are joined by all.

use std::{collections::BTreeSet, time::Duration};

use tokio::time::Instant;
use wallet::{digest::Digest, units::NodeId};

use super::{sending::SEND_AGAIN, validator::Validator};
use crate::{
    block::Block,
    event::Entry,
    execute::{BLOCK_BYTES_MAX, BLOCK_ENTRIES_MAX},
};

/// So many blocks in a row must pass over an entry. The first may have been proposed before the entry arrived, and the
/// second right after that. The third stands on one that became final while the leader had the entry.
const BLOCKS_MIN: u32 = 3;

/// See the module.
const EXCUSES_PER_NODE: u32 = 4;

/// A block that became final, as who waits for an entry that is not in it sees it.
pub(crate) struct Judged {
    term: u64,
    is_timely: bool,
    /// Whose entries it has, if it is more than half full.
    full_of: Option<BTreeSet<NodeId>>,
    /// How often its leader is excused by a full block.
    excuses_max: u32,
}

impl Judged {
    fn new(block: &Block, is_timely: bool, nodes: usize) -> Self {
        let bytes: usize = block.entries.iter().map(|entry| entry.bytes().len()).sum();
        let is_full = block.entries.len() > BLOCK_ENTRIES_MAX / 2 || bytes > BLOCK_BYTES_MAX / 2;
        let authors = || block.entries.iter().map(|entry| entry.body.author).collect();
        let nodes = u32::try_from(nodes).unwrap_or(u32::MAX);
        Self {
            term: block.header.view.term,
            is_timely,
            full_of: is_full.then(authors),
            excuses_max: nodes.saturating_mul(EXCUSES_PER_NODE),
        }
    }
}

/// What the leader of a term did with an entry.
#[derive(Default)]
pub(crate) struct Treatment {
    term: u64,
    /// By how many full blocks it was excused.
    excuses: u32,
    /// Since when blocks passed over it, and how many.
    passed: Option<(Instant, u32)>,
}

impl Treatment {
    /// A block became final without the entry, which is of `author`, and which the final state takes or not. Since when
    /// the leader passes over it.
    pub(crate) fn note(&mut self, block: &Judged, author: NodeId, applies: bool, now: Instant) -> Option<Instant> {
        if block.term != self.term {
            *self = Self { term: block.term, ..Self::default() };
        }
        let is_excused = match &block.full_of {
            None => false,
            Some(authors) if authors.contains(&author) => true,
            Some(_) => {
                self.excuses = self.excuses.saturating_add(1);
                self.excuses <= block.excuses_max
            }
        };
        if is_excused || !applies || !block.is_timely {
            self.passed = None;
            return None;
        }
        let (since, blocks) = self.passed.unwrap_or((now, 0));
        self.passed = Some((since, blocks.saturating_add(1)));
        // If the leader refused it before it applied, it has it again by then.
        (blocks + 1 >= BLOCKS_MIN).then_some(since + SEND_AGAIN)
    }
}

impl Validator {
    /// Whether a block comes while its time is near, as the vote asks of one that is new.
    pub(super) fn is_timely(&self, block: &Block) -> bool {
        let behind_ms = self.shared.consortium.parameters().clock_behind_ms;
        block.header.time.get().saturating_add(behind_ms) >= self.shared.clock.now().get()
    }

    /// Judges the leader of a block that became final by what waits here and is not in it.
    pub(super) fn judge_leader(&mut self, block: &Block, is_timely: bool) {
        let shared = &self.shared;
        let late = if block.header.leader == shared.me { Vec::new() } else { shared.outbox.late() };
        let since = (!late.is_empty()).then(|| {
            let applies = |entry: &Entry| (entry.id(), shared.applies(entry));
            let late: Vec<(Digest, bool)> = late.iter().map(applies).collect();
            shared.outbox.judge(&Judged::new(block, is_timely, shared.consortium.nodes().len()), &late)
        });
        let since: Option<Duration> = since.flatten().map(|since| since.saturating_duration_since(self.steady));
        self.passed_over = (block.header.view.term, since);
    }
}
