//! Two mappings of one memory in one process, and real processes that are killed.

mod death;
mod laws;
mod rules;
mod wild;

use std::{sync::Arc, time::Duration};

use wallet::{digest::Digest, page::PageKind};

use super::{ShmOptions, ShmReader, ShmStream, ShmWriter};
use crate::stream::{Descriptor, Draft, Integrity, Retention, Stream, StreamFault};

/// Numbers that look random, from a seed that is printed.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        println!("seed {seed}");
        Self(seed | 1)
    }

    fn of_now() -> Self {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
        Self::new(now.as_nanos() as u64)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 16) % bound
    }
}

fn descriptor(integrity: Integrity) -> Descriptor {
    let (owner, format) = (Digest([7; 32]), Digest::ZERO);
    Descriptor { owner, name: "requests".to_owned(), integrity, retention: Retention::Keep, format }
}

fn draft() -> Draft {
    Draft::bytes(PageKind::Dispatch)
}

/// A second mapping of the same memory, as another process has it.
fn again(stream: &ShmStream) -> ShmStream {
    ShmStream::open(stream.inheritable().expect("a descriptor")).expect("a stream")
}

/// With it a sleeper sleeps for as long, unless it is woken.
fn napping(mut stream: ShmStream, nap: Duration) -> ShmStream {
    Arc::get_mut(&mut stream.memory).expect("no place is taken yet").nap = nap;
    stream
}

fn both(integrity: Integrity, bytes: usize, pages: usize) -> (ShmWriter, ShmReader) {
    let stream = ShmStream::create(descriptor(integrity), ShmOptions { bytes, pages }).expect("memory");
    (stream.writer().expect("the writer's place"), again(&stream).reader().expect("the reader's place"))
}

/// The payload that belongs at a position, of a size that only depends on it.
fn expected(position: u64, max: u64) -> Vec<u8> {
    let mut random = Random(position.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let length = random.below(max + 1) as usize;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        bytes.extend(random.next().to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

fn code<T>(result: Result<T, StreamFault>) -> &'static str {
    result.err().map_or("none", |fault| fault.code())
}

fn tail(stream: &dyn Stream) -> u64 {
    stream.state().tail
}
