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
}

/// The answer.
pub(super) fn page(name: &str, elements: Vec<Value>, next: u64, size: u64) -> Value {
    json!({name: elements, "next": next, "size": size})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_lies_in_its_list_and_goes_on_whatever_is_asked_for() {
        for (count, least, most) in [(0, 1, 1), (1, 1, 1), (3, 3, 3), (usize::MAX, PAGE_MAX, PAGE_MAX)] {
            assert!((least..=most).contains(&Page { from: 0, count }.count()), "{count}");
        }
        for (from, expected) in [(0, 0..5), (3, 3..5), (5, 5..5), (u64::MAX, 5..5)] {
            assert_eq!(Page { from, count: 1 }.range(5), expected, "{from}");
        }
    }
}
