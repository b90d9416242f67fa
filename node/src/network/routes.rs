//! By which connection each peer is reached, as the driver last said.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;
use wallet::units::NodeId;

use super::connection::Connection;

/// The way to a peer.
#[derive(Clone, Debug)]
pub(super) enum Route {
    /// There is none, and the next attempt is not due yet.
    Closed,
    /// A connection is being made.
    Dialling,
    /// By this connection.
    Open(Arc<Connection>),
}

/// The routes to all peers, and to nobody else.
#[derive(Debug, Default)]
pub(super) struct Routes(Mutex<BTreeMap<NodeId, watch::Receiver<Route>>>);

impl Routes {
    /// A peer more, or another in the place of one.
    pub(super) fn add(&self, peer: NodeId, route: watch::Receiver<Route>) {
        self.lock().insert(peer, route);
    }

    /// One less.
    pub(super) fn remove(&self, peer: NodeId) {
        self.lock().remove(&peer);
    }

    /// The route to a peer, as it will be told.
    pub(super) fn to(&self, peer: NodeId) -> Option<watch::Receiver<Route>> {
        self.lock().get(&peer).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<NodeId, watch::Receiver<Route>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The connection at the end of a route; waits while one is being made. None if there is no way, or if who was a peer is none
/// any more.
pub(super) async fn reach(mut route: watch::Receiver<Route>) -> Option<Arc<Connection>> {
    match &*route.wait_for(|route| !matches!(route, Route::Dialling)).await.ok()? {
        Route::Open(connection) => Some(Arc::clone(connection)),
        Route::Closed | Route::Dialling => None,
    }
}
