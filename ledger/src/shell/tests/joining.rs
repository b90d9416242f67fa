//! A node that genesis does not name joins, follows, votes and leads.

use super::{
    backup::{archive, until_it_leads},
    cluster::{Cluster, until},
    hand_over::{OPERATORS, five, node, reinstate, suspend},
    resumption::no_evidence,
    watch_commits,
};
use crate::{
    archive::ArchiveReader,
    governance::{Action, Member},
    shell::join::{JoinFault, join},
    testing::{joining_node, node_key},
};

/// Makes the ledger of `number` from an archive.
fn joined(cluster: &Cluster, archive: &[u8], number: u32) -> Result<u32, JoinFault> {
    let mut reader = ArchiveReader::open(archive, &cluster.consortium.id()).expect("an archive");
    join(&mut reader, cluster.dir(number), node_key(number).public_key(), |_| {}).map(|node| node.get())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_joins_follows_first_votes_once_it_is_reinstated_and_leads() {
    let mut cluster = five().await;
    let watch = watch_commits(&cluster);
    cluster.finalize(0, 1).await;
    let early = archive(&cluster, 0).await;
    cluster.change(1, joining_node(&cluster.consortium, OPERATORS, 0)).await;
    let number = cluster.make_room();
    let refused = joined(&cluster, &early, number);
    assert!(matches!(refused, Err(JoinFault::NoNode { .. })) && !cluster.dir(number).exists(), "{refused:?}");
    let archive = archive(&cluster, 1).await;
    assert_eq!(joined(&cluster, &archive, number).expect("the ledger knows it"), number);
    let replica = cluster.open(number).await.expect("opens");
    cluster.finalize(0, 2).await;
    cluster.settle().await;
    assert_eq!(replica.state().state.epoch(), 0, "to be let in changes no validators");
    cluster.change(2, reinstate(number)).await;
    cluster.all_reach(1).await;
    until("the newcomer votes", || replica.metrics().votes).await;
    assert!(replica.state().state.resumption(node(number)).is_none(), "it has nothing to come back from");
    // With one of six away the newcomer is needed for a quorum.
    cluster.close(3).await;
    cluster.finalize(number, 1).await;
    cluster.open(3).await.expect("opens");
    cluster.settle().await;
    until_it_leads(&cluster, number).await;
    cluster.finalize(1, 3).await;
    drop(replica);
    cluster.close(number).await;
    cluster.open(number).await.expect("opens again");
    cluster.finalize(number, 500).await;
    cluster.settle().await;
    no_evidence(&cluster, OPERATORS);
    assert!(!watch.is_finished(), "commit passed final");
    watch.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_a_validator_does_not_join_again() {
    let mut cluster = five().await;
    cluster.change(1, suspend(4)).await;
    cluster.all_reach(1).await;
    let archive = archive(&cluster, 0).await;
    let elsewhere = cluster.make_room();
    let mut reader = ArchiveReader::open(archive.as_slice(), &cluster.consortium.id()).expect("an archive");
    let refused = join(&mut reader, cluster.dir(elsewhere), node_key(4).public_key(), |_| {});
    assert!(matches!(refused, Err(JoinFault::Voted { .. })), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_who_left_are_not_counted_by_raft_either() {
    let cluster = five().await;
    for (change, leaving) in [(1, 4), (3, 3), (5, 2)] {
        cluster.change(change, suspend(leaving)).await;
        cluster.settle().await;
        cluster.close(leaving).await;
        cluster.change(change + 1, Action::Remove(Member::Node(node(leaving)))).await;
    }
    for decisions in 1..20 {
        cluster.finalize(decisions % 2, u64::from(decisions)).await;
    }
    let leader = cluster.replica(cluster.leader().await);
    let raft = leader.shared.raft().expect("it runs");
    until("raft commits with two of two", || {
        raft.metrics().borrow().last_applied.map(|at| at.index) >= leader.shared.final_at.borrow().map(|at| at.index)
    })
    .await;
}
