use proptest::prelude::*;

use super::*;
use crate::{
    codec::{decode, encode},
    digest::{Digest, from_hex, sha256, to_hex},
    grant::WalletAddress,
    identity::RegionId,
    refusal::Refusal,
    units::{GateEpoch, KeyEpoch, NodeId},
};

fn id(kind: GateKind) -> GateId {
    GateId { consortium: Digest([1; 32]), kind, epoch: GateEpoch::new(2) }
}

pub(super) fn global(validators: u32) -> GateKind {
    GateKind::Global { validators }
}

fn region(operators: u32) -> GateKind {
    GateKind::Region { region: RegionId::try_from("eu".to_owned()).expect("a name"), operators }
}

/// Counts up, so that every draw differs and every run agrees.
pub(super) fn counting(from: u8) -> impl FnMut(&mut [u8]) {
    let mut next = from;
    move |bytes: &mut [u8]| {
        for byte in bytes {
            *byte = next;
            next = next.wrapping_add(1);
        }
    }
}

/// What a dealer would hand out: a gate and all shares. Only tests have one.
pub(super) fn dealt(kind: GateKind, n: u32, seed: u8) -> (Gate, Vec<GateShare>) {
    let mut entropy = counting(seed);
    let threshold = kind.threshold(n as usize).expect("the rules");
    let coefficients: Vec<_> = (0..threshold).map(|_| SecretNumber::draw(&mut entropy)).collect();
    if n == 1 {
        let (gate, share) = Gate::single(id(kind), NodeId::ZERO, coefficients[0].clone()).expect("no zero");
        return (gate, vec![share]);
    }
    let generator = Element::generator();
    let polynomial = coefficients.iter().map(|number| number.times(&generator).expect("no zero").into()).collect();
    let members: Vec<_> = (0..n).map(NodeId::new).collect();
    let gate = Gate::shared(id(kind), members.clone(), polynomial).expect("the rules");
    let share = |node: NodeId| {
        let zero = curve25519_dalek::Scalar::ZERO;
        let value = coefficients.iter().rev().fold(zero, |sum, next| sum * key::place(node) + next.scalar());
        GateShare::new(&gate, node, SecretNumber::decode(value.as_bytes()).expect("reduced")).expect("on it")
    };
    let shares = members.into_iter().map(share).collect();
    (gate, shares)
}

pub(super) fn label(epoch: u32) -> GateLabel {
    GateLabel::unlock(&WalletAddress(Digest([3; 32])), KeyEpoch::new(epoch), NodeId::new(4))
}

fn open(gate: &Gate, ciphertext: &GateCiphertext, shares: &[&GateShare]) -> Result<GateSecret, Refusal> {
    let verified = gate.verify(&label(0), ciphertext)?;
    let mut opening = Opening::new(verified);
    for share in shares {
        opening.add(share.release(&verified)?)?;
    }
    opening.secret()
}

/// RFC 9497, A.1.1.1: the values of the first test vector of OPRF(ristretto255, SHA-512), mode 0.
#[test]
fn rfc_9497_gives_the_hash_to_the_group_and_its_shared_evaluation() {
    let number = |hex: &str| SecretNumber::decode(&from_hex(hex).expect("hex")).expect("reduced");
    let domain = "HashToGroup-OPRFV1-\0-ristretto255-SHA512";
    let blind = number("64d37aed22a27f5191de1c1d69fadb899d8862b58eb4220029e036ec4c1f6706");
    let blinded = blind.times(&Element::hash(domain, &[0])).expect("no identity");
    assert_eq!(to_hex(blinded.encode()), "609a0ae68c15a3cf6903766461307e5c8bb2f95e7e6550e1ffa2dc99e412803c");
    let key = number("5ebcea5ee37023ccb9fc2d2019f9d7737be85591ae8652ffa9ef0f4d37063b0e");
    let evaluated = "7ec6578ae5120958eb2db1745758ff379e77cb64fe77b0b2d8cc917ea0869c7e";
    assert_eq!(to_hex(key.times(&blinded).expect("no identity").encode()), evaluated);
    // The same from two of three shares of the key, on the line through it with slope 7.
    let share = |at: u64| key.scalar() + curve25519_dalek::Scalar::from(7 * at);
    let (one, three) = (share(1) * blinded.point(), share(3) * blinded.point());
    let places = [1_u64, 3].map(curve25519_dalek::Scalar::from);
    let combined = opening::weight(places[0], &places) * one + opening::weight(places[1], &places) * three;
    assert_eq!(to_hex(Element::from_point(combined).expect("no identity").encode()), evaluated);
}

