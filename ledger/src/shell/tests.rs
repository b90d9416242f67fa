//! Whole replicas: finality, elections, restarts, repairs.

mod backup;
mod causes;
mod censors;
mod cluster;
mod damaged;
mod flips;
mod hand_over;
mod joining;
mod leaders;
mod liars;
mod planted;
mod re_genesis;
mod recovery;
mod restore;
mod resumption;
mod storage_suite;

use std::time::Duration;

use futures::StreamExt as _;
use tokio::time::sleep;
use wallet::units::{BlockHeight, LogIndex, NodeId};

use self::cluster::{Cluster, until};
use super::{
    fault::Fault,
    raft::{RaftEntry, RaftLogId, leader_of},
    replica::{EntryStatus, Replica, SubmitError},
    terms::nobodys_vote,
    transport::{PeerRefusal, PeerReply, PeerRequest},
};
use crate::{
    bundle::FinalView as _,
    execute::{Place, propose},
    testing,
    tree::several,
};

/// Watches, until it is dropped, that no running node commits what is not final there.
fn watch_commits(cluster: &Cluster) -> tokio::task::JoinHandle<()> {
    let board = cluster.board.clone();
    tokio::spawn(async move {
        loop {
            for replica in board.running() {
                commit_is_final(&replica).await;
            }
            sleep(Duration::from_millis(2)).await;
        }
    })
}

