//! Column families of sealed values, as both stores use them: strict, and with a checksum of our own on every value.
//!
//! RocksDB checks its blocks; our checksum also covers the way from there to here and catches a value that was copied
//! to another key's place, because the key is part of what is summed.

use std::{path::Path, sync::OnceLock};

use serde::{Serialize, de::DeserializeOwned};
use wallet::codec;

use super::{alarm::Alarm, disk::Disk, fault::Fault, rocks::Rocks};
use crate::planted::planted;

#[cfg(any(test, feature = "testing"))]
use super::memory::MemoryStore;

/// A database with named column families.
pub(crate) struct Store {
    backend: Backend,
    /// The folder's name, for messages.
    name: &'static str,
    /// What is raised when a value cannot be read.
    alarm: OnceLock<Alarm>,
}

/// What holds the bytes.
enum Backend {
    Rocks(Rocks),
    #[cfg(any(test, feature = "testing"))]
    Memory(MemoryStore),
}

/// A key and its value, as bytes.
pub(crate) type KeyValue = (Vec<u8>, Vec<u8>);

/// Puts and deletes that reach the disk together or not at all.
#[derive(Default)]
pub(crate) struct Batch(pub(super) Vec<Change>);

/// One of them. Values are sealed.
pub(super) enum Change {
    Put { family: &'static str, key: Vec<u8>, value: Vec<u8> },
    Delete { family: &'static str, key: Vec<u8> },
    DeleteRange { family: &'static str, from: Vec<u8>, to: Vec<u8> },
}

impl Change {
    /// About how many bytes it has.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Put { key, value, .. } => key.len() + value.len(),
            Self::Delete { key, .. } => key.len(),
            Self::DeleteRange { from, to, .. } => from.len() + to.len(),
        }
    }
}

impl Batch {
    /// Stores the encoding of `value`.
    pub(crate) fn put<T: Serialize + ?Sized>(&mut self, family: &'static str, key: &[u8], value: &T) {
        self.seal(family, key, codec::encode_after(&ROOM, value));
    }

    /// Stores bytes as they are.
    pub(crate) fn put_bytes(&mut self, family: &'static str, key: &[u8], bytes: &[u8]) {
        self.seal(family, key, [&ROOM, bytes].concat());
    }

    fn seal(&mut self, family: &'static str, key: &[u8], with_room: Vec<u8>) {
        self.0.push(Change::Put { family, key: key.to_vec(), value: seal(key, with_room) });
    }

    /// Removes one key.
    pub(crate) fn delete(&mut self, family: &'static str, key: &[u8]) {
        self.0.push(Change::Delete { family, key: key.to_vec() });
    }

    /// Removes the keys from `from` up to, but without, `to`.
    pub(crate) fn delete_range(&mut self, family: &'static str, from: &[u8], to: &[u8]) {
        self.0.push(Change::DeleteRange { family, from: from.to_vec(), to: to.to_vec() });
    }
}

impl Store {
    /// Opens or creates the database on `disk`, which is its own folder there.
    pub(crate) fn open(disk: &Disk, name: &'static str, families: &[&'static str]) -> Result<Self, Fault> {
        let backend = match disk {
            Disk::Folder(folder) => Backend::Rocks(Rocks::open(folder, name, families)?),
            #[cfg(any(test, feature = "testing"))]
            Disk::Memory(memory, folder) => Backend::Memory(memory.store(folder)),
        };
        Ok(Self { backend, name, alarm: OnceLock::new() })
    }

