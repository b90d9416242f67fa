//! Key files.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use super::{Office, refused};
use crate::program::run;

#[test]
fn a_key_that_is_not_there_is_refused_by_name() {
    let office = Office::new();
    let missing = office.file("no-such.key");
    refused(&["keys", "show", &missing], "N-120", &[&missing]);
}

#[test]
fn a_key_that_others_may_read_is_refused_with_its_mode() {
    let office = Office::new();
    let key = office.file("eu-1.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).expect("our own file");
    refused(&["keys", "show", &key], "N-121", &[&key, "mode 644"]);
}

#[test]
fn what_is_no_key_is_refused_without_being_repeated() {
    let office = Office::new();
    let key = office.path("broken.key");
    let digits = "c0ffee".repeat(11);
    write_private(&key, digits.as_bytes());
    let file = key.to_string_lossy();
    refused(&["keys", "show", &file], "N-122", &[&file]);
    let said = run(&["keys", "show", &file]);
    assert!(!String::from_utf8_lossy(&said.stderr).contains("c0ffee"));
}

#[test]
fn a_key_is_never_overwritten() {
    let office = Office::new();
    let key = office.file("eu-1.key");
    let before = fs::read(&key).expect("it exists");
    refused(&["keys", "new", "--out", &key], "N-123", &[&key]);
    assert_eq!(fs::read(&key).expect("it exists"), before);
}

fn write_private(file: &Path, bytes: &[u8]) {
    fs::write(file, bytes).expect("our own folder");
    fs::set_permissions(file, fs::Permissions::from_mode(0o600)).expect("our own file");
}
