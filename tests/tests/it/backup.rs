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
    moves::{migrate, proven, second},
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
async fn a_node_whose_whole_disk_is_lost_decides_again_after_what_it_anchored() {
    let mut cluster = Running::start("warn,node=info").await;
    // Of two decisions the archive knows one.
    let (_, first) = moved_from_the_lost(&cluster, "first.bundle").await;
    let archive =
        backup_from(&cluster, "us-1", cluster.auditor("us-1").final_height().await.expect("it answers")).await;
    let (moved, second_move) = moved_from_the_lost(&cluster, "second.bundle").await;
    cluster.kill(LOST).await.expect("it ran");
    fs::remove_dir_all(cluster.folder().join(LOST)).expect("the node is dead");

    let config = cluster.folder().join(format!("{LOST}.toml"));
    let (run, log_lost) =
        (["node", "run", "--config", text(&config)], ["scheduler", "log-lost", "--config", text(&config)]);
    assert_eq!(failed(&log_lost), "N-665", "there is no ledger to go on from");
    let restored = succeeded(&["ledger", "restore", text(&archive), "--config", text(&config)]);
    assert_eq!(restored["has_decisions"], false);
    assert!(restored["decisions"].as_u64() >= Some(1), "the archive has what was decided: {restored}");
    assert_eq!(failed(&run), "N-422", "nothing is forgotten without a word of the operator");
    let given_up = succeeded(&log_lost);
    assert_eq!((&given_up["after"]["length"], &given_up["kept"]), (&1.into(), &Value::Null), "{given_up}");
    decides_again(&mut cluster, "third.bundle", 2).await;

    cluster.kill(LOST).await.expect("it ran");
    assert_eq!(failed(&log_lost), "N-664", "nothing is lost");

    // Nor does damage keep it from going on.
    let log = cluster.folder().join(LOST).join("decisions");
    let mut bytes = fs::read(&log).expect("our own file");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&log, &bytes).expect("our own file");
    assert_eq!(failed(&run), "N-421");
    let given_up = succeeded(&log_lost);
    let kept = given_up["kept"].as_str().expect("the old file");
    assert_eq!((&given_up["after"]["length"], fs::read(kept).expect("it is kept")), (&3.into(), bytes));
    decides_again(&mut cluster, "fourth.bundle", 3).await;
    // What it decided before, it has from the others by now, and needs them no more.
    until_all_decisions(&cluster, LOST).await;
    for other in ["eu-1", "eu-3", "us-1"] {
        cluster.kill(other).await.expect("it ran");
    }
    let own = proven(&cluster, LOST, &moved, "own.bundle").await;
    for bundle in [first, second_move, own] {
        assert_eq!(second(&bundle, cluster.consortium(), &[]), None, "what was proven stays so");
    }
}

/// Moves a session from the node that will be lost, and waits for the proof. Its wallet and the file of the bundle.
async fn moved_from_the_lost(cluster: &Cluster, bundle: &str) -> (String, String) {
    let stream = cluster.tenant("eu-1").ask(&ask("Where am I from?", TOKENS, 7, PACE_MS)).await.expect("a session");
    let (holder, wallet) = (stream.served_by.clone(), stream.wallet.clone());
    if holder != LOST {
        assert_eq!(migrate(cluster, &holder, &wallet, LOST).await["completed"], true);
    }
    assert_eq!(migrate(cluster, LOST, &wallet, "eu-3").await["completed"], true);
    let file = proven(cluster, "us-1", &wallet, bundle).await;
    assert_eq!(succeeded(&["audit", "verify", &file, "--genesis", cluster.consortium()])["verified"], true);
    cluster.admin("eu-3").expect("its socket").close(&wallet).await.expect("nobody needs it any more");
    until_all_decisions(cluster, "us-1").await;
    (wallet, file)
}

/// Waits until a node keeps all decisions that are named so far.
async fn until_all_decisions(cluster: &Cluster, node: &str) {
    let auditor = cluster.auditor(node);
    let height = auditor.final_height().await.expect("the node answers");
    until("it has all decisions", async || {
        let status = auditor.get("status").await.expect("the node answers");
        status["decisions"]["complete_height"].as_u64() >= Some(height)
    })
    .await;
}

/// The node runs again with a log that lost so many decisions, and both verifiers take the bundle of its next move.
async fn decides_again(cluster: &mut Cluster, bundle: &str, lost: u64) {
    cluster.restart(LOST).await.expect("it starts");
    until("it votes again", async || {
        say(cluster, "eu-1", "Is everybody back?").await;
        status(cluster).await["voting"] == true
    })
    .await;
    let (_, file) = moved_from_the_lost(cluster, bundle).await;
    assert_eq!(second(&file, cluster.consortium(), &[]), None, "in Python");
    // It knows of its anchor, too.
    until_height(cluster, LOST, cluster.auditor("us-1").final_height().await.expect("it answers")).await;
    let folder = cluster.folder().join(LOST);
    let verified = succeeded(&["scheduler", "verify", "--data-dir", text(&folder)]);
    assert_eq!(
        (&verified["verified"], &verified["lost"], &verified["decisions"]),
        (&true.into(), &lost.into(), &(lost + 1).into())
    );
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

/// The archive of a running node once it comes as far as `height`: its end may be below the last final block.
async fn backup_from(cluster: &Cluster, node: &str, height: u64) -> PathBuf {
    let archive = cluster.folder().join(format!("{node}.archive"));
    until("the archive comes so far", async || {
        say(cluster, node, "What else?").await;
        let made = succeeded(&backup_arguments(cluster, node, &archive, &auditor_key(cluster)));
        let reaches = made["height"].as_u64() >= Some(height);
        if !reaches {
            fs::remove_file(&archive).expect("our own file");
        }
        reaches
    })
    .await;
    archive
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
