//! Cores that end or were driven off: restarts in place, and ways back.

use openraft::raft::AppendEntriesRequest;

use wallet::units::NodeId;

use super::{
    cluster::{Cluster, until},
    forged_append,
};
use crate::shell::{
    core::nobodys_entry,
    fault::Fault,
    log_store::LogStore,
    raft::{Raft, RaftVote},
    replica::Replica,
    transport::PeerRequest,
};

/// Makes openraft's core panic.
async fn panic_in_core(replica: &Replica) {
    let raft: Raft = replica.shared.raft().expect("it runs");
    let ended = raft.with_raft_state(|_| panic!("a bug in openraft")).await;
    assert!(ended.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_core_that_panics_is_started_again_in_a_follower_and_in_the_leader() {
    let cluster = Cluster::start(4).await;
    cluster.finalize(0, 1).await;
    cluster.settle().await;
    let leader = cluster.leader().await;
    let follower = (leader + 1) % 4;
    panic_in_core(&cluster.replica(follower)).await;
    cluster.finalize(follower, 2).await;
    let leader = cluster.leader().await;
    panic_in_core(&cluster.replica(leader)).await;
    cluster.finalize(leader, 3).await;
    cluster.settle().await;
    assert!(cluster.running().iter().all(|replica| replica.metrics().fault.is_none()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_core_that_panics_again_and_again_stops_the_replica() {
    let cluster = Cluster::start(4).await;
    cluster.finalize(0, 1).await;
    cluster.settle().await;
    let victim = cluster.replica(0);
    cluster.board.filter(|_, _, _| false);
    for _ in 0..6 {
        until("the core runs", || victim.shared.raft().is_some()).await;
        let before = victim.shared.raft().expect("it runs").metrics();
        panic_in_core(&victim).await;
        let is_new = || victim.shared.raft().is_some_and(|now| !now.metrics().same_channel(&before));
        until("it was replaced or given up", || is_new() || victim.metrics().fault.is_some()).await;
    }
    let fault = victim.metrics().fault.expect("given up");
    assert!(matches!(&*fault, Fault::Raft(_)), "{fault}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_core_with_an_unproven_higher_vote_finds_its_way_back() {
    let cluster = Cluster::start(4).await;
    cluster.finalize(0, 1).await;
    cluster.settle().await;
    let leader = cluster.leader().await;
    let lost = (leader + 1) % 4;
    let raft = cluster.replica(lost).shared.raft().expect("it runs");
    let wild = AppendEntriesRequest {
        vote: RaftVote::new(500, 77),
        prev_log_id: Some(nobodys_entry(u64::MAX >> 1)),
        entries: Vec::new(),
        leader_commit: None,
    };
    raft.append_entries(wild).await.expect("the core believes it");
    assert_eq!(cluster.replica(lost).shared.log.vote().expect("reads"), Some(RaftVote::new(500, 77)));
    cluster.finalize(lost, 2).await;
    cluster.settle().await;
    let term = cluster.replica(leader).shared.terms.entered().term;
    let vote = || cluster.replica(lost).shared.log.vote().expect("reads").expect("voted");
    until("it follows again", || vote().leader_id.term <= term && vote().committed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_starts_with_an_unproven_higher_vote_finds_its_way_back() {
    let cluster = Cluster::start(4).await;
    cluster.finalize(0, 1).await;
    cluster.settle().await;
    cluster.close(2).await;
    {
        let log = LogStore::open(cluster.dir(2).join("log").as_path()).expect("opens");
        log.set_vote(&RaftVote::new_committed(u64::MAX, 1)).expect("writes");
    }
    cluster.open(2).await.expect("opens again");
    cluster.finalize(2, 2).await;
    cluster.settle().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consortium_of_one_goes_on_in_the_next_term_after_a_restart() {
    let cluster = Cluster::start(1).await;
    cluster.finalize(0, 1).await;
    let before = cluster.replica(0).shared.terms.entered().term;
    for decisions in 2..4 {
        cluster.close(0).await;
        cluster.open(0).await.expect("opens again");
        cluster.finalize(0, decisions).await;
    }
    assert!(cluster.replica(0).shared.terms.entered().term > before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_core_that_committed_what_is_not_final_is_restarted_and_repaired() {
    let cluster = Cluster::start(4).await;
    cluster.finalize(0, 1).await;
    cluster.settle().await;
    let leader = cluster.leader().await;
    let victim = (leader + 1) % 4;
    cluster.board.isolate(NodeId::new(victim));
    // A block that nobody else has, past the clamp: openraft believes that it is committed.
    let PeerRequest::Append { mut rpc, .. } = forged_append(&cluster, leader, victim, cluster.anchor(leader, 77))
    else {
        panic!("an append")
    };
    let at = rpc.entries.last().expect("one").log_id;
    rpc.leader_commit = Some(at);
    let raft = cluster.replica(victim).shared.raft().expect("it runs");
    raft.append_entries(rpc).await.expect("appended");
    let committed = raft.with_raft_state(|state| state.committed).await.expect("it runs");
    assert_eq!(committed, Some(at));
    cluster.finalize(leader, 2).await;
    cluster.board.heal();
    cluster.settle().await;
    let now = cluster.replica(victim).shared.raft().expect("it runs");
    assert!(!now.metrics().same_channel(&raft.metrics()), "the core was not started again");
    cluster.finalize(victim, 3).await;
}
