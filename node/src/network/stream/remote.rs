//! A stream of another node, as its readers here see it.

use std::{
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use gpu::stream::{
    Cursor, Descriptor, Integrity, Next, RangeProof, Stream, StreamFault, StreamId, StreamState, Waiting, Wake,
};
use tokio::{sync::Notify, task::AbortHandle, time::Instant};
use wallet::{digest::Digest, units::NodeId};

use super::{WAIT_MS_MAX, link::StreamLink, puller, window::Window};

/// How a remote stream is read.
#[derive(Clone, Copy, Debug)]
pub struct RemoteOptions {
    /// Pages that are kept here at most. While there are as many, nothing is asked for until the reader trims; but of a
    /// stream of which the latest pages count, the oldest go.
    pub window_pages: usize,
    /// Bytes of payload that are kept here at most, but for one page.
    pub window_bytes: usize,
    /// Whether pages that are trimmed here are trimmed at the origin, too. It heeds that only if it offered the stream
    /// to this node as its consumer.
    pub is_consumer: bool,
    /// How long the origin may not be reached, or not know the stream, before the stream is broken.
    pub patience: Duration,
    /// How long one pull waits at the origin.
    pub wait: Duration,
    /// The root that the stream must have at the cursor, where that is known.
    pub root: Option<Digest>,
}

/// A stream of another node. Its pages come in the background, and stop coming when it is dropped. Must be opened inside
/// a tokio runtime; reading and waiting need none.
pub struct RemoteStream {
    shared: Arc<Shared>,
    puller: AbortHandle,
}

/// What reader and puller share.
pub(super) struct Shared {
    pub descriptor: Descriptor,
    pub id: StreamId,
    pub peer: NodeId,
    pub options: RemoteOptions,
    window: Mutex<Window>,
    /// There are pages, an end or room.
    pub changed: Notify,
    /// Something was trimmed.
    pub trimmed: Notify,
}

impl Default for RemoteOptions {
    fn default() -> Self {
        Self {
            window_pages: 256,
            window_bytes: 32 << 20,
            is_consumer: false,
            patience: Duration::from_secs(30),
            wait: Duration::from_millis(u64::from(WAIT_MS_MAX)),
            root: None,
        }
    }
}

impl RemoteStream {
    /// The stream `descriptor` of the node `peer`, from `cursor` on.
    ///
    /// # Errors
    /// [`StreamFault::Unhashed`]: it has no hashes, so that nothing could be verified.
    pub fn open(
        link: Arc<dyn StreamLink>,
        peer: NodeId,
        descriptor: Descriptor,
        cursor: Cursor,
        options: RemoteOptions,
    ) -> Result<Arc<Self>, StreamFault> {
        if descriptor.integrity == Integrity::None {
            return Err(StreamFault::Unhashed);
        }
        let window = Window::new(cursor.0, descriptor.retention, &options);
        let id = descriptor.id();
        let (changed, trimmed) = (Notify::new(), Notify::new());
        let shared = Shared { descriptor, id, peer, options, window: Mutex::new(window), changed, trimmed };
        let shared = Arc::new(shared);
        let puller = tokio::spawn(puller::run(shared.clone(), link)).abort_handle();
        Ok(Arc::new(Self { shared, puller }))
    }

    /// Returns once the origin has answered.
    ///
    /// # Errors
    /// [`StreamFault`] if it never will.
    pub async fn connected(&self) -> Result<(), StreamFault> {
        let answered = |window: &Window| match window.broken() {
            Some(broken) => Some(Err(broken.fault())),
            None => window.is_heard().then_some(Ok(())),
        };
        self.shared.until(answered).await
    }

    /// How many pages the origin had when it answered last; none before its first answer.
    pub fn origin_tail(&self) -> Option<u64> {
        self.shared.window().origin_tail()
    }

    /// Bytes of payload that came since this was last asked, and how long the pulls took that brought them. Pulls that
    /// waited for their page do not count.
    pub fn transferred(&self) -> (usize, Duration) {
        std::mem::take(&mut self.shared.window().transferred)
    }

    /// When the origin last had nothing new, though it might have waited for that; none if it never said so.
    pub fn idle_at(&self) -> Option<Instant> {
        self.shared.window().idle_at
    }

    /// Why nothing more will come, if that is so.
    pub fn fault(&self) -> Option<StreamFault> {
        Some(self.shared.window().broken()?.fault())
    }
}

impl Drop for RemoteStream {
    fn drop(&mut self) {
        self.puller.abort();
    }
}

impl Stream for RemoteStream {
    fn descriptor(&self) -> &Descriptor {
        &self.shared.descriptor
    }

    fn state(&self) -> StreamState {
        self.shared.window().state()
    }

    fn next(&self, cursor: Cursor) -> Result<Next, StreamFault> {
        let window = self.shared.window();
        if cursor.0 < window.earliest() {
            return Ok(Next::Gap { earliest: window.earliest() });
        }
        if let Some(page) = window.page(cursor.0) {
            return Ok(Next::Item(page.clone(), Cursor(cursor.0 + 1)));
        }
        if let Some(broken) = window.broken() {
            return Err(broken.fault());
        }
        Ok(if window.is_closed() { Next::End } else { Next::Blocked(Wake::Page(cursor.0)) })
    }

    fn root(&self, at: u64) -> Result<Digest, StreamFault> {
        self.shared.window().roots()?.root(at)
    }

    fn prove(&self, from: u64, to: u64) -> Result<RangeProof, StreamFault> {
        self.shared.window().roots()?.prove(from, to)
    }

    fn trim(&self, before: u64) -> Result<(), StreamFault> {
        if self.shared.window().trim(before) {
            self.shared.trimmed.notify_one();
            self.shared.changed.notify_waiters();
        }
        Ok(())
    }

    fn wait(&self, wake: Wake) -> Waiting<'_> {
        Box::pin(self.shared.until(move |window| {
            let holds = match wake {
                Wake::Page(position) => position < window.tail(),
                Wake::Room(position) => position <= window.earliest(),
            };
            (holds || window.is_closed() || window.broken().is_some()).then_some(())
        }))
    }
}

impl Shared {
    pub fn window(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns once `holds` finds what it looks for. No change between looking and waiting is missed.
    async fn until<T>(&self, holds: impl Fn(&Window) -> Option<T>) -> T {
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            if let Some(found) = holds(&self.window()) {
                return found;
            }
            changed.await;
        }
    }
}
