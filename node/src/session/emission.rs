//! From the engine's tokens to emitted ones: the journal first, and nothing before the session may serve.

use gpu::FinishReason;
use ledger::event::CloseReason;
use wallet::handoff::{Input, Mode};

use super::{
    actor::Actor,
    rebuild::Again,
    refusal::Refusal,
    token_stream::TokenOutOfPlace,
    tokens::{EmittedToken, End},
};
use crate::engine::EngineEvent;

impl Actor {
    /// Takes a token of the engine in.
    pub(super) async fn on_engine(&mut self, event: EngineEvent) {
        match self.handoff.mode() {
            Mode::Serving => self.emit(&event).await,
            Mode::Ahead => {
                self.note_first_step(&event);
                self.held_back.push(event);
            }
            Mode::Idle | Mode::Frozen | Mode::Restarted => {}
        }
    }

    /// Emits every token that the engine chose before now.
    pub(crate) async fn emit_all(&mut self) {
        while let Some(event) = self.sequence.as_mut().and_then(|sequence| sequence.events.try_recv().ok()) {
            self.emit(&event).await;
        }
    }

    /// Serves: what was decoded ahead first, then whatever the engine chooses.
    pub(super) async fn serve(&mut self) {
        self.session.tokens.end(None);
        self.emit_missing();
        for event in std::mem::take(&mut self.held_back) {
            self.emit(&event).await;
        }
        let finished = self.held.as_ref().is_some_and(|held| held.finished.is_some());
        if finished || self.suspended {
            return self.emit_end();
        }
        if self.sequence.is_some() {
            self.go_on().await;
        } else {
            self.bring_back().await;
        }
    }

    /// Puts the sequence back into the engine's batch.
    pub(super) async fn go_on(&mut self) {
        let Some(sequence) = &self.sequence else { return };
        if let Err(refusal) = self.context.engine.resume(sequence.id).await {
            tracing::error!(wallet = %self.wallet.0, %refusal, "the sequence does not go on");
        }
    }

    /// Takes the sequence out of the engine.
    pub(crate) fn release(&mut self) {
        self.sequence = None;
    }

    /// Ends the session: no token follows.
    pub(super) async fn end(&mut self, reason: CloseReason) -> Result<(), Refusal> {
        // One that waits for the disk can be closed all the same.
        if self.held.is_none() && self.keys.is_none() {
            return Err(Refusal::Unknown);
        }
        if self.held.as_ref().is_none_or(|held| held.finished.is_none()) {
            self.finish(None).await;
        }
        self.close = Some(reason);
        Ok(())
    }

    /// Closes the wallet once nothing stands in the way: the creation is final, and so is the evidence.
    pub(super) fn close_if_due(&mut self) {
        let may = matches!(self.handoff.mode(), Mode::Serving | Mode::Restarted) && self.is_holder();
        let waits = self.submissions.has_evidence();
        if self.close.is_some() && may && !waits {
            // The machine submits it once for each head; what it refuses now it may take at the next tick.
            let _ = self.input(Input::Close);
        }
    }

    /// Nothing can be served any more: readers are told, and the wallet is closed.
    pub(super) fn give_up(&mut self, reason: CloseReason, refusal: &Refusal) {
        let said = refusal.to_peer().to_string();
        self.session.tokens.end(Some(End::Broken(said.clone())));
        self.failed = Some(said);
        self.close = Some(reason);
    }

    async fn emit(&mut self, event: &EngineEvent) {
        let Some(held) = &mut self.held else { return };
        if held.finished.is_some() || event.position != held.next() {
            return;
        }
        let left = held.journal().tokens_left();
        if left == 0 {
            return self.finish(Some(FinishReason::ContextFull)).await;
        }
        // None could follow it, and its end still fits.
        let is_last = left == 1;
        let event = &EngineEvent { finish: event.finish.or(is_last.then_some(FinishReason::ContextFull)), ..*event };
        // What is not in the journal is not emitted.
        let emitted = match held.push(event) {
            Ok(emitted) => emitted,
            Err(fault) if fault.may_be_whole() => return self.put_down(fault),
            Err(fault) => return self.disagree(fault),
        };
        // Where the disk failed, what was shown may stand there no longer: it is chosen again, and not shown again.
        if emitted.position >= self.session.tokens.next()
            && let Err(fault) = self.session.tokens.push(&emitted)
        {
            return self.fall_silent(&fault);
        }
        self.again = Again::default();
        self.note_first_step(event);
        if let Some(reason) = event.finish {
            self.finish(Some(reason)).await;
        } else if let Err(refusal) = self.keep_pages().await {
            // They can be computed again; only a restart takes longer.
            tracing::warn!(wallet = %self.wallet.0, %refusal, "full pages were not kept");
        }
        self.fill_hop().await;
    }

    /// No token follows. Without a reason of the engine's, the session is closed from outside.
    pub(super) async fn finish(&mut self, reason: Option<FinishReason>) {
        if self.held.is_some()
            && let Err(refusal) = self.on_disk(move |held, _, _| held.finish(reason)).await
        {
            tracing::warn!(wallet = %self.wallet.0, %refusal, "the end was not written down");
        }
        self.close.get_or_insert(CloseReason::Finished);
        self.emit_end();
        self.release();
    }

    pub(super) fn emit_end(&mut self) {
        if let Some(held) = &self.held
            && let Some(reason) = held.finished
            && held.can_be_read()
        {
            self.session.tokens.end(Some(End::Finished(reason, held.usage())));
        }
    }

    /// Brings the stream of emitted tokens up to what the holder knows to be emitted: after a move or a restart.
    pub(super) fn emit_missing(&mut self) {
        let Some(held) = self.held.as_mut().filter(|held| held.can_be_read()) else { return };
        let missing: Vec<EmittedToken> = held.emitted_before(self.session.tokens.next());
        if let Err(fault) = missing.iter().try_for_each(|token| self.session.tokens.push(token)) {
            self.fall_silent(&fault);
        }
    }

    /// What it emits does not go on from what was shown here. It is whole all the same, so that it stands and can be moved.
    fn fall_silent(&mut self, fault: &TokenOutOfPlace) {
        let refusal = Refusal::from(*fault);
        self.release();
        self.session.tokens.end(Some(End::Broken(refusal.to_peer().to_string())));
        self.stand_aside(&refusal);
    }

    /// Moves the pages that became full into the chain and the stream of pages.
    pub(crate) async fn keep_pages(&mut self) -> Result<(), Refusal> {
        let (Some(held), Some(sequence)) = (&self.held, &self.sequence) else { return Ok(()) };
        let (sequence, stream) = (sequence.id, self.context.engine.stream());
        let from = u32::try_from(held.content.pages()).unwrap_or(u32::MAX);
        // The last token has no row yet.
        let rows = held.next().get().saturating_sub(1);
        if rows / u32::from(stream.block) <= from {
            return Ok(());
        }
        let mut next = from;
        loop {
            let (payloads, full) = self.context.engine.pages(sequence, next, u32::MAX).await?;
            next = next.saturating_add(u32::try_from(payloads.len()).unwrap_or(u32::MAX));
            let is_all = payloads.is_empty() || next >= full;
            let stream = stream.clone();
            self.on_disk(move |held, dir, keys| held.push_pages(dir, keys, &stream, payloads)).await?;
            if is_all {
                return Ok(());
            }
        }
    }
}
