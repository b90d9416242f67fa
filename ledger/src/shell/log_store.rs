//! The raft log on RocksDB: entries with their chain hash, and the raft vote.
//!
//! An entry is on the disk before `append` says so. Validators read it from there, before raft commits it: the
//! [`LogStore::flushed`] watch is raised where openraft's callback is called.

mod link;
mod port;
mod rows;
mod tail;

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use tokio::sync::watch;

pub use self::link::{Chained, Flushed, Link, chain_hash};
use self::{link::decode, rows::Inner, tail::Tail};
pub(crate) use self::{link::is_signed, port::blocking};
use super::{
    alarm::Alarm,
    disk::Disk,
    fault::Fault,
    raft::{RaftEntry, RaftLogId, RaftVote},
    store::{Batch, Store, number_key},
};
use crate::planted::planted;

const STORE: &str = "log";
const ENTRIES: &str = "entries";
const META: &str = "meta";
const VOTE: &[u8] = b"vote";
const PURGED: &[u8] = b"purged";
/// How many truncations there were.
const CUTS: &[u8] = b"cuts";
/// The raft log id of the final block, as far as the final store has it.
const FINAL: &[u8] = b"final";

/// Bytes of entries after which a read for replication ends: one request stays far below the codec's bound.
const READ_BYTES_MAX: usize = 4 << 20;

/// Entries and votes. Cheap to clone; all clones are one store.
#[derive(Clone)]
pub struct LogStore(Arc<Inner>);

impl LogStore {
    /// Opens or creates the log in `dir`.
    ///
    /// # Errors
    /// [`Fault`] if RocksDB refuses or the last entry is damaged.
    pub fn open(dir: impl Into<Disk>) -> Result<Self, Fault> {
        let store = Store::open(&dir.into(), STORE, &[ENTRIES, META])?;
        let purged: Option<Link> = store.get(META, PURGED)?;
        let last = match store.last(ENTRIES, &[], None)? {
            Some((key, value)) => {
                let stored = decode(&key, &value)?;
                Some(Link { log_id: stored.entry.log_id, chain: stored.chain })
            }
            None => purged,
        };
        let cuts_before = store.get(META, CUTS)?.unwrap_or_default();
        let tail = Tail {
            purged,
            begins: purged.map_or(0, |purged| purged.log_id.index + 1),
            last,
            cuts_before,
            cuts: Vec::new(),
            final_index: None,
            refused_a_cut: false,
            recent: VecDeque::new(),
        };
        let flushed = tail.flushed();
        Ok(Self(Arc::new(Inner {
            store,
            tail: Mutex::new(tail),
            to_note: Mutex::default(),
            flushed: watch::channel(flushed).0,
        })))
    }

    /// From now on `alarm` is raised when something of it cannot be read.
    pub(crate) fn watch_by(&self, alarm: &Alarm) {
        self.0.store.watch_by(alarm);
    }

    /// Tells of every append and every truncation that reached the disk.
    pub fn flushed(&self) -> watch::Receiver<Flushed> {
        self.0.flushed.subscribe()
    }

    /// How far the log is on the disk.
    pub fn end(&self) -> Flushed {
        *self.0.flushed.borrow()
    }

    /// The first index that a truncation after `generation` removed.
    pub fn cut_since(&self, generation: u64) -> Option<u64> {
        let tail = self.0.tail();
        let seen = usize::try_from(generation.saturating_sub(tail.cuts_before)).unwrap_or(usize::MAX);
        tail.cuts.iter().skip(seen).min().copied()
    }

    /// The last entry's place, if the log was ever written.
    pub fn last(&self) -> Option<Link> {
        self.0.tail().last
    }

    /// Where the log begins here: the last entry that is no longer kept, or never was.
    pub fn purged(&self) -> Option<Link> {
        self.0.tail().purged
    }

    /// The entry at `index`, if it is there.
    ///
    /// # Errors
    /// [`Fault`] if it is damaged.
    pub fn entry(&self, index: u64) -> Result<Option<Chained>, Fault> {
        let recent = self.0.tail().recent_from(index).next().cloned();
        if recent.is_some() {
            return Ok(recent);
        }
        match self.0.stored(index)? {
            // A cut may have come between.
            None => self.0.held(&self.0.tail(), index),
            found => Ok(found),
        }
    }

    /// The link at `index`, also where only the purged log's end is known.
    ///
    /// # Errors
    /// [`Fault`] if the entry is damaged.
    pub fn link(&self, index: u64) -> Result<Option<Link>, Fault> {
        let known = {
            let tail = self.0.tail();
            if tail.last.is_none_or(|last| last.log_id.index < index) {
                return Ok(None);
            }
            let ends = [tail.last, tail.purged].into_iter().flatten().find(|link| link.log_id.index == index);
            ends.or_else(|| tail.recent_from(index).next().map(Chained::link))
        };
        if known.is_some() {
            return Ok(known);
        }
        Ok(self.entry(index)?.map(|stored| stored.link()))
    }

    /// The entries from `from` to the end of what is on the disk, at most [`READ_BYTES_MAX`] at once but at least one.
    ///
    /// # Errors
    /// [`Fault`] if one is damaged.
    pub fn entries_from(&self, from: u64) -> Result<Vec<Chained>, Fault> {
        self.0.read(from, None, READ_BYTES_MAX)
    }

