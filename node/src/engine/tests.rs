use std::{collections::BTreeSet, sync::Arc, time::Duration};

use wallet::{
    digest::Digest,
    units::{NodeId, TokenCount},
};

use crate::{
    config::EnginePlace,
    engine::{Arrival, EngineHandle, Placement, elsewhere::OpenEngine},
    node::Seams,
    peer::{PeerFault, SessionRequest},
    session::request::PrefixSalt,
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
    let used = async || engine.stats().await.blocks_used;
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
