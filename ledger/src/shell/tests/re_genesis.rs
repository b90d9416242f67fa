//! Two of four nodes are lost for good, and two go on.

use std::fs;

use wallet::{digest::Digest, units::NodeId};

use super::{
    backup::archive,
    cluster::{Cluster, until},
    resumption::no_evidence,
    watch_commits,
};
use crate::{
    archive::ArchiveReader,
    execute::Executed,
    governance::Member,
    re_genesis::{ReGenesisFile, ReGenesisInvalid},
    refusal::Refusal,
    shell::{
        clock::{Clock as _, SystemClock},
        re_genesis::{Order, ReGenesisFault, apply, draft},
        restore::{RestoreFault, restore},
    },
    testing::{operator_id, operator_key, signer},
};

fn lost(operators: &[u32]) -> Vec<Member> {
    operators.iter().map(|number| Member::Operator(operator_id(*number))).collect()
}

fn drafted(cluster: &Cluster, node: u32, lost: Vec<Member>) -> Result<ReGenesisFile, ReGenesisFault> {
    let (reason, nonce, now) = ("they are gone".to_owned(), [9; 16], SystemClock.now());
    let order = Order { author: signer(node), lost, reason, nonce, now };
    draft(cluster.dir(node), &cluster.consortium, order)
}

fn signed(mut file: ReGenesisFile, operators: &[u32]) -> ReGenesisFile {
    operators.iter().for_each(|number| file.sign(&operator_key(*number)).expect("it stays"));
    ReGenesisFile::from_bytes(&file.to_bytes()).expect("what was written is read")
}

fn applied(cluster: &Cluster, node: u32, file: &ReGenesisFile) -> Result<Executed, ReGenesisFault> {
    let me = move |_: &Executed| Some(NodeId::new(node));
    apply(cluster.dir(node), &cluster.consortium, me, file, file.digest())
}

