//! A session that leaves the engine and comes back at the same node: suspended, evicted, or rebuilt after a restart.

use std::time::Duration;

use ledger::event::{BatchEvicted, CloseReason, Event};
use wallet::{digest::Digest, handoff::Mode};
use zeroize::Zeroizing;

use super::{
    actor::Actor,
    continuation::{Stand, engine_tail},
    disk::{HolderKeys, SessionDir},
    held::Held,
    refusal::Refusal,
    view::FinishReason,
};
use crate::engine::{Arrival, EngineRefusal, Parked};

impl Actor {
    /// Parks the session: continuation, journal and pages are on the disk, sealed, and its sequence is
    /// gone from the engine, where its full blocks are idle until others need the room. With `until_read` it waits for
    /// somebody who asks for its tokens, else for [`Self::resume`] alone.
    pub(super) async fn suspend(&mut self, until_read: bool) -> Result<(), Refusal> {
        self.may_park()?;
        let Some(sequence) = &self.sequence else {
            return Err(if self.suspended { Refusal::Suspended } else { EngineRefusal::Stopped.into() });
        };
        let parked = self.context.engine.suspend(sequence.id).await?;
        self.emit_all().await;
        self.may_park()?;
        if let Err(refusal) = self.keep_parked(&parked, until_read).await {
            self.go_on().await;
            return Err(refusal);
        }
        self.release();
        self.suspended = true;
        Ok(())
    }

    async fn keep_parked(&mut self, parked: &Parked, until_read: bool) -> Result<(), Refusal> {
        self.keep_pages().await?;
        let keys = self.keys.as_ref().ok_or(Refusal::Unknown)?;
        let tail = Zeroizing::new(self.context.engine.tail_page(parked, &keys.page_hash)?);
        self.on_disk(move |held, dir, keys| held.park(dir, keys, until_read, &tail)).await
    }

    /// Does what waits for the disk, off the runtime's own threads: other sessions decode meanwhile.
    async fn on_disk<W>(&mut self, work: W) -> Result<(), Refusal>
    where
        W: FnOnce(&mut Held, &SessionDir, &HolderKeys) -> Result<(), Refusal> + Send + 'static,
    {
        let (dir, keys) = (self.dir.clone(), self.keys.clone().ok_or(Refusal::Unknown)?);
        let mut held = self.held.take().ok_or(Refusal::Unknown)?;
        let working = tokio::task::spawn_blocking(move || {
            let done = work(&mut held, &dir, &keys);
            (held, done)
        });
        // It is not cancelled while it runs, and disk work does not panic.
        let (held, done) = working.await.map_err(|_| Refusal::Stopped)?;
        self.held = Some(held);
        done
    }

    /// Goes on with a parked session.
    pub(super) async fn resume(&mut self) -> Result<(), Refusal> {
        if !self.suspended {
            return self.may_park();
        }
        self.may_park()?;
        self.suspended = false;
        let rebuilt = self.rebuild().await;
        self.suspended = rebuilt.is_err();
        if rebuilt.is_ok()
            && let Err(refusal) =
                self.on_disk(|held, dir, keys| held.keep_continuation(dir, keys, Stand::Ready, &[])).await
        {
            // Before its next token the disk still says that it is parked. That is true of nothing but a restart.
            tracing::warn!(wallet = %self.wallet.0, %refusal, "the continuation was not kept");
        }
        rebuilt
    }

    /// Drops the pages, in the engine and on the disk, and says so on the ledger. Tokens and keys stay: the session
    /// can be computed again.
    pub(super) async fn evict(&mut self, decision: Digest) -> Result<(), Refusal> {
        if !self.is_holder() {
            return Err(Refusal::CreationNotFinal);
        }
        if !self.suspended {
            self.suspend(false).await?;
        }
        self.on_disk(Held::drop_pages).await?;
        let (wallet, view) = (self.wallet, self.handoff.view());
        let event = BatchEvicted { wallet, head: view.head, epoch: view.epoch, decision };
        self.submit_evidence(Event::BatchEvicted(event));
        Ok(())
    }

    /// Brings the session into the engine from its tokens and the pages that survived.
    pub(super) async fn rebuild(&mut self) -> Result<(), Refusal> {
        let (Some(held), Some(keys)) = (&mut self.held, &self.keys) else { return Err(Refusal::Disk) };
        held.may_go_on()?;
        let start = &held.start;
        let generated = held.next().get().saturating_sub(start.prompt_tokens.get());
        if generated >= start.sampling.max_tokens.get() {
            // The last token was written down, and the end after it was not.
            held.finish(FinishReason::Length)?;
            self.close.get_or_insert(CloseReason::Finished);
            self.emit_end();
            return Ok(());
        }
        let stream = self.context.engine.stream();
        let pages = held.surviving_pages(&self.dir, keys, &stream);
        let tail = Zeroizing::new(held.parked_tail(&self.dir, keys, &stream, pages.len() as u64));
        let arrival = Arrival {
            tokens: held.tokens().to_vec(),
            prompt_tokens: held.start.prompt_tokens,
            sampling: held.start.sampling.clone(),
            pages,
            tail: engine_tail(&tail),
            salt: keys.prefix_salt.clone(),
            pace: Duration::from_millis(u64::from(held.start.terms.pace_ms)),
        };
        let (sequence, started) = self.context.engine.start(arrival, false).await?;
        let known = held.next().get();
        self.sequence = Some(sequence);
        self.note_recomputed(known, &started);
        if let Some(reason) = started.finish {
            if let Some(held) = &mut self.held {
                held.finish(reason.into())?;
            }
            self.close.get_or_insert(CloseReason::Finished);
            self.emit_end();
            self.release();
        }
        Ok(())
    }

    /// Brings a session back that its engine has lost. Its pages are a cache miss; it reads none of its prompt again
    /// beyond what they do not cover.
    pub(super) async fn watch_engine(&mut self) {
        let is_open = self.held.as_ref().is_some_and(|held| held.finished.is_none()) && self.close.is_none();
        let is_lost = self.sequence.is_none() && !self.suspended && self.outbound.is_none();
        let is_back = !self.context.engine.is_lost();
        if self.handoff.mode() != Mode::Serving || !is_open || !is_lost || !is_back {
            return;
        }
        if let Err(refusal) = self.rebuild().await {
            tracing::debug!(wallet = %self.wallet.0, code = refusal.code(), %refusal, "the engine is not back yet");
        }
    }

    fn may_park(&self) -> Result<(), Refusal> {
        let held = self.held.as_ref().ok_or(Refusal::Unknown)?;
        if held.finished.is_some() {
            return Err(Refusal::Finished);
        }
        if self.handoff.mode() != Mode::Serving {
            return Err(Refusal::NotServing { mode: self.handoff.mode() });
        }
        if self.outbound.is_some() { Err(Refusal::Busy) } else { Ok(()) }
    }
}
