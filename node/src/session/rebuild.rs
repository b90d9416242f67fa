//! A session that is brought into the engine from what is on the disk: when it begins to serve, when it is resumed, and
//! when the engine lost it or the disk failed.

use std::time::Duration;

use gpu::FinishReason;
use ledger::event::CloseReason;
use tokio::time::Instant;
use wallet::handoff::Mode;

use super::{actor::Actor, disk::DiskFault, held::Held, line::Place, refusal::Refusal};
use crate::backoff::Backoff;

/// The wait before a session is rebuilt again that could not be; doubles up to [`AGAIN_AFTER_MAX`]. To try reads all of its
/// pages.
const AGAIN_AFTER: Duration = Duration::from_millis(50);
const AGAIN_AFTER_MAX: Duration = Duration::from_secs(5);

/// When a session is tried again that could not be rebuilt.
#[derive(Debug)]
pub(crate) struct Again {
    /// None: at once.
    at: Option<Instant>,
    backoff: Backoff,
    /// How often somebody had left the engine when there was no room; none if it was not for lack of room.
    lacked_room: Option<u64>,
}

impl Default for Again {
    fn default() -> Self {
        Self { at: None, backoff: Backoff::new(AGAIN_AFTER, AGAIN_AFTER_MAX), lacked_room: None }
    }
}

impl Again {
    fn is_due(&self) -> bool {
        self.at.is_none_or(|at| Instant::now() >= at)
    }

    fn later(&mut self) {
        self.at = Some(Instant::now() + self.backoff.wait());
        self.lacked_room = None;
    }

    fn once_there_is_room(&mut self, changes: u64) {
        self.later();
        self.lacked_room = Some(changes);
    }
}

impl Actor {
    /// Brings a session back that should decode and is not in the engine. Its pages are a cache miss; it reads none of its
    /// prompt again beyond what they do not cover.
    pub(super) async fn watch_engine(&mut self) {
        // Without what is held, it is to be read from the disk again, also if it stands.
        let is_open = self.keys.is_some() && self.held.as_ref().is_none_or(|held| held.finished.is_none());
        let is_standing = self.suspended && self.held.is_some();
        let is_out = self.sequence.is_none() && !is_standing && self.outbound.is_none();
        let may = self.handoff.mode() == Mode::Serving && self.close.is_none() && !self.context.engine.is_lost();
        if may && is_open && is_out && (self.again.is_due() || self.is_called()) {
            self.bring_back().await;
        }
    }

    /// Whether it is the first that waits for room, and somebody has left since there was none.
    fn is_called(&self) -> bool {
        let is_first = self.place.as_ref().is_some_and(Place::is_first);
        is_first && self.again.lacked_room.is_some_and(|changes| changes != self.context.line.changes())
    }

    /// Gives up its room once the engine has it no more, and its place in the line once it waits for none.
    pub(super) fn leave_line_if_settled(&mut self) {
        if self.sequence.is_none() {
            self.room = None;
        }
        let is_held = matches!(self.handoff.mode(), Mode::Serving | Mode::Frozen) && self.close.is_none();
        if !is_held || self.suspended || self.sequence.is_some() {
            self.place = None;
        }
    }

    /// Rebuilds the session, or tries again later if only the moment is wrong: no room in the engine, an engine that is
    /// being started, a disk that does not answer. Nothing may be concluded from that, and least of all that the session is
    /// lost: what it goes on from is on the disk.
    pub(super) async fn bring_back(&mut self) {
        let changes = self.context.line.changes();
        let rebuilt = match self.reopen().await {
            Ok(()) if self.suspended => return,
            Ok(()) => self.rebuild().await,
            Err(fault) if fault.may_be_whole() => {
                tracing::warn!(wallet = %self.wallet.0, %fault, "what is kept of the session cannot be read now");
                return self.again.later();
            }
            Err(fault) => Err(fault.into()),
        };
        match rebuilt {
            // With its next token the pause is over: a disk that gives and does not take lets it come no further than here.
            Ok(()) => self.failed = None,
            Err(refusal) if refusal.retry() => {
                tracing::debug!(wallet = %self.wallet.0, code = refusal.code(), %refusal, "the session is rebuilt later");
                if matches!(&refusal, Refusal::Engine(refusal) if refusal.lacks_room()) {
                    self.wait_for_room();
                    self.again.once_there_is_room(changes);
                } else {
                    if matches!(refusal, Refusal::DiskAwaited) {
                        self.failed = Some(refusal.to_peer().to_string());
                    }
                    self.again.later();
                }
            }
            Err(refusal) if refusal.leaves_it_standing() => self.stand_aside(&refusal),
            Err(refusal) => {
                tracing::warn!(wallet = %self.wallet.0, code = refusal.code(), %refusal, "the session cannot be rebuilt");
                self.give_up(CloseReason::Unrecoverable, &refusal);
            }
        }
    }

