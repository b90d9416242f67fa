//! The promises that this node gives as a leader, and those that it got as an author.
//!
//! A leader tries what it promised for a block before anything else in it, and promises no more for one block than half
//! of it holds. So what it promised is in the block, or a rule of the ledger refused it. It begins each view once: a
//! second proposal of one view would be evidence against it. A leader promises to itself as to others, so that whoever
//! brings entries to it gets a word of it, too.

mod kept;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;
use wallet::{digest::Digest, units::NodeId};

use self::kept::{Kept, KeptPromises};
use super::{
    fault::Fault,
    shared::Shared,
    transport::{Given, SubmitReply},
};
use crate::{
    block::{View, epoch_of},
    event::Entry,
    evidence::{
        BrokenPromise, Evidence, PROMISED_MAX, Promise, Promised, SignedPromise, applies_throughout, entries_digest,
    },
    execute::{BLOCK_BYTES_MAX, BLOCK_ENTRIES_MAX, Executed},
    finality::Final,
    vote::{Signed, Signer},
};

/// Of a block, what may be promised beforehand.
const PROMISED_ENTRIES_MAX: usize = BLOCK_ENTRIES_MAX / 2;
/// See [`PROMISED_ENTRIES_MAX`].
const PROMISED_BYTES_MAX: usize = BLOCK_BYTES_MAX / 2;
/// A promise names a block at most this far ahead. A leader that is busier than that promises nothing.
const AHEAD_MAX: u64 = 16;
/// And an author may be so many blocks behind the leader that promises.
const LAG_MAX: u64 = 64;

/// See the module.
pub(crate) struct Promises {
    signer: Mutex<Signer>,
    given: Mutex<Book>,
    kept: Mutex<KeptPromises>,
    /// Raised with each that is kept.
    pub(crate) news: watch::Sender<u64>,
}

/// What this node promised in the last term that it led.
#[derive(Default)]
struct Book {
    term: u64,
    /// The number of the last view that it began.
    begun: u64,
    due: BTreeMap<u64, Due>,
}

#[derive(Default)]
struct Due {
    entries: Vec<Entry>,
    bytes: usize,
}

/// How a promise names an entry, and how the author finds it.
#[derive(Clone, Copy)]
pub(crate) struct Named {
    id: Digest,
    leaf: Digest,
}

impl From<&Entry> for Named {
    fn from(entry: &Entry) -> Self {
        Self { id: entry.id(), leaf: entry.leaf_hash() }
    }
}

impl Promises {
    pub(crate) fn new(signer: Signer) -> Self {
        let (given, kept, news) = Default::default();
        Self { signer: Mutex::new(signer), given, kept, news }
    }

    /// The node's key was rotated.
    pub(crate) fn sign_with(&self, signer: Signer) {
        *lock(&self.signer) = signer;
    }

    /// Promises entries that this node has taken as the leader of `term`; none if it would promise too much.
    pub(crate) fn give(&self, name: &Digest, term: u64, entries: &[Entry]) -> Option<Given> {
        if entries.is_empty() || entries.len() > PROMISED_MAX {
            return None;
        }
        let (sizes, leaves): (Vec<usize>, Vec<Digest>) =
            entries.iter().map(|entry| (entry.bytes().len(), entry.leaf_hash())).unzip();
        let bytes: usize = sizes.iter().sum();
        let through = {
            let mut book = lock(&self.given);
            book.turn_to(term)?;
            // The next block takes what was queued before; the one after it takes these, or one later.
            let first = book.begun.checked_add(2)?;
            let fits = |number: &u64| {
                book.due.get(number).is_none_or(|due| {
                    due.entries.len() + entries.len() <= PROMISED_ENTRIES_MAX && due.bytes + bytes <= PROMISED_BYTES_MAX
                })
            };
            let through = (first..first.checked_add(AHEAD_MAX)?).find(fits)?;
            let due = book.due.entry(through).or_default();
            due.entries.extend_from_slice(entries);
            due.bytes += bytes;
            through
        };
        let signed = Signed::sign(promise(name, term, through, &leaves), &lock(&self.signer));
        Some(Given { term, through, signature: signed.signature })
    }

