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
fn a_first_that_needs_more_than_half_of_the_pool_is_left_that_in_turns_and_nothing_between() {
    let line = Line::default();
    let giant = line.join(wallet(1), 90);
    let _small = line.join(wallet(2), 20);
    let after = |waited| left_free(&line.standing().waiting, 100, Instant::now() + waited);
    assert_eq!(after(Duration::ZERO), 100, "for both");
    assert_eq!(after(TURN), 20, "small ones come in");
    assert_eq!(after(TURN * 2), 100, "it has a turn again");
    assert_eq!(after(TURN * 3), 20);
    drop(giant);
    for turn in 0..3 {
        assert_eq!(after(TURN * turn), 20, "a small one is left what it needs all the time");
    }
}

#[test]
fn who_becomes_the_first_is_the_first_from_then_on() {
    let line = Line::default();
    let first = line.join(wallet(1), 10);
    let _giant = line.join(wallet(2), 200);
    assert_eq!(line.left_free(100), 10, "there is one before it");
    drop(first);
    assert_eq!(line.left_free(100), 100, "and no more than there is");
}

/// An engine with 100 blocks of which `used` are not free.
fn stats(used: u32) -> Stats {
    Stats { blocks_total: 100, blocks_used: used, ..Stats::default() }
}

fn available_to(line: &Line, number: u8, used: u32) -> u32 {
    line.standing().available(wallet(number), &stats(used), u64::MAX, Instant::now())
}

/// The most that one who comes new may have.
fn available(line: &Line, used: u32) -> u32 {
    available_to(line, 9, used)
}

fn inside(line: &Line, number: u8, blocks: u32) -> Room {
    line.room(wallet(number), blocks, Taker::Inside { since: 0 })
}

#[test]
fn what_the_first_cannot_use_anyway_is_for_those_who_come_after_it() {
    let line = Line::default();
    // It has to end before the giant gets in.
    let long = inside(&line, 1, 20);
    let _giant = line.join(wallet(2), 90);
    assert_eq!(available(&line, 20), 10, "of 80 that are free");
    let passer = inside(&line, 3, 10);
    assert_eq!(available(&line, 30), 0);
    drop(long);
    assert_eq!(available(&line, 10), 0, "the rest is the giant's");
    drop(passer);
    assert_eq!(available(&line, 0), 10);
    // Those who wait before are left what they can have there.
    let _second = line.join(wallet(4), 6);
    let _third = line.join(wallet(5), 60);
    assert_eq!(available(&line, 0), 4);
    assert_eq!(available_to(&line, 4, 0), 10, "who stands before them is not");
    let _promised = line.room(wallet(6), 3, Taker::Promised);
    assert_eq!(available(&line, 0), 1);
}

