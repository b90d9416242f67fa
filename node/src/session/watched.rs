//! A stream that knows whether somebody reads it.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use gpu::stream::{Cursor, Descriptor, Next, RangeProof, RingStream, Stream, StreamFault, StreamState, Waiting, Wake};
use wallet::{digest::Digest, units::Timestamp};

use super::context::now;

/// A ring that knows whether somebody waits for its next page.
pub(super) struct Watched {
    ring: Arc<RingStream>,
    waiting: AtomicUsize,
    /// When somebody last read or waited, in milliseconds since the Unix epoch.
    read_at: AtomicU64,
}

/// Counts somebody who waits, also if the waiting is dropped.
struct Waits<'a>(&'a Watched);

impl Watched {
    pub(super) fn new(ring: Arc<RingStream>, read_at: Timestamp) -> Arc<Self> {
        Arc::new(Self { ring, waiting: AtomicUsize::new(0), read_at: AtomicU64::new(read_at.get()) })
    }

    /// The ring, for who writes.
    pub(super) const fn ring(&self) -> &Arc<RingStream> {
        &self.ring
    }

    pub(super) fn is_awaited(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    pub(super) fn read_at(&self) -> Timestamp {
        if self.is_awaited() { now() } else { Timestamp::new(self.read_at.load(Ordering::Relaxed)) }
    }

    /// As if nobody had ever read.
    #[cfg(test)]
    pub(super) fn forget_readers(&self) {
        self.read_at.store(0, Ordering::Relaxed);
    }

    fn note_reader(&self) {
        self.read_at.store(now().get(), Ordering::Relaxed);
    }
}

impl Stream for Watched {
    fn descriptor(&self) -> &Descriptor {
        self.ring.descriptor()
    }

    fn state(&self) -> StreamState {
        self.ring.state()
    }

    fn next(&self, cursor: Cursor) -> Result<Next, StreamFault> {
        self.note_reader();
        self.ring.next(cursor)
    }

    fn root(&self, at: u64) -> Result<Digest, StreamFault> {
        self.ring.root(at)
    }

    fn prove(&self, from: u64, to: u64) -> Result<RangeProof, StreamFault> {
        self.ring.prove(from, to)
    }

    fn trim(&self, before: u64) -> Result<(), StreamFault> {
        self.ring.trim(before)
    }

    fn wait(&self, wake: Wake) -> Waiting<'_> {
        Box::pin(async move {
            let _waits = Waits::begin(self);
            self.ring.wait(wake).await;
        })
    }
}

impl<'a> Waits<'a> {
    fn begin(on: &'a Watched) -> Self {
        on.waiting.fetch_add(1, Ordering::Relaxed);
        Self(on)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.note_reader();
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use gpu::stream::{
        Integrity, RingOptions,
        conformance::{self, Limits, Opened},
    };

    use super::*;

    #[test]
    fn the_laws_of_streams_hold_for_those_who_read_it() {
        let mut open = |descriptor: &Descriptor, Limits { pages, payload_bytes }: Limits| {
            let writer = RingStream::new(descriptor.clone(), RingOptions { pages, payload_bytes });
            Opened { reader: Watched::new(writer.clone(), now()), writer, bounded: true, keep_alive: Box::new(()) }
        };
        conformance::all(&mut open, Integrity::Plain);
    }
}
