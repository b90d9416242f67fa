//! A disk in memory for simulations: it survives the crash of its process, loses or keeps the write that was in flight
//! then, fails on demand, and can be set back to an earlier image.

use std::{
    collections::BTreeMap,
    io,
    ops::Bound,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{
    fault::Fault,
    store::{Change, KeyValue, Scan},
};

/// One node's disk. All that was written and not lost is there until it is set back.
#[derive(Debug, Default)]
pub struct MemoryDisk(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    image: Image,
    writes: u64,
    /// Of rows of databases.
    reads: u64,
    plan: Option<(u64, Trouble)>,
    /// Set when the process died at a write: until it starts again nothing more reaches the disk.
    dead: bool,
    full: bool,
}

/// What a disk holds: an image of it is a backup.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// By the folder of the store, and the family.
    stores: BTreeMap<PathBuf, BTreeMap<&'static str, Values>>,
    files: BTreeMap<PathBuf, Vec<u8>>,
}

type Values = BTreeMap<Vec<u8>, Vec<u8>>;

impl Image {
    /// The rows of a database with `from <= key < to`.
    fn rows(
        &self,
        folder: &Path,
        family: &'static str,
        from: &[u8],
        to: Option<&[u8]>,
    ) -> impl DoubleEndedIterator<Item = (&Vec<u8>, &Vec<u8>)> {
        let values = self.stores.get(folder).and_then(|store| store.get(family));
        let values = values.filter(|_| to.is_none_or(|to| from < to));
        let range = (Bound::Included(from), to.map_or(Bound::Unbounded, Bound::Excluded));
        values.into_iter().flat_map(move |values| values.range::<[u8], _>(range))
    }
}

/// What goes wrong at a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The process dies while it writes, and the write is lost. Half of a file may be left beside the old one.
    DieAndLose,
    /// The process dies while it writes, and the write is kept, but nobody heard of it.
    DieAndKeep,
    /// The write fails and nothing of it is kept.
    Fail,
    /// The sync fails, and what was written is there nevertheless.
    FailAndKeep,
    /// From now on the disk is full, until [`MemoryDisk::make_room`].
    Full,
}

impl MemoryDisk {
    /// Makes the write after the next `skipped` ones go wrong.
    pub fn plan(&self, skipped: u64, trouble: Trouble) {
        let mut inner = self.inner();
        inner.plan = Some((inner.writes + skipped, trouble));
    }

    /// Whether the process died at a write. What it does now has no effect on the world, if the caller sees to it that
    /// it sends nothing.
    pub fn is_dead(&self) -> bool {
        self.inner().dead
    }

    /// A process starts on this disk.
    pub fn restart(&self) {
        let mut inner = self.inner();
        inner.dead = false;
        inner.plan = None;
    }

    /// Ends [`Trouble::Full`].
    pub fn make_room(&self) {
        self.inner().full = false;
    }

    /// How many writes were asked for.
    pub fn writes(&self) -> u64 {
        self.inner().writes
    }

    /// How many rows of databases were asked for or shown.
    pub fn reads(&self) -> u64 {
        self.inner().reads
    }

    /// A backup.
    pub fn image(&self) -> Image {
        self.inner().image.clone()
    }

    /// Restores a backup: what was written since is gone.
    pub fn set_back(&self, image: Image) {
        self.inner().image = image;
    }

    /// Restores one file of a backup, or removes it where the backup has none.
    pub fn set_back_file(&self, image: &Image, path: &Path) {
        let mut inner = self.inner();
        match image.files.get(path) {
            Some(bytes) => inner.image.files.insert(path.to_owned(), bytes.clone()),
            None => inner.image.files.remove(path),
        };
    }

    pub(super) fn store(self: &Arc<Self>, folder: &Path) -> MemoryStore {
        MemoryStore { disk: self.clone(), folder: folder.to_owned() }
    }

    pub(super) fn exists(&self, folder: &Path) -> bool {
        let Inner { image: Image { stores, files }, .. } = &*self.inner();
        stores.keys().chain(files.keys()).any(|path| path.starts_with(folder))
    }

    pub(super) fn remove(&self, folder: &Path) -> io::Result<()> {
        let mut inner = self.inner();
        let (keep, result) = inner.write();
        if keep {
            inner.image.stores.retain(|path, _| !path.starts_with(folder));
            inner.image.files.retain(|path, _| !path.starts_with(folder));
        }
        result
    }

