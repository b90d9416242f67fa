//! Streams between nodes: a [`gpu::stream::Stream`] that is written at one node, read at another.
//!
//! The stream is written at its origin, in whatever transport it lies there, and nowhere else: an append never crosses
//! the network. The origin offers it to named nodes through its [`StreamExports`]; such a node opens a [`RemoteStream`],
//! which pulls pages ahead of its reader into a bounded window and lets nothing be seen that does not verify. A pull
//! waits at the origin until there is a page, so that a new page costs half a round trip and no polling.
//!
//! A reader is a cursor and nothing else: the origin keeps no state of it. After a cut, or a restart of either side, the
//! reader asks again from its cursor. docs/formats/peer-protocol.md describes the bytes.

pub mod exports;
pub mod link;
pub mod message;
mod puller;
pub mod refusal;
pub mod remote;
mod verdict;
mod window;

pub use exports::{Readers, StreamExports, StreamOffer};
pub use link::{StreamLink, StreamLinkFault, StreamPeers};
pub use remote::{RemoteOptions, RemoteStream};

use super::{IN_FLIGHT_MAX, REQUEST_TIMEOUT_MAX};

/// Requests about streams that may wait for one peer, and as many that one peer may have waiting here: so many about streams
/// of which it is the consumer, as of a move or an engine's queue, and so many about others, as the tokens that its clients
/// wait for. Those take nothing from a move. Together with those of sessions below [`IN_FLIGHT_MAX`], so that there is always
/// room for the ledger.
pub const STREAM_IN_FLIGHT_MAX: usize = IN_FLIGHT_MAX * 3 / 16;

/// The longest that a pull may wait at the origin, in milliseconds.
pub const WAIT_MS_MAX: u32 = 20_000;

/// Pages that one answer carries at most.
pub const PULL_PAGES_MAX: u32 = 1024;

/// The most bytes of payloads in one answer; a single page may be larger.
pub const PULL_BYTES_MAX: u32 = 8 << 20;

const _: () = assert!((WAIT_MS_MAX as u128) < REQUEST_TIMEOUT_MAX.as_millis() / 2, "a long poll must end in time");

#[cfg(test)]
mod tests;
