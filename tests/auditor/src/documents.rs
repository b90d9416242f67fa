//! Genesis documents: of one operator, of several, and such as break a rule. All are signed by all of their operators.

use std::sync::Arc;

use genesis::{Auditor, Consortium, Document, Draft, Model, Owner};
use ledger::testing::{self, key, node_key};
use wallet::{
    codec::encode,
    digest::{Digest, sha256},
    identity::{PublicKey, RegionId, context},
};

/// `nodes` nodes of one operator.
pub fn of_one_operator(nodes: u32) -> Arc<Consortium> {
    let mut draft = draft(nodes);
    draft.operators.truncate(1);
    draft.nodes.iter_mut().for_each(|node| node.operator = draft.operators[0].id.clone());
    consortium(draft)
}

/// Four nodes, of which the first three have one operator.
pub fn with_a_large_operator() -> Arc<Consortium> {
    let mut draft = draft(4);
    draft.operators.truncate(2);
    let ids = [0, 0, 0, 1].map(|operator: usize| draft.operators[operator].id.clone());
    draft.nodes.iter_mut().zip(ids).for_each(|(node, operator)| node.operator = operator);
    consortium(draft)
}

/// Four nodes with all that a document may say: auditors, models, other letters, IPv6.
pub fn with_everything() -> Arc<Consortium> {
    let mut draft = draft(4);
    draft.consortium.name = "Größe: 大きい \u{1F680}".to_owned();
    draft.operators[1].name = "x".repeat(100);
    draft.nodes[1].peer = "[2001:db8::1]:7001".parse().expect("an address");
    draft.nodes[2].api = "https://[2001:db8::2]:8443".to_owned();
    draft.auditors = auditors(3);
    draft.models = models(2);
    consortium(draft)
}

fn consortium(draft: Draft) -> Arc<Consortium> {
    let document = Document::from_bytes(&signed(draft).0).expect("it keeps the rules");
    Arc::new(document.verify().expect("signed by all"))
}

/// The sample of `nodes` operators, without its signatures.
fn draft(nodes: u32) -> Draft {
    Draft { signatures: Default::default(), ..testing::consortium(nodes).document().draft().clone() }
}

fn auditors(count: u8) -> Vec<Auditor> {
    (0..count).map(|i| Auditor { name: format!("auditor {i:03}"), key_hash: Digest([i; 32]) }).collect()
}

fn models(count: u16) -> Vec<Model> {
    let model = |i: u16| Model {
        hash: sha256("model", &[&i.to_le_bytes()]),
        name: format!("model {i:03}"),
        operator: draft(4).operators[0].id.clone(),
        // Every second one has none.
        owner: i.is_multiple_of(2).then(|| Owner { name: format!("owner {i:03}"), key_hash: Digest([0xff; 32]) }),
    };
    (0..count).map(model).collect()
}

/// The bytes of a document, rules or no rules, signed by all its operators, and its hash.
fn signed(mut draft: Draft) -> (Vec<u8>, Digest) {
    draft.signatures.clear();
    let hash = sha256("batchmind/v1/genesis/document", &[&encode(&draft)]);
    for operator in &draft.operators {
        let number: u32 = operator.id.as_str().trim_start_matches("op-").parse().unwrap_or_default();
        let signature = key(&format!("operator {number}")).sign(context::GENESIS, hash.as_bytes());
        draft.signatures.insert(operator.id.clone(), signature);
    }
    (encode(&draft), hash)
}

/// The encodings of the points of small order, canonical and not, as public keys.
pub fn small_points() -> Vec<[u8; 32]> {
    let hex = [
        "0100000000000000000000000000000000000000000000000000000000000000",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0000000000000000000000000000000000000000000000000000000000000080",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
        "0100000000000000000000000000000000000000000000000000000000000080",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    ];
    hex.iter().map(|hex| wallet::digest::from_hex(hex).expect("hexadecimal")).collect()
}

type Change = Box<dyn Fn(&mut Draft)>;

