//! The programs under test: built before the tests run, started as anybody would start them.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;

/// The binary `batchmind`, beside which cargo put this test.
///
/// # Panics
/// If it was not built: cargo builds a package's binaries for its own tests only, so `scripts/test` builds all before.
pub fn batchmind() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own file");
    let built = test.ancestors().nth(2).expect("tests lie in target/PROFILE/deps").join("batchmind");
    assert!(built.exists(), "{} is missing; build it first: cargo build --workspace --bins", built.display());
    built
}

/// The attacker's program.
pub fn forger() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_forger"))
}

/// The shipped demo model.
pub fn model() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../gpu/models/tiny")
}

/// Runs `batchmind` to its end.
pub fn run(arguments: &[&str]) -> Output {
    Command::new(batchmind()).args(arguments).env_remove("BATCHMIND_LOG").output().expect("the binary starts")
}

/// What it prints with `--json` when it succeeds.
///
/// # Panics
/// If it fails.
pub fn succeeded(arguments: &[&str]) -> Value {
    let output = run(&[&["--json"], arguments].concat());
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("one JSON object")
}

/// The code with which it fails.
///
/// # Panics
/// If it succeeds.
pub fn failed(arguments: &[&str]) -> String {
    let output = run(&[&["--json"], arguments].concat());
    assert!(!output.status.success(), "{arguments:?}");
    // What it logs comes before.
    let stderr = String::from_utf8_lossy(&output.stderr);
    let failure: Value = serde_json::from_str(stderr.lines().last().unwrap_or_default()).expect("one JSON object");
    failure["code"].as_str().expect("a code").to_owned()
}
