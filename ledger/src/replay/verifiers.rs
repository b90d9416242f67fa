//! Threads that verify signatures while the next blocks are executed: one for each processor.

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

/// Bytes of signatures, and of what is signed, that one thread takes at once; more only where claims are the same.
const PIECE_BYTES: usize = 256 << 10;
/// So many pieces wait at most, however many threads there are: 64 MiB.
const WAITING_MAX: usize = 256;

/// A signature that somebody is said to have made.
#[derive(Debug)]
pub(super) struct Claim {
    /// Of a leader or a validator, and not of an author or a holder.
    pub(super) is_vote: bool,
    pub(super) key: PublicKey,
    pub(super) context: Box<str>,
    pub(super) message: Box<[u8]>,
    pub(super) signature: Signature,
}

impl Claim {
    fn bytes(&self) -> usize {
        size_of::<Self>() + self.context.len() + self.message.len()
    }

    /// Whether to verify this one is to verify the other: entries of one batch have one signature.
    fn is_same(&self, other: &Self) -> bool {
        self.signature == other.signature && self.message == other.message
    }

    fn is_good(&self, known: &Remembered) -> bool {
        let Self { key, context, message, signature, .. } = self;
        let verify = if self.is_vote { Remembered::verify_vote } else { Remembered::verify };
        verify(known, key, context, message, signature).is_ok()
    }
}

/// The claims in pieces, in their order. Those that are verified once stay together.
fn pieces(claims: Vec<Claim>) -> Vec<Vec<Claim>> {
    let mut pieces: Vec<Vec<Claim>> = Vec::new();
    let mut bytes = 0;
    for claim in claims {
        bytes += claim.bytes();
        match pieces.last_mut() {
            Some(last) if bytes <= PIECE_BYTES || last.last().is_some_and(|before| before.is_same(&claim)) => {
                last.push(claim);
            }
            _ => {
                bytes = claim.bytes();
                pieces.push(vec![claim]);
            }
        }
    }
    pieces
}

type Work = (BlockHeight, Vec<Claim>);

/// What the threads share.
#[derive(Debug, Default)]
struct Shared {
    /// A signature over a batch is verified once, and a key's point is computed once.
    known: Remembered,
    /// Of the lowest height found so far.
    bad: Mutex<Option<ReplayInvalid>>,
}

#[derive(Debug)]
pub(super) struct Verifiers {
    shared: Arc<Shared>,
    /// None once all that came is waited for.
    work: Option<SyncSender<Work>>,
    threads: Vec<JoinHandle<()>>,
}

impl Verifiers {
    pub(super) fn start() -> Self {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let shared = Arc::new(Shared::default());
        let (work, waiting) = sync_channel(WAITING_MAX);
        let waiting = Arc::new(Mutex::new(waiting));
        let start = |_| {
            let (shared, waiting) = (shared.clone(), waiting.clone());
            thread::spawn(move || shared.run(&waiting))
        };
        let threads = (0..threads).map(start).collect();
        Self { shared, work: Some(work), threads }
    }

    /// Has the signatures of a block verified; waits while too many others do.
    ///
    /// # Errors
    /// The lowest that does not hold, once something is known not to: all that came is waited for then.
    pub(super) fn verify(&mut self, height: BlockHeight, claims: Vec<Claim>) -> Result<(), ReplayInvalid> {
        if let Some(work) = &self.work {
            for piece in pieces(claims) {
                work.send((height, piece)).expect("the threads run as long as there is work");
            }
        }
        self.shared.found().or_else(|_| {
            self.wait();
            self.shared.found()
        })
    }

    /// Takes it that a block does not hold. Of all that does not, the lowest: the signatures up to there are waited for,
    /// and those on the block itself come first, because a certificate that nobody signed makes no block certified.
    pub(super) fn refuse(&mut self, invalid: ReplayInvalid) -> ReplayInvalid {
        self.wait();
        self.shared.note(invalid.clone());
        self.shared.found().err().unwrap_or(invalid)
    }

    /// Waits for all of them. How many of authors and holders were verified.
    pub(super) fn finish(mut self) -> Result<u64, ReplayInvalid> {
        self.wait();
        self.shared.found().map(|()| self.shared.known.verified())
    }

    fn wait(&mut self) {
        self.work = None;
        for thread in self.threads.drain(..) {
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
    }
}

impl Shared {
    fn run(&self, waiting: &Mutex<Receiver<Work>>) {
        loop {
            let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok((height, claims)) = next else { return };
            let bad = claims.iter().find(|claim| !claim.is_good(&self.known));
            if let Some(Claim { key, context, .. }) = bad {
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

#[cfg(test)]
mod tests {
    use wallet::identity::SecretKey;

    use super::*;

    fn claim(signature: u8, bytes: usize) -> Claim {
        let key = SecretKey::from_seed(&[1; 32]).public_key();
        let (message, signature) = (vec![7; bytes].into(), Signature([signature; 64]));
        Claim { is_vote: false, key, context: "test".into(), message, signature }
    }

    fn signatures(pieces: &[Vec<Claim>]) -> Vec<Vec<u8>> {
        pieces.iter().map(|piece| piece.iter().map(|claim| claim.signature.0[0]).collect()).collect()
    }

    #[test]
    fn a_block_is_verified_in_pieces_that_are_bounded_and_keep_its_order() {
        let half = PIECE_BYTES / 2 + 1;
        let found = pieces([1, 2, 3].map(|signature| claim(signature, half)).into());
        assert_eq!(signatures(&found), [[1], [2], [3]]);
        let small = PIECE_BYTES / 4;
        let found = pieces([1, 2, 3, 4, 5].map(|signature| claim(signature, small)).into());
        assert_eq!(signatures(&found), [vec![1, 2, 3], vec![4, 5]]);
        let bytes = |piece: &Vec<Claim>| piece.iter().map(Claim::bytes).sum::<usize>();
        assert!(found.iter().all(|piece| bytes(piece) <= PIECE_BYTES));
        assert_eq!(pieces(Vec::new()).len(), 0);
    }

    #[test]
    fn what_is_verified_once_stays_in_one_piece() {
        let same = PIECE_BYTES / 3;
        let found = pieces([1, 1, 1, 1, 2].map(|signature| claim(signature, same)).into());
        assert_eq!(signatures(&found), [vec![1, 1, 1, 1], vec![2]]);
    }
}
