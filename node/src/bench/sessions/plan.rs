//! What decides every token of a session, wherever it runs.

use std::{collections::BTreeSet, path::Path};

use gpu::{
    Engine, EngineOptions, Millionths, Model, SamplingParams, SequenceId, SessionSeed, StepEvent,
    continuation::{Effect, Op, Value},
    numerics_id,
};
use serde::{Deserialize, Serialize};
use wallet::{
    chain::{ChainKey, PageHashKey},
    digest::{Digest, blake3},
    grant::WalletAddress,
    identity::{RegionId, SecretKey},
    policy::JurisdictionPolicy,
    tenant::{TenantKey, WalletSecret},
    units::{KeyEpoch, TokenCount},
};

use super::{Chance, SessionFault};
use crate::{
    node_keys::NodeKeys,
    session::{
        disk::{DiskFault, HolderKeys, HolderSeed, SessionDir, SessionsDir},
        request::PrefixSalt,
        start::{SessionStart, SessionTerms},
    },
};

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
    /// The client's name for it.
    pub request_id: String,
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
        Self { seed, prompt, sampling, tools, request_id: number.to_string() }
    }

    /// The continuation's id.
    pub fn id(&self) -> Digest {
        self.hash("id", &[])
    }

    /// Its folder at `place`, which is the data folder of a node.
    ///
    /// # Errors
    /// Those of the file system.
    pub(super) fn dir(&self, place: &Path) -> Result<SessionDir, DiskFault> {
        let node = SecretKey::from_seed(&self.hash("node", place.as_os_str().as_encoded_bytes()).0);
        Ok(SessionsDir::open(place, &NodeKeys::new(node, None))?.session(WalletAddress(self.id())))
    }

    /// The keys of whoever holds it at `place` in this epoch.
    pub(super) fn keys(&self, place: &Path, epoch: u32) -> HolderKeys {
        let of_epoch = |what| self.hash(what, &epoch.to_le_bytes()).0;
        let of_place = |what| self.hash(what, place.as_os_str().as_encoded_bytes()).0;
        let regions = BTreeSet::from([region()]);
        let policy = JurisdictionPolicy { allowed: regions.clone() };
        HolderKeys {
            epoch: KeyEpoch::new(epoch),
            chain: ChainKey::from_bytes(of_epoch("chain")),
            holder: HolderSeed(of_epoch("holder")),
            page_hash: PageHashKey::from_bytes(self.hash("pages", &[]).0),
            tenant_key: TenantKey::from_bytes(self.hash("tenant", &[]).0),
            policy: policy.tree(&regions, &WalletSecret::from_bytes(self.hash("wallet", &[]).0)).expect("one region"),
            resume_secret_hash: Digest::ZERO,
            prefix_salt: PrefixSalt(of_place("salt")),
            rest_salt: of_place("rest"),
            creation: None,
        }
    }

    /// What it begins with.
    pub(crate) fn start(&self, model: &Model) -> SessionStart {
        SessionStart {
            prompt_tokens: TokenCount::new(self.prompt.len() as u32),
            sampling: self.sampling.clone(),
            model: model.hash(),
            numerics: numerics_id(),
            terms: SessionTerms {
                cached_tokens: TokenCount::ZERO,
                pace_ms: 0,
                origin: region(),
                request_id: self.request_id.clone(),
            },
        }
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
        engine.admit(id, self.prompt.clone(), self.sampling.clone(), [0; 32])?;
        while !engine.step().events.iter().any(|(_, event)| matches!(event, StepEvent::Finished { .. })) {}
        let tokens = engine.tokens(id)?.to_vec();
        engine.release(id)?;
        Ok(tokens)
    }

    fn hash(&self, what: &str, more: &[u8]) -> Digest {
        blake3("batchmind/v1/node/bench-session", None, &[&self.seed.to_le_bytes(), what.as_bytes(), more])
    }
}

/// Where all places are.
fn region() -> RegionId {
    RegionId::try_from("bench".to_owned()).expect("a region's name")
}
