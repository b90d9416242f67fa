use super::{
    tests::{counting, dealt, global, label},
    *,
};
use crate::{
    codec::{decode, encode},
    digest::{Digest, sha256},
    grant::WalletAddress,
    identity::SecretKey,
    kem::{KemId, KemSecret},
    refusal::Refusal,
    units::NodeId,
};

const WALLET: WalletAddress = WalletAddress(Digest([3; 32]));
const HEAD: Digest = Digest([6; 32]);

fn node_key(node: u8) -> SecretKey {
    SecretKey::from_seed(&[node + 50; 32])
}

#[test]
fn a_release_travels_sealed_verifies_and_opens() {
    let (gate, shares) = dealt(global(4), 4, 1);
    let (ciphertext, secret) = gate.encapsulate(&label(0), &mut counting(9));
    let verified = gate.verify(&label(0), &ciphertext).expect("just made");
    for kem in [KemId::X25519, KemId::XWing] {
        let prekey = KemSecret::from_bytes([8; 32]);
        let public = kem.kem().public_key(&prekey);
        let mut opening = Opening::new(verified);
        for (node, share) in (0..3).zip(&shares) {
            let send = || {
                let release = share.sign(&verified, WALLET, HEAD, &node_key(node)).expect("its gate");
                share.seal(&release, kem, &public).expect("a prekey")
            };
            let sealed = send();
            assert_eq!(sealed, send(), "it repeats byte for byte");
            let sealed = decode::<SealedRelease>(&encode(&sealed)).expect("canonical");
            let release = sealed.open(kem, &prekey).expect("sealed to it");
            assert_eq!(release.verify(&verified, &WALLET, &HEAD, &node_key(node).public_key()), Ok(()));
            opening.add(release.partial).expect("verified");
            let other = KemSecret::from_bytes([9; 32]);
            assert_eq!(sealed.open(kem, &other).err(), Some(Refusal::SealBroken { what: "release" }));
        }
        assert_eq!(opening.secret().expect("three of four").expose(), secret.expose());
    }
}

#[test]
fn what_is_sealed_to_two_prekeys_has_nothing_in_common() {
    let (gate, shares) = dealt(global(4), 4, 1);
    let (ciphertext, _) = gate.encapsulate(&label(0), &mut counting(9));
    let verified = gate.verify(&label(0), &ciphertext).expect("just made");
    let release = shares[0].sign(&verified, WALLET, HEAD, &node_key(0)).expect("its gate");
    let sealed = [1, 2].map(|byte| {
        let public = KemId::X25519.kem().public_key(&KemSecret::from_bytes([byte; 32]));
        encode(&shares[0].seal(&release, KemId::X25519, &public).expect("a prekey"))
    });
    // Each is two byte strings, of 32 bytes and the rest, with their lengths before them.
    assert_ne!(sealed[0][8..40], sealed[1][8..40], "no ephemeral key serves twice");
    assert_ne!(sealed[0][48..80], sealed[1][48..80]);
}

#[test]
fn a_false_part_under_its_members_signature_is_evidence() {
    let (gate, shares) = dealt(global(4), 4, 1);
    let (ciphertext, _) = gate.encapsulate(&label(0), &mut counting(9));
    let verified = gate.verify(&label(0), &ciphertext).expect("just made");
    let (second, _) = gate.encapsulate(&label(0), &mut counting(77));
    let elsewhere = gate.verify(&label(0), &second).expect("just made");
    // Its part of another ciphertext under the same label: signed, and false for this one.
    let release = shares[1].sign(&elsewhere, WALLET, HEAD, &node_key(1)).expect("its gate");
    let verdict = release.verify(&verified, &WALLET, &HEAD, &node_key(1).public_key());
    assert_eq!(verdict, Err(Refusal::PartialInvalid { node: NodeId::new(1) }));
    // Another's part under its own name.
    let mut stolen = shares[1].sign(&verified, WALLET, HEAD, &node_key(2)).expect("its gate");
    stolen.signed.statement.node = NodeId::new(2);
    stolen.signed.signature =
        node_key(2).sign(crate::identity::context::GATE_RELEASE, &encode(&stolen.signed.statement));
    let verdict = stolen.verify(&verified, &WALLET, &HEAD, &node_key(2).public_key());
    assert_eq!(verdict, Err(Refusal::PartialInvalid { node: NodeId::new(2) }));
}

