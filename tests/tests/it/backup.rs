//! An operator backs up a running node, an auditor replays the backup, and another node that lost its ledger is restored
//! from it and votes again.

use std::{
    fs,
    path::{Path, PathBuf},
};

use node::demo::cluster::Cluster;
use serde_json::Value;

use crate::{
    consortium::{PATIENCE, Running, ask, assert_gapless, assert_no_evidence, control, say, until, until_height},
    moves::migrate,
    program::{failed, succeeded},
};

const LOST: &str = "eu-2";
/// Of a session that goes on over loss and restore: slow enough that it does not end before.
const TOKENS: u32 = 400;
const PACE_MS: u64 = 50;

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
async fn a_session_that_came_after_the_backup_is_not_lost_with_the_ledger() {
    let mut cluster = Running::start("warn,node=info").await;
    let moving = ask("Where will I be tomorrow?", TOKENS, 99, PACE_MS);
    let expected = control(&cluster, "eu-1", &moving).await;
    let mut stream = cluster.tenant("eu-1").ask(&moving).await.expect("a session");
    stream.read_until(5).await.expect("its first tokens");
    let (holder, wallet) = (stream.served_by.clone(), stream.wallet.clone());
    assert_ne!(holder, LOST, "it has to come from elsewhere");
    let path = format!("wallets/{wallet}");
    until("the wallet is final", async || cluster.auditor("us-1").get(&path).await.is_ok()).await;
    // In this archive the session is at another node, and its epoch is the first.
    let archive = backup(&cluster, "us-1");
    let report = migrate(&cluster, &holder, &wallet, LOST).await;
    assert_eq!(report["completed"], true, "{report}");
    stream.read_until(stream.seen.len() + 20).await.expect("tokens of the new holder");

    cluster.kill(LOST).await.expect("it ran");
    fs::remove_dir_all(cluster.folder().join(LOST).join("ledger")).expect("the node is dead");
    let config = cluster.folder().join(format!("{LOST}.toml"));
    succeeded(&["ledger", "restore", text(&archive), "--config", text(&config)]);
    let keys = cluster.folder().join(LOST).join("sessions").join(&wallet).join("keys");
    assert!(keys.exists(), "the sessions were not lost");
    cluster.restart(LOST).await.expect("it starts on the restored ledger");
    until("it votes again", async || status(&cluster).await["voting"] == true).await;
    let last = stream.seen.last().expect("tokens").position;
    let mut rest = cluster.tenant(LOST).resume(&wallet, &stream.resume_secret, last).await.expect("it is there");
    let read = tokio::time::timeout(PATIENCE, rest.read_to_end()).await;
    read.expect("it goes on").expect("it goes to its end");
    assert_gapless(&[&stream, &rest]);
    assert_eq!([stream.ids(), rest.ids()].concat(), expected);
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