/// RFC 9591, appendix E.3: key, polynomial and shares of FROST(ristretto255, SHA-512).
#[test]
fn rfc_9591_gives_members_shares() {
    let number = |hex: &str| SecretNumber::decode(&from_hex(hex).expect("hex")).expect("reduced");
    let coefficients = [
        "1b25a55e463cfd15cf14a5d3acc3d15053f08da49c8afcf3ab265f2ebc4f970b",
        "410f8b744b19325891d73736923525a4f596c805d060dfb9c98009d34e3fec02",
    ];
    let times = |hex| Coefficient::from(number(hex).times(&Element::generator()).expect("no identity"));
    let region = region(3);
    let members = [0, 1, 2].map(NodeId::new).to_vec();
    let gate = Gate::shared(id(region), members, coefficients.map(times).to_vec()).expect("two of three");
    assert_eq!(to_hex(gate.key().encode()), "e2a62f39eede11269e3bd5a7d97554f5ca384f9f6d3dd9c3c0d05083c7254f57");
    let shares = [
        "5c3430d391552f6e60ecdc093ff9f6f4488756aa6cebdbad75a768010b8f830e",
        "b06fc5eac20b4f6e1b271d9df2343d843e1e1fb03c4cbb673f2872d459ce6f01",
        "f17e505f0e2581c6acfe54d3846a622834b5e7b50cad9a2109a97ba7a80d5c04",
    ];
    for (node, share) in (0..).zip(shares) {
        GateShare::new(&gate, NodeId::new(node), number(share)).expect("this member's share");
    }
}

/// RFC 9496, A.1: the generator and its double; A.3: bytes that are no element.
#[test]
fn rfc_9496_gives_generator_and_refused_encodings() {
    let generator = "e2f2ae0a6abc4e71a884a961c500515f58e30b6aa582dd8db6a65945e08d2d76";
    assert_eq!(to_hex(Element::generator().encode()), generator);
    let mut two = [0; 32];
    two[0] = 2;
    let double = SecretNumber::decode(&two).expect("small").times(&Element::generator()).expect("no identity");
    assert_eq!(to_hex(double.encode()), "6a493210f7499cd17fecb510ae0cea23a110e8d5b901f8acadd3095c73a3b919");
    let refused = [
        // The identity, which RFC 9496 has and gates have not.
        "0000000000000000000000000000000000000000000000000000000000000000",
        // Non-canonical field encodings.
        "00ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "f3ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        // Negative field elements.
        "0100000000000000000000000000000000000000000000000000000000000000",
        "01ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "ed57ffd8c914fb201471d1c3d245ce3c746fcbe63a3679d51b6a516ebebe0e20",
        // Non-square x^2.
        "26948d35ca62e643e26a83177332e6b6afeb9d08e4268b650f1f5bbd8d81d371",
        // Negative x y, and s = -1.
        "3eb858e78f5a7254d8c9731174a94f76755fd3941c0ac93735c07ba14579630e",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ];
    for text in refused {
        let bytes: [u8; 32] = from_hex(text).expect("hex");
        assert!(decode::<Element>(&bytes).is_err(), "{text}");
    }
}

#[test]
fn a_number_not_below_the_order_is_refused() {
    let order: [u8; 32] = from_hex("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010").expect("hex");
    assert!(decode::<Number>(&order).is_err());
    assert!(SecretNumber::decode(&order).is_err());
    let mut below = order;
    below[0] -= 1;
    assert!(decode::<Number>(&below).is_ok());
}

