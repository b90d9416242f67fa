//! Files that were cut or changed.

use super::*;
use crate::stream::segment::format::{CHECK_BYTES, HEADER_PREFIX_BYTES};

/// Copies the stream's files to another folder.
fn copy(from: &Path) -> TempDir {
    let to = folder();
    fs::create_dir(to.path().join("s")).expect("a folder");
    for file in files(from) {
        fs::copy(&file, to.path().join("s").join(file.file_name().expect("a name"))).expect("it is copied");
    }
    to
}

/// A stream of two files: three pages, and three more of which `synced` says whether they are on disk.
fn sample(sealed: bool, synced: bool) -> TempDir {
    let folder = folder();
    let stream = open(folder.path(), sealed);
    (0..3).for_each(|position| append(&stream, position));
    drop(stream);
    let stream = open(folder.path(), sealed);
    (3..6).for_each(|position| append(&stream, position));
    if synced {
        assert_eq!(stream.sync().expect("it syncs"), 6);
    }
    folder
}

#[test]
fn a_file_that_was_cut_gives_whole_pages_and_goes_on() {
    for sealed in [false, true] {
        let whole = sample(sealed, false);
        let last = files(whole.path()).pop().expect("a file");
        let bytes = fs::read(&last).expect("it reads");
        let contents = decode(&bytes, options(sealed).seal.as_ref()).expect("it decodes");
        let header = contents.entries[0].offset;
        for length in header..bytes.len() as u64 {
            let copy = copy(whole.path());
            let last = files(copy.path()).pop().expect("a file");
            OpenOptions::new().write(true).open(&last).and_then(|file| file.set_len(length)).expect("it is cut");
            let stream = open(copy.path(), sealed);
            let tail = stream.state().tail;
            let next = contents.entries.get(tail as usize - 2).map_or(bytes.len() as u64, |entry| entry.offset);
            assert!(length < next || tail == 6, "cut at {length}: only {tail} pages");
            check_pages(&stream);
            (tail..8).for_each(|position| append(&stream, position));
            drop(stream);
            let stream = open(copy.path(), sealed);
            assert_eq!(stream.state().tail, 8);
            check_pages(&stream);
        }
    }
}

/// Reads everything: the pages, which must be right, and how many there are.
fn read_all(folder: &Path, sealed: bool) -> Result<u64, StreamFault> {
    let stream = SegmentStream::open(&folder.join("s"), plain(), options(sealed))?;
    let tail = stream.state().tail;
    for position in 0..tail {
        assert_eq!(page(&stream, position)?.payload.as_ref(), payload(position), "another page at {position}");
    }
    Ok(tail)
}

/// Of how many bits one is flipped: one of so many, or each with `BATCHMIND_ALL_BITS`.
fn one_of(many: usize) -> usize {
    if std::env::var_os("BATCHMIND_ALL_BITS").is_some() { 1 } else { many }
}

/// All bits of all files.
fn bits(folder: &Path) -> Vec<(usize, usize)> {
    let lengths = files(folder).into_iter().map(|file| file.metadata().expect("a file").len() as usize * 8);
    lengths.enumerate().flat_map(|(file, bits)| (0..bits).map(move |bit| (file, bit))).collect()
}

#[test]
fn a_flipped_bit_in_what_is_durable_is_damage_and_nothing_is_removed() {
    for sealed in [false, true] {
        let whole = sample(sealed, true);
        let last = files(whole.path()).pop().expect("a file");
        let bytes = fs::read(&last).expect("it reads");
        let durable = decode(&bytes, options(sealed).seal.as_ref()).expect("it decodes").durable as usize * 8;
        assert!(durable < bytes.len() * 8, "the mark stands behind what it calls durable");
        for (number, bit) in bits(whole.path()).into_iter().step_by(one_of(5)) {
            let path = &files(whole.path())[number];
            let before = fs::read(path).expect("it reads");
            flip(path, bit);
            match read_all(whole.path(), sealed) {
                Err(StreamFault::Damaged { .. } | StreamFault::AnotherStream { .. }) => {
                    assert_eq!(fs::read(path).expect("it reads").len(), before.len(), "bit {bit} of file {number}");
                }
                // The mark itself: the pages that it called durable are all there.
                Ok(6) if number == 1 && bit >= durable => {}
                other => panic!("bit {bit} of file {number}: {other:?}"),
            }
            fs::write(path, before).expect("it is written");
        }
    }
}

