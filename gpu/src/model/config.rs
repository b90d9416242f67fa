//! `config.json`: the shape of a Llama model, checked once, so that the rest of the crate can rely on it.

use serde::Deserialize;
use wallet::{
    digest::Digest,
    page::{Dtype, StreamDescriptor},
};

use super::fault::ModelFault;
use crate::{BLOCK_TOKENS, TokenId};

const FILE: &str = "config.json";

/// The shape of a Llama model.
#[derive(Clone, Debug, PartialEq)]
pub struct LlamaConfig {
    /// Tokens in the vocabulary.
    pub vocabulary: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Width of the feed-forward layers.
    pub intermediate: usize,
    /// Number of layers.
    pub layers: usize,
    /// Query heads of each layer.
    pub heads: usize,
    /// Key and value heads of each layer; divides `heads`.
    pub kv_heads: usize,
    /// Dimensions of a head: a multiple of 8.
    pub head_dim: usize,
    /// Added to the mean square in RMSNorm.
    pub rms_norm_eps: f32,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// How the frequencies are stretched for long contexts.
    pub rope_scaling: Option<RopeScaling>,
    /// The most tokens that a sequence may have.
    pub positions_max: usize,
    /// Whether the output layer is the embedding.
    pub tied_embeddings: bool,
    /// Tokens that end a generation.
    pub end_tokens: Vec<TokenId>,
}

/// The stretching of Llama 3.1 and later.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RopeScaling {
    /// By how much low frequencies are slowed down.
    pub factor: f64,
    /// Below this many turns over the original context a frequency counts as low.
    pub low_freq_factor: f64,
    /// Above this many turns a frequency counts as high and stays.
    pub high_freq_factor: f64,
    /// Context length of the original training, in tokens.
    pub original_positions: f64,
}

impl LlamaConfig {
    /// Reads `config.json` and, if there is one, the end tokens of `generation_config.json`.
    ///
    /// # Errors
    /// [`ModelFault::Malformed`] if the text is not the expected JSON, [`ModelFault::Field`] if a value is out of
    /// bounds or asks for another architecture.
    pub fn parse(config: &[u8], generation_config: Option<&[u8]>) -> Result<Self, ModelFault> {
        let raw: RawConfig = from_json(FILE, config)?;
        let generation: Option<RawGeneration> =
            generation_config.map(|bytes| from_json("generation_config.json", bytes)).transpose()?;
        raw.validate(generation.and_then(|raw| raw.eos_token_id))
    }

    /// Query heads that share one key and value head.
    pub const fn group(&self) -> usize {
        self.heads / self.kv_heads
    }

    /// Bytes of one page: all layers of one block, bfloat16.
    pub const fn page_bytes(&self) -> usize {
        self.layers * 2 * self.kv_heads * BLOCK_TOKENS * self.head_dim * 2
    }

    /// The most pages that a session has.
    pub const fn pages_max(&self) -> usize {
        self.positions_max.div_ceil(BLOCK_TOKENS)
    }

    /// What all pages of a session on this model have in common.
    pub fn stream_descriptor(&self, model: Digest, numerics: Digest) -> StreamDescriptor {
        let narrow = |value: usize| u16::try_from(value).expect("checked when the configuration was read");
        StreamDescriptor {
            model,
            dtype: Dtype::Bf16,
            numerics,
            layers: narrow(self.layers),
            kv_heads: narrow(self.kv_heads),
            head_dim: narrow(self.head_dim),
            block: narrow(BLOCK_TOKENS),
        }
    }
}

#[derive(Deserialize)]
struct RawConfig {
    model_type: String,
    hidden_act: Option<String>,
    vocab_size: u64,
    hidden_size: u64,
    intermediate_size: u64,
    num_hidden_layers: u64,
    num_attention_heads: u64,
    num_key_value_heads: Option<u64>,
    head_dim: Option<u64>,
    rms_norm_eps: f64,
    rope_theta: Option<f64>,
    rope_scaling: Option<RawRope>,
    /// The name that transformers 5 gives to `rope_theta` and `rope_scaling` together.
    rope_parameters: Option<RawRope>,
    max_position_embeddings: u64,
    #[serde(default)]
    tie_word_embeddings: bool,
    #[serde(default)]
    attention_bias: bool,
    #[serde(default)]
    mlp_bias: bool,
    quantization_config: Option<serde_json::Value>,
    eos_token_id: Option<EndTokens>,
}

