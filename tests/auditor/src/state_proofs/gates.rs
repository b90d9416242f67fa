//! Records of gates that a quorum made final: such as rules could make, and such as no rule makes.

use ledger::{
    bundle::Check,
    state::{GateScope, StateKey},
    testing::{
        Chain, consortium_with,
        gates::{KeyGeneration, gated},
        key,
    },
};
use serde::{Deserialize, Serialize};
use wallet::{
    codec::{decode, encode},
    digest::{Digest, from_hex},
    gate::{
        Element, EncodedElement, EncodedNumber, Gate, GateId, GateKind, SecretNumber,
        dkg::{Ceremony, Phase},
    },
    grant::WalletAddress,
    identity::PublicKey,
    units::{GateEpoch, NodeId, Timestamp},
};

use super::{Case, RECORDED, made_final, of};

/// The fields of a gate's record, which keep no rule.
#[derive(Clone, Serialize, Deserialize)]
struct Fields {
    epoch: GateEpoch,
    members: Vec<(NodeId, PublicKey)>,
    in_force: Option<GateFields>,
    former: Option<(GateFields, Timestamp)>,
    run: Option<(RunFields, Option<Timestamp>)>,
}

/// Those of a gate.
#[derive(Clone, Serialize, Deserialize)]
struct GateFields {
    id: GateId,
    members: Vec<NodeId>,
    polynomial: Vec<EncodedElement>,
    possession: Option<(EncodedNumber, EncodedNumber)>,
}

/// Those of a run.
#[derive(Clone, Serialize, Deserialize)]
struct RunFields {
    ceremony: Ceremony,
    keys: Vec<PublicKey>,
    phase: Phase,
    contributions: Vec<(NodeId, ContributionFields)>,
    sums: Vec<EncodedElement>,
    missing: Vec<(NodeId, NodeId, bool)>,
    confirmed: Vec<NodeId>,
}

/// Those of a contribution.
#[derive(Clone, Serialize, Deserialize)]
struct ContributionFields {
    polynomial: Vec<EncodedElement>,
    commitment: EncodedElement,
    response: EncodedNumber,
    packages: GateFields,
}

impl Fields {
    /// Those of a record that the ledger made.
    fn of(chain: &Chain, scope: &GateScope) -> Self {
        let record = chain.gate(scope);
        decode(&encode(&record)).expect("the same fields")
    }

    fn gate(&mut self) -> &mut GateFields {
        self.in_force.as_mut().expect("one is in force")
    }

    fn run(&mut self) -> &mut RunFields {
        &mut self.run.as_mut().expect("one is under way").0
    }
}

/// After a change of the validators: a gate of five is in force, and four make the next one.
fn changed() -> Fields {
    Fields::of(&RECORDED.0, &GateScope::Global)
}

/// The run of four after so many contributions.
fn contributed(count: usize) -> Fields {
    let mut chain = Chain::new(consortium_with(4, gated()));
    let mut run = KeyGeneration::join(&chain, &GateScope::Global, |_| true);
    for _ in 0..count {
        let (_, _, entry) = run.next(&chain).expect("four wait to contribute");
        chain.push(entry).expect("valid");
    }
    Fields::of(&chain, &GateScope::Global)
}

/// One member, which made a plain key of this kind.
fn alone(kind: GateKind) -> Fields {
    let id = GateId { consortium: RECORDED.0.consortium.id(), kind, epoch: GateEpoch::ZERO };
    let secret = SecretNumber::decode(&[1; 32]).expect("small");
    let (gate, _) = Gate::single(id, NodeId::ZERO, secret).expect("not 0");
    let in_force = Some(decode(&encode(&gate)).expect("the same fields"));
    let members = vec![(NodeId::ZERO, key("a member").public_key())];
    Fields { epoch: GateEpoch::ZERO, members, in_force, former: None, run: None }
}

/// So many that could be members, and nothing else.
fn members(count: u32) -> Fields {
    let members = (0..count).map(|node| (NodeId::new(node), key("a member").public_key())).collect();
    Fields { epoch: GateEpoch::ZERO, members, in_force: None, former: None, run: None }
}