/// Four nodes, of which 2 and 3 are down; 0 and 1 are stopped, and hold the same last final block.
async fn halted(finals: u64) -> Cluster {
    let cluster = Cluster::start(4).await;
    for decisions in 1..=finals {
        cluster.finalize(0, decisions).await;
    }
    cluster.settle().await;
    for node in [2, 3] {
        cluster.close(node).await;
    }
    // This one is ordered at the most, and never final.
    cluster.replica(0).submit(cluster.anchor(0, 99)).expect("the state takes it");
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    for node in [0, 1] {
        cluster.close(node).await;
    }
    cluster
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_of_four_go_on_in_the_next_lineage_and_the_others_follow_when_they_come_back() {
    let cluster = halted(5).await;
    let file = signed(drafted(&cluster, 0, lost(&[2, 3])).expect("a draft"), &[0, 1]);
    for node in [0, 1] {
        let executed = applied(&cluster, node, &file).expect("it follows");
        assert_eq!((executed.digest, executed.state.lineage()), (file.digest(), 2));
        assert_eq!(applied(&cluster, node, &file).expect("a second time").digest, file.digest());
    }
    for node in [0, 1] {
        cluster.open(node).await.expect("opens");
    }
    let watch = watch_commits(&cluster);
    cluster.finalize(0, 100).await;
    cluster.finalize(1, 100).await;
    cluster.settle().await;
    let state = cluster.replica(0).state();
    assert_eq!((state.state.lineage(), state.validators().members.len(), state.view.epoch()), (2, 2, 1));
    for node in [0, 1] {
        assert!(*cluster.replica(node).recovered().borrow(), "nothing of before can come any more");
    }
    // One comes back with the ledger that it had.
    applied(&cluster, 2, &file).expect("its chain is the same");
    cluster.open(2).await.expect("opens");
    cluster.finalize(0, 101).await;
    cluster.settle().await;
    let back = cluster.replica(2).state();
    assert_eq!((back.state.lineage(), back.validators().key(NodeId::new(2))), (2, None), "it follows without a vote");
    // The other one restores what they have by now, if it is told the name.
    let archive = archive(&cluster, 1).await;
    let folder = tempfile::tempdir().expect("tempdir");
    let place = folder.path().join("ledger");
    let restored = |named: &[Digest]| {
        let mut reader = ArchiveReader::open(archive.as_slice(), &cluster.consortium.id()).expect("an archive");
        restore(&mut reader, &place, named, |_| {})
    };
    assert!(matches!(restored(&[]), Err(RestoreFault::Replay(_))));
    let restored = restored(&[file.digest()]).expect("it follows");
    assert_eq!(restored.executed.state.lineage(), 2);
    no_evidence(&cluster, 4);
    watch.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_not_told_stays_in_its_lineage_and_neither_disturbs_the_other() {
    let cluster = halted(3).await;
    let file = signed(drafted(&cluster, 0, lost(&[2, 3])).expect("a draft"), &[0, 1]);
    for node in [0, 1] {
        applied(&cluster, node, &file).expect("it follows");
    }
    for node in 0..4 {
        cluster.open(node).await.expect("opens");
    }
    for decisions in 100..106 {
        cluster.finalize(0, decisions).await;
    }
    for node in [2, 3] {
        let replica = cluster.replica(node);
        assert_eq!(replica.state().state.lineage(), 1);
        assert!(replica.metrics().fault.is_none(), "it goes on waiting");
    }
    assert_eq!(cluster.replica(1).state().state.lineage(), 2);
    no_evidence(&cluster, 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_refuses_what_drops_its_final_blocks_or_does_not_reach_them() {
    let cluster = Cluster::start(4).await;
    cluster.finalize(0, 1).await;
    cluster.settle().await;
    cluster.close(3).await;
    let low = cluster.dir(3).to_owned();
    for decisions in 2..5 {
        cluster.finalize(0, decisions).await;
    }
    cluster.settle().await;
    for node in 0..3 {
        cluster.close(node).await;
    }
    let before = drafted(&cluster, 3, lost(&[2])).expect("a draft");
    let before = signed(before, &[0, 1, 3]);
    assert!(matches!(applied(&cluster, 0, &before), Err(ReGenesisFault::KnowsMore { .. })));
    let file = drafted(&cluster, 0, lost(&[2, 3])).expect("a draft");
    assert!(matches!(applied(&cluster, 1, &file), Err(ReGenesisFault::Invalid(ReGenesisInvalid::Certificate(_)))));
    let file = signed(file, &[0, 1]);
    assert!(matches!(applied(&cluster, 3, &file), Err(ReGenesisFault::Behind { .. })));
    let other = apply(cluster.dir(1), &cluster.consortium, |_| Some(NodeId::new(1)), &file, Digest([7; 32]));
    assert!(matches!(other, Err(ReGenesisFault::Invalid(ReGenesisInvalid::NotNamed { .. }))));
    let stranger = apply(cluster.dir(1), &cluster.consortium, |_| None, &file, file.digest());
    assert!(matches!(stranger, Err(ReGenesisFault::NoNode)));
    let refused = drafted(&cluster, 0, vec![Member::Node(NodeId::new(3))]);
    assert!(matches!(refused, Err(ReGenesisFault::Refused(Refusal::OperatorWithoutValidator { .. }))));
    // Nothing was changed: the nodes go on as they were.
    assert!(low.exists());
    for node in 0..3 {
        cluster.open(node).await.expect("opens");
    }
    cluster.finalize(1, 50).await;
    no_evidence(&cluster, 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_whose_votes_are_lost_go_on_without_them() {
    let cluster = Cluster::start(4).await;
    cluster.finalize(0, 1).await;
    cluster.settle().await;
    for node in 0..4 {
        cluster.close(node).await;
    }
    for node in 0..4 {
        fs::remove_file(cluster.dir(node).join("votes")).expect("it had voted");
    }
    // All stay, and none of them can make another's return final.
    let file = signed(drafted(&cluster, 2, Vec::new()).expect("a draft"), &[0, 1, 2, 3]);
    for node in 0..4 {
        applied(&cluster, node, &file).expect("it follows");
    }
    for node in 0..4 {
        cluster.open(node).await.expect("opens");
    }
    cluster.finalize(3, 60).await;
    cluster.settle().await;
    until("all vote", || cluster.running().iter().all(|replica| replica.metrics().votes)).await;
    no_evidence(&cluster, 4);
}
