//! Messages over a stream: one page that says what is meant, and the KV pages that belong to it.

use std::sync::Arc;

use serde::{Serialize, de::DeserializeOwned};
use wallet::{codec, page::PageKind};

use crate::stream::{Appended, Cursor, Draft, Expect, Next, Stream, StreamFault, StreamWriter, Wake, block_on};

/// A message and its KV pages.
pub struct Message<T> {
    /// The number of the call that it belongs to; 0 for an event.
    pub call: u64,
    /// What it says.
    pub body: T,
    /// Payloads of the KV pages, in order.
    pub pages: Vec<Vec<u8>>,
}

/// Puts messages together from a stream, and trims what it has taken.
pub struct Inbox {
    stream: Arc<dyn Stream>,
    cursor: Cursor,
    /// A message whose pages are not all here: what it says, and how many pages it has.
    partial: Option<(Vec<u8>, u64)>,
    pages: Vec<Vec<u8>>,
    bytes: usize,
    bytes_max: usize,
}

/// Writes a message. Waits while there is no room. Only one thread may write messages to a stream at a time.
///
/// The head's `first` is the number of KV pages that follow. The call's number stands before the body.
///
/// # Errors
/// [`StreamFault`]; [`StreamFault::PeerGone`] if the stream was closed or fenced.
pub fn send<T: Serialize>(
    stream: &dyn StreamWriter,
    call: u64,
    body: &T,
    pages: &[impl AsRef<[u8]>],
) -> Result<(), StreamFault> {
    let encoded = codec::encode(&(call, body));
    let draft = Draft { first: pages.len() as u64, ..Draft::bytes(PageKind::Dispatch) };
    append(stream, &draft, &encoded)?;
    pages.iter().try_for_each(|page| append(stream, &Draft::bytes(PageKind::Kv), page.as_ref()))
}

fn append(stream: &dyn StreamWriter, draft: &Draft, payload: &[u8]) -> Result<(), StreamFault> {
    loop {
        match stream.append(0, Expect::Any, draft, payload)? {
            Appended::Ok(_) | Appended::Same(_) => return Ok(()),
            Appended::Full(wake) => block_on(stream.wait(wake)),
            Appended::Conflict { .. } | Appended::Fenced { .. } | Appended::Closed => {
                return Err(StreamFault::PeerGone { reason: "the queue was closed".to_owned() });
            }
        }
    }
}

impl Inbox {
    /// Reads `stream` from its first page on. The KV pages of one message have at most `bytes_max` bytes.
    pub fn new(stream: Arc<dyn Stream>, bytes_max: usize) -> Self {
        let cursor = Cursor(stream.state().earliest);
        Self { stream, cursor, partial: None, pages: Vec::new(), bytes: 0, bytes_max }
    }

    /// The next message if it is all there, or what to wait for.
    ///
    /// # Errors
    /// [`StreamFault`]: also if what is there is no message, and [`StreamFault::PeerGone`] at the stream's end.
    pub fn poll<T: Serialize + DeserializeOwned>(&mut self) -> Result<Result<Message<T>, Wake>, StreamFault> {
        loop {
            if let Some((body, _)) = self.partial.take_if(|(_, count)| *count == self.pages.len() as u64) {
                let (call, body) = codec::decode(&body).map_err(|_| self.damaged("not a message"))?;
                let pages = std::mem::take(&mut self.pages);
                self.bytes = 0;
                return Ok(Ok(Message { call, body, pages }));
            }
            let page = match self.stream.next(self.cursor)? {
                Next::Item(page, cursor) => {
                    self.cursor = cursor;
                    page
                }
                Next::Blocked(wake) => return Ok(Err(wake)),
                Next::End => return Err(StreamFault::PeerGone { reason: "the queue was closed".to_owned() }),
                Next::Gap { .. } => return Err(self.damaged("a message is missing")),
            };
            // The copy lets the page go, so that a message may be larger than the stream has room for.
            let (head, payload) = (page.head, page.payload.to_vec());
            drop(page);
            self.stream.trim(self.cursor.0)?;
            match (&self.partial, head.kind) {
                (None, PageKind::Dispatch) => self.partial = Some((payload, head.first)),
                (Some(_), PageKind::Kv) if payload.len() <= self.bytes_max - self.bytes && !payload.is_empty() => {
                    self.bytes += payload.len();
                    self.pages.push(payload);
                }
                (Some(_), PageKind::Kv) => return Err(self.damaged("more pages than a message may have")),
                _ => return Err(self.damaged("not the page that a message goes on with")),
            }
        }
    }

    /// The stream that it reads.
    pub const fn stream(&self) -> &Arc<dyn Stream> {
        &self.stream
    }

    fn damaged(&self, reason: &'static str) -> StreamFault {
        StreamFault::Damaged { position: self.cursor.0, reason }
    }
}
