//! Streams: the one way in which state flows. KV pages, tokens, the engine's dispatch queue, sealed pages on disk and
//! transfers between nodes are all append-only sequences of pages behind one contract, so that a computation which
//! reads and writes streams does not care where they end.
//!
//! # Roles
//! A stream is written at one place. [`StreamWriter`] is that place; [`Stream`] is what everybody else sees, in the same
//! thread, in another process or at another node. A page is named by its position, dense from 0; a [`Cursor`] is a
//! plain value, so that a reader which was cut off goes on where it was.
//!
//! # Transports
//! [`RingStream`] stays in one process, [`shm`] joins two processes of a host, [`SegmentStream`] is on disk. The
//! network's is in the package `node`. [`pipe`] copies any of them into any other.
//!
//! # Laws
//! The module `conformance` (feature `testing`) checks them against every transport, and against a pipe between every two.
//! 1. **A prefix is immutable.** What was read at a position is read there for ever, or is a [`Next::Gap`].
//! 2. **Cursors are independent.** Reading changes nothing for another reader.
//! 3. **Positions are dense.** The n-th page has position n, and its head says so.
//! 4. **An append is idempotent.** The same page at the same place is [`Appended::Same`]; another one there is
//!    [`Appended::Conflict`], and changes nothing.
//! 5. **Stale epochs are fenced.** Once an epoch was seen, what an older one appends or closes is [`Appended::Fenced`].
//! 6. **End follows the last page.** [`Next::End`] comes only after close, and after everything was read.
//! 7. **A gap is below [`StreamState::earliest`]** and nowhere else.
//! 8. **No wake-up is lost.** If what a [`Wake`] waits for holds already, waiting ends at once.
//! 9. **Durability only grows**, and never beyond the tail. What is durable survives a crash.
//! 10. **Equal pages have equal roots**, whatever the transport. A stream without hashes has roots only as long as none of
//!     its pages has gone: they are computed when somebody asks.
//! 11. **A pipe changes nothing**: positions, heads and roots are preserved.

#[cfg(any(test, feature = "testing"))]
pub mod conformance;
mod fault;
mod pipe;
mod ring;
mod root;
mod segment;
pub mod shm;

use std::{
    pin::{Pin, pin},
    sync::Arc,
    task,
    thread::{self, Thread},
    time::Instant,
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use wallet::{
    codec,
    digest::{Digest, blake3},
    page::{Dtype, Layout, PageHead, PageKind, Part},
};

pub use fault::StreamFault;
pub use pipe::{Piped, Stopped, pipe, pipe_some};
pub use ring::{RingOptions, RingStream};
pub use root::{Accumulator, RangeProof, RootLog, Roots};
pub use segment::{SegmentContents, SegmentOptions, SegmentStream, decode as decode_segment};

const DESCRIPTOR_DOMAIN: &str = "batchmind/v1/gpu/stream";

/// The largest payload of a page. With it a page still fits one message between nodes.
pub const PAYLOAD_BYTES_MAX: usize = 24 << 20;

/// What a stream is, whichever transport carries it. Its hash is the stream's id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Descriptor {
    /// Whom it belongs to: a wallet's address, or the hash of what names its owner.
    pub owner: Digest,
    /// Which of the owner's streams it is: `kv`, `tokens`. At most [`Descriptor::NAME_BYTES_MAX`] bytes.
    pub name: String,
    /// What the hash in each head covers.
    pub integrity: Integrity,
    /// What happens when there is no room.
    pub retention: Retention,
    /// Hash of what all pages have in common: the KV pages' `wallet::page::StreamDescriptor`. Zero if nothing.
    pub format: Digest,
}

/// A stream's id: the hash of its [`Descriptor`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StreamId(pub Digest);

/// What the hash in each head covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Integrity {
    /// Nothing: the hash is zero. For streams that stay in the memory of one host.
    None,
    /// BLAKE3 of the payload.
    Plain,
    /// BLAKE3 of the payload's plaintext under a wallet's key. The writer supplies it, and only who has the key can
    /// check it.
    Keyed,
}

/// What happens when a stream has no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Retention {
    /// The writer waits until a reader has trimmed what it does not need any more.
    Keep,
    /// The oldest pages go; who wanted them sees a gap.
    Latest,
}

/// Where a reader stands: the position of the next page that it has not read. A plain value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Cursor(pub u64);

/// How a stream stands. Taken at one moment; what grows may have grown since.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamState {
    /// Where the next page goes.
    pub tail: u64,
    /// The first page that is still there.
    pub earliest: u64,
    /// Pages below survive a crash of the machine. 0 where nothing does.
    pub durable: u64,
    /// The highest epoch that was seen.
    pub epoch: u32,
    /// Nothing more will come.
    pub closed: bool,
}

