//! Ticks of a whole node.

use std::{fs, time::Duration};

use futures::StreamExt as _;
use ledger::{
    archive::ArchiveReader,
    event::{BatchEvicted, DecisionAnchored, Event},
    shell::restore::restore,
};
use scheduler::{action::Action, decision::Decision, rules::RuleId, thresholds::Thresholds, tick::Scheduler};
use wallet::{
    digest::Digest,
    units::{BlockHeight, NodeId, TokenCount},
};

use super::{
    FILE, anchored, lock,
    log::{DecisionFile, give_up},
    samples,
};
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

/// Nobody else keeps why it did.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consortium_of_one_that_lost_its_disk_says_from_its_archive_why_it_evicted() {
    let mut testbed = Testbed::prepare(&["eu"]);
    let patience = Patience { ttl: Duration::ZERO, ..Patience::default() };
    testbed.start_node(0, Seams { patience, ..Seams::default() }).await;
    testbed.until_final().await;
    let client = testbed.create(0, &["eu"], &control(50).0, PACE_MS).await;
    testbed.until_created(0, &client).await;
    let reader = ids(testbed.follow(0, &client, 0), PROMPT, 9).await;
    let suspend = SessionCommand::Suspend { until_read: false };
    testbed.session(0, &client).command(suspend).await.expect("it serves");
    tick(testbed.node(0)).await;
    let decision = evicted(testbed.node(0), &client).await.decision;
    let archive = tokio::time::timeout(PATIENCE, archive_with(testbed.node(0), decision)).await.expect("it is kept");

    drop(reader);
    testbed.stop_node(0).await;
    let config = testbed.config(0);
    let (lost, folder) = (config.data_dir.clone(), config.data_dir.with_extension("restored"));
    config.data_dir = folder.clone();
    let consortium = config.consortium.id();
    let votes = fs::read(lost.join("ledger").join("votes")).expect("it voted");
    fs::create_dir(&folder).expect("our own folder");
    let mut reader = ArchiveReader::open(&archive[..], &consortium).expect("an archive");
    let restored = restore(&mut reader, folder.join("ledger"), &[], |_| {}).expect("a good archive");
    assert_eq!((restored.decisions, restored.decisions_named), (1, 1));
    // Of one nobody else could let it return.
    fs::write(folder.join("ledger").join("votes"), votes).expect("our own folder");
    give_up(&folder.join(FILE), anchored(&restored.executed, NodeId::ZERO)).expect("our own folder");
    testbed.start_node(0, Seams::default()).await;
    let grounds = testbed.node(0).schedule().grounds(NodeId::ZERO, decision).await.expect("it came with the archive");
    let told = Decision::decode(&grounds.decision).expect("a decision");
    assert_eq!((told.hash(), told.wallet, told.chosen), (decision, client.reply.wallet, Action::Evict));
}

/// The archive of a node up to where it keeps this decision of its own.
async fn archive_with(node: &RunningNode, decision: Digest) -> Vec<u8> {
    let replica = &node.sessions().context().replica;
    while replica.store().grounds(NodeId::ZERO, decision).expect("the disk is well").is_none() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let height = replica.state().height.get();
    loop {
        let backup = replica.backup().await.expect("it runs");
        if backup.blocks() >= height {
            return backup.collect::<Result<Vec<_>, _>>().expect("the disk is well").concat();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A folder that is an older copy, or a log that was lost: else two logs of one node would stand on the ledger.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_lacks_the_last_anchor_is_not_anchored() {
    let testbed = Testbed::start(&["eu"]).await;
    let shared = &testbed.node(0).schedule().shared;
    let mut scheduler = shared.scheduler.lock().await;
    shared.store(&samples::command(&mut scheduler, 0)).await.expect("decisions can be stored");
    let mut tips = shared.node.replica.watch_state();
    let is_anchored = tips.wait_for(|tip| anchored(tip, NodeId::ZERO).length == 1);
    drop(tokio::time::timeout(PATIENCE, is_anchored).await.expect("it is anchored").expect("the replica runs"));

    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut other = DecisionFile::open(&folder.path().join(FILE)).expect("opens");
    let mut others = Scheduler::new(Thresholds::default(), other.head());
    (1..4).for_each(|i| other.append(&samples::command(&mut others, i)).expect("appends"));
    *lock(&shared.log) = other;
    shared.anchor(others.log_head(), 1);
    assert_eq!(*lock(&shared.submitted), 1, "nothing was submitted");
    assert_eq!(shared.settle(&mut scheduler).await.expect_err("the log lacks it").code(), "N-422");
}

/// What it anchored before may not be on its disk: the whole folder may be an older copy.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_start_nothing_is_decided_before_a_block_is_final_that_was_made_since() {
    let mut testbed = Testbed::start(&["eu", "us"]).await;
    testbed.stop_node(1).await;
    testbed.stop_node(0).await;
    testbed.start_node(0, Seams::default()).await;
    let may_decide = async |testbed: &Testbed| {
        let shared = &testbed.node(0).schedule().shared;
        shared.settle(&mut *shared.scheduler.lock().await).await.expect("the log is whole")
    };
    assert!(!may_decide(&testbed).await, "one of two makes nothing final");
    testbed.start_node(1, Seams::default()).await;
    tokio::time::timeout(PATIENCE, async {
        while !may_decide(&testbed).await {
            testbed.node(0).schedule().shared.wait_until_told().await;
        }
    })
    .await
    .expect("the two make the next block");
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
