//! What is final, on RocksDB: one synced batch for each block, and read access for bundles, REST and catching up.

mod grounds;
mod import;
mod nodes;
mod reach;
mod tiles;
mod view;
mod wallets;

use std::{
    ops::Range,
    sync::{Arc, Mutex},
};

use genesis::{Consortium, ValidatorSet};
use serde::{Deserialize, Serialize};
use wallet::{
    digest::Digest,
    identity::Signature,
    units::{BlockHeight, LogIndex, NodeId},
};

use super::{
    alarm::Alarm,
    disk::Disk,
    fault::Fault,
    raft::RaftLogId,
    store::{Batch, Scan, Store, number_key},
};
use crate::{
    block::{Block, FinalBlock, Header},
    certificate::{Certificate, Nullification},
    event::{Entry, Event},
    execute::Executed,
    finality::Final,
    hand_over::{ClosingProof, HandOver, closed_by},
    planted::planted,
    re_genesis::ReGenesisProof,
    state::State,
    tree::{log::LogTree, state::StateTree, tiles::Tiles as _},
};

use self::{reach::Reach, view::PastEpochs};
pub use grounds::GivenUp;
pub use nodes::nodes;
pub use view::StoredView;

const STORE: &str = "final";
const HEADERS: &str = "headers";
const CERTIFICATES: &str = "certificates";
const ENTRIES: &str = "entries";
const LEAVES: &str = "leaves";
/// The log's hashes above the leaves, of complete tiles.
const TILES: &str = "tiles";
const STATE: &str = "state";
const META: &str = "meta";
/// Where the entries about a wallet stand: its address, what they are and the index, no value.
const BY_WALLET: &str = "by_wallet";
/// How each epoch ended, by its number.
const HAND_OVERS: &str = "hand_overs";
/// Where the anchors of a node stand: its id and the index, no value.
const ANCHORS: &str = "anchors";
/// Decisions that entries name, by who made them and their hash. No header covers them; archives hold them.
const GROUNDS: &str = "grounds";
/// All of them.
pub(super) const FAMILIES: [&str; 11] =
    [HEADERS, CERTIFICATES, ENTRIES, LEAVES, TILES, STATE, META, BY_WALLET, ANCHORS, HAND_OVERS, GROUNDS];
const POINTER: &[u8] = b"pointer";

/// The final chain. Cheap to clone; all clones are one store.
#[derive(Clone)]
pub struct FinalStore {
    rows: Arc<Store>,
    /// Hash of the genesis document.
    consortium: Digest,
    /// What must be there.
    reach: Arc<Reach>,
    /// How epochs ended, as far as somebody asked.
    past: Arc<Mutex<PastEpochs>>,
}

/// Where a node goes on after a start.
#[derive(Clone, Debug)]
pub struct Tip {
    /// The final state, checked against the certified header.
    pub executed: Executed,
    /// What made it final; none at genesis.
    pub certificate: Option<Certificate>,
    /// Between the tip and what the certificate names, if the tip closed its epoch.
    pub carriers: Vec<Header>,
    /// The raft log entry that holds it; none at genesis.
    pub log_id: Option<RaftLogId>,
}

/// The last value that a batch writes: with it the block is final here.
#[derive(Serialize, Deserialize)]
struct Pointer {
    consortium: Digest,
    height: BlockHeight,
    log_id: RaftLogId,
}

/// What follows a block that closes its epoch.
struct Ended {
    next: ValidatorSet,
    /// What leads to it, if it is a re-genesis.
    anew: Option<ReGenesisProof>,
}

/// A header as stored, with what its block carries beside the entries.
#[derive(Debug, Serialize, Deserialize)]
pub struct StoredHeader {
    header: Header,
    proposal: Signature,
    parent_certificate: Option<Certificate>,
    carriers: Vec<Header>,
    skipped: Option<Nullification>,
    entries: u64,
}

impl From<&Block> for StoredHeader {
    fn from(block: &Block) -> Self {
        let Block { header, proposal, parent_certificate, carriers, skipped, entries } = block;
        Self {
            header: header.clone(),
            proposal: *proposal,
            parent_certificate: parent_certificate.clone(),
            carriers: carriers.clone(),
            skipped: skipped.clone(),
            entries: entries.len() as u64,
        }
    }
}

