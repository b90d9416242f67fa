//! Continuous batching: every step advances all running sequences.

use std::{collections::BTreeMap, fmt, sync::Arc};

use serde::{Deserialize, Serialize};
use wallet::{
    digest::Digest,
    units::{TokenCount, TokenPosition},
};

use crate::{
    TokenId,
    forward::{Span, forward},
    kv::{BlockPool, CacheNotice, Exhausted, PagedKv},
    model::Model,
    refusal::Refusal,
    sampling::SamplingParams,
    sequence::Sequence,
    session::{Session, Started},
};

/// Of a session that has only its prompt.
const NO_PAGES: &[&[u8]] = &[];

/// Runs many sequences on one model.
///
/// It has no threads and no clock: the caller steps it, and measures.
pub struct Engine {
    pub(crate) model: Arc<Model>,
    pub(crate) kv: PagedKv,
    pub(crate) sequences: BTreeMap<SequenceId, Sequence>,
    prefill_chunk_tokens: usize,
}

/// The engine's limits. They change speed and capacity, never a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineOptions {
    /// Blocks of 16 tokens in the pool.
    pub block_count: usize,
    /// The most prompt tokens that one step computes, for all sequences together. At least 1.
    pub prefill_chunk_tokens: usize,
    /// The most blocks that the prefix cache keeps after their sequences are gone. Blocks in use do not count.
    pub idle_blocks_max: usize,
}

/// A sequence of this engine. The caller chooses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SequenceId(pub u64);

/// What one step did, in the order of the sequences' ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StepReport {
    /// The events of each sequence, in their order.
    pub events: Vec<(SequenceId, StepEvent)>,
}

/// Something that happened to a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepEvent {
    /// Keys and values of all known tokens are computed. Comes before the first token.
    PrefillDone,
    /// A token was chosen.
    Token {
        /// Where it stands in the session, prompt included.
        position: TokenPosition,
        /// The token.
        token: TokenId,
    },
    /// The token before was the last one. The sequence keeps its blocks until it is released.
    Finished {
        /// Why.
        reason: FinishReason,
    },
}

/// Why a generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FinishReason {
    /// The model chose one of its end tokens.
    EndToken,
    /// The text contains a stop string.
    StopString,
    /// As many tokens as were allowed.
    MaxTokens,
    /// As many tokens as the model's context holds.
    ContextFull,
}

/// What a sequence is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Known tokens are being computed.
    Prefill,
    /// Each step chooses a token.
    Decode,
    /// It is not part of the batch, whether finished or not.
    Suspended,
    /// It has all its tokens.
    Finished,
}

/// How full the engine is. `free + used + idle = total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Blocks of the pool.
    pub blocks_total: usize,
    /// Blocks of nobody.
    pub blocks_free: usize,
    /// Blocks of sequences. A sequence has all that it can ever need from the start.
    pub blocks_used: usize,
    /// Blocks that the prefix cache keeps for nobody in particular. They make room when needed.
    pub blocks_idle: usize,
    /// Sequences that the next step advances.
    pub sequences_running: usize,
    /// Sequences in all phases.
    pub sequences_total: usize,
}

impl Engine {
    /// An engine without sequences.
    ///
    /// # Panics
    /// If `prefill_chunk_tokens` is 0.
    pub fn new(model: Arc<Model>, options: EngineOptions) -> Self {
        assert!(options.prefill_chunk_tokens > 0, "a prompt would never be computed");
        let pool = BlockPool::new(model.config(), options.block_count);
        Self {
            kv: PagedKv::new(pool, options.idle_blocks_max),
            sequences: BTreeMap::new(),
            prefill_chunk_tokens: options.prefill_chunk_tokens,
            model,
        }
    }

    /// The model that it runs.
    pub const fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// Takes in a prompt. Blocks are found in and entered into the prefix cache under `salt`, which is secret and
    /// belongs to one tenant.
    ///
    /// # Errors
    /// Those of [`Engine::start`].
    pub fn admit(
        &mut self,
        id: SequenceId,
        prompt: Vec<TokenId>,
        sampling: SamplingParams,
        salt: [u8; 32],
    ) -> Result<Started, Refusal> {
        let count = TokenCount::new(u32::try_from(prompt.len()).unwrap_or(u32::MAX));
        self.start(id, &Session { tokens: prompt, prompt: count, sampling, salt }, NO_PAGES, None)
    }

