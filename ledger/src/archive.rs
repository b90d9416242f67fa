//! The archive: a final chain as one file, with the decisions that its entries name, for backups and auditors.
//! `docs/formats/archive.md` describes it.
//!
//! It is written and read as a stream, so its size is bounded by no memory. The checksums find damage and say where; what
//! the archive says is believed only after [`crate::replay`] checked it.

use std::{
    collections::BTreeSet,
    io::{self, Read},
    sync::Arc,
};

use genesis::{Consortium, GenesisError};
use serde::{Deserialize, Serialize};
use wallet::{
    codec::{self, DecodeError},
    digest::Digest,
    units::{BlockHeight, NodeId},
};

use crate::{
    block::{Block, FinalBlock},
    bundle::Grounds,
};

/// How an archive begins: its name and version.
pub const MAGIC: &[u8; 20] = b"batchmind archive 1\n";

/// A frame has at most this many bytes after its head: a full block, twice as many for what stands around it.
pub const FRAME_BYTES_MAX: usize = 12 << 20;

/// The most bytes of a decision that is kept, with what leads to its anchor.
pub const GROUNDS_BYTES_MAX: usize = 64 << 10;

/// The length and the CRC-32C in front of a frame, each a little-endian u32.
const FRAME_HEAD_BYTES: usize = 8;

/// What follows the magic: one `Genesis`, the blocks from height 1, decisions that their entries name, one `End`. The order
/// of the variants is part of the format.
#[derive(Debug, Serialize, Deserialize)]
enum Frame {
    /// The genesis document.
    Genesis(Vec<u8>),
    /// The next final block.
    Block(Box<FinalBlock>),
    /// Nothing follows.
    End(End),
    /// A decision of this node, ascending by node and hash.
    Grounds(NodeId, Grounds),
}

/// The archive's last word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// The height of its last block; 0 if it has none.
    pub height: BlockHeight,
    /// Index of that block in the raft log, where a node goes on that is restored from here. No certificate covers it.
    pub raft_index: u64,
}

/// How an archive of this consortium begins.
pub fn head(consortium: &Consortium) -> Vec<u8> {
    [MAGIC.as_slice(), &frame(&Frame::Genesis(consortium.to_bytes()))].concat()
}

/// The next block of an archive.
pub fn block(block: FinalBlock) -> Vec<u8> {
    frame(&Frame::Block(Box::new(block)))
}

/// A decision of node `by` that an entry of the blocks names, ascending by node and hash.
pub fn grounds(by: NodeId, grounds: Grounds) -> Vec<u8> {
    frame(&Frame::Grounds(by, grounds))
}

/// The decisions that a block's entries name, by who made them.
pub(crate) fn named(block: &Block) -> impl Iterator<Item = (NodeId, Digest)> {
    block.entries.iter().filter_map(|entry| Some((entry.body.author, entry.body.event.decision()?)))
}

/// How an archive ends.
pub fn end(end: End) -> Vec<u8> {
    frame(&Frame::End(end))
}

fn frame(frame: &Frame) -> Vec<u8> {
    let mut bytes = codec::encode_after(&[0; FRAME_HEAD_BYTES], frame);
    if let Some((head, body)) = bytes.split_first_chunk_mut::<FRAME_HEAD_BYTES>() {
        debug_assert!(body.len() <= FRAME_BYTES_MAX, "a frame of {} bytes is one that nobody reads", body.len());
        let length = u32::try_from(body.len()).expect("the codec's bound is far below");
        let (first, second) = head.split_at_mut(4);
        first.copy_from_slice(&length.to_le_bytes());
        second.copy_from_slice(&crc32c::crc32c(body).to_le_bytes());
    }
    bytes
}

/// Reads an archive from its beginning to its end.
#[derive(Debug)]
pub struct ArchiveReader<R> {
    from: R,
    /// Where the next frame begins.
    offset: u64,
    consortium: Arc<Consortium>,
    height: BlockHeight,
    /// What the entries of the blocks name.
    named: BTreeSet<(NodeId, Digest)>,
    /// What follows the blocks, with its place, if that was read and not yet looked at.
    ahead: Option<(Frame, u64)>,
    /// The last decision.
    last: Option<(NodeId, Digest)>,
    end: Option<End>,
}

