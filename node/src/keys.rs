//! Key files: one line of text that its owner alone may read. In the clear it is the 32-byte seed of an Ed25519 key as 64
//! hexadecimal digits; wrapped under a passphrase it is what `wallet::keystore::wrapped` makes of the key.
//!
//! A key of an operator may also be in a token; [`location`] says which of the two is meant.

pub mod fault;
pub mod location;
pub mod passphrase;
pub mod token;
pub mod token_uri;

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use wallet::{
    digest::from_hex,
    identity::SecretKey,
    keystore::{
        passphrase::Passphrase,
        wrapped::{self, Work, WrappedKey},
    },
};
use zeroize::{Zeroize as _, Zeroizing};

pub use self::{fault::KeyFault, location::KeyLocation};

/// Digits and newline.
const CLEAR_BYTES: usize = 65;
/// A wrapped key and newline: the longest key file.
const FILE_BYTES_MAX: usize = wrapped::TEXT_BYTES + 1;

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
    /// Neither 64 lower-case hexadecimal digits and a newline, nor a wrapped key.
    #[error("{}: not a key file, which holds 64 lower-case hexadecimal digits or a wrapped key, and a newline", file.display())]
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
    /// The key is wrapped, and here nobody can be asked for the passphrase.
    #[error("{}: is wrapped under a passphrase, which cannot be given here", file.display())]
    Wrapped {
        /// Which file.
        file: PathBuf,
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
            Self::Wrapped { .. } => "N-555",
        }
    }
}