#[derive(Deserialize)]
struct RawRope {
    #[serde(alias = "type")]
    rope_type: Option<String>,
    rope_theta: Option<f64>,
    factor: Option<f64>,
    low_freq_factor: Option<f64>,
    high_freq_factor: Option<f64>,
    original_max_position_embeddings: Option<f64>,
}

#[derive(Deserialize)]
struct RawGeneration {
    eos_token_id: Option<EndTokens>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum EndTokens {
    One(TokenId),
    Many(Vec<TokenId>),
}

impl RawConfig {
    fn validate(self, generation_end: Option<EndTokens>) -> Result<LlamaConfig, ModelFault> {
        if self.model_type != "llama" {
            return Err(field("model_type", format!("is {:?}, only llama is known", self.model_type)));
        }
        if self.hidden_act.as_deref().is_some_and(|act| act != "silu") {
            return Err(field("hidden_act", "only silu is known"));
        }
        for (name, present) in [
            ("attention_bias", self.attention_bias),
            ("mlp_bias", self.mlp_bias),
            ("quantization_config", self.quantization_config.is_some_and(|value| !value.is_null())),
        ] {
            if present {
                return Err(field(name, "is not supported"));
            }
        }
        let vocabulary = bounded("vocab_size", self.vocab_size, 1 << 20)?;
        let hidden = bounded("hidden_size", self.hidden_size, 1 << 16)?;
        let heads = bounded("num_attention_heads", self.num_attention_heads, 1 << 10)?;
        let kv_heads = bounded("num_key_value_heads", self.num_key_value_heads.unwrap_or(heads as u64), 1 << 10)?;
        if heads % kv_heads != 0 {
            return Err(field("num_key_value_heads", format!("{kv_heads} does not divide {heads} heads")));
        }
        let head_dim = bounded("head_dim", self.head_dim.unwrap_or((hidden / heads) as u64), 512)?;
        if head_dim % 8 != 0 {
            return Err(field("head_dim", format!("{head_dim} is not a multiple of 8")));
        }
        if !(0.0..1.0).contains(&self.rms_norm_eps) {
            return Err(field("rms_norm_eps", "is not between 0 and 1"));
        }
        let rope = self.rope_parameters.or(self.rope_scaling);
        let rope_theta = rope.as_ref().and_then(|rope| rope.rope_theta).or(self.rope_theta).unwrap_or(10_000.0);
        if !(1.0..=1e12).contains(&rope_theta) {
            return Err(field("rope_theta", format!("{rope_theta} is not between 1 and 1e12")));
        }
        let end_tokens = match generation_end.or(self.eos_token_id) {
            None => Vec::new(),
            Some(EndTokens::One(token)) => vec![token],
            Some(EndTokens::Many(tokens)) => tokens,
        };
        if let Some(token) = end_tokens.iter().find(|token| **token as usize >= vocabulary) {
            return Err(field("eos_token_id", format!("{token} is not in the vocabulary of {vocabulary}")));
        }
        let config = LlamaConfig {
            vocabulary,
            hidden,
            intermediate: bounded("intermediate_size", self.intermediate_size, 1 << 18)?,
            layers: bounded("num_hidden_layers", self.num_hidden_layers, 1 << 10)?,
            heads,
            kv_heads,
            head_dim,
            rms_norm_eps: self.rms_norm_eps as f32,
            rope_theta,
            rope_scaling: rope.map_or(Ok(None), RawRope::scaling)?,
            positions_max: bounded("max_position_embeddings", self.max_position_embeddings, 1 << 24)?,
            tied_embeddings: self.tie_word_embeddings,
            end_tokens,
        };
        config
            .stream_descriptor(Digest::ZERO, Digest::ZERO)
            .payload_bytes()
            .map_err(|refusal| field("num_hidden_layers", format!("the model's pages are too large: {refusal}")))?;
        Ok(config)
    }
}

impl RawRope {
    fn scaling(self) -> Result<Option<RopeScaling>, ModelFault> {
        match self.rope_type.as_deref() {
            None | Some("default") => return Ok(None),
            Some("llama3") => {}
            Some(other) => return Err(field("rope_scaling", format!("type {other:?} is not known"))),
        }
        let positive = |value: Option<f64>, name: &'static str| {
            value
                .filter(|value| (1e-3..=1e9).contains(value))
                .ok_or_else(|| field("rope_scaling", format!("{name} is missing or out of bounds")))
        };
        let scaling = RopeScaling {
            factor: positive(self.factor, "factor")?,
            low_freq_factor: positive(self.low_freq_factor, "low_freq_factor")?,
            high_freq_factor: positive(self.high_freq_factor, "high_freq_factor")?,
            original_positions: positive(self.original_max_position_embeddings, "original_max_position_embeddings")?,
        };
        if scaling.low_freq_factor >= scaling.high_freq_factor {
            return Err(field("rope_scaling", "low_freq_factor is not below high_freq_factor"));
        }
        Ok(Some(scaling))
    }
}

