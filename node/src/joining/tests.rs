//! Joining from whole nodes over real sockets, and from some that lie or fail.

mod members;
mod requests;

use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicU32, Ordering},
};

use super::{
    request::{Asked, SignedRequest},
    *,
};
use crate::{
    session::context::now,
    testbed::Testbed,
    tls::client::{Roots, plain},
};
use axum::{
    Router,
    body::Bytes,
    extract::Request,
    http::{StatusCode, header},
    response::IntoResponse as _,
};
use genesis::Node;
use ledger::{
    block::Header,
    governance::{Action, KeyClaim},
    hand_over::{ClosingProof, HandOver},
    snapshot::Offer,
};
use tokio::net::TcpListener;
use wallet::{
    codec,
    identity::{RegionId, SecretKey},
    units::{BlockHeight, NodeId},
};

/// What stands between a node and the one that joins does with an answer. No bytes stand for a chunk that is not there.
type Meddler = fn(u32, &str, Bytes) -> Option<Bytes>;

/// The key of a node that takes part from the beginning: whether the newcomer does is what some tests are about.
fn asker(testbed: &Testbed) -> Asker {
    let context = testbed.node(0).sessions().context();
    Asker { consortium: context.consortium.id(), key: context.keys.key().clone() }
}

fn source(testbed: &Testbed, url: &str) -> Source {
    Source::new(&Roots::System, url, asker(testbed)).expect("a client")
}

fn url(testbed: &Testbed, node: u32) -> String {
    format!("http://{}", testbed.node(node).api_address())
}

/// A node of the testbed as it is.
fn honest(testbed: &Testbed, node: u32) -> Source {
    source(testbed, &url(testbed, node))
}

