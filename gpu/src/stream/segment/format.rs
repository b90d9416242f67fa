//! The bytes of a segment: its header, and the frames behind it. docs/formats/segment.md has them in a table.

use wallet::{
    chain::RestKey,
    digest::Digest,
    page::{HEAD_BYTES, PageHead},
    seal::segment::{SALT_BYTES, SegmentSeal, TAG_BYTES},
};

use crate::stream::{Accumulator, PAYLOAD_BYTES_MAX, StreamId};

/// Format and version.
const MAGIC: [u8; 8] = *b"BMSEGM\0\x01";
/// Flags of the header.
const SEALED: u32 = 1;
const CLOSED: u32 = 2;
/// The header up to the peaks.
pub const HEADER_PREFIX_BYTES: usize = 88;
/// The longest header: 64 peaks, sealed.
pub const HEADER_BYTES_MAX: usize = HEADER_PREFIX_BYTES + 64 * 32 + TAG_BYTES + CHECK_BYTES;
/// What stands before a frame's body.
pub const PRELUDE_BYTES: usize = 12;
/// What stands behind a header or a frame.
pub const CHECK_BYTES: usize = 4;
/// The body of a mark or a close.
pub const STAND_BYTES: usize = 48;
/// The body of a fence: the epoch.
const FENCE_BYTES: usize = 4;
/// The longest body: a sealed page.
const BODY_BYTES_MAX: usize = HEAD_BYTES + PAYLOAD_BYTES_MAX + 2 * TAG_BYTES;

/// What a sealed payload is checked by.
type Tag = [u8; TAG_BYTES];

/// Why bytes are no header or frame.
pub type Reason = &'static str;

/// What stands at the beginning of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The stream.
    pub stream: StreamId,
    /// What the segment's key is derived with; it also tells its frames from those of all others.
    pub salt: [u8; SALT_BYTES],
    /// The highest epoch that was seen when the segment began.
    pub epoch: u32,
    /// The stream was closed before the segment, which only raises the epoch then.
    pub closed: bool,
    /// The stream's heads before the segment.
    pub before: Accumulator,
}

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// The next page.
    Page,
    /// What was durable.
    Mark,
    /// An epoch that was seen.
    Fence,
    /// The stream's end.
    Close,
}

/// The beginning of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prelude {
    /// What it is.
    pub what: What,
    /// Length of the body.
    pub body: u32,
}

/// A prelude's bytes, and the check in them.
struct Checked {
    bytes: [u8; PRELUDE_BYTES],
    check: u32,
}

/// What stands around a page's payload in its frame.
#[derive(Debug)]
pub struct Around {
    /// Before it.
    pub start: Vec<u8>,
    /// Behind it.
    pub end: Vec<u8>,
}

/// How the stream stood where a mark or a close was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stand {
    /// Bytes of this segment that were on disk.
    pub durable: u64,
    /// Pages of the stream before this frame.
    pub tail: u64,
    /// The root over their heads.
    pub root: Digest,
}

/// What the frames of one segment have in common: how they are checked and sealed.
#[derive(Clone, Debug)]
pub struct Binding {
    /// The header's check, with which each frame's check begins.
    seed: u32,
    seal: Option<SegmentSeal>,
    stream: StreamId,
    first: u64,
}

