//! The raft log on RocksDB: entries with their chain hash, and the raft vote.
//!
//! An entry is on the disk before `append` says so. Validators read it from there, before raft commits it: the
//! [`LogStore::flushed`] watch is raised where openraft's callback is called.

use std::{
    collections::VecDeque,
    fmt::Debug,
    ops::{Bound, RangeBounds},
    sync::{Arc, Mutex, MutexGuard},
};

use genesis::ValidatorSet;
use openraft::{
    AnyError, EntryPayload, LogState, OptionalSend, RaftLogReader, StorageError, StorageIOError,
    storage::{LogFlushed, RaftLogStorage},
};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use wallet::{
    codec,
    digest::{Digest, sha256},
};

use super::{
    alarm::Alarm,
    disk::Disk,
    fault::Fault,
    raft::{RaftEntry, RaftLogId, RaftVote, TypeConfig},
    store::{Batch, Scan, Store, key_number, number_key},
};
use crate::{block::Block, checks::Checks, planted::planted};

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

/// Entries that are kept in memory beside the disk, the last ones of the log. What is replicated, voted for and applied
/// is read again soon after it was written.
const RECENT_MAX: usize = 32;

/// And as many bytes of them, but at least one.
const RECENT_BYTES_MAX: usize = 32 << 20;

/// Entries and votes. Cheap to clone; all clones are one store.
#[derive(Clone)]
pub struct LogStore(Arc<Inner>);

struct Inner {
    store: Store,
    /// Held while writing, so that writes happen one after the other.
    tail: Mutex<Tail>,
    /// See [`LogStore::note_final`]. Apart from the tail, which a writer holds while it waits for the disk.
    to_note: Mutex<Option<RaftLogId>>,
    flushed: watch::Sender<Flushed>,
}

/// What is known without reading the disk.
struct Tail {
    purged: Option<Link>,
    /// Index of the first entry that must be there, if there is one.
    begins: u64,
    last: Option<Link>,
    /// How many truncations there were before the start.
    cuts_before: u64,
    /// Where each one since the start began.
    cuts: Vec<u64>,
    /// Index of the last final entry: nothing at or below is ever cut.
    final_index: Option<u64>,

    /// See [`LogStore::refused_a_cut`].
    refused_a_cut: bool,
    /// The last entries as they are on the disk, at most [`RECENT_MAX`] and without a gap up to `last`.
    recent: VecDeque<Chained>,
}

/// A place in the log and the hash of everything up to there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// The entry.
    pub log_id: RaftLogId,
    /// Hash over this entry and, through its predecessor's chain hash, over all before it.
    pub chain: Digest,
}

/// How far the log is on the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flushed {
    /// Raised by every truncation: an index of another generation may hold another entry now.
    pub generation: u64,
    /// The last entry on the disk.
    pub last: Option<Link>,
}

impl Flushed {
    /// Index of the last entry on the disk.
    pub fn index(&self) -> Option<u64> {
        self.last.map(|last| last.log_id.index)
    }
}

/// An entry as stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Chained {
    /// Chain hash at this entry.
    pub chain: Digest,
    /// The entry.
    pub entry: RaftEntry,
}

/// Chain hash of `entry` after a log with chain hash `before` (zero for the empty log).
///
/// It leaves out with which signature the leader proposed a block. A key can sign one header in many ways, and votes name
/// the header: else a leader could show two signatures, and logs with the same final blocks would part below them for
/// ever. Who takes entries from others checks that signature instead: see [`is_signed`].
pub fn chain_hash(before: Digest, entry: &RaftEntry) -> Digest {
    const DOMAIN: &str = "batchmind/v1/ledger/raft-chain";
    match &entry.payload {
        EntryPayload::Normal(block) => {
            let [head, rest] = block.without_proposal();
            sha256(DOMAIN, &[before.as_bytes(), &codec::encode(&entry.log_id), head, rest])
        }
        _ => sha256(DOMAIN, &[before.as_bytes(), &codec::encode(entry)]),
    }
}

