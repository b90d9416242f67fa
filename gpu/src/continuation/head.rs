//! The 256 bytes that say whose continuation it is, how it stands and what it needs, without its body.

use wallet::digest::Digest;

use super::{body::BODY_BYTES_MAX, effect::EffectId, refusal::ContinuationRefusal};

/// The schema of bodies that this software writes.
pub const SCHEMA: u16 = 2;

const MAGIC: [u8; 4] = *b"CONT";

/// The head of a continuation. Little endian, 256 bytes, one encoding for each value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContinuationHead {
    /// Schema of the body.
    pub schema: u16,
    /// What whoever runs it has to heed.
    pub flags: Flags,
    /// The wallet's address: the same for the whole life, and the owner of the continuation's streams.
    pub id: Digest,
    /// The epoch of the holder that signed it.
    pub epoch: u32,
    /// Where the journal goes on. Never used twice.
    pub seq: u32,
    /// What kind of program it is.
    pub form: Form,
    /// How it stands.
    pub status: Status,
    /// Higher goes first.
    pub priority: u8,
    /// Length of the body in bytes; at most [`BODY_BYTES_MAX`].
    pub body_bytes: u32,
    /// Hash of the program: of form and schema.
    pub program: Digest,
    /// Hash of the continuation before, [`super::SignedContinuation::digest`]. Zero for the first.
    pub parent: Digest,
    /// The effect that it is parked on, or zero.
    pub awaits: EffectId,
    /// What the engine guaranteed about its arithmetic.
    pub numerics: Digest,
    /// Hash of the wallet's policy.
    pub policy: Digest,
    /// Hash of the body's bytes as they are stored.
    pub body_root: Digest,
    /// Microseconds since the Unix epoch; 0 if there is none.
    pub deadline_us: u64,
}

/// What whoever runs a continuation has to heed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// It stays where it is.
    pub pinned: bool,
    /// It goes on under the same numerics or not at all.
    pub want_exact: bool,
    /// Its pages are never in plaintext outside its holder.
    pub confidential: bool,
    /// It is not known whether some of its effects happened. Set exactly if the status is [`Status::InDoubt`].
    pub in_doubt: bool,
}

/// What kind of program it is. The numbers are part of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A decode session.
    Decode,
}

/// How a continuation stands. The numbers are part of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It can go on at once.
    Ready,
    /// It waits for what its head names.
    Parked,
    /// Somebody has to decide whether an effect happened.
    InDoubt,
    /// It has ended.
    Done,
    /// It has ended with an error.
    Failed,
}

impl ContinuationHead {
    /// Length of a head.
    pub const BYTES: usize = 256;

    /// The 256 bytes.
    pub fn encode(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        let mut at = 0;
        let mut put = |part: &[u8]| {
            bytes[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        };
        put(&MAGIC);
        put(&self.schema.to_le_bytes());
        put(&self.flags.bits().to_le_bytes());
        put(self.id.as_bytes());
        put(&self.epoch.to_le_bytes());
        put(&self.seq.to_le_bytes());
        put(&self.form.code().to_le_bytes());
        put(&[self.status.code(), self.priority]);
        put(&self.body_bytes.to_le_bytes());
        for digest in [self.program, self.parent, self.awaits.0, self.numerics, self.policy, self.body_root] {
            put(digest.as_bytes());
        }
        put(&self.deadline_us.to_le_bytes());
        bytes
    }

    /// Reads what [`Self::encode`] wrote, and nothing else. Any schema is accepted: reading the body decides.
    ///
    /// # Errors
    /// [`ContinuationRefusal::HeadMalformed`].
    pub fn decode(bytes: &[u8; Self::BYTES]) -> Result<Self, ContinuationRefusal> {
        let malformed = |reason| ContinuationRefusal::HeadMalformed { reason };
        let mut rest = Fields(bytes);
        if rest.take() != MAGIC {
            return Err(malformed("the magic number"));
        }
        let head = Self {
            schema: u16::from_le_bytes(rest.take()),
            flags: Flags::from_bits(u16::from_le_bytes(rest.take())).ok_or(malformed("an unknown flag"))?,
            id: Digest(rest.take()),
            epoch: u32::from_le_bytes(rest.take()),
            seq: u32::from_le_bytes(rest.take()),
            form: Form::from_code(u16::from_le_bytes(rest.take())).ok_or(malformed("an unknown form"))?,
            status: Status::from_code(rest.take::<1>()[0]).ok_or(malformed("an unknown status"))?,
            priority: rest.take::<1>()[0],
            body_bytes: u32::from_le_bytes(rest.take()),
            program: Digest(rest.take()),
            parent: Digest(rest.take()),
            awaits: EffectId(Digest(rest.take())),
            numerics: Digest(rest.take()),
            policy: Digest(rest.take()),
            body_root: Digest(rest.take()),
            deadline_us: u64::from_le_bytes(rest.take()),
        };
        if head.body_bytes as usize > BODY_BYTES_MAX {
            return Err(malformed("the body is too long"));
        }
        if head.flags.in_doubt != (head.status == Status::InDoubt) {
            return Err(malformed("flag and status disagree on doubt"));
        }
        Ok(head)
    }
}

/// What is left of a head.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    /// The next field. The head's type says that there is one.
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let (field, rest) = self.0.split_first_chunk().expect("the fields of a head are as long as the head");
        self.0 = rest;
        *field
    }
}

impl Flags {
    const fn bits(self) -> u16 {
        self.pinned as u16
            | (self.want_exact as u16) << 1
            | (self.confidential as u16) << 2
            | (self.in_doubt as u16) << 3
    }

    fn from_bits(bits: u16) -> Option<Self> {
        let bit = |at: u16| bits >> at & 1 == 1;
        (bits < 16).then(|| Self { pinned: bit(0), want_exact: bit(1), confidential: bit(2), in_doubt: bit(3) })
    }
}

impl Form {
    /// The number in the head.
    pub const fn code(self) -> u16 {
        match self {
            Self::Decode => 1,
        }
    }

    fn from_code(code: u16) -> Option<Self> {
        (code == Self::Decode.code()).then_some(Self::Decode)
    }
}

impl Status {
    const ALL: [Self; 5] = [Self::Ready, Self::Parked, Self::InDoubt, Self::Done, Self::Failed];

    /// The number in the head.
    pub const fn code(self) -> u8 {
        self as u8
    }

    fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.code() == code)
    }
}

#[cfg(test)]
mod tests;
