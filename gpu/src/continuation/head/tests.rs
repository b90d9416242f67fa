use proptest::prelude::*;
use wallet::digest::to_hex;

use super::*;

pub fn head() -> ContinuationHead {
    ContinuationHead {
        schema: 2,
        flags: Flags { pinned: true, want_exact: true, confidential: true, in_doubt: false },
        id: Digest([1; 32]),
        epoch: 3,
        seq: 39,
        form: Form::Decode,
        status: Status::Parked,
        priority: 5,
        body_bytes: 513,
        program: Digest([2; 32]),
        parent: Digest([3; 32]),
        awaits: EffectId(Digest([4; 32])),
        numerics: Digest([5; 32]),
        policy: Digest([6; 32]),
        body_root: Digest([7; 32]),
        deadline_us: 0x0123_4567_89AB_CDEF,
    }
}

#[test]
fn the_head_is_pinned() {
    let bytes = head().encode();
    let digests: String = (2..=7).map(|byte| format!("0{byte}").repeat(32)).collect();
    assert_eq!(
        to_hex(&bytes),
        format!("434f4e5402000700{}0300000027000000010001050102000{}{digests}efcdab8967452301", "01".repeat(32), "0")
    );
    assert_eq!(ContinuationHead::decode(&bytes).expect("a head"), head());
}

#[test]
fn what_is_not_known_is_refused() {
    for (at, byte) in [(0, b'c'), (6, 0x1F), (7, 1), (48, 0), (48, 2), (49, 1), (50, 5)] {
        let mut bytes = head().encode();
        bytes[at] = byte;
        let verdict = ContinuationHead::decode(&bytes).map_err(|refusal| refusal.code());
        assert_eq!(verdict, Err("E-304"), "byte {at} is {byte}");
    }
}

#[test]
fn flag_and_status_agree_on_doubt() {
    let mut doubtful = head();
    doubtful.status = Status::InDoubt;
    assert!(ContinuationHead::decode(&doubtful.encode()).is_err());
    doubtful.flags.in_doubt = true;
    assert_eq!(ContinuationHead::decode(&doubtful.encode()).expect("a head"), doubtful);
}

#[test]
fn a_body_longer_than_allowed_is_refused_before_it_is_read() {
    for (count, allowed) in [(BODY_BYTES_MAX as u32, true), (BODY_BYTES_MAX as u32 + 1, false), (u32::MAX, false)] {
        let bytes = ContinuationHead { body_bytes: count, ..head() }.encode();
        assert_eq!(ContinuationHead::decode(&bytes).is_ok(), allowed, "{count}");
    }
}

proptest! {
    #[test]
    fn what_decodes_encodes_to_the_same_bytes(at in 0..256_usize, byte: u8) {
        let mut bytes = head().encode();
        bytes[at] = byte;
        if let Ok(head) = ContinuationHead::decode(&bytes) {
            prop_assert_eq!(head.encode(), bytes);
        }
    }

    #[test]
    fn random_bytes_are_no_head(bytes in prop::collection::vec(any::<u8>(), 256)) {
        let bytes: [u8; 256] = bytes.try_into().expect("as many as a head has");
        prop_assert!(ContinuationHead::decode(&bytes).is_err());
    }
}
