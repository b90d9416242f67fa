//! The engine against an independent implementation: logits that Hugging Face transformers computed for the demo model.
//! `models/tiny/recipe/golden.py` made them.

use std::{fs, path::Path, sync::Arc};

use gpu::{BLOCK_TOKENS, Engine, EngineOptions, Model, SamplingParams, SequenceId};
use serde::Deserialize;
use wallet::units::TokenCount;

/// Rounding the whole cache to bfloat16 moves these logits by up to 0.04; each file says by how much. Ours and theirs
/// round it alike but where sums in another order fall on two sides of a boundary, which moves them by 0.001.
const TOLERANCE: f32 = 0.005;

#[derive(Deserialize)]
struct Golden {
    text: String,
    prompt_ids: Vec<u32>,
    positions: Vec<usize>,
    greedy_next_ids: Vec<u32>,
    logits: Vec<Vec<f32>>,
}

fn folder(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn model() -> Model {
    Model::load(&folder("models/tiny")).expect("the demo model loads")
}

fn golden_files() -> Vec<Golden> {
    let files: Vec<Golden> = fs::read_dir(folder("tests/golden"))
        .expect("the golden files are there")
        .map(|file| fs::read(file.expect("readable").path()).expect("readable"))
        .map(|bytes| serde_json::from_slice(&bytes).expect("a golden file"))
        .collect();
    assert!(files.len() >= 3, "{} golden files", files.len());
    files
}

#[test]
fn logits_are_those_of_transformers() {
    let model = model();
    for golden in golden_files() {
        let logits = model.logits(&golden.prompt_ids);
        assert_eq!(golden.positions.len(), golden.logits.len());
        let mut apart = 0.0_f32;
        for (position, expected) in golden.positions.iter().zip(&golden.logits) {
            assert_eq!(logits[*position].len(), expected.len());
            for (ours, theirs) in logits[*position].iter().zip(expected) {
                apart = apart.max((ours - theirs).abs());
            }
        }
        println!("{} tokens: at most {apart:e} apart", golden.prompt_ids.len());
        assert!(apart < TOLERANCE, "{:?}: {apart} apart", golden.text);
    }
}

#[test]
fn greedy_tokens_are_those_of_transformers() {
    let model = Arc::new(model());
    for golden in golden_files() {
        let options = EngineOptions { block_count: 128, prefill_chunk_tokens: 32, idle_blocks_max: 0 };
        let mut engine = Engine::new(Arc::clone(&model), options);
        let count = golden.greedy_next_ids.len();
        let greedy = SamplingParams::greedy(TokenCount::new(count as u32));
        engine.admit(SequenceId(1), golden.prompt_ids.clone(), greedy, [0; 32]).expect("room");
        while engine.usage().sequences_running > 0 {
            engine.step();
        }
        let tokens = &engine.tokens(SequenceId(1)).expect("there")[golden.prompt_ids.len()..];
        assert_eq!(tokens, &golden.greedy_next_ids[..tokens.len()], "{:?}", golden.text);
        let ended = tokens.last().is_some_and(|token| model.config().end_tokens.contains(token));
        assert!(tokens.len() == count || ended);
    }
}

#[test]
fn text_is_tokenized_as_in_python() {
    let model = model();
    let tokenizer = model.tokenizer().expect("the demo model has one");
    for golden in golden_files() {
        let text = golden.text.strip_prefix("<|bos|>").expect("every prompt begins with it");
        assert_eq!(tokenizer.encode(text), Ok(golden.prompt_ids));
    }
}

#[test]
fn pages_of_the_demo_model_have_the_documented_size() {
    let model = model();
    let config = model.config();
    assert_eq!(config.page_bytes(), 4 * 2 * 2 * BLOCK_TOKENS * 32 * 2);
}
