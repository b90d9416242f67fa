//! What nodes ask each other for: the cosignature of a tree of the final log.

use ledger::tlog::Cosignature;
use serde::{Deserialize, Serialize};

/// Asks a node for its cosignature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CosignRequest {
    /// How many leaves the tree has. There is one final tree of that size.
    pub size: u64,
}

/// The answer to a [`CosignRequest`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CosignReply {
    /// None if the node has not cosigned that tree yet, or keeps the cosignature no more.
    pub cosignature: Option<Cosignature>,
}
