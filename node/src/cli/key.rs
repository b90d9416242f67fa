//! Which key signs a command, and how it is opened.

use std::path::PathBuf;

use clap::Args;
use wallet::keystore::KeyStore;

use super::Failure;
use crate::keys::KeyLocation;

/// The key that signs.
#[derive(Debug, Args)]
pub(super) struct KeyArguments {
    /// The key that signs: a key file, or a key in a token as pkcs11:token=LABEL;object=LABEL?module-path=FILE.
    #[arg(long, value_name = "KEY")]
    key: KeyLocation,
    /// The file with the passphrase of a wrapped key file, or with a token's PIN; asked for on the terminal if absent.
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

impl KeyArguments {
    /// Opens it.
    pub(super) fn open(&self) -> Result<Box<dyn KeyStore>, Failure> {
        Ok(self.key.open(self.passphrase_file.as_deref())?)
    }
}
