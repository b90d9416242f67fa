use std::{sync::Arc, thread};

use wallet::units::{Micros, TokenCount};

use super::*;
use crate::{
    EngineOptions, SequenceId, TokenId,
    engine::tests::{engine, hot, model, prompt, run},
    model::Model,
    session::Session,
    stream::{RingOptions, RingStream, StreamFault, StreamWriter, block_on},
};

const SALT: [u8; 32] = [7; 32];

/// The client's side of a queue, on the test's thread.
struct Client {
    requests: Arc<RingStream>,
    inbox: Inbox,
    calls: u64,
    tokens: Vec<TokenEvent>,
}

fn ring(name: &str) -> Arc<RingStream> {
    let options = RingOptions { pages: 8, payload_bytes: 1 << 20 };
    RingStream::new(descriptor(&Digest([1; 32]), name, Integrity::None), options)
}

fn open(model: &Arc<Model>) -> (Client, thread::JoinHandle<Result<(), StreamFault>>) {
    open_pool(model, 64)
}

fn open_pool(model: &Arc<Model>, block_count: usize) -> (Client, thread::JoinHandle<Result<(), StreamFault>>) {
    let (requests, events) = (ring(REQUESTS), ring(EVENTS));
    let options = EngineOptions { block_count, prefill_chunk_tokens: 12, idle_blocks_max: block_count };
    let interpreter = Interpreter::new(model.clone(), options, requests.clone(), events.clone());
    let engine = thread::spawn(move || interpreter.run());
    (Client { requests, inbox: Inbox::new(events, 1 << 20), calls: 0, tokens: Vec::new() }, engine)
}

impl Client {
    fn ask(&mut self, request: &Request, pages: &[Vec<u8>]) -> u64 {
        self.calls += 1;
        send(&*self.requests, self.calls, request, pages).expect("the engine reads");
        self.calls
    }

    fn next(&mut self) -> Result<Message<Event>, StreamFault> {
        loop {
            match self.inbox.poll()? {
                Ok(message) => return Ok(message),
                Err(wake) => block_on(self.inbox.stream().wait(wake)),
            }
        }
    }

    /// The answer to a call. Tokens that come before it are kept.
    fn answer(&mut self, call: u64) -> Result<(Reply, Vec<Vec<u8>>), Refused> {
        loop {
            let message = self.next().expect("the engine lives");
            match message.body {
                Event::Reply { call: answered, outcome } => {
                    assert_eq!((answered, message.call), (call, call), "answers come in order");
                    return outcome.map(|reply| (reply, message.pages));
                }
                Event::Step(step) => self.tokens.extend(step.tokens),
                Event::Cache(_) | Event::Alive => {}
            }
        }
    }

    fn start(&mut self, id: u64, session: &Session, pages: &[Vec<u8>], tail_rows: u8) -> Result<Reply, Refused> {
        let session = Box::new(session.clone());
        let request =
            Request::Start { sequence: SequenceId(id), session, tail_rows, pace: Micros::new(0), standing: false };
        let call = self.ask(&request, pages);
        self.answer(call).map(|(reply, _)| reply)
    }

    fn read_until(&mut self, count: usize) {
        while self.tokens.len() < count {
            if let Event::Step(step) = self.next().expect("the engine lives").body {
                self.tokens.extend(step.tokens);
            }
        }
    }
}

fn session(tokens: Vec<TokenId>) -> Session {
    Session { tokens, prompt: TokenCount::new(45), sampling: hot(3, 40), salt: SALT }
}

/// The tokens of the bare engine.
fn expected(model: &Arc<Model>) -> Vec<TokenId> {
    let mut engine = engine(model, 12);
    engine.admit(SequenceId(1), prompt(1, 45), hot(3, 40), SALT).expect("room");
    run(&mut engine);
    engine.tokens(SequenceId(1)).expect("there").to_vec()
}

#[test]
fn an_engine_behind_a_queue_chooses_the_tokens_of_a_bare_one() {
    let model = model();
    let expected = expected(&model);
    let (mut client, engine) = open(&model);
    client.start(1, &session(prompt(1, 45)), &[], 0).expect("room");
    client.read_until(40);
    let tokens: Vec<TokenId> = client.tokens.iter().map(|event| event.token).collect();
    assert_eq!(tokens, expected[45..]);
    let positions: Vec<u32> = client.tokens.iter().map(|event| event.position.get()).collect();
    assert_eq!(positions, (45..85).collect::<Vec<u32>>());
    assert!(client.tokens.last().is_some_and(|last| last.finish.is_some()));
    client.requests.close(0).expect("open");
    engine.join().expect("no panic").expect("the end of the requests is no fault");
}