impl FinalStore {
    /// Opens or creates the store in `dir`, rebuilds the final state and compares both roots with the final header.
    ///
    /// # Errors
    /// [`Fault::StateDiffers`] or [`Fault::Damaged`] if the disk does not hold what a quorum certified,
    /// [`Fault::OtherConsortium`] if it is the wrong folder.
    pub fn open(dir: impl Into<Disk>, consortium: &Consortium) -> Result<(Self, Tip), Fault> {
        let rows = Arc::new(Store::open(&dir.into(), STORE, &FAMILIES)?);
        let store = Self { rows, consortium: consortium.id(), reach: Arc::default(), past: Arc::default() };
        let tip = store.load(consortium)?;
        store.reach.raise(&tip.executed);
        Ok((store, tip))
    }

    /// From now on `alarm` is raised when somebody reads what is not what was written, or asks for what must be there and
    /// is not.
    pub(crate) fn watch_by(&self, alarm: &Alarm) {
        self.rows.watch_by(alarm);
    }

    /// Makes a block final on the disk. `before` is the state that it was executed on.
    ///
    /// # Errors
    /// [`Fault`] of the disk; nothing of the block is stored then.
    pub fn commit(&self, finalized: &Final, before: &Executed, log_id: RaftLogId) -> Result<(), Fault> {
        let Final { block, certificate, carriers, executed, .. } = finalized;
        let header = &block.header;
        let mut batch = Batch::default();
        let ended = header.is_closing().then(|| self.ended(block, before, executed)).transpose()?;
        let leaves = Self::put_block(&mut batch, block, certificate, carriers, ended);
        self.put_step(&mut batch, before, executed, &leaves)?;
        let pointer = Pointer { consortium: self.consortium, height: header.height, log_id };
        if !planted!(PointerNotWritten) {
            batch.put(META, POINTER, &pointer);
        }
        self.rows.write(batch)?;
        self.reach.raise(executed);
        Ok(())
    }

    /// Adds what blocks with these `leaves` changed from `before` to `after`.
    fn put_step(&self, batch: &mut Batch, before: &Executed, after: &Executed, leaves: &[Digest]) -> Result<(), Fault> {
        self.put_completed(batch, before.log.size(), leaves)?;
        // What genesis put into the state is stored with the first block.
        let empty = StateTree::default();
        let stored = if before.height == BlockHeight::ZERO { &empty } else { before.state.tree() };
        for (key, value) in after.state.tree().changes_since(stored) {
            match value {
                Some(value) => batch.put_bytes(STATE, key.as_bytes(), value),
                None => batch.delete(STATE, key.as_bytes()),
            }
        }
        Ok(())
    }

    /// What follows a block that closes its epoch. It is one of those that lead from `before`, which is stored, to `after`,
    /// and if it is a re-genesis the only one.
    fn ended(&self, block: &Block, before: &Executed, after: &Executed) -> Result<Ended, Fault> {
        // The sets of all epochs stay in the state.
        let next = after.state.validator_record(block.header.epoch + 1).set;
        if !block.header.view.is_re_genesis() {
            return Ok(Ended { next, anew: None });
        }
        let last = self.header(before.height)?.ok_or_else(|| missing(format!("header {}", before.height)))?;
        let anew = ReGenesisProof::of(last, &before.state, before.log.clone(), block, [&before.validators(), &next]);
        Ok(Ended { next, anew })
    }

    /// Adds a block and what made it final, and gives its leaves. `ended` says what follows it if it closes its epoch.
    fn put_block(
        batch: &mut Batch,
        block: &Block,
        certificate: &Certificate,
        above: &[Header],
        ended: Option<Ended>,
    ) -> Vec<Digest> {
        let Block { header, entries, .. } = block;
        let height = number_key(header.height.get());
        let first = header.log_size.saturating_sub(entries.len() as u64);
        batch.put(HEADERS, &height, &StoredHeader::from(block));
        batch.put(CERTIFICATES, &height, certificate);
        if let Some(Ended { next, anew }) = ended {
            let proof = ClosingProof { certificate: certificate.clone(), carriers: above.to_vec() };
            let (closing, re_genesis) = (header.clone(), anew.map(Box::new));
            batch.put(HAND_OVERS, &number_key(header.epoch), &HandOver { closing, proof, next, re_genesis });
        }
        let mut leaves = Vec::with_capacity(entries.len());
        for (entry, index) in entries.iter().zip(first..) {
            let leaf = entry.leaf_hash();
            leaves.push(leaf);
            batch.put_bytes(ENTRIES, &number_key(index), entry.bytes());
            batch.put_bytes(LEAVES, &number_key(index), leaf.as_bytes());
            wallets::put(batch, entry, index);
            if matches!(entry.body.event, Event::DecisionAnchored(_)) {
                batch.put_bytes(ANCHORS, &indexed(&node_key(entry.body.author), index), &[]);
            }
        }
        leaves
    }

