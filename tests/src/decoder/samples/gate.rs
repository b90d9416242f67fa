//! What belongs to the gates: on the ledger, between members, and from a member to a receiver.

use std::collections::BTreeMap;

use wallet::{
    codec::encode,
    digest::Digest,
    gate::{
        Gate, GateId, GateKind, GateLabel, GateShare, ReleaseSubject, SecretNumber,
        dkg::{Ceremony, CeremonySeed, Complaint, Effect, Input, Notice, Participant, SignedPackage, Transcript},
    },
    identity::SecretKey,
    kem::{KemId, KemSecret},
    units::{GateEpoch, KeyEpoch, NodeId},
};

use super::batch::WALLET;

fn id(kind: GateKind) -> GateId {
    GateId { consortium: Digest([1; 32]), kind, epoch: GateEpoch::ZERO }
}

fn single() -> (Gate, GateShare) {
    let secret = SecretNumber::draw(&mut |bytes: &mut [u8]| bytes.fill(7));
    Gate::single(id(GateKind::Tenant(WALLET)), NodeId::ZERO, secret).expect("not zero")
}

fn label() -> GateLabel {
    GateLabel::unlock(&WALLET, KeyEpoch::ZERO, NodeId::ZERO)
}

/// A gate, a ciphertext and a part.
pub(crate) fn gates() -> Vec<Vec<u8>> {
    let (gate, share) = single();
    let (ciphertext, _) = gate.encapsulate(&label(), &mut |bytes: &mut [u8]| bytes.fill(8));
    let verified = gate.verify(&label(), &ciphertext).expect("just made");
    let part = share.release(&verified).expect("its gate");
    vec![encode(&gate), encode(&ciphertext), encode(&part)]
}

/// A release, open and sealed.
pub(crate) fn releases() -> Vec<Vec<u8>> {
    let (gate, share) = single();
    let (ciphertext, _) = gate.encapsulate(&label(), &mut |bytes: &mut [u8]| bytes.fill(8));
    let verified = gate.verify(&label(), &ciphertext).expect("just made");
    let key = SecretKey::from_seed(&[9; 32]);
    let prekey = KemId::X25519.kem().public_key(&KemSecret::from_bytes([3; 32]));
    let name = KemId::X25519.kem().key_name(&prekey).expect("a key");
    let subject = ReleaseSubject::new(&verified, (WALLET, Digest([2; 32])), name);
    let release = share.sign(&verified, &subject, &key).expect("its gate");
    let sealed = share.seal(&release, KemId::X25519, &prekey).expect("a key");
    vec![encode(&release), encode(&release.signed), encode(&sealed)]
}

/// Notices and a package of a key generation of two, and what was said in it.
pub(crate) fn key_generation() -> Vec<Vec<u8>> {
    let members = vec![NodeId::new(0), NodeId::new(1)];
    let gate = id(GateKind::Global { validators: 2 });
    let ceremony = Ceremony { gate, lineage: Digest::ZERO, members: members.clone(), run: 0 };
    let key = |node: NodeId| SecretKey::from_seed(&[node.get() as u8 + 1; 32]);
    let keys: BTreeMap<_, _> = members.iter().map(|node| (*node, key(*node).public_key())).collect();
    let join = |node| {
        let transcript = Transcript::new(ceremony.clone(), keys.clone()).expect("two members");
        Participant::join(transcript, node, key(node), CeremonySeed::from_bytes([5; 32]), None).expect("a member")
    };
    let (mut member, own) = join(members[0]);
    let (_, theirs) = join(members[1]);
    let mut effects = Vec::new();
    let mut transcripts = vec![encode(member.transcript())];
    for (author, notice) in [(members[0], &own), (members[1], &theirs)] {
        member.step(&Input::Notice { author, notice: notice.clone() }, &mut effects).expect("honest");
    }
    let packages = effects.into_iter().filter_map(|effect| match effect {
        Effect::Send(package) => Some(package),
        Effect::Submit(_) | Effect::Keep(_) | Effect::Finished { .. } | Effect::Failed => None,
    });
    let packages: Vec<SignedPackage> = packages.collect();
    let accused = Complaint::False { package: packages[0].clone(), opening: None };
    let notices = [
        own,
        Notice::Complained(Complaint::Missing { accused: [members[1]].into() }),
        Notice::Complained(accused),
        Notice::Answered(packages[0].clone()),
        Notice::Confirmed(Digest([4; 32])),
    ];
    transcripts.push(encode(member.transcript()));
    notices.iter().map(encode).chain(packages.iter().map(encode)).chain(transcripts).collect()
}
