//! What goes into a hand-over and what comes out of it.

use std::fmt;

use super::WalletFact;
use crate::{
    digest::Digest,
    identity::PublicKey,
    ticket::SignedTicket,
    units::{BlockHeight, KeyEpoch, NodeId, TokenPosition},
};

/// What the node may do with the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Nothing.
    Idle,
    /// Decode and emit.
    Serving,
    /// Nothing: the ticket is cut. The only way back is a final abort or touch.
    Frozen,
    /// Nothing until a touch of this boot is final.
    Restarted,
    /// Decode, but not emit: the confirm is not final.
    Ahead,
}

/// What the node is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// An entry of this wallet is final.
    Final(WalletFact),
    /// After a restart: the node has read again all that it knew to be final.
    CaughtUp,
    /// The chain's final height.
    Height(BlockHeight),
    /// Source: move the wallet.
    Migrate {
        /// To this node.
        to: NodeId,
        /// Last height at which the move may be confirmed.
        deadline: BlockHeight,
    },
    /// Source: the receiver has all full pages; a freeze would cost only the tail.
    Prepared,
    /// Source: the engine stands between two tokens, and everything before `next_token` was emitted.
    StepBoundary {
        /// The token that comes next.
        next_token: TokenPosition,
    },
    /// Receiver: room is reserved and the prekey is durable.
    Accept,
    /// Receiver: the source's word arrived.
    Ticket(SignedTicket),
    /// Receiver: pages, tail, ticket and prekey are durable and verified against the ticket.
    Verified {
        /// The epoch key that the confirm will name, drawn in this boot.
        holder_key: PublicKey,
    },
    /// Source or receiver: give the move up.
    Abort,
    /// Holder: end the wallet.
    Close,
    /// The last submission seems lost.
    Retry,
}

/// What the node must do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Bring an entry to the ledger.
    Submit {
        /// The head that it names.
        head: Digest,
        /// What it says.
        intent: Intent,
    },
    /// Source: send full pages to the receiver, and report [`Input::Prepared`].
    PreCopy {
        /// The destination.
        receiver: NodeId,
    },
    /// Source: decode no further.
    Freeze,
    /// Source: seal the tail, sign this ticket with the epoch key and send both.
    CutTicket {
        /// The head of the acceptance.
        head: Digest,
        /// The epoch that the confirm begins.
        epoch: KeyEpoch,
        /// The only node that may use it.
        receiver: NodeId,
        /// The token that comes next.
        next_token: TokenPosition,
    },
    /// Receiver: decode, holding tokens back.
    DecodeAhead {
        /// The first token.
        from: TokenPosition,
    },
    /// Decode and emit.
    Emit {
        /// The first token to emit.
        from: TokenPosition,
    },
    /// Neither decode nor emit.
    Stop {
        /// Why.
        why: Stopped,
    },
    /// Erase this wallet's keys of this epoch and all before it.
    EraseKeys {
        /// The last epoch to erase.
        epoch: KeyEpoch,
    },
}

/// What an entry says, short of what the shell adds (prekey, commitment, signatures).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Intent {
    /// Offer the wallet.
    Offer {
        /// To this node.
        receiver: NodeId,
        /// Last height at which it may be confirmed.
        deadline: BlockHeight,
    },
    /// Take the offer up.
    Accept,
    /// Become the holder.
    Confirm {
        /// The source's word.
        ticket: Box<SignedTicket>,
        /// The new epoch key.
        holder_key: PublicKey,
    },
    /// Close the offer.
    Abort,
    /// Say that this boot is alive.
    Touch {
        /// Drawn when this process started.
        boot_nonce: [u8; 16],
    },
    /// End the wallet.
    Close,
}

/// Why a node stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// Another node's confirm is final.
    HandedOver,
    /// The offer was closed while this node decoded ahead.
    OfferClosed,
    /// The wallet is over.
    Closed,
    /// Another process with this node's key, or an earlier boot, touched or confirmed the wallet.
    OtherBoot,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Idle => "idle",
            Self::Serving => "serving",
            Self::Frozen => "frozen",
            Self::Restarted => "restarted",
            Self::Ahead => "decoding ahead",
        })
    }
}
