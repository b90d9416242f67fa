//! What shared memory does beyond the laws that all streams have.

use std::time::Duration;

use super::*;
use crate::stream::{Appended, Cursor, Expect, Next, Page, StreamWriter, Wake, block_on};

fn page(stream: &dyn Stream, at: u64) -> Page {
    match stream.next(Cursor(at)).expect("no fault") {
        Next::Item(page, after) => {
            assert_eq!(after, Cursor(at + 1));
            page
        }
        other => panic!("no page at {at}: {other:?}"),
    }
}

fn append(writer: &ShmWriter, payload: &[u8]) -> Appended {
    writer.append(1, Expect::Any, &draft(), payload).expect("no fault")
}

#[test]
fn payloads_of_every_size_come_through_in_one_piece() {
    let (writer, reader) = both(Integrity::Plain, 9000, 5);
    let (mut next, mut sent) = (0, 0);
    while next < 2000 {
        while sent < 2000 {
            match append(&writer, &expected(sent, 9000)) {
                Appended::Ok(at) => assert_eq!(at, sent),
                Appended::Full(_) => break,
                other => panic!("{other:?}"),
            }
            sent += 1;
        }
        let read = page(&reader, next);
        assert_eq!(read.payload, expected(next, 9000), "at {next}");
        assert_eq!(read.payload.as_ptr() as usize % 64, 0);
        next += 1;
        reader.trim(next).expect("trims");
    }
}

#[test]
fn what_is_being_read_is_not_written_over() {
    let (writer, reader) = both(Integrity::None, 4096, 2);
    append(&writer, &[1; 2048]);
    append(&writer, &[2; 2048]);
    let (first, same) = (page(&reader, 0), page(&reader, 0));
    reader.trim(2).expect("trims");
    assert_eq!(append(&writer, &[3; 2048]), Appended::Full(Wake::Room(1)));
    drop(first);
    assert_eq!(append(&writer, &[3; 2048]), Appended::Full(Wake::Room(1)));
    assert_eq!(same.payload, [1; 2048].as_slice());
    drop(same);
    assert_eq!(append(&writer, &[3; 2048]), Appended::Ok(2));
}

#[test]
fn what_the_writer_reads_itself_is_not_written_over() {
    let (writer, reader) = both(Integrity::None, 4096, 1);
    append(&writer, &[1; 100]);
    let own = page(&writer, 0);
    reader.trim(1).expect("trims");
    assert_eq!(append(&writer, &[2; 100]), Appended::Full(Wake::Room(1)));
    assert_eq!(own.payload, [1; 100].as_slice());
    drop(own);
    assert_eq!(append(&writer, &[2; 100]), Appended::Ok(1));
}

#[test]
fn giving_back_what_was_read_wakes_a_writer_that_waits_for_room() {
    let (writer, reader) = both(Integrity::None, 4096, 1);
    append(&writer, &[1]);
    let held = page(&reader, 0);
    reader.trim(1).expect("trims");
    let Appended::Full(wake) = append(&writer, &[2]) else { panic!("there is no room") };
    std::thread::scope(|scope| {
        scope.spawn(|| block_on(writer.wait(wake)));
        drop(held);
    });
    assert_eq!(append(&writer, &[2]), Appended::Ok(1));
}

#[test]
fn a_place_that_is_held_is_not_given_away() {
    let stream = ShmStream::create(descriptor(Integrity::None), ShmOptions { bytes: 1, pages: 1 }).expect("memory");
    let other = again(&stream);
    let (writer, reader) = (stream.writer().expect("free"), other.reader().expect("free"));
    assert_eq!((code(other.writer()), code(stream.reader())), ("E-211", "E-211"));
    append(&writer, &[1]);
    let held = page(&reader, 0);
    drop(reader);
    assert_eq!(code(stream.reader()), "E-211", "a payload keeps the place");
    drop(held);
    assert_eq!(stream.reader().expect("free").generation(), 2);
}

#[test]
fn who_went_away_without_closing_is_missed_after_the_last_page_only() {
    let (writer, reader) = both(Integrity::None, 4096, 2);
    append(&writer, &[1]);
    drop(writer);
    assert_eq!(page(&reader, 0).payload, [1].as_slice());
    assert_eq!(code(reader.next(Cursor(1))), "E-208");
    assert!(reader.wait_blocking(Wake::Page(1), Some(Duration::from_secs(60))));
    block_on(reader.wait(Wake::Page(1)));
}

#[test]
fn who_closed_may_go_away() {
    let (writer, reader) = both(Integrity::None, 4096, 2);
    append(&writer, &[1]);
    writer.close(1).expect("closes");
    drop(writer);
    page(&reader, 0);
    assert!(matches!(reader.next(Cursor(1)), Ok(Next::End)));
}

#[test]
fn nobody_is_missed_before_the_first_came() {
    let stream = ShmStream::create(descriptor(Integrity::None), ShmOptions { bytes: 1, pages: 1 }).expect("memory");
    let reader = stream.reader().expect("free");
    assert!(matches!(reader.next(Cursor(0)), Ok(Next::Blocked(Wake::Page(0)))));
    drop(reader);
    let stream = ShmStream::create(descriptor(Integrity::None), ShmOptions { bytes: 1, pages: 1 }).expect("memory");
    let writer = stream.writer().expect("free");
    append(&writer, &[1]);
    assert_eq!(append(&writer, &[1]), Appended::Full(Wake::Room(1)));
}

