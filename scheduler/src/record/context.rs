//! C2, context: what the batch has computed. The pages themselves stay in their stream.

use serde::{Deserialize, Serialize};
use wallet::units::{Micros, TokenCount};

/// What one batch may hold in all. When its share of this is used up, a successor batch goes on.
pub const BATCH_TOKENS: TokenCount = TokenCount::new(100_000);

/// C2: read by the engine and the transfer service. The tick does not see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Context {
    /// Full pages.
    pub pages: u32,
    /// Tokens, prompt included.
    pub tokens: TokenCount,
    /// Rows in the last page, which is not full yet; less than a block's tokens.
    pub tail_rows: u8,
    /// What it would take to compute the pages again, from measured prefill; absent before one was measured.
    pub reconstruction: Option<Micros>,
    /// Whether the pages are compressed.
    pub compressed: bool,
    /// Semantic embedding, quantised. Nothing computes one yet, so it is absent.
    pub embedding: Option<Vec<i8>>,
    /// How much of [`BATCH_TOKENS`] is used.
    pub usage: Usage,
}

/// How much of [`BATCH_TOKENS`] the clusters use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens of the session itself.
    pub context: TokenCount,
    /// Tokens of the other clusters' text; absent as long as nobody tokenized it.
    pub record: Option<TokenCount>,
}

impl Usage {
    /// What is left, or none if the batch is over its limit.
    pub fn left(&self) -> Option<TokenCount> {
        let record = self.record.map_or(0, TokenCount::get);
        BATCH_TOKENS.get().checked_sub(self.context.get())?.checked_sub(record).map(TokenCount::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_clusters_draw_on_one_limit() {
        let usage = |context, record: Option<u32>| {
            Usage { context: TokenCount::new(context), record: record.map(TokenCount::new) }.left()
        };
        assert_eq!(usage(99_000, None), Some(TokenCount::new(1_000)));
        assert_eq!(usage(99_000, Some(1_000)), Some(TokenCount::ZERO));
        assert_eq!(usage(99_000, Some(1_001)), None);
        assert_eq!(usage(u32::MAX, Some(u32::MAX)), None);
    }
}
