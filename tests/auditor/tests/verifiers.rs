//! Two verifiers, one verdict: on honest bundles, on hostile ones made by hand, and on bundles with one flipped bit.

use std::{
    fmt::Write as _,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{SystemTime, UNIX_EPOCH},
};

use auditor::{
    hostile,
    verdict::{names, verdict},
};
use wallet::digest::{Digest, sha256};

/// One line for the second verifier, and what the first one is to judge.
struct Case {
    name: String,
    file: PathBuf,
    genesis: Digest,
    named: Vec<Digest>,
    bit: Option<usize>,
}

/// What the verifier in Python says of each case. It gets the cases in two halves, to use two cores.
fn python(folder: &Path, cases: &[Case]) -> Vec<String> {
    let halves = cases.chunks(cases.len().div_ceil(2).max(1)).enumerate().map(|(half, cases)| {
        let (list, said) = (folder.join(format!("list-{half}")), folder.join(format!("said-{half}")));
        let lines = cases.iter().fold(String::new(), |mut lines, case| {
            let bit = case.bit.map_or("-".to_owned(), |bit| bit.to_string());
            let named = names(&case.named);
            writeln!(lines, "{} {} {bit} {named}", case.file.display(), case.genesis).expect("a string");
            lines
        });
        fs::write(&list, lines).expect("our own folder");
        let verifier = Path::new(env!("CARGO_MANIFEST_DIR")).join("verify_bundle.py");
        let child = Command::new("python3")
            .arg("-B")
            .arg(verifier)
            .arg("--batch")
            .stdin(File::open(&list).expect("just written"))
            .stdout(File::create(&said).expect("our own folder"))
            .stderr(Stdio::inherit())
            .spawn()
            .expect("python3 is installed: scripts/setup does it");
        (child, said, cases.len())
    });
    let mut verdicts = Vec::new();
    for (mut child, said, count) in halves.collect::<Vec<_>>() {
        assert!(child.wait().expect("our own child").success(), "the verifier in Python failed");
        let said = fs::read_to_string(said).expect("just written");
        assert_eq!(said.lines().count(), count, "one line for each case");
        verdicts.extend(said.lines().map(str::to_owned));
    }
    verdicts
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
    let case = |(i, (name, bytes, genesis, named, _)): (usize, &(&str, Vec<u8>, Digest, Vec<Digest>, &str))| Case {
        name: (*name).to_owned(),
        file: write(folder.path(), &i.to_string(), bytes),
        genesis: *genesis,
        named: named.clone(),
        bit: None,
    };
    let cases: Vec<Case> = honest.iter().enumerate().map(case).collect();
    for ((name, bytes, genesis, named, class), second) in honest.iter().zip(python(folder.path(), &cases)) {
        let expected = format!("ok {class}");
        assert_eq!((verdict(bytes, genesis, named), second), (expected.clone(), expected), "{name}");
    }
}

/// Of the honest ones with every part that a bundle can have.
#[test]
fn the_bytes_of_bundles_are_pinned() {
    let found: Vec<_> = hostile::honest()
        .into_iter()
        .take(5)
        .map(|(name, bytes, ..)| (name, bytes.len(), sha256("golden", &[&bytes]).to_string()))
        .collect();
    let pinned = [
        ("a first move among four", 5_758, "eff237bb5f0248fbf519c41c40eb066a25ff76fbbe489504876f44dc75fa6b94"),
        ("a third move among seven", 9_675, "85d48462e893d7c12a54280cf93bf79449bef0fe89b2e60ba226f80bedff7e3f"),
        (
            "a second move over two hand-overs",
            9_920,
            "6ea9cb9965d692c9aa8ee167034aea65649bd26e8e54abef59d42945ed448f33",
        ),
        ("a suspended node's new key", 8_753, "aa81645b83fde71821afbd0998d1121be826d5b8498e6b52aa49baa7a23068cc"),
    ];
    assert_eq!(found, pinned.map(|(name, length, hash)| (name, length, hash.to_owned())));
}

#[test]
fn both_refuse_every_hostile_bundle_at_the_check_that_it_breaks() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let vectors = hostile::vectors();
    let case = |(i, vector): (usize, &hostile::Vector)| Case {
        name: vector.name.clone(),
        file: write(folder.path(), &i.to_string(), &vector.bytes),
        genesis: vector.genesis,
        named: vector.named.clone(),
        bit: None,
    };
    let cases: Vec<Case> = vectors.iter().enumerate().map(case).collect();
    let second = python(folder.path(), &cases);
    let wrong: Vec<String> = vectors
        .iter()
        .zip(second)
        .map(|(vector, second)| (vector, verdict(&vector.bytes, &vector.genesis, &vector.named), second))
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
    let all = std::env::var_os("BATCHMIND_ALL_BITS").is_some();
    let today = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() / 86_400);
    let seed = std::env::var("BATCHMIND_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(today);
    let bundles: Vec<_> = hostile::honest().into_iter().take(5).collect();
    let mut cases = Vec::new();
    for (name, bytes, genesis, named, _) in &bundles {
        let file = write(folder.path(), &cases.len().to_string(), bytes);
        let bits = (0..bytes.len() * 8).filter(|bit| all || drawn(seed, name, *bit));
        cases.extend(bits.map(|bit| Case {
            name: format!("{name}, bit {bit}"),
            file: file.clone(),
            genesis: *genesis,
            named: named.clone(),
            bit: Some(bit),
        }));
    }
    println!("seed {seed}: {} bits of {} bundles; BATCHMIND_SEED={seed} repeats them", cases.len(), bundles.len());
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
    assert!(wrong.is_empty(), "seed {seed}, {} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

fn drawn(seed: u64, name: &str, bit: usize) -> bool {
    sha256("flipped bits", &[&seed.to_le_bytes(), name.as_bytes(), &bit.to_le_bytes()]).0[0] < 16
}

fn flipped(case: &Case) -> String {
    let mut bytes = fs::read(&case.file).expect("just written");
    if let Some(bit) = case.bit {
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
    verdict(&bytes, &case.genesis, &case.named)
}