    /// Opens some families of the database in `folder`, which somebody may be writing, and writes nothing.
    pub(crate) fn open_to_read(folder: &Path, name: &'static str, families: &[&'static str]) -> Result<Self, Fault> {
        let backend = Backend::Rocks(Rocks::open_to_read(folder, name, families)?);
        Ok(Self { backend, name, alarm: OnceLock::new() })
    }

    /// From now on `alarm` is raised when a value cannot be read, or is not what was written: whoever asked for it gets the
    /// fault as well, and need not tell anybody. A store has one alarm, the first.
    pub(crate) fn watch_by(&self, alarm: &Alarm) {
        self.alarm.get_or_init(|| alarm.clone());
    }

    /// Reads and decodes one value.
    pub(crate) fn get<T: Serialize + DeserializeOwned>(
        &self,
        family: &'static str,
        key: &[u8],
    ) -> Result<Option<T>, Fault> {
        let Some(bytes) = self.get_bytes(family, key)? else { return Ok(None) };
        self.noted(codec::decode(&bytes).map(Some).map_err(|error| Fault::undecodable(self.name, family, key, error)))
    }

    /// Reads one value as it was stored.
    pub(crate) fn get_bytes(&self, family: &'static str, key: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
        let unseal = |value: &[u8]| self.unseal(family, key, value).map(<[u8]>::to_vec);
        let read = match &self.backend {
            Backend::Rocks(rocks) => rocks.get(family, key, unseal),
            #[cfg(any(test, feature = "testing"))]
            Backend::Memory(memory) => Ok(memory.get(family, key, unseal)),
        };
        self.noted(read.and_then(Option::transpose))
    }

    /// Visits the values with `from <= key < to` in the order of their keys, until `visit` says to stop or that a value is
    /// not what was written.
    pub(crate) fn scan(
        &self,
        family: &'static str,
        from: &[u8],
        to: Option<&[u8]>,
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<Scan, Fault>,
    ) -> Result<(), Fault> {
        let visit = |key: &[u8], value: &[u8]| visit(key, self.unseal(family, key, value)?);
        self.noted(match &self.backend {
            Backend::Rocks(rocks) => rocks.scan(family, from, to, visit),
            #[cfg(any(test, feature = "testing"))]
            Backend::Memory(memory) => memory.scan(family, from, to, visit),
        })
    }

    /// The last key and value of a family with `from <= key < to`.
    pub(crate) fn last(&self, family: &'static str, from: &[u8], to: Option<&[u8]>) -> Result<Option<KeyValue>, Fault> {
        let pair = match &self.backend {
            Backend::Rocks(rocks) => rocks.last(family, from, to),
            #[cfg(any(test, feature = "testing"))]
            Backend::Memory(memory) => Ok(memory.last(family, from, to)),
        };
        let Some((key, value)) = self.noted(pair)? else { return Ok(None) };
        let value = self.noted(self.unseal(family, &key, &value))?.to_vec();
        Ok(Some((key, value)))
    }

    /// Writes a batch and returns when it is on the disk.
    pub(crate) fn write(&self, batch: Batch) -> Result<(), Fault> {
        match &self.backend {
            Backend::Rocks(rocks) => rocks.write(batch.0),
            #[cfg(any(test, feature = "testing"))]
            Backend::Memory(memory) => memory.write(batch.0),
        }
    }

    /// What was read. A fault raises the alarm, so that no reader can take damage for absence.
    pub(crate) fn noted<T>(&self, read: Result<T, Fault>) -> Result<T, Fault> {
        read.inspect_err(|fault| {
            if let Some(alarm) = self.alarm.get() {
                alarm.raise(fault.clone());
            }
        })
    }

    /// What must be there is not. That raises the alarm, as damage does.
    pub(crate) fn missing<T>(&self, what: String) -> Result<T, Fault> {
        self.noted(Err(Fault::Missing { store: self.name, what }))
    }

    fn unseal<'a>(&self, family: &'static str, key: &[u8], value: &'a [u8]) -> Result<&'a [u8], Fault> {
        let Some((sum, bytes)) = value.split_first_chunk::<4>() else {
            return Err(Fault::damaged(self.name, family, key, "too short for its checksum"));
        };
        if u32::from_le_bytes(*sum) != checksum(key, bytes) && !planted!(SumsUnchecked) {
            return Err(Fault::damaged(self.name, family, key, "its checksum does not match"));
        }
        Ok(bytes)
    }
}

/// Whether a scan goes on.
pub(crate) enum Scan {
    More,
    Stop,
}

/// Numbers as keys that sort like numbers.
pub(crate) fn number_key(number: u64) -> [u8; 8] {
    number.to_be_bytes()
}

/// The number in such a key.
pub(crate) fn key_number(key: &[u8]) -> Option<u64> {
    key.try_into().ok().map(u64::from_be_bytes)
}

/// Room for the checksum in front of a value.
const ROOM: [u8; 4] = [0; 4];

/// Puts the checksum of key and value into its room.
fn seal(key: &[u8], mut value: Vec<u8>) -> Vec<u8> {
    if let Some((room, bytes)) = value.split_first_chunk_mut() {
        *room = checksum(key, bytes).to_le_bytes();
    }
    value
}

