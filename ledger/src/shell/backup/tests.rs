use std::path::Path;

use openraft::{CommittedLeaderId, EntryPayload};
use wallet::units::KeyEpoch;

use super::*;
use crate::{
    archive::ArchiveReader,
    block::{FinalBlock, View},
    bundle::{self, Grounds},
    event::Entry,
    execute::propose,
    finality::Final,
    shell::{
        log_store::Link,
        raft::{RaftEntry, RaftLogId, first_entry},
        restore::restore,
    },
    testing::{CREATED_MS, Chain, Session, certify_as, consortium, decision, evidence::anchor, signer},
};

const BLOCKS: u64 = 3;

/// The files of a node that makes blocks alone.
struct Files {
    chain: Chain,
    store: FinalStore,
    log: LogStore,
}

impl Files {
    fn begin(folder: &Path) -> Self {
        let consortium = consortium(4);
        let (store, _) = FinalStore::open(folder.join("final"), &consortium).expect("our own disk");
        let log = LogStore::open(folder.join("log")).expect("our own disk");
        let blank = RaftLogId::new(CommittedLeaderId::new(1, 0), 1);
        log.append_first(first_entry(&consortium)).expect("our own disk");
        log.append_proven(vec![RaftEntry { log_id: blank, payload: EntryPayload::Blank }]).expect("our own disk");
        Self { chain: Chain::new(consortium), store, log }
    }

    /// Adds a block with this entry, final by a certificate of that kind or by a later one.
    fn add(&mut self, entry: Entry, kind: VoteKind) {
        let Self { chain, store, log } = self;
        let number = chain.blocks.len() as u64 + 1;
        let after = log.last().map(|link: Link| link.chain).expect("not empty");
        let place = crate::execute::Place { after, ..chain.place(View { term: 1, number }) };
        let now = wallet::units::Timestamp::new(CREATED_MS + 100 * number);
        let proposal = propose(&chain.consortium, place, &signer(0), now, vec![entry]);
        assert!(proposal.refused.is_empty(), "{:?}", proposal.refused);
        let (block, executed) = (proposal.block, proposal.executed);
        let certificate = certify_as(kind, &block, [1, 2, 3]);
        let log_id = place_of(&block, number + 1).log_id;
        log.append_proven(vec![RaftEntry { log_id, payload: EntryPayload::Normal(block.clone().into()) }])
            .expect("our own disk");
        let before = std::mem::replace(&mut chain.tip, executed.clone());
        chain.blocks.push((block.clone(), certificate.clone()));
        let finalized = Final { certificate, carriers: Vec::new(), block, executed, log_index: log_id.index };
        store.commit(&finalized, &before, log_id).expect("our own disk");
    }
}

/// The files of a node on which the blocks after `finalized` are final by a later one's certificate, which it has not yet.
fn files(folder: &Path, finalized: u64) -> (FinalStore, LogStore) {
    let mut files = Files::begin(folder);
    for number in 1..=BLOCKS {
        let kind = if number <= finalized { VoteKind::Finalize } else { VoteKind::Notarize };
        let anchor = anchor(&files.chain.consortium, number);
        files.add(anchor, kind);
    }
    (files.store, files.log)
}

/// A node alone, or all that burn at once: nobody else keeps why sessions moved.
#[test]
fn what_was_decided_is_in_an_archive_and_a_node_that_is_restored_from_it_makes_bundles() {
    let folder = tempfile::tempdir().expect("tempdir");
    let mut files = Files::begin(folder.path());
    let consortium = files.chain.consortium.clone();
    let (session, other) = (Session::in_eu(&consortium, 0), Session::in_eu(&consortium, 2));
    let decided = Grounds { decision: decision(0, Digest::ZERO), later: Vec::new() };
    for session in [&session, &other] {
        files.add(session.created(), VoteKind::Finalize);
        let wallet = session.record(&files.chain);
        files.add(session.offered(&wallet, session.offer(&wallet, 1, 50)), VoteKind::Finalize);
        files.add(session.accepted(&session.record(&files.chain), 1), VoteKind::Finalize);
        let wallet = session.record(&files.chain);
        files.add(session.confirmed(&wallet, session.ticket(&wallet)), VoteKind::Finalize);
    }
    files.add(session.anchored(0, 1, decided.hash()), VoteKind::Finalize);
    let (by, stranger) = (NodeId::ZERO, Grounds { decision: decision(1, decided.hash()), later: Vec::new() });
    // The second is not anchored, and the last is named by nobody.
    let kept = [(by, decided.clone()), (NodeId::new(2), decided.clone()), (by, stranger)];
    files.store.keep_grounds(&kept, files.chain.tip.height).expect("our own disk");
    drop(files);

    let backup = Backup::of_stopped(folder.path(), consortium.clone()).expect("our own disk");
    let archive = backup.collect::<Result<Vec<_>, Fault>>().expect("our own disk").concat();
    let mut reader = ArchiveReader::open(&archive[..], &consortium.id()).expect("an archive");
    while reader.next_block().expect("whole").is_some() {}
    assert_eq!(reader.next_grounds().expect("whole").as_ref(), Some(&kept[0]));
    assert_eq!(reader.next_grounds().expect("whole").as_ref(), Some(&kept[1]));
    assert_eq!(reader.next_grounds().expect("whole"), None);

    let mut reader = ArchiveReader::open(&archive[..], &consortium.id()).expect("an archive");
    let restored = restore(&mut reader, folder.path().join("ledger"), &[], |_| {}).expect("a good archive");
    assert_eq!((restored.decisions, restored.decisions_named), (1, 2));
    let (store, tip) = FinalStore::open(folder.path().join("ledger").join("final"), &consortium).expect("opens");
    assert_eq!(store.grounds(NodeId::new(2), decided.hash()).expect("reads"), None, "its node may not stand by it");
    assert_eq!(
        store.grounds_collected().expect("reads"),
        BlockHeight::ZERO,
        "the others are asked for what is missing"
    );
    let found = store.grounds(by, decided.hash()).expect("reads").expect("it came with the archive");
    let view = store.view(Arc::new(tip.executed)).expect("reads");
    let made = bundle::build(&consortium, &view, session.address, KeyEpoch::new(1), &found, None).expect("provable");
    let proven = bundle::verify(&made.to_bytes(), &consortium.id(), &[], None).expect("a good bundle");
    assert_eq!(proven.moved.decision, decided.decision);
}

