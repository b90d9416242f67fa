//! Entries on their way: the author's outbox, the leader's queue, and which entries stand in blocks that are not final.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::{Notify, watch};
use wallet::{digest::Digest, units::NodeId};

use super::transport::{ENTRIES_MAX, SubmitReply};
use crate::{event::Entry, refusal::Refusal};

/// Entries that one author may have in the leader's queue.
const QUEUED_PER_AUTHOR_MAX: usize = 4096;

/// Refused entries whose refusal is remembered.
const REFUSED_KEPT: usize = 4096;

/// What this node submitted and what is neither final nor refused, in the order of submission. It is sent again until
/// one of both is true, so no leader's loss or lie loses it; a restart of this node does.
#[derive(Default)]
pub(crate) struct Outbox {
    open: Mutex<Open>,
    refused: Mutex<Refused>,
    /// Raised with each refusal.
    pub(crate) refusals: watch::Sender<u64>,
    /// Told of each new entry.
    pub(crate) added: Notify,
}

#[derive(Default)]
struct Open {
    entries: BTreeMap<u64, Outgoing>,
    numbers: HashMap<Digest, u64>,
    next_number: u64,
}

struct Outgoing {
    id: Digest,
    entry: Entry,
    sent: Option<Instant>,
}

#[derive(Default)]
struct Refused {
    by_id: HashMap<Digest, Refusal>,
    order: VecDeque<Digest>,
}

/// An entry to send now.
pub(crate) struct Due {
    pub(crate) id: Digest,
    pub(crate) entry: Entry,
    pub(crate) sent_before: bool,
}

impl Outbox {
    pub(crate) fn add(&self, id: Digest, entry: Entry) {
        let mut open = lock(&self.open);
        if !open.numbers.contains_key(&id) {
            let number = open.next_number;
            open.next_number += 1;
            open.numbers.insert(id, number);
            open.entries.insert(number, Outgoing { id, entry, sent: None });
        }
        drop(open);
        self.added.notify_one();
    }

    pub(crate) fn holds(&self, id: &Digest) -> bool {
        lock(&self.open).numbers.contains_key(id)
    }

    pub(crate) fn len(&self) -> usize {
        lock(&self.open).entries.len()
    }

    /// Entries to send now: new ones, and those sent longer ago than `again`.
    pub(crate) fn due(&self, again: Duration) -> Vec<Due> {
        let now = Instant::now();
        let mut open = lock(&self.open);
        let is_due = |out: &&mut Outgoing| out.sent.is_none_or(|sent| now.duration_since(sent) >= again);
        let due = open.entries.values_mut().filter(is_due).take(ENTRIES_MAX);
        due.map(|out| Due { id: out.id, entry: out.entry.clone(), sent_before: out.sent.replace(now).is_some() })
            .collect()
    }

    /// Sends everything anew: the leader changed.
    pub(crate) fn forget_sent(&self) {
        lock(&self.open).entries.values_mut().for_each(|out| out.sent = None);
        self.added.notify_one();
    }

    /// These are final.
    pub(crate) fn settle(&self, entries: &[Entry]) {
        let mut open = lock(&self.open);
        if !open.entries.is_empty() {
            entries.iter().for_each(|entry| open.remove(&entry.id()));
        }
    }

    pub(crate) fn refuse(&self, id: Digest, refusal: Refusal) {
        lock(&self.open).remove(&id);
        let mut refused = lock(&self.refused);
        if refused.by_id.insert(id, refusal).is_none() {
            refused.order.push_back(id);
        }
        if refused.order.len() > REFUSED_KEPT
            && let Some(oldest) = refused.order.pop_front()
        {
            refused.by_id.remove(&oldest);
        }
        drop(refused);
        self.refusals.send_modify(|count| *count += 1);
    }

    pub(crate) fn refusal(&self, id: &Digest) -> Option<Refusal> {
        lock(&self.refused).by_id.get(id).cloned()
    }
}

impl Open {
    fn remove(&mut self, id: &Digest) {
        if let Some(number) = self.numbers.remove(id) {
            self.entries.remove(&number);
        }
    }
}

/// What the leader will put into blocks, in the order of arrival, each entry once.
#[derive(Default)]
pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    filled: Notify,
}

#[derive(Default)]
struct Waiting {
    entries: VecDeque<Entry>,
    ids: HashSet<Digest>,
    by_author: HashMap<NodeId, usize>,
}

impl Queue {
    /// Adds the entries that are not queued yet.
    pub(crate) fn push(&self, entries: Vec<Entry>) -> SubmitReply {
        let mut waiting = lock(&self.waiting);
        for entry in entries {
            let (id, author) = (entry.id(), entry.body.author);
            if waiting.ids.contains(&id) {
                continue;
            }
            let queued = waiting.by_author.entry(author).or_default();
            if *queued >= QUEUED_PER_AUTHOR_MAX {
                return SubmitReply::Full;
            }
            *queued += 1;
            waiting.ids.insert(id);
            waiting.entries.push_back(entry);
        }
        self.filled.notify_one();
        SubmitReply::Queued
    }

    pub(crate) fn take(&self, count: usize) -> Vec<Entry> {
        let mut waiting = lock(&self.waiting);
        let count = count.min(waiting.entries.len());
        let taken: Vec<Entry> = waiting.entries.drain(..count).collect();
        for entry in &taken {
            waiting.ids.remove(&entry.id());
            if let Some(queued) = waiting.by_author.get_mut(&entry.body.author) {
                *queued = queued.saturating_sub(1);
            }
        }
        taken
    }

    /// Puts entries back to the front, in their order.
    pub(crate) fn put_back(&self, entries: Vec<Entry>) {
        let mut waiting = lock(&self.waiting);
        for entry in entries.into_iter().rev() {
            if waiting.ids.insert(entry.id()) {
                *waiting.by_author.entry(entry.body.author).or_default() += 1;
                waiting.entries.push_front(entry);
            }
        }
    }

    pub(crate) async fn wait_for_entries(&self) {
        loop {
            let filled = self.filled.notified();
            if !lock(&self.waiting).entries.is_empty() {
                return;
            }
            filled.await;
        }
    }
}

/// The entries of blocks that are in the raft log but not final.
#[derive(Default)]
pub(crate) struct Ordered(Mutex<BTreeMap<u64, HashSet<Digest>>>);

impl Ordered {
    /// The raft entry at `index` holds a block with these entries; nothing above it is known.
    pub(crate) fn note(&self, index: u64, ids: HashSet<Digest>) {
        let mut ordered = lock(&self.0);
        ordered.split_off(&index);
        ordered.insert(index, ids);
    }

    /// The log was cut from `index`.
    pub(crate) fn forget_from(&self, index: u64) {
        lock(&self.0).split_off(&index);
    }

    pub(crate) fn forget_up_to(&self, index: u64) {
        let mut ordered = lock(&self.0);
        *ordered = ordered.split_off(&(index + 1));
    }

    pub(crate) fn holds(&self, id: &Digest) -> bool {
        lock(&self.0).values().any(|ids| ids.contains(id))
    }
}

/// Every holder of these locks leaves them consistent at each step, so a panic elsewhere does not spoil them.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
