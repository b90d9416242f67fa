//! Effects: what a program asks for. Their identity is what they are, not who performs them.

use std::fmt;

use serde::{Deserialize, Serialize};
use wallet::{
    codec,
    digest::{Digest, blake3},
};

use super::{refusal::ContinuationRefusal, value::Value};

const EFFECT_DOMAIN: &str = "batchmind/v1/gpu/effect";
const ARGS_DOMAIN: &str = "batchmind/v1/gpu/effect-args";
/// The most arguments.
const ARGS_MAX: usize = 16;

/// Names an effect: the hash of the continuation's id, the effect's number, its operation and its arguments. Neither
/// epoch nor node is in it, so that an effect issued again elsewhere is the same effect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EffectId(pub Digest);

/// What is to be done when it is not known whether an effect happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// It computes: do it again anywhere. Within one class of numerics it yields the same bits.
    Pure,
    /// It appends at a known position: do it again, the stream knows whether it is there.
    Append,
    /// It shows something at a known position: do it again, the reader knows whether it has it.
    Emit,
    /// It changes the world outside.
    External {
        /// The world knows effects by id, so that it can be done again.
        idempotent: bool,
    },
    /// A transaction on the ledger, which knows effects by id: do it again.
    Commit,
}

/// What an effect does. The order is part of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    /// Take in tokens.
    Prefill,
    /// Choose the next token.
    Decode,
    /// One micro-batch forward and backward.
    FwdBwd,
    /// One step of the optimiser.
    OptStep,
    /// Combine updates.
    Aggregate,
    /// Call a tool.
    Tool {
        /// The tool takes the effect's id as its idempotency key.
        idempotent: bool,
    },
    /// Read the next message of a stream.
    Recv,
    /// Wait for a time.
    Sleep,
    /// Begin another continuation.
    Fork,
    /// Wait for another continuation.
    Join,
    /// A transaction on the ledger.
    LedgerTx,
    /// Show a token to the user.
    Emit,
}

/// Something that a program asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Effect {
    /// Its name, which follows from the other fields and the continuation.
    pub id: EffectId,
    /// Its number: where its record stands in the journal.
    pub seq: u32,
    /// What it does.
    pub op: Op,
    /// With what; at most 16.
    pub args: Vec<Value>,
}

/// What came of an effect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EffectResult {
    /// The effect.
    pub id: EffectId,
    /// What came of it.
    pub outcome: Outcome,
}

/// A value, or why there is none.
pub type Outcome = Result<Value, Failure>;

/// Why an effect has no value. A result like any other: it is recorded and not tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure(pub u32);

impl Failure {
    /// Somebody decided that the effect did not happen and will not.
    pub const ABORTED: Self = Self(1);
}

impl EffectId {
    /// No effect.
    pub const NONE: Self = Self(Digest::ZERO);
}

impl fmt::Display for EffectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Op {
    /// Its class.
    pub const fn class(self) -> Class {
        match self {
            Self::Prefill | Self::Decode | Self::FwdBwd | Self::OptStep | Self::Aggregate => Class::Pure,
            // What is read is immutable, and a time that has come does not go.
            Self::Recv | Self::Sleep | Self::Join => Class::Pure,
            Self::Fork => Class::Append,
            Self::Tool { idempotent } => Class::External { idempotent },
            Self::LedgerTx => Class::Commit,
            Self::Emit => Class::Emit,
        }
    }
}

impl Effect {
    /// The effect with this number of the continuation `of`.
    ///
    /// # Errors
    /// [`ContinuationRefusal::ValueOutOfBounds`] if there are too many arguments, or one is too large.
    pub fn new(of: &Digest, seq: u32, op: Op, args: Vec<Value>) -> Result<Self, ContinuationRefusal> {
        if args.len() > ARGS_MAX {
            return Err(ContinuationRefusal::ValueOutOfBounds { reason: "too many arguments" });
        }
        args.iter().try_for_each(Value::validate)?;
        let args_hash = blake3(ARGS_DOMAIN, None, &[&codec::encode(&args)]);
        let parts: [&[u8]; 4] = [of.as_bytes(), &seq.to_le_bytes(), &codec::encode(&op), args_hash.as_bytes()];
        Ok(Self { id: EffectId(blake3(EFFECT_DOMAIN, None, &parts)), seq, op, args })
    }

    /// Whether its id is that of an effect of the continuation `of`.
    pub fn belongs_to(&self, of: &Digest) -> bool {
        Self::new(of, self.seq, self.op, self.args.clone()).is_ok_and(|effect| effect.id == self.id)
    }

    /// Its class.
    pub const fn class(&self) -> Class {
        self.op.class()
    }
}

#[cfg(test)]
mod tests;
