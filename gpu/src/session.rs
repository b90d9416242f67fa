//! A session leaves one engine and goes on in another.

use crate::{
    BLOCK_TOKENS, TokenId,
    backend::numerics_id,
    continuation::{Continuation, PageStreamRef, TokenStreamRef},
    engine::{Engine, SequenceId},
    refusal::Refusal,
    sequence::Sequence,
};

/// The page that is not full: the only one that changes while a session runs.
#[derive(Clone, PartialEq, Eq)]
pub struct TailPage {
    /// Tokens in it: 1 to 15.
    pub rows: u8,
    /// The payload, of full size; the other rows are zero.
    pub payload: Vec<u8>,
}

impl Engine {
    /// How many pages are full. They never change again.
    ///
    /// # Errors
    /// [`Refusal::SequenceUnknown`].
    pub fn full_pages(&self, id: SequenceId) -> Result<usize, Refusal> {
        self.sequence(id).map(|sequence| sequence.computed / BLOCK_TOKENS)
    }

    /// The payload of a full page (docs/formats/kv-page.md). Allowed in every phase, so pages can be copied ahead.
    ///
    /// # Errors
    /// [`Refusal::SequenceUnknown`], [`Refusal::PageNotFull`].
    pub fn export_page(&self, id: SequenceId, index: usize) -> Result<Vec<u8>, Refusal> {
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
    pub fn suspend(&mut self, id: SequenceId) -> Result<Continuation, Refusal> {
        self.set_suspended(id, true)?;
        let sequence = self.sequence(id)?;
        let begin = Continuation::begin(&self.model, &sequence.tokens[..sequence.prompt], sequence.sampling.clone());
        Ok(Continuation {
            tokens: TokenStreamRef::to(&sequence.tokens),
            pages: PageStreamRef::of(sequence.computed),
            finish: sequence.finish,
            ..begin
        })
    }

    /// The page that is not full, or none if the last one is.
    ///
    /// # Errors
    /// [`Refusal::SequenceUnknown`]; [`Refusal::PhaseWrong`] if the sequence is not suspended.
    pub fn export_tail(&self, id: SequenceId) -> Result<Option<TailPage>, Refusal> {
        let sequence = self.sequence(id)?;
        if !sequence.suspended {
            return Err(Refusal::PhaseWrong { id, phase: sequence.phase() });
        }
        let PageStreamRef { full, tail_rows: rows } = PageStreamRef::of(sequence.computed);
        Ok((rows > 0).then(|| {
            let block = sequence.table[full as usize];
            TailPage { rows, payload: self.kv.pool.export(block, usize::from(rows)) }
        }))
    }

    /// Puts a suspended sequence back into the batch.
    ///
    /// # Errors
    /// [`Refusal::SequenceUnknown`]; [`Refusal::PhaseWrong`] if it is not suspended.
    pub fn resume_local(&mut self, id: SequenceId) -> Result<(), Refusal> {
        self.set_suspended(id, false)
    }

    /// Goes on with a session from elsewhere: the next step chooses the token that it would have chosen there.
    ///
    /// Imported blocks can be found in the prefix cache under `salt` like computed ones. Who does not want to rely on
    /// the sender's honesty for other sessions passes a salt that only this session uses.
    ///
    /// # Errors
    /// [`Refusal::ModelMismatch`], [`Refusal::NumericsMismatch`], [`Refusal::TokensMismatch`],
    /// [`Refusal::PagesMismatch`], [`Refusal::ContinuationInvalid`], and those of [`Engine::admit`].
    pub fn import<P: AsRef<[u8]>>(
        &mut self,
        id: SequenceId,
        continuation: &Continuation,
        tokens: &[TokenId],
        pages: &[P],
        tail: Option<&TailPage>,
        salt: [u8; 32],
    ) -> Result<(), Refusal> {
        let mut sequence = self.sequence_of(continuation, tokens, salt)?;
        if sequence.finish != continuation.finish {
            return Err(Refusal::ContinuationInvalid { reason: "the tokens do not end where it says" });
        }
        let PageStreamRef { full, tail_rows } = continuation.pages;
        if pages.len() != full as usize {
            return Err(Refusal::PagesMismatch { reason: "another number of full pages" });
        }
        if tail.map_or(0, |tail| tail.rows) != tail_rows {
            return Err(Refusal::PagesMismatch { reason: "another number of rows in the tail" });
        }
        let payloads: Vec<&[u8]> =
            pages.iter().map(AsRef::as_ref).chain(tail.map(|tail| tail.payload.as_slice())).collect();
        self.load(id, &mut sequence, &payloads)?;
        sequence.adopt(continuation.pages.positions(), &mut self.kv);
        self.sequences.insert(id, sequence);
        Ok(())
    }

    /// Goes on with a session of which only its first `pages` survived. The rest is computed again from the known
    /// tokens, none of which is sampled again. The tokens decide whether it is finished.
    ///
    /// # Errors
    /// Those of [`Engine::import`].
    pub fn rebuild<P: AsRef<[u8]>>(
        &mut self,
        id: SequenceId,
        continuation: &Continuation,
        tokens: &[TokenId],
        pages: &[P],
        salt: [u8; 32],
    ) -> Result<(), Refusal> {
        let mut sequence = self.sequence_of(continuation, tokens, salt)?;
        let computed = pages.len() * BLOCK_TOKENS;
        if computed >= sequence.tokens.len() {
            return Err(Refusal::PagesMismatch { reason: "more pages than the tokens can have filled" });
        }
        let payloads: Vec<&[u8]> = pages.iter().map(AsRef::as_ref).collect();
        self.load(id, &mut sequence, &payloads)?;
        sequence.adopt(computed, &mut self.kv);
        self.sequences.insert(id, sequence);
        Ok(())
    }

    fn set_suspended(&mut self, id: SequenceId, suspended: bool) -> Result<(), Refusal> {
        let sequence = self.sequences.get_mut(&id).ok_or(Refusal::SequenceUnknown { id })?;
        if sequence.suspended == suspended {
            return Err(Refusal::PhaseWrong { id, phase: sequence.phase() });
        }
        sequence.suspended = suspended;
        Ok(())
    }

    /// Checks all of a continuation but its pages.
    fn sequence_of(
        &self,
        continuation: &Continuation,
        tokens: &[TokenId],
        salt: [u8; 32],
    ) -> Result<Sequence, Refusal> {
        continuation.validate()?;
        if continuation.model != self.model.hash() {
            return Err(Refusal::ModelMismatch { needed: continuation.model, loaded: self.model.hash() });
        }
        if continuation.numerics != numerics_id() {
            return Err(Refusal::NumericsMismatch { needed: continuation.numerics, offered: numerics_id() });
        }
        if continuation.tokens != TokenStreamRef::to(tokens) {
            return Err(Refusal::TokensMismatch);
        }
        let prompt = continuation.prompt.get() as usize;
        Sequence::new(&self.model, prompt, tokens, continuation.sampling.clone(), salt)
    }

    /// Allocates the sequence's blocks and fills the first of them.
    fn load(&mut self, id: SequenceId, sequence: &mut Sequence, payloads: &[&[u8]]) -> Result<(), Refusal> {
        let expected = self.model.config().page_bytes();
        if payloads.iter().any(|payload| payload.len() != expected) {
            return Err(Refusal::PagesMismatch { reason: "a payload of another size" });
        }
        self.allocate(id, sequence, &[])?;
        for (block, payload) in sequence.table.iter().zip(payloads) {
            self.kv.pool.import(*block, payload);
        }
        Ok(())
    }
}

impl std::fmt::Debug for TailPage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TailPage({} rows, redacted)", self.rows)
    }
}

#[cfg(test)]
mod tests;
