//! What can happen on the ledger.
//!
//! Events that change who holds a wallet, under which key, or whether it is open, name the wallet's head and advance
//! it: each is a compare-and-swap. Evidence cites head and epoch but does not advance the head, so that it cannot kill
//! a hand-over in flight. No event moves credits from one account to another.

use std::{fmt, ops::Deref, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use wallet::{
    codec,
    digest::{Digest, sha256},
    gate::{Gate, dkg::Notice},
    grant::{WalletAddress, WalletGrant},
    identity::{PublicKey, SecretKey, Signature, context},
    policy::PolicyOpening,
    prekey::{ExchangeKey, SignedPrekey},
    ticket::{ContentCommitment, SignedTicket},
    units::{BlockHeight, KeyEpoch, Micros, NodeId},
};

use crate::{
    author::AuthorSignature,
    governance::{BallotCast, ProposalEnacted, ProposalMade, ProposalWithdrawn},
    re_genesis::ReGenesis,
    state::GateScope,
    tree::log,
};

/// An event in the words of its author, for one consortium, once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryBody {
    /// Hash of the genesis document.
    pub consortium: Digest,
    /// The node that says so.
    pub author: NodeId,
    /// Drawn by the author, so that equal events are different entries.
    pub nonce: [u8; 16],
    /// What happened.
    pub event: Event,
}

/// A leaf of the log: a body and the signatures over its encoding. It never changes and carries its encoding, so that it
/// is encoded and hashed once, however many hands it goes through. Cheap to clone.
#[derive(Clone)]
pub struct Entry(Arc<Encoded>);

/// What an entry is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryParts {
    /// What is said.
    pub body: EntryBody,
    /// By the author's node key.
    pub signature: AuthorSignature,
    /// By the wallet's epoch key, where the event speaks for the wallet's holder: the key of record, or the new key in
    /// [`Event::WalletCreated`] and [`Event::KeyConfirmed`].
    pub holder_signature: Option<Signature>,
}

struct Encoded {
    parts: EntryParts,
    bytes: Box<[u8]>,
    /// Where the body ends in them.
    body: usize,
    id: Digest,
    leaf: Digest,
}

impl EntryBody {
    /// Names the entry. It does not cover the signatures, so that signing again makes no new entry.
    pub fn id(&self) -> Digest {
        id_of(&codec::encode(self))
    }

    /// The entry, signed by its author and, where the event speaks for the wallet's holder, by the epoch key.
    pub fn sign(self, author: &SecretKey, holder: Option<&SecretKey>) -> Entry {
        let bytes = codec::encode(&self);
        let parts = EntryParts {
            signature: AuthorSignature::Direct(author.sign(context::LEDGER_ENTRY, &bytes)),
            holder_signature: holder.map(|key| key.sign(context::WALLET_HOLDER, &bytes)),
            body: self,
        };
        parts.into()
    }
}

impl Entry {
    /// See [`EntryBody::id`].
    pub fn id(&self) -> Digest {
        self.0.id
    }

    /// Hash of the leaf that the entry is in the log.
    pub fn leaf_hash(&self) -> Digest {
        self.0.leaf
    }

    /// Its encoding, as it is in the log.
    pub fn bytes(&self) -> &[u8] {
        &self.0.bytes
    }

    /// The encoding of its body, which the signatures are over.
    pub fn body_bytes(&self) -> &[u8] {
        &self.0.bytes[..self.0.body]
    }

    /// The same entry but for what `change` does to it.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn changed(&self, change: impl FnOnce(&mut EntryParts)) -> Self {
        let mut parts = EntryParts::clone(self);
        change(&mut parts);
        parts.into()
    }
}

impl From<EntryParts> for Entry {
    fn from(parts: EntryParts) -> Self {
        let bytes = codec::encode(&parts).into_boxed_slice();
        // The fields of a value follow each other without anything between.
        let body = codec::encoded_size(&parts.body);
        let (id, leaf) = (id_of(&bytes[..body]), log::leaf_hash(&bytes));
        Self(Arc::new(Encoded { parts, bytes, body, id, leaf }))
    }
}

impl Deref for Entry {
    type Target = EntryParts;
    fn deref(&self) -> &EntryParts {
        &self.0.parts
    }
}

/// The leaf hash names all that an entry has.
impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.leaf_hash() == other.leaf_hash()
    }
}

impl Eq for Entry {}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.parts.fmt(f)
    }
}

/// As its parts.
impl Serialize for Entry {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if to.is_human_readable() { self.0.parts.serialize(to) } else { codec::bare::serialize(self.bytes(), to) }
    }
}

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        EntryParts::deserialize(from).map(Self::from)
    }
}

