use std::{fs, io::ErrorKind, path::Path};

use genesis::Consortium;

use super::*;
use crate::{
    archive::{self, End},
    block::{FinalBlock, View},
    testing::{Chain, Session, certify, consortium},
};

/// A leader's own entry with which it began `term`, and the hash of the log with it.
fn began(before: Digest, block: &Block, index: u64) -> Digest {
    let leader = CommittedLeaderId::new(block.header.view.term, raft_id(block.header.leader));
    chain_hash(before, &RaftEntry { log_id: RaftLogId::new(leader, index), payload: EntryPayload::Blank })
}

/// Blocks in the views `views`. Where each one names the log before it is for the test to say.
fn blocks<const N: usize>(views: [View; N]) -> [Block; N] {
    let consortium = consortium(4);
    let session = Session::in_eu(&consortium, 0);
    let mut block = Chain::new(consortium).propose(vec![session.created()]).block;
    views.map(|view| {
        block.header.view = view;
        block.header.height = block.header.height.next().expect("few");
        block.clone()
    })
}

fn view(term: u64, number: u64) -> View {
    View { term, number }
}

/// What each index that could be said is found to be: proven, unknown, or wrong.
fn verdicts(parent: Option<&Block>, block: &Block, indexes: &[u64]) -> Vec<Option<bool>> {
    let consortium = consortium(4);
    indexes.iter().map(|index| proves_place(&consortium, parent, block, *index).ok()).collect()
}

#[test]
fn the_place_of_a_block_that_follows_its_parent_is_proven_and_every_other_one_is_wrong() {
    let [parent, mut block] = blocks([view(1, 1), view(1, 2)]);
    block.header.after = place_of(&parent, 6).chain;
    assert_eq!(verdicts(Some(&parent), &block, &[0, 3, 6, 7, 8, u64::MAX]), [None, None, None, Some(true), None, None]);
}

#[test]
fn the_place_of_the_first_block_of_a_term_is_proven_by_the_entry_with_which_the_term_began() {
    let [parent, mut block] = blocks([view(1, 1), view(2, 1)]);
    block.header.after = began(place_of(&parent, 6).chain, &block, 7);
    // Others may have led terms between, of which no block became final.
    assert_eq!(
        verdicts(Some(&parent), &block, &[7, 8, 9, RAFT_INDEX_MAX + 1]),
        [Some(false), Some(true), Some(false), None]
    );
    let genesis = chain_hash(Digest::ZERO, &first_entry(&consortium(4)));
    let [mut first] = blocks([view(1, 1)]);
    first.header.height = BlockHeight::new(1);
    first.header.after = began(genesis, &first, 1);
    assert_eq!(verdicts(None, &first, &[1, 2, 3]), [None, Some(true), Some(false)]);
}

#[test]
fn where_a_block_that_never_became_final_may_stand_between_the_place_is_not_known() {
    let [parent, mut block] = blocks([view(1, 1), view(1, 3)]);
    block.header.after = Digest([9; 32]);
    assert_eq!(verdicts(Some(&parent), &block, &[7, 8, 0]), [Some(false), Some(false), None]);
}

/// An archive of one block, as of a chain that begins with it.
fn sample() -> (Vec<u8>, std::sync::Arc<Consortium>) {
    let consortium = consortium(4);
    let session = Session::in_eu(&consortium, 0);
    let block = Chain::new(consortium.clone()).propose(vec![session.created()]).block;
    let certificate = certify(&block, [1, 2, 3]);
    let block = FinalBlock { block, certificate, carriers: Vec::new() };
    let end = End { height: BlockHeight::new(1), raft_index: 2 };
    ([archive::head(&consortium), archive::block(block), archive::end(end)].concat(), consortium)
}

fn restored(archive: &[u8], consortium: &Consortium, folder: &Path) -> Result<u64, RestoreFault> {
    let mut reader = ArchiveReader::open(archive, &consortium.id())?;
    restore(&mut reader, folder, &[], |_| {}).map(|restored| restored.executed.height.get())
}

#[test]
fn an_archive_without_a_block_restores_nothing() {
    let consortium = consortium(4);
    let end = archive::end(End { height: BlockHeight::ZERO, raft_index: 0 });
    let parent = tempfile::tempdir().expect("tempdir");
    let found = restored(&[archive::head(&consortium), end].concat(), &consortium, &parent.path().join("ledger"));
    assert!(matches!(found, Err(RestoreFault::Empty)), "{found:?}");
    assert_eq!(fs::read_dir(parent.path()).expect("readable").count(), 0);
}

#[test]
fn a_restore_goes_through_where_one_before_ended_in_the_midst() {
    let (archive, consortium) = sample();
    let parent = tempfile::tempdir().expect("tempdir");
    let (folder, left) = (parent.path().join("ledger"), parent.path().join("ledger.restoring"));
    fs::create_dir_all(left.join("final")).expect("our own folder");
    fs::write(left.join("final").join("CURRENT"), b"torn").expect("our own folder");
    assert_eq!(restored(&archive, &consortium, &folder).expect("a good archive"), 1);
    let found: Vec<_> = fs::read_dir(parent.path()).expect("readable").map(|file| file.expect("one").path()).collect();
    assert_eq!(found, [folder]);
}

#[test]
fn two_restores_at_once_do_not_write_into_one_folder() {
    let (archive, consortium) = sample();
    let parent = tempfile::tempdir().expect("tempdir");
    let folder = parent.path().join("ledger");
    let other = Unfinished::begin(&folder.as_path().into()).expect("nobody else");
    fs::write(other.folder().folder().join("of-the-other"), b"").expect("our own folder");
    let found = restored(&archive, &consortium, &folder);
    assert!(matches!(found, Err(RestoreFault::UnderWay { .. })), "{found:?}");
    assert!(other.folder().folder().join("of-the-other").exists() && !folder.exists());
    drop(other);
    assert_eq!(restored(&archive, &consortium, &folder).expect("the other has ended"), 1);
}

#[test]
fn a_restore_that_cannot_write_says_why() {
    let (archive, consortium) = sample();
    let parent = tempfile::tempdir().expect("tempdir");
    let file = parent.path().join("file");
    fs::write(&file, b"").expect("our own folder");
    let found = restored(&archive, &consortium, &file.join("node").join("ledger")).expect_err("no folder there");
    let RestoreFault::File { path, source } = found else { panic!("{found}") };
    assert_eq!((path, source.kind()), (file.join("node"), ErrorKind::NotADirectory));
    // What cannot be removed is not what is wrong.
    let mut torn = archive.clone();
    torn.pop();
    let unfinished = parent.path().join("ledger.restoring");
    let mut reader = ArchiveReader::open(&torn[..], &consortium.id()).expect("it begins well");
    let found = restore(&mut reader, parent.path().join("ledger"), &[], |_| {
        fs::remove_dir_all(&unfinished).expect("it is being filled");
    });
    assert!(matches!(found, Err(RestoreFault::Archive(ArchiveInvalid::Torn { .. }))), "{found:?}");
}