/// Whether the leader that a block names signed its header; true of entries without a block. `validators` gives the set of
/// an epoch.
pub(crate) fn is_signed(
    entry: &RaftEntry,
    validators: &impl Fn(u64) -> Option<ValidatorSet>,
    checks: &dyn Checks,
) -> bool {
    let EntryPayload::Normal(packed) = &entry.payload else { return true };
    let Block { header, proposal, .. } = packed.block();
    let key = validators(header.view.epoch()).and_then(|validators| validators.key(header.leader));
    key.is_some_and(|key| header.is_proposed_by_with(&key, proposal, checks))
}

impl LogStore {
    /// Opens or creates the log in `dir`.
    ///
    /// # Errors
    /// [`Fault`] if RocksDB refuses or the last entry is damaged.
    pub fn open(dir: impl Into<Disk>) -> Result<Self, Fault> {
        let store = Store::open(&dir.into(), STORE, &[ENTRIES, META])?;
        let purged: Option<Link> = store.get(META, PURGED)?;
        let last = match store.last(ENTRIES)? {
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

impl Inner {
    fn tail(&self) -> MutexGuard<'_, Tail> {
        // A writer that panicked left `tail` as it was before its write; the disk is checked at the next start.
        self.tail.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn to_note(&self) -> MutexGuard<'_, Option<RaftLogId>> {
        self.to_note.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// What is final is noted once with each write, whether or not that is new.
    fn note_in(&self, batch: &mut Batch) {
        if let Some(log_id) = *self.to_note() {
            batch.put(META, FINAL, &log_id);
        }
    }

    /// The entry at `index` on the disk.
    fn stored(&self, index: u64) -> Result<Option<Chained>, Fault> {
        let key = number_key(index);
        let bytes = self.store.get_bytes(ENTRIES, &key)?;
        self.store.noted(bytes.map(|bytes| decode(&key, &bytes)).transpose())
    }

    /// [`Self::stored`] while nobody writes: that there is nothing where the log has an entry is a fault.
    fn held(&self, tail: &Tail, index: u64) -> Result<Option<Chained>, Fault> {
        match self.stored(index)? {
            None if tail.holds(index) => self.store.missing(format!("the entry at raft index {index}")),
            found => Ok(found),
        }
    }

    fn append(&self, entries: &[RaftEntry]) -> Result<Flushed, Fault> {
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

    fn cut(&self, from: u64) -> Result<(), Fault> {
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

    fn purge(&self, upto: RaftLogId) -> Result<(), Fault> {
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
    fn read(&self, from: u64, to: Option<u64>, bytes_max: usize) -> Result<Vec<Chained>, Fault> {
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

    fn raise(&self, flushed: Flushed) {
        self.flushed.send_replace(flushed);
    }
}

impl Chained {
    fn index(&self) -> u64 {
        self.entry.log_id.index
    }

    fn link(&self) -> Link {
        Link { log_id: self.entry.log_id, chain: self.chain }
    }

    /// About how many bytes it has on the disk.
    fn size(&self) -> usize {
        match &self.entry.payload {
            EntryPayload::Normal(block) => block.bytes().len(),
            _ => 0,
        }
    }
}

impl Tail {
    fn forget_old(&mut self) {
        let mut bytes: usize = self.recent.iter().map(Chained::size).sum();
        while self.recent.len() > RECENT_MAX || (self.recent.len() > 1 && bytes > RECENT_BYTES_MAX) {
            bytes -= self.recent.pop_front().map_or(0, |old| old.size());
        }
    }

    /// The recent entries from `index` on; nothing if `index` is not one of them.
    fn recent_from(&self, index: u64) -> impl Iterator<Item = &Chained> {
        let first = self.recent.front().map(Chained::index);
        let skipped =
            first.and_then(|first| index.checked_sub(first)).and_then(|skipped| usize::try_from(skipped).ok());
        self.recent.iter().skip(skipped.unwrap_or(usize::MAX))
    }

    /// Whether the log has an entry of this index.
    fn holds(&self, index: u64) -> bool {
        index >= self.begins && self.last.is_some_and(|last| index <= last.log_id.index)
    }

    /// The log does not go back behind this entry any more.
    fn begin_after(&mut self, link: Link) {
        (self.purged, self.begins) = (Some(link), link.log_id.index + 1);
    }

    fn generation(&self) -> u64 {
        self.cuts_before + self.cuts.len() as u64
    }

    fn flushed(&self) -> Flushed {
        Flushed { generation: self.generation(), last: self.last }
    }
}

fn decode(key: &[u8], bytes: &[u8]) -> Result<Chained, Fault> {
    let (chain, entry): (Digest, RaftEntry) =
        codec::decode(bytes).map_err(|error| Fault::undecodable(STORE, ENTRIES, key, error))?;
    if key_number(key) != Some(entry.log_id.index) {
        return Err(Fault::damaged(STORE, ENTRIES, key, "it names another index"));
    }
    Ok(Chained { chain, entry })
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> Result<Vec<RaftEntry>, StorageError<u64>> {
        let from = match range.start_bound() {
            Bound::Included(&index) => index,
            Bound::Excluded(&index) => index.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let to = match range.end_bound() {
            Bound::Included(&index) => Some(index.saturating_add(1)),
            Bound::Excluded(&index) => Some(index),
            Bound::Unbounded => None,
        };
        self.read(from, to, usize::MAX).await
    }

    async fn limited_get_log_entries(&mut self, from: u64, to: u64) -> Result<Vec<RaftEntry>, StorageError<u64>> {
        self.read(from, Some(to), READ_BYTES_MAX).await
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, StorageError<u64>> {
        let tail = self.0.tail();
        Ok(LogState {
            last_purged_log_id: tail.purged.map(|link| link.log_id),
            last_log_id: tail.last.map(|link| link.log_id),
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &RaftVote) -> Result<(), StorageError<u64>> {
        let (log, vote) = (self.clone(), *vote);
        blocking(move || log.set_vote(&vote)).await.map_err(|fault| StorageIOError::write_vote(any(&fault)).into())
    }

    async fn read_vote(&mut self) -> Result<Option<RaftVote>, StorageError<u64>> {
        self.vote().map_err(|fault| StorageIOError::read_vote(any(&fault)).into())
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<TypeConfig>) -> Result<(), StorageError<u64>>
    where
        I: IntoIterator<Item = RaftEntry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<RaftEntry> = entries.into_iter().collect();
        let inner = self.0.clone();
        let flushed = blocking(move || inner.append(&entries)).await.map_err(write_error)?;
        self.0.raise(flushed);
        callback.log_io_completed(Ok(()));
        Ok(())
    }

    async fn truncate(&mut self, log_id: RaftLogId) -> Result<(), StorageError<u64>> {
        let inner = self.0.clone();
        let cut = blocking(move || {
            let cut = inner.cut(log_id.index);
            inner.tail().refused_a_cut |= matches!(cut, Err(Fault::CutsFinal { .. }));
            cut
        });
        cut.await.map_err(write_error)
    }

    async fn purge(&mut self, log_id: RaftLogId) -> Result<(), StorageError<u64>> {
        let inner = self.0.clone();
        blocking(move || inner.purge(log_id)).await.map_err(write_error)
    }
}

impl LogStore {
    async fn read(&self, from: u64, to: Option<u64>, bytes_max: usize) -> Result<Vec<RaftEntry>, StorageError<u64>> {
        let inner = self.0.clone();
        let entries = blocking(move || inner.read(from, to, bytes_max))
            .await
            .map_err(|fault| StorageError::from(StorageIOError::read_logs(any(&fault))))?;
        Ok(entries.into_iter().map(|stored| stored.entry).collect())
    }
}

/// Runs disk work where it may block.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Fault> + Send + 'static,
) -> Result<T, Fault> {
    #[cfg(any(test, feature = "testing"))]
    if super::simulated::is_on() {
        tokio::time::sleep(super::simulated::disk_latency()).await;
        return work();
    }
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(Fault::Stopped),
    }
}

fn write_error(fault: Fault) -> StorageError<u64> {
    StorageIOError::write_logs(any(&fault)).into()
}

pub(crate) fn any(fault: &Fault) -> AnyError {
    AnyError::error(fault)
}

#[cfg(test)]
mod tests;
