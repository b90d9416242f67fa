//! Sessions of one whole node.

use std::collections::BTreeSet;

use gpu::continuation::{Beside, Body, DecodeBody, SignedContinuation};
use tokio::sync::oneshot;
use wallet::{digest::Digest, identity::RegionId, tenant::TenantMaster, units::NodeId};

use crate::{
    node::Seams,
    session::{
        CommandReply, SessionCommand,
        actor::Actor,
        agent,
        context::random,
        continuation::{Inherited, Received, no_pages},
        disk::{HolderKeys, SessionDir, SessionsDir},
        held::Held,
        request::{GenerateRequest, ResumeSecret, Sampling},
        start::SessionStart,
        view::SessionMode,
    },
    testbed::{Client, PATIENCE, Testbed, control, ids, ids_to_end, prompt},
};

/// A request of a tenant whose policy allows the node's region.
pub(super) fn request(testbed: &Testbed, sampling: Sampling, pace_ms: u32, secret: &ResumeSecret) -> GenerateRequest {
    let context = testbed.node(0).sessions().context();
    let regions = BTreeSet::from([RegionId::try_from("eu".to_owned()).expect("a region name")]);
    let master = TenantMaster::from_bytes([8; 32]);
    GenerateRequest {
        tenant: agent::grant(context, &master, &regions, NodeId::ZERO, context.engine.served())
            .expect("the node's region is allowed"),
        prompt: prompt(),
        sampling,
        pace_ms,
        resume_secret_hash: secret.hash(),
        request_id: "test".to_owned(),
    }
}

