//! Ticks of a whole node.

use std::time::Duration;

use futures::StreamExt as _;
use ledger::event::{BatchEvicted, DecisionAnchored, Event};
use scheduler::{action::Action, rules::RuleId, thresholds::Thresholds};
use wallet::units::{BlockHeight, NodeId, TokenCount};

use super::{lock, samples};
use crate::{
    node::{RunningNode, Seams},
    session::{Session, command::SessionCommand, context::Patience, view::SessionMode},
    testbed::{Client, PATIENCE, Testbed, control, ids, ids_to_end},
};

const PROMPT: u32 = 53;
/// Slow enough that it decodes until it is parked.
const PACE_MS: u32 = 50;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_parked_session_past_its_ttl_is_evicted_once_on_the_ledger_and_can_be_computed_again() {
    let (sampling, expected) = control(50);
    let mut testbed = Testbed::prepare(&["eu"]);
    let patience = Patience { ttl: Duration::ZERO, ..Patience::default() };
    testbed.start_node(0, Seams { patience, ..Seams::default() }).await;
    testbed.until_final().await;
    let (node, client) = (testbed.node(0), testbed.create(0, &["eu"], &sampling, PACE_MS).await);
    let (wallet, session) = (client.reply.wallet, testbed.session(0, &client));
    let mut view = session.watch();
    tokio::time::timeout(PATIENCE, view.wait_for(|view| view.holder.is_some()))
        .await
        .expect("the creation becomes final")
        .expect("the session runs");
    let (mut seen, stream) = ids(testbed.follow(0, &client, 0), PROMPT, 9).await;
    let decisions = async || node.schedule().decisions(Some(wallet), 10).await.expect("the log can be read");
    tick(node).await;
    assert!(decisions().await.is_empty(), "it decodes");

    session.command(SessionCommand::Suspend { until_read: false }).await.expect("it serves");
    let pages = testbed.session_dir(0, &client).join("kv");
    assert!(pages.exists(), "its full pages are on the disk");
    tick(node).await;
    let [decided] = <[_; 1]>::try_from(decisions().await).expect("one decision");
    assert_eq!((decided.decision.rule, decided.decision.chosen), (RuleId::R9, Action::Evict));
    let event = evicted(node, &client).await;
    assert_eq!(event.decision, decided.hash);
    assert!(!pages.exists(), "the pages are off the disk");
    assert_eq!(session.view().mode, SessionMode::Suspended);

    tick(node).await;
    assert_eq!(decisions().await.len(), 1, "nothing is left to evict");

    // Else the blocks that it left behind would spare the computing.
    node.sessions().context().engine.evict_prefix_cache(usize::MAX).await;
    node.schedule().command(wallet, Action::Promote).await.expect("tokens and keys stayed");
    seen.extend(ids_to_end(stream, PROMPT + 9).await);
    assert_eq!(seen, expected);
    let checked = node.schedule().verify().await.expect("the log can be read");
    assert_eq!((checked.verified, checked.replayed), (true, 2), "{checked:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_nobody_reads_is_parked_on_a_full_engine_and_goes_on_when_its_stream_is_asked_for() {
    let (sampling, expected) = control(80);
    let mut testbed = Testbed::prepare(&["eu"]);
    // Any engine is full, and who is gone is soon gone for long.
    let thresholds = Thresholds {
        source_utilisation_ppm_min: 0,
        engine_idle_us_min: 0,
        unread_us_min: 2_000_000,
        ..Thresholds::default()
    };
    testbed.start_node(0, Seams { thresholds, ..Seams::default() }).await;
    testbed.until_final().await;
    let client = testbed.create(0, &["eu"], &sampling, PACE_MS).await;
    let (node, session) = (testbed.node(0), testbed.session(0, &client));
    let mut views = session.watch();
    let held = views.wait_for(|view| view.holder.is_some());
    tokio::time::timeout(PATIENCE, held).await.expect("the creation becomes final").expect("the session runs");
    let (mut seen, stream) = ids(testbed.follow(0, &client, 0), PROMPT, 9).await;
    tick(node).await;
    assert_eq!(session.view().mode, SessionMode::Serving, "it has just been read");
    drop(stream);
    tick_until(node, &session, SessionMode::Suspended).await;
    let stats = node.sessions().context().engine.stats().await.expect("it runs");
    assert_eq!(stats.blocks_used, 0, "it costs no memory");
    // Else the blocks that it left behind would spare the computing.
    node.sessions().context().engine.evict_prefix_cache(usize::MAX).await;
    tick(node).await;
    assert_eq!(session.view().mode, SessionMode::Suspended, "nobody asks for it");

    let reader = tokio::spawn(ids_to_end(testbed.follow(0, &client, PROMPT + 9), PROMPT + 9));
    tick_until(node, &session, SessionMode::Serving).await;
    assert_eq!(session.view().recomputed_tokens, Some(TokenCount::ZERO), "nothing is read again");
    seen.extend(reader.await.expect("no panic"));
    assert_eq!(seen, expected);
    let decisions = node.schedule().decisions(Some(client.reply.wallet), 10).await.expect("the log can be read");
    let chosen: Vec<_> = decisions.iter().map(|logged| (logged.decision.rule, logged.decision.chosen)).collect();
    assert_eq!(chosen, [(RuleId::R9, Action::Suspend), (RuleId::R9, Action::Promote)]);
    let checked = node.schedule().verify().await.expect("the log can be read");
    assert_eq!((checked.verified, checked.replayed), (true, 2), "{checked:?}");
}

/// A proof leads over fewer than 512 decisions to an anchor, and a tick may decide on each of a thousand sessions.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn however_fast_decisions_come_no_more_than_256_stand_between_two_anchors() {
    const DECISIONS: u64 = 600;
    let testbed = Testbed::start(&["eu"]).await;
    let shared = &testbed.node(0).schedule().shared;
    {
        let mut scheduler = shared.scheduler.lock().await;
        for number in 0..DECISIONS {
            let logged = samples::command(&mut scheduler, number as u32);
            shared.store(&logged).await.expect("decisions can be stored");
        }
    }
    let mut anchors = vec![0];
    let mut blocks = Box::pin(shared.node.replica.subscribe(BlockHeight::new(1)));
    let all = async {
        while anchors.last() < Some(&DECISIONS) {
            let block = blocks.next().await.expect("the replica runs").expect("the block can be read").block;
            anchors.extend(block.entries.iter().filter_map(|entry| match entry.body.event {
                Event::DecisionAnchored(DecisionAnchored { decisions, .. }) => Some(decisions),
                _ => None,
            }));
        }
    };
    tokio::time::timeout(PATIENCE, all).await.expect("the last one is anchored");
    assert!(anchors.windows(2).all(|pair| pair[1] - pair[0] <= 256), "{anchors:?}");
}

/// One tick; what it decided is done when this returns.
async fn tick(node: &RunningNode) {
    let shared = &node.schedule().shared;
    shared.tick().await.expect("decisions can be stored");
    let done = async {
        while !lock(&shared.busy).is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, done).await.expect("what was decided ends");
}

/// Ticks until the session stands like this.
async fn tick_until(node: &RunningNode, session: &Session, mode: SessionMode) {
    let ticks = async {
        while session.view().mode != mode {
            tick(node).await;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, ticks).await.expect("the rules decide it");
}

/// The final entry that says that the session was evicted.
async fn evicted(node: &RunningNode, client: &Client) -> BatchEvicted {
    let mut blocks = Box::pin(node.sessions().context().replica.subscribe(BlockHeight::new(1)));
    let found = async {
        loop {
            let block = blocks.next().await.expect("the replica runs").expect("the block can be read").block;
            for entry in block.entries {
                if let Event::BatchEvicted(event) = &entry.body.event {
                    assert_eq!((entry.body.author, event.wallet), (NodeId::ZERO, client.reply.wallet));
                    return event.clone();
                }
            }
        }
    };
    tokio::time::timeout(PATIENCE, found).await.expect("the eviction becomes final")
}
