//! 32-byte digests and the two hash functions behind them.
//!
//! SHA-256 covers everything that an auditor's bundle checks; BLAKE3 covers pages and caches. Both are domain
//! separated, and each part is length-prefixed, so that no two different inputs share a preimage.

use std::fmt;

use serde::{Deserialize as _, Deserializer, Serializer, de};
use sha2::{Digest as _, Sha256};

use crate::codec;

/// A 32-byte hash. Hexadecimal for people (text, JSON, TOML), 32 bare bytes on the wire.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// All zeros: the parent of the first block, the head of a wallet before its creation.
    pub const ZERO: Self = Self([0; 32]);

    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// SHA-256 of `parts` under `domain`.
pub fn sha256(domain: &str, parts: &[&[u8]]) -> Digest {
    let mut hash = Sha256::new();
    absorb(domain, parts, |bytes| hash.update(bytes));
    Digest(hash.finalize().into())
}

/// BLAKE3 of `parts` under `domain`, keyed with `key` if there is one.
pub fn blake3(domain: &str, key: Option<&[u8; 32]>, parts: &[&[u8]]) -> Digest {
    let mut hash = key.map_or_else(::blake3::Hasher::new, ::blake3::Hasher::new_keyed);
    absorb(domain, parts, |bytes| {
        hash.update(bytes);
    });
    Digest(hash.finalize().into())
}

fn absorb(domain: &str, parts: &[&[u8]], mut update: impl FnMut(&[u8])) {
    for part in std::iter::once(&domain.as_bytes()).chain(parts) {
        update(&(part.len() as u64).to_le_bytes());
        update(part);
    }
}

/// Lower-case hexadecimal.
pub fn to_hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a string cannot fail");
        text
    })
}

/// Why a text is not the hexadecimal form of a fixed-size value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected} hexadecimal digits, found {found:?}")]
pub struct HexInvalid {
    expected: usize,
    found: String,
}

/// Reads exactly `N` bytes of lower-case hexadecimal.
///
/// # Errors
/// [`HexInvalid`] on any other length or digit.
pub fn from_hex<const N: usize>(text: &str) -> Result<[u8; N], HexInvalid> {
    let invalid = || HexInvalid { expected: N * 2, found: text.chars().take(160).collect() };
    if text.len() != N * 2 || !text.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')) {
        return Err(invalid());
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let pair = std::str::from_utf8(pair).map_err(|_| invalid())?;
        *byte = u8::from_str_radix(pair, 16).map_err(|_| invalid())?;
    }
    Ok(bytes)
}

/// Text for people, bare bytes for machines: the serde form of every fixed-size byte string here.
pub(crate) mod hex_or_bytes {
    use super::*;

    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer, const N: usize>(bytes: &[u8; N], to: S) -> Result<S::Ok, S::Error> {
        if to.is_human_readable() {
            return to.serialize_str(&to_hex(bytes));
        }
        codec::bare::serialize(bytes, to)
    }

    /// # Errors
    /// Those of the deserializer, and [`HexInvalid`].
    pub fn deserialize<'de, D: Deserializer<'de>, const N: usize>(from: D) -> Result<[u8; N], D::Error> {
        if from.is_human_readable() {
            return from_hex(&String::deserialize(from)?).map_err(de::Error::custom);
        }
        codec::bare::deserialize(from)
    }
}

/// Implements the text and serde forms of a newtype over `[u8; N]`.
macro_rules! hex_newtype {
    ($name:ident) => {
        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.write_str(&$crate::digest::to_hex(&self.0))
            }
        }
        impl ::std::fmt::Debug for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                ::std::fmt::Display::fmt(self, f)
            }
        }
        impl ::std::str::FromStr for $name {
            type Err = $crate::digest::HexInvalid;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                $crate::digest::from_hex(text).map(Self)
            }
        }
        impl ::serde::Serialize for $name {
            fn serialize<S: ::serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                $crate::digest::hex_or_bytes::serialize(&self.0, to)
            }
        }
        impl<'de> ::serde::Deserialize<'de> for $name {
            fn deserialize<D: ::serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                $crate::digest::hex_or_bytes::deserialize(from).map(Self)
            }
        }
    };
}
pub(crate) use hex_newtype;

hex_newtype!(Digest);
