//! What the laws' suite does not know: files, crashes and damage.

use std::{
    fs::{self, OpenOptions},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

use proptest::prelude::*;
use tempfile::TempDir;
use wallet::page::{PageKind, payload_hash};

use super::*;
use crate::stream::{Page, Retention, block_on};

mod bytes;
mod laws;
mod process;

fn descriptor(integrity: Integrity, retention: Retention) -> Descriptor {
    Descriptor { owner: Digest([7; 32]), name: "test".to_owned(), integrity, retention, format: Digest::ZERO }
}

fn plain() -> Descriptor {
    descriptor(Integrity::Plain, Retention::Keep)
}

fn options(sealed: bool) -> SegmentOptions {
    SegmentOptions { seal: sealed.then(|| RestKey::from_bytes([3; 32])), ..SegmentOptions::default() }
}

/// In memory, where there is such a folder: the tests sync often.
fn folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.expect("a folder")
}

fn open(folder: &Path, sealed: bool) -> SegmentStream {
    SegmentStream::open(&folder.join("s"), plain(), options(sealed)).expect("it opens")
}

fn payload(position: u64) -> Vec<u8> {
    (0..40 + position * 3).map(|byte| (byte * 7 + position) as u8).collect()
}

fn append(stream: &SegmentStream, position: u64) {
    let appended = stream.append(1, Expect::Any, &Draft::bytes(PageKind::Journal), &payload(position));
    assert_eq!(appended.expect("it is written"), Appended::Ok(position));
}

fn page(stream: &SegmentStream, position: u64) -> Result<Page, StreamFault> {
    match stream.next(Cursor(position))? {
        Next::Item(page, _) => Ok(page),
        other => panic!("no page at {position}: {other:?}"),
    }
}

/// The pages from `earliest` on are those that [`append`] writes.
fn check_pages(stream: &SegmentStream) {
    let state = stream.state();
    for position in state.earliest..state.tail {
        let page = page(stream, position).expect("it reads");
        assert_eq!((page.head.position, page.payload.as_ref()), (position, payload(position).as_slice()));
        assert_eq!(page.head.hash, payload_hash(&page.payload, None));
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder.join("s")).expect("a folder").map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    files
}

fn flip(file: &Path, bit: usize) {
    let file = OpenOptions::new().read(true).write(true).open(file).expect("it opens");
    let mut byte = [0];
    file.read_exact_at(&mut byte, (bit / 8) as u64).expect("it reads");
    byte[0] ^= 1 << (bit % 8);
    file.write_all_at(&byte, (bit / 8) as u64).expect("it is written");
}

#[test]
fn a_stream_that_was_opened_again_goes_on_in_a_new_file_with_the_same_roots() {
    for sealed in [false, true] {
        let folder = folder();
        let mut roots = vec![open(folder.path(), sealed).root(0).expect("a root")];
        for position in 0..9 {
            let stream = open(folder.path(), sealed);
            for (at, root) in roots.iter().enumerate() {
                assert_eq!(stream.root(at as u64).expect("a root"), *root);
            }
            append(&stream, position);
            roots.push(stream.root(position + 1).expect("a root"));
            check_pages(&stream);
            assert_eq!(stream.state().durable, position, "what came before is synced with the new file");
        }
        assert_eq!(files(folder.path()).len(), 9);
    }
}

#[test]
fn what_was_synced_after_opening_again_is_durable_for_good_and_damage_in_it_is_found() {
    for sealed in [false, true] {
        let folder = folder();
        append(&open(folder.path(), sealed), 0);
        let stream = open(folder.path(), sealed);
        assert_eq!((stream.state().durable, stream.sync().expect("it syncs")), (0, 1));
        drop(stream);
        assert_eq!(open(folder.path(), sealed).state().durable, 1);
        let first = &files(folder.path())[0];
        let bytes = fs::metadata(first).expect("a file").len() as usize;
        flip(first, bytes * 8 - 1);
        let opened = SegmentStream::open(&folder.path().join("s"), plain(), options(sealed));
        let read = opened.and_then(|stream| page(&stream, 0));
        assert!(matches!(read, Err(StreamFault::Damaged { .. })), "{read:?}");
    }
}

#[test]
fn opening_without_writing_leaves_no_files_behind() {
    let folder = folder();
    append(&open(folder.path(), false), 0);
    for _ in 0..3 {
        drop(open(folder.path(), false));
    }
    assert_eq!(files(folder.path()).len(), 1);
}

