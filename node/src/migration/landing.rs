//! The end of a move at either side: the confirm is final, or the offer was closed; and the receiver's figures.

use tokio::time::Instant;
use wallet::{
    handoff::Mode,
    units::{ByteCount, KeyEpoch},
};

use super::{
    inbound::Inbound, messages::SourceFigures, outbound::ms, refusal::Refusal as MoveRefusal, report::MoveReport,
};
use crate::{
    engine::{EngineEvent, monotonic_ns},
    ledger_feed::FinalFact,
    peer::SessionRequest,
    session::{actor::Actor, refusal::Refusal},
};

/// A move that is confirmed, and whose figures are not whole yet.
pub(crate) struct Landed {
    report: MoveReport,
}

impl Actor {
    /// The first step of a session that came here.
    pub(crate) fn note_first_step(&mut self, event: &EngineEvent) {
        let first = event.step_start_ns;
        if let Some(inbound) = self.inbound.as_mut().filter(|inbound| inbound.confirm_submitted_at.is_some()) {
            inbound.first_step_start_ns.get_or_insert(first);
        }
        if let Some(landed) = &mut self.landed {
            landed.report.destination_first_step_start_ns.get_or_insert(first);
        }
    }

    /// A confirm of this wallet is final.
    pub(crate) async fn confirm_is_final(&mut self, fact: &FinalFact) {
        if fact.fact.author != self.context.me {
            self.outbound_is_confirmed();
            self.drop_inbound();
            return;
        }
        let Some(inbound) = self.inbound.take() else { return };
        self.landed = Some(Landed { report: self.landing_report(&inbound, fact.fact.epoch) });
        self.keep_arrived(inbound).await;
        self.erase_hop();
        self.report_landing();
    }

    /// The offer was closed without a confirm.
    pub(crate) fn offer_is_closed(&mut self) {
        // A new holder that restarted touches: its confirm stands, and only its figures do not come.
        if self.outbound.as_ref().is_none_or(|outbound| outbound.confirmed_at.is_none()) {
            self.move_failed(MoveRefusal::OfferClosed.into());
        }
        let pending = self.keys.as_ref().is_some_and(|keys| keys.epoch > self.handoff.view().epoch);
        if pending && self.handoff.mode() == Mode::Idle {
            self.forget_keys();
        }
        if self.inbound.as_ref().is_some_and(|inbound| inbound.offer.is_some()) {
            self.drop_inbound();
        }
    }

    /// The wallet is over.
    pub(crate) fn wallet_is_closed(&mut self) {
        self.move_failed(Refusal::Finished);
        self.drop_inbound();
    }

    /// Re-seals the pages that came under the new epoch's key.
    async fn keep_arrived(&mut self, inbound: Inbound) {
        let stream = self.context.engine.stream();
        let kept = self.on_disk(move |held, dir, keys| {
            inbound.pages.iter().try_for_each(|page| held.keep_page(dir, keys, &stream, page))
        });
        if let Err(refusal) = kept.await {
            // They can be computed again; only a restart takes longer.
            tracing::warn!(wallet = %self.wallet.0, %refusal, "full pages were not kept");
        }
    }

    fn landing_report(&self, inbound: &Inbound, epoch: KeyEpoch) -> MoveReport {
        let now = Instant::now();
        let SourceFigures { last_step_end_ns, median_step_us, offer_final_ms, accept_final_ms, frozen_ns } =
            inbound.figures;
        let confirm_ns = monotonic_ns();
        MoveReport {
            wallet: self.wallet,
            epoch,
            from: inbound.source,
            to: self.context.me,
            rule: None,
            decision: inbound.offer.as_ref().map(|(_, offer)| offer.decision).unwrap_or_default(),
            reason: None,
            pages_moved: inbound.pages_moved,
            pages_verified: u32::try_from(inbound.pages.len()).unwrap_or(u32::MAX) + u32::from(inbound.tail_verified),
            bytes_moved: ByteCount::new(inbound.bytes),
            tokens_at_freeze: inbound.next_token,
            source_last_step_end_ns: Some(last_step_end_ns).filter(|ns| *ns > 0),
            destination_first_step_start_ns: inbound.first_step_start_ns,
            median_step_us: Some(median_step_us).filter(|us| *us > 0),
            offer_final_ms: Some(offer_final_ms),
            accept_final_ms: Some(accept_final_ms),
            confirm_final_ms: ms(inbound.confirm_submitted_at, Some(now)),
            freeze_to_confirm_final_ms: Some(confirm_ns.saturating_sub(frozen_ns) / 1_000_000),
            completed: true,
        }
    }

    /// Keeps the report, and tells the source, once the first step was seen.
    pub(crate) fn report_landing(&mut self) {
        let is_whole = |landed: &Landed| landed.report.destination_first_step_start_ns.is_some();
        if !self.landed.as_ref().is_some_and(is_whole) {
            return;
        }
        let Some(Landed { report }) = self.landed.take() else { return };
        self.sessions.note_move(report.clone());
        let (link, patience) = (self.context.link.clone(), self.context.patience.answer);
        tokio::spawn(async move {
            let source = report.from;
            if let Err(fault) = link.ask(source, SessionRequest::Report(Box::new(report)), patience).await {
                tracing::debug!(%source, %fault, "the source did not take the report");
            }
        });
    }
}
