//! A vote record that is lost, older than the last one, or used twice.

use std::{fs, path::Path};

use wallet::units::NodeId;

use super::cluster::{Cluster, until};
use crate::{evidence::EvidenceFile, shell::vote_record::VoteFile};

/// The record of a node that does not run.
fn record(dir: &Path) -> crate::shell::vote_record::Votes {
    VoteFile::new(dir).load().expect("reads").expect("there is one")
}

/// Makes entries final until `node` votes again, and says that it does.
pub async fn until_it_votes(cluster: &Cluster, node: u32, author: u32) {
    let replica = cluster.replica(node);
    for decisions in 100..200 {
        cluster.finalize(author, decisions).await;
        if replica.metrics().votes {
            return;
        }
    }
    panic!("silent for a hundred blocks: {:#?}", replica.metrics());
}

pub fn no_evidence(cluster: &Cluster, nodes: u32) {
    for node in 0..nodes {
        let Ok(files) = fs::read_dir(cluster.dir(node).join("evidence")) else { continue };
        let verdict = |path: &Path| {
            let file = EvidenceFile::from_bytes(&fs::read(path).expect("readable"));
            file.map(|file| file.verify(&cluster.consortium.id(), &[]))
        };
        let paths: Vec<_> = files.map(|file| file.expect("readable").path()).collect();
        let found: Vec<_> = paths.iter().map(|path| (path, verdict(path))).collect();
        assert!(found.is_empty(), "node {node} holds {found:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_its_vote_record_is_silent_until_its_resumption_is_final() {
    let cluster = Cluster::start(4).await;
    cluster.finalize(0, 1).await;
    cluster.close(2).await;
    fs::remove_file(cluster.dir(2).join("votes")).expect("it was there");
    cluster.board.isolate(NodeId::new(2));
    let replica = cluster.open(2).await.expect("opens");
    assert!(!replica.metrics().votes);
    assert_eq!(replica.state().state.resumption(replica.shared.me), None);
    cluster.board.heal();
    until_it_votes(&cluster, 2, 1).await;
    let resumed = replica.state().state.resumption(replica.shared.me).expect("on the ledger");
    cluster.settle().await;
    no_evidence(&cluster, 4);
    drop(replica);
    // It votes for nothing in the term in which it resumed, and a restart does not forget that.
    cluster.close(2).await;
    let votes = record(cluster.dir(2));
    assert_eq!((votes.silent, votes.drawn.last().copied()), (None, Some(resumed.nonce)));
    let header = cluster.replica(0).store().header(resumed.height).expect("reads").expect("final");
    assert!(!votes.record.may_lead(header.view.term) && votes.record.may_lead(header.view.term + 1));
    assert_eq!(votes.record.votes().filter(|(view, ..)| view.term <= header.view.term).count(), 0);
    let replica = cluster.open(2).await.expect("opens");
    until("the peers have answered", || replica.metrics().votes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_an_older_vote_record_finds_out_and_resumes() {
    let cluster = Cluster::start(4).await;
    cluster.finalize(0, 1).await;
    cluster.close(2).await;
    let (older, was) = (fs::read(cluster.dir(2).join("votes")).expect("the file"), record(cluster.dir(2)).record);
    let reopened = cluster.open(2).await.expect("opens");
    // Before the others have answered it signs nothing, and blocks become final without it.
    until("the peers have answered", || reopened.metrics().votes).await;
    let (me, consortium) = (reopened.shared.me, &cluster.consortium);
    drop(reopened);
    // A certificate holds the first three of four votes, perhaps not this node's; the others remember its last one.
    let key = cluster.consortium.nodes()[2].key;
    let holds_more = async |node| {
        let held = cluster.replica(node).shared.statements_of(me).await.expect("answers");
        held.are_beyond(&was, me, &key, &consortium.id())
    };
    let mut decisions = 2;
    while !(holds_more(0).await && holds_more(1).await && holds_more(3).await) {
        assert!(decisions < 200, "the others hold nothing new of it");
        cluster.finalize(0, decisions).await;
        decisions += 1;
    }
    cluster.close(2).await;
    fs::write(cluster.dir(2).join("votes"), older).expect("writes");
    let replica = cluster.open(2).await.expect("opens");
    until("it is silent or has asked", || replica.metrics().votes || replica.metrics().entries_open > 0).await;
    assert!(!replica.metrics().votes, "a peer showed what it had signed");
    until_it_votes(&cluster, 2, 1).await;
    assert!(replica.state().state.resumption(replica.shared.me).is_some());
    no_evidence(&cluster, 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_on_a_new_folder_whose_key_has_voted_resumes_first() {
    let cluster = Cluster::start(4).await;
    let mut decisions = 1;
    loop {
        cluster.finalize(0, decisions).await;
        decisions += 1;
        let tip = cluster.replica(0).state().height;
        let certificate = cluster.replica(0).store().certificate(tip).expect("reads").expect("final");
        if certificate.signatures.iter().any(|(node, _)| node.get() == 2) {
            break;
        }
    }
    cluster.close(2).await;
    for file in fs::read_dir(cluster.dir(2)).expect("the folder") {
        let path = file.expect("readable").path();
        if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.expect("our own folder");
    }
    let replica = cluster.open(2).await.expect("opens");
    until("it has asked", || replica.metrics().votes || replica.metrics().entries_open > 0).await;
    assert!(!replica.metrics().votes);
    until_it_votes(&cluster, 2, 1).await;
    no_evidence(&cluster, 4);
}

/// Copies a folder that nobody uses.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("our own folder");
    for file in fs::read_dir(from).expect("the folder") {
        let (path, target) = file.map(|file| (file.path(), to.join(file.file_name()))).expect("readable");
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(path, target).expect("copies");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_processes_on_copies_of_one_folder_one_stays_silent() {
    let cluster = Cluster::start(4).await;
    cluster.finalize(0, 1).await;
    cluster.close(2).await;
    let folder = tempfile::tempdir().expect("tempdir");
    copy(cluster.dir(2), folder.path());
    let first = cluster.open(2).await.expect("opens");
    let second = cluster.open_beside(2, folder.path()).await.expect("opens");
    until("both begin", || first.metrics().votes && (second.metrics().votes || second.metrics().entries_open > 0))
        .await;
    // The others show the second what the first signed. It resumes, and its entry tells the first.
    let mut decisions = 2;
    while first.metrics().votes || second.metrics().votes {
        assert!(decisions < 2_000, "not noticed: {:#?} {:#?}", first.metrics(), second.metrics());
        cluster.finalize(0, decisions).await;
        decisions += 1;
    }
    let resumed = || first.state().state.resumption(first.shared.me).map(|resumed| resumed.nonce);
    // It yields as soon as the entry is in its log.
    until("the resumption is final", || resumed().is_some()).await;
    let is_its_own = resumed().is_some_and(|nonce| record(cluster.dir(2)).drawn.contains(&nonce));
    assert!(!is_its_own, "the second process resumed");
    // What is sent to the node now reaches the second: it sees that it has resumed.
    cluster.redirect(&second);
    while !second.metrics().votes {
        assert!(decisions < 4_000, "still silent: {:#?}", second.metrics());
        cluster.finalize(0, decisions).await;
        decisions += 1;
    }
    cluster.settle().await;
    assert!(!first.metrics().votes, "it yielded until it is started again");
    first.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_cannot_ask_a_quorum_says_nothing() {
    let cluster = Cluster::start(4).await;
    cluster.finalize(0, 1).await;
    for node in 0..4 {
        cluster.close(node).await;
    }
    let first = cluster.open(0).await.expect("opens");
    let second = cluster.open(1).await.expect("opens");
    tokio::time::sleep(std::time::Duration::from_millis(600)).await;
    assert!(!first.metrics().votes && !second.metrics().votes, "one of two others has answered");
    cluster.open(2).await.expect("opens");
    until("all three vote", || cluster.running().iter().all(|replica| replica.metrics().votes)).await;
    cluster.finalize(1, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consortium_of_one_takes_its_own_word() {
    let cluster = Cluster::start(1).await;
    cluster.finalize(0, 1).await;
    cluster.close(0).await;
    assert!(cluster.open(0).await.expect("opens").metrics().votes);
    cluster.close(0).await;
    fs::remove_file(cluster.dir(0).join("votes")).expect("it was there");
    assert!(!cluster.open(0).await.expect("opens").metrics().votes, "nobody else can say what it signed");
}
