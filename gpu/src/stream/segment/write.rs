//! Writing: pages, fences and the end.

use std::{
    fs::File,
    io::{self, IoSlice, Seek as _, Write as _},
    num::NonZeroU64,
    sync::Arc,
};

use rustix::fs::{Advice, fadvise};
use wallet::seal::segment::SALT_BYTES;

use super::{
    HEADER_BYTES_MAX, SegmentStream,
    folder::fault,
    format::{CHECK_BYTES, Header, PRELUDE_BYTES, STAND_BYTES, Stand, What, page_frame_bytes},
    lock,
    read::Wiped,
    scan::Entry,
};
use crate::stream::{Appended, Cursor, Draft, Expect, Next, PAYLOAD_BYTES_MAX, Retention, StreamFault, Wake};
use wallet::page::{HEAD_BYTES, PageHead};

/// The most that a page's frame has beyond its payload, and what a file needs beside one page.
const BESIDE_BYTES: usize = HEADER_BYTES_MAX + HEAD_BYTES + 4 * (PRELUDE_BYTES + STAND_BYTES + 2 * 16 + CHECK_BYTES);

/// The system is asked to write to the disk what is not synced, once it is so much: so a sync finds less to do.
const BEHIND_BYTES: u64 = 1 << 20;
/// A block of the disk, as the system sees it.
const BLOCK_BYTES: u64 = 4096;

/// Where the stream is written.
#[derive(Debug, Default)]
pub struct Writer {
    /// The last file, if it was begun here: others are not written again.
    file: Option<Arc<File>>,
    /// Before this place the system was asked to write to the disk.
    behind: u64,
    /// The payload that is being written, where it is not written from where it is: it is made here, or sealed.
    payload: Wiped,
    /// Somebody was told that there is no room.
    full: bool,
}

/// The payload of a page that is to be written.
pub enum Payload<'a> {
    /// It is there.
    There(&'a [u8]),
    /// It has so many bytes, and is made by this, which is called at most once.
    Made(usize, &'a mut dyn FnMut(&mut [u8])),
}

/// What is to be done with a page.
enum Place {
    /// It comes next, at this position.
    Next(u64),
    /// A page stands there.
    Taken(u64),
    /// Nothing.
    Refused(Appended),
}

/// The oldest file.
struct Oldest {
    /// Position after its last page.
    end: u64,
    /// There is no other.
    last: bool,
}

impl<'a> Payload<'a> {
    const fn bytes(&self) -> usize {
        match self {
            Self::There(bytes) => bytes.len(),
            Self::Made(count, _) => *count,
        }
    }

    /// It: where it is, or else in `buffer`.
    fn made<'b>(self, buffer: &'b mut Vec<u8>) -> &'b [u8]
    where
        'a: 'b,
    {
        match self {
            Self::There(bytes) => bytes,
            made @ Self::Made(..) => made.into_buffer(buffer),
        }
    }

    /// It, in `buffer`.
    fn into_buffer(self, buffer: &mut Vec<u8>) -> &mut [u8] {
        buffer.resize(self.bytes(), 0);
        match self {
            Self::There(bytes) => buffer.copy_from_slice(bytes),
            Self::Made(_, fill) => fill(buffer),
        }
        buffer
    }
}

impl Writer {
    /// Whether the last file can be written.
    pub const fn writes(&self) -> bool {
        self.file.is_some()
    }

    /// Asks the system to begin writing what stands before `end` to the disk. It does so when it is told that pages are
    /// not needed; those that are on their way stay where they are. What it makes of that shows in time only.
    fn write_behind(&mut self, end: u64) {
        // The last block is not whole: it will be written again.
        let end = end / BLOCK_BYTES * BLOCK_BYTES;
        if let (Some(file), Some(bytes)) = (&self.file, NonZeroU64::new(end.saturating_sub(self.behind)))
            && bytes.get() >= BEHIND_BYTES
        {
            let _ = fadvise(file, self.behind, Some(bytes), Advice::DontNeed);
            self.behind = end;
        }
    }
}

