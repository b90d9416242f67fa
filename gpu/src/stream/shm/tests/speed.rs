//! Rough figures, to be looked at. Nothing is asserted. Run with `--ignored --nocapture`.

use std::time::{Duration, Instant};

use super::*;
use crate::stream::{Appended, Cursor, Expect, Next, StreamWriter, Wake, block_on};

const PAGE: usize = 64 << 10;
const PAGES: usize = 64;
const ROUNDS: usize = 40_000;

fn sum(bytes: &[u8]) -> u64 {
    bytes.as_chunks::<8>().0.iter().fold(0, |sum, word| sum ^ u64::from_ne_bytes(*word))
}

fn rate(begun: Instant) -> f64 {
    (ROUNDS * PAGE) as f64 / begun.elapsed().as_secs_f64() / 1e9
}

/// What the same bytes cost without a stream, on the same two threads' worth of work: copied there, and read.
fn plain() -> (f64, f64) {
    let source = vec![3_u8; PAGE];
    let mut arena = vec![1_u8; PAGE * PAGES];
    let begun = Instant::now();
    for round in 0..ROUNDS {
        let at = round % PAGES * PAGE;
        arena[at..at + PAGE].copy_from_slice(std::hint::black_box(&source));
    }
    let copied = rate(begun);
    let begun = Instant::now();
    for round in 0..ROUNDS {
        let at = round % PAGES * PAGE;
        arena[at..at + PAGE].copy_from_slice(std::hint::black_box(&source));
        std::hint::black_box(sum(&arena[at..at + PAGE]));
    }
    (copied, rate(begun))
}

fn streamed() -> f64 {
    let (writer, reader) = both(Integrity::None, PAGE * PAGES, PAGES);
    let source = vec![3_u8; PAGE];
    let begun = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..ROUNDS {
                while let Appended::Full(wake) = writer.append(1, Expect::Any, &draft(), &source).expect("no fault") {
                    writer.wait_blocking(wake, None);
                }
            }
        });
        let mut cursor = Cursor(0);
        while cursor.0 < ROUNDS as u64 {
            match reader.next(cursor).expect("no fault") {
                Next::Item(page, after) => {
                    std::hint::black_box(sum(&page.payload));
                    cursor = after;
                    drop(page);
                    reader.trim(cursor.0).expect("trims");
                }
                Next::Blocked(wake) => assert!(reader.wait_blocking(wake, None)),
                other => panic!("{other:?}"),
            }
        }
    });
    rate(begun)
}

#[test]
#[ignore = "figures"]
fn throughput() {
    for _ in 0..5 {
        let (copied, copied_and_read) = plain();
        let streamed = streamed();
        println!(
            "memcpy {copied:.1} GB/s, memcpy and read on one thread {copied_and_read:.1}, stream {streamed:.1}; \
             {:.2} of memcpy, {:.2} of both",
            streamed / copied,
            streamed / copied_and_read
        );
    }
}

/// Half of the time from an append until the answer to it was read: both sides sleep on their own thread (`rest` 0: they
/// are still looking), or in a future.
fn wake_us(futures: bool, rest: Duration) -> Vec<f64> {
    const ROUNDS: u64 = 2000;
    let (asks, asked) = both(Integrity::None, 4096, 8);
    let (answers, answered) = both(Integrity::None, 4096, 8);
    let wait = |reader: &ShmReader, at| match futures {
        true => block_on(reader.wait(Wake::Page(at))),
        false => assert!(reader.wait_blocking(Wake::Page(at), None)),
    };
    let mut times = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for at in 0..ROUNDS {
                wait(&asked, at);
                answers.append(1, Expect::At(at), &draft(), &[1]).expect("no fault");
                asked.trim(at + 1).expect("trims");
            }
        });
        for at in 0..ROUNDS {
            std::thread::sleep(rest);
            let begun = Instant::now();
            asks.append(1, Expect::At(at), &draft(), &[1]).expect("no fault");
            wait(&answered, at);
            times.push(begun.elapsed().as_secs_f64() * 1e6 / 2.0);
            answered.trim(at + 1).expect("trims");
        }
    });
    times.sort_by(f64::total_cmp);
    times
}

#[test]
#[ignore = "figures"]
fn waking() {
    for (what, futures, rest) in [
        ("looking", false, Duration::ZERO),
        ("asleep", false, Duration::from_micros(200)),
        ("futures", true, Duration::ZERO),
        ("futures, asleep", true, Duration::from_micros(200)),
    ] {
        let times = wake_us(futures, rest);
        println!(
            "{what}: median {:.2} us, p99 {:.2} us, most {:.0} us",
            times[times.len() / 2],
            times[times.len() * 99 / 100],
            times[times.len() - 1]
        );
    }
}
