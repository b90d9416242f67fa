//! The operators give a node another key, while it runs and while it is down. Its sessions stay.

use std::{
    fs,
    sync::atomic::{AtomicBool, Ordering},
};

use node::demo::cluster::Cluster;
use serde_json::Value;

use crate::{
    consortium::{EU, Running, ask, assert_gapless, assert_no_evidence, control, say, until},
    deciding::{consent, decide, key},
    joining::setup,
    moves::migrate,
    program::succeeded,
};

const TOKENS: u32 = 200;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_key_is_rotated_keeps_its_sessions_and_one_that_was_down_finds_back() {
    let mut cluster = Running::prepare(setup).await;
    for node in EU {
        succeeded(&["keys", "new", "--out", &key(&cluster, &next(node))]);
        let other = format!("key-file = \"{node}.key\"\nnext-key-file = \"{node}.next.key\"");
        configure(&cluster, node, &format!("key-file = \"{node}.key\""), &other);
    }
    cluster.restart_all().await.expect("four operators start");
    // It is still decoding after a rotation by the command line and two moves.
    let kept = ask("What is a key?", TOKENS, 91, 80);
    let expected = control(&cluster, "eu-1", &kept).await;

    // While it runs: it goes on with the other key, and so does its session.
    let mut before = cluster.tenant("eu-1").ask(&kept).await.expect("a session");
    before.read_until(5).await.expect("its first tokens");
    let holder = EU.into_iter().find(|node| *node == before.served_by).expect("one of the tenant's region");
    // A session that begins in that moment is created all the same.
    let stop = AtomicBool::new(false);
    let beginning = async {
        while !stop.load(Ordering::Relaxed) {
            say(&cluster, holder, "Who signs this?").await;
        }
    };
    let rotating = async {
        rotate(&cluster, holder, Some(holder)).await;
        stop.store(true, Ordering::Relaxed);
    };
    tokio::join!(beginning, rotating);
    say(&cluster, holder, "Who signs this now?").await;
    let other = EU.into_iter().find(|node| *node != holder).expect("another one");
    assert_eq!(migrate(&cluster, holder, &before.wallet, other).await["completed"], true);
    before.read_until(40).await.expect("it goes on");
    assert_eq!(migrate(&cluster, other, &before.wallet, holder).await["completed"], true);
    before.read_until(60).await.expect("it goes on");

    // Started with the new key alone it has what it had.
    cluster.kill(holder).await.expect("it ran");
    before.read_while_open().await;
    forget_the_key_of_before(&cluster, holder);
    cluster.restart(holder).await.expect("it starts with the new one");
    let last = before.seen.last().expect("tokens").position;
    let resumed = cluster.tenant(holder).resume(&before.wallet, &before.resume_secret, last).await;
    let mut rest = resumed.expect("the session is there");
    rest.read_to_end().await.expect("it goes to its end");
    assert_gapless(&[&before, &rest]);
    assert_eq!([before.ids(), rest.ids()].concat(), expected);

    // While it is down, and without its word: nobody lets it in with the key of before.
    cluster.kill(other).await.expect("it ran");
    let its_key = rotate(&cluster, other, None).await;
    cluster.restart(other).await.expect("it starts with both");
    until("it hears of it", async || key_of(&cluster, other, other).await == its_key).await;
    say(&cluster, other, "Am I back?").await;
    cluster.kill(other).await.expect("it ran");
    forget_the_key_of_before(&cluster, other);
    cluster.restart(other).await.expect("it starts with the new one");
    say(&cluster, other, "Am I still here?").await;
    for node in cluster.nodes() {
        assert_no_evidence(&cluster.folder().join(node));
    }
}

fn next(node: &str) -> String {
    format!("{node}.next")
}

fn forget_the_key_of_before(cluster: &Cluster, node: &str) {
    let both = format!("key-file = \"{node}.key\"\nnext-key-file = \"{node}.next.key\"");
    configure(cluster, node, &both, &format!("key-file = \"{node}.next.key\""));
}

/// Replaces a part of a node's configuration.
fn configure(cluster: &Cluster, node: &str, from: &str, to: &str) {
    let file = cluster.folder().join(format!("{node}.toml"));
    let config = fs::read_to_string(&file).expect("our own file");
    assert!(config.contains(from), "{config}");
    fs::write(file, config.replace(from, to)).expect("our own file");
}

/// Lets the operators decide that `node` has its next key, and waits until everybody knows; `by` says who agrees with the
/// key of before. The next key.
async fn rotate(cluster: &Cluster, node: &'static str, by: Option<&str>) -> String {
    let index = cluster.nodes().position(|name| name == node).expect("a node");
    let public =
        |of: &str| succeeded(&["keys", "show", &key(cluster, of)])["public_key"].as_str().expect("a key").to_owned();
    let (from, to) = (public(node), public(&next(node)));
    let action = format!("rotate-key,node={index},from={from},to={to}");
    let agreed = by.map_or(String::new(), |by| format!(",by-old-key={}", consent(cluster, &action, by)));
    let consent = consent(cluster, &action, &next(node));
    decide(cluster, &format!("{action},consent={consent}{agreed}")).await;
    for asked in cluster.nodes().filter(|asked| cluster.process_id(asked).is_some()) {
        until("it has the next key", async || key_of(cluster, asked, node).await == to).await;
        let refused = format!("no longer a peer with that key and address node={index}");
        let is_refused = async || asked == node || cluster.log(asked).contains(&refused);
        until("it lets nobody in with the key of before", is_refused).await;
    }
    to
}

async fn key_of(cluster: &Cluster, asked: &str, node: &str) -> String {
    let operators = cluster.auditor(asked).get("operators").await.unwrap_or_default();
    let nodes = operators.as_array().into_iter().flatten().flat_map(|operator| operator["nodes"].as_array()).flatten();
    let found: Option<&Value> = nodes.into_iter().find(|found| found["name"] == node);
    found.and_then(|found| found["key"].as_str()).unwrap_or_default().to_owned()
}
