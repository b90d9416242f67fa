//! A session that leaves the engine and comes back at the same node: suspended, evicted, or rebuilt after a restart.

use std::time::Duration;

use ledger::event::{BatchEvicted, CloseReason, Event};
use wallet::{digest::Digest, handoff::Mode};

use super::{actor::Actor, refusal::Refusal, view::FinishReason};
use crate::engine::Survivor;

impl Actor {
    /// Parks the session: its full pages are on the disk, sealed, and no memory of the engine is held.
    pub(super) async fn suspend(&mut self) -> Result<(), Refusal> {
        self.may_park()?;
        let Some(sequence) = &self.sequence else { return Err(Refusal::Suspended) };
        self.context.engine.suspend(sequence.id).await?;
        self.emit_all().await;
        self.may_park()?;
        self.keep_pages().await?;
        self.release().await;
        self.suspended = true;
        Ok(())
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
        rebuilt
    }

    /// Drops the pages, in the engine and on the disk, and says so on the ledger. Tokens and keys stay: the session
    /// can be computed again.
    pub(super) async fn evict(&mut self, decision: Digest) -> Result<(), Refusal> {
        if !self.is_holder() {
            return Err(Refusal::CreationNotFinal);
        }
        if !self.suspended {
            self.suspend().await?;
        }
        if let (Some(held), Some(keys)) = (&mut self.held, &self.keys) {
            held.drop_pages(&self.dir, keys)?;
        }
        let (wallet, view) = (self.wallet, self.handoff.view());
        let event = BatchEvicted { wallet, head: view.head, epoch: view.epoch, decision };
        self.submit_evidence(Event::BatchEvicted(event));
        Ok(())
    }

    /// Brings the session into the engine from its tokens and the pages that survived.
    pub(super) async fn rebuild(&mut self) -> Result<(), Refusal> {
        let (Some(held), Some(keys)) = (&mut self.held, &self.keys) else { return Err(Refusal::Disk) };
        let start = &held.start;
        let generated = held.next().get().saturating_sub(start.prompt_tokens.get());
        if generated >= start.sampling.max_tokens.get() {
            // The last token was written down, and the end after it was not.
            held.finish(FinishReason::Length)?;
            self.close.get_or_insert(CloseReason::Finished);
            self.emit_end();
            return Ok(());
        }
        let pages = held.surviving_pages(&self.dir, keys, &self.context.engine.stream());
        let survivor = Survivor {
            tokens: held.tokens.clone(),
            prompt_tokens: held.start.prompt_tokens,
            sampling: held.start.sampling.clone(),
            pages,
            salt: keys.prefix_salt.clone(),
            pace: Duration::from_millis(u64::from(held.start.pace_ms)),
        };
        let (sequence, finish) = self.context.engine.rebuild(survivor).await?;
        self.sequence = Some(sequence);
        if let Some(reason) = finish {
            if let Some(held) = &mut self.held {
                held.finish(reason)?;
            }
            self.close.get_or_insert(CloseReason::Finished);
            self.emit_end();
            self.release().await;
        }
        Ok(())
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
