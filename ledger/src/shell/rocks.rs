//! RocksDB as a [`Store`](super::store::Store) uses it.

mod record_file;

use std::path::Path;

use rocksdb::{
    ColumnFamilyDescriptor, DB, DBRecoveryMode, IteratorMode, Options, ReadOptions, WriteBatch, WriteOptions,
};

use super::{
    fault::Fault,
    store::{Change, KeyValue, Scan},
};

/// What RocksDB adds to a change in a batch, at most: its kind, its family, and two lengths.
const CHANGE_BYTES: usize = 16;

/// One RocksDB database with named column families.
pub(super) struct Rocks {
    db: DB,
    /// The folder's name, for messages.
    store: &'static str,
}

impl Rocks {
    /// Opens or creates the database in `dir`.
    ///
    /// A record that a crash cut short at the end of the write-ahead log was never acknowledged and is dropped; any
    /// other damage refuses to open. (Absolute consistency would refuse to start after every kill in mid-write, and
    /// RocksDB's next mode takes some damage for the end: see [`record_file`].)
    pub(super) fn open(dir: &Path, store: &'static str, families: &[&'static str]) -> Result<Self, Fault> {
        record_file::check_all(dir)?;
        let mut options = strict();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        options.set_keep_log_file_num(2);
        options.set_max_total_wal_size(64 << 20);
        let families = families.iter().map(|name| {
            let mut options = Options::default();
            options.set_paranoid_checks(true);
            options.set_write_buffer_size(16 << 20);
            ColumnFamilyDescriptor::new(*name, options)
        });
        std::fs::create_dir_all(dir).map_err(|source| Fault::file(dir, source))?;
        let db = DB::open_cf_descriptors(&options, dir, families).map_err(|source| Fault::Rocks { store, source })?;
        Ok(Self { db, store })
    }

    /// Opens some families of a database that is there, beside whoever has it open, and writes nothing.
    pub(super) fn open_to_read(dir: &Path, store: &'static str, families: &[&'static str]) -> Result<Self, Fault> {
        record_file::check_all(dir)?;
        let db = DB::open_cf_for_read_only(&strict(), dir, families, false);
        Ok(Self { db: db.map_err(|source| Fault::Rocks { store, source })?, store })
    }

    /// Reads one value and shows it to `read`.
    pub(super) fn get<T>(
        &self,
        family: &'static str,
        key: &[u8],
        read: impl FnOnce(&[u8]) -> T,
    ) -> Result<Option<T>, Fault> {
        let value = self.db.get_pinned_cf(self.family(family), key).map_err(|source| self.rocks(source))?;
        Ok(value.map(|value| read(&value)))
    }

    /// Visits the values with `from <= key < to` in the order of their keys, until `visit` says to stop.
    pub(super) fn scan(
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
            if let Scan::Stop = visit(&key, &value)? {
                break;
            }
        }
        Ok(())
    }

    /// The last key and value of a family with `from <= key < to`.
    pub(super) fn last(&self, family: &'static str, from: &[u8], to: Option<&[u8]>) -> Result<Option<KeyValue>, Fault> {
        let mut options = ReadOptions::default();
        options.set_iterate_lower_bound(from.to_vec());
        if let Some(to) = to {
            options.set_iterate_upper_bound(to.to_vec());
        }
        let mut backwards = self.db.iterator_cf_opt(self.family(family), options, IteratorMode::End);
        let Some(pair) = backwards.next() else { return Ok(None) };
        let (key, value) = pair.map_err(|source| self.rocks(source))?;
        Ok(Some((key.to_vec(), value.to_vec())))
    }

    /// Writes a batch and returns when it is on the disk.
    pub(super) fn write(&self, changes: Vec<Change>) -> Result<(), Fault> {
        // Its buffer does not grow step by step then.
        let bytes = changes.iter().map(|change| change.size() + CHANGE_BYTES).sum();
        let mut batch = WriteBatch::with_capacity_bytes(bytes);
        for change in changes {
            match change {
                Change::Put { family, key, value } => batch.put_cf(self.family(family), key, value),
                Change::Delete { family, key } => batch.delete_cf(self.family(family), key),
                Change::DeleteRange { family, from, to } => batch.delete_range_cf(self.family(family), from, to),
            }
        }
        let mut options = WriteOptions::default();
        options.set_sync(true);
        self.db.write_opt(batch, &options).map_err(|source| self.rocks(source))
    }

    fn family(&self, name: &'static str) -> &rocksdb::ColumnFamily {
        self.db.cf_handle(name).expect("every family is created when the store is opened")
    }

    fn rocks(&self, source: rocksdb::Error) -> Fault {
        Fault::Rocks { store: self.store, source }
    }
}

fn strict() -> Options {
    let mut options = Options::default();
    options.set_paranoid_checks(true);
    options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    // Else each column family starts sixteen threads to open its few tables.
    options.set_max_file_opening_threads(1);
    options
}
