//! What a journal says, folded from its beginning.

use std::collections::BTreeMap;

use wallet::{codec, digest::Digest};

use super::{
    JOURNAL_BYTES_MAX, OPEN_MAX,
    record::{Entry, PROMPT_CHUNK_TOKENS, Record},
};
use crate::{
    TokenId,
    continuation::{
        effect::{Class, Effect, EffectId, Outcome},
        refusal::ContinuationRefusal,
    },
    engine::FinishReason,
};

/// A token as it travels, and the end.
const TOKEN_BYTES: usize = 16;
const END_BYTES: usize = 12;

/// The state of a journal after its first `seq` positions.
pub struct Replay {
    /// The continuation.
    pub owner: Digest,
    pub tokens: Vec<TokenId>,
    pub prompt: usize,
    pub seq: u32,
    pub finished: Option<FinishReason>,
    /// What came of effects outside that were intended, and where that stands.
    closed: BTreeMap<EffectId, (u32, Outcome)>,
    /// Results of everything else. One that does not stand at the number of its effect a holder before made up, and nothing
    /// goes by it: the true one comes beside it.
    results: BTreeMap<(EffectId, u32), Outcome>,
    /// Intended, and without a result.
    pub open: Vec<Effect>,
    /// Those of the open ones that were intended before the journal was opened here, and cannot be done again.
    pub in_doubt: Vec<Effect>,
    /// Numbers of the effects that chose the tokens after the prompt.
    numbers: Vec<u32>,
    /// Bytes of all records, as they travel.
    bytes: usize,
}

impl Replay {
    pub const fn new(owner: Digest) -> Self {
        Self {
            owner,
            tokens: Vec::new(),
            prompt: 0,
            seq: 0,
            finished: None,
            closed: BTreeMap::new(),
            results: BTreeMap::new(),
            open: Vec::new(),
            in_doubt: Vec::new(),
            numbers: Vec::new(),
            bytes: 0,
        }
    }

    /// What stands at `seq`, if that is tokens.
    pub fn tokens_at(&self, seq: u32) -> Option<Entry> {
        let first = seq as usize * PROMPT_CHUNK_TOKENS;
        if first < self.prompt {
            let end = self.prompt.min(first + PROMPT_CHUNK_TOKENS);
            return Some(Entry::Prompt { first: first as u64, tokens: self.tokens[first..end].to_vec() });
        }
        let at = self.prompt + self.numbers.binary_search(&seq).ok()?;
        Some(Entry::Token { first: at as u64, token: self.tokens[at] })
    }

    /// What came of an effect, and where that stands: of one outside after its intent, and else at its number.
    pub fn result(&self, effect: &Effect) -> Option<(u32, &Outcome)> {
        if matches!(effect.class(), Class::External { .. }) {
            return self.closed.get(&effect.id).map(|(position, outcome)| (*position, outcome));
        }
        Some((effect.seq, self.results.get(&(effect.id, effect.seq))?))
    }

    /// Whether an effect outside was intended, and nothing is known of what came of it.
    pub fn is_open(&self, id: &EffectId) -> bool {
        self.open.iter().any(|effect| effect.id == *id)
    }

    /// The session's position of the token that the effect `seq` chose; one that no token has if it chose none.
    pub fn position_of(&self, seq: u32) -> u64 {
        self.numbers.binary_search(&seq).map_or(u64::MAX, |index| (self.prompt + index) as u64)
    }

    /// The number of the effect that chose the token at `position` of the session.
    pub fn chosen_by(&self, position: usize) -> Option<u32> {
        self.numbers.get(position.checked_sub(self.prompt)?).copied()
    }

    /// How many more tokens fit before the end.
    pub const fn tokens_left(&self) -> usize {
        JOURNAL_BYTES_MAX.saturating_sub(self.bytes + END_BYTES) / TOKEN_BYTES
    }

