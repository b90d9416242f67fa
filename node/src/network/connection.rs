//! Requests and answers on the substreams of one connection.
//!
//! A request has a substream to itself until it is answered: a large answer does not hold up a small one. Then the
//! substream is kept for the next request, because to open one costs as much as a small request.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use libp2p::Stream;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout},
};
use wallet::units::NodeId;

use super::{Handler, REQUEST_TIMEOUT_MAX, frame, substreams::Opener, swarm::SUBSTREAMS_MAX};

/// A substream that carried more in one exchange is not kept: Yamux widens the window of one that is read fast, and nothing
/// narrows it again.
const KEPT_BYTES_MAX: usize = 256 << 10;

/// When a message came last from a peer.
#[derive(Debug, Default)]
pub(super) struct Heard(Mutex<Option<Instant>>);

impl Heard {
    fn now(&self) {
        *lock(&self.0) = Some(Instant::now());
    }

    /// If one came at all.
    pub(super) fn at(&self) -> Option<Instant> {
        *lock(&self.0)
    }
}

/// A connection to a peer, as those who ask it see it.
#[derive(Debug)]
pub(super) struct Connection {
    opener: Opener,
    idle: Mutex<Vec<Stream>>,
    heard: Arc<Heard>,
    /// For substreams that the peer opens.
    places: Arc<Semaphore>,
}

impl Connection {
    pub(super) fn new(opener: Opener, heard: Arc<Heard>) -> Self {
        Self { opener, idle: Mutex::default(), heard, places: Arc::new(Semaphore::new(SUBSTREAMS_MAX)) }
    }

    /// A place for one more substream that the peer opened, if it has not too many.
    pub(super) fn place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.places).try_acquire_owned().ok()
    }

    /// Gives up the substreams that wait for a request: there is a newer connection.
    pub(super) fn close_idle(&self) {
        lock(&self.idle).clear();
    }

    /// Sends `body` and waits for the answer. Whoever drops this future gives up its substream, too.
    ///
    /// # Errors
    /// The substream or the connection broke; the peer may have acted.
    pub(super) async fn exchange(&self, body: &[u8]) -> io::Result<Vec<u8>> {
        let kept = lock(&self.idle).pop();
        let mut stream = match kept {
            Some(stream) => stream,
            None => self.opener.open().await?,
        };
        frame::write(&mut stream, body).await?;
        let answer = frame::read(&mut stream).await?;
        self.heard.now();
        if body.len().max(answer.len()) <= KEPT_BYTES_MAX {
            lock(&self.idle).push(stream);
        }
        Ok(answer)
    }

    /// How many substreams wait for a request.
    #[cfg(test)]
    pub(super) fn idle_count(&self) -> usize {
        lock(&self.idle).len()
    }
}

/// Who asks here, and what bounds it.
#[derive(Debug)]
pub(super) struct Asker {
    pub(super) node: NodeId,
    /// Requests that are read and handled at once, on all of its substreams. Closed when it is no peer any more.
    pub(super) handlers: Arc<Semaphore>,
    pub(super) heard: Arc<Heard>,
    /// Its place among the substreams that it may keep open.
    pub(super) place: OwnedSemaphorePermit,
}

/// Answers the requests that come on a substream, one after the other, until the peer closes it.
pub(super) async fn serve<H: Handler>(mut stream: Stream, asker: Asker, handler: Arc<H>) {
    if let Err(error) = answer_each(&mut stream, &asker, &*handler).await {
        tracing::debug!(node = %asker.node, %error, "substream closed");
    }
    drop(asker.place);
}

async fn answer_each<H: Handler>(stream: &mut Stream, asker: &Asker, handler: &H) -> io::Result<()> {
    loop {
        let length = frame::read_length(stream).await?;
        // Before the body is read: a peer beyond its bound waits, and holds no more than what Yamux takes unasked.
        let Ok(_permit) = asker.handlers.acquire().await else { return Ok(()) };
        let body = timeout(REQUEST_TIMEOUT_MAX, frame::read_body(stream, length)).await??;
        if asker.handlers.is_closed() {
            return Ok(());
        }
        asker.heard.now();
        let answer = handler.handle(asker.node, body).await;
        timeout(REQUEST_TIMEOUT_MAX, frame::write(stream, &answer)).await??;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
