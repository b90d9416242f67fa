//! Decoding of one and of eight sequences, and prefill. Decoding one token reads every weight once; beside it stands how
//! often as many bytes can be copied.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use gpu::{Engine, EngineOptions, Model, SamplingParams, SequenceId};
use serde_json::Value;
use wallet::units::TokenCount;

use super::{BenchFault, rate_per_s};

/// Tokens of each prompt.
const PROMPT: u32 = 256;
/// Tokens that each decoding round generates.
const GENERATED: u32 = 128;

pub(super) fn figures(folder: &Path) -> Result<BTreeMap<&'static str, Value>, BenchFault> {
    let model = Arc::new(Model::load(folder)?);
    let weights: u64 = std::fs::metadata(folder.join("model.safetensors")).map_or(0, |file| file.len());
    let decode_1 = decode_per_s(&model, 1)?;
    let decode_8 = decode_per_s(&model, 8)?;
    let prefill = prefill_per_s(&model)?;
    let copies = copies_per_s(usize::try_from(weights).unwrap_or(usize::MAX));
    Ok(BTreeMap::from([
        ("engine_decode_tokens_per_s", decode_1.into()),
        ("engine_decode_batch_8_tokens_per_s", decode_8.into()),
        ("engine_prefill_tokens_per_s", prefill.into()),
        ("engine_weight_bytes", weights.into()),
        ("engine_weight_copies_per_s", copies.into()),
        ("engine_decode_vs_weight_copy_ratio", (decode_1 / copies).into()),
        ("engine_batch_8_vs_1_ratio", (decode_8 / decode_1).into()),
    ]))
}

fn decode_per_s(model: &Arc<Model>, sequences: u64) -> Result<f64, BenchFault> {
    let mut refused = None;
    let rate = rate_per_s(|| {
        let mut engine = engine(model);
        for id in 0..sequences {
            let params = SamplingParams::greedy(TokenCount::new(GENERATED));
            // Different prompts, so that the prefix cache helps nobody.
            let prompt = (0..8).map(|token| 5 + token + 8 * u32::try_from(id).unwrap_or(0)).collect();
            if let Err(refusal) = engine.admit(SequenceId(id), prompt, params, [0; 32]) {
                refused = Some(refusal);
                return 1;
            }
        }
        let mut tokens = 0;
        while engine.usage().sequences_running > 0 {
            tokens += engine.step().events.len();
        }
        tokens
    });
    refused.map_or(Ok(rate), |refusal| Err(refusal.into()))
}

fn prefill_per_s(model: &Arc<Model>) -> Result<f64, BenchFault> {
    let mut refused = None;
    let rate = rate_per_s(|| {
        let mut engine = engine(model);
        let prompt = (0..PROMPT).map(|token| 5 + token).collect();
        let params = SamplingParams::greedy(TokenCount::new(1));
        if let Err(refusal) = engine.admit(SequenceId(0), prompt, params, [0; 32]) {
            refused = Some(refusal);
            return 1;
        }
        while engine.usage().sequences_running > 0 {
            engine.step();
        }
        PROMPT as usize
    });
    refused.map_or(Ok(rate), |refusal| Err(refusal.into()))
}

fn engine(model: &Arc<Model>) -> Engine {
    Engine::new(model.clone(), EngineOptions { block_count: 256, prefill_chunk_tokens: 256, idle_blocks_max: 0 })
}

/// How often as many bytes as the weights have can be copied.
fn copies_per_s(bytes: usize) -> f64 {
    let from = vec![1_u8; bytes.max(1)];
    let mut to = vec![0_u8; bytes.max(1)];
    rate_per_s(|| {
        to.copy_from_slice(std::hint::black_box(&from));
        usize::from(std::hint::black_box(&to)[0])
    })
}
