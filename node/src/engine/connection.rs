//! The client's side of the dispatch queue: a thread that writes requests, and one that reads events.

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

use gpu::{
    EngineOptions, Model, SequenceId,
    dispatch::{Event, Inbox, Message, REPLY_BYTES_MAX, Reply, Request, StepTokens, send},
    stream::{StreamFault, StreamWriter, block_on_until},
};
use tokio::sync::{broadcast, mpsc, oneshot};
use wallet::units::Micros;

use super::{
    EngineEvent, EngineRefusal, Sequence, TaggedNotices,
    placement::{Placement, Queue},
    tags::Tags,
};
use crate::{backoff::Backoff, session::request::PrefixSalt};

/// Notices that a slow reader may fall behind.
const NOTICES_KEPT: usize = 4096;
/// How often somebody looks whether the engine's process is still there.
const LOOK_AFTER: Duration = Duration::from_secs(1);
/// How long a lost engine is left alone before it is started again; doubles up to [`RESTART_AFTER_MAX`] while it does
/// nothing before it is lost again.
const RESTART_AFTER: Duration = Duration::from_millis(200);
const RESTART_AFTER_MAX: Duration = Duration::from_secs(10);

/// What a call is answered with: the reply and its KV pages.
type Answer = Result<(Reply, Vec<Vec<u8>>), EngineRefusal>;

/// See the module.
pub(super) struct Connection {
    outbox: Sender<Outgoing>,
    shared: Arc<Shared>,
    next: AtomicU64,
}

/// A request on its way.
struct Outgoing {
    call: u64,
    request: Request,
    pages: Vec<Vec<u8>>,
}

/// What the threads and their callers share.
struct Shared {
    /// None while the engine is lost.
    requests: Mutex<Option<Arc<dyn StreamWriter>>>,
    waiting: Mutex<Waiting>,
    tags: Mutex<Tags>,
    model: Arc<Model>,
    notices: broadcast::Sender<TaggedNotices>,
    median_us: AtomicU64,
}

/// Who waits for events.
#[derive(Default)]
struct Waiting {
    calls: BTreeMap<u64, oneshot::Sender<Answer>>,
    lines: BTreeMap<SequenceId, mpsc::UnboundedSender<EngineEvent>>,
    /// The handle was dropped.
    over: bool,
}

impl Connection {
    pub(super) fn open(model: Arc<Model>, options: EngineOptions, placement: Placement) -> io::Result<Self> {
        let queue = match placement {
            // The other node may not be up yet, and asking it takes time: the events' thread opens it.
            Placement::Elsewhere(_) => None,
            Placement::InProcess | Placement::Worker { .. } => Some(placement.open(&model, options)?),
        };
        let shared = Arc::new(Shared {
            requests: Mutex::new(queue.as_ref().map(|queue| queue.requests.clone())),
            waiting: Mutex::default(),
            tags: Mutex::default(),
            model: model.clone(),
            notices: broadcast::Sender::new(NOTICES_KEPT),
            median_us: AtomicU64::new(0),
        });
        let (outbox, inbox) = channel();
        let writer = shared.clone();
        thread::Builder::new().name("engine-requests".to_owned()).spawn(move || writer.write(&inbox))?;
        let reader = shared.clone();
        let read = move || reader.read(queue, &placement, options);
        thread::Builder::new().name("engine-events".to_owned()).spawn(read)?;
        Ok(Self { outbox, shared, next: AtomicU64::new(1) })
    }

    pub(super) fn median_step(&self) -> Option<Micros> {
        Some(self.shared.median_us.load(Ordering::Relaxed)).filter(|median| *median > 0).map(Micros::new)
    }

    pub(super) fn notices(&self) -> broadcast::Receiver<TaggedNotices> {
        self.shared.notices.subscribe()
    }

    /// Whether the engine is gone and not back yet.
    pub(super) fn is_lost(&self) -> bool {
        self.shared.requests().is_none()
    }

    /// Blocks under this salt have a tag from now on.
    pub(super) fn know(&self, salt: &PrefixSalt) {
        self.shared.tags.lock().unwrap_or_else(PoisonError::into_inner).know(salt, &self.shared.model);
    }

    /// A new sequence, and its events to come.
    pub(super) fn open_line(self: &Arc<Self>) -> Sequence {
        let id = SequenceId(self.next.fetch_add(1, Ordering::Relaxed));
        let (sender, events) = mpsc::unbounded_channel();
        self.shared.waiting().lines.insert(id, sender);
        Sequence { id, events, connection: Arc::downgrade(self) }
    }

    pub(super) fn close_line(&self, id: SequenceId) {
        self.shared.waiting().lines.remove(&id);
    }

    /// Asks, and waits for the answer.
    pub(super) async fn call(&self, request: Request, pages: Vec<Vec<u8>>) -> Answer {
        let call = self.next.fetch_add(1, Ordering::Relaxed);
        let (reply, answer) = oneshot::channel();
        self.shared.waiting().calls.insert(call, reply);
        self.outbox.send(Outgoing { call, request, pages }).map_err(|_| EngineRefusal::Stopped)?;
        answer.await.unwrap_or(Err(EngineRefusal::Stopped))
    }

    /// Asks for something that is not answered.
    pub(super) fn tell(&self, request: Request) {
        // An error means that the engine has stopped: then it has forgotten everything.
        let _ = self.outbox.send(Outgoing { call: 0, request, pages: Vec::new() });
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.shared.waiting().over = true;
    }
}