/// Reads an entry of a proof. None is a gate's notice: these change no wallet and begin no lineage. So who verifies a proof
/// needs none of the rules by which a notice decodes.
pub(crate) fn of_proof<'de, D: Deserializer<'de>>(from: D) -> Result<Entry, D::Error> {
    let entry = Entry::deserialize(from)?;
    match entry.body.event {
        Event::GateNotice(_) => Err(de::Error::custom("a gate's notice stands in no proof")),
        _ => Ok(entry),
    }
}

fn id_of(body: &[u8]) -> Digest {
    sha256("batchmind/v1/ledger/entry", &[body])
}

/// A wallet's head after an entry that advances it.
pub fn next_head(head: &Digest, entry: &Digest) -> Digest {
    sha256("batchmind/v1/ledger/head", &[head.as_bytes(), entry.as_bytes()])
}

/// Everything that the ledger records. The order of the variants is part of the format.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// A tenant's wallet begins at its first holder.
    WalletCreated(WalletCreated),
    /// The holder offers the wallet to another node.
    MigrationOffered(MigrationOffered),
    /// The receiver takes the offer up.
    MigrationAccepted(MigrationAccepted),
    /// The receiver opened everything and holds the wallet from here on. The key rotation follows from it.
    KeyConfirmed(KeyConfirmed),
    /// Holder or receiver, or anybody after the deadline, closes an open offer.
    MigrationAborted(MigrationAborted),
    /// The holder says that it is alive in this boot; closes an open offer.
    Touch(Touch),
    /// Latency before a move, measured by the holder (self-reported).
    BaselineCommitted(BaselineCommitted),
    /// Latency after a confirmed move, measured by the new holder (self-reported).
    LatencyDelta(LatencyDelta),
    /// The holder gave up a batch's pages.
    BatchEvicted(BatchEvicted),
    /// Where an operator's decision log stands.
    DecisionAnchored(DecisionAnchored),
    /// The wallet is over.
    BatchClosed(BatchClosed),
    /// A validator comes back without all that its key has signed.
    ValidatorResumed(ValidatorResumed),
    /// An operator puts actions of governance to the others.
    ProposalMade(Box<ProposalMade>),
    /// An operator is for a proposal or against it.
    BallotCast(BallotCast),
    /// An operator takes its proposal back.
    ProposalWithdrawn(ProposalWithdrawn),
    /// What a proposal says is done, if a quorum of operators is for it. The only event that changes who takes part, and
    /// with which keys and parameters, while there is a quorum; if it changes the validator set it is the last entry of
    /// its block.
    ProposalEnacted(ProposalEnacted),
    /// The operators that are left begin the ledger anew. The only entry of its block, and nowhere else.
    ReGenesis(Box<ReGenesis>),
    /// A node does its part in making a gate's key.
    GateNotice(Box<GateNotice>),
}

impl Event {
    /// The wallet that it is about; none for what is about a node.
    pub fn wallet(&self) -> Option<WalletAddress> {
        Some(match self {
            Self::WalletCreated(event) => event.grant.terms.address(),
            Self::MigrationOffered(event) => event.wallet,
            Self::MigrationAccepted(event) => event.wallet,
            Self::KeyConfirmed(event) => event.ticket.ticket.wallet,
            Self::MigrationAborted(event) => event.wallet,
            Self::Touch(event) => event.wallet,
            Self::BaselineCommitted(event) => event.wallet,
            Self::LatencyDelta(event) => event.wallet,
            Self::BatchEvicted(event) => event.wallet,
            Self::DecisionAnchored(_)
            | Self::ValidatorResumed(_)
            | Self::ProposalMade(_)
            | Self::BallotCast(_)
            | Self::ProposalWithdrawn(_)
            | Self::ProposalEnacted(_)
            | Self::ReGenesis(_)
            | Self::GateNotice(_) => return None,
            Self::BatchClosed(event) => event.wallet,
        })
    }

    /// The decision of its author that it names: why a session is moved, or was evicted. It is about the same wallet.
    pub fn decision(&self) -> Option<Digest> {
        match self {
            Self::MigrationOffered(event) => Some(event.decision),
            Self::BatchEvicted(event) => Some(event.decision),
            _ => None,
        }
    }