/// Documents that break a rule, each with its name, its bytes and its hash.
pub fn broken() -> Vec<(String, Vec<u8>, Digest)> {
    let mut changes: Vec<(String, Change)> = Vec::new();
    let mut add = |name: &str, change: Change| changes.push((name.to_owned(), change));
    for (name, text) in [
        ("empty", String::new()),
        ("blank", " \t\u{a0}\u{2003}\u{3000}".to_owned()),
        ("long", "é".repeat(101)),
        ("with a line feed", "a\nb".to_owned()),
        ("with a control character", "a\u{85}b".to_owned()),
        ("with a deletion", "a\u{7f}b".to_owned()),
    ] {
        let (one, two, three, four) = (text.clone(), text.clone(), text.clone(), text);
        add(&format!("name {name}"), Box::new(move |d| d.consortium.name.clone_from(&one)));
        add(&format!("operator's name {name}"), Box::new(move |d| d.operators[1].name.clone_from(&two)));
        add(&format!("region's name {name}"), Box::new(move |d| d.regions[1].name.clone_from(&three)));
        add(
            &format!("model's owner's name {name}"),
            Box::new(move |d| {
                d.models = models(1);
                d.models[0].owner = Some(Owner { name: four.clone(), key_hash: Digest::ZERO });
            }),
        );
    }
    add(
        "a model's owner with an auditor's key",
        Box::new(|d| {
            d.auditors = auditors(2);
            d.models = models(1);
            d.models[0].owner = Some(Owner { name: "owner".to_owned(), key_hash: d.auditors[1].key_hash });
        }),
    );
    add("created too late", Box::new(|d| d.consortium.created_ms = wallet::units::Timestamp::new(253_402_300_800_000)));
    add("no region", Box::new(|d| d.regions.clear()));
    add("no operator", Box::new(|d| d.operators.clear()));
    add("no node", Box::new(|d| d.nodes.clear()));
    add("too many auditors", Box::new(|d| d.auditors = (0..=255).flat_map(|_| auditors(2)).collect()));
    add("too many models", Box::new(|d| d.models = models(257)));
    add("regions in disorder", Box::new(|d| d.regions.reverse()));
    add("a region twice", Box::new(|d| d.regions.insert(0, d.regions[0].clone())));
    add("operators in disorder", Box::new(|d| d.operators.reverse()));
    add("auditors in disorder", Box::new(|d| d.auditors = auditors(2).into_iter().rev().collect()));
    add(
        "an auditor's name twice",
        Box::new(|d| {
            d.auditors = auditors(2);
            d.auditors[1].name = d.auditors[0].name.clone();
        }),
    );
    add(
        "an auditor's key twice",
        Box::new(|d| {
            d.auditors = auditors(2);
            d.auditors[1].key_hash = d.auditors[0].key_hash;
        }),
    );
    add("models in disorder", Box::new(|d| d.models = models(2).into_iter().rev().collect()));
    add(
        "a model's hash twice",
        Box::new(|d| {
            d.models = models(2);
            d.models[1].hash = d.models[0].hash;
        }),
    );
    add(
        "a model of nobody",
        Box::new(|d| {
            d.models = models(1);
            d.models[0].operator = "zz".parse().expect("a name");
        }),
    );
    add("a node's name twice", Box::new(|d| d.nodes[1].name = d.nodes[0].name.clone()));
    add("a peer twice", Box::new(|d| d.nodes[1].peer = d.nodes[0].peer));
    add("an api twice", Box::new(|d| d.nodes[1].api = d.nodes[0].api.clone()));
    add("a node's key twice", Box::new(|d| d.nodes[1].key = d.nodes[0].key));
    add("a node with its operator's key", Box::new(|d| d.nodes[1].key = d.operators[1].key));
    add("an operator's key twice", Box::new(|d| d.operators[1].key = d.operators[0].key));
    add("a node of nobody", Box::new(|d| d.nodes[1].operator = "zz".parse().expect("a name")));
    let nowhere = RegionId::try_from("zz".to_owned()).expect("a name");
    add("a node nowhere", Box::new(move |d| d.nodes[1].region = nowhere.clone()));
    add("a key that is no point", Box::new(|d| d.nodes[1].key = PublicKey([2; 32])));
    for (i, point) in small_points().into_iter().enumerate() {
        add(&format!("a node's key of small order {i}"), Box::new(move |d| d.nodes[3].key = PublicKey(point)));
    }
    for peer in ["127.0.0.1:0", "0.0.0.0:7000", "224.0.0.1:7000", "239.255.0.1:7000", "[::]:7000", "[ff02::1]:7000"] {
        add(&format!("peer {peer}"), Box::new(move |d| d.nodes[1].peer = peer.parse().expect("an address")));
    }
    let long = format!("http://{}", "a".repeat(101));
    for api in ["", "http://", "ftp://a", "http:/a", "http://a/", "http://A", "http://a b", "https:// ", &long] {
        let api = api.to_owned();
        add(&format!("api {api:.20}"), Box::new(move |d| d.nodes[1].api.clone_from(&api)));
    }
    let parameters = genesis::Parameters::default().list();
    for (i, parameter) in parameters.iter().enumerate() {
        let (least, most) = (*parameter.range.start(), *parameter.range.end());
        for value in [least.checked_sub(1), Some(most + 1), Some(u64::MAX)].into_iter().flatten() {
            add(&format!("{} = {value}", parameter.name), Box::new(move |d| set(d, i, value)));
        }
    }
    for (at, value) in [(0, 10_000), (2, 1_000), (6, 10_000)] {
        add(&format!("parameter {at} meets the next"), Box::new(move |d| set(d, at, value)));
    }
    let mut documents: Vec<_> = changes
        .into_iter()
        .map(|(name, change)| {
            let mut draft = draft(4);
            change(&mut draft);
            let (bytes, hash) = signed(draft);
            (name, bytes, hash)
        })
        .collect();
    let (good, hash) = signed(draft(4));
    let mut foreign = draft(4);
    foreign.signatures.insert("zz".parse().expect("a name"), node_key(0).sign(context::GENESIS, hash.as_bytes()));
    documents.push(("a signature of nobody".to_owned(), encode(&foreign), hash));
    for (name, bytes) in [
        ("nothing", Vec::new()),
        ("cut short", good[..good.len() - 1].to_vec()),
        ("a byte too many", [good.as_slice(), &[0]].concat()),
        ("a name that is no UTF-8", [&good[..8], &[0xff], &good[9..]].concat()),
        ("a surrogate in a name", [&good[..8], &[0xed, 0xa0, 0x80], &good[11..]].concat()),
        ("an overlong letter in a name", [&good[..8], &[0xc1, 0x81], &good[10..]].concat()),
        ("a name longer than all bytes", [&u64::MAX.to_le_bytes(), &good[8..]].concat()),
    ] {
        documents.push((name.to_owned(), bytes, hash));
    }
    documents
}

