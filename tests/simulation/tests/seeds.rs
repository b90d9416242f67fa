//! Runs seeds of the simulation, each in a process of its own, and prints the command that repeats one that fails.

use std::{
    env,
    process::Command,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

/// Seeds of a run in which nothing else is asked for: always the same, so that a change is to blame for what fails.
const SEEDS: u64 = 200;

/// Of so many seeds one is run once more, with a re-genesis.
const BEGINS_ANEW_EVERY: u64 = 5;

/// What a run of the simulation said, and whether nothing went wrong.
struct Outcome {
    ok: bool,
    said: String,
}

fn simulate(seed: u64, arguments: &[&str]) -> Outcome {
    let output = Command::new(env!("CARGO_BIN_EXE_simulation"))
        .arg(seed.to_string())
        .args(arguments)
        .output()
        .expect("the simulation starts");
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    Outcome { ok: output.status.success(), said }
}

/// A number from the environment.
fn number(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |value| value.parse().unwrap_or_else(|_| panic!("{name}={value} is no number")))
}

/// Calls `work` with each item on as many threads as there are processors.
fn in_parallel<T: Send + Sync>(items: &[T], work: impl Fn(&T) + Sync) {
    let next = AtomicU64::new(0);
    let take = || items.get(usize::try_from(next.fetch_add(1, Ordering::Relaxed)).ok()?);
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(item) = take() {
                    work(item);
                }
            });
        }
    });
}

/// Runs the seeds that are asked for, each `every`th of them.
fn run_seeds(every: u64, arguments: &[&str]) {
    let (first, count) = (number("BATCHMIND_SEED", 1), number("BATCHMIND_SEEDS", SEEDS));
    let seeds: Vec<u64> = (first..first + count).step_by(every as usize).collect();
    println!("seeds {first} to {}, every {every}", first + count - 1);
    let failed = Mutex::new(Vec::new());
    in_parallel(&seeds, |seed| {
        let outcome = simulate(*seed, arguments);
        if !outcome.ok {
            let arguments = arguments.join(" ");
            println!("{}to repeat it: cargo run -p simulation -- {seed} {arguments} --trace", outcome.said);
            failed.lock().expect("nobody panics with it").push(*seed);
        }
    });
    let failed = failed.into_inner().expect("nobody panicked with it");
    assert!(failed.is_empty(), "{} of {} seeds failed: {failed:?}", failed.len(), seeds.len());
}

#[test]
fn whatever_the_seed_makes_happen_the_ledger_keeps_its_rules() {
    run_seeds(1, &[]);
}

#[test]
fn those_that_are_left_when_a_quorum_is_lost_begin_anew_and_the_ledger_keeps_its_rules() {
    run_seeds(BEGINS_ANEW_EVERY, &["--re-genesis"]);
}

/// A planted bug with a run that finds it.
struct Caught {
    bug: &'static str,
    seed: u64,
    /// The lie that one validator is told to tell; none leaves it to the seed.
    lie: Option<&'static str>,
    /// A part of what is said then.
    expected: &'static str,
}

const fn caught(bug: &'static str, seed: u64, lie: Option<&'static str>, expected: &'static str) -> Caught {
    Caught { bug, seed, lie, expected }
}

