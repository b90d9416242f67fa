//! Two of four nodes are lost for good, and two go on.

use std::{fs, path::Path, sync::Arc};

use wallet::{digest::Digest, units::NodeId};

use super::{
    backup::archive,
    cluster::{Cluster, until},
    resumption::no_evidence,
    watch_commits,
};
use crate::{
    archive::ArchiveReader,
    block::View,
    certificate::Certificate,
    execute::Executed,
    finality::VoteRecord,
    governance::Member,
    hand_over::re_geneses,
    re_genesis::{ReGenesisFile, ReGenesisInvalid},
    refusal::Refusal,
    shell::{
        backup::Backup,
        cause::Cause,
        clock::{Clock as _, SystemClock},
        fault::Fault,
        files::Files,
        final_store::FinalStore,
        lineage::Lineage,
        log_store::LogStore,
        metrics::Custody,
        re_genesis::{Order, ReGenesisFault, Record, apply, check, draft},
        restore::{RestoreFault, restore},
        vote_record::{VoteFile, Votes},
    },
    state::{self, LineageRecord, StateKey},
    state_proof,
    testing::{operator_id, operator_key, signer},
    vote::{Vote, VoteKind},
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

/// As a node takes it whose operator says that of its vote record.
fn applied_with(
    cluster: &Cluster,
    node: u32,
    file: &ReGenesisFile,
    record: Record,
) -> Result<Executed, ReGenesisFault> {
    let me = move |_: &Executed| Some(NodeId::new(node));
    apply(cluster.dir(node), &cluster.consortium, me, file, (file.digest(), record, SystemClock.now()))
}

fn applied(cluster: &Cluster, node: u32, file: &ReGenesisFile) -> Result<Executed, ReGenesisFault> {
    applied_with(cluster, node, file, Record::Kept)
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

/// The archive of a stopped node, as `ledger backup` writes it.
fn archive_of_stopped(cluster: &Cluster, node: u32) -> Vec<u8> {
    let backup = Backup::of_stopped(cluster.dir(node), cluster.consortium.clone()).expect("a good disk");
    backup.collect::<Result<Vec<_>, Fault>>().expect("a good disk").concat()
}

/// What the last final block of a stopped node proves, to who was told of each re-genesis.
fn state_proof_of_stopped(cluster: &Cluster, node: u32, key: StateKey) -> state_proof::Report {
    let (store, tip) = FinalStore::open(cluster.dir(node).join("final"), &cluster.consortium).expect("a good disk");
    let view = store.view(Arc::new(tip.executed)).expect("reads");
    let file = state_proof::build(&cluster.consortium, &view, key).expect("provable");
    let named = re_geneses(&file.hand_overs);
    state_proof::verify(&file.to_bytes(), &cluster.consortium.id(), &named, None).expect("proven")
}

/// What a stopped or running node has on its disk.
fn votes_of(cluster: &Cluster, node: u32) -> Votes {
    VoteFile::new(cluster.dir(node)).load().expect("reads").expect("it has one")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_start_again_before_the_first_block_of_a_lineage_still_vote_in_it() {
    let cluster = Cluster::start(6).await;
    cluster.finalize(0, 1).await;
    cluster.settle().await;
    for node in 0..6 {
        cluster.close(node).await;
    }
    let file = signed(drafted(&cluster, 0, lost(&[4, 5])).expect("a draft"), &[0, 1, 2, 3]);
    for node in 0..4 {
        applied(&cluster, node, &file).expect("it follows");
        assert_eq!(votes_of(&cluster, node).begun, Some(file.digest()));
    }
    let proof = state_proof_of_stopped(&cluster, 1, StateKey::Lineage);
    assert!(matches!(proof.record, Some(state::Record::Lineage(LineageRecord { lineage: 2, .. }))));
    assert_eq!(proof.attested.height, file.header().height, "under the re-genesis itself");
    // As after a start in which two of them signed something, and no block was final.
    for node in [0, 1] {
        let mut votes = votes_of(&cluster, node);
        votes.record.raise_floor(View { term: 1, number: 1 });
        assert_ne!(votes.record, VoteRecord::default());
        VoteFile::new(cluster.dir(node)).save(&votes).expect("a good disk");
    }
    for node in 0..4 {
        cluster.open(node).await.expect("opens");
    }
    cluster.finalize(0, 100).await;
    for node in 0..4 {
        assert_eq!(votes_of(&cluster, node).silent, None, "node {node} has fallen silent");
    }
    no_evidence(&cluster, 4);
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
        let lineage = Lineage { number: 2, re_genesis: file.digest() };
        until("it says what the others began", || replica.metrics().left_for == Some(lineage)).await;
        assert!(replica.metrics().causes().contains(&Cause::LineageLeft));
        let asks = matches!(replica.metrics().custody, Custody::Asking(answered) if !answered.contains(&NodeId::ZERO));
        assert!(asks, "whoever began anew does not know what this node signed before");
    }
    until("they know where the others are", || cluster.replica(0).metrics().peer_lineages.len() == 3).await;
    assert_eq!(cluster.replica(0).metrics().left_for, None, "who stays behind is no reason to wait");
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
    let now = SystemClock.now();
    let told = (Digest([7; 32]), Record::Kept, now);
    let other = apply(cluster.dir(1), &cluster.consortium, |_| Some(NodeId::new(1)), &file, told);
    assert!(matches!(other, Err(ReGenesisFault::Invalid(ReGenesisInvalid::NotNamed { .. }))));
    let told = (file.digest(), Record::Kept, now);
    let stranger = apply(cluster.dir(1), &cluster.consortium, |_| None, &file, told);
    let early = wallet::units::Timestamp::new(file.header().time.get() - 60_000);
    let ahead = check(cluster.dir(1), &cluster.consortium, &file, early);
    assert!(matches!(ahead, Err(ReGenesisFault::TimeAhead { .. })));
    check(cluster.dir(1), &cluster.consortium, &file, now).expect("it follows");
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
        let untold = applied(&cluster, node, &file);
        assert!(matches!(untold, Err(ReGenesisFault::NoRecord)), "nothing says that it did not vote after it before");
        applied_with(&cluster, node, &file, Record::NeverVoted).expect("it follows");
    }
    for node in 0..4 {
        cluster.open(node).await.expect("opens");
    }
    cluster.finalize(3, 60).await;
    cluster.settle().await;
    until("all vote", || cluster.running().iter().all(|replica| replica.metrics().votes)).await;
    no_evidence(&cluster, 4);
}

/// Copies the files of a stopped node.
fn copied(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("our own folder");
    for entry in fs::read_dir(from).expect("it is there") {
        let path = entry.expect("it is there").path();
        let place = to.join(path.file_name().expect("a name"));
        if path.is_dir() { copied(&path, &place) } else { _ = fs::copy(&path, place).expect("our own folder") }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_re_genesis_that_was_cut_short_starts_no_node_and_is_done_again() {
    let cluster = halted(3).await;
    let file = signed(drafted(&cluster, 0, lost(&[2, 3])).expect("a draft"), &[0, 1]);
    let folder = tempfile::tempdir().expect("tempdir");
    let [before, after] = ["before", "after"].map(|name| folder.path().join(name));
    copied(cluster.dir(0), &before);
    let told = (file.digest(), Record::Kept, SystemClock.now());
    let me = |_: &Executed| Some(NodeId::ZERO);
    let done = apply(cluster.dir(0), &cluster.consortium, me, &file, told).expect("it follows");
    copied(cluster.dir(0), &after);
    // Killed after the first write, and after the second.
    for (number, written) in [vec!["log"], vec!["log", "votes"]].into_iter().enumerate() {
        let place = folder.path().join(number.to_string());
        copied(&before, &place);
        for name in written {
            match after.join(name).is_dir() {
                true => {
                    fs::remove_dir_all(place.join(name)).expect("our own folder");
                    copied(&after.join(name), &place.join(name));
                }
                false => _ = fs::copy(after.join(name), place.join(name)).expect("our own folder"),
            }
        }
        assert!(Files::open(&place.as_path().into(), &cluster.consortium, NodeId::ZERO).is_err(), "write {number}");
        let again = apply(&place, &cluster.consortium, me, &file, told).expect("it is done again");
        assert_eq!(again.digest, done.digest);
        let files = Files::open(&place.as_path().into(), &cluster.consortium, NodeId::ZERO).expect("it starts");
        assert!(files.may_vote, "its record in the new name is whole");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_written_where_the_vote_record_cannot_be_read() {
    let cluster = halted(3).await;
    let file = signed(drafted(&cluster, 0, lost(&[2, 3])).expect("a draft"), &[0, 1]);
    let record = cluster.dir(1).join("votes");
    let good = fs::read(&record).expect("it had voted");
    fs::write(&record, &good[..good.len() - 1]).expect("our own folder");
    let ends = || LogStore::open(cluster.dir(1).join("log")).expect("a good disk").last();
    let end = ends();
    for record in [Record::Kept, Record::NeverVoted] {
        let refused = applied_with(&cluster, 1, &file, record);
        assert!(matches!(refused, Err(ReGenesisFault::Record(_))), "{refused:?}");
        assert_eq!(ends(), end, "the log is as it was");
    }
    fs::write(&record, good).expect("our own folder");
    applied(&cluster, 1, &file).expect("it follows");
    assert_ne!(ends(), end);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_certificate_above_the_last_final_block_makes_final_is_not_dropped() {
    let cluster = halted(3).await;
    let file = signed(drafted(&cluster, 1, lost(&[2, 3])).expect("a draft"), &[0, 1]);
    let votes = VoteFile::new(cluster.dir(0));
    let known = votes.load().expect("a good disk").expect("it had voted");
    let last = file.last();
    let (kind, height) = (VoteKind::Finalize, last.height.next().expect("few blocks"));
    let view = last.view.next().expect("few views");
    let unsigned = Certificate { kind, view, height, block: Digest([5; 32]), signatures: Vec::new() };
    let ballot = unsigned.ballot(&cluster.consortium.id());
    let signatures = (0..3).map(|node| (NodeId::new(node), Vote::sign(ballot, &signer(node)).signature)).collect();
    let certificate = Certificate { signatures, ..unsigned };
    votes.save(&Votes { best: Some(certificate.clone()), ..known.clone() }).expect("a good disk");
    for refused in [drafted(&cluster, 0, lost(&[2, 3])).map(drop), applied(&cluster, 0, &file).map(drop)] {
        assert!(matches!(refused, Err(ReGenesisFault::NotCompleted { height: at }) if at == height), "{refused:?}");
    }
    // Too few signed this one.
    let short = Certificate { signatures: certificate.signatures[..2].to_vec(), ..certificate };
    votes.save(&Votes { best: Some(short), ..known }).expect("a good disk");
    applied(&cluster, 0, &file).expect("it follows");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_restored_the_next_lineage_votes_once_its_operator_says_that_it_never_did() {
    let cluster = halted(3).await;
    let file = signed(drafted(&cluster, 0, lost(&[2, 3])).expect("a draft"), &[0, 1]);
    for node in [0, 1] {
        applied(&cluster, node, &file).expect("it follows");
    }
    // The disk of one of them is lost before it ever started.
    let whole = archive_of_stopped(&cluster, 0);
    fs::remove_dir_all(cluster.dir(1)).expect("our own folder");
    let mut reader = ArchiveReader::open(whole.as_slice(), &cluster.consortium.id()).expect("an archive");
    restore(&mut reader, cluster.dir(1), &[file.digest()], |_| {}).expect("it follows");
    assert!(matches!(applied(&cluster, 1, &file), Err(ReGenesisFault::NoRecord)));
    applied_with(&cluster, 1, &file, Record::NeverVoted).expect("its operator's word");
    for node in [0, 1] {
        cluster.open(node).await.expect("opens");
    }
    cluster.finalize(0, 100).await;
    no_evidence(&cluster, 4);
}
