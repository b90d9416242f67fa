//! What the entries make: wallets, spent prekeys, credits, governance, the ids of all entries.
//!
//! [`State`] is a typed view over the sparse Merkle tree. A record stands under the SHA-256 of its [`StateKey`] as the
//! canonical encoding of a [`Record`], so every record can be proven, and its absence too.

mod gate;
mod key;
mod membership;
mod record;
mod touched;

use genesis::{Consortium, OperatorId, Parameters};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use wallet::{
    codec::{self, DecodeError},
    digest::{Digest, sha256},
    grant::WalletAddress,
    identity::PublicKey,
    prekey::ExchangeKey,
    units::{BlockHeight, KeyEpoch, LogIndex, Micros, NodeId, Timestamp},
};

pub(crate) use self::gate::Place as GatePlace;
pub use self::{
    gate::{FormerGate, GateRecord, GateRun, GateScope},
    key::NoStateKey,
    membership::{
        AuditorRecord, BallotRecord, GovernanceRecord, KeyRecord, KeyStatus, LineageRecord, NodeRecord, OperatorRecord,
        ProposalRecord, Stage, Standing, ValidatorRecord,
    },
    record::{Boot, Cause, Hop, KeyRotated, Offer, Phase, WalletRecord},
    touched::Touched,
};
use crate::{
    credits::{Account, Award},
    tree::state::{ProofInvalid, StateProof, StateTree},
};

/// What a record is about. The order of the variants is part of the format.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum StateKey {
    /// Which consortium, and who is listed in it.
    Governance,
    /// A wallet.
    Wallet(WalletAddress),
    /// A prekey that was used in an offer.
    Prekey(ExchangeKey),
    /// An entry, by its id.
    Entry(Digest),
    /// A latency baseline, by the id of its entry.
    Baseline(Digest),
    /// What a hop earned: the wallet and the epoch that the hop began.
    Award(WalletAddress, KeyEpoch),
    /// A node's credits.
    Account(NodeId),
    /// Where a node's decision log is anchored.
    Anchor(NodeId),
    /// Since when a validator may not know all that its key has signed.
    Resumption(NodeId),
    /// Who votes in an epoch.
    Validators(u64),
    /// The numbers on which all nodes agree.
    Parameters,
    /// An operator.
    Operator(OperatorId),
    /// A node.
    Node(NodeId),
    /// A key of an operator or a node.
    Key(PublicKey),
    /// Who may read, by the SHA-256 of the API key.
    Auditor(Digest),
    /// A proposal, by its digest.
    Proposal(Digest),
    /// How often the ledger began anew; none before it did.
    Lineage,
    /// A release gate; none where gates are off.
    Gate(GateScope),
}

impl StateKey {
    /// Where the record stands in the tree.
    pub fn digest(&self) -> Digest {
        sha256("batchmind/v1/ledger/state", &[&codec::encode(self)])
    }
}

/// A record. The order of the variants is part of the format.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Record {
    /// See [`StateKey::Governance`].
    Governance(GovernanceRecord),
    /// See [`StateKey::Wallet`].
    Wallet(Box<WalletRecord>),
    /// See [`StateKey::Prekey`]: the id of the entry that used it.
    Prekey(Digest),
    /// See [`StateKey::Entry`].
    Entry(EntryRecord),
    /// See [`StateKey::Baseline`].
    Baseline(BaselineRecord),
    /// See [`StateKey::Award`].
    Award(Award),
    /// See [`StateKey::Account`].
    Account(Account),
    /// See [`StateKey::Anchor`].
    Anchor(AnchorRecord),
    /// See [`StateKey::Resumption`].
    Resumption(ResumptionRecord),
    /// See [`StateKey::Validators`].
    Validators(ValidatorRecord),
    /// See [`StateKey::Parameters`].
    Parameters(Parameters),
    /// See [`StateKey::Operator`].
    Operator(OperatorRecord),
    /// See [`StateKey::Node`].
    Node(NodeRecord),
    /// See [`StateKey::Key`].
    Key(KeyRecord),
    /// See [`StateKey::Auditor`].
    Auditor(AuditorRecord),
    /// See [`StateKey::Proposal`].
    Proposal(Box<ProposalRecord>),
    /// See [`StateKey::Lineage`].
    Lineage(LineageRecord),
    /// See [`StateKey::Gate`].
    Gate(Box<GateRecord>),
}

/// Where an entry stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryRecord {
    /// Its leaf.
    pub log_index: LogIndex,
    /// Its block.
    pub height: BlockHeight,
    /// The block's time.
    pub time: Timestamp,
}

/// A latency baseline that an offer can name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaselineRecord {
    /// The wallet.
    pub wallet: WalletAddress,
    /// The epoch in which it was measured.
    pub epoch: KeyEpoch,
    /// Median time between tokens.
    pub inter_token_p50: Micros,
    /// How many intervals were measured.
    pub samples: u32,
}

/// Where a node's decision log stands on the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnchorRecord {
    /// Number of decisions in the log.
    pub decisions: u64,
    /// Hash of the last one.
    pub log_head: Digest,
    /// The entry that says so.
    pub entry: Digest,
}

/// A validator came back without all that its key has signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResumptionRecord {
    /// Of the process that resumed.
    pub nonce: [u8; 16],
    /// Height at which it became final. The key votes in later terms only.
    pub height: BlockHeight,
    /// The entry that says so.
    pub entry: Digest,
}