    /// The head that the event expects and advances; none for evidence and for what is about a node.
    pub fn swaps_head(&self) -> Option<Digest> {
        match self {
            Self::WalletCreated(_) => Some(Digest::ZERO),
            Self::MigrationOffered(event) => Some(event.head),
            Self::MigrationAccepted(event) => Some(event.head),
            Self::KeyConfirmed(event) => Some(event.ticket.ticket.head),
            Self::MigrationAborted(event) => Some(event.head),
            Self::Touch(event) => Some(event.head),
            Self::BatchClosed(event) => Some(event.head),
            Self::BaselineCommitted(_)
            | Self::LatencyDelta(_)
            | Self::BatchEvicted(_)
            | Self::DecisionAnchored(_)
            | Self::ValidatorResumed(_)
            | Self::ProposalMade(_)
            | Self::BallotCast(_)
            | Self::ProposalWithdrawn(_)
            | Self::ProposalEnacted(_)
            | Self::ReGenesis(_)
            | Self::GateNotice(_) => None,
        }
    }

    /// The variant's name.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::WalletCreated(_) => "WalletCreated",
            Self::MigrationOffered(_) => "MigrationOffered",
            Self::MigrationAccepted(_) => "MigrationAccepted",
            Self::KeyConfirmed(_) => "KeyConfirmed",
            Self::MigrationAborted(_) => "MigrationAborted",
            Self::Touch(_) => "Touch",
            Self::BaselineCommitted(_) => "BaselineCommitted",
            Self::LatencyDelta(_) => "LatencyDelta",
            Self::BatchEvicted(_) => "BatchEvicted",
            Self::DecisionAnchored(_) => "DecisionAnchored",
            Self::BatchClosed(_) => "BatchClosed",
            Self::ValidatorResumed(_) => "ValidatorResumed",
            Self::ProposalMade(_) => "ProposalMade",
            Self::BallotCast(_) => "BallotCast",
            Self::ProposalWithdrawn(_) => "ProposalWithdrawn",
            Self::ProposalEnacted(_) => "ProposalEnacted",
            Self::ReGenesis(_) => "ReGenesis",
            Self::GateNotice(_) => "GateNotice",
        }
    }

    /// Whether it is an operator's word, or carries out what operators decided.
    pub const fn governs(&self) -> bool {
        matches!(
            self,
            Self::ProposalMade(_)
                | Self::BallotCast(_)
                | Self::ProposalWithdrawn(_)
                | Self::ProposalEnacted(_)
                | Self::ReGenesis(_)
        )
    }

    /// Whether a suspended node may still say it: what lets wallets leave it, what an audit of that needs, and that it is
    /// back, before it is reinstated and the quorum counts on it.
    pub const fn lets_go(&self) -> bool {
        match self {
            Self::MigrationOffered(_)
            | Self::MigrationAborted(_)
            | Self::Touch(_)
            | Self::BatchEvicted(_)
            | Self::DecisionAnchored(_)
            | Self::BatchClosed(_)
            | Self::ValidatorResumed(_) => true,
            Self::WalletCreated(_)
            | Self::MigrationAccepted(_)
            | Self::KeyConfirmed(_)
            | Self::BaselineCommitted(_)
            | Self::LatencyDelta(_)
            | Self::ProposalMade(_)
            | Self::BallotCast(_)
            | Self::ProposalWithdrawn(_)
            | Self::ProposalEnacted(_)
            | Self::ReGenesis(_)
            | Self::GateNotice(_) => false,
        }
    }
}

/// See [`Event::WalletCreated`]. Author: the first holder. Head afterwards: SHA-256 of the zero head and the entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WalletCreated {
    /// The tenant's word.
    pub grant: WalletGrant,
    /// The holder's epoch key for epoch 0.
    pub holder_key: PublicKey,
    /// The policy's leaf for the holder's region, allowed.
    pub opening: PolicyOpening,
}

/// See [`Event::MigrationOffered`]. Author: the holder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MigrationOffered {
    /// The wallet.
    pub wallet: WalletAddress,
    /// Its head before this entry.
    pub head: Digest,
    /// The epoch that the hop begins: the current one plus 1.
    pub epoch: KeyEpoch,
    /// The destination.
    pub receiver: NodeId,
    /// The policy's leaf for the destination's region, allowed.
    pub opening: PolicyOpening,
    /// The receiver's one-time prekey.
    pub prekey: SignedPrekey,
    /// The sender's ephemeral half of the key agreement.
    pub ephemeral: ExchangeKey,
    /// The pages that were full at the offer.
    pub content: ContentCommitment,
    /// Public half of the confirm key, which only the opened envelope yields.
    pub confirm_key: PublicKey,
    /// Hash of the scheduler's decision that caused the move.
    pub decision: Digest,
    /// The latency baseline that a later delta refers to: id of a [`Event::BaselineCommitted`] entry.
    pub baseline: Option<Digest>,
    /// Last height at which the offer may be confirmed; anybody may abort it afterwards.
    pub deadline: BlockHeight,
}