#[test]
fn who_passes_the_first_never_keeps_it_out_longer() {
    use proptest::prelude::*;
    let sessions = (1..=60_u32, prop::collection::vec(1..=60_u32, 0..12), prop::collection::vec(1..=60_u32, 0..12));
    proptest!(|((first, old, new) in sessions, ended in prop::collection::vec(any::<bool>(), 12))| {
        let line = Line::default();
        let mut old_rooms: Vec<(u32, Room)> = Vec::new();
        for blocks in old {
            if blocks + sum(old_rooms.iter().map(|(blocks, _)| *blocks)) <= 100 {
                old_rooms.push((blocks, inside(&line, 1, blocks)));
            }
        }
        let used = sum(old_rooms.iter().map(|(blocks, _)| *blocks));
        prop_assume!(used + first > 100);
        let _first = line.join(wallet(2), first);
        let mut new_rooms = Vec::new();
        let mut passed = 0;
        for blocks in new {
            let standing = line.standing();
            let beside = standing.beside_first(standing.before(wallet(9)), wallet(9), 100);
            drop(standing);
            if blocks <= beside.min(100 - used - passed) {
                passed += blocks;
                new_rooms.push(inside(&line, 3, blocks));
            }
        }
        let still_there = old_rooms.iter().zip(ended).filter(|(_, ended)| !ended);
        let left = sum(still_there.map(|((blocks, _), _)| *blocks));
        // If it would get in without the new ones, it gets in with all of them.
        prop_assert!(left + first > 100 || left + passed + first <= 100);
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn room_that_is_kept_for_a_session_on_its_way_is_taken_by_nobody_else() {
    let mut testbed = Testbed::prepare(&["eu"]);
    testbed.config(0).engine.block_count = 20;
    testbed.start_node(0, Seams::default()).await;
    let context = testbed.node(0).sessions().context();
    let (line, engine) = (&context.line, &context.engine);
    let kept = line.keep(wallet(1), 15, engine).await.expect("it is free");
    assert_eq!(line.keep(wallet(2), 6, engine).await.err(), Some(5), "of another move");
    let refused = line.enter(wallet(2), 6, engine).await.expect_err("of a session that comes");
    assert_eq!((refused.code(), refused.retry()), ("E-104", true));
    assert!(line.enter(wallet(2), 5, engine).await.is_ok());
    assert!(line.keep(wallet(1), 20, engine).await.is_ok(), "who has it may ask for more");
    assert_eq!(line.keep(wallet(3), 21, engine).await.err(), Some(5), "more than there is");
    let before = line.changes();
    drop(kept);
    assert_ne!(line.changes(), before);
    assert_eq!(line.keep(wallet(2), 21, engine).await.err(), Some(20));
    assert!(line.keep(wallet(2), 20, engine).await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_that_come_at_once_for_the_last_room_one_gets_it() {
    let mut testbed = Testbed::prepare(&["eu"]);
    testbed.config(0).engine.block_count = 20;
    testbed.start_node(0, Seams::default()).await;
    let context = testbed.node(0).sessions().context();
    let (line, engine) = (&context.line, &context.engine);
    let _waits = line.join(wallet(1), 6);
    // One that is sent, and one that comes new.
    let (sent, new) = tokio::join!(line.keep(wallet(2), 8, engine), line.enter(wallet(3), 8, engine));
    assert_ne!(sent.is_ok(), new.is_ok());
}

#[test]
fn an_engine_that_was_asked_before_a_session_got_in_may_not_count_it() {
    let line = Line::default();
    let asked_at = line.standing().count;
    let _room = line.room(wallet(1), 30, Taker::Entering).entered();
    let available = |asked_at| line.standing().available(wallet(9), &stats(0), asked_at, Instant::now());
    let now = line.standing().count;
    assert_eq!((available(asked_at), available(now)), (70, 100));
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

async fn park(testbed: &Testbed, client: Client) -> Client {
    let parked = testbed.session(0, &client).command(SessionCommand::Suspend { until_read: false }).await;
    parked.expect("it serves");
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

    // What the one that waits cannot use beside the one that decodes is for others.
    let small =
        || GenerateRequest { prompt: vec![40], ..request(&testbed, control(8).0, 60_000, &ResumeSecret(random())) };
    for _ in 0..2 {
        node.sessions().create(small()).await.expect("there are two blocks beside it");
    }
    let refusal = node.sessions().create(small()).await.expect_err("and no more");
    assert_eq!((refusal.code(), refusal.retry()), ("E-104", true));

    running.command(SessionCommand::Close).await.expect("it is served here");
    until(waiting, |view| view.waits_for_room.is_none()).await;
    assert_eq!((context.engine.stats().await.expect("it runs").blocks_used, context.line.len()), (9, 0));
    let decisions = node.schedule().decisions(Some(waiting.wallet()), 10).await.expect("the log can be read");
    assert!(decisions.is_empty(), "it needs no decision to get in: {decisions:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_of_a_larger_pool_stay_under_a_smaller_one_and_those_too_large_for_it_say_so() {
    let mut testbed = Testbed::start(&["eu"]).await;
    // Parked at once: they must not come to their end before.
    let small = park(&testbed, begin(&testbed, 48, 200).await).await;
    let large = park(&testbed, begin(&testbed, 150, 100).await).await;
    let decoding = begin(&testbed, 150, 1000).await;
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
