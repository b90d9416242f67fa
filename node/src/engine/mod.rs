//! The way to the engine: a client of its dispatch queue (`gpu::dispatch`). The engine may stand in this process, in a
//! worker process beside it, or at another host: [`Placement`] says where, and nothing else here knows.

mod connection;
pub mod elsewhere;
mod placement;
mod tags;
mod worker;

use std::{
    io,
    sync::{Arc, Weak},
    time::Duration,
};

use gpu::{
    EngineOptions, Model, SequenceId, Session, Started, TailPage, TextStream,
    dispatch::{Refused, Reply, Request, Stats},
};
use scheduler::load::ServedModel;
use tokio::{
    sync::{broadcast, mpsc},
    time::timeout,
};
use wallet::{
    chain::PageHashKey,
    digest::Digest,
    page::{Page, StreamDescriptor},
    units::{Micros, NodeId, PageIndex, TokenCount, TokenPosition},
};

use crate::session::{
    request::{PrefixSalt, Sampling},
    view::FinishReason,
};
use connection::Connection;
pub use gpu::dispatch::{Stats as EngineStats, monotonic_ns};
pub use placement::{Host, OpenQueue, Placement, Queue};
pub use worker::{WorkerArgs, WorkerFault, work};

/// How long whoever asks how the engine stands waits for the answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// The way to the engine; clones share it. The engine ends when the last one is dropped.
#[derive(Clone)]
pub struct EngineHandle {
    connection: Arc<Connection>,
    model: Arc<Model>,
}

/// A session for the engine, new or from elsewhere.
pub struct Arrival {
    /// All its tokens.
    pub tokens: Vec<u32>,
    /// How many of them are the prompt.
    pub prompt_tokens: TokenCount,
    /// How tokens are chosen.
    pub sampling: gpu::SamplingParams,
    /// Payloads of its first full pages, as far as they are there. The rest is computed.
    pub pages: Vec<Vec<u8>>,
    /// The page after them, if they are all there.
    pub tail: Option<TailPage>,
    /// Under which its blocks are kept and found.
    pub salt: PrefixSalt,
    /// At most one token in this time; zero for as fast as it goes.
    pub pace: Duration,
}

/// A sequence of the engine and what it yields. Whoever drops it releases it: the engine forgets it, and its full blocks
/// stay in the prefix cache.
#[derive(Debug)]
pub struct Sequence {
    /// Names it to the engine.
    pub id: SequenceId,
    /// Its tokens, in order. They end if the engine is lost.
    pub events: mpsc::UnboundedReceiver<EngineEvent>,
    /// The engine's end ends the sequence too.
    connection: Weak<Connection>,
}

/// A token, with the times of the step that chose it on the host's CLOCK_MONOTONIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineEvent {
    /// Where it stands in the session.
    pub position: TokenPosition,
    /// The token.
    pub token: u32,
    /// Set with the last token.
    pub finish: Option<gpu::FinishReason>,
    /// When the step began.
    pub step_start_ns: u64,
    /// When it ended.
    pub step_end_ns: u64,
}

/// A session that stands between two tokens.
#[derive(Clone, Debug)]
pub struct Parked {
    /// Full pages.
    pub full_pages: u32,
    /// The page after them.
    pub tail: Option<TailPage>,
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
    /// A rule of the engine says no, at the other end of the queue.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// A node that this one runs no engine for.
    #[error("no engine runs here for node {from}")]
    NotServed {
        /// Who asked.
        from: NodeId,
    },
    /// The engine has ended, or is not reached.
    #[error("the engine has stopped")]
    Stopped,
    /// It has not said how it stands. Its step may take long, or it stands still: then it is given up some time after.
    #[error("the engine has not answered for {} s", ANSWER_WITHIN.as_secs())]
    Silent,
}

/// Turns the tokens of one session into text.
pub struct TextDecoder {
    model: Arc<Model>,
    text: TextStream,
}

