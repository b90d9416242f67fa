//! Joining from whole nodes over real sockets, and from some that lie or fail.

use std::{
    fs,
    sync::atomic::{AtomicU32, Ordering},
};

use axum::{Router, body::Bytes, extract::Request, http::StatusCode, response::IntoResponse as _};
use genesis::Node;
use ledger::{
    governance::{Action, KeyClaim},
    snapshot::Offer,
};
use tokio::net::TcpListener;
use wallet::{
    codec,
    identity::{RegionId, SecretKey},
    units::NodeId,
};
use zeroize::Zeroizing;

use super::*;
use crate::testbed::{AUDITOR, Testbed};

/// What stands between a node and the one that joins does with an answer.
type Meddler = fn(u32, &str, Bytes) -> Option<Bytes>;

fn source(url: &str) -> Source {
    Source::new(url, Some(Zeroizing::new(AUDITOR.to_owned()))).expect("a client")
}

/// A node of the testbed as it is.
fn honest(testbed: &Testbed, node: u32) -> Source {
    source(&format!("http://{}", testbed.node(node).api_address()))
}

/// A node that changes its answers, of which it is told number and path; or says that it failed.
async fn meddled(testbed: &Testbed, node: u32, meddler: Meddler) -> Source {
    let to = format!("http://{}", testbed.node(node).api_address());
    let (http, number) = (reqwest::Client::new(), Arc::new(AtomicU32::new(0)));
    let app = Router::new().fallback(move |request: Request| {
        let (http, number, path) =
            (http.clone(), number.fetch_add(1, Ordering::Relaxed), request.uri().path().to_owned());
        let asked = http.get(format!("{to}{path}")).bearer_auth(AUDITOR);
        async move {
            let answer = asked.send().await.expect("the node answers");
            if answer.status() != 200 {
                return (answer.status(), answer.bytes().await.expect("the whole answer")).into_response();
            }
            let bytes = answer.bytes().await.expect("the whole answer");
            match meddler(number, &path, bytes) {
                Some(bytes) => bytes.into_response(),
                None => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
            }
        }
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    tokio::spawn(async move { axum::serve(listener, app).await });
    source(&url)
}

/// The last byte is another.
fn flipped(bytes: &Bytes) -> Option<Bytes> {
    let mut changed = bytes.to_vec();
    *changed.last_mut()? ^= 1;
    Some(changed.into())
}

fn newcomer() -> SecretKey {
    SecretKey::from_seed(&[77; 32])
}

fn order(testbed: &Testbed, folder: &Path) -> Order {
    let consortium = testbed.node(0).sessions().context().consortium.clone();
    Order { consortium, key: newcomer().public_key(), folder: folder.join("ledger"), replays: false }
}

/// Two nodes; unless it is a stranger, they have let the newcomer in.
async fn testbed(lets_in: bool) -> Testbed {
    let testbed = Testbed::start(&["eu", "eu"]).await;
    if lets_in {
        let_in(&testbed).await;
    }
    testbed
}

async fn let_in(testbed: &Testbed) {
    let consortium = testbed.node(0).sessions().context().consortium.clone();
    let node = Node {
        name: "node-2".parse().expect("a name"),
        operator: consortium.operators()[0].id.clone(),
        region: RegionId::try_from("eu".to_owned()).expect("a region"),
        key: newcomer().public_key(),
        peer: "127.0.0.1:1".parse().expect("an address"),
        api: "http://127.0.0.1:2".to_owned(),
    };
    let sign = |key: &SecretKey| KeyClaim::Node(&node).sign(&consortium.id(), key);
    let (consent, by_operator) = (sign(&newcomer()), sign(&SecretKey::from_seed(&[100; 32])));
    testbed.decide(0, vec![Action::AddNode { node, consent, by_operator }]).await;
    for node in 0..2 {
        testbed.until(node, |members| members.node(NodeId::new(2)).is_some()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_lies_and_one_that_fails_are_named_and_the_ledger_comes_from_the_others() {
    let testbed = testbed(true).await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let liar = meddled(&testbed, 0, |_, path, bytes| match path.contains("/snapshot/") {
        true => flipped(&bytes),
        false => Some(bytes),
    });
    let dying = meddled(&testbed, 1, |number, _, bytes| (number < 2).then_some(bytes));
    let (liar, dying, gone) = (liar.await, dying.await, source("http://127.0.0.1:9"));
    let sources = vec![liar.clone(), gone.clone(), dying.clone(), honest(&testbed, 0), honest(&testbed, 1)];
    let made = join(sources, order(&testbed, folder.path()), |_| {}).await.expect("two of them are honest");
    assert_eq!(made.joined.node, NodeId::new(2));
    let dropped = |source: &Source| made.dropped.iter().find(|dropped| dropped.url == source.url());
    assert!(dropped(&liar).is_some_and(|dropped| dropped.lied && dropped.reason.starts_with("headers/")), "{made:?}");
    assert!(dropped(&gone).is_some_and(|dropped| !dropped.lied && dropped.reason.contains("N-160")), "{made:?}");
    assert!(dropped(&dying).is_none_or(|dropped| !dropped.lied), "{made:?}");
    assert!(
        made.dropped
            .iter()
            .all(|dropped| ![0, 1].map(|node| honest(&testbed, node).url().to_owned()).contains(&dropped.url))
    );
    assert!(made.state_at.get() > 0 && made.state_at <= made.joined.executed.height, "{made:?}");
    let names: Vec<_> =
        fs::read_dir(folder.path()).expect("readable").map(|file| file.expect("one").file_name()).collect();
    assert_eq!(names, ["ledger"], "nothing else is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_join_goes_on_with_what_an_earlier_one_got() {
    let testbed = testbed(false).await;
    // So many that the first group of blocks is whole.
    let height = || testbed.node(0).sessions().context().replica.state().height.get();
    while height() < 33 {
        let from = testbed.node(0).sessions().context().replica.state().state.parameters().credit_per_ms;
        testbed.decide(0, vec![Action::SetParameter { name: "credit_per_ms".into(), from, to: from + 1 }]).await;
        testbed.until(0, |members| members.parameters().credit_per_ms != from).await;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let sources = || vec![honest(&testbed, 0), honest(&testbed, 1)];
    let stranger = join(sources(), order(&testbed, folder.path()), |_| {}).await.expect_err("nobody let it in");
    assert_eq!(stranger.code, "N-112", "{stranger}");
    assert!(!folder.path().join("ledger").exists());
    let_in(&testbed).await;
    let without_first: Meddler = |_, path, bytes| (!path.ends_with("/blocks/1-32")).then_some(bytes);
    let made = join(vec![meddled(&testbed, 0, without_first).await], order(&testbed, folder.path()), |_| {}).await;
    assert!(made.expect("the first blocks are there").bytes > 0);
    assert!(!folder.path().join("ledger.joining").exists());
    let elsewhere = order(&testbed, &folder.path().join("elsewhere"));
    let failed = join(vec![meddled(&testbed, 0, without_first).await], elsewhere, |_| {}).await;
    assert_eq!(failed.expect_err("nothing was kept there").code, "N-114");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_honest_node_there_is_no_ledger() {
    let testbed = testbed(true).await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let all = meddled(&testbed, 0, |_, _, bytes| flipped(&bytes)).await;
    let failed = join(vec![all, source("http://127.0.0.1:9")], order(&testbed, folder.path()), |_| {}).await;
    assert_eq!(failed.expect_err("no offer is good").code, "N-113");
    let blocks: Meddler = |_, path, bytes| match path.contains("/blocks/") {
        true => flipped(&bytes),
        false => Some(bytes),
    };
    let liars = vec![meddled(&testbed, 0, blocks).await, meddled(&testbed, 1, blocks).await];
    let failed = join(liars, order(&testbed, folder.path()), |_| {}).await.expect_err("no block is good");
    assert_eq!(failed.code, "N-114");
    assert_eq!(failed.detail.matches("blocks/").count(), 2, "both are named: {failed}");
    assert!(!folder.path().join("ledger").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_executed_if_that_is_asked_for() {
    let testbed = testbed(true).await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let order = Order { replays: true, ..order(&testbed, folder.path()) };
    let made = join(vec![honest(&testbed, 0), honest(&testbed, 1)], order, |_| {}).await.expect("two honest nodes");
    assert_eq!((made.state_at.get(), made.joined.node), (0, NodeId::new(2)));
    let of_node = testbed.node(1).sessions().context().replica.store().header(made.joined.executed.height);
    let state_root = of_node.expect("reads").expect("final").state_root;
    assert_eq!(made.joined.executed.state.root(), state_root);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_lies_about_its_raft_log_is_not_believed_and_another_one_is() {
    let testbed = testbed(true).await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let other_place: Meddler = |_, path, bytes| {
        if path.contains("/snapshot/") {
            return Some(bytes);
        }
        let mut offer: Offer = codec::decode(&bytes).expect("an offer");
        offer.raft_index += 1;
        Some(codec::encode(&offer).into())
    };
    let liar = meddled(&testbed, 0, other_place).await;
    let alone = join(vec![liar.clone()], order(&testbed, folder.path()), |_| {}).await;
    assert!(["N-112", "N-156"].contains(&&*alone.expect_err("it would follow nobody").code));
    let sources = vec![honest(&testbed, 0), honest(&testbed, 1), liar];
    let made = join(sources, order(&testbed, folder.path()), |_| {}).await.expect("two honest nodes");
    assert_eq!(made.joined.node, NodeId::new(2));
}
