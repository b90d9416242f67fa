//! States that a node keeps for those who join.
//!
//! A newcomer takes one state in parts from several nodes, for minutes. So all nodes keep the same ones: that after the
//! first block of every interval of block time. What a later block changed is kept twice then, and nothing else: at most
//! as many more trees as there are pins.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use wallet::units::BlockHeight;

use crate::{execute::Executed, snapshot::STATES_MAX};

/// The length of an interval, in ms of block time.
const INTERVAL_MS: u64 = 300_000;
/// How many are kept: so a state can be fetched for two intervals at least.
const PINS_MAX: usize = 3;

const _: () = assert!(PINS_MAX <= STATES_MAX);

/// The last pinned states, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct Pins(Mutex<VecDeque<Arc<Executed>>>);

impl Pins {
    /// Those of a node that starts: what it has is all that it can hand out for now.
    pub(crate) fn new(tip: &Arc<Executed>) -> Self {
        let pins = Self::default();
        if tip.height > BlockHeight::ZERO {
            pins.lock().push_back(tip.clone());
        }
        pins
    }

    /// A block became final.
    pub(crate) fn note(&self, before: &Executed, now: &Arc<Executed>) {
        if before.time.get() / INTERVAL_MS != now.time.get() / INTERVAL_MS {
            let mut pins = self.lock();
            pins.push_back(now.clone());
            while pins.len() > PINS_MAX {
                pins.pop_front();
            }
        }
    }

    /// The state after the block of a height, if it is pinned.
    pub(crate) fn at(&self, height: BlockHeight) -> Option<Arc<Executed>> {
        self.lock().iter().find(|pin| pin.height == height).cloned()
    }

    /// The pinned heights, ascending.
    pub(crate) fn heights(&self) -> Vec<BlockHeight> {
        self.lock().iter().map(|pin| pin.height).collect()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Arc<Executed>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use wallet::units::Timestamp;

    use super::*;
    use crate::testing::consortium;

    fn state(height: u64, time: u64) -> Arc<Executed> {
        let (height, time) = (BlockHeight::new(height), Timestamp::new(time));
        Arc::new(Executed { height, time, ..Executed::genesis(&consortium(1)) })
    }

    fn heights(pins: &Pins) -> Vec<u64> {
        pins.heights().iter().map(|height| height.get()).collect()
    }

    #[test]
    fn nodes_that_started_at_different_times_pin_the_same_blocks() {
        let blocks: Vec<_> = (1..=40).map(|height| state(height, height * INTERVAL_MS / 4)).collect();
        let [early, late] = [0, 19].map(|from| {
            let pins = Pins::new(&state(0, 0));
            blocks[from..].windows(2).for_each(|pair| pins.note(&pair[0], &pair[1]));
            pins
        });
        assert_eq!(heights(&early), [32, 36, 40], "the first block of each interval, the last three");
        assert_eq!(heights(&late), heights(&early));
        assert!(early.at(BlockHeight::new(36)).is_some() && early.at(BlockHeight::new(28)).is_none());
    }

    #[test]
    fn a_node_that_starts_pins_what_it_has_and_nothing_at_genesis() {
        assert_eq!(heights(&Pins::new(&state(0, 7))), [0; 0]);
        assert_eq!(heights(&Pins::new(&state(5, 7))), [5]);
    }
}
