//! What a session keeps in `<data-dir>/sessions/<wallet>`: keys, journal, pages, and what a move towards this node has
//! brought so far.
//!
//! `keys` and `hop` are sealed under a key of the node, `journal` and `pages` under the wallet's chain key of the
//! epoch, which `keys` holds. So erasing `keys` makes the rest unreadable. docs/formats/session-files.md has the bytes.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
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

use super::{request::PrefixSalt, start::SessionStart, view::FinishReason};
use crate::migration::messages::Handover;

const KEYS: &str = "keys";
const HOP: &str = "hop";
const JOURNAL: &str = "journal";
const PAGES: &str = "pages";
const INCOMING: &str = "incoming";
const HANDOVER: &str = "handover";

/// The longest record that is read back.
const RECORD_BYTES_MAX: usize = codec::ENCODED_BYTES_MAX;

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

/// One record of the journal. The order of the variants is part of the format.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum JournalRecord {
    /// The first record: what the holder began with.
    Begin(Box<SessionStart>),
    /// A token that was emitted.
    Token(u32),
    /// Generation ended.
    Finished(FinishReason),
}

/// A record in plaintext, wiped on drop.
pub type Record = Zeroizing<Vec<u8>>;

/// An append-only file of sealed records.
pub struct RecordFile {
    path: PathBuf,
    file: File,
    rest: RestFile,
}

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

    /// Writes the hand-over as it came, without its pages, and syncs it.
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

    /// A new journal or page file under the keys' rest key; an old one is replaced.
    ///
    /// # Errors
    /// [`DiskFault::Io`].
    pub fn create_journal(&self, keys: &HolderKeys) -> Result<RecordFile, DiskFault> {
        self.create_records(JOURNAL, keys)
    }

    /// See [`Self::create_journal`].
    ///
    /// # Errors
    /// [`DiskFault::Io`].
    pub fn create_pages(&self, keys: &HolderKeys) -> Result<RecordFile, DiskFault> {
        self.create_records(PAGES, keys)
    }

    /// The journal's records, and the file to append more. What was cut short at its end is removed.
    ///
    /// # Errors
    /// [`DiskFault`].
    pub fn open_journal(&self, keys: &HolderKeys) -> Result<(Vec<JournalRecord>, RecordFile), DiskFault> {
        let (records, file) = self.open_records(JOURNAL, keys)?;
        let path = self.dir.join(JOURNAL);
        let records = records
            .iter()
            .map(|record| codec::decode(record).map_err(|error| damaged(&path, error.into())))
            .collect::<Result<_, _>>()?;
        Ok((records, file))
    }

    /// The pages that survived, head included, and the file to append more.
    ///
    /// # Errors
    /// [`DiskFault`].
    pub fn open_pages(&self, keys: &HolderKeys) -> Result<(Vec<Record>, RecordFile), DiskFault> {
        self.open_records(PAGES, keys)
    }

    /// Appends sealed pages of an inbound move, as they came, and syncs them.
    ///
    /// # Errors
    /// [`DiskFault::Io`].
    pub fn append_incoming<'a>(&self, pages: impl Iterator<Item = &'a [u8]>) -> Result<(), DiskFault> {
        let path = self.dir.join(INCOMING);
        let mut bytes = Vec::new();
        pages.for_each(|page| push_frame(&mut bytes, page));
        let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(&path).map_err(io_fault(&path))?;
        file.write_all(&bytes).and_then(|()| file.sync_data()).map_err(io_fault(&path))
    }

    /// The sealed pages of an inbound move that are on the disk. What was cut short at the end is removed.
    ///
    /// # Errors
    /// [`DiskFault::Io`].
    pub fn load_incoming(&self) -> Result<Vec<Vec<u8>>, DiskFault> {
        let path = self.dir.join(INCOMING);
        let Some(bytes) = read(&path)? else { return Ok(Vec::new()) };
        let (mut pages, mut whole) = (Vec::new(), 0);
        while let Some(page) = frame(&bytes[whole..]) {
            pages.push(page.to_vec());
            whole += 4 + page.len();
        }
        if whole < bytes.len() {
            let file = OpenOptions::new().write(true).open(&path).map_err(io_fault(&path))?;
            file.set_len(whole as u64).map_err(io_fault(&path))?;
        }
        Ok(pages)
    }

    /// Forgets the sealed pages of an inbound move: they are of another offer.
    ///
    /// # Errors
    /// [`DiskFault::Io`].
    pub fn drop_incoming(&self) -> Result<(), DiskFault> {
        [INCOMING, HANDOVER].iter().try_for_each(|name| self.remove(name))
    }

    /// Removes what an inbound move left: prekey first.
    ///
    /// # Errors
    /// [`DiskFault::Io`].
    pub fn erase_hop(&self) -> Result<(), DiskFault> {
        [HOP, HANDOVER, INCOMING].iter().try_for_each(|name| self.remove(name))?;
        self.remove_if_empty()
    }

    /// Removes the holder's files, keys first.
    ///
    /// # Errors
    /// [`DiskFault::Io`].
    pub fn erase_keys(&self) -> Result<(), DiskFault> {
        [KEYS, JOURNAL, PAGES].iter().try_for_each(|name| self.remove(name))?;
        self.remove_if_empty()
    }

    fn save<T: Serialize>(&self, name: &str, value: &T) -> Result<(), DiskFault> {
        let plain = Zeroizing::new(codec::encode(value));
        let mut rest = RestFile::new(node_rest_key(&self.node_key, self.wallet), name);
        self.write(name, &rest.seal(&plain, &mut draw))
    }

    fn load<T: Serialize + DeserializeOwned>(&self, name: &str) -> Result<Option<T>, DiskFault> {
        let path = self.dir.join(name);
        let Some(sealed) = read(&path)? else { return Ok(None) };
        open_sealed(&self.node_key, self.wallet, name, &sealed).map(Some).map_err(|refusal| damaged(&path, refusal))
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

    fn create_records(&self, name: &str, keys: &HolderKeys) -> Result<RecordFile, DiskFault> {
        make_dir(&self.dir)?;
        let path = self.dir.join(name);
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)
            .map_err(io_fault(&path))?;
        Ok(RecordFile { path, file, rest: RestFile::new(keys.chain.rest(&keys.rest_salt), name) })
    }

    fn open_records(&self, name: &str, keys: &HolderKeys) -> Result<(Vec<Record>, RecordFile), DiskFault> {
        let path = self.dir.join(name);
        let mut file = OpenOptions::new().read(true).write(true).open(&path).map_err(io_fault(&path))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(io_fault(&path))?;
        let mut rest = RestFile::new(keys.chain.rest(&keys.rest_salt), name);
        let (mut records, mut whole) = (Vec::new(), 0);
        while let Some(sealed) = frame(&bytes[whole..]) {
            // A record that does not open ends the file: what follows it cannot open either.
            let Ok(record) = rest.open(sealed) else { break };
            records.push(Zeroizing::new(record));
            whole += 4 + sealed.len();
        }
        file.set_len(whole as u64).and_then(|()| file.seek(SeekFrom::End(0))).map_err(io_fault(&path))?;
        Ok((records, RecordFile { path, file, rest }))
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

impl RecordFile {
    /// Appends one record. It survives this process; [`Self::sync`] makes it survive the power.
    ///
    /// # Errors
    /// [`DiskFault::Io`].
    pub fn append(&mut self, record: &[u8]) -> Result<(), DiskFault> {
        let sealed = self.rest.seal(record, &mut draw);
        let mut framed = Vec::with_capacity(4 + sealed.len());
        push_frame(&mut framed, &sealed);
        self.file.write_all(&framed).map_err(io_fault(&self.path))
    }

    /// Returns once all records are on the disk.
    ///
    /// # Errors
    /// [`DiskFault::Io`].
    pub fn sync(&self) -> Result<(), DiskFault> {
        self.file.sync_data().map_err(io_fault(&self.path))
    }

    /// Syncs in the background, for records that can be computed again.
    pub fn sync_later(&self) {
        let (file, path) = (self.file.try_clone(), self.path.clone());
        tokio::task::spawn_blocking(move || {
            if let Err(error) = file.and_then(|file| file.sync_data()) {
                tracing::warn!(file = %path.display(), %error, "not synced");
            }
        });
    }
}

/// Opens a copy of a session's `keys` with its node's key: what a thief of both could do.
///
/// # Errors
/// [`DiskFault`].
pub fn open_stolen_keys(path: &Path, node_key: &SecretKey, wallet: WalletAddress) -> Result<HolderKeys, DiskFault> {
    let sealed = fs::read(path).map_err(io_fault(path))?;
    open_sealed(node_key, wallet, KEYS, &sealed).map_err(|refusal| damaged(path, refusal))
}

impl HolderSeed {
    /// The epoch key.
    pub fn key(&self) -> SecretKey {
        SecretKey::from_seed(&self.0)
    }
}

fn open_sealed<T: Serialize + DeserializeOwned>(
    node_key: &SecretKey,
    wallet: WalletAddress,
    name: &str,
    sealed: &[u8],
) -> Result<T, Refusal> {
    let mut rest = RestFile::new(node_rest_key(node_key, wallet), name);
    let plain = Zeroizing::new(rest.open(sealed)?);
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

fn push_frame(to: &mut Vec<u8>, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).expect("records are far below 4 GiB");
    to.extend_from_slice(&length.to_le_bytes());
    to.extend_from_slice(bytes);
}

/// The first whole frame.
fn frame(bytes: &[u8]) -> Option<&[u8]> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let length = u32::from_le_bytes(*length) as usize;
    rest.get(..length).filter(|_| length <= RECORD_BYTES_MAX)
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
    use std::collections::BTreeSet;

    use wallet::{
        digest::sha256, identity::RegionId, policy::JurisdictionPolicy, tenant::WalletSecret, units::TokenCount,
    };

    use super::*;
    use crate::session::request::Sampling;

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

    fn start() -> SessionStart {
        SessionStart {
            tokens: vec![1, 2, 3],
            prompt_tokens: TokenCount::new(3),
            cached_tokens: TokenCount::ZERO,
            sampling: Sampling {
                max_tokens: TokenCount::new(9),
                temperature_ppm: 0,
                top_p_ppm: 1_000_000,
                seed: 5,
                ignore_eos: false,
                stop: vec!["x".to_owned()],
            },
            pace_ms: 0,
            origin: region(),
            request_id: "r".to_owned(),
            model: Digest([1; 32]),
            numerics: Digest([2; 32]),
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
        let journal = [
            JournalRecord::Begin(Box::new(start())),
            JournalRecord::Token(7),
            JournalRecord::Finished(FinishReason::Length),
        ];
        let hashes = [codec::encode(&keys()), codec::encode(&hop), codec::encode(&journal)].map(|bytes| hash(&bytes));
        assert_eq!(hashes, ["0b920aca47b6668f", "7dd5c9359656ca3d", "755098c8124a135e"]);
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
    fn a_journal_cut_at_any_byte_gives_the_whole_records_and_goes_on_after_them() {
        let (_folder, session) = session();
        let mut journal = session.create_journal(&keys()).expect("writable");
        let records: Vec<JournalRecord> = (0..4).map(JournalRecord::Token).collect();
        records.iter().for_each(|record| journal.append(&codec::encode(record)).expect("writable"));
        drop(journal);
        let path = session.dir.join(JOURNAL);
        let whole = fs::read(&path).expect("readable");
        for cut in 0..=whole.len() {
            fs::write(&path, &whole[..cut]).expect("writable");
            let (read, mut journal) = session.open_journal(&keys()).expect("readable");
            let count = cut * records.len() / whole.len();
            assert_eq!(codec::encode(&read), codec::encode(&records[..count].to_vec()));
            journal.append(&codec::encode(&JournalRecord::Token(9))).expect("writable");
            let (read, _) = session.open_journal(&keys()).expect("readable");
            assert_eq!(read.len(), count + 1);
        }
    }
}