#[test]
fn an_archive_ends_with_a_block_that_its_own_certificate_made_final() {
    for finalized in 0..=BLOCKS {
        let folder = tempfile::tempdir().expect("tempdir");
        let (store, log) = files(folder.path(), finalized);
        let raft_index = if finalized == 0 { 0 } else { finalized + 1 };
        let expected = End { height: BlockHeight::new(finalized), raft_index };
        assert_eq!(end_of(&store, &log).expect("our own disk"), expected);
    }
}

#[test]
fn the_archive_of_a_node_that_stopped_between_two_final_blocks_can_be_restored() {
    let folder = tempfile::tempdir().expect("tempdir");
    let running = files(folder.path(), 2);
    let consortium = consortium(4);
    let refused = Backup::of_stopped(folder.path(), consortium.clone()).map(|backup| backup.blocks());
    assert!(matches!(refused, Err(Fault::Rocks { .. })), "the node runs: {refused:?}");
    drop(running);
    let backup = Backup::of_stopped(folder.path(), consortium.clone()).expect("our own disk");
    assert_eq!((backup.blocks(), backup.final_height().expect("our own disk").get()), (2, BLOCKS));
    let archive = backup.collect::<Result<Vec<_>, Fault>>().expect("our own disk").concat();
    let mut reader = ArchiveReader::open(&archive[..], &consortium.id()).expect("an archive");
    let restored = restore(&mut reader, folder.path().join("ledger"), &[], |_| {});
    let restored = restored.expect("a good archive");
    assert_eq!((restored.executed.height.get(), restored.raft_index, restored.is_place_proven), (2, 3, true));
}

#[test]
fn where_no_ledger_is_there_is_none_to_back_up_and_none_is_made() {
    let folder = tempfile::tempdir().expect("tempdir");
    let refused = Backup::of_stopped(folder.path(), consortium(4)).map(|backup| backup.blocks());
    assert!(matches!(refused, Err(Fault::Missing { store: "final", .. })), "{refused:?}");
    assert!(folder.path().read_dir().expect("our own folder").next().is_none());
}

#[test]
fn an_empty_folder_is_no_store_and_none_is_made_in_it() {
    for empty in ["final", "log"] {
        let folder = tempfile::tempdir().expect("tempdir");
        drop(files(folder.path(), BLOCKS));
        let path = folder.path().join(empty);
        std::fs::remove_dir_all(&path).and_then(|()| std::fs::create_dir(&path)).expect("our own folder");
        let refused = Backup::of_stopped(folder.path(), consortium(4)).map(|backup| backup.blocks());
        assert!(matches!(&refused, Err(Fault::Missing { store, .. }) if *store == empty), "{refused:?}");
        assert!(path.read_dir().expect("our own folder").next().is_none());
    }
}

#[test]
fn the_log_of_a_restored_node_gives_the_place_of_the_block_after_which_it_begins() {
    let folder = tempfile::tempdir().expect("tempdir");
    let (store, _) = files(folder.path(), 1);
    let first = store.block(BlockHeight::new(1)).expect("reads").expect("final");
    let second = store.block(BlockHeight::new(2)).expect("reads").expect("final");
    let FinalBlock { block, .. } = first;
    let log = LogStore::open(folder.path().join("begins-after")).expect("our own disk");
    log.begin_after(place_of(&block, 2)).expect("our own disk");
    let log_id = place_of(&second.block, 3).log_id;
    log.append_proven(vec![RaftEntry { log_id, payload: EntryPayload::Normal(second.block.clone().into()) }])
        .expect("our own disk");
    assert_eq!(index_of(&log, &second.block, 4).expect("it holds it"), 3);
    assert_eq!(index_of(&log, &block, 3).expect("it begins after it"), 2);
    assert!(index_of(&log, &block, 2).is_err());
}