/// Opens a file that its owner alone may read and write. One of root's may also be read by root's group: so systemd shows a
/// credential, whose list of access lets the service read it.
fn open(file: &Path) -> Result<File, KeyFileFault> {
    let fault = |source| KeyFileFault::Io { file: file.to_owned(), source };
    let opened = File::open(file).map_err(fault)?;
    // Asked of the open file, so that it is the file that is read.
    let metadata = opened.metadata().map_err(fault)?;
    let mode = metadata.permissions().mode() & 0o777;
    let others = if metadata.uid() == 0 && metadata.gid() == 0 { 0o037 } else { 0o077 };
    if mode & others != 0 {
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

/// Reads a key file that is in the clear.
///
/// # Errors
/// [`KeyFileFault::Io`], [`KeyFileFault::Exposed`], [`KeyFileFault::Malformed`] and [`KeyFileFault::Wrapped`].
pub fn read(file: &Path) -> Result<SecretKey, KeyFileFault> {
    match content(file)? {
        Content::Clear(key) => Ok(key),
        Content::Wrapped(_) => Err(KeyFileFault::Wrapped { file: file.to_owned() }),
    }
}

/// Reads a key file, and opens it if it is wrapped: with the passphrase that `passphrase_file` holds, or that is asked for
/// on the terminal.
///
/// # Errors
/// [`KeyFault`].
pub fn open_file(file: &Path, passphrase_file: Option<&Path>) -> Result<SecretKey, KeyFault> {
    let refused = |source| KeyFault::Wallet { file: file.to_owned(), source };
    match content(file)? {
        Content::Clear(key) => Ok(key),
        Content::Wrapped(text) => {
            // Read before anybody is asked for a passphrase that could open nothing.
            let wrapped: WrappedKey = text.parse().map_err(refused)?;
            wrapped.open(&passphrase::ask(passphrase_file, &file.display().to_string())?).map_err(refused)
        }
    }
}

/// What a key file holds.
enum Content {
    Clear(SecretKey),
    Wrapped(String),
}

fn content(file: &Path) -> Result<Content, KeyFileFault> {
    let malformed = || KeyFileFault::Malformed { file: file.to_owned() };
    let text = match read_secret(file, FILE_BYTES_MAX) {
        Err(KeyFileFault::TooLarge { .. }) => return Err(malformed()),
        read => read?,
    };
    if text.starts_with(wrapped::HEADER.as_bytes()) {
        let line = text.strip_suffix(b"\n").ok_or_else(malformed)?;
        return Ok(Content::Wrapped(std::str::from_utf8(line).map_err(|_| malformed())?.to_owned()));
    }
    parse(&text).map(Content::Clear).ok_or_else(malformed)
}

/// Draws a new key and writes it to `file` in the clear. The file must not exist; it and its folder are synced.
///
/// # Errors
/// [`KeyFileFault::Io`] and [`KeyFileFault::Exists`].
///
/// # Panics
/// If the operating system has no random bytes.
pub fn create(file: &Path) -> Result<SecretKey, KeyFileFault> {
    let key = draw();
    write(file, digits(&key.seed()).as_slice())?;
    Ok(key)
}

/// Draws a new key and writes it to `file`, wrapped under the passphrase that `passphrase_file` holds, or that is asked for
/// twice on the terminal.
///
/// # Errors
/// [`KeyFault`].
pub fn create_wrapped(file: &Path, passphrase_file: Option<&Path>) -> Result<SecretKey, KeyFault> {
    let passphrase = passphrase::choose(passphrase_file, &file.display().to_string())?;
    let key = draw();
    write_wrapped(file, &key, &passphrase, Work::MODERATE)?;
    Ok(key)
}

/// Writes `key` to `file`, wrapped under `passphrase`. The file must not exist; it and its folder are synced.
///
/// # Errors
/// [`KeyFault`].
///
/// # Panics
/// If the operating system has no random bytes.
pub fn write_wrapped(file: &Path, key: &SecretKey, passphrase: &Passphrase, work: Work) -> Result<(), KeyFault> {
    let refused = |source| KeyFault::Wallet { file: file.to_owned(), source };
    let wrapped = WrappedKey::wrap(key, passphrase, work, &mut fill).map_err(refused)?;
    Ok(write(file, format!("{wrapped}\n").as_bytes())?)
}

fn draw() -> SecretKey {
    let mut seed = Zeroizing::new([0; 32]);
    fill(seed.as_mut());
    SecretKey::from_seed(&seed)
}

fn fill(bytes: &mut [u8]) {
    getrandom::fill(bytes).expect("the operating system has random bytes");
}

fn write(file: &Path, content: &[u8]) -> Result<(), KeyFileFault> {
    let fault = |source: io::Error| match source.kind() {
        io::ErrorKind::AlreadyExists => KeyFileFault::Exists { file: file.to_owned() },
        _ => KeyFileFault::Io { file: file.to_owned(), source },
    };
    let mut opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file).map_err(fault)?;
    opened.write_all(content).and_then(|()| opened.sync_all()).map_err(fault)?;
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(fault)
}

/// Opens a key file, or creates it and its folder where there is none: wrapped if a passphrase file is named.
///
/// # Errors
/// [`KeyFault`].
pub fn open_or_create(file: &Path, passphrase_file: Option<&Path>) -> Result<SecretKey, KeyFault> {
    if file.exists() {
        return open_file(file, passphrase_file);
    }
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder).map_err(|source| KeyFileFault::Io { file: file.to_owned(), source })?;
    }
    match passphrase_file {
        Some(_) => create_wrapped(file, passphrase_file),
        None => Ok(create(file)?),
    }
}

fn parse(text: &[u8]) -> Option<SecretKey> {
    let digits = text.strip_suffix(b"\n")?;
    // The error repeats its input, so it goes no further than here.
    let seed = from_hex::<32>(std::str::from_utf8(digits).ok()?).ok().map(Zeroizing::new)?;
    Some(SecretKey::from_seed(&seed))
}

/// The file's content, built in place so that no stray copy of the digits is left behind.
fn digits(seed: &[u8; 32]) -> Zeroizing<[u8; CLEAR_BYTES]> {
    let mut text = Zeroizing::new([b'\n'; CLEAR_BYTES]);
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
mod tests;
