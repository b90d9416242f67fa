//! The one place that knows how values become bytes.
//!
//! bincode 2.0, little endian, fixed-width integers, bounded, and canonical: a value has exactly one encoding, and
//! every other byte string is refused. Everything that is signed, hashed, stored or sent goes through here, so that
//! replacing bincode touches this file alone.

use bincode::{
    config::{Configuration, Fixint, Limit, LittleEndian},
    enc::write::{SizeWriter, Writer},
    error::EncodeError,
};
use serde::{Serialize, de::DeserializeOwned};

/// The largest encoding that [`decode`] reads: a page request with its page, with room to spare.
pub const ENCODED_BYTES_MAX: usize = 32 << 20;

const CONFIG: Configuration<LittleEndian, Fixint, Limit<ENCODED_BYTES_MAX>> =
    bincode::config::standard().with_fixed_int_encoding().with_limit::<ENCODED_BYTES_MAX>();

/// Why bytes are not the canonical encoding of a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The bytes do not parse as the type.
    #[error("malformed {what}: {reason}")]
    Malformed {
        /// The type that was expected.
        what: &'static str,
        /// What the decoder met.
        reason: String,
    },
    /// The value is followed by bytes that belong to nothing.
    #[error("{what} is followed by {count} stray bytes")]
    TrailingBytes {
        /// The type that was read.
        what: &'static str,
        /// How many bytes were left.
        count: usize,
    },
    /// The bytes parse, but are not the one encoding that the value has.
    #[error("{what} is not canonically encoded")]
    NotCanonical {
        /// The type that was read.
        what: &'static str,
    },
    /// Larger than the decoder's bound.
    #[error("{what} has {count} bytes, more than the {ENCODED_BYTES_MAX} allowed")]
    TooLarge {
        /// The type that was expected.
        what: &'static str,
        /// The size that was offered.
        count: usize,
    },
}

/// The canonical encoding of `value`.
///
/// # Panics
/// If the value cannot be encoded (a map of unknown length, say): a bug in the type, not in the data. There is no bound
/// here: whoever lets others read it compares [`encoded_size`] with what they take.
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    encode_after(&[], value)
}

/// `head` and after it the canonical encoding of `value`.
///
/// # Panics
/// As [`encode`].
pub fn encode_after<T: Serialize + ?Sized>(head: &[u8], value: &T) -> Vec<u8> {
    let mut bytes = Bytes(Vec::with_capacity(head.len() + encoded_size(value)));
    bytes.0.extend_from_slice(head);
    write(value, &mut bytes).expect(ENCODABLE);
    bytes.0
}

/// How many bytes [`encode`] gives.
///
/// # Panics
/// As [`encode`].
pub fn encoded_size<T: Serialize + ?Sized>(value: &T) -> usize {
    let mut size = SizeWriter::default();
    write(value, &mut size).expect(ENCODABLE);
    size.bytes_written
}

const ENCODABLE: &str = "every wire type is encodable and bounded";

fn write<T: Serialize + ?Sized>(value: &T, to: impl Writer) -> Result<(), EncodeError> {
    bincode::serde::encode_into_writer(value, to, CONFIG)
}

/// Takes an encoding up.
struct Bytes(Vec<u8>);

impl Writer for Bytes {
    fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

/// Compares an encoding with bytes that are there already: what is left of these.
struct Same<'a>(&'a [u8]);

impl Writer for Same<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        self.0 = self.0.strip_prefix(bytes).ok_or(EncodeError::Other("another encoding"))?;
        Ok(())
    }
}

/// Reads one value that takes up all of `bytes`.
///
/// # Errors
/// [`DecodeError`] if the bytes are not exactly the canonical encoding of a `T`.
pub fn decode<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    // Looked for only where it is told: values are decoded by the million.
    let what = type_name::<T>;
    if bytes.len() > ENCODED_BYTES_MAX {
        return Err(DecodeError::TooLarge { what: what(), count: bytes.len() });
    }
    let (value, used): (T, usize) = bincode::serde::decode_from_slice(bytes, CONFIG)
        .map_err(|error| DecodeError::Malformed { what: what(), reason: error.to_string() })?;
    if used < bytes.len() {
        return Err(DecodeError::TrailingBytes { what: what(), count: bytes.len() - used });
    }
    let mut same = Same(bytes);
    if write(&value, &mut same).is_err() || !same.0.is_empty() {
        return Err(DecodeError::NotCanonical { what: what() });
    }
    Ok(value)
}

