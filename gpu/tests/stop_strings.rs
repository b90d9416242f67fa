//! Stop strings, on the demo model: they end a generation at the same token whether the session moved or not.

use std::{path::Path, sync::Arc};

use gpu::{
    ChatMessage, Engine, EngineOptions, FinishReason, Model, SamplingParams, SequenceId, Session, StepEvent,
    StopStrings, TextStream,
};
use wallet::units::TokenCount;

const ID: SequenceId = SequenceId(1);

fn model() -> Arc<Model> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/tiny");
    Arc::new(Model::load(&folder).expect("the demo model loads"))
}

fn engine(model: &Arc<Model>) -> Engine {
    let options = EngineOptions { block_count: 32, prefill_chunk_tokens: 64, idle_blocks_max: 8 };
    Engine::new(Arc::clone(model), options)
}

fn question(model: &Model) -> Vec<u32> {
    let message = ChatMessage { role: "user".to_owned(), content: "What is a batch?".to_owned() };
    model.tokenizer().expect("it has one").encode_chat(&[message]).expect("encodes")
}

/// Generated tokens, their text, and why they ended.
fn answer(
    model: &Arc<Model>,
    sampling: &SamplingParams,
    move_before: Option<usize>,
) -> (Vec<u32>, String, FinishReason) {
    let prompt = question(model);
    let mut engine = engine(model);
    engine.admit(ID, prompt.clone(), sampling.clone(), [0; 32]).expect("room");
    let mut text = TextStream::new(&sampling.stop);
    let (mut tokens, mut answer, mut reason) = (Vec::new(), String::new(), None);
    for step in 0.. {
        if move_before == Some(step) {
            engine = moved(model, sampling, prompt.len(), engine);
        }
        for (_, event) in engine.step().events {
            match event {
                StepEvent::Token { token, .. } => {
                    tokens.push(token);
                    let tokenizer = model.tokenizer().expect("it has one");
                    answer += &text.push(tokenizer, token).expect("decodable").text;
                }
                StepEvent::Finished { reason: why } => reason = Some(why),
                StepEvent::PrefillDone => {}
            }
        }
        if engine.usage().sequences_running == 0 {
            break;
        }
    }
    answer += &text.finish();
    (tokens, answer, reason.expect("it ended"))
}

fn moved(model: &Arc<Model>, sampling: &SamplingParams, prompt: usize, mut from: Engine) -> Engine {
    let left = from.suspend(ID).expect("it runs");
    let pages: Vec<Vec<u8>> = (0..left.full_pages as usize).map(|index| from.page(ID, index).expect("full")).collect();
    let session = Session {
        tokens: from.tokens(ID).expect("there").to_vec(),
        prompt: TokenCount::new(prompt as u32),
        sampling: sampling.clone(),
        salt: [0; 32],
    };
    let mut to = engine(model);
    to.start(ID, &session, &pages, left.tail.as_ref()).expect("it fits");
    to
}

#[test]
fn a_stop_string_ends_the_generation_at_the_same_token_after_a_move() {
    let model = model();
    let greedy = SamplingParams::greedy(TokenCount::new(100));
    let (_, whole, reason) = answer(&model, &greedy, None);
    assert_eq!(reason, FinishReason::EndToken);
    assert!(whole.len() > 60, "{whole:?}");

    // From the middle of one word to the middle of the next.
    let stop = &whole[41..49];
    let stopping = SamplingParams { stop: StopStrings::new(vec![stop.to_owned()]).expect("valid"), ..greedy };
    let still = answer(&model, &stopping, None);
    assert_eq!(still.2, FinishReason::StopString);
    assert_eq!(still.1, whole[..whole.find(stop).expect("it is there")]);
    for step in 0..still.0.len() {
        assert_eq!(answer(&model, &stopping, Some(step)), still, "moved before step {step}");
    }
}
