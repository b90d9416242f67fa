//! The effect journal: what came of every effect, at the position that is the effect's number.
//!
//! A prompt takes one position for each 2,048 tokens, a decoded token takes one, and so does every other record. An
//! effect outside takes two: what is intended, then what came of it.

mod record;
mod replay;

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wallet::{chain::PageHashKey, page::payload_hash};

use super::{
    body::Bound,
    effect::{Class, Effect, EffectId, EffectResult, Failure, Outcome},
    refusal::ContinuationRefusal,
    value::Value,
};
use crate::{
    TokenId,
    engine::FinishReason,
    stream::{Accumulator, Appended, Cursor, Expect, Next, StreamFault, StreamWriter},
};
use replay::Replay;

pub use record::{Entry, PROMPT_CHUNK_TOKENS, Record, Resolution};

/// The most bytes of all records together, as [`Journal::entries`] travel: 16 for a generated token, 4 for one of the
/// prompt. So every journal fits the one message in which a session leaves its holder.
pub const JOURNAL_BYTES_MAX: usize = 8 << 20;
/// Effects outside that are intended and have no result, at a time.
const OPEN_MAX: usize = 1_024;
/// How many divergences are kept. One is enough.
const DIVERGENCES_MAX: usize = 16;

/// The effect journal of one continuation, at the place where it is written.
pub struct Journal {
    stream: Arc<dyn StreamWriter>,
    key: PageHashKey,
    epoch: u32,
    replay: Replay,
    divergences: Vec<Divergence>,
}

/// What became of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// It stands at this position now.
    New(u64),
    /// It stood at this position before.
    Same(u64),
    /// Another result of the same computation stands there. It stays; both are returned and kept.
    Diverged(Box<Divergence>),
}

/// Two results of a computation that must always yield the same: evidence against one of those who computed it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Divergence {
    /// Where the first stands.
    pub position: u64,
    /// What stands there.
    pub recorded: Entry,
    /// What was offered later.
    pub offered: Entry,
}

impl Journal {
    /// Opens the journal for the holder of `epoch`, locks out every earlier one, and reads back all that is there.
    ///
    /// # Errors
    /// [`ContinuationRefusal::Fenced`] if a later epoch was there, [`ContinuationRefusal::RecordMalformed`], and those
    /// of the stream.
    pub fn open(stream: Arc<dyn StreamWriter>, key: PageHashKey, epoch: u32) -> Result<Self, ContinuationRefusal> {
        let seen = stream.state().epoch;
        if seen > epoch {
            return Err(ContinuationRefusal::Fenced { epoch: seen });
        }
        stream.fence(epoch)?;
        let replay = Replay::new(stream.descriptor().owner);
        let mut journal = Self { stream, key, epoch, replay, divergences: Vec::new() };
        journal.catch_up()?;
        journal.replay.doubt_open_intents();
        Ok(journal)
    }

    /// The stream.
    pub fn stream(&self) -> &Arc<dyn StreamWriter> {
        &self.stream
    }

    /// All tokens so far, the prompt's first.
    pub fn tokens(&self) -> &[TokenId] {
        &self.replay.tokens
    }

    /// How many more tokens it takes, with the end after the last of them.
    pub const fn tokens_left(&self) -> usize {
        self.replay.tokens_left()
    }

    /// How many of the tokens are the prompt's.
    pub const fn prompt_tokens(&self) -> usize {
        self.replay.prompt
    }

    /// The number of the effect that chose the token at `position` of the session; none for the prompt's.
    pub fn chosen_by(&self, position: usize) -> Option<u32> {
        self.replay.chosen_by(position)
    }

    /// Where the next record goes: the number of the next effect.
    pub const fn seq(&self) -> u32 {
        self.replay.seq
    }

    /// Why the program ended, if it has.
    pub const fn finished(&self) -> Option<FinishReason> {
        self.replay.finished
    }

    /// What came of an effect. Not of those that yield tokens: these are [`Self::tokens`].
    pub fn outcome(&self, effect: &Effect) -> Option<&Outcome> {
        self.replay.result(effect).map(|(_, outcome)| outcome)
    }

    /// The number of the effect that comes after one whose result is recorded: also when it is asked for again.
    pub(super) fn number_after(&self, effect: &Effect) -> u32 {
        self.completed(effect).map_or(self.seq(), |position| position + 1)
    }

    fn completed(&self, effect: &Effect) -> Option<u32> {
        self.replay.result(effect).map(|(position, _)| position)
    }

    /// Effects outside that were intended, and of which nothing is known of what came of them.
    pub fn open_effects(&self) -> &[Effect] {
        &self.replay.open
    }

    /// Effects outside of which it is not known whether they happened, and which cannot be done again. Nothing goes on
    /// before each of them is [resolved](Self::resolve).
    pub fn in_doubt(&self) -> &[Effect] {
        &self.replay.in_doubt
    }

    /// Evidence that was met here: the first 16.
    pub fn divergences(&self) -> &[Divergence] {
        &self.divergences
    }

