//! The pages of a ring and who may add to them: everything of it that several threads touch.
//!
//! No lock is taken under another. What waits listens first and looks then, so that nothing is missed between.

use std::collections::VecDeque;

use wallet::page::PageHead;

use super::{
    arena::{Arena, Slot},
    sync::{Arc, Event, EventListener, Mutex, MutexGuard, PoisonError},
};
use crate::stream::{Appended, Expect, Integrity, Retention, RootLog, StreamFault, StreamState, Wake};

/// The pages.
#[derive(Debug)]
pub struct Queue {
    retention: Retention,
    arena: Arc<Arena>,
    state: Mutex<State>,
    /// A page came, or the stream was closed.
    pages: Event,
}

#[derive(Debug, Default)]
struct State {
    entries: VecDeque<Arc<Entry>>,
    /// Where the entries begin.
    earliest: u64,
    /// None in a stream without hashes: nothing is hashed there before somebody asks.
    roots: Option<RootLog>,
    epoch: u32,
    closed: bool,
}

#[derive(Debug)]
struct Entry {
    head: PageHead,
    slot: Slot,
}

/// A page that is read. Its buffer is not used again before this is dropped.
#[derive(Debug)]
pub struct Lent {
    entry: Option<Arc<Entry>>,
    /// To be told, where the oldest page that nobody reads makes room.
    told: Option<Arc<Arena>>,
}

/// What stands at a position.
#[derive(Debug)]
pub enum Place {
    /// A page.
    Page(Lent),
    /// Nothing yet.
    Nothing {
        /// And nothing will.
        closed: bool,
    },
    /// It is not kept.
    Gone {
        /// The first page that is.
        earliest: u64,
    },
}

/// Why a page is not added.
#[derive(Debug)]
pub enum Refused {
    /// There is a page already.
    There(Lent),
    /// For this.
    For(Appended),
}

impl Queue {
    /// No pages.
    pub fn new(arena: Arc<Arena>, retention: Retention, integrity: Integrity) -> Self {
        let roots = (integrity != Integrity::None).then(RootLog::new);
        Self { retention, arena, state: Mutex::new(State { roots, ..State::default() }), pages: Event::new() }
    }

    /// How it stands.
    pub fn state(&self) -> StreamState {
        let state = self.lock();
        let State { earliest, epoch, closed, .. } = *state;
        StreamState { tail: state.tail(), earliest, durable: 0, epoch, closed }
    }

    /// Looks at the roots. In a stream without hashes they are there only as long as all pages are.
    pub fn with_roots<T>(
        &self,
        position: u64,
        look: impl FnOnce(&RootLog) -> Result<T, StreamFault>,
    ) -> Result<T, StreamFault> {
        let state = self.lock();
        match &state.roots {
            Some(roots) => look(roots),
            None if state.earliest > 0 => Err(StreamFault::NotKept { position, earliest: state.tail() }),
            None => {
                let mut roots = RootLog::new();
                state.entries.iter().for_each(|entry| roots.push(&entry.head));
                look(&roots)
            }
        }
    }

    /// What stands at `position`.
    pub fn at(&self, position: u64) -> Place {
        let state = self.lock();
        match position.checked_sub(state.earliest) {
            None => Place::Gone { earliest: state.earliest },
            Some(offset) => match usize::try_from(offset).ok().and_then(|offset| state.entries.get(offset)) {
                Some(entry) => Place::Page(self.lend(entry)),
                None => Place::Nothing { closed: state.closed },
            },
        }
    }

    /// A buffer for a page that may be added, as it looks now.
    pub fn reserve(&self, epoch: u32, at: Expect) -> Result<Slot, Refused> {
        loop {
            let earliest = self.check(&mut self.lock(), epoch, at)?;
            if let Some(slot) = Slot::take(&self.arena) {
                return Ok(slot);
            }
            if self.retention == Retention::Keep || !self.evict() {
                return Err(Refused::For(Appended::Full(Wake::Room(earliest + 1))));
            }
        }
    }

    /// Adds a page, and returns where it stands. `head` is called with that. If it may not be added any more, the buffer
    /// comes back.
    pub fn publish(
        &self,
        epoch: u32,
        at: Expect,
        slot: Slot,
        head: impl FnOnce(u64) -> PageHead,
    ) -> Result<u64, (Refused, Slot)> {
        let mut state = self.lock();
        if let Err(refused) = self.check(&mut state, epoch, at) {
            drop(state);
            return Err((refused, slot));
        }
        let position = state.tail();
        let head = head(position);
        if let Some(roots) = &mut state.roots {
            roots.push(&head);
        }
        state.entries.push_back(Arc::new(Entry { head, slot }));
        drop(state);
        self.pages.notify(usize::MAX);
        Ok(position)
    }

