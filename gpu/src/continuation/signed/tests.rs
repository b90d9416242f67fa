use proptest::prelude::*;
use wallet::{codec, digest::to_hex, units::TokenCount};

use super::*;
use crate::{
    Millionths, SamplingParams, SessionSeed, StopStrings,
    continuation::{Bound, DecodeBody, Tail, Terms},
    engine::FinishReason,
};

fn key() -> SecretKey {
    SecretKey::from_seed(&[9; 32])
}

fn standing() -> Standing {
    Standing {
        id: Digest([1; 32]),
        epoch: 3,
        flags: Flags { want_exact: true, ..Flags::default() },
        status: Status::Ready,
        priority: 0,
        parent: Digest::ZERO,
        awaits: EffectId::NONE,
        numerics: Digest([2; 32]),
        policy: Digest([3; 32]),
        deadline_us: 0,
    }
}

fn body() -> DecodeBody {
    DecodeBody {
        model: Digest([4; 32]),
        sampling: SamplingParams {
            temperature: Millionths(800_000),
            top_p: Millionths(950_000),
            top_k: Some(40),
            seed: SessionSeed([5; 32]),
            max_tokens: TokenCount::new(200),
            stop: StopStrings::new(vec!["\n\n".to_owned()]).expect("valid"),
            ignore_eos: false,
        },
        prompt: TokenCount::new(20),
        journal: Bound { root: Digest([6; 32]), to: 19 },
        kv: Bound { root: Digest([7; 32]), to: 2 },
        tail: Some(Tail { rows: 5, hash: Digest([8; 32]) }),
        finish: None,
        terms: Terms::new(b"terms".to_vec()).expect("short"),
    }
}

fn signed() -> SignedContinuation {
    body().sign(&standing(), &key()).expect("valid")
}

/// The same continuation, with another body and a head that says so, signed anew.
fn with_body(change: impl FnOnce(&mut DecodeBody)) -> Result<Body, &'static str> {
    let mut body = body();
    change(&mut body);
    let seq = body.journal.to as u32;
    SignedContinuation::sign(Form::Decode, seq, &body.encode(), &standing(), &key())
        .and_then(|signed| signed.body())
        .map_err(|refusal| refusal.code())
}

#[test]
fn a_continuation_is_pinned_and_reads_back() {
    let signed = signed();
    assert_eq!(
        to_hex(&blake3("test", None, &[signed.as_bytes()]).0),
        "4f55c6f17e3bc08a717993004d240584e1a704bc8e53e9ad76a01f2a969e0792"
    );
    assert_eq!(signed.as_bytes().len(), 584);
    let read = SignedContinuation::decode(signed.as_bytes().to_vec(), &key().verifying_key()).expect("signed");
    assert_eq!(read, signed);
    assert_eq!(read.body().expect("schema 2"), Body::Decode(body()));
    assert_eq!(signed.digest().to_string(), "e357fe93946bace95b74b0a6baa5abf940b480e8ebbb5f89bcdc85cbf799a031");
}

#[test]
fn the_largest_decode_session_has_at_most_1024_bytes() {
    let mut largest = body();
    largest.sampling.stop = StopStrings::new(vec!["x".repeat(64); 4]).expect("valid");
    largest.finish = Some(FinishReason::ContextFull);
    largest.terms = Terms::new(vec![0xFF; Terms::BYTES_MAX]).expect("as long as allowed");
    // All other fields have one size, whatever their value is.
    for (prompt, pages) in [(1, 0), (u32::MAX, u64::from(u32::MAX) / 16)] {
        largest.prompt = TokenCount::new(prompt);
        largest.kv.to = pages;
        largest.journal.to = u64::from(u32::MAX);
        let signed = largest.sign(&standing(), &key()).expect("valid");
        assert_eq!(signed.as_bytes().len(), 989);
        assert_eq!(signed.body().expect("valid"), Body::Decode(largest.clone()));
    }
    assert!(Terms::new(vec![0; Terms::BYTES_MAX + 1]).is_err());
}

#[test]
fn another_signer_is_refused() {
    let other = SecretKey::from_seed(&[8; 32]);
    let verdict = SignedContinuation::decode(signed().as_bytes().to_vec(), &other.verifying_key());
    assert_eq!(verdict.map_err(|refusal| refusal.code()), Err("E-302"));
    // Whoever puts another name below somebody's signature.
    let mut bytes = signed().as_bytes().to_vec();
    let at = bytes.len() - 96;
    bytes[at..at + 32].copy_from_slice(&other.public_key().0);
    let verdict = SignedContinuation::decode(bytes, &other.verifying_key());
    assert_eq!(verdict.map_err(|refusal| refusal.code()), Err("E-303"));
}

