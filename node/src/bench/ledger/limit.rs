//! What the processor allows: verifications alone.

use std::{
    thread,
    time::{Duration, Instant},
};

use wallet::identity::{SecretKey, context};

/// Bytes of the body of a `DecisionAnchored` entry.
const BODY_BYTES: usize = 96;
const FOR: Duration = Duration::from_secs(1);

/// Signatures that all cores together verify in a second, as a validator verifies that of an entry.
pub(super) fn signatures_per_s() -> f64 {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let key = SecretKey::from_seed(&[1; 32]);
    let signed: Vec<_> = (0..64_u8)
        .map(|number| ([number; BODY_BYTES], key.sign(context::LEDGER_ENTRY, &[number; BODY_BYTES])))
        .collect();
    let (public, signed) = (key.public_key(), &signed);
    let rates: Vec<f64> = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(move || {
                    let (started, mut good) = (Instant::now(), 0_u64);
                    while started.elapsed() < FOR {
                        let verify = |(body, signature): &&([u8; BODY_BYTES], _)| {
                            public.verify(context::LEDGER_ENTRY, body, signature).is_ok()
                        };
                        good += signed.iter().filter(verify).count() as u64;
                    }
                    good as f64 / started.elapsed().as_secs_f64()
                })
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().unwrap_or_default()).collect()
    });
    rates.iter().sum()
}
