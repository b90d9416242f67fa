//! The other end of what is loaded into each node: switches its faults while it runs, and counts them.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    mem::offset_of,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use tests::control::{Control, NO_LIMIT, VARIABLE};

/// The control file of one process.
pub struct Switch {
    path: PathBuf,
    file: File,
}

impl Switch {
    /// A new file at `path`, with every fault off.
    pub fn new(path: &Path) -> Self {
        fs::write(path, [0; size_of::<Control>()]).expect("a folder of our own");
        let file = OpenOptions::new().read(true).write(true).open(path).expect("just made");
        let switch = Self { path: path.to_owned(), file };
        switch.set(offset_of!(Control, space_left), NO_LIMIT);
        switch
    }

    /// The environment of a process that is to obey this switch.
    ///
    /// # Panics
    /// If the library was not built.
    pub fn variables(&self) -> Vec<(OsString, OsString)> {
        let test = std::env::current_exe().expect("a test knows its own file");
        let library = test.with_file_name("libfaults.so");
        assert!(library.exists(), "{} is missing: cargo builds it beside the tests", library.display());
        vec![("LD_PRELOAD".into(), library.into()), (VARIABLE.into(), self.path.clone().into())]
    }

    /// Whether each sync fails from now on.
    pub fn fail_sync(&self, fails: bool) {
        self.set(offset_of!(Control, fail_sync), i64::from(fails));
    }

    /// How many bytes the disk still takes from now on; as many as it will if none.
    pub fn space_left(&self, bytes: Option<u32>) {
        self.set(offset_of!(Control, space_left), bytes.map_or(NO_LIMIT, i64::from));
    }

    /// By how much the time of day is wrong from now on.
    pub fn clock_offset_ms(&self, offset: i64) {
        self.set(offset_of!(Control, clock_offset_ms), offset);
    }

    /// The process dies in this step of those that change its sessions' files, counted from now on; in none if none.
    pub fn dies_at(&self, step: Option<u32>) {
        self.set(offset_of!(Control, steps), 0);
        self.set(offset_of!(Control, dies_at), step.map_or(0, i64::from));
    }

    /// How many processes obeyed so far.
    pub fn loaded(&self) -> i64 {
        self.get(offset_of!(Control, loaded))
    }

    /// How many syncs failed so far.
    pub fn syncs_failed(&self) -> i64 {
        self.get(offset_of!(Control, syncs_failed))
    }

    /// How many writes were refused or cut short so far.
    pub fn writes_refused(&self) -> i64 {
        self.get(offset_of!(Control, writes_refused))
    }

    /// How many times were wrong so far.
    pub fn times_moved(&self) -> i64 {
        self.get(offset_of!(Control, times_moved))
    }

    fn set(&self, offset: usize, value: i64) {
        self.file.write_all_at(&value.to_ne_bytes(), offset as u64).expect("a file of our own");
    }

    fn get(&self, offset: usize) -> i64 {
        let mut bytes = [0; 8];
        self.file.read_exact_at(&mut bytes, offset as u64).expect("a file of our own");
        i64::from_ne_bytes(bytes)
    }
}
