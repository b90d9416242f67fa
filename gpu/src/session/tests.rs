use std::sync::Arc;

use proptest::prelude::*;
use wallet::{page::Page, units::PageIndex};

use super::*;
use crate::{
    engine::tests::{assert_conserved, engine, hot, model, prompt, run},
    model::Model,
};

const SALT: [u8; 32] = [7; 32];
const ID: SequenceId = SequenceId(1);
const CHUNK: usize = 12;

/// All that travels.
#[derive(Clone, Debug, PartialEq)]
struct Moved {
    session: Session,
    pages: Vec<Vec<u8>>,
    tail: Option<TailPage>,
    finish: Option<FinishReason>,
}

fn leave(engine: &mut Engine) -> Moved {
    let Suspended { full_pages, tail, finish } = engine.suspend(ID).expect("it is in the batch");
    let sequence = engine.sequence(ID).expect("there");
    let session = Session {
        tokens: sequence.tokens.clone(),
        prompt: TokenCount::new(sequence.prompt as u32),
        sampling: sequence.sampling.clone(),
        salt: SALT,
    };
    let pages = (0..full_pages as usize).map(|index| engine.page(ID, index).expect("full")).collect();
    Moved { session, pages, tail, finish }
}

fn arrive(engine: &mut Engine, moved: &Moved) -> Result<Started, Refusal> {
    engine.start(ID, &moved.session, &moved.pages, moved.tail.as_ref())
}

fn started(model: &Arc<Model>, steps: usize) -> Engine {
    let mut engine = engine(model, CHUNK);
    engine.admit(ID, prompt(1, 45), hot(3, 40), SALT).expect("room");
    for _ in 0..steps {
        engine.step();
    }
    engine
}

fn unmoved(model: &Arc<Model>) -> (Vec<TokenId>, usize) {
    let mut engine = started(model, 0);
    let mut steps = 0;
    while engine.usage().sequences_running > 0 {
        engine.step();
        steps += 1;
    }
    (engine.tokens(ID).expect("there").to_vec(), steps)
}

#[test]
fn a_session_moved_after_any_step_has_the_tokens_of_one_that_never_moved() {
    let model = model();
    let (expected, steps) = unmoved(&model);
    assert_eq!(steps, 45_usize.div_ceil(CHUNK) + 39, "prefill in chunks, then a step for each token");
    for at in 0..=steps {
        let mut source = started(&model, at);
        let moved = leave(&mut source);
        let mut destination = engine(&model, 1 + at);
        let started = arrive(&mut destination, &moved).expect("it fits");
        assert_eq!((started.cached, started.finish), (TokenCount::ZERO, moved.finish));
        assert_eq!(leave(&mut destination), moved, "what arrives can leave as it came, after step {at}");
        destination.resume(ID).expect("suspended");
        run(&mut destination);
        assert_eq!(destination.tokens(ID).expect("there"), expected, "moved after step {at}");
        source.release(ID).expect("there");
        assert_conserved(&source);
    }
}

#[test]
fn a_session_that_moves_before_every_step_has_the_same_tokens() {
    let model = model();
    let (expected, steps) = unmoved(&model);
    let mut engine = started(&model, 0);
    for _ in 0..steps {
        let moved = leave(&mut engine);
        engine = self::engine(&model, CHUNK);
        arrive(&mut engine, &moved).expect("it fits");
        engine.step();
    }
    assert_eq!(engine.tokens(ID).expect("there"), expected);
    assert_eq!(engine.usage().sequences_running, 0);
}

#[test]
fn lost_pages_are_computed_again_and_no_token_is_chosen_again() {
    let model = model();
    let (expected, steps) = unmoved(&model);
    for at in [0, 2, 4, 9, 25, steps] {
        let moved = leave(&mut started(&model, at));
        for survived in 0..=moved.pages.len() {
            let mut engine = engine(&model, 20);
            let pages = moved.pages[..survived].to_vec();
            arrive(&mut engine, &Moved { pages, tail: None, ..moved.clone() }).expect("it fits");
            let mut chosen = 0;
            while engine.usage().sequences_running > 0 {
                let events = engine.step().events;
                chosen += events.iter().filter(|(_, event)| matches!(event, crate::StepEvent::Token { .. })).count();
            }
            assert_eq!(engine.tokens(ID).expect("there"), expected, "{survived} pages after step {at}");
            assert_eq!(chosen, expected.len() - moved.session.tokens.len());
            if moved.finish.is_some() {
                assert_eq!(leave(&mut engine), moved, "a finished session gets its pages back, and no token");
            }
        }
    }
}

#[test]
fn a_parked_session_whose_blocks_are_still_cached_needs_no_page() {
    let model = model();
    let (expected, _) = unmoved(&model);
    let mut engine = started(&model, 20);
    let moved = leave(&mut engine);
    engine.release(ID).expect("there");
    let without = Moved { pages: Vec::new(), tail: None, ..moved.clone() };
    let back = arrive(&mut engine, &without).expect("room");
    assert_eq!(back.cached.get() as usize, moved.pages.len() * BLOCK_TOKENS);
    run(&mut engine);
    assert_eq!(engine.tokens(ID).expect("there"), expected);
    assert_conserved(&engine);
}

#[test]
fn cache_and_pages_together_give_the_same_tokens() {
    let model = model();
    let (expected, _) = unmoved(&model);
    let moved = leave(&mut started(&model, 30));
    let mut engine = engine(&model, 20);
    let prompt = moved.session.tokens[..33].to_vec();
    engine.admit(SequenceId(2), prompt, hot(9, 1), SALT).expect("room");
    run(&mut engine);
    let started = arrive(&mut engine, &moved).expect("room");
    assert_eq!(started.cached, TokenCount::new(32));
    assert_eq!(started.computed.get() as usize, moved.session.tokens.len() - 1);
    run(&mut engine);
    assert_eq!(engine.tokens(ID).expect("there"), expected);
    assert_conserved(&engine);
}

