//! What is needed to prove a move, read from the final store.

use std::sync::Arc;

use genesis::Consortium;
use ledger::{
    bundle::{Bundle, Hop, NotProvable},
    shell::replica::Replica,
    state::StateKey,
    state_proof::{self, StateProofFile},
};
use wallet::{digest::Digest, grant::WalletAddress, units::KeyEpoch};

use super::{asking::Asking, problem::Problem, refusal::Refusal, turns::Turn};
use crate::schedule::Schedule;

/// Makes proofs, a few at a time and one to a reader. A clone is cheap.
#[derive(Clone)]
pub struct Proofs {
    replica: Replica,
    consortium: Arc<Consortium>,
    turns: Asking,
}

impl Proofs {
    /// Proofs from the final chain of `replica`, each made when it is its turn.
    pub(super) fn new(replica: Replica, consortium: Arc<Consortium>, turns: Asking) -> Self {
        Self { replica, consortium, turns }
    }

    /// For a reader with the key `of`: the proof of the move by which `wallet` came to `epoch`, or of its last move; and that
    /// the log only grew `since` it had so many entries, if that is asked.
    ///
    /// # Errors
    /// N-505 if the log never had so many entries, N-511 for an unknown wallet, N-515 if it did not move, N-514 while the
    /// decision is not anchored, N-411 if nobody hands it out, N-671 if so many requests of that key are under way as may be.
    pub async fn bundle(
        &self,
        schedule: &Schedule,
        of: Digest,
        wallet: WalletAddress,
        epoch: Option<KeyEpoch>,
        since: Option<u64>,
    ) -> Result<Bundle, Problem> {
        let executed = self.replica.state();
        let record = executed.state.wallet(wallet).ok_or(Refusal::WalletUnknown)?;
        let epoch = epoch.unwrap_or(record.epoch);
        let store = self.replica.store().clone();
        let turn = self.turns.turn(of).await?;
        let found = turn.spend_and_stand(move || Ok(Hop::find(&store.view(executed)?, wallet, epoch)?));
        let (hop, place) = found.await?;
        // Another node may have to be asked. Nobody waits for the turn meanwhile, and an anchor may become final.
        let grounds = schedule.grounds(hop.source(), hop.decision()).await?;
        let turn = place.turn().await.ok_or(Refusal::Failed)?;
        let proofs = self.clone();
        let prove = move || {
            let view = proofs.replica.store().view(proofs.replica.state())?;
            Ok(hop.prove(&proofs.consortium, &view, &grounds, since)?)
        };
        turn.spend(prove).await
    }

    /// What the final state holds under `key`, or that it holds nothing, as a file.
    ///
    /// # Errors
    /// N-506 before the first block is final.
    pub(super) async fn state(&self, turn: Turn, key: StateKey) -> Result<StateProofFile, Problem> {
        let (proofs, executed) = (self.clone(), self.replica.state());
        let build = move || Ok(state_proof::build(&proofs.consortium, &proofs.replica.store().view(executed)?, key)?);
        turn.spend(build).await
    }
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
