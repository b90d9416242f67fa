//! The attacker's program against four real operators: nobody lets it.

use std::{path::Path, process::Output};

use node::demo::cluster::Cluster;
use tokio::process::Command;

use crate::{
    consortium::{Running, ask},
    moves::migrate,
    program,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_validator_refuses_what_real_keys_sign_against_the_rules() {
    let cluster = Running::start("warn,node=info").await;
    both_ends_collude(&cluster).await;
    the_source_acts_alone(&cluster).await;
    the_old_key_is_dead(&cluster).await;
}

/// eu-3 and us-1 both break the tenant's policy: each validator sees through each forgery, and says which it is.
async fn both_ends_collude(cluster: &Cluster) {
    let receiver_key = cluster.node_key_path("us-1");
    let output = forbidden_offer(cluster, &[Path::new("--receiver-key"), &receiver_key]).await;
    let said = said(&output);
    assert!(output.status.success(), "{said}");
    for node in cluster.nodes() {
        let line = said.lines().find(|line| line.starts_with(node)).unwrap_or_default();
        for refusal in [
            "L-217 (the tenant's true no)",
            "L-218 (the no turned into a yes)",
            "L-218 (the yes for home under the other name)",
            "L-219 (the yes for home)",
            "L-218 (a yes from a policy of the forger's own)",
        ] {
            assert!(line.contains(refusal), "{refusal} is not in {line:?}");
        }
    }
}

async fn the_source_acts_alone(cluster: &Cluster) {
    let output = forbidden_offer(cluster, &[]).await;
    assert!(output.status.success(), "{}", said(&output));
}

async fn the_old_key_is_dead(cluster: &Cluster) {
    let mut stream = cluster.tenant("eu-1").ask(&ask("Who holds my session?", 160, 5, 25)).await.expect("a session");
    stream.read_until(10).await.expect("its first tokens");
    assert_eq!(stream.served_by, "eu-1");
    let stolen = cluster.copy_session_keys("eu-1", &stream.wallet).expect("its keys lie on its disk");
    migrate(cluster, "eu-1", &stream.wallet, "eu-2").await;
    let output = Command::new(program::forger())
        .arg("old-key")
        .arg("--genesis")
        .arg(cluster.genesis_path())
        .args(["--node", "eu-1", "--node-key"])
        .arg(cluster.node_key_path("eu-1"))
        .arg("--session-keys")
        .arg(stolen)
        .args(["--wallet", &stream.wallet, "--auditor-key", cluster.auditor_key(), "--peer", "eu-2", "--peer-key"])
        .arg(cluster.node_key_path("eu-2"))
        .output()
        .await
        .expect("the forger starts");
    let said = said(&output);
    assert!(output.status.success(), "{said}");
    for node in cluster.nodes() {
        let line = said.lines().find(|line| line.starts_with(&format!("{node}: "))).unwrap_or_default();
        for refusal in [
            "L-212 (touch)",
            "L-212 (offer)",
            "L-212 (close)",
            "L-204 (touch in the new holder's name)",
            "L-204 (close in the new holder's name)",
        ] {
            assert!(line.contains(refusal), "{refusal} is not in {line:?}");
        }
    }
    stream.read_to_end().await.expect("the session is none the worse");
    assert_eq!(stream.seen.len(), 160);
}

async fn forbidden_offer(cluster: &Cluster, more: &[&Path]) -> Output {
    Command::new(program::forger())
        .arg("forbidden-offer")
        .arg("--genesis")
        .arg(cluster.genesis_path())
        .args(["--node", "eu-3", "--node-key"])
        .arg(cluster.node_key_path("eu-3"))
        .args(["--to", "us-1", "--auditor-key", cluster.auditor_key()])
        .args(more)
        .output()
        .await
        .expect("the forger starts")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).into_owned()
}
