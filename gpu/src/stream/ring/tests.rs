use super::*;
use crate::stream::conformance::{all, model, ring, seeds, the_latest_pages_stay};

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
    for (seed, integrity) in seeds(60).zip(INTEGRITIES.into_iter().cycle()) {
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

#[test]
fn free_buffers_keep_no_more_than_their_bound_and_all_come_back() {
    use arena::{Arena, FREE_BYTES_MAX, Slot};
    let arena = std::sync::Arc::new(Arena::new(8));
    for _ in 0..2 {
        let mut slots: Vec<Slot> = std::iter::from_fn(|| Slot::take(&arena)).collect();
        assert_eq!((slots.len(), arena.free_bytes()), (8, 0));
        for slot in &mut slots {
            slot.room(FREE_BYTES_MAX / 3);
        }
        drop(slots);
        assert!((FREE_BYTES_MAX / 3..=FREE_BYTES_MAX).contains(&arena.free_bytes()));
    }
}
