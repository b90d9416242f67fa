//! Values that are not what was written, met by a reader while the replica runs.

use wallet::units::{BlockHeight, LogIndex};

use super::cluster::{Cluster, until};
use crate::{
    bundle::FinalView as _,
    shell::{
        fault::Fault,
        final_store::FAMILIES,
        replica::{Replica, SubmitError},
        store::{Batch, Change, Store, number_key},
    },
};

const ENTRIES: &str = "entries";

/// Entry 0 of a node alone is not what was written; the node runs on that.
async fn damaged() -> (Cluster, Replica) {
    let cluster = Cluster::start(1).await;
    cluster.finalize(0, 1).await;
    cluster.close(0).await;
    let store = Store::open(&cluster.dir(0).join("final").into(), "final", &FAMILIES).expect("opens");
    let key = number_key(0).to_vec();
    let mut value = store.get_bytes(ENTRIES, &key).expect("reads").expect("it is final");
    value[0] ^= 1;
    // Without a checksum of its own.
    store.write(Batch(vec![Change::Put { family: ENTRIES, key, value }])).expect("writes");
    drop(store);
    let replica = cluster.open(0).await.expect("nothing that it starts on is damaged");
    until("it votes", || replica.metrics().votes).await;
    (cluster, replica)
}

/// Whether the thread that votes has ended.
fn votes_no_more(replica: &Replica) -> bool {
    let tasks = replica.tasks.lock().expect("lock");
    tasks.validator.as_ref().is_some_and(std::thread::JoinHandle::is_finished)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_that_a_reader_meets_stops_the_replica_as_a_failed_write_does() {
    let (_cluster, replica) = damaged().await;
    assert!(replica.metrics().fault.is_none(), "nobody has read it");
    let read = replica.store().entry(LogIndex::ZERO);
    assert!(matches!(&read, Err(Fault::Damaged { family: ENTRIES, .. })), "{read:?}");
    let fault = replica.fault().borrow().clone().expect("the reader need not say so");
    assert!(matches!(&*fault, Fault::Damaged { family: ENTRIES, .. }), "{fault}");
    until("it votes no more", || votes_no_more(&replica)).await;
    until("it orders no more", || replica.shared.raft().is_none()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_met_damage_does_not_start_before_its_operator_has_seen_to_it() {
    let (cluster, replica) = damaged().await;
    replica.store().entry(LogIndex::ZERO).expect_err("damaged");
    drop(replica);
    cluster.close(0).await;
    for _ in 0..2 {
        let refused = cluster.open(0).await.err();
        assert!(matches!(&refused, Some(Fault::MetDamage { .. })), "{refused:?}");
    }
    std::fs::remove_file(cluster.dir(0).join("damaged")).expect("it says what was found");
    cluster.open(0).await.expect("its operator has seen to it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_is_gone_stops_the_replica_as_damage_does() {
    let cluster = Cluster::start(1).await;
    cluster.finalize(0, 1).await;
    cluster.close(0).await;
    let store = Store::open(&cluster.dir(0).join("final").into(), "final", &FAMILIES).expect("opens");
    store.write(Batch(vec![Change::Delete { family: ENTRIES, key: number_key(0).to_vec() }])).expect("writes");
    drop(store);
    let replica = cluster.open(0).await.expect("nothing that it starts on is gone");
    until("it votes", || replica.metrics().votes).await;
    let read = replica.store().entry(LogIndex::ZERO);
    assert!(matches!(&read, Err(Fault::Missing { .. })), "{read:?}");
    let fault = replica.fault().borrow().clone().expect("the reader need not say so");
    assert_eq!(fault.to_string(), "final: entry 0 is missing");
    until("it votes no more", || votes_no_more(&replica)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_view_takes_no_damage_for_absence() {
    let (cluster, replica) = damaged().await;
    let view = replica.view().await.expect("reads");
    let unreadable = view.entry(LogIndex::ZERO).expect_err("it is there, and damaged");
    assert!(unreadable.0.contains("its checksum does not match"), "{unreadable}");
    let refused = replica.submit(cluster.anchor(0, 2));
    assert!(matches!(refused, Err(SubmitError::Stopped(_))), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_there_stops_nobody() {
    let (cluster, replica) = damaged().await;
    let (store, view) = (replica.store(), replica.view().await.expect("reads"));
    let beyond = LogIndex::new(1_000);
    assert_eq!((store.entry(beyond).expect("reads"), view.entry(beyond)), (None, Ok(None)));
    assert!(store.block(BlockHeight::new(1_000)).expect("reads").is_none());
    assert!(matches!(store.entries(1_000..1_001), Err(Fault::Missing { .. })));
    cluster.finalize(0, 2).await;
    assert!(replica.metrics().fault.is_none());
}