#[test]
fn pages_read_while_decoding_are_those_at_the_end() {
    let model = model();
    let mut engine = started(&model, 0);
    let mut early: Vec<Vec<u8>> = Vec::new();
    while engine.usage().sequences_running > 0 {
        engine.step();
        for index in early.len()..engine.full_pages(ID).expect("there") {
            early.push(engine.page(ID, index).expect("full"));
        }
    }
    assert_eq!(leave(&mut engine).pages, early);
    let full = early.len();
    assert_eq!(engine.page(ID, full), Err(Refusal::PageNotFull { index: full, full }));
}

#[test]
fn payloads_are_those_of_the_wire_page() {
    let model = model();
    let moved = leave(&mut started(&model, 20));
    let stream = model.stream_descriptor();
    assert_eq!(stream.payload_bytes(), Ok(model.config().page_bytes()));
    let tail = moved.tail.expect("a tail");
    Page::new(&stream, PageIndex::new(0), 16, &moved.pages[0], None).expect("a page");
    Page::new(&stream, PageIndex::new(3), u16::from(tail.rows), &tail.payload, None).expect("a page");
}

#[test]
fn a_suspended_sequence_does_not_advance_until_it_resumes() {
    let model = model();
    let (expected, _) = unmoved(&model);
    let mut engine = started(&model, 10);
    engine.suspend(ID).expect("it runs");
    assert_eq!(engine.suspend(ID).map_err(|refusal| refusal.code()), Err("E-107"));
    assert_eq!(engine.step().events, []);
    engine.resume(ID).expect("suspended");
    assert_eq!(engine.resume(ID).map_err(|refusal| refusal.code()), Err("E-107"));
    run(&mut engine);
    assert_eq!(engine.tokens(ID).expect("there"), expected);
}

#[test]
fn what_does_not_fit_is_refused_and_leaves_nothing_behind() {
    let model = model();
    let moved = leave(&mut started(&model, 20));
    type Change = fn(&mut Moved);
    let changes: [(&str, Change); 10] = [
        ("E-103", |x| x.session.tokens[3] = 1 << 20),
        ("E-113", |x| x.session.tokens.truncate(50)),
        ("E-113", |x| x.pages.push(vec![0; 9])),
        ("E-113", |x| x.pages[1].truncate(9)),
        ("E-113", |x| x.tail.as_mut().expect("a tail").rows += 1),
        ("E-113", |x| x.tail.as_mut().expect("a tail").rows = 16),
        ("E-113", |x| x.tail.as_mut().expect("a tail").payload.truncate(9)),
        ("E-114", |x| x.session.prompt = TokenCount::new(100)),
        ("E-114", |x| x.session.sampling.max_tokens = TokenCount::new(3)),
        ("E-109", |x| x.session.sampling.top_k = Some(0)),
    ];
    for (code, change) in changes {
        let mut changed = moved.clone();
        change(&mut changed);
        let mut engine = engine(&model, 8);
        assert_eq!(arrive(&mut engine, &changed).map_err(|refusal| refusal.code()), Err(code));
        assert_eq!((engine.usage().blocks_free, engine.usage().sequences_total), (64, 0), "{code}");
    }

    let mut engine = engine(&model, 8);
    arrive(&mut engine, &moved).expect("it fits");
    assert_eq!(arrive(&mut engine, &moved), Err(Refusal::SequenceExists { id: ID }));
    assert_conserved(&engine);
}

#[test]
fn tokens_after_an_end_are_refused() {
    let model = model();
    let tokens = [prompt(1, 20), vec![1, 5]].concat();
    let session = Session { tokens, prompt: TokenCount::new(20), sampling: hot(1, 9), salt: SALT };
    let refusal = engine(&model, 8).start(ID, &session, &[] as &[Vec<u8>], None);
    assert_eq!(refusal.map_err(|refusal| refusal.code()), Err("E-114"));
}

#[test]
fn a_moved_session_leaves_its_prefix_at_both_ends() {
    let model = model();
    let mut source = started(&model, 20);
    let moved = leave(&mut source);
    let mut destination = engine(&model, 64);
    arrive(&mut destination, &moved).expect("it fits");
    source.release(ID).expect("there");
    for engine in [&mut source, &mut destination] {
        let admitted = engine.admit(SequenceId(2), prompt(1, 45), hot(9, 4), SALT).expect("room");
        assert_eq!(admitted.cached, TokenCount::new(32));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn sessions_of_any_shape_move_at_any_step_among_others(
        length in 1..70_u32, generated in 1..40_u32, chunk in 1..40_usize, at in 0..60_usize, seed: u64,
    ) {
        let model = model();
        let start = || {
            let mut engine = engine(&model, chunk);
            engine.admit(ID, prompt(4, length), hot(seed, generated), SALT).expect("room");
            engine
        };
        let mut still = start();
        run(&mut still);
        let mut source = start();
        source.admit(SequenceId(0), prompt(5, 20), hot(1, 30), SALT).expect("room");
        for _ in 0..at {
            source.step();
        }
        let moved = leave(&mut source);
        let mut destination = engine(&model, 7);
        destination.admit(SequenceId(0), prompt(6, 33), hot(2, 30), SALT).expect("room");
        destination.step();
        arrive(&mut destination, &moved).expect("it fits");
        run(&mut destination);
        prop_assert_eq!(destination.tokens(ID).expect("there"), still.tokens(ID).expect("there"));
    }
}
