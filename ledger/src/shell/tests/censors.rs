//! Leaders that leave out what others wait for, and honest ones that only seem to.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use genesis::Parameters;
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep},
};
use wallet::units::NodeId;

use super::cluster::{Cluster, until};
use crate::{
    author::sign_batch,
    event::Entry,
    execute::BLOCK_ENTRIES_MAX,
    finality::{Complaint, Status},
    shell::{
        clock::{Clock as _, SystemClock},
        replica::Replica,
        transport::PeerRequest,
    },
    testing::{self, Chain, Session},
};

/// How long an author waits before it submits its next entry.
const A_MOMENT: Duration = Duration::from_millis(10);

/// A leader throws away what one author sends, whoever sends it.
fn leave_out(cluster: &Cluster, leader: u32, author: u32) {
    cluster.board.lie(move |_, to, request| {
        if let PeerRequest::Submit(entries) = request
            && to == NodeId::new(leader)
        {
            entries.retain(|entry| entry.body.author != NodeId::new(author));
        }
    });
}

fn term_of(cluster: &Cluster, node: u32) -> u64 {
    cluster.replica(node).shared.terms.entered().term
}

/// Whether any node ever says that its leader passes over entries. A busy machine may cost a leader its term in other ways.
struct Accusations(Vec<JoinHandle<()>>, Arc<AtomicBool>);

impl Accusations {
    fn watch(cluster: &Cluster) -> Self {
        let heard = Arc::new(AtomicBool::new(false));
        let watch = |replica: Replica| {
            let (mut status, heard) = (replica.shared.status.subscribe(), heard.clone());
            tokio::spawn(async move {
                let passed_over = |status: &Status| status.complaint == Some(Complaint::PassedOver);
                if status.wait_for(passed_over).await.is_ok() {
                    heard.store(true, Ordering::Relaxed);
                }
            })
        };
        Self(cluster.running().into_iter().map(watch).collect(), heard)
    }

    fn were_heard(&self) -> bool {
        self.1.load(Ordering::Relaxed)
    }
}

