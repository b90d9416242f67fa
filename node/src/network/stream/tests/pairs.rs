//! Pipes between every two of the four transports.

use gpu::stream::{
    SegmentOptions, SegmentStream,
    conformance::{self, Limits, Opened},
    shm::{ShmOptions, ShmStream},
};

use super::{laws::open_between, *};

fn open_shm(descriptor: &Descriptor, limits: Limits) -> Opened {
    let Limits { pages, payload_bytes } = limits;
    let options = ShmOptions { bytes: pages * payload_bytes, pages };
    let stream = ShmStream::create(descriptor.clone(), options).expect("the system has memory");
    let other = ShmStream::open(stream.inheritable().expect("a descriptor")).expect("it is the same memory");
    let writer = Arc::new(stream.writer().expect("the place is free"));
    let reader = Arc::new(other.reader().expect("the place is free"));
    Opened { writer, reader, bounded: true, keep_alive: Box::new((stream, other)) }
}

fn open_segment(descriptor: &Descriptor, _: Limits) -> Opened {
    let folder = tempfile::tempdir().expect("a folder");
    let stream = SegmentStream::open(&folder.path().join("s"), descriptor.clone(), SegmentOptions::default());
    let stream = Arc::new(stream.expect("it opens"));
    Opened { writer: stream.clone(), reader: stream, bounded: false, keep_alive: Box::new(folder) }
}

#[test]
fn a_pipe_between_any_two_transports_changes_nothing() {
    let runtime = laws::runtime();
    // A node offers a stream once: its copy is offered by another.
    let (rig, other) = (runtime.block_on(Rig::new()), runtime.block_on(Rig::new()));
    type OpenFn<'a> = Box<dyn FnMut(&Descriptor, Limits) -> Opened + 'a>;
    let transports = |rig| -> [(&str, OpenFn<'_>); 4] {
        let runtime = &runtime;
        let network = move |descriptor: &Descriptor, limits: Limits| open_between(runtime, rig, descriptor, limits);
        [
            ("ring", Box::new(conformance::ring)),
            ("shared memory", Box::new(open_shm)),
            ("segment", Box::new(open_segment)),
            ("network", Box::new(network)),
        ]
    };
    for integrity in [Integrity::Plain, Integrity::Keyed] {
        for (source, mut from) in transports(&rig) {
            for (target, mut to) in transports(&other) {
                println!("{source} to {target}, {integrity:?}");
                conformance::law_11_a_pipe_changes_nothing(&mut *from, &mut *to, integrity);
            }
        }
    }
}
