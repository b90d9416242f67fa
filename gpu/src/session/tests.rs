use std::sync::Arc;

use proptest::prelude::*;
use wallet::{digest::Digest, page::Page, units::PageIndex, units::TokenCount};

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
struct Exported {
    continuation: Continuation,
    tokens: Vec<TokenId>,
    pages: Vec<Vec<u8>>,
    tail: Option<TailPage>,
}

fn export(engine: &mut Engine) -> Exported {
    let continuation = engine.suspend(ID).expect("it is in the batch");
    let pages = engine.full_pages(ID).expect("there");
    Exported {
        tokens: engine.tokens(ID).expect("there").to_vec(),
        pages: (0..pages).map(|index| engine.export_page(ID, index).expect("full")).collect(),
        tail: engine.export_tail(ID).expect("suspended"),
        continuation,
    }
}

fn import(engine: &mut Engine, from: &Exported) -> Result<(), Refusal> {
    // As it arrives: through the bytes.
    let continuation = Continuation::decode(&from.continuation.encode())?;
    engine.import(ID, &continuation, &from.tokens, &from.pages, from.tail.as_ref(), SALT)
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
        let moved = export(&mut source);
        let mut destination = engine(&model, 1 + at);
        import(&mut destination, &moved).expect("it fits");
        // export(import(x)) == x
        assert_eq!(export(&mut destination), moved, "after step {at}");
        destination.resume_local(ID).expect("suspended");
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
        let moved = export(&mut engine);
        engine = self::engine(&model, CHUNK);
        import(&mut engine, &moved).expect("it fits");
        engine.step();
    }
    assert_eq!(engine.tokens(ID).expect("there"), expected);
    assert_eq!(engine.usage().sequences_running, 0);
}

#[test]
fn a_session_rebuilt_from_any_number_of_pages_has_the_same_tokens() {
    let model = model();
    let (expected, steps) = unmoved(&model);
    for at in [0, 2, 4, 9, 25, steps] {
        let moved = export(&mut started(&model, at));
        for survived in 0..=moved.pages.len() {
            let mut engine = engine(&model, 20);
            let pages = &moved.pages[..survived];
            engine.rebuild(ID, &moved.continuation, &moved.tokens, pages, SALT).expect("it fits");
            run(&mut engine);
            assert_eq!(engine.tokens(ID).expect("there"), expected, "{survived} pages after step {at}");
            if moved.continuation.finish.is_some() {
                assert_eq!(export(&mut engine), moved, "a finished session gets its pages back, and no token");
            }
        }
    }
}

#[test]
fn a_session_is_rebuilt_from_a_journal_alone() {
    let model = model();
    let (expected, _) = unmoved(&model);
    let begin = Continuation::begin(&model, &expected[..45], hot(3, 40));
    for known in [45, 46, 60, 85] {
        let mut engine = engine(&model, 20);
        let tokens = expected[..known].to_vec();
        let continuation = begin.clone().with_tokens(&tokens);
        engine.rebuild(ID, &continuation, &tokens, &[] as &[Vec<u8>], SALT).expect("it fits");
        let mut emitted = 0;
        while engine.usage().sequences_running > 0 {
            let events = engine.step().events;
            emitted += events.iter().filter(|(_, event)| matches!(event, crate::StepEvent::Token { .. })).count();
        }
        assert_eq!(engine.tokens(ID).expect("there"), expected);
        assert_eq!(emitted, 85 - known, "no known token is chosen again");
    }
}

#[test]
fn pages_exported_while_decoding_are_those_at_the_end() {
    let model = model();
    let mut engine = started(&model, 0);
    let mut early: Vec<Vec<u8>> = Vec::new();
    while engine.usage().sequences_running > 0 {
        engine.step();
        for index in early.len()..engine.full_pages(ID).expect("there") {
            early.push(engine.export_page(ID, index).expect("full"));
        }
    }
    assert_eq!(export(&mut engine).pages, early);
    let full = early.len();
    assert_eq!(engine.export_page(ID, full), Err(Refusal::PageNotFull { index: full, full }));
}

