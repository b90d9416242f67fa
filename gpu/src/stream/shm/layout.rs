//! What stands where in the memory: a header page, the index ring, the arena of payloads. Everything but the payloads is
//! made of atomics, so that whatever the other process writes is a value and never undefined.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use wallet::{
    codec,
    page::{HEAD_BYTES, PageHead},
};

use crate::stream::{Descriptor, PAYLOAD_BYTES_MAX, StreamFault};

/// `batchshm`, as it stands in memory.
const MAGIC: u64 = u64::from_le_bytes(*b"batchshm");
const VERSION: u64 = 1;
const PAGE: usize = 4096;
const DESCRIPTOR_WORDS: usize = 64;
const PAGES_MAX: usize = 1 << 20;
const ARENA_BYTES_MAX: usize = 1 << 36;
const ENTRY_BYTES: usize = 128;
/// Payloads begin at multiples of this.
const ALIGN: u64 = 64;

/// Keeps a value on cache lines of its own.
#[repr(C, align(64))]
pub(super) struct Line<T>(pub T);

/// The header page.
#[repr(C)]
pub(super) struct Header {
    magic: AtomicU64,
    version: AtomicU64,
    pages: AtomicU64,
    bytes: AtomicU64,
    descriptor_bytes: AtomicU64,
    descriptor: [AtomicU64; DESCRIPTOR_WORDS],
    /// Where the next page goes. Only the writer changes it, and only upwards.
    pub tail: Line<AtomicU64>,
    /// The first page that was not trimmed. It only grows.
    pub earliest: Line<AtomicU64>,
    /// The highest epoch that was seen.
    pub epoch: Line<AtomicU32>,
    /// 1 once the stream was closed.
    pub closed: AtomicU32,
    /// The writer's place and the reader's.
    pub places: [Place; 2],
}

/// What each of the two processes says of itself.
#[repr(C, align(64))]
pub(super) struct Place {
    /// Who holds it, see `peer`. 0: nobody.
    pub owner: AtomicU64,
    /// How often it was taken.
    pub generation: AtomicU32,
    /// The lowest position that is being read there. The maximum: none.
    pub leased: Line<AtomicU64>,
    /// What its threads sleep on.
    pub bell: Line<Bell>,
}

/// A futex.
#[repr(C)]
pub(super) struct Bell {
    /// Changes whenever it rings.
    pub word: AtomicU32,
    /// How many threads may be asleep; it rings for nobody if 0.
    pub waiters: AtomicU32,
}

/// A page's place in the index ring.
#[repr(C, align(128))]
pub(super) struct Entry {
    /// Where the payload is, counted from the stream's first byte.
    offset: AtomicU64,
    bytes: AtomicU64,
    head: [AtomicU64; HEAD_BYTES / 8],
}

/// An [`Entry`] that was read and can be relied on.
pub(super) struct Placed {
    pub head: PageHead,
    /// Where the payload begins, counted from the stream's first byte.
    pub offset: u64,
    /// Where it begins in the arena. Payload and arena end are not before its end.
    pub start: usize,
    pub bytes: usize,
}

const _: () = assert!(size_of::<Header>() <= PAGE && size_of::<Entry>() == ENTRY_BYTES);

/// The sizes. Read once, so that the other process cannot change them under us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Geometry {
    /// Entries of the index ring.
    pub pages: usize,
    /// Bytes of the arena.
    pub bytes: usize,
}

impl Geometry {
    /// Where the index begins.
    pub const INDEX: usize = PAGE;

    /// The sizes of a new stream. None if there is nothing, or too much.
    pub fn new(pages: usize, bytes: usize) -> Option<Self> {
        let fits = (1..=PAGES_MAX).contains(&pages) && (1..=ARENA_BYTES_MAX).contains(&bytes);
        fits.then(|| Self { pages, bytes: bytes.next_multiple_of(PAGE) })
    }

    /// Where the arena begins.
    pub const fn arena(&self) -> usize {
        Self::INDEX + (self.pages * ENTRY_BYTES).next_multiple_of(PAGE)
    }

    /// The size of the whole.
    pub const fn total(&self) -> usize {
        self.arena() + self.bytes
    }

    /// The largest payload.
    pub const fn payload_max(&self) -> usize {
        if self.bytes < PAYLOAD_BYTES_MAX { self.bytes } else { PAYLOAD_BYTES_MAX }
    }

