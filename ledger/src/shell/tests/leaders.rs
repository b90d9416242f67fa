//! Who leads: silent, dead, restarted and barred leaders, and partitions.

use std::time::Duration;

use tokio::time::sleep;
use wallet::units::NodeId;

use super::cluster::{Cluster, until};
use crate::shell::{terms::nobodys_vote, transport::PeerRequest};

/// The term in which node `node` is.
fn term_of(cluster: &Cluster, node: u32) -> u64 {
    cluster.replica(node).shared.terms.entered().term
}

fn others(of: u32) -> Vec<u32> {
    (0..4).filter(|node| *node != of).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_leader_is_replaced_and_follows_when_it_is_heard_again() {
    let cluster = Cluster::start(4).await;
    cluster.finalize(0, 1).await;
    cluster.settle().await;
    let silent = cluster.leader().await;
    let before = term_of(&cluster, silent);
    cluster.board.filter(move |from, _, _| from != NodeId::new(silent));
    let author = others(silent)[0];
    cluster.finalize(author, 2).await;
    assert!(term_of(&cluster, author) > before);
    cluster.board.heal();
    cluster.settle().await;
    let leader = cluster.leader().await;
    assert_ne!(leader, silent, "the last leader of a term that was given up is barred");
    cluster.finalize(silent, 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_leader_is_noticed_although_nothing_waits() {
    let cluster = Cluster::start(4).await;
    cluster.finalize(0, 1).await;
    cluster.settle().await;
    let dead = cluster.leader().await;
    let before = term_of(&cluster, dead);
    cluster.close(dead).await;
    let author = others(dead)[0];
    until("the others went on to another term", || term_of(&cluster, author) > before).await;
    let leader = cluster.leader().await;
    assert_ne!(leader, dead);
    cluster.finalize(author, 2).await;
    cluster.open(dead).await.expect("opens again");
    cluster.settle().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_restarts_does_not_lead_its_term_again() {
    let cluster = Cluster::start(4).await;
    cluster.finalize(0, 1).await;
    cluster.settle().await;
    let leader = cluster.leader().await;
    let term = term_of(&cluster, leader);
    cluster.close(leader).await;
    let replica = cluster.open(leader).await.expect("opens again");
    let vote = || replica.shared.log.vote().expect("reads").expect("voted");
    let has_left = vote().leader_id.term > term || vote() == nobodys_vote(term);
    assert!(has_left, "{}", vote());
    cluster.finalize(leader, 2).await;
    assert!(term_of(&cluster, leader) > term);
    cluster.settle().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_barred_leader_gets_no_grant() {
    let cluster = Cluster::start(4).await;
    cluster.finalize(0, 1).await;
    cluster.settle().await;
    let barred = cluster.leader().await;
    let before = term_of(&cluster, barred);
    // It is silent until the others have given up its term. Then it is the only one that can ask for grants.
    cluster
        .board
        .filter(move |from, _, request| from != NodeId::new(barred) && !matches!(request, PeerRequest::Candidate(_)));
    until("its term is over", || others(barred).iter().all(|node| term_of(&cluster, *node) > before)).await;
    cluster
        .board
        .filter(move |from, _, request| from == NodeId::new(barred) || !matches!(request, PeerRequest::Candidate(_)));
    sleep(Duration::from_secs(3)).await;
    for node in others(barred) {
        let leads = cluster.replica(node).shared.terms.leads().map(|proof| proof.leadership.clone());
        let is_led = leads.is_some_and(|leads| leads.term > before && leads.leader == NodeId::new(barred));
        assert!(!is_led, "node {node} follows the barred leader");
    }
    cluster.board.heal();
    cluster.finalize(others(barred)[0], 2).await;
    cluster.settle().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_becomes_final_without_a_quorum_and_a_healed_partition_goes_on() {
    let cluster = Cluster::start(4).await;
    cluster.finalize(0, 1).await;
    cluster.settle().await;
    for round in 0..3_u64 {
        // Halves: 01|23, 02|13, 03|12.
        let with_zero = u32::try_from(round).expect("small") + 1;
        let half = move |node: NodeId| node.get() == 0 || node.get() == with_zero;
        cluster.board.filter(move |from, to, _| half(from) == half(to));
        let heights: Vec<_> = cluster.running().iter().map(|replica| replica.state().height).collect();
        let entry = cluster.anchor(0, 10 * round + 10);
        cluster.replica(0).submit(entry.clone()).expect("the state takes it");
        sleep(Duration::from_millis(2500)).await;
        for (replica, height) in cluster.running().iter().zip(heights) {
            let open_block = height.next().expect("small");
            assert!(replica.state().height <= open_block, "two of four made blocks final");
        }
        cluster.board.heal();
        cluster.replica(0).wait_final(entry.id()).await.expect("final");
        cluster.settle().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_missed_terms_learns_the_permit_and_follows() {
    let cluster = Cluster::start(4).await;
    cluster.finalize(0, 1).await;
    cluster.settle().await;
    let first = cluster.leader().await;
    let away = others(first)[0];
    // The node is away while the leader dies.
    cluster.board.isolate(NodeId::new(away));
    cluster.close(first).await;
    cluster.open(first).await.expect("opens again");
    cluster.finalize(others(first)[1], 2).await;
    assert!(term_of(&cluster, others(first)[1]) > 1);
    cluster.board.heal();
    cluster.settle().await;
    cluster.finalize(away, 3).await;
}
