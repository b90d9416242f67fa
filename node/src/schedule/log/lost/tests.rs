use scheduler::{decision::Logged, thresholds::Thresholds, tick::Scheduler};
use wallet::digest::Digest;

use super::{
    super::tests::{logged, path},
    *,
};
use crate::schedule::samples;

/// The end of a log with this decision.
fn end(logged: &Logged) -> LogHead {
    LogHead { length: logged.decision.seq + 1, hash: logged.hash }
}

/// A log of five decisions, each of whose records in `bad` has another byte in its body.
fn damaged(bad: &[usize]) -> (tempfile::TempDir, Vec<Logged>, Vec<u8>) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (log, made) = logged(&path(&folder), 5);
    let mut bytes = fs::read(path(&folder)).expect("readable");
    bad.iter().for_each(|bad| bytes[usize::try_from(log.records[*bad].at).expect("small") + HEAD_BYTES + 40] ^= 1);
    fs::write(path(&folder), &bytes).expect("our own file");
    (folder, made, bytes)
}

/// What follows `anchor` in the log that goes on after it.
fn found(folder: &tempfile::TempDir, anchor: LogHead) -> Vec<Logged> {
    let given_up = give_up(&path(folder), anchor).expect("our own folder").expect("it is lost");
    let log = DecisionFile::open(&path(folder)).expect("opens");
    log.check_anchor(anchor).expect("it begins there");
    let found = log.decisions(None, 9).expect("reads");
    assert_eq!((given_up.after, given_up.found), (anchor, found.len() as u64));
    found
}

#[test]
fn what_follows_the_anchor_undamaged_is_taken_over_from_the_lost_file() {
    for anchored in [4, 3, 2] {
        let (folder, made, _) = damaged(&[1]);
        assert_eq!(found(&folder, end(&made[anchored - 1])), made[anchored..]);
    }
    // What follows a gap has nothing before it.
    let (folder, made, _) = damaged(&[1, 3]);
    assert_eq!(found(&folder, end(&made[1])), made[2..3]);
    assert_eq!(found(&folder, end(&made[3])), made[4..], "a file that was moved aside earlier");
}

#[test]
fn a_beginning_that_moves_on_with_the_anchors_takes_over_what_follows_each() {
    let (folder, made, _) = damaged(&[0, 3]);
    assert_eq!(found(&folder, LogHead::default()), [], "the first one is damaged");
    let mut log = DecisionFile::open(&path(&folder)).expect("opens");
    log.settle(end(&made[0])).expect("it begins later");
    assert_eq!(log.decisions(None, 9).expect("reads"), made[1..3]);
}

#[test]
fn behind_a_record_without_length_the_next_one_is_found() {
    let (folder, made, mut bytes) = damaged(&[]);
    let second = HEAD_BYTES + made[0].decision.encode().len();
    bytes[second] ^= 1;
    fs::write(path(&folder), &bytes).expect("our own file");
    assert_eq!(found(&folder, end(&made[2])), made[3..]);
}

#[test]
fn a_word_that_was_interrupted_loses_nothing_when_it_is_said_again() {
    let (folder, made, _) = damaged(&[1]);
    move_aside(&path(&folder)).expect("our own folder");
    assert_eq!(found(&folder, end(&made[3])), made[4..]);
}

