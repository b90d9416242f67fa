//! C5, supervision. Never shown to what it supervises.

use serde::{Deserialize, Serialize};
use wallet::digest::Digest;

/// C5: under which rules the batch stands.
///
/// Decision templates, the confidence gate, the drift monitor and the fine-tune signal have no source yet and no field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Supervision {
    /// Version of the table of rules that the holder runs.
    pub rules_version: u32,
    /// Length of the holder's decision log.
    pub decisions: u64,
    /// Head of the holder's decision log.
    pub decision_head: Digest,
}