impl EngineHandle {
    /// Starts an empty engine where `placement` says.
    ///
    /// # Errors
    /// What the system says if it starts no thread or no process.
    pub fn open(model: Arc<Model>, options: EngineOptions, placement: Placement) -> io::Result<Self> {
        let connection = Arc::new(Connection::open(model.clone(), options, placement)?);
        Ok(Self { connection, model })
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

    /// The most tokens that a prompt may have.
    pub fn prompt_tokens_max(&self) -> usize {
        self.model.config().positions_max - 1
    }

    /// Blocks that an engine of this model gives to a session.
    pub fn blocks_needed(&self, prompt: TokenCount, sampling: &gpu::SamplingParams) -> u32 {
        let context = u32::try_from(self.model.config().positions_max).unwrap_or(u32::MAX);
        let most = prompt.get().saturating_add(sampling.max_tokens.get()).min(context);
        // The last token never gets keys and values.
        most.saturating_sub(1).div_ceil(u32::from(self.stream().block))
    }

    /// Median duration of the steps that chose a token; none before the first.
    pub fn median_step(&self) -> Option<Micros> {
        self.connection.median_step()
    }

    /// Whether the engine is gone and not back yet.
    pub fn is_lost(&self) -> bool {
        self.connection.is_lost()
    }

    /// Changes of the prefix cache from now on.
    pub fn notices(&self) -> broadcast::Receiver<TaggedNotices> {
        self.connection.notices()
    }

    /// How the engine stands. It answers between two steps, and is not waited for: probes ask this.
    ///
    /// # Errors
    /// [`EngineRefusal::Silent`], [`EngineRefusal::Stopped`].
    pub async fn stats(&self) -> Result<Stats, EngineRefusal> {
        let answer = timeout(ANSWER_WITHIN, self.connection.call(Request::Stats, Vec::new())).await;
        match answer.map_err(|_| EngineRefusal::Silent)?? {
            (Reply::Stats(stats), _) => Ok(stats),
            _ => Err(EngineRefusal::Stopped),
        }
    }

    /// Takes a session in. It runs at once, or stands until it is resumed. Pages that do not fit are a cache miss: then it
    /// is taken in without any.
    ///
    /// # Errors
    /// [`EngineRefusal`].
    pub async fn start(&self, arrival: Arrival, standing: bool) -> Result<(Sequence, Started), EngineRefusal> {
        let Arrival { tokens, prompt_tokens, sampling, mut pages, tail, salt, pace } = arrival;
        let session = Session { tokens, prompt: prompt_tokens, sampling, salt: salt.0 };
        self.connection.know(&salt);
        let mut tail_rows = tail.as_ref().map_or(0, |tail| tail.rows);
        pages.extend(tail.map(|tail| tail.payload));
        // More than a session of this model has: the queue carries no such message.
        if pages.len() > self.model.config().pages_max() {
            (pages, tail_rows) = (Vec::new(), 0);
        }
        let pace = Micros::new(u64::try_from(pace.as_micros()).unwrap_or(u64::MAX));
        match self.try_start(session.clone(), (pages, tail_rows), pace, standing).await {
            Err(refusal) if refusal.rule() == Some(gpu::Retry::Resend) => {
                tracing::warn!(code = refusal.code(), %refusal, "the engine does not take these pages");
                self.try_start(session, (Vec::new(), 0), pace, standing).await
            }
            started => started,
        }
    }

    async fn try_start(
        &self,
        session: Session,
        (pages, tail_rows): (Vec<Vec<u8>>, u8),
        pace: Micros,
        standing: bool,
    ) -> Result<(Sequence, Started), EngineRefusal> {
        let sequence = self.connection.open_line();
        let request = Request::Start { sequence: sequence.id, session: Box::new(session), tail_rows, pace, standing };
        match self.connection.call(request, pages).await {
            Ok((Reply::Started(started), _)) => Ok((sequence, started)),
            other => Err(other.err().unwrap_or(EngineRefusal::Stopped)),
        }
    }

    /// Payloads of the full pages from `from` on, as many as one answer carries and at most `count_max`, and how many are
    /// full in all.
    ///
    /// # Errors
    /// [`EngineRefusal`].
    pub async fn pages(&self, id: SequenceId, from: u32, count_max: u32) -> Result<(Vec<Vec<u8>>, u32), EngineRefusal> {
        let request = Request::Pages { sequence: id, from, count_max };
        match self.connection.call(request, Vec::new()).await? {
            (Reply::Pages { full }, pages) => Ok((pages, full)),
            _ => Err(EngineRefusal::Stopped),
        }
    }

    /// Takes a sequence out of the batch. Every token that it chose is in its events when this returns.
    ///
    /// # Errors
    /// [`EngineRefusal`].
    pub async fn suspend(&self, id: SequenceId) -> Result<Parked, EngineRefusal> {
        match self.connection.call(Request::Suspend { sequence: id }, Vec::new()).await? {
            (Reply::Suspended { full_pages, tail_rows, finish: _ }, mut pages) => {
                let tail = (tail_rows > 0).then(|| pages.pop()).flatten();
                let tail = tail.map(|payload| TailPage { rows: tail_rows, payload });
                Ok(Parked { full_pages, tail })
            }
            _ => Err(EngineRefusal::Stopped),
        }
    }

    /// Puts a sequence back into the batch; nothing happens if it runs.
    ///
    /// # Errors
    /// [`EngineRefusal`].
    pub async fn resume(&self, id: SequenceId) -> Result<(), EngineRefusal> {
        self.connection.call(Request::Resume { sequence: id }, Vec::new()).await.map(drop)
    }

    /// Evicts up to `count` idle blocks of the prefix cache.
    pub async fn evict_prefix_cache(&self, count: usize) -> usize {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        match self.connection.call(Request::Evict { count }, Vec::new()).await {
            Ok((Reply::Evicted(count), _)) => count as usize,
            _ => 0,
        }
    }
}

/// Also of one whose start nobody waits for any more: its release follows the start.
impl Drop for Sequence {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.upgrade() {
            connection.close_line(self.id);
            connection.tell(Request::Release { sequence: self.id });
        }
    }
}

