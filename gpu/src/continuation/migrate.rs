//! Sessions of earlier schemas become sessions of the latest: the only place where they do.

use wallet::chain::PageHashKey;

use super::{
    body::{Body, Bound, DecodeBody, Tail, Terms, invalid},
    journal,
    refusal::ContinuationRefusal,
    v1::{Continuation, TokenStreamRef},
};
use crate::TokenId;

/// What stands or travels beside a continuation. A body of an earlier schema becomes one of the latest with it.
#[derive(Clone, Copy)]
pub struct Beside<'a> {
    /// All tokens, the prompt's first: the journal has them in a folder, and the sealed tail on the way.
    pub tokens: &'a [TokenId],
    /// The wallet's page-hash key.
    pub key: &'a PageHashKey,
    /// The first full pages, as far as they are there.
    pub kv: Bound,
    /// The page after them.
    pub tail: Option<Tail>,
}

impl Body {
    /// The body in the latest schema.
    ///
    /// # Errors
    /// [`ContinuationRefusal::BodyInvalid`] if what is beside it is not what it refers to, and those of the journal's
    /// records.
    pub fn latest(self, beside: &Beside<'_>) -> Result<DecodeBody, ContinuationRefusal> {
        match self {
            Self::V1(body) => body.migrate(beside),
            Self::Decode(body) => Ok(body),
        }
    }
}

impl Continuation {
    /// Schema 2 of it. The tokens are in a journal there, as whoever takes the session over writes it. It has nothing that
    /// a host keeps with it.
    fn migrate(self, beside: &Beside<'_>) -> Result<DecodeBody, ContinuationRefusal> {
        let Beside { tokens, key, kv, tail } = *beside;
        self.validate().map_err(|_| invalid("schema 1 contradicts itself"))?;
        if self.tokens != TokenStreamRef::to(tokens) {
            return Err(invalid("the tokens are not those that it refers to"));
        }
        let full = u64::from(self.pages.full);
        let whole_tail = kv.to == full && tail.is_some_and(|tail| tail.rows == self.pages.tail_rows);
        if kv.to > full || tail.is_some() && !whole_tail {
            return Err(invalid("the pages are not those that it refers to"));
        }
        let (prompt, generated) = tokens.split_at(self.prompt.get() as usize);
        let Self { model, sampling, prompt: count, finish, .. } = self;
        let journal = journal::bound_of(prompt, generated, finish, key)?;
        Ok(DecodeBody { model, sampling, prompt: count, journal, kv, tail, finish, terms: Terms::default() })
    }
}