    /// The block of a height, if it is final.
    ///
    /// # Errors
    /// [`Fault`] if it is damaged or incomplete.
    pub fn block(&self, height: BlockHeight) -> Result<Option<FinalBlock>, Fault> {
        let Some(stored) = self.stored_header(height)? else { return Ok(None) };
        let size = stored.header.log_size;
        let entries = self.entries(size.saturating_sub(stored.entries)..size)?;
        let certificate = self.certificate(height)?.ok_or_else(|| missing(format!("certificate {height}")))?;
        let above = match stored.header.is_closing() {
            true => self.hand_over(stored.header.epoch)?.map_or(Vec::new(), |hand_over| hand_over.proof.carriers),
            false => Vec::new(),
        };
        let StoredHeader { header, proposal, parent_certificate, carriers, skipped, .. } = stored;
        let block = Block { header, proposal, parent_certificate, carriers, skipped, entries };
        Ok(Some(FinalBlock { block, certificate, carriers: above }))
    }

    /// The header of a final height.
    ///
    /// # Errors
    /// [`Fault`] if it is damaged.
    pub fn header(&self, height: BlockHeight) -> Result<Option<Header>, Fault> {
        Ok(self.stored_header(height)?.map(|stored| stored.header))
    }

    /// The certificate of a final height.
    ///
    /// # Errors
    /// [`Fault`] if it is damaged.
    pub fn certificate(&self, height: BlockHeight) -> Result<Option<Certificate>, Fault> {
        let found = self.rows.get(CERTIFICATES, &number_key(height.get()))?;
        self.present(found, self.reach.has_height(height), || format!("certificate {height}"))
    }

    /// What made a final header final: its certificate, and above a closing block the carriers up to what that names.
    ///
    /// # Errors
    /// [`Fault`] if it is damaged.
    pub fn proof(&self, header: &Header) -> Result<Option<ClosingProof>, Fault> {
        if header.is_closing() {
            return Ok(self.hand_over(header.epoch)?.map(|hand_over| hand_over.proof));
        }
        let certificate = self.certificate(header.height)?;
        Ok(certificate.map(|certificate| ClosingProof { certificate, carriers: Vec::new() }))
    }

    /// How an epoch ended, if it did.
    ///
    /// # Errors
    /// [`Fault`] if it is damaged.
    pub fn hand_over(&self, epoch: u64) -> Result<Option<HandOver>, Fault> {
        let found = self.rows.get(HAND_OVERS, &number_key(epoch))?;
        self.present(found, self.reach.has_ended(epoch), || format!("the end of epoch {epoch}"))
    }

    /// The entry at a place of the log.
    ///
    /// # Errors
    /// [`Fault`] if it is damaged.
    pub fn entry(&self, index: LogIndex) -> Result<Option<Entry>, Fault> {
        let found = self.rows.get(ENTRIES, &number_key(index.get()))?;
        self.present(found, self.reach.has_hash(0, index.get()), || format!("entry {index}"))
    }

    /// The entries of a range of the log. The caller bounds it.
    ///
    /// # Errors
    /// [`Fault::Missing`] if the range goes beyond what is final.
    pub fn entries(&self, range: Range<u64>) -> Result<Vec<Entry>, Fault> {
        range
            .map(|index| {
                let entry = self.entry(LogIndex::new(index))?;
                entry.ok_or_else(|| missing(format!("entry {index}")))
            })
            .collect()
    }

    /// Where the first anchor of `node` stands in the log from `from` up to `tip`, a final state of this store.
    ///
    /// # Errors
    /// [`Fault`] if the index is damaged, or lacks the last one.
    pub fn anchor_from(&self, node: NodeId, from: LogIndex, tip: &Executed) -> Result<Option<LogIndex>, Fault> {
        let found = self.indices(ANCHORS, &node_key(node), from.get()..tip.log.size(), 1)?.pop();
        let last = tip.state.anchor(node).and_then(|anchor| place_of(tip, anchor.entry));
        self.present(found, last.is_some_and(|last| last >= from), || format!("an anchor of node {node} in an index"))
    }

    /// The last final block's height and place in the raft log, as they are on the disk; none at genesis.
    ///
    /// # Errors
    /// [`Fault`] if it is damaged.
    pub(crate) fn last(&self) -> Result<Option<(BlockHeight, RaftLogId)>, Fault> {
        Ok(self.rows.get::<Pointer>(META, POINTER)?.map(|pointer| (pointer.height, pointer.log_id)))
    }

