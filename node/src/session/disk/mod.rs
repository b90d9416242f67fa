//! What a session keeps in `<data-dir>/sessions/<wallet>`: keys, its continuation, its journal, its pages, and what a
//! move towards this node has brought so far.
//!
//! What is one value is a file, replaced in one piece; what grows is a stream on disk. `keys` and `hop` are sealed
//! under a key of the node, `continuation`, `tail`, `journal` and `kv` under the wallet's chain key of the epoch, which
//! `keys` holds. So erasing `keys` makes the rest unreadable. docs/formats/session-files.md has the bytes.

mod fault;
mod files;
mod secrets;
mod streams;
#[cfg(test)]
pub(super) mod tests;

use std::{
    fs::{self, File},
    io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use wallet::{
    digest::{Digest, from_hex},
    grant::WalletAddress,
    identity::PublicKey,
};

use crate::node_keys::NodeKeys;
use fault::io_fault;

pub use fault::DiskFault;
pub use files::open_stolen_keys;
pub use secrets::{HolderKeys, HolderSeed, HopSecrets, PrekeySeed};
pub(crate) use streams::{stream_fault, stream_took};

const KEYS: &str = "keys";
const HOP: &str = "hop";
const CONTINUATION: &str = "continuation";
const TAIL: &str = "tail";
const JOURNAL: &str = "journal";
const KV: &str = "kv";
const INCOMING: &str = "incoming";
const HANDOVER: &str = "handover";
const DIVERGENCES: &str = "divergences";

/// The folder of all sessions, and the keys of the node: under the first is sealed what no wallet's key can seal.
#[derive(Clone)]
pub struct SessionsDir {
    dir: PathBuf,
    node_keys: Arc<RwLock<NodeKeys>>,
}

/// The folder of one session.
#[derive(Clone)]
pub struct SessionDir {
    dir: PathBuf,
    wallet: WalletAddress,
    node_keys: Arc<RwLock<NodeKeys>>,
}

impl SessionsDir {
    /// The folder `sessions` in the node's data folder, made if it is not there.
    ///
    /// # Errors
    /// [`DiskFault::Io`].
    pub fn open(data_dir: &Path, node_keys: &NodeKeys) -> Result<Self, DiskFault> {
        let dir = data_dir.join("sessions");
        make_dir(&dir)?;
        Ok(Self { dir, node_keys: Arc::new(RwLock::new(node_keys.clone())) })
    }

    /// From here on seals under this one of the node's keys. What is sealed already is so until it is sealed anew.
    pub fn seal_under(&self, key: PublicKey) {
        let mut keys = self.node_keys.write().unwrap_or_else(PoisonError::into_inner);
        *keys = keys.with_first(key);
    }

    /// The wallets that have a folder here.
    ///
    /// # Errors
    /// [`DiskFault::Io`].
    pub fn wallets(&self) -> Result<Vec<WalletAddress>, DiskFault> {
        let entries = fs::read_dir(&self.dir).map_err(io_fault(&self.dir))?;
        let mut wallets = Vec::new();
        for entry in entries {
            let name = entry.map_err(io_fault(&self.dir))?.file_name();
            // Anything that is no address is not ours.
            if let Some(bytes) = name.to_str().and_then(|name| from_hex::<32>(name).ok()) {
                wallets.push(WalletAddress(Digest(bytes)));
            }
        }
        wallets.sort();
        Ok(wallets)
    }

    /// The folder of one wallet. Nothing is made yet.
    pub fn session(&self, wallet: WalletAddress) -> SessionDir {
        SessionDir { dir: self.dir.join(wallet.0.to_string()), wallet, node_keys: self.node_keys.clone() }
    }
}

impl SessionDir {
    fn node_keys(&self) -> NodeKeys {
        self.node_keys.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The wallet.
    pub const fn wallet(&self) -> WalletAddress {
        self.wallet
    }

    /// Does work of the disk on threads that wait for nothing else: other sessions decode meanwhile.
    ///
    /// # Errors
    /// [`DiskFault::Io`] if it did not come to its end. What is on the disk may be whole.
    pub(crate) async fn apart<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Result<T, DiskFault> {
        let dir = self.clone();
        apart(&self.dir, move || work(&dir)).await
    }

    /// Forgets the sealed pages of an inbound move: they are of another offer.
    ///
    /// # Errors
    /// [`DiskFault`].
    pub fn drop_incoming(&self) -> Result<(), DiskFault> {
        self.remove_stream(INCOMING)?;
        self.remove(HANDOVER)
    }

    /// Removes what an inbound move left: prekey first.
    ///
    /// # Errors
    /// [`DiskFault::Io`].
    pub fn erase_hop(&self) -> Result<(), DiskFault> {
        [HOP, HANDOVER].iter().try_for_each(|name| self.remove(name))?;
        self.remove_stream(INCOMING)?;
        self.remove_if_empty()
    }

    /// Removes the holder's files, keys first.
    ///
    /// # Errors
    /// [`DiskFault::Io`].
    pub fn erase_keys(&self) -> Result<(), DiskFault> {
        [KEYS, CONTINUATION, TAIL].iter().try_for_each(|name| self.remove(name))?;
        [JOURNAL, KV].iter().try_for_each(|name| self.remove_stream(name))?;
        self.remove_if_empty()
    }

    fn remove_if_empty(&self) -> Result<(), DiskFault> {
        match fs::remove_dir(&self.dir) {
            Err(error) if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty) => {
                Err(io_fault(&self.dir)(error))
            }
            _ => Ok(()),
        }
    }
}

/// Does work on this folder as [`SessionDir::apart`] does.
///
/// # Errors
/// See there.
pub(crate) async fn apart<T: Send + 'static>(
    folder: &Path,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, DiskFault> {
    tokio::task::spawn_blocking(work).await.map_err(|lost| io_fault(folder)(lost.into()))
}

/// Makes a folder that is there after a loss of power, if what is in it is synced.
fn make_dir(dir: &Path) -> Result<(), DiskFault> {
    if dir.is_dir() {
        return Ok(());
    }
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(io_fault(dir))?;
    let parent = dir.parent().unwrap_or(dir);
    File::open(parent).and_then(|folder| folder.sync_all()).map_err(io_fault(parent))
}
