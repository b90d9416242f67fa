//! What goes through the transports: 256 MiB of distinct pages, and the loops of whoever writes and reads them.

use gpu::stream::{
    Appended, Cursor, Descriptor, Draft, Expect, Integrity, Next, Retention, Stream, StreamWriter, block_on,
};
use wallet::{digest::Digest, page::PageKind};

use crate::bench::BenchFault;

/// Bytes of a page.
pub const PAGE_BYTES: usize = 64 << 10;
/// Pages of the source, which is read once in each round.
pub const PAGES: usize = 4096;
/// Pages that a stream in memory holds, as the queue of an engine does; and buffers of its limit.
pub const BUFFERS: usize = 256;

/// The pages that are written.
pub struct Source(Vec<u8>);

impl Source {
    /// Random pages, each with its number in front.
    pub fn new(seed: u64) -> Self {
        let mut bytes = vec![0; PAGES * PAGE_BYTES];
        let mut state = seed;
        for word in bytes.as_chunks_mut().0 {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            *word = (state ^ (state >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9).to_le_bytes();
        }
        for (number, page) in bytes.chunks_exact_mut(PAGE_BYTES).enumerate() {
            page[..8].copy_from_slice(&(number as u64).to_le_bytes());
        }
        Self(bytes)
    }

    /// The pages.
    pub fn pages(&self) -> impl Iterator<Item = &[u8]> {
        self.0.chunks_exact(PAGE_BYTES)
    }

    /// How many bytes they are, in 10^9.
    pub fn gigabytes(&self) -> f64 {
        self.0.len() as f64 / 1e9
    }
}

/// Whoever reads: it copies each page, and looks whether it is the one that comes next.
pub struct Reader {
    copy: Vec<u8>,
    next: usize,
}

impl Reader {
    pub fn new() -> Self {
        Self { copy: vec![0; PAGE_BYTES], next: 0 }
    }

    /// Where the next page is to be copied to.
    pub fn copy(&mut self) -> &mut [u8] {
        &mut self.copy
    }

    /// Checks the page that was copied.
    ///
    /// # Errors
    /// [`BenchFault::Wrong`].
    pub fn check(&mut self) -> Result<(), BenchFault> {
        let number = self.copy.first_chunk().map_or(u64::MAX, |number| u64::from_le_bytes(*number));
        if number != self.next as u64 {
            return Err(BenchFault::Wrong(format!("page {number} came, {} was to come", self.next)));
        }
        self.next = (self.next + 1) % PAGES;
        Ok(())
    }
}

/// A stream of the bench.
pub fn descriptor(name: &str, integrity: Integrity) -> Descriptor {
    Descriptor {
        owner: Digest([7; 32]),
        name: name.to_owned(),
        integrity,
        retention: Retention::Keep,
        format: Digest::ZERO,
    }
}

/// Appends `page`, and waits for room if there is none.
///
/// # Errors
/// Those of the stream.
pub fn put(stream: &dyn StreamWriter, page: &[u8]) -> Result<(), BenchFault> {
    put_with(stream, page, |wake| block_on(stream.wait(wake)))
}

/// As [`put`], for a stream that has its own way of waiting.
///
/// # Errors
/// Those of the stream.
pub fn put_with(
    stream: &dyn StreamWriter,
    page: &[u8],
    mut wait: impl FnMut(gpu::stream::Wake),
) -> Result<(), BenchFault> {
    loop {
        match stream.append(0, Expect::Any, &Draft::bytes(PageKind::Kv), page)? {
            Appended::Ok(_) => return Ok(()),
            Appended::Full(wake) => wait(wake),
            other => return Err(BenchFault::Wrong(format!("an append was {other:?}"))),
        }
    }
}

/// Reads `count` pages from `cursor` on, and trims them if `trims`.
///
/// # Errors
/// Those of the stream, [`BenchFault::Wrong`].
pub fn take(
    stream: &dyn Stream,
    cursor: &mut Cursor,
    count: usize,
    trims: bool,
    reader: &mut Reader,
    mut wait: impl FnMut(gpu::stream::Wake),
) -> Result<(), BenchFault> {
    let end = cursor.0 + count as u64;
    while cursor.0 < end {
        match stream.next(*cursor)? {
            Next::Item(page, after) => {
                reader.copy().copy_from_slice(&page.payload);
                drop(page);
                reader.check()?;
                *cursor = after;
                if trims {
                    stream.trim(after.0)?;
                }
            }
            Next::Blocked(wake) => wait(wake),
            other => return Err(BenchFault::Wrong(format!("a read was {other:?}"))),
        }
    }
    Ok(())
}
