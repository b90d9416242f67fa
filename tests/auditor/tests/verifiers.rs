//! Two verifiers, one verdict: on honest bundles, on hostile ones made by hand, and on bundles with one flipped bit.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
};

use auditor::{
    flips, hostile,
    second::says,
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

/// What the verifier in Python says of each case.
fn python(folder: &Path, cases: &[Case]) -> Vec<String> {
    let line = |case: &Case| {
        let bit = case.bit.map_or("-".to_owned(), |bit| bit.to_string());
        format!("{} {} {bit} {}", case.file.display(), case.genesis, names(&case.named))
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
    let case = |(i, (name, bytes, genesis, named, _)): (usize, &hostile::Honest)| Case {
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
        ("a first move among four", 5_758, "f6d0bd7224afa96136d270ccc265c8c065af5fa16920eca99aa6879dda28411c"),
        ("a third move among seven", 9_675, "cab511c2c0e4887ac69952ce9cd1086d573b16e5a94ec68acbdbee185446810e"),
        (
            "a second move over two hand-overs",
            9_922,
            "38a0b1609d9303a1535f86339e43289af92a23d1bcde7e0a62cd88f747265aa3",
        ),
        ("a suspended node's new key", 8_754, "346342b4327deb76ebe2ecb0ae93c4de12a1610284f63f01ef389b7c0e8eb513"),
        ("two of four went on", 9_859, "a057b66ea0bce1cbe41b6002ad35ab9b567b0b2a68fee4ec2e66fd2e163ea960"),
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
    let drawn = flips::Drawn::today();
    let bundles: Vec<_> = hostile::honest().into_iter().take(5).collect();
    let mut cases = Vec::new();
    for (name, bytes, genesis, named, _) in &bundles {
        let file = write(folder.path(), &cases.len().to_string(), bytes);
        let bits = (0..bytes.len() * 8).filter(|bit| drawn.has(name, *bit));
        cases.extend(bits.map(|bit| Case {
            name: format!("{name}, bit {bit}"),
            file: file.clone(),
            genesis: *genesis,
            named: named.clone(),
            bit: Some(bit),
        }));
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
    verdict(&flips::flipped(bytes, case.bit), &case.genesis, &case.named)
}
