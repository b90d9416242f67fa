use proptest::prelude::*;
use wallet::prefix::{block_hashes, prefix_root};

use super::*;
use crate::{
    backend::numerics_id,
    kv::BlockId,
    model::synthetic::SyntheticLlama,
    sampling::{Millionths, SessionSeed},
};

const SALT: [u8; 32] = [7; 32];

pub(crate) fn model() -> Arc<Model> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    SyntheticLlama::default().write(folder.path()).expect("writable");
    Arc::new(Model::load(folder.path()).expect("a valid model"))
}

pub(crate) fn engine(model: &Arc<Model>, chunk: usize) -> Engine {
    let options = EngineOptions { block_count: 64, prefill_chunk_tokens: chunk, idle_blocks_max: 64 };
    Engine::new(Arc::clone(model), options)
}

/// Hot enough that any difference in the logits soon shows in the tokens.
pub(crate) fn hot(seed: u64, max_tokens: u32) -> SamplingParams {
    SamplingParams {
        temperature: Millionths(1_500_000),
        top_p: Millionths(980_000),
        seed: SessionSeed::from_number(seed),
        ..SamplingParams::greedy(TokenCount::new(max_tokens))
    }
}

pub(crate) fn prompt(seed: u32, count: u32) -> Vec<TokenId> {
    (0..count).map(|i| 2 + (seed * 31 + i * i * 7 + i) % 250).collect()
}

/// Steps until nothing runs.
pub(crate) fn run(engine: &mut Engine) {
    while engine.usage().sequences_running > 0 {
        engine.step();
        assert_conserved(engine);
    }
}

pub(crate) fn assert_conserved(engine: &Engine) {
    let usage = engine.usage();
    assert_eq!(usage.blocks_free + usage.blocks_used + usage.blocks_idle, usage.blocks_total, "{usage:?}");
    let mut used: Vec<BlockId> = engine.sequences.values().flat_map(|sequence| sequence.table.clone()).collect();
    used.sort_unstable();
    used.dedup();
    assert_eq!(used.len(), usage.blocks_used);
}

fn alone(model: &Arc<Model>, prompt: Vec<TokenId>, sampling: SamplingParams) -> Vec<TokenId> {
    let mut engine = engine(model, 1000);
    engine.admit(SequenceId(1), prompt, sampling, SALT).expect("room");
    run(&mut engine);
    engine.tokens(SequenceId(1)).expect("there").to_vec()
}

fn refused(result: Result<Started, Refusal>) -> &'static str {
    result.expect_err("it must be refused").code()
}

#[test]
fn an_engine_can_be_given_to_a_thread() {
    fn is_send<T: Send>() {}
    fn is_shared<T: Send + Sync>() {}
    is_send::<Engine>();
    is_shared::<Model>();
}

#[test]
fn a_run_reports_prefill_tokens_and_its_end() {
    let mut engine = engine(&model(), 4);
    let id = SequenceId(9);
    engine.admit(id, prompt(1, 10), SamplingParams::greedy(TokenCount::new(2)), SALT).expect("room");
    assert_eq!(engine.phase(id), Ok(Phase::Prefill));
    assert_eq!(engine.step().events, []);
    assert_eq!(engine.step().events, []);
    let events = engine.step().events;
    let [(_, StepEvent::PrefillDone), (_, StepEvent::Token { position, .. })] = events[..] else {
        panic!("{events:?}")
    };
    assert_eq!(position, TokenPosition::new(10));
    assert_eq!(engine.phase(id), Ok(Phase::Decode));
    let events = engine.step().events;
    assert!(matches!(events[1], (_, StepEvent::Finished { reason: FinishReason::MaxTokens })), "{events:?}");
    assert_eq!(engine.phase(id), Ok(Phase::Finished));
    assert_eq!(engine.step().events, []);
    engine.release(id).expect("there");
    assert_eq!(engine.phase(id), Err(Refusal::SequenceUnknown { id }));
}

#[test]
fn the_same_seed_gives_the_same_tokens_and_another_seed_others() {
    let model = model();
    let first = alone(&model, prompt(1, 20), hot(1, 30));
    assert_eq!(alone(&model, prompt(1, 20), hot(1, 30)), first);
    assert_ne!(alone(&model, prompt(1, 20), hot(2, 30)), first);
}

