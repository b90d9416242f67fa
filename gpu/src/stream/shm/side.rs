//! What both sides do alike: hold a place, read under leases, trim, and wait.

use std::{
    collections::BTreeMap,
    ops::RangeInclusive,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering, fence},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::{
    Memory, Role,
    bell::Watch,
    layout::{Entry, Placed},
    peer::{self, Peer},
    roots::Roots,
};
use crate::stream::{Cursor, Next, Page, StreamFault, StreamState, Waiting, Wake};

/// How long a thread looks without sleeping, in nanoseconds. It grows while that helps. Where the other end needs this
/// very core, looking only keeps it away, and falling asleep and being woken is cheaper.
const SPIN_NS: RangeInclusive<u32> = 1_000..=32_000;

/// One of the two places, held by this process.
pub(super) struct Side {
    pub memory: Arc<Memory>,
    pub roots: Mutex<Roots>,
    role: Role,
    watch: Arc<Watch>,
    /// How often each position is being read.
    leases: Mutex<BTreeMap<u64, u32>>,
    peer: Peer,
    /// Of [`SPIN_NS`].
    spin_ns: AtomicU32,
}

impl Side {
    /// Takes the place, if nobody who lives holds it.
    pub fn claim(memory: Arc<Memory>, role: Role) -> Result<Arc<Self>, StreamFault> {
        let place = memory.place(role);
        let mut held = place.owner.load(Ordering::Acquire);
        loop {
            if held != 0 && peer::lives(held) {
                return Err(StreamFault::RoleTaken { role: role.name() });
            }
            match place.owner.compare_exchange(held, peer::own(), Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => break,
                Err(other) => held = other,
            }
        }
        place.generation.fetch_add(1, Ordering::AcqRel);
        if held != 0 {
            // What a dead process was reading or waiting for, it does not any more. Who went away has said so itself.
            place.leased.0.store(u64::MAX, Ordering::SeqCst);
            place.bell.0.waiters.store(0, Ordering::SeqCst);
        }
        let side = Self {
            roots: Mutex::new(Roots::new(&memory)),
            memory,
            role,
            watch: Arc::default(),
            leases: Mutex::default(),
            peer: Peer::default(),
            spin_ns: AtomicU32::new(*SPIN_NS.start()),
        };
        side.memory.ring();
        Ok(Arc::new(side))
    }

    /// How often this place was taken.
    pub fn generation(&self) -> u32 {
        self.memory.place(self.role).generation.load(Ordering::Acquire)
    }

    pub fn state(&self) -> StreamState {
        let header = self.memory.header();
        let closed = self.memory.is_closed();
        let earliest = header.earliest.0.load(Ordering::Acquire);
        let tail = header.tail.0.load(Ordering::Acquire).max(earliest);
        let epoch = header.epoch.0.load(Ordering::Acquire);
        StreamState { tail, earliest, durable: 0, epoch, closed }
    }

    pub fn next(self: &Arc<Self>, cursor: Cursor) -> Result<Next, StreamFault> {
        let at = cursor.0;
        loop {
            // Read before the tail: what stood before it was closed is below that tail.
            let closed = self.memory.is_closed();
            let (earliest, tail) = self.memory.bounds()?;
            if at < earliest {
                return Ok(Next::Gap { earliest });
            }
            if at < tail {
                return Ok(match self.page(at)? {
                    Some(page) => Next::Item(page, Cursor(at.saturating_add(1))),
                    None => Next::Gap { earliest: self.memory.bounds()?.0 },
                });
            }
            if closed {
                return Ok(Next::End);
            }
            if self.role == Role::Writer {
                return Ok(Next::Blocked(Wake::Page(at)));
            }
            if let Some(gone) = self.peer_gone() {
                // It may have published or closed before it died.
                if self.memory.is_closed() || self.memory.bounds()?.1 > at {
                    continue;
                }
                return Err(gone);
            }
            return Ok(Next::Blocked(Wake::Page(at)));
        }
    }

    /// Why nothing comes from the other end any more, if so. Nobody has to have been there yet.
    pub fn peer_gone(&self) -> Option<StreamFault> {
        let other = self.role.other();
        let place = self.memory.place(other);
        let owner = place.owner.load(Ordering::Acquire);
        let gone = if owner == 0 {
            place.generation.load(Ordering::Acquire) > 0 && place.owner.load(Ordering::Acquire) == 0
        } else {
            !self.peer.lives(owner)
        };
        let how = if owner == 0 { "went away" } else { "died" };
        gone.then(|| StreamFault::PeerGone { reason: format!("the {} {how}", other.name()) })
    }

    /// The page at a position that was published. None if it was trimmed.
    pub fn page(self: &Arc<Self>, at: u64) -> Result<Option<Page>, StreamFault> {
        let Some(mut lease) = self.lease(at) else { return Ok(None) };
        let Placed { head, start, bytes, .. } = self.memory.placed(at)?;
        (lease.start, lease.bytes) = (start, bytes);
        Ok(Some(Page { head, payload: Bytes::from_owner(lease) }))
    }

    /// Keeps the page at `at` from being written over. None if it was trimmed.
    ///
    /// The lease is published before the trim position is looked at; the writer looks at the trim position before the
    /// leases. So one of the two sees the other.
    fn lease(self: &Arc<Self>, at: u64) -> Option<Lease> {
        let mut leases = self.leases.lock().unwrap_or_else(PoisonError::into_inner);
        *leases.entry(at).or_default() += 1;
        self.publish(&leases);
        drop(leases);
        fence(Ordering::SeqCst);
        let lease = Lease { side: Arc::clone(self), position: at, start: 0, bytes: 0 };
        (self.memory.header().earliest.0.load(Ordering::SeqCst) <= at).then_some(lease)
    }