/// See [`Event::MigrationAccepted`]. Author: the receiver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MigrationAccepted {
    /// The wallet.
    pub wallet: WalletAddress,
    /// Its head after the offer.
    pub head: Digest,
}

/// See [`Event::KeyConfirmed`]. Author: the receiver. `holder_signature` is by the new `holder_key`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyConfirmed {
    /// The source's word; names wallet, head, epoch, source, receiver, content and position.
    pub ticket: SignedTicket,
    /// The new holder's epoch key.
    pub holder_key: PublicKey,
    /// Key agreement key of the new epoch, to which the tenant seals.
    pub exchange_key: ExchangeKey,
    /// By the offer's `confirm_key`, over ticket, holder key and exchange key.
    pub opened: Signature,
}

/// See [`Event::MigrationAborted`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MigrationAborted {
    /// The wallet.
    pub wallet: WalletAddress,
    /// Its head before this entry.
    pub head: Digest,
    /// Why.
    pub reason: AbortReason,
}

/// Why an offer was closed without a confirm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AbortReason {
    /// The source changed its mind or cannot go on.
    Source,
    /// The receiver refuses or cannot go on.
    Receiver,
    /// The offer's deadline passed.
    Deadline,
}

/// See [`Event::Touch`]. Author: the holder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Touch {
    /// The wallet.
    pub wallet: WalletAddress,
    /// Its head before this entry.
    pub head: Digest,
    /// Drawn when the node started: a Touch of an earlier boot gives nothing.
    pub boot_nonce: [u8; 16],
    /// One-time key agreement key drawn in this boot.
    pub boot_key: ExchangeKey,
}

/// See [`Event::BaselineCommitted`]. Author: the holder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaselineCommitted {
    /// The wallet.
    pub wallet: WalletAddress,
    /// Its head when measured.
    pub head: Digest,
    /// Its epoch when measured.
    pub epoch: KeyEpoch,
    /// Median time between tokens.
    pub inter_token_p50: Micros,
    /// How many intervals were measured.
    pub samples: u32,
}

/// See [`Event::LatencyDelta`]. Author: the holder that confirmed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LatencyDelta {
    /// The wallet.
    pub wallet: WalletAddress,
    /// Its head when measured.
    pub head: Digest,
    /// The epoch that the hop began.
    pub epoch: KeyEpoch,
    /// Id of the baseline entry that the offer named.
    pub baseline: Digest,
    /// Median time between tokens at the new holder.
    pub inter_token_p50: Micros,
    /// How many intervals were measured.
    pub samples: u32,
}

/// See [`Event::BatchEvicted`]. Author: the holder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchEvicted {
    /// The wallet.
    pub wallet: WalletAddress,
    /// Its head when evicted.
    pub head: Digest,
    /// Its epoch when evicted.
    pub epoch: KeyEpoch,
    /// Hash of the decision.
    pub decision: Digest,
}

/// See [`Event::DecisionAnchored`]. Author: any node, for its operator's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecisionAnchored {
    /// Number of decisions in the log.
    pub decisions: u64,
    /// Hash of the last one.
    pub log_head: Digest,
}

/// See [`Event::BatchClosed`]. Author: the holder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchClosed {
    /// The wallet.
    pub wallet: WalletAddress,
    /// Its head before this entry.
    pub head: Digest,
    /// Why.
    pub reason: CloseReason,
}

/// See [`Event::ValidatorResumed`]. Author: the validator, whose key votes only in terms after that of this entry's block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ValidatorResumed {
    /// The name in force, see [`crate::re_genesis::name`]: who came back in a lineage that was left did not in this one.
    pub name: Digest,
    /// Drawn by the process that resumes: two processes with one key are told apart by it.
    pub nonce: [u8; 16],
}

/// See [`Event::GateNotice`]. Author: the member that says so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateNotice {
    /// Which gate is made.
    pub scope: GateScope,
    /// What the member says.
    pub word: GateWord,
}

/// What a member says when a gate is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum GateWord {
    /// The only member made a key, and proves that it knows it.
    Plain {
        /// [`crate::state::State::lineage_entry`], as in a run: a key of a branch that was dropped may be forgotten.
        lineage: Digest,
        /// The gate with that key.
        gate: Box<Gate>,
    },
    /// One of several members, in a key generation.
    Run {
        /// Hash of the run: not every notice is bound to one by itself.
        run: Digest,
        /// The notice.
        notice: Notice,
    },
}

/// Why a wallet is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CloseReason {
    /// The session ended as it should.
    Finished,
    /// The tenant asked for it.
    Tenant,
    /// The holder restarted and could not rebuild the session.
    Unrecoverable,
}
