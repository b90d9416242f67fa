//! How a node that joins gets a ledger from several others, in chunks that it checks one by one. `docs/formats/snapshot.md`
//! describes the chunks.
//!
//! An [`Offer`] names a node's last final block and what made it final. With the hand-overs from genesis it proves itself,
//! by the genesis document alone. All below that block hangs on its hash: headers by the parent's digest, entries by the
//! log's size and root in the header below and in their own, the state at an earlier height by that header's state root. So
//! a [`Wanted`] chunk says by one hash what must come, it does not matter who sends it, and who sends another is found out
//! at once.
//!
//! Three things no hash says. Hand-overs and the certificate beside each block stand by a quorum's signatures; of several
//! that do, the one that came is kept. That a last block is no carrier shows only in the headers below it. And where it
//! stands in the raft log is one node's word, which its header may prove: so a newcomer may have to turn to another offer.
//!
//! Nothing up to the state's height is executed. That each of those states follows from the entries before it is the word
//! of the quorums that certified it; `batchmind audit replay` checks it afterwards. From there on everything is executed.

mod chunk;
mod offer;
mod path;
mod plan;

pub use self::{
    chunk::{Blocks, Checked, ChunkInvalid, Piece, Wanted},
    offer::{Offer, OfferInvalid, Verified},
    path::{ChunkPath, NotAPath},
    plan::{Extent, Plan},
};

/// No chunk has more bytes: one block at least as an archive may hold it, and what stands around it.
pub const CHUNK_BYTES_MAX: usize = 16 << 20;
/// Parts of a chunk are gathered until they have as many bytes together.
pub const CHUNK_BYTES: usize = 1 << 20;
/// Headers of one chunk.
pub const HEADERS_MAX: u64 = 1_024;
/// Blocks of one chunk.
pub const BLOCKS_MAX: u64 = 32;
/// Heights that one offer names.
pub const STATES_MAX: usize = 8;

#[cfg(test)]
mod tests;
