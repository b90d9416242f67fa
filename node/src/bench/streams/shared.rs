//! The limit of shared memory: as many buffers in a memory file, handed over with two counters.
#![expect(unsafe_code, reason = "memory that another process sees too cannot be had otherwise")]

use std::{
    fs::File,
    io,
    os::fd::{AsFd, OwnedFd, RawFd},
    ptr::{self, NonNull},
    sync::atomic::{AtomicU64, Ordering},
};

use rustix::{
    fs::{MemfdFlags, ftruncate, memfd_create},
    mm::{MapFlags, ProtFlags, mmap, munmap},
};

use super::{
    pages::{BUFFERS, PAGE_BYTES, PAGES, Reader, Source},
    ring::wait_until,
};
use crate::bench::BenchFault;

/// Where the buffers begin. The counters lie before, on cache lines of their own.
const BUFFERS_AT: usize = 4096;
const WRITTEN_AT: usize = 0;
const READ_AT: usize = 128;
const TOTAL: usize = BUFFERS_AT + BUFFERS * PAGE_BYTES;

/// The memory, as one of the two processes sees it.
pub struct Shared {
    start: NonNull<u8>,
    fd: OwnedFd,
}

impl Shared {
    /// New memory, which a child inherits.
    ///
    /// # Errors
    /// Those of the system.
    pub fn create() -> io::Result<Self> {
        let fd = memfd_create("batchmind-bench", MemfdFlags::empty())?;
        ftruncate(&fd, TOTAL as u64)?;
        Self::map(fd)
    }

    /// The memory of the parent.
    ///
    /// # Errors
    /// Those of the system.
    pub fn open(number: RawFd) -> io::Result<Self> {
        let file = File::options().read(true).write(true).open(format!("/proc/self/fd/{number}"))?;
        if file.metadata()?.len() != TOTAL as u64 {
            return Err(io::Error::other("memory of another size"));
        }
        Self::map(file.into())
    }

    fn map(fd: OwnedFd) -> io::Result<Self> {
        let (access, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED);
        // SAFETY: a new mapping at a place that the system chooses overlaps nothing. Only the two processes of the bench
        // have the file, and neither changes its size.
        let start = unsafe { mmap(ptr::null_mut(), TOTAL, access, flags, &fd, 0)? };
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start, fd })
    }

    /// The descriptor.
    pub fn fd(&self) -> impl AsFd + '_ {
        &self.fd
    }

    /// Pages that were written.
    fn written(&self) -> &AtomicU64 {
        self.counter(WRITTEN_AT)
    }

    /// Pages that were read.
    fn read(&self) -> &AtomicU64 {
        self.counter(READ_AT)
    }

    fn counter(&self, at: usize) -> &AtomicU64 {
        // SAFETY: `at` is a multiple of 8 below `BUFFERS_AT`, the mapping begins at a memory page and lives as long as
        // `self`; every bit pattern is a number.
        unsafe { self.start.add(at).cast().as_ref() }
    }

    fn buffer(&self, number: u64) -> *mut u8 {
        // SAFETY: the remainder is below `BUFFERS`, so that the whole buffer is in the mapping.
        unsafe { self.start.add(BUFFERS_AT + number as usize % BUFFERS * PAGE_BYTES).as_ptr() }
    }

    /// Writes every page, and returns once the other process has read them all.
    pub fn write_all(&self, source: &Source) {
        let from = self.written().load(Ordering::Acquire);
        for (number, page) in (from..).zip(source.pages()) {
            wait_until(|| self.read().load(Ordering::Acquire) + BUFFERS as u64 > number);
            // SAFETY: a page has `PAGE_BYTES` bytes, and the counters say that nobody reads the buffer.
            unsafe { ptr::copy_nonoverlapping(page.as_ptr(), self.buffer(number), PAGE_BYTES) };
            self.written().store(number + 1, Ordering::Release);
        }
        wait_until(|| self.read().load(Ordering::Acquire) == from + PAGES as u64);
    }

    /// Reads as many pages.
    ///
    /// # Errors
    /// [`BenchFault::Wrong`].
    pub fn read_all(&self, reader: &mut Reader) -> Result<(), BenchFault> {
        let from = self.read().load(Ordering::Acquire);
        for number in from..from + PAGES as u64 {
            wait_until(|| self.written().load(Ordering::Acquire) > number);
            // SAFETY: the copy has room for `PAGE_BYTES` bytes, and the counters say that nobody writes the buffer.
            unsafe { ptr::copy_nonoverlapping(self.buffer(number), reader.copy().as_mut_ptr(), PAGE_BYTES) };
            reader.check()?;
            self.read().store(number + 1, Ordering::Release);
        }
        Ok(())
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: this mapping was made by `map`, and nothing borrowed from it outlives `self`.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), TOTAL) };
    }
}
