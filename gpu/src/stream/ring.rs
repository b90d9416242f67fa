//! The ring: a stream in the memory of one process.
//!
//! Payloads lie in buffers that are made when they are first needed and used again and again, at most
//! [`RingOptions::pages`] of them. A page that is read is lent: its buffer comes back when the last reader dropped it,
//! whatever was trimmed meanwhile, so a slow reader costs room and nothing else. Payloads are written outside the lock.

mod arena;
mod queue;

/// What the ring's state stands on. The loom tests put loom's in its place.
mod sync {
    pub use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

    pub use event_listener::{Event, EventListener};
}

use bytes::Bytes;
use wallet::digest::Digest;

use self::{
    arena::Arena,
    queue::{Lent, Place, Queue, Refused},
    sync::Arc,
};
use super::{
    Appended, Cursor, Descriptor, Draft, Expect, Integrity, Next, Page, RangeProof, Stream, StreamFault, StreamState,
    StreamWriter, Waiting, Wake,
};

/// How often a waiter looks before it sleeps: some microseconds in all.
const SPINS: u32 = 16;

/// Limits of a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingOptions {
    /// The most pages that it holds, with those that are trimmed but still read, and those that are being written. At
    /// least 1.
    pub pages: usize,
    /// The most bytes of one payload.
    pub payload_bytes: usize,
}

/// A stream in the memory of one process. Writers may be many; what two of them append at once stands in the order in
/// which they were done.
#[derive(Debug)]
pub struct RingStream {
    descriptor: Descriptor,
    payload_bytes: usize,
    queue: Queue,
}

impl RingStream {
    /// A stream without pages.
    pub fn new(descriptor: Descriptor, options: RingOptions) -> std::sync::Arc<Self> {
        let RingOptions { pages, payload_bytes } = options;
        let payload_bytes = payload_bytes.min(super::PAYLOAD_BYTES_MAX);
        let queue = Queue::new(Arc::new(Arena::new(pages.max(1))), descriptor.retention, descriptor.integrity);
        std::sync::Arc::new(Self { descriptor, payload_bytes, queue })
    }

    /// Whether the page that stands at a position is the one that the writer has.
    fn same(&self, there: &Lent, draft: &Draft, bytes: usize, ours: Ours<'_, '_>) -> Result<bool, StreamFault> {
        let head = there.head();
        let integrity = self.descriptor.integrity;
        let alike = |hash: Digest| draft.head(head.position, bytes as u32, hash) == *head;
        if !alike(head.hash) {
            return Ok(false);
        }
        // The hash stands for the payload, where there is one.
        if let (Integrity::Plain | Integrity::Keyed, Some(hash)) = (integrity, draft.hash) {
            return Ok(alike(hash));
        }
        let mut scratch = Vec::new();
        let payload = match ours {
            Ours::Written(payload) => payload,
            Ours::Unwritten(fill) => {
                scratch.resize(bytes, 0);
                fill(&mut scratch);
                &scratch
            }
        };
        Ok(payload == there.as_ref() && alike(integrity.hash(draft, payload)?))
    }
}

/// What a writer has.
enum Ours<'a, 'b> {
    /// Its payload.
    Written(&'a [u8]),
    /// What writes it.
    Unwritten(&'a mut (dyn FnMut(&mut [u8]) + 'b)),
}

impl Stream for RingStream {
    fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    fn state(&self) -> StreamState {
        self.queue.state()
    }

    fn next(&self, cursor: Cursor) -> Result<Next, StreamFault> {
        Ok(match self.queue.at(cursor.0) {
            Place::Page(lent) => {
                let page = Page { head: *lent.head(), payload: Bytes::from_owner(lent) };
                Next::Item(page, Cursor(cursor.0 + 1))
            }
            Place::Nothing { closed: false } => Next::Blocked(Wake::Page(cursor.0)),
            Place::Nothing { closed: true } => Next::End,
            Place::Gone { earliest } => Next::Gap { earliest },
        })
    }

    fn root(&self, at: u64) -> Result<Digest, StreamFault> {
        self.queue.with_roots(at, |roots| roots.root(at))
    }

    fn prove(&self, from: u64, to: u64) -> Result<RangeProof, StreamFault> {
        self.queue.with_roots(from, |roots| roots.prove(from, to))
    }

    fn trim(&self, before: u64) -> Result<(), StreamFault> {
        self.queue.trim(before);
        Ok(())
    }

    fn wait(&self, wake: Wake) -> Waiting<'_> {
        Box::pin(async move {
            // What is under way comes sooner than a thread is woken.
            for _ in 0..SPINS {
                if self.queue.holds(wake) {
                    return;
                }
                (0..16).for_each(|_| std::hint::spin_loop());
            }
            while let Some(listener) = self.queue.listen(wake) {
                listener.await;
            }
        })
    }
}

impl StreamWriter for RingStream {
    fn append_with(
        &self,
        epoch: u32,
        at: Expect,
        draft: &Draft,
        bytes: usize,
        fill: &mut dyn FnMut(&mut [u8]),
    ) -> Result<Appended, StreamFault> {
        let max = self.payload_bytes;
        if bytes > max {
            return Err(StreamFault::PageTooLarge { count: bytes, max });
        }
        let integrity = self.descriptor.integrity;
        if integrity == Integrity::Keyed && draft.hash.is_none() {
            return Err(StreamFault::HashMissing);
        }
        let same = |there: Lent, ours: Ours<'_, '_>| {
            let same = self.same(&there, draft, bytes, ours)?;
            Ok(self.queue.verdict(&there, same))
        };
        let mut slot = match self.queue.reserve(epoch, at) {
            Ok(slot) => slot,
            Err(Refused::There(there)) => return same(there, Ours::Unwritten(fill)),
            Err(Refused::For(appended)) => return Ok(appended),
        };
        fill(slot.room(bytes));
        let hash = integrity.hash(draft, slot.payload())?;
        match self.queue.publish(epoch, at, slot, |position| draft.head(position, bytes as u32, hash)) {
            Ok(position) => Ok(Appended::Ok(position)),
            Err((Refused::There(there), slot)) => same(there, Ours::Written(slot.payload())),
            Err((Refused::For(appended), _)) => Ok(appended),
        }
    }

    fn fence(&self, epoch: u32) -> Result<(), StreamFault> {
        self.queue.fence(epoch);
        Ok(())
    }

    fn sync(&self) -> Result<u64, StreamFault> {
        Ok(0)
    }

    fn close(&self, epoch: u32) -> Result<Appended, StreamFault> {
        Ok(self.queue.close(epoch))
    }
}

#[cfg(test)]
mod loom;
#[cfg(test)]
mod tests;
