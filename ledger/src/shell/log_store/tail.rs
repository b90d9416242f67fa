//! What is known of the log without reading the disk.

use std::collections::VecDeque;

use super::link::{Chained, Flushed, Link};

/// Entries that are kept in memory beside the disk, the last ones of the log. What is replicated, voted for and applied
/// is read again soon after it was written.
pub(super) const RECENT_MAX: usize = 32;

/// And as many bytes of them, but at least one.
const RECENT_BYTES_MAX: usize = 4 << 20;

/// What is known without reading the disk.
pub(super) struct Tail {
    pub(super) purged: Option<Link>,
    /// Index of the first entry that must be there, if there is one.
    pub(super) begins: u64,
    pub(super) last: Option<Link>,
    /// How many truncations there were before the start.
    pub(super) cuts_before: u64,
    /// Where each one since the start began.
    pub(super) cuts: Vec<u64>,
    /// Index of the last final entry: nothing at or below is ever cut.
    pub(super) final_index: Option<u64>,
    /// See [`LogStore::refused_a_cut`].
    pub(super) refused_a_cut: bool,
    /// The last entries as they are on the disk, at most [`RECENT_MAX`] and without a gap up to `last`.
    pub(super) recent: VecDeque<Chained>,
}

impl Tail {
    pub(super) fn forget_old(&mut self) {
        let mut bytes: usize = self.recent.iter().map(Chained::size).sum();
        while self.recent.len() > RECENT_MAX || (self.recent.len() > 1 && bytes > RECENT_BYTES_MAX) {
            bytes -= self.recent.pop_front().map_or(0, |old| old.size());
        }
    }

    /// The recent entries from `index` on; nothing if `index` is not one of them.
    pub(super) fn recent_from(&self, index: u64) -> impl Iterator<Item = &Chained> {
        let first = self.recent.front().map(Chained::index);
        let skipped =
            first.and_then(|first| index.checked_sub(first)).and_then(|skipped| usize::try_from(skipped).ok());
        self.recent.iter().skip(skipped.unwrap_or(usize::MAX))
    }

    /// Whether the log has an entry of this index.
    pub(super) fn holds(&self, index: u64) -> bool {
        index >= self.begins && self.last.is_some_and(|last| index <= last.log_id.index)
    }

    /// The log does not go back behind this entry any more.
    pub(super) fn begin_after(&mut self, link: Link) {
        (self.purged, self.begins) = (Some(link), link.log_id.index + 1);
    }

    pub(super) fn generation(&self) -> u64 {
        self.cuts_before + self.cuts.len() as u64
    }

    pub(super) fn flushed(&self) -> Flushed {
        Flushed { generation: self.generation(), last: self.last }
    }
}
