//! Where a key is, as a command line or a configuration names it: a key file, or a key in a token.

use std::{
    convert::Infallible,
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use wallet::keystore::KeyStore;

use super::{KeyFault, passphrase, token::TokenKey, token_uri};

/// A key file, or the name of a key in a token (`pkcs11:...`, see [`token_uri`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyLocation {
    /// A file, in the clear or wrapped.
    File(PathBuf),
    /// A key in a token, as it was named. It is read when it is opened, so that what is wrong with it gets its code.
    Token(String),
}

impl KeyLocation {
    /// Opens the key. A wrapped file is opened with the passphrase that `passphrase_file` holds, a token with the PIN; if
    /// no file is named, they are asked for on the terminal.
    ///
    /// # Errors
    /// [`KeyFault`].
    pub fn open(&self, passphrase_file: Option<&Path>) -> Result<Box<dyn KeyStore>, KeyFault> {
        match self {
            Self::File(file) => Ok(Box::new(super::open_file(file, passphrase_file)?)),
            Self::Token(name) => {
                let uri = name.parse()?;
                Ok(Box::new(TokenKey::open(&uri, &passphrase::ask(passphrase_file, name)?)?))
            }
        }
    }

    /// Makes a new key there: in a file, wrapped if a passphrase is `wanted` or a file with one is named; or in the token,
    /// which draws it and never gives it out. Nothing is overwritten.
    ///
    /// # Errors
    /// [`KeyFault`].
    pub fn create(&self, wanted: bool, passphrase_file: Option<&Path>) -> Result<Box<dyn KeyStore>, KeyFault> {
        match self {
            Self::File(file) if wanted || passphrase_file.is_some() => {
                Ok(Box::new(super::create_wrapped(file, passphrase_file)?))
            }
            Self::File(file) => Ok(Box::new(super::create(file)?)),
            Self::Token(name) => {
                let uri = name.parse()?;
                Ok(Box::new(TokenKey::create(&uri, &passphrase::ask(passphrase_file, name)?)?))
            }
        }
    }
}

impl From<&Path> for KeyLocation {
    fn from(path: &Path) -> Self {
        match path.to_str() {
            Some(text) if text.starts_with(token_uri::SCHEME) => Self::Token(text.to_owned()),
            _ => Self::File(path.to_owned()),
        }
    }
}

impl FromStr for KeyLocation {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self::from(Path::new(text)))
    }
}

impl fmt::Display for KeyLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(file) => file.display().fmt(f),
            Self::Token(name) => f.write_str(name),
        }
    }
}
