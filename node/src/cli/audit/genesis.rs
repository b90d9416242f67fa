//! What an auditor begins with.

use std::{path::PathBuf, str::FromStr};

use wallet::digest::Digest;

use crate::cli::{Failure, genesis::read};

/// The genesis document that the auditor trusts: its hash, or the document itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Genesis {
    /// Its hash.
    Hash(Digest),
    /// The file that holds it.
    File(PathBuf),
}

impl FromStr for Genesis {
    type Err = std::convert::Infallible;

    /// What is no hash is a file.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(text.parse().map_or_else(|_| Self::File(text.into()), Self::Hash))
    }
}

impl Genesis {
    /// Its hash.
    pub(super) fn hash(&self) -> Result<Digest, Failure> {
        match self {
            Self::Hash(hash) => Ok(*hash),
            Self::File(file) if file.exists() => Ok(read(file)?.hash()),
            Self::File(text) => {
                let title = "neither 64 lower-case hexadecimal digits nor a file that is there";
                Err(Failure::new("N-150", title, text.display()))
            }
        }
    }
}
