//! A wallet as the ledger knows it.

use serde::{Deserialize, Serialize};
use wallet::{
    digest::Digest,
    grant::WalletAddress,
    identity::PublicKey,
    policy::PolicyCommitment,
    prekey::ExchangeKey,
    ticket::ContentCommitment,
    units::{BlockHeight, KeyEpoch, NodeId},
};

use crate::event::CloseReason;

/// Who holds a wallet, under which key, what it permits, and what is going on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WalletRecord {
    /// Its address.
    pub address: WalletAddress,
    /// The node of record: the only one that may serve it.
    pub holder: NodeId,
    /// How often its keys have rotated.
    pub epoch: KeyEpoch,
    /// What the next entry that changes it has to name.
    pub head: Digest,
    /// The holder's epoch key.
    pub holder_key: PublicKey,
    /// Key agreement key of the epoch, to which the tenant seals; none before the first hop.
    pub exchange_key: Option<ExchangeKey>,
    /// The tenant's key for this wallet.
    pub tenant_key: PublicKey,
    /// The jurisdiction policy.
    pub policy: PolicyCommitment,
    /// Hash of the model's configuration and weights.
    pub model: Digest,
    /// What the engine guarantees about its arithmetic.
    pub numerics: Digest,
    /// What is going on.
    pub phase: Phase,
    /// Receivers that accepted an offer and did not confirm: a key may have reached them.
    pub exposed: Vec<NodeId>,
    /// Every epoch key that it had, from the first: a log of key rotations.
    pub rotations: Vec<KeyRotated>,
    /// The last `Touch` of the holder, since it holds the wallet.
    pub boot: Option<Boot>,
    /// The hop that made the holder what it is; none for the first holder.
    pub hop: Option<Hop>,
    /// Height of its creation.
    pub created_at: BlockHeight,
}

/// Where a wallet stands in a migration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// The holder serves; nothing is offered.
    Active,
    /// Offered, and not taken up yet.
    Offered(Offer),
    /// Taken up: the receiver may hold the key, and the holder may hand over.
    Accepted(Offer),
    /// Over. Nothing happens to it any more.
    Closed {
        /// Why.
        reason: CloseReason,
        /// When.
        at: BlockHeight,
    },
}

/// An open offer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// Id of the offer's entry.
    pub entry: Digest,
    /// The destination.
    pub receiver: NodeId,
    /// Its one-time prekey.
    pub prekey: ExchangeKey,
    /// The sender's ephemeral half.
    pub ephemeral: ExchangeKey,
    /// The pages that were full at the offer.
    pub content: ContentCommitment,
    /// Public half of the confirm key.
    pub confirm_key: PublicKey,
    /// Hash of the decision that caused the move.
    pub decision: Digest,
    /// Id of the baseline's entry.
    pub baseline: Option<Digest>,
    /// Last height at which it may be confirmed.
    pub deadline: BlockHeight,
}

/// One epoch key: derived from the entry that brought it, never submitted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRotated {
    /// The epoch that began.
    pub epoch: KeyEpoch,
    /// Its holder.
    pub holder: NodeId,
    /// Its key. That of the epoch before is dead from this height on.
    pub key: PublicKey,
    /// Why.
    pub cause: Cause,
    /// Height of the entry.
    pub at: BlockHeight,
    /// Id of the entry.
    pub entry: Digest,
}

/// Why a key began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cause {
    /// The wallet was created.
    Created,
    /// The wallet moved.
    Hop,
}

/// What a `Touch` said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Boot {
    /// Drawn when the node started.
    pub nonce: [u8; 16],
    /// One-time key agreement key of that boot.
    pub key: ExchangeKey,
    /// Id of the entry.
    pub entry: Digest,
}

/// The confirmed hop to the present holder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hop {
    /// Who held the wallet before.
    pub source: NodeId,
    /// Hash of the decision that caused it.
    pub decision: Digest,
    /// Id of the baseline that the offer named.
    pub baseline: Option<Digest>,
    /// What was handed over, by the ticket.
    pub content: ContentCommitment,
    /// Height of the confirm.
    pub confirmed_at: BlockHeight,
}

impl WalletRecord {
    /// The open offer, taken up or not.
    pub fn offer(&self) -> Option<&Offer> {
        match &self.phase {
            Phase::Offered(offer) | Phase::Accepted(offer) => Some(offer),
            Phase::Active | Phase::Closed { .. } => None,
        }
    }

    /// Whether nothing can happen to it any more.
    pub fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed { .. })
    }
}
