//! The ring's threads in every order that loom finds. It runs the ring's own modules on loom's locks.

use ::loom::{model::Builder, thread};
use wallet::{digest::Digest, page::PageKind};

use self::{
    arena::Arena,
    queue::{Place, Queue},
    sync::Arc,
};
use crate::stream::{Appended, Draft, Expect, Integrity, Retention, Wake};

#[path = "arena.rs"]
#[expect(clippy::duplicate_mod, reason = "the ring's own modules, on loom's locks")]
#[expect(dead_code, reason = "the ring's tests use all of it, these some")]
mod arena;
#[path = "queue.rs"]
#[expect(clippy::duplicate_mod, reason = "the ring's own modules, on loom's locks")]
#[expect(dead_code, reason = "the ring uses all of it, these tests some")]
mod queue;

mod sync {
    pub use std::sync::PoisonError;

    use ::loom::sync::Condvar;
    pub use ::loom::sync::{Arc, Mutex, MutexGuard};

    /// What `event_listener::Event` promises: who listened before a notification is woken by it.
    #[derive(Debug)]
    pub struct Event(Arc<(Mutex<u64>, Condvar)>);

    pub struct EventListener(Arc<(Mutex<u64>, Condvar)>, u64);

    impl Event {
        pub fn new() -> Self {
            Self(Arc::new((Mutex::new(0), Condvar::new())))
        }

        pub fn listen(&self) -> EventListener {
            EventListener(self.0.clone(), *self.0.0.lock().expect("nobody panics"))
        }

        pub fn notify(&self, _all: usize) {
            *self.0.0.lock().expect("nobody panics") += 1;
            self.0.1.notify_all();
        }
    }

    impl EventListener {
        pub fn wait(self) {
            let Self(event, seen) = self;
            let mut now = event.0.lock().expect("nobody panics");
            while *now == seen {
                now = event.1.wait(now).expect("nobody panics");
            }
        }
    }
}

fn queue(pages: usize, retention: Retention) -> Arc<Queue> {
    Arc::new(Queue::new(Arc::new(Arena::new(pages)), retention, Integrity::Plain))
}

fn wait(queue: &Queue, wake: Wake) {
    while let Some(listener) = queue.listen(wake) {
        listener.wait();
    }
}

/// Appends a page of two equal bytes, written one after the other, and waits where there is no room.
fn append(queue: &Queue, at: Expect, byte: u8) -> Result<u64, Appended> {
    loop {
        let mut slot = match queue.reserve(0, at) {
            Ok(slot) => slot,
            Err(queue::Refused::For(Appended::Full(wake))) => {
                wait(queue, wake);
                continue;
            }
            Err(queue::Refused::For(appended)) => return Err(appended),
            Err(queue::Refused::There(_)) => return Err(Appended::Conflict { tail: 0 }),
        };
        slot.room(2).fill(byte);
        let draft = Draft::bytes(PageKind::Dispatch);
        return match queue.publish(0, at, slot, |position| draft.head(position, 2, Digest::ZERO)) {
            Ok(position) => Ok(position),
            Err((queue::Refused::For(appended), _)) => Err(appended),
            Err((queue::Refused::There(_), _)) => Err(Appended::Conflict { tail: 0 }),
        };
    }
}

/// Reads the page at `position`, and waits until it is there. None at the end.
fn read(queue: &Queue, position: u64) -> Option<queue::Lent> {
    loop {
        match queue.at(position) {
            Place::Page(page) => return Some(page),
            Place::Nothing { closed: true } => return None,
            Place::Nothing { closed: false } => wait(queue, Wake::Page(position)),
            Place::Gone { .. } => panic!("nobody trimmed it"),
        }
    }
}

fn explore(preemptions: usize, run: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(run);
}

#[test]
fn two_writers_stand_in_one_order_without_holes() {
    explore(3, || {
        let queue = queue(2, Retention::Keep);
        let other = {
            let queue = queue.clone();
            thread::spawn(move || append(&queue, Expect::Any, 1))
        };
        let mine = append(&queue, Expect::Any, 2).expect("there is room");
        let others = other.join().expect("it ends").expect("there is room");
        assert_eq!(mine + others, 1);
        assert_eq!(queue.state().tail, 2);
        for (position, byte) in [(mine, 2), (others, 1)] {
            let page = read(&queue, position).expect("it is there");
            assert_eq!((page.head().position, page.as_ref()), (position, [byte; 2].as_slice()));
        }
    });
}

#[test]
fn of_two_writers_at_one_position_one_stands_there() {
    explore(3, || {
        let queue = queue(2, Retention::Keep);
        let other = {
            let queue = queue.clone();
            thread::spawn(move || append(&queue, Expect::At(0), 1))
        };
        let mine = append(&queue, Expect::At(0), 2);
        let others = other.join().expect("it ends");
        assert_eq!((mine.is_ok() as u8) + (others.is_ok() as u8), 1);
        assert_eq!(queue.state().tail, 1);
    });
}

#[test]
fn a_lent_page_is_not_written_and_a_writer_that_waits_for_it_is_woken() {
    explore(3, || {
        let queue = queue(1, Retention::Keep);
        let writer = {
            let queue = queue.clone();
            thread::spawn(move || (append(&queue, Expect::Any, 1), append(&queue, Expect::Any, 2)))
        };
        let first = read(&queue, 0).expect("it comes");
        queue.trim(1);
        assert_eq!(first.as_ref(), [1; 2]);
        drop(first);
        assert_eq!(read(&queue, 1).expect("it comes").as_ref(), [2; 2]);
        assert_eq!(writer.join().expect("it ends"), (Ok(0), Ok(1)));
    });
}

#[test]
fn where_the_oldest_goes_a_writer_waits_only_for_pages_that_are_read() {
    explore(3, || {
        let queue = queue(1, Retention::Latest);
        append(&queue, Expect::Any, 1).expect("there is room");
        let first = read(&queue, 0).expect("it is there");
        let writer = {
            let queue = queue.clone();
            thread::spawn(move || append(&queue, Expect::Any, 2))
        };
        assert_eq!(first.as_ref(), [1; 2]);
        drop(first);
        assert_eq!(writer.join().expect("it ends"), Ok(1));
        assert!(matches!(queue.at(0), Place::Gone { earliest: 1 }));
    });
}

#[test]
fn whoever_waits_is_woken_by_the_end() {
    explore(3, || {
        let queue = queue(1, Retention::Keep);
        append(&queue, Expect::Any, 1).expect("there is room");
        let writer = {
            let queue = queue.clone();
            thread::spawn(move || append(&queue, Expect::Any, 2))
        };
        let reader = {
            let queue = queue.clone();
            thread::spawn(move || read(&queue, 1).is_none())
        };
        assert_eq!(queue.close(0), Appended::Ok(1));
        assert_eq!(writer.join().expect("it ends"), Err(Appended::Closed));
        assert!(reader.join().expect("it ends"));
    });
}
