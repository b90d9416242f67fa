//! What is known in memory of a stream on disk: where each page stands, and the roots.

use std::{collections::VecDeque, fs::File, io, num::NonZeroU64, ops::Range, os::unix::fs::FileExt as _, sync::Arc};

use rustix::fs::{Advice, fadvise};
use wallet::chain::RestKey;

use super::{
    folder::{Folder, Pieces, fault},
    format::Binding,
    scan::{Contents, Entry, scan},
};
use crate::stream::{RootLog, StreamFault, StreamId, StreamState};

/// Files that stay open for reading.
const FILES: usize = 4;
/// How far the system is asked to read ahead of who reads one page after the other, and in which steps: it takes no
/// larger ones.
const AHEAD: (u64, u64) = (4 << 20, 256 << 10);
/// Bytes that are written again at once.
const AGAIN_BYTES: usize = 256 << 10;

/// What is known of the files.
#[derive(Debug)]
pub struct Index {
    /// The oldest first.
    pub segments: VecDeque<Segment>,
    /// Roots; it also knows the earliest page and the tail.
    pub log: RootLog,
    /// Pages below survive a crash of the machine.
    pub durable: u64,
    /// The highest epoch that was seen.
    pub epoch: u32,
    /// The stream was closed.
    pub closed: bool,
    /// Counts what is written and must be synced.
    pub written: u64,
    /// Files that are open, the last used at the end.
    files: Vec<Open>,
}

/// A file that is open.
#[derive(Debug)]
struct Open {
    first: u64,
    file: Arc<File>,
    /// Where the last page that was read ends.
    next: u64,
    /// What the system was asked to read ends here.
    ahead: u64,
}

/// A piece of a file that will be read soon.
#[derive(Clone, Copy, Debug)]
pub struct Ahead {
    from: u64,
    to: u64,
}

/// One file.
#[derive(Debug)]
pub struct Segment {
    /// Checks and opens its frames.
    pub binding: Arc<Binding>,
    /// Its pages.
    pub entries: Vec<Entry>,
    /// Its length.
    pub bytes: u64,
}

impl Index {
    /// Reads the files, cuts off what a crash left at their end, and makes durable what it keeps.
    ///
    /// # Errors
    /// [`StreamFault`]; then nothing was changed.
    pub fn read(folder: &Folder, id: StreamId, rest: Option<&RestKey>) -> Result<Self, StreamFault> {
        let mut index = Self {
            segments: VecDeque::new(),
            log: RootLog::new(),
            durable: 0,
            epoch: 0,
            closed: false,
            written: 0,
            files: Vec::new(),
        };
        let firsts = folder.segments()?;
        for (number, first) in firsts.iter().enumerate() {
            let (last, path) = (number + 1 == firsts.len(), folder.segment(*first));
            let file = folder.open_segment(*first)?;
            let read = || scan(&mut Pieces::new(&file, &path)?, rest, last);
            let mut contents = read()?;
            if let Some(unmarked) = contents.unmarked().filter(|_| last) {
                write_again(&file, unmarked).map_err(|source| fault(&path, source))?;
                // Had the system forgotten some of it before it was written, the file would end there.
                contents = read()?;
            }
            let bytes = file.metadata().map_err(|source| fault(&path, source))?.len();
            let end = contents.end;
            index.join(*first, contents, id, last)?;
            if end < bytes {
                file.set_len(end).and_then(|()| file.sync_data()).map_err(|source| fault(&path, source))?;
            }
        }
        Ok(index)
    }

    /// Adds the next file.
    fn join(&mut self, first: u64, contents: Contents, id: StreamId, last: bool) -> Result<(), StreamFault> {
        let Contents { header, binding, entries, heads, epoch, closed, end, durable, .. } = contents;
        if header.stream != id {
            return Err(StreamFault::AnotherStream { reason: "the folder's is another" });
        }
        let damaged = |reason| Err(StreamFault::Damaged { position: first, reason });
        if header.before.len() != first {
            return damaged("the file has another's name");
        }
        if self.segments.is_empty() {
            self.log = RootLog::starting_at(&header.before);
        } else if self.log.tail() != first || self.log.root(first)? != header.before.root() {
            return damaged("the file does not go on where the one before it ends");
        } else if header.epoch < self.epoch || self.closed && !header.closed {
            return damaged("the file is older than the one before it");
        }
        heads.iter().for_each(|head| self.log.push(head));
        let durable = match last {
            true => entries.partition_point(|entry| entry.offset < durable),
            false => entries.len(),
        };
        self.durable = first + durable as u64;
        self.epoch = epoch;
        self.closed = closed;
        // What no mark calls durable is to be synced, if somebody asks for it.
        self.written = u64::from(self.durable < self.log.tail());
        self.segments.push_back(Segment { binding: Arc::new(binding), entries, bytes: end });
        Ok(())
    }

