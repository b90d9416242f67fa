//! Chunks that came, in a folder, until the ledger is made of them.

use crate::{shell::disk::Disk, snapshot::Wanted};

/// The folder. A clone is the same.
#[derive(Clone, Debug)]
pub(super) struct Kept(Disk);

impl Kept {
    /// The folder beside the one of a ledger that is to be made. It need not be there.
    pub(super) fn beside(ledger: &Disk) -> Self {
        Self(ledger.with_extension("joining"))
    }

    /// What may be this chunk: it is believed as little as what a node sends.
    pub(super) fn read(&self, wanted: &Wanted) -> Option<Vec<u8>> {
        self.0.read(&wanted.name()).ok().flatten()
    }

    /// Keeps a chunk. Whether that works matters to a later try only.
    pub(super) fn write(&self, wanted: &Wanted, bytes: &[u8]) {
        if let Err(error) = self.0.write(&wanted.name(), bytes) {
            tracing::warn!(folder = %self.0.folder().display(), %error, "a chunk is not kept for a later try");
        }
    }

    /// Removes all of it.
    pub(super) fn remove(&self) {
        if let Err(error) = self.0.remove() {
            tracing::warn!(folder = %self.0.folder().display(), %error, "the chunks of a join could not be removed");
        }
    }
}