#[test]
fn payloads_are_those_of_the_wire_page() {
    let model = model();
    let moved = export(&mut started(&model, 20));
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
    assert_eq!(engine.export_tail(ID).map_err(|refusal| refusal.code()), Err("E-107"));
    engine.suspend(ID).expect("it runs");
    assert_eq!(engine.suspend(ID).map_err(|refusal| refusal.code()), Err("E-107"));
    assert_eq!(engine.step().events, []);
    engine.resume_local(ID).expect("suspended");
    assert_eq!(engine.resume_local(ID).map_err(|refusal| refusal.code()), Err("E-107"));
    run(&mut engine);
    assert_eq!(engine.tokens(ID).expect("there"), expected);
}

#[test]
fn what_does_not_fit_is_refused_and_leaves_nothing_behind() {
    let model = model();
    let moved = export(&mut started(&model, 20));
    let other_model = {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let other = crate::synthetic::SyntheticLlama { seed: 2, ..Default::default() };
        other.write(folder.path()).expect("writable");
        Arc::new(Model::load(folder.path()).expect("valid"))
    };
    assert_eq!(import(&mut engine(&other_model, 8), &moved).map_err(|refusal| refusal.code()), Err("E-110"));

    type Change = fn(&mut Exported);
    let changes: [(&str, Change); 12] = [
        ("E-111", |x| x.continuation.numerics = Digest([0; 32])),
        ("E-112", |x| x.tokens[3] ^= 1),
        ("E-112", |x| x.tokens.truncate(50)),
        ("E-113", |x| x.pages.truncate(1)),
        ("E-113", |x| x.pages.push(Vec::new())),
        ("E-113", |x| x.pages[1].truncate(9)),
        ("E-113", |x| x.tail = None),
        ("E-113", |x| x.tail.as_mut().expect("a tail").rows += 1),
        ("E-113", |x| x.tail.as_mut().expect("a tail").payload.truncate(9)),
        ("E-114", |x| x.continuation.finish = Some(crate::FinishReason::EndToken)),
        ("E-114", |x| x.continuation.sampling.max_tokens = TokenCount::new(3)),
        ("E-109", |x| x.continuation.sampling.top_k = Some(0)),
    ];
    for (code, change) in changes {
        let mut changed = moved.clone();
        change(&mut changed);
        let mut engine = engine(&model, 8);
        assert_eq!(import(&mut engine, &changed).map_err(|refusal| refusal.code()), Err(code));
        assert_eq!((engine.usage().blocks_free, engine.usage().sequences_total), (64, 0), "{code}");
    }

    let mut engine = engine(&model, 8);
    let pages = vec![moved.pages[0].clone(); 9];
    let too_many = engine.rebuild(ID, &moved.continuation, &moved.tokens, &pages, SALT);
    assert_eq!(too_many.map_err(|refusal| refusal.code()), Err("E-113"));
    import(&mut engine, &moved).expect("it fits");
    assert_eq!(import(&mut engine, &moved), Err(Refusal::SequenceExists { id: ID }));
    assert_conserved(&engine);
}

#[test]
fn tokens_after_an_end_are_refused() {
    let model = model();
    let tokens = [prompt(1, 20), vec![1, 5]].concat();
    let continuation = Continuation::begin(&model, &tokens[..20], hot(1, 9)).with_tokens(&tokens);
    let refusal = engine(&model, 8).rebuild(ID, &continuation, &tokens, &[] as &[Vec<u8>], SALT);
    assert_eq!(refusal.map_err(|refusal| refusal.code()), Err("E-114"));
}

#[test]
fn a_moved_session_leaves_its_prefix_at_both_ends() {
    let model = model();
    let mut source = started(&model, 20);
    let moved = export(&mut source);
    let mut destination = engine(&model, 64);
    import(&mut destination, &moved).expect("it fits");
    source.release(ID).expect("there");
    for engine in [&mut source, &mut destination] {
        let admitted = engine.admit(SequenceId(2), prompt(1, 45), hot(9, 4), SALT).expect("room");
        assert_eq!(admitted.cached_tokens, TokenCount::new(32));
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
        let moved = export(&mut source);
        let mut destination = engine(&model, 7);
        destination.admit(SequenceId(0), prompt(6, 33), hot(2, 30), SALT).expect("room");
        destination.step();
        import(&mut destination, &moved).expect("it fits");
        run(&mut destination);
        prop_assert_eq!(destination.tokens(ID).expect("there"), still.tokens(ID).expect("there"));
    }
}
