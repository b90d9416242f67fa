//! A process that went wrong writes anything anywhere.

use std::{fs::File, os::unix::fs::FileExt};

use super::*;
use crate::stream::{Cursor, Expect, Next, StreamWriter, shm::layout::Geometry};

const OPTIONS: ShmOptions = ShmOptions { bytes: 8192, pages: 8 };

/// Uses the stream as both processes do. Whether that works is not the question.
fn exercise(writer: &ShmWriter, reader: &ShmReader, random: &mut Random) {
    let state = reader.state();
    for side in [writer as &dyn Stream, reader] {
        for at in (0..10).chain([state.earliest, state.tail.saturating_sub(1), state.tail, u64::MAX, random.next()]) {
            if let Ok(Next::Item(page, _)) = side.next(Cursor(at)) {
                assert_eq!((page.head.position, page.head.payload_bytes as usize), (at, page.payload.len()));
                std::hint::black_box(page.payload.iter().fold(0_u8, |sum, byte| sum ^ byte));
            }
        }
        let _ = (side.root(3), side.prove(0, 3), side.root(state.tail));
    }
    for bytes in [0, 1, 4000, 8192] {
        let payload = vec![9; bytes];
        let _ = writer.append(random.next() as u32, Expect::Any, &draft(), &payload);
        let _ = writer.append(u32::MAX, Expect::At(random.below(9)), &draft(), &payload);
        let _ = reader.trim(random.below(12));
    }
    let _ = (reader.trim(u64::MAX), writer.close(u32::MAX), reader.state(), writer.fence(1));
}

#[test]
fn whatever_stands_in_the_header_and_the_index_is_an_error_at_worst() {
    let mut random = Random::of_now();
    let geometry = Geometry::new(OPTIONS.pages, OPTIONS.bytes).expect("sizes");
    for round in 0..3000 {
        let integrity = if round % 2 == 0 { Integrity::None } else { Integrity::Plain };
        let stream = ShmStream::create(descriptor(integrity), OPTIONS).expect("memory");
        let writer = stream.writer().expect("free");
        for position in 0..random.below(20) {
            let _ = writer.append(1, Expect::Any, &draft(), &expected(position, 1500)).expect("no fault");
            let _ = writer.trim(position.saturating_sub(5));
        }
        let reader = again(&stream).reader().expect("free");
        let memory = File::from(stream.inheritable().expect("a descriptor"));
        let spoil = |random: &mut Random| {
            for _ in 0..=random.below(6) {
                // Half of the damage goes to the counters: what is read there is used before any checksum.
                let within = if random.below(2) == 0 { Geometry::INDEX } else { geometry.arena() };
                let at = random.below(within as u64 / 8) * 8;
                let near = [random.next(), random.below(40), u64::MAX - random.below(3)];
                let word = near[random.below(3) as usize];
                memory.write_all_at(&word.to_le_bytes(), at).expect("written");
            }
        };
        spoil(&mut random);
        exercise(&writer, &reader, &mut random);
        drop((writer, reader));
        spoil(&mut random);
        let Ok(opened) = ShmStream::open(stream.inheritable().expect("a descriptor")) else { continue };
        if let (Ok(writer), Ok(reader)) = (opened.writer(), opened.reader()) {
            exercise(&writer, &reader, &mut random);
        }
    }
}
