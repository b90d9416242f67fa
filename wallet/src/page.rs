//! Pages: a 64-byte head ([`PageHead`]), which is the same for all kinds, and a payload; and the page of a session's KV
//! cache ([`Page`]), all layers of one block of tokens.
//!
//! The payload of a KV page is `[layer][k|v][kv_head][token][dim]`, always of full size; rows from `fill` on are zero.
//! Model, dtype and numerics stand in the stream's descriptor. docs/formats/page.md has the head bit by bit.

mod head;

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

pub use head::{HEAD_BYTES, Layout, PageHead, PageKind, Part};

/// The largest payload: with it a sealed page still fits the codec's bound.
pub const PAYLOAD_BYTES_MAX: usize = 16 << 20;

const DESCRIPTOR_DOMAIN: &str = "batchmind/v1/wallet/stream";

/// Number format of the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Dtype {
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary16.
    F16,
    /// bfloat16.
    Bf16,
    /// Bytes; also for what is no tensor.
    U8,
    /// Unsigned 32-bit numbers: tokens.
    U32,
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
            Self::F32 | Self::U32 => 4,
            Self::F16 | Self::Bf16 => 2,
            Self::U8 => 1,
        }
    }

    const fn code(self) -> u64 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::Bf16 => 2,
            Self::U8 => 6,
            Self::U32 => 10,
        }
    }

    fn from_code(code: u64) -> Option<Self> {
        [Self::F32, Self::F16, Self::Bf16, Self::U8, Self::U32].into_iter().find(|dtype| dtype.code() == code)
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
            payload_bytes: u32::try_from(payload.len()).map_err(|_| malformed("the payload is too large"))?,
            hash: payload_hash(payload, key),
            ..head_of(stream, index, fill)?
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
        if head.fill == 0 {
            return Err(malformed("the head is of another stream"));
        }
        let index = PageIndex::new(head.position);
        // One way to build a head: whatever is not as it would have been built is of another stream.
        let built = head_of(stream, index, head.fill)?;
        if head.first != built.first {
            return Err(malformed("token position and page index disagree"));
        }
        if (PageHead { payload_bytes: head.payload_bytes, hash: head.hash, ..built }) != head {
            return Err(malformed("the head is of another stream"));
        }
        if payload_hash(payload, key) != head.hash {
            return Err(Refusal::PageHashMismatch { index });
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

    /// Position in the stream.
    pub const fn index(&self) -> PageIndex {
        PageIndex::new(self.head.position)
    }

    /// Whether the page can never change again.
    pub const fn is_full(&self) -> bool {
        self.head.is_full()
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        self.bytes.zeroize();
    }
}

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Page({}, {} tokens, redacted)", self.head.position, self.head.fill)
    }
}

/// The head of the page at `index`, but for its payload.
fn head_of(stream: &StreamDescriptor, index: PageIndex, fill: u16) -> Result<PageHead, Refusal> {
    Ok(PageHead {
        kind: PageKind::Kv,
        dtype: stream.dtype,
        layout: Layout::AllLayers,
        rows: stream.block,
        layer: PageHead::ALL_LAYERS,
        shard: 0,
        part: Part::KeysAndValues,
        sealed: fill == stream.block,
        encrypted: false,
        last: false,
        fill,
        first: u64::from(first_token(stream, index)?.get()),
        position: index.get(),
        payload_bytes: 0,
        hash: Digest::ZERO,
    })
}

/// BLAKE3 of a page's plaintext: keyed in the streams of a wallet, plain in all others.
pub fn payload_hash(payload: &[u8], key: Option<&PageHashKey>) -> Digest {
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
