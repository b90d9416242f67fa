//! The line of sessions that wait for room in the engine, and what is left free for them.
//!
//! They stand in the order in which they came. Whoever has no place in the line (a new session, one that another node wants
//! to send, a parked one that is resumed) leaves free what those in the line need, and who stands in it leaves free what
//! those before it need. That is half of the pool at most, so that large sessions do not close the node to small ones; and
//! nothing for a session that needs more than half, but for its turns: while it is the first it has every other
//! five minutes, in which it is left all that it needs. So a session of up to half of the pool gets in once so much has ended.
//! A larger one may have to wait for longer, and can be moved away meanwhile.
//!
//! What the first cannot use anyway is left free for nobody. Beside it is no more room than the pool has beyond its need, so
//! a session that is larger than that has to end before the first gets in. All the others may stay: with those, whoever fits
//! beside the first may pass it, and it gets in no later.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use gpu::dispatch::Stats;
use tokio::time::Instant;
use wallet::grant::WalletAddress;

use super::view::RoomView;
use crate::engine::{EngineHandle, EngineRefusal};

/// How long the first in the line is left more than half of the pool, and how long it is not then.
const TURN: Duration = Duration::from_secs(300);

/// The line of one engine. Clones are one line.
#[derive(Clone, Default)]
pub struct Line {
    standing: Arc<Mutex<Standing>>,
}

#[derive(Default)]
struct Standing {
    waiting: Vec<Waiting>,
    rooms: Vec<Taken>,
    /// Counts rooms that were taken, and sessions that got in.
    count: u64,
    /// How often somebody left, or gave up what was promised.
    changes: u64,
}

struct Waiting {
    wallet: WalletAddress,
    blocks: u32,
    /// Since when nobody is before it.
    first_since: Option<Instant>,
}

struct Taken {
    number: u64,
    wallet: WalletAddress,
    blocks: u32,
    by: Taker,
}

/// Who has a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Taker {
    /// A session that another node wants to send.
    Promised,
    /// One that the engine is taking in.
    Entering,
    /// One that the engine has had since then.
    Inside {
        /// The count of that moment.
        since: u64,
    },
}

/// A session's place in the line. It is given up when this is dropped.
pub(crate) struct Place {
    line: Line,
    wallet: WalletAddress,
    blocks: u32,
}

/// A session's room in the engine, or kept for it there. It is given up when this is dropped.
pub(crate) struct Room {
    line: Line,
    number: u64,
}

impl Line {
    /// How many wait.
    pub fn len(&self) -> usize {
        self.standing().waiting.len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.standing().waiting.is_empty()
    }

    /// Takes the last place in the line, for a session that needs `blocks`.
    pub(crate) fn join(&self, wallet: WalletAddress, blocks: u32) -> Place {
        let mut standing = self.standing();
        let first_since = standing.waiting.is_empty().then(Instant::now);
        standing.waiting.push(Waiting { wallet, blocks, first_since });
        Place { line: self.clone(), wallet, blocks }
    }

    /// Blocks of an engine with `total` in all that are left free by whoever has no place in the line.
    pub(crate) fn left_free(&self, total: u32) -> u32 {
        left_free(&self.standing().waiting, total, Instant::now())
    }

    /// How often somebody left the engine or the line: only then is there more room than before.
    pub(crate) fn changes(&self) -> u64 {
        self.standing().changes
    }

    /// Room for a session on its way into the engine, as far as others have or wait for room. If nobody does, it is for the
    /// engine to say whether there is any.
    ///
    /// # Errors
    /// E-104 if there is no more free than is left to others; those of [`EngineHandle::stats`].
    pub(crate) async fn enter(
        &self,
        wallet: WalletAddress,
        blocks: u32,
        engine: &EngineHandle,
    ) -> Result<Room, EngineRefusal> {
        if self.standing().is_nobodys() {
            return Ok(self.room(wallet, blocks, Taker::Entering));
        }
        let taken = self.take(wallet, blocks, Taker::Entering, engine).await?;
        let refused =
            |available| gpu::Refusal::PoolExhausted { needed: blocks as usize, available: available as usize };
        Ok(taken.map_err(refused)?)
    }

    /// Keeps room for a session that another node wants to send.
    ///
    /// # Errors
    /// How many blocks it might have; none of an engine that does not answer.
    pub(crate) async fn keep(&self, wallet: WalletAddress, blocks: u32, engine: &EngineHandle) -> Result<Room, u32> {
        self.take(wallet, blocks, Taker::Promised, engine).await.unwrap_or(Err(0))
    }

    /// Keeps the room that was promised before a restart.
    pub(crate) fn kept_before(&self, wallet: WalletAddress, blocks: u32) -> Room {
        self.room(wallet, blocks, Taker::Promised)
    }

