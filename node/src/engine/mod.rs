//! The engine's thread: it steps the engine, hands each sequence its tokens with the times of their step, and does
//! everything else between two steps.

mod tags;
mod worker;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Sender, channel},
    },
    thread,
    time::Duration,
};

use gpu::{EngineOptions, Model, SequenceId, TailPage, TextStream};
use scheduler::load::ServedModel;
use tokio::sync::{broadcast, mpsc, oneshot};
use wallet::{
    chain::PageHashKey,
    digest::Digest,
    page::{Page, StreamDescriptor},
    units::{Micros, PageIndex, TokenCount, TokenPosition},
};

use crate::session::{
    request::{PrefixSalt, Sampling},
    view::FinishReason,
};
use worker::{Work, Worker};

/// Notices that a slow reader may fall behind.
const NOTICES_KEPT: usize = 4096;

/// The way to the engine's thread; clones share it. The thread ends when the last one is dropped.
#[derive(Clone)]
pub struct EngineHandle {
    work: Sender<Work>,
    model: Arc<Model>,
    notices: broadcast::Sender<TaggedNotices>,
    median_step_us: Arc<AtomicU64>,
}

/// A prompt for the engine.
#[derive(Clone, Debug)]
pub struct Admission {
    /// Token ids; at least one.
    pub prompt: Vec<u32>,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// At most one token in this time; zero for as fast as it goes.
    pub pace: Duration,
    /// Under which prefix blocks are shared.
    pub salt: PrefixSalt,
}

/// The answer to an [`Admission`].
#[derive(Debug)]
pub struct Admitted {
    /// The running sequence.
    pub sequence: Sequence,
    /// Tokens of the prompt whose blocks were cached.
    pub cached_tokens: TokenCount,
}

/// A sequence of the engine and what it yields.
#[derive(Debug)]
pub struct Sequence {
    /// Names it to the engine.
    pub id: SequenceId,
    /// Its tokens, in order.
    pub events: mpsc::UnboundedReceiver<EngineEvent>,
}

/// A token, with the times of the step that chose it on the host's CLOCK_MONOTONIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineEvent {
    /// Where it stands in the session.
    pub position: TokenPosition,
    /// The token.
    pub token: u32,
    /// Set with the last token.
    pub finish: Option<FinishReason>,
    /// When the step began.
    pub step_start_ns: u64,
    /// When it ended.
    pub step_end_ns: u64,
}

/// A session that stands between two tokens.
#[derive(Clone, Debug)]
pub struct Parked {
    /// How it goes on, in the engine's own encoding.
    pub continuation: Vec<u8>,
    /// Full pages.
    pub full_pages: u32,
    /// The page after them.
    pub tail: Option<TailPage>,
}

/// A session from elsewhere.
pub struct Arrival {
    /// How it goes on, in the engine's own encoding.
    pub continuation: Vec<u8>,
    /// All its tokens.
    pub tokens: Vec<u32>,
    /// Payloads of its full pages.
    pub pages: Vec<Vec<u8>>,
    /// The page after them.
    pub tail: Option<TailPage>,
    /// Under which its blocks are kept.
    pub salt: PrefixSalt,
    /// At most one token in this time.
    pub pace: Duration,
}

/// A session of which tokens and some first pages survived.
pub struct Survivor {
    /// All its tokens.
    pub tokens: Vec<u32>,
    /// How many of them are the prompt.
    pub prompt_tokens: TokenCount,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Payloads of the pages that survived.
    pub pages: Vec<Vec<u8>>,
    /// Under which its blocks are kept.
    pub salt: PrefixSalt,
    /// At most one token in this time.
    pub pace: Duration,
}

/// How the engine stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EngineStats {
    /// Blocks of the pool.
    pub blocks_total: u32,
    /// Blocks that sequences hold.
    pub blocks_used: u32,
    /// Blocks that only the prefix cache holds.
    pub blocks_cached: u32,
    /// Sequences that the next step advances.
    pub running: u32,
    /// Sequences that stand still: suspended, or waiting for their pace.
    pub waiting: u32,
    /// Prompt tokens of admitted sequences that are not computed yet, at most.
    pub prefill_tokens_waiting: u32,
    /// Measured prefill rate.
    pub prefill_tokens_per_s: Option<u32>,
    /// Median step.
    pub median_step: Option<Micros>,
}

