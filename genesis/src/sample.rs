//! A consortium for tests: four operators, three of them in the EU.

use proptest::{collection::vec, option, prelude::*};
use sha2::Digest as _;
use wallet::{digest::Digest, identity::SecretKey, units::Timestamp};

use crate::{Auditor, Document, Draft, Heading, Model, Node, Operator, OperatorId, Owner, Parameters, Region};

pub const API_KEY: &[u8] = b"an-api-key-for-tests-only";
pub const CREATED_MS: u64 = 1_780_000_000_000;

const OPERATORS: [(&str, &str); 4] = [("eu-1", "eu"), ("eu-2", "eu"), ("eu-3", "eu"), ("us-1", "us")];

pub fn signed() -> Document {
    let mut document = Document::new(draft()).expect("the sample keeps the rules");
    for (seed, (operator, _)) in (1..).zip(OPERATORS) {
        document.sign(&id(operator), &key(seed)).expect("the operator's own key");
    }
    document
}

pub fn draft() -> Draft {
    Draft {
        consortium: Heading { name: "Sample Consortium".to_owned(), created_ms: Timestamp::new(CREATED_MS) },
        parameters: Parameters::default(),
        regions: vec![region("eu"), region("us")],
        operators: (1..).zip(OPERATORS).map(|(seed, (name, _))| operator(name, seed)).collect(),
        nodes: (1..).zip(OPERATORS).map(|(i, (operator, region))| node(operator, region, i)).collect(),
        auditors: vec![Auditor {
            name: "Example Audit".to_owned(),
            key_hash: Digest(sha2::Sha256::digest(API_KEY).into()),
        }],
        models: vec![Model {
            hash: Digest([9; 32]),
            name: "tiny".to_owned(),
            operator: id("eu-1"),
            owner: Some(Owner { name: "Tiny Labs".to_owned(), key_hash: Digest([8; 32]) }),
        }],
        signatures: Default::default(),
    }
}

pub fn id(operator: &str) -> OperatorId {
    operator.parse().expect("a name")
}

pub fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

pub fn region(id: &str) -> Region {
    Region { id: id.to_owned().try_into().expect("a region name"), name: format!("Region {id}") }
}

pub fn operator(name: &str, seed: u8) -> Operator {
    Operator { id: id(name), name: format!("Operator {name}"), key: key(seed).public_key() }
}

fn node(operator: &str, region: &str, i: u8) -> Node {
    Node {
        name: format!("{operator}-a").parse().expect("a name"),
        operator: id(operator),
        region: region.to_owned().try_into().expect("a region name"),
        key: key(10 + i).public_key(),
        peer: ([127, 0, 0, 1], 7000 + u16::from(i)).into(),
        api: format!("http://127.0.0.1:{}", 8000 + u16::from(i)),
    }
}

/// Any draft that keeps the rules, with texts that need quoting and some signatures that do not verify.
pub fn any_draft() -> impl Strategy<Value = Draft> {
    let text = "[a-z\"'\\\\ \u{e4}#=]{0,20}x";
    let heading = (text, 0..=253_402_300_799_999_u64);
    let parameters = (1..10_000_u64, 0..=1_000_000_u64, 1_024..=10_000_000_u64);
    let nodes = vec((0..4_usize, any::<bool>(), any::<bool>()), 1..20);
    let names = (vec(text, 4), option::of((text, option::of(text))), any::<[bool; 4]>());
    (heading, parameters, nodes, names).prop_map(|((name, created), (interval, credit, tokens), nodes, names)| {
        let (operator_names, model_name, signs) = names;
        let mut draft = draft();
        draft.consortium = Heading { name, created_ms: Timestamp::new(created) };
        draft.parameters.block_interval_ms = interval;
        draft.parameters.credit_per_ms = credit;
        draft.parameters.batch_tokens = tokens;
        for ((operator, name), signed) in draft.operators.iter_mut().zip(operator_names).zip(signs) {
            operator.name = name;
            if signed {
                draft.signatures.insert(operator.id.clone(), key(7).sign("test", operator.name.as_bytes()));
            }
        }
        draft.models.truncate(usize::from(model_name.is_some()));
        for (model, (name, owner_name)) in draft.models.iter_mut().zip(model_name) {
            model.name = name;
            model.owner = model.owner.take().zip(owner_name).map(|(owner, name)| Owner { name, ..owner });
        }
        draft.nodes = (0..)
            .zip(nodes)
            .map(|(i, (operator, in_eu, v6))| {
                let mut node = node(OPERATORS[operator].0, if in_eu { "eu" } else { "us" }, i);
                node.name = format!("node-{i}").parse().expect("a name");
                if v6 {
                    node.peer.set_ip(std::net::Ipv6Addr::LOCALHOST.into());
                }
                node
            })
            .collect();
        draft
    })
}
