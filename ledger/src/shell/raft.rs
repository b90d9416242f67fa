//! openraft's types as this ledger uses them: one application entry is one block.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Cursor,
};

use genesis::Consortium;
use openraft::EmptyNode;
use wallet::units::NodeId;

use super::packed::PackedBlock;
use crate::{block::Block, state::State};

openraft::declare_raft_types!(
    /// openraft's type parameters.
    pub TypeConfig:
        D = PackedBlock,
        R = (),
        NodeId = u64,
        Node = EmptyNode,
        Entry = openraft::Entry<TypeConfig>,
        SnapshotData = Cursor<Vec<u8>>,
);

/// The running consensus core.
pub type Raft = openraft::Raft<TypeConfig>;
/// An entry of the raft log.
pub type RaftEntry = openraft::Entry<TypeConfig>;
/// Term, leader and index of a raft log entry.
pub type RaftLogId = openraft::LogId<u64>;
/// Term and leader that a node follows.
pub type RaftVote = openraft::Vote<u64>;
/// What the log says about who replicates it.
pub type RaftMembership = openraft::StoredMembership<u64, EmptyNode>;

/// A node's name in raft.
pub(crate) fn raft_id(node: NodeId) -> u64 {
    u64::from(node.get())
}

/// The node that raft names, or none if no node has that name.
pub(crate) fn node_id(raft_id: u64) -> Option<NodeId> {
    u32::try_from(raft_id).ok().map(NodeId::new)
}

/// The node that a vote is for.
pub(crate) fn leader_of(vote: &RaftVote) -> Option<NodeId> {
    vote.leader_id.voted_for().and_then(node_id)
}

/// The block in a raft log entry, if it is not one of raft's own.
pub(crate) fn block_of(entry: RaftEntry) -> Option<Block> {
    match entry.payload {
        openraft::EntryPayload::Normal(block) => Some(block.into_block()),
        _ => None,
    }
}

/// The entry with which every log begins, as raft wants one: it names all nodes of genesis. Equal on every node, so that
/// each can write it for itself. Who replicates later is not said in the log: see [`membership`].
pub fn first_entry(consortium: &Consortium) -> RaftEntry {
    let nodes: BTreeSet<u64> = (0..consortium.nodes().len() as u64).collect();
    let membership = openraft::Membership::new(vec![nodes], ());
    RaftEntry { log_id: RaftLogId::default(), payload: openraft::EntryPayload::Membership(membership) }
}

/// Who replicates after the final block at `at`: its validators, and as learners the others that take part.
pub(crate) fn membership(state: &State, at: RaftLogId) -> RaftMembership {
    let voters = state.validators().members.iter().map(|(node, _)| raft_id(*node)).collect();
    let others = state.nodes().filter(|(_, record)| record.standing.takes_part());
    let nodes: BTreeMap<u64, EmptyNode> = others.map(|(node, _)| (raft_id(node), EmptyNode {})).collect();
    RaftMembership::new(Some(at), openraft::Membership::new(vec![voters], nodes))
}
