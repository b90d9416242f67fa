//! Waking: futexes in the shared memory, and the thread that turns their wake-ups into those of futures.
//!
//! Who publishes rings the bell only if somebody may be asleep. Who goes to sleep says so first and looks again after
//! that; so one of the two sees the other, and no wake-up is lost.

use std::{
    io,
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering, fence},
    },
    thread,
    time::Duration,
};

use event_listener::{Event, EventListener};
use rustix::{
    event::Timespec,
    thread::futex::{self, Flags},
};

use super::{Memory, Role, layout::Bell};

impl Bell {
    /// Wakes whoever sleeps. What they wait for was written before.
    pub fn ring(&self) {
        fence(Ordering::SeqCst);
        if self.waiters.load(Ordering::SeqCst) > 0 {
            self.ring_anyhow();
        }
    }

    fn ring_anyhow(&self) {
        self.word.fetch_add(1, Ordering::SeqCst);
        // It fails for no reason that the caller could do something about; sleepers wake after a while anyhow.
        let _ = futex::wake(&self.word, Flags::empty(), i32::MAX as u32);
    }

    /// From now on this thread is woken.
    pub fn attend(&self) -> Attending<'_> {
        self.waiters.fetch_add(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        Attending(self)
    }
}

/// A thread that is about to sleep, or asleep.
pub(super) struct Attending<'a>(&'a Bell);

impl Attending<'_> {
    /// To be taken before looking whether there is a reason to sleep.
    pub fn heard(&self) -> u32 {
        self.0.word.load(Ordering::SeqCst)
    }

    /// Sleeps until the bell rings, if it has not since `heard`, or for this time.
    pub fn sleep(&self, heard: u32, most: Duration) {
        let timeout = Timespec { tv_sec: most.as_secs() as _, tv_nsec: most.subsec_nanos() as _ };
        let _ = futex::wait(&self.0.word, Flags::empty(), heard, Some(&timeout));
    }
}

impl Drop for Attending<'_> {
    fn drop(&mut self) {
        // A damaged count costs wake-ups and nothing else: it never goes below 0 here.
        let less = |count: u32| count.checked_sub(1);
        let _ = self.0.waiters.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less);
    }
}

/// The thread that sleeps for all futures of a side. It begins with the first of them.
#[derive(Default)]
pub(super) struct Watch {
    event: Event,
    watched: Mutex<Watched>,
    changed: Condvar,
    /// Futures that sleep.
    asleep: AtomicU32,
}

#[derive(Default)]
struct Watched {
    runs: bool,
    over: bool,
}

impl Watch {
    /// Hears the bell once [`Self::sleep`] was called.
    pub fn listen(&self) -> EventListener {
        self.event.listen()
    }

    /// Says that a future sleeps, until the guard is dropped.
    pub fn sleep(self: &Arc<Self>, memory: &Arc<Memory>, role: Role) -> io::Result<Asleep> {
        self.asleep.fetch_add(1, Ordering::SeqCst);
        let asleep = Asleep(Arc::clone(self));
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        if !watched.runs {
            let (watch, memory) = (Arc::clone(self), Arc::clone(memory));
            thread::Builder::new().name("stream-bell".to_owned()).spawn(move || watch.run(&memory, role))?;
            watched.runs = true;
        }
        drop(watched);
        self.changed.notify_one();
        Ok(asleep)
    }

    /// Ends the thread.
    pub fn end(&self, bell: &Bell) {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner).over = true;
        self.changed.notify_one();
        bell.ring_anyhow();
    }

    fn run(&self, memory: &Memory, role: Role) {
        loop {
            let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
            while !watched.over && self.asleep.load(Ordering::SeqCst) == 0 {
                watched = self.changed.wait(watched).unwrap_or_else(PoisonError::into_inner);
            }
            drop(watched);
            let attending = memory.place(role).bell.0.attend();
            loop {
                let heard = attending.heard();
                // Those that looked before this thread attended look again.
                self.event.notify(usize::MAX);
                if self.asleep.load(Ordering::SeqCst) == 0 || self.is_over() {
                    break;
                }
                attending.sleep(heard, memory.nap);
            }
            drop(attending);
            if self.is_over() {
                return;
            }
        }
    }

    fn is_over(&self) -> bool {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner).over
    }
}

/// A future that sleeps.
pub(super) struct Asleep(Arc<Watch>);

impl Drop for Asleep {
    fn drop(&mut self) {
        self.0.asleep.fetch_sub(1, Ordering::SeqCst);
    }
}
