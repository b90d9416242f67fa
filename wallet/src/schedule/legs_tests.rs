use super::{tests::*, *};
use crate::{
    digest::Digest,
    gate::{Gate, GateId, GateKind, GateLabel, GateShare, Opening, SecretNumber},
    kem::{Kem, KemSecret},
    policy::JurisdictionPolicy,
    prekey::ExchangeSecret,
    tenant::WalletSecret,
    units::GateEpoch,
};

const GLOBAL: GateKind = GateKind::Global { validators: 1 };

fn in_region(region: &RegionId) -> GateKind {
    GateKind::Region { region: region.clone(), operators: 1 }
}

/// A gate of one member: which members there are is not this file's subject.
fn gate(kind: GateKind, seed: u8) -> (Gate, GateShare) {
    let id = GateId { consortium: Digest([1; 32]), kind, epoch: GateEpoch::ZERO };
    let secret = SecretNumber::draw(&mut |bytes: &mut [u8]| bytes.fill(seed));
    Gate::single(id, NodeId::ZERO, secret).expect("no zero")
}

fn leg(kind: GateKind, label: &HopLabel) -> Box<GateLeg> {
    let (gate, _) = gate(kind, 7);
    Box::new(GateLeg::encapsulate(&gate, label, &mut |bytes: &mut [u8]| bytes.fill(8)))
}

fn all_legs(label: &HopLabel) -> Legs {
    Legs {
        exchange: exchange(),
        gates: Gates {
            global: GlobalGate::On(leg(GLOBAL, label)),
            region: RegionGate::On(leg(in_region(&label.region), label)),
        },
        tenant: Some(leg(GateKind::Tenant(label.wallet), label)),
    }
}

/// What the ledger has as the gates of this label.
fn all(label: &HopLabel) -> RequiredLegs {
    let hash = |kind| *gate(kind, 7).0.hash();
    let gates = RequiredGates { global: hash(GLOBAL), region: hash(in_region(&label.region)) };
    RequiredLegs { kem: KemId::X25519, gates: Some(gates), tenant: Some(hash(GateKind::Tenant(label.wallet))) }
}

fn key(label: &HopLabel, legs: &Legs, required: RequiredLegs) -> Result<[u8; 32], Refusal> {
    Ok(*HopKeys::from_legs(label, &opening("eu"), legs, required)?.migration.expose())
}

#[test]
fn both_sides_derive_the_same_keys_from_all_legs() {
    let label = label();
    let sent = key(&label, &all_legs(&label), all(&label)).expect("all legs");
    let released = |kind, ciphertext: &crate::gate::GateCiphertext| {
        let (gate, share) = gate(kind, 7);
        let verified = gate.verify(&GateLabel::hop(&label), ciphertext).expect("just made");
        let mut opening = Opening::new(verified);
        assert!(GateLeg::open(&opening).is_err(), "nobody has released");
        opening.add(share.release(&verified).expect("its gate")).expect("its part");
        Box::new(GateLeg::open(&opening).expect("released"))
    };
    let offered = all_legs(&label);
    let (GlobalGate::On(global), RegionGate::On(region), Some(tenant)) =
        (&offered.gates.global, &offered.gates.region, &offered.tenant)
    else {
        panic!("all legs are there");
    };
    let (prekey, ephemeral) = halves();
    let legs = Legs {
        exchange: prekey.agree(&ephemeral.public_key()).expect("contributory"),
        gates: Gates {
            global: GlobalGate::On(released(GLOBAL, global.ciphertext())),
            region: RegionGate::On(released(in_region(&label.region), region.ciphertext())),
        },
        tenant: Some(released(GateKind::Tenant(label.wallet), tenant.ciphertext())),
    };
    assert_eq!(key(&label, &legs, all(&label)), Ok(sent));
}

#[test]
fn every_leg_changes_the_key() {
    let (label, mut keys) = (label(), Vec::new());
    let mut make = |legs: &Legs, required| keys.push(key(&label, legs, required).expect("the legs that it must have"));
    let other = |kind| {
        let (gate, _) = gate(kind, 9);
        let leg = GateLeg::encapsulate(&gate, &label, &mut |bytes: &mut [u8]| bytes.fill(8));
        (Box::new(leg), *gate.hash())
    };
    let (mut legs, all) = (all_legs(&label), all(&label));
    let gates = all.gates.expect("on");
    make(&legs, all);
    let (leg, global) = other(GLOBAL);
    legs.gates.global = GlobalGate::On(leg);
    make(&legs, RequiredLegs { gates: Some(RequiredGates { global, ..gates }), ..all });
    let (leg, region) = other(in_region(&label.region));
    legs.gates.region = RegionGate::On(leg);
    let gates = Some(RequiredGates { global, region });
    make(&legs, RequiredLegs { gates, ..all });
    let (leg, tenant) = other(GateKind::Tenant(label.wallet));
    legs.tenant = Some(leg);
    make(&legs, RequiredLegs { gates, tenant: Some(tenant), ..all });
    legs.tenant = None;
    make(&legs, RequiredLegs { gates, tenant: None, ..all });
    legs.gates = Gates { global: GlobalGate::NotBuilt, region: RegionGate::NotBuilt };
    make(&legs, RequiredLegs::PREKEY);
    let different: std::collections::BTreeSet<_> = keys.iter().collect();
    assert_eq!((different.len(), keys.len()), (6, 6));
}

