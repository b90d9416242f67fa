use super::*;
use crate::stream::conformance::{all, model, ring, the_latest_pages_stay};

const INTEGRITIES: [Integrity; 3] = [Integrity::None, Integrity::Plain, Integrity::Keyed];

#[test]
fn a_ring_keeps_the_laws() {
    for integrity in INTEGRITIES {
        all(&mut ring, integrity);
        the_latest_pages_stay(&mut ring, integrity);
    }
}

#[test]
fn a_ring_is_a_list() {
    for (seed, integrity) in (0..60).zip(INTEGRITIES.into_iter().cycle()) {
        model(&mut ring, integrity, seed, 400);
    }
}

fn small(pages: usize) -> std::sync::Arc<RingStream> {
    let descriptor = Descriptor {
        owner: Digest::ZERO,
        name: "small".to_owned(),
        integrity: Integrity::None,
        retention: super::super::Retention::Keep,
        format: Digest::ZERO,
    };
    RingStream::new(descriptor, RingOptions { pages, payload_bytes: 64 })
}

const DRAFT: Draft = Draft::bytes(wallet::page::PageKind::Dispatch);

#[test]
fn a_page_that_was_read_is_never_written_again() {
    let ring = small(2);
    assert!(matches!(ring.append(0, Expect::Any, &DRAFT, b"one"), Ok(Appended::Ok(0))));
    let Ok(Next::Item(page, _)) = ring.next(Cursor(0)) else { panic!("it is there") };
    ring.trim(1).expect("a ring does not fail");
    let copy = page.payload.slice(1..);
    drop(page);
    // One buffer is lent still, so one page fits and no more.
    assert!(matches!(ring.append(0, Expect::Any, &DRAFT, b"two"), Ok(Appended::Ok(1))));
    assert!(matches!(ring.append(0, Expect::Any, &DRAFT, b"six"), Ok(Appended::Full(_))));
    assert_eq!(copy, &b"ne"[..]);
    drop(copy);
    assert!(matches!(ring.append(0, Expect::Any, &DRAFT, b"six"), Ok(Appended::Ok(2))));
}

#[test]
fn a_writer_that_panics_leaves_no_trace() {
    let ring = small(1);
    for _ in 0..3 {
        let broken = ring.clone();
        let append = move || broken.append_with(0, Expect::Any, &DRAFT, 3, &mut |_| panic!("as the test wants"));
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(append)).is_err());
    }
    assert!(matches!(ring.append(0, Expect::Any, &DRAFT, b"one"), Ok(Appended::Ok(0))));
}

#[test]
fn a_short_page_does_not_show_what_its_buffer_held() {
    let ring = small(1);
    for payload in [&b"a long secret"[..], b"short"] {
        let tail = ring.state().tail;
        assert!(matches!(ring.append(0, Expect::Any, &DRAFT, payload), Ok(Appended::Ok(_))));
        let Ok(Next::Item(page, _)) = ring.next(Cursor(tail)) else { panic!("it is there") };
        assert_eq!(page.payload, payload);
        ring.trim(tail + 1).expect("a ring does not fail");
    }
    let large = ring.append(0, Expect::Any, &DRAFT, &[0; 65]);
    assert!(matches!(large, Err(StreamFault::PageTooLarge { count: 65, max: 64 })));
}

/// Not a rule: it prints. The bench `streams` measures with care.
#[test]
#[ignore = "it measures"]
fn how_fast_it_is() {
    const BYTES: usize = 64 << 10;
    const ROUNDS: u64 = 100_000;
    let sum = |page: &[u8]| {
        page.chunks_exact(8).fold(0_u64, |sum, word| sum ^ u64::from_le_bytes(word.try_into().expect("eight")))
    };
    for pages in [4, 8, 16] {
        let source = vec![7_u8; BYTES];
        let mut arena = vec![vec![1_u8; BYTES]; pages];
        let start = std::time::Instant::now();
        for round in 0..ROUNDS as usize {
            arena[round % pages].copy_from_slice(std::hint::black_box(&source));
        }
        let memcpy = start.elapsed();
        let descriptor = small(1).descriptor.clone();
        let ring = RingStream::new(descriptor, RingOptions { pages, payload_bytes: BYTES });
        let start = std::time::Instant::now();
        std::thread::scope(|threads| {
            threads.spawn(|| {
                for _ in 0..ROUNDS {
                    while let Appended::Full(wake) = ring.append(0, Expect::Any, &DRAFT, &source).expect("no fault") {
                        crate::stream::block_on(ring.wait(wake));
                    }
                }
            });
            for position in 0..ROUNDS {
                let Next::Item(page, after) = crate::stream::conformance::see(&*ring, position) else {
                    panic!("it comes")
                };
                std::hint::black_box(sum(&page.payload));
                drop(page);
                ring.trim(after.0).expect("no fault");
            }
        });
        let streamed = start.elapsed();
        println!(
            "{pages} pages: {memcpy:?} to copy, {streamed:?} through the ring: {:.2}",
            memcpy.as_secs_f64() / streamed.as_secs_f64()
        );
    }
    let ring = small(8);
    let start = std::time::Instant::now();
    for position in 0..ROUNDS {
        ring.append(0, Expect::Any, &DRAFT, b"a hop").expect("no fault");
        drop(ring.next(Cursor(position)).expect("no fault"));
        ring.trim(position + 1).expect("no fault");
    }
    println!("append, read and trim on one thread: {:?}", start.elapsed() / ROUNDS as u32);
    let mut log = crate::stream::RootLog::new();
    let start = std::time::Instant::now();
    for position in 0..ROUNDS {
        log.push(&DRAFT.head(position, 5, Digest::ZERO));
    }
    println!("a root: {:?}", start.elapsed() / ROUNDS as u32);
}
