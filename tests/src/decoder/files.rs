//! The decoder that reads a file by its name, and follows it to other files.

use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use node::config::ValidConfig;
use wallet::digest::to_hex;

use super::samples;

thread_local! {
    /// A founded consortium with the key of its first node, beside which each configuration is put.
    static FOLDER: tempfile::TempDir = found();
}

/// Everything that is refused is refused with a code and in words.
pub(super) fn config(bytes: &[u8]) -> bool {
    FOLDER.with(|folder| {
        let file = folder.path().join("node.toml");
        fs::write(&file, bytes).expect("our own folder");
        match ValidConfig::load(&file) {
            Ok(_) => true,
            Err(fault) => {
                assert!(!fault.code().is_empty() && !fault.to_string().is_empty());
                false
            }
        }
    })
}

fn found() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = |name: &str| folder.path().join(name);
    fs::write(file("genesis.toml"), samples::ledger::consortium().document().to_toml()).expect("our own folder");
    write_key(&file("node.key")).expect("our own folder");
    folder
}

fn write_key(file: &Path) -> std::io::Result<()> {
    let seed = ledger::testing::node_key(0).seed();
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
    writeln!(file, "{}", to_hex(seed.as_ref()))
}
