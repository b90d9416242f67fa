//! Each law.

use std::thread;

use wallet::page::{PageKind, payload_hash};

use super::{
    Limits, Open, Opened,
    case::{Case, descriptor, see, within},
};
use crate::stream::{
    Accumulator, Appended, Cursor, Descriptor, Draft, Expect, Integrity, Next, Retention, Stopped, StreamFault,
    StreamState, Wake, pipe, pipe_some,
};

const KEEP: Retention = Retention::Keep;

/// What was read at a position is read there for ever, or is a gap; and what was lent is not written again.
pub fn law_1_a_prefix_is_immutable(open: &mut Open<'_>, integrity: Integrity) {
    let mut case = Case::open(open, integrity, KEEP, 16);
    case.fill(8);
    let held: Vec<_> = (0..3).map(|position| case.page(position)).collect();
    case.fill(4);
    (0..12).for_each(|position| drop(case.page(position)));
    case.reader().trim(8).expect("the transport works");
    // Three of the pages that were trimmed are lent still.
    for _ in 0..5 {
        let position = case.tail();
        while let Appended::Full(wake) = case.put(0, Expect::At(position), position, 0) {
            within(case.writer().wait(wake));
        }
        case.note(0);
    }
    for position in 0..case.tail() {
        match case.see(position) {
            Next::Item(page, _) => case.check(position, &page),
            Next::Gap { earliest } => assert!(position < earliest && earliest <= 8),
            other => panic!("page {position} was there, now there is {other:?}"),
        }
    }
    held.iter().zip(0..).for_each(|(page, position)| case.check(position, page));
}

/// Reading changes nothing for another reader.
pub fn law_2_cursors_are_independent(open: &mut Open<'_>, integrity: Integrity) {
    let mut case = Case::open(open, integrity, KEEP, 16);
    case.fill(9);
    drop(case.page(8));
    let before = case.reader().state();
    for position in 0..9 {
        for other in [8 - position, position, 0, position] {
            drop(case.page(other));
        }
    }
    assert_eq!(case.reader().state(), before);
    thread::scope(|threads| {
        for _ in 0..2 {
            let reader = case.opened.reader.clone();
            let (heads, payloads) = (&case.heads, &case.payloads);
            threads.spawn(move || {
                for position in 0..9 {
                    let Next::Item(page, _) = see(&*reader, position) else { panic!("page {position} is there") };
                    assert_eq!(page.head, heads[position as usize]);
                    assert_eq!(page.payload, payloads[position as usize]);
                }
            });
        }
    });
}

/// The n-th page has position n, and its head says so, also where two write at once.
pub fn law_3_positions_are_dense(open: &mut Open<'_>, integrity: Integrity) {
    let case = Case::open(open, integrity, KEEP, 64);
    thread::scope(|threads| {
        for name in 0..2 {
            let writer = case.opened.writer.clone();
            threads.spawn(move || {
                for page in 0..20 {
                    let first: u64 = name * 100 + page;
                    let payload = first.to_le_bytes();
                    let hash = (integrity == Integrity::Keyed).then(|| payload_hash(&payload, None));
                    let draft = Draft { first, hash, ..Draft::bytes(PageKind::Journal) };
                    let appended = writer.append(0, Expect::Any, &draft, &payload).expect("the transport works");
                    assert!(matches!(appended, Appended::Ok(_)), "there is room, yet {appended:?}");
                }
            });
        }
    });
    assert_eq!(case.writer().state().tail, 40);
    for position in 0..40 {
        let Next::Item(page, after) = case.see(position) else { panic!("page {position} should be there") };
        assert_eq!((page.head.position, after), (position, Cursor(position + 1)));
        assert_eq!(page.payload, page.head.first.to_le_bytes().as_slice(), "the payload goes with its head");
    }
}

