//! Turns at what costs a node much, shared out among those who ask: none of them holds up the others.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wallet::digest::Digest;

use super::{problem::Problem, proofs::blocking};

/// So many turns at a time, and one of them to a key. Whoever has to wait stands in the line of its own key, and the first
/// of each line in that of all keys, in which nobody is passed. Clones share them.
#[derive(Clone)]
pub(super) struct Turns(Arc<Shared>);

struct Shared {
    free: Arc<Semaphore>,
    line_max: usize,
    /// Of the keys that have a turn, or wait for one.
    lines: Mutex<BTreeMap<Digest, Line>>,
}

struct Line {
    first: Arc<Semaphore>,
    /// With who has its turn.
    length: usize,
}

/// A place in a line.
pub(super) struct Place {
    turns: Turns,
    key: Digest,
    first: Arc<Semaphore>,
}

/// A turn, for as long as it is there.
pub(super) struct Turn {
    _free: OwnedSemaphorePermit,
    _first: OwnedSemaphorePermit,
    place: Place,
}

impl Turns {
    /// `at_a_time` turns to all keys together. In the line of a key `line_max` may stand, with who has its turn.
    pub(super) fn new(at_a_time: usize, line_max: usize) -> Self {
        let (free, lines) = (Arc::new(Semaphore::new(at_a_time)), Mutex::default());
        Self(Arc::new(Shared { free, line_max, lines }))
    }

    /// A turn, when it comes; none if the key's line is full. Whoever does not wait any more leaves the line.
    pub(super) async fn wait(&self, key: Digest) -> Option<Turn> {
        self.stand(key)?.turn().await
    }

    /// A turn, if there is one now.
    pub(super) fn take(&self, key: Digest) -> Option<Turn> {
        let place = self.stand(key)?;
        let first = place.first.clone().try_acquire_owned().ok()?;
        let free = self.0.free.clone().try_acquire_owned().ok()?;
        Some(Turn { _free: free, _first: first, place })
    }

    fn stand(&self, key: Digest) -> Option<Place> {
        let mut lines = self.lines();
        let line = lines.entry(key).or_insert_with(|| Line { first: Arc::new(Semaphore::new(1)), length: 0 });
        if line.length >= self.0.line_max {
            return None;
        }
        line.length += 1;
        Some(Place { turns: self.clone(), key, first: line.first.clone() })
    }

    fn lines(&self) -> MutexGuard<'_, BTreeMap<Digest, Line>> {
        self.0.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// The turn of who stands here, when it comes.
    pub(super) async fn turn(self) -> Option<Turn> {
        let first = self.first.clone().acquire_owned().await.ok()?;
        let free = self.turns.0.free.clone().acquire_owned().await.ok()?;
        Some(Turn { _free: free, _first: first, place: self })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut lines = self.turns.lines();
        if let Some(line) = lines.get_mut(&self.key) {
            line.length -= 1;
            if line.length == 0 {
                lines.remove(&self.key);
            }
        }
    }
}

