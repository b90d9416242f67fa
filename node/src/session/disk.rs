//! What a session keeps in `<data-dir>/sessions/<wallet>`: keys, its continuation, its journal, its pages, and what a
//! move towards this node has brought so far.
//!
//! What is one value is a file, replaced in one piece; what grows is a stream on disk. `keys` and `hop` are sealed under
//! a key of the node, `continuation`, `tail`, `journal` and `kv` under the wallet's chain key of the epoch, which `keys` holds. So
//! erasing `keys` makes the rest unreadable. docs/formats/session-files.md has the bytes.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use gpu::{
    continuation::{ContinuationRefusal, journal_descriptor, kv_descriptor},
    stream::{Appended, Descriptor, SegmentOptions, SegmentStream, StreamFault},
};
use ledger::event::Entry;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use wallet::{
    chain::{ChainKey, PageHashKey, RestKey},
    codec,
    digest::{self, Digest, from_hex},
    grant::WalletAddress,
    identity::SecretKey,
    policy::PolicyTree,
    refusal::Refusal,
    seal::rest::RestFile,
    tenant::TenantKey,
    units::{KeyEpoch, NodeId},
};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::request::PrefixSalt;
use crate::migration::messages::Handover;

const KEYS: &str = "keys";
const HOP: &str = "hop";
const CONTINUATION: &str = "continuation";
const TAIL: &str = "tail";
const JOURNAL: &str = "journal";
const KV: &str = "kv";
const INCOMING: &str = "incoming";
const HANDOVER: &str = "handover";