/// A page that was read. The payload may lie in the transport's own memory, which is not used again before it is
/// dropped.
#[derive(Clone)]
pub struct Page {
    /// The head.
    pub head: PageHead,
    /// The payload.
    pub payload: Bytes,
}

/// The payload may be a session's, so it is not printed.
impl std::fmt::Debug for Page {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Page({:?} {}, {} bytes)", self.head.kind, self.head.position, self.payload.len())
    }
}

/// What there is at a cursor.
#[derive(Debug)]
pub enum Next {
    /// A page, and the cursor after it.
    Item(Page, Cursor),
    /// Nothing yet. Wait for this.
    Blocked(Wake),
    /// The stream was closed, and everything before was read.
    End,
    /// The page is not there any more. Reading may go on at `earliest`.
    Gap {
        /// The first page that is there.
        earliest: u64,
    },
}

/// What a reader or a writer waits for. A plain value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// There is a page at this position, or the stream was closed.
    Page(u64),
    /// Pages below this position were trimmed, or the stream was closed.
    Room(u64),
}

/// Where an append should go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// At the tail, wherever it is.
    Any,
    /// At this position. This makes the append idempotent.
    At(u64),
}

/// What became of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    /// It stands at this position.
    Ok(u64),
    /// It stood at this position before.
    Same(u64),
    /// There is no room. Wait for this and try again.
    Full(Wake),
    /// Another page stands there, or the position is not the tail.
    Conflict {
        /// Where the next page goes.
        tail: u64,
    },
    /// A later epoch was seen.
    Fenced {
        /// The epoch that may append.
        epoch: u32,
    },
    /// The stream was closed.
    Closed,
}

/// What a writer says of a page: its head, but for what the stream knows itself (position, length, hash).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draft {
    /// What it holds.
    pub kind: PageKind,
    /// Number format.
    pub dtype: Dtype,
    /// Order of the payload.
    pub layout: Layout,
    /// Rows that fit.
    pub rows: u16,
    /// Layer.
    pub layer: u16,
    /// Shard.
    pub shard: u8,
    /// Part of the attention state.
    pub part: Part,
    /// It is full and never changes.
    pub sealed: bool,
    /// The payload is ciphertext.
    pub encrypted: bool,
    /// The last of its stream.
    pub last: bool,
    /// Rows that are there.
    pub fill: u16,
    /// Logical position of the first row.
    pub first: u64,
    /// The hash, where the writer knows it: a copy of another stream, or a keyed one. Else the stream computes it.
    pub hash: Option<Digest>,
}

/// A range of a stream as a value: what a continuation refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamRef {
    /// Which stream.
    pub id: StreamId,
    /// Root over the heads of the pages below `to`.
    pub root: Digest,
    /// The first page that is meant.
    pub from: u64,
    /// The page after the last.
    pub to: u64,
}

/// What [`Stream::wait`] returns.
pub type Waiting<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// A stream, as its readers see it.
pub trait Stream: Send + Sync {
    /// What it is.
    fn descriptor(&self) -> &Descriptor;

    /// How it stands.
    fn state(&self) -> StreamState;

    /// What there is at `cursor`. Does not wait, and changes nothing.
    ///
    /// # Errors
    /// [`StreamFault`]: what was read is not what was written, or the transport failed.
    fn next(&self, cursor: Cursor) -> Result<Next, StreamFault>;

    /// The root over the heads of the pages below `at`, which is at least `earliest`.
    ///
    /// # Errors
    /// [`StreamFault::NotKept`], [`StreamFault::BeyondTail`].
    fn root(&self, at: u64) -> Result<Digest, StreamFault>;

    /// Proves that the pages of `from..to` stand in this stream, and that its root at `to` continues its root at `from`.
    ///
    /// # Errors
    /// [`StreamFault::NotKept`], [`StreamFault::BeyondTail`].
    fn prove(&self, from: u64, to: u64) -> Result<RangeProof, StreamFault>;

    /// Says that pages below `before` are not needed any more. They go at once or later; what is being read stays until
    /// it is dropped. Beyond the tail it means the tail.
    ///
    /// # Errors
    /// [`StreamFault`] of the transport.
    fn trim(&self, before: u64) -> Result<(), StreamFault>;

    /// Ends once what `wake` waits for holds, or may hold: the caller looks again. It may be dropped at any time.
    fn wait(&self, wake: Wake) -> Waiting<'_>;
}

/// The place at which a stream is written.
pub trait StreamWriter: Stream {
    /// Appends a page whose payload of `bytes` bytes is written in place by `fill`, which is called at most once.
    ///
    /// # Errors
    /// [`StreamFault`]; then nothing was appended that a reader could see.
    fn append_with(
        &self,
        epoch: u32,
        at: Expect,
        draft: &Draft,
        bytes: usize,
        fill: &mut dyn FnMut(&mut [u8]),
    ) -> Result<Appended, StreamFault>;

