use super::{
    tests::{counting, dealt, global, label},
    *,
};
use crate::{
    codec::{decode, encode},
    digest::{Digest, sha256},
    grant::WalletAddress,
    identity::{PublicKey, SecretKey, context},
    kem::{KemId, KemSecret},
    refusal::Refusal,
    units::NodeId,
};

const WALLET: WalletAddress = WalletAddress(Digest([3; 32]));
const HEAD: Digest = Digest([6; 32]);

fn node_key(node: u8) -> SecretKey {
    SecretKey::from_seed(&[node + 50; 32])
}

fn keys(node: NodeId) -> Option<PublicKey> {
    u8::try_from(node.get()).ok().filter(|node| *node < 4).map(|node| node_key(node).public_key())
}

/// What a member is asked for: a ciphertext at the head, to the prekey of this byte.
fn subject(of: &VerifiedCiphertext<'_>, kem: KemId, prekey: u8) -> ReleaseSubject {
    ReleaseSubject::new(of, (WALLET, HEAD), kem.kem().key_name(&public(kem, prekey)).expect("a key"))
}

fn public(kem: KemId, prekey: u8) -> Vec<u8> {
    kem.kem().public_key(&KemSecret::from_bytes([prekey; 32]))
}

fn sign(share: &GateShare, of: &VerifiedCiphertext<'_>, prekey: u8, key: &SecretKey) -> Release {
    share.sign(of, &subject(of, KemId::X25519, prekey), key).expect("its gate")
}

