//! Where the engine stands: which transports its two streams have, and who runs its interpreter.

use std::{
    io,
    os::fd::AsRawFd as _,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
    time::Duration,
};

use gpu::{
    EngineOptions, Model,
    dispatch::{EVENTS, Interpreter, REQUESTS, descriptor},
    stream::{
        Integrity, RingOptions, RingStream, Stream, StreamFault, StreamWriter,
        shm::{ShmOptions, ShmStream},
    },
};
use wallet::digest::Digest;

use crate::session::context::random;

/// Messages and pages that wait in one direction, at most.
const QUEUE_PAGES: usize = 256;
/// The largest payload in a ring: a page, or a prompt.
const PAYLOAD_BYTES_MAX: usize = 20 << 20;
/// Bytes of shared memory in one direction. Only what is in use takes memory.
const SHARED_BYTES: usize = 64 << 20;
/// See [`Queue::silence_max`]. A step of a large model computes a part of a prompt, which may take many seconds.
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(120);

/// Where the engine stands.
#[derive(Clone)]
pub enum Placement {
    /// A thread of this process. The streams are rings.
    InProcess,
    /// A process beside this one, which is started again if it dies. The streams lie in shared memory.
    Worker {
        /// The program `batchmind`.
        program: PathBuf,
        /// The folder of the model.
        model_dir: PathBuf,
    },
    /// At another host. The streams are the network's.
    Elsewhere(Arc<dyn OpenQueue>),
}

/// Opens the two streams of an engine at another host.
pub trait OpenQueue: Send + Sync {
    /// The requests, to be written, and the events, to be read.
    ///
    /// # Errors
    /// What keeps the streams from being opened.
    fn open(&self) -> io::Result<Queue>;
}

/// The two streams of an engine, as its client sees them.
pub struct Queue {
    /// To the engine.
    pub requests: Arc<dyn StreamWriter>,
    /// From the engine.
    pub events: Arc<dyn Stream>,
    /// Who runs the engine. Dropped with the queue.
    pub host: Box<dyn Host>,
    /// How long it may say nothing, once it has said anything, before it is given up. A multiple of
    /// [`gpu::dispatch::ALIVE_EVERY`], and longer than its longest step.
    pub silence_max: Duration,
}

/// Who runs an engine, as far as its client can see.
pub trait Host: Send {
    /// Whether it is known to have ended. The streams may not show it: it may have ended before it opened them.
    fn is_gone(&mut self) -> bool {
        false
    }
}

/// A thread of this process, whose end closes the events.
impl Host for () {}

/// A worker process. It ends with the queue.
struct Worker(Child);

impl Placement {
    /// Opens a queue with a new engine behind it.
    pub(super) fn open(&self, model: &Arc<Model>, options: EngineOptions) -> io::Result<Queue> {
        match self {
            Self::InProcess => in_process(model.clone(), options),
            Self::Worker { program, model_dir } => {
                let mut command = Command::new(program);
                command.arg("engine-worker").arg("--model").arg(model_dir);
                command.arg("--expect").arg(model.hash().to_string());
                worker(command, options)
            }
            Self::Elsewhere(place) => place.open(),
        }
    }

    /// Whether a lost engine can be opened again. One in this process is lost only if it panics or stands still.
    pub(super) const fn starts_again(&self) -> bool {
        matches!(self, Self::Worker { .. } | Self::Elsewhere(_))
    }
}

/// Of a ring that holds one direction of a queue.
pub(super) const fn ring_options() -> RingOptions {
    RingOptions { pages: QUEUE_PAGES, payload_bytes: PAYLOAD_BYTES_MAX }
}

fn in_process(model: Arc<Model>, options: EngineOptions) -> io::Result<Queue> {
    let queue = Digest(random());
    let ring = |name| RingStream::new(descriptor(&queue, name, Integrity::None), ring_options());
    let (requests, events) = (ring(REQUESTS), ring(EVENTS));
    let interpreter = Interpreter::new(model, options, requests.clone(), events.clone());
    let run = move || {
        if let Err(fault) = interpreter.run() {
            tracing::error!(code = fault.code(), %fault, "the engine's queue broke");
        }
    };
    thread::Builder::new().name("engine".to_owned()).spawn(run)?;
    // It cannot be started again, so nothing is won by giving it up: what stands still may go on.
    Ok(Queue { requests, events, host: Box::new(()), silence_max: Duration::MAX })
}

fn worker(mut command: Command, options: EngineOptions) -> io::Result<Queue> {
    let queue = Digest(random());
    let shared = |name| {
        let options = ShmOptions { bytes: SHARED_BYTES, pages: QUEUE_PAGES };
        ShmStream::create(descriptor(&queue, name, Integrity::None), options).map_err(other)
    };
    let (requests, events) = (shared(REQUESTS)?, shared(EVENTS)?);
    let (writer, reader) = (requests.writer().map_err(other)?, events.reader().map_err(other)?);
    // Open in the child; closed here as soon as it runs.
    let inheritable = |stream: &ShmStream| stream.inheritable().map_err(other);
    let (for_requests, for_events) = (inheritable(&requests)?, inheritable(&events)?);
    for (name, value) in [
        ("--requests", for_requests.as_raw_fd().to_string()),
        ("--events", for_events.as_raw_fd().to_string()),
        ("--blocks", options.block_count.to_string()),
        ("--chunk", options.prefill_chunk_tokens.to_string()),
        ("--idle-blocks", options.idle_blocks_max.to_string()),
    ] {
        command.arg(name).arg(value);
    }
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
    let host = Box::new(Worker(child));
    Ok(Queue { requests: Arc::new(writer), events: Arc::new(reader), host, silence_max: SILENCE_MAX })
}

fn other(fault: StreamFault) -> io::Error {
    io::Error::other(fault)
}

impl Host for Worker {
    fn is_gone(&mut self) -> bool {
        !matches!(self.0.try_wait(), Ok(None))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It holds nothing that outlives its queue.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
