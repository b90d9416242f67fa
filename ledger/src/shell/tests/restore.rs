//! Nodes that are restored from an archive.

use std::fs;

use wallet::units::NodeId;

use super::{
    backup::{archive, replace},
    cluster::{Cluster, until},
    resumption::{no_evidence, until_it_votes},
    watch_commits,
};
use crate::{
    archive::{self as format, End},
    shell::transport::PeerRequest,
    vote::VoteKind,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_restored_from_another_nodes_backup_catches_up_and_votes_again() {
    let cluster = Cluster::start(4).await;
    let watch = watch_commits(&cluster);
    for decisions in 1..6 {
        cluster.finalize(0, decisions).await;
    }
    cluster.settle().await;
    let archive = archive(&cluster, 0).await;
    cluster.close(2).await;
    for decisions in 6..12 {
        cluster.finalize(0, decisions).await;
    }
    replace(&cluster, 2, &archive);
    cluster.board.isolate(NodeId::new(2));
    let replica = cluster.open(2).await.expect("opens");
    assert!(!replica.metrics().votes, "what its key signed is not in the archive");
    assert!(!*replica.recovered().borrow(), "nor is what became final after it");
    cluster.board.heal();
    until_it_votes(&cluster, 2, 1).await;
    assert!(*replica.recovered().borrow());
    cluster.settle().await;
    no_evidence(&cluster, 4);
    drop(replica);
    cluster.close(2).await;
    let replica = cluster.open(2).await.expect("opens again");
    until("the peers have answered", || *replica.recovered().borrow()).await;
    cluster.finalize(2, 500).await;
    cluster.settle().await;
    watch.abort();
}

/// The archive of a node's first `height` blocks, of which it has the whole log.
fn archive_up_to(cluster: &Cluster, node: u32, height: u64) -> Vec<u8> {
    let replica = cluster.replica(node);
    let block = |height| replica.store().block(wallet::units::BlockHeight::new(height)).expect("reads").expect("final");
    let last = block(height);
    assert_eq!(last.certificate.kind, VoteKind::Finalize);
    let holds = |index: &u64| {
        let stored = replica.shared.log.entry(*index).expect("reads").expect("it is whole");
        crate::shell::raft::block_of(stored.entry).is_some_and(|block| block.header == last.block.header)
    };
    let end = End { height: last.block.header.height, raft_index: (0..).find(holds).expect("it is in the log") };
    let blocks = (1..=height).map(|height| format::block(block(height)));
    [format::head(&cluster.consortium)].into_iter().chain(blocks).chain([format::end(end)]).flatten().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_archive_of_one_block_makes_a_node_that_is_silent_and_catches_up() {
    let cluster = Cluster::start(4).await;
    for decisions in 1..6 {
        cluster.finalize(0, decisions).await;
        cluster.settle().await;
    }
    let first = archive_up_to(&cluster, 0, 1);
    cluster.close(2).await;
    replace(&cluster, 2, &first);
    cluster.board.isolate(NodeId::new(2));
    let replica = cluster.open(2).await.expect("opens");
    assert!(!replica.metrics().votes, "its key has voted");
    cluster.board.heal();
    until_it_votes(&cluster, 2, 1).await;
    cluster.settle().await;
    no_evidence(&cluster, 4);
}

/// Its log ends before the place up to which the leader knows it to have followed: openraft has to go back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_restored_from_before_what_it_had_acknowledged_follows_the_same_leader() {
    let cluster = Cluster::start(4).await;
    let watch = watch_commits(&cluster);
    for decisions in 1..4 {
        cluster.finalize(0, decisions).await;
    }
    cluster.settle().await;
    let leader = cluster.leader().await;
    let lost = (leader + 1) % 4;
    let older = archive(&cluster, leader).await;
    for decisions in 4..10 {
        cluster.finalize(0, decisions).await;
    }
    cluster.settle().await;
    let had = cluster.replica(lost).state().height;
    cluster.close(lost).await;
    replace(&cluster, lost, &older);
    let replica = cluster.open(lost).await.expect("opens");
    assert!(replica.state().height < had);
    until("it has what it had", || replica.state().height >= had).await;
    until_it_votes(&cluster, lost, leader).await;
    cluster.settle().await;
    no_evidence(&cluster, 4);
    watch.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_node_that_stops_before_it_heard_anything_is_silent_again_and_catches_up() {
    let cluster = Cluster::start(4).await;
    for decisions in 1..4 {
        cluster.finalize(0, decisions).await;
    }
    cluster.settle().await;
    let archive = archive(&cluster, 0).await;
    cluster.close(2).await;
    replace(&cluster, 2, &archive);
    cluster.board.filter(|from, to, _| from.get() != 2 && to.get() != 2);
    for _ in 0..2 {
        let replica = cluster.open(2).await.expect("opens");
        assert!(!replica.metrics().votes && !*replica.recovered().borrow());
        drop(replica);
        cluster.close(2).await;
    }
    cluster.board.heal();
    let replica = cluster.open(2).await.expect("opens");
    assert!(!*replica.recovered().borrow());
    until_it_votes(&cluster, 2, 1).await;
    assert!(*replica.recovered().borrow());
    cluster.settle().await;
    no_evidence(&cluster, 4);
}

/// Where nothing becomes final without a node, its vote record is all that it needs, and tells how far it was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_node_without_which_there_is_no_quorum_goes_on_with_the_votes_that_it_kept() {
    let cluster = Cluster::start(3).await;
    cluster.finalize(0, 1).await;
    cluster.settle().await;
    let archive = archive(&cluster, 0).await;
    for decisions in 2..6 {
        cluster.finalize(0, decisions).await;
    }
    cluster.settle().await;
    let had = cluster.replica(2).state().height;
    cluster.close(2).await;
    let votes = fs::read(cluster.dir(2).join("votes")).expect("it has voted");
    replace(&cluster, 2, &archive);
    fs::write(cluster.dir(2).join("votes"), votes).expect("our own folder");
    // First it is told what its key signed, and nothing else.
    cluster.board.filter(|from, to, request| match (from.get(), to.get()) {
        (2, _) => matches!(request, PeerRequest::Statements),
        (_, to) => to != 2,
    });
    let replica = cluster.open(2).await.expect("opens");
    until("the peers have answered", || replica.metrics().votes).await;
    assert!(!*replica.recovered().borrow(), "it does not know yet what it had finalized");
    cluster.board.heal();
    until("it has what it had", || *replica.recovered().borrow()).await;
    assert!(replica.state().height >= had);
    cluster.finalize(2, 1).await;
    cluster.settle().await;
    no_evidence(&cluster, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_node_without_which_there_is_a_quorum_returns_first_although_it_kept_its_votes() {
    let cluster = Cluster::start(4).await;
    for decisions in 1..4 {
        cluster.finalize(0, decisions).await;
    }
    cluster.settle().await;
    let archive = archive(&cluster, 0).await;
    cluster.close(2).await;
    let votes = fs::read(cluster.dir(2).join("votes")).expect("it has voted");
    replace(&cluster, 2, &archive);
    fs::write(cluster.dir(2).join("votes"), votes).expect("our own folder");
    let replica = cluster.open(2).await.expect("opens");
    until("it has asked", || replica.metrics().votes || replica.metrics().entries_open > 0).await;
    assert!(!replica.metrics().votes, "others may have made more final without its vote");
    until_it_votes(&cluster, 2, 1).await;
    assert!(*replica.recovered().borrow());
    cluster.settle().await;
    no_evidence(&cluster, 4);
}
