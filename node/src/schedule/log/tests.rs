use std::fs;

use scheduler::{thresholds::Thresholds, tick::Scheduler};

use super::*;
use crate::schedule::samples;

/// Decisions as an operator's commands make them, and the log that holds them.
pub(super) fn logged(path: &Path, count: u32) -> (DecisionFile, Vec<Logged>) {
    let mut file = DecisionFile::open(path).expect("opens");
    let mut scheduler = Scheduler::new(Thresholds::default(), file.head());
    let made: Vec<Logged> = (0..count).map(|i| samples::command(&mut scheduler, i)).collect();
    made.iter().for_each(|logged| file.append(logged).expect("appends"));
    (file, made)
}

pub(super) fn path(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join("decisions")
}

#[test]
fn what_was_appended_is_there_after_a_restart() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (file, made) = logged(&path(&folder), 5);
    let again = DecisionFile::open(&path(&folder)).expect("opens");
    assert_eq!((again.head(), again.decisions(None, 9).expect("reads")), (file.head(), made.clone()));
    assert_eq!(again.decisions(None, 2).expect("reads"), made[3..]);
    let of_wallet = again.decisions(Some(made[1].decision.wallet), 9).expect("reads");
    assert_eq!(of_wallet, [made[1].clone(), made[3].clone()]);
    let verified = again.verify().expect("reads");
    assert_eq!((verified.verified, verified.decisions, verified.replayed), (true, 5, 5), "{verified:?}");
}

#[test]
fn pages_by_position_give_each_decision_once_and_stay_as_they_were() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (mut file, made) = logged(&path(&folder), 5);
    let wallet = made[1].decision.wallet;
    let page = |file: &DecisionFile, wallet, from| file.decisions_from(wallet, from, 2).expect("reads");
    assert_eq!([page(&file, None, 0), page(&file, None, 2), page(&file, None, 4)].concat(), made);
    assert_eq!(page(&file, Some(wallet), 0), [made[1].clone(), made[3].clone()]);
    assert_eq!(page(&file, Some(wallet), 2), made[3..4]);
    for beyond in [5, u64::MAX] {
        assert_eq!((page(&file, None, beyond), page(&file, Some(wallet), beyond)), (Vec::new(), Vec::new()));
    }
    let mut scheduler = Scheduler::new(Thresholds::default(), file.head());
    file.append(&samples::command(&mut scheduler, 5)).expect("appends");
    assert_eq!(page(&file, None, 0), made[..2]);
}

#[test]
fn a_segment_begins_with_the_decision_that_was_named_and_is_bounded() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (file, made) = logged(&path(&folder), 5);
    let encoded: Vec<_> = made.iter().map(|logged| logged.decision.encode()).collect();
    assert_eq!(file.from_hash(&made[2].hash, 9, 1 << 20).expect("reads"), encoded[2..]);
    assert_eq!(file.from_hash(&made[2].hash, 2, 1 << 20).expect("reads"), encoded[2..4]);
    assert_eq!(file.from_hash(&made[2].hash, 9, encoded[2].len()).expect("reads"), encoded[2..3]);
    assert_eq!(file.from_hash(&Digest::ZERO, 9, 1 << 20).expect("reads"), Vec::<Vec<u8>>::new());
}

#[test]
fn a_record_that_the_end_cuts_short_is_cut_off_and_the_log_goes_on() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (file, made) = logged(&path(&folder), 3);
    let whole = fs::read(path(&folder)).expect("readable");
    let second_ends = usize::try_from(file.records[2].at).expect("small");
    for end in second_ends + 1..whole.len() {
        fs::write(path(&folder), &whole[..end]).expect("our own file");
        let mut cut = DecisionFile::open(&path(&folder)).expect("the tail was never whole");
        assert_eq!(cut.head(), LogHead { length: 2, hash: made[1].hash }, "cut at {end}");
        cut.append(&made[2]).expect("appends");
        assert_eq!(fs::read(path(&folder)).expect("readable"), whole);
    }
}

#[test]
fn a_flipped_byte_anywhere_is_a_fault_at_the_start() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    logged(&path(&folder), 2);
    let whole = fs::read(path(&folder)).expect("readable");
    for at in 0..whole.len() {
        let mut bad = whole.clone();
        bad[at] ^= 0x20;
        fs::write(path(&folder), &bad).expect("our own file");
        let fault = DecisionFile::open(&path(&folder)).expect_err("damaged");
        assert_eq!(fault.code(), "N-421", "flipped at {at}");
    }
}

#[test]
fn a_byte_that_changes_under_a_running_node_is_not_served() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (file, made) = logged(&path(&folder), 2);
    let mut bad = fs::read(path(&folder)).expect("readable");
    bad[HEAD_BYTES + 40] ^= 1;
    fs::write(path(&folder), &bad).expect("our own file");
    assert_eq!(file.from_hash(&made[0].hash, 1, 1 << 20).expect_err("damaged").code(), "N-421");
    assert_eq!(file.verify().expect_err("damaged").code(), "N-421");
}

#[test]
fn a_log_that_lacks_what_was_anchored_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (file, made) = logged(&path(&folder), 2);
    file.check_anchor(LogHead::default()).expect("every log has an empty beginning");
    file.check_anchor(LogHead { length: 1, hash: made[0].hash }).expect("it was there");
    for anchor in [LogHead { length: 2, hash: made[0].hash }, LogHead { length: 3, hash: Digest([9; 32]) }] {
        assert_eq!(file.check_anchor(anchor).expect_err("not in the log").code(), "N-422");
    }
}
