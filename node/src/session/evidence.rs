//! What the holder measured and says on the ledger: the latency before a move, and after it.

use ledger::event::{BaselineCommitted, Event, LatencyDelta};
use wallet::{digest::Digest, handoff::Mode, units::KeyEpoch};

use super::actor::Actor;

/// Intervals that a median is taken of, at least.
const SAMPLES_MIN: usize = 16;
/// How often evidence is made anew because the head moved under it.
const TRIES_MAX: u32 = 5;

/// What was said in the present epoch.
#[derive(Default)]
pub(crate) struct Evidence {
    epoch: KeyEpoch,
    baseline: Said,
    delta: Said,
}

#[derive(Clone, Copy, Default)]
struct Said {
    entry: Option<Digest>,
    is_final: bool,
    tries: u32,
}

impl Actor {
    /// Says what can be said now.
    pub(super) fn give_evidence(&mut self) {
        if self.handoff.mode() != Mode::Serving || !self.is_holder() {
            return;
        }
        let Some((inter_token_p50, samples)) =
            self.held.as_ref().filter(|held| held.intervals.len() >= SAMPLES_MIN).and_then(|held| held.latency())
        else {
            return;
        };
        let (wallet, head, epoch) = (self.wallet, self.handoff.view().head, self.handoff.view().epoch);
        if self.evidence.epoch != epoch {
            self.evidence = Evidence { epoch, ..Evidence::default() };
        }
        if self.evidence.baseline.may_say() {
            let event = BaselineCommitted { wallet, head, epoch, inter_token_p50, samples };
            let entry = self.submit_evidence(Event::BaselineCommitted(event));
            self.evidence.baseline.said(entry);
        }
        let hop = self.context.replica.state().state.wallet(wallet).and_then(|record| record.hop);
        let baseline = hop.and_then(|hop| hop.baseline).filter(|_| epoch > KeyEpoch::ZERO);
        if let Some(baseline) = baseline.filter(|_| self.evidence.delta.may_say()) {
            let event = LatencyDelta { wallet, head, epoch, baseline, inter_token_p50, samples };
            let entry = self.submit_evidence(Event::LatencyDelta(event));
            self.evidence.delta.said(entry);
        }
    }

    /// The baseline of the present epoch, if it is final.
    pub(crate) fn final_baseline(&self) -> Option<Digest> {
        let Evidence { epoch, baseline, .. } = &self.evidence;
        baseline.entry.filter(|_| baseline.is_final && *epoch == self.handoff.view().epoch)
    }

    pub(super) fn evidence_is_final(&mut self, id: Digest) {
        self.evidence.each().filter(|said| said.entry == Some(id)).for_each(|said| said.is_final = true);
    }

    pub(super) fn evidence_is_refused(&mut self, id: Digest) {
        self.evidence.each().filter(|said| said.entry == Some(id)).for_each(|said| said.entry = None);
    }
}

impl Evidence {
    fn each(&mut self) -> impl Iterator<Item = &mut Said> {
        [&mut self.baseline, &mut self.delta].into_iter()
    }
}

impl Said {
    fn may_say(self) -> bool {
        self.entry.is_none() && self.tries < TRIES_MAX
    }

    fn said(&mut self, entry: Digest) {
        self.entry = Some(entry);
        self.tries += 1;
    }
}
