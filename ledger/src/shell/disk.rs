//! The port to the disk: a folder of the operating system or, in simulations, a disk in memory that survives a crash.

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Write},
    path::{Path, PathBuf},
};

#[cfg(any(test, feature = "testing"))]
use std::sync::Arc;

#[cfg(any(test, feature = "testing"))]
use super::memory::MemoryDisk;

/// Where a replica keeps its files.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Disk {
    /// A folder. It is made when something is written to it.
    Folder(PathBuf),
    /// A simulated disk, and a folder on it.
    #[cfg(any(test, feature = "testing"))]
    Memory(Arc<MemoryDisk>, PathBuf),
}

impl From<&Path> for Disk {
    fn from(folder: &Path) -> Self {
        Self::Folder(folder.to_owned())
    }
}

impl From<&PathBuf> for Disk {
    fn from(folder: &PathBuf) -> Self {
        Self::Folder(folder.clone())
    }
}

impl From<PathBuf> for Disk {
    fn from(folder: PathBuf) -> Self {
        Self::Folder(folder)
    }
}

#[cfg(any(test, feature = "testing"))]
impl From<Arc<MemoryDisk>> for Disk {
    fn from(disk: Arc<MemoryDisk>) -> Self {
        Self::Memory(disk, PathBuf::new())
    }
}

impl Disk {
    /// The folder `name` in this one.
    #[must_use]
    pub fn join(&self, name: &str) -> Self {
        match self {
            Self::Folder(folder) => Self::Folder(folder.join(name)),
            #[cfg(any(test, feature = "testing"))]
            Self::Memory(disk, folder) => Self::Memory(disk.clone(), folder.join(name)),
        }
    }

    /// The path of the file `name` in this folder, for messages.
    pub fn path(&self, name: &str) -> PathBuf {
        match self {
            Self::Folder(folder) => folder.join(name),
            #[cfg(any(test, feature = "testing"))]
            Self::Memory(_, folder) => folder.join(name),
        }
    }

    /// The folder `name` beside this one: its name with another extension.
    #[must_use]
    pub fn with_extension(&self, extension: &str) -> Self {
        match self {
            Self::Folder(folder) => Self::Folder(folder.with_extension(extension)),
            #[cfg(any(test, feature = "testing"))]
            Self::Memory(disk, folder) => Self::Memory(disk.clone(), folder.with_extension(extension)),
        }
    }

    /// Where this folder is.
    pub fn folder(&self) -> &Path {
        match self {
            Self::Folder(folder) => folder,
            #[cfg(any(test, feature = "testing"))]
            Self::Memory(_, folder) => folder,
        }
    }

    /// Whether this folder is there.
    pub fn exists(&self) -> bool {
        match self {
            Self::Folder(folder) => folder.exists(),
            #[cfg(any(test, feature = "testing"))]
            Self::Memory(disk, folder) => disk.exists(folder),
        }
    }

    /// Whether there is a store in this folder. Opening one would make it, also in a folder that is there: what RocksDB
    /// begins with is its file `CURRENT`.
    pub fn has_store(&self) -> bool {
        match self {
            Self::Folder(folder) => folder.join("CURRENT").exists(),
            #[cfg(any(test, feature = "testing"))]
            Self::Memory(disk, folder) => disk.exists(folder),
        }
    }

    /// Removes this folder with all that is in it, if it is there.
    ///
    /// # Errors
    /// The system's own.
    pub fn remove(&self) -> io::Result<()> {
        let removed = match self {
            Self::Folder(folder) => fs::remove_dir_all(folder),
            #[cfg(any(test, feature = "testing"))]
            Self::Memory(disk, folder) => disk.remove(folder),
        };
        removed.or_else(|error| if error.kind() == ErrorKind::NotFound { Ok(()) } else { Err(error) })
    }

    /// Lets this folder stand at `place`, which is on the same disk, all of it at once. Nobody may have files in it open.
    ///
    /// # Errors
    /// The system's own.
    pub fn rename(&self, place: &Self) -> io::Result<()> {
        match self {
            Self::Folder(folder) => fs::rename(folder, place.folder()),
            #[cfg(any(test, feature = "testing"))]
            Self::Memory(disk, folder) => disk.rename(folder, place.folder()),
        }
    }

    /// The bytes of a file, if there is one.
    ///
    /// # Errors
    /// The system's own.
    pub fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        let path = self.path(name);
        let read = match self {
            Self::Folder(_) => fs::read(path),
            #[cfg(any(test, feature = "testing"))]
            Self::Memory(disk, _) => disk.read(&path),
        };
        match read {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes a file and does not wait for the disk: after a crash it may be cut short, or not there.
    ///
    /// # Errors
    /// The system's own; then it may be cut short.
    pub fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Folder(folder) => {
                fs::create_dir_all(folder)?;
                fs::write(folder.join(name), bytes)
            }
            #[cfg(any(test, feature = "testing"))]
            Self::Memory(disk, folder) => disk.write_in_place(folder.join(name), bytes),
        }
    }

    /// Puts a file in place of the one before, and returns when the new one, and its name, are on the disk. After a
    /// crash either the old or the new one is there, whole.
    ///
    /// # Errors
    /// The system's own; the old file is still there then, or the new one.
    pub fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Folder(folder) => {
                fs::create_dir_all(folder)?;
                let path = folder.join(name);
                let next = path.with_extension("next");
                let mut file = File::create(&next)?;
                file.write_all(bytes)?;
                file.sync_all()?;
                fs::rename(&next, &path)?;
                File::open(folder)?.sync_all()
            }
            #[cfg(any(test, feature = "testing"))]
            Self::Memory(disk, folder) => disk.replace(folder.join(name), bytes),
        }
    }

    /// The names of the files in this folder, sorted. None if there is no such folder.
    ///
    /// # Errors
    /// The system's own.
    pub fn names(&self) -> io::Result<Vec<String>> {
        let mut names = match self {
            Self::Folder(folder) => match fs::read_dir(folder) {
                Ok(entries) => entries
                    .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()))
                    .collect::<io::Result<Vec<_>>>()?,
                Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
                Err(error) => return Err(error),
            },
            #[cfg(any(test, feature = "testing"))]
            Self::Memory(disk, folder) => disk.names(folder),
        };
        names.sort();
        Ok(names)
    }
}
