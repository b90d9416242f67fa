//! One stream under test, and what it should hold.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    thread::{self, Thread},
    time::{Duration, Instant},
};

use wallet::{
    digest::{Digest, blake3},
    page::{PageHead, PageKind},
};

use super::{Limits, Open, Opened};
use crate::stream::{
    Appended, Cursor, Descriptor, Draft, Expect, Integrity, Next, Page, Retention, Stream, StreamWriter,
};

const PATIENCE: Duration = Duration::from_secs(60);
static STREAMS: AtomicU64 = AtomicU64::new(0);

/// Waits on this thread, but not for ever. The future is polled only when it was woken: a wake-up that is lost stays so.
///
/// # Panics
/// After a minute.
pub fn within<T>(future: impl Future<Output = T>) -> T {
    struct Woken(Thread, AtomicBool);
    impl std::task::Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.1.store(true, Ordering::SeqCst);
            self.0.unpark();
        }
    }
    let woken = Arc::new(Woken(thread::current(), AtomicBool::new(true)));
    let waker = woken.clone().into();
    let mut future = pin!(future);
    let end = Instant::now() + PATIENCE;
    loop {
        if woken.1.swap(false, Ordering::SeqCst)
            && let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker))
        {
            return value;
        }
        let left = end.saturating_duration_since(Instant::now());
        assert!(!left.is_zero(), "what was waited for did not come within a minute");
        if !woken.1.load(Ordering::SeqCst) {
            thread::park_timeout(left);
        }
    }
}

/// A descriptor that no other stream of this process has.
pub fn descriptor(integrity: Integrity, retention: Retention) -> Descriptor {
    let number = STREAMS.fetch_add(1, Ordering::Relaxed);
    let name = format!("conformance-{number}");
    Descriptor { owner: Digest([7; 32]), name, integrity, retention, format: Digest::ZERO }
}

/// The n-th payload. Some are empty.
pub fn payload(position: u64, salt: u8) -> Vec<u8> {
    let bytes = (position * 53 + u64::from(salt) * 31) % 400;
    (0..bytes).map(|byte| (byte * 7 + position) as u8 ^ salt).collect()
}

pub struct Case {
    pub descriptor: Descriptor,
    pub opened: Opened,
    pub heads: Vec<PageHead>,
    pub payloads: Vec<Vec<u8>>,
}

impl Case {
    /// A fresh stream for `pages` pages.
    pub fn open(open: &mut Open<'_>, integrity: Integrity, retention: Retention, pages: usize) -> Self {
        Self::of(open, descriptor(integrity, retention), pages)
    }

    pub fn of(open: &mut Open<'_>, descriptor: Descriptor, pages: usize) -> Self {
        let opened = open(&descriptor, Limits { pages, payload_bytes: 4096 });
        assert_eq!(opened.writer.descriptor(), &descriptor);
        assert_eq!(opened.reader.descriptor(), &descriptor);
        Self { descriptor, opened, heads: Vec::new(), payloads: Vec::new() }
    }

    pub fn writer(&self) -> &dyn StreamWriter {
        &*self.opened.writer
    }

    pub fn reader(&self) -> &dyn Stream {
        &*self.opened.reader
    }

    pub fn tail(&self) -> u64 {
        self.heads.len() as u64
    }

    pub fn draft(&self, position: u64, payload: &[u8]) -> Draft {
        let keyed = self.descriptor.integrity == Integrity::Keyed;
        let hash = keyed.then(|| blake3("keyed, for the suite", None, &[payload]));
        Draft { first: position * 3, last: position % 5 == 4, hash, ..Draft::bytes(PageKind::Journal) }
    }

    /// Appends what should stand at `position`, there.
    pub fn put(&self, epoch: u32, at: Expect, position: u64, salt: u8) -> Appended {
        let payload = payload(position, salt);
        let draft = self.draft(position, &payload);
        self.writer().append(epoch, at, &draft, &payload).expect("the transport works")
    }

    /// What was appended: the next page of the list.
    pub fn note(&mut self, salt: u8) {
        let position = self.tail();
        let payload = payload(position, salt);
        let draft = self.draft(position, &payload);
        let hash = self.descriptor.integrity.hash(&draft, &payload).expect("the draft has one where it must");
        self.heads.push(draft.head(position, payload.len() as u32, hash));
        self.payloads.push(payload);
    }

    /// Appends `count` pages, for which there must be room.
    pub fn fill(&mut self, count: u64) {
        for _ in 0..count {
            let position = self.tail();
            assert_eq!(self.put(0, Expect::Any, position, 0), Appended::Ok(position));
            self.note(0);
        }
    }

    /// What the reader sees at `position` once there is something.
    pub fn see(&self, position: u64) -> Next {
        see(self.reader(), position)
    }

    /// The page at `position`, which must come, and be what was written.
    pub fn page(&self, position: u64) -> Page {
        match self.see(position) {
            Next::Item(page, after) => {
                assert_eq!(after, Cursor(position + 1));
                self.check(position, &page);
                page
            }
            other => panic!("a page should be at {position}, there is {other:?}"),
        }
    }

    pub fn check(&self, position: u64, page: &Page) {
        assert_eq!(page.head, self.heads[position as usize]);
        assert_eq!(page.payload, self.payloads[position as usize], "payload of page {position}");
    }
}

/// What `reader` sees at `position` once there is something.
pub fn see(reader: &dyn Stream, position: u64) -> Next {
    loop {
        match reader.next(Cursor(position)).expect("the transport works") {
            Next::Blocked(wake) => within(reader.wait(wake)),
            seen => return seen,
        }
    }
}
