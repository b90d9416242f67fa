//! The decode session as a program: take in the prompt, then choose a token, show it, and so on until the end.

use std::collections::VecDeque;

use serde::Serialize;
use wallet::{
    codec,
    digest::{Digest, blake3},
    units::TokenPosition,
};

use super::{
    body::{DecodeBody, invalid},
    effect::{Effect, EffectId, EffectResult, Op, Outcome},
    head::Form,
    journal::{Journal, PROMPT_CHUNK_TOKENS, Recorded},
    program::{Program, Step, Wake},
    refusal::ContinuationRefusal,
    value::Value,
};
use crate::{TokenId, engine::FinishReason, sampling::SamplingParams};

const RULE_DOMAIN: &str = "batchmind/v1/gpu/decode-rule";

/// A decode session between two of its effects.
///
/// It is rebuilt from its body and its journal, and no token that stands there is chosen again.
#[derive(Clone, Debug)]
pub struct DecodeProgram {
    id: Digest,
    /// What decides the next token beside the tokens.
    rule: Digest,
    body: DecodeBody,
    /// Where the journal goes on.
    seq: u32,
    /// Tokens known.
    known: u32,
    /// Pieces of the prompt to take in.
    prefills: std::ops::Range<u32>,
    /// Tokens to show: where they stand in journal and session.
    unshown: VecDeque<Shown>,
    asked: Option<EffectId>,
}

/// What a Decode yields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// The token; none if the tokens before were the last already.
    pub token: Option<TokenId>,
    /// Set if nothing comes after it.
    pub finish: Option<FinishReason>,
}

/// A token to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shown {
    seq: u32,
    position: u32,
    token: TokenId,
}

#[derive(Serialize)]
struct Rule<'a> {
    model: &'a Digest,
    numerics: &'a Digest,
    sampling: &'a SamplingParams,
}

impl DecodeProgram {
    /// The session `id` as body and journal have it. `shown` is the position of the first token that the user may not
    /// have been shown: each from there on is shown, and then the next is chosen.
    ///
    /// # Errors
    /// [`ContinuationRefusal::BodyInvalid`] if body and journal do not belong together.
    pub fn from(
        id: Digest,
        numerics: &Digest,
        body: DecodeBody,
        journal: &Journal,
        shown: TokenPosition,
    ) -> Result<Self, ContinuationRefusal> {
        body.validate()?;
        let (prompt, tokens) = (journal.prompt_tokens(), journal.tokens());
        if journal.stream().descriptor().owner != id {
            return Err(invalid("the journal is another continuation's"));
        }
        if prompt != body.prompt.get() as usize {
            return Err(invalid("the journal has another prompt"));
        }
        if tokens.len() - prompt > body.sampling.max_tokens.get() as usize {
            return Err(invalid("more tokens were generated than allowed"));
        }
        if body.positions() >= tokens.len() as u64 {
            return Err(invalid("there are keys and values for the pending token"));
        }
        if body.finish.is_some() && journal.finished() != body.finish {
            return Err(invalid("the journal does not end as the body says"));
        }
        let chunks = prompt.div_ceil(PROMPT_CHUNK_TOKENS) as u32;
        let from = (shown.get() as usize).clamp(prompt, tokens.len());
        let unshown = tokens[from..]
            .iter()
            .zip(from..)
            .filter_map(|(token, at)| Some(Shown { seq: journal.chosen_by(at)?, position: at as u32, token: *token }))
            .collect();
        let rule = Rule { model: &body.model, numerics, sampling: &body.sampling };
        let finish = journal.finished();
        Ok(Self {
            id,
            rule: blake3(RULE_DOMAIN, None, &[&codec::encode(&rule)]),
            seq: journal.seq(),
            known: tokens.len() as u32,
            prefills: if tokens.len() == prompt && finish.is_none() { 0..chunks } else { 0..0 },
            unshown,
            asked: None,
            body: DecodeBody { finish, ..body },
        })
    }

    /// The body, but for the journal's bound, which [`Program::encode`] fills in.
    pub const fn body(&self) -> &DecodeBody {
        &self.body
    }

    /// The body, for the host to say which pages there are, and what it keeps.
    pub const fn body_mut(&mut self) -> &mut DecodeBody {
        &mut self.body
    }

    fn next(&mut self) -> Result<Step, ContinuationRefusal> {
        let (seq, op, args) = if let Some(seq) = self.prefills.next() {
            (seq, Op::Prefill, vec![Value::Hash(self.rule), Value::Int(i64::from(seq))])
        } else if let Some(Shown { seq, position, token }) = self.unshown.pop_front() {
            (seq, Op::Emit, vec![Value::Int(i64::from(position)), Value::Int(i64::from(token))])
        } else if let Some(reason) = self.body.finish {
            return Ok(Step::Done(Value::Int(reason as i64)));
        } else {
            (self.seq, Op::Decode, vec![Value::Hash(self.rule), Value::Int(i64::from(self.known))])
        };
        let effect = Effect::new(&self.id, seq, op, args)?;
        self.asked = Some(effect.id);
        Ok(Step::Perform(effect))
    }

