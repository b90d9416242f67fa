//! Moves between whole nodes.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::future::BoxFuture;
use gpu::continuation::{Effect, EffectId, Journal, Op, Resolution};
use wallet::{
    digest::Digest,
    handoff::Change,
    units::{NodeId, TokenCount},
};

use crate::{
    network::{
        NetworkFault,
        stream::{
            StreamLink, StreamLinkFault,
            message::{StreamReply, StreamRequest},
        },
    },
    node::Seams,
    peer::{PeerFault, SessionLink, SessionReply, SessionRequest},
    session::{
        Session,
        command::{CommandReply, SessionCommand},
        context::Patience,
        disk::SessionsDir,
        view::SessionMode,
    },
    testbed::{Client, PATIENCE, Testbed, control, ids, ids_to_end, prompt},
};

const PROMPT: u32 = 53;
/// Slow enough that a session of 40 tokens outlives the three rounds of the ledger before its freeze.
const PACE_MS: u32 = 50;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_serves_the_tokens_of_the_bare_engine() {
    let (sampling, expected) = control(48);
    let testbed = Testbed::start(&["eu"]).await;
    let client = testbed.create(0, &["eu"], &sampling, 0).await;
    assert_eq!(client.reply.prompt_tokens.get() as usize, prompt().len());
    assert_eq!(ids_to_end(testbed.follow(0, &client, 0), PROMPT).await, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_moved_in_mid_decode_goes_on_with_the_same_tokens() {
    let (sampling, expected) = control(96);
    let testbed = Testbed::start(&["eu", "eu"]).await;
    let client = testbed.create(0, &["eu"], &sampling, PACE_MS).await;
    let stream = testbed.follow(0, &client, 0);
    let (mut seen, stream) = ids(stream, PROMPT, 20).await;
    let CommandReply::Moved(report) = testbed.migrate(0, &client, 1).await.expect("the policy allows it") else {
        panic!("a move is answered with its report");
    };
    assert!(report.completed && report.pages_moved >= PROMPT / 16, "{report:?}");
    assert!(report.compute_stall_us().is_some() && report.confirm_final_ms.is_some(), "{report:?}");
    assert_eq!(testbed.node(1).sessions().moves().len(), 1);
    seen.extend(ids_to_end(stream, PROMPT + 20).await);
    assert_eq!(seen, expected);
    assert!(!testbed.session_dir(0, &client).join("keys").exists(), "the source's keys are erased");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_moved_at_different_points_and_back_lose_no_token() {
    let (sampling, expected) = control(80);
    let testbed = Testbed::start(&["eu", "eu"]).await;
    let points = [1, 11, 12, 27, 43];
    let moved = points.map(|point| {
        let (testbed, sampling, expected) = (&testbed, &sampling, &expected);
        async move {
            let client = testbed.create(0, &["eu"], sampling, 2 * PACE_MS).await;
            let (mut seen, stream) = ids(testbed.follow(0, &client, 0), PROMPT, point).await;
            testbed.migrate(0, &client, 1).await.expect("the policy allows it");
            let (more, stream) = ids(stream, PROMPT + seen.len() as u32, 3).await;
            seen.extend(more);
            testbed.migrate(1, &client, 0).await.expect("and back");
            let from = PROMPT + seen.len() as u32;
            seen.extend(ids_to_end(stream, from).await);
            assert_eq!(&seen, expected, "moved after {point} tokens");
            // Whoever comes later reads the same from the first token on.
            assert_eq!(&ids_to_end(testbed.follow(0, &client, 0), PROMPT).await, expected);
        }
    });
    futures::future::join_all(moved).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forbidden_region_is_refused_before_anything_is_sent() {
    let (sampling, expected) = control(40);
    let mut testbed = Testbed::prepare(&["eu", "us"]);
    let asked = Arc::new(Mutex::new(Vec::new()));
    testbed.start_node(0, seams(Patience::default(), Witness { asked: asked.clone() })).await;
    testbed.start_node(1, Seams::default()).await;
    testbed.until_final().await;
    let client = testbed.create(0, &["eu"], &sampling, PACE_MS).await;
    let stream = testbed.follow(0, &client, 0);
    testbed.until_created(0, &client).await;
    let refusal = testbed.migrate(0, &client, 1).await.expect_err("only region eu is allowed");
    assert_eq!(refusal.code(), "W-102");
    assert_eq!(ids_to_end(stream, PROMPT).await, expected);
    let asked = asked.lock().expect("no panic").clone();
    assert!(!asked.contains(&"reserve"), "{asked:?}");
    let refusal = testbed.migrate(0, &client, 1).await.expect_err("it is at its end");
    assert!(["N-202", "N-201"].contains(&refusal.code()), "{refusal}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transfer_cut_at_every_page_fetches_no_page_again_and_ends_the_same() {
    let (sampling, expected) = control(96);
    let mut testbed = Testbed::prepare(&["eu", "eu"]);
    let pages = Arc::new(Mutex::new(PageCounts::default()));
    testbed.start_node(0, Seams::default()).await;
    testbed.start_node(1, PageCutter { pages: pages.clone(), hang_after: u64::MAX }.seams()).await;
    testbed.until_final().await;
    let client = testbed.create(0, &["eu"], &sampling, PACE_MS).await;
    let (mut seen, stream) = ids(testbed.follow(0, &client, 0), PROMPT, 30).await;
    testbed.migrate(0, &client, 1).await.expect("every cut is survived");
    seen.extend(ids_to_end(stream, PROMPT + 30).await);
    assert_eq!(seen, expected);
    let counts = pages.lock().expect("no panic").clone();
    assert!(counts.delivered.len() >= 5, "{counts:?}");
    assert!(counts.delivered.iter().all(|count| *count == 1), "a page was fetched again: {counts:?}");
    assert!(counts.cut.iter().all(|count| *count == 1), "a page was not cut: {counts:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_that_was_changed_on_its_way_ends_the_move_and_the_source_goes_on() {
    let (sampling, expected) = control(60);
    let mut testbed = Testbed::prepare(&["eu", "eu"]);
    testbed.start_node(0, Seams::default()).await;
    let streams = |inner| Arc::new(ChangedPage { inner }) as Arc<dyn StreamLink>;
    testbed.start_node(1, Seams { streams: Box::new(streams), ..Seams::default() }).await;
    testbed.until_final().await;
    let client = testbed.create(0, &["eu"], &sampling, PACE_MS).await;
    let (mut seen, stream) = ids(testbed.follow(0, &client, 0), PROMPT, 8).await;
    let refusal = testbed.migrate(0, &client, 1).await.expect_err("the receiver takes no such page");
    assert_eq!(refusal.code(), "N-308", "{refusal}");
    seen.extend(ids_to_end(stream, PROMPT + 8).await);
    assert_eq!(seen, expected);
    assert!(!testbed.session_dir(1, &client).exists(), "nothing of the move is kept");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_restarted_in_the_middle_fetches_no_page_again() {
    let (sampling, expected) = control(160);
    let mut testbed = Testbed::prepare(&["eu", "eu"]);
    testbed.start_node(0, Seams::default()).await;
    let pages = Arc::new(Mutex::new(PageCounts::default()));
    testbed.start_node(1, PageCutter { pages: pages.clone(), hang_after: 3 }.seams()).await;
    testbed.until_final().await;
    let client = testbed.create(0, &["eu"], &sampling, 60).await;
    // Six pages are full, so that three are not all.
    let (mut seen, stream) = ids(testbed.follow(0, &client, 0), PROMPT, 45).await;
    let session = testbed.session(0, &client);
    tokio::spawn(async move { session.command(to_node_1()).await });
    let kept = async {
        while pages.lock().expect("no panic").kept < 3 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, kept).await.expect("three pages arrive");
    testbed.stop_node(1).await;
    testbed.start_node(1, PageCutter { pages: pages.clone(), hang_after: u64::MAX }.seams()).await;
    seen.extend(ids_to_end(stream, PROMPT + 45).await);
    assert_eq!(seen, expected);
    assert_eq!(testbed.node(1).sessions().moves().len(), 1, "the move came about");
    let counts = pages.lock().expect("no panic").clone();
    assert!(counts.delivered.iter().all(|count| *count == 1), "a page was fetched again: {counts:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_receiver_dies_before_its_confirm_the_source_aborts_and_goes_on() {
    let (sampling, expected) = control(60);
    let mut testbed = Testbed::prepare(&["eu"; 4]);
    let patience = Patience { frozen: Duration::from_secs(1), ..Patience::default() };
    testbed.start_node(0, Seams { patience, ..Seams::default() }).await;
    let died = Arc::new(tokio::sync::Notify::new());
    testbed.start_node(1, seams(Patience::default(), DiesFrozen { died: died.clone() })).await;
    for node in [2, 3] {
        testbed.start_node(node, Seams::default()).await;
    }
    testbed.until_final().await;
    let client = testbed.create(0, &["eu"], &sampling, PACE_MS).await;
    let (mut seen, stream) = ids(testbed.follow(0, &client, 0), PROMPT, 8).await;
    let session = testbed.session(0, &client);
    let moving = tokio::spawn(async move { session.command(to_node_1()).await });
    tokio::time::timeout(PATIENCE, died.notified()).await.expect("it is asked to freeze");
    testbed.stop_node(1).await;
    seen.extend(ids_to_end(stream, PROMPT + 8).await);
    assert_eq!(seen, expected);
    let refusal = moving.await.expect("no panic").expect_err("nobody confirmed");
    assert_eq!(refusal.code(), "N-307", "{refusal}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_holder_touches_and_goes_on_with_no_token_lost_or_twice() {
    let (sampling, expected) = control(90);
    let mut testbed = Testbed::start(&["eu"]).await;
    let client = testbed.create(0, &["eu"], &sampling, PACE_MS).await;
    testbed.until_created(0, &client).await;
    let (mut seen, stream) = ids(testbed.follow(0, &client, 0), PROMPT, 37).await;
    drop(stream);
    testbed.stop_node(0).await;
    testbed.start_node(0, Seams::default()).await;
    seen.extend(ids_to_end(testbed.follow(0, &client, PROMPT + 37), PROMPT + 37).await);
    assert_eq!(seen, expected);
    assert_eq!(ids_to_end(testbed.follow(0, &client, 0), PROMPT).await, expected);
    let facts = testbed.node(0).sessions().context().feed.facts(client.reply.wallet);
    assert!(facts.iter().any(|fact| matches!(fact.fact.change, Change::Touched { .. })), "it was touched");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_whose_files_cannot_be_read_now_is_not_given_up() {
    let (sampling, expected) = control(50);
    let mut testbed = Testbed::start(&["eu"]).await;
    let client = testbed.create(0, &["eu"], &sampling, PACE_MS).await;
    testbed.until_created(0, &client).await;
    let (mut seen, stream) = ids(testbed.follow(0, &client, 0), PROMPT, 9).await;
    drop(stream);
    testbed.stop_node(0).await;
    let file = testbed.session_dir(0, &client).join("continuation");
    let aside = file.with_extension("aside");
    std::fs::rename(&file, &aside).expect("it is there");
    // Reading a folder fails, and says nothing about the file.
    std::fs::create_dir(&file).expect("writable");
    testbed.start_node(0, Seams::default()).await;
    assert!(testbed.node(0).sessions().get(client.reply.wallet).is_none(), "it is not served");
    testbed.stop_node(0).await;
    std::fs::remove_dir(&file).expect("empty");
    std::fs::rename(&aside, &file).expect("writable");
    testbed.start_node(0, Seams::default()).await;
    seen.extend(ids_to_end(testbed.follow(0, &client, PROMPT + 9), PROMPT + 9).await);
    assert_eq!(seen, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_with_an_effect_in_doubt_stands_and_is_neither_resumed_nor_moved_nor_closed() {
    let mut testbed = Testbed::start(&["eu", "eu"]).await;
    let client = testbed.create(0, &["eu"], &control(50).0, PACE_MS).await;
    testbed.until_created(0, &client).await;
    let (_, stream) = ids(testbed.follow(0, &client, 0), PROMPT, 9).await;
    drop(stream);
    testbed.stop_node(0).await;
    intend_a_tool(&mut testbed, &client);
    testbed.start_node(0, Seams::default()).await;
    let session = testbed.session(0, &client);
    let mut views = session.watch();
    let stands = views.wait_for(|view| view.mode == SessionMode::Suspended);
    tokio::time::timeout(PATIENCE, stands).await.expect("its touch becomes final").expect("the session runs");
    let refusal = session.command(SessionCommand::Resume).await.expect_err("somebody has to decide first");
    assert_eq!(refusal.code(), "E-317");
    let refusal = testbed.migrate(0, &client, 1).await.expect_err("and not elsewhere either");
    assert_eq!(refusal.code(), "E-317");
    let view = session.view();
    assert_eq!(view.mode, SessionMode::Suspended);
    assert!(view.failed.is_some_and(|why| why.contains("E-317")), "it still asks, and says why it stands");
}

/// Leaves a call of a tool in the journal of a session at node 0, which is stopped, without what came of it.
fn intend_a_tool(testbed: &mut Testbed, client: &Client) -> EffectId {
    let config = testbed.config(0);
    let dir = SessionsDir::open(&config.data_dir, &config.keys).expect("it is there").session(client.reply.wallet);
    let keys = dir.load_keys().expect("readable").expect("it was held there");
    let stream = Arc::new(dir.open_journal(&keys).expect("readable").expect("it is there"));
    let mut journal = Journal::open(stream, keys.page_hash, keys.epoch.get()).expect("readable");
    let call = Op::Tool { idempotent: false };
    let effect = Effect::new(&client.reply.wallet.0, journal.seq(), call, Vec::new()).expect("within bounds");
    journal.intend(&effect).expect("writable");
    effect.id
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_moves_with_all_that_stands_in_its_journal() {
    let (sampling, expected) = control(50);
    let mut testbed = Testbed::start(&["eu", "eu"]).await;
    let client = testbed.create(0, &["eu"], &sampling, PACE_MS).await;
    testbed.until_created(0, &client).await;
    let (mut seen, stream) = ids(testbed.follow(0, &client, 0), PROMPT, 9).await;
    drop(stream);
    testbed.stop_node(0).await;
    let effect = intend_a_tool(&mut testbed, &client);
    testbed.start_node(0, Seams::default()).await;
    let session = testbed.session(0, &client);
    let mut views = session.watch();
    let stands = views.wait_for(|view| view.mode == SessionMode::Suspended);
    tokio::time::timeout(PATIENCE, stands).await.expect("its touch becomes final").expect("the session runs");
    session.command(SessionCommand::Resolve { effect, how: Resolution::Abort }).await.expect("it is in doubt");
    // A call and a decision stand between its tokens now.
    testbed.migrate(0, &client, 1).await.expect("nothing is in doubt");
    seen.extend(ids_to_end(testbed.follow(1, &client, PROMPT + 9), PROMPT + 9).await);
    assert_eq!(seen, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_suspended_session_goes_on_where_it_stopped() {
    let (sampling, expected) = control(50);
    let testbed = Testbed::start(&["eu"]).await;
    let client = testbed.create(0, &["eu"], &sampling, PACE_MS).await;
    testbed.until_created(0, &client).await;
    let (mut seen, stream) = ids(testbed.follow(0, &client, 0), PROMPT, 9).await;
    let session = testbed.session(0, &client);
    session.command(SessionCommand::Suspend { until_read: false }).await.expect("it serves");
    assert_eq!(testbed.node(0).sessions().context().engine.stats().await.expect("it runs").blocks_used, 0);
    assert!(testbed.session_dir(0, &client).join("tail").exists(), "its tail page is on the disk");
    // Else the blocks that it left behind would spare the computing.
    forget_prefixes(&testbed, 0).await;
    session.command(SessionCommand::Resume).await.expect("it is suspended");
    until_resumed(&session).await;
    assert_eq!(session.view().recomputed_tokens, Some(TokenCount::ZERO), "nothing is read again");
    seen.extend(ids_to_end(stream, PROMPT + 9).await);
    assert_eq!(seen, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_parked_session_is_parked_after_a_restart_and_goes_on_from_its_continuation() {
    let (sampling, expected) = control(50);
    let mut testbed = Testbed::start(&["eu"]).await;
    let client = testbed.create(0, &["eu"], &sampling, PACE_MS).await;
    testbed.until_created(0, &client).await;
    let (mut seen, _) = ids(testbed.follow(0, &client, 0), PROMPT, 14).await;
    testbed.session(0, &client).command(SessionCommand::Suspend { until_read: false }).await.expect("it serves");
    testbed.stop_node(0).await;
    testbed.start_node(0, Seams::default()).await;
    let session = testbed.session(0, &client);
    let mut views = session.watch();
    let parked = views.wait_for(|view| view.mode == SessionMode::Suspended);
    tokio::time::timeout(PATIENCE, parked).await.expect("its touch becomes final").expect("the session runs");
    assert_eq!(
        testbed.node(0).sessions().context().engine.stats().await.expect("it runs").blocks_used,
        0,
        "it costs no memory"
    );
    session.command(SessionCommand::Resume).await.expect("it is suspended");
    until_resumed(&session).await;
    assert_eq!(session.view().recomputed_tokens, Some(TokenCount::ZERO), "nothing is read again");
    seen.extend(ids_to_end(testbed.follow(0, &client, PROMPT + 14), PROMPT + 14).await);
    assert_eq!(seen, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_parked_session_moves_and_its_prompt_is_not_read_again() {
    let (sampling, expected) = control(50);
    let testbed = Testbed::start(&["eu", "eu"]).await;
    let client = testbed.create(0, &["eu"], &sampling, PACE_MS).await;
    testbed.until_created(0, &client).await;
    let (mut seen, stream) = ids(testbed.follow(0, &client, 0), PROMPT, 9).await;
    testbed.session(0, &client).command(SessionCommand::Suspend { until_read: false }).await.expect("it serves");
    let CommandReply::Moved(report) = testbed.migrate(0, &client, 1).await.expect("the policy allows it") else {
        panic!("a move is answered with its report");
    };
    assert!(report.completed && report.pages_moved >= PROMPT / 16, "{report:?}");
    assert_eq!(report.compute_stall_us(), None, "there is no step that it could be measured from");
    let session = testbed.session(1, &client);
    assert_eq!(session.view().recomputed_tokens, Some(TokenCount::ZERO), "nothing is read again");
    seen.extend(ids_to_end(stream, PROMPT + 9).await);
    assert_eq!(seen, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_evicted_session_moves_without_its_pages_and_has_the_same_tokens() {
    let (sampling, expected) = control(50);
    let testbed = Testbed::start(&["eu", "eu"]).await;
    let client = testbed.create(0, &["eu"], &sampling, PACE_MS).await;
    testbed.until_created(0, &client).await;
    let (mut seen, stream) = ids(testbed.follow(0, &client, 0), PROMPT, 9).await;
    let evict = SessionCommand::Evict { decision: Digest([4; 32]) };
    testbed.session(0, &client).command(evict).await.expect("it holds the wallet");
    assert!(!testbed.session_dir(0, &client).join("tail").exists(), "no page is left");
    // The eviction changes the wallet's head.
    let moved = async {
        loop {
            match testbed.migrate(0, &client, 1).await {
                Ok(CommandReply::Moved(report)) => break report,
                Ok(_) => panic!("a move is answered with its report"),
                Err(refusal) => assert!(refusal.retry(), "{refusal}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let report = tokio::time::timeout(PATIENCE, moved).await.expect("it moves");
    assert_eq!(report.pages_moved, 0, "{report:?}");
    let again = testbed.session(1, &client).view().recomputed_tokens.expect("it was taken in");
    assert!(again.get() >= PROMPT, "all is computed again: {again}");
    seen.extend(ids_to_end(stream, PROMPT + 9).await);
    assert_eq!(seen, expected);
}

async fn forget_prefixes(testbed: &Testbed, node: u32) {
    testbed.node(node).sessions().context().engine.evict_prefix_cache(usize::MAX).await;
}

/// Waits until the view says that the session was taken in again.
async fn until_resumed(session: &Session) {
    let mut views = session.watch();
    let resumed = views.wait_for(|view| view.recomputed_tokens.is_some());
    tokio::time::timeout(PATIENCE, resumed).await.expect("it goes on").expect("the session runs");
}

fn to_node_1() -> SessionCommand {
    SessionCommand::Migrate { to: NodeId::new(1), decision: Digest([3; 32]), rule: "test".into() }
}

fn seams<L: Intercept>(patience: Patience, intercept: L) -> Seams {
    let link = |inner| Arc::new(Intercepted { inner, intercept: Arc::new(intercept) }) as Arc<dyn SessionLink>;
    Seams { link: Box::new(link), patience, ..Seams::default() }
}

/// Stands between a node's sessions and its peers.
trait Intercept: Send + Sync + 'static {
    fn ask<'a>(
        &'a self,
        inner: &'a dyn SessionLink,
        to: NodeId,
        request: SessionRequest,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<SessionReply, PeerFault>>;
}

struct Intercepted<I> {
    inner: Arc<dyn SessionLink>,
    intercept: Arc<I>,
}

impl<I: Intercept> SessionLink for Intercepted<I> {
    fn ask(
        &self,
        to: NodeId,
        request: SessionRequest,
        timeout: Duration,
    ) -> BoxFuture<'_, Result<SessionReply, PeerFault>> {
        self.intercept.ask(self.inner.as_ref(), to, request, timeout)
    }
}

/// Notes what was asked.
struct Witness {
    asked: Arc<Mutex<Vec<&'static str>>>,
}

impl Intercept for Witness {
    fn ask<'a>(
        &'a self,
        inner: &'a dyn SessionLink,
        to: NodeId,
        request: SessionRequest,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<SessionReply, PeerFault>> {
        let kind = if matches!(request, SessionRequest::Reserve(_)) { "reserve" } else { "other" };
        self.asked.lock().expect("no panic").push(kind);
        inner.ask(to, request, timeout)
    }
}

#[derive(Clone, Debug, Default)]
struct PageCounts {
    /// How often the answer with each page was lost.
    cut: Vec<u32>,
    /// How often each page arrived.
    delivered: Vec<u32>,
    /// Pages that the receiver has on its disk, as it told the source.
    kept: u64,
}

/// Asks for one page at a time, and loses the first answer with each.
#[derive(Clone)]
struct PageCutter {
    pages: Arc<Mutex<PageCounts>>,
    /// No pages are asked for any more once the receiver keeps so many.
    hang_after: u64,
}

struct CutStreams {
    inner: Arc<dyn StreamLink>,
    cutter: PageCutter,
}

impl PageCutter {
    fn seams(self) -> Seams {
        let streams = |inner| Arc::new(CutStreams { inner, cutter: self }) as Arc<dyn StreamLink>;
        Seams { streams: Box::new(streams), ..Seams::default() }
    }

    /// Notes what the receiver keeps; whether pages may be asked for.
    fn note(&self, request: StreamRequest) -> bool {
        let mut counts = self.pages.lock().expect("no panic");
        let kept = match request {
            StreamRequest::Pull(pull) => pull.trim_below.unwrap_or_default(),
            StreamRequest::Trim(trim) => trim.below,
        };
        counts.kept = counts.kept.max(kept);
        (counts.delivered.len() as u64) < self.hang_after
    }
}

impl StreamLink for CutStreams {
    fn ask(
        &self,
        to: NodeId,
        mut request: StreamRequest,
        patience: Duration,
    ) -> BoxFuture<'_, Result<StreamReply, StreamLinkFault>> {
        let may_pull = self.cutter.note(request);
        Box::pin(async move {
            if let StreamRequest::Pull(pull) = &mut request {
                pull.pages_max = 1;
                if !may_pull {
                    return std::future::pending().await;
                }
            }
            let reply = self.inner.ask(to, request, patience).await?;
            let StreamReply::Pulled(pulled) = &reply else { return Ok(reply) };
            let Some(at) = pulled.pages.first().map(|page| page.head.position as usize) else { return Ok(reply) };
            let mut counts = self.cutter.pages.lock().expect("no panic");
            if counts.cut.len() <= at {
                counts.cut.push(1);
                return Err(NetworkFault::Broken { to, reason: "cut by the test".to_owned() }.into());
            }
            let length = counts.delivered.len().max(at + 1);
            counts.delivered.resize(length, 0);
            counts.delivered[at] += 1;
            Ok(reply)
        })
    }
}

/// Flips a bit of the third page.
struct ChangedPage {
    inner: Arc<dyn StreamLink>,
}

impl StreamLink for ChangedPage {
    fn ask(
        &self,
        to: NodeId,
        request: StreamRequest,
        patience: Duration,
    ) -> BoxFuture<'_, Result<StreamReply, StreamLinkFault>> {
        Box::pin(async move {
            let mut reply = self.inner.ask(to, request, patience).await?;
            if let StreamReply::Pulled(pulled) = &mut reply {
                for page in pulled.pages.iter_mut().filter(|page| page.head.position == 2) {
                    let mut payload = page.payload.to_vec();
                    payload[100] ^= 1;
                    page.payload = payload.into();
                }
            }
            Ok(reply)
        })
    }
}

/// Dies with the hand-over in its hands.
struct DiesFrozen {
    died: Arc<tokio::sync::Notify>,
}

impl Intercept for DiesFrozen {
    fn ask<'a>(
        &'a self,
        inner: &'a dyn SessionLink,
        to: NodeId,
        request: SessionRequest,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<SessionReply, PeerFault>> {
        if !matches!(request, SessionRequest::Freeze(_)) {
            return inner.ask(to, request, timeout);
        }
        Box::pin(async move {
            inner.ask(to, request, timeout).await?;
            self.died.notify_one();
            std::future::pending().await
        })
    }
}
