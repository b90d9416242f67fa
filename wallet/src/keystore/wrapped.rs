//! A secret key wrapped under a passphrase, as PASERK has it: the type `k4.secret-pw`, one line of text.
//!
//! ```text
//! k4.secret-pw. || base64url(salt 16 || memory u64 || passes u32 || lanes u32 || nonce 24 || sealed key 64 || tag 32)
//! ```
//!
//! Argon2id makes a key of the passphrase, BLAKE2b makes two of that, XChaCha20 encrypts, keyed BLAKE2b authenticates all
//! of it (<https://github.com/paseto-standard/paserk>, operations/PBKW.md). Every implementation of PASERK opens it, and
//! its test vectors are ours.
//!
//! The file says how much work it is to open, and whoever wrote it may want to harm: see [`Work`].

use std::{fmt, str::FromStr};

use argon2::{Algorithm, Argon2, Block, Params, Version};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use blake2::{
    Blake2b, Blake2bMac,
    digest::{Digest as _, Mac as _, consts::U32},
};
use chacha20::{
    XChaCha20,
    cipher::{KeyIvInit as _, StreamCipher as _},
};
use zeroize::Zeroizing;

use super::passphrase::Passphrase;
use crate::{
    entropy::{Entropy, draw},
    identity::SecretKey,
    refusal::Refusal,
};

/// What such a text begins with.
pub const HEADER: &str = "k4.secret-pw.";
/// Bytes of the text, without the end of its line.
pub const TEXT_BYTES: usize = HEADER.len() + (BYTES * 4).div_ceil(3);

const BYTES: usize = 152;
const LANES: u32 = 1;

/// What it costs to try one passphrase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    memory_kib: u32,
    passes: u32,
}

impl Work {
    /// 256 MiB in three passes, what libsodium calls moderate: about half a second of a core.
    pub const MODERATE: Self = Self { memory_kib: 256 << 10, passes: 3 };
    /// The most memory that a text may ask for: 1 GiB.
    pub const MEMORY_KIB_MAX: u32 = 1 << 20;
    /// The most that a text may ask to be written, over all passes: 4 GiB. A few seconds.
    pub const WRITTEN_KIB_MAX: u64 = 4 << 20;

    /// So much memory, so many passes over it.
    ///
    /// # Errors
    /// [`Refusal::WorkTooGreat`] beyond the limits, and [`Refusal::WrappedKeyMalformed`] for less than Argon2 takes.
    pub const fn new(memory_kib: u64, passes: u32) -> Result<Self, Refusal> {
        if memory_kib > Self::MEMORY_KIB_MAX as u64 || memory_kib * passes as u64 > Self::WRITTEN_KIB_MAX {
            return Err(Refusal::WorkTooGreat { memory_kib, passes });
        }
        if memory_kib < Params::MIN_M_COST as u64 || passes < Params::MIN_T_COST {
            return Err(Refusal::WrappedKeyMalformed { reason: "less work than Argon2 takes" });
        }
        Ok(Self { memory_kib: memory_kib as u32, passes })
    }

    /// Memory in KiB.
    pub const fn memory_kib(self) -> u32 {
        self.memory_kib
    }

    /// Passes over it.
    pub const fn passes(self) -> u32 {
        self.passes
    }
}

/// A wrapped key. It is read without a passphrase, and opened with one.
#[derive(Clone, PartialEq, Eq)]
pub struct WrappedKey {
    salt: [u8; 16],
    work: Work,
    nonce: [u8; 24],
    sealed: [u8; 64],
    tag: [u8; 32],
}

impl WrappedKey {
    /// Wraps `key`.
    ///
    /// # Errors
    /// [`Refusal::WorkTooGreat`] if this machine does not have the memory.
    pub fn wrap(
        key: &SecretKey,
        passphrase: &Passphrase,
        work: Work,
        entropy: &mut dyn Entropy,
    ) -> Result<Self, Refusal> {
        let mut wrapped = Self { salt: draw(entropy), work, nonce: draw(entropy), sealed: [0; 64], tag: [0; 32] };
        let keys = wrapped.keys(passphrase)?;
        let mut plain = Zeroizing::new([0; 64]);
        plain[..32].copy_from_slice(key.seed().as_ref());
        plain[32..].copy_from_slice(&key.public_key().0);
        keys.encryption(&wrapped.nonce).apply_keystream(plain.as_mut());
        wrapped.sealed = *plain;
        wrapped.tag = wrapped.authenticated(&keys).finalize().into_bytes().into();
        Ok(wrapped)
    }

