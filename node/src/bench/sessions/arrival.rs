//! A session moves: its streams are piped from one place to another.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use gpu::{
    Model,
    stream::{
        Cursor, Descriptor, Next, RangeProof, Stream, StreamFault, StreamState, StreamWriter, Waiting, Wake, pipe_some,
    },
};
use wallet::digest::Digest;

use super::{Place, Plan, Session, SessionFault, Verified};

/// A session that is all there and waits for the decision that it goes on here.
pub struct Arrival {
    plan: Plan,
    place: Place,
    parked: Verified,
}

impl Arrival {
    /// Brings the session that `from` has parked in `epoch` to `to`. Nothing that has an earlier epoch than the next
    /// one can go on at `from` after this. May be repeated after it was cut off: what is there is not copied again.
    /// The way between the places breaks after `pages` pages.
    ///
    /// # Errors
    /// What is wrong with the continuation or its streams; [`StreamFault::PeerGone`] if the way broke.
    pub fn bring(plan: &Plan, from: &Place, to: Place, epoch: u32, pages: u64) -> Result<Self, SessionFault> {
        let parked = from.parked()?.ok_or_else(|| SessionFault::Wrong("nothing is parked".to_owned()))?;
        let left = AtomicU64::new(pages);
        copy(&Way { stream: &*from.journal, left: &left }, &*to.journal, epoch)?;
        copy(&Way { stream: &*from.kv, left: &left }, &*to.kv, epoch)?;
        let parked = parked.verify(plan, epoch, &plan.holder_key(epoch).verifying_key(), &to, &to.journal_bound()?)?;
        to.journal.sync()?;
        to.kv.sync()?;
        from.journal.fence(epoch + 1)?;
        from.kv.fence(epoch + 1)?;
        Ok(Self { plan: plan.clone(), place: to, parked })
    }

    /// It goes on here.
    ///
    /// # Errors
    /// See [`Session::open`].
    pub fn activate(self, model: &Arc<Model>, epoch: u32, shown: u32) -> Result<Session, SessionFault> {
        Session::open(&self.plan, model, self.place, epoch, shown, Some(self.parked))
    }
}

/// Pipes what is not there yet. A pipe goes on wherever the target stands.
fn copy(from: &Way<'_>, to: &dyn StreamWriter, epoch: u32) -> Result<(), SessionFault> {
    let at = Cursor(to.state().tail);
    if at.0 >= from.state().tail {
        // It has pages of an earlier stay that were lost at the other place.
        return Ok(());
    }
    let piped = pipe_some(from, at, to, epoch)?;
    if piped.cursor.0 != from.state().tail {
        return Err(SessionFault::Wrong(format!("a pipe stopped at {}: {:?}", piped.cursor.0, piped.stopped)));
    }
    Ok(())
}

/// The way to another place's stream. It breaks when no pages are left.
struct Way<'a> {
    stream: &'a dyn Stream,
    left: &'a AtomicU64,
}

impl Stream for Way<'_> {
    fn descriptor(&self) -> &Descriptor {
        self.stream.descriptor()
    }

    fn state(&self) -> StreamState {
        self.stream.state()
    }

    fn next(&self, cursor: Cursor) -> Result<Next, StreamFault> {
        let next = self.stream.next(cursor)?;
        if matches!(next, Next::Item(..)) {
            let left = self.left.load(Ordering::Relaxed);
            let left = left.checked_sub(1).ok_or(StreamFault::PeerGone { reason: "the way broke".to_owned() })?;
            self.left.store(left, Ordering::Relaxed);
        }
        Ok(next)
    }

    fn root(&self, at: u64) -> Result<Digest, StreamFault> {
        self.stream.root(at)
    }

    fn prove(&self, from: u64, to: u64) -> Result<RangeProof, StreamFault> {
        self.stream.prove(from, to)
    }

    fn trim(&self, _: u64) -> Result<(), StreamFault> {
        Ok(())
    }

    fn wait(&self, wake: Wake) -> Waiting<'_> {
        self.stream.wait(wake)
    }
}
