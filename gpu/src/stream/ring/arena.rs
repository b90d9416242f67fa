//! The buffers of a ring: bounded in number, made when first needed, never cleared between two uses. What is free takes
//! up only so much memory: one long page does not pin what it needed.

use super::sync::{Arc, Event, EventListener, Mutex, MutexGuard, PoisonError};

/// Bytes of free buffers that are kept for the next pages; beyond them a buffer gives its memory back.
pub const FREE_BYTES_MAX: usize = 32 << 20;

/// All buffers of a ring, whether they are free, being written, or read.
#[derive(Debug)]
pub struct Arena {
    most: usize,
    buffers: Mutex<Buffers>,
    /// There may be room.
    room: Event,
}

#[derive(Debug, Default)]
struct Buffers {
    /// The last one used comes first: it is in the processor's cache still.
    free: Vec<Vec<u8>>,
    free_bytes: usize,
    made: usize,
}

/// A buffer and what is in it. It goes back when it is dropped.
#[derive(Debug)]
pub struct Slot {
    buffer: Vec<u8>,
    /// Bytes of the payload; what comes behind is from an earlier use.
    bytes: usize,
    arena: Arc<Arena>,
}

impl Arena {
    /// One of at most `most` buffers.
    pub fn new(most: usize) -> Self {
        Self { most, buffers: Mutex::new(Buffers::default()), room: Event::new() }
    }

    /// Whether a buffer can be had.
    pub fn has_room(&self) -> bool {
        let buffers = self.lock();
        !buffers.free.is_empty() || buffers.made < self.most
    }

    /// What ends when [`Self::room_may_be`] is called after this.
    pub fn listen(&self) -> EventListener {
        self.room.listen()
    }

    /// Wakes everybody who waits for room.
    pub fn room_may_be(&self) {
        self.room.notify(usize::MAX);
    }

    /// Bytes of the buffers that are free.
    #[cfg(test)]
    pub fn free_bytes(&self) -> usize {
        self.lock().free_bytes
    }

    fn lock(&self) -> MutexGuard<'_, Buffers> {
        self.buffers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    /// A buffer, if there is one.
    pub fn take(arena: &Arc<Arena>) -> Option<Self> {
        let mut buffers = arena.lock();
        let buffer = match buffers.free.pop() {
            Some(buffer) => {
                buffers.free_bytes -= buffer.len();
                buffer
            }
            None if buffers.made < arena.most => {
                buffers.made += 1;
                Vec::new()
            }
            None => return None,
        };
        drop(buffers);
        Some(Self { buffer, bytes: 0, arena: arena.clone() })
    }

    /// Where the payload of `bytes` bytes is written. It holds what was there before.
    pub fn room(&mut self, bytes: usize) -> &mut [u8] {
        if self.buffer.is_empty() {
            self.buffer = vec![0; bytes];
        } else if self.buffer.len() < bytes {
            self.buffer.reserve_exact(bytes - self.buffer.len());
            self.buffer.resize(bytes, 0);
        }
        self.bytes = bytes;
        &mut self.buffer[..bytes]
    }

    /// What was written.
    pub fn payload(&self) -> &[u8] {
        &self.buffer[..self.bytes]
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut buffers = self.arena.lock();
        if buffers.free_bytes.saturating_add(buffer.len()) > FREE_BYTES_MAX {
            buffer = Vec::new();
        }
        buffers.free_bytes += buffer.len();
        buffers.free.push(buffer);
        drop(buffers);
        self.arena.room_may_be();
    }
}