    /// Declares everything up to the entry `log_id` final: from here on nothing cuts it.
    ///
    /// # Errors
    /// [`Fault::Missing`] if the log does not hold it; [`Fault`] of the disk.
    pub fn set_final(&self, log_id: RaftLogId) -> Result<(), Fault> {
        let mut tail = self.0.tail();
        let held = match tail.recent_from(log_id.index).next() {
            Some(recent) => Some(recent.entry.log_id),
            None => self.0.held(&tail, log_id.index)?.map(|stored| stored.entry.log_id),
        };
        let held = held.or(tail.purged.map(|link| link.log_id));
        if held != Some(log_id) {
            return Err(Fault::Missing { store: STORE, what: format!("the block that became final at {log_id}") });
        }
        tail.final_index = tail.final_index.max(Some(log_id.index));
        Ok(())
    }

    /// Lets the next write to the log note which block is final, so that a final store that has gone back is noticed at the
    /// next start. The final store has it by then.
    pub fn note_final(&self, log_id: RaftLogId) {
        if !planted!(PointerNotWritten) {
            *self.0.to_note() = Some(log_id);
        }
    }

    /// What was noted last, see [`Self::note_final`].
    ///
    /// # Errors
    /// [`Fault`] if it is damaged.
    pub fn noted_final(&self) -> Result<Option<RaftLogId>, Fault> {
        self.0.store.get(META, FINAL)
    }

    /// Whether the log still has all that it had at `then`, but for what was cut from it.
    ///
    /// # Errors
    /// [`Fault`] if the last entry of then is damaged.
    pub fn has_all_of(&self, then: &Flushed) -> Result<bool, Fault> {
        let now = self.end();
        Ok(match then.last {
            // Each cut is written after what was there before it.
            Some(last) if now.generation == then.generation => self.link(last.log_id.index)? == Some(last),
            _ => now.generation >= then.generation,
        })
    }

    /// Whether openraft was refused a cut of what is final since somebody last asked. It takes that for an error of the
    /// disk.
    pub fn refused_a_cut(&self) -> bool {
        std::mem::take(&mut self.0.tail().refused_a_cut)
    }

    /// Removes the entry at `from` and all after it.
    ///
    /// # Errors
    /// [`Fault::CutsFinal`] at or below the final entry; [`Fault`] of the disk.
    pub fn cut(&self, from: u64) -> Result<(), Fault> {
        self.0.cut(from)
    }

    /// Writes the very first entry of the log.
    ///
    /// # Errors
    /// [`Fault`] of the disk, or if the log is not empty.
    pub fn append_first(&self, entry: RaftEntry) -> Result<(), Fault> {
        self.0.append(&[entry]).map(|flushed| self.0.raise(flushed))
    }

    /// Begins an empty log after an entry that is final and that only the others hold.
    ///
    /// # Errors
    /// [`Fault`] of the disk, or if the log is not empty.
    pub fn begin_after(&self, link: Link) -> Result<(), Fault> {
        let mut tail = self.0.tail();
        if let Some(last) = tail.last {
            return Err(Fault::NotConsecutive { last: Some(last.log_id.index), found: link.log_id.index });
        }
        let mut batch = Batch::default();
        batch.put(META, PURGED, &link);
        self.0.store.write(batch)?;
        tail.begin_after(link);
        tail.last = Some(link);
        let flushed = tail.flushed();
        drop(tail);
        self.0.raise(flushed);
        Ok(())
    }

    /// Drops all entries, and begins the log anew after one that is final from now on. openraft must not run then, nor
    /// anything else of the node.
    ///
    /// # Errors
    /// [`Fault`] of the disk.
    pub fn begin_anew_after(&self, link: Link) -> Result<(), Fault> {
        let mut tail = self.0.tail();
        let mut batch = Batch::default();
        batch.put(META, PURGED, &link);
        batch.delete_range(ENTRIES, &number_key(0), &number_key(u64::MAX));
        self.0.store.write(batch)?;
        tail.begin_after(link);
        (tail.last, tail.final_index) = (Some(link), None);
        tail.recent.clear();
        tail.cuts.push(0);
        let flushed = tail.flushed();
        drop(tail);
        self.0.raise(flushed);
        Ok(())
    }

    /// Writes entries after the last one, past openraft, which must not run then.
    ///
    /// # Errors
    /// [`Fault`] of the disk, or if they do not follow the last one.
    pub fn append_proven(&self, entries: Vec<RaftEntry>) -> Result<(), Fault> {
        self.0.append(&entries).map(|flushed| self.0.raise(flushed))
    }

    /// The raft vote on the disk.
    ///
    /// # Errors
    /// [`Fault`] if it is damaged.
    pub fn vote(&self) -> Result<Option<RaftVote>, Fault> {
        self.0.store.get(META, VOTE)
    }

    /// Puts the raft vote on the disk.
    ///
    /// # Errors
    /// [`Fault`] of the disk.
    pub fn set_vote(&self, vote: &RaftVote) -> Result<(), Fault> {
        let mut batch = Batch::default();
        batch.put(META, VOTE, vote);
        let _writing = self.0.tail();
        self.0.store.write(batch)
    }
}

#[cfg(test)]
mod tests;