    /// This node proposes in `view` now: what it promised for that block. None if it did so before, or led a later term
    /// since: then it must not.
    pub(crate) fn begin(&self, view: View) -> Option<Vec<Entry>> {
        let mut book = lock(&self.given);
        book.turn_to(view.term)?;
        if view.number <= book.begun {
            return None;
        }
        book.begun = view.number;
        let later = book.due.split_off(&(view.number.checked_add(1)?));
        let due = std::mem::replace(&mut book.due, later);
        Some(due.into_values().flat_map(|due| due.entries).collect())
    }

    /// Keeps what a leader promised for `entries`, if it is for a block that may still come soon: `now` is the view of the
    /// last final block, or the start of a later term. Whether the leader signed it is seen when somebody asks.
    pub(crate) fn keep(&self, name: &Digest, leader: NodeId, given: Given, entries: Vec<Named>, now: View) {
        let Given { term, through, signature } = given;
        if term != now.term || through <= now.number || through - now.number > LAG_MAX + AHEAD_MAX {
            tracing::debug!(%leader, term, through, "a promise for a block that does not come is not kept");
            return;
        }
        let leaves: Vec<Digest> = entries.iter().map(|named| named.leaf).collect();
        let promise = Signed { statement: promise(name, term, through, &leaves), validator: leader, signature };
        lock(&self.kept).add(Kept { promise, entries });
        self.news.send_modify(|count| *count += 1);
    }

    /// What a leader promised for the entry `id`, if that is not long ago: the last leader, and for the earliest block, if
    /// it was sent the entry again.
    pub(crate) fn for_entry(&self, id: &Digest, is_signed: impl Fn(&SignedPromise) -> bool) -> Option<Promised> {
        // Whoever makes blocks final waits for no signature that is verified here.
        let named = lock(&self.kept).of_entry(id);
        // What a leader did not sign takes nothing away from what it did.
        let best = named.into_iter().find(|kept| is_signed(&kept.promise))?;
        let leaves = best.entries.iter().map(|named| named.leaf).collect();
        Some(Promised { promise: best.promise, leaves })
    }

    /// How many promises wait for their block, and in how many blocks after that of `tip` the first one of its term is due.
    pub(crate) fn kept(&self, tip: View) -> (usize, Option<u64>) {
        let (count, first) = lock(&self.kept).waiting(tip.term);
        (count, first.map(|through| through.saturating_sub(tip.number)))
    }

    /// The promises for the block of `view`, once; see [`KeptPromises::take_due`].
    fn for_view(&self, view: View) -> Vec<Arc<Kept>> {
        lock(&self.kept).take_due(view)
    }
}

impl Book {
    /// Begins an empty book for a later term. None for an earlier one, which this node does not lead any more.
    fn turn_to(&mut self, term: u64) -> Option<()> {
        if term > self.term {
            *self = Self { term, ..Self::default() };
        }
        (term == self.term).then_some(())
    }
}

impl Shared {
    /// Keeps what a leader promised for `entries`; see [`Promises::keep`].
    pub(crate) fn keep_promise(&self, leader: NodeId, given: Given, entries: Vec<Named>) {
        let (term, tip) = (self.terms.entered().term, self.tip.borrow().view);
        let now = if tip.term == term { tip } else { View { term, number: 0 } };
        self.promises.keep(&self.name(), leader, given, entries, now);
    }

    /// Takes entries into the queue of this node, which leads, and promises them, if it is asked to.
    pub(crate) fn take_as_leader(&self, entries: Vec<Entry>, promises: bool) -> SubmitReply {
        let promised = self.leads().filter(|_| promises).map(|term| (term, entries.clone()));
        match self.queue.push(entries) {
            SubmitReply::Queued(_) => SubmitReply::Queued(
                promised.and_then(|(term, entries)| self.promises.give(&self.name(), term, &entries)),
            ),
            reply => reply,
        }
    }