impl Shared {
    fn waiting(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn requests(&self) -> Option<Arc<dyn StreamWriter>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Writes requests until the handle is dropped; then ends the stream, and with it the engine.
    fn write(&self, inbox: &Receiver<Outgoing>) {
        while let Ok(Outgoing { call, request, pages }) = inbox.recv() {
            let sent = self.requests().map(|requests| send(&*requests, call, &request, &pages));
            if !matches!(sent, Some(Ok(()))) {
                // Its reply is dropped, which the caller reads as a stop.
                self.waiting().calls.remove(&call);
            }
        }
        if let Some(requests) = self.requests() {
            // An error means that the other end is gone already.
            let _ = requests.close(0);
        }
    }

    /// Reads events. An engine that is lost is started again where it can be.
    fn read(&self, mut queue: Option<Queue>, placement: &Placement, options: EngineOptions) {
        let mut is_again = queue.is_some();
        let mut backoff = Backoff::new(RESTART_AFTER, RESTART_AFTER_MAX);
        loop {
            if let Some(mut queue) = queue.take() {
                self.put(Some(queue.requests.clone()));
                let ended = self.read_until_lost(&mut queue, &mut backoff);
                self.put(None);
                // Else a request that waits for room would wait for ever.
                let _ = queue.requests.close(0);
                if self.forget_waiting() {
                    return;
                }
                if !placement.starts_again() {
                    tracing::error!(fault = %ended, "the engine is lost; restart the node");
                    return;
                }
                tracing::warn!(fault = %ended, "the engine is lost and is started again");
                let gone = self.tags.lock().unwrap_or_else(PoisonError::into_inner).forget_all();
                for tagged in gone {
                    // An error means that nobody listens.
                    let _ = self.notices.send(tagged);
                }
            }
            if is_again {
                thread::sleep(backoff.wait());
            }
            is_again = true;
            queue = placement
                .open(&self.model, options)
                .inspect_err(|error| tracing::warn!(%error, "the engine does not start"))
                .ok();
            if self.forget_waiting() {
                return;
            }
        }
    }

    fn put(&self, requests: Option<Arc<dyn StreamWriter>>) {
        *self.requests.lock().unwrap_or_else(PoisonError::into_inner) = requests;
    }

    /// Nobody is answered any more. Returns whether the handle was dropped.
    fn forget_waiting(&self) -> bool {
        let mut waiting = self.waiting();
        waiting.calls.clear();
        waiting.lines.clear();
        waiting.over
    }

    /// An engine that answers works, and whatever ends it is worth a quick restart. One that has begun to work, which
    /// may take as long as its model takes to load, and says nothing more is lost too.
    fn read_until_lost(&self, queue: &mut Queue, backoff: &mut Backoff) -> StreamFault {
        let mut inbox = Inbox::new(queue.events.clone(), REPLY_BYTES_MAX + self.model.config().page_bytes());
        let mut is_gone = false;
        let mut silent = None;
        loop {
            match inbox.poll::<Event>() {
                Ok(Ok(message)) => {
                    silent = Some(Duration::ZERO);
                    if !matches!(message.body, Event::Alive) {
                        backoff.reset();
                    }
                    self.on_event(message);
                }
                Ok(Err(_)) if is_gone => return StreamFault::PeerGone { reason: "its process has ended".to_owned() },
                Ok(Err(_)) if silent.is_some_and(|silent| silent >= queue.silence_max) => {
                    let reason = format!("it has said nothing for {} s", queue.silence_max.as_secs());
                    return StreamFault::PeerGone { reason };
                }
                Ok(Err(wake)) => {
                    let since = Instant::now();
                    block_on_until(inbox.stream().wait(wake), since + LOOK_AFTER);
                    // Where this process itself was stopped for longer, that says nothing of the engine.
                    silent = silent.map(|silent| silent + since.elapsed().min(LOOK_AFTER));
                    // What it wrote before it ended is read first.
                    is_gone = queue.host.is_gone();
                }
                Err(fault) => return fault,
            }
        }
    }

    fn on_event(&self, message: Message<Event>) {
        match message.body {
            Event::Reply { call, outcome } => {
                let answer = outcome.map(|reply| (reply, message.pages)).map_err(EngineRefusal::from);
                if let Some(reply) = self.waiting().calls.remove(&call) {
                    // An error means that nobody waits any more.
                    let _ = reply.send(answer);
                }
            }
            Event::Step(StepTokens { start_ns, end_ns, median, tokens }) => {
                self.median_us.store(median.map_or(0, Micros::get), Ordering::Relaxed);
                let waiting = self.waiting();
                for token in tokens {
                    let Some(line) = waiting.lines.get(&token.sequence) else { continue };
                    // An error means that the sequence was dropped; its release follows.
                    let _ = line.send(EngineEvent {
                        position: token.position,
                        token: token.token,
                        finish: token.finish,
                        step_start_ns: start_ns,
                        step_end_ns: end_ns,
                    });
                }
            }
            Event::Alive => {}
            Event::Cache(notices) => {
                let mut tags = self.tags.lock().unwrap_or_else(PoisonError::into_inner);
                for tagged in notices.into_iter().flat_map(|notice| tags.tag(notice)) {
                    // An error means that nobody listens.
                    let _ = self.notices.send(tagged);
                }
            }
        }
    }
}
