//! Chunks that came, in a folder, until the ledger is made of them.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use ledger::{shell::restore::RestoreFault, snapshot::Wanted};

/// The folder. A clone is the same.
#[derive(Clone, Debug)]
pub(super) struct Kept(Arc<Path>);

impl Kept {
    /// The folder beside the one of a ledger that is to be made. It need not be there.
    pub(super) fn beside(ledger: &Path) -> Self {
        Self(ledger.with_extension("joining").into())
    }

    /// Makes the folder if it is not there.
    pub(super) fn make(&self) -> Result<(), RestoreFault> {
        fs::create_dir_all(&*self.0).map_err(|source| RestoreFault::File { path: self.0.to_path_buf(), source })
    }

    /// What may be this chunk: it is believed as little as what a node sends.
    pub(super) fn read(&self, wanted: &Wanted) -> Option<Vec<u8>> {
        fs::read(self.file(wanted)).ok()
    }

    /// Keeps a chunk. Whether that works matters to a later try only.
    pub(super) fn write(&self, wanted: &Wanted, bytes: &[u8]) {
        if let Err(error) = fs::write(self.file(wanted), bytes) {
            tracing::warn!(folder = %self.0.display(), %error, "a chunk is not kept for a later try");
        }
    }

    /// Removes all of it.
    pub(super) fn remove(&self) {
        match fs::remove_dir_all(&*self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(folder = %self.0.display(), %error, "the chunks of a join could not be removed");
            }
            _ => {}
        }
    }

    fn file(&self, wanted: &Wanted) -> PathBuf {
        self.0.join(wanted.name())
    }
}
