//! Two verifiers, one verdict: on honest bundles, on hostile ones made by hand, and on bundles with one flipped bit.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
};

use auditor::{
    flips,
    hostile::{self, Honest, Told, Vector},
    second::says,
    verdict::{names, verdict},
};

/// One line for the second verifier, and what the first one is to judge.
#[derive(Clone)]
struct Case {
    name: String,
    file: PathBuf,
    told: Told,
    /// The file of the checkpoint that was kept.
    kept: Option<PathBuf>,
    bit: Option<usize>,
}

impl Case {
    fn new(folder: &Path, number: usize, name: &str, bytes: &[u8], told: &Told) -> Self {
        let kept = told.checkpoint.as_ref();
        Self {
            name: name.to_owned(),
            file: write(folder, &number.to_string(), bytes),
            told: told.clone(),
            kept: kept.map(|checkpoint| write(folder, &format!("{number}.checkpoint"), checkpoint)),
            bit: None,
        }
    }
}

/// What the verifier in Python says of each case.
fn python(folder: &Path, cases: &[Case]) -> Vec<String> {
    let line = |case: &Case| {
        let bit = case.bit.map_or("-".to_owned(), |bit| bit.to_string());
        let kept = case.kept.as_ref().map_or("-".to_owned(), |kept| kept.display().to_string());
        format!("{} {} {bit} {} {kept}", case.file.display(), case.told.genesis, names(&case.told.named))
    };
    says("verify_bundle.py", folder, &cases.iter().map(line).collect::<Vec<_>>())
}

fn write(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let file = folder.join(name);
    fs::write(&file, bytes).expect("our own folder");
    file
}

#[test]
fn both_take_every_honest_bundle_and_say_how_much_it_is_worth() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let honest = hostile::honest();
    let case = |(i, one): (usize, &Honest)| Case::new(folder.path(), i, one.name, &one.bytes, &one.told);
    let cases: Vec<Case> = honest.iter().enumerate().map(case).collect();
    for (Honest { name, bytes, told, class }, second) in honest.iter().zip(python(folder.path(), &cases)) {
        let expected = format!("ok {class}");
        assert_eq!((verdict(bytes, told), second), (expected.clone(), expected), "{name}");
    }
}

#[test]
fn both_refuse_every_hostile_bundle_at_the_check_that_it_breaks() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let vectors = hostile::vectors();
    let case = |(i, one): (usize, &Vector)| Case::new(folder.path(), i, &one.name, &one.bytes, &one.told);
    let cases: Vec<Case> = vectors.iter().enumerate().map(case).collect();
    let second = python(folder.path(), &cases);
    let wrong: Vec<String> = vectors
        .iter()
        .zip(second)
        .map(|(vector, second)| (vector, verdict(&vector.bytes, &vector.told), second))
        .filter(|(vector, first, second)| *first != vector.expected.code() || first != second)
        .map(|(vector, first, second)| {
            format!("{}: expected {}, in Rust {first}, in Python {second}", vector.name, vector.expected)
        })
        .collect();
    println!("{} hostile bundles", vectors.len());
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), vectors.len(), wrong.join("\n"));
    let names: std::collections::BTreeSet<&str> = vectors.iter().map(|vector| vector.name.as_str()).collect();
    assert_eq!(names.len(), vectors.len(), "each has a name of its own");
    assert!(vectors.len() >= 200);
    for check in ledger::bundle::Check::ALL {
        assert!(vectors.iter().any(|vector| vector.expected == check), "nothing breaks {check}");
    }
}

/// One bit in sixteen, drawn by a seed of the day; all of them with `BATCHMIND_ALL_BITS=1`.
#[test]
fn both_refuse_every_bundle_with_a_flipped_bit_at_the_same_check() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let drawn = flips::Drawn::today();
    let bundles: Vec<_> = hostile::honest().into_iter().take(5).collect();
    let mut cases = Vec::new();
    for Honest { name, bytes, told, .. } in &bundles {
        let whole = Case::new(folder.path(), cases.len(), name, bytes, told);
        let bits = (0..bytes.len() * 8).filter(|bit| drawn.has(name, *bit));
        cases.extend(bits.map(|bit| Case { name: format!("{name}, bit {bit}"), bit: Some(bit), ..whole.clone() }));
    }
    println!("{drawn}: {} bits of {} bundles", cases.len(), bundles.len());
    let (first, second) = thread::scope(|scope| {
        let second = scope.spawn(|| python(folder.path(), &cases));
        let first: Vec<String> = cases.iter().map(flipped).collect();
        (first, second.join().expect("its own assertions hold"))
    });
    let wrong: Vec<String> = cases
        .iter()
        .zip(first.iter().zip(&second))
        .filter(|(_, (first, second))| first.starts_with("ok") || first != second)
        .map(|(case, (first, second))| format!("{}: in Rust {first}, in Python {second}", case.name))
        .collect();
    assert!(wrong.is_empty(), "{drawn}, {} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

fn flipped(case: &Case) -> String {
    let bytes = fs::read(&case.file).expect("just written");
    verdict(&flips::flipped(bytes, case.bit), &case.told)
}
