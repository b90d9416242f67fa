use std::path::Path;

use openraft::{CommittedLeaderId, EntryPayload};

use super::*;
use crate::{
    block::{FinalBlock, View},
    execute::propose,
    finality::Final,
    shell::{
        log_store::Link,
        raft::{RaftEntry, RaftLogId, first_entry},
    },
    testing::{CREATED_MS, Chain, certify_as, consortium, evidence::anchor, signer},
};

const BLOCKS: u64 = 3;

/// The files of a node on which the blocks after `finalized` are final by a later one's certificate, which it has not yet.
fn files(folder: &Path, finalized: u64) -> (FinalStore, LogStore) {
    let consortium = consortium(4);
    let (store, tip) = FinalStore::open(folder.join("final"), &consortium).expect("our own disk");
    let log = LogStore::open(folder.join("log")).expect("our own disk");
    let blank = RaftLogId::new(CommittedLeaderId::new(1, 0), 1);
    log.append_first(first_entry(&consortium)).expect("our own disk");
    log.append_proven(vec![RaftEntry { log_id: blank, payload: EntryPayload::Blank }]).expect("our own disk");
    let mut chain = Chain::new(consortium.clone());
    let mut before = tip.executed;
    for number in 1..=BLOCKS {
        let after = log.last().map(|link: Link| link.chain).expect("not empty");
        let place = crate::execute::Place { after, ..chain.place(View { term: 1, number }) };
        let now = wallet::units::Timestamp::new(CREATED_MS + 100 * number);
        let proposal = propose(&consortium, place, &signer(0), now, vec![anchor(&consortium, number)]);
        let (block, executed) = (proposal.block, proposal.executed);
        let kind = if number <= finalized { VoteKind::Finalize } else { VoteKind::Notarize };
        let certificate = certify_as(kind, &block, [1, 2, 3]);
        let log_id = place_of(&block, number + 1).log_id;
        log.append_proven(vec![RaftEntry { log_id, payload: EntryPayload::Normal(block.clone().into()) }])
            .expect("our own disk");
        chain.tip = executed.clone();
        chain.blocks.push((block.clone(), certificate.clone()));
        let finalized = Final { certificate, carriers: Vec::new(), block, executed, log_index: log_id.index };
        store.commit(&finalized, &before, log_id).expect("our own disk");
        before = finalized.executed;
    }
    (store, log)
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
    let mut reader = crate::archive::ArchiveReader::open(&archive[..], &consortium.id()).expect("an archive");
    let restored = crate::shell::restore::restore(&mut reader, folder.path().join("ledger"), &[], |_| {});
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
