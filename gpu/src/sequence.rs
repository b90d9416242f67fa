//! One sequence: its tokens, its blocks, and what follows from them.

use wallet::{
    digest::Digest,
    prefix::{block_hash, block_hashes, prefix_root},
    units::TokenPosition,
};

use crate::{
    BLOCK_TOKENS, TokenId,
    backend::numerics_id,
    engine::{FinishReason, Phase},
    kv::{BlockId, PagedKv},
    model::Model,
    refusal::Refusal,
    sampling::SamplingParams,
    tokenizer::TextStream,
};

/// Tokens, blocks and what decides how it goes on.
pub(crate) struct Sequence {
    pub tokens: Vec<TokenId>,
    pub prompt: usize,
    pub sampling: SamplingParams,
    /// Tokens with keys and values: fewer than `tokens`, because the last is the input of the next step.
    pub computed: usize,
    pub table: Vec<BlockId>,
    pub finish: Option<FinishReason>,
    pub suspended: bool,
    pub prefill_done: bool,
    salt: [u8; 32],
    root: Digest,
    /// Keys of the full blocks so far.
    hashes: Vec<Digest>,
    text: TextStream,
}

impl Sequence {
    /// A sequence with these tokens and no blocks. Whether it is finished follows from the tokens.
    pub fn new(
        model: &Model,
        prompt: usize,
        tokens: &[TokenId],
        sampling: SamplingParams,
        salt: [u8; 32],
    ) -> Result<Self, Refusal> {
        let limit = model.config().positions_max;
        if prompt == 0 {
            return Err(Refusal::PromptEmpty);
        }
        if prompt >= limit || tokens.len() > limit {
            return Err(Refusal::PromptTooLong { count: tokens.len(), limit });
        }
        if prompt > tokens.len() {
            return Err(Refusal::ContinuationInvalid { reason: "the prompt is longer than all tokens" });
        }
        if tokens.len() - prompt > sampling.max_tokens.get() as usize {
            return Err(Refusal::ContinuationInvalid { reason: "more tokens were generated than allowed" });
        }
        if let Some(position) = tokens.iter().position(|token| *token as usize >= model.config().vocabulary) {
            let token = tokens[position];
            return Err(Refusal::TokenUnknown { position: TokenPosition::new(position as u32), token });
        }
        sampling.validate()?;
        if !sampling.stop.as_slice().is_empty() && model.tokenizer().is_none() {
            return Err(Refusal::SamplingInvalid { field: "stop" });
        }
        let mut sequence = Self {
            text: TextStream::new(&sampling.stop),
            root: prefix_root(&salt, &model.hash(), &numerics_id()),
            tokens: Vec::with_capacity(tokens.len()),
            prompt,
            sampling,
            computed: 0,
            table: Vec::new(),
            finish: None,
            suspended: false,
            prefill_done: false,
            salt,
            hashes: Vec::new(),
        };
        sequence.tokens.extend_from_slice(&tokens[..prompt]);
        for token in &tokens[prompt..] {
            if sequence.finish.is_some() {
                return Err(Refusal::ContinuationInvalid { reason: "there are tokens after the end" });
            }
            sequence.push(model, *token);
        }
        Ok(sequence)
    }

    pub fn phase(&self) -> Phase {
        if self.suspended {
            Phase::Suspended
        } else if self.uncomputed() > 1 || !self.prefill_done {
            Phase::Prefill
        } else if self.finish.is_some() {
            Phase::Finished
        } else {
            Phase::Decode
        }
    }

    /// The keys of the blocks whose keys and values can be reused. The last token is computed in any case: its logits
    /// choose the next.
    pub fn reusable(&self) -> Vec<Digest> {
        block_hashes(&self.salt, &self.root, &self.tokens[..self.tokens.len() - 1])
    }

    /// Takes over the first blocks of `prefix` from the cache, where they are known already.
    pub fn adopt_cached(&mut self, prefix: &[Digest]) {
        self.hashes.extend_from_slice(prefix);
        self.computed = prefix.len() * BLOCK_TOKENS;
    }

    /// Takes over `computed` tokens whose keys and values are in the table's blocks, and enters the full ones into the
    /// prefix cache.
    pub fn adopt(&mut self, computed: usize, kv: &mut PagedKv) {
        self.computed = computed;
        // A session that has generated nothing says so once, with its first step.
        self.prefill_done = self.tokens.len() > self.prompt && self.computed + 1 == self.tokens.len();
        self.publish(kv);
    }

    /// Blocks for all tokens that can still come. The last token of a session never gets keys and values.
    pub fn blocks_needed(&self, model: &Model) -> usize {
        let most = if self.finish.is_some() {
            self.tokens.len()
        } else {
            (self.prompt + self.sampling.max_tokens.get() as usize).min(model.config().positions_max)
        };
        (most - 1).div_ceil(BLOCK_TOKENS)
    }

    /// Known tokens that the steps still have to compute. A finished session does not need its last.
    pub fn uncomputed(&self) -> usize {
        self.tokens.len() - self.computed - usize::from(self.finish.is_some())
    }

    pub fn is_running(&self) -> bool {
        !self.suspended && self.uncomputed() > 0
    }

    /// Whether a token is chosen once `computed` tokens have keys and values.
    pub fn samples_at(&self, computed: usize) -> bool {
        self.finish.is_none() && computed == self.tokens.len()
    }

    pub fn push(&mut self, model: &Model, token: TokenId) {
        self.tokens.push(token);
        // A token that cannot be decoded has no text, so it cannot complete a stop string.
        let stopped = !self.sampling.stop.as_slice().is_empty()
            && model.tokenizer().is_some_and(|t| self.text.push(t, token).is_ok_and(|chunk| chunk.stopped));
        self.finish = if !self.sampling.ignore_eos && model.config().end_tokens.contains(&token) {
            Some(FinishReason::EndToken)
        } else if stopped {
            Some(FinishReason::StopString)
        } else if self.tokens.len() - self.prompt >= self.sampling.max_tokens.get() as usize {
            Some(FinishReason::MaxTokens)
        } else if self.tokens.len() >= model.config().positions_max {
            Some(FinishReason::ContextFull)
        } else {
            None
        };
    }

    /// Enters the blocks that have become full into the prefix cache.
    pub fn publish(&mut self, kv: &mut PagedKv) {
        let (blocks, _) = self.tokens[..self.computed].as_chunks::<BLOCK_TOKENS>();
        for (index, tokens) in blocks.iter().enumerate().skip(self.hashes.len()) {
            let parent = self.hashes.last().copied().unwrap_or(self.root);
            let hash = block_hash(&self.salt, &parent, tokens);
            let before = index.checked_sub(1).map(|before| self.table[before]);
            kv.publish(self.table[index], hash, before, parent);
            self.hashes.push(hash);
        }
    }
}
