//! What lies in streams: on a node's disk, and between a node and its engine.

use std::fs;

use gpu::{
    CacheNotice, SamplingParams, SequenceId, Session,
    dispatch::{Event, Reply, Request, StepTokens, TokenEvent},
    stream::{
        Descriptor, Draft, Expect, Integrity, Retention, SegmentOptions, SegmentStream, Stream as _, StreamWriter as _,
    },
};
use wallet::{
    chain::RestKey,
    codec::encode,
    digest::Digest,
    page::PageKind,
    units::{Micros, TokenCount, TokenPosition},
};

/// Under which the sealed one is.
pub(crate) fn key() -> RestKey {
    RestKey::from_bytes([7; 32])
}

/// One file each of an open stream and a closed one, unsealed and sealed.
pub(crate) fn segments() -> Vec<Vec<u8>> {
    let of = |seal: Option<RestKey>, closed| {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let descriptor = Descriptor {
            owner: Digest([1; 32]),
            name: "journal".to_owned(),
            integrity: Integrity::Plain,
            retention: Retention::Keep,
            format: Digest::ZERO,
        };
        let options = SegmentOptions { seal, ..SegmentOptions::default() };
        let stream = SegmentStream::open(&folder.path().join("s"), descriptor, options).expect("an empty folder");
        for bytes in [4, 0, 40] {
            let draft = Draft::bytes(PageKind::Token);
            stream.append(2, Expect::Any, &draft, &vec![5; bytes]).expect("there is room");
        }
        stream.sync().expect("the disk is there");
        if closed {
            stream.close(3).expect("the disk is there");
        }
        assert_eq!(stream.state().durable, 3);
        fs::read(stream.folder().join("00000000.seg")).expect("the only file")
    };
    vec![of(None, false), of(None, true), of(Some(key()), false), of(Some(key()), true)]
}

/// Messages of a dispatch queue, in both directions.
pub(crate) fn messages() -> Vec<Vec<u8>> {
    let sequence = SequenceId(3);
    let session = Session {
        tokens: vec![1, 2, 3],
        prompt: TokenCount::new(2),
        sampling: SamplingParams::greedy(TokenCount::new(9)),
        salt: [7; 32],
    };
    let start =
        Request::Start { sequence, session: Box::new(session), tail_rows: 3, pace: Micros::new(5), standing: true };
    let step = Event::Step(StepTokens {
        start_ns: 1,
        end_ns: 2,
        median: Some(Micros::new(3)),
        tokens: vec![TokenEvent { sequence, position: TokenPosition::new(5), token: 6, finish: None }],
    });
    let refused = gpu::Refusal::SequenceUnknown { id: sequence }.into();
    vec![
        encode(&(1_u64, start)),
        encode(&(2_u64, Request::Pages { sequence, from: 4, count_max: 8 })),
        encode(&(0_u64, step)),
        encode(&(2_u64, Event::Reply { call: 2, outcome: Ok(Reply::Pages { full: 9 }) })),
        encode(&(3_u64, Event::Reply { call: 3, outcome: Err(refused) })),
        encode(&(
            0_u64,
            Event::Cache(vec![CacheNotice::Stored { hashes: vec![Digest([1; 32])], parent: Digest::ZERO }]),
        )),
    ]
}
