//! Bytes that changed on the disk: in every kind of file that a ledger's folder has. A node that starts on such a folder
//! stops with a fault before it signs or serves anything that is not what it had, or nothing is different.

mod folder;
mod reading;

use std::{
    collections::BTreeMap,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, mpsc},
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use self::{
    folder::{Kind, Sample},
    reading::read_all,
};
use crate::{
    planted::{Bug, plant},
    testing::dice::Dice,
};

const FLIPS: u64 = 10_000;
const THREADS: usize = 2;
/// One takes some milliseconds.
const PATIENCE: Duration = Duration::from_secs(120);

/// What is done to one file of a folder.
#[derive(Clone, Copy, Debug)]
struct Damage {
    /// Which, of the sample's.
    file: usize,
    at: usize,
    how: How,
}

#[derive(Clone, Copy, Debug)]
enum How {
    /// The byte is another one.
    Flip(u8),
    /// The file ends there.
    Cut,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    /// The node does not start: the file is recognised as damaged.
    Refused,
    /// It starts as it was, and what the damage hit cannot be read.
    FaultWhenRead,
    /// All is as it was.
    Harmless,
    /// Something is different, and nobody says so.
    Silent(String),
}

impl Damage {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self.how {
            How::Flip(change) => bytes[self.at] ^= change,
            How::Cut => bytes.truncate(self.at),
        }
    }
}

fn outcome(sample: &Sample, damage: Damage) -> Outcome {
    let copy = sample.copy(|file, bytes| {
        if file == damage.file {
            damage.apply(bytes);
        }
    });
    let read = catch_unwind(AssertUnwindSafe(|| read_all(copy.path(), &sample.consortium)));
    let items = match read {
        Err(_) => return Outcome::Silent("a panic".to_owned()),
        Ok(Err(_)) => return Outcome::Refused,
        Ok(Ok(items)) => items,
    };
    if items.len() != sample.truth.len() {
        return Outcome::Silent("there is more or less of it".to_owned());
    }
    let mut outcome = Outcome::Harmless;
    for (found, expected) in items.iter().zip(&sample.truth) {
        match &found.bytes {
            Ok(bytes) if bytes == expected.bytes.as_ref().expect("the sample is whole") => {}
            Ok(_) => return Outcome::Silent(found.what.clone()),
            Err(_) => outcome = Outcome::FaultWhenRead,
        }
    }
    outcome
}

/// What comes of each, with a bug in all of it.
fn outcomes(sample: &Arc<Sample>, damages: &[Damage], bug: Option<Bug>) -> Vec<Outcome> {
    let (say, hear) = mpsc::channel();
    for number in 0..THREADS {
        let (say, sample, damages) = (say.clone(), sample.clone(), damages.to_vec());
        thread::spawn(move || {
            bug.into_iter().for_each(plant);
            for (at, damage) in damages.into_iter().enumerate().skip(number).step_by(THREADS) {
                // Nobody listens any more if the test has failed.
                let _ = say.send((at, outcome(&sample, damage)));
            }
        });
    }
    let mut found = BTreeMap::new();
    while found.len() < damages.len() {
        let Ok((at, outcome)) = hear.recv_timeout(PATIENCE) else {
            let open = (0..damages.len()).filter(|at| !found.contains_key(at));
            panic!("no end of one of {:?}", open.take(THREADS).map(|at| sample.name(damages[at])).collect::<Vec<_>>());
        };
        found.insert(at, outcome);
    }
    found.into_values().collect()
}

impl Sample {
    fn name(&self, damage: Damage) -> String {
        format!("{}: {damage:?}", self.files[damage.file].path.display())
    }

    /// A byte of some file of this kind, each as likely as any other, and another value for it.
    fn flip(&self, kind: Kind, dice: &mut Dice) -> Damage {
        let files = || self.files.iter().enumerate().filter(|(_, file)| file.kind == kind);
        let mut at = dice.below(files().map(|(_, file)| file.bytes.len() as u64).sum()) as usize;
        for (number, file) in files() {
            if at < file.bytes.len() {
                return Damage { file: number, at, how: How::Flip(1 + dice.below(255) as u8) };
            }
            at -= file.bytes.len();
        }
        panic!("the sample has no {kind:?}");
    }
}

/// How often what came of which kind of file.
#[derive(Default)]
struct Tally(BTreeMap<Kind, BTreeMap<Outcome, u64>>);

impl Tally {
    fn of(sample: &Sample, damages: &[Damage], outcomes: &[Outcome]) -> Self {
        let mut tally = Self::default();
        for (damage, outcome) in damages.iter().zip(outcomes) {
            let of_kind = tally.0.entry(sample.files[damage.file].kind).or_default();
            *of_kind.entry(outcome.clone()).or_default() += 1;
        }
        tally
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(kind, outcomes)| writeln!(f, "{kind:?}: {outcomes:?}"))
    }
}