impl<R: Read> ArchiveReader<R> {
    /// Reads how the archive begins. `genesis` is the hash of the document that the caller trusts.
    ///
    /// # Errors
    /// [`ArchiveInvalid`] says what is wrong and where.
    pub fn open(from: R, genesis: &Digest) -> Result<Self, ArchiveInvalid> {
        let reader = Self::of_anyone(from)?;
        let found = reader.consortium.id();
        if found == *genesis { Ok(reader) } else { Err(ArchiveInvalid::OtherConsortium { expected: *genesis, found }) }
    }

    /// Like [`Self::open`], for who trusts nobody yet: the archive of any consortium.
    ///
    /// # Errors
    /// [`ArchiveInvalid`] says what is wrong and where.
    pub fn of_anyone(mut from: R) -> Result<Self, ArchiveInvalid> {
        let mut magic = [0; MAGIC.len()];
        fill(&mut from, &mut magic, 0)?;
        if &magic != MAGIC {
            return Err(ArchiveInvalid::NotAnArchive);
        }
        let offset = MAGIC.len() as u64;
        let (frame, next) = read_frame(&mut from, offset)?;
        let Frame::Genesis(document) = frame else {
            return Err(ArchiveInvalid::OutOfPlace { offset });
        };
        let consortium = Arc::new(Consortium::from_bytes(&document).map_err(ArchiveInvalid::Genesis)?);
        let (height, named) = (BlockHeight::ZERO, BTreeSet::new());
        Ok(Self { from, offset: next, consortium, height, named, ahead: None, last: None, end: None })
    }

    /// Whose chain it is.
    pub fn consortium(&self) -> &Arc<Consortium> {
        &self.consortium
    }

    /// The next block; none where the decisions begin. Read these, too: the archive is whole where they end.
    ///
    /// # Errors
    /// [`ArchiveInvalid`] says what is wrong and where.
    pub fn next_block(&mut self) -> Result<Option<FinalBlock>, ArchiveInvalid> {
        match self.next_frame()? {
            Some((Frame::Block(block), _)) if Some(block.block.header.height) == self.height.next() => {
                self.height = block.block.header.height;
                self.named.extend(named(&block.block));
                Ok(Some(*block))
            }
            Some((Frame::Block(_) | Frame::Genesis(_), offset)) => Err(ArchiveInvalid::OutOfPlace { offset }),
            ahead => {
                self.ahead = ahead;
                Ok(None)
            }
        }
    }

    /// The next decision, and who made it: an entry of the blocks names it, and each comes once. None at the archive's end,
    /// which must then be the end of what is read from. That its node anchored it is not checked here.
    ///
    /// # Errors
    /// [`ArchiveInvalid`] says what is wrong and where.
    pub fn next_grounds(&mut self) -> Result<Option<(NodeId, Grounds)>, ArchiveInvalid> {
        let Some((frame, offset)) = self.next_frame()? else { return Ok(None) };
        match frame {
            Frame::Grounds(by, grounds) => {
                let count = codec::encoded_size(&grounds);
                if count > GROUNDS_BYTES_MAX {
                    return Err(ArchiveInvalid::TooLarge { offset, count, max: GROUNDS_BYTES_MAX });
                }
                let this = (by, grounds.hash());
                if !self.named.contains(&this) {
                    return Err(ArchiveInvalid::NotNamed { offset });
                }
                if self.last.replace(this).is_some_and(|last| last >= this) {
                    return Err(ArchiveInvalid::OutOfPlace { offset });
                }
                Ok(Some((by, grounds)))
            }
            Frame::End(end) if end.height == self.height => {
                self.end = Some(end);
                let offset = self.offset;
                match self.from.read(&mut [0]).map_err(|source| ArchiveInvalid::Unreadable { offset, source })? {
                    0 => Ok(None),
                    _ => Err(ArchiveInvalid::Trailing { offset }),
                }
            }
            _ => Err(ArchiveInvalid::OutOfPlace { offset }),
        }
    }

