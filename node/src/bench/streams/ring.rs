//! The ring, beside two threads that hand over as many buffers with two counters.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Instant,
};

use gpu::stream::{Cursor, Integrity, Next, RingOptions, RingStream, Stream as _, block_on};

use super::{
    Figures,
    pages::{BUFFERS, PAGE_BYTES, PAGES, Reader, Source, descriptor, put, take},
    rounds::{Rates, median, timed},
};
use crate::bench::{BenchFault, ROUNDS};

/// Pages of a few bytes that go back and forth in one round.
const HOPS: u64 = 20_000;

/// The limit: buffers, and how many were written and read.
struct Buffers {
    slots: Vec<Mutex<Vec<u8>>>,
    written: Counter,
    read: Counter,
}

/// Alone on its cache lines.
#[repr(align(128))]
struct Counter(AtomicU64);

/// The ring's figures.
///
/// # Errors
/// Those of the streams.
pub fn figures(figures: &mut Figures, source: &Source) -> Result<(), BenchFault> {
    let options = RingOptions { pages: BUFFERS, payload_bytes: PAGE_BYTES };
    let ring = RingStream::new(descriptor("ring", Integrity::None), options);
    let buffers = Buffers::new();
    // Once each before it counts: then the memory is there.
    through_ring(&ring, source)?;
    through_buffers(&buffers, source)?;
    let rates = Rates::measure(
        source.gigabytes(),
        || timed(|| through_ring(&ring, source)),
        || timed(|| through_buffers(&buffers, source)),
    )?;
    figures.ratio(["ring_vs_memcpy_ratio", "ring_gb_per_s", "ring_memcpy_gb_per_s"], rates);
    figures.set("ring_hop_ns", hop_ns()?);
    Ok(())
}

fn through_ring(ring: &Arc<RingStream>, source: &Source) -> Result<(), BenchFault> {
    let mut cursor = Cursor(ring.state().tail);
    thread::scope(|scope| {
        let reader = scope
            .spawn(|| take(&**ring, &mut cursor, PAGES, true, &mut Reader::new(), |wake| block_on(ring.wait(wake))));
        source.pages().try_for_each(|page| put(&**ring, page))?;
        reader.join().map_err(|_| BenchFault::Wrong("the reader panicked".to_owned()))?
    })
}

fn through_buffers(buffers: &Buffers, source: &Source) -> Result<(), BenchFault> {
    let from = buffers.written.0.load(Ordering::Acquire);
    thread::scope(|scope| {
        let reader = scope.spawn(move || {
            let mut reader = Reader::new();
            for number in from..from + PAGES as u64 {
                wait_until(|| buffers.written.0.load(Ordering::Acquire) > number);
                reader.copy().copy_from_slice(&buffers.slot(number));
                reader.check()?;
                buffers.read.0.store(number + 1, Ordering::Release);
            }
            Ok(())
        });
        for (number, page) in (from..).zip(source.pages()) {
            wait_until(|| buffers.read.0.load(Ordering::Acquire) + BUFFERS as u64 > number);
            buffers.slot(number).copy_from_slice(page);
            buffers.written.0.store(number + 1, Ordering::Release);
        }
        reader.join().map_err(|_| BenchFault::Wrong("the reader panicked".to_owned()))?
    })
}

/// The time from one thread to another when neither sleeps: half of there and back.
fn hop_ns() -> Result<f64, BenchFault> {
    let ring = |name| {
        RingStream::new(descriptor(name, Integrity::None), RingOptions { pages: BUFFERS, payload_bytes: PAGE_BYTES })
    };
    let (there, back) = (ring("there"), ring("back"));
    let next = |ring: &RingStream, cursor: Cursor| loop {
        match ring.next(cursor)? {
            Next::Item(page, after) => {
                drop(page);
                ring.trim(after.0)?;
                return Ok::<Cursor, BenchFault>(after);
            }
            _ => std::hint::spin_loop(),
        }
    };
    let mut hops = Vec::new();
    for round in 0..ROUNDS as u64 {
        let range = round * HOPS..(round + 1) * HOPS;
        let started = Instant::now();
        thread::scope(|scope| {
            let echo = scope.spawn(|| {
                range.clone().try_for_each(|number| {
                    next(&there, Cursor(number))?;
                    put(&*back, &[0; 8])
                })
            });
            for number in range.clone() {
                put(&*there, &[0; 8])?;
                next(&back, Cursor(number))?;
            }
            echo.join().map_err(|_| BenchFault::Wrong("the echo panicked".to_owned()))?
        })?;
        hops.push(started.elapsed().as_secs_f64() * 1e9 / HOPS as f64 / 2.0);
    }
    Ok(median(&mut hops))
}

/// The cheapest way to wait for another thread or process that runs: look again; let others run now and then, in case
/// there are fewer processors than threads.
pub fn wait_until(mut holds: impl FnMut() -> bool) {
    let mut looked = 0_u32;
    while !holds() {
        looked += 1;
        if looked.is_multiple_of(1024) {
            thread::yield_now();
        } else {
            std::hint::spin_loop();
        }
    }
}

impl Buffers {
    fn new() -> Self {
        let slots = (0..BUFFERS).map(|_| Mutex::new(vec![0; PAGE_BYTES])).collect();
        Self { slots, written: Counter(AtomicU64::new(0)), read: Counter(AtomicU64::new(0)) }
    }

    /// Never waits: the counters say whose it is. The lock is what makes this safe Rust; it costs some nanoseconds.
    fn slot(&self, number: u64) -> std::sync::MutexGuard<'_, Vec<u8>> {
        self.slots[number as usize % BUFFERS].lock().unwrap_or_else(PoisonError::into_inner)
    }
}
