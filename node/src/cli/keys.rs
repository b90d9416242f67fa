//! `batchmind keys`: the key files of operators and nodes.

use std::{fmt, path::PathBuf};

use clap::Subcommand;
use serde::Serialize;
use wallet::identity::PublicKey;

use super::{Failure, Output};
use crate::keys;

/// Make and show key files.
///
/// A key file holds an Ed25519 secret key as 64 hexadecimal digits and a newline. Its mode is 0600; a file that others
/// may read or write is refused. Keep an operator's key off every server: it signs only genesis documents.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Draw a new key, write it to a new file, and print its public half.
    New {
        /// The file to write. It must not exist.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Print the public half of a key.
    Show {
        /// The key file.
        file: PathBuf,
    },
}

impl Command {
    pub(super) fn run(self) -> Result<Output, Failure> {
        let key = match self {
            Self::New { out } => keys::create(&out)?,
            Self::Show { file } => keys::read(&file)?,
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
    use super::*;

    #[test]
    fn only_the_public_half_is_printed() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("node.key");
        let new = Command::New { out: file.clone() }.run().expect("a new file");
        let show = Command::Show { file: file.clone() }.run().expect("just written");
        let again = Command::New { out: file.clone() }.run().expect_err("it exists");
        let key = keys::read(&file).expect("just written");
        assert_eq!(new.text(), key.public_key().to_string());
        assert_eq!(new.json(), &serde_json::json!({ "public_key": key.public_key().to_string() }));
        let seed = wallet::digest::to_hex(key.seed().as_ref());
        assert!(!format!("{new:?}{show:?}{again:?}{again}").contains(&seed));
    }
}