/// How long a stream is waited for that another is just closing: a sync in the background still has it, say.
const CLOSING: Duration = Duration::from_secs(2);
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Why the disk did not keep or give back what a session needs.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiskFault {
    /// The system says no.
    #[error("{}: {source}", file.display())]
    Io {
        /// Which file.
        file: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file does not open under this node's key, or holds something else than it should.
    #[error("{}: {refusal}", file.display())]
    Damaged {
        /// Which file.
        file: PathBuf,
        /// What is wrong with it.
        refusal: Refusal,
    },
    /// A stream cannot be written or read.
    #[error("{}: {fault}", folder.display())]
    Stream {
        /// Which one.
        folder: PathBuf,
        /// What is wrong with it.
        fault: StreamFault,
    },
    /// A stream does not take a page.
    #[error("{}: it takes no page: {appended:?}", folder.display())]
    NotTaken {
        /// Which one.
        folder: PathBuf,
        /// What it says.
        appended: Appended,
    },
    /// The journal does not take or give back what it should.
    #[error("the journal: {0}")]
    Journal(#[from] ContinuationRefusal),
    /// The kept continuation is not one that this software can go on from.
    #[error("the continuation: {0}")]
    Continuation(ContinuationRefusal),
}

impl DiskFault {
    /// Whether what is on the disk may be whole all the same: the system did not give it, or another version of this
    /// software wrote it. Then nothing may be concluded from the fault.
    pub fn may_be_whole(&self) -> bool {
        match self {
            Self::Io { .. } => true,
            Self::Stream { fault, .. } => matches!(fault, StreamFault::Io { .. }),
            Self::Journal(ContinuationRefusal::Stream(fault)) => matches!(fault, StreamFault::Io { .. }),
            // What stands in the journal was sealed by the holder, and whoever damages it cannot.
            Self::Journal(refusal) => matches!(refusal, ContinuationRefusal::RecordMalformed { .. }),
            // The same of what the holder has signed.
            Self::Continuation(refusal) => !matches!(
                refusal,
                ContinuationRefusal::Length { .. }
                    | ContinuationRefusal::SignerUnexpected { .. }
                    | ContinuationRefusal::SignatureInvalid
                    | ContinuationRefusal::BodyMismatch
            ),
            Self::Damaged { .. } | Self::NotTaken { .. } => false,
        }
    }
}

/// The folder of all sessions, and the key that seals what no wallet's key can seal.
#[derive(Clone)]
pub struct SessionsDir {
    dir: PathBuf,
    node_key: SecretKey,
}

/// The folder of one session.
#[derive(Clone)]
pub struct SessionDir {
    dir: PathBuf,
    wallet: WalletAddress,
    node_key: SecretKey,
}

/// What makes a node the holder of a wallet. The file `keys`.
#[derive(Clone, Serialize, Deserialize)]
pub struct HolderKeys {
    /// The epoch of all of these.
    pub epoch: KeyEpoch,
    /// chain_e.
    pub chain: ChainKey,
    /// Seed of the epoch key.
    pub holder: HolderSeed,
    /// Keys the hashes of the wallet's pages.
    pub page_hash: PageHashKey,
    /// The tenant's key for this wallet.
    pub tenant_key: TenantKey,
    /// Opens the policy's leaves.
    pub policy: PolicyTree,
    /// Hash of the client's resume secret.
    pub resume_secret_hash: Digest,
    /// Under which its blocks are in the prefix cache: the tenant's salt at the first holder, later one of its own.
    pub prefix_salt: PrefixSalt,
    /// Of the key that seals journal and pages.
    pub rest_salt: [u8; 32],
    /// The entry that creates the wallet, until it is known to be final.
    pub creation: Option<Box<Entry>>,
}

/// Seed of a holder's epoch key.
#[derive(Clone, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub struct HolderSeed(pub [u8; 32]);

/// What a receiver must not lose between its reservation and its confirm. The file `hop`.
#[derive(Clone, Serialize, Deserialize)]
pub struct HopSecrets {
    /// The holder that asked for the reservation.
    pub source: NodeId,
    /// Blocks that it asked for.
    pub blocks: u32,
    /// Secret half of the prekey.
    pub prekey: PrekeySeed,
}

/// Secret half of a one-time prekey.
#[derive(Clone, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub struct PrekeySeed(pub [u8; 32]);

impl SessionsDir {
    /// The folder `sessions` in the node's data folder, made if it is not there.
    ///
    /// # Errors
    /// [`DiskFault::Io`].
    pub fn open(data_dir: &Path, node_key: &SecretKey) -> Result<Self, DiskFault> {
        let dir = data_dir.join("sessions");
        make_dir(&dir)?;
        Ok(Self { dir, node_key: node_key.clone() })
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
        SessionDir { dir: self.dir.join(wallet.0.to_string()), wallet, node_key: self.node_key.clone() }
    }
}

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

    /// The wallet.
    pub const fn wallet(&self) -> WalletAddress {
        self.wallet
    }

    /// Writes `continuation` in one piece, and syncs it.
    ///
    /// # Errors
    /// [`DiskFault::Io`].
    pub fn save_continuation(&self, keys: &HolderKeys, signed: &[u8]) -> Result<(), DiskFault> {
        self.write_sealed(rest_key(keys), CONTINUATION, signed)
    }

    /// Reads `continuation`; none if there is no such file.
    ///
    /// # Errors
    /// [`DiskFault`].
    pub fn load_continuation(&self, keys: &HolderKeys) -> Result<Option<Vec<u8>>, DiskFault> {
        Ok(self.read_sealed(rest_key(keys), CONTINUATION)?.map(|mut bytes| std::mem::take(&mut *bytes)))
    }

    /// Writes `tail`, the page after the full ones of a parked session, in one piece, and syncs it. An empty one is
    /// removed.
    ///
    /// # Errors
    /// [`DiskFault::Io`].
    pub fn save_tail(&self, keys: &HolderKeys, page: &[u8]) -> Result<(), DiskFault> {
        if page.is_empty() { self.remove(TAIL) } else { self.write_sealed(rest_key(keys), TAIL, page) }
    }

    /// Reads `tail`; none if there is no such file.
    ///
    /// # Errors
    /// [`DiskFault`].
    pub fn load_tail(&self, keys: &HolderKeys) -> Result<Option<Vec<u8>>, DiskFault> {
        Ok(self.read_sealed(rest_key(keys), TAIL)?.map(|mut bytes| std::mem::take(&mut *bytes)))
    }

    /// A new journal; an old one is removed.
    ///
    /// # Errors
    /// [`DiskFault`].
    pub fn create_journal(&self, keys: &HolderKeys) -> Result<SegmentStream, DiskFault> {
        self.create_stream(JOURNAL, journal_descriptor(&self.wallet.0), Some(rest_key(keys)))
    }

    /// The journal; none if there is none.
    ///
    /// # Errors
    /// [`DiskFault::Stream`].
    pub fn open_journal(&self, keys: &HolderKeys) -> Result<Option<SegmentStream>, DiskFault> {
        self.open_stream(JOURNAL, journal_descriptor(&self.wallet.0), Some(rest_key(keys)))
    }

    /// A new stream of full pages; an old one is removed.
    ///
    /// # Errors
    /// [`DiskFault`].
    pub fn create_kv(&self, keys: &HolderKeys, format: Digest) -> Result<SegmentStream, DiskFault> {
        self.create_stream(KV, kv_descriptor(&self.wallet.0, format), Some(rest_key(keys)))
    }

    /// The stream of full pages; none if there is none.
    ///
    /// # Errors
    /// [`DiskFault::Stream`].
    pub fn open_kv(&self, keys: &HolderKeys, format: Digest) -> Result<Option<SegmentStream>, DiskFault> {
        self.open_stream(KV, kv_descriptor(&self.wallet.0, format), Some(rest_key(keys)))
    }

    /// Removes the full pages: a cache miss, and no loss.
    ///
    /// # Errors
    /// [`DiskFault::Stream`].
    pub fn drop_kv(&self) -> Result<(), DiskFault> {
        self.remove_stream(KV)
    }

    /// The copy of an inbound move's hop stream, sealed as it came: what is there, and more to come. The copy of another
    /// offer's is removed.
    ///
    /// # Errors
    /// [`DiskFault`].
    pub fn incoming(&self, hop: &Descriptor) -> Result<SegmentStream, DiskFault> {
        match self.open_stream(INCOMING, hop.clone(), None) {
            Ok(Some(stream)) => Ok(stream),
            Ok(None) | Err(DiskFault::Stream { fault: StreamFault::AnotherStream { .. }, .. }) => {
                self.create_stream(INCOMING, hop.clone(), None)
            }
            Err(fault) => Err(fault),
        }
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

    fn save<T: Serialize>(&self, name: &str, value: &T) -> Result<(), DiskFault> {
        let plain = Zeroizing::new(codec::encode(value));
        self.write_sealed(node_rest_key(&self.node_key, self.wallet), name, &plain)
    }

    fn load<T: Serialize + DeserializeOwned>(&self, name: &str) -> Result<Option<T>, DiskFault> {
        let path = self.dir.join(name);
        let Some(plain) = self.read_sealed(node_rest_key(&self.node_key, self.wallet), name)? else { return Ok(None) };
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

    fn create_stream(
        &self,
        name: &str,
        descriptor: Descriptor,
        seal: Option<RestKey>,
    ) -> Result<SegmentStream, DiskFault> {
        make_dir(&self.dir)?;
        self.remove_stream(name)?;
        let folder = self.dir.join(name);
        let options = SegmentOptions { seal, ..SegmentOptions::default() };
        SegmentStream::open(&folder, descriptor, options).map_err(|fault| DiskFault::Stream { folder, fault })
    }

    fn open_stream(
        &self,
        name: &str,
        descriptor: Descriptor,
        seal: Option<RestKey>,
    ) -> Result<Option<SegmentStream>, DiskFault> {
        let folder = self.dir.join(name);
        if !folder.is_dir() {
            return Ok(None);
        }
        let options = SegmentOptions { seal, ..SegmentOptions::default() };
        let mut waited = Duration::ZERO;
        loop {
            match SegmentStream::open(&folder, descriptor.clone(), options.clone()) {
                Ok(stream) => return Ok(Some(stream)),
                Err(fault) if is_busy(&fault) && waited < CLOSING => {
                    thread::sleep(LOOK_AGAIN);
                    waited += LOOK_AGAIN;
                }
                Err(fault) => return Err(DiskFault::Stream { folder, fault }),
            }
        }
    }

    fn remove_stream(&self, name: &str) -> Result<(), DiskFault> {
        let folder = self.dir.join(name);
        SegmentStream::remove(&folder).map_err(|fault| DiskFault::Stream { folder, fault })
    }

    fn remove(&self, name: &str) -> Result<(), DiskFault> {
        let path = self.dir.join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_fault(&path)(error)),
            _ => Ok(()),
        }
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

/// Opens a copy of a session's `keys` with its node's key: what a thief of both could do.
///
/// # Errors
/// [`DiskFault`].
pub fn open_stolen_keys(path: &Path, node_key: &SecretKey, wallet: WalletAddress) -> Result<HolderKeys, DiskFault> {
    let sealed = fs::read(path).map_err(io_fault(path))?;
    open_sealed(node_rest_key(node_key, wallet), KEYS, &sealed).map_err(|refusal| damaged(path, refusal))
}

impl HolderSeed {
    /// The epoch key.
    pub fn key(&self) -> SecretKey {
        SecretKey::from_seed(&self.0)
    }
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

/// Of what the holder of these keys keeps.
fn rest_key(keys: &HolderKeys) -> RestKey {
    keys.chain.rest(&keys.rest_salt)
}

/// What is wrong with a session's stream.
pub(crate) fn stream_fault(stream: &SegmentStream, fault: StreamFault) -> DiskFault {
    DiskFault::Stream { folder: stream.folder().to_owned(), fault }
}

/// Whether a session's stream took a page. Nothing but a bug or a damaged disk keeps it from that.
///
/// # Errors
/// [`DiskFault::Stream`].
pub(crate) fn stream_took(stream: &SegmentStream, appended: Result<Appended, StreamFault>) -> Result<(), DiskFault> {
    match appended.map_err(|fault| stream_fault(stream, fault))? {
        Appended::Ok(_) | Appended::Same(_) => Ok(()),
        appended => Err(DiskFault::NotTaken { folder: stream.folder().to_owned(), appended }),
    }
}

fn is_busy(fault: &StreamFault) -> bool {
    matches!(fault, StreamFault::Io { source, .. } if source.kind() == io::ErrorKind::WouldBlock)
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, DiskFault> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io_fault(path)(error)),
    }
}

fn make_dir(dir: &Path) -> Result<(), DiskFault> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(io_fault(dir))
}

fn io_fault(file: &Path) -> impl FnOnce(io::Error) -> DiskFault + use<> {
    let file = file.to_owned();
    move |source| DiskFault::Io { file, source }
}

fn damaged(file: &Path, refusal: Refusal) -> DiskFault {
    DiskFault::Damaged { file: file.to_owned(), refusal }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, sync::Arc};

    use gpu::{
        continuation::Journal,
        stream::{Cursor, Draft, Expect, Next, Stream as _, StreamWriter as _},
    };
    use wallet::{
        digest::sha256, identity::RegionId, page::PageKind, policy::JurisdictionPolicy, tenant::WalletSecret,
    };

    use super::*;
    use crate::migration::hop;

    const WALLET: WalletAddress = WalletAddress(Digest([1; 32]));

    fn region() -> RegionId {
        RegionId::try_from("eu".to_owned()).expect("a region name")
    }

    fn keys() -> HolderKeys {
        let regions = BTreeSet::from([region()]);
        let policy = JurisdictionPolicy { allowed: regions.clone() };
        HolderKeys {
            epoch: KeyEpoch::new(2),
            chain: ChainKey::from_bytes([3; 32]),
            holder: HolderSeed([4; 32]),
            page_hash: PageHashKey::from_bytes([5; 32]),
            tenant_key: TenantKey::from_bytes([6; 32]),
            policy: policy.tree(&regions, &WalletSecret::from_bytes([7; 32])).expect("a known region"),
            resume_secret_hash: Digest([8; 32]),
            prefix_salt: PrefixSalt([9; 32]),
            rest_salt: [10; 32],
            creation: None,
        }
    }

    fn session() -> (tempfile::TempDir, SessionDir) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let sessions = SessionsDir::open(folder.path(), &SecretKey::from_seed(&[11; 32])).expect("writable");
        (folder, sessions.session(WALLET))
    }

    fn hash(bytes: &[u8]) -> String {
        sha256("golden", &[bytes]).to_string()[..16].to_owned()
    }

    #[test]
    fn the_encodings_are_pinned() {
        let hop = HopSecrets { source: NodeId::new(1), blocks: 2, prekey: PrekeySeed([3; 32]) };
        let hashes = [codec::encode(&keys()), codec::encode(&hop)].map(|bytes| hash(&bytes));
        assert_eq!(hashes, ["0b920aca47b6668f", "7dd5c9359656ca3d"]);
    }

    #[test]
    fn what_was_kept_is_read_back_and_nothing_of_it_stands_in_the_clear() {
        let (_folder, session) = session();
        session.save_keys(&keys()).expect("writable");
        let read = session.load_keys().expect("readable").expect("just written");
        assert_eq!(codec::encode(&read), codec::encode(&keys()));
        let sealed = fs::read(session.dir.join(KEYS)).expect("readable");
        for secret in [3_u8, 4, 5, 6, 9] {
            assert!(!sealed.windows(8).any(|window| window == [secret; 8]), "secret {secret} stands in the file");
        }
    }

    #[test]
    fn another_nodes_key_another_wallet_and_a_flipped_bit_do_not_open_the_keys() {
        let (_folder, session) = session();
        session.save_keys(&keys()).expect("writable");
        let path = session.dir.join(KEYS);
        let own = SecretKey::from_seed(&[11; 32]);
        assert!(open_stolen_keys(&path, &own, WALLET).is_ok());
        assert!(open_stolen_keys(&path, &SecretKey::from_seed(&[12; 32]), WALLET).is_err());
        assert!(open_stolen_keys(&path, &own, WalletAddress(Digest([2; 32]))).is_err());
        let mut sealed = fs::read(&path).expect("readable");
        sealed[40] ^= 1;
        fs::write(&path, sealed).expect("writable");
        assert!(session.load_keys().is_err());
    }

    #[test]
    fn continuation_tail_and_journal_open_under_the_keys_of_their_epoch_only() {
        let (_folder, session) = session();
        session.save_continuation(&keys(), b"continuation").expect("writable");
        session.save_tail(&keys(), b"tail").expect("writable");
        let journal = session.create_journal(&keys()).expect("writable");
        let mut journal = Journal::open(Arc::new(journal), keys().page_hash, 2).expect("it is new");
        journal.prompt(&[1, 2, 3]).expect("writable");
        journal.token(1, 7).expect("writable");
        drop(journal);
        let read = session.load_continuation(&keys()).expect("readable");
        assert_eq!(read.as_deref(), Some(b"continuation".as_slice()));
        assert_eq!(session.load_tail(&keys()).expect("readable").as_deref(), Some(b"tail".as_slice()));
        let reopened = || session.open_journal(&keys()).expect("readable").expect("just written");
        let journal = Journal::open(Arc::new(reopened()), keys().page_hash, 2).expect("readable");
        assert_eq!(journal.tokens(), [1, 2, 3, 7]);
        drop(journal);
        for other in [
            HolderKeys { chain: ChainKey::from_bytes([33; 32]), ..keys() },
            HolderKeys { rest_salt: [34; 32], ..keys() },
        ] {
            assert!(session.load_continuation(&other).is_err());
            assert!(session.load_tail(&other).is_err());
            assert!(session.open_journal(&other).is_err());
        }
        let journal = Journal::open(Arc::new(reopened()), keys().page_hash, 3);
        drop(journal.expect("a later epoch"));
        let stale = Journal::open(Arc::new(reopened()), keys().page_hash, 2);
        assert!(matches!(stale, Err(ContinuationRefusal::Fenced { epoch: 3 })));
    }

    #[test]
    fn pages_of_a_move_are_there_after_a_restart_and_more_can_follow() {
        let (_folder, session) = session();
        let draft = Draft { encrypted: true, ..Draft::bytes(PageKind::Kv) };
        let hop = hop::descriptor(Digest([9; 32]));
        for position in 0..3 {
            let incoming = session.incoming(&hop).expect("readable");
            assert_eq!(incoming.state().tail, position);
            let page = [position as u8; 100];
            stream_took(&incoming, incoming.append(4, Expect::At(position), &draft, &page)).expect("writable");
            let stale = incoming.append(3, Expect::Any, &draft, &page);
            assert!(matches!(stream_took(&incoming, stale), Err(DiskFault::NotTaken { .. })));
            let Ok(Next::Item(page, _)) = incoming.next(Cursor(position)) else { panic!("no page") };
            assert_eq!(page.payload, vec![position as u8; 100]);
        }
        let other = hop::descriptor(Digest([8; 32]));
        assert_eq!(session.incoming(&other).expect("readable").state().tail, 0, "it is of another offer");
        session.drop_incoming().expect("writable");
        assert_eq!(session.incoming(&hop).expect("readable").state().tail, 0);
    }

    #[test]
    fn nothing_is_concluded_from_what_cannot_be_read_now_or_by_this_version() {
        let io = || io::Error::from_raw_os_error(5);
        let stream = || StreamFault::Io { file: PathBuf::new(), source: io() };
        let newer = || ContinuationRefusal::SchemaUnknown { form: 1, found: 3, latest: 2 };
        for fault in [
            DiskFault::Io { file: PathBuf::new(), source: io() },
            DiskFault::Stream { folder: PathBuf::new(), fault: stream() },
            DiskFault::Journal(stream().into()),
            DiskFault::Journal(ContinuationRefusal::RecordMalformed { position: 1, reason: "of a later version" }),
            DiskFault::Continuation(newer()),
        ] {
            assert!(fault.may_be_whole(), "{fault}");
        }
        let damaged = || StreamFault::Damaged { position: 1, reason: "its hash" };
        for fault in [
            DiskFault::Damaged { file: PathBuf::new(), refusal: Refusal::ContentMismatch },
            DiskFault::Stream { folder: PathBuf::new(), fault: damaged() },
            DiskFault::Journal(damaged().into()),
            DiskFault::Journal(ContinuationRefusal::Fenced { epoch: 3 }),
            DiskFault::Continuation(ContinuationRefusal::SignatureInvalid),
        ] {
            assert!(!fault.may_be_whole(), "{fault}");
        }
    }

    #[test]
    fn a_stream_that_another_is_just_closing_is_waited_for() {
        let (_folder, session) = session();
        let open = session.create_journal(&keys()).expect("writable");
        let closing = thread::spawn(move || {
            thread::sleep(Duration::from_millis(30));
            drop(open);
        });
        assert!(session.open_journal(&keys()).expect("it is closed at last").is_some());
        closing.join().expect("it ended");
    }

    #[test]
    fn nothing_is_left_of_what_is_erased() {
        let (_folder, session) = session();
        session.save_keys(&keys()).expect("writable");
        session.save_continuation(&keys(), b"continuation").expect("writable");
        session.save_tail(&keys(), b"tail").expect("writable");
        let (journal, kv) = (session.create_journal(&keys()), session.create_kv(&keys(), Digest([1; 32])));
        let secrets = HopSecrets { source: NodeId::new(1), blocks: 2, prekey: PrekeySeed([3; 32]) };
        session.save_hop(&secrets).expect("writable");
        let incoming = session.incoming(&hop::descriptor(Digest([9; 32]))).expect("writable");
        session.erase_keys().expect("writable, though the streams are open");
        let left = fs::read_dir(&session.dir).expect("readable").count();
        assert_eq!(left, 2, "what belongs to the hop");
        session.erase_hop().expect("writable");
        assert!(!session.dir.exists());
        drop((journal, kv, incoming));
    }
}