/// The state. A clone is cheap and shares everything.
#[derive(Clone, Debug, Default)]
pub struct State {
    tree: StateTree,
    /// Who wants to know what is read and written, if anybody does.
    touched: Option<Touched>,
}

impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        self.tree == other.tree
    }
}

impl Eq for State {}

impl From<StateTree> for State {
    /// The caller compares the root with a certified header, and knows that each value is a record.
    fn from(tree: StateTree) -> Self {
        Self { tree, touched: None }
    }
}

impl State {
    /// The state before the first entry.
    pub fn genesis(consortium: &Consortium) -> Self {
        let mut state = Self::default();
        state.found(consortium);
        state
    }

    /// The root that block headers name.
    pub fn root(&self) -> Digest {
        self.tree.root()
    }

    /// The tree, to store its leaves: [`StateTree::changes_since`] gives what a block changed.
    pub fn tree(&self) -> &StateTree {
        &self.tree
    }

    /// The state whose leaves were stored. The caller compares the root with a certified header.
    pub fn from_leaves(leaves: impl IntoIterator<Item = (Digest, Vec<u8>)>) -> Self {
        leaves.into_iter().collect::<StateTree>().into()
    }

    /// The proof of what stands under `key`, be it a record or nothing.
    pub fn prove(&self, key: StateKey) -> StateProof {
        self.tree.prove(&key.digest())
    }

    /// A wallet.
    pub fn wallet(&self, address: WalletAddress) -> Option<WalletRecord> {
        match self.record(StateKey::Wallet(address))? {
            Record::Wallet(record) => Some(*record),
            _ => None,
        }
    }

    /// All wallets, in the order of their keys.
    pub fn wallets(&self) -> impl Iterator<Item = WalletRecord> {
        self.records().filter_map(|record| match record {
            Record::Wallet(record) => Some(*record),
            _ => None,
        })
    }

    /// Where the entry with this id stands.
    pub fn entry(&self, id: Digest) -> Option<EntryRecord> {
        match self.record(StateKey::Entry(id))? {
            Record::Entry(record) => Some(record),
            _ => None,
        }
    }

    /// Whether an offer used this prekey.
    pub fn is_prekey_spent(&self, prekey: ExchangeKey) -> bool {
        self.record(StateKey::Prekey(prekey)).is_some()
    }

    /// The baseline of the entry with this id.
    pub fn baseline(&self, entry: Digest) -> Option<BaselineRecord> {
        match self.record(StateKey::Baseline(entry))? {
            Record::Baseline(record) => Some(record),
            _ => None,
        }
    }

    /// Where the decision log of `node` is anchored.
    pub fn anchor(&self, node: NodeId) -> Option<AnchorRecord> {
        match self.record(StateKey::Anchor(node))? {
            Record::Anchor(record) => Some(record),
            _ => None,
        }
    }

    /// When the key of `node` last resumed; none if it always knew what it had signed.
    pub fn resumption(&self, node: NodeId) -> Option<ResumptionRecord> {
        match self.record(StateKey::Resumption(node))? {
            Record::Resumption(record) => Some(record),
            _ => None,
        }
    }

    /// What the hop that began `epoch` earned; none while its delta is missing.
    pub fn award(&self, wallet: WalletAddress, epoch: KeyEpoch) -> Option<Award> {
        match self.record(StateKey::Award(wallet, epoch))? {
            Record::Award(award) => Some(award),
            _ => None,
        }
    }

    /// All awards, in the order of their keys.
    pub fn awards(&self) -> impl Iterator<Item = Award> {
        self.records().filter_map(|record| match record {
            Record::Award(award) => Some(award),
            _ => None,
        })
    }

    /// A node's credits; an empty account if it never earned any.
    pub fn account(&self, node: NodeId) -> Account {
        match self.record(StateKey::Account(node)) {
            Some(Record::Account(account)) => account,
            _ => Account::default(),
        }
    }

    /// All records, in the order of their keys.
    pub fn records(&self) -> impl Iterator<Item = Record> {
        self.tree.iter().map(|(_, value)| parse(value))
    }

    /// The record under `key`.
    pub fn record(&self, key: StateKey) -> Option<Record> {
        let key = key.digest();
        self.note(key);
        self.tree.get(&key).map(parse)
    }

    pub(crate) fn put(&mut self, key: StateKey, record: Record) {
        let key = key.digest();
        self.note(key);
        self.tree.insert(key, codec::encode(&record));
    }

    fn note(&self, key: Digest) {
        if let Some(touched) = &self.touched {
            touched.note(key);
        }
    }
}

/// The record that stands under `root` by its key, by the hashes beside its path.
///
/// # Errors
/// [`RecordInvalid`] if it does not, or is none.
pub fn record_under(root: &Digest, key: &StateKey, record: &[u8], path: &[Digest]) -> Result<Record, RecordInvalid> {
    let key = key.digest();
    let terminal = Some((key, Digest(Sha256::digest(record).into())));
    StateProof { siblings: path.to_vec(), terminal }.verify_present(root, &key, record)?;
    Ok(codec::decode(record)?)
}

/// Why a record is not proven.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordInvalid {
    /// Another one is there, or none.
    #[error(transparent)]
    Path(#[from] ProofInvalid),
    /// What is there is no record.
    #[error(transparent)]
    Undecodable(#[from] DecodeError),
}

fn parse(value: &[u8]) -> Record {
    codec::decode(value).expect("only `put` writes values, and stored leaves are checked against a certified root")
}
