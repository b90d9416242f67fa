//! RocksDB as both stores use it: strict, and with a checksum of our own on every value.
//!
//! RocksDB checks its blocks; our checksum also covers the way from there to here and catches a value that was copied
//! to another key's place, because the key is part of what is summed.

use std::path::Path;

use rocksdb::{
    ColumnFamilyDescriptor, DB, DBRecoveryMode, IteratorMode, Options, ReadOptions, WriteBatch, WriteOptions,
};
use serde::{Serialize, de::DeserializeOwned};
use wallet::codec;

use super::fault::Fault;

/// One RocksDB database with named column families.
pub(crate) struct Rocks {
    db: DB,
    /// The folder's name, for messages.
    store: &'static str,
}

/// A key and its value, as bytes.
pub(crate) type KeyValue = (Vec<u8>, Vec<u8>);

/// Puts and deletes that reach the disk together or not at all.
#[derive(Default)]
pub(crate) struct Batch(Vec<Change>);

enum Change {
    Put { family: &'static str, key: Vec<u8>, value: Vec<u8> },
    Delete { family: &'static str, key: Vec<u8> },
    DeleteRange { family: &'static str, from: Vec<u8>, to: Vec<u8> },
}

impl Batch {
    /// Stores the encoding of `value`.
    pub(crate) fn put<T: Serialize + ?Sized>(&mut self, family: &'static str, key: &[u8], value: &T) {
        self.put_bytes(family, key, &codec::encode(value));
    }

    /// Stores bytes as they are.
    pub(crate) fn put_bytes(&mut self, family: &'static str, key: &[u8], bytes: &[u8]) {
        self.0.push(Change::Put { family, key: key.to_vec(), value: seal(key, bytes) });
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

impl Rocks {
    /// Opens or creates the database in `dir`.
    ///
    /// A record that a crash cut short at the end of the write-ahead log was never acknowledged and is dropped; any
    /// other damage refuses to open. (Absolute consistency would refuse to start after every kill in mid-write.)
    pub(crate) fn open(dir: &Path, store: &'static str, families: &[&'static str]) -> Result<Self, Fault> {
        let mut options = Options::default();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        options.set_paranoid_checks(true);
        options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
        options.set_keep_log_file_num(2);
        options.set_max_total_wal_size(64 << 20);
        let families = families.iter().map(|name| {
            let mut options = Options::default();
            options.set_paranoid_checks(true);
            options.set_write_buffer_size(16 << 20);
            ColumnFamilyDescriptor::new(*name, options)
        });
        std::fs::create_dir_all(dir).map_err(|source| Fault::File { path: dir.to_owned(), source })?;
        let db = DB::open_cf_descriptors(&options, dir, families).map_err(|source| Fault::Rocks { store, source })?;
        Ok(Self { db, store })
    }

    /// Reads and decodes one value.
    pub(crate) fn get<T: Serialize + DeserializeOwned>(
        &self,
        family: &'static str,
        key: &[u8],
    ) -> Result<Option<T>, Fault> {
        let Some(bytes) = self.get_bytes(family, key)? else { return Ok(None) };
        codec::decode(&bytes).map(Some).map_err(|error| Fault::undecodable(self.store, family, key, error))
    }

    /// Reads one value as it was stored.
    pub(crate) fn get_bytes(&self, family: &'static str, key: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
        let value = self.db.get_pinned_cf(self.family(family), key).map_err(|source| self.rocks(source))?;
        value.map(|value| self.unseal(family, key, &value).map(<[u8]>::to_vec)).transpose()
    }

    /// Visits the values with `from <= key < to` in the order of their keys, until `visit` says to stop.
    pub(crate) fn scan(
        &self,
        family: &'static str,
        from: &[u8],
        to: Option<&[u8]>,
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<Scan, Fault>,
    ) -> Result<(), Fault> {
        let mut options = ReadOptions::default();
        if let Some(to) = to {
            options.set_iterate_upper_bound(to.to_vec());
        }
        let start = IteratorMode::From(from, rocksdb::Direction::Forward);
        for pair in self.db.iterator_cf_opt(self.family(family), options, start) {
            let (key, value) = pair.map_err(|source| self.rocks(source))?;
            if let Scan::Stop = visit(&key, self.unseal(family, &key, &value)?)? {
                break;
            }
        }
        Ok(())
    }

    /// The last key and value of a family.
    pub(crate) fn last(&self, family: &'static str) -> Result<Option<KeyValue>, Fault> {
        let Some(pair) = self.db.iterator_cf(self.family(family), IteratorMode::End).next() else { return Ok(None) };
        let (key, value) = pair.map_err(|source| self.rocks(source))?;
        Ok(Some((key.to_vec(), self.unseal(family, &key, &value)?.to_vec())))
    }

    /// Writes a batch and returns when it is on the disk.
    pub(crate) fn write(&self, batch: Batch) -> Result<(), Fault> {
        let mut rocks = WriteBatch::default();
        for change in batch.0 {
            match change {
                Change::Put { family, key, value } => rocks.put_cf(self.family(family), key, value),
                Change::Delete { family, key } => rocks.delete_cf(self.family(family), key),
                Change::DeleteRange { family, from, to } => rocks.delete_range_cf(self.family(family), from, to),
            }
        }
        let mut options = WriteOptions::default();
        options.set_sync(true);
        self.db.write_opt(rocks, &options).map_err(|source| self.rocks(source))
    }

    fn family(&self, name: &'static str) -> &rocksdb::ColumnFamily {
        self.db.cf_handle(name).expect("every family is created when the store is opened")
    }

    fn rocks(&self, source: rocksdb::Error) -> Fault {
        Fault::Rocks { store: self.store, source }
    }

    fn unseal<'a>(&self, family: &'static str, key: &[u8], value: &'a [u8]) -> Result<&'a [u8], Fault> {
        let Some((sum, bytes)) = value.split_first_chunk::<4>() else {
            return Err(Fault::damaged(self.store, family, key, "too short for its checksum"));
        };
        if u32::from_le_bytes(*sum) != checksum(key, bytes) {
            return Err(Fault::damaged(self.store, family, key, "its checksum does not match"));
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

fn seal(key: &[u8], bytes: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(4 + bytes.len());
    value.extend_from_slice(&checksum(key, bytes).to_le_bytes());
    value.extend_from_slice(bytes);
    value
}

fn checksum(key: &[u8], bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(key), bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(dir: &Path) -> Rocks {
        Rocks::open(dir, "test", &["values"]).expect("a fresh folder opens")
    }

    fn put(rocks: &Rocks, key: &[u8], value: u64) {
        let mut batch = Batch::default();
        batch.put("values", key, &value);
        rocks.write(batch).expect("writes");
    }

    #[test]
    fn a_changed_bit_in_a_value_is_a_fault_that_names_the_key() {
        let dir = tempfile::tempdir().expect("tempdir");
        let rocks = open(dir.path());
        put(&rocks, b"k", 7);
        let family = rocks.family("values");
        let mut value = rocks.db.get_cf(family, b"k").expect("reads").expect("is there");
        *value.last_mut().expect("not empty") ^= 1;
        rocks.db.put_cf(family, b"k", value).expect("writes");
        let fault = rocks.get::<u64>("values", b"k").expect_err("damaged");
        assert_eq!(fault.to_string(), "test: the value at values/6b is damaged: its checksum does not match");
    }

    #[test]
    fn a_value_moved_to_another_key_is_a_fault() {
        let dir = tempfile::tempdir().expect("tempdir");
        let rocks = open(dir.path());
        put(&rocks, b"a", 7);
        let value = rocks.db.get_cf(rocks.family("values"), b"a").expect("reads").expect("is there");
        rocks.db.put_cf(rocks.family("values"), b"b", value).expect("writes");
        assert!(matches!(rocks.get::<u64>("values", b"b"), Err(Fault::Damaged { .. })));
    }

    #[test]
    fn a_record_cut_short_by_a_crash_is_dropped_and_the_rest_is_kept() {
        let dir = tempfile::tempdir().expect("tempdir");
        let rocks = open(dir.path());
        put(&rocks, b"kept", 1);
        put(&rocks, b"torn", 2);
        drop(rocks);
        let wal = newest_wal(dir.path());
        let bytes = std::fs::read(&wal).expect("the write-ahead log");
        std::fs::write(&wal, &bytes[..bytes.len() - 3]).expect("writes");
        let rocks = open(dir.path());
        assert_eq!(rocks.get::<u64>("values", b"kept").expect("reads"), Some(1));
        assert_eq!(rocks.get::<u64>("values", b"torn").expect("reads"), None);
    }

    #[test]
    fn a_damaged_write_ahead_log_refuses_to_open() {
        let dir = tempfile::tempdir().expect("tempdir");
        let rocks = open(dir.path());
        put(&rocks, b"first", 1);
        put(&rocks, b"second", 2);
        drop(rocks);
        let wal = newest_wal(dir.path());
        let mut bytes = std::fs::read(&wal).expect("the write-ahead log");
        bytes[10] ^= 1;
        std::fs::write(&wal, &bytes).expect("writes");
        assert!(matches!(Rocks::open(dir.path(), "test", &["values"]), Err(Fault::Rocks { .. })));
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
