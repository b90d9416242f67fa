//! Entries on their way: the author's outbox, the leader's queue, and which entries stand in blocks that are not final.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Notify, watch},
    time::Instant,
};
use wallet::{digest::Digest, units::NodeId};

use super::{
    passed_over::{Judged, Treatment},
    transport::{ENTRIES_BYTES_MAX, ENTRIES_MAX, SubmitReply},
};
use crate::{
    event::Entry,
    execute::{BLOCK_BYTES_MAX, BLOCK_ENTRIES_MAX},
    refusal::Refusal,
};

/// Entries that one author may have in the leader's queue: as many as a block holds, so that nobody waits long behind one
/// author.
const QUEUED_PER_AUTHOR_MAX: usize = BLOCK_ENTRIES_MAX;
/// Their encoded bytes; what exceeds them by one entry is still taken.
const QUEUED_BYTES_PER_AUTHOR_MAX: usize = BLOCK_BYTES_MAX;

/// Entries of one author that a node sends on for it: see [`Outbox::send_on`].
const SENT_ON_PER_AUTHOR_MAX: usize = 64;

/// Of so many entries that were submitted first, those that are late are compared with a final block.
const LATE_LOOKED_AT: usize = 4096;

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
    /// How many entries of an author this node sends on.
    sent_on: HashMap<NodeId, usize>,
    /// When a leader was judged last.
    judged_at: Option<Instant>,
}

struct Outgoing {
    entry: Entry,
    /// When it was submitted here.
    since: Instant,
    sent: Option<Instant>,
    for_other: bool,
    /// Somebody had to send it more than once.
    is_late: bool,
    /// What the leader did with it since.
    treatment: Treatment,
}

#[derive(Default)]
struct Refused {
    by_id: HashMap<Digest, Refusal>,
    order: VecDeque<Digest>,
}

impl Outgoing {
    fn new(entry: Entry, for_other: bool) -> Self {
        Self {
            entry,
            since: Instant::now(),
            sent: None,
            for_other,
            is_late: for_other,
            treatment: Treatment::default(),
        }
    }
}

/// An entry to send now.
pub(crate) struct Due {
    pub(crate) entry: Entry,
    pub(crate) sent_before: bool,
    /// Whether another node asked this one to send it, too.
    pub(crate) for_other: bool,
}

impl Outbox {
    pub(crate) fn add_all(&self, entries: Vec<Entry>) {
        let mut open = lock(&self.open);
        entries.into_iter().for_each(|entry| open.add(Outgoing::new(entry, false)));
        drop(open);
        self.added.notify_one();
    }

    /// Another node's entry, which the leader was late with: this node sends it to the leader as well, and if it does
    /// not become final then, complains as if it were its own. What is too much of one author is dropped.
    pub(crate) fn send_on(&self, entry: Entry) {
        let mut open = lock(&self.open);
        let count = open.sent_on.get(&entry.body.author).copied().unwrap_or(0);
        if count < SENT_ON_PER_AUTHOR_MAX {
            open.add(Outgoing::new(entry, true));
        }
        drop(open);
        self.added.notify_one();
    }

    pub(crate) fn holds(&self, id: &Digest) -> bool {
        lock(&self.open).numbers.contains_key(id)
    }

    /// An entry that is on its way.
    pub(crate) fn get(&self, id: &Digest) -> Option<Entry> {
        let open = lock(&self.open);
        open.entries.get(open.numbers.get(id)?).map(|out| out.entry.clone())
    }

    pub(crate) fn len(&self) -> usize {
        lock(&self.open).entries.len()
    }

    /// How many entries wait, and how long the first of them has.
    pub(crate) fn waiting(&self) -> (usize, Duration) {
        let open = lock(&self.open);
        (open.entries.len(), open.entries.values().next().map_or(Duration::ZERO, |first| first.since.elapsed()))
    }

    /// Entries to send now: new ones, and those sent longer ago than `again`.
    pub(crate) fn due(&self, again: Duration) -> Vec<Due> {
        let now = Instant::now();
        let mut open = lock(&self.open);
        let is_due = |out: &&mut Outgoing| out.sent.is_none_or(|sent| now.duration_since(sent) >= again);
        let mut bytes = 0;
        let due = open.entries.values_mut().filter(is_due).take(ENTRIES_MAX).take_while(|out| {
            let has_room = bytes < ENTRIES_BYTES_MAX;
            bytes += out.entry.bytes().len();
            has_room
        });
        due.map(|out| {
            let sent_before = out.sent.replace(now).is_some();
            out.is_late |= sent_before;
            Due { entry: out.entry.clone(), sent_before, for_other: out.for_other }
        })
        .collect()
    }

    /// Entries that the present leader was sent and that wait for long, the first few of each author.
    pub(crate) fn late(&self) -> Vec<Entry> {
        let mut by_author: HashMap<NodeId, usize> = HashMap::new();
        let open = lock(&self.open);
        let late = open.entries.values().take(LATE_LOOKED_AT).filter(|out| out.is_late && out.sent.is_some());
        late.map(|out| &out.entry)
            .filter(|entry| {
                let count = by_author.entry(entry.body.author).or_default();
                *count += 1;
                *count <= SENT_ON_PER_AUTHOR_MAX
            })
            .cloned()
            .collect()
    }

