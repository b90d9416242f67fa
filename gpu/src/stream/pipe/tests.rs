use proptest::prelude::*;
use wallet::{digest::Digest, page::PageKind};

use super::*;
use crate::stream::{
    Descriptor, Integrity, Retention, RingOptions, RingStream,
    conformance::{see, within},
};

fn ring(pages: usize, retention: Retention) -> std::sync::Arc<RingStream> {
    let (owner, name) = (Digest([1; 32]), "piped".to_owned());
    let descriptor = Descriptor { owner, name, integrity: Integrity::Plain, retention, format: Digest::ZERO };
    RingStream::new(descriptor, RingOptions { pages, payload_bytes: 64 })
}

fn page() -> impl Strategy<Value = (Draft, Vec<u8>)> {
    (0..10_u64, any::<[bool; 3]>(), any::<u64>(), prop::collection::vec(any::<u8>(), 0..64)).prop_map(
        |(kind, [sealed, encrypted, last], first, payload)| {
            let kind = PageKind::from_code(kind).expect("there are ten");
            (Draft { sealed, encrypted, last, first, ..Draft::bytes(kind) }, payload)
        },
    )
}

fn write(ring: &RingStream, pages: &[(Draft, Vec<u8>)]) {
    for (draft, payload) in pages {
        assert!(matches!(ring.append(0, Expect::Any, draft, payload), Ok(Appended::Ok(_))));
    }
}

proptest! {
    #[test]
    fn a_pipe_that_is_cut_anywhere_and_goes_on_anywhere_below_makes_the_same_stream(
        pages in prop::collection::vec(page(), 0..40), cuts in prop::collection::vec(any::<[prop::sample::Index; 2]>(), 0..6),
        room in 1..8_usize,
    ) {
        let (from, to) = (ring(40, Retention::Keep), ring(40, Retention::Keep));
        let mut written = 0;
        let mut cursor = Cursor(0);
        for [more, back] in cuts {
            let more = written + more.index(pages.len() - written + 1);
            write(&from, &pages[written..more]);
            written = more;
            let piped = pipe_some(&*from, cursor, &*to, 0).expect("rings do not fail");
            prop_assert_eq!(piped, Piped { cursor: Cursor(written as u64), stopped: Stopped::Blocked(Wake::Page(written as u64)) });
            cursor = Cursor(back.index(written + 1) as u64);
        }
        write(&from, &pages[written..]);
        prop_assert!(from.close(0).is_ok());
        let done = within(pipe(&*from, cursor, &*to, 0)).expect("rings do not fail");
        prop_assert_eq!(done, Piped { cursor: Cursor(pages.len() as u64), stopped: Stopped::End });

        // And once more through a stream that holds a few pages only, while somebody reads it.
        let narrow = ring(room, Retention::Keep);
        let through = narrow.clone();
        let copied = std::thread::scope(|threads| {
            threads.spawn(|| within(pipe(&*to, Cursor(0), &*through, 0)));
            let mut copied = Vec::new();
            while let Next::Item(page, after) = see(&*narrow, copied.len() as u64) {
                copied.push(page.head);
                drop(page);
                narrow.trim(after.0).expect("rings do not fail");
            }
            copied
        });
        prop_assert_eq!(copied.len(), pages.len());
        for (position, head) in copied.iter().enumerate() {
            let Next::Item(page, _) = see(&*from, position as u64) else { panic!("it is there") };
            prop_assert_eq!(&page.head, head);
        }
        for copy in [&*to, &*narrow] {
            prop_assert_eq!(copy.root(pages.len() as u64).ok(), from.root(pages.len() as u64).ok());
        }
    }
}

#[test]
fn a_pipe_says_why_it_stopped() {
    let pages = [(); 6].map(|()| (Draft::bytes(PageKind::Token), vec![1, 2, 3]));
    let from = ring(8, Retention::Keep);
    write(&from, &pages);
    let some = |cursor, to: &RingStream, epoch| {
        pipe_some(&*from, Cursor(cursor), to, epoch).map(|piped| (piped.cursor.0, piped.stopped)).expect("no fault")
    };
    let to = ring(4, Retention::Keep);
    assert_eq!(some(0, &to, 2), (4, Stopped::Full(Wake::Room(1))));
    assert_eq!(some(5, &to, 2), (5, Stopped::Conflict { tail: 4 }));
    assert_eq!(some(4, &to, 1), (4, Stopped::Fenced { epoch: 2 }));
    assert!(to.close(2).is_ok());
    assert_eq!(some(0, &to, 2), (4, Stopped::Closed));
    from.trim(3).expect("rings do not fail");
    assert_eq!(some(0, &ring(8, Retention::Keep), 0), (0, Stopped::Gap { earliest: 3 }));
    let other = pipe_some(&*from, Cursor(3), &*ring(8, Retention::Latest), 0);
    assert!(matches!(other, Err(StreamFault::AnotherStream { .. })));
}

#[test]
fn a_pipe_does_not_end_a_stream_that_differs_from_its_source() {
    let page = |byte| [(Draft::bytes(PageKind::Token), vec![byte])];
    let (from, to) = (ring(8, Retention::Keep), ring(8, Retention::Keep));
    write(&from, &page(1));
    write(&to, &page(2));
    assert!(from.close(0).is_ok());
    let done = pipe_some(&*from, Cursor(1), &*to, 0);
    assert!(matches!(done, Err(StreamFault::RootMismatch { .. })));
    assert!(!to.state().closed);
}
