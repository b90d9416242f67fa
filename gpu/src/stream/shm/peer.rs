//! Who the process at the other end is, and whether it lives.

use std::{
    fs,
    os::fd::OwnedFd,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec},
    io::Errno,
    process::{Pid, PidfdFlags},
};

/// Bits of a process number; what is above is when the process began, so that a number which is used again is another
/// process.
const PID_BITS: u32 = 24;
/// A verdict is asked for again after this.
const FRESH: Duration = Duration::from_millis(20);

/// This process, as one word that fits an atomic. Never 0.
pub(super) fn own() -> u64 {
    let pid = std::process::id();
    word(pid, begun(pid).map_or(0, |(begun, _)| begun))
}

/// Whether the process of this word lives, or one of its threads does.
pub(super) fn lives(owner: u64) -> bool {
    Watched::new(owner).lives()
}

const fn word(pid: u32, begun: u64) -> u64 {
    begun << PID_BITS | pid as u64
}

/// When a process began, in ticks since the machine did, and whether it still runs.
fn begun(pid: u32) -> Option<(u64, bool)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name of the program, in brackets, may hold anything.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?;
    let begun = fields.nth(18)?.parse().ok()?;
    Some((begun, !matches!(state, "Z" | "X")))
}

/// A process, held so that its number cannot come to mean another one.
struct Watched {
    owner: u64,
    /// None: there is no such process, or the system has no such handles.
    pidfd: Option<OwnedFd>,
    handles: bool,
}

impl Watched {
    fn new(owner: u64) -> Self {
        let Some(pid) = Self::pid(owner) else { return Self { owner, pidfd: None, handles: true } };
        let opened = rustix::process::pidfd_open(pid, PidfdFlags::empty());
        let handles = !matches!(opened, Err(ref errno) if *errno != Errno::SRCH);
        // The handle is of whoever has the number now.
        let pidfd = opened.ok().filter(|_| Self::is_same(owner).unwrap_or(true));
        Self { owner, pidfd, handles }
    }

    fn pid(owner: u64) -> Option<Pid> {
        Pid::from_raw((owner & ((1 << PID_BITS) - 1)) as i32)
    }

    /// Whether the process with this number is the one that is meant. None if it cannot be read.
    fn is_same(owner: u64) -> Option<bool> {
        let pid = (owner & ((1 << PID_BITS) - 1)) as u32;
        begun(pid).map(|(begun, _)| word(pid, begun) == owner)
    }

    fn lives(&self) -> bool {
        match &self.pidfd {
            Some(pidfd) => {
                let now = Timespec { tv_sec: 0, tv_nsec: 0 };
                // Readable once the last thread is gone: after that nothing of it writes any more.
                !matches!(rustix::event::poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&now)), Ok(1))
            }
            None if self.handles => false,
            None => {
                let pid = (self.owner & ((1 << PID_BITS) - 1)) as u32;
                begun(pid).is_some_and(|(begun, runs)| runs && word(pid, begun) == self.owner)
            }
        }
    }
}

/// Remembers for a moment whether the other end lives.
#[derive(Default)]
pub(super) struct Peer(Mutex<Option<Verdict>>);

struct Verdict {
    watched: Watched,
    lives: bool,
    at: Instant,
}

impl Peer {
    /// Whether the process of this word lives. May be late by [`FRESH`].
    pub fn lives(&self, owner: u64) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match known.as_mut().filter(|verdict| verdict.watched.owner == owner) {
            Some(verdict) => {
                if verdict.lives && verdict.at.elapsed() > FRESH {
                    verdict.lives = verdict.watched.lives();
                    verdict.at = Instant::now();
                }
                verdict.lives
            }
            None => {
                let watched = Watched::new(owner);
                let lives = watched.lives();
                *known = Some(Verdict { watched, lives, at: Instant::now() });
                lives
            }
        }
    }
}
