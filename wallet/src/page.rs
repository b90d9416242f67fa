//! A page of a session's KV cache: a 64-byte head and all layers of one block of tokens.
//!
//! The payload is `[layer][k|v][kv_head][token][dim]`, always of full size; rows from `fill` on are zero. Model, dtype
//! and numerics stand in the stream's descriptor. docs/formats/wallet.md has the head bit by bit.

use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::Zeroize as _;

use crate::{
    chain::PageHashKey,
    codec::encode,
    digest::{Digest, blake3},
    refusal::Refusal,
    units::{PageIndex, TokenPosition},
};

/// Length of the head.
pub const HEAD_BYTES: usize = 64;

/// The largest payload: with it a sealed page still fits the codec's bound.
pub const PAYLOAD_BYTES_MAX: usize = 16 << 20;

const DESCRIPTOR_DOMAIN: &str = "batchmind/v1/wallet/stream";

/// The head's constant fields: kind 1 (KV), version 1, layout 5 (all layers of a block), layer 0xFFF (all), part 2
/// (K and V).
const KV_ALL_LAYERS: u64 = 1 << 60 | 1 << 56 | 5 << 46 | 0xFFF << 28 | 2 << 18;
const DTYPE_SHIFT: u32 = 50;
const ROWS_SHIFT: u32 = 40;
/// The page is full and never changes again.
const FLAG_SEALED: u64 = 1 << 12;
const FILL_MASK: u64 = 0xFFF;

/// Number format of the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Dtype {
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary16.
    F16,
    /// bfloat16.
    Bf16,
}

/// What all pages of one stream have in common. Its hash is in each page's associated data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamDescriptor {
    /// Hash of the model's configuration and weights.
    pub model: Digest,
    /// Number format.
    pub dtype: Dtype,
    /// What the engine guarantees about its arithmetic.
    pub numerics: Digest,
    /// Layers of the model.
    pub layers: u16,
    /// KV heads of each layer.
    pub kv_heads: u16,
    /// Dimensions of each head.
    pub head_dim: u16,
    /// Tokens in a page: a power of two, at most 2048.
    pub block: u16,
}

/// The 64 bytes before the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageHead {
    /// Number format of the payload.
    pub dtype: Dtype,
    /// Tokens that fit.
    pub block: u16,
    /// Tokens that are there.
    pub fill: u16,
    /// Position of the first token.
    pub first_token: TokenPosition,
    /// Position in the stream.
    pub index: PageIndex,
    /// Length of the payload.
    pub payload_bytes: u32,
    /// BLAKE3 of the payload's plaintext, keyed per wallet.
    pub hash: Digest,
}

/// A page in plaintext. It is the session's transcript in another form, so it is wiped on drop and not printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Page {
    head: PageHead,
    bytes: Vec<u8>,
}

impl Dtype {
    /// Bytes of one number.
    pub const fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }

    const fn code(self) -> u64 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::Bf16 => 2,
        }
    }

    fn from_code(code: u64) -> Option<Self> {
        [Self::F32, Self::F16, Self::Bf16].into_iter().find(|dtype| dtype.code() == code)
    }
}

impl StreamDescriptor {
    /// The stream's hash.
    pub fn hash(&self) -> Digest {
        blake3(DESCRIPTOR_DOMAIN, None, &[&encode(self)])
    }

    /// Length of each page's payload.
    ///
    /// # Errors
    /// [`Refusal::PageMalformed`] if the block is not a power of two up to 2048, a field is zero or a page would
    /// exceed [`PAYLOAD_BYTES_MAX`].
    pub fn payload_bytes(&self) -> Result<usize, Refusal> {
        let malformed = |reason| Refusal::PageMalformed { reason };
        if !self.block.is_power_of_two() || self.block > 2048 {
            return Err(malformed("the block is not a power of two up to 2048"));
        }
        [2, self.layers, self.kv_heads, self.head_dim, self.block]
            .iter()
            .try_fold(self.dtype.bytes(), |bytes, factor| bytes.checked_mul(usize::from(*factor)))
            .filter(|bytes| (1..=PAYLOAD_BYTES_MAX).contains(bytes))
            .ok_or(malformed("the stream's pages are empty or too large"))
    }
}