impl Drop for Accusations {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

/// Blocks go on, because a node has entries of its own all the time, with a pause between one and the next.
fn keep_going(cluster: &Cluster, author: u32, pause: Duration) -> (Arc<AtomicBool>, JoinHandle<()>) {
    let (replica, stop) = (cluster.replica(author), Arc::new(AtomicBool::new(false)));
    let entries: Vec<Entry> = (1_000..2_000).map(|decisions| cluster.anchor(author, decisions)).collect();
    let stopped = stop.clone();
    let going = tokio::spawn(async move {
        for entry in entries {
            if stopped.load(Ordering::Relaxed) {
                return;
            }
            let submission = replica.submit(entry).expect("the state takes it");
            replica.wait_final(submission.id).await.expect("not refused");
            sleep(pause).await;
        }
    });
    (stop, going)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_leaves_out_one_author_while_blocks_go_on_is_replaced() {
    let cluster = Cluster::start(4).await;
    cluster.finalize(0, 1).await;
    cluster.settle().await;
    let censor = cluster.leader().await;
    let (victim, term) = ((censor + 1) % 4, term_of(&cluster, censor));
    leave_out(&cluster, censor, victim);
    let accusations = Accusations::watch(&cluster);
    let (stop, going) = keep_going(&cluster, censor, A_MOMENT);
    cluster.finalize(victim, 2).await;
    assert!(term_of(&cluster, victim) > term && accusations.were_heard());
    cluster.board.be_honest();
    stop.store(true, Ordering::Relaxed);
    going.await.expect("it goes on under another leader");
    cluster.settle().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_blocks_come_late_to_one_follower_after_the_other_is_replaced_too() {
    const SCENES: usize = 5;
    for _ in 0..SCENES {
        if is_replaced_while_blocks_come_late().await {
            return;
        }
    }
    panic!("in each of {SCENES} scenes something happened before anybody waited");
}

/// False if a pause of the machine ended the term before the scene began.
async fn is_replaced_while_blocks_come_late() -> bool {
    // With longer terms, because the delays of this scene alone take most of the usual one.
    let cluster = Cluster::start_with(4, Parameters { leader_timeout_ms: 3_000, ..Parameters::default() }).await;
    cluster.finalize(0, 1).await;
    cluster.settle().await;
    let censor = cluster.leader().await;
    let (victim, term) = ((censor + 1) % 4, term_of(&cluster, censor));
    leave_out(&cluster, censor, victim);
    // Its blocks are as old as may be, almost, and every third one comes to a follower when it is older than that.
    cluster.set_back(censor, 1_400);
    let followers: Vec<NodeId> = (0..4).filter(|node| *node != censor).map(NodeId::new).collect();
    cluster.board.delay(move |from, to, request| {
        let PeerRequest::Append { rpc, .. } = request else { return Duration::ZERO };
        let late = |index: u64| followers[usize::try_from(index % 3).expect("small")] == to;
        let is_late = rpc.entries.last().is_some_and(|last| late(last.log_id.index));
        if is_late && from == NodeId::new(censor) { Duration::from_millis(750) } else { Duration::ZERO }
    });
    let accusations = Accusations::watch(&cluster);
    let (stop, going) = keep_going(&cluster, censor, Duration::from_millis(600));
    let oldest = || cluster.replica(censor).state().time.get() + 1_350 < SystemClock.now().get();
    until("its blocks are old", oldest).await;
    if term_of(&cluster, victim) != term || accusations.were_heard() {
        stop.store(true, Ordering::Relaxed);
        return false;
    }
    cluster.finalize(victim, 2).await;
    assert!(term_of(&cluster, victim) > term && accusations.were_heard());
    cluster.board.be_honest();
    stop.store(true, Ordering::Relaxed);
    going.await.expect("it goes on under another leader");
    true
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_that_no_state_takes_accuses_nobody() {
    let cluster = Cluster::start(4).await;
    cluster.finalize(0, 1).await;
    cluster.settle().await;
    let leader = cluster.leader().await;
    let author = (0..3).find(|node| *node != leader).expect("three of them are in the region");
    let accusations = Accusations::watch(&cluster);
    // Its wallet does not exist, and may later.
    let session = Session::in_eu(&cluster.consortium, author);
    let mut later = Chain::new(cluster.consortium.clone());
    later.push(session.created()).expect("valid");
    let early = session.touched(&session.record(&later), 1);
    cluster.replica(author).submit(early.clone()).expect("it may apply later");
    let others = (0..4).filter(|node| *node != leader);
    let knows = |node: u32| cluster.replica(node).shared.outbox.holds(&early.id());
    until("others wait for it, too", || others.clone().all(knows)).await;
    let (stop, going) = keep_going(&cluster, author, A_MOMENT);
    let (began, height) = (Instant::now(), cluster.replica(leader).state().height.get());
    let patience = Duration::from_millis(3 * cluster.consortium.parameters().view_timeout_ms);
    until("blocks passed it over for long", || {
        began.elapsed() > patience && cluster.replica(leader).state().height.get() > height + 20
    })
    .await;
    stop.store(true, Ordering::Relaxed);
    going.await.expect("nothing stopped it");
    assert!(!accusations.were_heard());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_works_off_a_flood_passes_over_nothing() {
    let cluster = Cluster::start(4).await;
    cluster.finalize(0, 1).await;
    cluster.settle().await;
    let leader = cluster.leader().await;
    let accusations = Accusations::watch(&cluster);
    // Each author has more than the leader's queue takes of one.
    let count = BLOCK_ENTRIES_MAX as u64 + 500;
    let mut last = Vec::new();
    for author in (0..4).filter(|node| *node != leader).take(2) {
        let bodies = (2..2 + count).map(|decisions| (cluster.anchor(author, decisions).body.clone(), None)).collect();
        let entries = sign_batch(bodies, &testing::node_key(author));
        let submissions = cluster.replica(author).submit_batch(entries).expect("the state takes them in this order");
        last.push((author, submissions.last().expect("many").id));
    }
    for (author, id) in last {
        cluster.replica(author).wait_final(id).await.expect("not refused");
    }
    assert!(!accusations.were_heard());
}
