//! Which nodes a ledger on the disk knows.

use std::path::Path;

use wallet::units::NodeId;

use super::{STATE, STORE};
use crate::{
    shell::{fault::Fault, store::Store},
    state::{NodeRecord, State, StateKey},
};

/// The nodes that are or were, as the ledger in `folder` has them; none if nothing is final there. A replica may be
/// running on it.
///
/// For whoever sets up a node. Each value is checked against its checksum and not against the certified root, which
/// the replica does when it starts.
///
/// # Errors
/// [`Fault`] of the disk, or of a damaged value.
pub fn nodes(folder: &Path) -> Result<Option<Vec<(NodeId, NodeRecord)>>, Fault> {
    let folder = folder.join(STORE);
    if !folder.join("CURRENT").exists() {
        return Ok(None);
    }
    let store = Store::open_to_read(&folder, STORE, &[STATE])?;
    let leaf = |key: StateKey| {
        let digest = key.digest();
        Ok(store.get_bytes(STATE, digest.as_bytes())?.map(|value| (digest, value)))
    };
    let founded = State::from_leaves(leaf(StateKey::Governance)?);
    let Some(governance) = founded.governance() else { return Ok(None) };
    let leaves = (0..governance.nodes).map(|id| leaf(StateKey::Node(NodeId::new(id))));
    let leaves = leaves.chain([leaf(StateKey::Governance)]).collect::<Result<Vec<_>, Fault>>()?;
    Ok(Some(State::from_leaves(leaves.into_iter().flatten()).nodes().collect()))
}
