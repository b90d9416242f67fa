//! Segments: a stream on disk, in a folder with one writer.
//!
//! # Files
//! A file holds a run of pages behind a header, which names the stream, the first position and the peaks of the root
//! there, so that roots go on over what was trimmed. docs/formats/segment.md has the bytes. A file that is there has a
//! whole header; its pages come one after the other, each with checksums that begin with the header's, so that a frame
//! is good at one place of one file only. With a key heads and payloads are sealed, each file under a key of its own.
//! A stream that was opened again goes on in a new file, also if it is only synced: what a crash left of the old one is
//! not written over, so no nonce is used twice.
//!
//! # What survives
//! An append is written and not synced: it survives the process. [`StreamWriter::sync`] makes it survive the machine;
//! threads that call it at once share one. It leaves a *mark* behind, which says how far the file is on disk. Fences and
//! the close are synced before they return. A write or sync that fails ends the writer: what is on disk is not known
//! then. Opening finds it out: what no mark calls durable is written again at its place and synced, as the system may
//! show what it failed to write.
//!
//! # What is damage
//! Opening reads headers, heads and marks, and payloads where no mark says that they are on disk. A frame that does not
//! check is what a crash left if it is in the last file and no mark behind it calls its place durable: the stream ends
//! before it, and the rest is cut off. Everything else is [`StreamFault::Damaged`], and nothing is removed. Reading a
//! page checks all of it again.

mod commit;
mod folder;
mod format;
mod index;
mod read;
mod scan;
mod write;

