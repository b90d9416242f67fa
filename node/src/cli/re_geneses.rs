//! The re-geneses that whoever gives a command was told of.

use clap::Args;
use wallet::digest::Digest;

/// `--re-genesis`: without it no ledger is taken that began anew, and with it none that did not.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct ReGeneses {
    /// The digest of a re-genesis by which the ledger began anew; once for each. What lacks one that is named is refused,
    /// and so is what holds another. Get it from the operators that signed it, or others that you trust, and not from
    /// whoever gave you the file.
    #[arg(long = "re-genesis", value_name = "HASH")]
    named: Vec<Digest>,
}

impl ReGeneses {
    /// Their digests.
    pub(super) fn digests(&self) -> &[Digest] {
        &self.named
    }
}