impl Parked {
    /// The page after the full ones as a page of its wallet's `stream`, head included; empty if there is none.
    ///
    /// # Errors
    /// [`wallet::refusal::Refusal::PageMalformed`].
    pub fn tail_page(&self, stream: &StreamDescriptor, key: &PageHashKey) -> Result<Vec<u8>, wallet::refusal::Refusal> {
        let Some(tail) = &self.tail else { return Ok(Vec::new()) };
        let index = PageIndex::new(u64::from(self.full_pages));
        let page = Page::new(stream, index, u16::from(tail.rows), &tail.payload, Some(key))?;
        Ok(page.as_bytes().to_vec())
    }
}

impl TextDecoder {
    /// For one session.
    pub fn new(model: &Arc<Model>, sampling: &gpu::SamplingParams) -> Self {
        Self { model: model.clone(), text: TextStream::new(&sampling.stop) }
    }

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
    pub fn code(&self) -> &'static str {
        match self {
            Self::Engine(refusal) => refusal.code(),
            Self::Refused(refused) => refused.code(),
            Self::NotServed { .. } => "N-221",
            Self::Stopped => "N-220",
            Self::Silent => "N-222",
        }
    }

    /// Whether the same request may succeed later.
    pub fn retry(&self) -> bool {
        match self.rule() {
            Some(retry) => matches!(retry, gpu::Retry::Later | gpu::Retry::Resend),
            None => matches!(self, Self::Stopped | Self::Silent),
        }
    }

    /// Whether it only says that other sessions have the blocks now.
    pub fn lacks_room(&self) -> bool {
        self.code() == gpu::Refusal::PoolExhausted { needed: 0, available: 0 }.code()
    }

    /// Whether this engine will never do it, and another one may.
    pub fn names_another(&self) -> bool {
        self.rule() == Some(gpu::Retry::Elsewhere)
    }

    fn rule(&self) -> Option<gpu::Retry> {
        match self {
            Self::Engine(refusal) => Some(refusal.retry()),
            Self::Refused(refused) => Some(refused.retry()),
            Self::NotServed { .. } | Self::Stopped | Self::Silent => None,
        }
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

#[cfg(test)]
mod tests;
