//! A gate's notice, well-formed or not, in the history or as the entry of a re-genesis: no proof has one, so nobody has to
//! know by which rules it decodes.

use ledger::{
    bundle::Check,
    event::{Event, GateNotice, GateWord},
    state::GateScope,
    testing,
};
use wallet::{
    codec::encode,
    digest::Digest,
    gate::{
        Gate, GateId, GateKind, SecretNumber,
        dkg::{Complaint, Notice},
    },
    units::{GateEpoch, NodeId},
};

use super::{Vectors, anew, first_move};
use crate::story::Step;

pub(super) fn add(all: &mut Vectors) {
    for at in [1, 2, 5] {
        add_changed(all, &format!("a gate's notice as entry {at}"), at, missing(&[0, 1]), |_| {});
    }
    add_changed(all, "a gate's plain key", 1, plain(), |_| {});
    // Where the parts of that one stand, behind the event's number, the scope, the word and the lineage.
    const GATE: usize = 4 + 4 + 4 + 32;
    const MEMBERS: usize = GATE + 32 + 4 + 4 + 4;
    const ELEMENT: usize = MEMBERS + 8 + 4 + 8;
    const PROOF: usize = ELEMENT + 32;
    let lies: [(&str, usize, &[u8]); 9] = [
        ("of no scope", 4, &[2]),
        ("of no word", 8, &[2]),
        ("of no kind", GATE + 32, &[4]),
        ("without a member", MEMBERS, &[0]),
        ("with more members than bytes", MEMBERS, &[0xff; 8]),
        ("with the identity for a key", ELEMENT, &[0; 32]),
        ("with a key that is no element", ELEMENT, &[0xff; 32]),
        ("without a proof of possession", PROOF, &[0]),
        ("with numbers not below the order", PROOF + 1, &[0xff; 64]),
    ];
    for (name, at, bytes) in lies {
        add_changed(all, &format!("a gate's plain key {name}"), 1, plain(), |notice| {
            notice[at..at + bytes.len()].copy_from_slice(bytes);
        });
    }
    let (low, high) = (encode(&NodeId::ZERO), encode(&NodeId::new(1)));
    add_changed(all, "a gate's notice with a list out of order", 1, missing(&[0, 1]), |notice| {
        let end = notice.len();
        notice[end - 8..].copy_from_slice(&[high, low].concat());
    });
    all.anew("with a gate's notice for an entry", Check::Decode, |bundle| {
        let entry = &mut anew::proof(bundle).entry;
        *entry = entry.changed(|entry| entry.body.event = missing(&[0, 1]));
    });
}

/// The first move with this notice as an entry, whose bytes are changed in the file.
fn add_changed(all: &mut Vectors, name: &str, at: usize, notice: Event, change: impl FnOnce(&mut [u8])) {
    let mut story = first_move();
    let encoded = encode(&notice);
    story.steps.insert(at, Step::by_holder(&story.consortium, 0, notice, 0));
    let mut bytes = story.bundle().to_bytes();
    let place = bytes.windows(encoded.len()).position(|window| window == encoded).expect("it is an entry");
    change(&mut bytes[place..place + encoded.len()]);
    all.bytes(name, bytes, story.consortium.id(), Check::Decode);
}

fn notice(word: GateWord) -> Event {
    Event::GateNotice(Box::new(GateNotice { scope: GateScope::Global, word }))
}

fn missing(accused: &[u32]) -> Event {
    let accused = accused.iter().copied().map(NodeId::new).collect();
    notice(GateWord::Run { run: Digest([1; 32]), notice: Notice::Complained(Complaint::Missing { accused }) })
}

fn plain() -> Event {
    let kind = GateKind::Global { validators: 1 };
    let id = GateId { consortium: testing::consortium(4).id(), kind, epoch: GateEpoch::ZERO };
    let (gate, _) = Gate::single(id, NodeId::ZERO, SecretNumber::decode(&[1; 32]).expect("small")).expect("not 0");
    notice(GateWord::Plain { lineage: Digest::ZERO, gate: Box::new(gate) })
}