/// What a session began with, as its folder has it.
pub(super) fn kept_start(dir: &SessionDir, keys: &HolderKeys) -> SessionStart {
    let kept = dir.load_continuation(keys).expect("readable").expect("it is kept");
    let kept = SignedContinuation::decode(kept, &keys.holder.key().verifying_key()).expect("the holder's");
    // Of the latest schema: it needs nothing beside it.
    let beside = Beside { tokens: &[], key: &keys.page_hash, kv: no_pages(), tail: None };
    SessionStart::read(&kept, &beside).expect("a session's").0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_identical_requests_at_once_one_is_served_whole_and_the_other_is_refused() {
    let (sampling, expected) = control(48);
    let testbed = Testbed::start(&["eu"]).await;
    let sessions = testbed.node(0).sessions();
    let secret = ResumeSecret(random());
    let request = request(&testbed, sampling, 5, &secret);
    let (one, other) = tokio::join!(sessions.create(request.clone()), sessions.create(request.clone()));
    let (reply, refusal) = match (one, other) {
        (Ok(reply), Err(refusal)) | (Err(refusal), Ok(reply)) => (reply, refusal),
        (one, other) => panic!("exactly one is served: {one:?}, {other:?}"),
    };
    assert_eq!(refusal.code(), "N-206");
    let client = Client { reply, secret };
    let stream = testbed.follow(0, &client, prompt().len() as u32);
    let later = sessions.create(request.clone()).await.expect_err("the session is here");
    assert_eq!(later.code(), "N-206");
    assert_eq!(ids_to_end(stream, prompt().len() as u32).await, expected);

    // A wallet on the ledger stays refused where no session is left.
    testbed.until_created(0, &client).await;
    sessions.remove(client.reply.wallet);
    let last = sessions.create(request).await.expect_err("the ledger knows the wallet");
    assert_eq!(last.code(), "N-206");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_begins_with_a_journal_that_survives_a_loss_of_power() {
    let testbed = Testbed::start(&["eu"]).await;
    let client = testbed.create(0, &["eu"], &control(1).0, 0).await;
    let context = testbed.node(0).sessions().context();
    let dir = context.disk.session(client.reply.wallet);
    let keys = dir.load_keys().expect("readable").expect("it is held here");
    let start = kept_start(&dir, &keys);

    let folder = tempfile::tempdir().expect("a temporary folder");
    let sessions = SessionsDir::open(folder.path(), &context.keys).expect("writable");
    let elsewhere = sessions.session(client.reply.wallet);
    let held = Held::begin(&elsewhere, &keys, start, &prompt(), context.engine.model()).expect("writable");
    let kept = held.continuation().expect("it is kept").body().expect("a session's");
    let Body::Decode(DecodeBody { journal, .. }) = kept else { panic!("the latest schema is written") };
    assert!(journal.to > 0, "it refers to the prompt");
    assert_eq!(held.journal().stream().state().durable, journal.to);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_reads_a_session_that_restarted_waits_for_its_creation_to_become_final() {
    let (sampling, expected) = control(48);
    let mut testbed = Testbed::start(&["eu", "eu"]).await;
    testbed.until_final().await;
    // Without the other one nothing more becomes final.
    testbed.stop_node(1).await;
    let client = testbed.create(0, &["eu"], &sampling, 200).await;
    let first = prompt().len() as u32;
    let (mut seen, stream) = ids(testbed.follow(0, &client, 0), first, 3).await;
    drop(stream);
    testbed.stop_node(0).await;
    testbed.start_node(0, Seams::default()).await;
    let session = testbed.session(0, &client);
    let mut views = session.watch();
    let known = views.wait_for(|view| view.mode == SessionMode::Over && view.prompt_tokens.get() == first);
    tokio::time::timeout(PATIENCE, known).await.expect("it is read from the disk").expect("the session runs");
    assert_eq!(session.tokens().ended(), None, "it is not over");
    testbed.start_node(1, Seams::default()).await;
    seen.extend(ids_to_end(testbed.follow(0, &client, first + 3), first + 3).await);
    assert_eq!(seen, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_goes_on_and_away_as_the_head_of_its_continuation_allows() {
    let testbed = Testbed::start(&["eu"]).await;
    let request = request(&testbed, control(48).0, 100, &ResumeSecret(random()));
    let wallet = request.tenant.grant.verify().expect("the tenant's");
    let mut actor = Actor::create(testbed.node(0).sessions(), wallet, request).await.expect("it begins");
    let (context, keys) = (testbed.node(0).sessions().context(), actor.keys.clone().expect("it is held"));
    let start = kept_start(&actor.dir, &keys);
    let held = actor.held.as_ref().expect("it is held");
    let (journal, entries) = (held.journal().bound().expect("a root"), held.journal().entries().expect("readable"));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let elsewhere = SessionsDir::open(folder.path(), &context.keys).expect("writable").session(wallet);
    for (came, goes_on, moves) in [
        (Inherited::default(), None, "N-301"),
        (Inherited { pinned: true, ..Inherited::default() }, None, "E-320"),
        (Inherited { deadline_us: 1_000, ..Inherited::default() }, Some("E-321"), "E-321"),
        (Inherited { deadline_us: u64::MAX, ..Inherited::default() }, None, "N-301"),
    ] {
        let received = Received { inherited: came, start: start.clone(), journal };
        let held = Held::take_over(&elsewhere, &keys, received, entries.clone(), context.engine.model());
        let held = held.expect("the journal is its own");
        let head = *held.continuation().expect("it is kept").head();
        assert_eq!((head.flags.pinned, head.deadline_us), (came.pinned, came.deadline_us), "it is passed on");
        assert_eq!(held.may_go_on().err().map(|refusal| refusal.code().to_owned()).as_deref(), goes_on);
        actor.held = Some(held);
        let (reply, outcome) = oneshot::channel();
        // There is no such node, which is looked at last.
        actor.migrate(NodeId::new(9), Digest::ZERO, "test".to_owned(), reply);
        assert_eq!(outcome.await.expect("an answer").expect_err("it does not move").code(), moves);
        actor.held = None;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_the_disk_does_not_take_leaves_nothing_in_the_engine() {
    let testbed = Testbed::start(&["eu"]).await;
    let context = testbed.node(0).sessions().context();
    let request = request(&testbed, control(48).0, 0, &ResumeSecret(random()));
    let wallet = request.tenant.grant.verify().expect("the tenant's");
    let dir = context.disk.session(wallet);
    std::fs::write(dir.divergences_file().parent().expect("its folder"), "no folder").expect("writable");
    let refusal = Actor::create(testbed.node(0).sessions(), wallet, request).await.err().expect("it is not kept");
    assert_eq!(refusal.code(), "N-209");
    assert_eq!(context.engine.stats().await.expect("it runs").blocks_used, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_suspends_or_resumes_a_session_is_answered_when_it_is_to_be_seen() {
    let testbed = Testbed::start(&["eu"]).await;
    let request = request(&testbed, control(48).0, 100, &ResumeSecret(random()));
    let wallet = request.tenant.grant.verify().expect("the tenant's");
    let mut actor = Actor::create(testbed.node(0).sessions(), wallet, request).await.expect("it begins");
    for (command, mode) in [
        (SessionCommand::Suspend { until_read: false }, SessionMode::Suspended),
        (SessionCommand::Resume, SessionMode::Serving),
        (SessionCommand::Suspend { until_read: true }, SessionMode::Suspended),
    ] {
        let (reply, outcome) = oneshot::channel();
        actor.on_command(command, reply).await;
        assert!(matches!(outcome.await.expect("an answer"), Ok(CommandReply::Done)));
        assert_eq!(actor.session.view().mode, mode);
    }
}
