use std::sync::Arc;

use proptest::prelude::*;
use wallet::{
    chain::PageHashKey,
    identity::SecretKey,
    units::{TokenCount, TokenPosition},
};

use super::*;
use crate::{
    continuation::{
        Body, Bound, Flags, SignedContinuation, Standing, Status, Tail, Terms, journal_descriptor,
        memory::MemoryStream,
        program::{Advanced, Interpreter, advance},
    },
    stream::StreamWriter,
};

const ID: Digest = Digest([1; 32]);
const NUMERICS: Digest = Digest([2; 32]);
const PROMPT: [TokenId; 5] = [5, 6, 7, 8, 9];

/// A model of which the next token is a hash of all before.
fn next(tokens: &[TokenId], max_tokens: usize) -> Chosen {
    let bytes: Vec<u8> = tokens.iter().flat_map(|token| token.to_le_bytes()).collect();
    match end(tokens, max_tokens) {
        None => {
            let token = u32::from(blake3("test", None, &[&bytes]).0[0]);
            Chosen { token: Some(token), finish: end(&[tokens, &[token]].concat(), max_tokens) }
        }
        finish => Chosen { token: None, finish },
    }
}

/// Whether the tokens are all.
fn end(tokens: &[TokenId], max_tokens: usize) -> Option<FinishReason> {
    match &tokens[PROMPT.len()..] {
        [.., last] if last.is_multiple_of(109) => Some(FinishReason::EndToken),
        generated => (generated.len() >= max_tokens).then_some(FinishReason::MaxTokens),
    }
}

fn body(max_tokens: u32, journal: Bound) -> DecodeBody {
    DecodeBody {
        model: Digest([3; 32]),
        sampling: SamplingParams::greedy(TokenCount::new(max_tokens)),
        prompt: TokenCount::new(PROMPT.len() as u32),
        journal,
        kv: Bound { root: Digest::ZERO, to: 0 },
        tail: None,
        finish: None,
        terms: Terms::default(),
    }
}

fn open(stream: &Arc<MemoryStream>, epoch: u32) -> Journal {
    let writer: Arc<dyn StreamWriter> = Arc::clone(stream) as _;
    Journal::open(writer, PageHashKey::from_bytes([4; 32]), epoch).expect("readable")
}

/// An engine, and the user before it. Its power fails once.
struct World {
    max_tokens: usize,
    /// What the engine computes from: it learns tokens from the journal when it begins, and then its own.
    known: Vec<TokenId>,
    /// How often each position was computed.
    computed: Vec<usize>,
    /// What the user was shown.
    shown: Vec<TokenId>,
    /// Effects until the power fails; before or after the effect.
    fuse: Option<(usize, bool)>,
}

