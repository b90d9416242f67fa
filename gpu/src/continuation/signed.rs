//! A continuation as it is stored and sent: head, body, signer and signature.

use std::fmt;

use wallet::{
    digest::{Digest, blake3},
    identity::{PublicKey, SecretKey, Signature, VerifyingKey, context},
};

use super::{
    body::{BODY_BYTES_MAX, Body, body_root, program},
    effect::EffectId,
    head::{ContinuationHead, Flags, Form, SCHEMA, Status},
    refusal::ContinuationRefusal,
};

const DIGEST_DOMAIN: &str = "batchmind/v1/gpu/continuation-digest";
const SIGNER_BYTES: usize = 32;
const SIGNATURE_BYTES: usize = 64;

/// A continuation whose signature was checked, or that was signed here. It keeps the bytes as they were signed: nothing
/// is encoded again.
#[derive(Clone, PartialEq, Eq)]
pub struct SignedContinuation {
    bytes: Vec<u8>,
    head: ContinuationHead,
}

/// What a head says beside the program's state: what the holder knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The wallet's address.
    pub id: Digest,
    /// The holder's epoch.
    pub epoch: u32,
    /// What whoever runs it has to heed. [`Flags::in_doubt`] follows from the status.
    pub flags: Flags,
    /// How it stands.
    pub status: Status,
    /// Higher goes first.
    pub priority: u8,
    /// [`SignedContinuation::digest`] of the one before; zero for the first.
    pub parent: Digest,
    /// The effect that it is parked on, or [`EffectId::NONE`].
    pub awaits: EffectId,
    /// What the engine guaranteed about its arithmetic.
    pub numerics: Digest,
    /// Hash of the wallet's policy.
    pub policy: Digest,
    /// Microseconds since the Unix epoch; 0 if there is none.
    pub deadline_us: u64,
}

impl SignedContinuation {
    /// The shortest: one without a body.
    pub const BYTES_MIN: usize = ContinuationHead::BYTES + SIGNER_BYTES + SIGNATURE_BYTES;
    /// The longest.
    pub const BYTES_MAX: usize = Self::BYTES_MIN + BODY_BYTES_MAX;

    /// Signs the body of a program whose journal goes on at `seq`.
    ///
    /// # Errors
    /// [`ContinuationRefusal::Length`] if the body is too long.
    pub fn sign(
        form: Form,
        seq: u32,
        body: &[u8],
        standing: &Standing,
        key: &SecretKey,
    ) -> Result<Self, ContinuationRefusal> {
        let count = Self::BYTES_MIN + body.len();
        if count > Self::BYTES_MAX {
            return Err(length(count));
        }
        let head = ContinuationHead {
            schema: SCHEMA,
            flags: Flags { in_doubt: standing.status == Status::InDoubt, ..standing.flags },
            id: standing.id,
            epoch: standing.epoch,
            seq,
            form,
            status: standing.status,
            priority: standing.priority,
            body_bytes: body.len() as u32,
            program: program(form, SCHEMA),
            parent: standing.parent,
            awaits: standing.awaits,
            numerics: standing.numerics,
            policy: standing.policy,
            body_root: body_root(body),
            deadline_us: standing.deadline_us,
        };
        let encoded = head.encode();
        let signature = key.sign(context::GPU_CONTINUATION, &encoded);
        let mut bytes = Vec::with_capacity(count);
        for part in [encoded.as_slice(), body, &key.public_key().0, &signature.0] {
            bytes.extend_from_slice(part);
        }
        Ok(Self { bytes, head })
    }

    /// Reads a continuation that `expected` has signed. Signature and hash of the body are checked before anything in
    /// them is looked at; [`Self::body`] reads the body.
    ///
    /// # Errors
    /// [`ContinuationRefusal`], but none that has to do with the body's content.
    pub fn decode(bytes: Vec<u8>, expected: &VerifyingKey) -> Result<Self, ContinuationRefusal> {
        if !(Self::BYTES_MIN..=Self::BYTES_MAX).contains(&bytes.len()) {
            return Err(length(bytes.len()));
        }
        let (signed, signature) = bytes.split_last_chunk::<SIGNATURE_BYTES>().ok_or(length(bytes.len()))?;
        let (signed, signer) = signed.split_last_chunk::<SIGNER_BYTES>().ok_or(length(bytes.len()))?;
        let (head, body) = signed.split_first_chunk::<{ ContinuationHead::BYTES }>().ok_or(length(bytes.len()))?;
        let found = PublicKey(*signer);
        if found != expected.public_key() {
            return Err(ContinuationRefusal::SignerUnexpected { expected: expected.public_key(), found });
        }
        expected
            .verify(context::GPU_CONTINUATION, head, &Signature(*signature))
            .map_err(|_| ContinuationRefusal::SignatureInvalid)?;
        let head = ContinuationHead::decode(head)?;
        if head.body_bytes as usize != body.len() || head.body_root != body_root(body) {
            return Err(ContinuationRefusal::BodyMismatch);
        }
        Ok(Self { head, bytes })
    }

    /// The head.
    pub const fn head(&self) -> &ContinuationHead {
        &self.head
    }

    /// Reads the body.
    ///
    /// # Errors
    /// Those of [`Body::read`].
    pub fn body(&self) -> Result<Body, ContinuationRefusal> {
        Body::read(&self.head, self.body_bytes())
    }

    /// The body's bytes.
    pub fn body_bytes(&self) -> &[u8] {
        &self.bytes[ContinuationHead::BYTES..self.bytes.len() - SIGNER_BYTES - SIGNATURE_BYTES]
    }

    /// All bytes, as they were signed.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Names it: what the next one has as its parent.
    pub fn digest(&self) -> Digest {
        blake3(DIGEST_DOMAIN, None, &[&self.bytes[..ContinuationHead::BYTES]])
    }
}

impl fmt::Debug for SignedContinuation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The body has the seed of the draws.
        write!(f, "SignedContinuation({:?})", self.head)
    }
}

const fn length(count: usize) -> ContinuationRefusal {
    let (min, max) = (SignedContinuation::BYTES_MIN, SignedContinuation::BYTES_MAX);
    ContinuationRefusal::Length { count, min, max }
}

#[cfg(test)]
mod tests;