    /// Whether `entry` can come next.
    pub fn admits(&self, entry: &Entry) -> Result<(), ContinuationRefusal> {
        let position = u64::from(self.seq);
        let malformed = |reason| ContinuationRefusal::RecordMalformed { position, reason };
        let rule = |holds: bool, reason| if holds { Ok(()) } else { Err(malformed(reason)) };
        rule(self.finished.is_none(), "there are records after the end")?;
        rule(self.seq < u32::MAX, "there are too many records")?;
        if self.bytes + codec::encoded_size(entry) > JOURNAL_BYTES_MAX {
            return Err(ContinuationRefusal::JournalFull { reason: "a larger one could not leave its holder" });
        }
        match entry {
            Entry::Prompt { first, tokens } => {
                rule((1..=PROMPT_CHUNK_TOKENS).contains(&tokens.len()), "not as many tokens as it can have")?;
                let chunks = u64::from(self.seq) * PROMPT_CHUNK_TOKENS as u64;
                rule(*first == chunks && self.tokens.len() as u64 == chunks, "a prompt out of place")
            }
            Entry::Token { first, .. } => {
                rule(self.prompt > 0, "a token without a prompt")?;
                rule(*first == self.tokens.len() as u64, "a token out of place")
            }
            Entry::Record(Record::Intent(effect)) => {
                rule(effect.seq == self.seq, "an effect with the number of another")?;
                rule(matches!(effect.class(), Class::External { .. }), "an intent of what is not outside")?;
                rule(effect.belongs_to(&self.owner), "an effect of another continuation")?;
                rule(self.open.len() < OPEN_MAX, "too many effects that are open")
            }
            Entry::Record(Record::Result(result)) => {
                rule(!self.closed.contains_key(&result.id), "a second result of an effect")
            }
            Entry::Record(Record::Finished(_)) => rule(self.open.is_empty(), "it ends before its effects"),
            Entry::Record(Record::Resolved { id, .. }) => {
                let open = self.open.iter().find(|effect| effect.id == *id);
                let idempotent = Class::External { idempotent: true };
                rule(open.is_some_and(|effect| effect.class() != idempotent), "a decision about no doubt")
            }
        }
    }

    /// Takes in the next entry.
    pub fn take(&mut self, entry: Entry) -> Result<(), ContinuationRefusal> {
        self.admits(&entry)?;
        self.bytes += codec::encoded_size(&entry);
        match entry {
            Entry::Prompt { tokens, .. } => {
                self.tokens.extend(tokens);
                self.prompt = self.tokens.len();
            }
            Entry::Token { token, .. } => {
                self.tokens.push(token);
                self.numbers.push(self.seq);
            }
            Entry::Record(Record::Intent(effect)) => self.open.push(effect),
            Entry::Record(Record::Result(result)) if self.is_open(&result.id) => {
                self.close(result.id, result.outcome);
            }
            Entry::Record(Record::Result(result)) => {
                self.results.insert((result.id, self.seq), result.outcome);
            }
            Entry::Record(Record::Finished(reason)) => self.finished = Some(reason),
            Entry::Record(Record::Resolved { id, how }) => match how.outcome() {
                Some(outcome) => self.close(id, outcome),
                None => self.in_doubt.retain(|effect| effect.id != id),
            },
        }
        self.seq += 1;
        Ok(())
    }

    /// What was intended by somebody who is gone may have happened.
    pub fn doubt_open_intents(&mut self) {
        let idempotent = Class::External { idempotent: true };
        self.in_doubt = self.open.iter().filter(|effect| effect.class() != idempotent).cloned().collect();
    }

    /// It is not known whether `effect` has happened.
    pub fn doubt(&mut self, effect: &Effect) {
        let idempotent = Class::External { idempotent: true };
        let open = self.open.iter().find(|open| open.id == effect.id && open.class() != idempotent);
        if let Some(open) = open.filter(|open| !self.in_doubt.contains(open)) {
            self.in_doubt.push(open.clone());
        }
    }

    fn close(&mut self, id: EffectId, outcome: Outcome) {
        self.open.retain(|effect| effect.id != id);
        self.in_doubt.retain(|effect| effect.id != id);
        self.closed.insert(id, (self.seq, outcome));
    }
}