impl Header {
    /// The header's bytes, and what binds frames to it. Sealed if there is a key.
    pub fn encode(&self, rest: Option<&RestKey>) -> (Vec<u8>, Binding) {
        let mut bytes = Vec::with_capacity(HEADER_BYTES_MAX);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(self.stream.0.as_bytes());
        bytes.extend_from_slice(&self.salt);
        bytes.extend_from_slice(&self.before.len().to_le_bytes());
        bytes.extend_from_slice(&self.epoch.to_le_bytes());
        let sealed = if rest.is_some() { SEALED } else { 0 };
        let flags = if self.closed { sealed | CLOSED } else { sealed };
        bytes.extend_from_slice(&flags.to_le_bytes());
        bytes.extend(self.before.peaks().iter().flat_map(|peak| peak.0));
        let seal = rest.map(|rest| SegmentSeal::new(rest, &self.salt));
        if let Some(seal) = &seal {
            let (prefix, peaks) = bytes.split_at_mut(HEADER_PREFIX_BYTES);
            let tag = seal.seal(HEADER_PREFIX_BYTES as u64, prefix, peaks);
            bytes.extend_from_slice(&tag);
        }
        let seed = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&seed.to_le_bytes());
        (bytes, Binding { seed, seal, stream: self.stream, first: self.before.len() })
    }

    /// Reads a header at the beginning of `bytes`, of which it may need [`HEADER_BYTES_MAX`], and returns its length.
    ///
    /// # Errors
    /// What is wrong with it. Without the key a sealed one cannot be read.
    pub fn decode(bytes: &[u8], rest: Option<&RestKey>) -> Result<(Self, Binding, usize), Reason> {
        let short = "shorter than its header";
        let (prefix, _) = bytes.split_first_chunk::<HEADER_PREFIX_BYTES>().ok_or(short)?;
        let (first, epoch, flags) = (u64_at(prefix, 72), u32_at(prefix, 80), u32_at(prefix, 84));
        if prefix[..8] != MAGIC {
            return Err("no segment, or of another version");
        }
        let peaks = first.count_ones() as usize * 32;
        if flags & !(SEALED | CLOSED) != 0 {
            return Err("the header's flags");
        }
        let sealed = flags & SEALED != 0;
        let end = HEADER_PREFIX_BYTES + peaks + tag_bytes(sealed);
        let whole = bytes.get(..end + CHECK_BYTES).ok_or(short)?;
        let seed = crc32c::crc32c(&whole[..end]);
        if whole[end..] != seed.to_le_bytes() {
            return Err("the header's checksum");
        }
        if sealed != rest.is_some() {
            return Err("the segment is sealed and there is no key, or the other way round");
        }
        let mut salt = [0; SALT_BYTES];
        salt.copy_from_slice(&prefix[40..72]);
        let seal = rest.map(|rest| SegmentSeal::new(rest, &salt));
        let mut peaks = whole[HEADER_PREFIX_BYTES..end].to_vec();
        if let Some(seal) = &seal {
            let opened = seal.open(HEADER_PREFIX_BYTES as u64, prefix, &mut peaks).map_err(|_| "the header's seal")?;
            let length = opened.len();
            peaks.truncate(length);
        }
        let peaks = peaks.chunks_exact(32).map(|peak| digest_at(peak, 0)).collect();
        let before = Accumulator::from_peaks(first, peaks).ok_or("the header's peaks")?;
        let stream = StreamId(digest_at(prefix, 8));
        let header = Self { stream, salt, epoch, closed: flags & CLOSED != 0, before };
        Ok((header, Binding { seed, seal, stream, first }, end + CHECK_BYTES))
    }
}

impl What {
    const fn code(self) -> u32 {
        match self {
            Self::Page => 0,
            Self::Mark => 1,
            Self::Fence => 2,
            Self::Close => 3,
        }
    }

    fn from_code(code: u32) -> Option<Self> {
        [Self::Page, Self::Mark, Self::Fence, Self::Close].into_iter().find(|what| what.code() == code)
    }
}

impl Prelude {
    /// The whole frame's length.
    pub const fn frame_bytes(&self) -> usize {
        PRELUDE_BYTES + self.body as usize + CHECK_BYTES
    }
}

impl Stand {
    /// The body of a mark or a close.
    pub fn encode(&self) -> [u8; STAND_BYTES] {
        let mut bytes = [0; STAND_BYTES];
        bytes[..8].copy_from_slice(&self.durable.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.tail.to_le_bytes());
        bytes[16..].copy_from_slice(self.root.as_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        (bytes.len() == STAND_BYTES).then(|| Self {
            durable: u64_at(bytes, 0),
            tail: u64_at(bytes, 8),
            root: digest_at(bytes, 16),
        })
    }
}

impl Binding {
    /// Position of the segment's first page.
    pub const fn first(&self) -> u64 {
        self.first
    }

    /// Whether frames are sealed.
    pub const fn is_sealed(&self) -> bool {
        self.seal.is_some()
    }

    /// Length of the frame of a mark or a close.
    pub const fn stand_frame_bytes(&self) -> usize {
        PRELUDE_BYTES + STAND_BYTES + self.tag_bytes() + CHECK_BYTES
    }

    const fn tag_bytes(&self) -> usize {
        tag_bytes(self.seal.is_some())
    }

    /// Where a page's payload begins in its frame.
    const fn payload_at(&self) -> usize {
        payload_at(self.seal.is_some())
    }

    /// What a page's body has beyond its payload.
    const fn page_overhead(&self) -> usize {
        page_frame_bytes(self.seal.is_some(), 0) - PRELUDE_BYTES - CHECK_BYTES
    }