#[test]
fn a_release_is_bound_to_wallet_head_label_and_part() {
    let (gate, shares) = dealt(global(4), 4, 1);
    let (ciphertext, _) = gate.encapsulate(&label(0), &mut counting(9));
    let verified = gate.verify(&label(0), &ciphertext).expect("just made");
    let (swapped, _) = gate.encapsulate(&label(1), &mut counting(9));
    let swapped = gate.verify(&label(1), &swapped).expect("just made");
    let release = shares[0].sign(&verified, WALLET, HEAD, &node_key(0)).expect("its gate");
    let key = node_key(0).public_key();
    let mismatch = Err(Refusal::ReleaseMismatch);
    assert_eq!(release.verify(&verified, &WalletAddress::default(), &HEAD, &key), mismatch);
    assert_eq!(release.verify(&verified, &WALLET, &Digest::ZERO, &key), mismatch);
    assert_eq!(release.verify(&swapped, &WALLET, &HEAD, &key), mismatch);
    let mut other_part = release.clone();
    other_part.partial = shares[1].release(&verified).expect("its gate");
    assert_eq!(other_part.verify(&verified, &WALLET, &HEAD, &key), mismatch);
    let unsigned = Err(Refusal::SignatureInvalid { what: "release" });
    assert_eq!(release.verify(&verified, &WALLET, &HEAD, &node_key(1).public_key()), unsigned);
}

#[test]
fn two_labels_at_one_head_are_evidence() {
    let (gate, shares) = dealt(global(4), 4, 1);
    let sign = |holder, head| {
        let (ciphertext, _) = gate.encapsulate(&label(holder), &mut counting(9));
        let verified = gate.verify(&label(holder), &ciphertext).expect("just made");
        shares[0].sign(&verified, WALLET, head, &node_key(0)).expect("its gate").signed
    };
    let (one, two, later) = (sign(0, HEAD), sign(1, HEAD), sign(1, Digest([7; 32])));
    let key = node_key(0).public_key();
    assert_eq!(one.contradicts(&two, &key), Ok(true));
    assert_eq!(one.contradicts(&one, &key), Ok(false), "the same release again");
    assert_eq!(one.contradicts(&later, &key), Ok(false), "another head");
    let (second, _) = gate.encapsulate(&label(0), &mut counting(77));
    let second = gate.verify(&label(0), &second).expect("just made");
    let second = shares[0].sign(&second, WALLET, HEAD, &node_key(0)).expect("its gate").signed;
    assert_eq!(one.contradicts(&second, &key), Ok(true), "another ciphertext under the same label");
    let forged = SignedRelease { statement: two.statement, signature: one.signature };
    assert_eq!(one.contradicts(&forged, &key), Err(Refusal::SignatureInvalid { what: "release" }));
}

#[test]
fn the_bytes_of_a_release_are_pinned() {
    let (gate, shares) = dealt(global(4), 4, 1);
    let (ciphertext, _) = gate.encapsulate(&label(0), &mut counting(9));
    let verified = gate.verify(&label(0), &ciphertext).expect("just made");
    let release = shares[0].sign(&verified, WALLET, HEAD, &node_key(0)).expect("its gate");
    let bytes = [KemId::X25519, KemId::XWing].map(|kem| {
        let public = kem.kem().public_key(&KemSecret::from_bytes([8; 32]));
        encode(&shares[0].seal(&release, kem, &public).expect("a prekey"))
    });
    let [plain, hybrid] = bytes.map(|bytes| sha256("golden", &[&bytes]).to_string()[..16].to_owned());
    let open = sha256("golden", &[&encode(&release)]).to_string()[..16].to_owned();
    assert_eq!([open, plain, hybrid], ["8838317756f721c4", "b1edf424abee5003", "d8729e8490b5742b"]);
}
