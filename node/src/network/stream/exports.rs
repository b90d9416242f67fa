//! The origin's side: which streams this node offers, to whom, and the answers to those who ask.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use gpu::stream::{Cursor, Integrity, Next, PAYLOAD_BYTES_MAX, Page, Stream, StreamFault, StreamId, Wake};
use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};
use wallet::{codec, units::NodeId};

use super::{
    PULL_BYTES_MAX, PULL_PAGES_MAX, STREAM_IN_FLIGHT_MAX, WAIT_MS_MAX,
    message::{OriginState, Pull, Pulled, StreamReply, StreamRequest, Trim},
    refusal::StreamRefusal,
};
use crate::network::Handler;

/// The streams that this node offers to others; clones share them.
#[derive(Clone, Default)]
pub struct StreamExports {
    shared: Arc<Shared>,
}

/// Who may read a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Readers {
    nodes: BTreeSet<NodeId>,
    consumer: Option<NodeId>,
}

/// A stream is offered as long as this is there.
#[must_use = "the stream is withdrawn when this is dropped"]
pub struct StreamOffer {
    shared: Arc<Shared>,
    id: StreamId,
    /// Its end is how those that wait learn of the withdrawal.
    open: watch::Sender<()>,
}

#[derive(Default)]
struct Shared {
    offered: Mutex<HashMap<StreamId, Offered>>,
    /// Requests of each node that are being answered, apart by whether it is the stream's consumer.
    busy: Mutex<BTreeMap<(NodeId, bool), usize>>,
}

#[derive(Clone)]
struct Offered {
    stream: Arc<dyn Stream>,
    readers: Readers,
    open: watch::Receiver<()>,
}

/// One of the requests that a node may have here.
struct Turn<'a> {
    shared: &'a Shared,
    of: (NodeId, bool),
}

impl Readers {
    /// These nodes read. None of them says what may be trimmed.
    pub fn nodes(nodes: impl IntoIterator<Item = NodeId>) -> Self {
        Self { nodes: nodes.into_iter().collect(), consumer: None }
    }

    /// This node alone reads, and what it has taken out is trimmed here.
    pub fn consumer(node: NodeId) -> Self {
        Self { nodes: [node].into(), consumer: Some(node) }
    }
}

impl StreamExports {
    /// Offers a stream until the result is dropped. An earlier offer of the same stream is over.
    ///
    /// # Errors
    /// [`StreamFault::Unhashed`]: it has no hashes.
    pub fn offer(&self, stream: Arc<dyn Stream>, readers: Readers) -> Result<StreamOffer, StreamFault> {
        let descriptor = stream.descriptor();
        if descriptor.integrity == Integrity::None {
            return Err(StreamFault::Unhashed);
        }
        let id = descriptor.id();
        let (open, opened) = watch::channel(());
        self.shared.offered().insert(id, Offered { stream, readers, open: opened });
        Ok(StreamOffer { shared: self.shared.clone(), id, open })
    }

    async fn answer(&self, from: NodeId, request: StreamRequest) -> Result<StreamReply, StreamRefusal> {
        let offered = self.shared.offered().get(&request.stream()).cloned();
        let offered = offered.filter(|offered| offered.readers.nodes.contains(&from)).ok_or(StreamRefusal::Unknown)?;
        let is_consumer = offered.readers.consumer == Some(from);
        let _turn = self.shared.turn((from, is_consumer)).ok_or(StreamRefusal::Busy)?;
        match request {
            StreamRequest::Pull(pull) => {
                if let Some(below) = pull.trim_below {
                    offered.trim(from, below)?;
                }
                offered.pull(pull).await.map(StreamReply::Pulled)
            }
            StreamRequest::Trim(Trim { below, .. }) => offered.trim(from, below).map(|()| StreamReply::Trimmed),
        }
    }
}

impl StreamOffer {
    /// Lets one more node read.
    pub fn admit(&self, node: NodeId) {
        if let Some(offered) = self.shared.offered().get_mut(&self.id).filter(|offered| self.is(offered)) {
            offered.readers.nodes.insert(node);
        }
    }

    /// A later offer of the same stream is another one.
    fn is(&self, offered: &Offered) -> bool {
        offered.open.same_channel(&self.open.subscribe())
    }
}

impl Handler for StreamExports {
    async fn handle(&self, from: NodeId, body: Vec<u8>) -> Vec<u8> {
        let reply = match codec::decode(&body) {
            Ok(request) => self.answer(from, request).await.unwrap_or_else(StreamReply::Refused),
            Err(error) => {
                tracing::warn!(node = %from, %error, "malformed request about a stream");
                StreamReply::Refused(StreamRefusal::Malformed)
            }
        };
        reply.encode()
    }
}

impl Offered {
    fn trim(&self, from: NodeId, below: u64) -> Result<(), StreamRefusal> {
        if self.readers.consumer == Some(from) { self.stream.trim(below).map_err(refusal) } else { Ok(()) }
    }