impl PageHead {
    /// The 64 bytes.
    pub fn encode(&self) -> [u8; HEAD_BYTES] {
        let rows = u64::from(self.block.trailing_zeros());
        let sealed = if self.fill == self.block { FLAG_SEALED } else { 0 };
        let word0 = KV_ALL_LAYERS
            | self.dtype.code() << DTYPE_SHIFT
            | rows << ROWS_SHIFT
            | sealed
            | u64::from(self.fill) & FILL_MASK;
        let mut bytes = [0; HEAD_BYTES];
        bytes[..8].copy_from_slice(&word0.to_le_bytes());
        bytes[8..16].copy_from_slice(&u64::from(self.first_token.get()).to_le_bytes());
        bytes[16..24].copy_from_slice(&self.index.get().to_le_bytes());
        bytes[24..28].copy_from_slice(&self.payload_bytes.to_le_bytes());
        let checksum = crc32c::crc32c(&bytes[..28]);
        bytes[28..32].copy_from_slice(&checksum.to_le_bytes());
        bytes[32..].copy_from_slice(self.hash.as_bytes());
        bytes
    }

    /// Reads what [`Self::encode`] wrote, and nothing else.
    ///
    /// # Errors
    /// [`Refusal::PageMalformed`].
    pub fn decode(bytes: &[u8; HEAD_BYTES]) -> Result<Self, Refusal> {
        let malformed = |reason| Refusal::PageMalformed { reason };
        let word = |at: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&bytes[at..at + 8]);
            u64::from_le_bytes(word)
        };
        let (word0, lengths) = (word(0), word(24));
        let mut hash = Digest::ZERO;
        hash.0.copy_from_slice(&bytes[32..]);
        let head = Self {
            dtype: Dtype::from_code(word0 >> DTYPE_SHIFT & 0x3F).ok_or(malformed("unknown dtype"))?,
            block: 1_u16.checked_shl((word0 >> ROWS_SHIFT & 0x3F) as u32).ok_or(malformed("block too large"))?,
            fill: (word0 & FILL_MASK) as u16,
            first_token: TokenPosition::new(u32::try_from(word(8)).map_err(|_| malformed("position too large"))?),
            index: PageIndex::new(word(16)),
            payload_bytes: (lengths & 0xFFFF_FFFF) as u32,
            hash,
        };
        if head.fill > head.block {
            return Err(malformed("more tokens than fit"));
        }
        if head.encode() != *bytes {
            return Err(malformed("checksum or constant fields of the head"));
        }
        Ok(head)
    }
}

impl Page {
    /// The page at `index` with the first `fill` tokens of its block.
    ///
    /// `key` is the wallet's page-hash key; streams of no wallet have none and use plain BLAKE3.
    ///
    /// # Errors
    /// [`Refusal::PageMalformed`] if the payload or `fill` does not fit the stream.
    pub fn new(
        stream: &StreamDescriptor,
        index: PageIndex,
        fill: u16,
        payload: &[u8],
        key: Option<&PageHashKey>,
    ) -> Result<Self, Refusal> {
        let malformed = |reason| Refusal::PageMalformed { reason };
        if payload.len() != stream.payload_bytes()? {
            return Err(malformed("the payload has another length than the stream's pages"));
        }
        if !(1..=stream.block).contains(&fill) {
            return Err(malformed("a page holds one token to a full block"));
        }
        let head = PageHead {
            dtype: stream.dtype,
            block: stream.block,
            fill,
            first_token: first_token(stream, index)?,
            index,
            payload_bytes: u32::try_from(payload.len()).map_err(|_| malformed("the payload is too large"))?,
            hash: payload_hash(payload, key),
        };
        let mut bytes = Vec::with_capacity(HEAD_BYTES + payload.len() + crate::aead::TAG_BYTES);
        bytes.extend_from_slice(&head.encode());
        bytes.extend_from_slice(payload);
        Ok(Self { head, bytes })
    }

    /// Reads and checks head and payload: that they fit the stream and that the hash holds.
    ///
    /// # Errors
    /// [`Refusal::PageMalformed`], [`Refusal::PageHashMismatch`].
    pub fn parse(bytes: Vec<u8>, stream: &StreamDescriptor, key: Option<&PageHashKey>) -> Result<Self, Refusal> {
        let malformed = |reason| Refusal::PageMalformed { reason };
        let (head, payload) = bytes.split_first_chunk::<HEAD_BYTES>().ok_or(malformed("shorter than its head"))?;
        let head = PageHead::decode(head)?;
        let expected = stream.payload_bytes()?;
        if payload.len() != expected || head.payload_bytes as usize != expected {
            return Err(malformed("the payload has another length than the stream's pages"));
        }
        if (head.dtype, head.block) != (stream.dtype, stream.block) || head.fill == 0 {
            return Err(malformed("the head is of another stream"));
        }
        if head.first_token != first_token(stream, head.index)? {
            return Err(malformed("token position and page index disagree"));
        }
        if payload_hash(payload, key) != head.hash {
            return Err(Refusal::PageHashMismatch { index: head.index });
        }
        Ok(Self { head, bytes })
    }

