//! The mapped memory. The only place with unsafe code: everything that comes out of here is bounds-checked, and what is
//! not a payload is an atomic.
#![expect(unsafe_code, reason = "memory that another process sees too cannot be had otherwise")]

use std::{io, os::fd::AsFd, ptr::NonNull, slice};

use rustix::{
    fs::{MemfdFlags, SealFlags},
    mm::{MapFlags, ProtFlags},
};

use super::layout::{Entry, Geometry, Header};

/// A whole memfd, mapped. It never changes its size: it is sealed against that.
pub(super) struct Mapping {
    start: NonNull<u8>,
    total: usize,
}

// SAFETY: the memory belongs to no thread. What is reached through `&self` is atomics, or payloads under the rules of
// `payload` and `payload_mut`.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

/// Memory of `total` bytes that no process can make smaller or larger.
pub(super) fn sealed_memory(total: usize) -> io::Result<std::os::fd::OwnedFd> {
    let fd = rustix::fs::memfd_create("batchmind-stream", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    rustix::fs::ftruncate(&fd, total as u64)?;
    rustix::fs::fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
    Ok(fd)
}

impl Mapping {
    /// Maps all of `fd`, which must be sealed and hold at least a header.
    pub fn new(fd: impl AsFd) -> io::Result<Self> {
        let seals = rustix::fs::fcntl_get_seals(&fd)?;
        let total = usize::try_from(rustix::fs::fstat(&fd)?.st_size).unwrap_or(0);
        if !seals.contains(SealFlags::SHRINK) || total < Geometry::INDEX {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "no sealed memory of a stream"));
        }
        let flags = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at a place that the system chooses overlaps nothing. The file cannot shrink, so no
        // access within `total` can fault.
        let start = unsafe { rustix::mm::mmap(std::ptr::null_mut(), total, flags, MapFlags::SHARED, fd, 0)? };
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start, total })
    }

    /// The size of the whole.
    pub const fn total(&self) -> usize {
        self.total
    }

    /// The header.
    pub const fn header(&self) -> &Header {
        // SAFETY: the mapping begins at a page boundary, is at least as long as a header, lives as long as `self`, and a
        // header is made of atomics, for which every bit pattern is a value.
        unsafe { self.start.cast().as_ref() }
    }

    /// The index ring. Empty if it does not fit the memory.
    pub fn index(&self, geometry: Geometry) -> &[Entry] {
        if geometry.arena() > self.total {
            return &[];
        }
        // SAFETY: `arena` is not before the end of `pages` entries from `INDEX` on, which is a page boundary, and it is
        // within the mapping, which lives as long as `self`. Entries are made of atomics.
        unsafe { slice::from_raw_parts(self.start.add(Geometry::INDEX).cast().as_ptr(), geometry.pages) }
    }

    /// `bytes` bytes of the arena from `start` on. None if the arena has not so many.
    ///
    /// The caller holds a lease on the page whose payload this is: its bytes are not written until it is given back.
    pub fn payload(&self, geometry: Geometry, start: usize, bytes: usize) -> Option<&[u8]> {
        let at = self.offset(geometry, start, bytes)?;
        // SAFETY: `offset` has checked that it lies in the mapping, which lives as long as `self`. Both processes keep
        // to leases: a page that is published is not written while one is held. A process that breaks this rule can
        // change the bytes, but not their place.
        Some(unsafe { slice::from_raw_parts(self.start.add(at).as_ptr(), bytes) })
    }

    /// As [`Self::payload`], to be written.
    ///
    /// The caller is the only writer, and the place belongs to no page that is published and not trimmed or leased.
    #[expect(clippy::mut_from_ref, reason = "the memory is shared; the writer's lock gives the exclusive access")]
    pub fn payload_mut(&self, geometry: Geometry, start: usize, bytes: usize) -> Option<&mut [u8]> {
        let at = self.offset(geometry, start, bytes)?;
        // SAFETY: as in `payload`; that nobody else has a reference to it is what the caller says.
        Some(unsafe { slice::from_raw_parts_mut(self.start.add(at).as_ptr(), bytes) })
    }

    fn offset(&self, geometry: Geometry, start: usize, bytes: usize) -> Option<usize> {
        let fits = start.checked_add(bytes)? <= geometry.bytes && geometry.total() <= self.total;
        fits.then(|| geometry.arena() + start)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: this mapping was made by `new`, and whatever was borrowed from it is gone.
        let _ = unsafe { rustix::mm::munmap(self.start.as_ptr().cast(), self.total) };
    }
}