    /// Advances every running sequence: by one token, or by a chunk of what is known already.
    pub fn step(&mut self) -> StepReport {
        let plan = self.plan();
        let spans: Vec<Span> = plan
            .iter()
            .map(|(id, count)| {
                let sequence = &self.sequences[id];
                let end = sequence.computed + count;
                let logits_from = if sequence.samples_at(end) { count - 1 } else { *count };
                let tokens = &sequence.tokens[sequence.computed..end];
                Span { tokens, first: sequence.computed, table: &sequence.table, logits_from }
            })
            .collect();
        let mut logits = forward(&self.model, &mut self.kv.pool, &spans).into_iter();

        let mut report = StepReport::default();
        for (id, count) in plan {
            let sequence = self.sequences.get_mut(&id).expect("it was planned from the map");
            sequence.computed += count;
            sequence.publish(&mut self.kv);
            let samples = sequence.samples_at(sequence.computed);
            if sequence.uncomputed() == 0 && !sequence.prefill_done {
                sequence.prefill_done = true;
                report.events.push((id, StepEvent::PrefillDone));
            }
            if samples {
                let position = TokenPosition::new(sequence.tokens.len() as u32);
                let logits = logits.next().expect("there are logits for each sequence that samples");
                let token = sequence.sampling.choose(&logits, position);
                report.events.push((id, StepEvent::Token { position, token }));
                sequence.push(&self.model, token);
                report.events.extend(sequence.finish.map(|reason| (id, StepEvent::Finished { reason })));
            }
        }
        report
    }

    /// What the sequence is doing.
    ///
    /// # Errors
    /// [`Refusal::SequenceUnknown`].
    pub fn phase(&self, id: SequenceId) -> Result<Phase, Refusal> {
        self.sequence(id).map(Sequence::phase)
    }

    /// All tokens of the sequence so far, prompt included.
    ///
    /// # Errors
    /// [`Refusal::SequenceUnknown`].
    pub fn tokens(&self, id: SequenceId) -> Result<&[TokenId], Refusal> {
        self.sequence(id).map(|sequence| sequence.tokens.as_slice())
    }

    /// Forgets the sequence. Its full blocks stay in the prefix cache.
    ///
    /// # Errors
    /// [`Refusal::SequenceUnknown`].
    pub fn release(&mut self, id: SequenceId) -> Result<(), Refusal> {
        let sequence = self.sequences.remove(&id).ok_or(Refusal::SequenceUnknown { id })?;
        self.kv.release(&sequence.table);
        Ok(())
    }

    /// How full the engine is.
    pub fn usage(&self) -> Usage {
        Usage {
            blocks_total: self.kv.pool.total(),
            blocks_free: self.kv.pool.free(),
            blocks_used: self.kv.pool.used(),
            blocks_idle: self.kv.idle(),
            sequences_running: self.sequences.values().filter(|sequence| sequence.is_running()).count(),
            sequences_total: self.sequences.len(),
        }
    }

    /// What changed in the prefix cache since the last call.
    pub fn take_notices(&mut self) -> Vec<CacheNotice> {
        self.kv.take_notices()
    }

    /// Evicts up to `count` idle blocks, the least recently used first. Returns how many went.
    pub fn evict_prefix_cache(&mut self, count: usize) -> usize {
        self.kv.evict(count)
    }

    /// Forgets every known prefix. Running sequences are not affected.
    pub fn clear_prefix_cache(&mut self) {
        self.kv.clear();
    }

    pub(crate) fn sequence(&self, id: SequenceId) -> Result<&Sequence, Refusal> {
        self.sequences.get(&id).ok_or(Refusal::SequenceUnknown { id })
    }

    /// Gives a sequence its blocks, the first ones from the cache as far as `prefix` is known. Returns how many.
    pub(crate) fn allocate(
        &mut self,
        id: SequenceId,
        sequence: &mut Sequence,
        prefix: &[Digest],
    ) -> Result<usize, Refusal> {
        if self.sequences.contains_key(&id) {
            return Err(Refusal::SequenceExists { id });
        }
        let (needed, total) = (sequence.blocks_needed(&self.model), self.kv.pool.total());
        if needed > total {
            return Err(Refusal::PoolTooSmall { needed, total });
        }
        let (table, cached) = self
            .kv
            .allocate(prefix, needed)
            .map_err(|Exhausted { needed, available }| Refusal::PoolExhausted { needed, available })?;
        sequence.table = table;
        Ok(cached)
    }

    /// How many tokens each sequence computes in the next step.
    fn plan(&self) -> Vec<(SequenceId, usize)> {
        let mut budget = self.prefill_chunk_tokens;
        let mut plan = Vec::new();
        for (id, sequence) in self.sequences.iter().filter(|(_, sequence)| sequence.is_running()) {
            let count = match sequence.uncomputed() {
                1 => 1,
                many => {
                    let count = many.min(budget);
                    budget -= count;
                    count
                }
            };
            if count > 0 {
                plan.push((*id, count));
            }
        }
        plan
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Prefill => "in prefill",
            Self::Decode => "decoding",
            Self::Suspended => "suspended",
            Self::Finished => "finished",
        })
    }
}

#[cfg(test)]
pub(crate) mod tests;
