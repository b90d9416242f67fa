//! What is read is what was written, whatever is kept in memory.

use openraft::CommittedLeaderId;
use proptest::prelude::*;
use wallet::digest::Digest;

use super::{tail::RECENT_MAX, *};

fn entry(index: u64) -> RaftEntry {
    RaftEntry { log_id: RaftLogId::new(CommittedLeaderId::new(1, 0), index), payload: openraft::EntryPayload::Blank }
}

/// Everything that the log says of itself.
fn seen(log: &LogStore) -> Vec<(Vec<Chained>, Option<Chained>, Option<Link>)> {
    let read = |from: u64| {
        let entries = log.entries_from(from).expect("reads");
        (entries, log.entry(from).expect("reads"), log.link(from).expect("reads"))
    };
    (0..3 * RECENT_MAX as u64).map(read).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// After each step the log in memory is compared with what another start finds on the disk.
    #[test]
    fn what_is_kept_in_memory_is_what_is_on_the_disk(
        steps in prop::collection::vec((0..4_u8, 0..2 * RECENT_MAX as u64), 1..10),
    ) {
        let dir = tempfile::tempdir().expect("tempdir");
        let mut log = LogStore::open(dir.path()).expect("opens");
        log.append_first(entry(0)).expect("appends");
        let mut purged = 0;
        for (what, count) in steps {
            let last = log.last().map_or(0, |link| link.log_id.index);
            match what {
                0 | 1 => {
                    let entries: Vec<_> = (last + 1..=last + count).map(entry).collect();
                    log.0.append(&entries).map(|end| log.0.raise(end)).expect("appends");
                }
                2 => log.cut((last + 1).saturating_sub(count).max(purged + 1)).expect("cuts"),
                _ => {
                    purged = last.saturating_sub(count).max(purged);
                    log.0.purge(entry(purged).log_id).expect("purges");
                }
            }
            let warm = seen(&log);
            drop(log);
            log = LogStore::open(dir.path()).expect("opens again");
            prop_assert_eq!(warm, seen(&log));
        }
    }
}

#[test]
fn holes_and_overlaps_are_refused() {
    let dir = tempfile::tempdir().expect("tempdir");
    let log = LogStore::open(dir.path()).expect("opens");
    log.append_first(entry(0)).expect("appends");
    for wrong in [0, 2] {
        let fault = log.0.append(&[entry(wrong)]).expect_err("refused");
        assert!(matches!(fault, Fault::NotConsecutive { last: Some(0), .. }), "{fault}");
    }
    log.0.append(&[entry(1)]).expect("appends");
}

#[test]
fn a_reader_learns_the_first_cut_since_it_last_looked() {
    let dir = tempfile::tempdir().expect("tempdir");
    let log = LogStore::open(dir.path()).expect("opens");
    log.0.append(&[entry(0), entry(1), entry(2), entry(3)]).map(|end| log.0.raise(end)).expect("appends");
    let seen = log.end().generation;
    log.cut(3).expect("cuts");
    log.cut(1).expect("cuts");
    log.0.append(&[entry(1), entry(2)]).map(|end| log.0.raise(end)).expect("appends");
    assert_eq!(log.cut_since(seen), Some(1));
    assert_eq!((log.end().generation, log.end().index()), (2, Some(2)));
    assert_eq!(log.cut_since(log.end().generation), None);
}

#[test]
fn a_log_tells_what_was_cut_from_it_from_what_it_lost_also_after_a_restart() {
    let dir = tempfile::tempdir().expect("tempdir");
    let log = LogStore::open(dir.path()).expect("opens");
    log.append_proven(vec![entry(0), entry(1), entry(2)]).expect("appends");
    let then = log.end();
    assert!(log.has_all_of(&Flushed::default()).expect("reads"));
    log.append_proven(vec![entry(3)]).expect("appends");
    assert!(log.has_all_of(&then).expect("reads"), "it has more");
    log.cut(1).expect("cuts");
    assert!(log.has_all_of(&then).expect("reads"), "the rest was cut");
    let later = log.end();
    drop(log);
    let log = LogStore::open(dir.path()).expect("opens again");
    assert_eq!(log.end(), later);
    assert!(log.has_all_of(&then).expect("reads"));

    let other = tempfile::tempdir().expect("tempdir");
    let other = LogStore::open(other.path()).expect("opens");
    other.append_proven(vec![entry(0), entry(1)]).expect("appends");
    assert!(!other.has_all_of(&then).expect("reads"), "it never had the last entry");
    assert!(!other.has_all_of(&later).expect("reads"), "it was never cut");
}

