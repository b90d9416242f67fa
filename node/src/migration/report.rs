//! What one move cost, measured at both ends.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use wallet::{
    digest::Digest,
    grant::WalletAddress,
    units::{ByteCount, KeyEpoch, NodeId, TokenPosition},
};

use crate::members::Members;

/// The figures of one move. A figure that was not measured is absent.
///
/// Times in nanoseconds are of the host's CLOCK_MONOTONIC. They can be compared between nodes only where these are
/// processes of one machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MoveReport {
    /// The wallet.
    pub wallet: WalletAddress,
    /// The epoch that the move began.
    pub epoch: KeyEpoch,
    /// The node that handed over.
    pub from: NodeId,
    /// The node that confirmed.
    pub to: NodeId,
    /// The scheduler's rule behind it; known at the source.
    pub rule: Option<String>,
    /// Hash of the scheduler's decision, as the offer names it.
    pub decision: Digest,
    /// Why it did not come about, with the code.
    pub reason: Option<String>,
    /// Full pages that crossed.
    pub pages_moved: u32,
    /// Pages whose seal, head and hash held, the tail page included.
    pub pages_verified: u32,
    /// Sealed bytes that crossed: pages, envelope, tail.
    pub bytes_moved: ByteCount,
    /// Position of the next token when the source froze.
    pub tokens_at_freeze: TokenPosition,
    /// End of the source's last step.
    pub source_last_step_end_ns: Option<u64>,
    /// Start of the destination's first step.
    pub destination_first_step_start_ns: Option<u64>,
    /// Median unpaced step at the source.
    pub median_step_us: Option<u64>,
    /// From the offer's submission to its finality.
    pub offer_final_ms: Option<u64>,
    /// From the final offer to the final acceptance.
    pub accept_final_ms: Option<u64>,
    /// From the confirm's submission to its finality.
    pub confirm_final_ms: Option<u64>,
    /// From the source's freeze to the final confirm.
    pub freeze_to_confirm_final_ms: Option<u64>,
    /// Whether the confirm is final.
    pub completed: bool,
}

impl MoveReport {
    /// Start of the destination's first step minus end of the source's last.
    pub fn compute_stall_us(&self) -> Option<u64> {
        let (end, start) = (self.source_last_step_end_ns?, self.destination_first_step_start_ns?);
        Some(start.checked_sub(end)? / 1_000)
    }

    /// The stall in units of the median unpaced step.
    pub fn compute_stall_steps(&self) -> Option<f64> {
        let median = self.median_step_us.filter(|median| *median > 0)?;
        Some(self.compute_stall_us()? as f64 / median as f64)
    }

    /// As the admin interface shows it, with the names of the nodes.
    pub fn to_json(&self, members: &Members) -> Value {
        let name = |node| members.node(node).map(|node| node.name.to_string());
        json!({
            "wallet": self.wallet.0.to_string(),
            "epoch": self.epoch.get(),
            "from": name(self.from),
            "to": name(self.to),
            "rule": self.rule,
            "decision": self.decision.to_string(),
            "reason": self.reason,
            "pages_moved": self.pages_moved,
            "pages_verified": self.pages_verified,
            "bytes_moved": self.bytes_moved.get(),
            "tokens_at_freeze": self.tokens_at_freeze.get(),
            "source_last_step_end_ns": self.source_last_step_end_ns,
            "destination_first_step_start_ns": self.destination_first_step_start_ns,
            "median_step_us": self.median_step_us,
            "compute_stall_us": self.compute_stall_us(),
            "compute_stall_steps": self.compute_stall_steps(),
            "offer_final_ms": self.offer_final_ms,
            "accept_final_ms": self.accept_final_ms,
            "confirm_final_ms": self.confirm_final_ms,
            "freeze_to_confirm_final_ms": self.freeze_to_confirm_final_ms,
            "completed": self.completed,
        })
    }
}