#[test]
fn an_end_token_ends_the_generation() {
    let model = model();
    let reasons: Vec<FinishReason> = (0..8)
        .map(|seed| {
            let mut engine = engine(&model, 64);
            engine.admit(SequenceId(1), prompt(3, 5), hot(seed, 900), SALT).expect("room");
            run(&mut engine);
            let sequence = &engine.sequences[&SequenceId(1)];
            let ended = sequence.tokens.last() == Some(&1);
            let reason = sequence.finish.expect("it ended");
            assert_eq!(reason == FinishReason::EndToken, ended);
            reason
        })
        .collect();
    assert!(reasons.contains(&FinishReason::EndToken), "{reasons:?}");
}

#[test]
fn a_full_context_ends_the_generation() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    SyntheticLlama { positions_max: 40, ..SyntheticLlama::default() }.write(folder.path()).expect("writable");
    let mut engine = engine(&Arc::new(Model::load(folder.path()).expect("valid")), 64);
    let greedy = SamplingParams::greedy(TokenCount::new(500));
    engine.admit(SequenceId(1), prompt(1, 30), greedy, SALT).expect("room");
    run(&mut engine);
    let sequence = &engine.sequences[&SequenceId(1)];
    assert_eq!((sequence.tokens.len(), sequence.finish), (40, Some(FinishReason::ContextFull)));
}

#[test]
fn what_cannot_run_is_refused() {
    let mut engine = engine(&model(), 64);
    let greedy = SamplingParams::greedy(TokenCount::new(8));
    assert_eq!(refused(engine.admit(SequenceId(1), vec![], greedy.clone(), SALT)), "E-101");
    assert_eq!(refused(engine.admit(SequenceId(1), prompt(1, 1024), greedy.clone(), SALT)), "E-102");
    assert_eq!(refused(engine.admit(SequenceId(1), vec![2, 256], greedy.clone(), SALT)), "E-103");
    let long = SamplingParams::greedy(TokenCount::new(900));
    let options = EngineOptions { block_count: 62, prefill_chunk_tokens: 64, idle_blocks_max: 0 };
    let mut small = Engine::new(model(), options);
    assert_eq!(refused(small.admit(SequenceId(1), prompt(1, 100), long.clone(), SALT)), "E-119");
    engine.admit(SequenceId(1), prompt(1, 100), long.clone(), SALT).expect("room");
    assert_eq!(refused(engine.admit(SequenceId(2), prompt(1, 100), long, SALT)), "E-104");
    assert_eq!(refused(engine.admit(SequenceId(1), prompt(1, 4), greedy.clone(), SALT)), "E-105");
    let stop = crate::StopStrings::new(vec!["x".to_owned()]).expect("valid");
    let stopping = SamplingParams { stop, ..greedy };
    assert_eq!(refused(engine.admit(SequenceId(2), prompt(1, 4), stopping, SALT)), "E-109");
    assert_conserved(&engine);
}

#[test]
fn a_known_prefix_is_not_computed_again_and_gives_the_same_tokens() {
    let model = model();
    let (first, second) = (prompt(1, 70), [prompt(1, 50), prompt(2, 20)].concat());
    let mut engine = engine(&model, 1000);
    engine.admit(SequenceId(1), first, hot(1, 10), SALT).expect("room");
    run(&mut engine);
    engine.release(SequenceId(1)).expect("there");
    let admitted = engine.admit(SequenceId(2), second.clone(), hot(5, 40), SALT).expect("room");
    assert_eq!(admitted.cached, TokenCount::new(48));
    run(&mut engine);
    assert_eq!(engine.tokens(SequenceId(2)).expect("there"), alone(&model, second, hot(5, 40)));
}

#[test]
fn the_last_token_of_a_prompt_is_always_computed() {
    let mut engine = engine(&model(), 1000);
    for (id, expected) in [(1, 0), (2, 16)] {
        let admitted = engine.admit(SequenceId(id), prompt(1, 32), hot(1, 4), SALT).expect("room");
        assert_eq!(admitted.cached, TokenCount::new(expected));
        run(&mut engine);
    }
}

#[test]
fn another_salt_finds_nothing() {
    let mut engine = engine(&model(), 1000);
    engine.admit(SequenceId(1), prompt(1, 64), hot(1, 4), SALT).expect("room");
    run(&mut engine);
    let admitted = engine.admit(SequenceId(2), prompt(1, 64), hot(1, 4), [8; 32]).expect("room");
    assert_eq!(admitted.cached, TokenCount::ZERO);
}

