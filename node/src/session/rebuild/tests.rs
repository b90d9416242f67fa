use std::{io, path::Path, sync::Arc};

use futures::StreamExt as _;
use gpu::{
    continuation::{
        Divergence, Effect, EffectId, Entry, JOURNAL_BYTES_MAX, Journal, Op, PROMPT_CHUNK_TOKENS, Resolution, Value,
    },
    stream::Stream as _,
};
use wallet::{
    codec,
    digest::Digest,
    grant::WalletAddress,
    page::StreamDescriptor,
    units::{NodeId, TokenCount, TokenPosition},
};

use super::{
    super::{
        Session,
        command::{CommandReply, SessionCommand},
        context::{COUNTS_AT_ONCE, random},
        disk::{HolderKeys, SessionDir, SessionsDir},
        request::{ResumeSecret, Sampling},
        tests::request,
        tokens::End,
        view::FinishReason,
    },
    *,
};
use crate::{
    engine::{Arrival, EngineEvent, Sequence},
    testbed::{PATIENCE, Testbed, control, ids, ids_to_end, prompt},
};

/// A session of a node whose engine has `blocks` blocks, in the hands of the test.
async fn begin(blocks: u32, sampling: Sampling) -> (Testbed, Actor) {
    begin_among(&["eu"], blocks, sampling, 0).await
}

/// The same of the first of some nodes.
async fn begin_among(regions: &[&str], blocks: u32, sampling: Sampling, pace_ms: u32) -> (Testbed, Actor) {
    let mut testbed = Testbed::prepare(regions);
    testbed.config(0).engine.block_count = blocks;
    for node in 0..regions.len() as u32 {
        testbed.start_node(node, crate::node::Seams::default()).await;
    }
    testbed.until_final().await;
    let request = request(&testbed, sampling, pace_ms, &ResumeSecret(random()));
    let wallet = request.tenant.grant.verify().expect("the tenant's");
    let actor = Actor::create(testbed.node(0).sessions(), wallet, request).await.expect("it begins");
    (testbed, actor)
}

/// Takes `count` tokens of the engine in.
async fn take(actor: &mut Actor, count: usize) {
    for _ in 0..count {
        let events = &mut actor.sequence.as_mut().expect("it decodes").events;
        let event =
            tokio::time::timeout(PATIENCE, events.recv()).await.expect("a token comes").expect("the engine runs");
        actor.on_engine(event).await;
    }
}

async fn until_back(actor: &mut Actor) {
    let back = async {
        while actor.sequence.is_none() {
            tokio::time::sleep(Duration::from_millis(10)).await;
            actor.watch_engine().await;
        }
    };
    tokio::time::timeout(PATIENCE, back).await.expect("it comes back");
}