impl World {
    fn burns(&mut self, after: bool) -> Result<(), ContinuationRefusal> {
        match &mut self.fuse {
            Some((0, when)) if *when == after => {
                self.fuse = None;
                Err(ContinuationRefusal::WakeUnexpected { reason: "the power failed" })
            }
            Some((count, _)) if after => {
                *count = count.saturating_sub(1);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

impl Interpreter for World {
    fn perform(&mut self, effect: &Effect) -> Result<Outcome, ContinuationRefusal> {
        self.burns(false)?;
        let outcome = match (effect.op, effect.args.as_slice()) {
            (Op::Prefill, _) => Value::Nil,
            (Op::Decode, [_, Value::Int(position)]) => {
                let position = *position as usize;
                assert_eq!(self.known.len(), position, "it is asked for the next token");
                self.computed.resize(self.computed.len().max(position + 1), 0);
                self.computed[position] += 1;
                let chosen = next(&self.known, self.max_tokens);
                self.known.extend(chosen.token);
                chosen.to_value()
            }
            (Op::Emit, [Value::Int(position), Value::Int(token)]) => {
                let (at, token) = (*position as usize - PROMPT.len(), *token as TokenId);
                match self.shown.get(at) {
                    Some(shown) => assert_eq!(*shown, token, "position {at} was shown with another token"),
                    None => {
                        assert_eq!(self.shown.len(), at, "a token was lost");
                        self.shown.push(token);
                    }
                }
                Value::Nil
            }
            other => panic!("a decode session does not ask for {other:?}"),
        };
        self.burns(true)?;
        Ok(Ok(outcome))
    }
}

fn program(body: DecodeBody, journal: &Journal, world: &World) -> DecodeProgram {
    let shown = TokenPosition::new((PROMPT.len() + world.shown.len()) as u32);
    DecodeProgram::from(ID, &NUMERICS, body, journal, shown).expect("they fit")
}

/// Runs until the end, or until the power fails.
fn run(program: &mut DecodeProgram, journal: &mut Journal, world: &mut World) -> Result<Value, ContinuationRefusal> {
    let mut wake = Wake::Begin;
    loop {
        match advance(program, journal, world, wake)? {
            Advanced::Next(next) => wake = next,
            Advanced::Done(value) => return Ok(value),
            other => panic!("a decode session ends: {other:?}"),
        }
    }
}

fn world(max_tokens: u32) -> World {
    World {
        max_tokens: max_tokens as usize,
        known: PROMPT.to_vec(),
        computed: Vec::new(),
        shown: Vec::new(),
        fuse: None,
    }
}

fn begun(max_tokens: u32) -> (Arc<MemoryStream>, Journal, DecodeBody) {
    let stream = MemoryStream::new(journal_descriptor(&ID));
    let mut journal = open(&stream, 1);
    journal.prompt(&PROMPT).expect("it goes on");
    let body = body(max_tokens, journal.bound().expect("a root"));
    (stream, journal, body)
}

/// What an uninterrupted session shows, and how many effects it has.
fn uninterrupted(max_tokens: u32) -> (Vec<TokenId>, usize) {
    let (_, mut journal, body) = begun(max_tokens);
    let mut world = World { fuse: Some((usize::MAX, true)), ..world(max_tokens) };
    run(&mut program(body, &journal, &world), &mut journal, &mut world).expect("it ends");
    assert_eq!(journal.tokens()[PROMPT.len()..], world.shown);
    let left = world.fuse.expect("it did not burn").0;
    (world.shown, usize::MAX - left)
}

#[test]
fn the_user_sees_each_token_once_whenever_the_power_fails() {
    let (expected, effects) = uninterrupted(12);
    assert!(expected.len() > 6, "{expected:?}");
    assert_eq!(effects, 1 + 2 * expected.len(), "one Prefill, then a Decode and an Emit for each token");
    for at in 0..effects {
        for after in [false, true] {
            // What was not durable may be gone, or not.
            for lost in [0, 1, 2, usize::MAX] {
                let (stream, mut journal, body) = begun(12);
                stream.sync().expect("syncs");
                let mut world = World { fuse: Some((at, after)), ..world(12) };
                run(&mut program(body.clone(), &journal, &world), &mut journal, &mut world).expect_err("power fails");
                let left = (stream.pages().len()).saturating_sub(lost) as u64;
                let stream = stream.after_crash(left);
                let mut journal = open(&stream, 2);
                world.known = journal.tokens().to_vec();
                run(&mut program(body, &journal, &world), &mut journal, &mut world).expect("it ends");
                assert_eq!(world.shown, expected, "effect {at}, after {after}, lost {lost}");
                assert_eq!(journal.tokens()[PROMPT.len()..], expected);
            }
        }
    }
}

#[test]
fn a_token_that_stands_in_the_journal_is_never_computed_again() {
    let (_, effects) = uninterrupted(12);
    for at in 0..effects {
        let (stream, mut journal, body) = begun(12);
        let mut world = World { fuse: Some((at, true)), ..world(12) };
        run(&mut program(body.clone(), &journal, &world), &mut journal, &mut world).expect_err("power fails");
        let known = open(&stream, 2).tokens().len();
        let before = world.computed.clone();
        let mut journal = open(&stream, 2);
        world.known = journal.tokens().to_vec();
        run(&mut program(body, &journal, &world), &mut journal, &mut world).expect("it ends");
        let again =
            (0..known).filter(|position| world.computed[*position] > before.get(*position).copied().unwrap_or(0));
        assert_eq!(again.count(), 0, "effect {at}");
    }
}

#[test]
fn a_session_that_was_cut_off_before_its_end_was_recorded_still_ends() {
    let (stream, mut journal, body) = begun(12);
    let mut world = world(12);
    run(&mut program(body.clone(), &journal, &world), &mut journal, &mut world).expect("it ends");
    let reason = journal.finished();
    let stream = stream.after_crash(stream.pages().len() as u64 - 1);
    let mut journal = open(&stream, 2);
    assert_eq!(journal.finished(), None);
    /// An engine that finds that the tokens it was given are all.
    struct Ended(Option<FinishReason>);
    impl Interpreter for Ended {
        fn perform(&mut self, effect: &Effect) -> Result<Outcome, ContinuationRefusal> {
            assert_eq!(effect.op, Op::Decode);
            Ok(Ok(Chosen { token: None, finish: self.0 }.to_value()))
        }
    }
    let mut program = program(body, &journal, &world);
    let next = advance(&mut program, &mut journal, &mut Ended(reason), Wake::Begin).expect("it goes on");
    let Advanced::Next(wake) = next else { panic!("{next:?}") };
    let end = advance(&mut program, &mut journal, &mut Ended(reason), wake).expect("it ends");
    assert!(matches!(end, Advanced::Done(_)), "{end:?}");
    assert_eq!((journal.finished(), open(&stream, 2).tokens().len()), (reason, journal.tokens().len()));
}

#[test]
fn a_session_suspended_after_any_effect_goes_on_elsewhere_from_its_continuation() {
    let (expected, effects) = uninterrupted(12);
    let key = SecretKey::from_seed(&[7; 32]);
    for at in 0..=effects {
        let (stream, mut journal, body) = begun(12);
        let mut world = world(12);
        let mut source = program(body, &journal, &world);
        let mut wake = Wake::Begin;
        for _ in 0..at {
            match advance(&mut source, &mut journal, &mut world, wake).expect("it goes on") {
                Advanced::Next(next) => wake = next,
                other => panic!("{other:?}"),
            }
        }
        let standing = Standing {
            id: ID,
            epoch: 1,
            flags: Flags::default(),
            status: Status::Ready,
            priority: 0,
            parent: Digest::ZERO,
            awaits: EffectId::NONE,
            numerics: NUMERICS,
            policy: Digest::ZERO,
            deadline_us: 0,
        };
        let parked = codec::decode::<DecodeBody>(&source.encode(&journal).expect("a root")).expect("a body");
        let signed = parked.sign(&standing, &key).expect("valid");

        let arrived = SignedContinuation::decode(signed.as_bytes().to_vec(), &key.verifying_key()).expect("signed");
        let Body::Decode(body) = arrived.body().expect("schema 2") else { panic!("schema 2") };
        let mut journal = open(&stream, 2);
        assert_eq!(journal.bound().expect("a root"), body.journal, "the journal is the one that it refers to");
        world.known = journal.tokens().to_vec();
        run(&mut program(body, &journal, &world), &mut journal, &mut world).expect("it ends");
        assert_eq!(world.shown, expected, "after {at} effects");
    }
}

#[test]
fn effects_are_the_same_wherever_they_are_asked_for() {
    let (stream, mut journal, body) = begun(12);
    journal.token(1, 40).expect("it goes on");
    let ask = |journal: &Journal| {
        let shown = TokenPosition::new(6);
        let mut program = DecodeProgram::from(ID, &NUMERICS, body.clone(), journal, shown).expect("they fit");
        match program.step(Wake::Begin).expect("it asks") {
            Step::Perform(effect) => effect,
            other => panic!("{other:?}"),
        }
    };
    let (here, there) = (ask(&journal), ask(&open(&stream, 7)));
    assert_eq!(here, there);
    assert_eq!((here.op, here.seq), (Op::Decode, 2));
}

#[test]
fn a_body_and_a_journal_that_do_not_belong_together_are_refused() {
    let (_, mut journal, body) = begun(2);
    journal.token(1, 40).expect("it goes on");
    let try_with = |journal: &Journal, change: fn(&mut DecodeBody)| {
        let mut body = body.clone();
        change(&mut body);
        DecodeProgram::from(ID, &NUMERICS, body, journal, TokenPosition::ZERO).map(|_| ()).map_err(|why| why.code())
    };
    assert_eq!(try_with(&journal, |_| ()), Ok(()));
    for contradiction in [
        (|body| body.prompt = TokenCount::new(4)) as fn(&mut DecodeBody),
        |body| body.finish = Some(FinishReason::EndToken),
        |body| body.tail = Some(Tail { rows: 6, hash: Digest::ZERO }),
        |body| body.kv.to = 1,
    ] {
        assert_eq!(try_with(&journal, contradiction), Err("E-309"));
    }
    journal.token(2, 41).expect("it goes on");
    journal.token(3, 42).expect("it goes on");
    assert_eq!(try_with(&journal, |_| ()), Err("E-309"), "more tokens than allowed");
    let other = DecodeProgram::from(Digest([9; 32]), &NUMERICS, body.clone(), &journal, TokenPosition::ZERO);
    assert!(other.is_err());
}

#[test]
fn a_program_takes_only_what_it_asked_for() {
    let (_, journal, body) = begun(2);
    let mut program = program(body, &journal, &world(2));
    let done = |id, outcome| Wake::Done { result: EffectResult { id, outcome }, next: 1 };
    assert!(program.step(done(EffectId::NONE, Ok(Value::Nil))).is_err(), "it asked for nothing");
    let Ok(Step::Perform(prefill)) = program.step(Wake::Begin) else { panic!("it asks") };
    assert!(program.step(Wake::Begin).is_err());
    assert!(program.step(done(EffectId::NONE, Ok(Value::Nil))).is_err());
    let Ok(Step::Perform(decode)) = program.step(done(prefill.id, Ok(Value::Nil))) else { panic!("it asks") };
    assert!(program.step(done(decode.id, Ok(Value::Bool(true)))).is_err());
}

proptest! {
    #[test]
    fn what_a_decode_yields_reads_back(token: Option<u32>, finish in 0..5_i64) {
        let chosen = Chosen { token, finish: FinishReason::from_code(finish) };
        let empty = chosen.token.is_none() && chosen.finish.is_none();
        prop_assert_eq!(Chosen::read(&chosen.to_value()), (!empty).then_some(chosen));
    }
}

/// Two holders of one epoch, of whom only the other has recorded these tokens, and the end.
fn behind(tokens: &[TokenId], end: Option<FinishReason>) -> Journal {
    let (stream, mut other, _) = begun(8);
    let mut journal = open(&stream, 1);
    journal.prompt(&PROMPT).expect("the same");
    for (seq, token) in (1..).zip(tokens) {
        other.token(seq, *token).expect("it goes on");
    }
    if let Some(reason) = end {
        other.finish(reason).expect("it ends");
    }
    journal
}

#[test]
fn a_result_that_another_has_recorded_is_taken_only_if_it_is_the_last() {
    const END: FinishReason = FinishReason::MaxTokens;
    let token = |finish| Chosen { token: Some(7), finish };
    let last = Chosen { token: None, finish: Some(END) };
    let conflict = |position| Err(ContinuationRefusal::JournalConflict { position });
    for (chosen, tokens, end, expected) in [
        (token(None), &[7][..], None, Ok(Recorded::Same(1))),
        (token(Some(END)), &[7], Some(END), Ok(Recorded::Same(1))),
        (token(Some(END)), &[7], None, Ok(Recorded::Same(1))),
        // The other is a token ahead, or at an end of which this one knows nothing.
        (token(None), &[7, 8], None, conflict(2)),
        (token(Some(END)), &[7, 8], None, conflict(2)),
        (token(None), &[7], Some(END), conflict(2)),
        (token(Some(END)), &[7, 8], Some(END), conflict(2)),
    ] {
        let found = chosen.record(&mut behind(tokens, end), 1);
        assert_eq!(format!("{found:?}"), format!("{expected:?}"), "{chosen:?} behind {tokens:?} {end:?}");
    }
    // The end alone, by who has seen what the other wrote.
    for (tokens, seq, expected) in
        [(&[7][..], 2, Ok(Recorded::Same(2))), (&[7, 8], 2, conflict(2)), (&[], 2, conflict(2))]
    {
        let mut journal = behind(tokens, Some(END));
        journal.catch_up().expect("readable");
        let found = last.record(&mut journal, seq);
        assert_eq!(format!("{found:?}"), format!("{expected:?}"), "behind {tokens:?}");
    }
}

#[test]
fn a_program_whose_journal_went_on_without_it_is_rebuilt_and_loses_no_position() {
    let (expected, _) = uninterrupted(8);
    let (stream, mut journal, body) = begun(8);
    let (mut world, mut other) = (world(8), open(&stream, 1));
    let mut program = program(body.clone(), &journal, &world);
    for (seq, token) in (1..).zip(&expected[..2]) {
        other.token(seq, *token).expect("it goes on");
    }
    let found = run(&mut program, &mut journal, &mut world).expect_err("the other is a token ahead");
    assert!(matches!(found, ContinuationRefusal::JournalConflict { position: 2 }), "{found}");
    world.known = journal.tokens().to_vec();
    let mut rebuilt = self::program(body, &journal, &world);
    run(&mut rebuilt, &mut journal, &mut world).expect("it ends");
    assert_eq!((&world.shown, &journal.tokens()[PROMPT.len()..]), (&expected, &expected[..]));
}
