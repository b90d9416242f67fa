//! The suite of laws, on disk.

use super::*;
use crate::stream::conformance::{self, Limits, Opened};

const KINDS: [Integrity; 2] = [Integrity::Plain, Integrity::Keyed];

/// How the suite's streams are kept.
#[derive(Clone, Copy)]
struct Kept {
    sealed: bool,
    /// Each page has a file of its own, so that trimming is exact; else all are in one file without a limit.
    alone: bool,
}

impl Kept {
    const ALL: [Self; 4] = [
        Self { sealed: false, alone: false },
        Self { sealed: true, alone: false },
        Self { sealed: false, alone: true },
        Self { sealed: true, alone: true },
    ];

    fn open(self, folder: TempDir, descriptor: &Descriptor, limits: Limits) -> Opened {
        // A file beside its page has a header with some peaks, and marks.
        let capacity = limits.pages as u64 * (limits.payload_bytes as u64 + 700);
        let options = match self.alone {
            true => SegmentOptions { segment_bytes: 1, capacity_bytes: Some(capacity), ..options(self.sealed) },
            false => options(self.sealed),
        };
        let stream = SegmentStream::open(&folder.path().join("s"), descriptor.clone(), options).expect("it opens");
        let stream = Arc::new(stream);
        let writer = Arc::clone(&stream) as Arc<dyn StreamWriter>;
        Opened { writer, reader: stream, bounded: self.alone, keep_alive: Box::new(folder) }
    }

    fn fresh(self) -> impl FnMut(&Descriptor, Limits) -> Opened {
        move |descriptor, limits| self.open(folder(), descriptor, limits)
    }
}

/// The power fails: of what was not synced, some is on the disk.
fn lose_power(folder: &Path, sealed: bool) {
    let Some(last) = files(folder).pop() else { return };
    let bytes = fs::read(&last).expect("it reads");
    let contents = decode(&bytes, options(sealed).seal.as_ref()).expect("it decodes");
    let kept = contents.durable + (bytes.len() as u64 - contents.durable) / 2;
    OpenOptions::new().write(true).open(&last).and_then(|file| file.set_len(kept)).expect("it is cut");
}

#[test]
fn all_laws_hold() {
    for kept in Kept::ALL {
        KINDS.into_iter().for_each(|integrity| conformance::all(&mut kept.fresh(), integrity));
    }
}

#[test]
fn random_operations_are_those_of_a_list() {
    for kept in Kept::ALL {
        let mut run = |seed| conformance::model(&mut kept.fresh(), KINDS[seed as usize % 2], seed, 120);
        conformance::seeds(8).for_each(&mut run);
    }
}

#[test]
fn the_latest_pages_stay() {
    for kept in Kept::ALL.into_iter().filter(|kept| kept.alone) {
        // Most of the suite's pages are small.
        let mut open = |descriptor: &Descriptor, limits: Limits| {
            kept.open(folder(), descriptor, Limits { pages: limits.pages / 2, ..limits })
        };
        KINDS.into_iter().for_each(|integrity| conformance::the_latest_pages_stay(&mut open, integrity));
    }
}

#[test]
fn what_is_durable_survives_the_process_and_the_power() {
    for (kept, power) in Kept::ALL.into_iter().flat_map(|kept| [(kept, false), (kept, true)]) {
        let mut crash = |opened: Opened, descriptor: &Descriptor, limits| {
            let Opened { writer, reader, keep_alive, .. } = opened;
            drop((writer, reader));
            let folder = *keep_alive.downcast::<TempDir>().expect("what it was opened with");
            if power {
                lose_power(folder.path(), kept.sealed);
            }
            kept.open(folder, descriptor, limits)
        };
        for integrity in KINDS {
            conformance::durable_pages_survive(&mut kept.fresh(), &mut crash, integrity);
        }
    }
}
