//! Continuations: a suspended computation as a small signed value.
//!
//! [`SignedContinuation`] is a head of fixed size ([`ContinuationHead`]), a body and a signature. The body refers to
//! streams and holds nothing that grows: tokens are in the [`Journal`], keys and values in the stream of KV pages.
//! docs/formats/continuation.md has the bytes, docs/concepts/continuations.md the rules.
//!
//! # Effects
//! A [`Program`] computes nothing itself. It asks for [`Effect`]s, and goes on when it is told what came of them. An
//! effect's identity does not depend on who performs it, where, or how often, so that after a crash or a move the same
//! effect is known to be the same. Its [`Class`] says what happens when it is not known whether it happened.
//!
//! # The journal
//! What an effect yielded stands in the journal at the position that is the effect's number. The first writer wins; who
//! brings another result of a computation that must always yield the same has brought evidence ([`Divergence`]). What
//! stands there is never computed again: a token that was emitted is never sampled again.
//!
//! # Versions
//! The head names the schema of its body. [`Body::read`] reads every schema that was released, [`Body::latest`] makes the
//! latest of it; [`v1`] is the first.

mod body;
mod decode;
mod effect;
mod head;
mod journal;
#[cfg(test)]
mod memory;
mod migrate;
mod program;
mod refusal;
mod signed;
pub mod v1;
mod value;

pub use body::{BODY_BYTES_MAX, Body, Bound, DecodeBody, Tail, Terms, journal_descriptor, kv_descriptor, program};
pub use decode::{Chosen, DecodeProgram};
pub use effect::{Class, Effect, EffectId, EffectResult, Failure, Op, Outcome};
pub use head::{ContinuationHead, Flags, Form, SCHEMA, Status};
pub use journal::{Divergence, Entry, JOURNAL_BYTES_MAX, Journal, PROMPT_CHUNK_TOKENS, Record, Recorded, Resolution};
pub use migrate::Beside;
pub use program::{Advanced, Interpreter, Program, Step, Wake, advance, perform};
pub use refusal::ContinuationRefusal;
pub use signed::{SignedContinuation, Standing};
pub use value::{Value, WaitTree};
