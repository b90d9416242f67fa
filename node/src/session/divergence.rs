//! Two results of one computation: evidence that a machine computes wrongly. It is kept, and the session goes on once from
//! what its journal has.

use gpu::continuation::Divergence;
use ledger::event::CloseReason;

use super::{actor::Actor, disk::DiskFault};

/// Divergences of one session that are kept. One is enough.
const KEPT_MAX: usize = 16;

impl Actor {
    /// The journal did not take a result, and what it says about that is no matter of the disk. If another result of the same
    /// computation stands there, both are kept, and the first time the session is built again from its journal, where the
    /// first result stays.
    pub(super) fn disagree(&mut self, fault: DiskFault) {
        self.release();
        let met: Vec<Divergence> =
            self.held.as_ref().map(|held| held.journal().divergences().to_vec()).unwrap_or_default();
        let is_first = !met.is_empty() && self.divergences.is_empty();
        self.keep_divergences(met);
        if is_first {
            self.held = None;
            return;
        }
        self.give_up(CloseReason::Unrecoverable, &fault.into());
    }

    fn keep_divergences(&mut self, met: Vec<Divergence>) {
        if met.is_empty() {
            return;
        }
        let positions: Vec<u64> = met.iter().map(|divergence| divergence.position).collect();
        self.divergences.extend(met);
        self.divergences.truncate(KEPT_MAX);
        let file = self.dir.divergences_file();
        match self.dir.save_divergences(&self.divergences) {
            Ok(()) => tracing::error!(
                wallet = %self.wallet.0, ?positions, file = %file.display(),
                "another result than the journal has: this engine, or the one before, computes wrongly",
            ),
            Err(fault) => tracing::error!(wallet = %self.wallet.0, ?positions, %fault, "evidence was not kept"),
        }
    }
}
