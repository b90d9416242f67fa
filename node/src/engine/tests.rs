use std::{collections::BTreeSet, io, sync::Arc, time::Duration};

use gpu::{
    dispatch::{ALIVE_EVERY, EVENTS, Event, REQUESTS, descriptor, send},
    stream::{Integrity, RingStream},
};
use wallet::{
    digest::Digest,
    units::{NodeId, TokenCount},
};

use crate::{
    config::EnginePlace,
    engine::{
        Arrival, EngineHandle, EngineRefusal, OpenQueue, Placement, Queue, elsewhere::OpenEngine,
        placement::ring_options,
    },
    node::Seams,
    peer::{PeerFault, SessionRequest},
    session::{context::random, request::PrefixSalt},
    testbed::{Testbed, control, ids, ids_to_end, model_dir, prompt},
};

/// Three nodes, of which the first has its engine at the second.
async fn guest_and_host(serves: BTreeSet<NodeId>) -> Testbed {
    let mut testbed = Testbed::prepare(&["eu", "eu", "eu"]);
    testbed.config(0).engine.place = EnginePlace::Node(NodeId::new(1));
    testbed.config(1).engine.serves = serves;
    for node in 0..3 {
        testbed.start_node(node, Seams::default()).await;
    }
    testbed.until_final().await;
    testbed
}

async fn until_engine(testbed: &Testbed, node: u32, lost: bool) {
    let engine = &testbed.node(node).sessions().context().engine;
    let turned = async {
        while engine.is_lost() != lost {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(crate::testbed::PATIENCE, turned).await.expect("the engine comes or goes");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_at_another_node_chooses_the_same_tokens_and_its_sessions_outlive_it() {
    let mut testbed = guest_and_host([NodeId::new(0)].into()).await;
    until_engine(&testbed, 0, false).await;
    let (sampling, expected) = control(60);
    let start = prompt().len() as u32;

    let client = testbed.create(0, &["eu"], &sampling, 0).await;
    assert_eq!(ids_to_end(testbed.follow(0, &client, start), start).await, expected);

    let client = testbed.create(0, &["eu"], &sampling, 20).await;
    let (mut seen, stream) = ids(testbed.follow(0, &client, start), start, 9).await;
    testbed.stop_node(1).await;
    testbed.start_node(1, Seams::default()).await;
    seen.extend(ids_to_end(stream, start + 9).await);
    assert_eq!(seen, expected, "no token is chosen again, and none is another one");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_not_listed_gets_no_engine() {
    let testbed = guest_and_host(BTreeSet::new()).await;
    let context = testbed.node(0).sessions().context();
    let served = testbed.node(1).sessions().context().engine.served();
    let engine = OpenEngine { queue: Digest([1; 32]), model: served.model, numerics: served.numerics, blocks: 16 };
    let answer = context.link.ask(NodeId::new(1), SessionRequest::Engine(engine), crate::testbed::PATIENCE).await;
    let Err(PeerFault::Refused(refused)) = answer else { panic!("{answer:?}") };
    assert_eq!((refused.code.as_str(), refused.retry), ("N-221", false));
    assert!(context.engine.is_lost());
}

fn open(placement: Placement) -> EngineHandle {
    let model = Arc::new(gpu::Model::load(&model_dir()).expect("the tiny model"));
    let options = gpu::EngineOptions { block_count: 32, prefill_chunk_tokens: 16, idle_blocks_max: 0 };
    EngineHandle::open(model, options, placement).expect("it starts")
}

/// A session of 8 tokens.
fn arrival() -> Arrival {
    Arrival {
        tokens: prompt(),
        prompt_tokens: TokenCount::new(prompt().len() as u32),
        sampling: control(8).0.to_engine().expect("valid"),
        pages: Vec::new(),
        tail: None,
        salt: PrefixSalt([1; 32]),
        pace: Duration::ZERO,
    }
}

#[tokio::test]
async fn a_session_whose_pages_do_not_fit_is_taken_in_without_them() {
    let engine = open(Placement::InProcess);
    let expected = control(8).1;
    let arrival = Arrival { pages: vec![vec![7; 3]], ..arrival() };
    let (mut sequence, started) = engine.start(arrival, false).await.expect("a cache miss");
    assert_eq!(started.computed, TokenCount::ZERO);
    let first = sequence.events.recv().await.expect("it decodes");
    assert_eq!(first.token, expected[0]);
}

#[tokio::test]
async fn a_sequence_that_nobody_waits_for_or_holds_costs_no_blocks() {
    let engine = open(Placement::InProcess);
    let used = async || engine.stats().await.expect("it runs").blocks_used;
    let (sequence, _) = engine.start(arrival(), true).await.expect("room");
    assert!(used().await > 0);
    drop(sequence);
    assert_eq!(used().await, 0, "it was dropped");
    // A client that hangs up while the engine takes its session in.
    let mut starting = Box::pin(engine.start(arrival(), false));
    let _ = futures::poll!(&mut starting);
    drop(starting);
    assert_eq!(used().await, 0, "the request was sent, and nobody waits for its answer");
}

/// An engine at the other end of two rings which says that it works, once, and nothing more.
struct Stuck;

impl OpenQueue for Stuck {
    fn open(&self) -> io::Result<Queue> {
        let ring = |name| RingStream::new(descriptor(&Digest(random()), name, Integrity::None), ring_options());
        let (requests, events) = (ring(REQUESTS), ring(EVENTS));
        send(&*events, 0, &Event::Alive, &[] as &[&[u8]]).map_err(io::Error::other)?;
        Ok(Queue { requests, events, host: Box::new(()), silence_max: ALIVE_EVERY })
    }
}

#[tokio::test]
async fn whoever_waits_for_an_engine_that_stands_still_is_told_so() {
    let engine = open(Placement::Elsewhere(Arc::new(Stuck)));
    while engine.is_lost() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let refusal = engine.start(arrival(), false).await.expect_err("nobody takes it in");
    assert_eq!((refusal.code(), refusal.retry()), ("N-220", true));
    let refusal = engine.suspend(gpu::SequenceId(1)).await.expect_err("nobody answers");
    assert_eq!(refusal.code(), "N-220");
}

/// Its time is not that of the clock: it passes when there is nothing to do but wait.
#[tokio::test(start_paused = true)]
async fn whoever_asks_how_the_engine_stands_waits_for_a_few_seconds_only() {
    struct Patient;
    impl OpenQueue for Patient {
        fn open(&self) -> io::Result<Queue> {
            Ok(Queue { silence_max: Duration::MAX, ..Stuck.open()? })
        }
    }
    let engine = open(Placement::Elsewhere(Arc::new(Patient)));
    // Before it is there it is not waited for at all.
    let refusal = loop {
        match engine.stats().await.expect_err("nobody answers") {
            EngineRefusal::Stopped => tokio::task::yield_now().await,
            other => break other,
        }
    };
    assert_eq!((refusal.code(), refusal.retry()), ("N-222", true));
}