    /// The first `count_max` indices of a range that `family` lists under `topic`, ascending.
    fn indices(
        &self,
        family: &'static str,
        topic: &[u8],
        Range { start, end }: Range<u64>,
        count_max: usize,
    ) -> Result<Vec<LogIndex>, Fault> {
        let mut indices = Vec::new();
        self.rows.scan(family, &indexed(topic, start), Some(&indexed(topic, end)), |key, _| {
            indices.push(index_of(family, key)?);
            Ok(if indices.len() < count_max { Scan::More } else { Scan::Stop })
        })?;
        Ok(indices)
    }

    /// What was read. It is a fault, and not absence, that there is nothing where something was written.
    fn present<T>(&self, found: Option<T>, must_be: bool, what: impl FnOnce() -> String) -> Result<Option<T>, Fault> {
        if found.is_none() && must_be { self.rows.missing(what()) } else { Ok(found) }
    }

    fn stored_header(&self, height: BlockHeight) -> Result<Option<StoredHeader>, Fault> {
        let found = self.rows.get(HEADERS, &number_key(height.get()))?;
        self.present(found, self.reach.has_height(height), || format!("header {height}"))
    }

    fn load(&self, consortium: &Consortium) -> Result<Tip, Fault> {
        let Some(pointer) = self.rows.get::<Pointer>(META, POINTER)? else {
            return Ok(Tip {
                executed: Executed::genesis(consortium),
                certificate: None,
                carriers: Vec::new(),
                log_id: None,
            });
        };
        if pointer.consortium != consortium.id() {
            return Err(Fault::OtherConsortium { expected: consortium.id(), found: pointer.consortium });
        }
        Ok(Tip { log_id: Some(pointer.log_id), ..self.load_at(pointer.height)? })
    }

    /// What stands at `height`, whose state is on the disk; its log root and state root are compared with the header. Where
    /// the raft log has it is not known from that.
    ///
    /// # Errors
    /// [`Fault`] if they are others, or something is missing.
    pub(crate) fn load_at(&self, height: BlockHeight) -> Result<Tip, Fault> {
        let header = self.header(height)?.ok_or_else(|| missing(format!("header {height}")))?;
        let certificate = self.certificate(height)?.ok_or_else(|| missing(format!("certificate {height}")))?;
        let digest = header.digest();
        let hand_over = if header.is_closing() { self.hand_over(header.epoch)? } else { None };
        let carriers = hand_over.map_or(Vec::new(), |hand_over| hand_over.proof.carriers);
        let expected = closed_by(&certificate, &carriers).map(|(_, block)| block).unwrap_or_default();
        if expected != digest {
            return Err(Fault::StateDiffers { height, what: "header", expected, found: digest });
        }
        let leaves = self.hashes(0, 0..header.log_size)?;
        let log = LogTree::from_leaf_hashes(&leaves);
        let state = self.load_state()?;
        for (what, expected, found) in
            [("log root", header.log_root, log.root()), ("state root", header.state_root, state.root())]
        {
            if expected != found {
                return Err(Fault::StateDiffers { height, what, expected, found });
            }
        }
        self.fill_tiles(&leaves)?;
        let (name, view, time) = (header.name(), header.view, header.time);
        let executed = Executed { digest, name, height, view, time, log, state };
        Ok(Tip { executed, certificate: Some(certificate), carriers, log_id: None })
    }

    fn load_state(&self) -> Result<State, Fault> {
        let mut leaves = Vec::new();
        self.rows.scan(STATE, &[], None, |key, value| {
            let digest = <[u8; 32]>::try_from(key).map_err(|_| Fault::damaged(STORE, STATE, key, "not a key"))?;
            leaves.push((Digest(digest), value.to_vec()));
            Ok(Scan::More)
        })?;
        Ok(State::from_leaves(leaves))
    }
}

/// Where a final entry stands.
fn place_of(tip: &Executed, entry: Digest) -> Option<LogIndex> {
    tip.state.entry(entry).map(|record| record.log_index)
}

fn node_key(node: NodeId) -> [u8; 4] {
    node.get().to_be_bytes()
}

fn indexed(topic: &[u8], index: u64) -> Vec<u8> {
    [topic, &number_key(index)].concat()
}

/// The index in such a key.
fn index_of(family: &'static str, key: &[u8]) -> Result<LogIndex, Fault> {
    let index = key.split_last_chunk::<8>().map(|(_, index)| LogIndex::new(u64::from_be_bytes(*index)));
    index.ok_or_else(|| Fault::damaged(STORE, family, key, "not an index"))
}

fn missing(what: String) -> Fault {
    Fault::Missing { store: STORE, what }
}

#[cfg(test)]
mod tests;