#[test]
fn chain_hashes_are_kept_over_a_reopening() {
    let dir = tempfile::tempdir().expect("tempdir");
    let before = {
        let log = LogStore::open(dir.path()).expect("opens");
        log.0.append(&[entry(0), entry(1)]).expect("appends");
        log.last()
    };
    let log = LogStore::open(dir.path()).expect("opens again");
    assert_eq!(log.last(), before);
    let first = chain_hash(Digest::ZERO, &entry(0));
    assert_eq!(log.link(1).expect("reads").map(|link| link.chain), Some(chain_hash(first, &entry(1))));
}

#[test]
fn nothing_at_or_below_final_is_cut_and_nothing_above_it_is_purged() {
    let dir = tempfile::tempdir().expect("tempdir");
    let log = LogStore::open(dir.path()).expect("opens");
    log.0.append(&[entry(0), entry(1), entry(2)]).expect("appends");
    log.set_final(entry(1).log_id).expect("it is there");
    assert!(matches!(log.cut(1), Err(Fault::CutsFinal { at: 1, final_index: 1 })));
    assert!(log.0.purge(entry(2).log_id).is_err());
    log.cut(2).expect("cuts above final");
    log.0.purge(entry(0).log_id).expect("purges below final");
    assert_eq!(log.entry(0).expect("reads"), None);
    assert!(log.link(0).expect("reads").is_some());
}

/// A log of five entries of which row 2 was changed on the disk, opened again under an alarm.
fn changed(dir: &std::path::Path, change: impl FnOnce(&mut Batch)) -> (LogStore, Alarm) {
    let log = LogStore::open(dir).expect("opens");
    log.append_proven((0..5).map(entry).collect()).expect("appends");
    drop(log);
    let rows = Store::open(&dir.into(), STORE, &[ENTRIES, META]).expect("opens");
    let mut batch = Batch::default();
    change(&mut batch);
    rows.write(batch).expect("writes");
    drop(rows);
    let (log, alarm) = (LogStore::open(dir).expect("its last entry is whole"), Alarm::default());
    log.watch_by(&alarm);
    (log, alarm)
}

type Ask = fn(&LogStore) -> Result<(), Fault>;

/// Ways to come by row 2.
const WAYS: [Ask; 6] = [
    |log| log.entry(2).map(drop),
    |log| log.link(2).map(drop),
    |log| log.entries_from(1).map(drop),
    |log| log.entries_from(2).map(drop),
    |log| log.set_final(entry(2).log_id),
    |log| log.cut(3),
];

#[test]
fn an_entry_of_the_log_that_is_gone_raises_the_alarm_however_it_is_asked_for() {
    for (way, ask) in WAYS.into_iter().enumerate() {
        let dir = tempfile::tempdir().expect("tempdir");
        let (log, alarm) = changed(dir.path(), |batch| batch.delete(ENTRIES, &number_key(2)));
        assert!(matches!(ask(&log), Err(Fault::Missing { .. })), "way {way}");
        assert!(matches!(alarm.raised().as_deref(), Some(Fault::Missing { .. })), "way {way}");
    }
}

#[test]
fn an_entry_of_the_log_that_does_not_decode_raises_the_alarm_however_it_is_asked_for() {
    for (way, ask) in WAYS.into_iter().enumerate() {
        let dir = tempfile::tempdir().expect("tempdir");
        // Its checksum is right.
        let (log, alarm) = changed(dir.path(), |batch| batch.put_bytes(ENTRIES, &number_key(2), b"no entry"));
        assert!(matches!(ask(&log), Err(Fault::Damaged { .. })), "way {way}");
        assert!(matches!(alarm.raised().as_deref(), Some(Fault::Damaged { .. })), "way {way}");
    }
}

#[test]
fn what_the_log_never_had_or_gave_up_is_merely_not_there() {
    let dir = tempfile::tempdir().expect("tempdir");
    let (log, alarm) = changed(dir.path(), |_| {});
    log.0.purge(entry(1).log_id).expect("purges");
    log.cut(4).expect("cuts");
    for gone in [0, 1, 4, 5, u64::MAX - 1] {
        assert!(log.entry(gone).expect("reads").is_none(), "{gone}");
    }
    assert_eq!(log.entries_from(0).expect("reads").len(), 2);
    assert!(log.entries_from(4).expect("reads").is_empty() && log.entries_from(9).expect("reads").is_empty());
    assert!(alarm.raised().is_none());
}