#[test]
fn two_quorums_of_the_global_gate_share_an_honest_validator() {
    for n in 1..=MEMBERS_MAX {
        let f = (n - 1) / 3;
        let t = global_threshold(n);
        assert!(t <= n - f, "{n} validators open without {f} of them");
        // However many are members: also where a key generation went without some, and all liars stayed, and for one
        // set of each of two epochs' gates.
        assert!(2 * t > n + f, "two sets of {t} of {n} share more than {f}");
        for members in 1..=n {
            assert_eq!(global(n as u32).threshold(members).ok(), (members >= t).then_some(t));
        }
    }
    assert_eq!([1, 2, 4, 7, 10].map(global_threshold), [1, 2, 3, 5, 7]);
    assert_eq!([1, 2, 3, 4].map(region_threshold), [1, 2, 2, 3]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn any_threshold_of_shares_opens_the_same_and_fewer_open_nothing(
        n in 1_u32..10, seed: u8, order in Just((0..10_usize).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        let (gate, shares) = dealt(global(n), n, seed);
        let (ciphertext, secret) = gate.encapsulate(&label(0), &mut counting(seed.wrapping_add(91)));
        let chosen: Vec<_> = order.iter().filter_map(|at| shares.get(*at)).collect();
        let need = gate.threshold();
        let opened = open(&gate, &ciphertext, &chosen[..need]).expect("enough");
        prop_assert_eq!(opened.expose(), secret.expose());
        let by_all = open(&gate, &ciphertext, &chosen).expect("more than enough");
        prop_assert_eq!(by_all.expose(), secret.expose());
        let missing = Refusal::ReleasesMissing { have: need - 1, need };
        prop_assert_eq!(open(&gate, &ciphertext, &chosen[..need - 1]).err(), Some(missing));
        // Nor does it help to repeat a part.
        if need > 1 {
            let repeated = [&chosen[..need - 1], &chosen[..1]].concat();
            prop_assert!(open(&gate, &ciphertext, &repeated).is_err());
        }
    }

    #[test]
    fn a_ciphertext_with_any_bit_flipped_is_refused(bit in 0_usize..128 * 8) {
        let (gate, _) = dealt(global(4), 4, 1);
        let (ciphertext, _) = gate.encapsulate(&label(0), &mut counting(9));
        let mut bytes = encode(&ciphertext);
        bytes[bit / 8] ^= 1 << (bit % 8);
        if let Ok(altered) = decode::<GateCiphertext>(&bytes) {
            prop_assert_eq!(gate.verify(&label(0), &altered).err(), Some(Refusal::CiphertextInvalid));
        }
    }

    #[test]
    fn a_partial_with_any_bit_flipped_is_refused(bit in 0_usize..100 * 8) {
        let (gate, shares) = dealt(global(4), 4, 1);
        let (ciphertext, _) = gate.encapsulate(&label(0), &mut counting(9));
        let verified = gate.verify(&label(0), &ciphertext).expect("just made");
        let mut bytes = encode(&shares[2].release(&verified).expect("a share of it"));
        bytes[bit / 8] ^= 1 << (bit % 8);
        if let Ok(altered) = decode::<Partial>(&bytes) {
            let refused = altered.verify(&verified).expect_err("altered");
            prop_assert!(matches!(refused.code(), "W-122" | "W-124"), "{refused}");
        }
    }
}

#[test]
fn a_ciphertext_is_bound_to_label_and_gate() {
    let (gate, _) = dealt(global(4), 4, 1);
    let (ciphertext, _) = gate.encapsulate(&label(0), &mut counting(9));
    assert_eq!(gate.verify(&label(1), &ciphertext).err(), Some(Refusal::CiphertextInvalid));
    // The same polynomial under another name: 4 have the same threshold for both.
    let (other, _) = dealt(region(4), 4, 1);
    assert_eq!(gate.key(), other.key());
    assert_eq!(other.verify(&label(0), &ciphertext).err(), Some(Refusal::CiphertextInvalid));
}

#[test]
fn the_parts_of_two_ciphertexts_do_not_mix() {
    let (gate, _) = dealt(global(4), 4, 1);
    let (one, _) = gate.encapsulate(&label(0), &mut counting(9));
    let (other, _) = gate.encapsulate(&label(0), &mut counting(77));
    let (one, other) = (encode(&one), encode(&other));
    for part in [0..32, 32..64, 64..96, 96..128] {
        let mut mixed = one.clone();
        mixed[part.clone()].copy_from_slice(&other[part]);
        let mixed = decode::<GateCiphertext>(&mixed).expect("well formed");
        assert_eq!(gate.verify(&label(0), &mixed).err(), Some(Refusal::CiphertextInvalid));
    }
}

#[test]
fn a_false_part_names_its_member() {
    let (gate, shares) = dealt(global(4), 4, 1);
    let (ciphertext, _) = gate.encapsulate(&label(0), &mut counting(9));
    let verified = gate.verify(&label(0), &ciphertext).expect("just made");
    let mut bytes = encode(&shares[1].release(&verified).expect("a share of it"));
    // Member 1's part under member 2's number.
    bytes[0] = 2;
    let claimed = decode::<Partial>(&bytes).expect("well formed");
    let mut opening = Opening::new(verified);
    assert_eq!(opening.add(claimed), Err(Refusal::PartialInvalid { node: NodeId::new(2) }));
    bytes[0] = 4;
    let stranger = decode::<Partial>(&bytes).expect("well formed");
    assert_eq!(opening.add(stranger), Err(Refusal::NotMember { node: NodeId::new(4) }));
    // A part for another ciphertext is false for this one.
    let (second, _) = gate.encapsulate(&label(0), &mut counting(77));
    let elsewhere = gate.verify(&label(0), &second).expect("just made");
    let part = shares[3].release(&elsewhere).expect("a share of it");
    assert_eq!(opening.add(part), Err(Refusal::PartialInvalid { node: NodeId::new(3) }));
}

#[test]
fn a_release_repeats_byte_for_byte() {
    let (gate, shares) = dealt(global(4), 4, 1);
    let (ciphertext, _) = gate.encapsulate(&label(0), &mut counting(9));
    let verified = gate.verify(&label(0), &ciphertext).expect("just made");
    let bytes = || encode(&shares[0].release(&verified).expect("a share of it"));
    assert_eq!(bytes(), bytes());
    assert_eq!(bytes().len(), 100);
}

#[test]
fn a_share_serves_its_own_gate_and_member_alone() {
    let (gate, shares) = dealt(global(4), 4, 1);
    let (other, _) = dealt(global(4), 4, 2);
    let invalid = Some(Refusal::GateInvalid { reason: "the share is not this member's" });
    assert_eq!(GateShare::new(&gate, NodeId::new(1), shares[0].secret().clone()).err(), invalid);
    assert_eq!(GateShare::new(&other, NodeId::ZERO, shares[0].secret().clone()).err(), invalid);
    let (ciphertext, _) = other.encapsulate(&label(0), &mut counting(9));
    let verified = other.verify(&label(0), &ciphertext).expect("just made");
    let elsewhere = Refusal::GateInvalid { reason: "the share is of another gate" };
    assert_eq!(shares[0].release(&verified).err(), Some(elsewhere));
}

#[test]
fn a_plain_key_needs_the_proof_that_its_maker_knows_it() {
    let (gate, shares) = dealt(global(1), 1, 1);
    let (ciphertext, secret) = gate.encapsulate(&label(0), &mut counting(9));
    assert_eq!(open(&gate, &ciphertext, &[&shares[0]]).expect("alone").expose(), secret.expose());
    let bytes = encode(&gate);
    assert_eq!(decode::<Gate>(&bytes).as_ref(), Ok(&gate));
    // The proof is bound to consortium, kind, epoch and member, and may not be left out.
    for at in [0, 36, bytes.len() - 1] {
        let mut altered = bytes.clone();
        altered[at] ^= 1;
        assert!(decode::<Gate>(&altered).is_err(), "byte {at}");
    }
    let mut bare = bytes[..bytes.len() - 64].to_vec();
    *bare.last_mut().expect("the option") = 0;
    assert!(decode::<Gate>(&bare).expect_err("no proof").to_string().contains("proof of possession"));
    let zero = SecretNumber::decode(&[0; 32]).expect("a number");
    assert!(Gate::single(id(global(1)), NodeId::ZERO, zero).is_err());
}

#[test]
fn a_gate_that_breaks_a_rule_is_refused() {
    let (gate, _) = dealt(global(4), 4, 1);
    let polynomial = |count| vec![Coefficient::from(*gate.key()); count];
    let make = |members: &[u32], count| {
        let members = members.iter().copied().map(NodeId::new).collect();
        Gate::shared(id(global(4)), members, polynomial(count)).err().map(|refusal| refusal.code())
    };
    assert_eq!(make(&[0, 1, 2, 3], 3), None);
    assert_eq!(make(&[0, 1, 2, 3], 2), Some("W-121"), "a lower threshold");
    assert_eq!(make(&[0, 1, 2, 3], 4), Some("W-121"), "a higher threshold");
    assert_eq!(make(&[0, 2, 1, 3], 3), Some("W-121"), "out of order");
    assert_eq!(make(&[0, 1, 1, 3], 3), Some("W-121"), "twice");
    assert_eq!(make(&[], 0), Some("W-121"), "nobody");
    assert_eq!(make(&[0, 1, 2], 3), None, "one is absent, and may be one of the honest");
    assert_eq!(make(&[0, 1, 2], 2), Some("W-121"), "two sets of two of three may share the liar alone");
    assert_eq!(make(&[0], 1), Some("W-121"), "one alone of four");
    assert_eq!(make(&[0, 1, 2, 3, 4], 4), Some("W-121"), "more than the validators");
    for (members, expected) in [(256, Ok(171)), (257, Err("W-121"))] {
        let kind = GateKind::Global { validators: members as u32 };
        assert_eq!(kind.threshold(members).map_err(|refusal| refusal.code()), expected);
    }
}

/// Liars can bring it about, and harm nobody by it.
#[test]
fn a_coefficient_may_have_cancelled_out_and_the_key_may_not() {
    let (gate, _) = dealt(global(4), 4, 1);
    let zero = Coefficient::decode(&EncodedElement([0; 32])).expect("the identity");
    let (key, members) = (Coefficient::from(*gate.key()), (0..4).map(NodeId::new).collect::<Vec<_>>());
    let make = |polynomial: [Coefficient; 3]| Gate::shared(id(global(4)), members.clone(), polynomial.to_vec());
    let cancelled = make([key, zero, key]).expect("the key is there");
    assert_eq!(decode::<Gate>(&encode(&cancelled)).as_ref(), Ok(&cancelled));
    assert_eq!(cancelled.threshold(), 3);
    let identity = Refusal::GateInvalid { reason: "the key is the identity" };
    assert_eq!(make([zero, key, key]).err(), Some(identity));
    assert_eq!(make([key, zero, zero]).expect("a constant").verification_share(NodeId::new(2)), Ok(*gate.key()));
}

#[test]
fn the_bytes_of_a_gate_are_pinned() {
    let (gate, shares) = dealt(global(4), 4, 1);
    let (ciphertext, secret) = gate.encapsulate(&label(0), &mut counting(9));
    let verified = gate.verify(&label(0), &ciphertext).expect("just made");
    let part = shares[0].release(&verified).expect("a share of it");
    let single = dealt(GateKind::Tenant(WalletAddress(Digest([7; 32]))), 1, 5).0;
    let bytes = [encode(&gate), encode(&ciphertext), encode(&part), encode(&single), secret.expose().to_vec()];
    let pinned = ["456df6f131f0bc00", "538f8f3d3cb5c37a", "31bc7693573f1bd4", "be777f10dac8995a", "96dccd9c727c8a79"];
    assert_eq!(bytes.map(|bytes| sha256("golden", &[&bytes]).to_string()[..16].to_owned()), pinned);
}
