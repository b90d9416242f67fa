//! Reading a segment from front to back: what is in it, and where it ends if its writer was cut off.
//!
//! Heads, marks and the like are read, and the pages' payloads passed over. Two kinds of payload are not: those in the
//! last segment that no mark calls durable. There, and only there, a frame that does not check is what a crash leaves,
//! and the segment ends before it. Everywhere else it is damage.

use std::ops::Range;

use wallet::{chain::RestKey, page::PageHead};

use super::format::{Binding, HEADER_BYTES_MAX, Header, PRELUDE_BYTES, Reason, What, page_frame_bytes, payload_at};
use crate::stream::{Accumulator, StreamFault};

/// Bytes that are searched at once.
const SEARCH_BYTES: usize = 256 << 10;

/// Where a segment's bytes come from.
pub trait Source {
    /// How many there are.
    fn bytes(&self) -> u64;

    /// Those from `offset` on: `count`, or fewer if it ends before.
    ///
    /// # Errors
    /// [`StreamFault::Io`].
    fn read(&mut self, offset: u64, count: usize) -> Result<&[u8], StreamFault>;
}

/// Where a page stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where its frame begins.
    pub offset: u64,
    /// Length of its payload.
    pub payload_bytes: u32,
}

/// What is in a segment.
#[derive(Debug)]
pub struct Contents {
    /// Its header.
    pub header: Header,
    /// What its frames are checked and opened with.
    pub binding: Binding,
    /// Its pages.
    pub entries: Vec<Entry>,
    /// Their heads.
    pub heads: Vec<PageHead>,
    /// The heads up to its end.
    pub after: Accumulator,
    /// The highest epoch that it names.
    pub epoch: u32,
    /// It ends the stream.
    pub closed: bool,
    /// Where what checks ends.
    pub end: u64,
    /// Bytes that a mark calls durable.
    pub durable: u64,
    /// Where the last frame ends that is no mark.
    pub said: u64,
}

impl Contents {
    /// The bytes of which no mark says that they are on disk, if there is more among them than marks.
    pub fn unmarked(&self) -> Option<Range<u64>> {
        (self.durable < self.said).then_some(self.durable..self.said)
    }
}

/// Why a frame was not taken.
enum Stop {
    /// It does not check.
    Bad(Reason),
    /// It could not be read.
    Fault(StreamFault),
}

struct Scan<'a> {
    source: &'a mut dyn Source,
    contents: Contents,
    closed_at: Option<u64>,
    /// The first mark whose root is not that of the heads before it.
    doubt: Option<u64>,
}

/// What is in the segment. If it is the `last`, what a crash left of its end is passed over.
///
/// # Errors
/// [`StreamFault::Damaged`], [`StreamFault::Io`].
pub fn scan(source: &mut dyn Source, rest: Option<&RestKey>, last: bool) -> Result<Contents, StreamFault> {
    let start = source.read(0, HEADER_BYTES_MAX)?;
    let (header, binding, end) =
        Header::decode(start, rest).map_err(|reason| StreamFault::Damaged { position: 0, reason })?;
    let contents = Contents {
        after: header.before.clone(),
        epoch: header.epoch,
        closed: header.closed,
        header,
        binding,
        entries: Vec::new(),
        heads: Vec::new(),
        end: end as u64,
        durable: end as u64,
        said: end as u64,
    };
    Scan { source, contents, closed_at: None, doubt: None }.run(last)
}

