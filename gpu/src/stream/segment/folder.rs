//! A stream's folder: who may write in it, its files, and reading one of them in pieces.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, ErrorKind, Write as _},
    os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, flock};

use super::scan::Source;
use crate::stream::StreamFault;

/// A segment is written here, and gets its name when its header is on disk.
const NEXT: &str = "next";
const SUFFIX: &str = ".seg";
/// The least and the most that is read at once.
const READ_BYTES: (usize, usize) = (4 << 10, 256 << 10);

/// A stream's folder. While it lives nobody else opens it.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// Its lock goes when it is closed, also by the death of the process.
    handle: File,
}

/// A file that is read in pieces which grow as long as one follows the other.
#[derive(Debug)]
pub struct Pieces<'a> {
    file: &'a File,
    path: &'a Path,
    bytes: u64,
    start: u64,
    piece: Vec<u8>,
    ahead: usize,
}

impl Folder {
    /// Opens the folder, and makes it if it is not there.
    ///
    /// # Errors
    /// [`StreamFault::Io`]; of the kind `WouldBlock` if it is open already.
    pub fn open(path: &Path) -> Result<Self, StreamFault> {
        let failed = |source| fault(path, source);
        match DirBuilder::new().mode(0o700).create(path) {
            Ok(()) => {
                sync_parent(path).map_err(failed)?;
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed(error)),
        }
        let handle = File::open(path).map_err(failed)?;
        flock(&handle, FlockOperation::NonBlockingLockExclusive).map_err(|error| failed(error.into()))?;
        Ok(Self { path: path.to_owned(), handle })
    }

    /// Removes the folder and what is in it. It is no error if it is not there.
    ///
    /// # Errors
    /// [`StreamFault::Io`].
    pub fn remove(path: &Path) -> Result<(), StreamFault> {
        match fs::remove_dir_all(path) {
            Ok(()) => sync_parent(path).map_err(|source| fault(path, source)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(fault(path, error)),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The segments in it, by the position of their first page, in order.
    ///
    /// # Errors
    /// [`StreamFault::Io`].
    pub fn segments(&self) -> Result<Vec<u64>, StreamFault> {
        let failed = |source| fault(&self.path, source);
        let mut segments = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            let first = name.to_str().and_then(|name| name.strip_suffix(SUFFIX)).and_then(|first| first.parse().ok());
            segments.extend(first.filter(|first| name == *file_name(*first)));
        }
        segments.sort_unstable();
        Ok(segments)
    }

    /// Where the segment is whose first page has this position.
    pub fn segment(&self, first: u64) -> PathBuf {
        self.path.join(file_name(first))
    }

    /// Opens a segment.
    ///
    /// # Errors
    /// [`StreamFault::Io`].
    pub fn open_segment(&self, first: u64) -> Result<File, StreamFault> {
        let path = self.segment(first);
        OpenOptions::new().read(true).write(true).open(&path).map_err(|source| fault(&path, source))
    }

    /// Begins a segment with this header. It is on disk when this returns, whole.
    ///
    /// # Errors
    /// [`StreamFault::Io`].
    pub fn begin(&self, first: u64, header: &[u8]) -> Result<File, StreamFault> {
        let path = self.path.join(NEXT);
        let begin = || -> io::Result<File> {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
            file.write_all(header)?;
            file.sync_all()?;
            fs::rename(&path, self.segment(first))?;
            self.handle.sync_all()?;
            Ok(file)
        };
        begin().map_err(|source| fault(&path, source))
    }

    /// Removes a segment. Whoever has it open can still read it.
    ///
    /// # Errors
    /// [`StreamFault::Io`].
    pub fn remove_segment(&self, first: u64) -> Result<(), StreamFault> {
        let path = self.segment(first);
        fs::remove_file(&path).map_err(|source| fault(&path, source))
    }
}

fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
        _ => Ok(()),
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A child that another thread is just starting may hold the folder open for a moment, and its lock with it.
        let _ = flock(&self.handle, FlockOperation::Unlock);
    }
}

/// What a segment's file is called.
fn file_name(first: u64) -> String {
    format!("{first:08}{SUFFIX}")
}

/// What the system said of a file.
pub fn fault(file: &Path, source: io::Error) -> StreamFault {
    StreamFault::Io { file: file.to_owned(), source }
}

impl<'a> Pieces<'a> {
    /// Reads `file`, which is at `path`.
    ///
    /// # Errors
    /// [`StreamFault::Io`].
    pub fn new(file: &'a File, path: &'a Path) -> Result<Self, StreamFault> {
        let bytes = file.metadata().map_err(|source| fault(path, source))?.len();
        Ok(Self { file, path, bytes, start: 0, piece: Vec::new(), ahead: READ_BYTES.0 })
    }
}

impl Source for Pieces<'_> {
    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn read(&mut self, offset: u64, count: usize) -> Result<&[u8], StreamFault> {
        let count = usize::try_from(self.bytes.saturating_sub(offset)).unwrap_or(usize::MAX).min(count);
        let end = self.start + self.piece.len() as u64;
        if offset < self.start || offset + count as u64 > end {
            self.ahead = match offset <= end + READ_BYTES.0 as u64 {
                true => (self.ahead * 2).min(READ_BYTES.1),
                false => READ_BYTES.0,
            };
            let rest = usize::try_from(self.bytes - offset.min(self.bytes)).unwrap_or(usize::MAX);
            self.start = offset;
            self.piece.resize(count.max(self.ahead).min(rest), 0);
            let read = self.file.read_exact_at(&mut self.piece, offset);
            if let Err(source) = read {
                self.piece.clear();
                return Err(fault(self.path, source));
            }
        }
        let skip = usize::try_from(offset - self.start).unwrap_or(usize::MAX).min(self.piece.len());
        Ok(&self.piece[skip..skip + count])
    }
}
