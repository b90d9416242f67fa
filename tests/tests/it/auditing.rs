//! `batchmind audit` itself says of bundles and state proofs what the verifiers' own tests say of them (`tests/auditor`).

use std::{collections::BTreeSet, fs};

use auditor::{
    hostile::{self, Honest, Told, Vector},
    state_proofs,
};
use serde_json::Value;
use wallet::digest::Digest;

use crate::program::{run, succeeded};

/// The command for a file, with what the auditor was told.
fn asked(command: &str, file: &str, genesis: &Digest, named: &[Digest]) -> Vec<String> {
    let named = named.iter().flat_map(|digest| ["--re-genesis".to_owned(), digest.to_string()]);
    let words = ["audit", command, file, "--genesis", &genesis.to_string()].map(str::to_owned);
    words.into_iter().chain(named).collect()
}

/// The check at which the command refuses a file; none if it takes it.
fn refused_at(arguments: &[String], code: &str) -> Option<String> {
    let output = run(&["--json"].into_iter().chain(arguments.iter().map(String::as_str)).collect::<Vec<_>>());
    if output.status.success() {
        return None;
    }
    let failure: Value = serde_json::from_slice(&output.stderr).expect("one JSON object");
    assert_eq!(failure["code"], code, "{failure}");
    Some(failure["check"].as_str().expect("a check").to_owned())
}

/// The first vector that breaks each check, and one in so many of the others.
fn some<T>(vectors: Vec<T>, check: impl Fn(&T) -> String) -> Vec<T> {
    const ONE_IN: usize = 40;
    let mut seen = BTreeSet::new();
    let numbered = vectors.into_iter().enumerate();
    numbered.filter(|(number, vector)| seen.insert(check(vector)) || number % ONE_IN == 0).map(|(_, one)| one).collect()
}

#[test]
fn the_command_takes_each_honest_bundle_and_refuses_hostile_ones_at_the_check_that_they_break() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("move.bundle").display().to_string();
    let kept = folder.path().join("checkpoint").display().to_string();
    let asked = |told: &Told| {
        let kept = told.checkpoint.as_ref().map(|checkpoint| {
            fs::write(&kept, checkpoint).expect("our own folder");
            ["--checkpoint".to_owned(), kept.clone()]
        });
        [asked("verify", &file, &told.genesis, &told.named), kept.into_iter().flatten().collect()].concat()
    };
    for Honest { name, bytes, told, class } in hostile::honest() {
        fs::write(&file, bytes).expect("our own folder");
        let told = succeeded(&asked(&told).iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!((&told["verified"], &told["assurance"]["class"]), (&true.into(), &class.into()), "{name}");
        // The samples' decisions were made under other rules than those of today.
        assert_eq!(told["decision"]["follows"]["answer"], "other-rules", "{name}: {told}");
    }
    let vectors = some(hostile::vectors(), |vector| vector.expected.code().to_owned());
    assert!(vectors.len() >= 40);
    for Vector { name, bytes, told, expected } in vectors {
        fs::write(&file, bytes).expect("our own folder");
        let check = refused_at(&asked(&told), "N-151");
        assert_eq!(check.as_deref(), Some(expected.code()), "{name}");
    }
}

#[test]
fn the_command_tells_what_the_state_holds_and_refuses_hostile_proofs_of_it() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("state.proof").display().to_string();
    for case in state_proofs::honest() {
        fs::write(&file, &case.bytes).expect("our own folder");
        let (genesis, key) = (case.genesis.to_string(), case.key.to_string());
        let told = succeeded(&["audit", "state", &file, "--genesis", &genesis, "--key", &key]);
        assert_eq!((&told["verified"], &told["key"]), (&true.into(), &Value::from(key)), "{}", case.name);
        assert_eq!(told["record"].is_null(), case.expected.starts_with("absent"), "{}", case.name);
    }
    for case in some(state_proofs::hostile(), |case| case.expected.clone()) {
        fs::write(&file, &case.bytes).expect("our own folder");
        let key = ["--key".to_owned(), case.key.to_string()];
        let check = refused_at(&[asked("state", &file, &case.genesis, &case.named), key.to_vec()].concat(), "N-190");
        assert_eq!(check, Some(case.expected), "{}", case.name);
    }
}