/// The same page at the same place changes nothing, and another one neither.
pub fn law_4_an_append_is_idempotent(open: &mut Open<'_>, integrity: Integrity) {
    let mut case = Case::open(open, integrity, KEEP, 16);
    for position in 0..6 {
        assert_eq!(case.put(0, Expect::At(position), position, 0), Appended::Ok(position));
        case.note(0);
        assert_eq!(case.put(0, Expect::At(position), position, 0), Appended::Same(position));
    }
    let roots = case.writer().root(6).ok();
    for position in 0..6 {
        assert_eq!(case.put(0, Expect::At(position), position, 0), Appended::Same(position));
        assert_eq!(case.put(0, Expect::At(position), position, 1), Appended::Conflict { tail: 6 }, "another payload");
        assert_eq!(case.put(0, Expect::At(position), position + 1, 0), Appended::Conflict { tail: 6 }, "another head");
    }
    assert_eq!(case.put(0, Expect::At(7), 7, 0), Appended::Conflict { tail: 6 }, "a hole");
    assert_eq!(case.put(0, Expect::At(u64::MAX), 7, 0), Appended::Conflict { tail: 6 }, "a hole");
    assert_eq!((case.writer().state().tail, case.writer().root(6).ok()), (6, roots));
    assert!(matches!(case.writer().close(0), Ok(Appended::Ok(6))));
    assert_eq!(case.put(0, Expect::At(5), 5, 0), Appended::Same(5), "also after the end");
    (0..6).for_each(|position| drop(case.page(position)));
}

/// Once an epoch was seen, an older one neither appends nor closes.
pub fn law_5_stale_epochs_are_fenced(open: &mut Open<'_>, integrity: Integrity) {
    let mut case = Case::open(open, integrity, KEEP, 16);
    case.fill(2);
    assert_eq!(case.put(3, Expect::Any, 2, 0), Appended::Ok(2));
    case.note(0);
    let fenced = Appended::Fenced { epoch: 3 };
    assert_eq!(case.put(2, Expect::Any, 3, 0), fenced);
    assert_eq!(case.put(2, Expect::At(3), 3, 0), fenced);
    assert_eq!(case.put(2, Expect::At(2), 2, 0), fenced, "also what is there already");
    assert_eq!(case.writer().close(2).expect("the transport works"), fenced);
    case.writer().fence(5).expect("the transport works");
    case.writer().fence(4).expect("the transport works");
    assert_eq!(case.put(4, Expect::Any, 3, 0), Appended::Fenced { epoch: 5 });
    let StreamState { tail, epoch, closed, .. } = case.writer().state();
    assert_eq!((tail, epoch, closed), (3, 5, false));
    assert_eq!(case.put(5, Expect::Any, 3, 0), Appended::Ok(3));
    case.note(0);
    assert_eq!(case.writer().close(6).expect("the transport works"), Appended::Ok(4));
    assert_eq!(case.writer().close(5).expect("the transport works"), Appended::Fenced { epoch: 6 });
    (0..4).for_each(|position| drop(case.page(position)));
}

/// The end comes after close, and after everything was read.
pub fn law_6_end_follows_the_last_page(open: &mut Open<'_>, integrity: Integrity) {
    for pages in [0, 5] {
        let mut case = Case::open(open, integrity, KEEP, 16);
        case.fill(pages);
        (0..pages).for_each(|position| drop(case.page(position)));
        assert!(matches!(case.reader().next(Cursor(pages)), Ok(Next::Blocked(_))), "it is not the end yet");
        assert_eq!(case.writer().close(0).expect("the transport works"), Appended::Ok(pages));
        assert_eq!(case.writer().close(0).expect("the transport works"), Appended::Same(pages));
        assert_eq!(case.put(0, Expect::Any, pages, 0), Appended::Closed);
        assert_eq!(case.put(0, Expect::At(pages), pages, 0), Appended::Closed);
        (0..pages).for_each(|position| drop(case.page(position)));
        assert!(matches!(case.see(pages), Next::End));
        assert_eq!((case.reader().state().tail, case.reader().state().closed), (pages, true));
        (0..pages).for_each(|position| drop(case.page(position)));
    }
}

/// A gap is below the earliest page and nowhere else.
pub fn law_7_a_gap_is_below_the_earliest_page(open: &mut Open<'_>, integrity: Integrity) {
    let mut case = Case::open(open, integrity, KEEP, 16);
    case.fill(10);
    drop(case.page(9));
    for (trimmed, most) in [(0, 0), (4, 4), (2, 4), (7, 7), (100, 10)] {
        case.reader().trim(trimmed).expect("the transport works");
        for position in 0..10 {
            match case.see(position) {
                Next::Item(page, _) => case.check(position, &page),
                Next::Gap { earliest } => {
                    assert!(position < earliest && earliest <= most, "a gap at {position} below {earliest}");
                    assert!(case.reader().state().earliest >= earliest);
                }
                other => panic!("{position} was there, now there is {other:?}"),
            }
        }
        assert!(case.reader().state().earliest <= most);
    }
    let position = case.tail();
    assert!(matches!(case.reader().next(Cursor(position)), Ok(Next::Blocked(_))));
}

