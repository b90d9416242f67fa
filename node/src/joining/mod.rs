//! The ledger of a node that joins, fetched from several running nodes at once over HTTP: `ledger::shell::join` asks,
//! checks and stores.

mod members;
pub mod request;
mod source;

use std::sync::Arc;

use ledger::shell::{
    join::{self, Giver, JoinFault},
    restore::RestoreFault,
};

pub use self::{
    members::Chosen,
    source::{Asker, Source},
};
pub use join::{Dropped, Made, Order, Step};

use crate::cli::Failure;

/// Makes the ledger of a node that the operators let in, from what `sources` hand out.
///
/// # Errors
/// N-112 if there can be no ledger for this key, N-113 if no source has one to offer, N-114 if not all of it came, N-156 and
/// N-157 as when a ledger is restored, N-641 if two sources prove ledgers that contradict each other.
pub async fn join(
    sources: Vec<Source>,
    order: Order,
    told: impl FnMut(Step) + Send + 'static,
) -> Result<Made, Failure> {
    let folder = order.folder.folder().to_owned();
    let givers = sources.into_iter().map(|source| Arc::new(source) as Arc<dyn Giver>).collect();
    join::join(givers, order, told).await.map_err(|fault| {
        let code = match &fault {
            JoinFault::NoOffer { reasons } => return Failure::new("N-113", &fault, reasons),
            JoinFault::NotAll { reasons } => return Failure::new("N-114", &fault, reasons),
            JoinFault::Restore(RestoreFault::WrongPlace { .. }) | JoinFault::Replay(_) => "N-156",
            JoinFault::Restore(_) => "N-157",
            JoinFault::Fork(..) => "N-641",
            _ => "N-112",
        };
        Failure::new(code, &fault, folder.display())
    })
}

#[cfg(test)]
mod tests;