    fn release(&self, at: u64) {
        let mut leases = self.leases.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = leases.get_mut(&at) {
            *count -= 1;
            if *count == 0 {
                leases.remove(&at);
                self.publish(&leases);
            }
        }
        drop(leases);
        if self.memory.header().earliest.0.load(Ordering::SeqCst) > at {
            self.memory.ring();
        }
    }

    fn publish(&self, leases: &BTreeMap<u64, u32>) {
        let lowest = leases.keys().next().copied().unwrap_or(u64::MAX);
        self.memory.place(self.role).leased.0.store(lowest, Ordering::SeqCst);
    }

    pub fn trim(&self, before: u64) -> Result<(), StreamFault> {
        let (earliest, tail) = self.memory.bounds()?;
        let before = before.min(tail);
        if before <= earliest {
            return Ok(());
        }
        let mut roots = self.roots.lock().unwrap_or_else(PoisonError::into_inner);
        roots.trim(&self.memory, before);
        self.memory.header().earliest.0.fetch_max(before, Ordering::SeqCst);
        drop(roots);
        self.memory.ring();
        Ok(())
    }

    /// Whether what is waited for holds, or waiting for it has no sense.
    fn holds(&self, wake: Wake) -> bool {
        let done = match wake {
            Wake::Page(at) => self.memory.bounds().is_ok_and(|(_, tail)| tail <= at),
            Wake::Room(before) => self.memory.bounds().is_ok() && self.memory.floor() < before,
        };
        let concerned = matches!((wake, self.role), (Wake::Page(_), Role::Reader) | (Wake::Room(_), Role::Writer));
        !done || self.memory.is_closed() || concerned && self.peer_gone().is_some()
    }

    pub fn wait(&self, wake: Wake) -> Waiting<'_> {
        Box::pin(async move {
            while !self.holds(wake) {
                let listener = self.watch.listen();
                // Without a thread to sleep for it, the caller looks again at once.
                let Ok(_asleep) = self.watch.sleep(&self.memory, self.role) else { return };
                if self.holds(wake) {
                    return;
                }
                listener.await;
            }
        })
    }

    pub fn wait_blocking(&self, wake: Wake, timeout: Option<Duration>) -> bool {
        if self.holds(wake) {
            return true;
        }
        let begun = Instant::now();
        let nap = self.memory.nap;
        let left = || timeout.map_or(nap, |timeout| timeout.saturating_sub(begun.elapsed()));
        let spin = self.spin_ns.load(Ordering::Relaxed);
        while begun.elapsed() < Duration::from_nanos(spin.into()) {
            (0..16).for_each(|_| std::hint::spin_loop());
            if self.holds(wake) {
                self.spin_ns.store((spin * 2).min(*SPIN_NS.end()), Ordering::Relaxed);
                return true;
            }
        }
        self.spin_ns.store((spin / 2).max(*SPIN_NS.start()), Ordering::Relaxed);
        let attending = self.memory.place(self.role).bell.0.attend();
        loop {
            let heard = attending.heard();
            if self.holds(wake) {
                return true;
            }
            if left().is_zero() {
                return false;
            }
            attending.sleep(heard, left().min(nap));
        }
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        let place = self.memory.place(self.role);
        place.leased.0.store(u64::MAX, Ordering::SeqCst);
        self.watch.end(&place.bell.0);
        place.owner.store(0, Ordering::Release);
        self.memory.ring();
    }
}

/// A page that is being read.
struct Lease {
    side: Arc<Side>,
    position: u64,
    start: usize,
    bytes: usize,
}

impl AsRef<[u8]> for Lease {
    fn as_ref(&self) -> &[u8] {
        self.side.memory.payload(self.start, self.bytes)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.side.release(self.position);
    }
}

impl Memory {
    /// Trim position and tail.
    pub fn bounds(&self) -> Result<(u64, u64), StreamFault> {
        let header = self.header();
        // In this order: the tail that is read later is not below it.
        let earliest = header.earliest.0.load(Ordering::SeqCst);
        let tail = header.tail.0.load(Ordering::Acquire);
        if earliest > tail {
            return Err(StreamFault::Damaged { position: tail, reason: "more was trimmed than there is" });
        }
        Ok((earliest, tail))
    }

    /// Everything below is neither kept nor being read.
    pub fn floor(&self) -> u64 {
        // In this order, see `Side::lease`.
        let earliest = self.header().earliest.0.load(Ordering::SeqCst);
        fence(Ordering::SeqCst);
        let leased = |role| self.place(role).leased.0.load(Ordering::SeqCst);
        earliest.min(leased(Role::Writer)).min(leased(Role::Reader))
    }

    /// Whether the stream was closed.
    pub fn is_closed(&self) -> bool {
        self.header().closed.load(Ordering::Acquire) != 0
    }

    /// Wakes everybody, on both sides.
    pub fn ring(&self) {
        self.place(Role::Writer).bell.0.ring();
        self.place(Role::Reader).bell.0.ring();
    }

    /// The entry of a position.
    pub fn entry(&self, position: u64) -> Result<&Entry, StreamFault> {
        let slot = (position % self.geometry.pages as u64) as usize;
        let damaged = StreamFault::Damaged { position, reason: "the index does not fit the memory" };
        self.mapping.index(self.geometry).get(slot).ok_or(damaged)
    }

    /// What the entry of a position says.
    pub fn placed(&self, position: u64) -> Result<Placed, StreamFault> {
        self.entry(position)?.read(self.geometry, position)
    }

    fn payload(&self, start: usize, bytes: usize) -> &[u8] {
        self.mapping.payload(self.geometry, start, bytes).unwrap_or_default()
    }
}