fn from_json<'de, T: Deserialize<'de>>(file: &'static str, bytes: &'de [u8]) -> Result<T, ModelFault> {
    serde_json::from_slice(bytes)
        .map_err(|error| ModelFault::Malformed { path: file.into(), reason: error.to_string() })
}

fn bounded(name: &'static str, value: u64, limit: usize) -> Result<usize, ModelFault> {
    usize::try_from(value)
        .ok()
        .filter(|value| (1..=limit).contains(value))
        .ok_or_else(|| field(name, format!("{value} is not between 1 and {limit}")))
}

fn field(field: &'static str, reason: impl Into<String>) -> ModelFault {
    ModelFault::Field { file: FILE, field, reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn sample() -> Value {
        json!({
            "model_type": "llama", "hidden_act": "silu", "vocab_size": 512, "hidden_size": 64,
            "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
            "rms_norm_eps": 1e-5, "max_position_embeddings": 256, "eos_token_id": 1
        })
    }

    fn parse(change: &[(&str, Value)]) -> Result<LlamaConfig, ModelFault> {
        let mut config = sample();
        for (name, value) in change {
            config[*name] = value.clone();
        }
        LlamaConfig::parse(config.to_string().as_bytes(), None)
    }

    #[test]
    fn absent_fields_have_the_defaults_of_transformers() {
        let config = parse(&[]).expect("valid");
        assert_eq!((config.head_dim, config.rope_theta, config.tied_embeddings), (16, 10_000.0, false));
        assert_eq!(config.end_tokens, [1]);
    }

    #[test]
    fn end_tokens_are_a_number_or_a_list_and_generation_config_wins() {
        assert_eq!(parse(&[("eos_token_id", json!([3, 4]))]).expect("valid").end_tokens, [3, 4]);
        let generation = br#"{"eos_token_id":[7,8]}"#;
        let config = LlamaConfig::parse(sample().to_string().as_bytes(), Some(generation)).expect("valid");
        assert_eq!(config.end_tokens, [7, 8]);
    }

    #[test]
    fn llama3_scaling_is_read_under_both_names() {
        let rope = json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192, "rope_theta": 500000.0});
        for name in ["rope_scaling", "rope_parameters"] {
            let config = parse(&[(name, rope.clone())]).expect("valid");
            assert_eq!(config.rope_scaling.expect("scaled").original_positions, 8192.0);
            assert_eq!(config.rope_theta, 500_000.0);
        }
    }

    #[test]
    fn a_value_that_cannot_be_used_is_named() {
        for (name, value) in [
            ("model_type", json!("mistral")),
            ("hidden_act", json!("gelu")),
            ("vocab_size", json!(0)),
            ("hidden_size", json!(1_u64 << 40)),
            ("num_key_value_heads", json!(3)),
            ("head_dim", json!(12)),
            ("rope_theta", json!(0.5)),
            ("rope_scaling", json!({"rope_type": "yarn"})),
            ("rope_scaling", json!({"rope_type": "llama3", "factor": 8.0})),
            ("attention_bias", json!(true)),
            ("mlp_bias", json!(true)),
            ("quantization_config", json!({"bits": 4})),
            ("eos_token_id", json!(512)),
            ("max_position_embeddings", json!(0)),
        ] {
            match parse(&[(name, value)]) {
                Err(ModelFault::Field { file, field, .. }) => assert_eq!((file, field), (FILE, name)),
                other => panic!("{name}: {other:?}"),
            }
        }
    }

    #[test]
    fn what_is_not_json_is_malformed() {
        assert!(matches!(LlamaConfig::parse(b"{", None), Err(ModelFault::Malformed { .. })));
        assert!(matches!(LlamaConfig::parse(b"{}", None), Err(ModelFault::Malformed { .. })));
    }
}
