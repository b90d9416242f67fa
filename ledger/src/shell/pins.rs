//! States that a node keeps for those who join.
//!
//! A newcomer takes one state in parts from several nodes, for minutes. So all nodes keep the same ones: that after the
//! first block of every interval of block time. What a later block changed is kept twice then, and nothing else: at most
//! as many more trees as there are pins.
//!
//! To free a state takes time: all that changed since. The thread that votes hands those that are no longer pinned to a task.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::mpsc;
use wallet::units::BlockHeight;

use super::log_store::blocking;
use crate::{execute::Executed, snapshot::STATES_MAX};

/// The length of an interval, in ms of block time.
const INTERVAL_MS: u64 = 300_000;
/// How many are kept: so a state can be fetched for two intervals at least.
const PINS_MAX: usize = 3;

const _: () = assert!(PINS_MAX <= STATES_MAX);

/// The last pinned states.
#[derive(Debug)]
pub(crate) struct Pins {
    /// The oldest first.
    pinned: Mutex<VecDeque<Arc<Executed>>>,
    let_go: mpsc::UnboundedSender<Arc<Executed>>,
}

/// What is no longer pinned, for [`free`].
pub(crate) type LetGo = mpsc::UnboundedReceiver<Arc<Executed>>;

/// Frees what is no longer pinned, where that may take time.
pub(crate) async fn free(mut let_go: LetGo) {
    while let Some(state) = let_go.recv().await {
        // It cannot fail: nothing is written.
        let _ = blocking(move || {
            drop(state);
            Ok(())
        })
        .await;
    }
}

impl Pins {
    /// Those of a node that starts: what it has is all that it can hand out for now.
    pub(crate) fn new(tip: &Arc<Executed>) -> (Self, LetGo) {
        let (let_go, freed) = mpsc::unbounded_channel();
        let pins = Self { pinned: Mutex::default(), let_go };
        if tip.height > BlockHeight::ZERO {
            pins.lock().push_back(tip.clone());
        }
        (pins, freed)
    }

    /// A block became final.
    pub(crate) fn note(&self, before: &Executed, now: &Arc<Executed>) {
        if before.time.get() / INTERVAL_MS != now.time.get() / INTERVAL_MS {
            let mut pins = self.lock();
            pins.push_back(now.clone());
            while pins.len() > PINS_MAX
                && let Some(oldest) = pins.pop_front()
            {
                // An error means that the replica shuts down.
                let _ = self.let_go.send(oldest);
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
        self.pinned.lock().unwrap_or_else(PoisonError::into_inner)
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
            let (pins, _) = Pins::new(&state(0, 0));
            blocks[from..].windows(2).for_each(|pair| pins.note(&pair[0], &pair[1]));
            pins
        });
        assert_eq!(heights(&early), [32, 36, 40], "the first block of each interval, the last three");
        assert_eq!(heights(&late), heights(&early));
        assert!(early.at(BlockHeight::new(36)).is_some() && early.at(BlockHeight::new(28)).is_none());
    }

    #[test]
    fn a_node_that_starts_pins_what_it_has_and_nothing_at_genesis() {
        assert_eq!(heights(&Pins::new(&state(0, 7)).0), [0; 0]);
        assert_eq!(heights(&Pins::new(&state(5, 7)).0), [5]);
    }

    #[tokio::test]
    async fn a_state_that_is_no_longer_pinned_is_freed_by_the_task_and_not_by_who_votes() {
        let (pins, let_go) = Pins::new(&state(0, 0));
        let oldest = {
            let mut blocks = (0..=PINS_MAX as u64 + 1).map(|height| state(height, height * INTERVAL_MS));
            let mut before = blocks.next().expect("many");
            let oldest = Arc::downgrade(&blocks.next().inspect(|first| pins.note(&before, first)).expect("many"));
            for block in blocks {
                pins.note(&before, &block);
                before = block;
            }
            oldest
        };
        assert_eq!(heights(&pins).len(), PINS_MAX);
        assert!(oldest.upgrade().is_some(), "whoever voted did not free it");
        drop(pins);
        free(let_go).await;
        assert!(oldest.upgrade().is_none());
    }
}
