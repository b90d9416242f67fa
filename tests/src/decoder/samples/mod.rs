//! Inputs that the decoders take: one of each kind at least.

pub(super) mod batch;
pub(super) mod disk;
pub(super) mod gate;
pub(super) mod keys;
pub(super) mod ledger;
pub(super) mod peers;
pub(super) mod snapshot;
pub(super) mod stored;
pub(super) mod tlog;