/// Documents that keep the rules, but are not signed by all.
pub fn unsigned() -> Vec<(String, Vec<u8>, Digest)> {
    let (_, hash) = signed(draft(4));
    let full = || testing::consortium(4).document().draft().clone();
    let mut documents = Vec::new();
    let mut add = |name: &str, change: &dyn Fn(&mut Draft)| {
        let mut draft = full();
        change(&mut draft);
        documents.push((name.to_owned(), encode(&draft), hash));
    };
    let first = || full().operators[0].id.clone();
    add("nobody's", &|d| d.signatures.clear());
    add("all but one", &|d| _ = d.signatures.remove(&first()));
    add("another operator's", &|d| {
        let other = d.signatures[&d.operators[1].id];
        d.signatures.insert(first(), other);
    });
    add("a node's", &|d| {
        d.signatures.insert(first(), node_key(0).sign(context::GENESIS, hash.as_bytes()));
    });
    add("over another hash", &|d| {
        d.signatures.insert(first(), key("operator 0").sign(context::GENESIS, &[0; 32]));
    });
    add("under another context", &|d| {
        d.signatures.insert(first(), key("operator 0").sign(context::LEDGER_VOTE, hash.as_bytes()));
    });
    documents
}

fn set(draft: &mut Draft, parameter: usize, value: u64) {
    let mut values: Vec<u64> = draft.parameters.list().iter().map(|parameter| parameter.value).collect();
    values[parameter] = value;
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    draft.parameters = wallet::codec::decode(&bytes).expect("numbers in a row");
}
