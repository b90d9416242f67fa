//! The side that writes.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering},
    time::Duration,
};

use wallet::{
    digest::Digest,
    page::{HEAD_BYTES, PageHead},
};

use super::{Memory, Role, layout::Geometry, side::Side};
use crate::stream::{
    Appended, Cursor, Descriptor, Draft, Expect, Next, RangeProof, Stream, StreamFault, StreamState, StreamWriter,
    Waiting, Wake,
};

/// The place at which a stream in shared memory is written. Clones hold the same place; it is given back with the last
/// of them and of the payloads that were read here.
#[derive(Clone)]
pub struct ShmWriter {
    side: Arc<Side>,
    ahead: Arc<Mutex<Ahead>>,
}

/// What the writer knows without looking.
struct Ahead {
    /// Where the next payload may begin, counted from the stream's first byte.
    next: u64,
    /// Everything below was free once; so it is for ever.
    free: u64,
}

/// Where a page can go.
enum Room {
    /// To this place, counted from the stream's first byte.
    At(u64),
    /// Nowhere, before the pages below this position are gone.
    After(u64),
}

impl ShmWriter {
    pub(super) fn claim(memory: &Arc<Memory>) -> Result<Self, StreamFault> {
        let side = Side::claim(Arc::clone(memory), Role::Writer)?;
        let (earliest, tail) = memory.bounds()?;
        if tail - earliest > memory.geometry.pages as u64 {
            return Err(StreamFault::Damaged { position: tail, reason: "more pages than fit" });
        }
        // The entry of the last page stays in the index when the page is trimmed.
        let next = match tail.checked_sub(1) {
            Some(last) => {
                let placed = memory.placed(last)?;
                Geometry::after(placed.offset, placed.bytes)
            }
            None => 0,
        };
        Ok(Self { side, ahead: Arc::new(Mutex::new(Ahead { next, free: 0 })) })
    }

    /// As [`Stream::wait`], on this thread: looks for some microseconds without sleeping, which is the fastest way to be
    /// woken, and then sleeps. False if the time was over before.
    pub fn wait_blocking(&self, wake: Wake, timeout: Option<Duration>) -> bool {
        self.side.wait_blocking(wake, timeout)
    }

    /// How often the writer's place was taken.
    pub fn generation(&self) -> u32 {
        self.side.generation()
    }

    fn memory(&self) -> &Memory {
        &self.side.memory
    }

    fn ahead(&self) -> MutexGuard<'_, Ahead> {
        // A panic while a page was filled has published nothing.
        self.ahead.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The epoch that may append, if it is not this one.
    fn fenced(&self, epoch: u32) -> Option<Appended> {
        let seen = self.memory().header().epoch.0.fetch_max(epoch, Ordering::AcqRel);
        (seen > epoch).then_some(Appended::Fenced { epoch: seen })
    }

    /// What there is to say of a page that should stand below the tail.
    fn repeated(
        &self,
        (at, tail): (u64, u64),
        draft: &Draft,
        bytes: usize,
        fill: &mut dyn FnMut(&mut [u8]),
    ) -> Result<Appended, StreamFault> {
        let conflict = Appended::Conflict { tail };
        let Some(page) = self.side.page(at)? else { return Ok(conflict) };
        if page.payload.len() != bytes {
            return Ok(conflict);
        }
        let mut payload = vec![0; bytes];
        fill(&mut payload);
        let hash = self.descriptor().integrity.hash(draft, &payload)?;
        let same = page.head == draft.head(at, bytes as u32, hash) && page.payload == payload;
        Ok(if same { Appended::Same(at) } else { conflict })
    }
}

impl Ahead {
    /// Looks for room for a page of `bytes` at `tail`.
    fn room(&mut self, memory: &Memory, tail: u64, bytes: usize) -> Result<Room, StreamFault> {
        let Geometry { pages, bytes: arena } = memory.geometry;
        // Not the floor alone: a reader that comes too late for a page makes it lower for a moment.
        self.free = self.free.max(memory.floor().min(tail));
        let needed = tail.saturating_add(1).saturating_sub(pages as u64);
        if self.free < needed {
            return Ok(Room::After(needed));
        }
        let start = memory.geometry.place(self.next, bytes);
        let end = start.saturating_add(bytes as u64);
        for oldest in self.free..tail {
            let placed = memory.placed(oldest)?;
            let used = end.checked_sub(placed.offset);
            let used = used.ok_or(StreamFault::Damaged { position: oldest, reason: "it is beyond the tail" })?;
            if used <= arena as u64 {
                return Ok(if oldest == self.free { Room::At(start) } else { Room::After(oldest) });
            }
        }
        Ok(if self.free == tail { Room::At(start) } else { Room::After(tail) })
    }
}

