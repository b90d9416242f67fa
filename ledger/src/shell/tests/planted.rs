//! Rules of which no seed of the simulation shows that they are broken, because another rule catches what they let pass.
//! Each is looked at alone, with the bug planted and without.

use std::{future::Future, thread, time::Duration};

use openraft::{CommittedLeaderId, EntryPayload, LogId, raft::AppendEntriesRequest};
use tokio::{runtime, time::sleep};
use wallet::units::{NodeId, Timestamp};

use super::{
    cluster::{Cluster, until},
    liars::blanks,
};
use crate::{
    block::View,
    execute::{Place, propose},
    planted::{Bug, plant},
    shell::{
        log_store::{Link, chain_hash},
        raft::{RaftEntry, RaftVote},
        replica::Replica,
        transport::PeerRequest,
    },
    testing,
};

/// Whether the rule holds where everybody has the bug.
fn holds<F: Future<Output = bool> + 'static>(bug: Option<Bug>, rule: fn() -> F) -> bool {
    // A planted bug is its thread's, so no other test has it, and all that matters must run on this one.
    let looking = thread::spawn(move || {
        bug.into_iter().for_each(plant);
        let runtime = runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(rule())
    });
    looking.join().expect("nobody panics")
}

/// Whether openraft counts nothing as committed that is not final here.
async fn commits_only_what_is_final(replica: &Replica) -> bool {
    let raft = replica.shared.raft().expect("it runs");
    let committed = raft.with_raft_state(|state| state.committed).await.expect("it answers");
    committed.map(|at| at.index) <= replica.shared.final_at.borrow().map(|at| at.index)
}

/// A consortium whose leader is cut off, so that only what a test brings in its name arrives.
struct Scene {
    cluster: Cluster,
    leader: NodeId,
    /// The leader in raft's words.
    id: CommittedLeaderId<u64>,
    follower: Replica,
    /// Where its log ended.
    last: Link,
}

impl Scene {
    async fn set() -> Self {
        let cluster = Cluster::start(4).await;
        cluster.finalize(0, 1).await;
        cluster.settle().await;
        let leader = cluster.leader().await;
        let term = cluster.replica(leader).shared.terms.entered().term;
        cluster.board.isolate(NodeId::new(leader));
        let follower = cluster.replica((leader + 1) % 4);
        let (id, last) = (CommittedLeaderId::new(term, u64::from(leader)), follower.shared.log.last().expect("a log"));
        Self { cluster, leader: NodeId::new(leader), id, follower, last }
    }

    async fn append(&self, entries: Vec<RaftEntry>, leader_commit: Option<LogId<u64>>) {
        let rpc = AppendEntriesRequest {
            vote: RaftVote::new_committed(self.id.term, self.id.node_id),
            prev_log_id: Some(self.last.log_id),
            entries,
            leader_commit,
        };
        let request = PeerRequest::Append { rpc, prev_chain: self.last.chain, proof: None };
        self.follower.serve(self.leader, request).await;
    }
}

async fn a_leaders_word_commits_only_what_is_final() -> bool {
    let scene = Scene::set().await;
    let (entries, end) = blanks(scene.last, scene.id, 1);
    scene.append(entries, Some(end.log_id)).await;
    assert_eq!(scene.follower.shared.log.last(), Some(end), "it was appended");
    commits_only_what_is_final(&scene.follower).await
}

async fn acknowledgements_commit_only_what_is_final() -> bool {
    let cluster = Cluster::start(4).await;
    cluster.finalize(0, 1).await;
    cluster.settle().await;
    let leader = cluster.replica(cluster.leader().await);
    // Blocks go round and nothing becomes final.
    cluster.board.filter(|_, _, request| !matches!(request, PeerRequest::Votes(_)));
    let final_index = leader.shared.final_at.borrow().expect("a final block").index;
    leader.submit(cluster.anchor(leader.shared.me.get(), 2)).expect("the state takes it");
    let has_it = |replica: &Replica| replica.shared.log.last().is_some_and(|last| last.log_id.index > final_index);
    until("all have the block", || cluster.running().iter().all(has_it)).await;
    for _ in 0..50 {
        if !commits_only_what_is_final(&leader).await {
            return false;
        }
        sleep(Duration::from_millis(20)).await;
    }
    true
}

async fn one_id_with_two_contents_is_noticed() -> bool {
    let scene = Scene::set().await;
    let parent = scene.follower.state();
    let view = View { term: scene.id.term, number: parent.view.number + 1 };
    let certificate = scene.follower.store().certificate(parent.height).expect("reads");
    let entries = [1, 2].map(|later_ms| {
        let place = Place {
            parent: (*parent).clone(),
            certificate: certificate.clone(),
            carriers: Vec::new(),
            skipped: None,
            view,
            after: scene.last.chain,
        };
        let time = Timestamp::new(parent.time.get() + later_ms);
        let block = propose(&scene.cluster.consortium, place, &testing::signer(scene.leader.get()), time, Vec::new());
        let log_id = LogId::new(scene.id, scene.last.log_id.index + 1);
        RaftEntry { log_id, payload: EntryPayload::Normal(block.block.into()) }
    });
    let mut chains = Vec::new();
    for entry in &entries {
        scene.append(vec![entry.clone()], None).await;
        chains.push(scene.follower.shared.log.last().expect("a log").chain);
    }
    assert_eq!(chains[0], chain_hash(scene.last.chain, &entries[0]), "the first was appended");
    chains[1] == chain_hash(scene.last.chain, &entries[1])
}

#[test]
fn openraft_is_told_that_nothing_is_committed_which_is_not_final() {
    assert!(holds(None, a_leaders_word_commits_only_what_is_final));
    assert!(!holds(Some(Bug::CommitNotClamped), a_leaders_word_commits_only_what_is_final), "this test cannot fail");
}

#[test]
fn a_leader_counts_no_acknowledgement_before_the_block_is_final() {
    assert!(holds(None, acknowledgements_commit_only_what_is_final));
    assert!(!holds(Some(Bug::AckGateOff), acknowledgements_commit_only_what_is_final), "this test cannot fail");
}

#[test]
fn a_second_content_under_the_same_id_replaces_the_first() {
    assert!(holds(None, one_id_with_two_contents_is_noticed));
    assert!(!holds(Some(Bug::ChainNotCompared), one_id_with_two_contents_is_noticed), "this test cannot fail");
}
