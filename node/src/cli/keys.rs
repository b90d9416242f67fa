//! `batchmind keys`: the keys of operators and nodes, in files and in tokens.

use std::{fmt, path::PathBuf};

use clap::Subcommand;
use serde::Serialize;
use wallet::{
    identity::PublicKey,
    keystore::{KeyStore, wrapped::Work},
};

use super::{Failure, Output};
use crate::keys::{self, KeyLocation, passphrase};

/// Make, wrap and show keys.
///
/// A key file holds an Ed25519 secret key, in the clear as 64 hexadecimal digits or wrapped under a passphrase. Its mode is
/// 0600; a file that others may read or write is refused. A key in a token is named
/// pkcs11:token=LABEL;object=LABEL?module-path=FILE, and never leaves it. Keep an operator's key off every server: it signs
/// only the genesis document and governance.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Draw a new key, in a new file or in a token, and print its public half.
    New {
        /// The file to write, which must not exist; or the name of a key in a token.
        #[arg(long, value_name = "KEY")]
        out: KeyLocation,
        /// Wrap the file under a passphrase, which is asked for twice on the terminal.
        #[arg(long)]
        wrap: bool,
        /// The file with the passphrase to wrap the file under, or with the token's PIN.
        #[arg(long, value_name = "FILE")]
        passphrase_file: Option<PathBuf>,
    },
    /// Write a key file that is in the clear to a new file, wrapped under a passphrase. The old file stays: destroy it.
    Wrap {
        /// The key file.
        file: PathBuf,
        /// The file to write. It must not exist.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// The file with the passphrase; asked for twice on the terminal if absent.
        #[arg(long, value_name = "FILE")]
        passphrase_file: Option<PathBuf>,
    },
    /// Print the public half of a key.
    Show {
        /// The key file, or the name of a key in a token.
        key: KeyLocation,
        /// The file with the passphrase of a wrapped file, or with a token's PIN; asked for on the terminal if absent.
        #[arg(long, value_name = "FILE")]
        passphrase_file: Option<PathBuf>,
    },
}

impl Command {
    pub(super) fn run(self) -> Result<Output, Failure> {
        let key: Box<dyn KeyStore> = match self {
            Self::New { out, wrap, passphrase_file } => out.create(wrap, passphrase_file.as_deref())?,
            Self::Wrap { file, out, passphrase_file } => {
                let key = keys::read(&file)?;
                let passphrase = passphrase::choose(passphrase_file.as_deref(), &out.display().to_string())?;
                keys::write_wrapped(&out, &key, &passphrase, Work::MODERATE)?;
                Box::new(key)
            }
            Self::Show { key, passphrase_file } => key.open(passphrase_file.as_deref())?,
        };
        Ok(Output::new(&Shown { public_key: key.public_key() }))
    }
}

#[derive(Serialize)]
struct Shown {
    public_key: PublicKey,
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.public_key.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::OpenOptionsExt as _, path::Path};

    use super::*;

    fn new(out: &Path, passphrase_file: Option<PathBuf>) -> Result<Output, Failure> {
        Command::New { out: out.into(), wrap: false, passphrase_file }.run()
    }

    fn show(key: &Path, passphrase_file: Option<PathBuf>) -> Result<Output, Failure> {
        Command::Show { key: key.into(), passphrase_file }.run()
    }

    #[test]
    fn only_the_public_half_is_printed() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("node.key");
        let made = new(&file, None).expect("a new file");
        let shown = show(&file, None).expect("just written");
        let again = new(&file, None).expect_err("it exists");
        let key = keys::read(&file).expect("just written");
        assert_eq!(made.text(), key.public_key().to_string());
        assert_eq!(made.json(), &serde_json::json!({ "public_key": key.public_key().to_string() }));
        let seed = wallet::digest::to_hex(key.seed().as_ref());
        assert!(!format!("{made:?}{shown:?}{again:?}{again}").contains(&seed));
    }

    #[test]
    fn a_key_is_made_wrapped_or_wrapped_afterwards() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = |name: &str| folder.path().join(name);
        let mut passphrase = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file("pass"));
        let passphrase = passphrase.as_mut().expect("our own folder");
        std::io::Write::write_all(passphrase, b"correct horse\n").expect("our own file");
        let made = new(&file("new.key"), Some(file("pass"))).expect("a new file");
        let clear = new(&file("clear.key"), None).expect("a new file");
        let wrap =
            Command::Wrap { file: file("clear.key"), out: file("wrapped.key"), passphrase_file: Some(file("pass")) };
        assert_eq!(wrap.run().expect("a new file").text(), clear.text());
        for (name, key) in [("new.key", &made), ("wrapped.key", &clear)] {
            let text = fs::read_to_string(file(name)).expect("written");
            assert!(text.starts_with("k4.secret-pw."), "{name}");
            assert_eq!(show(&file(name), Some(file("pass"))).expect("its passphrase").text(), key.text());
        }
        let twice = Command::Wrap { file: file("new.key"), out: file("twice.key"), passphrase_file: None };
        assert_eq!(twice.run().expect_err("it is wrapped").code, "N-555");
        assert!(file("clear.key").exists() && !file("twice.key").exists());
    }
}
