//! Why the engine says no. Codes are stable; each has a page in `docs/errors`.

use serde::{Deserialize, Serialize};
use wallet::{codec::DecodeError, digest::Digest, units::TokenPosition};

use crate::{
    TokenId,
    engine::{Phase, SequenceId},
};

/// A rule of the engine was not met. Append only: codes are never reused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// A prompt has no tokens.
    #[error("the prompt is empty")]
    PromptEmpty,
    /// A prompt leaves no room for an answer.
    #[error("{count} tokens leave no room in a context of {limit}")]
    PromptTooLong {
        /// Tokens of the prompt.
        count: usize,
        /// Tokens of the model's context.
        limit: usize,
    },
    /// A token is not in the vocabulary.
    #[error("token {token} at position {position} is not in the vocabulary")]
    TokenUnknown {
        /// Where it stands.
        position: TokenPosition,
        /// The token.
        token: TokenId,
    },
    /// Too few blocks are free.
    #[error("{needed} blocks are needed, {available} can be had")]
    PoolExhausted {
        /// Blocks that the sequence needs beyond those in the prefix cache.
        needed: usize,
        /// Blocks that are free or idle.
        available: usize,
    },
    /// The id is taken.
    #[error("sequence {} exists already", id.0)]
    SequenceExists {
        /// The id.
        id: SequenceId,
    },
    /// No such sequence.
    #[error("there is no sequence {}", id.0)]
    SequenceUnknown {
        /// The id.
        id: SequenceId,
    },
    /// The sequence's phase does not allow it.
    #[error("sequence {} is {phase}", id.0)]
    PhaseWrong {
        /// The id.
        id: SequenceId,
        /// The phase that it is in.
        phase: Phase,
    },
    /// The page is not full yet, or will never exist.
    #[error("page {index} is not full: the sequence has {full}")]
    PageNotFull {
        /// The page.
        index: usize,
        /// How many are full.
        full: usize,
    },
    /// A sampling parameter is out of bounds.
    #[error("sampling parameter {field} is out of bounds")]
    SamplingInvalid {
        /// The parameter.
        field: &'static str,
    },
    /// The session ran on another model.
    #[error("the session needs model {needed}, this is {loaded}")]
    ModelMismatch {
        /// The model that the session needs.
        needed: Digest,
        /// The model that is loaded.
        loaded: Digest,
    },
    /// The session ran under other numerics.
    #[error("the session needs numerics {needed}, this engine has {offered}")]
    NumericsMismatch {
        /// The numerics that the session needs.
        needed: Digest,
        /// The numerics of this engine.
        offered: Digest,
    },
    /// Tokens and continuation do not belong together.
    #[error("the tokens are not those that the continuation refers to")]
    TokensMismatch,
    /// Pages, tail and continuation do not belong together.
    #[error("the pages do not fit the continuation: {reason}")]
    PagesMismatch {
        /// What does not fit.
        reason: &'static str,
    },
    /// A continuation contradicts itself.
    #[error("the continuation contradicts itself: {reason}")]
    ContinuationInvalid {
        /// The contradiction.
        reason: &'static str,
    },
    /// Bytes are not a continuation.
    #[error("{0}")]
    Malformed(#[from] DecodeError),
    /// A chat message spells one of the tokenizer's special tokens.
    #[error("message {message} contains the special token {token:?}")]
    SpecialTokenInText {
        /// Position of the message.
        message: usize,
        /// The token's text.
        token: String,
    },
    /// The model has no tokenizer or no chat template, or the template refuses the messages.
    #[error("the chat cannot be rendered: {reason}")]
    TemplateFailed {
        /// What the template engine said.
        reason: String,
    },
    /// The tokenizer cannot encode or decode it.
    #[error("the tokenizer failed: {reason}")]
    TokenizerFailed {
        /// What the tokenizer said.
        reason: String,
    },
    /// A sequence needs more blocks than the engine has in all.
    #[error("{needed} blocks are needed, and the engine has {total} in all")]
    PoolTooSmall {
        /// What the sequence needs.
        needed: usize,
        /// What there is, whoever has it.
        total: usize,
    },
}

/// Whether it helps to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Retry {
    /// The same request will be refused again.
    Never,
    /// The same request may succeed later, or on another engine now.
    Later,
    /// The same content may arrive intact when it is sent again.
    Resend,
    /// Another engine may do.
    Elsewhere,
}

impl Refusal {
    /// Every code, in order.
    pub const CODES: [&'static str; 19] = [
        "E-101", "E-102", "E-103", "E-104", "E-105", "E-106", "E-107", "E-108", "E-109", "E-110", "E-111", "E-112",
        "E-113", "E-114", "E-115", "E-116", "E-117", "E-118", "E-119",
    ];

    /// The stable code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::PromptEmpty => "E-101",
            Self::PromptTooLong { .. } => "E-102",
            Self::TokenUnknown { .. } => "E-103",
            Self::PoolExhausted { .. } => "E-104",
            Self::SequenceExists { .. } => "E-105",
            Self::SequenceUnknown { .. } => "E-106",
            Self::PhaseWrong { .. } => "E-107",
            Self::PageNotFull { .. } => "E-108",
            Self::SamplingInvalid { .. } => "E-109",
            Self::ModelMismatch { .. } => "E-110",
            Self::NumericsMismatch { .. } => "E-111",
            Self::TokensMismatch => "E-112",
            Self::PagesMismatch { .. } => "E-113",
            Self::ContinuationInvalid { .. } => "E-114",
            Self::Malformed(_) => "E-115",
            Self::SpecialTokenInText { .. } => "E-116",
            Self::TemplateFailed { .. } => "E-117",
            Self::TokenizerFailed { .. } => "E-118",
            Self::PoolTooSmall { .. } => "E-119",
        }
    }

    /// Whether to try again, and how.
    pub const fn retry(&self) -> Retry {
        match self {
            Self::PoolExhausted { .. } | Self::PageNotFull { .. } | Self::PhaseWrong { .. } => Retry::Later,
            Self::TokensMismatch | Self::PagesMismatch { .. } | Self::Malformed(_) => Retry::Resend,
            Self::ModelMismatch { .. } | Self::NumericsMismatch { .. } | Self::PoolTooSmall { .. } => Retry::Elsewhere,
            _ => Retry::Never,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::StreamFault;

    #[test]
    fn every_code_has_its_page() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/errors");
        let mut pages: Vec<String> = std::fs::read_dir(folder)
            .expect("docs/errors exists")
            .map(|page| page.expect("readable").file_name().to_string_lossy().trim_end_matches(".md").to_owned())
            .filter(|code| code.starts_with("E-1") || code.starts_with("E-2"))
            .collect();
        pages.sort();
        assert_eq!(pages, [Refusal::CODES.as_slice(), &StreamFault::CODES].concat());
    }
}
