//! Every kind of entry and of record, as the ledger writes it, against the document.

use std::collections::BTreeSet;

use ledger::{
    author::{AuthorSignature, sign_batch},
    credits::{Earned, NothingEarned},
    event::{AbortReason, CloseReason, Event, GateWord},
    governance::{Action, Member},
    state::{Cause, GateScope, KeyStatus, Phase, Record, Stage, Standing},
    testing::{Chain, every_entry, every_record, node_key},
    vote::VoteKind,
};
use openapiv3::{OpenAPI, ReferenceOr, SchemaKind, Type};
use scheduler::{
    action::Action as BatchAction,
    decision::{Decision, Logged},
    refusal::Refusal as Refused,
    rules::RuleId,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use wallet::{
    digest::Digest,
    gate::{
        GateKind,
        dkg::{self, Complaint, Notice},
    },
    grant::WalletAddress,
    units::{NodeId, Timestamp},
};

use super::shape::{is, named, parsed};
use crate::api::admin;

/// The names of an enum's variants, as the decoder lists them to whom sends another.
fn variants<T: DeserializeOwned>() -> BTreeSet<String> {
    let refused = serde_json::from_value::<T>(json!({"": null})).err().expect("no variant has no name").to_string();
    refused.split('`').skip(1).step_by(2).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// The names that the document lists under `name`: of an enumeration, or of the only fields of alternatives.
fn described(document: &OpenAPI, name: &str) -> BTreeSet<String> {
    fn names(schema: &ReferenceOr<openapiv3::Schema>) -> Vec<String> {
        match &schema.as_item().expect("no reference").schema_kind {
            SchemaKind::Type(Type::String(text)) => text.enumeration.iter().flatten().cloned().collect(),
            SchemaKind::Type(Type::Object(object)) => object.properties.keys().cloned().collect(),
            SchemaKind::OneOf { one_of } => one_of.iter().flat_map(names).collect(),
            other => panic!("no kinds: {other:?}"),
        }
    }
    names(named(document, name)).into_iter().collect()
}

/// The name of a variant as it stands in JSON.
fn kind(value: &Value) -> String {
    let only = value.as_object().and_then(|object| object.keys().next()).map(String::as_str);
    only.or_else(|| value.as_str()).expect("a variant").to_owned()
}

/// An entry of each kind, and some that are signed together.
fn entries() -> Vec<Value> {
    let sample = every_entry();
    let bodies = sample.entries().take(2).map(|entry| (entry.body.clone(), None)).collect();
    let batch = sign_batch(bodies, &node_key(0));
    sample.entries().cloned().chain(batch).map(|entry| json!(entry)).collect()
}

/// A record of each kind, and wallets in each phase.
fn records() -> Vec<Value> {
    let sample = every_entry();
    let mut offered = sample.moved.clone();
    let wallet = sample.session.record(&offered);
    let deadline = offered.tip.height.get() + 100;
    offered.push(sample.session.offered(&wallet, sample.session.offer(&wallet, 2, deadline))).expect("valid");
    let mut accepted = offered.clone();
    accepted.push(sample.session.accepted(&sample.session.record(&offered), 2)).expect("valid");
    let mut closed = sample.moved.clone();
    let touched = sample.session.touched(&wallet, 1);
    closed.push(touched).expect("valid");
    closed.push(sample.session.closed(&sample.session.record(&closed))).expect("valid");
    let chains = [every_record().0, sample.moved, sample.governed, sample.anew, offered, accepted, closed];
    let of = |chain: &Chain| chain.tip.state.records().map(|record| json!(record)).collect::<Vec<_>>();
    chains.iter().flat_map(of).collect()
}

#[test]
fn every_entry_is_as_the_document_says_and_there_is_one_of_each_kind() {
    let (document, entries) = (parsed(), entries());
    for entry in &entries {
        is(&document, "Entry", entry).unwrap_or_else(|why| panic!("{why}"));
    }
    let found = |pointer: &str| entries.iter().filter_map(|entry| entry.pointer(pointer)).map(kind).collect();
    let notices = entries.iter().filter_map(|entry| entry.pointer("/body/event/GateNotice/word"));
    let notices: Vec<_> = notices.map(|word| kind(word.pointer("/Run/notice").unwrap_or(word))).collect();
    let actions = entries.iter().filter_map(|entry| entry.pointer("/body/event/ProposalMade/terms/actions"));
    let actions = actions.filter_map(Value::as_array).flatten().map(kind).collect();
    for (found, all) in [
        (found("/body/event"), variants::<Event>()),
        (found("/signature"), variants::<AuthorSignature>()),
        (actions, variants::<Action>()),
    ] {
        let found: BTreeSet<String> = found;
        assert_eq!(found, all, "left is what the sample has");
    }
    assert_eq!(notices, ["Plain", "Contributed", "Confirmed", "Complained", "Complained", "Answered"]);
}

#[test]
fn every_record_is_as_the_document_says_and_there_is_one_of_each_kind() {
    let (document, records) = (parsed(), records());
    for record in &records {
        is(&document, "Record", record).unwrap_or_else(|why| panic!("{why}"));
    }
    let found: BTreeSet<String> = records.iter().map(kind).collect();
    assert_eq!(found, variants::<Record>(), "left is what the sample has");
    let phases: BTreeSet<String> =
        records.iter().filter_map(|record| record.pointer("/Wallet/phase")).map(kind).collect();
    assert_eq!(phases, variants::<Phase>(), "left is what the sample has");
}

#[test]
fn the_document_names_every_kind_and_no_other() {
    let document = parsed();
    for (name, all) in [
        ("Event", variants::<Event>()),
        ("Record", variants::<Record>()),
        ("Action", variants::<Action>()),
        ("Member", variants::<Member>()),
        ("AuthorSignature", variants::<AuthorSignature>()),
        ("AbortReason", variants::<AbortReason>()),
        ("CloseReason", variants::<CloseReason>()),
        ("Phase", variants::<Phase>()),
        ("Cause", variants::<Cause>()),
        ("Earned", variants::<Earned>()),
        ("NothingEarned", variants::<NothingEarned>()),
        ("KeyStatus", variants::<KeyStatus>()),
        ("Stage", variants::<Stage>()),
        ("Standing", variants::<Standing>()),
        ("VoteKind", variants::<VoteKind>()),
        ("GateScope", variants::<GateScope>()),
        ("GateWord", variants::<GateWord>()),
        ("GateKind", variants::<GateKind>()),
        ("KeyNotice", variants::<Notice>()),
        ("KeyComplaint", variants::<Complaint>()),
        ("KeyPhase", variants::<dkg::Phase>()),
    ] {
        assert!(all.len() > 1, "{name}: {all:?}");
        assert_eq!(described(&document, name), all, "{name}: left is what the document names");
    }
}

/// A decision as auditors and owners see it, with options of both forms.
#[test]
fn a_decision_with_any_action_and_any_rule_is_as_the_document_describes_it() {
    let document = parsed();
    assert_eq!(described(&document, "Rule"), variants::<RuleId>());
    assert_eq!(described(&document, "BatchAction"), variants::<BatchAction>());
    let actions = [BatchAction::Suspend, BatchAction::Migrate { to: NodeId::new(3) }];
    let decision = Decision {
        seq: 7,
        at: Timestamp::new(8),
        previous: Digest::ZERO,
        wallet: WalletAddress(Digest([1; 32])),
        rules_version: 2,
        rule: RuleId::R12,
        inputs: [("batch.idle_us".to_owned(), -1)].into(),
        chosen: BatchAction::Evict,
        refused: actions.map(|action| (action, Refused::LoadStale)).to_vec(),
    };
    let shown = admin::decision(&Logged { hash: decision.hash(), decision });
    assert_eq!(is(&document, "Decision", &shown), Ok(()));
    for changed in [json!({"inputs": {"batch.idle_us": "1"}}), json!({"chosen": "nothing"}), json!({"more": 1})] {
        let mut other = shown.clone();
        other.as_object_mut().expect("an object").extend(changed.as_object().expect("an object").clone());
        assert!(is(&document, "Decision", &other).is_err(), "{changed}");
    }
}

/// So the tests of entries and records can fail, at each place of each kind.
#[test]
fn a_field_that_is_missing_or_new_or_of_another_kind_is_found_in_every_entry_and_record() {
    let document = parsed();
    let values = entries().into_iter().map(|entry| ("Entry", entry));
    for (name, value) in values.chain(records().into_iter().map(|record| ("Record", record))) {
        let mut places = Vec::new();
        collect(&value, "", &mut places);
        for place in places {
            let changed = |change: &dyn Fn(&mut Value)| {
                let mut value = value.clone();
                change(value.pointer_mut(&place).expect("its own place"));
                assert!(is(&document, name, &value).is_err(), "{name}{place}: {value}");
            };
            changed(&|at| *at = json!(-1));
            changed(&|at| *at = json!({"unknown": 0}));
            if let Some(object) = value.pointer(&place).and_then(Value::as_object) {
                changed(&|at| at["unknown"] = Value::Null);
                for field in object.keys() {
                    changed(&|at| drop(at.as_object_mut().and_then(|object| object.remove(field))));
                }
            }
        }
    }
}

/// Every place in `value`, as a pointer.
fn collect(value: &Value, at: &str, places: &mut Vec<String>) {
    places.push(at.to_owned());
    match value {
        Value::Object(object) => {
            object.iter().for_each(|(name, value)| collect(value, &format!("{at}/{name}"), places))
        }
        // Its elements are alike.
        Value::Array(values) => values.iter().take(2).zip(0..).for_each(|(value, index)| {
            collect(value, &format!("{at}/{index}"), places);
        }),
        _ => {}
    }
}
