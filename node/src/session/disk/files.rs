//! Files of one value, each replaced in one piece.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use gpu::continuation::Divergence;
use serde::{Serialize, de::DeserializeOwned};
use wallet::{
    chain::RestKey, codec, digest, grant::WalletAddress, identity::SecretKey, refusal::Refusal, seal::rest::RestFile,
};
use zeroize::Zeroizing;

use super::{
    CONTINUATION, DIVERGENCES, DiskFault, HANDOVER, HOP, HolderKeys, HopSecrets, KEYS, SessionDir, TAIL,
    fault::{damaged, io_fault},
    make_dir,
};
use crate::migration::messages::Handover;

impl SessionDir {
    /// Writes `keys` in one piece and syncs it.
    ///
    /// # Errors
    /// [`DiskFault::Io`].
    pub fn save_keys(&self, keys: &HolderKeys) -> Result<(), DiskFault> {
        self.save(KEYS, keys)
    }

    /// Reads `keys`; none if there is no such file.
    ///
    /// # Errors
    /// [`DiskFault`].
    pub fn load_keys(&self) -> Result<Option<HolderKeys>, DiskFault> {
        self.load(KEYS)
    }

    /// Writes `hop` in one piece and syncs it.
    ///
    /// # Errors
    /// [`DiskFault::Io`].
    pub fn save_hop(&self, hop: &HopSecrets) -> Result<(), DiskFault> {
        self.save(HOP, hop)
    }

    /// Reads `hop`; none if there is no such file.
    ///
    /// # Errors
    /// [`DiskFault`].
    pub fn load_hop(&self) -> Result<Option<HopSecrets>, DiskFault> {
        self.load(HOP)
    }

    /// Writes the hand-over as it came, and syncs it.
    ///
    /// # Errors
    /// [`DiskFault::Io`].
    pub fn save_handover(&self, handover: &Handover) -> Result<(), DiskFault> {
        self.write(HANDOVER, &codec::encode(handover))
    }

    /// Reads the hand-over; none if there is no such file.
    ///
    /// # Errors
    /// [`DiskFault`].
    pub fn load_handover(&self) -> Result<Option<Handover>, DiskFault> {
        let path = self.dir.join(HANDOVER);
        let Some(bytes) = read(&path)? else { return Ok(None) };
        let decoded = codec::decode(&bytes).map_err(|error| damaged(&path, error.into()))?;
        Ok(Some(decoded))
    }

    /// Writes `continuation` in one piece, and syncs it.
    ///
    /// # Errors
    /// [`DiskFault::Io`].
    pub fn save_continuation(&self, keys: &HolderKeys, signed: &[u8]) -> Result<(), DiskFault> {
        self.write_sealed(keys.rest(), CONTINUATION, signed)
    }

    /// Reads `continuation`; none if there is no such file.
    ///
    /// # Errors
    /// [`DiskFault`].
    pub fn load_continuation(&self, keys: &HolderKeys) -> Result<Option<Vec<u8>>, DiskFault> {
        Ok(self.read_sealed(keys.rest(), CONTINUATION)?.map(|mut bytes| std::mem::take(&mut *bytes)))
    }

    /// Writes `divergences`, sealed under the node's key, in one piece, and syncs it: evidence outlives the session.
    ///
    /// # Errors
    /// [`DiskFault::Io`].
    pub fn save_divergences(&self, divergences: &[Divergence]) -> Result<(), DiskFault> {
        self.save(DIVERGENCES, &divergences)
    }

    /// Reads `divergences`; none if there is no such file.
    ///
    /// # Errors
    /// [`DiskFault`].
    pub fn load_divergences(&self) -> Result<Vec<Divergence>, DiskFault> {
        Ok(self.load(DIVERGENCES)?.unwrap_or_default())
    }

    /// Where `divergences` is.
    pub fn divergences_file(&self) -> PathBuf {
        self.dir.join(DIVERGENCES)
    }

    /// Writes `tail`, the page after the full ones of a parked session, in one piece, and syncs it. An empty one is
    /// removed.
    ///
    /// # Errors
    /// [`DiskFault::Io`].
    pub fn save_tail(&self, keys: &HolderKeys, page: &[u8]) -> Result<(), DiskFault> {
        if page.is_empty() { self.remove(TAIL) } else { self.write_sealed(keys.rest(), TAIL, page) }
    }

