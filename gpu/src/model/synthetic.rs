//! A Llama of random weights, for tests that need a model and not its words.

use std::{io, path::Path};

use half::bf16;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::json;

/// The shape of a random model. The same values make the same files.
#[derive(Clone, Debug)]
pub struct SyntheticLlama {
    /// Seed of the weights.
    pub seed: u64,
    /// Tokens in the vocabulary. Token 1 ends a generation.
    pub vocabulary: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Width of the feed-forward layers; twice `hidden` if it is not given.
    pub intermediate: Option<usize>,
    /// Number of layers.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// The most tokens that a sequence may have.
    pub positions_max: usize,
    /// Whether the output layer is the embedding.
    pub tied_embeddings: bool,
}

impl Default for SyntheticLlama {
    fn default() -> Self {
        Self {
            seed: 1,
            vocabulary: 256,
            hidden: 64,
            intermediate: None,
            layers: 2,
            heads: 4,
            kv_heads: 2,
            positions_max: 1024,
            tied_embeddings: false,
        }
    }
}

impl SyntheticLlama {
    /// The shape of Llama-3.2-1B, but for its context and the scaling of its positions. 2.5 GB.
    pub fn of_one_billion(seed: u64) -> Self {
        Self {
            seed,
            vocabulary: 128_256,
            hidden: 2048,
            intermediate: Some(8192),
            layers: 16,
            heads: 32,
            kv_heads: 8,
            positions_max: 1024,
            tied_embeddings: true,
        }
    }

    /// Writes `config.json` and `model.safetensors` into `folder`. There is no tokenizer.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        let head_dim = self.hidden / self.heads;
        let config = json!({
            "model_type": "llama", "hidden_act": "silu", "vocab_size": self.vocabulary, "hidden_size": self.hidden,
            "intermediate_size": self.intermediate(), "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads, "num_key_value_heads": self.kv_heads, "head_dim": head_dim,
            "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "max_position_embeddings": self.positions_max,
            "tie_word_embeddings": self.tied_embeddings, "eos_token_id": 1
        });
        std::fs::write(folder.join("config.json"), config.to_string())?;

        let tensors: Vec<(String, Vec<usize>, Vec<u8>)> =
            self.shapes().into_iter().map(|(name, shape)| self.tensor(name, shape)).collect();
        let views = tensors.iter().map(|(name, shape, bytes)| {
            let view = TensorView::new(Dtype::BF16, shape.clone(), bytes).expect("two bytes for each element");
            (name.as_str(), view)
        });
        safetensors::serialize_to_file(views, None, &folder.join("model.safetensors")).map_err(io::Error::other)
    }

    fn intermediate(&self) -> usize {
        self.intermediate.unwrap_or(2 * self.hidden)
    }

    fn shapes(&self) -> Vec<(String, Vec<usize>)> {
        let (hidden, kv, wide) = (self.hidden, self.hidden / self.heads * self.kv_heads, self.intermediate());
        let mut shapes = vec![
            ("model.embed_tokens.weight".to_owned(), vec![self.vocabulary, hidden]),
            ("model.norm.weight".to_owned(), vec![hidden]),
        ];
        if !self.tied_embeddings {
            shapes.push(("lm_head.weight".to_owned(), vec![self.vocabulary, hidden]));
        }
        for layer in 0..self.layers {
            for (part, shape) in [
                ("input_layernorm", vec![hidden]),
                ("self_attn.q_proj", vec![hidden, hidden]),
                ("self_attn.k_proj", vec![kv, hidden]),
                ("self_attn.v_proj", vec![kv, hidden]),
                ("self_attn.o_proj", vec![hidden, hidden]),
                ("post_attention_layernorm", vec![hidden]),
                ("mlp.gate_proj", vec![wide, hidden]),
                ("mlp.up_proj", vec![wide, hidden]),
                ("mlp.down_proj", vec![hidden, wide]),
            ] {
                shapes.push((format!("model.layers.{layer}.{part}.weight"), shape));
            }
        }
        shapes
    }

    /// Uniform numbers of such a spread that activations neither vanish nor explode. Norms stand around 1.
    fn tensor(&self, name: String, shape: Vec<usize>) -> (String, Vec<usize>, Vec<u8>) {
        let mut seed = blake3::Hasher::new();
        seed.update(&self.seed.to_le_bytes()).update(name.as_bytes());
        let mut noise = vec![0; 2 * shape.iter().product::<usize>()];
        seed.finalize_xof().fill(&mut noise);
        let (center, spread) = match shape.as_slice() {
            [_, inputs] => (0.0, (6.0 / *inputs as f32).sqrt()),
            _ => (1.0, 0.2),
        };
        let (pairs, _) = noise.as_chunks::<2>();
        let bytes = pairs
            .iter()
            .map(|pair| f32::from(u16::from_le_bytes(*pair)) / 32768.0 - 1.0)
            .flat_map(|unit| bf16::from_f32(center + unit * spread).to_le_bytes())
            .collect();
        (name, shape, bytes)
    }
}