    /// The next frame, and where it stands; none after the end.
    fn next_frame(&mut self) -> Result<Option<(Frame, u64)>, ArchiveInvalid> {
        if self.ahead.is_some() || self.end.is_some() {
            return Ok(self.ahead.take());
        }
        let offset = self.offset;
        let (frame, next) = read_frame(&mut self.from, offset)?;
        self.offset = next;
        Ok(Some((frame, offset)))
    }

    /// How many decisions the entries of the blocks name that were read so far.
    pub fn named(&self) -> usize {
        self.named.len()
    }

    /// What the archive said at its end, once that is read.
    pub fn end(&self) -> Option<End> {
        self.end
    }
}

/// The frame at `offset`, and where the next one begins.
fn read_frame(from: &mut impl Read, offset: u64) -> Result<(Frame, u64), ArchiveInvalid> {
    let mut head = [0; FRAME_HEAD_BYTES];
    fill(from, &mut head, offset)?;
    let (length, sum) = head.split_at(4);
    let number = |bytes: &[u8]| bytes.iter().rev().fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
    let count = number(length) as usize;
    if count > FRAME_BYTES_MAX {
        return Err(ArchiveInvalid::TooLarge { offset, count, max: FRAME_BYTES_MAX });
    }
    let mut body = vec![0; count];
    fill(from, &mut body, offset)?;
    if crc32c::crc32c(&body) != number(sum) {
        return Err(ArchiveInvalid::Damaged { offset });
    }
    let frame = codec::decode(&body).map_err(|source| ArchiveInvalid::Undecodable { offset, source })?;
    Ok((frame, offset + (FRAME_HEAD_BYTES + count) as u64))
}

fn fill(from: &mut impl Read, buffer: &mut [u8], offset: u64) -> Result<(), ArchiveInvalid> {
    from.read_exact(buffer).map_err(|source| match source.kind() {
        io::ErrorKind::UnexpectedEof => ArchiveInvalid::Torn { offset },
        _ => ArchiveInvalid::Unreadable { offset, source },
    })
}

/// Why a file is no archive, or no whole one. Offsets are in bytes from its beginning.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveInvalid {
    /// The system does not give its bytes.
    #[error("it cannot be read at byte {offset}: {source}")]
    Unreadable {
        /// The frame that was being read.
        offset: u64,
        /// What the system said.
        source: io::Error,
    },
    /// It does not begin like one.
    #[error("it does not begin like an archive of version 1")]
    NotAnArchive,
    /// It ends too early.
    #[error("it ends within the frame at byte {offset}")]
    Torn {
        /// The frame's place.
        offset: u64,
    },
    /// A frame longer than any may be, or a decision larger than those that are kept.
    #[error("the frame at byte {offset} has {count} bytes, more than {max}")]
    TooLarge {
        /// The frame's place.
        offset: u64,
        /// Its length.
        count: usize,
        /// The bound.
        max: usize,
    },
    /// The bytes are not those that were written.
    #[error("the frame at byte {offset} is damaged: its checksum does not match")]
    Damaged {
        /// The frame's place.
        offset: u64,
    },
    /// The frame holds nothing that an archive knows.
    #[error("the frame at byte {offset}: {source}")]
    Undecodable {
        /// The frame's place.
        offset: u64,
        /// What the decoder met.
        source: DecodeError,
    },
    /// A decision that is none of those that the node made which entries name.
    #[error("no entry names the decision in the frame at byte {offset}")]
    NotNamed {
        /// The frame's place.
        offset: u64,
    },
    /// A frame that does not belong there: a height left out, a decision before another that is less, or the wrong end.
    #[error("the frame at byte {offset} is out of place")]
    OutOfPlace {
        /// The frame's place.
        offset: u64,
    },
    /// There is more after the end.
    #[error("something follows the archive's end at byte {offset}")]
    Trailing {
        /// Where it begins.
        offset: u64,
    },
    /// Its genesis document is not valid.
    #[error("its genesis document: {0}")]
    Genesis(#[source] GenesisError),
    /// It is of another consortium than the caller trusts.
    #[error("it is of consortium {found}, not of {expected}")]
    OtherConsortium {
        /// The one asked for.
        expected: Digest,
        /// The one in the archive.
        found: Digest,
    },
}

#[cfg(test)]
mod tests;
