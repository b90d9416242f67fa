//! What an operator sees of one node when nothing becomes final.

use std::fs;

use wallet::units::NodeId;

use super::cluster::{Cluster, until};
use crate::shell::{cause::Cause, transport::PeerRequest};

fn nodes<const N: usize>(numbers: [u32; N]) -> Vec<NodeId> {
    numbers.map(NodeId::new).to_vec()
}

fn holds(cluster: &Cluster, node: u32, cause: Cause) -> bool {
    cluster.replica(node).metrics().causes().contains(&cause)
}

/// Whose vote, or whose word that the term is over, a node says that it misses.
fn missing(cluster: &Cluster, node: u32) -> Vec<NodeId> {
    cluster.replica(node).metrics().stalled.map(|stalled| stalled.missing).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_two_of_four_dead_the_others_say_that_no_quorum_is_heard_and_who_is_missing() {
    let cluster = Cluster::start(4).await;
    cluster.finalize(0, 1).await;
    cluster.settle().await;
    until("all is well", || cluster.replica(0).metrics().causes().is_empty()).await;
    for dead in [2, 3] {
        cluster.close(dead).await;
    }
    cluster.replica(0).submit(cluster.anchor(0, 2)).expect("the state takes it");
    for node in [0, 1] {
        until("no quorum is heard", || holds(&cluster, node, Cause::QuorumUnheard)).await;
        until("it names the dead", || cluster.replica(node).metrics().unheard() == nodes([2, 3])).await;
    }
    until("the entry is late", || holds(&cluster, 0, Cause::EntriesLate)).await;
    until("both are missed", || nodes([2, 3]).iter().all(|dead| missing(&cluster, 0).contains(dead))).await;
    for node in [2, 3] {
        cluster.open(node).await.expect("opens again");
    }
    cluster.settle().await;
    until("all is well", || (0..4).all(|node| cluster.replica(node).metrics().causes().is_empty())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_lost_its_votes_says_that_it_is_silent_and_the_others_that_its_votes_are_missing() {
    let cluster = Cluster::start(4).await;
    cluster.finalize(0, 1).await;
    cluster.settle().await;
    // With another one dead, its return cannot become final.
    for node in [2, 3] {
        cluster.close(node).await;
    }
    fs::remove_file(cluster.dir(3).join("votes")).expect("it had a record");
    cluster.open(3).await.expect("it follows");
    until("it says that it is silent", || holds(&cluster, 3, Cause::Silent)).await;
    assert!(!holds(&cluster, 0, Cause::Silent) && !cluster.replica(3).metrics().votes);
    until("its votes are missed", || nodes([2, 3]).iter().all(|mute| missing(&cluster, 0).contains(mute))).await;
    until("it is heard, and the dead one is not", || cluster.replica(0).metrics().unheard() == nodes([2])).await;
    assert!(!holds(&cluster, 0, Cause::QuorumUnheard), "three of four are");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_all_lost_their_votes_each_says_that_it_is_itself_who_does_not_vote() {
    let cluster = Cluster::start(4).await;
    cluster.finalize(0, 1).await;
    cluster.settle().await;
    for node in 0..4 {
        cluster.close(node).await;
    }
    for node in 0..4 {
        fs::remove_file(cluster.dir(node).join("votes")).expect("it had a record");
        cluster.open(node).await.expect("it follows");
    }
    for node in 0..4 {
        until("it says that it is silent", || holds(&cluster, node, Cause::Silent)).await;
        until("it misses itself", || missing(&cluster, node).contains(&NodeId::new(node))).await;
        let metrics = cluster.replica(node).metrics();
        let reason = metrics.stalled.expect("it stands still").reason;
        assert!(reason.starts_with("this node does not vote (silent)"), "{reason}");
        for other in [Cause::LeaderIdle, Cause::NoLeader] {
            assert!(!holds(&cluster, node, other), "{other:?}: it cannot know");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_gets_no_blocks_says_that_it_is_behind_and_whom_it_asks() {
    let cluster = Cluster::start(4).await;
    cluster.finalize(0, 1).await;
    cluster.settle().await;
    let leader = cluster.leader().await;
    // Not the one that leads next, who needs nobody to send it blocks.
    let starved = NodeId::new((leader + 2) % 4);
    cluster.board.filter(move |from, to, request| match request {
        PeerRequest::Append { .. } => to != starved,
        PeerRequest::Certificates { .. } | PeerRequest::LogEntries { .. } => from != starved,
        _ => true,
    });
    for decisions in 2..6 {
        cluster.finalize(leader, decisions + 100).await;
    }
    until("it says that it is behind", || holds(&cluster, starved.get(), Cause::Behind)).await;
    until("it asks somebody", || cluster.replica(starved.get()).metrics().fetching_from.is_some()).await;
    assert!(!holds(&cluster, leader, Cause::Behind));
    cluster.board.heal();
    cluster.settle().await;
    until("it has caught up", || !holds(&cluster, starved.get(), Cause::Behind)).await;
}