    /// Takes a place in the line of those that wait for room, unless it has one.
    fn wait_for_room(&mut self) {
        let (Some(held), None) = (&self.held, &self.place) else { return };
        let blocks = self.context.engine.blocks_needed(held.start.prompt_tokens, &held.start.sampling);
        tracing::info!(wallet = %self.wallet.0, blocks, "the session waits for room in the engine");
        self.place = Some(self.context.line.join(self.wallet, blocks));
    }

    /// It does not go on by itself, and nothing is lost. It is suspended: who resumes it is told the same.
    pub(super) fn stand_aside(&mut self, refusal: &Refusal) {
        tracing::warn!(wallet = %self.wallet.0, code = refusal.code(), %refusal, "the session stands");
        self.suspended = true;
        self.failed = Some(refusal.to_peer().to_string());
    }

    /// The disk did not take what the session wrote. It leaves the engine, and goes on from the disk once that answers: what
    /// stands there may be whole.
    pub(super) fn put_down(&mut self, fault: DiskFault) {
        tracing::warn!(wallet = %self.wallet.0, %fault, "the session waits for the disk");
        self.release();
        // Its streams take nothing any more before they are opened again.
        self.held = None;
        self.failed = Some(Refusal::from(fault).to_peer().to_string());
        self.again.later();
    }

    /// Reads what is kept of the session, if it was put down.
    async fn reopen(&mut self) -> Result<(), DiskFault> {
        let (None, Some(keys)) = (&self.held, &self.keys) else { return Ok(()) };
        let (keys, model) = (keys.clone(), self.context.engine.model().clone());
        self.held = self.dir.apart(move |dir| Held::reopen(dir, &keys, &model)).await??;
        // The disk answers. What keeps the session out now is said next.
        self.failed = None;
        // It was decoding, even if the disk did not come to say so since it was parked.
        self.stand_if(false);
        self.count_parked_pages().await;
        self.emit_missing();
        Ok(())
    }

    /// A session that `is_parked`, that goes on under another model or numerics only, or of which somebody has to decide
    /// something, stays out of the engine.
    pub(super) fn stand_if(&mut self, is_parked: bool) {
        let Some(held) = &self.held else { return };
        self.suspended |= is_parked;
        if held.finished.is_none()
            && let Err(refusal) = held.may_go_on()
        {
            self.stand_aside(&refusal);
        }
    }

    /// Looks at the pages of a session that stands, so that it can be moved as it is.
    pub(super) async fn count_parked_pages(&mut self) {
        if !self.suspended {
            return;
        }
        let (context, stream) = (self.context.clone(), self.context.engine.stream());
        // Nobody closes it.
        let _turn = context.counts.acquire().await;
        let counted = self.on_disk(move |held, dir, keys| held.count_pages(dir, keys, &stream));
        if let Err(refusal) = counted.await {
            tracing::warn!(wallet = %self.wallet.0, code = refusal.code(), %refusal, "its pages were not looked at");
        }
    }

    /// Why there is nothing that can be parked or moved now.
    pub(crate) const fn nothing_held(&self) -> Refusal {
        if self.keys.is_some() { Refusal::DiskAwaited } else { Refusal::Unknown }
    }

    /// Brings the session into the engine from its tokens and the pages that survived.
    pub(super) async fn rebuild(&mut self) -> Result<(), Refusal> {
        let held = self.held.as_ref().ok_or(Refusal::Disk)?;
        held.may_go_on()?;
        let start = &held.start;
        let generated = held.next().get().saturating_sub(start.prompt_tokens.get());
        if generated >= start.sampling.max_tokens.get() {
            // The last token was written down, and the end after it was not.
            self.finish(Some(FinishReason::MaxTokens)).await;
            return Ok(());
        }
        let engine = self.context.engine.clone();
        let blocks = engine.blocks_needed(start.prompt_tokens, &start.sampling);
        // Before anything is read for it.
        let room = self.context.line.enter(self.wallet, blocks, &engine).await?;
        let known = held.next().get();
        let stream = engine.stream();
        let arrival = self.on_disk(move |held, dir, keys| held.arrival(dir, keys, &stream)).await?;
        let (sequence, started) = engine.start(arrival, false).await?;
        self.sequence = Some(sequence);
        self.room = Some(room.entered());
        self.place = None;
        self.note_recomputed(known, &started);
        if let Some(reason) = started.finish {
            self.finish(Some(reason)).await;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
