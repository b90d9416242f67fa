//! How many requests may wait for each peer.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::Semaphore;
use wallet::units::NodeId;

/// As many slots for each peer. Whoever asks has checked that it is one, so there are few.
#[derive(Debug)]
pub(super) struct Slots {
    each: usize,
    given: Mutex<BTreeMap<NodeId, Arc<Semaphore>>>,
}

impl Slots {
    /// `each` slots for every peer.
    pub(super) fn new(each: usize) -> Self {
        Self { each, given: Mutex::default() }
    }

    /// Those of `peer`.
    pub(super) fn of(&self, peer: NodeId) -> Arc<Semaphore> {
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        given.entry(peer).or_insert_with(|| Arc::new(Semaphore::new(self.each))).clone()
    }
}
