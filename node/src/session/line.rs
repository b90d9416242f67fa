//! The line of sessions that wait for room in the engine, and what is left free for them.
//!
//! They stand in the order in which they came. Whoever has no place in the line (a new session, one that another node wants
//! to send, a parked one that is resumed) leaves free what those in the line need, and who stands in it leaves free what
//! those before it need. That is half of the pool at most, so that large sessions do not close the node to small ones.
//! The first in the line is left all that it needs, whatever that is, for [`FIRST_FOR`]. So a session of up to half of the
//! pool gets in once so much has ended. A larger one may have to wait for longer, and can be moved away meanwhile.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use wallet::grant::WalletAddress;

use super::view::RoomView;
use crate::engine::{EngineHandle, EngineRefusal};

/// How long the first in the line is left more than half of the pool.
const FIRST_FOR: Duration = Duration::from_secs(300);

/// The line of one engine. Clones are one line.
#[derive(Clone, Default)]
pub struct Line {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    waiting: Mutex<Vec<Waiting>>,
    /// Held by a new session from its look at the line until the engine has it, so that two do not take the same room.
    entering: tokio::sync::Mutex<()>,
}

struct Waiting {
    wallet: WalletAddress,
    blocks: u32,
    /// Since when nobody is before it.
    first_since: Option<Instant>,
}

/// A session's place in the line. It is given up when this is dropped.
pub(crate) struct Place {
    line: Line,
    wallet: WalletAddress,
    blocks: u32,
}

impl Line {
    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting().len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.waiting().is_empty()
    }

    /// Takes the last place in the line, for a session that needs `blocks`.
    pub(crate) fn join(&self, wallet: WalletAddress, blocks: u32) -> Place {
        let mut waiting = self.waiting();
        let first_since = waiting.is_empty().then(Instant::now);
        waiting.push(Waiting { wallet, blocks, first_since });
        Place { line: self.clone(), wallet, blocks }
    }

    /// Blocks of an engine with `total` in all that are left free by whoever has no place in the line.
    pub(crate) fn left_free(&self, total: u32) -> u32 {
        left_free(&self.waiting(), total, Instant::now())
    }

    /// Whether the engine's room is for this session, as far as others wait for it. Whether there is any is for the engine
    /// to say.
    ///
    /// # Errors
    /// E-104 if there is no more free than those before it need; those of [`EngineHandle::stats`].
    pub(crate) async fn may_enter(
        &self,
        wallet: WalletAddress,
        blocks: u32,
        engine: &EngineHandle,
    ) -> Result<(), EngineRefusal> {
        if self.ahead(wallet) == 0 {
            return Ok(());
        }
        let stats = engine.stats().await?;
        let free = stats.blocks_total.saturating_sub(stats.blocks_used);
        let left = {
            let waiting = self.waiting();
            left_free(&waiting[..position(&waiting, wallet)], stats.blocks_total, Instant::now())
        };
        let available = free.saturating_sub(left);
        // What never fits is refused by the engine itself, which says so.
        if blocks <= available || blocks > stats.blocks_total {
            return Ok(());
        }
        Err(gpu::Refusal::PoolExhausted { needed: blocks as usize, available: available as usize }.into())
    }

    /// As [`Self::may_enter`] for a session that is new here: the engine's room stays its own until what is returned is
    /// dropped.
    ///
    /// # Errors
    /// See [`Self::may_enter`].
    pub(crate) async fn may_come_new(
        &self,
        wallet: WalletAddress,
        blocks: u32,
        engine: &EngineHandle,
    ) -> Result<Option<tokio::sync::MutexGuard<'_, ()>>, EngineRefusal> {
        if self.is_empty() {
            return Ok(None);
        }
        let entering = self.shared.entering.lock().await;
        self.may_enter(wallet, blocks, engine).await?;
        Ok(Some(entering))
    }

    /// How many wait before this session, or before who comes next if it does not wait.
    fn ahead(&self, wallet: WalletAddress) -> usize {
        position(&self.waiting(), wallet)
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Waiting>> {
        self.shared.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Whether this session is the first in the line, and the engine has room for it.
    pub(crate) async fn is_called(&self, engine: &EngineHandle) -> bool {
        if self.line.ahead(self.wallet) > 0 {
            return false;
        }
        engine.stats().await.is_ok_and(|stats| stats.blocks_total.saturating_sub(stats.blocks_used) >= self.blocks)
    }

    /// As others see it.
    pub(crate) fn view(&self) -> RoomView {
        RoomView { blocks: self.blocks, ahead: self.line.ahead(self.wallet) }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut waiting = self.line.waiting();
        waiting.retain(|one| one.wallet != self.wallet);
        if let Some(first) = waiting.first_mut() {
            first.first_since.get_or_insert_with(Instant::now);
        }
    }
}

fn position(waiting: &[Waiting], wallet: WalletAddress) -> usize {
    waiting.iter().position(|one| one.wallet == wallet).unwrap_or(waiting.len())
}

/// What is left free for these by whoever comes after them.
fn left_free(waiting: &[Waiting], total: u32, now: Instant) -> u32 {
    let needed = waiting.iter().fold(0, |sum: u32, one| sum.saturating_add(one.blocks));
    let is_first_still = |one: &&Waiting| one.first_since.is_some_and(|since| now.duration_since(since) < FIRST_FOR);
    let first = waiting.first().filter(is_first_still).map_or(0, |one| one.blocks);
    needed.min(total / 2).max(first).min(total)
}

#[cfg(test)]
mod tests;
