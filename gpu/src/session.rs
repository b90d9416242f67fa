//! A session leaves the batch between two tokens, and goes on: here, or in another engine.

use serde::{Deserialize, Serialize};
use wallet::units::TokenCount;

use crate::{
    BLOCK_TOKENS, TokenId,
    engine::{Engine, FinishReason, SequenceId},
    refusal::Refusal,
    sampling::SamplingParams,
    sequence::Sequence,
};

/// What decides a session's next token: everything but its keys and values, which follow from it.
///
/// There is no hidden state: draws are keyed by seed and position, and what the stop strings have seen follows from the
/// tokens. No token in it is ever chosen again.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// All tokens so far; the first of them are the prompt.
    pub tokens: Vec<TokenId>,
    /// How many of the tokens are the prompt's. The others were generated.
    pub prompt: TokenCount,
    /// How tokens are chosen, and when to stop.
    pub sampling: SamplingParams,
    /// Under which its blocks are found in and entered into the prefix cache. Secret.
    ///
    /// Pages from elsewhere can be found there like computed ones. Who does not want to rely on their sender's honesty
    /// for other sessions passes a salt that only this session uses.
    pub salt: [u8; 32],
}

/// The answer to a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// Tokens whose keys and values were in the prefix cache: whole blocks.
    pub cached: TokenCount,
    /// Tokens whose keys and values were there, in the cache or in the pages. The others are computed.
    pub computed: TokenCount,
    /// Set if the tokens end the session.
    pub finish: Option<FinishReason>,
}

/// A session that stands between two tokens, as its engine knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suspended {
    /// Pages that are full.
    pub full_pages: u32,
    /// The page after them, if it has any row.
    pub tail: Option<TailPage>,
    /// Set if there is nothing left to generate.
    pub finish: Option<FinishReason>,
}

/// The page that is not full: the only one that changes while a session runs.
#[derive(Clone, PartialEq, Eq)]
pub struct TailPage {
    /// Tokens in it: 1 to 15.
    pub rows: u8,
    /// The payload, of full size; the other rows are zero.
    pub payload: Vec<u8>,
}

impl Engine {
    /// Takes a session into the batch, new or from elsewhere: the next token is the one that it would have had there.
    ///
    /// Keys and values are taken from the prefix cache as far as it has them, then from `pages` (payloads of its first
    /// full pages, docs/formats/page.md) and `tail`, the page after them. Whatever is missing is a cache miss: it
    /// is computed from the tokens.
    ///
    /// # Errors
    /// [`Refusal::PromptEmpty`], [`Refusal::PromptTooLong`], [`Refusal::TokenUnknown`], [`Refusal::PoolExhausted`],
    /// [`Refusal::PoolTooSmall`], [`Refusal::SequenceExists`], [`Refusal::SamplingInvalid`],
    /// [`Refusal::ContinuationInvalid`], [`Refusal::PagesMismatch`].
    pub fn start<P: AsRef<[u8]>>(
        &mut self,
        id: SequenceId,
        session: &Session,
        pages: &[P],
        tail: Option<&TailPage>,
    ) -> Result<Started, Refusal> {
        let Session { tokens, prompt, sampling, salt } = session;
        let mut sequence = Sequence::new(&self.model, prompt.get() as usize, tokens, sampling.clone(), *salt)?;
        let offered = pages.len() * BLOCK_TOKENS + tail.map_or(0, |tail| usize::from(tail.rows));
        if tail.is_some_and(|tail| !(1..BLOCK_TOKENS).contains(&usize::from(tail.rows))) {
            return Err(Refusal::PagesMismatch { reason: "a tail has 1 to 15 rows" });
        }
        if offered >= sequence.tokens.len() {
            return Err(Refusal::PagesMismatch { reason: "more pages than the tokens can have filled" });
        }
        let expected = self.model.config().page_bytes();
        let payloads: Vec<&[u8]> =
            pages.iter().map(AsRef::as_ref).chain(tail.map(|tail| tail.payload.as_slice())).collect();
        if payloads.iter().any(|payload| payload.len() != expected) {
            return Err(Refusal::PagesMismatch { reason: "a payload of another size" });
        }
        let prefix = sequence.reusable();
        let cached = self.allocate(id, &mut sequence, &prefix)?;
        for (block, payload) in sequence.table.iter().zip(&payloads).skip(cached) {
            self.kv.pool.import(*block, payload);
        }
        sequence.adopt_cached(&prefix[..cached]);
        sequence.adopt(offered.max(cached * BLOCK_TOKENS), &mut self.kv);
        let count = |tokens: usize| TokenCount::new(u32::try_from(tokens).unwrap_or(u32::MAX));
        let started = Started {
            cached: count(cached * BLOCK_TOKENS),
            computed: count(sequence.computed),
            finish: sequence.finish,
        };
        self.sequences.insert(id, sequence);
        Ok(started)
    }

    /// How many pages are full. They never change again.
    ///
    /// # Errors
    /// [`Refusal::SequenceUnknown`].
    pub fn full_pages(&self, id: SequenceId) -> Result<usize, Refusal> {
        self.sequence(id).map(|sequence| sequence.computed / BLOCK_TOKENS)
    }

    /// The payload of a full page. Allowed in every phase, so that pages can be copied ahead.
    ///
    /// # Errors
    /// [`Refusal::SequenceUnknown`], [`Refusal::PageNotFull`].
    pub fn page(&self, id: SequenceId, index: usize) -> Result<Vec<u8>, Refusal> {
        let full = self.full_pages(id)?;
        if index >= full {
            return Err(Refusal::PageNotFull { index, full });
        }
        Ok(self.kv.pool.export(self.sequence(id)?.table[index], BLOCK_TOKENS))
    }

    /// Takes the sequence out of the batch, between two steps. It keeps its blocks until it is released.
    ///
    /// # Errors
    /// [`Refusal::SequenceUnknown`]; [`Refusal::PhaseWrong`] if it is suspended already.
    pub fn suspend(&mut self, id: SequenceId) -> Result<Suspended, Refusal> {
        self.set_suspended(id, true)?;
        let sequence = self.sequence(id)?;
        let (full, rows) = (sequence.computed / BLOCK_TOKENS, sequence.computed % BLOCK_TOKENS);
        let tail =
            (rows > 0).then(|| TailPage { rows: rows as u8, payload: self.kv.pool.export(sequence.table[full], rows) });
        let full_pages = u32::try_from(full).expect("a context has fewer than 2^32 tokens");
        Ok(Suspended { full_pages, tail, finish: sequence.finish })
    }

    /// Puts a suspended sequence back into the batch.
    ///
    /// # Errors
    /// [`Refusal::SequenceUnknown`]; [`Refusal::PhaseWrong`] if it is not suspended.
    pub fn resume(&mut self, id: SequenceId) -> Result<(), Refusal> {
        self.set_suspended(id, false)
    }

    pub(crate) fn set_suspended(&mut self, id: SequenceId, suspended: bool) -> Result<(), Refusal> {
        let sequence = self.sequences.get_mut(&id).ok_or(Refusal::SequenceUnknown { id })?;
        if sequence.suspended == suspended {
            return Err(Refusal::PhaseWrong { id, phase: sequence.phase() });
        }
        sequence.suspended = suspended;
        Ok(())
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Session({} tokens, redacted)", self.tokens.len())
    }
}

impl std::fmt::Debug for TailPage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TailPage({} rows, redacted)", self.rows)
    }
}

#[cfg(test)]
mod tests;
