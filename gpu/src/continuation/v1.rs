//! Schema 1: what said how a suspended session goes on before there were streams. Unsigned, and not written any more;
//! what was written goes on. docs/formats/continuation.md has it byte by byte.

use serde::{Deserialize, Serialize};
use wallet::{
    codec,
    digest::{Digest, blake3},
    units::TokenCount,
};

use crate::{BLOCK_TOKENS, TokenId, engine::FinishReason, refusal::Refusal, sampling::SamplingParams};

const TOKENS_DOMAIN: &str = "batchmind/v1/gpu/token-stream";

/// A suspended session: a small value, and references to its pages and tokens, which travel beside it.
///
/// It has no hidden state: draws are keyed by seed and position, and what the stop strings have seen follows from the
/// tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Continuation {
    /// Hash of the model that the session runs on.
    pub model: Digest,
    /// What the engine guarantees about its arithmetic.
    pub numerics: Digest,
    /// How tokens are chosen, and when to stop.
    pub sampling: SamplingParams,
    /// How many of the tokens are the prompt's. The others were generated.
    pub prompt: TokenCount,
    /// All tokens so far. The last has no keys and values yet: it is the input of the next step.
    pub tokens: TokenStreamRef,
    /// The keys and values.
    pub pages: PageStreamRef,
    /// Set if there is nothing left to generate.
    pub finish: Option<FinishReason>,
}

/// A sequence of tokens, by length and content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenStreamRef {
    /// How many.
    pub count: TokenCount,
    /// BLAKE3 over the tokens as little-endian 32-bit numbers.
    pub digest: Digest,
}

/// The pages of a session. Their hashes are in their heads, and the hand-over commits to those.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageStreamRef {
    /// Full pages.
    pub full: u32,
    /// Rows in the page after them; 0 if there is none.
    pub tail_rows: u8,
}

impl TokenStreamRef {
    /// The reference to `tokens`.
    pub fn to(tokens: &[TokenId]) -> Self {
        let bytes: Vec<u8> = tokens.iter().flat_map(|token| token.to_le_bytes()).collect();
        let count = TokenCount::new(u32::try_from(tokens.len()).expect("a context has fewer than 2^32 tokens"));
        Self { count, digest: blake3(TOKENS_DOMAIN, None, &[&bytes]) }
    }
}

impl PageStreamRef {
    /// For how many tokens there are keys and values.
    pub const fn positions(&self) -> usize {
        self.full as usize * BLOCK_TOKENS + self.tail_rows as usize
    }
}

impl Continuation {
    /// The canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// Reads what [`Self::encode`] wrote, and checks that it does not contradict itself.
    ///
    /// # Errors
    /// [`Refusal::Malformed`], [`Refusal::ContinuationInvalid`], [`Refusal::SamplingInvalid`].
    pub fn decode(bytes: &[u8]) -> Result<Self, Refusal> {
        let continuation: Self = codec::decode(bytes)?;
        continuation.validate()?;
        Ok(continuation)
    }

    pub(crate) fn validate(&self) -> Result<(), Refusal> {
        self.sampling.validate()?;
        let (prompt, tokens) = (self.prompt.get(), self.tokens.count.get());
        let generated = tokens.checked_sub(prompt);
        let contradiction = if prompt == 0 {
            "the prompt is empty"
        } else if generated.is_none() {
            "the prompt is longer than all tokens"
        } else if generated > Some(self.sampling.max_tokens.get()) {
            "more tokens were generated than allowed"
        } else if usize::from(self.pages.tail_rows) >= BLOCK_TOKENS {
            "the tail is a full page"
        } else if self.pages.positions() >= tokens as usize {
            "there are keys and values for the pending token"
        } else {
            return Ok(());
        };
        Err(Refusal::ContinuationInvalid { reason: contradiction })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sampling::{Millionths, SessionSeed, StopStrings};
    use proptest::prelude::*;

    fn sample() -> Continuation {
        Continuation {
            model: Digest([1; 32]),
            numerics: Digest([2; 32]),
            sampling: SamplingParams {
                temperature: Millionths(800_000),
                top_p: Millionths(950_000),
                top_k: Some(40),
                seed: SessionSeed([3; 32]),
                max_tokens: TokenCount::new(200),
                stop: StopStrings::new(vec!["\n\n".to_owned()]).expect("valid"),
                ignore_eos: false,
            },
            prompt: TokenCount::new(20),
            tokens: TokenStreamRef { count: TokenCount::new(38), digest: Digest([4; 32]) },
            pages: PageStreamRef { full: 2, tail_rows: 5 },
            finish: None,
        }
    }

    #[test]
    fn the_encoding_is_pinned_and_small() {
        let bytes = sample().encode();
        assert_eq!(
            wallet::digest::sha256("test", &[&bytes]).to_string(),
            "ddc2a159191de0bcc37ceaafdfc13b1d25b84d6a2d5cbb261216966894a1daeb"
        );
        assert_eq!(bytes.len(), 178);
        let mut largest = sample();
        largest.sampling.stop = StopStrings::new(vec!["x".repeat(64); 4]).expect("valid");
        largest.finish = Some(FinishReason::MaxTokens);
        assert_eq!(largest.encode().len(), 460);
        assert_eq!(
            TokenStreamRef::to(&[1, 2, 3]).digest.to_string(),
            "d5dec980ea0c1501314ae5b6a61bab1a6285eeb89b294438e2fc9123db1e1b7f"
        );
    }

    #[test]
    fn contradictions_are_refused() {
        let change = |change: fn(&mut Continuation)| {
            let mut continuation = sample();
            change(&mut continuation);
            Continuation::decode(&continuation.encode()).map_err(|refusal| refusal.code())
        };
        assert_eq!(change(|_| ()), Ok(sample()));
        for contradiction in [
            (|c| c.prompt = TokenCount::ZERO) as fn(&mut Continuation),
            |c| c.prompt = TokenCount::new(39),
            |c| c.sampling.max_tokens = TokenCount::new(17),
            |c| c.pages.tail_rows = 16,
            |c| c.pages.tail_rows = 6,
            |c| c.pages.full = u32::MAX,
        ] {
            assert_eq!(change(contradiction), Err("E-114"));
        }
        assert_eq!(change(|c| c.sampling.top_p = Millionths(0)), Err("E-109"));
    }

    #[test]
    fn stop_strings_beyond_the_bounds_do_not_decode() {
        let bytes = sample().encode();
        let at = bytes.windows(2).position(|pair| pair == b"\n\n").expect("the stop string");
        let mut longer = bytes.clone();
        longer[at - 8] = 200;
        longer.splice(at..at, [b'x'; 198]);
        assert_eq!(Continuation::decode(&longer).map_err(|refusal| refusal.code()), Err("E-115"));
    }

    proptest! {
        #[test]
        fn damaged_bytes_are_refused_or_read_as_what_they_say(at in 0..300_usize, bit in 0..8_u8, cut: bool) {
            let mut bytes = sample().encode();
            let at = at % bytes.len();
            if cut {
                bytes.truncate(at);
            } else {
                bytes[at] ^= 1 << bit;
            }
            if let Ok(continuation) = Continuation::decode(&bytes) {
                prop_assert_eq!(continuation.encode(), bytes);
            }
        }
    }
}