/// A gate of so many, whose polynomial is the generator and nothing else.
fn large(count: u32) -> Fields {
    let mut record = members(0);
    let kind = GateKind::Global { validators: count };
    let id = GateId { consortium: Digest::ZERO, kind, epoch: GateEpoch::ZERO };
    let mut polynomial = vec![IDENTITY; wallet::gate::global_threshold(count as usize)];
    polynomial[0] = EncodedElement(*Element::generator().encode());
    let members = (0..count).map(NodeId::new).collect();
    record.in_force = Some(GateFields { id, members, polynomial, possession: None });
    record
}

/// A tenant's gate of this member, whose key is the generator, with a proof whose nonce is 0: both halves are equal then.
fn tenants(member: u32, proof: &str) -> Fields {
    let kind = GateKind::Tenant(WalletAddress(Digest::ZERO));
    let id = GateId { consortium: Digest::ZERO, kind, epoch: GateEpoch::ZERO };
    let polynomial = vec![EncodedElement(*Element::generator().encode())];
    let possession = Some((number(proof), number(proof)));
    let in_force = Some(GateFields { id, members: vec![NodeId::new(member)], polynomial, possession });
    Fields { in_force, ..members(0) }
}

/// The halves of the proofs in [`tenants`] for the members 0 and 1: the challenge over the identity.
const PROOFS: [&str; 2] = [
    "3d18ed96f3b7f51c7db0ccfa5e8f97bc3b1f5d6427dfcc2c07de23c16b4b450a",
    "a1135c8e9671e75cb26fac5a3cbdb3415c82c49ff1654f6bc6210e30ca0bc20d",
];
const IDENTITY: EncodedElement = EncodedElement([0; 32]);
/// The order of the group, and the least number that is none.
const ORDER: &str = "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010";
/// RFC 9496, A.3: no canonical encoding of a field element, a negative one, one whose x is none, one whose x y is
/// negative, and s = -1.
const NO_ELEMENTS: [&str; 6] = [
    "00ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "26948d35ca62e643e26a83177332e6b6afeb9d08e4268b650f1f5bbd8d81d371",
    "3eb858e78f5a7254d8c9731174a94f76755fd3941c0ac93735c07ba14579630e",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
];

fn element(hex: &str) -> EncodedElement {
    EncodedElement(from_hex(hex).expect("32 bytes"))
}

fn number(hex: &str) -> EncodedNumber {
    EncodedNumber(from_hex(hex).expect("32 bytes"))
}

/// A record that a quorum made final under the global gate's key.
fn case(name: &str, record: Vec<u8>, expected: &str) -> Case {
    let (chain, name) = (&RECORDED.0, format!("gate/global, certified: {name}"));
    Case { name, ..of(made_final(chain, &StateKey::Gate(GateScope::Global), record), chain, expected) }
}

/// With the number of its kind before it.
fn encoded(record: &Fields) -> Vec<u8> {
    [17_u32.to_le_bytes().to_vec(), encode(record)].concat()
}

type Change = fn(&mut Fields);

/// What both verifiers must take, however odd it is.
pub fn kept() -> Vec<Case> {
    let shapes: [(&str, Fields, Change); 15] = [
        ("of an earlier gate, while the next is made", changed(), |_| {}),
        ("with a former gate", changed(), |record| {
            record.former = record.in_force.clone().map(|gate| (gate, Timestamp::new(u64::MAX)));
        }),
        ("of the last epoch but one", members(2), |record| record.epoch = GateEpoch::new(u32::MAX - 1)),
        ("of nobody", members(0), |_| {}),
        ("of as many as there may be", members(64), |_| {}),
        ("with a gate of 256", large(256), |_| {}),
        ("with a coefficient that cancelled out", changed(), |record| record.gate().polynomial[1] = IDENTITY),
        ("with one contribution", contributed(1), |_| {}),
        ("with a contribution of no elements", contributed(1), |record| {
            let (_, said) = &mut record.run().contributions[0];
            (said.polynomial[1], said.commitment) = (element(NO_ELEMENTS[0]), IDENTITY);
            said.packages.polynomial = vec![element(NO_ELEMENTS[1]); 9];
        }),
        ("with all contributions", contributed(4), |record| {
            let run = record.run();
            (run.missing, run.confirmed) = (vec![(NodeId::ZERO, NodeId::new(3), true)], vec![NodeId::new(1)]);
        }),
        ("with sums that cancelled out", contributed(4), |record| {
            record.run().sums[2] = IDENTITY;
            record.run().phase = Phase::Confirming;
        }),
        ("with a plain key", alone(GateKind::Global { validators: 1 }), |_| {}),
        ("with a tenant's gate", alone(GateKind::Tenant(WalletAddress(Digest([7; 32])))), |_| {}),
        ("with a proof whose nonce is 0", tenants(0, PROOFS[0]), |_| {}),
        ("with a gate of a package", alone(GateKind::Package { ceremony: Digest([7; 32]) }), |_| {}),
    ];
    let made = shapes.into_iter().map(|(name, mut record, change)| {
        change(&mut record);
        case(name, encoded(&record), "present several-must-lie")
    });
    made.collect()
}