    /// Gives a folder another name, all of it at once.
    pub(super) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut inner = self.inner();
        let (keep, result) = inner.write();
        if keep {
            let renamed = |path: PathBuf| path.strip_prefix(from).map(|rest| to.join(rest)).unwrap_or(path.clone());
            let Image { stores, files } = std::mem::take(&mut inner.image);
            inner.image.stores = stores.into_iter().map(|(path, store)| (renamed(path), store)).collect();
            inner.image.files = files.into_iter().map(|(path, bytes)| (renamed(path), bytes)).collect();
        }
        result
    }

    pub(super) fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.inner().image.files.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    pub(super) fn names(&self, folder: &Path) -> Vec<String> {
        let inner = self.inner();
        let files = inner.image.files.keys().filter(|path| path.parent() == Some(folder));
        files.filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned())).collect()
    }

    pub(super) fn replace(&self, path: PathBuf, bytes: &[u8]) -> io::Result<()> {
        let mut inner = self.inner();
        let (keep, result) = inner.write();
        if keep {
            inner.image.files.insert(path, bytes.to_vec());
        } else if inner.dead {
            let half = bytes[..bytes.len() / 2].to_vec();
            inner.image.files.insert(path.with_extension("next"), half);
        }
        result
    }

    /// A write that is not whole when the process dies in it.
    pub(super) fn write_in_place(&self, path: PathBuf, bytes: &[u8]) -> io::Result<()> {
        let mut inner = self.inner();
        let (keep, result) = inner.write();
        let kept = if keep { bytes.len() } else { bytes.len() / 2 };
        if keep || inner.dead {
            inner.image.files.insert(path, bytes[..kept].to_vec());
        }
        result
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Counts a write: whether it is kept, and what the writer is told.
    fn write(&mut self) -> (bool, io::Result<()>) {
        let number = self.writes;
        self.writes += 1;
        if self.dead {
            return (false, Err(io::Error::other("the process is dead")));
        }
        let trouble = self.plan.filter(|(at, _)| number >= *at).map(|(_, trouble)| trouble);
        if trouble.is_some() {
            self.plan = None;
        }
        self.full |= trouble == Some(Trouble::Full);
        self.dead |= matches!(trouble, Some(Trouble::DieAndLose | Trouble::DieAndKeep));
        match trouble {
            _ if self.full => (false, Err(io::ErrorKind::StorageFull.into())),
            Some(Trouble::DieAndKeep) => (true, Err(io::Error::other("the process dies"))),
            Some(Trouble::DieAndLose) => (false, Err(io::Error::other("the process dies"))),
            Some(Trouble::FailAndKeep) => (true, Err(io::Error::other("the sync failed"))),
            Some(Trouble::Fail) => (false, Err(io::Error::other("the write failed"))),
            Some(Trouble::Full) | None => (true, Ok(())),
        }
    }
}

/// A database on a [`MemoryDisk`]. A batch is kept whole or not at all, as RocksDB's write-ahead log sees to it.
pub(super) struct MemoryStore {
    disk: Arc<MemoryDisk>,
    folder: PathBuf,
}

impl MemoryStore {
    pub(super) fn get<T>(&self, family: &'static str, key: &[u8], read: impl FnOnce(&[u8]) -> T) -> Option<T> {
        let Inner { image, reads, .. } = &mut *self.disk.inner();
        *reads += 1;
        image.stores.get(&self.folder)?.get(family)?.get(key).map(|value| read(value))
    }

    pub(super) fn scan(
        &self,
        family: &'static str,
        from: &[u8],
        to: Option<&[u8]>,
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<Scan, Fault>,
    ) -> Result<(), Fault> {
        let Inner { image, reads, .. } = &mut *self.disk.inner();
        for (key, value) in image.rows(&self.folder, family, from, to) {
            *reads += 1;
            if let Scan::Stop = visit(key, value)? {
                break;
            }
        }
        Ok(())
    }

    pub(super) fn last(&self, family: &'static str, from: &[u8], to: Option<&[u8]>) -> Option<KeyValue> {
        let Inner { image, reads, .. } = &mut *self.disk.inner();
        *reads += 1;
        let (key, value) = image.rows(&self.folder, family, from, to).next_back()?;
        Some((key.clone(), value.clone()))
    }

