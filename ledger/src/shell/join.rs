//! The ledger of a node that joins, from an archive of any node.
//!
//! Where a restored node has to be silent at first, because its key may have signed what the archive does not hold, one
//! that never was a validator has nothing to remember: it begins with an empty vote record, like the nodes of genesis.

use std::{io::Read, path::Path};

use wallet::{
    identity::PublicKey,
    units::{BlockHeight, NodeId},
};

use super::{
    restore::{RestoreFault, restore_with},
    vote_record::{VoteFile, Votes},
};
use crate::{
    archive::ArchiveReader,
    governance::Member,
    state::{KeyStatus, State},
};

/// Makes the ledger folder of the node that has `key`, as [`restore`](super::restore::restore) does, and lets it vote once
/// it is reinstated. `progress` is told each height.
///
/// # Errors
/// [`JoinFault`]; there is no folder then.
pub fn join(
    archive: &mut ArchiveReader<impl Read>,
    folder: &Path,
    key: PublicKey,
    progress: impl FnMut(BlockHeight),
) -> Result<NodeId, JoinFault> {
    let consortium = archive.consortium().id();
    let mut joined = None;
    restore_with(archive, folder, progress, |unfinished, restored| {
        if !restored.is_place_proven {
            return Err(JoinFault::PlaceNotProven { raft_index: restored.raft_index });
        }
        let node = newcomer(&restored.executed.state, key)?;
        VoteFile::new(unfinished).save(&Votes::new(consortium, node)).map_err(RestoreFault::from)?;
        joined = Some(node);
        Ok(())
    })?;
    joined.ok_or(JoinFault::NoNode { key })
}

/// The node that has `key` and never voted.
fn newcomer(state: &State, key: PublicKey) -> Result<NodeId, JoinFault> {
    let record = state.key(key).filter(|record| record.status == KeyStatus::InForce);
    let Some(Member::Node(node)) = record.and_then(|record| record.member) else {
        return Err(JoinFault::NoNode { key });
    };
    if was_validator(state, node) { Err(JoinFault::Voted { node }) } else { Ok(node) }
}

/// Whether a node is or ever was a validator.
pub(crate) fn was_validator(state: &State, node: NodeId) -> bool {
    (0..=state.epoch()).filter_map(|epoch| state.validators_of(epoch)).any(|record| record.set.key(node).is_some())
}

/// Why there is no ledger for a node that joins.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JoinFault {
    /// It cannot be restored.
    #[error(transparent)]
    Restore(#[from] RestoreFault),
    /// The operators have not let it in yet, or the archive is from before.
    #[error("at the end of the archive no node has the key {key}")]
    NoNode {
        /// The key that was given.
        key: PublicKey,
    },
    /// Where the log begins is the archive's word alone. With a wrong one the node would follow nobody.
    #[error("the archive does not prove that its last block has raft index {raft_index}: take another")]
    PlaceNotProven {
        /// What the archive says.
        raft_index: u64,
    },
    /// It was a validator, and what it signed is not in the archive.
    #[error("node {node} was a validator before: restore it")]
    Voted {
        /// Which.
        node: NodeId,
    },
}