fn assert_none_is_silent(sample: &Sample, damages: &[Damage], outcomes: &[Outcome], seed: u64) {
    let silent: Vec<_> = damages
        .iter()
        .zip(outcomes)
        .filter(|(_, outcome)| matches!(outcome, Outcome::Silent(_)))
        .map(|(damage, outcome)| format!("{}: {outcome:?}", sample.name(*damage)))
        .collect();
    assert!(silent.is_empty(), "seed {seed}: {} are silent:\n{}", silent.len(), silent.join("\n"));
}

/// Of the environment, or another one each time.
fn seed() -> u64 {
    let drawn = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_nanos() as u64);
    std::env::var("BATCHMIND_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(drawn)
}

fn draw(sample: &Sample, count: u64, seed: u64) -> Vec<Damage> {
    let mut dice = Dice(seed);
    (0..count)
        .map(|_| {
            let kind = Kind::draw(&mut dice);
            sample.flip(kind, &mut dice)
        })
        .collect()
}

#[test]
fn no_flipped_byte_changes_what_a_node_signs_or_serves() {
    let (seed, sample) = (seed(), Arc::new(Sample::make()));
    let damages = draw(&sample, FLIPS, seed);
    let outcomes = outcomes(&sample, &damages, None);
    println!("BATCHMIND_SEED={seed}\n{}", Tally::of(&sample, &damages, &outcomes));
    assert_none_is_silent(&sample, &damages, &outcomes, seed);
}

#[test]
fn a_write_ahead_log_that_ends_too_early_is_noticed_by_what_the_other_files_say() {
    let (seed, sample) = (seed(), Arc::new(Sample::make()));
    let damages = cuts(&sample, seed);
    let outcomes = outcomes(&sample, &damages, None);
    println!("BATCHMIND_SEED={seed}\n{}", Tally::of(&sample, &damages, &outcomes));
    assert_none_is_silent(&sample, &damages, &outcomes, seed);
    assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Refused), "each lost something");
}

/// Where write-ahead logs end too early.
fn cuts(sample: &Sample, seed: u64) -> Vec<Damage> {
    let mut dice = Dice(seed);
    let logs = sample.files.iter().enumerate().filter(|(_, file)| file.kind == Kind::WriteAheadLog);
    logs.filter(|(_, file)| !file.bytes.is_empty())
        .flat_map(|(number, file)| {
            let last = file.bytes.len() - 1;
            let ends: Vec<_> = (0..100).map(|_| dice.below(last as u64) as usize).chain([last]).collect();
            ends.into_iter().map(move |at| Damage { file: number, at, how: How::Cut })
        })
        .collect()
}

/// Whether a test here would see what a bug lets pass.
fn is_seen(sample: &Arc<Sample>, damages: &[Damage], bug: Bug) -> bool {
    let found = outcomes(sample, damages, Some(bug));
    println!("{bug:?}\n{}", Tally::of(sample, damages, &found));
    found.iter().any(|outcome| matches!(outcome, Outcome::Silent(_)))
}

#[test]
fn damage_that_nobody_looks_for_is_silent() {
    let (seed, sample) = (seed(), Arc::new(Sample::make()));
    println!("BATCHMIND_SEED={seed}");
    let mut dice = Dice(seed);
    let votes: Vec<_> = (0..200).map(|_| sample.flip(Kind::Votes, &mut dice)).collect();
    assert!(is_seen(&sample, &votes, Bug::SumsUnchecked), "this test cannot fail");
    let longer = longer_records(&sample, Kind::Manifest);
    // Whoever reads a row that is gone notices, but only this refuses to start.
    let refused = |bug| outcomes(&sample, &longer, bug).iter().filter(|outcome| **outcome == Outcome::Refused).count();
    assert!(refused(Some(Bug::RecordFilesUnread)) < refused(None), "this test cannot fail");
    let cuts = cuts(&sample, seed);
    for bug in [Bug::FinalNotCompared, Bug::LogEndNotCompared] {
        assert!(is_seen(&sample, &cuts, bug), "this test cannot fail");
    }
}

/// Makes a record of each file say that it is longer than the file, as one that a crash cut short does.
fn longer_records(sample: &Sample, kind: Kind) -> Vec<Damage> {
    let mut damages = Vec::new();
    for (number, file) in sample.files.iter().enumerate().filter(|(_, file)| file.kind == kind) {
        let mut at = 0;
        // These files have one block each.
        while let Some(head) = file.bytes.get(at..at + 7) {
            damages.push(Damage { file: number, at: at + 5, how: How::Flip(0x40) });
            at += 7 + usize::from(u16::from_le_bytes([head[4], head[5]]));
        }
    }
    damages
}