    /// What stands before and behind a page's payload in the frame at `offset`. Where frames are sealed, the payload was
    /// sealed by [`Self::seal_payload`], which returned `tag`.
    pub fn around(&self, offset: u64, head: &PageHead, payload: &[u8], tag: Option<Tag>) -> Around {
        let mut start = vec![0; PRELUDE_BYTES];
        start.extend_from_slice(&head.encode());
        let mut end = Vec::from(tag.as_ref().map_or(&[][..], |tag| tag));
        if let Some(seal) = &self.seal {
            let place = offset + PRELUDE_BYTES as u64;
            let tag = seal.seal(place, &self.associated(What::Page, head.position), &mut start[PRELUDE_BYTES..]);
            start.extend_from_slice(&tag);
        }
        let first = self.prelude_of(offset, What::Page, start.len() - PRELUDE_BYTES + payload.len() + end.len());
        start[..PRELUDE_BYTES].copy_from_slice(&first.bytes);
        let check = [&start[PRELUDE_BYTES..], payload, &end].into_iter().fold(first.check, crc32c::crc32c_append);
        end.extend_from_slice(&check.to_le_bytes());
        Around { start, end }
    }

    /// Seals, in place, the payload of the page at `position`, whose frame is to stand at `offset`. None if frames are not
    /// sealed.
    pub fn seal_payload(&self, offset: u64, position: u64, payload: &mut [u8]) -> Option<Tag> {
        let place = offset + self.payload_at() as u64;
        self.seal.as_ref().map(|seal| seal.seal(place, &self.associated(What::Page, position), payload))
    }

    /// The frame of what is no page, to stand at `offset`.
    pub fn control(&self, offset: u64, what: What, body: &[u8]) -> Vec<u8> {
        let mut frame = vec![0; PRELUDE_BYTES];
        frame.extend_from_slice(body);
        if let Some(seal) = &self.seal {
            let place = offset + PRELUDE_BYTES as u64;
            let tag = seal.seal(place, &self.associated(what, 0), &mut frame[PRELUDE_BYTES..]);
            frame.extend_from_slice(&tag);
        }
        let first = self.prelude_of(offset, what, frame.len() - PRELUDE_BYTES);
        frame[..PRELUDE_BYTES].copy_from_slice(&first.bytes);
        let check = crc32c::crc32c_append(first.check, &frame[PRELUDE_BYTES..]);
        frame.extend_from_slice(&check.to_le_bytes());
        frame
    }

    /// The prelude of the frame at `offset`, and the check in it, with which the frame's check begins.
    fn prelude_of(&self, offset: u64, what: What, body: usize) -> Checked {
        let mut bytes = [0; PRELUDE_BYTES];
        bytes[..4].copy_from_slice(&u32::try_from(body).expect("bodies are bounded").to_le_bytes());
        bytes[4..8].copy_from_slice(&what.code().to_le_bytes());
        let check = self.check(offset, &bytes[..8]);
        bytes[8..].copy_from_slice(&check.to_le_bytes());
        Checked { bytes, check }
    }

    /// The beginning of the frame at `offset`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn prelude(&self, offset: u64, bytes: &[u8]) -> Result<Prelude, Reason> {
        let prelude = bytes.first_chunk::<PRELUDE_BYTES>().ok_or("the frame is cut off")?;
        if u32_at(prelude, 8) != self.check(offset, &prelude[..8]) {
            return Err("the frame's first checksum");
        }
        let what = What::from_code(u32_at(prelude, 4)).ok_or("a frame of unknown kind")?;
        let body = u32_at(prelude, 0);
        let length = body as usize;
        let fits = match what {
            What::Page => (self.page_overhead()..=BODY_BYTES_MAX).contains(&length),
            What::Mark | What::Close => length == STAND_BYTES + self.tag_bytes(),
            What::Fence => length == FENCE_BYTES + self.tag_bytes(),
        };
        fits.then_some(Prelude { what, body }).ok_or("the frame's length")
    }

