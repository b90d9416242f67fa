//! Who may read a session's tokens at another node, and that nobody waits for ever.

mod branches;

use std::{path::Path, sync::Arc, time::Duration};

use futures::future::{self, BoxFuture};

use crate::{
    network::stream::{
        StreamLink, StreamLinkFault,
        message::{Pull, StreamReply, StreamRequest},
        refusal::StreamRefusal,
    },
    node::Seams,
    peer::{PeerFault, SessionReply, SessionRequest, TokensReply, TokensRequest},
    session::{
        command::SessionCommand,
        request::ResumeSecret,
        tokens::{self, StreamItem},
    },
    testbed::{PATIENCE, Testbed, control, ids, ids_to_end, prompt},
};
use wallet::units::{NodeId, TokenPosition};

fn prompt_tokens() -> u32 {
    prompt().len() as u32
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_node_that_shows_the_resume_secret_reads_the_tokens() {
    let (sampling, expected) = control(24);
    let testbed = Testbed::start(&["eu", "eu"]).await;
    let client = testbed.create(0, &["eu"], &sampling, 0).await;
    let context = testbed.node(1).sessions().context();
    let wallet = client.reply.wallet;
    let pull = async || {
        let pull = Pull {
            stream: tokens::descriptor(wallet).id(),
            cursor: 0,
            pages_max: 1,
            bytes_max: u32::MAX,
            wait_ms: 0,
            trim_below: None,
            peaks: true,
        };
        context.streams.ask(NodeId::ZERO, StreamRequest::Pull(pull), PATIENCE).await.expect("it is answered")
    };
    let ask = async |resume_secret: &ResumeSecret| {
        let request = TokensRequest { wallet, resume_secret: resume_secret.clone() };
        context.link.ask(NodeId::ZERO, SessionRequest::Tokens(request), PATIENCE).await
    };
    let is_refused = |reply: &StreamReply| matches!(reply, StreamReply::Refused(StreamRefusal::Unknown));
    assert!(is_refused(&pull().await), "nobody was let in");
    match ask(&ResumeSecret([9; 32])).await {
        Err(PeerFault::Refused(refused)) => assert_eq!(refused.code, "N-208"),
        other => panic!("another secret was taken: {other:?}"),
    }
    assert!(is_refused(&pull().await), "another secret opens nothing");
    match ask(&client.secret).await {
        Ok(SessionReply::Tokens(TokensReply { first, .. })) => assert_eq!(first.get(), prompt_tokens()),
        other => panic!("the secret was not taken: {other:?}"),
    }
    assert!(matches!(pull().await, StreamReply::Pulled(_)), "it is let in");
    assert_eq!(ids_to_end(testbed.follow(1, &client, 0), prompt_tokens()).await, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_at_a_node_that_finds_after_a_restart_that_the_session_has_left_reads_on_elsewhere() {
    let (sampling, expected) = control(24);
    let mut testbed = Testbed::start(&["eu", "eu"]).await;
    let client = testbed.create(0, &["eu"], &sampling, 50).await;
    let first = prompt_tokens();
    let (mut seen, stream) = ids(testbed.follow(0, &client, first), first, 3).await;
    drop(stream);
    let parked = testbed.session(0, &client).command(SessionCommand::Suspend { until_read: false }).await;
    parked.expect("it serves");
    // What was kept here when the session was.
    let (folder, kept) = (testbed.session_dir(0, &client), tempfile::tempdir().expect("a temporary folder"));
    copy(&folder, kept.path());
    testbed.migrate(0, &client, 1).await.expect("the policy allows it");
    testbed.stop_node(0).await;
    copy(kept.path(), &folder);
    testbed.start_node(0, Seams::default()).await;
    let here = testbed.session(0, &client);
    let told = tokio::time::timeout(PATIENCE, async {
        let mut from = first;
        loop {
            match here.tokens().wait(TokenPosition::new(from)).await {
                StreamItem::Token(token) => from = token.position.get() + 1,
                end => break end,
            }
        }
    });
    assert_eq!(told.await.expect("nobody waits for ever"), StreamItem::Moved { to: NodeId::new(1) });
    seen.extend(ids_to_end(testbed.follow(0, &client, first + 3), first + 3).await);
    assert_eq!(seen, expected);
}

/// Copies a folder with all that is in it.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("writable");
    for entry in std::fs::read_dir(from).expect("readable") {
        let from = entry.expect("readable").path();
        let to = to.join(from.file_name().expect("it has a name"));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            std::fs::copy(&from, &to).expect("writable");
        }
    }
}

/// A way on which nothing gets through.
struct Full;

impl StreamLink for Full {
    fn ask(&self, _: NodeId, _: StreamRequest, _: Duration) -> BoxFuture<'_, Result<StreamReply, StreamLinkFault>> {
        Box::pin(future::pending())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_are_relayed_on_another_way_than_that_of_moves() {
    let (sampling, expected) = control(24);
    let mut testbed = Testbed::start(&["eu", "eu"]).await;
    testbed.stop_node(1).await;
    testbed.start_node(1, Seams { streams: Box::new(|_| Arc::new(Full)), ..Seams::default() }).await;
    let client = testbed.create(0, &["eu"], &sampling, 0).await;
    assert_eq!(ids_to_end(testbed.follow(1, &client, 0), prompt_tokens()).await, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_relays_from_any_position() {
    let (sampling, expected) = control(24);
    let testbed = Testbed::start(&["eu", "eu"]).await;
    let client = testbed.create(0, &["eu"], &sampling, 0).await;
    for skipped in [0, 1, 7, 23, 24] {
        let from = prompt_tokens() + skipped;
        let ids = ids_to_end(testbed.follow(1, &client, from), from).await;
        assert_eq!(ids, expected[skipped as usize..], "from {from}");
    }
    // From before the first token, the first.
    let ids = ids_to_end(testbed.follow(1, &client, prompt_tokens() - 1), prompt_tokens()).await;
    assert_eq!(ids, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_slept_while_the_session_left_and_came_back_misses_no_token() {
    let (sampling, expected) = control(60);
    let testbed = Testbed::start(&["eu", "eu", "eu"]).await;
    let client = testbed.create(0, &["eu"], &sampling, 100).await;
    let (mut seen, stream) = ids(testbed.follow(2, &client, 0), prompt_tokens(), 3).await;
    testbed.migrate(0, &client, 1).await.expect("the policy allows it");
    testbed.migrate(1, &client, 0).await.expect("and back");
    let mut views = testbed.session(0, &client).watch();
    let finished = views.wait_for(|view| view.finished.is_some());
    tokio::time::timeout(PATIENCE, finished).await.expect("it decodes on").expect("the session runs");
    // It has the tokens up to the first move, and that stream ended with the move.
    seen.extend(ids_to_end(stream, prompt_tokens() + 3).await);
    assert_eq!(seen, expected);
}
