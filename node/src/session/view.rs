//! What others may see of a session.

use std::path::PathBuf;

use gpu::continuation::{Effect, EffectId, Op};
use serde::{Deserialize, Serialize};
use wallet::{
    digest::Digest,
    grant::WalletAddress,
    units::{KeyEpoch, Micros, NodeId, TokenCount, TokenPosition},
};

/// A session as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SessionView {
    /// Its wallet.
    pub wallet: WalletAddress,
    /// What this node may do with it.
    pub mode: SessionMode,
    /// Holder of record; none before the creation is final.
    pub holder: Option<NodeId>,
    /// Key epoch of record.
    pub epoch: KeyEpoch,
    /// Head of record; zero before the creation is final.
    pub head: Digest,
    /// Position after the last emitted token.
    pub emitted: TokenPosition,
    /// Tokens of the prompt.
    pub prompt_tokens: TokenCount,
    /// Tokens of the prompt whose blocks were cached when it was read.
    pub cached_tokens: TokenCount,
    /// Tokens before the next that the engine had to compute again when it last took the session in from pages: from the
    /// disk, or from another node. None if it never did.
    pub recomputed_tokens: Option<TokenCount>,
    /// How generation ended.
    pub finished: Option<FinishReason>,
    /// Where the session went.
    pub moved_to: Option<NodeId>,
    /// Median step of the engine that did not wait for its pace; none before the first.
    #[serde(rename = "median_step_us")]
    pub median_step: Option<Micros>,
    /// At most one token in this many milliseconds; 0 for as fast as it goes.
    pub pace_ms: u32,
    /// The move that is under way.
    pub hop: Option<HopView>,
    /// Set while it waits for room in the engine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waits_for_room: Option<RoomView>,
    /// Why the session ended without its last token, stands, or waits for the disk; a refusal's code and words.
    pub failed: Option<String>,
    /// Effects of which it is not known whether they happened. It stands until somebody has decided about each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub in_doubt: Vec<DoubtView>,
    /// Evidence that a machine computes wrongly.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diverged: Option<DivergedView>,
}

/// Two results of one computation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DivergedView {
    /// How often, at least.
    pub count: usize,
    /// Where both are kept: docs/formats/session-files.md.
    pub file: PathBuf,
}

/// An effect in doubt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DoubtView {
    /// Its id.
    pub effect: EffectId,
    /// Its number: where the journal says that it was intended.
    pub number: u32,
    /// What it does: its name in docs/formats/continuation.md.
    pub operation: &'static str,
}

impl DoubtView {
    pub(crate) const fn of(effect: &Effect) -> Self {
        let operation = match effect.op {
            Op::Tool { .. } => "tool",
            // Nothing else is outside, so nothing else is ever in doubt.
            _ => "other",
        };
        Self { effect: effect.id, number: effect.seq, operation }
    }
}

/// A session that waits for room in the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct RoomView {
    /// Blocks that it needs.
    pub blocks: u32,
    /// How many sessions have waited for longer.
    pub ahead: usize,
}

/// A move that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct HopView {
    /// The node at the other end.
    pub peer: NodeId,
    /// Whether it comes to this node.
    pub inbound: bool,
    /// Blocks that it takes at its destination.
    pub blocks: u32,
}

/// What a node may do with a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionMode {
    /// Decoding and emitting.
    Serving,
    /// Parked on disk at this node.
    Suspended,
    /// Frozen for a move.
    Frozen,
    /// Restarted, waiting for its touch.
    Restarted,
    /// Decoding ahead of a confirm that is not final.
    Ahead,
    /// On its way here.
    Receiving,
    /// Not here any more, or over.
    Over,
}

/// How generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// The model's end of text or one of the request's stop texts.
    Stop,
    /// The request's most tokens, or the model's context, is reached.
    Length,
    /// The operator or the tenant closed it.
    Closed,
}
