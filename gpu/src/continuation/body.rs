//! What a continuation's head is signed over: the state of the program, and references to its streams.

use serde::{Deserialize, Serialize};
use wallet::{
    codec,
    digest::{Digest, blake3},
    identity::SecretKey,
    units::TokenCount,
};

use super::{
    head::{ContinuationHead, Form, SCHEMA, Status},
    refusal::ContinuationRefusal,
    signed::{SignedContinuation, Standing},
    v1,
};
use crate::{
    BLOCK_TOKENS,
    engine::FinishReason,
    sampling::SamplingParams,
    stream::{Descriptor, Integrity, Retention, StreamId, StreamRef},
};

/// The largest body of any form.
pub const BODY_BYTES_MAX: usize = 64 << 10;

const PROGRAM_DOMAIN: &str = "batchmind/v1/gpu/program";
const BODY_DOMAIN: &str = "batchmind/v1/gpu/continuation-body";
const JOURNAL: &str = "journal";
const KV: &str = "kv";

/// A body of any schema that was released. [`Self::latest`] makes one of the latest of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Body {
    /// Schema 1: a decode session without streams.
    V1(v1::Continuation),
    /// Schema 2: a decode session.
    Decode(DecodeBody),
}

/// A suspended decode session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecodeBody {
    /// Hash of the model that the session runs on.
    pub model: Digest,
    /// How tokens are chosen, and when to stop.
    pub sampling: SamplingParams,
    /// How many of the tokens are the prompt's; at least 1.
    pub prompt: TokenCount,
    /// The journal: prompt, tokens and other results.
    pub journal: Bound,
    /// The full pages of keys and values. There may be fewer than there are tokens for: the rest is computed again.
    pub kv: Bound,
    /// The page after the full ones, which travels beside the continuation.
    pub tail: Option<Tail>,
    /// Set if there is nothing left to generate.
    pub finish: Option<FinishReason>,
    /// What the host keeps with it.
    pub terms: Terms,
}

/// A stream of the continuation from its beginning. Which stream it is follows from the continuation's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bound {
    /// Root over the heads of the pages.
    pub root: Digest,
    /// How many pages.
    pub to: u64,
}

/// The page of keys and values that is not full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tail {
    /// Tokens in it: 1 to 15.
    pub rows: u8,
    /// Keyed hash of its payload, as it would stand in its head.
    pub hash: Digest,
}

/// What the host keeps with a continuation; nothing here reads it. At most [`Terms::BYTES_MAX`] bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<u8>", into = "Vec<u8>")]
pub struct Terms(Vec<u8>);

impl Body {
    /// Reads the body of a head.
    ///
    /// # Errors
    /// [`ContinuationRefusal::SchemaUnknown`] if a later version wrote it, [`ContinuationRefusal::ProgramUnknown`],
    /// [`ContinuationRefusal::BodyMalformed`], [`ContinuationRefusal::BodyInvalid`].
    pub fn read(head: &ContinuationHead, bytes: &[u8]) -> Result<Self, ContinuationRefusal> {
        let body = match (head.form, head.schema) {
            (Form::Decode, 1) => Self::V1(v1::Continuation::decode(bytes).map_err(|_| invalid("schema 1"))?),
            (Form::Decode, 2) => Self::Decode(codec::decode(bytes)?),
            (form, found) => {
                return Err(ContinuationRefusal::SchemaUnknown { form: form.code(), found, latest: SCHEMA });
            }
        };
        if head.program != program(head.form, head.schema) {
            return Err(ContinuationRefusal::ProgramUnknown);
        }
        if let Self::Decode(body) = &body {
            body.validate()?;
            if body.journal.to != u64::from(head.seq) {
                return Err(invalid("the journal does not end where the head says"));
            }
            if body.finish.is_some() != (head.status == Status::Done) {
                return Err(invalid("status and body disagree on the end"));
            }
        }
        Ok(body)
    }
}

