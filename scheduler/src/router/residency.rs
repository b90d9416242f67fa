//! What one node holds, by its engine's notices.

use std::collections::{BTreeMap, HashMap};

use wallet::{digest::Digest, units::Timestamp};

/// Blocks that one node holds, in the order in which they were last reported.
#[derive(Clone, Debug, Default)]
pub(super) struct Residency {
    /// Only ever looked up, never iterated: its order is not the same in two runs.
    blocks: HashMap<Digest, Stamp>,
    /// Blocks by turn: least recently reported first.
    by_turn: BTreeMap<u64, Digest>,
    turn: u64,
}

#[derive(Clone, Copy, Debug)]
struct Stamp {
    turn: u64,
    at: Timestamp,
}

impl Residency {
    pub(super) fn holds(&self, hash: &Digest, expired_before: Timestamp) -> bool {
        self.blocks.get(hash).is_some_and(|stamp| stamp.at >= expired_before)
    }

    pub(super) fn store(&mut self, hash: Digest, at: Timestamp) {
        self.remove(&hash);
        let turn = self.turn;
        self.turn += 1;
        self.blocks.insert(hash, Stamp { turn, at });
        self.by_turn.insert(turn, hash);
    }

    pub(super) fn remove(&mut self, hash: &Digest) {
        if let Some(stamp) = self.blocks.remove(hash) {
            self.by_turn.remove(&stamp.turn);
        }
    }

    /// Forgets what has expired, and the least recently reported beyond `count_max`.
    pub(super) fn shrink(&mut self, count_max: u32, expired_before: Timestamp) {
        while let Some((_, &oldest)) = self.by_turn.first_key_value() {
            let fits = self.blocks.len() <= count_max as usize;
            if fits && self.holds(&oldest, expired_before) {
                break;
            }
            self.remove(&oldest);
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        assert_eq!(self.blocks.len(), self.by_turn.len());
        self.blocks.len()
    }
}