/// `#[serde(with = "codec::bytes")]` for long byte strings: the encoding of a `Vec<u8>`, written in one piece.
pub mod bytes {
    use std::fmt;

    use serde::{Deserializer, Serializer, de};

    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(bytes)
    }

    /// # Errors
    /// Those of the deserializer.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        struct Bytes;
        impl de::Visitor<'_> for Bytes {
            type Value = Vec<u8>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a byte string")
            }
            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                Ok(bytes.to_vec())
            }
            fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
                Ok(bytes)
            }
        }
        from.deserialize_byte_buf(Bytes)
    }
}

/// Byte strings of a known length, without that length before them. The codec writes a `u128` as its 16 bytes, the lowest
/// first, so they go through serde in words and not byte by byte.
pub mod bare {
    use std::fmt;

    use serde::{Deserializer, Serializer, de, ser::SerializeTuple as _};

    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        let (words, rest) = bytes.as_chunks();
        let mut tuple = to.serialize_tuple(words.len() + rest.len())?;
        words.iter().try_for_each(|word| tuple.serialize_element(&u128::from_le_bytes(*word)))?;
        rest.iter().try_for_each(|byte| tuple.serialize_element(byte))?;
        tuple.end()
    }

    /// # Errors
    /// Those of the deserializer.
    pub fn deserialize<'de, D: Deserializer<'de>, const N: usize>(from: D) -> Result<[u8; N], D::Error> {
        struct Bytes<const N: usize>;
        impl<'de, const N: usize> de::Visitor<'de> for Bytes<N> {
            type Value = [u8; N];
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{N} bytes")
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<[u8; N], A::Error> {
                let too_short = || de::Error::custom("too short");
                let mut bytes = [0; N];
                let (words, rest) = bytes.as_chunks_mut();
                for word in words {
                    *word = seq.next_element::<u128>()?.ok_or_else(too_short)?.to_le_bytes();
                }
                for byte in rest {
                    *byte = seq.next_element()?.ok_or_else(too_short)?;
                }
                Ok(bytes)
            }
        }
        let word = size_of::<u128>();
        from.deserialize_tuple(N / word + N % word, Bytes)
    }
}

/// The last path segment of a type's name, for messages.
fn type_name<T>() -> &'static str {
    let name = std::any::type_name::<T>();
    let end = name.find('<').unwrap_or(name.len());
    name[..end].rfind("::").map_or(name, |start| &name[start + 2..])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use proptest::prelude::*;

    #[test]
    fn stray_bytes_are_refused() {
        let mut bytes = encode(&7_u32);
        bytes.push(0);
        assert_eq!(decode::<u32>(&bytes), Err(DecodeError::TrailingBytes { what: "u32", count: 1 }));
    }

    #[test]
    fn a_length_beyond_the_input_is_refused_without_allocating_it() {
        let bytes = encode(&u64::MAX);
        assert!(matches!(decode::<Vec<u8>>(&bytes), Err(DecodeError::Malformed { .. })));
    }

    #[test]
    fn a_map_out_of_order_or_with_a_key_twice_is_refused() {
        for pairs in [[(2_u8, 0_u8), (1, 0)], [(1, 0), (1, 0)]] {
            let read = decode::<BTreeMap<u8, u8>>(&encode(&pairs.to_vec()));
            assert_eq!(read, Err(DecodeError::NotCanonical { what: "BTreeMap<u8, u8>" }));
        }
    }

    proptest! {
        #[test]
        fn what_decodes_encodes_to_the_same_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(value) = decode::<(u8, Option<u16>, Vec<bool>, String)>(&bytes) {
                prop_assert_eq!(encoded_size(&value), bytes.len());
                prop_assert_eq!(encode_after(b"head", &value), [b"head", bytes.as_slice()].concat());
                prop_assert_eq!(encode(&value), bytes);
            }
        }
    }
}