impl Scan<'_> {
    fn run(mut self, last: bool) -> Result<Contents, StreamFault> {
        let mut stopped = None;
        while stopped.is_none() && self.contents.end < self.source.bytes() {
            match self.frame() {
                Ok((what, bytes)) => {
                    self.contents.end += bytes as u64;
                    if what != What::Mark {
                        self.contents.said = self.contents.end;
                    }
                }
                Err(Stop::Bad(reason)) => stopped = Some(reason),
                Err(Stop::Fault(fault)) => return Err(fault),
            }
        }
        if !last {
            self.contents.closed |= self.closed_at.is_some();
            let reason = stopped.or(self.doubt.map(|_| "the root of the pages"));
            return match reason {
                Some(reason) => Err(self.damaged(reason)),
                None => Ok(self.contents),
            };
        }
        if let Some(reason) = stopped {
            self.contents.durable = self.contents.durable.max(self.durable_behind()?);
            if self.contents.end < self.contents.durable {
                return Err(self.damaged(reason));
            }
        }
        self.cut()?;
        if self.doubt.is_some_and(|mark| mark < self.contents.end) {
            return Err(self.damaged("the root of the pages"));
        }
        self.contents.closed |= self.closed_at.is_some_and(|close| close < self.contents.end);
        Ok(self.contents)
    }

    /// Takes the frame at the end of what was read, and returns what it is and its length.
    fn frame(&mut self) -> Result<(What, usize), Stop> {
        let (at, closed) = (self.contents.end, self.contents.header.closed || self.closed_at.is_some());
        let contents = &mut self.contents;
        let binding = &contents.binding;
        let prelude = binding.prelude(at, self.source.read(at, PRELUDE_BYTES)?)?;
        if self.source.bytes() - at < prelude.frame_bytes() as u64 {
            return Err(Stop::Bad("the frame is cut off"));
        }
        match prelude.what {
            What::Page | What::Close if closed => return Err(Stop::Bad("a page or an end behind the end")),
            What::Page => {
                let start = self.source.read(at, payload_at(binding.is_sealed()))?;
                let head = binding.head(at, &prelude, contents.after.len(), start)?;
                contents.entries.push(Entry { offset: at, payload_bytes: head.payload_bytes });
                contents.heads.push(head);
                contents.after.push(&head);
            }
            What::Fence => {
                let frame = self.source.read(at, prelude.frame_bytes())?;
                binding.check_frame(at, frame)?;
                contents.epoch = contents.epoch.max(binding.fence(at, frame)?);
            }
            What::Mark | What::Close => {
                let frame = self.source.read(at, prelude.frame_bytes())?;
                binding.check_frame(at, frame)?;
                let stand = binding.stand(at, prelude.what, frame)?;
                if stand.durable > at {
                    return Err(Stop::Bad("a mark of what comes after it"));
                }
                contents.durable = contents.durable.max(stand.durable);
                if (stand.tail, stand.root) != (contents.after.len(), contents.after.root()) {
                    self.doubt.get_or_insert(at);
                }
                if prelude.what == What::Close {
                    self.closed_at.get_or_insert(at);
                }
            }
        }
        Ok((prelude.what, prelude.frame_bytes()))
    }

    /// Cuts what a crash left: from the first page on that is not durable and does not check.
    fn cut(&mut self) -> Result<(), StreamFault> {
        let Contents { binding, entries, durable, .. } = &self.contents;
        let from = entries.partition_point(|entry| entry.offset < *durable);
        let mut kept = from;
        for entry in &entries[from..] {
            let frame =
                self.source.read(entry.offset, page_frame_bytes(binding.is_sealed(), entry.payload_bytes as usize))?;
            if binding.check_frame(entry.offset, frame).is_err() {
                break;
            }
            kept += 1;
        }
        if let Some(end) = entries.get(kept).map(|entry| entry.offset) {
            self.contents.end = end;
            self.contents.said = self.contents.said.min(end);
            self.contents.entries.truncate(kept);
            self.contents.heads.truncate(kept);
            self.contents.after = self.contents.header.before.clone();
            self.contents.heads.iter().for_each(|head| self.contents.after.push(head));
        }
        Ok(())
    }

    /// The most bytes that a mark behind the frame that was not taken calls durable.
    fn durable_behind(&mut self) -> Result<u64, StreamFault> {
        let binding = &self.contents.binding;
        let (begins, length) = (binding.mark_begins(), binding.stand_frame_bytes());
        let (mut at, mut durable) = (self.contents.end + 1, 0);
        while at < self.source.bytes() {
            let bytes = self.source.read(at, SEARCH_BYTES)?;
            for (skip, frame) in bytes.windows(length).enumerate() {
                let place = at + skip as u64;
                if frame[..8] == begins
                    && binding.check_frame(place, frame).is_ok()
                    && let Ok(stand) = binding.stand(place, What::Mark, frame)
                {
                    durable = durable.max(stand.durable.min(place));
                }
            }
            at += (SEARCH_BYTES + 1 - length) as u64;
        }
        Ok(durable)
    }

    const fn damaged(&self, reason: Reason) -> StreamFault {
        StreamFault::Damaged { position: self.contents.after.len(), reason }
    }
}

impl Source for &[u8] {
    fn bytes(&self) -> u64 {
        self.len() as u64
    }

    fn read(&mut self, offset: u64, count: usize) -> Result<&[u8], StreamFault> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(self.len());
        Ok(&self[start..start.saturating_add(count).min(self.len())])
    }
}

impl From<Reason> for Stop {
    fn from(reason: Reason) -> Self {
        Self::Bad(reason)
    }
}

impl From<StreamFault> for Stop {
    fn from(fault: StreamFault) -> Self {
        Self::Fault(fault)
    }
}