/// A node that changes its answers, of which it is told number and path; or says that it failed.
async fn meddled(
    testbed: &Testbed,
    node: u32,
    meddler: impl Fn(u32, &str, Bytes) -> Option<Bytes> + Clone + Send + Sync + 'static,
) -> Source {
    let (to, Asker { consortium, key }) = (url(testbed, node), asker(testbed));
    let (http, number) = (plain().build().expect("a client"), Arc::new(AtomicU32::new(0)));
    let app = Router::new().fallback(move |request: Request| {
        let (http, number, path) =
            (http.clone(), number.fetch_add(1, Ordering::Relaxed), request.uri().path().to_owned());
        // It is asked in its own name, and asks in that of another node.
        let asked = Asked { consortium, api: &to, path: &path };
        let signed = SignedRequest::sign(&asked, now(), &key).to_string();
        let (asked, meddler) = (http.get(format!("{to}{path}")).header(header::AUTHORIZATION, signed), meddler.clone());
        async move {
            let answer = asked.send().await.expect("the node answers");
            let bytes = match answer.status() == StatusCode::NOT_FOUND {
                true => Bytes::new(),
                false => answer.error_for_status().expect("good").bytes().await.expect("the whole answer"),
            };
            match meddler(number, &path, bytes) {
                Some(bytes) if bytes.is_empty() => (StatusCode::NOT_FOUND, NOT_HERE).into_response(),
                Some(bytes) => bytes.into_response(),
                None => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
            }
        }
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    tokio::spawn(async move { axum::serve(listener, app).await });
    source(testbed, &url)
}

const NOT_HERE: &str = r#"{"code":"N-525","title":"a chunk of the ledger is not here"}"#;

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
    let (key, re_geneses) = (newcomer().public_key(), Vec::new());
    Order { consortium, re_geneses, key, folder: folder.join("ledger").into(), replays: false }
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
    let (liar, dying, gone) = (liar.await, dying.await, source(&testbed, "http://127.0.0.1:9"));
    let sources = vec![liar.clone(), gone.clone(), dying.clone(), honest(&testbed, 0), honest(&testbed, 1)];
    let made = join(sources, order(&testbed, folder.path()), |_| {}).await.expect("two of them are honest");
    assert_eq!(made.joined.node, NodeId::new(2));
    let dropped = |source: &Source| made.dropped.iter().find(|dropped| dropped.url == source.url());
    // Wrong headers say nothing against it before the true ones show that its last block is on their chain.
    let names_a_chunk = |reason: &str| ["headers/", "blocks/", "state/"].iter().any(|kind| reason.starts_with(kind));
    assert!(dropped(&liar).is_some_and(|dropped| dropped.lied && names_a_chunk(&dropped.reason)), "{made:?}");
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
    let failed = join(vec![all, source(&testbed, "http://127.0.0.1:9")], order(&testbed, folder.path()), |_| {}).await;
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
async fn a_node_that_fails_for_a_moment_is_asked_again() {
    let testbed = testbed(true).await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let restarting = meddled(&testbed, 0, |number, _, bytes| (!(2..5).contains(&number)).then_some(bytes)).await;
    let made = join(vec![restarting], order(&testbed, folder.path()), |_| {}).await.expect("it came back");
    assert_eq!((made.dropped, made.sources), (Vec::new(), 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_a_block_behind_is_not_dropped_for_it() {
    let testbed = testbed(true).await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    // What it offers is of the block below, and it has the last one a little later.
    let store = testbed.node(0).sessions().context().replica.store().clone();
    let behind = meddled(&testbed, 0, move |number, path, bytes| {
        if path.contains("/snapshot/") {
            return Some(if number < 4 { Bytes::new() } else { bytes });
        }
        let offer: Offer = codec::decode(&bytes).expect("an offer");
        let below = BlockHeight::new(offer.tip.height.get() - 1);
        let tip = store.header(below).expect("reads").expect("final");
        let proof = store.proof(&tip).expect("reads").expect("final");
        Some(codec::encode(&Offer { tip, proof, states: Vec::new(), ..offer }).into())
    });
    let offers_only: Meddler = |_, path, bytes| Some(if path.contains("/snapshot/") { Bytes::new() } else { bytes });
    let behind = behind.await;
    let sources = vec![behind.clone(), meddled(&testbed, 1, offers_only).await];
    let order = Order { replays: true, ..order(&testbed, folder.path()) };
    let made = join(sources, order, |_| {}).await.expect("it has all of it");
    assert_eq!(made.sources, 1, "{made:?}");
    assert!(made.dropped.iter().all(|dropped| !dropped.lied && dropped.url != behind.url()), "{made:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nobody_sends_the_state_everything_is_executed() {
    let testbed = testbed(true).await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let forgetful: Meddler = |_, path, bytes| Some(if path.contains("/state/") { Bytes::new() } else { bytes });
    let sources = vec![meddled(&testbed, 0, forgetful).await, meddled(&testbed, 1, forgetful).await];
    let made = join(sources, order(&testbed, folder.path()), |_| {}).await.expect("they have all blocks");
    assert_eq!((made.state_at.get(), made.dropped), (0, Vec::new()), "a state that went away is nobody's failure");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hand_over_that_leads_nowhere_ends_the_walk() {
    let testbed = testbed(true).await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let context = testbed.node(0).sessions().context();
    let (store, next) = (context.replica.store().clone(), context.consortium.validators().clone());
    let first = store.header(BlockHeight::new(1)).expect("reads").expect("final");
    let proof: ClosingProof = store.proof(&first).expect("reads").expect("final");
    let nowhere = HandOver { closing: Header { epoch: u64::MAX, ..first }, proof, next, re_genesis: None };
    let endless = meddled(&testbed, 0, move |number, path, bytes| {
        if path.contains("/snapshot/") {
            return (number < 20).then(|| codec::encode(&vec![nowhere.clone()]).into());
        }
        let mut offer: Offer = codec::decode(&bytes).expect("an offer");
        offer.tip.epoch = 7;
        Some(codec::encode(&offer).into())
    });
    let sources = vec![endless.await, honest(&testbed, 1)];
    let made = join(sources, order(&testbed, folder.path()), |_| {}).await.expect("one is honest");
    assert!(matches!(&made.dropped[..], [one] if one.lied && one.reason.contains("closes epoch")), "{made:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_is_there_is_left_alone_before_anybody_is_asked() {
    let testbed = testbed(false).await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::create_dir_all(folder.path().join("ledger")).expect("a folder");
    fs::create_dir_all(folder.path().join("ledger.joining")).expect("a folder");
    let unasked = meddled(&testbed, 0, |_, _, _| panic!("nobody is asked")).await;
    let failed = join(vec![unasked], order(&testbed, folder.path()), |_| {}).await.expect_err("there is one");
    assert_eq!(failed.code, "N-157");
    assert!(!folder.path().join("ledger.joining").exists(), "what a join left that was killed at its end");
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
    let sources = vec![honest(&testbed, 0), honest(&testbed, 1), liar.clone()];
    let made = join(sources, order(&testbed, folder.path()), |_| {}).await.expect("two honest nodes");
    assert_eq!(made.joined.node, NodeId::new(2));
    // Whether the header disproves the index or only does not prove it depends on the last two blocks.
    assert!(made.dropped.iter().all(|dropped| dropped.lied && dropped.url == liar.url()), "{made:?}");
}
