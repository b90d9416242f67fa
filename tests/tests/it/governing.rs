//! What operators decide from the command line, at nodes that run: auditors, parameters, who leaves, and what does not pass.

use std::fs;

use node::demo::{client::Auditor, cluster::Cluster};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use wallet::digest::to_hex;

use crate::{
    consortium::{Running, assert_no_evidence, say, until},
    deciding::{self, asked, ballot, decide, decide_by, key, propose, signed, text, words},
    joining::setup,
    program::{failed, succeeded},
};

/// The node that is asked.
const AT: &str = "eu-2";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_operators_decide_takes_effect_at_every_node_and_what_they_do_not_has_none() {
    let mut cluster = Running::prepare(setup).await;
    cluster.restart_all().await.expect("four operators start");

    // A parameter.
    let from = shown(&cluster)["parameters"]["credit_per_ms"].as_u64().expect("a number");
    let set = |to: u64| format!("set-parameter,name=credit_per_ms,from={from},to={to}");
    decide(&cluster, &set(from + 1)).await;
    until("the parameter is another", async || shown(&cluster)["parameters"]["credit_per_ms"] == from + 1).await;

    // An auditor, whose key opens every node from then on, and no longer than it is granted.
    let key_hash = to_hex(&Sha256::digest("another auditor's key"));
    assert!(!opens(&cluster, "eu-3", "another auditor's key").await);
    decide(&cluster, &format!("grant-auditor,name=Other,key-hash={key_hash}")).await;
    until("the key opens", async || opens(&cluster, "eu-3", "another auditor's key").await).await;
    decide(&cluster, &format!("revoke-auditor,key-hash={key_hash}")).await;
    until("the key opens nothing", async || !opens(&cluster, "eu-3", "another auditor's key").await).await;

    // An operator's key: from then on the one of before signs nothing, and the next one all that follows.
    rotate(&cluster, "eu-1").await;

    // What is taken back, and what is voted down.
    let withdrawn = propose(&cluster, "eu-1", AT, "suspend,node=2");
    succeeded(&words(&signed(&cluster, &["governance", "withdraw", &withdrawn], "eu-1", AT)));
    assert_eq!(status(&cluster, &withdrawn), "withdrawn");
    assert_eq!(failed(&words(&ballot(&cluster, "eu-2", AT, &withdrawn, "--approve"))), "L-248");
    let rejected = propose(&cluster, "eu-1", AT, "suspend,node=2");
    for operator in ["eu-2", "us-1"] {
        succeeded(&words(&ballot(&cluster, operator, AT, &rejected, "--reject")));
    }
    assert_eq!(status(&cluster, &rejected), "rejected");

    // What is signed on a machine without a network, and handed over by another.
    let file = text(&cluster.folder().join("signed"));
    let genesis = text(&cluster.genesis_path());
    let electorate = shown(&cluster)["electorate"].to_string();
    let action = ["--action", "suspend,operator=us-1", "--electorate", &electorate, "--genesis", &genesis];
    let key = key(&cluster, "eu-1.operator");
    let offline = ["--operator", "eu-1", "--key", &key, "--out", &file];
    let proposed = succeeded(&[&["governance", "propose"], &action[..], &offline].concat());
    let suspended = proposed["proposal"].as_str().expect("a digest");
    assert_eq!(failed(&words(&ballot(&cluster, "eu-2", AT, suspended, "--approve"))), "N-159", "no node has it yet");
    succeeded(&words(&asked(&cluster, &["governance", "submit", &file], AT)));
    for operator in ["eu-2", "eu-3"] {
        succeeded(&words(&ballot(&cluster, operator, AT, suspended, "--approve")));
    }
    until("us-1 is suspended", async || standings(&cluster, "us-1") == ["Suspended"; 2]).await;
    // Three are left, and all three are needed.
    say(&cluster, "eu-2", "Who is left?").await;

    // The one that is out of force leaves for good.
    decide_by(&cluster, &["eu-1", "eu-2", "eu-3"], AT, "remove,operator=us-1");
    until("us-1 is removed", async || standings(&cluster, "us-1") == ["Removed"; 2]).await;
    cluster.kill("us-1").await.expect("it ran");
    say(&cluster, "eu-3", "And without us-1?").await;

    // A key that is no longer trusted speaks for nobody, at once.
    let stolen = succeeded(&["keys", "show", &deciding::key(&cluster, "eu-3")]);
    let action = format!("revoke-key,key={}", stolen["public_key"].as_str().expect("a key"));
    decide_by(&cluster, &["eu-1", "eu-2", "eu-3"], AT, &action);
    until("the node is out of force", async || standings(&cluster, "eu-3") == ["InForce", "Keyless"]).await;
    say(&cluster, "eu-1", "Are we two?").await;
    for node in cluster.nodes() {
        assert_no_evidence(&cluster.folder().join(node));
    }
}

/// Gives an operator another key, by the word of both, and leaves it where the one of before was.
async fn rotate(cluster: &Cluster, operator: &str) {
    let [before, next] = ["operator", "next"].map(|which| format!("{operator}.{which}"));
    succeeded(&["keys", "new", "--out", &key(cluster, &next)]);
    let [from, to] = [&before, &next]
        .map(|of| succeeded(&["keys", "show", &key(cluster, of)])["public_key"].as_str().expect("a key").to_owned());
    let action = format!("rotate-key,operator={operator},from={from},to={to}");
    let [agreed, consent] = [&before, &next].map(|by| deciding::consent(cluster, &action, by));
    decide(cluster, &format!("{action},consent={consent},by-old-key={agreed}")).await;
    let key_of = || {
        let operators = shown(cluster)["operators"].take();
        let found = operators.as_array().into_iter().flatten().find(|found| found["id"] == operator);
        found.map(|found| found["key"].clone()).unwrap_or_default()
    };
    until("the operator has the next key", async || key_of() == to.as_str()).await;
    let genesis = text(&cluster.genesis_path());
    let proposal =
        ["governance", "propose", "--action", "suspend,node=2", "--genesis", &genesis, "--operator", operator];
    assert_eq!(failed(&words(&signed(cluster, &proposal, operator, AT))), "L-240");
    fs::rename(key(cluster, &next), key(cluster, &before)).expect("our own folder");
}

/// What a node says of governance.
fn shown(cluster: &Cluster) -> Value {
    succeeded(&words(&asked(cluster, &["governance", "show", "--all"], AT)))
}

/// What became of a proposal.
fn status(cluster: &Cluster, proposal: &str) -> Value {
    let shown = shown(cluster);
    let found = shown["proposals"].as_array().into_iter().flatten().find(|found| found["digest"] == proposal);
    found.map(|found| found["status"].clone()).unwrap_or_default()
}

/// The standing of an operator, and of its node, which has the same name.
fn standings(cluster: &Cluster, name: &str) -> [String; 2] {
    let shown = shown(cluster);
    let of = |list: &str, is: &dyn Fn(&Value) -> bool| {
        let found = shown[list].as_array().into_iter().flatten().find(|found| is(found));
        found.and_then(|found| found["standing"].as_str()).unwrap_or_default().to_owned()
    };
    let node = format!("{name} of ");
    let is_node = |found: &Value| found["name"].as_str().is_some_and(|name| name.starts_with(&node));
    [of("operators", &|found| found["id"] == name), of("nodes", &is_node)]
}

/// Whether an auditor's key opens what auditors read.
async fn opens(cluster: &Cluster, at: &str, key: &str) -> bool {
    Auditor::new(cluster.api_url(at), key).get("status").await.is_ok()
}
