//! Whom a node hands out its ledger to.

use ledger::governance::Member;
use reqwest::Response;
use wallet::{digest::Digest, units::Timestamp};

use super::*;
use crate::{
    joining::request::LIFE_MS,
    testbed::{AUDITOR, OWNER},
};

const PATH: &str = "/ledger/v1/snapshot";

/// Status and code; none of a success.
async fn outcome(response: Response) -> (u16, Option<String>) {
    let status = response.status().as_u16();
    if status == 200 {
        return (status, None);
    }
    let problem: serde_json::Value = response.json().await.expect("a problem");
    (status, problem["code"].as_str().map(str::to_owned))
}

/// Asks `node` for `path` with this header.
async fn ask(testbed: &Testbed, node: u32, path: &str, header: &str) -> (u16, Option<String>) {
    let http = plain().build().expect("a client");
    let asked = http.get(format!("{}{path}", url(testbed, node))).header(header::AUTHORIZATION, header);
    outcome(asked.send().await.expect("the node answers")).await
}

/// A request for `path` at `node`, of the newcomer at `at`.
fn signed(testbed: &Testbed, node: u32, path: &str, at: Timestamp) -> SignedRequest {
    let consortium = testbed.node(0).sessions().context().consortium.id();
    SignedRequest::sign(&Asked { consortium, api: &url(testbed, node), path }, at, &newcomer())
}

fn refused(status: u16, code: &str) -> (u16, Option<String>) {
    (status, Some(code.to_owned()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_let_in_reads_what_it_joins_with_and_nothing_else() {
    let testbed = testbed(false).await;
    let offer = || signed(&testbed, 0, PATH, now()).to_string();
    assert_eq!(ask(&testbed, 0, PATH, &offer()).await, refused(403, "N-534"), "nobody let it in");
    let_in(&testbed).await;
    assert_eq!(ask(&testbed, 0, PATH, &offer()).await, (200, None));
    let chunk = format!("{PATH}/headers/1-1");
    assert_eq!(ask(&testbed, 0, &chunk, &signed(&testbed, 0, &chunk, now()).to_string()).await, (200, None));
    let nodes = format!("{PATH}/nodes/0");
    assert_eq!(ask(&testbed, 0, &nodes, &signed(&testbed, 0, &nodes, now()).to_string()).await, (200, None));
    for path in ["/ledger/v1/status", "/ledger/v1/archive", "/ledger/v1/entries", "/v1/models"] {
        let header = signed(&testbed, 0, path, now()).to_string();
        assert_eq!(ask(&testbed, 0, path, &header).await, refused(401, "N-501"), "{path}");
    }
    testbed.decide(0, vec![Action::Remove(Member::Node(NodeId::new(2)))]).await;
    testbed.until(0, |members| !members.speaks(NodeId::new(2))).await;
    assert_eq!(ask(&testbed, 0, PATH, &offer()).await, refused(403, "N-534"), "it is removed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_worth_nothing_at_another_node_for_another_path_or_at_another_time() {
    let testbed = testbed(true).await;
    let ago = |ms: u64| Timestamp::new(now().get() - ms);
    let here = signed(&testbed, 0, PATH, now()).to_string();
    assert_eq!(ask(&testbed, 0, PATH, &here).await, (200, None));
    let chunk = format!("{PATH}/headers/1-1");
    for (what, node, path, header) in [
        ("shown to another node", 1, PATH, here.clone()),
        ("for another path", 0, &*chunk, here),
        ("too old", 0, PATH, signed(&testbed, 0, PATH, ago(LIFE_MS + 1_000)).to_string()),
        (
            "of a time to come",
            0,
            PATH,
            signed(&testbed, 0, PATH, Timestamp::new(now().get() + 2 * LIFE_MS)).to_string(),
        ),
        ("in another's name", 0, PATH, {
            let key = asker(&testbed).key.public_key();
            SignedRequest { key, ..signed(&testbed, 0, PATH, now()) }.to_string()
        }),
        ("no request", 0, PATH, "Batchmind-Node x".to_owned()),
        ("an auditor's key", 0, PATH, format!("Bearer {AUDITOR}")),
        ("an owner's key", 0, PATH, format!("Bearer {OWNER}")),
    ] {
        assert_eq!(ask(&testbed, node, path, &header).await, refused(401, "N-533"), "{what}");
    }
    let elsewhere = Asked { consortium: Digest([9; 32]), api: &url(&testbed, 0), path: PATH };
    let elsewhere = SignedRequest::sign(&elsewhere, now(), &newcomer()).to_string();
    assert_eq!(ask(&testbed, 0, PATH, &elsewhere).await, refused(401, "N-533"), "of another consortium");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_joins_with_its_own_key_alone() {
    let testbed = testbed(true).await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let own = Asker { key: newcomer(), ..asker(&testbed) };
    let sources = [0, 1].map(|node| Source::new(&Roots::System, &url(&testbed, node), own.clone()).expect("a client"));
    let made = join(sources.to_vec(), order(&testbed, folder.path()), |_| {}).await.expect("both are honest");
    assert_eq!((made.joined.node, made.dropped), (NodeId::new(2), Vec::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_in_the_clear_is_named_and_the_ledger_comes_from_the_others() {
    let testbed = testbed(true).await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (good, asker) = (url(&testbed, 0), asker(&testbed));
    let urls = ["http://203.0.113.7:8001/", good.as_str(), "http://eu-2.example:8001"];
    let (sources, unasked) = Source::each(&Roots::System, urls, &asker).expect("one may be asked");
    assert_eq!(sources.iter().map(Giver::url).collect::<Vec<_>>(), [good.as_str()]);
    let named: Vec<_> = unasked.iter().map(|dropped| (dropped.url.as_str(), dropped.lied)).collect();
    assert_eq!(named, [("http://203.0.113.7:8001", false), ("http://eu-2.example:8001", false)]);
    assert!(unasked.iter().all(|dropped| dropped.reason.starts_with("N-172: ")), "{unasked:?}");
    join(sources, order(&testbed, folder.path()), |_| {}).await.expect("it has all of it");
    let failure = Source::each(&Roots::System, [urls[0], urls[2]], &asker).expect_err("none may be asked");
    assert_eq!(failure.code, "N-172");
    assert!(named.iter().all(|(url, _)| failure.detail.contains(url)), "{failure}");
}

/// Whoever stands between would read the ledger.
#[test]
fn a_ledger_crosses_no_network_in_the_clear() {
    let asker = || Asker { consortium: Digest::ZERO, key: newcomer() };
    let source = |url: &str| Source::new(&Roots::System, url, asker());
    assert_eq!(source("http://203.0.113.7:8001").expect_err("it would be read").code, "N-172");
    source("http://127.0.0.1:8001").expect("nobody stands in between");
}