impl Stream for ShmWriter {
    fn descriptor(&self) -> &Descriptor {
        &self.side.memory.descriptor
    }

    fn state(&self) -> StreamState {
        self.side.state()
    }

    fn next(&self, cursor: Cursor) -> Result<Next, StreamFault> {
        self.side.next(cursor)
    }

    fn root(&self, at: u64) -> Result<Digest, StreamFault> {
        self.side.root(at)
    }

    fn prove(&self, from: u64, to: u64) -> Result<RangeProof, StreamFault> {
        self.side.prove(from, to)
    }

    fn trim(&self, before: u64) -> Result<(), StreamFault> {
        self.side.trim(before)
    }

    fn wait(&self, wake: Wake) -> Waiting<'_> {
        self.side.wait(wake)
    }
}

impl StreamWriter for ShmWriter {
    fn append_with(
        &self,
        epoch: u32,
        at: Expect,
        draft: &Draft,
        bytes: usize,
        fill: &mut dyn FnMut(&mut [u8]),
    ) -> Result<Appended, StreamFault> {
        let (memory, max) = (self.memory(), self.memory().geometry.payload_max());
        if bytes > max {
            return Err(StreamFault::PageTooLarge { count: bytes, max });
        }
        let mut ahead = self.ahead();
        if let Some(fenced) = self.fenced(epoch) {
            return Ok(fenced);
        }
        let (_, tail) = memory.bounds()?;
        match at {
            Expect::At(at) if at < tail => return self.repeated((at, tail), draft, bytes, fill),
            Expect::At(at) if at > tail => return Ok(Appended::Conflict { tail }),
            _ => {}
        }
        if memory.is_closed() {
            return Ok(Appended::Closed);
        }
        let room = ahead.room(memory, tail, bytes)?;
        let start = match room {
            Room::At(start) => start,
            Room::After(position) => {
                return self.side.peer_gone().map_or(Ok(Appended::Full(Wake::Room(position))), Err);
            }
        };
        let damaged = |reason| StreamFault::Damaged { position: tail, reason };
        let arena = memory.geometry.bytes as u64;
        let payload = memory.mapping.payload_mut(memory.geometry, (start % arena) as usize, bytes);
        let payload = payload.ok_or(damaged("its payload is not in the arena"))?;
        fill(payload);
        let head = draft.head(tail, bytes as u32, memory.descriptor.integrity.hash(draft, payload)?);
        let encoded: [u8; HEAD_BYTES] = head.encode();
        if PageHead::decode(&encoded).is_err() {
            return Err(damaged("no head has these values"));
        }
        memory.entry(tail)?.write(start, bytes, &encoded);
        self.side.roots.lock().unwrap_or_else(PoisonError::into_inner).push(memory, &head);
        ahead.next = Geometry::after(start, bytes);
        // From here on it is there.
        memory.header().tail.0.store(tail.saturating_add(1), Ordering::Release);
        memory.ring();
        Ok(Appended::Ok(tail))
    }

    fn fence(&self, epoch: u32) -> Result<(), StreamFault> {
        let _ahead = self.ahead();
        self.memory().header().epoch.0.fetch_max(epoch, Ordering::AcqRel);
        Ok(())
    }

    /// Nothing survives the machine.
    fn sync(&self) -> Result<u64, StreamFault> {
        Ok(0)
    }

    fn close(&self, epoch: u32) -> Result<Appended, StreamFault> {
        let _ahead = self.ahead();
        if let Some(fenced) = self.fenced(epoch) {
            return Ok(fenced);
        }
        let (_, tail) = self.memory().bounds()?;
        let closed = self.memory().header().closed.swap(1, Ordering::AcqRel) != 0;
        self.memory().ring();
        Ok(if closed { Appended::Same(tail) } else { Appended::Ok(tail) })
    }
}
