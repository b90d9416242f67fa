//! Threads that verify signatures while the next blocks are executed.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
};

use wallet::{
    identity::{PublicKey, Signature},
    units::BlockHeight,
};

use super::{Reason, ReplayInvalid};
use crate::checks::{Checks as _, Remembered};

/// Blocks whose signatures wait at most, for each thread.
const WAITING_MAX: usize = 16;

/// A signature that somebody is said to have made.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) key: PublicKey,
    pub(super) context: Box<str>,
    pub(super) message: Box<[u8]>,
    pub(super) signature: Signature,
}

type Work = (BlockHeight, Vec<Claim>);

/// What the threads share.
#[derive(Debug, Default)]
struct Shared {
    /// A signature over a batch is verified once, and a key's point is computed once.
    known: Remembered,
    /// Of the lowest height.
    bad: Mutex<Option<ReplayInvalid>>,
}

#[derive(Debug)]
pub(super) struct Verifiers {
    shared: Arc<Shared>,
    work: SyncSender<Work>,
    threads: Vec<JoinHandle<()>>,
}

impl Verifiers {
    pub(super) fn start(threads: usize) -> Self {
        let shared = Arc::new(Shared::default());
        let (work, waiting) = sync_channel(WAITING_MAX * threads.max(1));
        let waiting = Arc::new(Mutex::new(waiting));
        let start = |_| {
            let (shared, waiting) = (shared.clone(), waiting.clone());
            thread::spawn(move || shared.run(&waiting))
        };
        let threads = (0..threads.max(1)).map(start).collect();
        Self { shared, work, threads }
    }

    /// Has the signatures of a block verified; waits while too many others do.
    pub(super) fn verify(&mut self, height: BlockHeight, claims: Vec<Claim>) -> Result<(), ReplayInvalid> {
        if !claims.is_empty() {
            self.work.send((height, claims)).expect("the threads run as long as there is work");
        }
        self.shared.found()
    }

    /// Waits for all of them. How many were verified.
    pub(super) fn finish(self) -> Result<u64, ReplayInvalid> {
        let Self { shared, work, threads } = self;
        drop(work);
        for thread in threads {
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
        shared.found().map(|()| shared.known.verified())
    }
}

impl Shared {
    fn run(&self, waiting: &Mutex<Receiver<Work>>) {
        loop {
            let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok((height, claims)) = next else { return };
            let is_bad = |claim: &&Claim| {
                self.known.verify(&claim.key, &claim.context, &claim.message, &claim.signature).is_err()
            };
            if let Some(Claim { key, context, .. }) = claims.iter().find(is_bad) {
                self.note(ReplayInvalid { height, reason: Reason::Signature { context: context.clone(), key: *key } });
            }
        }
    }

    fn note(&self, invalid: ReplayInvalid) {
        let mut bad = self.bad.lock().unwrap_or_else(PoisonError::into_inner);
        if bad.as_ref().is_none_or(|known| invalid.height < known.height) {
            *bad = Some(invalid);
        }
    }

    fn found(&self) -> Result<(), ReplayInvalid> {
        self.bad.lock().unwrap_or_else(PoisonError::into_inner).clone().map_or(Ok(()), Err)
    }
}
