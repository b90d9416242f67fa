//! Sessions of earlier schemas become sessions of the latest.

use super::{
    body::{Bound, DecodeBody, Tail, Terms, invalid},
    journal::{Journal, Recorded},
    refusal::ContinuationRefusal,
    v1::{Continuation, TokenStreamRef},
};
use crate::TokenId;

impl Continuation {
    /// Makes a session of schema 2 of it: `tokens`, which travelled beside it, become its journal. `kv` are its first full
    /// pages, as far as they are there, and `tail` is the page after them. May be repeated after it was cut off.
    ///
    /// # Errors
    /// [`ContinuationRefusal::BodyInvalid`] if tokens or pages are not those that it refers to, or the journal is another
    /// session's; and those of the journal.
    pub fn migrate(
        self,
        tokens: &[TokenId],
        journal: &mut Journal,
        kv: Bound,
        tail: Option<Tail>,
        terms: Terms,
    ) -> Result<DecodeBody, ContinuationRefusal> {
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
        agreed(journal.prompt(prompt)?)?;
        let first = prompt.len().div_ceil(super::PROMPT_CHUNK_TOKENS) as u32;
        for (seq, token) in (first..).zip(generated) {
            agreed(journal.token(seq, *token)?)?;
        }
        if let Some(reason) = self.finish {
            agreed(journal.finish(reason)?)?;
        }
        if journal.tokens() != tokens || journal.finished() != self.finish {
            return Err(invalid("the journal goes on after it"));
        }
        let (journal, finish) = (journal.bound()?, self.finish);
        Ok(DecodeBody {
            model: self.model,
            sampling: self.sampling,
            prompt: self.prompt,
            journal,
            kv,
            tail,
            finish,
            terms,
        })
    }
}

fn agreed(recorded: Recorded) -> Result<(), ContinuationRefusal> {
    match recorded {
        Recorded::New(_) | Recorded::Same(_) => Ok(()),
        Recorded::Diverged(_) => Err(invalid("the journal is another session's")),
    }
}
