//! Shared memory: a stream between two processes of one host.
//!
//! One process makes the memory and gives its descriptor to the other; each takes one place, the writer's or the
//! reader's. Payloads are written and read in place. The memory holds a header, a ring of page entries and an arena of
//! payloads, all by offsets; it is sealed, so that neither process can take it away under the other. Room comes back in
//! the order in which it was taken: a payload that is held keeps the room of all pages after it.
//!
//! # When a process dies
//! Pages become visible by one store, so what a writer leaves half done is not there. The other side drains what was
//! published and then gets [`StreamFault::PeerGone`]; nobody sleeps for long without looking whether the other end
//! lives. A new process takes the place of the dead one and goes on: a writer at the tail, a reader at any cursor that is
//! kept.
//!
//! # What the processes can do to each other
//! Both run under one user and are one program; the memory is no boundary of trust. Whatever is read from it is checked
//! all the same: a process that went wrong causes [`StreamFault::Damaged`] at the other end, not a panic or a read of
//! memory that is not the stream's.

mod bell;
mod layout;
mod mapping;
mod peer;
mod reader;
mod roots;
mod side;
#[cfg(test)]
mod tests;
mod writer;

use std::{
    fs::File,
    io,
    os::fd::{OwnedFd, RawFd},
    path::PathBuf,
    sync::{Arc, PoisonError},
    time::Duration,
};

use wallet::digest::Digest;

pub use reader::ShmReader;
pub use writer::ShmWriter;

use super::{Descriptor, RangeProof, Retention, StreamFault};
use layout::{Geometry, Header, Place};
use mapping::Mapping;
use side::Side;

/// Nobody sleeps longer without looking whether the other end lives.
const NAP: Duration = Duration::from_millis(50);

/// How large the memory of a stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShmOptions {
    /// Bytes of all payloads, up to 64 GiB. Rounded up to whole memory pages. The largest payload is as large as this,
    /// or [`super::PAYLOAD_BYTES_MAX`].
    pub bytes: usize,
    /// The most pages, up to 1,048,576.
    pub pages: usize,
}

/// A stream in shared memory, before a place at it is taken.
pub struct ShmStream {
    memory: Arc<Memory>,
    fd: OwnedFd,
}

/// Which of the two places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Writer,
    Reader,
}

/// The memory, as this process sees it.
struct Memory {
    mapping: Mapping,
    geometry: Geometry,
    descriptor: Descriptor,
    /// [`NAP`]. A test that is to fail where a wake-up is lost takes longer ones.
    nap: Duration,
}

impl ShmStream {
    /// Makes the memory of a new stream.
    ///
    /// # Errors
    /// [`StreamFault::AnotherStream`] for [`Retention::Latest`], which shared memory does not have, and for options that
    /// make no memory; [`StreamFault::Io`] if the system gives none.
    pub fn create(descriptor: Descriptor, options: ShmOptions) -> Result<Self, StreamFault> {
        let refused = |reason| StreamFault::AnotherStream { reason };
        if descriptor.retention == Retention::Latest {
            return Err(refused("shared memory keeps every page until it is trimmed"));
        }
        let geometry = Geometry::new(options.pages, options.bytes).ok_or(refused("no memory has these sizes"))?;
        let fd = mapping::sealed_memory(geometry.total()).map_err(system)?;
        let mapping = Mapping::new(&fd).map_err(system)?;
        mapping.header().write(geometry, &descriptor)?;
        Ok(Self { memory: Arc::new(Memory { mapping, geometry, descriptor, nap: NAP }), fd })
    }

    /// Opens the memory that another process has made.
    ///
    /// # Errors
    /// [`StreamFault::Io`], [`StreamFault::AnotherStream`] or [`StreamFault::Damaged`]: it is no such memory.
    pub fn open(fd: OwnedFd) -> Result<Self, StreamFault> {
        let mapping = Mapping::new(&fd).map_err(system)?;
        let (geometry, descriptor) = mapping.header().read(mapping.total())?;
        Ok(Self { memory: Arc::new(Memory { mapping, geometry, descriptor, nap: NAP }), fd })
    }

    /// Opens the memory whose descriptor this process has inherited under this number.
    ///
    /// # Errors
    /// See [`Self::open`].
    pub fn open_inherited(number: RawFd) -> Result<Self, StreamFault> {
        let file = PathBuf::from(format!("/proc/self/fd/{number}"));
        let opened = File::options().read(true).write(true).open(&file);
        Self::open(opened.map_err(|source| StreamFault::Io { file, source })?.into())
    }

    /// The memory's descriptor, for a child process: it stays open when a program is started. To be dropped once the
    /// child is there, before another one is started.
    ///
    /// # Errors
    /// [`StreamFault::Io`].
    pub fn inheritable(&self) -> Result<OwnedFd, StreamFault> {
        rustix::io::dup(&self.fd).map_err(|errno| system(errno.into()))
    }

    /// What it is.
    pub fn descriptor(&self) -> &Descriptor {
        &self.memory.descriptor
    }

    /// Takes the writer's place.
    ///
    /// # Errors
    /// [`StreamFault::RoleTaken`] if somebody who lives has it; [`StreamFault::Damaged`].
    pub fn writer(&self) -> Result<ShmWriter, StreamFault> {
        ShmWriter::claim(&self.memory)
    }

    /// Takes the reader's place.
    ///
    /// # Errors
    /// [`StreamFault::RoleTaken`] if somebody who lives has it.
    pub fn reader(&self) -> Result<ShmReader, StreamFault> {
        ShmReader::claim(&self.memory)
    }
}

impl Role {
    const fn other(self) -> Self {
        match self {
            Self::Writer => Self::Reader,
            Self::Reader => Self::Writer,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Writer => "writer",
            Self::Reader => "reader",
        }
    }
}

impl Memory {
    const fn header(&self) -> &Header {
        self.mapping.header()
    }

    fn place(&self, role: Role) -> &Place {
        let [writer, reader] = &self.header().places;
        match role {
            Role::Writer => writer,
            Role::Reader => reader,
        }
    }
}

impl Side {
    fn root(&self, at: u64) -> Result<Digest, StreamFault> {
        self.roots.lock().unwrap_or_else(PoisonError::into_inner).root(&self.memory, at)
    }

    fn prove(&self, from: u64, to: u64) -> Result<RangeProof, StreamFault> {
        self.roots.lock().unwrap_or_else(PoisonError::into_inner).prove(&self.memory, from, to)
    }
}

fn system(source: io::Error) -> StreamFault {
    StreamFault::Io { file: PathBuf::from("memfd"), source }
}