    /// What becomes of an append where there is a page already.
    pub fn verdict(&self, there: &Lent, same: bool) -> Appended {
        match same {
            true => Appended::Same(there.head().position),
            false => Appended::Conflict { tail: self.state().tail },
        }
    }

    /// Forgets the pages below `before`.
    pub fn trim(&self, before: u64) {
        let gone = self.lock().forget(before);
        if !gone.is_empty() {
            // They go back after the lock was released.
            drop(gone);
            self.arena.room_may_be();
        }
    }

    /// Lets nobody in who has an earlier epoch.
    pub fn fence(&self, epoch: u32) {
        let mut state = self.lock();
        state.epoch = state.epoch.max(epoch);
    }

    /// Ends it.
    pub fn close(&self, epoch: u32) -> Appended {
        let mut state = self.lock();
        if epoch < state.epoch {
            return Appended::Fenced { epoch: state.epoch };
        }
        state.epoch = epoch;
        let tail = state.tail();
        if std::mem::replace(&mut state.closed, true) {
            return Appended::Same(tail);
        }
        drop(state);
        self.pages.notify(usize::MAX);
        self.arena.room_may_be();
        Appended::Ok(tail)
    }

    /// None if what `wake` waits for holds. Else what ends when it may.
    pub fn listen(&self, wake: Wake) -> Option<EventListener> {
        if self.holds(wake) {
            return None;
        }
        let listener = match wake {
            Wake::Page(_) => self.pages.listen(),
            Wake::Room(_) => self.arena.listen(),
        };
        (!self.holds(wake)).then_some(listener)
    }

    /// Room is there when a page fits, whichever way it came: a page that was trimmed long ago may be given back only now.
    pub fn holds(&self, wake: Wake) -> bool {
        let state = self.lock();
        let holds = match wake {
            Wake::Page(position) => state.tail() > position,
            Wake::Room(before) => {
                state.earliest >= before || self.retention == Retention::Latest && state.first_unread().is_some()
            }
        };
        let holds = holds || state.closed;
        drop(state);
        holds || matches!(wake, Wake::Room(_)) && self.arena.has_room()
    }

    /// Where the oldest page stands, if a page may be added.
    fn check(&self, state: &mut State, epoch: u32, at: Expect) -> Result<u64, Refused> {
        if epoch < state.epoch {
            return Err(Refused::For(Appended::Fenced { epoch: state.epoch }));
        }
        state.epoch = epoch;
        let (earliest, tail) = (state.earliest, state.tail());
        match at {
            Expect::At(position) if position != tail => {
                let offset = position.checked_sub(earliest).and_then(|offset| usize::try_from(offset).ok());
                let entry = offset.and_then(|offset| state.entries.get(offset));
                Err(entry.map_or(Refused::For(Appended::Conflict { tail }), |entry| Refused::There(self.lend(entry))))
            }
            _ if state.closed => Err(Refused::For(Appended::Closed)),
            _ => Ok(earliest),
        }
    }

    /// Forgets the oldest pages up to one whose buffer comes back by that. False if all are read.
    fn evict(&self) -> bool {
        let mut state = self.lock();
        let Some(index) = state.first_unread() else { return false };
        let before = state.earliest + index as u64 + 1;
        let gone = state.forget(before);
        drop(state);
        drop(gone);
        self.arena.room_may_be();
        true
    }

    fn lend(&self, entry: &Arc<Entry>) -> Lent {
        let told = (self.retention == Retention::Latest).then(|| self.arena.clone());
        Lent { entry: Some(entry.clone()), told }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn tail(&self) -> u64 {
        self.earliest + self.entries.len() as u64
    }

    /// The first page that nobody reads. Pages are lent under the lock only, so nobody begins to while it is held.
    fn first_unread(&self) -> Option<usize> {
        self.entries.iter().position(|entry| Arc::strong_count(entry) == 1)
    }

    fn forget(&mut self, before: u64) -> Vec<Arc<Entry>> {
        let before = before.clamp(self.earliest, self.tail());
        if let Some(roots) = &mut self.roots {
            roots.trim(before);
        }
        let gone = (before - std::mem::replace(&mut self.earliest, before)) as usize;
        self.entries.drain(..gone).collect()
    }
}

impl Lent {
    /// The page's head.
    pub fn head(&self) -> &PageHead {
        &self.entry().head
    }

    fn entry(&self) -> &Entry {
        self.entry.as_ref().expect("only dropping takes it")
    }
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        self.entry().slot.payload()
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.entry = None;
        if let Some(arena) = &self.told {
            arena.room_may_be();
        }
    }
}