use std::{
    fs::File,
    path::Path,
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use event_listener::Event;
use wallet::{chain::RestKey, digest::Digest};

use self::{
    commit::Commit,
    folder::Folder,
    format::HEADER_BYTES_MAX,
    index::Index,
    write::{Payload, Writer},
};
use super::{
    Appended, Cursor, Descriptor, Draft, Expect, Integrity, Next, RangeProof, Stream, StreamFault, StreamId,
    StreamState, StreamWriter, Waiting, Wake,
};

pub use scan::Contents as SegmentContents;

/// How a stream is kept on disk.
#[derive(Clone, Debug)]
pub struct SegmentOptions {
    /// How large a file becomes before the next one begins. A stream with a limit uses at most a quarter of it.
    pub segment_bytes: u64,
    /// Seals what is written, heads included. A stream is sealed from its beginning or not at all.
    pub seal: Option<RestKey>,
    /// The most bytes of all files together. None for no limit.
    pub capacity_bytes: Option<u64>,
}

/// A stream on disk.
#[derive(Debug)]
pub struct SegmentStream {
    descriptor: Descriptor,
    id: StreamId,
    options: SegmentOptions,
    folder: Folder,
    /// Taken before the index, if both are.
    writer: Mutex<Writer>,
    index: Mutex<Index>,
    commit: Mutex<Commit>,
    committed: Condvar,
    /// Held while a file is synced.
    syncing: Mutex<()>,
    /// A write or a sync failed.
    broken: AtomicBool,
    changed: Event,
}

impl Default for SegmentOptions {
    fn default() -> Self {
        Self { segment_bytes: 64 << 20, seal: None, capacity_bytes: None }
    }
}

impl SegmentStream {
    /// Opens the stream in `folder`, which is made if it is not there; its parent is. Nobody else can open it before
    /// this value is dropped.
    ///
    /// # Errors
    /// [`StreamFault::Unhashed`]; [`StreamFault::AnotherStream`] if another is there; [`StreamFault::Damaged`], also if
    /// the key is another; [`StreamFault::Io`], of the kind `WouldBlock` if it is open already.
    pub fn open(folder: &Path, descriptor: Descriptor, options: SegmentOptions) -> Result<Self, StreamFault> {
        if descriptor.integrity == Integrity::None {
            return Err(StreamFault::Unhashed);
        }
        let id = descriptor.id();
        let folder = Folder::open(folder)?;
        let index = Index::read(&folder, id, options.seal.as_ref())?;
        Ok(Self {
            descriptor,
            id,
            options,
            folder,
            writer: Mutex::new(Writer::default()),
            commit: Mutex::new(Commit::default()),
            index: Mutex::new(index),
            committed: Condvar::new(),
            syncing: Mutex::new(()),
            broken: AtomicBool::new(false),
            changed: Event::new(),
        })
    }

    /// Removes the stream in `folder`. It is no error if there is none. Whoever has it open can still read the files
    /// that it is reading, and what it writes is lost.
    ///
    /// # Errors
    /// [`StreamFault::Io`].
    pub fn remove(folder: &Path) -> Result<(), StreamFault> {
        Folder::remove(folder)
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn write_page(&self, epoch: u32, at: Expect, draft: &Draft, payload: Payload<'_>) -> Result<Appended, StreamFault> {
        let appended = self.write(epoch, at, draft, payload)?;
        if matches!(appended, Appended::Ok(_)) {
            self.changed.notify(usize::MAX);
        }
        Ok(appended)
    }

    fn holds(&self, wake: Wake) -> bool {
        let index = lock(&self.index);
        index.closed
            || match wake {
                Wake::Page(position) => index.log.tail() > position,
                Wake::Room(position) => index.log.earliest() >= position,
            }
    }

    /// # Errors
    /// [`StreamFault::Io`] if a write or sync failed before.
    fn sound(&self) -> Result<(), StreamFault> {
        if self.broken.load(Ordering::Acquire) {
            let source = std::io::Error::other("a write or sync failed before: open the stream again");
            return Err(folder::fault(self.folder.path(), source));
        }
        Ok(())
    }

    /// Syncs the file whose first page is `first`. One at a time: that bytes were lost the system says once, and whoever
    /// syncs after that must know it.
    fn sync_file(&self, file: &File, first: u64) -> Result<(), StreamFault> {
        let _turn = lock(&self.syncing);
        self.sound()?;
        file.sync_data().map_err(|source| self.breaks(folder::fault(&self.folder.segment(first), source)))
    }

    /// After this nothing is written any more.
    fn breaks(&self, fault: StreamFault) -> StreamFault {
        self.broken.store(true, Ordering::Release);
        fault
    }
}

/// What is in a segment's bytes, read as those of the last segment of its stream.
///
/// # Errors
/// [`StreamFault::Damaged`].
pub fn decode(mut segment: &[u8], seal: Option<&RestKey>) -> Result<SegmentContents, StreamFault> {
    scan::scan(&mut segment, seal, true)
}

impl Stream for SegmentStream {
    fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    fn state(&self) -> StreamState {
        lock(&self.index).state()
    }

    fn next(&self, cursor: Cursor) -> Result<Next, StreamFault> {
        self.read(cursor)
    }

    fn root(&self, at: u64) -> Result<Digest, StreamFault> {
        lock(&self.index).log.root(at)
    }

    fn prove(&self, from: u64, to: u64) -> Result<RangeProof, StreamFault> {
        lock(&self.index).log.prove(from, to)
    }

    /// Removes whole files; what remains of a file is trimmed with it later.
    fn trim(&self, before: u64) -> Result<(), StreamFault> {
        self.remove_below(before)
    }

    fn wait(&self, wake: Wake) -> Waiting<'_> {
        Box::pin(async move {
            loop {
                let changed = self.changed.listen();
                if self.holds(wake) {
                    return;
                }
                changed.await;
            }
        })
    }
}

impl StreamWriter for SegmentStream {
    fn append_with(
        &self,
        epoch: u32,
        at: Expect,
        draft: &Draft,
        bytes: usize,
        fill: &mut dyn FnMut(&mut [u8]),
    ) -> Result<Appended, StreamFault> {
        self.write_page(epoch, at, draft, Payload::Made(bytes, fill))
    }

    fn append(&self, epoch: u32, at: Expect, draft: &Draft, payload: &[u8]) -> Result<Appended, StreamFault> {
        self.write_page(epoch, at, draft, Payload::There(payload))
    }

    fn fence(&self, epoch: u32) -> Result<(), StreamFault> {
        self.raise(epoch)
    }

    fn sync(&self) -> Result<u64, StreamFault> {
        self.group_commit()
    }

    fn close(&self, epoch: u32) -> Result<Appended, StreamFault> {
        let closed = self.end(epoch)?;
        self.changed.notify(usize::MAX);
        Ok(closed)
    }
}

/// A panic of who held it (a `fill`, say) changes nothing that is kept.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
