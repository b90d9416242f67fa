//! The 64 bytes before the payload of every page, whatever it holds. docs/formats/page.md has them bit by bit.

use super::Dtype;
use crate::{digest::Digest, refusal::Refusal};

/// Length of the head.
pub const HEAD_BYTES: usize = 64;

/// What fits the field of the layer.
const LAYER_MAX: u16 = 0xFFF;
/// The most rows that a page can have.
const ROWS_MAX: u16 = 2048;
const VERSION: u64 = 1;

/// What a page holds. The numbers are part of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PageKind {
    /// Tokens.
    Token,
    /// Keys and values.
    Kv,
    /// Weights of a model.
    Weight,
    /// Gradients, or an update of weights.
    Update,
    /// State of an optimiser.
    OptimizerState,
    /// Activations or logits.
    Activation,
    /// A record of an effect journal.
    Journal,
    /// What says how other pages belong together.
    Manifest,
    /// A continuation.
    Continuation,
    /// A message of the engine's dispatch queue.
    Dispatch,
}

/// In which order the payload's numbers stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// One row after the other; also for bytes that are no tensor.
    Rows,
    /// `[layer][k|v][kv_head][token][dim]`: all layers of one block.
    AllLayers,
}

/// Which part of the attention state it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Keys; also what is no attention state.
    K,
    /// Keys and values.
    KeysAndValues,
}

/// The head of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageHead {
    /// What the page holds.
    pub kind: PageKind,
    /// Number format of the payload.
    pub dtype: Dtype,
    /// Order of the payload.
    pub layout: Layout,
    /// Rows (tokens, say) that fit: a power of two up to 2048.
    pub rows: u16,
    /// Layer or parameter group; [`PageHead::ALL_LAYERS`] for all, 0 for what has none.
    pub layer: u16,
    /// Group of heads, or shard.
    pub shard: u8,
    /// Part of the attention state.
    pub part: Part,
    /// The page is full and never changes again.
    pub sealed: bool,
    /// The payload is ciphertext.
    pub encrypted: bool,
    /// The stream ends with this page.
    pub last: bool,
    /// Rows that are there.
    pub fill: u16,
    /// Logical position of the first row: a token's, say.
    pub first: u64,
    /// Position in the stream, dense from 0.
    pub position: u64,
    /// Length of the payload.
    pub payload_bytes: u32,
    /// BLAKE3 of the payload's plaintext, keyed in the streams of a wallet; zero in streams that stay in one memory.
    pub hash: Digest,
}

/// A field of the first word: where it begins, and how wide it is.
struct Field(u32, u32);

const KIND: Field = Field(60, 4);
const VERSION_FIELD: Field = Field(56, 4);
const DTYPE: Field = Field(50, 6);
const LAYOUT: Field = Field(46, 4);
const ROWS: Field = Field(40, 6);
const LAYER: Field = Field(28, 12);
const SHARD: Field = Field(20, 8);
const PART: Field = Field(18, 2);
const SEALED: Field = Field(12, 1);
const ENCRYPTED: Field = Field(13, 1);
const LAST: Field = Field(16, 1);
const FILL: Field = Field(0, 12);

impl PageHead {
    /// The layer of a page that holds all of them.
    pub const ALL_LAYERS: u16 = LAYER_MAX;

