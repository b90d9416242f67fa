//! What source and receiver of a move say to each other. The receiver pulls; the source answers.

use serde::{Deserialize, Serialize};
use wallet::{
    codec,
    digest::Digest,
    grant::WalletAddress,
    prekey::SignedPrekey,
    seal::envelope::Envelope,
    ticket::SignedTicket,
    units::{KeyEpoch, TokenCount},
};

/// Sealed pages that one reply carries at most.
pub const PAGES_MAX: u32 = 64;

/// The most bytes of sealed pages in one reply; a single page may be larger.
pub const WINDOW_BYTES_MAX: usize = 8 << 20;

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

/// Receiver to source: the full pages from `from` on. Answered from the final offer on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PagesRequest {
    /// Which offer.
    pub offer: OfferRef,
    /// The first page that the receiver lacks.
    pub from: u32,
    /// At most this many, and at most [`PAGES_MAX`].
    pub count_max: u32,
}

/// Answer to [`PagesRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PagesReply {
    /// From the asked page on, without a gap.
    pub pages: Vec<SealedPage>,
    /// How many pages are full at the source now.
    pub full: u32,
}

/// Receiver to source: I hold the pages below `have`; freeze at the next step boundary. Answered once the acceptance is
/// final; the same request is answered with the same hand-over.
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
    /// The full pages from `have` on, as many as one reply carries.
    pub pages: Vec<SealedPage>,
    /// How many pages are full. It does not change any more.
    pub full: u32,
    /// Tail page, continuation, tokens and record, sealed.
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

/// A full page as it travels: under a key of its own below the offer's data key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedPage(#[serde(with = "codec::bytes")] pub Vec<u8>);