#[test]
fn every_flipped_bit_of_a_small_segment_is_damage() {
    for sealed in [false, true] {
        let small = folder();
        let stream = open(small.path(), sealed);
        append(&stream, 0);
        stream.sync().expect("it syncs");
        drop(stream);
        let path = &files(small.path())[0];
        let bytes = fs::read(path).expect("it reads");
        let durable = decode(&bytes, options(sealed).seal.as_ref()).expect("it decodes").durable as usize * 8;
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            if decode(&damaged, options(sealed).seal.as_ref()).is_err() {
                continue;
            }
            fs::write(path, &damaged).expect("it is written");
            match read_all(small.path(), sealed) {
                Err(StreamFault::Damaged { .. } | StreamFault::AnotherStream { .. }) => {}
                // The mark itself: the page that it called durable is there, as it was.
                Ok(1) if bit >= durable => {}
                other => panic!("bit {bit}: {other:?}"),
            }
            fs::write(path, &bytes).expect("it is written");
        }
    }
}

#[test]
fn a_flipped_bit_behind_what_is_durable_is_never_read() {
    for sealed in [false, true] {
        let whole = sample(sealed, false);
        let last = files(whole.path()).pop().expect("a file");
        let bytes = fs::read(&last).expect("it reads");
        let contents = decode(&bytes, options(sealed).seal.as_ref()).expect("it decodes");
        for bit in (0..bytes.len() * 8).step_by(one_of(3)) {
            flip(&last, bit);
            let cut = contents.entries.partition_point(|entry| entry.offset as usize * 8 <= bit);
            match (read_all(whole.path(), sealed), cut) {
                (Err(StreamFault::Damaged { .. } | StreamFault::AnotherStream { .. }), 0) => {}
                (Ok(tail), 1..) => assert_eq!(tail, 2 + cut as u64, "bit {bit}"),
                (other, _) => panic!("bit {bit}: {other:?}"),
            }
            fs::write(&last, &bytes).expect("it is written");
        }
    }
}

#[test]
fn a_flipped_bit_after_opening_is_found_by_reading() {
    for sealed in [false, true] {
        let whole = sample(sealed, true);
        let stream = open(whole.path(), sealed);
        let paths = files(whole.path());
        for (number, first) in [(0, 0), (1, 3)] {
            let bytes = fs::read(&paths[number]).expect("it reads");
            let contents = scan::scan(&mut bytes.as_slice(), options(sealed).seal.as_ref(), true).expect("it decodes");
            let ends = contents.entries.iter().skip(1).map(|entry| entry.offset);
            for (entry, end) in contents.entries.iter().zip(ends) {
                for bit in (entry.offset as usize * 8..end as usize * 8).step_by(one_of(7)) {
                    let position = first + contents.entries.iter().position(|other| other == entry).expect("it") as u64;
                    flip(&paths[number], bit);
                    let verdict = page(&stream, position);
                    assert!(matches!(verdict, Err(StreamFault::Damaged { .. })), "bit {bit}: {verdict:?}");
                    flip(&paths[number], bit);
                }
            }
        }
        check_pages(&stream);
    }
}

