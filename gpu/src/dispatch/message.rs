//! What an engine is asked, and what it says.

use serde::{Deserialize, Serialize};
use wallet::units::{Micros, TokenPosition};

use crate::{
    CacheNotice, TokenId,
    engine::{FinishReason, SequenceId},
    refusal::{Refusal, Retry},
    session::{Session, Started},
};

/// To the engine. Every request but [`Request::Release`] is answered by one [`Event::Reply`] with the same number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Take this session in. The message's KV pages are its first full pages and, if `tail_rows` is not 0, the page after
    /// them.
    Start {
        /// What the sequence is called.
        sequence: SequenceId,
        /// What decides its tokens.
        session: Box<Session>,
        /// Rows of the last KV page, if that one is not full.
        tail_rows: u8,
        /// At most one token in this time; zero for as fast as it goes.
        pace: Micros,
        /// Take it in, but let it stand until it is resumed.
        standing: bool,
    },
    /// The full pages from `from` on, at most `count_max`.
    Pages {
        /// Which sequence.
        sequence: SequenceId,
        /// The first page.
        from: u32,
        /// How many at most.
        count_max: u32,
    },
    /// Take a sequence out of the batch. It keeps its blocks.
    Suspend {
        /// Which sequence.
        sequence: SequenceId,
    },
    /// Put it back; nothing happens if it runs.
    Resume {
        /// Which sequence.
        sequence: SequenceId,
    },
    /// Forget it. Its full blocks stay in the prefix cache. Not answered.
    Release {
        /// Which sequence.
        sequence: SequenceId,
    },
    /// Evict idle blocks of the prefix cache.
    Evict {
        /// How many at most.
        count: u32,
    },
    /// How the engine stands.
    Stats,
}

/// From the engine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// The answer to a request.
    Reply {
        /// The request's number.
        call: u64,
        /// What became of it.
        outcome: Result<Reply, Refused>,
    },
    /// One step chose these tokens.
    Step(StepTokens),
    /// What changed in the prefix cache, in order.
    Cache(Vec<CacheNotice>),
    /// The engine works, or waits for work. It comes once in [`super::ALIVE_EVERY`], unless a step takes longer.
    Alive,
}

/// The answer to a request that was carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// To [`Request::Start`].
    Started(Started),
    /// To [`Request::Pages`]; the message carries them.
    Pages {
        /// How many pages are full.
        full: u32,
    },
    /// To [`Request::Suspend`]; the message carries the tail if there is one. Every token that was chosen is in an
    /// earlier event.
    Suspended {
        /// Pages that are full.
        full_pages: u32,
        /// Rows of the tail; 0 if there is none.
        tail_rows: u8,
        /// Set if there is nothing left to generate.
        finish: Option<FinishReason>,
    },
    /// To [`Request::Resume`].
    Resumed,
    /// To [`Request::Evict`]: how many.
    Evicted(u32),
    /// To [`Request::Stats`].
    Stats(Stats),
}

/// The tokens of one step. Times are of the engine's host, on CLOCK_MONOTONIC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepTokens {
    /// When the step began, in nanoseconds.
    pub start_ns: u64,
    /// When it ended.
    pub end_ns: u64,
    /// Median of the latest steps that chose tokens and computed no prompt; none before the first.
    pub median: Option<Micros>,
    /// In the order of the sequences' ids.
    pub tokens: Vec<TokenEvent>,
}

/// A token of one sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenEvent {
    /// Whose.
    pub sequence: SequenceId,
    /// Where it stands in the session, prompt included.
    pub position: TokenPosition,
    /// The token.
    pub token: TokenId,
    /// Set with the last token.
    pub finish: Option<FinishReason>,
}

/// How an engine stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
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

/// A [`Refusal`] as it travels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Refused {
    /// Its code.
    code: String,
    /// What it says.
    message: String,
    /// Whether it helps to try again.
    retry: Retry,
}

impl Refused {
    /// The stable code; that of a malformed message if the engine is of a later version and has codes of its own.
    pub fn code(&self) -> &'static str {
        Refusal::CODES.into_iter().find(|code| *code == self.code).unwrap_or("E-115")
    }

    /// Whether to try again, and how.
    pub const fn retry(&self) -> Retry {
        self.retry
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self { code: refusal.code().to_owned(), message: refusal.to_string(), retry: refusal.retry() }
    }
}
