//! The engine behind two streams: requests in, events out. So it may stand in the same process, in a worker process
//! beside it or at another host, and nothing else changes: only the streams' transports differ.
//!
//! A message is one page of kind `Dispatch` that holds an encoded [`Request`] or [`Event`], followed by the KV pages that
//! belong to it, each a page of kind `Kv`. [`send`] writes a message, [`Inbox`] puts messages together again. What was
//! read is trimmed, which makes room for the writer: this is the queue's backpressure.
//!
//! [`Interpreter`] is the engine's side. The other side chooses the sequences' ids and the numbers of its calls.

mod inbox;
mod interpreter;
mod message;

pub use inbox::{Inbox, Message, send};
pub use interpreter::{ALIVE_EVERY, Interpreter, REPLY_BYTES_MAX, monotonic_ns};
pub use message::{Event, Refused, Reply, Request, Stats, StepTokens, TokenEvent};

use wallet::digest::{Digest, blake3};

use crate::{
    backend::numerics_id,
    stream::{Descriptor, Integrity, Retention},
};

/// What an engine's request stream is called.
pub const REQUESTS: &str = "requests";
/// What an engine's event stream is called.
pub const EVENTS: &str = "events";

/// Of the messages. Whoever changes what they mean or how they are encoded raises it.
const VERSION: u16 = 2;

/// What both ends of a queue must have in common beside the model: the messages, and the rules of arithmetic. An engine of
/// another release might read a request as another one, or choose other tokens.
pub fn format() -> Digest {
    blake3("batchmind/v1/gpu/dispatch-format", None, &[&VERSION.to_le_bytes(), numerics_id().as_bytes()])
}

/// The descriptor of one of an engine's two streams. `queue` names the engine among all that there are.
pub fn descriptor(queue: &Digest, name: &str, integrity: Integrity) -> Descriptor {
    Descriptor {
        owner: blake3("batchmind/v1/gpu/dispatch", None, &[queue.as_bytes()]),
        name: name.to_owned(),
        integrity,
        retention: Retention::Keep,
        format: format(),
    }
}

#[cfg(test)]
mod tests;