    /// The head.
    pub const fn head(&self) -> &PageHead {
        &self.head
    }

    /// The numbers.
    pub fn payload(&self) -> &[u8] {
        &self.bytes[HEAD_BYTES..]
    }

    /// Head and payload.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether the page can never change again.
    pub const fn is_full(&self) -> bool {
        self.head.fill == self.head.block
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        self.bytes.zeroize();
    }
}

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Page({}, {} tokens, redacted)", self.head.index, self.head.fill)
    }
}

fn payload_hash(payload: &[u8], key: Option<&PageHashKey>) -> Digest {
    Digest(key.map_or_else(|| ::blake3::hash(payload), |key| ::blake3::keyed_hash(key.expose(), payload)).into())
}

fn first_token(stream: &StreamDescriptor, index: PageIndex) -> Result<TokenPosition, Refusal> {
    index
        .get()
        .checked_mul(u64::from(stream.block))
        .and_then(|first| u32::try_from(first).ok())
        .map(TokenPosition::new)
        .ok_or(Refusal::PageMalformed { reason: "position too large" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::to_hex;
    use proptest::prelude::*;

    fn stream() -> StreamDescriptor {
        StreamDescriptor {
            model: Digest([1; 32]),
            dtype: Dtype::Bf16,
            numerics: Digest([2; 32]),
            layers: 2,
            kv_heads: 1,
            head_dim: 4,
            block: 16,
        }
    }

    fn page(fill: u16) -> Page {
        let key = PageHashKey::from_bytes([3; 32]);
        Page::new(&stream(), PageIndex::new(5), fill, &[7; 512], Some(&key)).expect("a valid page")
    }

    #[test]
    fn the_head_is_pinned() {
        assert_eq!(
            to_hex(&page(16).head().encode()),
            "101008f0ff4409115000000000000000050000000000000000020000e2951860d7338b60b1558149434b6c23b4eea8205ac1696eb848307bcecccf1da5075f92"
        );
        assert_eq!(stream().hash().to_string(), "44c7f3627eac95f7af3acf42dc4addf22f05831ceca713cc8d4b1099235f9947");
    }

    #[test]
    fn a_page_reads_back_under_its_key_only() {
        let (full, key) = (page(16), PageHashKey::from_bytes([3; 32]));
        let bytes = full.as_bytes().to_vec();
        assert_eq!(Page::parse(bytes.clone(), &stream(), Some(&key)), Ok(full));
        let mismatch = Err(Refusal::PageHashMismatch { index: PageIndex::new(5) });
        assert_eq!(Page::parse(bytes.clone(), &stream(), None), mismatch);
        assert_eq!(Page::parse(bytes, &stream(), Some(&PageHashKey::from_bytes([4; 32]))), mismatch);
    }

    #[test]
    fn a_page_of_another_stream_is_refused() {
        let key = PageHashKey::from_bytes([3; 32]);
        for other in [
            StreamDescriptor { layers: 3, ..stream() },
            StreamDescriptor { dtype: Dtype::F16, ..stream() },
            StreamDescriptor { block: 8, head_dim: 8, ..stream() },
        ] {
            let verdict = Page::parse(page(16).as_bytes().to_vec(), &other, Some(&key));
            assert!(matches!(verdict, Err(Refusal::PageMalformed { .. })), "{verdict:?}");
        }
    }

    #[test]
    fn a_stream_with_impossible_pages_is_refused() {
        for bad in [
            StreamDescriptor { block: 12, ..stream() },
            StreamDescriptor { layers: 0, ..stream() },
            StreamDescriptor { layers: u16::MAX, kv_heads: u16::MAX, head_dim: u16::MAX, ..stream() },
        ] {
            assert!(bad.payload_bytes().is_err());
        }
    }

    proptest! {
        #[test]
        fn any_flipped_bit_is_found(bit in 0..(64 + 512) * 8_usize) {
            let key = PageHashKey::from_bytes([3; 32]);
            let mut bytes = page(9).as_bytes().to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(Page::parse(bytes, &stream(), Some(&key)).is_err());
        }

        #[test]
        fn a_head_that_decodes_encodes_to_the_same_bytes(noise in proptest::collection::vec(any::<u8>(), 64)) {
            let mut bytes = page(16).head().encode();
            bytes[16..24].copy_from_slice(&noise[..8]);
            let checksum = crc32c::crc32c(&bytes[..28]);
            bytes[28..32].copy_from_slice(&checksum.to_le_bytes());
            prop_assert_eq!(PageHead::decode(&bytes).expect("a valid head").encode(), bytes);
            let mut random = [0; 64];
            random.copy_from_slice(&noise);
            prop_assert!(PageHead::decode(&random).is_err());
        }
    }
}