    /// The journal as a continuation refers to it.
    ///
    /// # Errors
    /// Those of the stream.
    pub fn bound(&self) -> Result<Bound, ContinuationRefusal> {
        let to = u64::from(self.seq());
        Ok(Bound { root: self.stream.root(to)?, to })
    }

    /// All that stands in it, in order: with [`Self::adopt`] another holder's journal becomes the same. Tokens are in
    /// memory already, so little is read.
    ///
    /// # Errors
    /// Those of the stream.
    pub fn entries(&self) -> Result<Vec<Entry>, ContinuationRefusal> {
        let entry =
            |seq: u32| self.replay.tokens_at(seq).map_or_else(|| self.read(seq.into()), |entry| Ok(Some(entry)));
        (0..self.seq()).map_while(|seq| entry(seq).transpose()).collect()
    }

    /// Records all that stands in the journal of the holder before. What was intended there and has no result is in doubt.
    ///
    /// # Errors
    /// See [`Self::token`]; [`ContinuationRefusal::RecordMalformed`] at the first that cannot stand there.
    pub fn adopt(&mut self, entries: Vec<Entry>) -> Result<(), ContinuationRefusal> {
        entries.into_iter().try_for_each(|entry| self.record(self.seq(), entry).map(drop))?;
        self.replay.doubt_open_intents();
        Ok(())
    }

    /// Records the prompt, which comes before everything else.
    ///
    /// # Errors
    /// See [`Self::token`]; [`ContinuationRefusal::BodyInvalid`] if it is empty.
    pub fn prompt(&mut self, tokens: &[TokenId]) -> Result<Recorded, ContinuationRefusal> {
        let mut recorded = Err(super::body::invalid("the prompt is empty"));
        for (seq, chunk) in (0..).zip(tokens.chunks(PROMPT_CHUNK_TOKENS)) {
            let first = u64::from(seq) * PROMPT_CHUNK_TOKENS as u64;
            recorded = Ok(self.record(seq, Entry::Prompt { first, tokens: chunk.to_vec() })?);
        }
        recorded
    }

    /// Records the token that the effect `seq` chose.
    ///
    /// # Errors
    /// [`ContinuationRefusal::JournalOrder`], [`ContinuationRefusal::JournalConflict`], [`ContinuationRefusal::Fenced`],
    /// [`ContinuationRefusal::JournalFull`], [`ContinuationRefusal::JournalEnded`], and those of the stream.
    pub fn token(&mut self, seq: u32, token: TokenId) -> Result<Recorded, ContinuationRefusal> {
        let first = if seq < self.seq() { self.replay.position_of(seq) } else { self.tokens().len() as u64 };
        self.record(seq, Entry::Token { first, token })
    }

    /// Records that an effect outside is about to be performed. It is durable where the stream can be.
    ///
    /// # Errors
    /// See [`Self::token`]; [`ContinuationRefusal::WakeUnexpected`] if the effect is not one outside, or of another
    /// continuation.
    pub fn intend(&mut self, effect: &Effect) -> Result<Recorded, ContinuationRefusal> {
        if !matches!(effect.class(), Class::External { .. }) || !effect.belongs_to(&self.replay.owner) {
            return Err(ContinuationRefusal::WakeUnexpected { reason: "only an effect outside is intended" });
        }
        let recorded = self.record(effect.seq, Entry::Record(Record::Intent(effect.clone())))?;
        self.stream.sync()?;
        Ok(recorded)
    }

    /// Records what came of an effect: at its number, or after the journal's end if it was intended before.
    ///
    /// # Errors
    /// See [`Self::token`].
    pub fn complete(&mut self, effect: &Effect, outcome: &Outcome) -> Result<Recorded, ContinuationRefusal> {
        let position = match (effect.class(), self.completed(effect)) {
            (_, Some(position)) => position,
            (Class::External { .. }, None) if self.replay.is_open(&effect.id) => self.seq(),
            (Class::External { .. }, None) => {
                return Err(ContinuationRefusal::WakeUnexpected { reason: "an effect outside that was not intended" });
            }
            (_, None) => effect.seq,
        };
        let result = EffectResult { id: effect.id, outcome: outcome.clone() };
        let recorded = self.record(position, Entry::Record(Record::Result(result)))?;
        if effect.class() == (Class::External { idempotent: false }) {
            // Else a crash would put in doubt what is known.
            self.stream.sync()?;
        }
        Ok(recorded)
    }

    /// Records that the program has ended. Nothing comes after it.
    ///
    /// # Errors
    /// See [`Self::token`].
    pub fn finish(&mut self, reason: FinishReason) -> Result<Recorded, ContinuationRefusal> {
        let position = if self.finished().is_some() { self.seq() - 1 } else { self.seq() };
        self.record(position, Entry::Record(Record::Finished(reason)))
    }

