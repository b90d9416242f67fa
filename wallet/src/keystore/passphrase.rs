//! What a person remembers, or a file keeps, to open a wrapped key or a token.

use std::fmt;

use zeroize::Zeroizing;

use crate::refusal::Refusal;

/// A passphrase, or the PIN of a token: 1 to 1024 bytes of UTF-8 in one line, taken as they are. Erased when dropped; not
/// printed.
pub struct Passphrase(Zeroizing<String>);

impl Passphrase {
    /// How many bytes it may have.
    pub const BYTES_MAX: usize = 1024;

    /// The passphrase with this text.
    ///
    /// # Errors
    /// [`Refusal::PassphraseUnfit`] if it is empty, too long or has control characters.
    pub fn new(text: Zeroizing<String>) -> Result<Self, Refusal> {
        let unfit = |reason| Err(Refusal::PassphraseUnfit { reason });
        if text.is_empty() {
            return unfit("it is empty");
        }
        if text.len() > Self::BYTES_MAX {
            return unfit("it has more than 1024 bytes");
        }
        if text.chars().any(char::is_control) {
            return unfit("it has control characters, such as an end of line");
        }
        Ok(Self(text))
    }

    /// The text. It is neither printed nor logged.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passphrase_is_one_line_that_is_neither_empty_nor_endless() {
        let new = |text: &str| Passphrase::new(Zeroizing::new(text.to_owned())).map(|_| ());
        assert_eq!(new("correct horse"), Ok(()));
        assert_eq!(new(&"x".repeat(1024)), Ok(()));
        for text in ["", "two\nlines", "end\n", &"x".repeat(1025)] {
            assert!(matches!(new(text), Err(Refusal::PassphraseUnfit { .. })), "{text:?}");
        }
    }

    #[test]
    fn a_passphrase_does_not_print_itself() {
        let passphrase = Passphrase::new(Zeroizing::new("correct horse".to_owned())).expect("one line");
        assert_eq!(format!("{passphrase:?}"), "Passphrase(redacted)");
    }
}
