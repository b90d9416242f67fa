//! The pages of a journal.

use serde::{Deserialize, Serialize};
use wallet::{
    chain::PageHashKey,
    codec,
    page::{Dtype, PageHead, PageKind, payload_hash},
};

use crate::{
    TokenId,
    continuation::{
        effect::{Effect, EffectId, EffectResult},
        refusal::ContinuationRefusal,
        value::Value,
    },
    engine::FinishReason,
    stream::Draft,
};

/// The most tokens of the prompt in one page.
pub const PROMPT_CHUNK_TOKENS: usize = 2048;
/// The largest record.
const RECORD_BYTES_MAX: usize = 64 << 10;

/// What one page of a journal holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Entry {
    /// A piece of the prompt: what one Prefill takes in.
    Prompt {
        /// Where its first token stands in the session.
        first: u64,
        /// The tokens.
        tokens: Vec<TokenId>,
    },
    /// What one Decode chose.
    Token {
        /// Where it stands in the session.
        first: u64,
        /// The token.
        token: TokenId,
    },
    /// Anything else.
    Record(Record),
}

/// What a page of a journal holds that is not a token. The order is part of the format.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Record {
    /// An effect outside is about to be performed.
    Intent(Effect),
    /// What came of an effect.
    Result(EffectResult),
    /// The program has ended.
    Finished(FinishReason),
    /// What somebody decided about an effect in doubt.
    Resolved {
        /// The effect.
        id: EffectId,
        /// What was decided.
        how: Resolution,
    },
}

/// What to do about an effect of which it is not known whether it happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Resolution {
    /// It happened, and yielded this.
    AssumeDone(Value),
    /// It is performed again.
    Retry,
    /// It did not happen and will not: [`super::super::Failure::ABORTED`].
    Abort,
}

impl Record {
    /// The value in it that nobody has checked yet: arguments were when the effect was made.
    const fn value(&self) -> Option<&Value> {
        match self {
            Self::Result(EffectResult { outcome: Ok(value), .. })
            | Self::Resolved { how: Resolution::AssumeDone(value), .. } => Some(value),
            _ => None,
        }
    }
}

impl Entry {
    /// The tokens in it.
    pub fn tokens(&self) -> &[TokenId] {
        match self {
            Self::Prompt { tokens, .. } => tokens,
            Self::Token { token, .. } => std::slice::from_ref(token),
            Self::Record(_) => &[],
        }
    }

    /// The page.
    pub(super) fn encode(&self, key: &PageHashKey) -> Result<(Draft, Vec<u8>), ContinuationRefusal> {
        let payload: Vec<u8> = match self {
            Self::Prompt { tokens, .. } => tokens.iter().flat_map(|token| token.to_le_bytes()).collect(),
            Self::Token { token, .. } => token.to_le_bytes().to_vec(),
            Self::Record(record) => {
                record.value().map_or(Ok(()), Value::validate)?;
                codec::encode(record)
            }
        };
        if payload.len() > RECORD_BYTES_MAX {
            return Err(ContinuationRefusal::ValueOutOfBounds { reason: "a record" });
        }
        Ok((Draft { hash: Some(payload_hash(&payload, Some(key))), ..self.draft() }, payload))
    }

    /// Reads what [`Self::encode`] wrote, and nothing else.
    pub(super) fn decode(head: &PageHead, payload: &[u8], key: &PageHashKey) -> Result<Self, ContinuationRefusal> {
        let malformed = |reason| ContinuationRefusal::RecordMalformed { position: head.position, reason };
        if payload_hash(payload, Some(key)) != head.hash {
            return Err(malformed("the hash of its head is another"));
        }
        let entry = match (head.kind, usize::from(head.rows)) {
            (PageKind::Token, rows @ (1 | PROMPT_CHUNK_TOKENS)) => {
                let (words, rest) = payload.as_chunks();
                let tokens: Vec<TokenId> = words.iter().map(|word| TokenId::from_le_bytes(*word)).collect();
                if !rest.is_empty() || !(1..=rows).contains(&tokens.len()) {
                    return Err(malformed("not as many tokens as it can have"));
                }
                let first = head.first;
                if rows == 1 { Self::Token { first, token: tokens[0] } } else { Self::Prompt { first, tokens } }
            }
            (PageKind::Journal, _) if payload.len() <= RECORD_BYTES_MAX => {
                Self::Record(codec::decode(payload).map_err(|_| malformed("its bytes are no record"))?)
            }
            _ => return Err(malformed("neither tokens nor a record")),
        };
        let draft = Draft { hash: Some(head.hash), ..entry.draft() };
        if Draft::of(head) != draft {
            return Err(malformed("its head says something else"));
        }
        Ok(entry)
    }

    /// Whether both say what one and the same effect yielded, of which there can be only one result.
    pub(super) fn is_of_the_same_computation(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Token { .. }, Self::Token { .. }) => true,
            (Self::Record(Record::Result(one)), Self::Record(Record::Result(two))) => one.id == two.id,
            _ => false,
        }
    }

    /// The head of the page, but for its hash.
    fn draft(&self) -> Draft {
        let tokens = |rows: usize, fill: usize, first| Draft {
            dtype: Dtype::U32,
            rows: rows as u16,
            fill: fill as u16,
            first,
            ..Draft::bytes(PageKind::Token)
        };
        match self {
            Self::Prompt { first, tokens: chunk } => tokens(PROMPT_CHUNK_TOKENS, chunk.len(), *first),
            Self::Token { first, .. } => tokens(1, 1, *first),
            Self::Record(_) => Draft::bytes(PageKind::Journal),
        }
    }
}
