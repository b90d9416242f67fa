//! Proof bundles.

use std::fs;

use super::{Office, refused};

const NOBODY: &str = "0000000000000000000000000000000000000000000000000000000000000000";

#[test]
fn what_is_no_bundle_is_refused_at_the_first_check_by_name() {
    let office = Office::new();
    let bundle = office.file("move.bundle");
    let (short, other, cut): (&[u8], &[u8], &[u8]) = (b"", b"not a bundle", &[5, 0, 0, 0, 1, 0, 0, 0, 0xFF]);
    for (bytes, check) in [(short, "decode"), (other, "version"), (cut, "decode"), (&[0xFF; 4096], "version")] {
        fs::write(&bundle, bytes).expect("our own folder");
        let verify = ["audit", "verify", &bundle, "--genesis", NOBODY];
        refused(&verify, "N-151", &["the bundle is not proven", &format!("check {check} failed"), &bundle]);
    }
}

#[test]
fn a_bundle_that_is_not_there_is_refused_by_name() {
    let office = Office::new();
    let bundle = office.file("no-such.bundle");
    refused(&["audit", "verify", &bundle, "--genesis", NOBODY], "N-150", &[&bundle]);
}

#[test]
fn a_genesis_that_is_neither_a_hash_nor_a_file_is_refused_by_what_it_says() {
    for genesis in ["c0ffee", &NOBODY.to_uppercase().replace('0', "A")] {
        refused(&["audit", "verify", "move.bundle", "--genesis", genesis], "N-150", &["lower-case", genesis]);
    }
}
