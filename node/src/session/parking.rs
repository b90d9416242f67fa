//! A session that leaves the engine and comes back when somebody says so: suspended, resumed, evicted.

use gpu::continuation::{EffectId, Resolution};
use ledger::event::{BatchEvicted, Event};
use wallet::{digest::Digest, handoff::Mode};
use zeroize::Zeroizing;

use super::{
    actor::Actor,
    continuation::Stand,
    disk::{HolderKeys, SessionDir},
    held::Held,
    refusal::Refusal,
};
use crate::engine::{EngineRefusal, Parked};

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
        let tail = Zeroizing::new(parked.tail_page(&self.context.engine.stream(), &keys.page_hash)?);
        self.on_disk(move |held, dir, keys| held.park(dir, keys, until_read, &tail)).await
    }

    /// Does what waits for the disk, off the runtime's own threads: other sessions decode meanwhile.
    pub(crate) async fn on_disk<W, T>(&mut self, work: W) -> Result<T, Refusal>
    where
        W: FnOnce(&mut Held, &SessionDir, &HolderKeys) -> Result<T, Refusal> + Send + 'static,
        T: Send + 'static,
    {
        let keys = self.keys.clone().ok_or(Refusal::Unknown)?;
        let mut held = self.held.take().ok_or(Refusal::Unknown)?;
        let worked = self.dir.apart(move |dir| {
            let done = work(&mut held, dir, &keys);
            (held, done)
        });
        match worked.await {
            Ok((held, done)) => {
                self.held = Some(held);
                done
            }
            // What was in memory is lost with the work, and the disk is read again.
            Err(fault) => {
                self.put_down(fault);
                Err(Refusal::DiskAwaited)
            }
        }
    }

    /// Goes on with a parked session.
    pub(super) async fn resume(&mut self) -> Result<(), Refusal> {
        self.may_park()?;
        if !self.suspended {
            // One that waits for its turn tries at once.
            let waits = self.sequence.is_none() && self.close.is_none() && !self.context.engine.is_lost();
            return if waits { self.rebuild().await } else { Ok(()) };
        }
        self.suspended = false;
        let rebuilt = self.rebuild().await;
        self.suspended = rebuilt.is_err();
        if rebuilt.is_ok() {
            self.failed = None;
        }
        if rebuilt.is_ok()
            && let Err(refusal) =
                self.on_disk(|held, dir, keys| held.keep_continuation(dir, keys, Stand::Ready, &[])).await
        {
            // Before its next token the disk still says that it is parked. That is true of nothing but a restart.
            tracing::warn!(wallet = %self.wallet.0, %refusal, "the continuation was not kept");
        }
        rebuilt
    }

    /// Writes down what somebody found out about an effect in doubt. The session stays parked until it is resumed.
    pub(super) async fn resolve(&mut self, effect: EffectId, how: Resolution) -> Result<(), Refusal> {
        self.may_park()?;
        self.on_disk(move |held, dir, keys| held.resolve(dir, keys, &effect, how)).await?;
        tracing::info!(wallet = %self.wallet.0, %effect, "an effect is not in doubt any more");
        Ok(())
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

    fn may_park(&self) -> Result<(), Refusal> {
        let held = self.held.as_ref().ok_or_else(|| self.nothing_held())?;
        if held.finished.is_some() {
            return Err(Refusal::Finished);
        }
        if self.handoff.mode() != Mode::Serving {
            return Err(Refusal::NotServing { mode: self.handoff.mode() });
        }
        if self.outbound.is_some() { Err(Refusal::Busy) } else { Ok(()) }
    }
}