impl SegmentStream {
    /// Appends a page. See [`crate::stream::StreamWriter::append`].
    pub(super) fn write(
        &self,
        epoch: u32,
        at: Expect,
        draft: &Draft,
        payload: Payload<'_>,
    ) -> Result<Appended, StreamFault> {
        let writer = &mut *lock(&self.writer);
        self.sound()?;
        let (count, max) = (payload.bytes(), self.payload_bytes_max());
        if count > max {
            return Err(StreamFault::PageTooLarge { count, max });
        }
        let position = match self.place(epoch, at) {
            Place::Next(position) => position,
            Place::Taken(position) => return self.compare(writer, position, draft, payload),
            Place::Refused(appended) => return Ok(appended),
        };
        if let Some(full) = self.make_room(writer, epoch, count)? {
            return Ok(full);
        }
        if lock(&self.index).epoch < epoch {
            self.raise_to(writer, epoch)?;
        }
        let (binding, offset) = {
            let index = lock(&self.index);
            let last = index.segments.back().expect("a file was begun");
            (last.binding.clone(), last.bytes)
        };
        let (head, tag, payload) = if binding.is_sealed() {
            let payload = payload.into_buffer(&mut writer.payload.0);
            let head = self.head(position, draft, payload)?;
            let tag = binding.seal_payload(offset, position, payload);
            (head, tag, &*payload)
        } else {
            let payload = payload.made(&mut writer.payload.0);
            (self.head(position, draft, payload)?, None, payload)
        };
        let around = binding.around(offset, &head, payload, tag);
        let frame = [&around.start, payload, &around.end];
        self.write_frame(writer.file.as_deref(), offset, &frame)?;
        let end = offset + frame.iter().map(|part| part.len() as u64).sum::<u64>();
        writer.write_behind(end);
        let mut index = lock(&self.index);
        let last = index.segments.back_mut().expect("a file was begun");
        last.entries.push(Entry { offset, payload_bytes: head.payload_bytes });
        last.bytes = end;
        index.log.push(&head);
        index.written += 1;
        Ok(Appended::Ok(position))
    }

    fn place(&self, epoch: u32, at: Expect) -> Place {
        let index = lock(&self.index);
        let tail = index.log.tail();
        if epoch < index.epoch {
            return Place::Refused(Appended::Fenced { epoch: index.epoch });
        }
        match at {
            Expect::At(position) if position < index.log.earliest() => Place::Refused(Appended::Conflict { tail }),
            Expect::At(position) if position < tail => Place::Taken(position),
            _ if index.closed => Place::Refused(Appended::Closed),
            Expect::At(position) if position > tail => Place::Refused(Appended::Conflict { tail }),
            _ => Place::Next(tail),
        }
    }

    /// Whether the page is the one that stands there.
    fn compare(
        &self,
        writer: &mut Writer,
        position: u64,
        draft: &Draft,
        payload: Payload<'_>,
    ) -> Result<Appended, StreamFault> {
        let conflict = Appended::Conflict { tail: lock(&self.index).log.tail() };
        let Next::Item(page, _) = self.read(Cursor(position))? else { return Ok(conflict) };
        if page.payload.len() != payload.bytes() {
            return Ok(conflict);
        }
        let payload = payload.made(&mut writer.payload.0);
        let same = self.head(position, draft, payload)? == page.head && page.payload == payload;
        Ok(if same { Appended::Same(position) } else { conflict })
    }

    /// The head of a page.
    fn head(&self, position: u64, draft: &Draft, payload: &[u8]) -> Result<PageHead, StreamFault> {
        let hash = self.descriptor.integrity.hash(draft, payload)?;
        let count = u32::try_from(payload.len()).expect("bounded by the largest payload");
        let head = draft.head(position, count, hash);
        // What could not be read again would look like a torn end.
        match PageHead::decode(&head.encode()) {
            Ok(_) => Ok(head),
            Err(_) => Err(StreamFault::Damaged { position, reason: "its draft makes no head" }),
        }
    }

    /// Raises the epoch, and makes that durable.
    pub(super) fn raise(&self, epoch: u32) -> Result<(), StreamFault> {
        let writer = &mut *lock(&self.writer);
        self.sound()?;
        if epoch <= lock(&self.index).epoch {
            return Ok(());
        }
        self.raise_to(writer, epoch)
    }