    pub(super) fn write(&self, changes: Vec<Change>) -> Result<(), Fault> {
        let mut inner = self.disk.inner();
        let (keep, result) = inner.write();
        for change in changes.into_iter().filter(|_| keep) {
            let store = inner.image.stores.entry(self.folder.clone()).or_default();
            match change {
                Change::Put { family, key, value } => {
                    store.entry(family).or_default().insert(key, value);
                }
                Change::Delete { family, key } => {
                    store.entry(family).or_default().remove(&key);
                }
                Change::DeleteRange { family, from, to } => {
                    store.entry(family).or_default().retain(|key, _| *key < from || *key >= to);
                }
            }
        }
        result.map_err(|source| Fault::file(&self.folder, source))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell::{
        disk::Disk,
        store::{Batch, Store},
    };

    fn put(store: &Store, key: &[u8], value: u64) -> Result<(), Fault> {
        let mut batch = Batch::default();
        batch.put("values", key, &value);
        batch.put("values", &[key, b"-twin"].concat(), &value);
        store.write(batch)
    }

    fn open(disk: &Arc<MemoryDisk>) -> Store {
        Store::open(&disk.clone().into(), "test", &["values"]).expect("opens")
    }

    fn has(store: &Store, key: &[u8]) -> bool {
        let found = store.get::<u64>("values", key).expect("reads").is_some();
        let twin = store.get::<u64>("values", &[key, b"-twin"].concat()).expect("reads").is_some();
        assert_eq!(found, twin, "a batch is atomic");
        found
    }

    #[test]
    fn what_was_acknowledged_survives_a_crash_and_the_write_in_flight_is_whole_or_lost() {
        for (trouble, kept) in [(Trouble::DieAndLose, false), (Trouble::DieAndKeep, true)] {
            let disk = Arc::new(MemoryDisk::default());
            let store = open(&disk);
            disk.plan(1, trouble);
            put(&store, b"one", 1).expect("writes");
            put(&store, b"two", 2).expect_err("dies");
            put(&store, b"three", 3).expect_err("is dead");
            assert!(disk.is_dead());
            disk.restart();
            let store = open(&disk);
            assert_eq!([b"one".as_slice(), b"two", b"three"].map(|key| has(&store, key)), [true, kept, false]);
            put(&store, b"three", 3).expect("lives again");
        }
    }

    #[test]
    fn a_folder_is_renamed_and_removed_with_all_that_is_in_it_and_with_nothing_beside_it() {
        let disk = Arc::new(MemoryDisk::default());
        let [folder, other] = ["folder", "folder.next"].map(|name| Disk::from(disk.clone()).join(name));
        let store = |folder: &Disk| Store::open(&folder.join("store"), "test", &["values"]).expect("opens");
        put(&store(&other), b"one", 1).expect("writes");
        other.replace("file", b"bytes").expect("writes");
        assert!(other.exists() && !folder.exists());
        disk.rename(other.folder(), folder.folder()).expect("writes");
        assert!(!other.exists() && has(&store(&folder), b"one"));
        assert_eq!(folder.read("file").expect("reads"), Some(b"bytes".to_vec()));
        put(&store(&other), b"two", 2).expect("writes");
        folder.remove().expect("writes");
        assert!(!folder.exists() && has(&store(&other), b"two"));
    }

    #[test]
    fn a_write_in_place_is_cut_short_by_a_death() {
        let disk = Arc::new(MemoryDisk::default());
        let folder = Disk::from(disk.clone());
        disk.plan(0, Trouble::DieAndLose);
        folder.write("file", b"bytes").expect_err("dies");
        assert_eq!(folder.read("file").expect("reads"), Some(b"by".to_vec()));
    }

    #[test]
    fn a_full_disk_takes_nothing_until_there_is_room() {
        let disk = Arc::new(MemoryDisk::default());
        let store = open(&disk);
        disk.plan(0, Trouble::Full);
        put(&store, b"one", 1).expect_err("full");
        put(&store, b"one", 1).expect_err("still full");
        disk.make_room();
        put(&store, b"one", 1).expect("writes");
    }

    #[test]
    fn a_backup_brings_back_what_it_held_and_no_more() {
        let disk = Arc::new(MemoryDisk::default());
        let (store, folder) = (open(&disk), Disk::from(disk.clone()));
        put(&store, b"one", 1).expect("writes");
        folder.replace("file", b"old").expect("writes");
        let image = disk.image();
        put(&store, b"two", 2).expect("writes");
        folder.replace("file", b"new").expect("writes");
        disk.set_back_file(&image, Path::new("file"));
        assert_eq!((folder.read("file").expect("reads"), has(&store, b"two")), (Some(b"old".to_vec()), true));
        disk.set_back(image);
        assert_eq!((has(&store, b"one"), has(&store, b"two")), (true, false));
    }
}
