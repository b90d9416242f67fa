//! What may stand between a validator of the bench and its network. In this program nothing does: a validator that lies
//! is a program of its own, on the tests' side.

use std::sync::Arc;

use genesis::Consortium;
use ledger::{
    shell::{replica::Replica, transport::Transport},
    vote::Signer,
};

use crate::network::{Handler, PeerNetwork, ledger_transport::LedgerHandler};

/// See the module.
pub trait Shim: Sized + Send + Sync + 'static {
    /// One for the validator whose key `signer` holds; its randomness starts at `seed`.
    fn new(consortium: Arc<Consortium>, signer: Signer, seed: u64) -> Arc<Self>;

    /// Answers the peers, as `honest` would or otherwise.
    fn inward(self: &Arc<Self>, honest: LedgerHandler) -> impl Handler;

    /// What the replica speaks through.
    fn outward(self: &Arc<Self>, network: PeerNetwork) -> Arc<dyn Transport>;

    /// The replica runs.
    fn opened(&self, replica: &Replica);

    /// From now on tells this lie; none: keeps to the rules. Returns how many messages it sent, changed or held back since
    /// it was told last.
    ///
    /// # Errors
    /// The name is not that of a lie.
    fn lie(&self, name: Option<&str>) -> Result<u64, String>;
}

/// Lets everything pass.
pub struct Honest;

impl Shim for Honest {
    fn new(_: Arc<Consortium>, _: Signer, _: u64) -> Arc<Self> {
        Arc::new(Self)
    }

    fn inward(self: &Arc<Self>, honest: LedgerHandler) -> impl Handler {
        honest
    }

    fn outward(self: &Arc<Self>, network: PeerNetwork) -> Arc<dyn Transport> {
        Arc::new(network)
    }

    fn opened(&self, _: &Replica) {}

    fn lie(&self, name: Option<&str>) -> Result<u64, String> {
        name.map_or(Ok(0), |name| Err(format!("this validator does not lie: {name}")))
    }
}
