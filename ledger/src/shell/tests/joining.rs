//! A node that genesis does not name joins, follows, votes and leads.

use wallet::{
    codec,
    identity::SecretKey,
    units::{BlockHeight, LogIndex},
};

use super::{
    backup::until_it_leads,
    cluster::{Cluster, until},
    hand_over::{OPERATORS, five, node, reinstate, suspend},
    resumption::no_evidence,
    watch_commits,
};
use crate::{
    governance::{Action, Member},
    hand_over::{HandOver, ValidatorSets},
    shell::{
        join::{JoinFault, Joined, Joining},
        replica::Replica,
    },
    snapshot::{ChunkPath, Extent, Verified},
    testing::{joining_node, node_key},
    tree::tiles::{Tiles as _, inclusion_proof},
};

/// What these nodes offer, verified.
async fn offers(cluster: &Cluster, from: &[u32]) -> Vec<Verified> {
    let mut offers = Vec::new();
    for node in from {
        let replica = cluster.replica(*node);
        let offer = replica.offer().await.expect("its disk is well").expect("something is final");
        let mut sets = ValidatorSets::genesis(&cluster.consortium);
        while sets.last().epoch < offer.hand_overs() {
            let path = ChunkPath::HandOvers { from: sets.last().epoch };
            let bytes = replica.chunk(path).await.expect("its disk is well").expect("it has them");
            let hand_overs: Vec<HandOver> = codec::decode(&bytes).expect("its own");
            hand_overs.iter().for_each(|hand_over| sets.take(hand_over).expect("it leads to the next set"));
        }
        offers.push(offer.verify(sets).expect("final"));
    }
    offers
}

/// Makes the ledger of `number`, of a key, with chunks of the nodes `from` in turn. Each one is damaged the first time.
async fn joined(cluster: &Cluster, from: &[u32], number: u32, key: &SecretKey) -> Result<(Joined, Extent), JoinFault> {
    let extent = Extent::choose(&offers(cluster, from).await).expect("offers");
    let mut joining = Joining::begin(&cluster.dir(number).into(), cluster.consortium.clone(), extent.clone())?;
    let mut turn = from.iter().cycle();
    while let Some(wanted) = joining.plan().ask(|_| true) {
        let replica = cluster.replica(*turn.next().expect("endless"));
        let mut bytes = replica.chunk(wanted.path()).await?.expect("it has it");
        *bytes.last_mut().expect("not empty") ^= 1;
        assert!(wanted.check(&extent, &bytes).is_err(), "{} was damaged", wanted.path());
        *bytes.last_mut().expect("not empty") ^= 1;
        joining.take(wanted.check(&extent, &bytes).expect("what it has"))?;
    }
    Ok((joining.finish(key.public_key(), |_| {})?, extent))
}

/// Starts all of them again, so that they pin the state that they have.
async fn pin(cluster: &Cluster, nodes: impl IntoIterator<Item = u32>) {
    cluster.settle().await;
    for node in nodes {
        cluster.close(node).await;
        cluster.open(node).await.expect("opens again");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_joins_follows_first_votes_once_it_is_reinstated_and_leads() {
    let mut cluster = five().await;
    let watch = watch_commits(&cluster);
    cluster.finalize(0, 1).await;
    cluster.change(1, joining_node(&cluster.consortium, OPERATORS, 0)).await;
    let number = cluster.make_room();
    pin(&cluster, 0..OPERATORS).await;
    let stranger = node_key(number + 1);
    let refused = joined(&cluster, &[0, 1], number, &stranger).await.expect_err("nobody let it in");
    assert!(matches!(refused, JoinFault::NoNode { .. }) && !cluster.dir(number).exists(), "{refused:?}");
    let (came, extent) = joined(&cluster, &[0, 1, 2], number, &node_key(number)).await.expect("the ledger knows it");
    assert_eq!((came.node, came.executed.height), (node(number), extent.tip().height));
    // They have just pinned it. Who leads after the leader's restart may have made a block since.
    assert!(extent.tip().height.get() - extent.state_at().get() <= 1, "{extent:?}");
    let replica = cluster.open(number).await.expect("opens");
    holds_the_same(&cluster, &replica, 1);
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

/// Whether a node has the blocks, the proofs and the tiles that node `other` has.
fn holds_the_same(cluster: &Cluster, replica: &Replica, other: u32) {
    let (of, others) = (replica.state(), cluster.replica(other));
    let (own, others) = (replica.store(), others.store());
    for height in (1..=of.height.get()).map(BlockHeight::new) {
        let [own, other] = [own, others].map(|store| store.block(height).expect("reads").expect("final").block);
        assert_eq!(own, other, "{height}");
    }
    let size = of.log.size();
    for index in (0..size).map(LogIndex::new) {
        let proof = |store| inclusion_proof(store, index, size).expect("reads").expect("within");
        assert_eq!(proof(own), proof(others), "{index:?}");
    }
    assert_eq!(own.hashes(0, 0..size).expect("reads"), others.hashes(0, 0..size).expect("reads"));
    let root = own.header(of.height).expect("reads").expect("final").state_root;
    assert_eq!(of.state.root(), root);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_became_final_after_the_state_that_came_is_executed() {
    let mut cluster = five().await;
    cluster.change(1, joining_node(&cluster.consortium, OPERATORS, 0)).await;
    let number = cluster.make_room();
    pin(&cluster, 0..OPERATORS).await;
    cluster.finalize(0, 7).await;
    cluster.change(2, suspend(4)).await;
    cluster.all_reach(1).await;
    cluster.finalize(1, 8).await;
    cluster.settle().await;
    let (came, extent) = joined(&cluster, &[3, 2, 0], number, &node_key(number)).await.expect("the ledger knows it");
    assert!(extent.state_at() < extent.tip().height && extent.state_at() > BlockHeight::new(1));
    let replica = cluster.open(number).await.expect("opens");
    assert_eq!(came.executed.height, extent.tip().height);
    assert!(replica.state().height >= extent.tip().height);
    holds_the_same(&cluster, &replica, 2);
    cluster.finalize(0, 9).await;
    cluster.settle().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_a_validator_does_not_join_again() {
    let mut cluster = five().await;
    cluster.change(1, suspend(4)).await;
    cluster.all_reach(1).await;
    let elsewhere = cluster.make_room();
    let refused = joined(&cluster, &[0, 1], elsewhere, &node_key(4)).await;
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
