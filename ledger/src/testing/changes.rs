//! Changes of the validator set by height instead of by governance, for tests of the vote. They hold for one thread.

use std::{cell::RefCell, collections::BTreeMap};

use genesis::ValidatorSet;
use wallet::{identity::PublicKey, units::NodeId};

use crate::{
    execute::Executed,
    state::{GovernanceRecord, Record, StateKey, ValidatorRecord},
};

type Members = Vec<(NodeId, PublicKey)>;

thread_local! {
    static BY_HEIGHT: RefCell<BTreeMap<u64, Members>> = const { RefCell::new(BTreeMap::new()) };
}

/// From now on in this thread every block of one of these heights closes its epoch, and these are the next validators.
pub fn plan(changes: impl IntoIterator<Item = (u64, Members)>) {
    BY_HEIGHT.with_borrow_mut(|planned| *planned = changes.into_iter().collect());
}

/// Makes the change that is planned for the height of this block.
pub(crate) fn apply(executed: &mut Executed) {
    let Some(members) = BY_HEIGHT.with_borrow(|planned| planned.get(&executed.height.get()).cloned()) else { return };
    let Some(record) = executed.state.governance() else { return };
    let epoch = record.epoch;
    let set = ValidatorSet { epoch: epoch + 1, members };
    let record = GovernanceRecord { epoch: set.epoch, ..record };
    executed.state.put(StateKey::Governance, Record::Governance(record));
    let record = ValidatorRecord { since: executed.height, set };
    executed.state.put(StateKey::Validators(epoch + 1), Record::Validators(record));
}