    fn raise_to(&self, writer: &mut Writer, epoch: u32) -> Result<(), StreamFault> {
        if !writer.writes() {
            return self.begin(writer, epoch);
        }
        self.control(writer, What::Fence, &epoch.to_le_bytes())?;
        self.settle(writer)?;
        lock(&self.index).epoch = epoch;
        Ok(())
    }

    /// Ends the stream, and makes that durable.
    pub(super) fn end(&self, epoch: u32) -> Result<Appended, StreamFault> {
        let writer = &mut *lock(&self.writer);
        self.sound()?;
        let state = lock(&self.index).state();
        if epoch < state.epoch {
            return Ok(Appended::Fenced { epoch: state.epoch });
        }
        if state.closed {
            return Ok(Appended::Same(state.tail));
        }
        if epoch > state.epoch {
            self.raise_to(writer, epoch)?;
        }
        if !writer.writes() {
            self.begin(writer, epoch)?;
        }
        let stand = Stand { durable: 0, tail: state.tail, root: lock(&self.index).log.root(state.tail)? };
        self.control(writer, What::Close, &stand.encode())?;
        self.settle(writer)?;
        lock(&self.index).closed = true;
        Ok(Appended::Ok(state.tail))
    }

    /// Removes the files whose pages are all below `before`.
    pub(super) fn remove_below(&self, before: u64) -> Result<(), StreamFault> {
        let writer = &mut *lock(&self.writer);
        let before = before.min(lock(&self.index).log.tail());
        let last = lock(&self.index).segments.back().map(|last| (last.binding.first(), last.entries.is_empty()));
        // Whoever waits for room may get it only if the file goes that is being written.
        if writer.full && last.is_some_and(|(first, empty)| !empty && first < before) && before == self.tail() {
            self.sound()?;
            let epoch = lock(&self.index).epoch;
            self.begin(writer, epoch)?;
        }
        let mut index = lock(&self.index);
        let mut removed = false;
        while index.segments.get(1).is_some_and(|next| next.binding.first() <= before) {
            index.remove_oldest(&self.folder)?;
            removed = true;
        }
        drop(index);
        if removed {
            writer.full = false;
            self.changed.notify(usize::MAX);
        }
        Ok(())
    }

    /// Makes room for a page: drops the oldest files where they may go, and begins one where the last is large enough.
    /// Returns what to say if there is no room.
    fn make_room(&self, writer: &mut Writer, epoch: u32, bytes: usize) -> Result<Option<Appended>, StreamFault> {
        let frame = page_frame_bytes(self.is_sealed(), bytes) as u64;
        let needed = frame + if self.begins(writer, frame) { HEADER_BYTES_MAX as u64 } else { 0 };
        while let Some(oldest) = self.too_much(needed) {
            if self.descriptor.retention == Retention::Keep {
                writer.full = true;
                return Ok(Some(Appended::Full(Wake::Room(oldest.end))));
            }
            if oldest.last {
                self.begin(writer, epoch)?;
            }
            lock(&self.index).remove_oldest(&self.folder)?;
        }
        if self.begins(writer, frame) {
            self.begin(writer, epoch)?;
        }
        Ok(None)
    }

    /// The oldest file, if there is no room for `needed` bytes more.
    fn too_much(&self, needed: u64) -> Option<Oldest> {
        let index = lock(&self.index);
        let capacity = self.options.capacity_bytes.filter(|capacity| index.bytes() + needed > *capacity);
        capacity.and(index.segments.front().filter(|oldest| !oldest.entries.is_empty())).map(|_| Oldest {
            end: index.segments.get(1).map_or(index.log.tail(), |next| next.binding.first()),
            last: index.segments.len() == 1,
        })
    }

    /// Whether a frame begins a new file.
    fn begins(&self, writer: &Writer, frame: u64) -> bool {
        let quarter = self.options.capacity_bytes.map_or(u64::MAX, |capacity| capacity / 4);
        let most = self.options.segment_bytes.min(quarter);
        let full =
            lock(&self.index).segments.back().is_some_and(|last| !last.entries.is_empty() && last.bytes + frame > most);
        writer.file.is_none() || full
    }