/// If what is waited for holds already, waiting ends at once; if it comes to hold, it ends then.
pub fn law_8_no_wake_up_is_lost(open: &mut Open<'_>, integrity: Integrity) {
    let mut case = Case::open(open, integrity, KEEP, 8);
    case.fill(2);
    drop(case.page(1));
    within(case.reader().wait(Wake::Page(0)));
    within(case.reader().wait(Wake::Page(1)));
    // One that is dropped takes nothing with it.
    drop(case.reader().wait(Wake::Page(2)));
    case.writer().close(0).expect("the transport works");
    within(case.reader().wait(Wake::Page(2)));
    within(case.writer().wait(Wake::Room(1)));

    const PAGES: u64 = 400;
    let case = Case::open(open, integrity, KEEP, 4);
    let (writer, reader) = (case.opened.writer.clone(), case.opened.reader.clone());
    thread::scope(|threads| {
        threads.spawn(move || {
            for position in 0..PAGES {
                match see(&*reader, position) {
                    Next::Item(page, _) => assert_eq!(page.head.first, position),
                    other => panic!("a page should be at {position}, there is {other:?}"),
                }
                reader.trim(position + 1).expect("the transport works");
            }
            assert!(matches!(see(&*reader, PAGES), Next::End));
        });
        threads.spawn(move || {
            for first in 0..PAGES {
                let payload = [first as u8; 64];
                let hash = (integrity == Integrity::Keyed).then(|| payload_hash(&payload, None));
                let draft = Draft { first, hash, ..Draft::bytes(PageKind::Journal) };
                loop {
                    match writer.append(0, Expect::At(first), &draft, &payload).expect("the transport works") {
                        Appended::Ok(_) => break,
                        Appended::Full(wake) => within(writer.wait(wake)),
                        other => panic!("{other:?}"),
                    }
                }
            }
            writer.close(0).expect("the transport works");
        });
    });
}

/// Durability grows, and never beyond the tail.
pub fn law_9_durability_only_grows(open: &mut Open<'_>, integrity: Integrity) {
    let mut case = Case::open(open, integrity, KEEP, 16);
    let mut durable = 0;
    for round in 0..6 {
        case.fill(2);
        if round % 2 == 0 {
            let synced = case.writer().sync().expect("the transport works");
            assert!(synced <= case.tail() && case.writer().state().durable >= synced);
        }
        for end in [case.writer().state(), case.reader().state()] {
            assert!(end.durable <= end.tail);
        }
        let now = case.writer().state().durable;
        assert!(now >= durable);
        durable = now;
    }
}

/// Equal pages have equal roots, and every range is proved.
pub fn law_10_equal_pages_have_equal_roots(open: &mut Open<'_>, integrity: Integrity) {
    let mut case = Case::open(open, integrity, KEEP, 32);
    case.fill(21);
    drop(case.page(20));
    let mut tree = Accumulator::new();
    let mut roots = vec![tree.root()];
    for head in &case.heads {
        tree.push(head);
        roots.push(tree.root());
    }
    for end in [case.reader(), case.writer()] {
        for at in 0..=21 {
            assert_eq!(end.root(at).expect("it is kept"), roots[at as usize], "at {at}");
            for from in 0..=at {
                let proof = end.prove(from, at).expect("it is kept");
                let proved = proof.verify(&case.heads[from as usize..at as usize]).expect("it fits");
                assert_eq!((proved.from, proved.to), (roots[from as usize], roots[at as usize]));
            }
        }
        assert!(matches!(end.root(22), Err(StreamFault::BeyondTail { .. })));
    }
    case.reader().trim(13).expect("the transport works");
    match case.reader().root(21) {
        Ok(root) => assert_eq!(root, roots[21], "trimming changes no root"),
        Err(fault) => assert_eq!((integrity, fault.code()), (Integrity::None, "E-206"), "hashed when it is asked for"),
    }
    let earliest = case.reader().state().earliest;
    if let Some(before) = earliest.checked_sub(1) {
        assert!(matches!(case.reader().root(before), Err(StreamFault::NotKept { .. })));
    }
}

