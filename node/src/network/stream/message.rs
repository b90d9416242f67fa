//! What a reader's node and an origin say to each other.
//!
//! A request is one canonical value. An answer is the length of its head as a little-endian `u32`, the head, which is one
//! canonical value, and the payloads of its pages one after the other: they are cut out of the frame and not copied.

use bytes::Bytes;
use gpu::stream::{Accumulator, Page, StreamId, StreamState};
use serde::{Deserialize, Serialize};
use wallet::{
    codec,
    digest::Digest,
    page::{HEAD_BYTES, PageHead},
};

use super::refusal::StreamRefusal;

/// What a reader's node asks of an origin. The order of the variants is part of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StreamRequest {
    /// The pages from a cursor on.
    Pull(Pull),
    /// Pages are not needed any more, and no pull is due.
    Trim(Trim),
}

/// See [`StreamRequest::Pull`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pull {
    /// Which stream.
    pub stream: StreamId,
    /// The first page that is wanted.
    pub cursor: u64,
    /// At most this many pages, and at most [`super::PULL_PAGES_MAX`].
    pub pages_max: u32,
    /// At most this many bytes of payload, and at most [`super::PULL_BYTES_MAX`]; but always a page if there is one.
    pub bytes_max: u32,
    /// How long to wait for a page, at most [`super::WAIT_MS_MAX`].
    pub wait_ms: u32,
    /// Pages below are not needed any more. Heeded only if the asker is the stream's consumer.
    pub trim_below: Option<u64>,
    /// Whether the peaks at the cursor are wanted: the asker does not know what is before.
    pub peaks: bool,
}

/// See [`StreamRequest::Trim`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trim {
    /// Which stream.
    pub stream: StreamId,
    /// Pages below are not needed any more. Heeded only if the asker is the stream's consumer.
    pub below: u64,
}

/// The answer to a [`StreamRequest`].
#[derive(Clone, Debug)]
pub enum StreamReply {
    /// To a pull.
    Pulled(Pulled),
    /// To a trim.
    Trimmed,
    /// To any request.
    Refused(StreamRefusal),
}

/// Pages, and what is known of their stream.
#[derive(Clone, Debug)]
pub struct Pulled {
    /// Which stream.
    pub stream: StreamId,
    /// How it stands at its origin.
    pub state: OriginState,
    /// What goes on from the cursor, if the pull asked for it.
    pub start: Option<Accumulator>,
    /// The root after the last of these pages.
    pub root: Digest,
    /// From the cursor on, without a gap.
    pub pages: Vec<Page>,
}

/// [`StreamState`] as it travels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OriginState {
    /// Where the next page goes.
    pub tail: u64,
    /// The first page that is still there.
    pub earliest: u64,
    /// Pages below survive a crash of the origin.
    pub durable: u64,
    /// The highest epoch that was seen.
    pub epoch: u32,
    /// Nothing more will come.
    pub closed: bool,
}

/// What is wrong with an answer's bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct MalformedAnswer(pub String);

/// The head of an answer. The order of the variants is part of the format.
#[derive(Debug, Serialize, Deserialize)]
enum AnswerHead {
    Pulled(PulledHead),
    Trimmed,
    Refused(StreamRefusal),
}

#[derive(Debug, Serialize, Deserialize)]
struct PulledHead {
    stream: StreamId,
    state: OriginState,
    start: Option<Start>,
    root: Digest,
    /// [`HEAD_BYTES`] for each page.
    #[serde(with = "codec::bytes")]
    heads: Vec<u8>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Start {
    count: u64,
    peaks: Vec<Digest>,
}

impl StreamRequest {
    /// Which stream it is about.
    pub const fn stream(&self) -> StreamId {
        match self {
            Self::Pull(pull) => pull.stream,
            Self::Trim(trim) => trim.stream,
        }
    }
}

impl StreamReply {
    /// The frame's body.
    pub fn encode(&self) -> Vec<u8> {
        let (head, pages) = match self {
            Self::Pulled(pulled) => (AnswerHead::Pulled(pulled.head()), pulled.pages.as_slice()),
            Self::Trimmed => (AnswerHead::Trimmed, [].as_slice()),
            Self::Refused(refusal) => (AnswerHead::Refused(refusal.clone()), [].as_slice()),
        };
        let head = codec::encode(&head);
        let payload_bytes: usize = pages.iter().map(|page| page.payload.len()).sum();
        let mut bytes = Vec::with_capacity(4 + head.len() + payload_bytes);
        bytes.extend_from_slice(&u32::try_from(head.len()).unwrap_or(u32::MAX).to_le_bytes());
        bytes.extend_from_slice(&head);
        pages.iter().for_each(|page| bytes.extend_from_slice(&page.payload));
        bytes
    }

