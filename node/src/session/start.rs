//! What a session is beside its tokens, pages and keys: the same at every holder. It travels and is kept as a signed
//! continuation.

use gpu::{
    FinishReason, SamplingParams,
    continuation::{Beside, Bound, ContinuationRefusal, DecodeBody, SignedContinuation, Tail, Terms},
};
use serde::{Deserialize, Serialize};
use wallet::{codec, digest::Digest, identity::RegionId, units::TokenCount};

/// Everything about a session that is neither a key, nor a token, nor a page: tokens stand in its journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionStart {
    /// How many of the session's tokens are the prompt.
    pub prompt_tokens: TokenCount,
    /// How tokens are chosen.
    pub sampling: SamplingParams,
    /// Hash of the model's configuration and weights.
    pub model: Digest,
    /// What the engine guarantees about its arithmetic.
    pub numerics: Digest,
    /// What the engine does not need to know.
    pub terms: SessionTerms,
}

/// What hosts keep with a session's continuation: its `terms`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionTerms {
    /// Tokens of the prompt whose blocks were cached when it was read.
    pub cached_tokens: TokenCount,
    /// At most one token in this many milliseconds.
    pub pace_ms: u32,
    /// Where the session began.
    pub origin: RegionId,
    /// The client's name for the request.
    pub request_id: String,
}

/// Where the streams of a session stand.
#[derive(Clone, Copy, Debug)]
pub struct StreamBounds {
    /// Its journal.
    pub journal: Bound,
    /// Its full pages on the disk.
    pub kv: Bound,
    /// The page after them.
    pub tail: Option<Tail>,
    /// Set if there is nothing left to generate.
    pub finish: Option<FinishReason>,
}

impl SessionTerms {
    /// The canonical bytes.
    ///
    /// # Errors
    /// [`ContinuationRefusal::BodyInvalid`] if the request's name is too long to be kept.
    pub fn encode(&self) -> Result<Terms, ContinuationRefusal> {
        Terms::new(codec::encode(self))
    }
}

impl SessionStart {
    /// Reads a continuation of a session of any schema that was released, with what else its body says.
    ///
    /// # Errors
    /// Those of [`SignedContinuation::body`] and [`gpu::continuation::Body::latest`];
    /// [`ContinuationRefusal::BodyInvalid`] if no host of sessions wrote it.
    pub fn read(
        continuation: &SignedContinuation,
        beside: &Beside<'_>,
    ) -> Result<(Self, StreamBounds), ContinuationRefusal> {
        let invalid = |reason| ContinuationRefusal::BodyInvalid { reason };
        let body = continuation.body()?.latest(beside)?;
        let DecodeBody { model, sampling, prompt, journal, kv, tail, finish, terms } = body;
        let terms = codec::decode(terms.as_slice()).map_err(|_| invalid("the terms are no host's of sessions"))?;
        let numerics = continuation.head().numerics;
        let start = Self { prompt_tokens: prompt, sampling, model, numerics, terms };
        Ok((start, StreamBounds { journal, kv, tail, finish }))
    }

    /// The body of a continuation.
    ///
    /// # Errors
    /// See [`SessionTerms::encode`].
    pub fn body(&self, bounds: StreamBounds) -> Result<DecodeBody, ContinuationRefusal> {
        let StreamBounds { journal, kv, tail, finish } = bounds;
        Ok(DecodeBody {
            model: self.model,
            sampling: self.sampling.clone(),
            prompt: self.prompt_tokens,
            journal,
            kv,
            tail,
            finish,
            terms: self.terms.encode()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_terms_fit() {
        let region = RegionId::try_from("x".repeat(16)).expect("as long as allowed");
        let terms = SessionTerms {
            cached_tokens: TokenCount::new(u32::MAX),
            pace_ms: u32::MAX,
            origin: region,
            request_id: "r".repeat(64),
        };
        assert_eq!(terms.encode().expect("they fit").as_slice().len(), 104);
        assert!(SessionTerms { request_id: "r".repeat(89), ..terms }.encode().is_err());
    }
}