#[test]
fn what_no_mark_calls_durable_is_written_again_when_the_stream_is_opened() {
    // A system whose sync failed shows bytes that are not on the disk, and takes them for written.
    for sealed in [false, true] {
        let folder = folder();
        for synced in [false, true] {
            let stream = open(folder.path(), sealed);
            let tail = stream.state().tail;
            (tail..tail + 3).for_each(|position| append(&stream, position));
            if synced {
                assert_eq!(stream.sync().expect("it syncs"), tail + 3);
            }
            drop(stream);
            let old = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1);
            let written = |file: &PathBuf| fs::metadata(file).and_then(|file| file.modified()).expect("a time") != old;
            let files = files(folder.path());
            for file in &files {
                File::options().write(true).open(file).and_then(|file| file.set_modified(old)).expect("a time is set");
            }
            let before: Vec<_> = files.iter().map(|file| fs::read(file).expect("it reads")).collect();
            check_pages(&open(folder.path(), sealed));
            let again: Vec<bool> = files.iter().map(written).collect();
            assert_eq!(again, [vec![false; files.len() - 1], vec![!synced]].concat(), "only what may be lost");
            let after: Vec<_> = files.iter().map(|file| fs::read(file).expect("it reads")).collect();
            assert!(before == after, "the same bytes at the same places");
        }
    }
}

#[test]
fn nobody_opens_a_stream_that_is_open() {
    let folder = folder();
    let stream = open(folder.path(), false);
    let again = SegmentStream::open(&folder.path().join("s"), plain(), options(false));
    let busy = |fault: &StreamFault| match fault {
        StreamFault::Io { source, .. } => source.kind() == std::io::ErrorKind::WouldBlock,
        _ => false,
    };
    assert!(again.is_err_and(|fault| busy(&fault)));
    drop(stream);
    let stream = open(folder.path(), false);
    append(&stream, 0);
    SegmentStream::remove(&folder.path().join("s")).expect("it is removed");
    SegmentStream::remove(&folder.path().join("s")).expect("it is gone already");
    assert_eq!(open(folder.path(), false).state().tail, 0, "another folder");
    drop(stream);
}

#[test]
fn another_stream_or_key_does_not_open() {
    let folder = folder();
    append(&open(folder.path(), true), 0);
    let path = folder.path().join("s");
    let other = Descriptor { name: "other".to_owned(), ..plain() };
    let verdict = SegmentStream::open(&path, other, options(true)).map(drop);
    assert!(matches!(verdict, Err(StreamFault::AnotherStream { .. })), "{verdict:?}");
    let key = SegmentOptions { seal: Some(RestKey::from_bytes([4; 32])), ..SegmentOptions::default() };
    for options in [key, options(false)] {
        let verdict = SegmentStream::open(&path, plain(), options).map(drop);
        assert!(matches!(verdict, Err(StreamFault::Damaged { .. })), "{verdict:?}");
    }
    let verdict = SegmentStream::open(&path, descriptor(Integrity::None, Retention::Keep), options(true)).map(drop);
    assert!(matches!(verdict, Err(StreamFault::Unhashed)), "{verdict:?}");
    check_pages(&open(folder.path(), true));
}

#[test]
fn a_fence_and_the_end_are_there_after_opening_again() {
    for sealed in [false, true] {
        let folder = folder();
        let stream = open(folder.path(), sealed);
        append(&stream, 0);
        stream.fence(5).expect("it is written");
        let old = |stream: &SegmentStream| {
            stream.append(4, Expect::Any, &Draft::bytes(PageKind::Journal), b"").expect("no fault")
        };
        assert_eq!(old(&stream), Appended::Fenced { epoch: 5 });
        drop(stream);
        let stream = open(folder.path(), sealed);
        assert_eq!(old(&stream), Appended::Fenced { epoch: 5 });
        stream.fence(6).expect("it is written, in a new file's header");
        drop(stream);
        let stream = open(folder.path(), sealed);
        assert_eq!((stream.state().epoch, stream.state().tail), (6, 1));
        assert_eq!(stream.close(7).expect("it is written"), Appended::Ok(1));
        drop(stream);
        let stream = open(folder.path(), sealed);
        let state = StreamState { tail: 1, earliest: 0, durable: 1, epoch: 7, closed: true };
        assert_eq!(stream.state(), state);
        assert_eq!(stream.close(7).expect("it is closed"), Appended::Same(1));
        assert!(matches!(stream.next(Cursor(1)), Ok(Next::End)));
        stream.fence(8).expect("it is written");
        drop(stream);
        assert_eq!(open(folder.path(), sealed).state(), StreamState { epoch: 8, ..state });
    }
}

#[test]
fn an_append_with_a_new_epoch_fences_the_old_one_for_good() {
    let folder = folder();
    append(&open(folder.path(), false), 0);
    let stream = open(folder.path(), false);
    append(&stream, 1);
    let draft = Draft::bytes(PageKind::Journal);
    assert_eq!(stream.append(9, Expect::At(2), &draft, b"x").expect("it is written"), Appended::Ok(2));
    drop(stream);
    assert_eq!(open(folder.path(), false).state().epoch, 9);
}

