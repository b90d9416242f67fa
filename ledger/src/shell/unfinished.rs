//! A ledger folder that is being filled beside its place, and appears there when all of it is on the disk.

use std::{
    fs::{self, File, TryLockError},
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

use super::{disk::Disk, restore::RestoreFault};

/// See the module.
pub(super) struct Unfinished {
    folder: Disk,
    /// Where it will stand.
    place: Disk,
    /// None on a simulated disk, which has one process.
    claim: Option<Claim>,
}

impl Unfinished {
    /// An empty folder for `place`, where nothing may stand, instead of one that ended in the midst.
    pub(super) fn begin(place: &Disk) -> Result<Self, RestoreFault> {
        if place.exists() {
            return Err(RestoreFault::FolderExists { folder: place.folder().to_owned() });
        }
        let folder = place.with_extension("restoring");
        let claim = match &folder {
            Disk::Folder(path) => Some(Claim::take(path)?),
            #[cfg(any(test, feature = "testing"))]
            Disk::Memory(..) => {
                folder.remove().map_err(file(folder.folder()))?;
                None
            }
        };
        Ok(Self { folder, place: place.clone(), claim })
    }

    /// The folder to fill.
    pub(super) fn folder(&self) -> &Disk {
        &self.folder
    }

    /// Lets the folder appear in its place. Nobody may have files in it open.
    pub(super) fn publish(self) -> Result<(), RestoreFault> {
        // Else a loss of power could leave the folder without what is in it: that of a node that never was.
        let synced = self.claim.as_ref().map_or(Ok(()), |claim| claim.folder.sync_all());
        let moved = synced.and_then(|()| self.folder.rename(&self.place)).map_err(file(self.folder.folder()));
        moved.inspect_err(|_| self.remove())?;
        let Some(claim) = &self.claim else { return Ok(()) };
        sync(above(self.place.folder()))?;
        claim.made_in.as_deref().map_or(Ok(()), sync)
    }

    /// Removes what was written so far.
    pub(super) fn remove(&self) {
        if let Err(error) = self.folder.remove() {
            tracing::warn!(folder = %self.folder.folder().display(), %error, "an unfinished restore could not be removed");
        }
    }
}

/// That no other process fills the folder.
struct Claim {
    /// The folder itself. It is locked until the process ends with it.
    folder: File,
    /// The folder that is above its place, if that was made for it.
    made_in: Option<PathBuf>,
}

impl Claim {
    fn take(folder: &Path) -> Result<Self, RestoreFault> {
        let parent = above(folder);
        let is_new = !parent.exists();
        fs::create_dir_all(parent).map_err(file(parent))?;
        let made_in = is_new.then(|| above(parent).to_owned());
        match File::open(folder) {
            Ok(left) => {
                lock(&left, folder)?;
                fs::remove_dir_all(folder).map_err(file(folder))?;
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(file(folder)(error)),
        }
        fs::create_dir(folder).map_err(file(folder))?;
        let own = File::open(folder).map_err(file(folder))?;
        lock(&own, folder)?;
        Ok(Self { folder: own, made_in })
    }
}

/// The folder in which a path stands.
fn above(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn lock(folder: &File, path: &Path) -> Result<(), RestoreFault> {
    folder.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => RestoreFault::UnderWay { folder: path.to_owned() },
        TryLockError::Error(source) => file(path)(source),
    })
}

fn sync(folder: &Path) -> Result<(), RestoreFault> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(file(folder))
}

fn file(path: &Path) -> impl FnOnce(io::Error) -> RestoreFault + use<> {
    let path = path.to_owned();
    move |source| RestoreFault::File { path, source }
}
