//! The promises that this node got: found by an entry that they name, and by the block for which they are. Each final block
//! asks for its own, so nothing here looks through all of them.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use wallet::digest::Digest;

use super::Named;
use crate::{
    block::View,
    evidence::{Promise, SignedPromise},
};

/// Promises that an author keeps at most.
pub(super) const KEPT_MAX: usize = 4096;

/// A promise that this node got, with the entries that it names.
pub(super) struct Kept {
    pub(super) promise: SignedPromise,
    pub(super) entries: Vec<Named>,
}

impl Kept {
    /// The block at which the entries have to be there.
    fn due(&self) -> View {
        let Promise { term, through, .. } = self.promise.statement;
        View { term, number: through }
    }
}

/// The last ones, each under a number that rises.
#[derive(Default)]
pub(super) struct KeptPromises {
    next: u64,
    kept: BTreeMap<u64, Arc<Kept>>,
    by_entry: BTreeSet<(Digest, u64)>,
    /// Those that were not compared with their block yet, and whose block is not over.
    due: BTreeSet<(View, u64)>,
}

impl KeptPromises {
    /// Keeps one more, in place of the oldest.
    pub(super) fn add(&mut self, kept: Kept) {
        if self.kept.len() >= KEPT_MAX
            && let Some((number, oldest)) = self.kept.pop_first()
        {
            self.due.remove(&(oldest.due(), number));
            for named in &oldest.entries {
                self.by_entry.remove(&(named.id, number));
            }
        }
        let number = self.next;
        self.next += 1;
        self.due.insert((kept.due(), number));
        self.by_entry.extend(kept.entries.iter().map(|named| (named.id, number)));
        self.kept.insert(number, Arc::new(kept));
    }

    /// Those that name the entry `id`: of the last leader first, and of each for the earliest block first.
    pub(super) fn of_entry(&self, id: &Digest) -> Vec<Arc<Kept>> {
        let numbers = self.by_entry.range((*id, 0)..=(*id, u64::MAX));
        let mut found: Vec<Arc<Kept>> = numbers.filter_map(|(_, number)| self.kept.get(number)).cloned().collect();
        found.sort_by_key(|kept| {
            let View { term, number } = kept.due();
            (Reverse(term), number)
        });
        found
    }

    /// Those for the block of `view`, once. Those for views before it are not due any more either.
    pub(super) fn take_due(&mut self, view: View) -> Vec<Arc<Kept>> {
        let mut of_view = Vec::new();
        while let Some(first) = self.due.first().filter(|(due, _)| *due <= view).copied() {
            self.due.remove(&first);
            let (due, number) = first;
            of_view.extend(self.kept.get(&number).filter(|_| due == view).cloned());
        }
        of_view
    }

    /// How many wait for their block, and the first block of `term` for which one does.
    pub(super) fn waiting(&self, term: u64) -> (usize, Option<u64>) {
        let first = self.due.range((View { term, number: 0 }, 0)..).next();
        (self.due.len(), first.filter(|(due, _)| due.term == term).map(|(due, _)| due.number))
    }

    /// How many there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.kept.len()
    }

    /// How many rows its indices have.
    #[cfg(test)]
    pub(super) fn rows(&self) -> (usize, usize) {
        (self.by_entry.len(), self.due.len())
    }
}
