//! A checkpoint in memory: configuration, packed weights, tokenizer, and the hash of all three.

mod checkpoint;
mod config;
mod fault;
pub mod synthetic;

use std::path::Path;

use wallet::{digest::Digest, page::StreamDescriptor};

pub use config::{LlamaConfig, RopeScaling};
pub use fault::ModelFault;

use crate::{
    TokenId,
    backend::{Cpu, PackedMatrix, Rope, numerics_id},
    forward::{Span, forward},
    kv::BlockPool,
    tokenizer::Tokenizer,
};
pub(crate) use checkpoint::read_small;
use checkpoint::{Checkpoint, ContentHash};

const HASH_DOMAIN: &str = "batchmind/v1/gpu/model";

/// A Llama model, ready to run.
pub struct Model {
    config: LlamaConfig,
    hash: Digest,
    tokenizer: Option<Tokenizer>,
    pub(crate) weights: Weights,
    pub(crate) rope: Rope,
    pub(crate) cpu: Cpu,
}

pub(crate) struct Weights {
    pub embedding: PackedMatrix,
    pub layers: Vec<LayerWeights>,
    pub final_norm: Vec<f32>,
    /// None if it is the embedding.
    pub output: Option<PackedMatrix>,
}

pub(crate) struct LayerWeights {
    pub attention_norm: Vec<f32>,
    pub query: PackedMatrix,
    pub key: PackedMatrix,
    pub value: PackedMatrix,
    pub attention_output: PackedMatrix,
    pub mlp_norm: Vec<f32>,
    pub gate: PackedMatrix,
    pub up: PackedMatrix,
    pub down: PackedMatrix,
}

impl Model {
    /// Loads a Hugging Face checkpoint from its folder: `config.json`, `model.safetensors` or its shards, and, where
    /// they exist, `generation_config.json`, `tokenizer.json` and `tokenizer_config.json`.
    ///
    /// # Errors
    /// [`ModelFault`] names the file and the field or tensor.
    pub fn load(folder: &Path) -> Result<Self, ModelFault> {
        let mut hash = ContentHash::new(HASH_DOMAIN);
        let config = read_small(&folder.join("config.json"))?;
        hash.file("config.json", &config);
        let generation = read_optional(folder, "generation_config.json", &mut hash)?;
        let config = LlamaConfig::parse(&config, generation.as_deref())?;
        let tokenizer = read_optional(folder, "tokenizer.json", &mut hash)?
            .map(|bytes| Tokenizer::parse(folder, &bytes, config.vocabulary))
            .transpose()?;
        let weights = Weights::take(&config, &mut Checkpoint::read(folder, &mut hash)?)?;
        let rope = Rope::new(&config);
        Ok(Self { config, hash: hash.finish(), tokenizer, weights, rope, cpu: Cpu::detect() })
    }

    /// The model's shape.
    pub const fn config(&self) -> &LlamaConfig {
        &self.config
    }

    /// BLAKE3 over everything that decides which token follows and when a generation ends: configuration, end tokens,
    /// tokenizer and weights, byte for byte. Two engines whose models have one hash continue each other's sessions.
    pub const fn hash(&self) -> Digest {
        self.hash
    }

    /// The tokenizer, if the checkpoint has one.
    pub const fn tokenizer(&self) -> Option<&Tokenizer> {
        self.tokenizer.as_ref()
    }

    /// What all pages of sessions on this model have in common.
    pub fn stream_descriptor(&self) -> StreamDescriptor {
        self.config.stream_descriptor(self.hash, numerics_id())
    }

    /// The logits after each of `tokens`, computed in one pass that leaves nothing behind.
    ///
    /// # Panics
    /// If `tokens` is longer than the model's context or contains a token that is not in the vocabulary.
    pub fn logits(&self, tokens: &[TokenId]) -> Vec<Vec<f32>> {
        assert!(tokens.len() <= self.config.positions_max, "longer than the context");
        let blocks = tokens.len().div_ceil(crate::BLOCK_TOKENS);
        let mut pool = BlockPool::new(&self.config, blocks);
        let table: Vec<_> = (0..blocks).map(|_| pool.take().expect("the pool has one block for each")).collect();
        forward(self, &mut pool, &[Span { tokens, first: 0, table: &table, logits_from: 0 }])
    }

    /// Runs with plain Rust instead of the CPU's vector instructions. The results are the same, slower: it exists to
    /// test that.
    #[must_use]
    pub fn without_vector_instructions(mut self) -> Self {
        self.cpu = Cpu::portable();
        self
    }
}

impl Weights {
    fn take(config: &LlamaConfig, from: &mut Checkpoint) -> Result<Self, ModelFault> {
        let LlamaConfig { vocabulary, hidden, intermediate, heads, kv_heads, head_dim, .. } = *config;
        let (query, kv) = (heads * head_dim, kv_heads * head_dim);
        let mut matrix = |name: &str, outputs: usize, inputs: usize| {
            Ok::<_, ModelFault>(PackedMatrix::pack(&from.take_bf16(name, &[outputs, inputs])?, outputs, inputs))
        };
        let embedding = matrix("model.embed_tokens.weight", vocabulary, hidden)?;
        let output = if config.tied_embeddings { None } else { Some(matrix("lm_head.weight", vocabulary, hidden)?) };
        let layers = (0..config.layers)
            .map(|layer| {
                let name = |part: &str| format!("model.layers.{layer}.{part}.weight");
                let mut matrix = |part: &str, outputs: usize, inputs: usize| {
                    let bits = from.take_bf16(&name(part), &[outputs, inputs])?;
                    Ok::<_, ModelFault>(PackedMatrix::pack(&bits, outputs, inputs))
                };
                Ok(LayerWeights {
                    query: matrix("self_attn.q_proj", query, hidden)?,
                    key: matrix("self_attn.k_proj", kv, hidden)?,
                    value: matrix("self_attn.v_proj", kv, hidden)?,
                    attention_output: matrix("self_attn.o_proj", hidden, query)?,
                    gate: matrix("mlp.gate_proj", intermediate, hidden)?,
                    up: matrix("mlp.up_proj", intermediate, hidden)?,
                    down: matrix("mlp.down_proj", hidden, intermediate)?,
                    attention_norm: from.take_f32(&name("input_layernorm"), &[hidden])?,
                    mlp_norm: from.take_f32(&name("post_attention_layernorm"), &[hidden])?,
                })
            })
            .collect::<Result<_, ModelFault>>()?;
        Ok(Self { embedding, layers, final_norm: from.take_f32("model.norm.weight", &[hidden])?, output })
    }
}

fn read_optional(folder: &Path, name: &str, hash: &mut ContentHash) -> Result<Option<Vec<u8>>, ModelFault> {
    let path = folder.join(name);
    if !path.exists() {
        return Ok(None);
    }
    let bytes = read_small(&path)?;
    hash.file(name, &bytes);
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests;