fn checksum(key: &[u8], bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(key), bytes)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::shell::memory::MemoryDisk;

    fn open(dir: &Path) -> Store {
        Store::open(&dir.into(), "test", &["values"]).expect("a fresh folder opens")
    }

    fn put(store: &Store, key: &[u8], value: u64) {
        let mut batch = Batch::default();
        batch.put("values", key, &value);
        store.write(batch).expect("writes");
    }

    /// Puts a value past the seal.
    fn put_raw(store: &Store, key: &[u8], value: Vec<u8>) {
        store.write(Batch(vec![Change::Put { family: "values", key: key.to_vec(), value }])).expect("writes");
    }

    #[test]
    fn a_changed_bit_in_a_value_is_a_fault_that_names_the_key() {
        let dir = tempfile::tempdir().expect("tempdir");
        let store = open(dir.path());
        let mut value = seal(b"k", codec::encode_after(&ROOM, &7_u64));
        *value.last_mut().expect("not empty") ^= 1;
        put_raw(&store, b"k", value);
        let fault = store.get::<u64>("values", b"k").expect_err("damaged");
        assert_eq!(fault.to_string(), "test: the value at values/6b is damaged: its checksum does not match");
    }

    /// Whether a reader of the key `b` is told of a fault, for each way to read.
    const WAYS: [fn(&Store) -> bool; 4] = [
        |store| store.get::<u64>("values", b"b").is_err(),
        |store| store.get_bytes("values", b"b").is_err(),
        |store| store.scan("values", b"a", None, |_, _| Ok(Scan::More)).is_err(),
        |store| store.last("values", b"a", None).is_err(),
    ];

    #[test]
    fn damage_raises_the_alarm_however_it_is_read_and_what_is_not_there_does_not() {
        let disk = Arc::new(MemoryDisk::default());
        let open = || Store::open(&disk.clone().into(), "test", &["values"]).expect("opens");
        let outcomes = || {
            WAYS.map(|reads| {
                let (store, alarm) = (open(), Alarm::default());
                store.watch_by(&alarm);
                (reads(&store), alarm.raised().is_some())
            })
        };
        put(&open(), b"a", 7);
        assert_eq!(outcomes(), [(false, false); 4], "it is not there");
        put_raw(&open(), b"b", seal(b"a", codec::encode_after(&ROOM, &7_u64)));
        assert_eq!(outcomes(), [(true, true); 4]);
    }

    #[test]
    fn a_value_moved_to_another_key_is_a_fault() {
        let dir = tempfile::tempdir().expect("tempdir");
        let store = open(dir.path());
        put_raw(&store, b"b", seal(b"a", codec::encode_after(&ROOM, &7_u64)));
        assert!(matches!(store.get::<u64>("values", b"b"), Err(Fault::Damaged { .. })));
    }

    #[test]
    fn a_record_cut_short_by_a_crash_is_dropped_and_the_rest_is_kept() {
        let dir = tempfile::tempdir().expect("tempdir");
        let store = open(dir.path());
        put(&store, b"kept", 1);
        put(&store, b"torn", 2);
        drop(store);
        let wal = newest_wal(dir.path());
        let bytes = std::fs::read(&wal).expect("the write-ahead log");
        std::fs::write(&wal, &bytes[..bytes.len() - 3]).expect("writes");
        let store = open(dir.path());
        assert_eq!(store.get::<u64>("values", b"kept").expect("reads"), Some(1));
        assert_eq!(store.get::<u64>("values", b"torn").expect("reads"), None);
    }

    #[test]
    fn a_damaged_write_ahead_log_refuses_to_open() {
        let dir = tempfile::tempdir().expect("tempdir");
        let store = open(dir.path());
        put(&store, b"first", 1);
        put(&store, b"second", 2);
        drop(store);
        let wal = newest_wal(dir.path());
        let mut bytes = std::fs::read(&wal).expect("the write-ahead log");
        bytes[10] ^= 1;
        std::fs::write(&wal, &bytes).expect("writes");
        assert!(matches!(Store::open(&dir.path().into(), "test", &["values"]), Err(Fault::Record { .. })));
    }

    fn newest_wal(dir: &Path) -> std::path::PathBuf {
        let mut logs: Vec<_> = std::fs::read_dir(dir)
            .expect("the folder")
            .map(|entry| entry.expect("an entry").path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
            .collect();
        logs.sort();
        logs.pop().expect("a write-ahead log")
    }
}