#[test]
fn a_log_that_was_given_up_goes_on_after_what_was_anchored_and_the_old_file_is_kept() {
    let (folder, made, old) = damaged(&[1, 4]);
    let anchor = end(&made[3]);
    let given_up = give_up(&path(&folder), anchor).expect("our own folder").expect("it is damaged");
    assert_eq!((given_up.after, given_up.found), (anchor, 0));
    assert!(fs::read(given_up.kept.expect("the old file")).expect("readable") == old, "it is the old file");

    let mut log = DecisionFile::open(&path(&folder)).expect("opens");
    assert_eq!(log.head(), anchor);
    log.settle(anchor).expect("it begins there");
    let mut scheduler = Scheduler::new(Thresholds::default(), log.head());
    let next: Vec<Logged> = (0..3).map(|i| samples::command(&mut scheduler, i)).collect();
    next.iter().for_each(|logged| log.append(logged).expect("appends"));

    let log = DecisionFile::open(&path(&folder)).expect("opens after a restart");
    assert_eq!((log.head(), log.decisions(None, 9).expect("reads")), (end(&next[2]), next.clone()));
    assert_eq!(log.decisions_from(None, 0, 2).expect("reads"), next[..2], "what is lost is left out");
    assert_eq!(log.decisions_from(None, 6, 2).expect("reads"), next[2..]);
    let of_wallet = log.decisions_from(Some(next[1].decision.wallet), 5, 9).expect("reads");
    assert_eq!(of_wallet, [next[1].clone()]);
    assert_eq!(
        log.from_hash(&next[1].hash, 9, 1 << 20).expect("reads"),
        [next[1].decision.encode(), next[2].decision.encode()]
    );
    let verified = log.verify().expect("reads");
    assert_eq!((verified.verified, verified.decisions, verified.lost, verified.replayed), (true, 7, 4, 3));
    for held in [LogHead::default(), anchor, end(&next[0])] {
        log.check_anchor(held).expect("it goes on after it, or has it");
    }
    // This one was never anchored, so the new log has another in its place.
    assert_eq!(log.check_anchor(end(&made[4])).expect_err("another log").code(), "N-422");
}

#[test]
fn a_log_that_is_to_begin_follows_the_anchors_until_something_is_decided() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let anchors: Vec<LogHead> = (1..4).map(|n| LogHead { length: n, hash: Digest([n as u8; 32]) }).collect();
    // The restored ledger is older than the first of them.
    let given_up = give_up(&path(&folder), LogHead::default()).expect("our own folder").expect("there is no log");
    assert_eq!(given_up, GivenUp { after: LogHead::default(), found: 0, kept: None });
    let mut log = DecisionFile::open(&path(&folder)).expect("opens");
    for anchor in &anchors[..2] {
        assert!(log.is_to_begin());
        log.settle(*anchor).expect("it begins later");
        assert_eq!((log.head(), DecisionFile::open(&path(&folder)).expect("opens").head()), (*anchor, *anchor));
    }
    log.settle(anchors[0]).expect("an older one says nothing");
    assert_eq!(log.head(), anchors[1]);
    let mut scheduler = Scheduler::new(Thresholds::default(), log.head());
    log.append(&samples::command(&mut scheduler, 0)).expect("appends");
    assert_eq!(log.settle(anchors[2]).expect_err("it was anchored by another log").code(), "N-422");
    // Its operator can say so again.
    let given_up = give_up(&path(&folder), anchors[2]).expect("our own folder").expect("it is another log");
    assert!(given_up.after == anchors[2] && given_up.kept.is_some(), "{given_up:?}");
}

#[test]
fn a_log_that_has_what_was_anchored_is_not_given_up() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (_, made) = logged(&path(&folder), 3);
    let before = fs::read(path(&folder)).expect("readable");
    for anchor in [LogHead::default(), end(&made[1]), end(&made[2])] {
        assert_eq!(give_up(&path(&folder), anchor).expect("our own folder"), None);
    }
    assert_eq!(fs::read(path(&folder)).expect("readable"), before);
    assert_eq!(fs::read_dir(folder.path()).expect("readable").count(), 1);
}

#[test]
fn what_was_given_up_is_never_written_over() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut kept = Vec::new();
    for turn in 1..4 {
        fs::write(path(&folder), [turn; 40]).expect("our own file");
        let given_up = give_up(&path(&folder), LogHead::default()).expect("our own folder").expect("it is no log");
        kept.push(given_up.kept.expect("the old file"));
    }
    let read = |path: &PathBuf| fs::read(path).expect("readable")[0];
    assert_eq!(kept.iter().map(read).collect::<Vec<_>>(), [1, 2, 3]);
}

#[test]
fn a_flipped_byte_of_the_beginning_is_a_fault_at_the_start() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    give_up(&path(&folder), LogHead { length: 7, hash: Digest([7; 32]) }).expect("our own folder");
    let whole = fs::read(path(&folder)).expect("readable");
    for at in 0..whole.len() {
        let mut bad = whole.clone();
        bad[at] ^= 0x20;
        fs::write(path(&folder), &bad).expect("our own file");
        assert_eq!(DecisionFile::open(&path(&folder)).expect_err("damaged").code(), "N-421", "flipped at {at}");
    }
}
