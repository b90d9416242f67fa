//! An engine at another node of the same operator: the same queue, over the network.
//!
//! The client writes the requests and the host reads them; the host writes the events and the client reads them. Each
//! stream is a ring at its writer, which the other node pulls from. Heads carry hashes, and the connection is encrypted.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use gpu::{
    EngineOptions, Model,
    dispatch::{EVENTS, Interpreter, REQUESTS, descriptor},
    stream::{Cursor, Integrity, RingStream, StreamFault, StreamWriter as _},
};
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use wallet::{digest::Digest, units::NodeId};

use super::{
    EngineRefusal,
    placement::{Host, OpenQueue, Queue, SILENCE_MAX, ring_options},
};
use crate::{
    network::stream::{Readers, RemoteOptions, RemoteStream, StreamExports, StreamLink, StreamOffer},
    peer::{SessionLink, SessionReply, SessionRequest},
    session::context::random,
};

/// How long the other end may be silent before the engine is given up.
const PATIENCE: Duration = Duration::from_secs(10);

/// A node asks another one of its operator to run an engine for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenEngine {
    /// Names the two streams. Drawn for this engine.
    pub queue: Digest,
    /// Hash of the model.
    pub model: Digest,
    /// What its arithmetic must guarantee.
    pub numerics: Digest,
    /// Blocks of its pool. The host may give fewer.
    pub blocks: u32,
}

/// The client's side.
pub struct Elsewhere {
    /// The host.
    pub host: NodeId,
    /// What is asked of it.
    pub engine: OpenEngine,
    /// Asks it.
    pub link: Arc<dyn SessionLink>,
    /// Where the requests are offered.
    pub exports: StreamExports,
    /// Reads the events.
    pub streams: Arc<dyn StreamLink>,
    /// Where the network runs.
    pub runtime: Handle,
}

/// The host's side: engines that it runs for other nodes, one for each.
pub struct EngineHost {
    model: Arc<Model>,
    options: EngineOptions,
    exports: StreamExports,
    streams: Arc<dyn StreamLink>,
    /// Who may ask, and the events of the engine that it has here.
    guests: Mutex<BTreeMap<NodeId, Option<Arc<RingStream>>>>,
}

/// The offer of the requests: what the other node does is seen in the events.
impl Host for StreamOffer {}

impl OpenQueue for Elsewhere {
    fn open(&self) -> io::Result<Queue> {
        let engine = OpenEngine { queue: Digest(random()), ..self.engine };
        let (requests, events) = descriptors(&engine);
        let requests = RingStream::new(requests, ring_options());
        let offer = self.exports.offer(requests.clone(), Readers::consumer(self.host)).map_err(io::Error::other)?;
        let asked = self.link.ask(self.host, SessionRequest::Engine(engine), PATIENCE);
        match self.runtime.block_on(asked).map_err(io::Error::other)? {
            SessionReply::Noted => {}
            _ => return Err(io::Error::other("the answer is to another request")),
        }
        let _inside = self.runtime.enter();
        let options = RemoteOptions { is_consumer: true, patience: PATIENCE, ..RemoteOptions::default() };
        let events = RemoteStream::open(self.streams.clone(), self.host, events, Cursor(0), options)
            .map_err(io::Error::other)?;
        Ok(Queue { requests, events, host: Box::new(offer), silence_max: SILENCE_MAX })
    }
}

impl EngineHost {
    /// Runs engines with these options at most, for these nodes.
    pub fn new(
        model: Arc<Model>,
        options: EngineOptions,
        guests: impl IntoIterator<Item = NodeId>,
        exports: StreamExports,
        streams: Arc<dyn StreamLink>,
    ) -> Self {
        let guests = Mutex::new(guests.into_iter().map(|guest| (guest, None)).collect());
        Self { model, options, exports, streams, guests }
    }

    /// Starts an engine for `from`. An earlier one of that node ends.
    ///
    /// # Errors
    /// [`EngineRefusal::NotServed`]; [`EngineRefusal::Engine`] if it is for another model.
    pub fn open(&self, from: NodeId, engine: OpenEngine) -> Result<(), EngineRefusal> {
        let mut guests = self.guests.lock().unwrap_or_else(PoisonError::into_inner);
        let place = guests.get_mut(&from).ok_or(EngineRefusal::NotServed { from })?;
        if engine.model != self.model.hash() {
            let loaded = self.model.hash();
            return Err(gpu::Refusal::ModelMismatch { needed: engine.model, loaded }.into());
        }
        if engine.numerics != gpu::numerics_id() {
            let offered = gpu::numerics_id();
            return Err(gpu::Refusal::NumericsMismatch { needed: engine.numerics, offered }.into());
        }
        if let Some(earlier) = place.take() {
            // Its engine ends when it sees this.
            let _ = earlier.close(0);
        }
        *place = Some(self.run(from, &engine).map_err(|error| {
            tracing::error!(node = %from, %error, "no engine for the node");
            EngineRefusal::Stopped
        })?);
        Ok(())
    }

    fn run(&self, from: NodeId, engine: &OpenEngine) -> Result<Arc<RingStream>, io::Error> {
        let (requests, events) = descriptors(engine);
        let options = RemoteOptions { is_consumer: true, patience: PATIENCE, ..RemoteOptions::default() };
        let requests =
            RemoteStream::open(self.streams.clone(), from, requests, Cursor(0), options).map_err(io::Error::other)?;
        let events = RingStream::new(events, ring_options());
        let offer = self.exports.offer(events.clone(), Readers::consumer(from)).map_err(io::Error::other)?;
        let block_count = self.options.block_count.min(engine.blocks as usize);
        let options = EngineOptions { block_count, idle_blocks_max: block_count, ..self.options };
        let interpreter = Interpreter::new(self.model.clone(), options, requests, events.clone());
        let run = move || {
            let ended = interpreter.run();
            drop(offer);
            match ended {
                Ok(()) | Err(StreamFault::PeerGone { .. }) => tracing::info!(node = %from, "its engine here has ended"),
                Err(fault) => tracing::error!(node = %from, code = fault.code(), %fault, "its engine here broke"),
            }
        };
        thread::Builder::new().name("engine-guest".to_owned()).spawn(run)?;
        Ok(events)
    }
}

fn descriptors(engine: &OpenEngine) -> (gpu::stream::Descriptor, gpu::stream::Descriptor) {
    [REQUESTS, EVENTS].map(|name| descriptor(&engine.queue, name, Integrity::Plain)).into()
}