    /// Where a payload of `bytes` goes if everything before `next` is taken. A payload is in one piece.
    pub const fn place(&self, next: u64, bytes: usize) -> u64 {
        let arena = self.bytes as u64;
        let start = next % arena;
        if start + bytes as u64 > arena { next.saturating_add(arena - start) } else { next }
    }

    /// Where the payload after one of `bytes` at `offset` may begin.
    pub const fn after(offset: u64, bytes: usize) -> u64 {
        offset.saturating_add((bytes as u64).next_multiple_of(ALIGN))
    }
}

impl Header {
    /// Writes what never changes.
    pub fn write(&self, geometry: Geometry, descriptor: &Descriptor) -> Result<(), StreamFault> {
        let encoded = codec::encode(descriptor);
        let max = DESCRIPTOR_WORDS * 8;
        if encoded.len() > max {
            return Err(StreamFault::PageTooLarge { count: encoded.len(), max });
        }
        for (word, bytes) in self.descriptor.iter().zip(encoded.chunks(8)) {
            let mut padded = [0; 8];
            padded[..bytes.len()].copy_from_slice(bytes);
            word.store(u64::from_le_bytes(padded), Ordering::Relaxed);
        }
        self.descriptor_bytes.store(encoded.len() as u64, Ordering::Relaxed);
        self.pages.store(geometry.pages as u64, Ordering::Relaxed);
        self.bytes.store(geometry.bytes as u64, Ordering::Relaxed);
        for place in &self.places {
            place.leased.0.store(u64::MAX, Ordering::Relaxed);
        }
        self.version.store(VERSION, Ordering::Relaxed);
        self.magic.store(MAGIC, Ordering::Release);
        Ok(())
    }

    /// Reads what never changes, from a memory of `total` bytes.
    pub fn read(&self, total: usize) -> Result<(Geometry, Descriptor), StreamFault> {
        let damaged = |reason| StreamFault::Damaged { position: 0, reason };
        if self.magic.load(Ordering::Acquire) != MAGIC || self.version.load(Ordering::Relaxed) != VERSION {
            return Err(StreamFault::AnotherStream { reason: "no shared memory of this version" });
        }
        let size = |word: &AtomicU64| usize::try_from(word.load(Ordering::Relaxed)).unwrap_or(usize::MAX);
        let (pages, bytes) = (size(&self.pages), size(&self.bytes));
        let geometry = Geometry::new(pages, bytes)
            .filter(|geometry| geometry.bytes == bytes && geometry.total() == total)
            .ok_or(damaged("the sizes of the shared memory"))?;
        let encoded: Vec<u8> =
            self.descriptor.iter().flat_map(|word| word.load(Ordering::Relaxed).to_le_bytes()).collect();
        let encoded = encoded.get(..size(&self.descriptor_bytes)).ok_or(damaged("the descriptor's length"))?;
        let descriptor = codec::decode(encoded).map_err(|_| damaged("the descriptor"))?;
        Ok((geometry, descriptor))
    }
}

impl Entry {
    /// Describes a page. Nobody reads the entry yet.
    pub fn write(&self, offset: u64, bytes: usize, head: &[u8; HEAD_BYTES]) {
        self.offset.store(offset, Ordering::Relaxed);
        self.bytes.store(bytes as u64, Ordering::Relaxed);
        for (word, bytes) in self.head.iter().zip(head.as_chunks::<8>().0) {
            word.store(u64::from_le_bytes(*bytes), Ordering::Relaxed);
        }
    }

    /// Reads the description of the page at `position`, and checks all of it.
    pub fn read(&self, geometry: Geometry, position: u64) -> Result<Placed, StreamFault> {
        let damaged = |reason| StreamFault::Damaged { position, reason };
        let mut head = [0; HEAD_BYTES];
        for (bytes, word) in head.as_chunks_mut::<8>().0.iter_mut().zip(&self.head) {
            *bytes = word.load(Ordering::Relaxed).to_le_bytes();
        }
        let head = PageHead::decode(&head).map_err(|_| damaged("its head"))?;
        if head.position != position {
            return Err(damaged("its head names another position"));
        }
        let offset = self.offset.load(Ordering::Relaxed);
        let bytes = self.bytes.load(Ordering::Relaxed);
        let start = offset % geometry.bytes as u64;
        if bytes != u64::from(head.payload_bytes) || start + bytes > geometry.bytes as u64 {
            return Err(damaged("its payload is not in the arena"));
        }
        Ok(Placed { head, offset, start: start as usize, bytes: bytes as usize })
    }
}
