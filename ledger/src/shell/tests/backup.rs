//! The archive of a running node, and who catches up from nodes that were restored from one.

use std::{fs, path::Path};

use super::{
    cluster::{Cluster, until},
    resumption::{no_evidence, until_it_votes},
};
use crate::{
    archive::ArchiveReader,
    replay::{Replay, Signatures},
    shell::{
        fault::Fault,
        replica::Replica,
        restore::{RestoreFault, restore},
    },
};

pub async fn archive(cluster: &Cluster, node: u32) -> Vec<u8> {
    let backup = cluster.replica(node).backup().await.expect("it runs");
    backup.collect::<Result<Vec<_>, Fault>>().expect("the disk is well").concat()
}

fn restored(cluster: &Cluster, archive: &[u8], folder: &Path) -> Result<u64, RestoreFault> {
    let mut reader = ArchiveReader::open(archive, &cluster.consortium.id())?;
    restore(&mut reader, folder, &[], |_| {}).map(|restored| restored.executed.height.get())
}

/// Puts what an archive holds in the place of a closed node's files.
pub fn replace(cluster: &Cluster, node: u32, archive: &[u8]) {
    fs::remove_dir_all(cluster.dir(node)).expect("the node is closed");
    restored(cluster, archive, cluster.dir(node)).expect("a good archive");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_of_a_running_node_replays_to_its_final_state() {
    let cluster = Cluster::start(4).await;
    for decisions in 1..6 {
        cluster.finalize(decisions % 4, u64::from(decisions)).await;
    }
    cluster.settle().await;
    let archive = archive(&cluster, 1).await;
    let mut reader = ArchiveReader::open(archive.as_slice(), &cluster.consortium.id()).expect("an archive");
    let mut replay = Replay::new(reader.consortium().clone(), Signatures::Verified);
    while let Some(block) = reader.next_block().expect("whole") {
        replay.step(&block).expect("valid");
    }
    let replayed = replay.finish().expect("final");
    assert_eq!(replayed.executed, *cluster.replica(1).state());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_lags_behind_where_the_leaders_log_begins_catches_up_from_others() {
    let cluster = Cluster::start(4).await;
    cluster.finalize(0, 1).await;
    cluster.settle().await;
    cluster.close(3).await;
    let kept = tempfile::tempdir().expect("tempdir");
    copy(cluster.dir(3), kept.path());
    for decisions in 2..6 {
        cluster.finalize(0, decisions).await;
    }
    cluster.settle().await;
    let archive = archive(&cluster, 0).await;
    cluster.open(3).await.expect("opens");
    cluster.close(2).await;
    replace(&cluster, 2, &archive);
    cluster.open(2).await.expect("opens");
    until_it_votes(&cluster, 2, 1).await;
    until_it_leads(&cluster, 2).await;
    cluster.close(3).await;
    fs::remove_dir_all(cluster.dir(3)).expect("the node is closed");
    copy(kept.path(), cluster.dir(3));
    let replica = cluster.open(3).await.expect("opens");
    assert!(replica.state().height < cluster.replica(2).state().height);
    until("it has caught up", || cluster.replica(3).state().height >= cluster.replica(2).state().height).await;
    assert_eq!(cluster.leader().await, 2, "nobody else had to lead for that");
    until("openraft goes on at its end", || replicated(&cluster.replica(2), 3) >= replicated(&cluster.replica(2), 0))
        .await;
    cluster.settle().await;
    no_evidence(&cluster, 4);
}

/// Up to which index a leader's openraft knows that a node has its log.
fn replicated(leader: &Replica, node: u64) -> Option<u64> {
    let raft = leader.shared.raft()?;
    let metrics = raft.metrics();
    let known = metrics.borrow().replication.as_ref()?.get(&node).copied()?;
    known.map(|log_id| log_id.index)
}

/// Closes and opens leaders until `node` is one.
pub(super) async fn until_it_leads(cluster: &Cluster, node: u32) {
    for decisions in 300..330 {
        let leader = cluster.leader().await;
        if leader == node {
            return;
        }
        cluster.close(leader).await;
        cluster.finalize(node, decisions).await;
        cluster.open(leader).await.expect("opens");
        cluster.settle().await;
    }
    panic!("others lead again and again");
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("writable");
    for entry in fs::read_dir(from).expect("readable") {
        let entry = entry.expect("readable");
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).expect("copies");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_that_fails_leaves_no_folder_and_one_that_is_there_is_left_alone() {
    let cluster = Cluster::start(4).await;
    for decisions in 1..4 {
        cluster.finalize(0, decisions).await;
    }
    cluster.settle().await;
    let good = archive(&cluster, 0).await;
    let parent = tempfile::tempdir().expect("tempdir");
    let folder = parent.path().join("ledger");
    let mut damaged = good.clone();
    *damaged.last_mut().expect("not empty") ^= 1;
    assert!(matches!(restored(&cluster, &damaged, &folder), Err(RestoreFault::Archive(_))));
    assert_eq!(fs::read_dir(parent.path()).expect("readable").count(), 0);
    restored(&cluster, &good, &folder).expect("a good archive");
    assert!(matches!(restored(&cluster, &good, &folder), Err(RestoreFault::FolderExists { .. })));
    assert_eq!(fs::read_dir(parent.path()).expect("readable").count(), 1);
}
