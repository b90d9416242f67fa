//! The head of a log as text: C2SP's tlog-checkpoint.

use std::fmt;

use wallet::digest::Digest;

use super::{Malformed, hash_from_base64, number, to_base64};

/// The tree of a log at one size. Its `Display` is the text that is signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which log. Not empty.
    pub origin: String,
    /// How many leaves it has.
    pub size: u64,
    /// The root over them (RFC 9162).
    pub root: Digest,
    /// Further lines, none of them empty. This ledger writes none: nobody could audit them.
    pub extensions: Vec<String>,
}

/// The name of the log of a consortium: who knows the hash of the genesis document knows it.
pub fn origin(consortium: &Digest) -> String {
    format!("batchmind/{consortium}")
}

impl Checkpoint {
    /// That of this ledger.
    pub fn new(consortium: &Digest, size: u64, root: Digest) -> Self {
        Self { origin: origin(consortium), size, root, extensions: Vec::new() }
    }

    /// Reads the text of a note.
    ///
    /// # Errors
    /// [`Malformed`] if it is that of no checkpoint.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let mut lines = text.strip_suffix('\n').ok_or(malformed("its last line does not end"))?.split('\n');
        let origin = lines.next().filter(|origin| !origin.is_empty()).ok_or(malformed("it has no origin"))?;
        let size = lines.next().and_then(number).ok_or(malformed("it has no tree size"))?;
        let root = lines.next().and_then(hash_from_base64).ok_or(malformed("it has no root hash"))?;
        let extensions: Vec<String> = lines.map(str::to_owned).collect();
        if extensions.iter().any(String::is_empty) {
            return Err(malformed("a line is empty"));
        }
        Ok(Self { origin: origin.to_owned(), size, root, extensions })
    }
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n{}\n{}", self.origin, self.size, to_base64(self.root.as_bytes()))?;
        self.extensions.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

const fn malformed(reason: &'static str) -> Malformed {
    Malformed { what: "checkpoint", reason }
}
