//! The pages of a remote stream that are here: verified, without a gap, and not more than the reader gave room for.

use std::{collections::VecDeque, time::Duration};

use gpu::stream::{Accumulator, Page, Retention, RootLog, StreamFault, StreamState};
use tokio::time::Instant;
use wallet::digest::Digest;

use super::{
    PULL_BYTES_MAX, PULL_PAGES_MAX,
    message::OriginState,
    remote::RemoteOptions,
    verdict::{Broken, Known},
};

/// See the module.
pub(super) struct Window {
    /// Position of the first page that is here.
    earliest: u64,
    pages: VecDeque<Page>,
    bytes: usize,
    pages_max: usize,
    bytes_max: usize,
    retention: Retention,
    /// Pages below are not needed any more: the reader says so.
    unneeded: u64,
    /// None before the origin has said what it stands on.
    roots: Option<RootLog>,
    /// What goes on from the last page.
    tip: Option<Accumulator>,
    /// The root that the stream must have at its first cursor.
    root: Option<Digest>,
    origin: OriginState,
    closed: bool,
    broken: Option<Broken>,
    heard: bool,
    /// When the origin last had nothing new, though it might have waited for that.
    pub idle_at: Option<Instant>,
    /// Bytes that came without a wait, and in what time.
    pub transferred: (usize, Duration),
}

/// What may be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Room {
    pub cursor: u64,
    pub pages: u32,
    pub bytes: u32,
}

impl Window {
    pub fn new(cursor: u64, retention: Retention, options: &RemoteOptions) -> Self {
        let tip = (cursor == 0).then(Accumulator::default);
        Self {
            earliest: cursor,
            pages: VecDeque::new(),
            bytes: 0,
            pages_max: options.window_pages.max(1),
            bytes_max: options.window_bytes.max(1),
            retention,
            unneeded: cursor,
            roots: tip.as_ref().map(RootLog::starting_at),
            tip,
            root: options.root,
            origin: OriginState::default(),
            closed: false,
            broken: None,
            heard: false,
            idle_at: None,
            transferred: Default::default(),
        }
    }

    pub fn earliest(&self) -> u64 {
        self.earliest
    }

    /// Pages below are not needed any more.
    pub fn unneeded(&self) -> u64 {
        self.unneeded
    }

    pub fn tail(&self) -> u64 {
        self.earliest + self.pages.len() as u64
    }

    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Whether the origin has answered.
    pub fn is_heard(&self) -> bool {
        self.heard
    }

    /// How many pages the origin had.
    pub fn origin_tail(&self) -> Option<u64> {
        self.heard.then_some(self.origin.tail)
    }

    pub fn broken(&self) -> Option<&Broken> {
        self.broken.as_ref()
    }

    pub fn page(&self, position: u64) -> Option<&Page> {
        self.pages.get(usize::try_from(position.checked_sub(self.earliest)?).ok()?)
    }

    pub fn roots(&self) -> Result<&RootLog, StreamFault> {
        let unknown = || StreamFault::PeerGone { reason: "the origin has not answered yet".to_owned() };
        self.roots.as_ref().ok_or_else(unknown)
    }

    /// What the reader sees: the origin's state, as far as its pages are here.
    pub fn state(&self) -> StreamState {
        let tail = self.tail();
        StreamState {
            tail,
            earliest: self.earliest,
            durable: self.origin.durable.min(tail),
            epoch: self.origin.epoch,
            closed: self.closed,
        }
    }

    /// What an answer is checked against.
    pub fn known(&self) -> Known {
        Known { tip: self.tip.clone(), root: self.root }
    }

    /// What there is room for once `pages` of `bytes` bytes are in; none if there is none or nothing more will come. Where
    /// the oldest pages may go, there is always room.
    pub fn room(&self, pages: usize, bytes: usize) -> Option<Room> {
        if self.closed || self.broken.is_some() {
            return None;
        }
        let (free, free_bytes) = match self.retention {
            Retention::Keep => (
                self.pages_max.saturating_sub(self.pages.len() + pages),
                self.bytes_max.saturating_sub(self.bytes + bytes),
            ),
            Retention::Latest => (self.pages_max, self.bytes_max),
        };
        (free > 0 && free_bytes > 0).then(|| Room {
            cursor: self.tail() + pages as u64,
            pages: u32::try_from(free).unwrap_or(u32::MAX).min(PULL_PAGES_MAX),
            bytes: u32::try_from(free_bytes).unwrap_or(u32::MAX).min(PULL_BYTES_MAX),
        })
    }

    /// Takes verified pages in.
    pub fn take(&mut self, start: &Accumulator, tip: Accumulator, pages: Vec<Page>, state: OriginState) {
        let roots = self.roots.get_or_insert_with(|| RootLog::starting_at(start));
        for page in pages {
            roots.push(&page.head);
            self.bytes += page.payload.len();
            self.pages.push_back(page);
        }
        let is_over = |window: &Self| window.pages.len() > window.pages_max || window.bytes > window.bytes_max;
        while self.retention == Retention::Latest && is_over(self) && self.pages.len() > 1 {
            self.drop_first();
        }
        self.tip = Some(tip);
        self.root = None;
        self.heard = true;
        self.closed = state.closed && state.tail == self.tail();
        let OriginState { durable, epoch, .. } = self.origin;
        self.origin = OriginState { durable: state.durable.max(durable), epoch: state.epoch.max(epoch), ..state };
    }

    /// Goes on at `earliest`, because the origin has nothing before. What is here and below goes, so that there is no
    /// gap within.
    pub fn jump(&mut self, earliest: u64) {
        self.pages.clear();
        (self.bytes, self.earliest) = (0, earliest);
        (self.roots, self.tip, self.root) = (None, None, None);
    }

    /// Forgets pages below `before`; whether there were any.
    pub fn trim(&mut self, before: u64) -> bool {
        let before = before.min(self.tail());
        if before <= self.unneeded {
            return false;
        }
        self.unneeded = before;
        while self.earliest < before && self.drop_first() {}
        true
    }

    fn drop_first(&mut self) -> bool {
        let Some(page) = self.pages.pop_front() else { return false };
        self.bytes -= page.payload.len();
        self.earliest += 1;
        if let Some(roots) = &mut self.roots {
            roots.trim(self.earliest);
        }
        true
    }

    /// Says why nothing more will come.
    pub fn fail(&mut self, broken: Broken) {
        if !self.closed {
            self.broken.get_or_insert(broken);
        }
    }
}
