//! What the validators that keep to the rules show.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::bench::ledger::consortium::NODES;

/// So long a liar is looked at that stays the leader.
const LOOK: Duration = Duration::from_secs(5);

/// What an honest validator shows from the lie's beginning on.
pub(super) struct Sight {
    began: Instant,
    last: Instant,
    longest_gap: Duration,
    /// When a block of a later leader was final.
    pub(super) recovered: Option<Duration>,
}

impl Sight {
    pub(super) const fn new(began: Instant) -> Self {
        Self { began, last: began, longest_gap: Duration::ZERO, recovered: None }
    }

    pub(super) fn sees_final(&mut self, at: Instant, is_of_later_leader: bool) {
        self.longest_gap = self.longest_gap.max(at - self.last);
        self.last = at;
        if is_of_later_leader && self.recovered.is_none() {
            self.recovered = Some(at - self.began);
        }
    }

    /// Whether there is nothing more to wait for: also where the liar still leads, after a while.
    pub(super) fn is_over(&self) -> bool {
        self.recovered.is_some() || self.last >= self.began + LOOK
    }

    pub(super) fn took(&self) -> Duration {
        if self.is_over() { self.recovered.unwrap_or(self.longest_gap) } else { self.began.elapsed() }
    }
}

/// What the validators that keep to the rules say is final.
#[derive(Default)]
pub(super) struct Chain {
    digests: BTreeMap<u64, String>,
    pub(super) heights: BTreeMap<u32, u64>,
    pub(super) is_forked: bool,
}

impl Chain {
    pub(super) fn takes(&mut self, node: u32, height: u64, digest: &str) {
        // A header names its parent, so who has the same one at a height has the same ones below it.
        let first = self.digests.entry(height).or_insert_with(|| digest.to_owned());
        self.is_forked |= first != digest;
        self.heights.insert(node, height);
    }

    /// Whether all validators are at one height, but for a block.
    pub(super) fn is_even(&self) -> bool {
        let (lowest, highest) = (self.heights.values().min(), self.heights.values().max());
        self.heights.len() == NODES as usize && lowest.zip(highest).is_some_and(|(low, high)| low + 1 >= *high)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sight_of(finals: &[(u64, bool)]) -> Sight {
        let began = Instant::now();
        let mut sight = Sight::new(began);
        for (ms, is_of_later_leader) in finals {
            sight.sees_final(began + Duration::from_millis(*ms), *is_of_later_leader);
        }
        sight
    }

    #[test]
    fn a_validator_is_served_again_by_the_first_block_of_a_later_leader() {
        let sight = sight_of(&[(100, false), (2_000, true), (2_100, true)]);
        assert!(sight.is_over());
        assert_eq!(sight.took(), Duration::from_millis(2_000), "what came under the liar does not count");
    }

    #[test]
    fn where_the_liar_stays_the_longest_gap_counts_also_the_one_that_is_open() {
        assert!(!sight_of(&[(1_000, false), (4_900, false)]).is_over(), "it may still be deposed");
        let sight = sight_of(&[(1_000, false), (1_200, false), (9_200, false)]);
        assert!(sight.is_over());
        assert_eq!(sight.took(), Duration::from_millis(8_000));
    }

    #[test]
    fn two_digests_of_one_height_are_a_fork() {
        let mut chain = Chain::default();
        (0..4).for_each(|node| chain.takes(node, 7, "a"));
        assert!(!chain.is_forked && chain.is_even());
        chain.takes(2, 8, "b");
        assert!(chain.is_even(), "one block is no distance");
        chain.takes(1, 8, "c");
        assert!(chain.is_forked);
        chain.takes(1, 9, "d");
        assert!(!chain.is_even());
    }
}