    /// How the stream stands.
    pub const fn state(&self) -> StreamState {
        StreamState {
            tail: self.log.tail(),
            earliest: self.log.earliest(),
            durable: self.durable,
            epoch: self.epoch,
            closed: self.closed,
        }
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    /// The segment with the page at `position`, and where in it the page stands.
    pub fn find(&self, position: u64) -> Option<(&Segment, Entry)> {
        let after = self.segments.partition_point(|segment| segment.binding.first() <= position);
        let segment = self.segments.get(after.checked_sub(1)?)?;
        let entry = usize::try_from(position - segment.binding.first()).ok()?;
        Some((segment, *segment.entries.get(entry)?))
    }

    /// The file whose first page is `first`.
    ///
    /// # Errors
    /// [`StreamFault::Io`].
    pub fn file(&mut self, folder: &Folder, first: u64) -> Result<Arc<File>, StreamFault> {
        self.open(folder, first).map(|open| Arc::clone(&open.file))
    }

    /// The same, to read `bytes` bytes at `offset`; and what is worth reading ahead then.
    ///
    /// # Errors
    /// [`StreamFault::Io`].
    pub fn file_at(
        &mut self,
        folder: &Folder,
        first: u64,
        offset: u64,
        bytes: u64,
    ) -> Result<(Arc<File>, Option<Ahead>), StreamFault> {
        let open = self.open(folder, first)?;
        let end = offset + bytes;
        let follows = open.next == offset;
        open.next = end;
        let from = open.ahead.max(end);
        let ahead = (follows && from < end + AHEAD.0 / 2).then_some(Ahead { from, to: end + AHEAD.0 });
        if let Some(ahead) = ahead {
            open.ahead = ahead.to;
        }
        Ok((Arc::clone(&open.file), ahead))
    }

    fn open(&mut self, folder: &Folder, first: u64) -> Result<&mut Open, StreamFault> {
        let known = self.files.iter().position(|open| open.first == first);
        let open = match known {
            Some(at) => self.files.remove(at),
            None => Open::new(first, Arc::new(folder.open_segment(first)?)),
        };
        if self.files.len() >= FILES {
            self.files.remove(0);
        }
        self.files.push(open);
        Ok(self.files.last_mut().expect("it was put there"))
    }

    /// Adds a new file to the end, in the place of one that has no pages.
    pub fn begin(&mut self, binding: Binding, bytes: u64, file: Arc<File>) {
        let first = binding.first();
        if self.segments.back().is_some_and(|last| last.binding.first() == first) {
            self.segments.pop_back();
        }
        self.files.retain(|open| open.first != first);
        self.files.push(Open::new(first, file));
        self.segments.push_back(Segment { binding: Arc::new(binding), entries: Vec::new(), bytes });
    }

    /// Removes the oldest file, which is not the only one.
    ///
    /// # Errors
    /// [`StreamFault::Io`].
    pub fn remove_oldest(&mut self, folder: &Folder) -> Result<(), StreamFault> {
        let (Some(oldest), Some(next)) = (self.segments.front(), self.segments.get(1)) else { return Ok(()) };
        let (first, earliest) = (oldest.binding.first(), next.binding.first());
        folder.remove_segment(first)?;
        self.segments.pop_front();
        self.files.retain(|open| open.first != first);
        self.log.trim(earliest);
        Ok(())
    }
}

/// Writes these bytes of a file again where they stand, and syncs.
///
/// After a sync that failed the system takes for clean what it could not write: it gives it to whoever reads, says of the
/// next sync that all is well, and has lost it once it lets it go. So bytes count as written only if the sync of their last
/// writing succeeded. They are the same at the same place: nothing is sealed twice.
fn write_again(file: &File, place: Range<u64>) -> io::Result<()> {
    let mut piece = Vec::new();
    for at in place.clone().step_by(AGAIN_BYTES) {
        piece.resize(usize::try_from(place.end - at).unwrap_or(usize::MAX).min(AGAIN_BYTES), 0);
        file.read_exact_at(&mut piece, at)?;
        file.write_all_at(&piece, at)?;
    }
    file.sync_data()
}

impl Open {
    const fn new(first: u64, file: Arc<File>) -> Self {
        Self { first, file, next: 0, ahead: 0 }
    }
}

impl Ahead {
    /// Asks the system to read it. What it makes of that shows in time only.
    pub fn ask(self, file: &File) {
        let mut from = self.from;
        while from < self.to {
            let _ = fadvise(file, from, NonZeroU64::new(AHEAD.1.min(self.to - from)), Advice::WillNeed);
            from += AHEAD.1;
        }
    }
}