    /// What a leader promised for the entry `id`, and signed; see [`Promises::for_entry`].
    pub(crate) fn promise(&self, id: &Digest) -> Option<Promised> {
        let is_signed = |promise: &SignedPromise| {
            let validators = self.validators_of(promise.statement.epoch);
            validators.is_some_and(|validators| promise.verify(&validators, &self.name()).is_ok())
        };
        self.promises.for_entry(id, is_signed)
    }

    /// Whether the block that became final keeps the promises for it. What does not is kept as evidence.
    pub(crate) fn check_promises(&self, finalized: &Final, before: &Executed) -> Result<(), Fault> {
        let (header, after) = (&finalized.block.header, &finalized.executed);
        if after.is_closed() {
            // Its leader owes nothing more.
            return Ok(());
        }
        // What this node promised to itself is no matter of evidence: the clients who have it may make it one.
        let by_others = |kept: &Arc<Kept>| kept.promise.validator != self.me;
        for kept in self.promises.for_view(header.view).into_iter().filter(by_others) {
            let Kept { promise, entries } = &*kept;
            for Named { id, leaf } in entries.iter().filter(|named| after.state.entry(named.id).is_none()) {
                // The same entry under another signature was not promised.
                let Some(entry) = self.outbox.get(id).filter(|entry| entry.leaf_hash() == *leaf) else { continue };
                let (ends, block) = ([before, after], &finalized.block);
                if promise.validator != header.leader
                    || applies_throughout(&self.consortium, ends, block, &entry, &*self.checks).is_err()
                {
                    continue;
                }
                let parent = self.store.header(before.height)?;
                let leaves = entries.iter().map(|named| named.leaf).collect();
                let promised = Promised { promise: *promise, leaves };
                let made = BrokenPromise::of(&self.consortium, promised, entry, parent.as_ref(), before, block);
                let broken = match made {
                    Ok(broken) => broken,
                    Err(too_large) => {
                        tracing::error!(leader = %header.leader, %too_large, "a broken promise cannot be proven");
                        return Ok(());
                    }
                };
                self.keep_proof(&Evidence::BrokenPromise(Box::new(broken)))?;
                break;
            }
        }
        Ok(())
    }
}

fn promise(name: &Digest, term: u64, through: u64, leaves: &[Digest]) -> Promise {
    let (consortium, epoch) = (*name, epoch_of(term));
    Promise { consortium, epoch, term, through, entries: entries_digest(leaves) }
}