    /// Checks the whole `frame` at `offset` by its checksums, and returns its prelude.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check_frame(&self, offset: u64, frame: &[u8]) -> Result<Prelude, Reason> {
        let prelude = self.prelude(offset, frame)?;
        if frame.len() != prelude.frame_bytes() {
            return Err("the frame is cut off");
        }
        let check = frame.len() - CHECK_BYTES;
        let found = crc32c::crc32c_append(u32_at(frame, 8), &frame[PRELUDE_BYTES..check]);
        if u32_at(frame, check) != found {
            return Err("the frame's checksum");
        }
        Ok(prelude)
    }

    /// The head of the page whose frame at `offset` begins with `bytes`, at least [`payload_at`] of them.
    ///
    /// # Errors
    /// What is wrong with it. In an unsealed frame the hash in the head is not checked by this.
    pub fn head(&self, offset: u64, prelude: &Prelude, position: u64, bytes: &[u8]) -> Result<PageHead, Reason> {
        let mut sealed = [0; HEAD_BYTES + TAG_BYTES];
        let sealed = &mut sealed[..self.payload_at() - PRELUDE_BYTES];
        sealed.copy_from_slice(bytes.get(PRELUDE_BYTES..self.payload_at()).ok_or("the frame is cut off")?);
        let head = match &self.seal {
            Some(seal) => seal
                .open(offset + PRELUDE_BYTES as u64, &self.associated(What::Page, position), sealed)
                .map_err(|_| "the seal of the page's head")?,
            None => sealed,
        };
        let head = head.first_chunk::<HEAD_BYTES>().ok_or("the frame is cut off")?;
        let head = PageHead::decode(head).map_err(|_| "the page's head")?;
        if head.position != position {
            return Err("the page is of another position");
        }
        if head.payload_bytes as usize + self.page_overhead() != prelude.body as usize {
            return Err("the page's head names another length");
        }
        Ok(head)
    }

    /// Opens the payload in the page's frame at `offset`, in place. It stands at [`payload_at`] then.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn open_payload(&self, offset: u64, position: u64, frame: &mut [u8]) -> Result<(), Reason> {
        let Some(seal) = &self.seal else { return Ok(()) };
        let (at, end) = (self.payload_at(), frame.len().saturating_sub(CHECK_BYTES));
        let sealed = frame.get_mut(at..end).ok_or("the frame is cut off")?;
        seal.open(offset + at as u64, &self.associated(What::Page, position), sealed)
            .map(drop)
            .map_err(|_| "the seal of the page's payload")
    }

    /// What stands in a checked mark or close.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn stand(&self, offset: u64, what: What, frame: &[u8]) -> Result<Stand, Reason> {
        let stand = self.open_control(offset, what, frame)?;
        Stand::decode(&stand).ok_or("a mark's length")
    }

    /// What stands in a checked fence.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn fence(&self, offset: u64, frame: &[u8]) -> Result<u32, Reason> {
        let epoch = self.open_control(offset, What::Fence, frame)?;
        epoch.first_chunk().map(|epoch| u32::from_le_bytes(*epoch)).ok_or("a fence's length")
    }

    fn open_control(&self, offset: u64, what: What, frame: &[u8]) -> Result<Vec<u8>, Reason> {
        let end = frame.len().saturating_sub(CHECK_BYTES);
        let mut body = frame.get(PRELUDE_BYTES..end).ok_or("the frame is cut off")?.to_vec();
        if let Some(seal) = &self.seal {
            let place = offset + PRELUDE_BYTES as u64;
            let opened = seal.open(place, &self.associated(what, 0), &mut body).map_err(|_| "the seal of a mark")?;
            let length = opened.len();
            body.truncate(length);
        }
        Ok(body)
    }

    /// The first eight bytes of a mark's frame, by which it is found behind what cannot be read.
    pub fn mark_begins(&self) -> [u8; 8] {
        let mut begins = [0; 8];
        let body = u32::try_from(STAND_BYTES + self.tag_bytes()).expect("bodies are bounded");
        begins[..4].copy_from_slice(&body.to_le_bytes());
        begins[4..].copy_from_slice(&What::Mark.code().to_le_bytes());
        begins
    }

    /// Binds bytes to this segment and their place in it.
    fn check(&self, offset: u64, bytes: &[u8]) -> u32 {
        crc32c::crc32c_append(crc32c::crc32c_append(self.seed, &offset.to_le_bytes()), bytes)
    }

    fn associated(&self, what: What, position: u64) -> [u8; 52] {
        let mut associated = [0; 52];
        associated[..32].copy_from_slice(self.stream.0.as_bytes());
        associated[32..40].copy_from_slice(&self.first.to_le_bytes());
        associated[40..48].copy_from_slice(&position.to_le_bytes());
        associated[48..].copy_from_slice(&what.code().to_le_bytes());
        associated
    }
}

/// What sealing adds.
const fn tag_bytes(sealed: bool) -> usize {
    if sealed { TAG_BYTES } else { 0 }
}

/// Where a page's payload begins in its frame.
pub const fn payload_at(sealed: bool) -> usize {
    PRELUDE_BYTES + HEAD_BYTES + tag_bytes(sealed)
}

/// Length of the frame of a page with a payload of `bytes` bytes.
pub const fn page_frame_bytes(sealed: bool, bytes: usize) -> usize {
    payload_at(sealed) + bytes + tag_bytes(sealed) + CHECK_BYTES
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

fn digest_at(bytes: &[u8], at: usize) -> Digest {
    let mut digest = Digest::ZERO;
    digest.0.copy_from_slice(&bytes[at..at + 32]);
    digest
}
