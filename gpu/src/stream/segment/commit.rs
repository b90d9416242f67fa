//! Making durable: threads that ask at once share one sync.

use std::sync::{Arc, PoisonError};

use super::{
    SegmentStream,
    format::{Stand, What},
    lock,
    write::Writer,
};
use crate::stream::StreamFault;

/// How far syncing is.
#[derive(Debug, Default)]
pub struct Commit {
    /// What was counted as written below is on disk.
    done: u64,
    /// A thread syncs.
    running: bool,
}

impl Commit {
    /// What was counted as written below `written` is on disk.
    pub const fn reached(&mut self, written: u64) {
        if self.done < written {
            self.done = written;
        }
    }
}

impl SegmentStream {
    /// Returns once what was written before is on disk, and the position up to which it is.
    ///
    /// # Errors
    /// [`StreamFault::Io`].
    pub(super) fn group_commit(&self) -> Result<u64, StreamFault> {
        let target = lock(&self.index).written;
        let mut commit = lock(&self.commit);
        loop {
            self.sound()?;
            if commit.done >= target {
                return Ok(lock(&self.index).durable);
            }
            if commit.running {
                commit = self.committed.wait(commit).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            commit.running = true;
            drop(commit);
            let done = self.sync_last();
            commit = lock(&self.commit);
            commit.running = false;
            self.committed.notify_all();
            commit.reached(done?);
        }
    }

    /// Syncs the last file, and returns the count of what is on disk now. Earlier files are.
    fn sync_last(&self) -> Result<u64, StreamFault> {
        {
            let writer = &mut *lock(&self.writer);
            if !writer.writes() {
                // The last file was left by another process and is not written again. That it is on disk is what the
                // header of a new file says.
                let (epoch, written) = {
                    let index = lock(&self.index);
                    (index.epoch, index.written)
                };
                self.begin(writer, epoch)?;
                return Ok(written);
            }
        }
        let (file, synced, bytes, tail, written) = {
            let mut index = lock(&self.index);
            let Some(last) = index.segments.back() else { return Ok(index.written) };
            let (binding, bytes) = (Arc::clone(&last.binding), last.bytes);
            (index.file(&self.folder, binding.first())?, binding, bytes, index.log.tail(), index.written)
        };
        self.sync_file(&file, synced.first())?;
        let writer = lock(&self.writer);
        let same = {
            let mut index = lock(&self.index);
            index.durable = index.durable.max(tail);
            index.segments.back().is_some_and(|last| Arc::ptr_eq(&last.binding, &synced))
        };
        if same {
            self.mark(&writer, bytes)?;
        }
        Ok(written)
    }

    /// Says in the file that its first `durable` bytes are on disk.
    pub(super) fn mark(&self, writer: &Writer, durable: u64) -> Result<(), StreamFault> {
        let stand = {
            let log = &lock(&self.index).log;
            Stand { durable, tail: log.tail(), root: log.root(log.tail())? }
        };
        self.control(writer, What::Mark, &stand.encode())
    }
}
