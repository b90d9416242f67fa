//! Moving a live session to another node: the source's side, the receiver's side, and what they measured.
//!
//! The order is that of the design's "one ledger round in the gap": offer and acceptance become final and pages cross
//! while the source decodes, through a stream of sealed pages; it freezes at a step boundary and hands over the tail
//! with a ticket; the receiver decodes ahead and emits once its confirm is final. The rules are those of
//! `wallet::handoff`; this module carries them out.

mod handover;
pub mod hop;
pub(crate) mod inbound;
pub(crate) mod intake;
pub(crate) mod landing;
pub mod messages;
pub(crate) mod outbound;
mod precopy;
pub mod refusal;
pub mod report;

#[cfg(test)]
mod tests;