    /// [`Self::late`], or nothing if a leader was judged by that just now: blocks may come faster than all that waits can
    /// be compared with each.
    pub(crate) fn late_again(&self, every: Duration) -> Vec<Entry> {
        let now = Instant::now();
        let mut open = lock(&self.open);
        if open.judged_at.is_some_and(|judged| now.duration_since(judged) < every) {
            return Vec::new();
        }
        open.judged_at = Some(now);
        drop(open);
        self.late()
    }

    /// A block of the leader became final without these entries, of which some apply.
    pub(crate) fn judge(&self, block: &Judged, late: &[(Digest, bool)]) {
        let now = Instant::now();
        let mut open = lock(&self.open);
        let Open { entries, numbers, .. } = &mut *open;
        for (id, applies) in late {
            if let Some(out) = numbers.get(id).and_then(|number| entries.get_mut(number)) {
                out.treatment.note(block, out.entry.body.author, *applies, now);
            }
        }
    }

    /// Since when the leader of `term` passes over any that waits.
    pub(crate) fn passed_over_since(&self, term: u64) -> Option<Instant> {
        let open = lock(&self.open);
        let waiting = open.entries.values().take(LATE_LOOKED_AT);
        waiting.filter_map(|out| out.treatment.passed_over_since(term)).min()
    }

    /// Sends everything anew: the leader changed.
    pub(crate) fn forget_sent(&self) {
        let forget = |out: &mut Outgoing| (out.sent, out.treatment) = (None, Treatment::default());
        lock(&self.open).entries.values_mut().for_each(forget);
        self.added.notify_one();
    }

    /// These are final.
    pub(crate) fn settle(&self, ids: &[Digest]) {
        let mut open = lock(&self.open);
        if !open.entries.is_empty() {
            ids.iter().for_each(|id| open.remove(id));
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
    fn add(&mut self, out: Outgoing) {
        let id = out.entry.id();
        if let Some(number) = self.numbers.get(&id) {
            if !out.for_other
                && let Some(known) = self.entries.get_mut(number)
                && std::mem::take(&mut known.for_other)
            {
                self.count_down(&out.entry);
            }
            return;
        }
        let number = self.next_number;
        self.next_number += 1;
        if out.for_other {
            *self.sent_on.entry(out.entry.body.author).or_default() += 1;
        }
        self.numbers.insert(id, number);
        self.entries.insert(number, out);
    }

    fn remove(&mut self, id: &Digest) {
        let removed = self.numbers.remove(id).and_then(|number| self.entries.remove(&number));
        if let Some(out) = removed.filter(|out| out.for_other) {
            self.count_down(&out.entry);
        }
    }

    fn count_down(&mut self, sent_on: &Entry) {
        if let Some(count) = self.sent_on.get_mut(&sent_on.body.author) {
            *count -= 1;
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
    by_author: HashMap<NodeId, Load>,
}

/// What of one author waits.
#[derive(Default)]
struct Load {
    entries: usize,
    bytes: usize,
}

impl Queue {
    /// Adds the entries that are not queued yet.
    pub(crate) fn push(&self, entries: Vec<Entry>) -> SubmitReply {
        let mut waiting = lock(&self.waiting);
        for entry in entries {
            if waiting.ids.contains(&entry.id()) {
                continue;
            }
            let load = waiting.by_author.entry(entry.body.author).or_default();
            if load.entries >= QUEUED_PER_AUTHOR_MAX || load.bytes >= QUEUED_BYTES_PER_AUTHOR_MAX {
                return SubmitReply::Full;
            }
            waiting.count(&entry);
            waiting.entries.push_back(entry);
        }
        self.filled.notify_one();
        SubmitReply::Queued(None)
    }

    pub(crate) fn take(&self, count: usize) -> Vec<Entry> {
        let mut waiting = lock(&self.waiting);
        let count = count.min(waiting.entries.len());
        let taken: Vec<Entry> = waiting.entries.drain(..count).collect();
        for entry in &taken {
            waiting.ids.remove(&entry.id());
            if let Some(load) = waiting.by_author.get_mut(&entry.body.author) {
                load.entries = load.entries.saturating_sub(1);
                load.bytes = load.bytes.saturating_sub(entry.bytes().len());
            }
        }
        taken
    }

    /// Puts entries back to the front, in their order.
    pub(crate) fn put_back(&self, entries: Vec<Entry>) {
        let mut waiting = lock(&self.waiting);
        for entry in entries.into_iter().rev() {
            if !waiting.ids.contains(&entry.id()) {
                waiting.count(&entry);
                waiting.entries.push_front(entry);
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn len(&self) -> usize {
        lock(&self.waiting).entries.len()
    }

    /// Returns when at least `count` entries wait.
    pub(crate) async fn wait_for(&self, count: usize) {
        loop {
            let filled = self.filled.notified();
            if lock(&self.waiting).entries.len() >= count {
                return;
            }
            filled.await;
        }
    }
}

impl Waiting {
    fn count(&mut self, entry: &Entry) {
        let load = self.by_author.entry(entry.body.author).or_default();
        load.entries += 1;
        load.bytes += entry.bytes().len();
        self.ids.insert(entry.id());
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
