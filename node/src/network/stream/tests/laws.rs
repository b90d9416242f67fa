//! The laws of streams, over two nodes.

use gpu::stream::conformance::{self, Limits, Opened};
use tokio::runtime::Runtime;

use super::*;

pub(super) fn runtime() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().expect("the system gives threads")
}

/// A ring at node A, read at node B as its consumer.
pub(super) fn open_between(runtime: &Runtime, rig: &Rig, descriptor: &Descriptor, limits: Limits) -> Opened {
    let _inside = runtime.enter();
    let Limits { pages, payload_bytes } = limits;
    let writer = RingStream::new(descriptor.clone(), RingOptions { pages, payload_bytes });
    let offer = rig.offer(&writer);
    let options = RemoteOptions { window_pages: pages, is_consumer: true, ..RemoteOptions::default() };
    let reader = open(rig.link(), descriptor, options);
    Opened { writer, reader, bounded: true, keep_alive: Box::new(offer) }
}

#[test]
fn the_laws_of_streams_hold_between_two_nodes() {
    let runtime = runtime();
    let rig = runtime.block_on(Rig::new());
    let mut open = |descriptor: &Descriptor, limits| open_between(&runtime, &rig, descriptor, limits);
    for integrity in [Integrity::Plain, Integrity::Keyed] {
        conformance::all(&mut open, integrity);
    }
}

#[test]
fn random_operations_show_at_the_other_node_what_was_written() {
    let runtime = runtime();
    let rig = runtime.block_on(Rig::new());
    let mut open = |descriptor: &Descriptor, limits| open_between(&runtime, &rig, descriptor, limits);
    for seed in conformance::seeds(8) {
        let integrity = if seed % 2 == 0 { Integrity::Plain } else { Integrity::Keyed };
        conformance::model(&mut open, integrity, seed, 200);
    }
}