#[test]
fn notices_name_the_routers_hashes() {
    let model = model();
    let mut engine = engine(&model, 1000);
    let tokens = prompt(1, 50);
    engine.admit(SequenceId(1), tokens.clone(), hot(1, 1), SALT).expect("room");
    run(&mut engine);
    let root = prefix_root(&SALT, &model.hash(), &numerics_id());
    let hashes = block_hashes(&SALT, &root, &tokens);
    assert_eq!(engine.take_notices(), [CacheNotice::Stored { hashes: hashes.clone(), parent: root }]);
    assert_eq!(engine.evict_prefix_cache(9), 0, "blocks in use stay");
    engine.release(SequenceId(1)).expect("there");
    assert_eq!(engine.evict_prefix_cache(1), 1);
    assert_eq!(engine.take_notices(), [CacheNotice::Removed { hashes: vec![hashes[2]] }]);
    engine.clear_prefix_cache();
    assert_eq!(engine.take_notices(), [CacheNotice::Cleared]);
    assert_eq!(engine.usage().blocks_free, 64);
}

#[test]
fn two_sequences_that_compute_the_same_prefix_at_once_leave_one_copy() {
    let model = model();
    let mut engine = engine(&model, 16);
    for id in [1, 2] {
        engine.admit(SequenceId(id), prompt(1, 60), hot(id, 30), SALT).expect("room");
    }
    engine.step();
    engine.step();
    engine.release(SequenceId(1)).expect("there");
    run(&mut engine);
    assert_eq!(engine.tokens(SequenceId(2)).expect("there"), alone(&model, prompt(1, 60), hot(2, 30)));
    // Everything idle can be had.
    let greedy = SamplingParams::greedy(TokenCount::new(1000));
    engine.release(SequenceId(2)).expect("there");
    engine.admit(SequenceId(3), prompt(9, 20), greedy, SALT).expect("all 64 blocks");
    assert_conserved(&engine);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn a_sequence_has_the_same_tokens_alone_and_among_others(
        lengths in prop::collection::vec(1..60_u32, 1..5),
        chunk in 1..70_usize,
        late in 0..12_usize,
        reversed: bool,
    ) {
        let model = model();
        let mut engine = engine(&model, chunk);
        let mut order: Vec<u64> = (0..lengths.len() as u64).collect();
        if reversed {
            order.reverse();
        }
        for id in &order {
            for _ in 0..late {
                engine.step();
            }
            let prompt = prompt(*id as u32, lengths[*id as usize]);
            engine.admit(SequenceId(*id), prompt, hot(*id, 25), SALT).expect("room");
        }
        run(&mut engine);
        for id in order {
            let expected = alone(&model, prompt(id as u32, lengths[id as usize]), hot(id, 25));
            prop_assert_eq!(engine.tokens(SequenceId(id)).expect("there"), expected);
        }
    }

    #[test]
    fn blocks_are_neither_lost_nor_shared_by_accident(
        actions in prop::collection::vec((0..6_u8, 0..6_u64, 1..80_u32), 1..60),
    ) {
        let model = model();
        let options = EngineOptions { block_count: 16, prefill_chunk_tokens: 24, idle_blocks_max: 7 };
        let mut engine = Engine::new(Arc::clone(&model), options);
        for (action, id, size) in actions {
            let known = SequenceId(id);
            match action {
                0 => drop(engine.admit(known, prompt(id as u32 % 2, size), hot(id, size % 20 + 1), [id as u8 % 2; 32])),
                1 => drop(engine.release(known)),
                2 => drop(engine.suspend(known)),
                3 => drop(engine.resume(known)),
                4 => drop(engine.evict_prefix_cache(size as usize % 4)),
                _ if size > 70 => engine.clear_prefix_cache(),
                _ => drop(engine.step()),
            }
            assert_conserved(&engine);
        }
        let ids: Vec<SequenceId> = engine.sequences.keys().copied().collect();
        for id in ids {
            engine.release(id).expect("there");
        }
        engine.evict_prefix_cache(usize::MAX);
        prop_assert_eq!(engine.usage().blocks_free, 16);
    }
}