async fn commit_is_final(replica: &Replica) {
    let Some(raft) = replica.shared.raft() else { return };
    let Ok(committed) = raft.with_raft_state(|state| state.committed).await else { return };
    let final_at = *replica.shared.final_at.borrow();
    assert!(
        committed.map(|at| at.index) <= final_at.map(|at| at.index),
        "node {} committed {committed:?} and has only {final_at:?} final",
        replica.shared.me
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn submitted_entries_become_final_everywhere_and_commit_never_passes_final() {
    let cluster = Cluster::start(4).await;
    let watch = watch_commits(&cluster);
    let entries: Vec<_> = (0..40_u32).map(|i| cluster.anchor(i % 4, u64::from(i) + 1)).collect();
    for entry in &entries {
        cluster.replica(entry.body.author.get()).submit(entry.clone()).expect("the state takes it");
    }
    for entry in &entries {
        let author = cluster.replica(entry.body.author.get());
        let place = author.wait_final(entry.id()).await.expect("final");
        assert_eq!(author.store().entry(place.index).expect("reads").as_ref(), Some(entry));
        assert_eq!(author.status(entry.id()), EntryStatus::Final(place));
    }
    cluster.settle().await;
    assert!(!watch.is_finished(), "commit passed final");
    watch.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consortium_of_one_makes_its_own_entries_final() {
    let cluster = Cluster::start(1).await;
    cluster.finalize(0, 1).await;
    cluster.close(0).await;
    cluster.open(0).await.expect("opens again");
    cluster.finalize(0, 2).await;
    assert_eq!(cluster.replica(0).state().log.size(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_that_the_state_refuses_is_refused_with_its_code() {
    let cluster = Cluster::start(1).await;
    cluster.finalize(0, 5).await;
    let stale = cluster.anchor(0, 4);
    match cluster.replica(0).submit(stale) {
        Err(SubmitError::Refused(refusal)) => assert!(refusal.code().starts_with("L-"), "{refusal}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blocks_are_told_in_order_from_any_height_on() {
    let cluster = Cluster::start(1).await;
    for decisions in 1..=3 {
        cluster.finalize(0, decisions).await;
    }
    let height = cluster.replica(0).state().height;
    assert!(height.get() <= 4, "a block for each entry and one for the leader's first: {height}");
    let blocks = cluster.replica(0).subscribe(BlockHeight::new(1)).take(height.get() as usize);
    let blocks: Vec<_> = blocks.map(|block| block.expect("reads")).collect().await;
    let mut parent = wallet::digest::Digest::ZERO;
    let mut entries = 0;
    for (block, height) in blocks.iter().zip(1..) {
        assert_eq!((block.block.header.height.get(), block.block.header.parent), (height, parent));
        assert_eq!(block.first_index(), LogIndex::new(entries));
        entries += block.block.entries.len() as u64;
        parent = block.block.header.digest();
        assert_eq!(block.certificate.block, parent);
    }
    assert_eq!(entries, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_leader_stops_its_open_block_is_completed_by_the_next() {
    // Nobody gives the view up before the votes are heard again.
    let cluster = Cluster::start_patient(4).await;
    cluster.finalize(0, 1).await;
    cluster.settle().await;
    let leader = cluster.leader().await;
    let author = (leader + 1) % 4;
    // Votes are lost, so that the leader's next block reaches all logs and stays open.
    cluster.board.filter(|_, _, request| !matches!(request, PeerRequest::Votes(_)));
    let entry = cluster.anchor(author, 2);
    cluster.replica(author).submit(entry.clone()).expect("the state takes it");
    let holders: Vec<_> = (0..4).filter(|node| *node != leader).collect();
    until("the block is in the logs", || {
        holders.iter().all(|node| cluster.replica(*node).status(entry.id()) == EntryStatus::Ordered)
    })
    .await;
    let open = cluster.replica(author).metrics().finality.open.expect("the block is open");
    cluster.close(leader).await;
    cluster.board.heal();
    let place = cluster.replica(author).wait_final(entry.id()).await.expect("final");
    let block = cluster.replica(author).store().block(place.height).expect("reads").expect("final");
    assert_eq!((block.block.header.digest(), block.block.header.view), (open.block, open.view));
    cluster.finalize(author, 3).await;
    cluster.open(leader).await.expect("opens again");
    cluster.settle().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_of_all_nodes_loses_no_final_entry_and_signs_nothing_twice() {
    let cluster = Cluster::start(4).await;
    let mut ids = Vec::new();
    for round in 0..3_u64 {
        for author in 1..4 {
            ids.push(cluster.finalize(author, round + 1).await);
        }
        // With an open block in flight.
        cluster.replica(0).submit(cluster.anchor(0, 100 * round + 100)).expect("the state takes it");
        let before: Vec<_> = cluster.running().iter().map(|replica| replica.state().height).collect();
        for node in 0..4 {
            cluster.close(node).await;
        }
        for node in 0..4 {
            let replica = cluster.open(node).await.expect("opens again");
            assert!(replica.state().height >= before[node as usize]);
        }
        // Each votes again once enough peers have told it what they hold of its key.
        until("all vote", || cluster.running().iter().all(|replica| replica.metrics().votes)).await;
        let replica = cluster.replica(3);
        for id in &ids {
            replica.wait_final(*id).await.expect("still final");
        }
        // Anchors only grow: those of node 0 go on above the one in flight.
        ids.push(cluster.finalize(0, 100 * round + 150).await);
        cluster.settle().await;
    }
    assert!(cluster.board.votes_seen() > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_down_catches_up_from_the_log() {
    let cluster = Cluster::start(4).await;
    cluster.finalize(0, 1).await;
    let leader = cluster.leader().await;
    let down = (leader + 1) % 4;
    cluster.close(down).await;
    for decisions in 2..12 {
        cluster.finalize(leader, decisions + 100).await;
    }
    cluster.open(down).await.expect("opens again");
    cluster.settle().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_with_another_block_under_the_same_log_id_is_repaired() {
    let cluster = Cluster::start(4).await;
    cluster.finalize(0, 1).await;
    cluster.settle().await;
    let leader = cluster.leader().await;
    let victim = (leader + 1) % 4;
    cluster.board.isolate(NodeId::new(victim));
    // The leader lies to one follower: another block at the place of its next one.
    let forged = forged_append(&cluster, leader, victim, cluster.anchor(leader, 77));
    let reply = cluster.replica(victim).serve(NodeId::new(leader), forged).await;
    assert!(matches!(reply, PeerReply::Append(openraft::raft::AppendEntriesResponse::Success)), "{reply:?}");
    until("the victim holds the lie", || cluster.replica(victim).metrics().finality.open.is_some()).await;
    cluster.finalize(leader, 2).await;
    cluster.board.heal();
    cluster.settle().await;
    let (honest, repaired) = (cluster.replica(leader), cluster.replica(victim));
    let at = honest.shared.final_at.borrow().expect("final").index;
    let link = |replica: &Replica| replica.shared.log.link(at).expect("reads");
    assert_eq!(link(&honest), link(&repaired));
    assert!(repaired.shared.log.end().generation > 0, "the lie was in the log and was cut");
    cluster.finalize(victim, 3).await;
}

/// The append that would put a block of `entry` behind the victim's log, in the leader's name and next view.
pub fn forged_append(cluster: &Cluster, leader: u32, victim: u32, entry: crate::event::Entry) -> PeerRequest {
    let (liar, victim) = (cluster.replica(leader), cluster.replica(victim));
    let vote = liar.shared.log.vote().expect("reads").expect("voted");
    let last = victim.shared.log.last().expect("not empty");
    let tip = victim.state();
    let certificate = victim.store().certificate(tip.height).expect("reads");
    let view = tip.view.next().expect("few blocks");
    let place =
        Place { parent: (*tip).clone(), certificate, carriers: Vec::new(), skipped: None, view, after: last.chain };
    let now = victim.shared.clock.now();
    let block = propose(&cluster.consortium, place, &testing::signer(leader), now, vec![entry]).block;
    let log_id = RaftLogId::new(last.log_id.leader_id, last.log_id.index + 1);
    let entry = RaftEntry { log_id, payload: openraft::EntryPayload::Normal(block.into()) };
    let rpc = openraft::raft::AppendEntriesRequest {
        vote,
        prev_log_id: Some(last.log_id),
        entries: vec![entry],
        leader_commit: Some(log_id),
    };
    PeerRequest::Append { rpc, prev_chain: last.chain, proof: None }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_log_a_certificate_contradicts_cuts_it_and_gives_up_its_term() {
    let cluster = Cluster::start(4).await;
    cluster.finalize(0, 1).await;
    cluster.settle().await;
    let old = cluster.leader().await;
    let others: Vec<_> = (0..4).filter(|node| *node != old).collect();
    cluster.board.isolate(NodeId::new(old));
    // The old leader appends a block that nobody sees.
    let lost = cluster.anchor(old, 50);
    cluster.replica(old).submit(lost.clone()).expect("the state takes it");
    until("the lost block is in its log", || cluster.replica(old).status(lost.id()) == EntryStatus::Ordered).await;
    let before = cluster.replica(old).shared.log.vote().expect("reads").expect("voted");
    cluster.finalize(others[0], 9).await;
    // Only certificates get through: raft cannot tell it that it is deposed.
    let cut_off = NodeId::new(old);
    cluster.board.filter(move |from, to, request| {
        (from != cut_off && to != cut_off) || matches!(request, PeerRequest::Certificates { .. })
    });
    until("it cut its log", || cluster.replica(old).status(lost.id()) != EntryStatus::Ordered).await;
    let after = || cluster.replica(old).shared.log.vote().expect("reads").expect("voted");
    until("it gave up its term", || after() == nobodys_vote(before.leader_id.term)).await;
    assert_eq!(leader_of(&before), Some(NodeId::new(old)));
    cluster.board.heal();
    cluster.settle().await;
    // The lost entry was never lost: its author submits it again.
    cluster.replica(old).wait_final(lost.id()).await.expect("final");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leaders_log_against_what_is_final_is_refused() {
    let cluster = Cluster::start(4).await;
    cluster.finalize(0, 1).await;
    cluster.settle().await;
    let leader = cluster.leader().await;
    let victim = (leader + 1) % 4;
    let forged = forged_append(&cluster, leader, victim, cluster.anchor(leader, 77));
    let PeerRequest::Append { mut rpc, .. } = forged else { panic!("an append") };
    rpc.entries.clear();
    rpc.prev_log_id = *cluster.replica(victim).shared.final_at.borrow();
    let prev_chain = wallet::digest::Digest([1; 32]);
    let reply =
        cluster.replica(victim).serve(NodeId::new(leader), PeerRequest::Append { rpc, prev_chain, proof: None }).await;
    assert!(matches!(reply, PeerReply::Refused(PeerRefusal::ContradictsFinal)), "{reply:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_in_another_nodes_name_is_refused() {
    let cluster = Cluster::start(4).await;
    cluster.finalize(0, 1).await;
    let leader = cluster.leader().await;
    let (liar, victim) = ((leader + 1) % 4, (leader + 2) % 4);
    let forged = forged_append(&cluster, leader, victim, cluster.anchor(leader, 77));
    let reply = cluster.replica(victim).serve(NodeId::new(liar), forged).await;
    assert!(matches!(reply, PeerReply::Refused(PeerRefusal::NotSender)), "{reply:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_final_store_that_lost_a_state_leaf_refuses_to_start() {
    let cluster = Cluster::start(1).await;
    cluster.finalize(0, 1).await;
    cluster.close(0).await;
    {
        use super::{
            final_store::FAMILIES,
            store::{Batch, Scan, Store},
        };
        let store = Store::open(&cluster.dir(0).join("final").into(), "final", &FAMILIES).expect("opens");
        let mut batch = Batch::default();
        store
            .scan("state", &[], None, |key, _| {
                batch.delete("state", key);
                Ok(Scan::Stop)
            })
            .expect("scans");
        store.write(batch).expect("writes");
    }
    let fault = cluster.open(0).await.err().expect("refuses");
    assert!(matches!(fault, Fault::StateDiffers { what: "state root", .. }), "{fault}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_view_has_the_final_chain_and_where_the_anchors_stand() {
    let cluster = Cluster::start(1).await;
    for decisions in 1..=3 {
        cluster.finalize(0, decisions).await;
    }
    let replica = cluster.replica(0);
    let view = replica.view().await.expect("reads");
    let found =
        |node, from| view.anchor_from(NodeId::new(node), LogIndex::new(from)).expect("reads").map(LogIndex::get);
    assert_eq!([0, 1, 2, 3].map(|from| found(0, from)), [Some(0), Some(1), Some(2), None]);
    assert_eq!(found(1, 0), None);
    let (header, certificate) = view.tip().expect("not genesis");
    assert_eq!((certificate.block, header.log_size), (header.digest(), 3));
    for places in [[0, 2], [1, 2]] {
        let places = places.map(LogIndex::new);
        let leaves = places.map(|index| (index, view.entry(index).expect("reads").expect("final").leaf_hash()));
        let proof = view.inclusion(&places).expect("reads").expect("within");
        assert_eq!(several::verify(&header.log_root, 3, &leaves, &proof), Ok(()));
    }
    assert_eq!(view.inclusion(&[LogIndex::new(3)]), Ok(None));
    assert_eq!(view.state().root(), header.state_root);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_is_never_cut_at_or_below_final() {
    let cluster = Cluster::start(1).await;
    cluster.finalize(0, 1).await;
    let log = cluster.replica(0).shared.log.clone();
    let at = log.end().index().expect("not empty");
    until("all is final", || cluster.replica(0).shared.final_at.borrow().map(|at| at.index) >= Some(at)).await;
    assert!(matches!(log.cut(at), Err(Fault::CutsFinal { .. })));
    assert_eq!(log.end().index(), Some(at));
}