/// Every holder of these locks leaves them consistent at each step, so a panic elsewhere does not spoil them.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::{kept::KEPT_MAX, *};
    use crate::testing::{Chain, Session, consortium, evidence::anchor, signer};

    fn view(term: u64, number: u64) -> View {
        View { term, number }
    }

    #[test]
    fn what_was_promised_for_a_block_is_due_in_it() {
        let consortium = consortium(4);
        let promises = Promises::new(signer(0));
        let entries = [anchor(&consortium, 1), anchor(&consortium, 2)];
        assert_eq!(promises.begin(view(3, 1)), Some(Vec::new()));
        let given = promises.give(&consortium.id(), 3, &entries).expect("little was promised");
        assert_eq!((given.term, given.through), (3, 3));
        assert_eq!(promises.begin(view(3, 2)), Some(Vec::new()));
        assert_eq!(promises.begin(view(3, 3)), Some(entries.to_vec()));
        // A view that is left out does not lose what was due in it.
        let given = promises.give(&consortium.id(), 3, &entries[..1]).expect("little was promised");
        assert!(promises.begin(view(3, given.through + 1)).is_some_and(|due| due == entries[..1]));
    }

    #[test]
    fn a_view_begins_once_and_a_promise_is_never_for_one_that_began() {
        let consortium = consortium(4);
        let promises = Promises::new(signer(0));
        assert!(promises.begin(view(3, 7)).is_some());
        for number in [1, 6, 7] {
            assert_eq!(promises.begin(view(3, number)), None);
        }
        assert!(promises.give(&consortium.id(), 3, &[anchor(&consortium, 1)]).expect("little").through > 7);
        assert_eq!(promises.begin(view(2, 9)), None);
        assert_eq!(promises.give(&consortium.id(), 2, &[anchor(&consortium, 1)]), None);
        // A later term begins with an empty book.
        assert_eq!(promises.begin(view(4, 1)), Some(Vec::new()));
    }

    #[test]
    fn no_more_is_promised_for_a_block_than_half_of_it() {
        let consortium = consortium(4);
        let promises = Promises::new(signer(0));
        let entries: Vec<Entry> = (1..=128).map(|number| anchor(&consortium, number)).collect();
        let through: Vec<u64> =
            std::iter::from_fn(|| Some(promises.give(&consortium.id(), 1, &entries)?.through)).take(10_000).collect();
        let (first, last) = (through[0], through[through.len() - 1]);
        assert_eq!(last - first + 1, AHEAD_MAX, "then it promises nothing");
        for number in first..=last {
            let count = through.iter().filter(|through| **through == number).count();
            assert_eq!(count * entries.len(), PROMISED_ENTRIES_MAX);
        }
        let due = promises.begin(view(1, first)).expect("not begun");
        assert_eq!(due.len(), PROMISED_ENTRIES_MAX);
    }

    #[test]
    fn an_author_judges_each_promise_once_and_keeps_the_last_ones() {
        let consortium = consortium(4);
        let (leader, author) = (Promises::new(signer(0)), Promises::new(signer(1)));
        let entry = anchor(&consortium, 1);
        for _ in 0..KEPT_MAX + 1 {
            let given = leader.give(&consortium.id(), 1, std::slice::from_ref(&entry)).expect("little was promised");
            author.keep(&consortium.id(), NodeId::ZERO, given, vec![Named::from(&entry)], view(1, given.through - 1));
            leader.begin(view(1, given.through - 1)).expect("not begun");
        }
        assert_eq!(lock(&author.kept).len(), KEPT_MAX);
        assert!(author.for_view(view(1, 2)).is_empty(), "the oldest is gone");
        assert_eq!(author.for_view(view(1, 3)).len(), 1);
        assert!(author.for_view(view(1, 3)).is_empty());
        assert!(author.for_view(view(2, 1)).is_empty());
        assert!(author.for_view(view(1, 4)).is_empty(), "the term is over");
        assert_eq!(author.kept(view(2, 1)), (0, None));
        let kept = author.for_entry(&entry.id(), |_| true).expect("who asks later is still told");
        assert_eq!(kept.leaves, [entry.leaf_hash()]);
        assert_eq!(lock(&author.kept).len(), KEPT_MAX);
    }

    #[test]
    fn what_is_kept_of_promises_is_bounded_in_all_its_parts() {
        let consortium = consortium(4);
        let (leader, author) = (Promises::new(signer(0)), Promises::new(signer(1)));
        let signature = leader.give(&consortium.id(), 1, &[anchor(&consortium, 1)]).expect("little").signature;
        for number in 0..KEPT_MAX as u64 + 100 {
            let given = Given { term: 1, through: number + 2, signature };
            let named = [2 * number, 2 * number + 1].map(|id| Named { id: digest(id), leaf: digest(id) });
            author.keep(&consortium.id(), NodeId::ZERO, given, named.to_vec(), view(1, number + 1));
        }
        assert_eq!(lock(&author.kept).rows(), (2 * KEPT_MAX, KEPT_MAX));
        assert!(author.for_entry(&digest(199), |_| true).is_none(), "the oldest are gone");
        assert!(author.for_entry(&digest(200), |_| true).is_some());
        assert_eq!(author.kept(view(1, 100)), (KEPT_MAX, Some(2)));
    }

    fn digest(number: u64) -> Digest {
        wallet::digest::sha256("test", &[&number.to_be_bytes()])
    }

    /// The final block must not wait for whoever asks.
    #[test]
    fn a_signature_is_verified_without_the_lock() {
        let consortium = consortium(4);
        let (leader, author) = (Promises::new(signer(0)), Promises::new(signer(1)));
        let entry = anchor(&consortium, 1);
        let given = leader.give(&consortium.id(), 1, std::slice::from_ref(&entry)).expect("little was promised");
        author.keep(&consortium.id(), NodeId::ZERO, given, vec![Named::from(&entry)], view(1, 1));
        assert!(author.for_entry(&entry.id(), |_| author.kept.try_lock().is_ok()).is_some());
    }

    #[test]
    fn of_an_entry_that_was_sent_again_the_first_promise_of_the_last_leader_counts() {
        let consortium = consortium(4);
        let (author, entry) = (Promises::new(signer(1)), anchor(&consortium, 1));
        let keep = |leader: u32, term: u64, through: u64| {
            let signature =
                Signed::sign(promise(&consortium.id(), term, through, &[entry.leaf_hash()]), &signer(leader));
            let given = Given { term, through, signature: signature.signature };
            author.keep(&consortium.id(), NodeId::new(leader), given, vec![Named::from(&entry)], view(term, 1));
        };
        let kept = || author.for_entry(&entry.id(), |_| true).expect("one was given").promise;
        for (leader, term, through, expected) in [(2, 3, 5, 5), (2, 3, 7, 5), (0, 4, 9, 9), (0, 4, 12, 9)] {
            keep(leader, term, through);
            let statement = kept().statement;
            assert_eq!((kept().validator, statement.term, statement.through), (NodeId::new(leader), term, expected));
        }
    }

    #[test]
    fn a_promise_for_a_block_that_does_not_come_is_not_kept() {
        let consortium = consortium(4);
        let (leader, entry) = (Promises::new(signer(0)), anchor(&consortium, 1));
        let given = leader.give(&consortium.id(), 2, std::slice::from_ref(&entry)).expect("little was promised");
        let far = LAG_MAX + AHEAD_MAX;
        for (term, through, now, is_kept) in [
            (2, 9, view(2, 8), true),
            (2, 8 + far, view(2, 8), true),
            (2, 9 + far, view(2, 8), false),
            (2, u64::MAX, view(2, 8), false),
            (2, 8, view(2, 8), false),
            (1, 9, view(2, 8), false),
            (3, 9, view(2, 8), false),
        ] {
            let author = Promises::new(signer(1));
            let given = Given { term, through, ..given };
            author.keep(&consortium.id(), NodeId::ZERO, given, vec![Named::from(&entry)], now);
            assert_eq!(author.for_entry(&entry.id(), |_| true).is_some(), is_kept, "{term}.{through} at {now:?}");
        }
    }

    #[test]
    fn a_leader_that_tries_what_is_due_first_breaks_no_promise() {
        let consortium = consortium(4);
        let (mut chain, session) = (Chain::new(consortium.clone()), Session::in_eu(&consortium, 0));
        let promises = Promises::new(signer(0));
        // It comes before the entry that makes it possible, which arrives last of all.
        let created = session.created();
        let mut later = chain.clone();
        later.push(created.clone()).expect("valid");
        let early = session.touched(&session.record(&later), 1);
        let given = promises.give(&consortium.id(), 1, std::slice::from_ref(&early)).expect("little was promised");
        for number in 1..=given.through {
            let mut candidates = promises.begin(view(1, number)).expect("not begun");
            candidates.extend((number + 1 == given.through).then(|| created.clone()));
            let parent = chain.blocks.last().map(|(block, _)| block.header.clone());
            let before = chain.tip.clone();
            let proposal = chain.propose(candidates);
            let (leaves, entry) = (vec![early.leaf_hash()], early.clone());
            let statement = promise(&consortium.id(), 1, given.through, &leaves);
            let promise = Signed { statement, validator: NodeId::ZERO, signature: given.signature };
            let (promised, block) = (Promised { promise, leaves }, &proposal.block);
            let broken = BrokenPromise::of(&consortium, promised, entry, parent.as_ref(), &before, block);
            let broken = broken.expect("small");
            assert!(Evidence::BrokenPromise(Box::new(broken)).verify(&consortium).is_err(), "block {number}");
            let block = proposal.block;
            let certificate = crate::testing::certify(&block, [1, 2, 3]);
            chain.tip = proposal.executed;
            chain.blocks.push((block, certificate));
        }
        assert!(chain.tip.state.entry(early.id()).is_some());
    }
}
