//! What a holder begins with: the same at the first holder, after a move and after a restart.

use serde::{Deserialize, Serialize};
use wallet::{digest::Digest, identity::RegionId, units::TokenCount};

use super::request::Sampling;

/// Everything about a session that is neither a key, nor a token to come, nor a page.
///
/// It is the first record of the journal, and with the engine's continuation it travels in the tail of every hop.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SessionStart {
    /// Tokens known at the beginning: the prompt, or all up to the move.
    pub tokens: Vec<u32>,
    /// How many of them are the prompt.
    pub prompt_tokens: TokenCount,
    /// Tokens of the prompt whose blocks were cached when it was read.
    pub cached_tokens: TokenCount,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// At most one token in this many milliseconds.
    pub pace_ms: u32,
    /// Where the session began.
    pub origin: RegionId,
    /// The client's name for the request.
    pub request_id: String,
    /// Hash of the model's configuration and weights.
    pub model: Digest,
    /// What the engine guarantees about its arithmetic.
    pub numerics: Digest,
}

/// What a hop's tail carries as its continuation.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Continuation {
    /// The session; its tokens stand in a part of the tail of their own and are left out here.
    pub start: SessionStart,
    /// The engine's.
    #[serde(with = "wallet::codec::bytes")]
    pub engine: Vec<u8>,
}