    /// What there is at the cursor, after waiting for it.
    async fn pull(mut self, pull: Pull) -> Result<Pulled, StreamRefusal> {
        let wait = Duration::from_millis(u64::from(pull.wait_ms.min(WAIT_MS_MAX)));
        let until = Instant::now() + wait;
        loop {
            let state = self.stream.state().into();
            if let Some(pulled) = self.collect(pull, state).await? {
                return Ok(pulled);
            }
            if Instant::now() >= until {
                return self.answered(pull, state, Vec::new());
            }
            let stream = self.stream.clone();
            tokio::select! {
                // At its end it is looked once more.
                _ = timeout_at(until, stream.wait(Wake::Page(pull.cursor))) => {}
                // Nothing is ever sent: the offer was dropped.
                _ = self.open.changed() => return Err(StreamRefusal::Unknown),
            }
        }
    }

    /// The pages at the cursor, or that there are none any more. None if they have to be waited for.
    async fn collect(&self, pull: Pull, state: OriginState) -> Result<Option<Pulled>, StreamRefusal> {
        if pull.cursor > state.tail {
            return Err(StreamRefusal::Beyond { tail: state.tail });
        }
        if pull.cursor == state.tail && !state.closed {
            return Ok(None);
        }
        // It may read from a disk.
        let this = self.clone();
        let collected = tokio::task::spawn_blocking(move || {
            let pages = this.pages(pull)?;
            this.answered(pull, state, pages)
        });
        let stopped = |_| failed("N-147", "the node stops");
        collected.await.map_err(stopped)?.map(Some)
    }

    fn pages(&self, pull: Pull) -> Result<Vec<Page>, StreamRefusal> {
        let bytes_max = pull.bytes_max.min(PULL_BYTES_MAX) as usize;
        let (mut pages, mut bytes, mut cursor) = (Vec::new(), 0_usize, Cursor(pull.cursor));
        while (pages.len() as u64) < u64::from(pull.pages_max.min(PULL_PAGES_MAX)) {
            match self.stream.next(cursor).map_err(refusal)? {
                Next::Item(page, after) => {
                    let sum = bytes.saturating_add(page.payload.len());
                    if page.payload.len() > PAYLOAD_BYTES_MAX {
                        return Err(refusal(StreamFault::PageTooLarge {
                            count: page.payload.len(),
                            max: PAYLOAD_BYTES_MAX,
                        }));
                    }
                    if sum > bytes_max && !pages.is_empty() {
                        break;
                    }
                    (bytes, cursor) = (sum, after);
                    pages.push(page);
                }
                // Pages that were read stay read, whatever goes meanwhile.
                Next::Gap { earliest } if pages.is_empty() => return Err(StreamRefusal::Gap { earliest }),
                Next::Blocked(_) | Next::End | Next::Gap { .. } => break,
            }
        }
        Ok(pages)
    }

    fn answered(&self, pull: Pull, state: OriginState, pages: Vec<Page>) -> Result<Pulled, StreamRefusal> {
        let after = pull.cursor + pages.len() as u64;
        let start = match pull.peaks {
            true => {
                let proof = self.stream.prove(pull.cursor, pull.cursor).map_err(refusal)?;
                let start = gpu::stream::Accumulator::from_peaks(proof.from, proof.left);
                Some(start.ok_or_else(|| failed("E-210", "its peaks do not fit"))?)
            }
            false => None,
        };
        let root = self.stream.root(after).map_err(refusal)?;
        // It may have grown since.
        let state = OriginState { tail: state.tail.max(after), ..state };
        Ok(Pulled { stream: pull.stream, state, start, root, pages })
    }
}

impl Shared {
    fn offered(&self) -> MutexGuard<'_, HashMap<StreamId, Offered>> {
        self.offered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn turn(&self, of: (NodeId, bool)) -> Option<Turn<'_>> {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        let count = busy.entry(of).or_default();
        if *count >= STREAM_IN_FLIGHT_MAX {
            return None;
        }
        *count += 1;
        Some(Turn { shared: self, of })
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut busy = self.shared.busy.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = busy.get_mut(&self.of) {
            *count = count.saturating_sub(1);
        }
    }
}

impl Drop for StreamOffer {
    fn drop(&mut self) {
        let mut offered = self.shared.offered();
        if offered.get(&self.id).is_some_and(|offered| self.is(offered)) {
            offered.remove(&self.id);
        }
    }
}

fn refusal(fault: StreamFault) -> StreamRefusal {
    match fault {
        StreamFault::NotKept { earliest, .. } => StreamRefusal::Gap { earliest },
        StreamFault::BeyondTail { tail, .. } => StreamRefusal::Beyond { tail },
        fault => failed(fault.code(), &fault.to_string()),
    }
}

fn failed(code: &str, title: &str) -> StreamRefusal {
    StreamRefusal::Failed { code: code.to_owned(), title: title.to_owned() }
}