/// Positions, heads and roots come through a pipe as they are, also one that is cut and goes on.
pub fn law_11_a_pipe_changes_nothing(from: &mut Open<'_>, to: &mut Open<'_>, integrity: Integrity) {
    let mut source = Case::open(from, integrity, KEEP, 32);
    let target = Case::of(to, source.descriptor.clone(), 32);
    source.fill(5);
    drop(source.page(4));
    let piped = pipe_some(source.reader(), Cursor(0), target.writer(), 0).expect("the transports work");
    assert_eq!((piped.cursor, piped.stopped), (Cursor(5), Stopped::Blocked(Wake::Page(5))));
    source.fill(7);
    drop(source.page(11));
    // It was cut, and whoever goes on knows less than was done.
    let piped = pipe_some(source.reader(), Cursor(3), target.writer(), 1).expect("the transports work");
    assert_eq!(piped.cursor, Cursor(12));
    assert_eq!(
        pipe_some(source.reader(), Cursor(3), target.writer(), 0).expect("the transports work").stopped,
        Stopped::Fenced { epoch: 1 }
    );
    let (reader, writer) = (source.opened.reader.clone(), target.opened.writer.clone());
    let done = thread::scope(|threads| {
        let done = threads.spawn(move || within(pipe(&*reader, Cursor(12), &*writer, 1)));
        source.fill(3);
        source.writer().close(0).expect("the transport works");
        done.join().expect("it does not panic").expect("the transports work")
    });
    assert_eq!((done.cursor, done.stopped), (Cursor(15), Stopped::End));
    let copy = Case { opened: target.opened, ..source };
    (0..15).for_each(|position| drop(copy.page(position)));
    assert!(matches!(copy.see(15), Next::End));
    let mut tree = Accumulator::new();
    copy.heads.iter().for_each(|head| tree.push(head));
    match copy.reader().root(15) {
        Err(StreamFault::NotKept { .. }) => {}
        root => assert_eq!(root.expect("the transport works"), tree.root()),
    }
    let stranger = Case::open(to, integrity, KEEP, 32);
    let refused = pipe_some(copy.reader(), Cursor(0), stranger.writer(), 1);
    assert!(matches!(refused, Err(StreamFault::AnotherStream { .. })));
}

/// Where the oldest pages go for new ones, nobody waits, and who is late sees a gap. Only for what is bounded.
pub fn the_latest_pages_stay(open: &mut Open<'_>, integrity: Integrity) {
    let mut case = Case::open(open, integrity, Retention::Latest, 8);
    assert!(case.opened.bounded);
    case.fill(3);
    let held = case.page(1);
    case.fill(60);
    case.check(1, &held);
    let Next::Gap { earliest } = case.see(0) else { panic!("the first page should be gone") };
    assert!((1..case.tail()).contains(&earliest));
    for position in case.writer().state().earliest..case.tail() {
        drop(case.page(position));
    }
}

/// What was durable before a crash is there after it. `crash` ends the stream without closing or syncing it, drops all
/// of it, and opens it again from what is on disk.
pub fn durable_pages_survive(
    open: &mut Open<'_>,
    crash: &mut dyn FnMut(Opened, &Descriptor, Limits) -> Opened,
    integrity: Integrity,
) {
    let limits = Limits { pages: 64, payload_bytes: 4096 };
    let mut case = Case::of(open, descriptor(integrity, KEEP), limits.pages);
    for round in 0..4 {
        case.fill(5);
        let durable = case.writer().sync().expect("the transport works");
        assert!(durable <= case.tail());
        case.fill(round);
        if round == 2 {
            case.writer().fence(0).expect("the transport works");
        }
        let Case { descriptor, opened, heads, payloads } = case;
        let opened = crash(opened, &descriptor, limits);
        case = Case { descriptor, opened, heads, payloads };
        let StreamState { tail, closed, .. } = case.writer().state();
        assert!((durable..=case.tail()).contains(&tail) && !closed, "{durable} were durable, {tail} are there");
        // What was not durable may be gone; it is written again.
        case.heads.truncate(tail as usize);
        case.payloads.truncate(tail as usize);
        (0..tail).for_each(|position| drop(case.page(position)));
        let mut tree = Accumulator::new();
        case.heads.iter().for_each(|head| tree.push(head));
        assert_eq!(case.writer().root(tail).expect("it is kept"), tree.root());
    }
    case.writer().fence(9).expect("the transport works");
    assert!(matches!(case.writer().close(9), Ok(Appended::Ok(_))));
    case.writer().sync().expect("the transport works");
    let Case { descriptor, opened, heads, payloads } = case;
    let opened = crash(opened, &descriptor, limits);
    case = Case { descriptor, opened, heads, payloads };
    assert_eq!(case.writer().state().epoch, 9, "a fence is durable");
    assert_eq!(case.put(8, Expect::Any, case.tail(), 0), Appended::Fenced { epoch: 9 });
    assert!(matches!(case.see(case.tail()), Next::End), "so is the end");
}