    /// Reads what [`Self::encode`] wrote, and nothing else. The payloads stay where they are.
    ///
    /// # Errors
    /// [`MalformedAnswer`].
    pub fn decode(mut bytes: Bytes) -> Result<Self, MalformedAnswer> {
        let malformed = |reason: &str| MalformedAnswer(reason.to_owned());
        let length = bytes.first_chunk::<4>().ok_or_else(|| malformed("it is too short"))?;
        let length = u32::from_le_bytes(*length) as usize;
        let mut payloads =
            bytes.len().checked_sub(4).filter(|rest| length <= *rest).map(|_| bytes.split_off(4 + length));
        let mut payloads = payloads.take().ok_or_else(|| malformed("it is shorter than its head"))?;
        let head: AnswerHead = codec::decode(&bytes[4..]).map_err(|error| MalformedAnswer(error.to_string()))?;
        let reply = match head {
            AnswerHead::Pulled(head) => Self::Pulled(head.with(&mut payloads)?),
            AnswerHead::Trimmed => Self::Trimmed,
            AnswerHead::Refused(refusal) => Self::Refused(refusal),
        };
        if payloads.is_empty() { Ok(reply) } else { Err(malformed("stray bytes follow its payloads")) }
    }
}

impl Pulled {
    fn head(&self) -> PulledHead {
        PulledHead {
            stream: self.stream,
            state: self.state,
            start: self.start.as_ref().map(|start| Start { count: start.len(), peaks: start.peaks().to_vec() }),
            root: self.root,
            heads: self.pages.iter().flat_map(|page| page.head.encode()).collect(),
        }
    }
}

impl PulledHead {
    /// Takes the payloads from the front of `bytes`.
    fn with(self, bytes: &mut Bytes) -> Result<Pulled, MalformedAnswer> {
        let malformed = |reason: &str| MalformedAnswer(reason.to_owned());
        let (heads, rest) = self.heads.as_chunks::<HEAD_BYTES>();
        if !rest.is_empty() {
            return Err(malformed("a head is cut short"));
        }
        let mut pages = Vec::with_capacity(heads.len());
        for head in heads {
            let head = PageHead::decode(head).map_err(|refusal| MalformedAnswer(refusal.to_string()))?;
            let length = head.payload_bytes as usize;
            if length > bytes.len() {
                return Err(malformed("a payload is cut short"));
            }
            pages.push(Page { head, payload: bytes.split_to(length) });
        }
        let start = self.start.map(|Start { count, peaks }| Accumulator::from_peaks(count, peaks));
        let start = match start {
            Some(None) => return Err(malformed("the peaks do not fit their count")),
            Some(start) => start,
            None => None,
        };
        Ok(Pulled { stream: self.stream, state: self.state, start, root: self.root, pages })
    }
}

impl From<StreamState> for OriginState {
    fn from(state: StreamState) -> Self {
        let StreamState { tail, earliest, durable, epoch, closed } = state;
        Self { tail, earliest, durable, epoch, closed }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use wallet::digest::sha256;

    use super::*;
    use crate::network::stream::tests::page;

    const STREAM: StreamId = StreamId(Digest([1; 32]));

    fn requests() -> [StreamRequest; 2] {
        let pull = Pull {
            stream: STREAM,
            cursor: 2,
            pages_max: 3,
            bytes_max: 4,
            wait_ms: 5,
            trim_below: Some(6),
            peaks: true,
        };
        [StreamRequest::Pull(pull), StreamRequest::Trim(Trim { stream: STREAM, below: 7 })]
    }

    fn replies() -> Vec<StreamReply> {
        let state = OriginState { tail: 5, earliest: 1, durable: 4, epoch: 3, closed: true };
        let start = Accumulator::from_peaks(3, vec![Digest([2; 32]), Digest([3; 32])]);
        let pages = vec![page(3, b"first"), page(4, b"")];
        vec![
            StreamReply::Pulled(Pulled { stream: STREAM, state, start, root: Digest([4; 32]), pages }),
            StreamReply::Trimmed,
            StreamReply::Refused(StreamRefusal::Gap { earliest: 9 }),
            StreamReply::Refused(StreamRefusal::Failed { code: "E-202".to_owned(), title: "no".to_owned() }),
        ]
    }

    #[test]
    fn the_encodings_are_pinned() {
        let hash = |bytes: &[u8]| sha256("golden", &[bytes]).to_string()[..16].to_owned();
        let requests: Vec<String> = requests().iter().map(|request| hash(&codec::encode(request))).collect();
        assert_eq!(requests, ["ef997c14920ae262", "969fc6b463405cfb"]);
        let replies: Vec<String> = replies().iter().map(|reply| hash(&reply.encode())).collect();
        assert_eq!(replies, ["b999b1eed3c0bb7c", "5e394fdfba8c0e96", "1da6e6ed8eb80099", "513b0374bdbb16a4"]);
    }

    #[test]
    fn what_is_written_is_read_back() {
        for reply in replies() {
            let bytes = reply.encode();
            let read = StreamReply::decode(Bytes::from(bytes.clone())).expect("it was just written");
            assert_eq!(format!("{read:?}"), format!("{reply:?}"));
            assert_eq!(read.encode(), bytes);
        }
    }

    #[test]
    fn an_answer_that_is_cut_or_followed_by_more_is_not_read() {
        for reply in replies() {
            let bytes = reply.encode();
            for cut in 0..bytes.len() {
                assert!(StreamReply::decode(Bytes::copy_from_slice(&bytes[..cut])).is_err(), "cut at {cut}");
            }
            let more = [bytes.as_slice(), &[0]].concat();
            assert!(StreamReply::decode(Bytes::from(more)).is_err());
        }
    }

    proptest! {
        #[test]
        fn what_decodes_encodes_to_the_same_bytes(which in 0..4_usize, at in any::<prop::sample::Index>(), bit in 0..8_u8) {
            let mut bytes = replies()[which].encode();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            if let Ok(reply) = StreamReply::decode(Bytes::from(bytes.clone())) {
                prop_assert_eq!(reply.encode(), bytes);
            }
        }
    }
}