#[test]
fn a_successor_writes_on_at_the_tail() {
    let stream = ShmStream::create(descriptor(Integrity::Plain), ShmOptions { bytes: 4096, pages: 4 }).expect("memory");
    let reader = again(&stream).reader().expect("free");
    for position in 0..50 {
        let writer = again(&stream).writer().expect("free");
        assert_eq!(append(&writer, &expected(position, 3000)), Appended::Ok(position));
        assert_eq!(page(&reader, position).payload, expected(position, 3000));
        reader.trim(position + 1).expect("trims");
    }
}

#[test]
fn no_more_than_the_memory_can_hold_is_taken() {
    let (writer, _reader) = both(Integrity::None, 4096, 4);
    let fault = writer.append_with(1, Expect::Any, &draft(), 4097, &mut |_| panic!("it is not filled"));
    assert_eq!(code(fault), "E-203");
    assert_eq!(append(&writer, &[1; 4096]), Appended::Ok(0));
}

#[test]
fn a_panic_while_a_page_is_filled_leaves_nothing_behind() {
    let (writer, reader) = both(Integrity::None, 4096, 4);
    let filling = || writer.append_with(1, Expect::Any, &draft(), 10, &mut |_| panic!("as it should"));
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(filling)).is_err());
    assert_eq!((tail(&reader), append(&writer, &[1; 10])), (0, Appended::Ok(0)));
    assert_eq!(page(&reader, 0).payload, [1; 10].as_slice());
}

#[test]
fn retention_that_drops_pages_is_refused() {
    let latest = Descriptor { retention: Retention::Latest, ..descriptor(Integrity::None) };
    assert_eq!(code(ShmStream::create(latest, ShmOptions { bytes: 1, pages: 1 })), "E-209");
}

#[test]
fn memory_that_can_shrink_is_refused() {
    let file = tempfile::tempfile().expect("a file");
    file.set_len(1 << 20).expect("room");
    assert_eq!(code(ShmStream::open(file.into())), "E-201");
    let stream = ShmStream::create(descriptor(Integrity::None), ShmOptions { bytes: 1, pages: 1 }).expect("memory");
    let fd = std::fs::File::from(stream.inheritable().expect("a descriptor"));
    assert!(fd.set_len(0).is_err() && fd.set_len(1 << 30).is_err());
}

#[test]
fn two_threads_that_wait_for_each_other_both_get_on() {
    const PAGES: u64 = 20_000;
    let (writer, reader) = both(Integrity::None, 64, 1);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for position in 0..PAGES {
                while let Appended::Full(wake) = append(&writer, &position.to_le_bytes()) {
                    match position % 3 {
                        0 => assert!(writer.wait_blocking(wake, Some(Duration::from_secs(60)))),
                        _ => block_on(writer.wait(wake)),
                    }
                }
            }
            writer.close(1).expect("closes");
        });
        let mut cursor = Cursor(0);
        loop {
            match reader.next(cursor).expect("no fault") {
                Next::Item(page, after) => {
                    assert_eq!(page.payload, cursor.0.to_le_bytes().as_slice());
                    cursor = after;
                    drop(page);
                    reader.trim(cursor.0).expect("trims");
                }
                Next::Blocked(wake) if cursor.0.is_multiple_of(5) => {
                    assert!(reader.wait_blocking(wake, Some(Duration::from_secs(60))));
                }
                Next::Blocked(wake) => block_on(reader.wait(wake)),
                Next::End => break,
                gap @ Next::Gap { .. } => panic!("{gap:?}"),
            }
        }
        assert_eq!(cursor, Cursor(PAGES));
    });
}

#[test]
fn a_wait_without_a_cause_ends_with_its_time() {
    let (_writer, reader) = both(Integrity::None, 64, 1);
    assert!(!reader.wait_blocking(Wake::Page(0), Some(Duration::from_millis(1))));
}

#[test]
fn roots_of_a_stream_without_hashes_come_when_they_are_asked_for_in_time() {
    let (writer, reader) = both(Integrity::None, 4096, 8);
    for position in 0..4 {
        append(&writer, &expected(position, 100));
    }
    let root = writer.root(4).expect("all is there");
    reader.trim(2).expect("trims");
    append(&writer, &[1]);
    assert_eq!(writer.root(4).expect("kept"), root);
    assert_eq!(code(writer.root(1)), "E-206");
    assert_eq!(code(reader.root(4)), "E-206", "it was asked too late");
}

#[test]
fn both_sides_of_a_hashed_stream_have_its_roots_after_trimming() {
    let (writer, reader) = both(Integrity::Plain, 4096, 8);
    for position in 0..30 {
        append(&writer, &expected(position, 100));
        reader.trim(position).expect("trims");
        assert_eq!(writer.root(position + 1).expect("kept"), reader.root(position + 1).expect("kept"));
    }
    let proof = reader.prove(29, 30).expect("kept");
    let roots = proof.verify(&[page(&reader, 29).head]).expect("it fits");
    assert_eq!(roots.to, writer.root(30).expect("kept"));
}