/// What changed in the prefix cache under one salt. `removed` came first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaggedNotices {
    /// [`PrefixSalt::tag`].
    pub salt_tag: Digest,
    /// Blocks that can be found now.
    pub stored: Vec<Digest>,
    /// Blocks that are gone.
    pub removed: Vec<Digest>,
}

/// Why the engine did not do it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum EngineRefusal {
    /// A rule of the engine says no.
    #[error(transparent)]
    Engine(#[from] gpu::Refusal),
    /// The engine's thread has ended.
    #[error("the engine has stopped")]
    Stopped,
}

/// Turns the tokens of one session into text.
pub struct TextDecoder {
    model: Arc<Model>,
    text: TextStream,
}

impl EngineHandle {
    /// Starts the thread with an empty engine.
    ///
    /// # Errors
    /// What the system says if it starts no thread.
    pub fn start(model: Arc<Model>, options: EngineOptions) -> std::io::Result<Self> {
        let (work, inbox) = channel();
        let notices = broadcast::Sender::new(NOTICES_KEPT);
        let median_step_us = Arc::new(AtomicU64::new(0));
        let worker = Worker::new(model.clone(), options, notices.clone(), median_step_us.clone());
        thread::Builder::new().name("engine".to_owned()).spawn(move || worker.run(&inbox))?;
        Ok(Self { work, model, notices, median_step_us })
    }

    /// The model with its tokenizer.
    pub const fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// What it serves.
    pub fn served(&self) -> ServedModel {
        ServedModel { model: self.model.hash(), numerics: gpu::numerics_id() }
    }

    /// What all pages have in common.
    pub fn stream(&self) -> StreamDescriptor {
        self.model.stream_descriptor()
    }

    /// Tokens to text, for one session.
    pub fn text_decoder(&self, sampling: &Sampling) -> TextDecoder {
        let stop = gpu::StopStrings::new(sampling.stop.clone()).unwrap_or_default();
        TextDecoder { model: self.model.clone(), text: TextStream::new(&stop) }
    }

    /// The most tokens that a prompt may have.
    pub fn prompt_tokens_max(&self) -> usize {
        self.model.config().positions_max - 1
    }

    /// Median duration of the steps that chose a token; none before the first.
    pub fn median_step(&self) -> Option<Micros> {
        Some(self.median_step_us.load(Ordering::Relaxed)).filter(|median| *median > 0).map(Micros::new)
    }

    /// Changes of the prefix cache from now on.
    pub fn notices(&self) -> broadcast::Receiver<TaggedNotices> {
        self.notices.subscribe()
    }

    /// How the engine stands.
    pub async fn stats(&self) -> EngineStats {
        self.call(|worker| worker.stats()).await.unwrap_or_default()
    }

    /// Takes a prompt in. It runs at once.
    ///
    /// # Errors
    /// [`EngineRefusal`].
    pub async fn admit(&self, admission: Admission) -> Result<Admitted, EngineRefusal> {
        self.call(|worker| worker.admit(admission)).await?
    }

    /// Payloads of the full pages from `from` on, at most `count_max`, and how many are full in all.
    ///
    /// # Errors
    /// [`EngineRefusal`].
    pub async fn export_pages(
        &self,
        id: SequenceId,
        from: u32,
        count_max: u32,
    ) -> Result<(Vec<Vec<u8>>, u32), EngineRefusal> {
        self.call(move |worker| worker.export_pages(id, from, count_max)).await?
    }

    /// Takes a sequence out of the batch. Every token that it chose is in its events when this returns.
    ///
    /// # Errors
    /// [`EngineRefusal`].
    pub async fn suspend(&self, id: SequenceId) -> Result<Parked, EngineRefusal> {
        self.call(move |worker| worker.suspend(id)).await?
    }

    /// Puts a sequence back into the batch; nothing happens if it runs.
    ///
    /// # Errors
    /// [`EngineRefusal`].
    pub async fn resume(&self, id: SequenceId) -> Result<(), EngineRefusal> {
        self.call(move |worker| worker.resume(id)).await?
    }

