use futures::future::select_all;
use wallet::digest::Digest;

use super::{
    super::{
        Session,
        command::SessionCommand,
        context::random,
        request::{GenerateRequest, ResumeSecret},
        tests::request,
        view::{SessionMode, SessionView},
    },
    *,
};
use crate::{
    node::Seams,
    testbed::{Client, PATIENCE, Testbed, control, ids, ids_to_end},
};

const PROMPT: u32 = 53;

fn wallet(number: u8) -> WalletAddress {
    WalletAddress(Digest([number; 32]))
}

#[test]
fn what_those_before_need_is_left_free_up_to_half_of_the_pool() {
    let line = Line::default();
    assert_eq!((line.left_free(100), line.is_empty()), (0, true));
    let _first = line.join(wallet(1), 10);
    let second = line.join(wallet(2), 30);
    let third = line.join(wallet(3), 30);
    assert_eq!(line.left_free(100), 50, "of 70");
    assert_eq!((second.view().ahead, third.view().ahead), (1, 2));
    drop(second);
    assert_eq!((line.left_free(100), third.view().ahead), (40, 1));
    drop(third);
    assert_eq!(line.left_free(100), 10);
}

#[test]
fn the_first_is_left_all_that_it_needs_for_a_while_and_half_of_the_pool_from_then_on() {
    let line = Line::default();
    let giant = line.join(wallet(1), 90);
    let _small = line.join(wallet(2), 20);
    let after = |waited| left_free(&line.waiting(), 100, Instant::now() + waited);
    assert_eq!(after(Duration::ZERO), 90);
    assert_eq!(after(FIRST_FOR), 50, "small ones come in");
    drop(giant);
    assert_eq!(after(Duration::ZERO), 20);
}

#[test]
fn who_becomes_the_first_is_the_first_from_then_on() {
    let line = Line::default();
    let first = line.join(wallet(1), 10);
    let _giant = line.join(wallet(2), 200);
    assert_eq!(line.left_free(100), 50, "there is one before it");
    drop(first);
    assert_eq!(line.left_free(100), 100, "and no more than there is");
}

async fn until(session: &Session, is_so: impl Fn(&SessionView) -> bool) {
    let mut views = session.watch();
    let seen = views.wait_for(is_so);
    tokio::time::timeout(PATIENCE, seen).await.expect("it comes to that").expect("the session runs");
}

/// A session of which some tokens were read.
async fn begin(testbed: &Testbed, tokens: u32, pace_ms: u32) -> Client {
    let client = testbed.create(0, &["eu"], &control(tokens).0, pace_ms).await;
    testbed.until_created(0, &client).await;
    drop(ids(testbed.follow(0, &client, 0), PROMPT, 2).await);
    client
}

/// Starts the node again with another engine.
async fn restart(testbed: &mut Testbed, blocks: u32) {
    testbed.stop_node(0).await;
    testbed.config(0).engine.block_count = blocks;
    testbed.start_node(0, Seams::default()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_waits_for_room_says_so_and_gets_in_before_new_ones() {
    let mut testbed = Testbed::start(&["eu"]).await;
    let clients = [begin(&testbed, 48, 1000).await, begin(&testbed, 48, 1000).await];
    // Each needs 7.
    restart(&mut testbed, 9).await;
    let both = clients.each_ref().map(|client| testbed.session(0, client));
    let waits = both.each_ref().map(|session| Box::pin(until(session, |view| view.waits_for_room.is_some())));
    let (_, waiting, _) = select_all(waits).await;
    let (waiting, running) = (&both[waiting], &both[1 - waiting]);
    let node = testbed.node(0);
    let context = node.sessions().context();
    assert_eq!(waiting.view().waits_for_room, Some(RoomView { blocks: 7, ahead: 0 }));
    assert_eq!((waiting.view().mode, context.line.len()), (SessionMode::Serving, 1));

    // There is room for it.
    let small = || GenerateRequest { prompt: vec![40], ..request(&testbed, control(8).0, 0, &ResumeSecret(random())) };
    let refusal = node.sessions().create(small()).await.expect_err("another waits");
    assert_eq!((refusal.code(), refusal.retry()), ("E-104", true));

    running.command(SessionCommand::Close).await.expect("it is served here");
    until(waiting, |view| view.waits_for_room.is_none()).await;
    assert_eq!((context.engine.stats().await.expect("it runs").blocks_used, context.line.len()), (7, 0));
    node.sessions().create(small()).await.expect("nobody waits");
    let decisions = node.schedule().decisions(Some(waiting.wallet()), 10).await.expect("the log can be read");
    assert!(decisions.is_empty(), "it needs no decision to get in: {decisions:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_of_a_larger_pool_stay_under_a_smaller_one_and_those_too_large_for_it_say_so() {
    let mut testbed = Testbed::start(&["eu"]).await;
    let (small, large, decoding) =
        (begin(&testbed, 48, 50).await, begin(&testbed, 150, 50).await, begin(&testbed, 150, 1000).await);
    for client in [&small, &large] {
        let parked = testbed.session(0, client).command(SessionCommand::Suspend { until_read: false }).await;
        parked.expect("it serves");
    }
    // The large ones need 13.
    restart(&mut testbed, 9).await;
    let [small_one, large_one, decoding] = [&small, &large, &decoding].map(|client| testbed.session(0, client));
    for session in [&small_one, &large_one, &decoding] {
        until(session, |view| view.mode == SessionMode::Suspended).await;
    }
    assert!(decoding.view().failed.is_some_and(|failed| failed.contains("E-119")), "who looks is told");
    for session in [&large_one, &decoding] {
        assert_eq!(session.command(SessionCommand::Resume).await.expect_err("it never fits").code(), "E-119");
        assert_eq!((session.view().mode, session.view().finished), (SessionMode::Suspended, None), "it stays");
    }
    small_one.command(SessionCommand::Resume).await.expect("there is room for it");
    assert_eq!(ids_to_end(testbed.follow(0, &small, 0), PROMPT).await, control(48).1);
}