#[test]
fn a_session_moves_from_queue_to_queue_with_more_pages_than_a_queue_holds() {
    let model = model();
    let expected = expected(&model);
    let (mut source, source_engine) = open(&model);
    source.start(1, &session(prompt(1, 45)), &[], 0).expect("room");
    source.read_until(9);
    let suspend = source.ask(&Request::Suspend { sequence: SequenceId(1) }, &[]);
    let (reply, tail) = source.answer(suspend).expect("it runs");
    let Reply::Suspended { full_pages, tail_rows, finish } = reply else { panic!("{reply:?}") };
    assert_eq!(tail.len(), usize::from(tail_rows > 0), "after {} tokens, {finish:?}", source.tokens.len());
    let pages = source.ask(&Request::Pages { sequence: SequenceId(1), from: 0, count_max: 99 }, &[]);
    let (reply, mut pages) = source.answer(pages).expect("it is there");
    assert_eq!((reply, pages.len()), (Reply::Pages { full: full_pages }, full_pages as usize));

    let mut tokens = prompt(1, 45);
    tokens.extend(source.tokens.iter().map(|event| event.token));
    let (mut destination, destination_engine) = open(&model);
    pages.extend(tail);
    destination.start(7, &session(tokens.clone()), &pages, tail_rows).expect("it fits");
    destination.read_until(85 - tokens.len());
    tokens.extend(destination.tokens.iter().map(|event| event.token));
    assert_eq!(tokens, expected);
    for (client, engine) in [(source, source_engine), (destination, destination_engine)] {
        client.requests.close(0).expect("open");
        engine.join().expect("no panic").expect("the end of the requests is no fault");
    }
}

#[test]
fn an_engine_says_that_it_works_before_it_is_asked_for_anything_and_while_it_is_not() {
    let (mut client, _engine) = open(&model());
    for _ in 0..2 {
        assert_eq!(client.next().expect("the engine lives").body, Event::Alive);
    }
}

#[test]
fn a_refusal_travels_with_its_code_and_the_engine_goes_on() {
    let (mut client, _engine) = open(&model());
    let refused = client.start(1, &session(vec![1 << 20; 45]), &[], 0).expect_err("no such token");
    assert_eq!((refused.code(), refused.retry()), ("E-103", crate::Retry::Never));
    let refused = client.start(1, &session(prompt(1, 45)), &[], 3).expect_err("the tail is missing");
    assert_eq!(refused.code(), "E-113");
    let unknown = client.ask(&Request::Suspend { sequence: SequenceId(5) }, &[]);
    assert_eq!(client.answer(unknown).expect_err("no such sequence").code(), "E-106");
    client.start(1, &session(prompt(1, 45)), &[], 0).expect("room");
}

#[test]
fn what_is_no_message_ends_the_engine_and_not_the_process() {
    let (client, engine) = open(&model());
    let stray = crate::stream::Draft::bytes(wallet::page::PageKind::Kv);
    client.requests.append(0, crate::stream::Expect::Any, &stray, &[1]).expect("open");
    let fault = engine.join().expect("no panic").expect_err("a page of no message");
    assert_eq!(fault.code(), "E-202");
}

#[test]
fn a_message_with_more_pages_than_any_session_has_ends_the_engine() {
    let model = model();
    let (client, engine) = open(&model);
    let page = vec![0; model.config().page_bytes()];
    let request = Request::Stats;
    // The engine may be gone before all are written.
    let _ = send(&*client.requests, 1, &request, &vec![page; model.config().pages_max() + 1]);
    let fault = engine.join().expect("no panic").expect_err("too many");
    assert_eq!(fault.code(), "E-202");
}

#[test]
fn a_session_with_more_pages_than_the_pool_has_blocks_is_refused_and_the_engine_goes_on_with_the_others() {
    let model = model();
    let expected = expected(&model);
    let (mut client, _engine) = open_pool(&model, 8);
    // It comes from a larger pool.
    let page = vec![0; model.config().page_bytes()];
    let large = Session { prompt: TokenCount::new(320), ..session(prompt(2, 320)) };
    let refused = client.start(2, &large, &vec![page; 19], 0).expect_err("it never fits");
    assert_eq!((refused.code(), refused.retry()), ("E-119", crate::Retry::Elsewhere));
    client.start(1, &session(prompt(1, 45)), &[], 0).expect("room");
    client.read_until(40);
    let tokens: Vec<TokenId> = client.tokens.iter().map(|event| event.token).collect();
    assert_eq!(tokens, expected[45..]);
}

#[test]
fn a_session_prints_neither_its_tokens_nor_its_salt() {
    let printed = format!(
        "{:?}",
        Request::Start {
            sequence: SequenceId(1),
            session: Box::new(session(vec![4711; 9])),
            tail_rows: 0,
            pace: Micros::new(0),
            standing: false,
        }
    );
    assert!(!printed.contains("4711") && !printed.contains("7, 7"), "{printed}");
}

#[test]
fn the_encodings_are_pinned() {
    let event = Event::Step(StepTokens {
        start_ns: 1,
        end_ns: 2,
        median: Some(Micros::new(3)),
        tokens: vec![TokenEvent {
            sequence: SequenceId(4),
            position: wallet::units::TokenPosition::new(5),
            token: 6,
            finish: None,
        }],
    });
    let request = Request::Start {
        sequence: SequenceId(1),
        session: Box::new(session(vec![1, 2])),
        tail_rows: 3,
        pace: Micros::new(4),
        standing: true,
    };
    assert_eq!(VERSION, 2, "another version has other encodings");
    let hash = |bytes: &[u8]| wallet::digest::sha256("test", &[bytes]).to_string()[..16].to_owned();
    let hashes = [wallet::codec::encode(&event), wallet::codec::encode(&request)].map(|bytes| hash(&bytes));
    assert_eq!(hashes, ["f3f1a823f5e12f5f", "3ee11e955ae91c14"]);
}