    /// Records what somebody decided about an effect in doubt.
    ///
    /// # Errors
    /// [`ContinuationRefusal::NotInDoubt`], and see [`Self::token`].
    pub fn resolve(&mut self, id: &EffectId, how: Resolution) -> Result<Recorded, ContinuationRefusal> {
        if !self.in_doubt().iter().any(|effect| effect.id == *id) {
            return Err(ContinuationRefusal::NotInDoubt { id: *id });
        }
        let recorded = self.record(self.seq(), Entry::Record(Record::Resolved { id: *id, how }))?;
        self.stream.sync()?;
        Ok(recorded)
    }

    /// Says that it is not known whether an effect that was intended has happened.
    pub(super) fn doubt(&mut self, effect: &Effect) {
        self.replay.doubt(effect);
    }

    /// Takes in what others have recorded.
    ///
    /// # Errors
    /// [`ContinuationRefusal::RecordMalformed`], and those of the stream.
    pub fn catch_up(&mut self) -> Result<(), ContinuationRefusal> {
        while let Some(entry) = self.read(u64::from(self.seq()))? {
            self.replay.take(entry)?;
        }
        Ok(())
    }

    fn read(&self, position: u64) -> Result<Option<Entry>, ContinuationRefusal> {
        match self.stream.next(Cursor(position))? {
            Next::Item(page, _) => Entry::decode(&page.head, &page.payload, &self.key).map(Some),
            Next::Blocked(_) | Next::End => Ok(None),
            Next::Gap { earliest } => Err(StreamFault::NotKept { position, earliest }.into()),
        }
    }

    fn record(&mut self, seq: u32, entry: Entry) -> Result<Recorded, ContinuationRefusal> {
        if seq >= self.seq() && self.finished().is_some() {
            return Err(ContinuationRefusal::JournalEnded);
        }
        if seq == self.seq() {
            // What would not be read back is not written.
            self.replay.admits(&entry)?;
        }
        let (draft, payload) = entry.encode(&self.key)?;
        let position = u64::from(seq);
        match self.stream.append(self.epoch, Expect::At(position), &draft, &payload)? {
            Appended::Ok(_) => {
                self.replay.take(entry)?;
                Ok(Recorded::New(position))
            }
            Appended::Same(_) => {
                self.catch_up()?;
                Ok(Recorded::Same(position))
            }
            Appended::Conflict { .. } => self.conflict(seq, entry),
            Appended::Fenced { epoch } => Err(ContinuationRefusal::Fenced { epoch }),
            Appended::Full(_) => Err(ContinuationRefusal::JournalFull { reason: "its stream has no room" }),
            Appended::Closed => Err(ContinuationRefusal::JournalFull { reason: "its stream is closed" }),
        }
    }

    fn conflict(&mut self, seq: u32, offered: Entry) -> Result<Recorded, ContinuationRefusal> {
        let position = u64::from(seq);
        let Some(recorded) = self.read(position)? else {
            return Err(ContinuationRefusal::JournalOrder { next: self.seq(), position: seq });
        };
        self.catch_up()?;
        if !recorded.is_of_the_same_computation(&offered) {
            return Err(ContinuationRefusal::JournalConflict { position });
        }
        let divergence = Divergence { position, recorded, offered };
        if self.divergences.len() < DIVERGENCES_MAX {
            self.divergences.push(divergence.clone());
        }
        Ok(Recorded::Diverged(Box::new(divergence)))
    }
}

/// What a continuation refers to as the journal of a decode session: `prompt`, then a record for each of the `generated`
/// tokens, then how it ended.
///
/// # Errors
/// [`ContinuationRefusal::ValueOutOfBounds`]; no token is.
pub(super) fn bound_of(
    prompt: &[TokenId],
    generated: &[TokenId],
    finish: Option<FinishReason>,
    key: &PageHashKey,
) -> Result<Bound, ContinuationRefusal> {
    let chunks = (0_u64..)
        .zip(prompt.chunks(PROMPT_CHUNK_TOKENS))
        .map(|(chunk, tokens)| Entry::Prompt { first: chunk * PROMPT_CHUNK_TOKENS as u64, tokens: tokens.to_vec() });
    let tokens = (prompt.len() as u64..).zip(generated).map(|(first, token)| Entry::Token { first, token: *token });
    let end = finish.map(|reason| Entry::Record(Record::Finished(reason)));
    let mut heads = Accumulator::new();
    for entry in chunks.chain(tokens).chain(end) {
        let (draft, payload) = entry.encode(key)?;
        heads.push(&draft.head(heads.len(), payload.len() as u32, payload_hash(&payload, Some(key))));
    }
    Ok(Bound { root: heads.root(), to: heads.len() })
}

impl Resolution {
    /// What the program is told came of the effect, unless it is to be performed again.
    pub(super) fn outcome(&self) -> Option<Outcome> {
        match self {
            Self::AssumeDone(value) => Some(Ok::<Value, _>(value.clone())),
            Self::Retry => None,
            Self::Abort => Some(Err(Failure::ABORTED)),
        }
    }
}

#[cfg(test)]
mod tests;