    fn chosen(&mut self, chosen: Chosen, next: u32) {
        if let Some(token) = chosen.token {
            self.unshown.push_back(Shown { seq: self.seq, position: self.known, token });
            self.known += 1;
        }
        self.body.finish = chosen.finish;
        self.seq = next;
    }
}

impl Program for DecodeProgram {
    const FORM: Form = Form::Decode;

    fn step(&mut self, wake: Wake) -> Result<Step, ContinuationRefusal> {
        let unexpected = |reason| ContinuationRefusal::WakeUnexpected { reason };
        match (self.asked.take(), wake) {
            (None, Wake::Begin) => {}
            (Some(asked), Wake::Done { result: EffectResult { id, outcome }, next }) if asked == id => match outcome {
                Err(failure) => return Ok(Step::Fail(failure.0)),
                Ok(Value::Nil) => {}
                Ok(value) => self.chosen(Chosen::read(&value).ok_or(unexpected("not what a Decode yields"))?, next),
            },
            (asked, _) => {
                self.asked = asked;
                return Err(unexpected("another effect than the one that was asked for"));
            }
        }
        self.next()
    }

    fn encode(&self, journal: &Journal) -> Result<Vec<u8>, ContinuationRefusal> {
        Ok(DecodeBody { journal: journal.bound()?, finish: journal.finished(), ..self.body.clone() }.encode())
    }
}

impl Chosen {
    /// As a value.
    pub fn to_value(self) -> Value {
        let token = self.token.map_or(Value::Nil, |token| Value::Int(i64::from(token)));
        let finish = self.finish.map_or(Value::Nil, |reason| Value::Int(reason as i64));
        Value::Tuple(vec![token, finish])
    }

    /// From the value.
    pub fn read(value: &Value) -> Option<Self> {
        let Value::Tuple(values) = value else { return None };
        let [token, finish] = values.as_slice() else { return None };
        let token = match token {
            Value::Nil => None,
            Value::Int(token) => Some(TokenId::try_from(*token).ok()?),
            _ => return None,
        };
        let finish = match finish {
            Value::Nil => None,
            Value::Int(code) => Some(FinishReason::from_code(*code)?),
            _ => return None,
        };
        (token.is_some() || finish.is_some()).then_some(Self { token, finish })
    }

    /// Records what the effect `seq` yielded: a token, the end, or both. If others have recorded it before, it is the last
    /// that they have.
    ///
    /// # Errors
    /// See [`Journal::token`]; [`ContinuationRefusal::JournalConflict`] if others have gone on after it. The journal has
    /// taken that in, and who asked for the effect knows nothing of it.
    pub fn record(self, journal: &mut Journal, seq: u32) -> Result<Recorded, ContinuationRefusal> {
        let recorded = match self.token {
            Some(token) => journal.token(seq, token)?,
            None => Recorded::Same(u64::from(seq)),
        };
        if matches!(recorded, Recorded::Diverged(_)) {
            return Ok(recorded);
        }
        let end = u64::from(seq) + u64::from(self.token.is_some());
        let has_ended = journal.finished().is_some();
        if u64::from(journal.seq()) != end + u64::from(has_ended) || (has_ended && self.finish.is_none()) {
            return Err(ContinuationRefusal::JournalConflict { position: end });
        }
        match self.finish.map(|reason| journal.finish(reason)).transpose()? {
            Some(ended) if self.token.is_none() || matches!(ended, Recorded::Diverged(_)) => Ok(ended),
            _ => Ok(recorded),
        }
    }
}

impl FinishReason {
    /// The reason with this number, which is its place in the enumeration.
    fn from_code(code: i64) -> Option<Self> {
        [Self::EndToken, Self::StopString, Self::MaxTokens, Self::ContextFull]
            .into_iter()
            .find(|reason| *reason as i64 == code)
    }
}

/// What a Decode effect yielded, as the journal takes it.
pub(super) fn record(
    journal: &mut Journal,
    effect: &Effect,
    outcome: &Outcome,
) -> Result<Recorded, ContinuationRefusal> {
    match outcome {
        Ok(value) => {
            let unexpected = ContinuationRefusal::WakeUnexpected { reason: "not what a Decode yields" };
            Chosen::read(value).ok_or(unexpected)?.record(journal, effect.seq)
        }
        Err(_) => journal.complete(effect, outcome),
    }
}

#[cfg(test)]
mod tests;
