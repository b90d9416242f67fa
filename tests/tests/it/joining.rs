//! A fifth node joins four operators: let in by their votes, started from what the others hand out, reinstated.

use node::demo::{
    cluster::Cluster,
    setup::{Place, Setup, free_addresses},
};
use serde_json::Value;

use crate::{
    consortium::{Running, ask, assert_no_evidence, say, until},
    deciding::{consent, decide, key, text},
    moves::migrate,
    program::{self, failed, succeeded},
};

const NEW: &str = "eu-4";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_genesis_does_not_name_joins_by_vote_and_is_then_one_of_the_quorum() {
    let mut cluster = Running::prepare(setup).await;
    cluster.restart_all().await.expect("four operators start");
    let [peer, api] = free_addresses(2).expect("free ports")[..] else { panic!("two addresses") };
    cluster.add(NEW, &Place { announced: peer, listens: peer, api }).expect("files of our own");
    say(&cluster, "eu-1", "Who is here?").await;
    assert_eq!(join(&cluster, failed), "N-113", "nobody let it in");

    let action = |consent: &str| {
        let (key, url) = (key(&cluster, NEW), cluster.api_url(NEW));
        format!("add-node,name={NEW},operator=eu-1,region=eu,key={key},peer={peer},api={url}{consent}")
    };
    let consent = |by: &str| consent(&cluster, &action(""), by);
    let both = format!(",consent={},by-operator={}", consent(NEW), consent("eu-1.operator"));
    decide(&cluster, &action(&both)).await;
    // Who does not know that yet gives it nothing.
    for node in cluster.nodes() {
        until("it is let in", async || standing(&cluster, node).await == "Suspended").await;
    }
    // A node that starts keeps the state that it has. The node that the newcomer is told of is dead: it asks the others of
    // the genesis document.
    cluster.kill("eu-1").await.expect("it ran");
    cluster.restart("eu-1").await.expect("it starts again");
    cluster.kill("eu-3").await.expect("it ran");
    let joined = join(&cluster, succeeded);
    assert_eq!(
        (&joined["node"], &joined["dropped"][0]["url"]),
        (&4.into(), &cluster.api_url("eu-3").into()),
        "{joined}"
    );
    assert!(joined["sources"].as_u64() >= Some(2) && joined["state_at"].as_u64() >= Some(1), "{joined}");
    assert_eq!((&joined["dropped"][0]["lied"], &joined["dropped"][1]), (&false.into(), &Value::Null), "{joined}");
    cluster.restart("eu-3").await.expect("it starts again");
    assert_eq!(join(&cluster, failed), "N-157", "a ledger that is there is left alone");
    assert_eq!(failed(&["node", "check", "--config", &with_key_of(&cluster, "eu-1")]), "N-104");
    cluster.restart(NEW).await.expect("it starts");

    let reinstate = format!("reinstate,node=4,key={}", key(&cluster, NEW));
    decide(&cluster, &reinstate).await;
    until("it is reinstated", async || standing(&cluster, "eu-3").await == "InForce").await;
    until("it votes", async || status(&cluster, NEW).await["voting"] == true).await;

    // Four of five are a quorum: nothing becomes final without the newcomer now.
    cluster.kill("us-1").await.expect("it ran");
    say(&cluster, NEW, "May I speak?").await;
    let moving = ask("Where do I go?", 200, 7, 25);
    let mut stream = cluster.tenant("eu-2").ask(&moving).await.expect("a session");
    stream.read_until(5).await.expect("its first tokens");
    let holder = stream.served_by.clone();
    let to = if holder == NEW { "eu-3" } else { NEW };
    assert_eq!(migrate(&cluster, &holder, &stream.wallet, to).await["completed"], true);
    stream.read_to_end().await.expect("it ends");
    cluster.restart("us-1").await.expect("it starts again");
    cluster.kill(NEW).await.expect("it ran");
    cluster.restart(NEW).await.expect("it starts on what it has");
    say(&cluster, NEW, "Am I still here?").await;
    for node in cluster.nodes().chain([NEW]) {
        assert_no_evidence(&cluster.folder().join(node));
    }
}

/// Four operators whose proposals wait for nothing.
pub fn setup() -> Setup {
    let mut setup = Setup::on_loopback(&program::batchmind(), &program::model()).expect("free ports");
    setup.log = Some("warn,node=info,ledger=info,openraft=off".to_owned());
    setup.parameters.proposal_lock_ms = 0;
    setup
}

/// What the ledger of `node` says of the newcomer.
async fn standing(cluster: &Cluster, node: &str) -> String {
    let operators = cluster.auditor(node).get("operators").await.expect("the node answers");
    let nodes = operators.as_array().into_iter().flatten().flat_map(|operator| operator["nodes"].as_array()).flatten();
    let new = nodes.into_iter().find(|node| node["name"] == NEW);
    new.and_then(|node| node["standing"].as_str()).unwrap_or("unknown").to_owned()
}

async fn status(cluster: &Cluster, node: &str) -> Value {
    cluster.auditor(node).get("status").await.expect("the node answers")
}

/// The newcomer's configuration with another node's key.
fn with_key_of(cluster: &Cluster, other: &str) -> String {
    let config = std::fs::read_to_string(cluster.folder().join(format!("{NEW}.toml"))).expect("our own file");
    let wrong = cluster.folder().join("wrong.toml");
    std::fs::write(&wrong, config.replace(&format!("{NEW}.key"), &format!("{other}.key"))).expect("our own folder");
    text(&wrong)
}

/// Makes the newcomer's ledger, as `run` says how it ends.
fn join<T>(cluster: &Cluster, run: fn(&[&str]) -> T) -> T {
    let config = text(&cluster.folder().join(format!("{NEW}.toml")));
    run(&["join", "--config", &config, "--url", cluster.api_url("eu-3")])
}