#[test]
fn files_below_what_was_trimmed_go_and_roots_go_on() {
    let folder = folder();
    let small = SegmentOptions { segment_bytes: 1, ..options(true) };
    let open = || SegmentStream::open(&folder.path().join("s"), plain(), small.clone()).expect("it opens");
    let stream = open();
    (0..20).for_each(|position| append(&stream, position));
    let (root, proof) = (stream.root(15).expect("a root"), stream.prove(13, 17).expect("a proof"));
    stream.trim(13).expect("it is trimmed");
    assert_eq!((stream.state().earliest, files(folder.path()).len()), (13, 7));
    assert!(matches!(stream.next(Cursor(12)), Ok(Next::Gap { earliest: 13 })));
    drop(stream);
    let stream = open();
    assert_eq!(stream.state().earliest, 13);
    assert_eq!(stream.root(15).expect("a root"), root);
    assert_eq!(stream.prove(13, 17).expect("a proof"), proof);
    assert!(matches!(stream.root(12), Err(StreamFault::NotKept { .. })));
    check_pages(&stream);
}

#[test]
fn a_limit_holds_whether_pages_are_kept_or_not() {
    for (retention, frames) in [(Retention::Keep, 20_u64), (Retention::Latest, 20)] {
        let folder = folder();
        let limit = SegmentOptions { capacity_bytes: Some(16_000), ..options(false) };
        let stream = SegmentStream::open(&folder.path().join("s"), descriptor(Integrity::Plain, retention), limit)
            .expect("it opens");
        let draft = Draft::bytes(PageKind::Journal);
        let mut wake = None;
        for position in 0..frames {
            match stream.append(1, Expect::Any, &draft, &[position as u8; 1000]).expect("no fault") {
                Appended::Ok(at) => assert_eq!(at, position),
                Appended::Full(room) => {
                    wake = Some(room);
                    break;
                }
                other => panic!("{other:?}"),
            }
            let bytes: u64 = files(folder.path()).iter().map(|file| file.metadata().expect("a file").len()).sum();
            assert!(bytes <= 16_000, "{bytes}");
        }
        let state = stream.state();
        match retention {
            Retention::Keep => {
                let Some(Wake::Room(room)) = wake else { panic!("it is not full: {state:?}") };
                stream.trim(room).expect("it is trimmed");
                block_on(stream.wait(Wake::Room(room)));
                let appended = stream.append(1, Expect::Any, &draft, &[1; 1000]).expect("no fault");
                assert_eq!(appended, Appended::Ok(state.tail));
            }
            Retention::Latest => {
                assert!(state.tail == frames && state.earliest > 0, "{state:?}");
                assert!(matches!(stream.next(Cursor(0)), Ok(Next::Gap { .. })));
                page(&stream, state.earliest).expect("it reads");
            }
        }
        let large = stream.append(1, Expect::Any, &draft, &[0; 15_000]);
        assert!(matches!(large, Err(StreamFault::PageTooLarge { .. })), "{large:?}");
    }
}

#[test]
fn pages_as_large_as_the_limit_come_and_go_one_by_one() {
    for retention in [Retention::Keep, Retention::Latest] {
        let folder = folder();
        let limit = SegmentOptions { capacity_bytes: Some(16_000), ..options(false) };
        let stream = SegmentStream::open(&folder.path().join("s"), descriptor(Integrity::Plain, retention), limit)
            .expect("it opens");
        let draft = Draft::bytes(PageKind::Journal);
        for position in 0..5 {
            let append =
                || stream.append(1, Expect::At(position), &draft, &[position as u8; 10_000]).expect("no fault");
            let first = append();
            if retention == Retention::Keep && position > 0 {
                assert_eq!(first, Appended::Full(Wake::Room(position)));
                stream.trim(position).expect("it is trimmed");
                block_on(stream.wait(Wake::Room(position)));
                assert_eq!(append(), Appended::Ok(position));
            } else {
                assert_eq!(first, Appended::Ok(position));
            }
            assert_eq!(page(&stream, position).expect("it reads").payload, vec![position as u8; 10_000]);
        }
    }
}