    /// The key.
    ///
    /// # Errors
    /// [`Refusal::PassphraseWrong`] for another passphrase or if anything was altered, [`Refusal::WorkTooGreat`] if this
    /// machine does not have the memory, and [`Refusal::WrappedKeyMalformed`] if whoever wrapped it put in two halves of
    /// different keys.
    pub fn open(&self, passphrase: &Passphrase) -> Result<SecretKey, Refusal> {
        let keys = self.keys(passphrase)?;
        self.authenticated(&keys).verify_slice(&self.tag).map_err(|_| Refusal::PassphraseWrong)?;
        let mut plain = Zeroizing::new(self.sealed);
        keys.encryption(&self.nonce).apply_keystream(plain.as_mut());
        let mut seed = Zeroizing::new([0; 32]);
        seed.copy_from_slice(&plain[..32]);
        let key = SecretKey::from_seed(&seed);
        if key.public_key().0 != plain[32..] {
            return Err(Refusal::WrappedKeyMalformed { reason: "the halves are of different keys" });
        }
        Ok(key)
    }

    /// What it costs to try a passphrase.
    pub const fn work(&self) -> Work {
        self.work
    }

    fn keys(&self, passphrase: &Passphrase) -> Result<Keys, Refusal> {
        let Work { memory_kib, passes } = self.work;
        let params = Params::new(memory_kib, passes, LANES, Some(32)).expect("within the limits of Argon2");
        let mut memory = Zeroizing::new(Vec::new());
        let lacking = Refusal::WorkTooGreat { memory_kib: memory_kib.into(), passes };
        memory.try_reserve_exact(params.block_count()).map_err(|_| lacking)?;
        memory.resize(params.block_count(), Block::default());
        let mut key = Zeroizing::new([0; 32]);
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into_with_memory(
                passphrase.expose().as_bytes(),
                &self.salt,
                key.as_mut(),
                memory.as_mut_slice(),
            )
            .expect("lengths within the limits of Argon2");
        Ok(Keys { encryption: Keys::half(0xFF, &key), authentication: Keys::half(0xFE, &key) })
    }

    /// Everything that the tag covers.
    fn authenticated(&self, keys: &Keys) -> Blake2bMac<U32> {
        let mut tag = Blake2bMac::<U32>::new_from_slice(keys.authentication.as_ref()).expect("32 bytes are a key");
        tag.update(HEADER.as_bytes());
        tag.update(&self.bytes()[..BYTES - self.tag.len()]);
        tag
    }

    fn bytes(&self) -> [u8; BYTES] {
        let memory = u64::from(self.work.memory_kib) * 1024;
        let parts: [&[u8]; 7] = [
            &self.salt,
            &memory.to_be_bytes(),
            &self.work.passes.to_be_bytes(),
            &LANES.to_be_bytes(),
            &self.nonce,
            &self.sealed,
            &self.tag,
        ];
        parts.concat().try_into().expect("the lengths of the parts")
    }
}

/// The two keys that follow from the passphrase's.
struct Keys {
    encryption: Zeroizing<[u8; 32]>,
    authentication: Zeroizing<[u8; 32]>,
}

impl Keys {
    fn half(domain: u8, key: &[u8; 32]) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(Blake2b::<U32>::new().chain_update([domain]).chain_update(key).finalize().into())
    }

    fn encryption(&self, nonce: &[u8; 24]) -> XChaCha20 {
        XChaCha20::new((&*self.encryption).into(), nonce.into())
    }
}

impl fmt::Display for WrappedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{HEADER}{}", URL_SAFE_NO_PAD.encode(self.bytes()))
    }
}

/// The work alone: what is wrapped is nobody's to read in a log.
impl fmt::Debug for WrappedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WrappedKey").field("work", &self.work).finish_non_exhaustive()
    }
}

impl FromStr for WrappedKey {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        let malformed = |reason| Refusal::WrappedKeyMalformed { reason };
        let encoded = text.strip_prefix(HEADER).ok_or_else(|| malformed("it does not begin with k4.secret-pw."))?;
        if text.len() != TEXT_BYTES {
            return Err(malformed("it does not have the length of a wrapped key"));
        }
        let bytes = URL_SAFE_NO_PAD.decode(encoded).map_err(|_| malformed("it is not base64url"))?;
        let mut rest = bytes.as_slice();
        let (salt, memory, passes, lanes) = (take(&mut rest), take(&mut rest), take(&mut rest), take(&mut rest));
        let (memory, passes) = (u64::from_be_bytes(memory), u32::from_be_bytes(passes));
        if u32::from_be_bytes(lanes) != LANES {
            return Err(malformed("it has more than one lane"));
        }
        if memory % 1024 != 0 {
            return Err(malformed("its memory is not in KiB"));
        }
        let work = Work::new(memory / 1024, passes)?;
        Ok(Self { salt, work, nonce: take(&mut rest), sealed: take(&mut rest), tag: take(&mut rest) })
    }
}

/// The next `N` bytes of a text whose length was checked.
fn take<const N: usize>(rest: &mut &[u8]) -> [u8; N] {
    let (taken, after) = rest.split_first_chunk().expect("the length was checked");
    *rest = after;
    *taken
}

#[cfg(test)]
mod tests;
