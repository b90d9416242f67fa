//! Every random number of the process from the seed: the standard library's hash keys, tokio's `select!`, openraft's
//! election timeouts. All of them ask the C library, and this process answers in its place.

use std::{
    ffi::{c_uint, c_void},
    sync::atomic::{AtomicU64, Ordering},
};

static STATE: AtomicU64 = AtomicU64::new(0);

/// From now on the process draws from this seed.
pub fn seed(seed: u64) {
    STATE.store(seed, Ordering::Relaxed);
}

fn next() -> u64 {
    let state = STATE.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
    liar::rng::mix(state)
}

/// The C library's `getrandom`, for the whole process.
///
/// # Safety
/// As for the C library's: `buffer` is valid for `length` bytes.
#[expect(unsafe_code, reason = "the symbol is C's, and so is the buffer")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getrandom(buffer: *mut c_void, length: usize, _flags: c_uint) -> isize {
    let mut done = 0;
    while done < length {
        for byte in next().to_le_bytes().into_iter().take(length - done) {
            // SAFETY: the caller gives a buffer of `length` bytes, and `done` is below that.
            unsafe { buffer.cast::<u8>().add(done).write(byte) };
            done += 1;
        }
    }
    isize::try_from(length).unwrap_or(isize::MAX)
}