#[test]
fn a_hop_has_the_legs_that_it_must_have_and_no_others() {
    let label = label();
    let all = all(&label);
    let refused = |change: fn(&mut Legs), required| {
        let mut legs = all_legs(&label);
        change(&mut legs);
        key(&label, &legs, required)
    };
    let wrong = |leg| Err(Refusal::LegWrong { leg });
    assert_eq!(refused(|legs| legs.gates.global = GlobalGate::NotBuilt, all), wrong("global gate"));
    assert_eq!(refused(|legs| legs.gates.region = RegionGate::NotBuilt, all), wrong("region gate"));
    assert_eq!(refused(|legs| legs.tenant = None, all), wrong("tenant's gate"));
    assert_eq!(refused(|_| {}, RequiredLegs { tenant: None, ..all }), wrong("tenant's gate"));
    assert_eq!(refused(|_| {}, RequiredLegs { gates: None, ..all }), wrong("global gate"));
    assert_eq!(refused(|_| {}, RequiredLegs { kem: KemId::XWing, ..all }), wrong("prekey"));
}

/// A caller that knows of no gates gets no key from legs that have some.
#[test]
fn the_keys_of_a_consortium_without_gates_have_the_prekey_alone() {
    let label = label();
    let legs = all_legs(&label);
    let keys = HopKeys::derive(&label, &opening("eu"), legs.exchange, legs.gates);
    assert_eq!(keys.err(), Some(Refusal::LegWrong { leg: "global gate" }));
}

#[test]
fn a_leg_for_another_label_or_gate_gives_no_key() {
    let label = label();
    let elsewhere = HopLabel { receiver: NodeId::new(9), ..label.clone() };
    let with = |change: &dyn Fn(&mut Legs)| {
        let mut legs = all_legs(&label);
        change(&mut legs);
        key(&label, &legs, all(&label))
    };
    let swapped = |legs: &mut Legs| legs.gates.global = GlobalGate::On(leg(GLOBAL, &elsewhere));
    assert_eq!(with(&swapped), Err(Refusal::LabelMismatch { field: "global gate" }));
    let wrong = |leg| Err(Refusal::LegWrong { leg });
    let us = |legs: &mut Legs| legs.gates.region = RegionGate::On(leg(in_region(&region("us")), &label));
    assert_eq!(with(&us), wrong("region gate"), "a region that the label does not name");
    let crossed = |legs: &mut Legs| {
        legs.gates.global = GlobalGate::On(leg(in_region(&label.region), &label));
    };
    assert_eq!(with(&crossed), wrong("global gate"), "the region's own gate in the place of the validators'");
    let stranger = |legs: &mut Legs| legs.tenant = Some(leg(GateKind::Tenant(WalletAddress::default()), &label));
    assert_eq!(with(&stranger), wrong("tenant's gate"));
    // It says to be the consortium's, and whoever made it opens it.
    let made_up = |legs: &mut Legs| {
        let (gate, _) = gate(GLOBAL, 9);
        let leg = GateLeg::encapsulate(&gate, &label, &mut |bytes: &mut [u8]| bytes.fill(8));
        legs.gates.global = GlobalGate::On(Box::new(leg));
    };
    assert_eq!(with(&made_up), wrong("global gate"));
}

#[test]
fn a_forbidden_region_gets_no_key_whatever_legs_there_are() {
    let regions = [region("eu"), region("us")].into();
    let policy = JurisdictionPolicy { allowed: [region("eu")].into() };
    let tree = policy.tree(&regions, &WalletSecret::from_bytes([1; 32])).expect("known regions");
    let refused = tree.open(&region("us")).expect("a leaf").verify(&tree.commitment());
    assert_eq!(refused.err(), Some(Refusal::RegionForbidden { region: region("us") }));
    // With the opening for the region that is allowed instead, the label's region does not fit.
    let allowed = tree.open(&region("eu")).expect("a leaf").verify(&tree.commitment()).expect("allowed");
    let label = HopLabel { region: region("us"), ..label() };
    let keys = HopKeys::from_legs(&label, &allowed, &all_legs(&label), all(&label));
    assert_eq!(keys.err(), Some(Refusal::LabelMismatch { field: "region" }));
}

#[test]
fn the_hybrid_mechanism_takes_the_place_of_x25519() {
    let secret = KemSecret::from_bytes([5; 32]);
    let kem: &dyn Kem = KemId::XWing.kem();
    let public = kem.public_key(&secret);
    let (encapsulation, sent) = kem.encapsulate(&public, &mut |bytes: &mut [u8]| bytes.fill(6)).expect("a key");
    let label = HopLabel {
        prekey: kem.key_name(&public).expect("a key"),
        ephemeral: kem.encapsulation_name(&encapsulation).expect("whole"),
        ..label()
    };
    let required = RequiredLegs { kem: KemId::XWing, ..all(&label) };
    let with = |exchange| key(&label, &Legs { exchange, ..all_legs(&label) }, required);
    let received = kem.decapsulate(&secret, &encapsulation).expect("whole");
    assert_eq!(with(sent), with(received));
    // An altered encapsulation has another name than the label says.
    let mut altered = encapsulation;
    altered[0] ^= 1;
    let other = kem.decapsulate(&secret, &altered).expect("well formed");
    assert_eq!(with(other), Err(Refusal::LabelMismatch { field: "exchange keys" }));
}

#[test]
fn an_exchange_that_is_not_the_labels_gives_no_key() {
    let label = label();
    let stranger = ExchangeSecret::from_bytes(&[9; 32]).agree(&label.prekey).expect("contributory");
    let legs = Legs { exchange: stranger, ..all_legs(&label) };
    assert_eq!(key(&label, &legs, all(&label)), Err(Refusal::LabelMismatch { field: "exchange keys" }));
}