#[test]
fn files_that_do_not_belong_together_do_not_open() {
    for sealed in [false, true] {
        let (one, other) = (sample(sealed, true), sample(sealed, true));
        let swapped = copy(one.path());
        fs::copy(&files(other.path())[1], &files(swapped.path())[1]).expect("it is copied");
        // The same pages, so nothing is wrong but the salt.
        assert_eq!(read_all(swapped.path(), sealed).expect("it opens"), 6);
        let (first, second) = (fs::read(&files(one.path())[1]), fs::read(&files(other.path())[1]));
        let (first, second) = (first.expect("it reads"), second.expect("it reads"));
        let spliced = [&first[..first.len() / 2], &second[second.len() / 2..]].concat();
        let contents = decode(&spliced, options(sealed).seal.as_ref()).expect("what was not synced is cut");
        assert!(contents.entries.len() < 3 && contents.end <= first.len() as u64 / 2, "{contents:?}");
        let missing = copy(one.path());
        fs::remove_file(&files(missing.path())[0]).expect("it is removed");
        let stream = open(missing.path(), sealed);
        assert_eq!(stream.state().earliest, 3, "the oldest files may have been trimmed");
        let renamed = copy(one.path());
        let name = files(renamed.path()).pop().expect("a file");
        fs::rename(&name, name.with_file_name("00000004.seg")).expect("it is renamed");
        assert!(matches!(read_all(renamed.path(), sealed), Err(StreamFault::Damaged { position: 4, .. })));
    }
}

#[test]
fn the_bytes_of_a_segment_are_pinned() {
    let header = format::Header {
        stream: plain().id(),
        salt: [1; 32],
        epoch: 2,
        closed: false,
        before: crate::stream::Accumulator::default(),
    };
    let head = Draft::bytes(PageKind::Journal).head(0, 2, payload_hash(b"ab", None));
    let whole = |rest: Option<&RestKey>| {
        let (mut bytes, binding) = header.encode(rest);
        let offset = bytes.len() as u64;
        let mut payload = *b"ab";
        let tag = binding.seal_payload(offset, head.position, &mut payload);
        let around = binding.around(offset, &head, &payload, tag);
        bytes.extend([&around.start, payload.as_slice(), &around.end].concat());
        assert_eq!(bytes.len() as u64 - offset, format::page_frame_bytes(rest.is_some(), 2) as u64);
        let mut tree = header.before.clone();
        tree.push(&head);
        let stand = format::Stand { durable: bytes.len() as u64, tail: 1, root: tree.root() };
        bytes.extend(binding.control(bytes.len() as u64, format::What::Close, &stand.encode()));
        bytes
    };
    let (open, sealed) = (whole(None), whole(options(true).seal.as_ref()));
    for (bytes, key) in [(&open, None), (&sealed, options(true).seal)] {
        let contents = decode(bytes, key.as_ref()).expect("it decodes");
        assert!(contents.closed && contents.entries.len() == 1);
    }
    let lengths = (open.len(), sealed.len());
    assert_eq!(lengths, (HEADER_PREFIX_BYTES + CHECK_BYTES + 82 + 64, lengths.0 + 16 + 32 + 16));
    let pin = |bytes: &[u8]| wallet::digest::to_hex(&blake3::hash(bytes).as_bytes()[..8]);
    assert_eq!((pin(&open).as_str(), pin(&sealed).as_str()), ("a69d5a2db0a02dfd", "cb3ee0dbb150bfa5"));
}

proptest! {
    #[test]
    fn any_bytes_decode_or_do_not(noise in proptest::collection::vec(any::<u8>(), 0..300), keep in 0..400_usize) {
        let (mut bytes, binding) = format::Header {
            stream: plain().id(),
            salt: [1; 32],
            epoch: 2,
            closed: false,
            before: crate::stream::Accumulator::default(),
        }
        .encode(None);
        bytes.extend(binding.control(bytes.len() as u64, format::What::Fence, &7_u32.to_le_bytes()));
        bytes.truncate(keep);
        bytes.extend(noise);
        let _ = decode(&bytes, None);
        let _ = decode(&bytes, options(true).seal.as_ref());
    }
}