    /// Takes room, or says how much might be had.
    async fn take(
        &self,
        wallet: WalletAddress,
        blocks: u32,
        by: Taker,
        engine: &EngineHandle,
    ) -> Result<Result<Room, u32>, EngineRefusal> {
        let asked_at = self.standing().count;
        let stats = engine.stats().await?;
        let mut standing = self.standing();
        let available = standing.available(wallet, &stats, asked_at, Instant::now());
        // What never fits is refused by the engine itself, which says so.
        let never_fits = by == Taker::Entering && blocks > stats.blocks_total;
        if blocks > available && !never_fits {
            return Ok(Err(available));
        }
        Ok(Ok(self.room_in(&mut standing, wallet, blocks, by)))
    }

    fn room(&self, wallet: WalletAddress, blocks: u32, by: Taker) -> Room {
        self.room_in(&mut self.standing(), wallet, blocks, by)
    }

    fn room_in(&self, standing: &mut Standing, wallet: WalletAddress, blocks: u32, by: Taker) -> Room {
        standing.count += 1;
        let number = standing.count;
        standing.rooms.push(Taken { number, wallet, blocks, by });
        Room { line: self.clone(), number }
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Standing {
    /// Those who wait before this session, or before who comes next if it does not wait.
    fn before(&self, wallet: WalletAddress) -> &[Waiting] {
        let position = self.waiting.iter().position(|one| one.wallet == wallet);
        &self.waiting[..position.unwrap_or(self.waiting.len())]
    }

    /// Whether the room that there is is for whoever comes first.
    fn is_nobodys(&self) -> bool {
        self.waiting.is_empty() && self.rooms.iter().all(|room| room.by != Taker::Promised)
    }

    /// Blocks that sessions other than this one have, and of which an engine that was asked at `asked_at` may not know.
    fn kept(&self, wallet: WalletAddress, asked_at: u64) -> u32 {
        let is_unknown = |room: &&Taken| !matches!(room.by, Taker::Inside { since } if since <= asked_at);
        sum(self.rooms.iter().filter(|room| room.wallet != wallet).filter(is_unknown).map(|room| room.blocks))
    }

    /// The most blocks that this session may take, by what the engine said that was asked at `asked_at`.
    fn available(&self, wallet: WalletAddress, stats: &Stats, asked_at: u64, now: Instant) -> u32 {
        let total = stats.blocks_total;
        let free = total.saturating_sub(stats.blocks_used).saturating_sub(self.kept(wallet, asked_at));
        let before = self.before(wallet);
        free.saturating_sub(left_free(before, total, now)).max(free.min(self.beside_first(before, wallet, total)))
    }

    /// What the first of those before cannot use in any case, and who else is before leaves.
    fn beside_first(&self, before: &[Waiting], wallet: WalletAddress, total: u32) -> u32 {
        let [first, others @ ..] = before else { return 0 };
        let beside = total.saturating_sub(first.blocks);
        let inside = self.rooms.iter().filter(|room| room.wallet != wallet).map(|room| room.blocks);
        let stay = sum(inside.chain(others.iter().map(|one| one.blocks)).filter(|blocks| *blocks <= beside));
        beside.saturating_sub(stay)
    }
}

impl Place {
    /// Whether this session is the first in the line.
    pub(crate) fn is_first(&self) -> bool {
        self.line.standing().before(self.wallet).is_empty()
    }

    /// As others see it.
    pub(crate) fn view(&self) -> RoomView {
        RoomView { blocks: self.blocks, ahead: self.line.standing().before(self.wallet).len() }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut standing = self.line.standing();
        standing.changes += 1;
        standing.waiting.retain(|one| one.wallet != self.wallet);
        if let Some(first) = standing.waiting.first_mut() {
            first.first_since.get_or_insert_with(Instant::now);
        }
    }
}

impl Room {
    /// The engine has the session.
    pub(crate) fn entered(self) -> Self {
        let mut standing = self.line.standing();
        standing.count += 1;
        let since = standing.count;
        if let Some(room) = standing.rooms.iter_mut().find(|room| room.number == self.number) {
            room.by = Taker::Inside { since };
        }
        drop(standing);
        self
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let mut standing = self.line.standing();
        let Some(at) = standing.rooms.iter().position(|room| room.number == self.number) else { return };
        // One that did not get in leaves no more room than there was.
        standing.changes += u64::from(standing.rooms.remove(at).by != Taker::Entering);
    }
}

impl fmt::Debug for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Room({})", self.number)
    }
}

fn sum(blocks: impl Iterator<Item = u32>) -> u32 {
    blocks.fold(0, u32::saturating_add)
}

/// What is left free for these by whoever comes after them.
fn left_free(waiting: &[Waiting], total: u32, now: Instant) -> u32 {
    let half = total / 2;
    let needed = sum(waiting.iter().map(|one| one.blocks).filter(|blocks| *blocks <= half)).min(half);
    let has_turn = |one: &&Waiting| {
        let turns = one.first_since.map(|since| now.duration_since(since).as_secs() / TURN.as_secs());
        one.blocks > half && turns.is_some_and(|turns| turns % 2 == 0)
    };
    let giant = waiting.first().filter(has_turn).map_or(0, |one| one.blocks);
    needed.saturating_add(giant).min(total)
}

#[cfg(test)]
mod tests;