/// Every record of those kinds with one flipped bit, where `has` says so. Some of them keep the rules, and some do not.
pub fn bits(has: impl Fn(&str, usize) -> bool) -> Vec<Case> {
    let records =
        [("in force", changed()), ("run", contributed(4)), ("plain", alone(GateKind::Global { validators: 1 }))];
    let mut all = Vec::new();
    for (name, record) in records {
        let good = encoded(&record);
        for bit in (0..good.len() * 8).filter(|bit| has(name, *bit)) {
            all.push(case(&format!("{name}, bit {bit}"), crate::flips::flipped(good.clone(), Some(bit)), ""));
        }
    }
    all
}

/// What neither may take.
pub(super) fn add(all: &mut Vec<Case>) {
    let mut lies = |record: &Fields, lies: &[(&str, Change)]| {
        for (name, lie) in lies {
            let mut record = record.clone();
            lie(&mut record);
            all.push(case(name, encoded(&record), Check::StateProof.code()));
        }
    };
    lies(&changed(), &OF_RECORDS);
    lies(&changed(), &OF_GATES);
    lies(&contributed(4), &OF_RUNS);
    lies(&contributed(3), &OF_UNFINISHED_RUNS);
    lies(&contributed(0), &OF_RUNS_THAT_BEGIN);
    lies(&alone(GateKind::Global { validators: 1 }), &OF_PLAIN_KEYS);
    lies(&tenants(1, PROOFS[1]), &[("a tenant's gate of another member", |_| {})]);
    lies(&members(65), &[("more than there may be", |_| {})]);
    lies(&large(257), &[("a gate of more than there may be", |_| {})]);
    for (number, hex) in NO_ELEMENTS.into_iter().enumerate() {
        let (mut gate, mut sums) = (changed(), contributed(3));
        gate.gate().polynomial[1] = element(hex);
        sums.run().sums[1] = element(hex);
        for (what, record) in [("a coefficient", gate), ("a sum", sums)] {
            let name = format!("{what} that is no element, {number}");
            all.push(case(&name, encoded(&record), Check::StateProof.code()));
        }
    }
}

const OF_RECORDS: [(&str, Change); 8] = [
    ("an epoch that none can follow", |record| (record.epoch, record.run) = (GateEpoch::new(u32::MAX), None)),
    ("members out of order", |record| record.members.swap(0, 1)),
    ("a member twice", |record| {
        let last = *record.members.last().expect("four");
        record.members.push(last);
    }),
    ("the run of another epoch", |record| record.epoch = GateEpoch::ZERO),
    ("a run of members that could not be any", |record| _ = record.members.remove(0)),
    ("a run of nobody", |record| record.members.clear()),
    ("a run with another key", |record| record.run().keys[2] = key("a stranger").public_key()),
    ("a former gate without members", |record| {
        let mut gate = record.gate().clone();
        gate.members.clear();
        record.former = Some((gate, Timestamp::new(0)));
    }),
];

const OF_GATES: [(&str, Change); 9] = [
    ("a gate's members out of order", |record| record.gate().members.swap(0, 1)),
    ("a gate's member twice", |record| record.gate().members[1] = NodeId::ZERO),
    ("a gate of more than are counted", |record| record.gate().id.kind = GateKind::Global { validators: 4 }),
    ("a gate of fewer than must release", |record| record.gate().members.truncate(3)),
    ("a gate of one coefficient too few", |record| _ = record.gate().polynomial.pop()),
    ("a gate of one coefficient too many", |record| record.gate().polynomial.push(IDENTITY)),
    ("a gate with the identity for a key", |record| record.gate().polynomial[0] = IDENTITY),
    ("a shared key with a proof of possession", |record| {
        record.gate().possession = Some((EncodedNumber::default(), EncodedNumber::default()));
    }),
    ("a gate of nobody", |record| {
        let gate = record.gate();
        gate.id.kind = GateKind::Global { validators: 0 };
        (gate.members, gate.polynomial) = (Vec::new(), Vec::new());
    }),
];

