use std::collections::BTreeMap;

use wallet::{
    codec::{decode, encode},
    gate::dkg::Notice,
};

use super::*;
use crate::{
    event::{Event, GateWord},
    testing::{
        Chain, consortium_with,
        gates::{KeyGeneration, gated},
        key,
    },
};

/// The record of the global gate of four, and what it is after `change`, if that decodes.
fn forged(change: impl FnOnce(&mut GateRecord)) -> Option<GateRecord> {
    let mut record = Chain::new(consortium_with(4, gated())).gate(&GateScope::Global);
    change(&mut record);
    decode(&encode(&record)).ok()
}

/// The run of a record.
fn run(record: &mut GateRecord) -> &mut GateRun {
    record.run.as_mut().expect("under way")
}

/// Another run, which is one by itself.
fn other(record: &mut GateRecord, change: impl FnOnce(&mut Ceremony, &mut BTreeMap<NodeId, PublicKey>)) {
    let mut keys = record.members.iter().copied().collect();
    let run = run(record);
    let mut ceremony = run.transcript.ceremony().clone();
    change(&mut ceremony, &mut keys);
    run.transcript = Transcript::new(ceremony, keys).expect("a run");
}

#[test]
fn a_record_that_no_rule_makes_does_not_decode() {
    assert!(forged(|_| {}).is_some());
    assert!(forged(|record| other(record, |_, _| {})).is_some());
    let strange = key("a stranger").public_key();
    let forgeries: [(&str, Option<GateRecord>); 9] = [
        ("the last epoch", forged(|record| record.epoch = GateEpoch::new(u32::MAX))),
        ("another epoch", forged(|record| record.epoch = GateEpoch::new(1))),
        ("a run of nobody", forged(|record| record.members.clear())),
        (
            "a run of strangers",
            forged(|record| {
                other(record, |_, keys| {
                    keys.insert(NodeId::ZERO, strange);
                })
            }),
        ),
        ("members out of order", forged(|record| record.members.swap(0, 1))),
        (
            "a member twice",
            forged(|record| {
                let twice = record.members[3];
                record.members.push(twice);
            }),
        ),
        (
            "more than there may be",
            forged(|record| {
                record.run = None;
                let count = u32::try_from(GATE_MEMBERS_MAX).expect("few");
                record.members = (0..=count).map(|node| (NodeId::new(node), strange)).collect();
            }),
        ),
        (
            "a gate of others",
            forged(|record| {
                other(record, |ceremony, _| {
                    ceremony.gate.kind = GateKind::Global { validators: 5 };
                })
            }),
        ),
        ("a run that failed", forged(|record| run(record).transcript.close_phase())),
    ];
    for (what, record) in forgeries {
        assert_eq!(record, None, "{what}");
    }
}

#[test]
fn a_run_that_is_done_stands_in_no_record() {
    let mut chain = Chain::new(consortium_with(4, gated()));
    let mut record = chain.gate(&GateScope::Global);
    KeyGeneration::join(&chain, &GateScope::Global, |_| true).go_on(&mut chain).expect("valid");
    let said: Vec<(NodeId, Notice)> = chain.entries().filter_map(|(_, entry)| notice(&entry.body)).collect();
    for (author, notice) in &said {
        assert!(decode::<GateRecord>(&encode(&record)).is_ok());
        run(&mut record).transcript.apply(*author, notice).expect("valid");
    }
    assert_eq!(*run(&mut record).transcript.phase(), Phase::Done);
    assert!(decode::<GateRecord>(&encode(&record)).is_err());
}

fn notice(body: &crate::event::EntryBody) -> Option<(NodeId, Notice)> {
    match &body.event {
        Event::GateNotice(event) => match &event.word {
            GateWord::Run { notice, .. } => Some((body.author, notice.clone())),
            GateWord::Plain { .. } => None,
        },
        _ => None,
    }
}
