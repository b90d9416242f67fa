//! The laws of all streams.

use super::*;
use crate::stream::conformance::{Limits, Opened, all, model, seeds};

const INTEGRITIES: [Integrity; 3] = [Integrity::None, Integrity::Plain, Integrity::Keyed];

/// Longer than the suite waits: a wake-up that is lost is not made up for by a sleeper that looks again.
const NAP: Duration = Duration::from_secs(3600);

fn opened(descriptor: &Descriptor, limits: Limits) -> Opened {
    // Room comes back in the order in which it was taken: a page that is held keeps those after it, too. The suite holds
    // three. And payloads are in one piece: what is left at the end of the arena may be too small for the next one.
    let pages = limits.pages + 3;
    let bytes = (pages + 1) * limits.payload_bytes.next_multiple_of(64);
    let stream = ShmStream::create(descriptor.clone(), ShmOptions { bytes, pages }).expect("memory");
    let reader = napping(again(&stream), NAP);
    let stream = napping(stream, NAP);
    Opened {
        writer: Arc::new(stream.writer().expect("the writer's place")),
        reader: Arc::new(reader.reader().expect("the reader's place")),
        bounded: true,
        keep_alive: Box::new(()),
    }
}

#[test]
fn shared_memory_keeps_the_laws() {
    for integrity in INTEGRITIES {
        all(&mut opened, integrity);
    }
}

#[test]
fn shared_memory_is_a_list() {
    for (seed, integrity) in seeds(60).zip(INTEGRITIES.into_iter().cycle()) {
        model(&mut opened, integrity, seed, 400);
    }
}