impl DecodeBody {
    /// The canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// Signs it. A session that has ended is [`Status::Done`], whatever `standing` says.
    ///
    /// # Errors
    /// [`ContinuationRefusal::BodyInvalid`].
    pub fn sign(&self, standing: &Standing, key: &SecretKey) -> Result<SignedContinuation, ContinuationRefusal> {
        self.validate()?;
        let seq = u32::try_from(self.journal.to).map_err(|_| invalid("the journal is too long"))?;
        let status = if self.finish.is_some() { Status::Done } else { standing.status };
        SignedContinuation::sign(Form::Decode, seq, &self.encode(), &Standing { status, ..*standing }, key)
    }

    /// Checks what can be checked without the streams.
    ///
    /// # Errors
    /// [`ContinuationRefusal::BodyInvalid`].
    pub fn validate(&self) -> Result<(), ContinuationRefusal> {
        self.sampling.validate().map_err(|_| invalid("a sampling parameter is out of bounds"))?;
        if self.prompt == TokenCount::ZERO {
            return Err(invalid("the prompt is empty"));
        }
        if self.journal.to == 0 {
            return Err(invalid("the journal has no prompt"));
        }
        if self.kv.to > u64::from(u32::MAX) / BLOCK_TOKENS as u64 {
            return Err(invalid("more pages than a context can have"));
        }
        if self.tail.is_some_and(|tail| !(1..BLOCK_TOKENS as u8).contains(&tail.rows)) {
            return Err(invalid("the tail is empty or a full page"));
        }
        Ok(())
    }

    /// For how many tokens there are keys and values.
    pub fn positions(&self) -> u64 {
        self.kv.to * BLOCK_TOKENS as u64 + self.tail.map_or(0, |tail| u64::from(tail.rows))
    }

    /// The journal of the continuation `id`.
    pub fn journal_ref(&self, id: &Digest) -> StreamRef {
        self.journal.of(journal_descriptor(id).id())
    }

    /// The KV pages of the continuation `id`; `format` is the hash of their `wallet::page::StreamDescriptor`.
    pub fn kv_ref(&self, id: &Digest, format: Digest) -> StreamRef {
        self.kv.of(kv_descriptor(id, format).id())
    }
}

impl Bound {
    /// The reference to a stream.
    pub const fn of(&self, id: StreamId) -> StreamRef {
        StreamRef { id, root: self.root, from: 0, to: self.to }
    }
}

impl Terms {
    /// The most bytes.
    pub const BYTES_MAX: usize = 128;

    /// # Errors
    /// [`ContinuationRefusal::BodyInvalid`] if there are too many.
    pub fn new(bytes: Vec<u8>) -> Result<Self, ContinuationRefusal> {
        if bytes.len() > Self::BYTES_MAX {
            return Err(invalid("the terms are too long"));
        }
        Ok(Self(bytes))
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }
}

impl TryFrom<Vec<u8>> for Terms {
    type Error = ContinuationRefusal;

    fn try_from(bytes: Vec<u8>) -> Result<Self, ContinuationRefusal> {
        Self::new(bytes)
    }
}

impl From<Terms> for Vec<u8> {
    fn from(terms: Terms) -> Self {
        terms.0
    }
}

/// What the journal of the continuation `id` is.
pub fn journal_descriptor(id: &Digest) -> Descriptor {
    descriptor(id, JOURNAL, Digest::ZERO)
}

/// What the stream of full KV pages of the continuation `id` is; `format` is the hash of their
/// `wallet::page::StreamDescriptor`.
pub fn kv_descriptor(id: &Digest, format: Digest) -> Descriptor {
    descriptor(id, KV, format)
}

/// The hash of a program: of its form and schema.
pub fn program(form: Form, schema: u16) -> Digest {
    blake3(PROGRAM_DOMAIN, None, &[&form.code().to_le_bytes(), &schema.to_le_bytes()])
}

/// The hash of a body in the head.
pub(super) fn body_root(body: &[u8]) -> Digest {
    blake3(BODY_DOMAIN, None, &[body])
}

fn descriptor(owner: &Digest, name: &str, format: Digest) -> Descriptor {
    let (integrity, retention) = (Integrity::Keyed, Retention::Keep);
    Descriptor { owner: *owner, name: name.to_owned(), integrity, retention, format }
}

pub(super) const fn invalid(reason: &'static str) -> ContinuationRefusal {
    ContinuationRefusal::BodyInvalid { reason }
}
