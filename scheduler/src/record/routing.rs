//! C4, routing.

use serde::{Deserialize, Serialize};
use wallet::{
    digest::Digest,
    units::{ByteCount, KeyEpoch, Micros, NodeId, Timestamp},
};

use crate::action::Action;

/// C4: where the batch was and may go. Read by the scheduler at each tick.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Routing {
    /// Nodes that could take it, best first.
    pub candidates: Vec<RankedCandidate>,
    /// What a move would cost.
    pub move_cost: MoveCost,
    /// Latency that the tenant was promised; absent if none was.
    pub latency_sla: Option<Micros>,
    /// What is being done with it; absent while it is kept.
    pub next: Option<NextAction>,
    /// Its confirmed moves, oldest first. Each can be checked against the ledger.
    pub hops: Vec<Hop>,
}

/// A node that could take the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RankedCandidate {
    /// The node.
    pub node: NodeId,
    /// Its price by R4.
    pub price: Micros,
}

/// What a move would cost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MoveCost {
    /// Blocks that the destination must have free.
    pub blocks: u32,
    /// Bytes to transfer, all stages together.
    pub bytes: ByteCount,
    /// Bytes to transfer after the freeze: tail page, continuation and record.
    pub tail_bytes: ByteCount,
    /// Predicted time of the transfer; absent before a link was measured.
    pub time: Option<Micros>,
    /// Fee in credits. Absent: fees are not built yet.
    pub credits: Option<u64>,
}

/// What was decided for the batch and is not done yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NextAction {
    /// The action.
    pub action: Action,
    /// When it was or will be begun.
    pub at: Timestamp,
    /// Hash of the decision behind it.
    pub decision: Digest,
}

/// One confirmed move.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hop {
    /// The node that handed over.
    pub from: NodeId,
    /// The node that confirmed.
    pub to: NodeId,
    /// The key epoch that began.
    pub epoch: KeyEpoch,
    /// The wallet's head after the confirm.
    pub head: Digest,
    /// Time of the block in which the confirm became final.
    pub at: Timestamp,
}
