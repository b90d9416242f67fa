//! Key files: the 32-byte seed of an Ed25519 key as 64 hexadecimal digits and a newline, readable by its owner alone.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use wallet::{digest::from_hex, identity::SecretKey};
use zeroize::{Zeroize as _, Zeroizing};

/// Digits and newline.
const FILE_BYTES: usize = 65;

/// Why a key file is not used or not written. No message holds what the file holds.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileFault {
    /// The file cannot be opened, read or written.
    #[error("{}: {source}", file.display())]
    Io {
        /// Which file.
        file: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Somebody other than the owner may read or write it.
    #[error("{}: mode {mode:03o} lets others at the key; chmod 600 it, and replace the key if it was exposed", file.display())]
    Exposed {
        /// Which file.
        file: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Not 64 lower-case hexadecimal digits and a newline.
    #[error("{}: not a key file, which holds 64 lower-case hexadecimal digits and a newline", file.display())]
    Malformed {
        /// Which file.
        file: PathBuf,
    },
    /// Larger than any key. Cut off, it could be another key without anybody noticing.
    #[error("{}: is larger than {max} bytes", file.display())]
    TooLarge {
        /// Which file.
        file: PathBuf,
        /// How large it may be.
        max: usize,
    },
    /// There is a file of that name already. Keys are never overwritten.
    #[error("{}: exists already, and a key is never overwritten", file.display())]
    Exists {
        /// Which file.
        file: PathBuf,
    },
}

impl KeyFileFault {
    /// The stable code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Io { .. } => "N-120",
            Self::Exposed { .. } => "N-121",
            Self::Malformed { .. } => "N-122",
            Self::Exists { .. } => "N-123",
            Self::TooLarge { .. } => "N-532",
        }
    }
}

/// Opens a file that its owner alone may read and write.
fn open(file: &Path) -> Result<File, KeyFileFault> {
    let fault = |source| KeyFileFault::Io { file: file.to_owned(), source };
    let opened = File::open(file).map_err(fault)?;
    // Asked of the open file, so that it is the file that is read.
    let mode = opened.metadata().map_err(fault)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyFileFault::Exposed { file: file.to_owned(), mode });
    }
    Ok(opened)
}

/// Reads a file that holds a secret, of whatever form, and that its owner alone may read and write. No copy is left behind.
///
/// # Errors
/// [`KeyFileFault::Io`], [`KeyFileFault::Exposed`] and [`KeyFileFault::TooLarge`] with more than `max` bytes.
pub fn read_secret(file: &Path, max: usize) -> Result<Zeroizing<Vec<u8>>, KeyFileFault> {
    let fault = |source| KeyFileFault::Io { file: file.to_owned(), source };
    let opened = open(file)?;
    // With room for all of it, or it would be copied as it grows; a pipe does not say how much comes.
    let mut text = Zeroizing::new(Vec::with_capacity(max + 1));
    opened.take(max as u64 + 1).read_to_end(&mut text).map_err(fault)?;
    if text.len() > max {
        return Err(KeyFileFault::TooLarge { file: file.to_owned(), max });
    }
    Ok(text)
}

/// Reads a key file.
///
/// # Errors
/// [`KeyFileFault::Io`], [`KeyFileFault::Exposed`] and [`KeyFileFault::Malformed`].
pub fn read(file: &Path) -> Result<SecretKey, KeyFileFault> {
    let malformed = || KeyFileFault::Malformed { file: file.to_owned() };
    match read_secret(file, FILE_BYTES) {
        Ok(text) => parse(&text).ok_or_else(malformed),
        Err(KeyFileFault::TooLarge { .. }) => Err(malformed()),
        Err(fault) => Err(fault),
    }
}