    /// Appends a page.
    ///
    /// # Errors
    /// See [`Self::append_with`].
    fn append(&self, epoch: u32, at: Expect, draft: &Draft, payload: &[u8]) -> Result<Appended, StreamFault> {
        self.append_with(epoch, at, draft, payload.len(), &mut |to| to.copy_from_slice(payload))
    }

    /// Lets nobody append any more who has an earlier epoch. Durable where the stream is.
    ///
    /// # Errors
    /// [`StreamFault`] of the transport.
    fn fence(&self, epoch: u32) -> Result<(), StreamFault>;

    /// Makes everything durable that can be, and returns up to where it is.
    ///
    /// # Errors
    /// [`StreamFault`] of the transport.
    fn sync(&self) -> Result<u64, StreamFault>;

    /// Ends the stream. What is in it stays readable. Closing twice is the same; [`Appended::Ok`] and
    /// [`Appended::Same`] name the tail.
    ///
    /// # Errors
    /// [`StreamFault`] of the transport.
    fn close(&self, epoch: u32) -> Result<Appended, StreamFault>;
}

/// The reference to the pages of `from..to`.
///
/// # Errors
/// Those of [`Stream::root`].
pub fn reference(stream: &dyn Stream, from: u64, to: u64) -> Result<StreamRef, StreamFault> {
    Ok(StreamRef { id: stream.descriptor().id(), root: stream.root(to)?, from, to })
}

/// Waits on this thread.
pub fn block_on<T>(waiting: impl Future<Output = T>) -> T {
    pollster::block_on(waiting)
}

/// Waits on this thread, at most until `deadline`; none if that came first.
pub fn block_on_until<T>(waiting: impl Future<Output = T>, deadline: Instant) -> Option<T> {
    struct Unpark(Thread);
    impl task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(thread::current())).into();
    let mut context = task::Context::from_waker(&waker);
    let mut waiting = pin!(waiting);
    loop {
        if let task::Poll::Ready(output) = waiting.as_mut().poll(&mut context) {
            return Some(output);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        // It may wake for no reason; then it looks again.
        thread::park_timeout(left);
    }
}

impl Descriptor {
    /// The longest name.
    pub const NAME_BYTES_MAX: usize = 64;

    /// The stream's id.
    pub fn id(&self) -> StreamId {
        StreamId(blake3(DESCRIPTOR_DOMAIN, None, &[&codec::encode(self)]))
    }
}

impl Draft {
    /// A page of bytes that are no tensor: a message, a record.
    pub const fn bytes(kind: PageKind) -> Self {
        Self {
            kind,
            dtype: Dtype::U8,
            layout: Layout::Rows,
            rows: 1,
            layer: 0,
            shard: 0,
            part: Part::K,
            sealed: true,
            encrypted: false,
            last: false,
            fill: 1,
            first: 0,
            hash: None,
        }
    }

    /// What makes the same head at the same position.
    pub const fn of(head: &PageHead) -> Self {
        let PageHead { kind, dtype, layout, rows, layer, shard, part, sealed, encrypted, last, fill, first, .. } =
            *head;
        let hash = Some(head.hash);
        Self { kind, dtype, layout, rows, layer, shard, part, sealed, encrypted, last, fill, first, hash }
    }

    /// The head at `position`, for a payload of `bytes` bytes with this hash.
    pub(crate) const fn head(&self, position: u64, bytes: u32, hash: Digest) -> PageHead {
        let Self { kind, dtype, layout, rows, layer, shard, part, sealed, encrypted, last, fill, first, hash: _ } =
            *self;
        PageHead {
            kind,
            dtype,
            layout,
            rows,
            layer,
            shard,
            part,
            sealed,
            encrypted,
            last,
            fill,
            first,
            position,
            payload_bytes: bytes,
            hash,
        }
    }
}

impl Integrity {
    /// The hash for a head: the writer's if it knows it, else that of the payload.
    ///
    /// # Errors
    /// [`StreamFault::HashMissing`] if only the writer could know it.
    pub(crate) fn hash(self, draft: &Draft, payload: &[u8]) -> Result<Digest, StreamFault> {
        match (self, draft.hash) {
            (Self::None, _) => Ok(Digest::ZERO),
            (Self::Plain | Self::Keyed, Some(hash)) => Ok(hash),
            (Self::Plain, None) => Ok(wallet::page::payload_hash(payload, None)),
            (Self::Keyed, None) => Err(StreamFault::HashMissing),
        }
    }
}
