//! What decides every token of a session, wherever it runs.

use std::path::Path;

use gpu::{
    Engine, EngineOptions, Millionths, Model, SamplingParams, SequenceId, SessionSeed, StepEvent,
    continuation::{Effect, Op, Value},
};
use serde::{Deserialize, Serialize};
use wallet::{
    chain::{PageHashKey, RestKey},
    digest::{Digest, blake3},
    identity::SecretKey,
    units::TokenCount,
};

use super::{Chance, SessionFault};

/// Limits of the engines that run these sessions.
pub(super) const ENGINE: EngineOptions =
    EngineOptions { block_count: 136, prefill_chunk_tokens: 256, idle_blocks_max: 0 };

/// A session: prompt, draws, and the tools that it calls on its way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Names it. Its keys follow from it; a bench has no secrets.
    pub seed: u64,
    /// The prompt.
    pub prompt: Vec<u32>,
    /// How tokens are chosen.
    pub sampling: SamplingParams,
    /// The tools, by when they are called.
    pub tools: Vec<ToolCall>,
    /// So many tokens are made durable and shown together.
    pub group: usize,
}

/// A tool that is called once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolCall {
    /// After so many generated tokens.
    pub after: u32,
    /// The tool knows its calls by the effect's id.
    pub idempotent: bool,
}

impl Plan {
    /// A random session of `tokens` tokens.
    pub fn random(seed: u64, number: u64, tokens: u32, model: &Model) -> Self {
        let mut chance = Chance::new(seed, number);
        let vocabulary = model.config().vocabulary as u64;
        // Special tokens come first.
        let prompt = (0..1 + chance.below(90)).map(|_| (16 + chance.below(vocabulary - 16)) as u32).collect();
        let mut tools: Vec<ToolCall> = (0..chance.below(6))
            .map(|_| ToolCall { after: chance.below(u64::from(tokens)) as u32, idempotent: chance.percent(40) })
            .collect();
        tools.sort_by_key(|tool| tool.after);
        tools.dedup_by_key(|tool| tool.after);
        let seed = chance.number();
        let sampling = SamplingParams {
            temperature: Millionths([0, 800_000, 1_000_000][chance.below(3) as usize]),
            seed: SessionSeed::from_number(seed),
            ignore_eos: true,
            ..SamplingParams::greedy(TokenCount::new(tokens))
        };
        Self { seed, prompt, sampling, tools, group: 1 + chance.below(8) as usize }
    }

    /// The continuation's id.
    pub fn id(&self) -> Digest {
        self.hash("id", &[])
    }

    /// Keys the hashes of its pages.
    pub fn page_hash_key(&self) -> PageHashKey {
        PageHashKey::from_bytes(self.hash("pages", &[]).0)
    }

    /// Under which its blocks are cached.
    pub fn salt(&self) -> [u8; 32] {
        self.hash("salt", &[]).0
    }

    /// Signs for whoever holds it in this epoch.
    pub fn holder_key(&self, epoch: u32) -> SecretKey {
        SecretKey::from_seed(&self.hash("holder", &epoch.to_le_bytes()).0)
    }

    /// Seals what is kept at one place.
    pub fn rest_key(&self, place: &Path) -> RestKey {
        RestKey::from_bytes(self.hash("rest", place.as_os_str().as_encoded_bytes()).0)
    }

    /// The effect that calls the tool with this index. Each call before took two places in the journal.
    ///
    /// # Errors
    /// Those of effects.
    pub fn tool(&self, index: usize) -> Result<Effect, SessionFault> {
        let chunks = self.prompt.len().div_ceil(gpu::continuation::PROMPT_CHUNK_TOKENS);
        let ToolCall { after, idempotent } = self.tools[index];
        let seq = (chunks + 2 * index) as u32 + after;
        Ok(Effect::new(&self.id(), seq, Op::Tool { idempotent }, vec![Value::Int(index as i64)])?)
    }

    /// The tokens that it has if nothing ever happens to it, the prompt's included.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn undisturbed(&self, engine: &mut Engine) -> Result<Vec<u32>, SessionFault> {
        let id = SequenceId(u64::MAX);
        engine.admit(id, self.prompt.clone(), self.sampling.clone(), self.salt())?;
        while !engine.step().events.iter().any(|(_, event)| matches!(event, StepEvent::Finished { .. })) {}
        let tokens = engine.tokens(id)?.to_vec();
        engine.release(id)?;
        Ok(tokens)
    }

    fn hash(&self, what: &str, more: &[u8]) -> Digest {
        blake3("batchmind/v1/node/bench-session", None, &[&self.seed.to_le_bytes(), what.as_bytes(), more])
    }
}
