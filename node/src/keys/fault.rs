//! Why a key cannot be used from where it is kept. No message holds a secret, a passphrase or a PIN.

use std::path::PathBuf;

use wallet::refusal::Refusal;

use super::{KeyFileFault, token::TokenFault, token_uri::TokenUriInvalid};

/// Why a key is not opened or not made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFault {
    /// Its file, or that of its passphrase.
    #[error(transparent)]
    File(#[from] KeyFileFault),
    /// A wrapped key is refused or not opened, or a passphrase is none.
    #[error("{}: {source}", file.display())]
    Wallet {
        /// The file.
        file: PathBuf,
        /// Why.
        source: Refusal,
    },
    /// What was typed is no passphrase.
    #[error("the terminal: {0}")]
    Typed(Refusal),
    /// What was typed the second time is something else.
    #[error("the terminal: the two passphrases differ")]
    TypedTwice,
    /// Nothing says what the passphrase is.
    #[error(
        "{of} needs a passphrase: name a file that holds it (--passphrase-file, or passphrase-file in a configuration), or ask on a terminal"
    )]
    NoPassphrase {
        /// What is locked with it.
        of: String,
    },
    /// Not the name of a key in a token.
    #[error(transparent)]
    Uri(#[from] TokenUriInvalid),
    /// The token.
    #[error(transparent)]
    Token(#[from] TokenFault),
    /// A key that must be in a file is said to be in a token.
    #[error("{place}: this key has to be a file, since the node needs the secret itself, which no token gives out")]
    NotInToken {
        /// Where it is said to be.
        place: String,
    },
}

impl KeyFault {
    /// The stable code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::File(fault) => fault.code(),
            Self::Wallet { source, .. } | Self::Typed(source) => source.code(),
            Self::NoPassphrase { .. } => "N-556",
            Self::TypedTwice => "N-557",
            Self::Uri(_) => "N-558",
            Self::Token(fault) => fault.code(),
            Self::NotInToken { .. } => "N-559",
        }
    }
}
