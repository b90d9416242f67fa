//! What is needed to prove a move, read from the final store.

use std::sync::Arc;

use genesis::Consortium;
use ledger::{
    bundle::{Bundle, NotProvable, build},
    event::Event,
    shell::{fault::Fault, final_store::FinalStore, replica::Replica},
    state::StateKey,
    state_proof::{self, StateProofFile},
};
use wallet::{
    digest::Digest,
    grant::WalletAddress,
    units::{KeyEpoch, LogIndex, NodeId},
};

use super::{asking::Asking, problem::Problem, refusal::Refusal};
use crate::schedule::Schedule;

/// Makes proofs, a few at a time. A clone is cheap.
#[derive(Clone)]
pub struct Proofs {
    replica: Replica,
    consortium: Arc<Consortium>,
    turns: Asking,
}

/// Source and decision of a move.
struct Offered {
    source: NodeId,
    decision: Digest,
}

impl Proofs {
    /// Proofs from the final chain of `replica`, each made when it is its turn.
    pub(super) fn new(replica: Replica, consortium: Arc<Consortium>, turns: Asking) -> Self {
        Self { replica, consortium, turns }
    }

    /// Where the entries about `wallet` stand, oldest first.
    ///
    /// # Errors
    /// [`Fault`] of the disk.
    pub fn wallet_entries(&self, wallet: WalletAddress) -> Result<Vec<LogIndex>, Fault> {
        self.replica.store().wallet_entries(wallet, &self.replica.state())
    }

    /// The proof of the move by which `wallet` came to `epoch`, or of its last move; and that the log only grew `since` it
    /// had so many entries, if that is asked.
    ///
    /// # Errors
    /// N-505 if the log never had so many entries, N-511 for an unknown wallet, N-515 if it did not move, N-514 while the decision is not anchored, N-411 if nobody
    /// hands it out.
    pub async fn bundle(
        &self,
        schedule: &Schedule,
        wallet: WalletAddress,
        epoch: Option<KeyEpoch>,
        since: Option<u64>,
    ) -> Result<Bundle, Problem> {
        let executed = self.replica.state();
        let record = executed.state.wallet(wallet).ok_or(Refusal::WalletUnknown)?;
        let epoch = epoch.unwrap_or(record.epoch);
        let proofs = self.clone();
        let offered = move || offered(proofs.replica.store(), &proofs.wallet_entries(wallet)?, epoch);
        let offered = self.turns.scan(offered).await?;
        let Some(Offered { source, decision }) = offered else {
            return Err(Refusal::NotProvable { reason: format!("no move to epoch {epoch} is final") }.into());
        };
        let grounds = schedule.grounds(source, decision).await?;
        let proofs = self.clone();
        let built = self.turns.scan(move || {
            let view = proofs.replica.store().view(executed)?;
            Ok(build(&proofs.consortium, &view, wallet, epoch, &grounds, since)?)
        });
        built.await
    }

    /// What the final state holds under `key`, or that it holds nothing, as a file.
    ///
    /// # Errors
    /// N-506 before the first block is final.
    pub(super) async fn state(&self, key: StateKey) -> Result<StateProofFile, Problem> {
        let (proofs, executed) = (self.clone(), self.replica.state());
        let build = move || Ok(state_proof::build(&proofs.consortium, &proofs.replica.store().view(executed)?, key)?);
        self.turns.scan(build).await
    }
}

/// Source and decision of the move to `epoch`, by the wallet's entries: its last offer before the confirm.
fn offered(store: &FinalStore, entries: &[LogIndex], epoch: KeyEpoch) -> Result<Option<Offered>, Problem> {
    let mut last = None;
    for at in entries {
        match store.entry(*at)?.as_ref().map(|entry| &entry.body.event) {
            Some(Event::MigrationOffered(offer)) => last = Some(offer.decision),
            Some(Event::KeyConfirmed(confirm)) if confirm.ticket.ticket.epoch == epoch => {
                let source = confirm.ticket.ticket.source;
                return Ok(last.map(|decision| Offered { source, decision }));
            }
            _ => {}
        }
    }
    Ok(None)
}

impl From<NotProvable> for Problem {
    fn from(reason: NotProvable) -> Self {
        let words = reason.to_string();
        match reason {
            NotProvable::NotAnchored(_) => Refusal::NotAnchored { reason: words }.into(),
            NotProvable::Unreadable(fault) => {
                tracing::error!(%fault, "the ledger cannot be read");
                Refusal::Failed.into()
            }
            // Another node may know more of the log already.
            NotProvable::SinceUnknown { since, size } if since > size => Refusal::BeyondLog { size }.into(),
            NotProvable::SinceUnknown { .. } => Refusal::ParameterInvalid { name: "since", reason: words }.into(),
            NotProvable::NothingFinal => Refusal::NotReady { reason: words }.into(),
            _ => Refusal::NotProvable { reason: words }.into(),
        }
    }
}

/// Disk work, off the runtime's own threads.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| Err(Refusal::Failed.into()))
}

#[cfg(test)]
mod tests;
