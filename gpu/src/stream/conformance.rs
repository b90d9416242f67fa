//! The laws of streams, as a suite that every transport runs.
//!
//! A transport says how a fresh stream is opened, and calls [`all`] and [`model`] from its tests; one that survives
//! crashes also calls [`durable_pages_survive`], one that can drop the oldest pages [`the_latest_pages_stay`]. Where
//! writer and reader are two objects (two processes, two nodes), what was written may reach the reader later: the suite
//! waits for it. It asserts no speed; what takes more than a minute is held to be lost. A law that does not hold
//! panics.

mod case;
mod laws;
mod model;

use std::{any::Any, sync::Arc};

use super::{Descriptor, Integrity, RingOptions, RingStream, Stream, StreamWriter};

pub use case::{see, within};
pub use laws::*;
pub use model::{model, seeds};

/// What must fit a stream at once. The suite asks for at most 64 pages of 4 KiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Pages.
    pub pages: usize,
    /// Bytes of one payload.
    pub payload_bytes: usize,
}

/// A fresh stream.
pub struct Opened {
    /// Where it is written.
    pub writer: Arc<dyn StreamWriter>,
    /// Where it is read: the writer itself, or what stands in another process or at another node. Trimming happens here.
    pub reader: Arc<dyn Stream>,
    /// About [`Limits::pages`] fit, not many more: then an append is `Full`, or drops the oldest.
    pub bounded: bool,
    /// What lives as long as the stream: a folder, a runtime, a process. It is dropped last.
    pub keep_alive: Box<dyn Any>,
}

/// Opens a fresh stream. The suite gives every stream another name.
pub type Open<'a> = dyn FnMut(&Descriptor, Limits) -> Opened + 'a;

/// Opens rings: the other end of the pipes in [`all`].
pub fn ring(descriptor: &Descriptor, limits: Limits) -> Opened {
    let Limits { pages, payload_bytes } = limits;
    let ring = RingStream::new(descriptor.clone(), RingOptions { pages, payload_bytes });
    Opened { writer: ring.clone(), reader: ring, bounded: true, keep_alive: Box::new(()) }
}

/// All laws, for streams of this integrity. Those about pipes run from and to a ring.
pub fn all(open: &mut Open<'_>, integrity: Integrity) {
    law_1_a_prefix_is_immutable(open, integrity);
    law_2_cursors_are_independent(open, integrity);
    law_3_positions_are_dense(open, integrity);
    law_4_an_append_is_idempotent(open, integrity);
    law_5_stale_epochs_are_fenced(open, integrity);
    law_6_end_follows_the_last_page(open, integrity);
    law_7_a_gap_is_below_the_earliest_page(open, integrity);
    law_8_no_wake_up_is_lost(open, integrity);
    law_9_durability_only_grows(open, integrity);
    law_10_equal_pages_have_equal_roots(open, integrity);
    law_11_a_pipe_changes_nothing(open, &mut ring, integrity);
    law_11_a_pipe_changes_nothing(&mut ring, open, integrity);
}