    /// Reads `tail`; none if there is no such file.
    ///
    /// # Errors
    /// [`DiskFault`].
    pub fn load_tail(&self, keys: &HolderKeys) -> Result<Option<Vec<u8>>, DiskFault> {
        Ok(self.read_sealed(keys.rest(), TAIL)?.map(|mut bytes| std::mem::take(&mut *bytes)))
    }

    /// Seals under the node's first key what is sealed under the other.
    ///
    /// # Errors
    /// [`DiskFault`].
    pub fn seal_anew(&self) -> Result<(), DiskFault> {
        if self.node_keys().next().is_some() {
            self.load_keys()?.map_or(Ok(()), |keys| self.save_keys(&keys))?;
            self.load_hop()?.map_or(Ok(()), |hop| self.save_hop(&hop))?;
            let divergences = self.load_divergences()?;
            if !divergences.is_empty() {
                self.save_divergences(&divergences)?;
            }
        }
        Ok(())
    }

    fn save<T: Serialize>(&self, name: &str, value: &T) -> Result<(), DiskFault> {
        let plain = Zeroizing::new(codec::encode(value));
        self.write_sealed(node_rest_key(self.node_keys().key(), self.wallet), name, &plain)
    }

    fn load<T: Serialize + DeserializeOwned>(&self, name: &str) -> Result<Option<T>, DiskFault> {
        let path = self.dir.join(name);
        let read = |key: &SecretKey| self.read_sealed(node_rest_key(key, self.wallet), name);
        let keys = self.node_keys();
        let plain = match (read(keys.key()), keys.next()) {
            (Err(DiskFault::Damaged { .. }), Some(other)) => read(other)?,
            (read, _) => read?,
        };
        let Some(plain) = plain else { return Ok(None) };
        codec::decode(&plain).map(Some).map_err(|error| damaged(&path, error.into()))
    }

    fn write_sealed(&self, key: RestKey, name: &str, plain: &[u8]) -> Result<(), DiskFault> {
        self.write(name, &RestFile::new(key, name).seal(plain, &mut draw))
    }

    fn read_sealed(&self, key: RestKey, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, DiskFault> {
        let path = self.dir.join(name);
        let Some(sealed) = read(&path)? else { return Ok(None) };
        let opened = RestFile::new(key, name).open(&sealed).map_err(|refusal| damaged(&path, refusal))?;
        Ok(Some(Zeroizing::new(opened)))
    }

    /// In one piece: a crash leaves the old file or the new one.
    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), DiskFault> {
        make_dir(&self.dir)?;
        let (path, next) = (self.dir.join(name), self.dir.join(format!("{name}.next")));
        let write = || {
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&next)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&next, &path)?;
            File::open(&self.dir)?.sync_all()
        };
        write().map_err(io_fault(&path))
    }

    pub(super) fn remove(&self, name: &str) -> Result<(), DiskFault> {
        let path = self.dir.join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_fault(&path)(error)),
            _ => Ok(()),
        }
    }
}

/// Opens a copy of a session's `keys` with its node's key: what a thief of both could do.
///
/// # Errors
/// [`DiskFault`].
pub fn open_stolen_keys(path: &Path, node_key: &SecretKey, wallet: WalletAddress) -> Result<HolderKeys, DiskFault> {
    let sealed = fs::read(path).map_err(io_fault(path))?;
    open_sealed(node_rest_key(node_key, wallet), KEYS, &sealed).map_err(|refusal| damaged(path, refusal))
}

fn open_sealed<T: Serialize + DeserializeOwned>(key: RestKey, name: &str, sealed: &[u8]) -> Result<T, Refusal> {
    let plain = Zeroizing::new(RestFile::new(key, name).open(sealed)?);
    Ok(codec::decode(&plain)?)
}

/// The node's own key for the files of one wallet.
fn node_rest_key(node_key: &SecretKey, wallet: WalletAddress) -> RestKey {
    let key = digest::blake3("batchmind/v1/node/session-files", Some(&node_key.seed()), &[wallet.0.as_bytes()]);
    RestKey::from_bytes(key.0)
}

fn draw(bytes: &mut [u8]) {
    getrandom::fill(bytes).expect("the operating system has random bytes");
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, DiskFault> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io_fault(path)(error)),
    }
}