    /// The 64 bytes.
    pub fn encode(&self) -> [u8; HEAD_BYTES] {
        let word0 = KIND.put(self.kind.code())
            | VERSION_FIELD.put(VERSION)
            | DTYPE.put(self.dtype.code())
            | LAYOUT.put(self.layout.code())
            | ROWS.put(u64::from(self.rows.trailing_zeros()))
            | LAYER.put(u64::from(self.layer))
            | SHARD.put(u64::from(self.shard))
            | PART.put(self.part.code())
            | SEALED.put(u64::from(self.sealed))
            | ENCRYPTED.put(u64::from(self.encrypted))
            | LAST.put(u64::from(self.last))
            | FILL.put(u64::from(self.fill));
        let mut bytes = [0; HEAD_BYTES];
        bytes[..8].copy_from_slice(&word0.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.first.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.position.to_le_bytes());
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
            kind: PageKind::from_code(KIND.get(word0)).ok_or(malformed("unknown kind"))?,
            dtype: Dtype::from_code(DTYPE.get(word0)).ok_or(malformed("unknown dtype"))?,
            layout: Layout::from_code(LAYOUT.get(word0)).ok_or(malformed("unknown layout"))?,
            rows: 1_u16.checked_shl(ROWS.get(word0) as u32).ok_or(malformed("block too large"))?,
            layer: LAYER.get(word0) as u16,
            shard: SHARD.get(word0) as u8,
            part: Part::from_code(PART.get(word0)).ok_or(malformed("unknown part"))?,
            sealed: SEALED.get(word0) == 1,
            encrypted: ENCRYPTED.get(word0) == 1,
            last: LAST.get(word0) == 1,
            fill: FILL.get(word0) as u16,
            first: word(8),
            position: word(16),
            payload_bytes: (lengths & 0xFFFF_FFFF) as u32,
            hash,
        };
        if head.rows > ROWS_MAX {
            return Err(malformed("block too large"));
        }
        if head.fill > head.rows {
            return Err(malformed("more rows than fit"));
        }
        if head.encode() != *bytes {
            return Err(malformed("checksum or constant fields of the head"));
        }
        Ok(head)
    }

    /// Whether all rows are there.
    pub const fn is_full(&self) -> bool {
        self.fill == self.rows
    }
}

impl PageKind {
    const ALL: [Self; 10] = [
        Self::Token,
        Self::Kv,
        Self::Weight,
        Self::Update,
        Self::OptimizerState,
        Self::Activation,
        Self::Journal,
        Self::Manifest,
        Self::Continuation,
        Self::Dispatch,
    ];

    /// The number in the head.
    pub const fn code(self) -> u64 {
        self as u64
    }

    /// The kind with this number.
    pub fn from_code(code: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.code() == code)
    }
}

impl Layout {
    const fn code(self) -> u64 {
        match self {
            Self::Rows => 0,
            Self::AllLayers => 5,
        }
    }

    fn from_code(code: u64) -> Option<Self> {
        [Self::Rows, Self::AllLayers].into_iter().find(|layout| layout.code() == code)
    }
}

impl Part {
    const fn code(self) -> u64 {
        match self {
            Self::K => 0,
            Self::KeysAndValues => 2,
        }
    }

    fn from_code(code: u64) -> Option<Self> {
        [Self::K, Self::KeysAndValues].into_iter().find(|part| part.code() == code)
    }
}

impl Field {
    const fn mask(&self) -> u64 {
        (1 << self.1) - 1
    }

    /// Bits that do not fit are dropped; then the bytes decode to another head, which the decoder's last check refuses.
    const fn put(&self, value: u64) -> u64 {
        (value & self.mask()) << self.0
    }

    const fn get(&self, word: u64) -> u64 {
        word >> self.0 & self.mask()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::to_hex;
    use proptest::prelude::*;

    fn head() -> PageHead {
        PageHead {
            kind: PageKind::Token,
            dtype: Dtype::U32,
            layout: Layout::Rows,
            rows: 2048,
            layer: 3,
            shard: 9,
            part: Part::K,
            sealed: true,
            encrypted: true,
            last: true,
            fill: 7,
            first: 11,
            position: 13,
            payload_bytes: 28,
            hash: Digest([5; 32]),
        }
    }

    #[test]
    fn the_head_of_every_kind_is_pinned() {
        let words: Vec<String> =
            PageKind::ALL.into_iter().map(|kind| to_hex(&PageHead { kind, ..head() }.encode()[..8])).collect();
        let kinds: Vec<&str> = words.iter().map(|word| &word[14..]).collect();
        assert_eq!(kinds, ["01", "11", "21", "31", "41", "51", "61", "71", "81", "91"]);
        assert_eq!(
            to_hex(&head().encode()),
            "07309130000b28010b000000000000000d000000000000001c0000000c992f560505050505050505050505050505050505050505050505050505050505050505"
        );
    }

    #[test]
    fn a_head_that_holds_more_rows_than_fit_is_refused() {
        let verdict = PageHead::decode(&PageHead { rows: 4, fill: 5, ..head() }.encode());
        assert_eq!(verdict, Err(Refusal::PageMalformed { reason: "more rows than fit" }));
    }

    proptest! {
        #[test]
        fn a_flipped_bit_before_the_hash_is_found(bit in 0..32 * 8_usize) {
            let mut bytes = head().encode();
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(PageHead::decode(&bytes).is_err());
        }
    }
}
