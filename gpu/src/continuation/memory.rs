//! A stream for the tests of this module: it forgets what was not synced when it crashes.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
};

use bytes::Bytes;
use wallet::digest::Digest;

use crate::stream::{
    Appended, Cursor, Descriptor, Draft, Expect, Next, Page, RangeProof, RootLog, Stream, StreamFault, StreamState,
    StreamWriter, Waiting, Wake,
};

/// Pages in memory. What was synced counts as durable.
pub struct MemoryStream {
    descriptor: Descriptor,
    inner: Mutex<Inner>,
}

#[derive(Clone, Default)]
struct Inner {
    pages: Vec<Page>,
    durable: u64,
    epoch: u32,
    closed: bool,
    room: Option<usize>,
}

impl MemoryStream {
    pub fn new(descriptor: Descriptor) -> Arc<Self> {
        Arc::new(Self { descriptor, inner: Mutex::default() })
    }

    /// What is there after a crash that left `pages` pages, but at least those that were durable.
    pub fn after_crash(&self, pages: u64) -> Arc<Self> {
        let mut inner = self.inner().clone();
        inner.pages.truncate(inner.durable.max(pages) as usize);
        Arc::new(Self { descriptor: self.descriptor.clone(), inner: Mutex::new(inner) })
    }

    /// Lets no more than `pages` pages in.
    pub fn limit(&self, pages: usize) {
        self.inner().room = Some(pages);
    }

    pub fn pages(&self) -> Vec<Page> {
        self.inner().pages.clone()
    }

    /// Puts something else where a page is.
    pub fn replace(&self, position: usize, page: Page) {
        self.inner().pages[position] = page;
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no test panics while it holds this")
    }
}

impl Stream for MemoryStream {
    fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    fn state(&self) -> StreamState {
        let Inner { pages, durable, epoch, closed, .. } = &*self.inner();
        StreamState { tail: pages.len() as u64, earliest: 0, durable: *durable, epoch: *epoch, closed: *closed }
    }

    fn next(&self, cursor: Cursor) -> Result<Next, StreamFault> {
        let inner = self.inner();
        Ok(match inner.pages.get(cursor.0 as usize) {
            Some(page) => Next::Item(page.clone(), Cursor(cursor.0 + 1)),
            None if inner.closed => Next::End,
            None => Next::Blocked(Wake::Page(cursor.0)),
        })
    }

    fn root(&self, at: u64) -> Result<Digest, StreamFault> {
        let mut roots = RootLog::new();
        self.inner().pages.iter().for_each(|page| roots.push(&page.head));
        roots.root(at)
    }

    fn prove(&self, from: u64, to: u64) -> Result<RangeProof, StreamFault> {
        let mut roots = RootLog::new();
        self.inner().pages.iter().for_each(|page| roots.push(&page.head));
        roots.prove(from, to)
    }

    fn trim(&self, _: u64) -> Result<(), StreamFault> {
        Ok(())
    }

    fn wait(&self, _: Wake) -> Waiting<'_> {
        Pin::from(Box::new(std::future::ready(())))
    }
}

impl StreamWriter for MemoryStream {
    fn append_with(
        &self,
        epoch: u32,
        at: Expect,
        draft: &Draft,
        bytes: usize,
        fill: &mut dyn FnMut(&mut [u8]),
    ) -> Result<Appended, StreamFault> {
        let mut inner = self.inner();
        if epoch < inner.epoch {
            return Ok(Appended::Fenced { epoch: inner.epoch });
        }
        inner.epoch = epoch;
        let tail = inner.pages.len() as u64;
        let position = match at {
            Expect::Any => tail,
            Expect::At(position) => position,
        };
        let mut payload = vec![0; bytes];
        fill(&mut payload);
        let hash = draft.hash.ok_or(StreamFault::HashMissing)?;
        let page = Page { head: draft.head(position, bytes as u32, hash), payload: Bytes::from(payload) };
        if let Some(there) = inner.pages.get(position as usize) {
            let same = there.head == page.head && there.payload == page.payload;
            return Ok(if same { Appended::Same(position) } else { Appended::Conflict { tail } });
        }
        if position > tail {
            return Ok(Appended::Conflict { tail });
        }
        if inner.closed {
            return Ok(Appended::Closed);
        }
        if inner.room.is_some_and(|room| inner.pages.len() >= room) {
            return Ok(Appended::Full(Wake::Room(tail)));
        }
        inner.pages.push(page);
        Ok(Appended::Ok(position))
    }

    fn fence(&self, epoch: u32) -> Result<(), StreamFault> {
        let mut inner = self.inner();
        inner.epoch = inner.epoch.max(epoch);
        Ok(())
    }

    fn sync(&self) -> Result<u64, StreamFault> {
        let mut inner = self.inner();
        inner.durable = inner.pages.len() as u64;
        Ok(inner.durable)
    }

    fn close(&self, _: u32) -> Result<Appended, StreamFault> {
        self.inner().closed = true;
        Ok(Appended::Ok(self.state().tail))
    }
}