/// Draws a new key and writes it to `file`, which must not exist. The file and its folder are synced.
///
/// # Errors
/// [`KeyFileFault::Io`] and [`KeyFileFault::Exists`].
///
/// # Panics
/// If the operating system has no random bytes.
pub fn create(file: &Path) -> Result<SecretKey, KeyFileFault> {
    let fault = |source: io::Error| match source.kind() {
        io::ErrorKind::AlreadyExists => KeyFileFault::Exists { file: file.to_owned() },
        _ => KeyFileFault::Io { file: file.to_owned(), source },
    };
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(seed.as_mut()).expect("the operating system has random bytes");
    let key = SecretKey::from_seed(&seed);
    let mut opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file).map_err(fault)?;
    opened.write_all(digits(&seed).as_slice()).and_then(|()| opened.sync_all()).map_err(fault)?;
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(fault)?;
    Ok(key)
}

/// Reads a key file, or creates it and its folder where there is none.
///
/// # Errors
/// [`KeyFileFault`].
pub fn read_or_create(file: &Path) -> Result<SecretKey, KeyFileFault> {
    if file.exists() {
        return read(file);
    }
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder).map_err(|source| KeyFileFault::Io { file: file.to_owned(), source })?;
    }
    create(file)
}

fn parse(text: &[u8]) -> Option<SecretKey> {
    let digits = text.strip_suffix(b"\n")?;
    // The error repeats its input, so it goes no further than here.
    let seed = from_hex::<32>(std::str::from_utf8(digits).ok()?).ok().map(Zeroizing::new)?;
    Some(SecretKey::from_seed(&seed))
}

/// The file's content, built in place so that no stray copy of the digits is left behind.
fn digits(seed: &[u8; 32]) -> Zeroizing<[u8; FILE_BYTES]> {
    let mut text = Zeroizing::new([b'\n'; FILE_BYTES]);
    for (pair, byte) in text.chunks_exact_mut(2).zip(seed) {
        let mut nibbles = [byte >> 4, byte & 15];
        for (digit, nibble) in pair.iter_mut().zip(nibbles) {
            *digit = b"0123456789abcdef"[usize::from(nibble)];
        }
        nibbles.zeroize();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().expect("a temporary folder")
    }

    fn write(file: &Path, text: &[u8], mode: u32) {
        fs::write(file, text).expect("a writable folder");
        fs::set_permissions(file, fs::Permissions::from_mode(mode)).expect("our own file");
    }

    #[test]
    fn a_created_key_is_read_back_and_its_file_is_for_the_owner_alone() {
        let folder = folder();
        let file = folder.path().join("node.key");
        let key = create(&file).expect("no such file yet");
        assert_eq!(read(&file).expect("just written").public_key(), key.public_key());
        let text = fs::read(&file).expect("readable");
        assert_eq!(text, format!("{}\n", wallet::digest::to_hex(key.seed().as_ref())).into_bytes());
        assert_eq!(fs::metadata(&file).expect("it exists").permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_key_is_never_overwritten() {
        let folder = folder();
        let file = folder.path().join("node.key");
        let key = create(&file).expect("no such file yet");
        assert_eq!(create(&file).expect_err("it exists").code(), "N-123");
        assert_eq!(read_or_create(&file).expect("it exists").public_key(), key.public_key());
    }

    #[test]
    fn a_file_that_group_or_world_may_use_is_refused() {
        let folder = folder();
        let file = folder.path().join("node.key");
        let text = format!("{}\n", "7".repeat(64));
        for mode in [0o640, 0o604, 0o620, 0o601] {
            write(&file, text.as_bytes(), mode);
            let fault = read(&file).expect_err("others may use it");
            assert_eq!(fault.code(), "N-121");
            assert!(fault.to_string().contains(&format!("{mode:03o}")), "{fault}");
        }
        write(&file, text.as_bytes(), 0o400);
        read(&file).expect("the owner's alone");
    }

    #[test]
    fn anything_but_64_digits_and_a_newline_is_refused_without_being_repeated() {
        let folder = folder();
        let file = folder.path().join("node.key");
        let seven = "7".repeat(64);
        for text in [seven.clone(), format!("{seven}\n\n"), format!("{seven}7\n"), format!("{}g\n", &seven[1..])] {
            write(&file, text.as_bytes(), 0o600);
            let fault = read(&file).expect_err("not a key file");
            assert_eq!(fault.code(), "N-122");
            assert!(!format!("{fault} {fault:?}").contains("7777"), "{fault}");
        }
    }
}
