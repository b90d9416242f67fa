//! Where a passphrase comes from: a file that its owner alone may read, or the terminal. Never the command line or the
//! environment, which other processes can read.

use std::{
    io::{self, IsTerminal as _},
    path::{Path, PathBuf},
};

use wallet::keystore::passphrase::Passphrase;
use zeroize::Zeroizing;

use super::{KeyFault, KeyFileFault, read_secret};

/// What a terminal is called where a file would be named.
const TERMINAL: &str = "/dev/tty";

/// The passphrase of what is called `of`: that of the file, or what is typed if there is no file but a terminal.
///
/// # Errors
/// [`KeyFault`] if there is neither, the file cannot be read, or its content is no passphrase.
pub fn ask(file: Option<&Path>, of: &str) -> Result<Passphrase, KeyFault> {
    match file {
        Some(file) => read(file),
        None => typed(of, &format!("Passphrase or PIN of {of}: ")),
    }
}

/// As [`ask`], for a passphrase that is new: it is typed twice.
///
/// # Errors
/// [`KeyFault`], also if the two differ.
pub fn choose(file: Option<&Path>, of: &str) -> Result<Passphrase, KeyFault> {
    let Some(file) = file else {
        let first = typed(of, &format!("New passphrase of {of}: "))?;
        let second = typed(of, "The same again: ")?;
        return if first.expose() == second.expose() { Ok(first) } else { Err(KeyFault::TypedTwice) };
    };
    read(file)
}

/// The one line of a file, with or without its end.
fn read(file: &Path) -> Result<Passphrase, KeyFault> {
    let unfit = |source| KeyFault::Wallet { file: file.to_owned(), source };
    let bytes = read_secret(file, Passphrase::BYTES_MAX + 1)?;
    let line = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    let text = std::str::from_utf8(line).map_err(|_| KeyFileFault::Malformed { file: file.to_owned() })?;
    Passphrase::new(Zeroizing::new(text.to_owned())).map_err(unfit)
}

fn typed(of: &str, prompt: &str) -> Result<Passphrase, KeyFault> {
    if !io::stdin().is_terminal() {
        return Err(KeyFault::NoPassphrase { of: of.to_owned() });
    }
    let typed = rpassword::prompt_password(prompt);
    let typed = typed.map_err(|source| KeyFileFault::Io { file: PathBuf::from(TERMINAL), source })?;
    Passphrase::new(Zeroizing::new(typed)).map_err(KeyFault::Typed)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    #[test]
    fn a_passphrase_file_holds_one_line_for_the_owner_alone() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("passphrase");
        let read = |content: &[u8], mode| {
            fs::write(&file, content).expect("our own folder");
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).expect("our own file");
            ask(Some(&file), "a key").map(|passphrase| passphrase.expose().to_owned())
        };
        for content in ["correct horse", "correct horse\n"] {
            assert_eq!(read(content.as_bytes(), 0o600).expect("one line"), "correct horse");
        }
        let code = |content: &[u8], mode| {
            let fault = read(content, mode).expect_err("not a passphrase for the owner alone");
            assert!(!format!("{fault} {fault:?}").contains("horse"), "{fault}");
            fault.code()
        };
        assert_eq!(code(b"", 0o600), "W-137");
        assert_eq!(code(b"correct\nhorse\n", 0o600), "W-137");
        assert_eq!(code(&[0xFF, b'h', b'o', b'r', b's', b'e'], 0o600), "N-122");
        assert_eq!(code(&[b'h'; 1026], 0o600), "N-532");
        assert_eq!(code(b"correct horse", 0o620), "N-121");
        assert_eq!(ask(Some(&folder.path().join("none")), "a key").expect_err("no such file").code(), "N-120");
    }
}