fn emitted(actor: &Actor) -> Vec<u32> {
    actor.session.tokens.all().iter().map(|token| token.id).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_for_which_the_engine_has_no_room_waits_and_is_not_closed() {
    let (sampling, expected) = control(48);
    // Room for one.
    let (_testbed, mut actor) = begin(9, sampling.clone()).await;
    take(&mut actor, 20).await;
    let other = crowd_out(&mut actor, &sampling).await;
    assert_eq!((actor.close, &actor.failed), (None, &None), "it is only to wait");

    drop(other);
    until_back(&mut actor).await;
    take(&mut actor, 28).await;
    assert_eq!(emitted(&actor), expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_whose_journal_takes_no_more_tokens_ends_as_one_that_is_long_enough() {
    let (_testbed, mut actor) = begin_among(&["eu"], 256, control(48).0, 60_000).await;
    let (keys, dir) = (actor.keys.clone().expect("it is held"), actor.dir.clone());
    let mut start = super::super::tests::kept_start(&dir, &keys);
    // A prompt that leaves room for three tokens and their end.
    let prompt = vec![40; long_prompt(3)];
    start.prompt_tokens = TokenCount::new(prompt.len() as u32);
    actor.held = None;
    let held = Held::begin(&dir, &keys, start, &prompt, actor.context.engine.model()).expect("writable");
    assert_eq!(held.journal().tokens_left(), 3);
    actor.held = Some(held);
    actor.hold(keys);
    for _ in 0..5 {
        let position = actor.held.as_ref().expect("it is held").next();
        let event = EngineEvent { position, token: 41, finish: None, step_start_ns: 0, step_end_ns: 0 };
        actor.on_engine(event).await;
    }
    assert_eq!((emitted(&actor), actor.close), (vec![41; 3], Some(CloseReason::Finished)));
    assert!(matches!(actor.session.tokens.ended(), Some(End::Finished(FinishReason::Length, _))));
    // It has an end, so that it does not come back after a restart.
    assert_eq!(beside(&actor).finished(), Some(gpu::FinishReason::ContextFull));
}

/// The most tokens of a prompt after which a journal takes `tokens` more.
fn long_prompt(tokens: usize) -> usize {
    let entry = |tokens: usize| codec::encoded_size(&Entry::Prompt { first: 0, tokens: vec![0; tokens] });
    let left = JOURNAL_BYTES_MAX - tokens * 16 - 12;
    let (pieces, rest) = (left / entry(PROMPT_CHUNK_TOKENS), left % entry(PROMPT_CHUNK_TOKENS));
    pieces * PROMPT_CHUNK_TOKENS + (rest - entry(0)) / 4
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_whose_tokens_do_not_go_on_from_what_was_shown_stands_and_its_readers_are_told() {
    let (_testbed, mut actor) = begin_among(&["eu"], 256, control(48).0, 100).await;
    actor.session.tokens.begin_at(TokenPosition::ZERO);
    take(&mut actor, 1).await;
    assert!(matches!(actor.session.tokens.ended(), Some(End::Broken(_))));
    assert_eq!((actor.close, actor.suspended, actor.sequence.is_none()), (None, true, true));
    assert!(actor.failed.as_ref().is_some_and(|failed| failed.contains("N-195")));
}

/// The engine loses the session, and takes another one in its place.
async fn crowd_out(actor: &mut Actor, sampling: &Sampling) -> Sequence {
    actor.release();
    let arrival = Arrival {
        tokens: prompt().iter().map(|token| token + 1).collect(),
        prompt_tokens: TokenCount::new(prompt().len() as u32),
        sampling: sampling.to_engine().expect("valid"),
        pages: Vec::new(),
        tail: None,
        salt: actor.keys.as_ref().expect("it is held").prefix_salt.clone(),
        pace: Duration::ZERO,
    };
    let (other, _) = actor.context.engine.start(arrival, true).await.expect("room");
    actor.serve().await;
    assert!(actor.sequence.is_none(), "there was room");
    other
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_that_waits_tries_again_when_somebody_left_and_only_if_it_was_room_that_it_lacked() {
    let (sampling, expected) = control(48);
    // Room for one.
    let (_testbed, mut actor) = begin(9, sampling.clone()).await;
    take(&mut actor, 20).await;
    actor.publish();
    let other = crowd_out(&mut actor, &sampling).await;
    assert!(actor.place.as_ref().is_some_and(Place::is_first));
    let (context, at) = (actor.context.clone(), Instant::now() + PATIENCE);
    let one_leaves = || drop(context.line.kept_before(WalletAddress(Digest::ZERO), 1));
    actor.again.at = Some(at);
    actor.watch_engine().await;
    assert_eq!(actor.again.at, Some(at), "nobody left, so nothing is tried");
    one_leaves();
    actor.watch_engine().await;
    assert!(actor.sequence.is_none() && actor.again.at != Some(at), "it is tried, and there is none");

    drop(other);
    // As if the disk had failed since.
    actor.again.later();
    actor.again.at = Some(at);
    one_leaves();
    actor.watch_engine().await;
    assert!(actor.sequence.is_none() && actor.again.at == Some(at), "it is no matter of room");
    actor.again.lacked_room = Some(context.line.changes());
    one_leaves();
    actor.watch_engine().await;
    take(&mut actor, 28).await;
    assert_eq!((emitted(&actor), actor.place.is_none()), (expected, true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_waits_for_room_in_the_engine_can_be_moved_away() {
    let (sampling, expected) = control(48);
    // Room for one.
    let (testbed, mut actor) = begin_among(&["eu", "eu"], 9, sampling.clone(), 0).await;
    take(&mut actor, 20).await;
    let _other = crowd_out(&mut actor, &sampling).await;
    let there = moved(&testbed, actor).await;
    let first = TokenPosition::new(prompt().len() as u32);
    assert_eq!(ids_to_end(there.stream(first).boxed(), first.get()).await, expected);
}

/// Moves a session from the first node, which has none of it in its engine, to the second.
async fn moved(testbed: &Testbed, mut actor: Actor) -> Arc<Session> {
    let (session, sessions) = (actor.session.clone(), actor.sessions.clone());
    sessions.lock().insert(session.wallet(), session.clone());
    sessions.run(async move { actor.run().await });
    let (to, rule) = (NodeId::new(1), "test".to_owned());
    let moving = session.command(SessionCommand::Migrate { to, decision: Digest::ZERO, rule });
    let moved = tokio::time::timeout(PATIENCE, moving).await.expect("a move ends").expect("it is whole on the disk");
    let CommandReply::Moved(report) = moved else { panic!("a move is answered with its report") };
    assert!(report.completed, "{report:?}");
    testbed.node(1).sessions().get(session.wallet()).expect("it is there")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_is_too_large_for_the_engine_stands_and_can_be_moved_away() {
    let (sampling, expected) = control(150);
    let (testbed, mut actor) = begin_among(&["eu", "eu"], 9, control(48).0, 0).await;
    let request = request(&testbed, sampling.clone(), 0, &ResumeSecret(random()));
    let refusal = actor.sessions.create(request).await.expect_err("it needs 13 blocks");
    assert_eq!((refusal.code(), refusal.retry()), ("E-119", false));

    // As if it had begun under a larger pool.
    actor.release();
    actor.held = None;
    let (keys, dir) = (actor.keys.clone().expect("it is held"), actor.dir.clone());
    let mut start = super::super::tests::kept_start(&dir, &keys);
    start.sampling = sampling.to_engine().expect("valid");
    let mut held = Held::begin(&dir, &keys, start, &prompt(), actor.context.engine.model()).expect("writable");
    push(&mut held, &expected[..20]);
    actor.held = Some(held);
    actor.serve().await;
    assert_eq!((actor.close, actor.suspended), (None, true), "it stands");
    assert!(actor.failed.as_ref().is_some_and(|failed| failed.contains("E-119")), "who looks is told");
    assert_eq!(actor.resume().await.expect_err("it never fits").code(), "E-119");
    assert_eq!((actor.close, actor.suspended), (None, true), "it still stands");

    let there = moved(&testbed, actor).await;
    let first = TokenPosition::new(prompt().len() as u32);
    assert_eq!(ids_to_end(there.stream(first).boxed(), first.get()).await, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_goes_on_under_the_model_and_the_numerics_that_it_began_with_and_stands_under_others() {
    let (sampling, expected) = control(48);
    let (_testbed, mut actor) = begin(256, sampling).await;
    take(&mut actor, 20).await;
    for code in ["E-110", "E-111"] {
        actor.release();
        let held = actor.held.as_mut().expect("it is held");
        if code == "E-110" {
            held.loaded = Digest::ZERO;
            actor.serve().await;
        } else {
            held.start.numerics = Digest::ZERO;
            actor.stand_if(false);
        }
        assert_eq!((actor.close, actor.suspended, actor.sequence.is_none()), (None, true, true), "it stands");
        assert!(actor.failed.as_ref().is_some_and(|failed| failed.contains(code)), "who looks is told");
        assert_eq!(actor.resume().await.expect_err("under others it would go on with other tokens").code(), code);

        // As if the node had been started again as it was.
        let held = actor.held.as_mut().expect("nothing was lost");
        (held.loaded, held.start.numerics) = (held.start.model, gpu::numerics_id());
        actor.resume().await.expect("it is its model");
        take(&mut actor, 5).await;
    }
    assert_eq!((emitted(&actor), &actor.failed), (expected[..30].to_vec(), &None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_goes_on_with_its_tokens_once_somebody_has_decided_about_its_effect_in_doubt() {
    let (sampling, expected) = control(48);
    for how in [Resolution::AssumeDone(Value::Nil), Resolution::Abort] {
        let (_testbed, mut actor) = begin(256, sampling.clone()).await;
        take(&mut actor, 9).await;
        let effect = call_a_tool(&actor);
        // As after a crash.
        actor.release();
        actor.held = None;
        actor.bring_back().await;
        assert_eq!((actor.close, actor.suspended), (None, true), "it asks");
        actor.publish();
        let view = actor.session.view();
        let asked: Vec<_> = view.in_doubt.iter().map(|doubt| (doubt.effect, doubt.operation)).collect();
        assert_eq!(asked, [(effect, "tool")], "it says what it asks");

        let refused = |outcome: Result<(), Refusal>| outcome.expect_err("not that").code().to_owned();
        assert_eq!(refused(actor.resume().await), "E-317");
        assert_eq!(refused(actor.resolve(EffectId::NONE, how.clone()).await), "E-318", "there is no such effect");
        assert_eq!(refused(actor.resolve(effect, Resolution::Retry).await), "N-194", "its program calls no tool");
        actor.resolve(effect, how.clone()).await.expect("it is in doubt");
        assert_eq!(refused(actor.resolve(effect, how).await), "E-318", "only once");
        assert!(actor.suspended && actor.held.as_ref().is_some_and(Held::is_parked), "it waits to be resumed");
        actor.resume().await.expect("nothing is in doubt");
        take(&mut actor, 39).await;
        assert_eq!(emitted(&actor), expected);
        assert_eq!(actor.close, Some(CloseReason::Finished), "its journal has an end");
    }
}

/// Leaves a call of a tool in the journal of a session, without what came of it.
fn call_a_tool(actor: &Actor) -> EffectId {
    let mut journal = beside(actor);
    let call = Op::Tool { idempotent: false };
    let effect = Effect::new(&actor.wallet.0, journal.seq(), call, Vec::new()).expect("within bounds");
    journal.intend(&effect).expect("writable");
    effect.id
}

/// The session's journal, as another writer sees it.
fn beside(actor: &Actor) -> Journal {
    let (held, keys) = (actor.held.as_ref().expect("it is held"), actor.keys.as_ref().expect("it is held"));
    Journal::open(held.journal().stream().clone(), keys.page_hash.clone(), keys.epoch.get()).expect("readable")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_result_than_the_journal_has_is_kept_and_the_first_time_the_session_goes_on_from_the_journal() {
    let (sampling, expected) = control(48);
    let (_testbed, mut actor) = begin(256, sampling).await;
    take(&mut actor, 10).await;
    let position = take_against(&mut actor).await;
    assert_eq!((actor.close, actor.sequence.is_none()), (None, true), "it is built again");
    let kept = actor.dir.load_divergences().expect("readable");
    let first = u64::from(prompt().len() as u32) + 10;
    let both = [expected[10] ^ 1, expected[10]].map(|token| Entry::Token { first, token });
    assert_eq!(kept, [Divergence { position, recorded: both[0].clone(), offered: both[1].clone() }]);
    actor.publish();
    let shown = actor.session.view().diverged.expect("who looks is told");
    assert_eq!((shown.count, shown.file.exists()), (1, true));

    until_back(&mut actor).await;
    take(&mut actor, 5).await;
    assert_eq!(emitted(&actor)[..11], [&expected[..10], &[expected[10] ^ 1]].concat(), "the first result stays");

    take_against(&mut actor).await;
    assert_eq!(actor.close, Some(CloseReason::Unrecoverable), "once is enough");
    assert_eq!(actor.dir.load_divergences().expect("readable").len(), 2);
    actor.dir.erase_keys().expect("writable");
    assert!(actor.dir.divergences_file().exists(), "evidence outlives the session");
}

/// Takes a token of the engine in where the journal has another one by then, and returns where that stands.
async fn take_against(actor: &mut Actor) -> u64 {
    let events = &mut actor.sequence.as_mut().expect("it decodes").events;
    let event = tokio::time::timeout(PATIENCE, events.recv()).await.expect("a token comes").expect("the engine runs");
    let mut journal = beside(actor);
    let seq = journal.seq();
    journal.token(seq, event.token ^ 1).expect("writable");
    drop(journal);
    actor.on_engine(event).await;
    u64::from(seq)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_whose_disk_failed_goes_on_from_the_disk_with_the_same_tokens() {
    let (sampling, expected) = control(48);
    let (_testbed, mut actor) = begin(256, sampling).await;
    take(&mut actor, 20).await;
    let file = Path::new("journal").to_owned();
    actor.put_down(DiskFault::Io { file, source: io::ErrorKind::StorageFull.into() });
    assert!(actor.sequence.is_none() && actor.held.is_none());
    assert!(actor.close.is_none(), "what it goes on from is on the disk");
    assert!(actor.failed.is_some(), "who looks is told");
    assert_eq!(actor.suspend(false).await.expect_err("nothing is there to be parked").code(), "N-214");

    until_back(&mut actor).await;
    assert_eq!(actor.failed, None);
    take(&mut actor, 28).await;
    assert_eq!(emitted(&actor), expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_whose_disk_work_does_not_come_to_its_end_goes_on_from_the_disk_with_the_same_tokens() {
    let (sampling, expected) = control(48);
    let (_testbed, mut actor) = begin(256, sampling).await;
    take(&mut actor, 20).await;
    let lost =
        actor.on_disk(|_, _, _| -> Result<(), Refusal> { panic!("of this test") }).await.expect_err("it is lost");
    assert_eq!((lost.code(), lost.retry()), ("N-214", true));
    assert!(actor.sequence.is_none() && actor.held.is_none(), "it is out of the engine, whose tokens nobody takes");
    tokio::time::sleep(AGAIN_AFTER * 2).await;
    without_disk_threads(actor.watch_engine()).await;
    assert_eq!((actor.close, actor.held.is_none()), (None, true), "nothing is concluded from what was not read");

    until_back(&mut actor).await;
    take(&mut actor, 28).await;
    assert_eq!(emitted(&actor), expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_parked_session_whose_disk_work_does_not_come_to_its_end_stands_and_can_be_resumed() {
    let (_testbed, mut actor) = begin_among(&["eu"], 256, control(48).0, 100).await;
    take(&mut actor, 3).await;
    actor.suspend(false).await.expect("it decodes");
    let lost = actor.on_disk(|_, _, _| -> Result<(), Refusal> { panic!("of this test") }).await;
    assert_eq!(lost.expect_err("it is lost").code(), "N-214");
    let again = async {
        while actor.held.is_none() {
            tokio::time::sleep(Duration::from_millis(10)).await;
            actor.watch_engine().await;
        }
    };
    tokio::time::timeout(PATIENCE, again).await.expect("it is read again");
    assert_eq!((actor.suspended, actor.sequence.is_none(), &actor.failed), (true, true, &None));
    actor.resume().await.expect("it is whole");
}

/// As while a node stops: what is given to the runtime's threads for the disk is not done.
async fn without_disk_threads<T>(work: impl Future<Output = T>) -> T {
    let over = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let handle = over.handle().clone();
    over.shutdown_background();
    let mut work = std::pin::pin!(work);
    std::future::poll_fn(|context| {
        let _entered = handle.enter();
        work.as_mut().poll(context)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_waits_for_the_disk_can_be_closed() {
    let (_testbed, mut actor) = begin(256, control(48).0).await;
    take(&mut actor, 3).await;
    actor.put_down(DiskFault::Io { file: "journal".into(), source: io::ErrorKind::StorageFull.into() });
    actor.end(CloseReason::Tenant).await.expect("it is held here");
    assert_eq!(actor.close, Some(CloseReason::Tenant));
    tokio::time::sleep(AGAIN_AFTER * 2).await;
    actor.watch_engine().await;
    assert!(actor.sequence.is_none() && actor.held.is_none(), "it does not come back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_whose_resumption_the_disk_did_not_keep_goes_on_all_the_same() {
    // Else the engine could end it before it is suspended.
    let (_testbed, mut actor) = begin_among(&["eu"], 256, control(48).0, 100).await;
    take(&mut actor, 3).await;
    actor.suspend(false).await.expect("it decodes");
    // As after `resume` with a disk that takes nothing: what is kept says that it is parked.
    actor.suspended = false;
    actor.put_down(DiskFault::Io { file: "continuation".into(), source: io::ErrorKind::StorageFull.into() });
    until_back(&mut actor).await;
    assert!(!actor.suspended);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_the_pages_on_the_disk_the_engine_gets_those_that_are_whole_and_that_the_journal_has_tokens_for() {
    let (sampling, expected) = control(60);
    let testbed = Testbed::start(&["eu"]).await;
    let client = testbed.create(0, &["eu"], &sampling, 10).await;
    let (_, _stream) = ids(testbed.follow(0, &client, prompt().len() as u32), prompt().len() as u32, 40).await;
    let context = testbed.node(0).sessions().context();
    let dir = context.disk.session(client.reply.wallet);
    let keys = dir.load_keys().expect("readable").expect("it is held here");
    let start = super::super::tests::kept_start(&dir, &keys);

    // The pages as they are, beside a journal that ends earlier.
    let folder = tempfile::tempdir().expect("a temporary folder");
    let sessions = SessionsDir::open(folder.path(), &context.keys).expect("writable");
    let elsewhere = sessions.session(client.reply.wallet);
    let mut held = Held::begin(&elsewhere, &keys, start.clone(), &prompt(), context.engine.model()).expect("writable");
    push(&mut held, &expected[..17]);
    let cut = held.tokens().to_vec();
    copy_pages(&testbed.session_dir(0, &client), folder.path(), &elsewhere, &keys, &context.engine.stream());
    let stream = context.engine.stream();
    let pages = held.surviving_pages(&elsewhere, &keys, &stream).expect("readable");
    assert_eq!(pages.len(), (cut.len() - 1) / stream.block as usize);
    let arrival = Arrival {
        tokens: cut,
        prompt_tokens: start.prompt_tokens,
        sampling: start.sampling.clone(),
        pages: pages.clone(),
        tail: None,
        salt: keys.prefix_salt.clone(),
        pace: Duration::ZERO,
    };
    context.engine.start(arrival, true).await.expect("the engine takes them");

    // Another still has the stream: a sync in the background, say.
    drop(held);
    let mut held = Held::reopen(&elsewhere, &keys, context.engine.model()).expect("readable").expect("all of it");
    let busy = elsewhere.open_kv(&keys, stream.hash()).expect("whole").expect("there");
    let refusal = held.surviving_pages(&elsewhere, &keys, &stream).expect_err("not now");
    assert_eq!((refusal.code(), refusal.retry()), ("N-214", true), "nothing is concluded from it");
    drop(busy);
    assert_eq!(held.surviving_pages(&elsewhere, &keys, &stream).expect("readable"), pages);

    // A bit of the third page.
    let file = folder.path().join("sessions").join(client.reply.wallet.0.to_string()).join("kv").join("00000000.seg");
    let mut bytes = std::fs::read(&file).expect("readable");
    let frame = bytes.len() / held.kv().expect("open").state().tail as usize;
    bytes[frame * 5 / 2] ^= 1;
    std::fs::write(&file, bytes).expect("writable");
    held.count_pages(&elsewhere, &keys, &stream).expect("readable");
    assert_eq!((held.content.pages(), held.kv().is_some()), (2, true), "a move takes those before it");
    assert_eq!(held.surviving_pages(&elsewhere, &keys, &stream).expect("readable"), pages[..2]);
    assert_eq!((held.content.pages(), held.kv().is_none()), (0, true), "all are kept again, in a new stream");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_of_few_parked_sessions_are_looked_at_at_once() {
    let (_testbed, mut actor) = begin_among(&["eu"], 256, control(48).0, 1000).await;
    take(&mut actor, 1).await;
    actor.suspend(false).await.expect("it decodes");
    let pages = actor.held.as_ref().expect("it is held").content.pages();
    assert!(pages > 0, "those of the prompt");
    let context = actor.context.clone();
    let at_once = context.counts.available_permits();
    assert_eq!(at_once, COUNTS_AT_ONCE);
    let others = context.counts.acquire_many(at_once as u32).await.expect("nobody closes it");
    assert!(futures::poll!(Box::pin(actor.count_parked_pages())).is_pending());
    assert!(actor.held.is_some(), "what is looked at is with the disk's thread");
    drop(others);
    actor.count_parked_pages().await;
    assert_eq!(actor.held.as_ref().expect("it is held").content.pages(), pages);
    assert_eq!(context.counts.available_permits(), at_once);
}

/// Takes in what an engine chose.
fn push(held: &mut Held, tokens: &[u32]) {
    for token in tokens {
        let event =
            EngineEvent { position: held.next(), token: *token, finish: None, step_start_ns: 0, step_end_ns: 0 };
        held.push(&event).expect("writable");
    }
}

/// Copies a session's pages. They are more than four.
fn copy_pages(from: &Path, folder: &Path, to: &SessionDir, keys: &HolderKeys, stream: &StreamDescriptor) {
    let to_folder = folder.join("sessions").join(from.file_name().expect("the wallet's")).join("kv");
    std::fs::create_dir(&to_folder).expect("writable");
    for file in std::fs::read_dir(from.join("kv")).expect("they are kept") {
        let file = file.expect("readable").path();
        std::fs::copy(&file, to_folder.join(file.file_name().expect("a file"))).expect("writable");
    }
    let pages = to.open_kv(keys, stream.hash()).expect("whole").expect("there").state().tail;
    assert!(pages > 4, "only {pages} are there");
}
