//! What source and receiver of a move say to each other. Pages travel in the hop stream.

use serde::{Deserialize, Serialize};
use wallet::{
    digest::Digest,
    grant::WalletAddress,
    prekey::SignedPrekey,
    seal::envelope::Envelope,
    ticket::SignedTicket,
    units::{KeyEpoch, TokenCount},
};

/// Source to receiver: keep room for this wallet and draw a prekey.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reserve {
    /// The wallet.
    pub wallet: WalletAddress,
    /// Its head; the offer will name it.
    pub head: Digest,
    /// The epoch that the move would begin.
    pub epoch: KeyEpoch,
    /// Hash of the model's configuration and weights.
    pub model: Digest,
    /// What the engine guarantees about its arithmetic.
    pub numerics: Digest,
    /// Tokens of the session so far.
    pub tokens: TokenCount,
    /// Blocks that it may come to need.
    pub blocks: u32,
}

/// Answer to [`Reserve`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reserved {
    /// For one offer.
    pub prekey: SignedPrekey,
}

/// Names one open offer: the wallet and its head after the offer's entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfferRef {
    /// The wallet.
    pub wallet: WalletAddress,
    /// Id of the offer's entry.
    pub offer: Digest,
}

/// Receiver to source: I hold the pages below `have`, which are all that were in the hop stream; freeze at the next step
/// boundary. Answered once the acceptance is final and few pages are missing; the same request is answered with the same
/// hand-over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Freeze {
    /// Which offer.
    pub offer: OfferRef,
    /// How many pages the receiver holds.
    pub have: u32,
}

/// Answer to [`Freeze`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handover {
    /// The source's word.
    pub ticket: SignedTicket,
    /// How many pages the hop stream has. It is closed.
    pub full: u32,
    /// Its root.
    pub root: Digest,
    /// Tail page, continuation, journal and record, sealed.
    pub tail: Envelope,
    /// The source's figures of the move so far.
    pub figures: SourceFigures,
}

/// What only the source can measure. Times are of the host's CLOCK_MONOTONIC, which all processes of one machine share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceFigures {
    /// When the engine's last step of the session ended.
    pub last_step_end_ns: u64,
    /// Median unpaced step at the source.
    pub median_step_us: u64,
    /// Milliseconds from the offer's submission to its finality here.
    pub offer_final_ms: u64,
    /// Milliseconds from the final offer to the final acceptance, here.
    pub accept_final_ms: u64,
    /// When the source froze.
    pub frozen_ns: u64,
}
