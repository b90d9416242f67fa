//! What a package never depends on: the right-hand column of the table of folders in `ARCHITECTURE.md`. An absence is
//! easy to lose and hard to see, so it is a test.

use std::{collections::BTreeSet, path::Path, process::Command};

/// Sans-IO: no runtime, no network, no store, no device.
const CORE: [&str; 6] = ["axum", "cudarc", "libp2p", "openraft", "rocksdb", "tokio"];

#[test]
fn wallet_is_sans_io() {
    assert_never_depends("wallet", &[], &CORE);
}

#[test]
fn genesis_is_sans_io() {
    assert_never_depends("genesis", &[], &CORE);
}

#[test]
fn the_ledgers_core_is_sans_io() {
    assert_never_depends("ledger", &["--no-default-features"], &CORE);
}

#[test]
fn the_ledgers_shell_knows_neither_the_network_nor_http_nor_a_device() {
    assert_never_depends("ledger", &["--all-features"], &["axum", "cudarc", "libp2p"]);
}

#[test]
fn the_scheduler_is_sans_io() {
    assert_never_depends("scheduler", &[], &CORE);
}

#[test]
fn the_engine_knows_no_ledger_no_network_and_no_http() {
    assert_never_depends("gpu", &[], &["axum", "ledger", "libp2p", "openraft"]);
}

#[test]
fn a_dependency_that_is_there_is_found() {
    let found = dependencies("ledger", &["--all-features"]);
    for expected in ["openraft", "rocksdb", "tokio", "wallet"] {
        assert!(names(&found, expected), "the shell of ledger depends on {expected}");
    }
}

fn assert_never_depends(package: &str, features: &[&str], never: &[&str]) {
    let found = dependencies(package, features);
    assert!(names(&found, package), "cargo tree lists the package itself");
    for name in never {
        assert!(!names(&found, name), "{package} {features:?} must not depend on {name}: see cargo tree -i {name}");
    }
}

/// Whether `found` has the crate `name` or one of its family, such as `libp2p-core` for `libp2p`.
fn names(found: &BTreeSet<String>, name: &str) -> bool {
    found.iter().any(|found| found.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('-')))
}

/// The crates that are built into `package` alone, with the features that it alone asks for.
fn dependencies(package: &str, features: &[&str]) -> BTreeSet<String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let tree = Command::new(cargo)
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
        .args(["tree", "--locked", "--edges", "normal", "--prefix", "none", "--format", "{p}", "--package", package])
        .args(features)
        .output()
        .expect("cargo runs");
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let tree = String::from_utf8(tree.stdout).expect("names are ASCII");
    tree.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}