#[test]
fn what_sync_returned_is_durable_for_all_threads_that_asked() {
    let folder = folder();
    let stream = Arc::new(open(folder.path(), false));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let stream = Arc::clone(&stream);
            thread::spawn(move || {
                for _ in 0..20 {
                    let draft = Draft::bytes(PageKind::Journal);
                    let Appended::Ok(position) = stream.append(1, Expect::Any, &draft, b"page").expect("no fault")
                    else {
                        panic!("it was not appended")
                    };
                    assert!(stream.sync().expect("it syncs") > position);
                    assert!(stream.state().durable > position);
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().expect("it held"));
    assert_eq!(stream.state().durable, 80);
    drop(stream);
    assert_eq!(open(folder.path(), false).state().durable, 80);
}

#[test]
fn sealed_files_show_nothing_of_equal_pages() {
    let folder = folder();
    let stream = open(folder.path(), true);
    let draft = Draft::bytes(PageKind::Token);
    for _ in 0..4 {
        stream.append(1, Expect::Any, &draft, &[0x5A; 64]).expect("it is written");
    }
    stream.close(1).expect("it is written");
    let bytes = fs::read(&files(folder.path())[0]).expect("it reads");
    let head = page(&stream, 0).expect("it reads").head;
    let root = stream.root(4).expect("a root");
    for secret in [&[0x5A; 8][..], &head.hash.0[..8], &root.0[..8]] {
        assert!(!bytes.windows(8).any(|window| window == secret));
    }
    let mut seen = std::collections::HashSet::new();
    let body = &bytes[super::format::HEADER_PREFIX_BYTES..];
    // Preludes of equal frames have their first eight bytes in common; of sixteen, eight are left to chance.
    assert!(body.windows(16).all(|window| seen.insert(window)), "sixteen bytes come twice");
}

#[test]
fn a_page_under_a_hash_that_is_not_its_own_does_not_read() {
    let folder = folder();
    let stream = open(folder.path(), false);
    let draft = Draft { hash: Some(Digest([9; 32])), ..Draft::bytes(PageKind::Journal) };
    stream.append(1, Expect::Any, &draft, b"page").expect("it is written");
    assert!(matches!(page(&stream, 0), Err(StreamFault::Damaged { position: 0, .. })));
}

#[test]
fn a_keyed_stream_wants_its_hashes_from_the_writer() {
    let folder = folder();
    let keyed = descriptor(Integrity::Keyed, Retention::Keep);
    let stream = SegmentStream::open(&folder.path().join("s"), keyed, options(true)).expect("it opens");
    let draft = Draft::bytes(PageKind::Journal);
    assert!(matches!(stream.append(1, Expect::Any, &draft, b"page"), Err(StreamFault::HashMissing)));
    let draft = Draft { hash: Some(Digest([9; 32])), ..draft };
    stream.append(1, Expect::Any, &draft, b"page").expect("it is written");
    assert_eq!(page(&stream, 0).expect("it reads").head.hash, Digest([9; 32]));
}

#[test]
fn a_write_that_fails_ends_the_writer_and_what_was_read_stays() {
    let folder = folder();
    let small = SegmentOptions { segment_bytes: 1, ..options(false) };
    let stream = SegmentStream::open(&folder.path().join("s"), plain(), small).expect("it opens");
    (0..2).for_each(|position| append(&stream, position));
    let held = page(&stream, 1).expect("it reads");
    fs::rename(folder.path().join("s"), folder.path().join("away")).expect("it is renamed");
    let draft = Draft::bytes(PageKind::Journal);
    let state = stream.state();
    for _ in 0..2 {
        assert!(matches!(stream.append(1, Expect::Any, &draft, b"x"), Err(StreamFault::Io { .. })));
    }
    fs::rename(folder.path().join("away"), folder.path().join("s")).expect("it is renamed");
    assert!(matches!(stream.append(1, Expect::Any, &draft, b"x"), Err(StreamFault::Io { .. })), "not tried again");
    assert!(matches!(stream.sync(), Err(StreamFault::Io { .. })));
    assert!(matches!(stream.fence(5), Err(StreamFault::Io { .. })));
    assert!(matches!(stream.close(1), Err(StreamFault::Io { .. })));
    assert_eq!((stream.state(), held.payload.as_ref()), (state, payload(1).as_slice()));
    check_pages(&stream);
    drop(stream);
    let stream = open(folder.path(), false);
    assert_eq!(stream.state().tail, 2);
    append(&stream, 2);
}

#[test]
fn a_draft_that_makes_no_head_is_refused_and_changes_nothing() {
    let folder = folder();
    let stream = open(folder.path(), false);
    append(&stream, 0);
    let draft = Draft { fill: 2, ..Draft::bytes(PageKind::Journal) };
    let refused = stream.append(1, Expect::Any, &draft, b"two rows where one fits");
    assert!(matches!(refused, Err(StreamFault::Damaged { position: 1, .. })), "{refused:?}");
    append(&stream, 1);
    drop(stream);
    check_pages(&open(folder.path(), false));
}
