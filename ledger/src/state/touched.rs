//! Which keys an execution reads and writes: what evidence has to show of a state.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use wallet::digest::Digest;

use super::State;

/// The keys that were read or written in a state and in all its clones, since [`State::noting`].
#[derive(Clone, Debug, Default)]
pub struct Touched(Arc<Mutex<BTreeSet<Digest>>>);

impl Touched {
    /// Where they stand in the tree.
    pub fn keys(&self) -> BTreeSet<Digest> {
        self.lock().clone()
    }

    pub(super) fn note(&self, key: Digest) {
        self.lock().insert(key);
    }

    /// A key is added in one step, so a panic elsewhere spoils nothing.
    fn lock(&self) -> MutexGuard<'_, BTreeSet<Digest>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The same state, which notes from here on what is read and written in it and in its clones.
    pub fn noting(&self) -> (Self, Touched) {
        let touched = Touched::default();
        (Self { tree: self.tree.clone(), touched: Some(touched.clone()) }, touched)
    }
}
