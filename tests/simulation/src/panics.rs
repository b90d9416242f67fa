//! Panics of tasks, which tokio would keep to itself: each is told to the watch, with the node whose process it was.

use std::{
    collections::BTreeMap,
    panic,
    sync::{Mutex, OnceLock},
};

use tokio::runtime::Handle;
use wallet::units::NodeId;

#[derive(Default)]
struct Panics {
    /// Which node a runtime is the process of.
    runtimes: BTreeMap<String, NodeId>,
    found: Vec<(Option<NodeId>, String)>,
}

static PANICS: OnceLock<Mutex<Panics>> = OnceLock::new();

fn panics() -> std::sync::MutexGuard<'static, Panics> {
    PANICS.get_or_init(Mutex::default).lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// From now on panics are caught here.
pub fn listen() {
    panic::set_hook(Box::new(|panic| {
        let mut panics = panics();
        let node = Handle::try_current().ok().and_then(|handle| panics.runtimes.get(&handle.id().to_string()).copied());
        panics.found.push((node, panic.to_string()));
    }));
}

/// The current runtime is the process of `node`.
pub fn runs_here(node: NodeId) {
    panics().runtimes.insert(Handle::current().id().to_string(), node);
}

/// What panicked since it was asked last.
pub fn take() -> Vec<(Option<NodeId>, String)> {
    std::mem::take(&mut panics().found)
}
