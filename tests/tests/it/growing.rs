//! One operator founds a consortium. Three others join it, one after the other, until it goes on without the founder.

use node::demo::{cluster::Cluster, setup::Place};
use serde_json::Value;

use crate::{
    consortium::{Running, ask, assert_no_evidence, say, until},
    deciding::{consent, decide_by, key, text},
    joining,
    moves::migrate,
    program::succeeded,
};

const FOUNDER: &str = "eu-1";
const JOINING: [(&str, &str); 3] = [("eu-2", "eu"), ("eu-3", "eu"), ("us-1", "us")];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_operator_founded_others_join_until_it_goes_on_without_the_founder() {
    let (mut cluster, places) = alone().await;
    cluster.restart_all().await.expect("one node is enough");
    say(&cluster, FOUNDER, "Am I alone?").await;

    let mut members = vec![FOUNDER];
    for ((name, region), place) in JOINING.into_iter().zip(places) {
        cluster.add(name, &place).expect("files of our own");
        succeeded(&["keys", "new", "--out", &key(&cluster, &operator(name))]);
        // First the operator, which then has a say in whether its node is let in.
        let action = format!("add-operator,id={name},name=Operator {name},key={}", key(&cluster, &operator(name)));
        let agreed = consent(&cluster, &action, &operator(name));
        decide_by(&cluster, &members, FOUNDER, &format!("{action},consent={agreed}"));
        until("the operator is one", async || found(&cluster, name).await.is_some()).await;
        let deciding = [&members[..], &[name]].concat();

        let (node_key, url) = (key(&cluster, name), cluster.api_url(name));
        let peer = place.announced;
        let action =
            format!("add-node,name={name},operator={name},region={region},key={node_key},peer={peer},api={url}");
        let agreed = [name.to_owned(), operator(name)].map(|by| consent(&cluster, &action, &by));
        let action = format!("{action},consent={},by-operator={}", agreed[0], agreed[1]);
        decide_by(&cluster, &deciding, FOUNDER, &action);
        until("the node is let in", async || standing(&cluster, name).await == "Suspended").await;
        let config = text(&cluster.folder().join(format!("{name}.toml")));
        succeeded(&["join", "--config", &config, "--url", cluster.api_url(FOUNDER)]);
        cluster.restart(name).await.expect("it starts");

        let reinstate = format!("reinstate,node={},key={node_key}", members.len());
        decide_by(&cluster, &deciding, FOUNDER, &reinstate);
        until("it votes", async || {
            standing(&cluster, name).await == "InForce" && status(&cluster, name).await["voting"] == true
        })
        .await;
        members.push(name);
        until_heard(&cluster, name, "Am I one of you?").await;
    }

    let moving = ask("Where do I go?", 200, 7, 25);
    let mut stream = cluster.tenant("eu-2").ask(&moving).await.expect("a session");
    stream.read_until(5).await.expect("its first tokens");
    let holder = stream.served_by.clone();
    let to = if holder == "eu-3" { "eu-2" } else { "eu-3" };
    assert_eq!(migrate(&cluster, &holder, &stream.wallet, to).await["completed"], true);
    stream.read_to_end().await.expect("it ends");

    // Three of four are a quorum.
    cluster.kill(FOUNDER).await.expect("it ran");
    until_heard(&cluster, "eu-2", "Is anybody missing?").await;
    let auditor = cluster.auditor("us-1");
    let mut bundle = Vec::new();
    until("the move is proven", async || match auditor.bundle(&stream.wallet).await {
        Ok(proof) => {
            bundle = proof;
            true
        }
        Err(_) => false,
    })
    .await;
    let file = cluster.folder().join("grown.bundle");
    std::fs::write(&file, bundle).expect("our own folder");
    let proven = succeeded(&["audit", "verify", &text(&file), "--genesis", cluster.consortium()]);
    assert_eq!(proven["assurance"]["class"], "consortium-of-one", "the founder alone vouched for the others: {proven}");
    for node in members {
        assert_no_evidence(&cluster.folder().join(node));
    }
}

/// Waits until a session at `node` goes to its end. A node that just came does not know at once who has room.
pub async fn until_heard(cluster: &Cluster, node: &str, words: &str) {
    until("a session goes to its end", async || match cluster.tenant(node).ask(&ask(words, 4, 7, 0)).await {
        Ok(mut stream) => stream.read_to_end().await.is_ok(),
        Err(_) => false,
    })
    .await;
}

/// A consortium of one, and places for those who join it.
pub async fn alone() -> (Running, Vec<Place>) {
    let mut places = Vec::new();
    let cluster = Running::prepare(|| {
        let mut setup = joining::setup();
        places = setup.places.split_off(1);
        setup
    })
    .await;
    (cluster, places)
}

fn operator(name: &str) -> String {
    format!("{name}.operator")
}

/// What the founder's node says of an operator.
async fn found(cluster: &Cluster, name: &str) -> Option<Value> {
    let operators = cluster.auditor(FOUNDER).get("operators").await.expect("the node answers");
    operators.as_array()?.iter().find(|operator| operator["id"] == name).cloned()
}

/// What it says of an operator's node.
async fn standing(cluster: &Cluster, name: &str) -> String {
    let operator = found(cluster, name).await.unwrap_or_default();
    operator["nodes"][0]["standing"].as_str().unwrap_or("unknown").to_owned()
}

async fn status(cluster: &Cluster, node: &str) -> Value {
    cluster.auditor(node).get("status").await.expect("the node answers")
}
