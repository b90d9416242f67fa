//! The validator set changes under running replicas.

use std::time::Duration;

use genesis::Parameters;
use tokio::time::{Instant, sleep};
use wallet::units::NodeId;

use super::{
    cluster::{Cluster, until},
    watch_commits,
};
use crate::{
    block::View,
    event::{Entry, EntryBody, Event},
    evidence::EvidenceFile,
    governance::{Action, KeyClaim, Member, OperatorBallot, ProposalEnacted, ProposalTerms, Rotation, quorum},
    hand_over::ValidatorSets,
    testing::{next_node_key, node_key, operator_id, operator_key},
};

pub(super) const OPERATORS: u32 = 5;

/// Five nodes in a consortium in which nothing has to wait before it is enacted.
pub(super) async fn five() -> Cluster {
    let parameters = Parameters { proposal_lock_ms: 0, ..Parameters::default() };
    Cluster::start_with(OPERATORS, parameters).await
}

pub(super) fn node(node: u32) -> NodeId {
    NodeId::new(node)
}

pub(super) fn suspend(of: u32) -> Action {
    Action::Suspend(Member::Node(node(of)))
}

pub(super) fn reinstate(of: u32) -> Action {
    Action::Reinstate { member: Member::Node(node(of)), key: node_key(of).public_key() }
}

fn rotate(cluster: &Cluster, of: u32) -> Action {
    let (from, to) = (node_key(of), next_node_key(of));
    let rotation = Rotation { member: Member::Node(node(of)), from: from.public_key(), to: to.public_key() };
    let sign = |key| KeyClaim::Rotation(&rotation).sign(&cluster.consortium.id(), key);
    let (consent, by_old_key) = (sign(&to), Some(sign(&from)));
    Action::RotateKey { rotation, consent, by_old_key }
}

impl Cluster {
    fn governing(&self, nonce: u8, event: Event) -> Entry {
        let (consortium, author) = (self.consortium.id(), node(0));
        EntryBody { consortium, author, nonce: [nonce; 16], event }.sign(&node_key(0), None)
    }

    async fn make_final(&self, entry: Entry) {
        let replica = self.replica(0);
        replica.submit(entry.clone()).expect("the state takes it");
        replica.wait_final(entry.id()).await.expect("final");
    }

    /// Proposes, approves and enacts a change at node 0.
    pub(super) async fn change(&self, number: u8, action: Action) {
        let state = self.replica(0).state().state.clone();
        let terms = ProposalTerms {
            consortium: self.consortium.id(),
            electorate: state.governance().expect("founded").electorate,
            operator: operator_id(0),
            nonce: [number; 16],
            actions: vec![action],
        };
        let proposal = terms.digest();
        let made = Event::ProposalMade(Box::new(terms.sign(&operator_key(0))));
        self.make_final(self.governing(16 * number, made)).await;
        let approving = u32::try_from(quorum(OPERATORS as usize)).expect("few");
        for operator in 1..approving {
            let ballot = OperatorBallot { proposal, operator: operator_id(operator), approves: true };
            let cast = Event::BallotCast(ballot.sign(&operator_key(operator)));
            let nonce = 16 * number + u8::try_from(operator).expect("few");
            self.make_final(self.governing(nonce, cast)).await;
        }
        self.make_final(self.governing(16 * number + 15, Event::ProposalEnacted(ProposalEnacted { proposal }))).await;
    }

    fn epochs(&self) -> Vec<u64> {
        self.running().iter().map(|replica| replica.state().state.epoch()).collect()
    }

    pub(super) async fn all_reach(&self, epoch: u64) {
        until("the next epoch", || self.epochs().iter().all(|found| *found == epoch)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_leaves_and_comes_back_and_another_rotates_its_key() {
    let cluster = five().await;
    let watch = watch_commits(&cluster);
    cluster.finalize(0, 1).await;
    let changes = [(suspend(4), 1), (rotate(&cluster, 2), 2), (reinstate(4), 3)];
    for (action, epoch) in changes {
        cluster.change(u8::try_from(epoch).expect("few"), action).await;
        cluster.all_reach(epoch).await;
        let before = Instant::now();
        cluster.finalize(0, 10 + epoch).await;
        println!("epoch {epoch}: final again after {:?}", before.elapsed());
        let signer = cluster.replica(4).metrics().finality.epoch;
        assert_eq!(signer, epoch, "who has left follows");
    }
    cluster.settle().await;
    let (tip, term) = (cluster.replica(0).state(), cluster.replica(0).shared.terms.entered().term);
    assert_eq!((tip.view.epoch(), term >= View::first_term(3)), (3, true));
    let store = cluster.replica(3).store().clone();
    let hand_overs = store.hand_overs(3).expect("reads");
    let sets = ValidatorSets::proven(&cluster.consortium, &hand_overs).expect("an old quorum hands over each time");
    assert_eq!(sets.last(), &tip.validators());
    assert_eq!(sets.last().key(node(2)), Some(next_node_key(2).public_key()));
    assert!(!watch.is_finished(), "commit passed final");
    watch.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_down_during_whole_epochs_catches_up_and_restarts_go_on_in_the_epoch() {
    let cluster = five().await;
    cluster.finalize(0, 1).await;
    cluster.settle().await;
    cluster.close(3).await;
    cluster.change(1, suspend(4)).await;
    // Four of the next set, one of them down: three are a quorum.
    cluster.change(2, reinstate(4)).await;
    cluster.all_reach(2).await;
    cluster.open(3).await.expect("opens again");
    cluster.all_reach(2).await;
    cluster.finalize(3, 2).await;
    for restarted in 0..OPERATORS {
        cluster.close(restarted).await;
        cluster.open(restarted).await.expect("opens again");
        cluster.finalize((restarted + 1) % OPERATORS, 20 + u64::from(restarted)).await;
    }
    cluster.settle().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_restart_right_after_a_closing_block_and_the_next_epoch_begins() {
    let cluster = five().await;
    cluster.finalize(0, 1).await;
    cluster.change(1, suspend(4)).await;
    for node in 0..OPERATORS {
        cluster.close(node).await;
    }
    for node in 0..OPERATORS {
        cluster.open(node).await.expect("opens again");
    }
    cluster.finalize(0, 2).await;
    cluster.all_reach(1).await;
    cluster.settle().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_cut_off_at_the_closing_block_is_shown_how_its_epoch_ended() {
    let cluster = five().await;
    cluster.finalize(0, 1).await;
    cluster.settle().await;
    cluster.board.isolate(node(3));
    cluster.change(1, suspend(4)).await;
    cluster.finalize(0, 2).await;
    sleep(Duration::from_millis(1_500)).await;
    assert_eq!(cluster.replica(3).state().state.epoch(), 0);
    cluster.board.heal();
    cluster.all_reach(1).await;
    cluster.finalize(3, 2).await;
    cluster.settle().await;
    let evidence = cluster.dir(0).join("evidence");
    let files = std::fs::read_dir(evidence).into_iter().flatten().flatten();
    let found: Vec<_> =
        files.map(|file| EvidenceFile::from_bytes(&std::fs::read(file.path()).expect("readable"))).collect();
    assert!(found.is_empty(), "nobody lied: {found:?}");
}