const CAUGHT: &[Caught] = &[
    caught("VoteRecordForgotten", 3, None, "no progress"),
    caught("VoteRecordNotWritten", 3, None, "no progress"),
    caught("LeafHashSkipped", 2, None, "another log root"),
    caught("StateRootFromLeader", 2, Some("WrongStateRoot"), "another state root"),
    caught("AuthorNotChecked", 2, Some("ForgedEntry"), "never made the entry"),
    caught("RepeatedSigner", 2, Some("RepeatedSigner"), "different signers are no quorum"),
    caught("QuorumOneShort", 1, Some("DoubleFinalize"), "different signers are no quorum"),
    caught("ParentNotCertified", 2, Some("WithholdCertificate"), "its parent is not certified"),
    caught("TimerNeverReset", 2, None, "no progress"),
    caught("PassingOverForgotten", 2, Some("Censor"), "no progress"),
    caught("FutureAccepted", 2, Some("TimeAhead"), "is in the future"),
    caught("SecondGrant", 10, Some("CampaignAlways"), "granted"),
    caught("FinalizeAfterNullify", 1, Some("FinalizeWithheld"), "signed Nullify"),
    caught("AncestorsSkipped", 1, Some("FinalizeWithheld"), "lacks its final block"),
    caught("PointerNotWritten", 4, None, "and now shows"),
    caught("UnprovenLeader", 9, Some("ForgedAppend"), "no progress"),
    caught("ClosingNotProven", 101, Some("ClosingForged"), "different signers are no quorum"),
    caught("ClosedByNextSet", 113, None, "different signers are no quorum"),
    caught("RemovedStillVote", 113, None, "names an honest node"),
    caught("ExpiredEnacted", 112, None, "what comes too late was taken"),
];

/// The other bugs that the model check finds, in `tests/model/tests/searches.rs`.
const BY_MODEL_ONLY: &[&str] = &["VoteRecordLate", "NotarizeTwice", "NotarizeAfterNullify", "NullifyAfterFinalize"];

/// No run finds these, because another rule catches what each of them lets pass. Tests of the ledger find them, which look
/// at one rule alone.
const BY_UNIT_TESTS_ONLY: &[&str] = &[
    "CommitNotClamped",
    "AckGateOff",
    "ChainNotCompared",
    "BridgeNotChecked",
    "RecordFilesUnread",
    "SumsUnchecked",
    "FinalNotCompared",
    "LogEndNotCompared",
];

#[test]
fn each_planted_bug_is_caught_by_its_seed() {
    in_parallel(CAUGHT, |Caught { bug, seed, lie, expected }| {
        let lies: Vec<&str> = lie.iter().flat_map(|lie| ["--lie", lie]).collect();
        let with = simulate(*seed, &[lies.as_slice(), &["--bug", bug]].concat());
        assert!(!with.ok && with.said.contains(expected), "seed {seed} with {bug}: {}", with.said);
        let without = simulate(*seed, &lies);
        assert!(without.ok, "seed {seed} without {bug}: {}", without.said);
    });
}

#[test]
fn the_lists_of_lies_and_bugs_are_those_of_the_documentation() {
    let list = Command::new(env!("CARGO_BIN_EXE_simulation")).arg("--list").output().expect("the simulation starts");
    let list = String::from_utf8(list.stdout).expect("names are ASCII");
    let testing = include_str!("../../../docs/testing.md");
    for line in list.lines() {
        let (_, line) = line.split_once(' ').expect("a kind and a name");
        let (name, what) = line.split_once(':').expect("a name and what it is");
        let (first, last) = (format!("| `{name}` | "), format!(" {} |", what.trim()));
        let is_there = testing.lines().any(|row| row.starts_with(&first) && row.ends_with(&last));
        assert!(is_there, "docs/testing.md lacks a row of {name}: {what}");
    }
    for Caught { bug, seed, lie, .. } in CAUGHT {
        let run = lie.map_or_else(|| seed.to_string(), |lie| format!("{seed}, `{lie}`"));
        assert!(testing.contains(&format!("| `{bug}` | {run} |")), "docs/testing.md lacks run {run} of {bug}");
    }
    for bug in list.lines().filter_map(|line| line.strip_prefix("bug ")?.split_once(':')).map(|(bug, _)| bug) {
        let is_found = [BY_MODEL_ONLY, BY_UNIT_TESTS_ONLY].concat().contains(&bug)
            || CAUGHT.iter().any(|caught| caught.bug == bug);
        assert!(is_found, "nothing finds {bug}, and no list says so");
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    in_parallel(&[3, 14, 15, 92], |seed| {
        let [once, again] = [simulate(*seed, &[]), simulate(*seed, &[])];
        assert!(once.said.contains("trace"), "seed {seed}: {}", once.said);
        assert_eq!(once.said, again.said, "seed {seed} gave two traces");
    });
}
