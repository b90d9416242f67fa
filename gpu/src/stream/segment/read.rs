//! Reading a page: all of it is checked.

use std::{fs::File, hint::black_box, io};

use bytes::Bytes;
use rustix::{
    buffer::spare_capacity,
    io::{Errno, pread},
};
use wallet::page::payload_hash;

use super::{
    SegmentStream,
    folder::fault,
    format::{Binding, page_frame_bytes, payload_at},
    lock,
    scan::Entry,
};
use crate::stream::{Cursor, Integrity, Next, Page, StreamFault, Wake};

/// Bytes that are wiped when they are dropped: what was sealed on disk.
#[derive(Debug, Default)]
pub struct Wiped(pub Vec<u8>);

impl SegmentStream {
    /// What there is at `cursor`.
    ///
    /// # Errors
    /// [`StreamFault::Damaged`], [`StreamFault::Io`].
    pub(super) fn read(&self, cursor: Cursor) -> Result<Next, StreamFault> {
        let position = cursor.0;
        let bytes =
            |binding: &Binding, entry: Entry| page_frame_bytes(binding.is_sealed(), entry.payload_bytes as usize);
        let (file, ahead, binding, entry) = {
            let mut index = lock(&self.index);
            let earliest = index.log.earliest();
            if position < earliest {
                return Ok(Next::Gap { earliest });
            }
            let Some((segment, entry)) = index.find(position) else {
                return Ok(if index.closed { Next::End } else { Next::Blocked(Wake::Page(position)) });
            };
            let binding = segment.binding.clone();
            let bytes = bytes(&binding, entry) as u64;
            let (file, ahead) = index.file_at(&self.folder, binding.first(), entry.offset, bytes)?;
            (file, ahead, binding, entry)
        };
        let damaged = |reason| StreamFault::Damaged { position, reason };
        if let Some(ahead) = ahead {
            ahead.ask(&file);
        }
        let mut frame = read_at(&file, entry.offset, bytes(&binding, entry))
            .map_err(|source| fault(&self.folder.segment(binding.first()), source))?;
        let prelude = binding.check_frame(entry.offset, &frame).map_err(damaged)?;
        let head = binding.head(entry.offset, &prelude, position, &frame).map_err(damaged)?;
        binding.open_payload(entry.offset, position, &mut frame).map_err(damaged)?;
        let payload = payload_at(binding.is_sealed())..payload_at(binding.is_sealed()) + entry.payload_bytes as usize;
        if self.descriptor.integrity == Integrity::Plain && payload_hash(&frame[payload.clone()], None) != head.hash {
            return Err(damaged("the hash of the payload"));
        }
        let frame = match self.options.seal {
            Some(_) => Bytes::from_owner(Wiped(frame)),
            None => Bytes::from(frame),
        };
        Ok(Next::Item(Page { head, payload: frame.slice(payload) }, Cursor(position + 1)))
    }
}

/// Up to `bytes` bytes at `offset`: fewer if the file ends before. They are not zeroed first.
fn read_at(file: &File, offset: u64, bytes: usize) -> io::Result<Vec<u8>> {
    let mut read = Vec::with_capacity(bytes);
    while read.len() < bytes {
        let at = offset + read.len() as u64;
        match pread(file, spare_capacity(&mut read), at) {
            Ok(0) => break,
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    // The allocation may have more room than was asked for.
    read.truncate(bytes);
    Ok(read)
}

impl AsRef<[u8]> for Wiped {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Wiped {
    fn drop(&mut self) {
        self.0.fill(0);
        // Somebody may look at them, as far as the compiler knows.
        black_box(&self.0);
    }
}
