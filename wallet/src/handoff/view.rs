//! What one node knows of a wallet from final entries: a fold, and nothing else.

use crate::{
    digest::Digest,
    identity::PublicKey,
    refusal::Refusal,
    units::{BlockHeight, KeyEpoch, LogIndex, NodeId, TokenPosition},
};

/// A final entry that advanced the wallet's head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalletFact {
    /// Where it stands in the log.
    pub at: LogIndex,
    /// Who said it.
    pub author: NodeId,
    /// The wallet's head before it; zero before the creation.
    pub before: Digest,
    /// The wallet's head after it.
    pub after: Digest,
    /// The wallet's epoch after it.
    pub epoch: KeyEpoch,
    /// What it changed.
    pub change: Change,
}

/// What a [`WalletFact`] changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The wallet began at its author.
    Created {
        /// The holder's epoch key.
        holder_key: PublicKey,
    },
    /// The holder offered it.
    Offered {
        /// To this node.
        receiver: NodeId,
        /// Last height at which it may be confirmed.
        deadline: BlockHeight,
    },
    /// The receiver took the offer up.
    Accepted,
    /// The receiver holds it from here on.
    Confirmed {
        /// The new holder's epoch key.
        holder_key: PublicKey,
        /// The first token of the new holder.
        next_token: TokenPosition,
    },
    /// The offer was closed.
    Aborted,
    /// The holder is alive in this boot; an open offer was closed.
    Touched {
        /// Drawn when the holder's process started.
        boot_nonce: [u8; 16],
    },
    /// The wallet is over.
    Closed,
}

/// A wallet after some prefix of the final log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalletView {
    /// Its head; zero before the creation.
    pub head: Digest,
    /// Its epoch.
    pub epoch: KeyEpoch,
    /// Holder of record and its epoch key.
    pub holder: Option<(NodeId, PublicKey)>,
    /// What may happen next.
    pub phase: Phase,
    /// Where the last confirm let the stream go on.
    pub next_token: TokenPosition,
    last: Option<LogIndex>,
}

/// What may happen to a wallet next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Its creation is not final.
    Absent,
    /// No offer is open.
    Active,
    /// An offer is open.
    Offered(Offer),
    /// An offer was accepted: the ticket may be cut.
    Accepted(Offer),
    /// It is over.
    Closed,
}

/// An offer that is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The destination.
    pub receiver: NodeId,
    /// Last height at which it may be confirmed.
    pub deadline: BlockHeight,
}

impl WalletView {
    /// Before any entry.
    pub const fn new() -> Self {
        Self {
            head: Digest::ZERO,
            epoch: KeyEpoch::ZERO,
            holder: None,
            phase: Phase::Absent,
            next_token: TokenPosition::ZERO,
            last: None,
        }
    }

    /// Takes the next fact in. False if it was known before.
    ///
    /// # Errors
    /// [`Refusal::FactGap`] if it does not start from this head.
    pub fn apply(&mut self, fact: &WalletFact) -> Result<bool, Refusal> {
        if self.last.is_some_and(|last| fact.at <= last) {
            return Ok(false);
        }
        if fact.before != self.head {
            return Err(Refusal::FactGap { at: fact.at });
        }
        self.last = Some(fact.at);
        self.head = fact.after;
        self.epoch = fact.epoch;
        match &fact.change {
            Change::Created { holder_key } => {
                self.holder = Some((fact.author, *holder_key));
                self.phase = Phase::Active;
            }
            Change::Offered { receiver, deadline } => {
                self.phase = Phase::Offered(Offer { receiver: *receiver, deadline: *deadline });
            }
            Change::Accepted => {
                if let Phase::Offered(offer) = self.phase {
                    self.phase = Phase::Accepted(offer);
                }
            }
            Change::Confirmed { holder_key, next_token } => {
                self.holder = Some((fact.author, *holder_key));
                self.next_token = *next_token;
                self.phase = Phase::Active;
            }
            Change::Aborted | Change::Touched { .. } => self.phase = Phase::Active,
            Change::Closed => self.phase = Phase::Closed,
        }
        Ok(true)
    }

    /// Whether `node` holds the wallet and it is not over.
    pub fn is_held_by(&self, node: NodeId) -> bool {
        self.phase != Phase::Closed && self.holder.is_some_and(|(holder, _)| holder == node)
    }

    /// The open offer.
    pub const fn offer(&self) -> Option<Offer> {
        match self.phase {
            Phase::Offered(offer) | Phase::Accepted(offer) => Some(offer),
            Phase::Absent | Phase::Active | Phase::Closed => None,
        }
    }
}

impl Default for WalletView {
    fn default() -> Self {
        Self::new()
    }
}