    /// Begins a file. What came before is on disk then, and so is the epoch.
    pub(super) fn begin(&self, writer: &mut Writer, epoch: u32) -> Result<(), StreamFault> {
        let (last, before, epoch, closed) = {
            let mut index = lock(&self.index);
            let last = index.segments.back().map(|last| last.binding.first());
            let last = last.map(|first| Ok((index.file(&self.folder, first)?, first))).transpose()?;
            (last, index.log.accumulator(index.log.tail())?, epoch.max(index.epoch), index.closed)
        };
        let path = self.folder.segment(before.len());
        let failed = |source| self.breaks(fault(&path, source));
        if let Some((last, first)) = last {
            self.sync_file(&last, first)?;
        }
        let mut salt = [0; SALT_BYTES];
        getrandom::fill(&mut salt).map_err(|error| failed(std::io::Error::other(error)))?;
        let first = before.len();
        let (header, binding) =
            Header { stream: self.id, salt, epoch, closed, before }.encode(self.options.seal.as_ref());
        let file = Arc::new(self.folder.begin(first, &header).map_err(|fault| self.breaks(fault))?);
        let mut index = lock(&self.index);
        index.begin(binding, header.len() as u64, Arc::clone(&file));
        (index.durable, index.epoch) = (first, epoch);
        let written = index.written;
        drop(index);
        lock(&self.commit).reached(written);
        writer.file = Some(file);
        writer.behind = 0;
        Ok(())
    }

    /// Writes a frame that is no page.
    pub(super) fn control(&self, writer: &Writer, what: What, body: &[u8]) -> Result<(), StreamFault> {
        let (binding, offset) = {
            let index = lock(&self.index);
            let last = index.segments.back().expect("a file was begun");
            (last.binding.clone(), last.bytes)
        };
        let frame = binding.control(offset, what, body);
        self.write_frame(writer.file.as_deref(), offset, &[&frame])?;
        let mut index = lock(&self.index);
        index.segments.back_mut().expect("a file was begun").bytes += frame.len() as u64;
        index.written += u64::from(what != What::Mark);
        Ok(())
    }

    /// Syncs, and says so in the file.
    fn settle(&self, writer: &Writer) -> Result<(), StreamFault> {
        let file = writer.file.as_ref().expect("a file was begun");
        let first = lock(&self.index).segments.back().map_or(0, |last| last.binding.first());
        self.sync_file(file, first)?;
        let (durable, written) = {
            let mut index = lock(&self.index);
            index.durable = index.log.tail();
            (index.segments.back().map_or(0, |last| last.bytes), index.written)
        };
        lock(&self.commit).reached(written);
        self.mark(writer, durable)
    }

    /// Writes a frame, which is in pieces, to the place in `file` for which it was made: the end.
    fn write_frame(&self, file: Option<&File>, offset: u64, frame: &[&[u8]]) -> Result<(), StreamFault> {
        // Another thread's write may have failed here since the caller began: nothing is sealed twice for one place.
        self.sound()?;
        write_all(file.expect("a file was begun"), offset, frame)
            .map_err(|source| self.breaks(fault(self.folder.path(), source)))
    }

    fn tail(&self) -> u64 {
        lock(&self.index).log.tail()
    }

    /// The largest payload that fits.
    fn payload_bytes_max(&self) -> usize {
        let capacity =
            self.options.capacity_bytes.map_or(u64::MAX, |capacity| capacity.saturating_sub(BESIDE_BYTES as u64));
        usize::try_from(capacity).unwrap_or(usize::MAX).min(PAYLOAD_BYTES_MAX)
    }

    const fn is_sealed(&self) -> bool {
        self.options.seal.is_some()
    }
}

/// Writes all `parts`, one behind the other, where the last write ended; in one piece if the system takes them so. That is
/// `offset`, the place for which they were made: a file is written from its beginning, by one stream, until a write fails.
fn write_all(mut file: &File, offset: u64, parts: &[&[u8]]) -> io::Result<()> {
    debug_assert_eq!(file.stream_position().ok(), Some(offset), "a frame is for one place");
    let mut slices: Vec<_> = parts.iter().map(|part| IoSlice::new(part)).collect();
    let mut left = slices.as_mut_slice();
    while !left.is_empty() {
        match file.write_vectored(left) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => IoSlice::advance_slices(&mut left, count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
