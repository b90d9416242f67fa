//! `from`, `count`, `next` and `size`: long lists in pages. Whoever wants the rest asks from `next`, until it is `size`.

use std::ops::Range;

use serde::Deserialize;
use serde_json::{Value, json};

/// Elements in one answer at most.
pub(super) const PAGE_MAX: usize = 256;

/// Which page is asked for.
#[derive(Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Page {
    #[serde(default)]
    from: u64,
    #[serde(default = "page_max")]
    count: usize,
}

const fn page_max() -> usize {
    PAGE_MAX
}

impl Page {
    /// How many elements it may have. Who asked for none would go on from the same place for ever.
    pub(super) fn count(self) -> usize {
        self.count.clamp(1, PAGE_MAX)
    }

    /// What it may look at of a list of this size.
    pub(super) fn range(self, size: u64) -> Range<u64> {
        self.from.min(size)..size
    }

    /// The page of a list that is in memory: its elements, and where the next one begins.
    pub(super) fn of<T>(self, list: Vec<T>) -> (Vec<T>, u64) {
        let Range { start, end } = self.range(list.len() as u64);
        let next = end.min(start.saturating_add(self.count() as u64));
        let start = usize::try_from(start).unwrap_or(usize::MAX);
        (list.into_iter().skip(start).take(self.count()).collect(), next)
    }
}

/// The answer.
pub(super) fn page(name: &str, elements: Vec<Value>, next: u64, size: u64) -> Value {
    json!({name: elements, "next": next, "size": size})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_each_other_to_the_end_whatever_is_asked_for() {
        for count in [0, 1, 2, 3, usize::MAX] {
            let (mut from, mut found) = (0, Vec::new());
            while from < 5 {
                let (some, next) = Page { from, count }.of((0..5).collect());
                assert!(next > from && some.len() as u64 == next - from, "{count} from {from}");
                found.extend(some);
                from = next;
            }
            assert_eq!(found, [0, 1, 2, 3, 4], "{count}");
        }
        assert_eq!(Page { from: u64::MAX, count: 1 }.of(vec![0]), (Vec::new(), 1));
        assert_eq!(Page { from: 0, count: 9 }.of(Vec::<u8>::new()), (Vec::new(), 0));
        assert_eq!(Page { from: 0, count: 1_000 }.of(vec![0; 300]).0.len(), PAGE_MAX);
    }
}