#[test]
fn a_signature_for_something_else_is_refused() {
    let signed = signed();
    let mut bytes = signed.as_bytes().to_vec();
    let other = key().sign(context::WALLET_HOLDER, &bytes[..ContinuationHead::BYTES]);
    let at = bytes.len() - 64;
    bytes[at..].copy_from_slice(&other.0);
    let verdict = SignedContinuation::decode(bytes, &key().verifying_key());
    assert_eq!(verdict.map_err(|refusal| refusal.code()), Err("E-303"));
}

#[test]
fn lengths_beyond_the_bounds_are_refused() {
    for count in [0, SignedContinuation::BYTES_MIN - 1, SignedContinuation::BYTES_MAX + 1] {
        let verdict = SignedContinuation::decode(vec![0; count], &key().verifying_key());
        assert_eq!(verdict.map_err(|refusal| refusal.code()), Err("E-301"), "{count}");
    }
    let body = vec![0; BODY_BYTES_MAX + 1];
    let verdict = SignedContinuation::sign(Form::Decode, 1, &body, &standing(), &key());
    assert_eq!(verdict.map_err(|refusal| refusal.code()), Err("E-301"));
}

#[test]
fn the_body_of_a_later_version_is_refused_by_name() {
    let later = ContinuationHead { schema: SCHEMA + 1, ..*signed().head() };
    let verdict = Body::read(&later, &body().encode());
    assert_eq!(verdict.map_err(|refusal| refusal.code()), Err("E-306"));
    let unknown = ContinuationHead { schema: 0, ..*signed().head() };
    assert_eq!(Body::read(&unknown, &body().encode()).map_err(|refusal| refusal.code()), Err("E-306"));
    let other = ContinuationHead { program: Digest::ZERO, ..*signed().head() };
    assert_eq!(Body::read(&other, &body().encode()).map_err(|refusal| refusal.code()), Err("E-307"));
}

#[test]
fn a_body_that_contradicts_itself_or_its_head_is_refused() {
    assert_eq!(with_body(|_| ()), Ok(Body::Decode(body())));
    for contradiction in [
        (|body| body.prompt = TokenCount::ZERO) as fn(&mut DecodeBody),
        |body| body.journal.to = 0,
        |body| body.kv.to = u64::MAX,
        |body| body.tail = Some(Tail { rows: 0, hash: Digest::ZERO }),
        |body| body.tail = Some(Tail { rows: 16, hash: Digest::ZERO }),
        |body| body.sampling.top_p = Millionths(0),
        |body| body.finish = Some(FinishReason::EndToken),
    ] {
        assert_eq!(with_body(contradiction), Err("E-309"));
    }
    let longer = ContinuationHead { seq: 20, ..*signed().head() };
    assert_eq!(Body::read(&longer, &body().encode()).map_err(|refusal| refusal.code()), Err("E-309"));
}

#[test]
fn terms_longer_than_allowed_do_not_decode() {
    let mut bytes = body().encode();
    let at = bytes.len() - 13;
    bytes[at] = 129;
    bytes.extend([0; 124]);
    let verdict = codec::decode::<DecodeBody>(&bytes);
    assert!(verdict.is_err_and(|error| error.to_string().contains("too long")));
}

#[test]
fn a_session_that_has_ended_is_done() {
    let ended = DecodeBody { finish: Some(FinishReason::EndToken), ..body() };
    let signed = ended.sign(&standing(), &key()).expect("valid");
    assert_eq!(signed.head().status, Status::Done);
    assert_eq!(signed.body().expect("valid"), Body::Decode(ended));
}

#[test]
fn neither_body_nor_seed_is_printed() {
    let text = format!("{:?}", signed());
    assert!(!text.contains(&to_hex(&[5; 32])) && !text.contains("terms"), "{text}");
}

#[test]
fn every_flipped_bit_is_found_before_use() {
    let (whole, holder) = (signed().as_bytes().to_vec(), key().verifying_key());
    for bit in 0..whole.len() * 8 {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let verdict = SignedContinuation::decode(bytes, &holder).map_err(|refusal| refusal.code());
        assert!(matches!(verdict, Err("E-302" | "E-303" | "E-305")), "bit {bit}: {verdict:?}");
    }
}

proptest! {
    #[test]
    fn every_cut_and_every_stray_byte_is_found(count in 0..1200_usize) {
        let mut bytes = signed().as_bytes().to_vec();
        prop_assume!(count != bytes.len());
        bytes.resize(count, 0);
        prop_assert!(SignedContinuation::decode(bytes, &key().verifying_key()).is_err());
    }

    #[test]
    fn a_damaged_body_is_refused_or_read_as_what_it_says(at in 0..600_usize, byte: u8) {
        let mut bytes = body().encode();
        let at = at % bytes.len();
        bytes[at] = byte;
        if let Ok(read) = codec::decode::<DecodeBody>(&bytes) {
            prop_assert_eq!(read.encode(), bytes);
        }
    }
}
