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

const ALL: RequiredLegs = RequiredLegs { kem: KemId::X25519, gates: true, tenant: true };

fn key(label: &HopLabel, legs: &Legs, required: RequiredLegs) -> Result<[u8; 32], Refusal> {
    Ok(*HopKeys::from_legs(label, &opening("eu"), legs, required)?.migration.expose())
}

#[test]
fn both_sides_derive_the_same_keys_from_all_legs() {
    let label = label();
    let sent = key(&label, &all_legs(&label), ALL).expect("all legs");
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
    assert_eq!(key(&label, &legs, ALL), Ok(sent));
}

#[test]
fn every_leg_changes_the_key() {
    let label = label();
    let make = |change: fn(&mut Legs, &HopLabel), required| {
        let mut legs = all_legs(&label);
        change(&mut legs, &label);
        key(&label, &legs, required).expect("the legs that it must have")
    };
    fn other(kind: GateKind, label: &HopLabel) -> Box<GateLeg> {
        let (gate, _) = gate(kind, 9);
        Box::new(GateLeg::encapsulate(&gate, label, &mut |bytes: &mut [u8]| bytes.fill(8)))
    }
    let keys = [
        make(|_, _| {}, ALL),
        make(|legs, label| legs.gates.global = GlobalGate::On(other(GLOBAL, label)), ALL),
        make(|legs, label| legs.gates.region = RegionGate::On(other(in_region(&label.region), label)), ALL),
        make(|legs, label| legs.tenant = Some(other(GateKind::Tenant(label.wallet), label)), ALL),
        make(|legs, _| legs.tenant = None, RequiredLegs { tenant: false, ..ALL }),
        make(
            |legs, _| legs.gates = Gates { global: GlobalGate::NotBuilt, region: RegionGate::NotBuilt },
            RequiredLegs { gates: false, ..ALL },
        ),
    ];
    let different: std::collections::BTreeSet<_> = keys.iter().collect();
    assert_eq!(different.len(), keys.len());
}

#[test]
fn a_hop_has_the_legs_that_genesis_and_policy_ask_for_and_no_others() {
    let label = label();
    let refused = |change: fn(&mut Legs), required| {
        let mut legs = all_legs(&label);
        change(&mut legs);
        key(&label, &legs, required)
    };
    let wrong = |leg| Err(Refusal::LegWrong { leg });
    assert_eq!(refused(|legs| legs.gates.global = GlobalGate::NotBuilt, ALL), wrong("global gate"));
    assert_eq!(refused(|legs| legs.gates.region = RegionGate::NotBuilt, ALL), wrong("region gate"));
    assert_eq!(refused(|legs| legs.tenant = None, ALL), wrong("tenant's gate"));
    assert_eq!(refused(|_| {}, RequiredLegs { tenant: false, ..ALL }), wrong("tenant's gate"));
    assert_eq!(refused(|_| {}, RequiredLegs { gates: false, ..ALL }), wrong("global gate"));
    assert_eq!(refused(|_| {}, RequiredLegs { kem: KemId::XWing, ..ALL }), wrong("prekey"));
}

#[test]
fn a_leg_for_another_label_or_gate_gives_no_key() {
    let label = label();
    let elsewhere = HopLabel { receiver: NodeId::new(9), ..label.clone() };
    let with = |change: &dyn Fn(&mut Legs)| {
        let mut legs = all_legs(&label);
        change(&mut legs);
        key(&label, &legs, ALL)
    };
    let mismatch = |field| Err(Refusal::LabelMismatch { field });
    let swapped = |legs: &mut Legs| legs.gates.global = GlobalGate::On(leg(GLOBAL, &elsewhere));
    assert_eq!(with(&swapped), mismatch("global gate"));
    let us = |legs: &mut Legs| legs.gates.region = RegionGate::On(leg(in_region(&region("us")), &label));
    assert_eq!(with(&us), mismatch("region gate"), "a region that the label does not name");
    let crossed = |legs: &mut Legs| {
        legs.gates.global = GlobalGate::On(leg(in_region(&label.region), &label));
    };
    assert_eq!(with(&crossed), mismatch("global gate"), "the region's own gate in the place of the validators'");
    let stranger = |legs: &mut Legs| legs.tenant = Some(leg(GateKind::Tenant(WalletAddress::default()), &label));
    assert_eq!(with(&stranger), mismatch("tenant's gate"));
}

#[test]
fn a_forbidden_region_gets_no_key_whatever_legs_there_are() {
    let all = [region("eu"), region("us")].into();
    let policy = JurisdictionPolicy { allowed: [region("eu")].into() };
    let tree = policy.tree(&all, &WalletSecret::from_bytes([1; 32])).expect("known regions");
    let refused = tree.open(&region("us")).expect("a leaf").verify(&tree.commitment());
    assert_eq!(refused.err(), Some(Refusal::RegionForbidden { region: region("us") }));
    // With the opening for the region that is allowed instead, the label's region does not fit.
    let allowed = tree.open(&region("eu")).expect("a leaf").verify(&tree.commitment()).expect("allowed");
    let label = HopLabel { region: region("us"), ..label() };
    let keys = HopKeys::from_legs(&label, &allowed, &all_legs(&label), ALL);
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
    let required = RequiredLegs { kem: KemId::XWing, ..ALL };
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
    assert_eq!(key(&label, &legs, ALL), Err(Refusal::LabelMismatch { field: "exchange keys" }));
}