impl Turn {
    /// Does something on the disk. The turn lasts as long, also if whoever asked has left.
    pub(super) async fn spend<T: Send + 'static>(
        self,
        work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        self.spend_and_stand(work).await.map(|(done, _)| done)
    }

    /// As [`Self::spend`], for what has to wait for something else before it goes on: others have the turn meanwhile, and the
    /// place in the line is kept.
    pub(super) async fn spend_and_stand<T: Send + 'static>(
        self,
        work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
    ) -> Result<(T, Place), Problem> {
        blocking(move || {
            let turn = self;
            let done = work()?;
            Ok((done, turn.place))
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::{pin::Pin, task::Poll};

    use futures::poll;

    use super::*;

    const fn key(number: u8) -> Digest {
        Digest([number; 32])
    }

    type Waiting<'a> = Pin<Box<dyn Future<Output = Option<Turn>> + 'a>>;

    /// Stands in line, and has no turn yet.
    async fn waiting(turns: &Turns, number: u8) -> Waiting<'_> {
        let mut waiting: Waiting = Box::pin(turns.wait(key(number)));
        assert!(poll!(&mut waiting).is_pending(), "key {number}");
        waiting
    }

    async fn turn(waiting: &mut Waiting<'_>) -> Option<Turn> {
        match poll!(waiting) {
            Poll::Ready(turn) => turn,
            Poll::Pending => None,
        }
    }

    /// Whether nobody of this key is let into the line now.
    async fn is_full(turns: &Turns, number: u8) -> bool {
        matches!(poll!(Box::pin(turns.wait(key(number)))), Poll::Ready(None))
    }

    #[tokio::test]
    async fn a_key_has_one_turn_at_a_time_and_stands_in_nobody_else_s_way() {
        let turns = Turns::new(2, 64);
        let busy = turns.wait(key(1)).await.expect("a free one");
        let mut next = waiting(&turns, 1).await;
        let after = waiting(&turns, 1).await;
        let other = turns.wait(key(2)).await.expect("one is free for who has none");
        assert!(turn(&mut next).await.is_none());
        drop(other);
        assert!(turn(&mut next).await.is_none(), "its key has one");
        drop(busy);
        assert!(turn(&mut next).await.is_some());
        drop(after);
    }

    #[tokio::test]
    async fn a_key_with_a_long_line_stands_behind_those_who_came_to_the_front_before() {
        let turns = Turns::new(1, 64);
        let held = turns.wait(key(1)).await;
        let mut long = Vec::new();
        for _ in 0..10 {
            long.push(waiting(&turns, 1).await);
        }
        let mut short = [waiting(&turns, 2).await, waiting(&turns, 3).await];
        drop(held);
        // The next of the long line stands behind those who came to the front before it.
        assert!(turn(&mut long[0]).await.is_none());
        for waiting in &mut short {
            let had = turn(waiting).await;
            assert!(had.is_some());
            assert!(turn(&mut long[0]).await.is_none());
        }
        assert!(turn(&mut long[0]).await.is_some());
    }

    #[tokio::test]
    async fn a_full_line_takes_nobody_until_one_has_left_it_and_an_empty_one_is_forgotten() {
        let turns = Turns::new(4, 3);
        let mut line = vec![turns.wait(key(1)).await];
        let patient = waiting(&turns, 1).await;
        let impatient = waiting(&turns, 1).await;
        assert!(is_full(&turns, 1).await, "a turn and two who wait");
        assert!(turns.wait(key(2)).await.is_some(), "another key has a line of its own");
        drop(impatient);
        let again = waiting(&turns, 1).await;
        assert!(is_full(&turns, 1).await);
        line.clear();
        drop((patient, again));
        assert!(turns.lines().is_empty());
        assert!(turns.wait(key(1)).await.is_some());
    }

    #[tokio::test]
    async fn who_waits_for_something_else_between_two_turns_keeps_its_place_and_nobody_s_turn() {
        let turns = Turns::new(1, 2);
        let turn = turns.wait(key(1)).await.expect("a free one");
        let ((), place) = turn.spend_and_stand(|| Ok(())).await.expect("it is done");
        let other = turns.wait(key(1)).await.expect("the turn is free, and there is one place more");
        assert!(is_full(&turns, 1).await, "one has its turn, and one will have another");
        let mut again = Box::pin(place.turn());
        assert!(poll!(&mut again).is_pending());
        drop(other);
        assert!(matches!(poll!(&mut again), Poll::Ready(Some(_))));
        drop(again);
        assert!(turns.lines().is_empty());
    }

    #[tokio::test]
    async fn there_are_so_many_turns_at_a_time_for_all_keys_together() {
        let turns = Turns::new(2, 64);
        let mut held = vec![turns.wait(key(1)).await, turns.wait(key(2)).await];
        let mut third = waiting(&turns, 3).await;
        assert!(turns.take(key(4)).is_none(), "who does not wait gets none");
        assert!(turns.lines().get(&key(4)).is_none());
        held.pop();
        assert!(turns.take(key(4)).is_none(), "nobody is passed");
        assert!(turn(&mut third).await.is_some());
        assert!(turns.take(key(4)).is_some());
    }

    #[tokio::test]
    async fn a_turn_lasts_as_long_as_its_work_although_nobody_waits_for_that() {
        let turns = Turns::new(1, 64);
        let (begin, begun) = std::sync::mpsc::channel::<()>();
        let (beginning, began) = tokio::sync::oneshot::channel();
        let (done, ended) = tokio::sync::oneshot::channel::<()>();
        let work = turns.wait(key(1)).await.expect("a free one").spend(move || {
            beginning.send(()).expect("it is waited for");
            begun.recv().expect("it is told to go on");
            drop(done);
            Ok(())
        });
        let mut work = Box::pin(work);
        assert!(poll!(&mut work).is_pending());
        drop(work);
        began.await.expect("it begins although nobody waits for its end");
        assert!(turns.take(key(2)).is_none(), "it goes on");
        begin.send(()).expect("it waits");
        ended.await.expect_err("nothing is sent");
        turns.wait(key(2)).await.expect("it comes to its end");
    }
}