const OF_PLAIN_KEYS: [(&str, Change); 7] = [
    ("a plain key without a proof", |record| record.gate().possession = None),
    ("the proof of another member", |record| record.gate().members[0] = NodeId::new(1)),
    ("the proof of another gate", |record| record.gate().id.consortium = Digest::ZERO),
    ("the proof of another key", |record| {
        record.gate().polynomial[0] = EncodedElement(*Element::generator().encode());
    }),
    ("a proof of zeros", |record| {
        record.gate().possession = Some((EncodedNumber::default(), EncodedNumber::default()));
    }),
    ("a challenge not below the order", |record| {
        record.gate().possession.as_mut().expect("a plain key has one").0 = number(ORDER);
    }),
    ("a response not below the order", |record| {
        record.gate().possession.as_mut().expect("a plain key has one").1 = number(ORDER);
    }),
];

const OF_RUNS: [(&str, Change); 17] = [
    ("a run that waits for contributions it has", |record| record.run().phase = Phase::Contributing),
    ("a run that is done", |record| record.run().phase = Phase::Done),
    ("a run that failed", |record| record.run().phase = Phase::Failed { at_fault: [NodeId::ZERO].into() }),
    ("a run for a tenant", |record| record.run().ceremony.gate.kind = GateKind::Tenant(WalletAddress(Digest::ZERO))),
    ("a run for another count", |record| record.run().ceremony.gate.kind = GateKind::Global { validators: 5 }),
    ("a run of too few", |record| {
        record.run().ceremony.members.truncate(2);
        record.run().keys.truncate(2);
    }),
    ("a key too few", |record| _ = record.run().keys.pop()),
    ("a key too many", |record| {
        let last = record.run().keys[3];
        record.run().keys.push(last);
    }),
    ("contributions out of order", |record| record.run().contributions.swap(0, 1)),
    ("a contribution by nobody", |record| record.run().contributions[3].0 = NodeId::new(4)),
    ("a contribution of another degree", |record| _ = record.run().contributions[0].1.polynomial.pop()),
    ("a contribution with a number not below the order", |record| {
        record.run().contributions[0].1.response = number(ORDER);
    }),
    ("a contribution whose key's proof has such a number", |record| {
        let proof = &mut record.run().contributions[0].1.packages.possession;
        proof.as_mut().expect("a plain key has one").0 = number(ORDER);
    }),
    ("sums of another degree", |record| _ = record.run().sums.pop()),
    ("sums that make the key the identity", |record| record.run().sums[0] = IDENTITY),
    ("what is missing out of order", |record| {
        let (one, other) = (NodeId::new(1), NodeId::ZERO);
        record.run().missing = vec![(one, other, false), (other, one, false)];
    }),
    ("what is missing told twice", |record| {
        record.run().missing = [false, true].map(|answered| (NodeId::ZERO, NodeId::new(1), answered)).to_vec();
    }),
];

const OF_RUNS_THAT_BEGIN: [(&str, Change); 2] = [
    ("sums of nothing", |record| record.run().sums.push(IDENTITY)),
    ("a run's members out of order", |record| {
        record.run().ceremony.members.swap(0, 1);
        record.run().keys.swap(0, 1);
    }),
];

const OF_UNFINISHED_RUNS: [(&str, Change); 6] = [
    ("a run that shares too early", |record| record.run().phase = Phase::Sharing),
    ("a run that confirms too early", |record| record.run().phase = Phase::Confirming),
    ("no sums of contributions", |record| record.run().sums.clear()),
    ("confirmations out of order", |record| record.run().confirmed = vec![NodeId::new(1), NodeId::ZERO]),
    ("a confirmation by nobody", |record| record.run().confirmed = vec![NodeId::new(4)]),
    ("nobody accused", |record| record.run().missing = vec![(NodeId::ZERO, NodeId::new(4), false)]),
];
