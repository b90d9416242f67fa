//! The roots of a stream in shared memory, kept by each side for itself.

use std::sync::atomic::{Ordering, fence};

use wallet::{digest::Digest, page::PageHead};

use super::Memory;
use crate::stream::{Integrity, RangeProof, StreamFault, root::RootLog};

/// The heads' hashes, as far as they were needed.
pub(super) enum Roots {
    /// Nobody asked: in a stream without hashes nothing is hashed before somebody does.
    Unasked,
    /// From the first page that was there when it began.
    Kept(RootLog),
    /// Heads were trimmed before they were hashed.
    Lost,
}

impl Roots {
    /// Those of a side that takes its place now.
    pub fn new(memory: &Memory) -> Self {
        let begins = memory.header().earliest.0.load(Ordering::SeqCst) == 0;
        match memory.descriptor.integrity {
            _ if !begins => Self::Lost,
            Integrity::None => Self::Unasked,
            Integrity::Plain | Integrity::Keyed => Self::Kept(RootLog::new()),
        }
    }

    /// Adds the head that the writer is about to publish, if all before it are there. What the other side trimmed goes.
    pub fn push(&mut self, memory: &Memory, head: &PageHead) {
        if let Self::Kept(log) = self
            && log.tail() == head.position
        {
            log.push(head);
            log.trim(memory.header().earliest.0.load(Ordering::SeqCst).min(head.position));
        }
    }

    /// Hashes what is about to be trimmed.
    pub fn trim(&mut self, memory: &Memory, before: u64) {
        self.read(memory, before);
        if let Self::Kept(log) = self {
            log.trim(before);
        }
    }

    /// The root over the heads below `at`.
    pub fn root(&mut self, memory: &Memory, at: u64) -> Result<Digest, StreamFault> {
        self.log(memory, at)?.root(at)
    }

    /// A proof of the pages of `from..to`.
    pub fn prove(&mut self, memory: &Memory, from: u64, to: u64) -> Result<RangeProof, StreamFault> {
        self.log(memory, from)?.prove(from, to)
    }

    fn log(&mut self, memory: &Memory, position: u64) -> Result<&RootLog, StreamFault> {
        let (earliest, tail) = memory.bounds()?;
        if let Self::Unasked = self {
            *self = Self::Kept(RootLog::new());
        }
        self.read(memory, tail);
        match self {
            Self::Kept(log) => {
                log.trim(earliest);
                Ok(log)
            }
            _ => Err(StreamFault::NotKept { position, earliest }),
        }
    }

    /// Hashes the heads up to `to`.
    fn read(&mut self, memory: &Memory, to: u64) {
        let Self::Kept(log) = self else { return };
        while log.tail() < to {
            let position = log.tail();
            let placed = memory.placed(position);
            fence(Ordering::SeqCst);
            let still = memory.header().earliest.0.load(Ordering::SeqCst) <= position;
            match placed {
                Ok(placed) if still => log.push(&placed.head),
                _ => {
                    *self = Self::Lost;
                    return;
                }
            }
        }
    }
}
