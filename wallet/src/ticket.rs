//! The handoff ticket: a frozen holder's single-use word that the receiver may confirm.

use serde::{Deserialize, Serialize};

use crate::{
    digest::Digest,
    grant::WalletAddress,
    identity::Signature,
    units::{KeyEpoch, NodeId, TokenPosition},
};

/// Blinded commitment to the content of a hand-over: SHA-256(root || blind). Neither is on the ledger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ContentCommitment(pub Digest);

/// What the frozen source hands over, and to whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandoffTicket {
    /// The wallet.
    pub wallet: WalletAddress,
    /// The wallet's head after the acceptance: any later entry voids the ticket.
    pub head: Digest,
    /// The epoch that begins with the confirm.
    pub epoch: KeyEpoch,
    /// The holder that froze.
    pub source: NodeId,
    /// The only node that may use the ticket.
    pub receiver: NodeId,
    /// Final content: pages, tail, continuation and record.
    pub content: ContentCommitment,
    /// Position of the next token to emit.
    pub next_token: TokenPosition,
}

/// A ticket under the source's epoch key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedTicket {
    /// What is handed over.
    pub ticket: HandoffTicket,
    /// By the holder key of the epoch that ends.
    pub signature: Signature,
}
