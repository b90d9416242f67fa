//! The events of one validator's clients. Each is a `DecisionAnchored`: one author signature, and two records in the
//! state.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use ledger::{
    author::sign_batch,
    event::{DecisionAnchored, Entry, EntryBody, Event},
};
use wallet::{digest::Digest, identity::SecretKey, units::NodeId};

use crate::session::context::random;

/// Makes entries whose numbers rise, as an author's must.
pub(super) struct Author {
    consortium: Digest,
    node: NodeId,
    key: Mutex<SecretKey>,
    stock: Mutex<Stock>,
}

/// What is signed already: clients sign on machines of their own, so the load does not pay for it.
struct Stock {
    number: u64,
    ready: std::collections::VecDeque<Vec<Entry>>,
}

impl Author {
    pub(super) fn new(consortium: Digest, node: NodeId, key: SecretKey) -> Self {
        // Above every number of an earlier start.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let number = u64::try_from(since.as_micros()).unwrap_or_default();
        Self { consortium, node, key: Mutex::new(key), stock: Mutex::new(Stock { number, ready: Default::default() }) }
    }

    /// From here on signs with this key.
    pub(super) fn take_up(&self, key: SecretKey) {
        *self.key.lock().unwrap_or_else(PoisonError::into_inner) = key;
    }

    /// Signs `count` batches of `size` events ahead.
    pub(super) fn prepare(&self, count: usize, size: usize) {
        let mut stock = self.stock();
        stock.ready.clear();
        for _ in 0..count {
            let batch = self.sign(&mut stock.number, size);
            stock.ready.push_back(batch);
        }
    }

    /// Takes the next batch and hands it on before the one after it is taken.
    pub(super) fn next<T>(&self, size: usize, hand_on: impl FnOnce(Vec<Entry>) -> T) -> T {
        let mut stock = self.stock();
        let batch = match stock.ready.pop_front() {
            Some(batch) if batch.len() == size => batch,
            _ => self.sign(&mut stock.number, size),
        };
        hand_on(batch)
    }

    fn sign(&self, number: &mut u64, size: usize) -> Vec<Entry> {
        let bodies = (0..size).map(|_| {
            *number += 1;
            let event = DecisionAnchored { decisions: *number, log_head: Digest(random()) };
            EntryBody {
                consortium: self.consortium,
                author: self.node,
                nonce: random(),
                event: Event::DecisionAnchored(event),
            }
        });
        let key = self.key.lock().unwrap_or_else(PoisonError::into_inner);
        sign_batch(bodies.map(|body| (body, None)).collect(), &key)
    }

    fn stock(&self) -> MutexGuard<'_, Stock> {
        self.stock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
