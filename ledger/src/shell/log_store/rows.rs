//! The rows of the log: what is written, cut, purged and read.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard},
};

use tokio::sync::watch;
use wallet::digest::Digest;

use super::{
    CUTS, ENTRIES, FINAL, META, PURGED, STORE,
    link::{Chained, Flushed, Link, chain_hash, decode},
    tail::{RECENT_MAX, Tail},
};
use crate::shell::{
    fault::Fault,
    raft::{RaftEntry, RaftLogId},
    store::{Batch, Scan, Store, number_key},
};

/// The log in RocksDB, and how far it is there.
pub(super) struct Inner {
    pub(super) store: Store,
    /// Held while writing, so that writes happen one after the other.
    pub(super) tail: Mutex<Tail>,
    /// See [`LogStore::note_final`](super::LogStore::note_final). Apart from the tail, which a writer holds while it waits for the disk.
    pub(super) to_note: Mutex<Option<RaftLogId>>,
    pub(super) flushed: watch::Sender<Flushed>,
}

impl Inner {
    pub(super) fn tail(&self) -> MutexGuard<'_, Tail> {
        // A writer that panicked left `tail` as it was before its write; the disk is checked at the next start.
        self.tail.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(super) fn to_note(&self) -> MutexGuard<'_, Option<RaftLogId>> {
        self.to_note.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// What is final is noted once with each write, whether or not that is new.
    pub(super) fn note_in(&self, batch: &mut Batch) {
        if let Some(log_id) = *self.to_note() {
            batch.put(META, FINAL, &log_id);
        }
    }

    /// The entry at `index` on the disk.
    pub(super) fn stored(&self, index: u64) -> Result<Option<Chained>, Fault> {
        let key = number_key(index);
        let bytes = self.store.get_bytes(ENTRIES, &key)?;
        self.store.noted(bytes.map(|bytes| decode(&key, &bytes)).transpose())
    }

    /// [`Self::stored`] while nobody writes: that there is nothing where the log has an entry is a fault.
    pub(super) fn held(&self, tail: &Tail, index: u64) -> Result<Option<Chained>, Fault> {
        match self.stored(index)? {
            None if tail.holds(index) => self.store.missing(format!("the entry at raft index {index}")),
            found => Ok(found),
        }
    }

    pub(super) fn append(&self, entries: &[RaftEntry]) -> Result<Flushed, Fault> {
        let mut tail = self.tail();
        let mut last = tail.last;
        let mut batch = Batch::default();
        let mut written = VecDeque::new();
        for entry in entries {
            let index = entry.log_id.index;
            if last.is_some_and(|last| index != last.log_id.index + 1) {
                return Err(Fault::NotConsecutive { last: last.map(|link| link.log_id.index), found: index });
            }
            let chain = chain_hash(last.map_or(Digest::ZERO, |link| link.chain), entry);
            batch.put(ENTRIES, &number_key(index), &(chain, entry));
            last = Some(Link { log_id: entry.log_id, chain });
            written.push_back(Chained { chain, entry: entry.clone() });
            if written.len() > RECENT_MAX {
                written.pop_front();
            }
        }
        self.note_in(&mut batch);
        self.store.write(batch)?;
        if let (None, Some(first)) = (tail.last, entries.first()) {
            tail.begins = first.log_id.index;
        }
        tail.last = last;
        tail.recent.extend(written);
        tail.forget_old();
        Ok(tail.flushed())
    }

    pub(super) fn cut(&self, from: u64) -> Result<(), Fault> {
        let mut tail = self.tail();
        if let Some(final_index) = tail.final_index.filter(|&final_index| from <= final_index) {
            return Err(Fault::CutsFinal { at: from, final_index });
        }
        let Some(last) = tail.last.filter(|last| from <= last.log_id.index) else { return Ok(()) };
        let before = match from.checked_sub(1) {
            Some(index) => self.held(&tail, index)?.map(|stored| stored.link()).or(tail.purged),
            None => None,
        };
        let mut batch = Batch::default();
        // From the back, one by one: suffixes are short, and range tombstones would slow every later read.
        for index in (from..=last.log_id.index).rev() {
            batch.delete(ENTRIES, &number_key(index));
        }
        batch.put(META, CUTS, &(tail.generation() + 1));
        self.note_in(&mut batch);
        self.store.write(batch)?;
        tail.last = before;
        tail.recent.retain(|recent| recent.entry.log_id.index < from);
        tail.cuts.push(from);
        let flushed = tail.flushed();
        drop(tail);
        self.raise(flushed);
        Ok(())
    }

    pub(super) fn purge(&self, upto: RaftLogId) -> Result<(), Fault> {
        let mut tail = self.tail();
        if tail.final_index.is_some_and(|final_index| upto.index > final_index) {
            return Err(Fault::Impossible(format!("purge of the raft log up to {upto}, above the final block")));
        }
        let stored = self.held(&tail, upto.index)?;
        let chain = stored.map_or_else(|| tail.last.map_or(Digest::ZERO, |link| link.chain), |stored| stored.chain);
        let link = Link { log_id: upto, chain };
        let mut batch = Batch::default();
        batch.put(META, PURGED, &link);
        batch.delete_range(ENTRIES, &number_key(0), &number_key(upto.index + 1));
        self.store.write(batch)?;
        tail.begin_after(link);
        tail.recent.retain(|recent| recent.entry.log_id.index > upto.index);
        if tail.last.is_none_or(|last| last.log_id.index <= upto.index) {
            tail.last = Some(link);
        }
        Ok(())
    }

    /// Entries with `from <= index < to`: at least one if there is one, then as many as fit into `bytes_max`.
    pub(super) fn read(&self, from: u64, to: Option<u64>, bytes_max: usize) -> Result<Vec<Chained>, Fault> {
        let mut entries = Vec::new();
        let mut bytes = 0;
        for recent in self.tail().recent_from(from).take_while(|recent| to.is_none_or(|to| recent.index() < to)) {
            bytes += recent.size();
            if !entries.is_empty() && bytes > bytes_max {
                break;
            }
            entries.push(recent.clone());
        }
        if !entries.is_empty() {
            return Ok(entries);
        }
        let to = to.map(number_key);
        self.store.scan(ENTRIES, &number_key(from), to.as_ref().map(|key| key.as_slice()), |key, value| {
            bytes += value.len();
            if !entries.is_empty() && bytes > bytes_max {
                return Ok(Scan::Stop);
            }
            let stored = decode(key, value)?;
            let after = entries.last().map_or(stored.index(), |last: &Chained| last.index().saturating_add(1));
            if stored.index() != after {
                return Err(Fault::Missing { store: STORE, what: format!("the entry at raft index {after}") });
            }
            entries.push(stored);
            Ok(Scan::More)
        })?;
        let begins = entries.first().is_some_and(|first| first.index() == from);
        if !begins && to.is_none_or(|to| number_key(from) < to) {
            // Either the log does not reach to `from`, or begins after it, or a row is gone.
            self.held(&self.tail(), from)?;
        }
        Ok(entries)
    }

    pub(super) fn raise(&self, flushed: Flushed) {
        self.flushed.send_replace(flushed);
    }
}
