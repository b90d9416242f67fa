//! An operator backs up a running node, an auditor replays the backup, and another node that lost its ledger is restored
//! from it and votes again.

use std::{
    fs,
    path::{Path, PathBuf},
};

use node::demo::cluster::Cluster;
use serde_json::Value;

use crate::{
    consortium::{Running, ask, assert_no_evidence, until, until_height},
    program,
};

const LOST: &str = "eu-2";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_lost_its_ledger_is_restored_from_another_nodes_backup() {
    let mut cluster = Running::start("warn,node=info").await;
    say(&cluster, "eu-1", "What is worth keeping?").await;
    let archive = backup(&cluster, "eu-1");
    let genesis = cluster.genesis_path();
    let replayed = succeeded(&["audit", "replay", text(&archive), "--genesis", text(&genesis)]);
    assert_eq!(replayed["verified"], true);
    let height = replayed["height"].as_u64().expect("a number");

    cluster.kill(LOST).await.expect("it ran");
    say(&cluster, "eu-3", "What comes after?").await;
    let ledger = cluster.folder().join(LOST).join("ledger");
    let config = cluster.folder().join(format!("{LOST}.toml"));
    let restore = ["ledger", "restore", text(&archive), "--config", text(&config)];
    assert_eq!(failed(&restore), "N-157", "a ledger that is there is left alone");
    fs::remove_dir_all(&ledger).expect("the node is dead");
    let restored = succeeded(&restore);
    assert_eq!((&restored["height"], &restored["state_root"]), (&replayed["height"], &replayed["state_root"]));

    cluster.restart(LOST).await.expect("it starts on the restored ledger");
    until_height(&cluster, LOST, height + 1).await;
    until("it votes again", async || {
        say(&cluster, "eu-1", "Is everybody back?").await;
        status(&cluster).await["voting"] == true
    })
    .await;
    say(&cluster, LOST, "Who am I?").await;
    for node in cluster.nodes() {
        assert_no_evidence(&cluster.folder().join(node));
    }
    let again = backup(&cluster, LOST);
    assert_eq!(succeeded(&["audit", "replay", text(&again), "--genesis", cluster.consortium()])["verified"], true);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_never_overwrites_a_file_and_a_damaged_one_is_not_believed() {
    let cluster = Running::start("warn,node=info").await;
    let archive = backup(&cluster, "us-1");
    assert_eq!(failed(&backup_arguments(&cluster, "us-1", &archive, &auditor_key(&cluster))), "N-152");
    let mut bytes = fs::read(&archive).expect("our own file");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&archive, bytes).expect("our own file");
    assert_eq!(failed(&["audit", "replay", text(&archive), "--genesis", cluster.consortium()]), "N-156");
}

/// A session whose wallet is final when it returns.
async fn say(cluster: &Cluster, node: &str, words: &str) {
    let mut stream = cluster.tenant(node).ask(&ask(words, 4, 7, 0)).await.expect("a session");
    stream.read_to_end().await.expect("it ends");
}

async fn status(cluster: &Cluster) -> Value {
    cluster.auditor(LOST).get("status").await.expect("the node answers")
}

/// The archive of a running node, in a file of its own.
fn backup(cluster: &Cluster, node: &str) -> PathBuf {
    let archive = cluster.folder().join(format!("{node}.archive"));
    succeeded(&backup_arguments(cluster, node, &archive, &auditor_key(cluster)));
    archive
}

fn backup_arguments<'a>(cluster: &'a Cluster, node: &str, archive: &'a Path, key: &'a Path) -> [&'a str; 8] {
    let url = cluster.api_url(node);
    ["ledger", "backup", "--url", url, "--api-key-file", text(key), "--out", text(archive)]
}

fn auditor_key(cluster: &Cluster) -> PathBuf {
    let file = cluster.folder().join("auditor.key");
    fs::write(&file, cluster.auditor_key()).expect("our own folder");
    file
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of our own")
}

fn succeeded(arguments: &[&str]) -> Value {
    let output = program::run(&[&["--json"], arguments].concat());
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("one JSON object")
}

/// The code with which it fails.
fn failed(arguments: &[&str]) -> String {
    let output = program::run(&[&["--json"], arguments].concat());
    assert!(!output.status.success(), "{arguments:?}");
    let failure: Value = serde_json::from_slice(&output.stderr).expect("one JSON object");
    failure["code"].as_str().expect("a code").to_owned()
}