#[test]
fn a_release_travels_sealed_verifies_and_opens() {
    let (gate, shares) = dealt(global(4), 4, 1);
    let (ciphertext, secret) = gate.encapsulate(&label(0), &mut counting(9));
    let verified = gate.verify(&label(0), &ciphertext).expect("just made");
    for kem in [KemId::X25519, KemId::XWing] {
        let prekey = KemSecret::from_bytes([8; 32]);
        let (public, subject) = (public(kem, 8), subject(&verified, kem, 8));
        let mut opening = Opening::new(verified);
        for (node, share) in (0..3).zip(&shares) {
            let send = || {
                let release = share.sign(&verified, &subject, &node_key(node)).expect("its gate");
                share.seal(&release, kem, &public).expect("a prekey")
            };
            let sealed = send();
            assert_eq!(sealed, send(), "it repeats byte for byte");
            let sealed = decode::<SealedRelease>(&encode(&sealed)).expect("canonical");
            let release = sealed.open(kem, &prekey).expect("sealed to it");
            assert_eq!(release.verify(&verified, &subject, &keys), Ok(()));
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
    let sealed = [1, 2].map(|byte| {
        let release = sign(&shares[0], &verified, byte, &node_key(0));
        encode(&shares[0].seal(&release, KemId::X25519, &public(KemId::X25519, byte)).expect("a prekey"))
    });
    // Each is two byte strings, of 32 bytes and the rest, with their lengths before them.
    assert_ne!(sealed[0][8..40], sealed[1][8..40], "no ephemeral key serves twice");
    assert_ne!(sealed[0][48..80], sealed[1][48..80]);
}

#[test]
fn a_release_is_sealed_to_the_prekey_that_it_names_alone() {
    let (gate, shares) = dealt(global(4), 4, 1);
    let (ciphertext, _) = gate.encapsulate(&label(0), &mut counting(9));
    let verified = gate.verify(&label(0), &ciphertext).expect("just made");
    let release = sign(&shares[0], &verified, 1, &node_key(0));
    let other = shares[0].seal(&release, KemId::X25519, &public(KemId::X25519, 2));
    assert_eq!(other.err(), Some(Refusal::ReleaseMismatch));
}

#[test]
fn a_false_part_under_its_members_signature_is_evidence() {
    let (gate, shares) = dealt(global(4), 4, 1);
    let (ciphertext, _) = gate.encapsulate(&label(0), &mut counting(9));
    let verified = gate.verify(&label(0), &ciphertext).expect("just made");
    let (second, _) = gate.encapsulate(&label(0), &mut counting(77));
    let elsewhere = gate.verify(&label(0), &second).expect("just made");
    let asked = subject(&verified, KemId::X25519, 8);
    let signed = |node: u8, partial: Partial| {
        let part = sha256("batchmind/v1/wallet/gate/part", &[&encode(&partial)]);
        let statement = ReleaseStatement { node: NodeId::new(node.into()), subject: asked.clone(), part };
        let signature = node_key(node).sign(context::GATE_RELEASE, &encode(&statement));
        Release { signed: SignedRelease { statement, signature }, partial }
    };
    let verdict = |release: &Release| release.verify(&verified, &asked, &keys);
    assert_eq!(verdict(&signed(1, shares[1].release(&verified).expect("its gate"))), Ok(()), "the true one");
    // It says that it released this ciphertext, and the part is that of another.
    let false_part = signed(1, shares[1].release(&elsewhere).expect("its gate"));
    assert_eq!(verdict(&false_part), Err(Refusal::PartialInvalid { node: NodeId::new(1) }));
    // Another's part under its own name.
    let stolen = signed(2, shares[1].release(&verified).expect("its gate"));
    assert_eq!(verdict(&stolen), Err(Refusal::PartialInvalid { node: NodeId::new(2) }));
}

/// Anyone can make a second ciphertext under the label of the first.
#[test]
fn an_honest_release_is_never_evidence() {
    let (gate, shares) = dealt(global(4), 4, 1);
    let (ciphertext, _) = gate.encapsulate(&label(0), &mut counting(9));
    let verified = gate.verify(&label(0), &ciphertext).expect("just made");
    let (second, _) = gate.encapsulate(&label(0), &mut counting(77));
    let elsewhere = gate.verify(&label(0), &second).expect("just made");
    let release = sign(&shares[1], &verified, 8, &node_key(1));
    for asked in [subject(&verified, KemId::X25519, 8), subject(&elsewhere, KemId::X25519, 8)] {
        assert_eq!(release.verify(&elsewhere, &asked, &keys), Err(Refusal::ReleaseMismatch), "and nobody is named");
    }
    // Whatever else it is asked at this head, the book lets nothing through that contradicts it.
    let mut book = ReleaseBook::new();
    assert_eq!(book.admit(&release.signed.statement.subject), Ok(true));
    let (third, _) = gate.encapsulate(&label(1), &mut counting(5));
    let third = gate.verify(&label(1), &third).expect("just made");
    for (of, prekey) in [(&verified, 8), (&verified, 9), (&elsewhere, 8), (&third, 8), (&third, 9)] {
        let again = sign(&shares[1], of, prekey, &node_key(1));
        let admitted = book.admit(&again.signed.statement.subject).is_ok();
        assert_eq!(release.signed.contradicts(&again.signed, &keys), Ok(!admitted));
    }
}

/// The same label and prekey through two gates are two legs of one hop, or one gate before and after its key was
/// renewed.
#[test]
fn two_gates_at_one_head_are_no_evidence_and_two_labels_through_them_are() {
    let (old, olds) = dealt(global(4), 4, 1);
    let (new, news) = dealt(global(4), 4, 2);
    let through = |gate: &Gate, share: &GateShare, of| {
        let (ciphertext, _) = gate.encapsulate(&label(of), &mut counting(9));
        sign(share, &gate.verify(&label(of), &ciphertext).expect("just made"), 8, &node_key(0)).signed
    };
    let (first, same, other) = (through(&old, &olds[0], 0), through(&new, &news[0], 0), through(&new, &news[0], 1));
    assert_eq!(first.contradicts(&same, &keys), Ok(false));
    assert_eq!(first.contradicts(&other, &keys), Ok(true));
}

#[test]
fn a_word_is_its_nodes_whoever_brings_it() {
    let (gate, shares) = dealt(global(4), 4, 1);
    let (ciphertext, _) = gate.encapsulate(&label(0), &mut counting(9));
    let verified = gate.verify(&label(0), &ciphertext).expect("just made");
    // Node 2 signs in the name of node 1, which is the one to be blamed then.
    let mut framing = sign(&shares[1], &verified, 8, &node_key(2));
    framing.partial = shares[2].release(&verified).expect("its gate");
    let unsigned = Err(Refusal::SignatureInvalid { what: "release" });
    assert_eq!(framing.verify(&verified, &subject(&verified, KemId::X25519, 8), &keys), unsigned);
    framing.signed.statement.node = NodeId::new(9);
    assert_eq!(framing.signed.verify(&keys), Err(Refusal::NotMember { node: NodeId::new(9) }));
}

#[test]
fn a_release_is_bound_to_its_subject_and_part() {
    let (gate, shares) = dealt(global(4), 4, 1);
    let (ciphertext, _) = gate.encapsulate(&label(0), &mut counting(9));
    let verified = gate.verify(&label(0), &ciphertext).expect("just made");
    let (swapped, _) = gate.encapsulate(&label(1), &mut counting(9));
    let swapped = gate.verify(&label(1), &swapped).expect("just made");
    let release = sign(&shares[0], &verified, 8, &node_key(0));
    let asked = subject(&verified, KemId::X25519, 8);
    let mismatch = Err(Refusal::ReleaseMismatch);
    let alterations: [fn(&mut ReleaseSubject); 6] = [
        |of| of.wallet = WalletAddress::default(),
        |of| of.head = Digest::ZERO,
        |of| of.gate = Digest::ZERO,
        |of| of.label = label(1),
        |of| of.ciphertext = Digest::ZERO,
        |of| of.prekey = crate::prekey::ExchangeKey::default(),
    ];
    for alter in alterations {
        let mut other = asked.clone();
        alter(&mut other);
        assert_eq!(release.verify(&verified, &other, &keys), mismatch);
    }
    assert_eq!(release.verify(&swapped, &asked, &keys), mismatch);
    assert_eq!(shares[0].sign(&swapped, &asked, &node_key(0)).map(drop), mismatch);
    let mut other_part = release.clone();
    other_part.partial = shares[1].release(&verified).expect("its gate");
    assert_eq!(other_part.verify(&verified, &asked, &keys), mismatch);
    let forged = sign(&shares[0], &verified, 8, &node_key(1));
    let unsigned = Err(Refusal::SignatureInvalid { what: "release" });
    assert_eq!(forged.verify(&verified, &asked, &keys), unsigned);
}

#[test]
fn two_subjects_at_one_head_are_evidence() {
    let (gate, shares) = dealt(global(4), 4, 1);
    let signed = |holder, seed, prekey, head| {
        let (ciphertext, _) = gate.encapsulate(&label(holder), &mut counting(seed));
        let verified = gate.verify(&label(holder), &ciphertext).expect("just made");
        let subject = ReleaseSubject { head, ..subject(&verified, KemId::X25519, prekey) };
        shares[0].sign(&verified, &subject, &node_key(0)).expect("its gate").signed
    };
    let one = signed(0, 9, 8, HEAD);
    let with = |other: &SignedRelease| one.contradicts(other, &keys);
    assert_eq!(with(&one), Ok(false), "the same release again");
    assert_eq!(with(&signed(1, 9, 8, HEAD)), Ok(true), "another label");
    assert_eq!(with(&signed(0, 77, 8, HEAD)), Ok(true), "another ciphertext under the same label");
    assert_eq!(with(&signed(0, 9, 7, HEAD)), Ok(true), "another receiver");
    assert_eq!(with(&signed(1, 9, 8, Digest([7; 32]))), Ok(false), "another head");
    let forged = SignedRelease { statement: signed(1, 9, 8, HEAD).statement, signature: one.signature };
    assert_eq!(with(&forged), Err(Refusal::SignatureInvalid { what: "release" }));
}

#[test]
fn the_bytes_of_a_release_are_pinned() {
    let (gate, shares) = dealt(global(4), 4, 1);
    let (ciphertext, _) = gate.encapsulate(&label(0), &mut counting(9));
    let verified = gate.verify(&label(0), &ciphertext).expect("just made");
    let bytes = [KemId::X25519, KemId::XWing].map(|kem| {
        let release = shares[0].sign(&verified, &subject(&verified, kem, 8), &node_key(0)).expect("its gate");
        let sealed = shares[0].seal(&release, kem, &public(kem, 8)).expect("a prekey");
        [encode(&release), encode(&sealed)]
    });
    let hashes = bytes.map(|bytes| bytes.map(|bytes| sha256("golden", &[&bytes]).to_string()[..16].to_owned()));
    let pinned = [["9463bdb35292c781", "e568aa8aa74344ad"], ["c9d9c60ee7cab6e1", "6fa8bfcf80ed7334"]];
    assert_eq!(hashes, pinned);
}