    /// Forgets a sequence. Its full blocks stay in the prefix cache.
    pub async fn release(&self, id: SequenceId) {
        // The engine may have stopped: then it has forgotten everything.
        let _ = self.call(move |worker| worker.release(id)).await;
    }

    /// Takes in a session from elsewhere. It stands until it is resumed.
    ///
    /// # Errors
    /// [`EngineRefusal`].
    pub async fn import(&self, arrival: Arrival) -> Result<Sequence, EngineRefusal> {
        self.call(|worker| worker.import(arrival)).await?
    }

    /// Takes a session in whose pages survived in part, and computes the rest. It runs at once. The reason is set if
    /// its tokens end it.
    ///
    /// # Errors
    /// [`EngineRefusal`].
    pub async fn rebuild(&self, survivor: Survivor) -> Result<(Sequence, Option<FinishReason>), EngineRefusal> {
        self.call(|worker| worker.rebuild(survivor)).await?
    }

    /// The tail of a parked session as a page of its wallet, head included; empty if it ends on a page's edge.
    ///
    /// # Errors
    /// [`wallet::refusal::Refusal::PageMalformed`].
    pub fn tail_page(&self, parked: &Parked, key: &PageHashKey) -> Result<Vec<u8>, wallet::refusal::Refusal> {
        let Some(tail) = &parked.tail else { return Ok(Vec::new()) };
        let index = PageIndex::new(u64::from(parked.full_pages));
        let page = Page::new(&self.stream(), index, u16::from(tail.rows), &tail.payload, Some(key))?;
        Ok(page.as_bytes().to_vec())
    }

    /// Evicts up to `count` idle blocks of the prefix cache.
    pub async fn evict_prefix_cache(&self, count: usize) -> usize {
        self.call(move |worker| worker.evict_prefix_cache(count)).await.unwrap_or_default()
    }

    async fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Worker) -> T + Send + 'static,
    ) -> Result<T, EngineRefusal> {
        let (reply, answer) = oneshot::channel();
        let work = Box::new(move |worker: &mut Worker| {
            // An error means that nobody waits any more.
            let _ = reply.send(work(worker));
        });
        self.work.send(work).map_err(|_| EngineRefusal::Stopped)?;
        answer.await.map_err(|_| EngineRefusal::Stopped)
    }
}

impl TextDecoder {
    /// The text that `token` completes. A token that has no text has none.
    pub fn push(&mut self, token: u32) -> String {
        let Some(tokenizer) = self.model.tokenizer() else { return String::new() };
        self.text.push(tokenizer, token).map(|chunk| chunk.text).unwrap_or_default()
    }

    /// What was held back, once no more tokens come.
    pub fn finish(&mut self) -> String {
        self.text.finish()
    }
}

impl EngineRefusal {
    /// The stable code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Engine(refusal) => refusal.code(),
            Self::Stopped => "N-220",
        }
    }

    /// Whether the same request may succeed later.
    pub fn retry(&self) -> bool {
        matches!(self, Self::Engine(refusal) if refusal.retry() != gpu::Retry::Never)
    }
}

impl From<gpu::FinishReason> for FinishReason {
    fn from(reason: gpu::FinishReason) -> Self {
        match reason {
            gpu::FinishReason::EndToken | gpu::FinishReason::StopString => Self::Stop,
            gpu::FinishReason::MaxTokens | gpu::FinishReason::ContextFull => Self::Length,
        }
    }
}

impl Sampling {
    /// As the engine takes it.
    ///
    /// # Errors
    /// [`gpu::Refusal::SamplingInvalid`].
    pub fn to_engine(&self) -> Result<gpu::SamplingParams, gpu::Refusal> {
        let params = gpu::SamplingParams {
            temperature: gpu::Millionths(self.temperature_ppm),
            top_p: gpu::Millionths(self.top_p_ppm),
            top_k: None,
            seed: gpu::SessionSeed::from_number(self.seed),
            max_tokens: self.max_tokens,
            ignore_eos: self.ignore_eos,
            stop: gpu::StopStrings::new(self.stop.clone())?,
        };
        params.validate()?;
        Ok(params)
    }
}

/// Nanoseconds of the host's CLOCK_MONOTONIC, which all processes of one machine share.
pub fn monotonic_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let (seconds, nanos) = (now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs());
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}
