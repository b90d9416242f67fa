//! The side that reads.

use std::{sync::Arc, time::Duration};

use wallet::digest::Digest;

use super::{Memory, Role, side::Side};
use crate::stream::{Cursor, Descriptor, Next, RangeProof, Stream, StreamFault, StreamState, Waiting, Wake};

/// Where a stream in shared memory is read, by as many cursors as there are. Clones hold the same place; it is given back
/// with the last of them and of the payloads.
#[derive(Clone)]
pub struct ShmReader {
    side: Arc<Side>,
}

impl ShmReader {
    pub(super) fn claim(memory: &Arc<Memory>) -> Result<Self, StreamFault> {
        Ok(Self { side: Side::claim(Arc::clone(memory), Role::Reader)? })
    }

    /// As [`Stream::wait`], on this thread: looks for some microseconds without sleeping, which is the fastest way to be
    /// woken, and then sleeps. False if the time was over before.
    pub fn wait_blocking(&self, wake: Wake, timeout: Option<Duration>) -> bool {
        self.side.wait_blocking(wake, timeout)
    }

    /// How often the reader's place was taken.
    pub fn generation(&self) -> u32 {
        self.side.generation()
    }
}

impl Stream for ShmReader {
    fn descriptor(&self) -> &Descriptor {
        &self.side.memory.descriptor
    }

    fn state(&self) -> StreamState {
        self.side.state()
    }

    fn next(&self, cursor: Cursor) -> Result<Next, StreamFault> {
        self.side.next(cursor)
    }

    fn root(&self, at: u64) -> Result<Digest, StreamFault> {
        self.side.root(at)
    }

    fn prove(&self, from: u64, to: u64) -> Result<RangeProof, StreamFault> {
        self.side.prove(from, to)
    }

    fn trim(&self, before: u64) -> Result<(), StreamFault> {
        self.side.trim(before)
    }

    fn wait(&self, wake: Wake) -> Waiting<'_> {
        self.side.wait(wake)
    }
}
