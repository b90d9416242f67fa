//! One whole hop with all legs and fixed randomness: key generation, offer, releases, keys, envelopes. Every value on
//! the way stands in `vectors/gates.json`, for whoever writes another implementation (`docs/formats/gate.md`).

use std::{
    collections::{BTreeMap, VecDeque},
    process::Command,
};

use curve25519_dalek::Scalar;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha512};
use wallet::{
    chain::{ChainKey, Link, PageHashKey},
    codec::encode,
    digest::{Digest, to_hex},
    entropy::Entropy,
    gate::{
        Gate, GateId, GateKind, GateLabel, GateShare, Opening, Partial, Release, ReleaseBook, ReleaseSubject,
        SecretNumber,
        dkg::{Ceremony, CeremonySeed, Effect, Input, Participant, Transcript},
    },
    grant::WalletAddress,
    identity::{RegionId, SecretKey},
    kem::{KemId, KemSecret},
    page::{Dtype, StreamDescriptor},
    policy::{JurisdictionPolicy, PolicyTree, VerifiedOpening},
    prekey::{ExchangeSecret, SharedSecret},
    refusal::Refusal,
    schedule::{GateLeg, Gates, GlobalGate, HopKeys, HopLabel, Legs, RegionGate, RequiredGates, RequiredLegs},
    seal::{envelope::OfferSecrets, pages::DataKey},
    tenant::WalletSecret,
    ticket::{Blind, ContentCommitment},
    units::{GateEpoch, KeyEpoch, NodeId},
};

const CONSORTIUM: Digest = Digest([1; 32]);
const WALLET: WalletAddress = WalletAddress(Digest([2; 32]));
const ACCEPTANCE: Digest = Digest([3; 32]);

/// The same byte wherever randomness is asked for: a vector says which.
fn fixed(byte: u8) -> impl Entropy {
    move |bytes: &mut [u8]| bytes.fill(byte)
}

fn region(name: &str) -> RegionId {
    RegionId::try_from(name.to_owned()).expect("a region name")
}

fn node_key(node: NodeId) -> SecretKey {
    SecretKey::from_seed(&[node.get() as u8 + 0x40; 32])
}

/// Four validators generate the global gate's key; every notice and package is there.
fn generate(notices: &mut Vec<Value>) -> (Gate, Vec<GateShare>) {
    let gate = GateId { consortium: CONSORTIUM, kind: GateKind::Global { validators: 4 }, epoch: GateEpoch::ZERO };
    let members: Vec<_> = (0..4).map(NodeId::new).collect();
    let ceremony = Ceremony { gate, lineage: Digest::ZERO, members: members.clone(), run: 0 };
    let keys: BTreeMap<_, _> = members.iter().map(|node| (*node, node_key(*node).public_key())).collect();
    let (mut participants, mut ledger) = (BTreeMap::new(), VecDeque::new());
    for node in members {
        let transcript = Transcript::new(ceremony.clone(), keys.clone()).expect("the rules");
        let seed = CeremonySeed::from_bytes([node.get() as u8 + 0x10; 32]);
        let (participant, notice) = Participant::join(transcript, node, node_key(node), seed, None).expect("a member");
        participants.insert(node, participant);
        ledger.push_back((node, notice));
    }
    let (mut gate, mut shares) = (None, BTreeMap::new());
    while let Some((author, notice)) = ledger.pop_front() {
        notices.push(json!({ "author": author.get(), "notice": to_hex(&encode(&notice)) }));
        let mut inputs = VecDeque::new();
        for node in participants.keys() {
            inputs.push_back((*node, Input::Notice { author, notice: notice.clone() }));
        }
        while let Some((node, input)) = inputs.pop_front() {
            let mut effects = Vec::new();
            let participant = participants.get_mut(&node).expect("a member");
            participant.step(&input, &mut effects).expect("all are honest");
            for effect in effects {
                match effect {
                    Effect::Submit(notice) => ledger.push_back((node, notice)),
                    Effect::Send(package) => {
                        notices.push(json!({ "package": to_hex(&encode(&package)) }));
                        inputs.push_back((package.to(), Input::Package(package)));
                    }
                    Effect::Keep(share) => drop(shares.insert(node, *share)),
                    Effect::Finished { gate: made, .. } => gate = Some(*made),
                    Effect::Failed => panic!("all are honest"),
                }
            }
        }
    }
    (gate.expect("it is done"), shares.into_values().collect())
}

fn single(kind: GateKind, secret: u8) -> (Gate, Vec<GateShare>) {
    let id = GateId { consortium: CONSORTIUM, kind, epoch: GateEpoch::ZERO };
    let member = if matches!(id.kind, GateKind::Tenant(_)) { NodeId::ZERO } else { NodeId::new(1) };
    let (gate, share) = Gate::single(id, member, SecretNumber::draw(&mut fixed(secret))).expect("no zero");
    (gate, vec![share])
}

fn policy() -> PolicyTree {
    let policy = JurisdictionPolicy { allowed: [region("eu")].into() };
    policy.tree(&[region("eu"), region("us")].into(), &WalletSecret::from_bytes([4; 32])).expect("known regions")
}

fn opening() -> VerifiedOpening {
    let tree = policy();
    tree.open(&region("eu")).expect("a leaf").verify(&tree.commitment()).expect("allowed")
}

/// A hop with its three gates, as both sides have it.
struct Hop {
    label: HopLabel,
    gates: [(Gate, Vec<GateShare>); 3],
    offered: [GateLeg; 3],
    prekey: KemSecret,
    encapsulation: Vec<u8>,
    notices: Vec<Value>,
}

fn hop(kem: KemId) -> (Hop, SharedSecret) {
    let mut notices = Vec::new();
    let global = generate(&mut notices);
    let gates = [
        global,
        single(GateKind::Region { region: region("eu"), operators: 1 }, 0x21),
        single(GateKind::Tenant(WALLET), 0x22),
    ];
    let prekey = KemSecret::from_bytes([0x31; 32]);
    let kem = kem.kem();
    let public = kem.public_key(&prekey);
    let (encapsulation, exchange) = kem.encapsulate(&public, &mut fixed(0x32)).expect("a key");
    let label = HopLabel {
        consortium: CONSORTIUM,
        wallet: WALLET,
        epoch: KeyEpoch::new(1),
        head: Digest([5; 32]),
        source: NodeId::new(0),
        receiver: NodeId::new(1),
        region: region("eu"),
        opening: *opening().hash(),
        policy: *opening().policy(),
        prekey: kem.key_name(&public).expect("a key"),
        ephemeral: kem.encapsulation_name(&encapsulation).expect("whole"),
        content: ContentCommitment(Digest([6; 32])),
        numerics: Digest([7; 32]),
    };
    let mut seed = 0x33..;
    let offered =
        gates.each_ref().map(|(gate, _)| GateLeg::encapsulate(gate, &label, &mut fixed(seed.next().expect("small"))));
    (Hop { label, gates, offered, prekey, encapsulation, notices }, exchange)
}

impl Hop {
    fn required(&self, kem: KemId) -> RequiredLegs {
        let [global, region, tenant] = self.gates.each_ref().map(|(gate, _)| *gate.hash());
        RequiredLegs { kem, gates: Some(RequiredGates { global, region }), tenant: Some(tenant) }
    }
}

fn legs(exchange: SharedSecret, [global, region, tenant]: [GateLeg; 3]) -> Legs {
    let (global, region) = (GlobalGate::On(Box::new(global)), RegionGate::On(Box::new(region)));
    Legs { exchange, gates: Gates { global, region }, tenant: Some(Box::new(tenant)) }
}

/// All members of a gate release to the prekey; the receiver opens, verifies and combines.
fn release(hop: &Hop, kem: KemId, at: usize, log: &mut Vec<Value>) -> GateLeg {
    let (gate, shares) = &hop.gates[at];
    let label = GateLabel::hop(&hop.label);
    let verified = gate.verify(&label, hop.offered[at].ciphertext()).expect("offered");
    let prekey = kem.kem().public_key(&hop.prekey);
    let mut opening = Opening::new(verified);
    for share in shares {
        let key = node_key(share.node());
        let subject = ReleaseSubject::new(&verified, (WALLET, ACCEPTANCE), hop.label.prekey);
        let mut book = ReleaseBook::new();
        assert_eq!(book.admit(&subject), Ok(true));
        let release: Release = share.sign(&verified, &subject, &key).expect("its gate");
        let sealed = share.seal(&release, kem, &prekey).expect("a prekey");
        assert_eq!(sealed.open(kem, &hop.prekey).as_ref(), Ok(&release));
        let keys = |node| Some(node_key(node).public_key());
        release.verify(&verified, &subject, &keys).expect("honest");
        log.push(json!({
            "node": share.node().get(),
            "part": to_hex(&encode(&release.partial)),
            "signed": to_hex(&encode(&release.signed)),
            "sealed": to_hex(&encode(&sealed)),
        }));
        opening.add(release.partial).expect("honest");
    }
    GateLeg::open(&opening).expect("all released")
}

/// Everything that a second implementation wants to compare.
fn vector(kem: KemId) -> Value {
    let (hop, exchange) = hop(kem);
    let required = hop.required(kem);
    let received = kem.kem().decapsulate(&hop.prekey, &hop.encapsulation).expect("whole");
    let label = GateLabel::hop(&hop.label);
    let received_secret = shared_secret(kem, &hop);
    let (mut gates, mut opened, mut seed) = (Vec::new(), Vec::new(), 0x33_u8..);
    for (at, name) in ["global", "region", "tenant"].into_iter().enumerate() {
        let (gate, shares) = &hop.gates[at];
        let mut releases = Vec::new();
        opened.push(release(&hop, kem, at, &mut releases));
        let seed = [seed.next().expect("small"); 32];
        let (ciphertext, secret) = gate.encapsulate(&label, &mut fixed(seed[0]));
        assert_eq!(ciphertext, *hop.offered[at].ciphertext());
        gates.push(json!({
            "name": name,
            "gate": to_hex(&encode(gate)),
            "hash": gate.hash().to_string(),
            "key": to_hex(gate.key().encode()),
            "shares": shares.iter().map(|share| to_hex(share.secret().expose())).collect::<Vec<_>>(),
            "seed": to_hex(&seed),
            "r": to_hex(&multiple(&seed, gate, &label)),
            "ciphertext": to_hex(&encode(&ciphertext)),
            "secret": to_hex(secret.expose()),
            "releases": releases,
        }));
    }
    let opened = opened.try_into().expect("three gates");
    let sent = HopKeys::from_legs(&hop.label, &opening(), &legs(exchange, hop.offered.clone()), required);
    let keys = HopKeys::from_legs(&hop.label, &opening(), &legs(received, opened), required).expect("all legs");
    let sent = sent.expect("all legs");
    assert_eq!(sent.migration.expose(), keys.migration.expose());
    let chain = ChainKey::first(&WALLET, &WalletSecret::from_bytes([4; 32]));
    let link = chain.link(&hop.label);
    let envelope = sent.offer.seal(&offer_secrets(&link));
    let read = keys.offer.open(&envelope).expect("the same hop");
    assert_eq!(read.link.expose(), link.expose());
    let next = ChainKey::next(&read.link, &keys.migration, &[0x0A; 32]);
    let (salt, secrets) = derived_again(&hop, &received_secret, &gates, keys.migration.expose());
    json!({
        "kem": format!("{kem:?}"),
        "key generation": hop.notices,
        "label": to_hex(&hop.label.encode()),
        "label hash": hop.label.hash().to_string(),
        "gate label": label.digest().to_string(),
        "gates": gates,
        "prekey secret": to_hex(hop.prekey.expose()),
        "prekey": to_hex(&kem.kem().public_key(&hop.prekey)),
        "encapsulation": to_hex(&hop.encapsulation),
        "prekey's shared secret": to_hex(&received_secret),
        "salt": to_hex(&salt),
        "secrets": to_hex(&secrets),
        "migration key": to_hex(keys.migration.expose()),
        "confirm key": keys.confirm.public_key().to_string(),
        "chain 0": to_hex(chain.expose()),
        "link": to_hex(link.expose()),
        "offer envelope": to_hex(&envelope.0),
        "fresh bytes": to_hex(&[0x0A; 32]),
        "chain 1": to_hex(next.expose()),
    })
}

/// r of a ciphertext from its seed, as the format says it, without the wallet's code.
fn multiple(seed: &[u8; 32], gate: &Gate, label: &GateLabel) -> [u8; 32] {
    let domain = b"batchmind/v1/wallet/gate/encapsulation-number";
    let mut hash = Sha512::new();
    for part in [domain.as_slice(), seed, gate.hash().as_bytes(), label.digest().as_bytes()] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    Scalar::from_bytes_mod_order_wide(&hash.finalize().into()).to_bytes()
}

/// The prekey's secret, without the wallet's code.
fn shared_secret(kem: KemId, hop: &Hop) -> [u8; 32] {
    match kem {
        KemId::X25519 => {
            let theirs = <[u8; 32]>::try_from(hop.encapsulation.as_slice()).expect("a key");
            x25519_dalek::x25519(*hop.prekey.expose(), theirs)
        }
        KemId::XWing => {
            let key = x_wing::DecapsulationKey::from(*hop.prekey.expose());
            let encapsulation = hop.encapsulation.as_slice().try_into().expect("1,120 bytes");
            x_wing::Decapsulate::decapsulate(&key, encapsulation).into()
        }
    }
}

/// Salt and secrets of the legs, as the format says them, and that the migration key follows from them.
fn derived_again(hop: &Hop, prekey: &[u8; 32], gates: &[Value], migration: &[u8; 32]) -> ([u8; 32], Vec<u8>) {
    let value = |gate: usize, name: &str| -> Vec<u8> {
        let text = gates[gate][name].as_str().expect("hex");
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex")).collect()
    };
    let public = |gate| [value(gate, "hash"), value(gate, "ciphertext")].concat();
    let mut transcript = Vec::new();
    let mut push = |part: &[u8]| {
        transcript.extend_from_slice(&(part.len() as u32).to_le_bytes());
        transcript.extend_from_slice(part);
    };
    push(&hop.label.encode());
    (0..3).for_each(|gate| push(&public(gate)));
    if hop.encapsulation.len() > 32 {
        push(b"kem: X-Wing");
    }
    let salt = *blake3::hash(&transcript).as_bytes();
    let secrets = [value(0, "secret"), value(1, "secret"), prekey.to_vec(), value(2, "secret")].concat();
    let (extracted, _) = hkdf::Hkdf::<sha2::Sha256>::extract(Some(&salt), &secrets);
    assert_eq!(extracted.as_slice(), migration);
    (salt, secrets)
}

fn offer_secrets(link: &Link) -> OfferSecrets {
    OfferSecrets {
        data_key: DataKey::from_bytes([0x0B; 32]),
        link: link.clone(),
        page_hash_key: PageHashKey::from_bytes([0x0C; 32]),
        stream: StreamDescriptor {
            model: Digest([0x0D; 32]),
            dtype: Dtype::F32,
            numerics: Digest([7; 32]),
            layers: 2,
            kv_heads: 1,
            head_dim: 4,
            block: 16,
        },
        pages: 3,
        blind: Blind::from_bytes([0x0E; 32]),
    }
}

/// To write the file anew after a change of format that is meant: `BATCHMIND_WRITE_VECTORS=1 cargo test -p wallet`.
#[test]
fn a_hop_with_all_legs_gives_the_pinned_values() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/gates.json");
    let vectors: Vec<_> = [KemId::X25519, KemId::XWing].into_iter().map(vector).collect();
    let mut file = Map::new();
    file.insert("hops".to_owned(), vectors.into());
    file.insert("refused".to_owned(), refused().into());
    let text = serde_json::to_string_pretty(&Value::Object(file)).expect("JSON") + "\n";
    if std::env::var_os("BATCHMIND_WRITE_VECTORS").is_some() {
        std::fs::write(path, &text).expect("a writable folder");
    }
    let pinned = std::fs::read_to_string(path).expect("it is part of the repository");
    assert!(pinned == text, "the values differ from tests/vectors/gates.json");
}

/// What must be refused, and with which code, as other implementations can try it.
fn refused() -> Vec<Value> {
    let (hop, exchange) = hop(KemId::X25519);
    let (gate, shares) = &hop.gates[0];
    let ciphertext = *hop.offered[0].ciphertext();
    let label = GateLabel::hop(&hop.label);
    let mut log = Vec::new();
    let mut note = |name: &str, bytes: String, code: &str, refusal: Refusal| {
        assert_eq!(refusal.code(), code, "{name}: {refusal}");
        log.push(json!({ "case": name, "bytes": bytes, "code": code }));
    };

    let swapped = GateLabel::hop(&HopLabel { receiver: NodeId::new(2), ..hop.label.clone() });
    let verdict = gate.verify(&swapped, &ciphertext).expect_err("another label");
    note("label swap: the label of this digest", swapped.digest().to_string(), "W-123", verdict);

    let verified = gate.verify(&label, &ciphertext).expect("offered");
    let mut part = encode(&shares[0].release(&verified).expect("its gate"));
    part[0] = 1;
    let forged: Partial = wallet::codec::decode(&part).expect("well formed");
    let verdict = Opening::new(verified).add(forged).expect_err("member 0's part under member 1's name");
    note("forged partial", to_hex(&part), "W-124", verdict);

    let mut opening_of_two = Opening::new(verified);
    for share in &shares[..gate.threshold() - 1] {
        opening_of_two.add(share.release(&verified).expect("its gate")).expect("its part");
    }
    let verdict = opening_of_two.secret().expect_err("one too few");
    note("t - 1 shares", String::new(), "W-125", verdict);

    let mut book = ReleaseBook::new();
    let subject = ReleaseSubject::new(&verified, (WALLET, ACCEPTANCE), hop.label.prekey);
    assert_eq!(book.admit(&subject), Ok(true));
    let second = ReleaseSubject { label: swapped, ..subject.clone() };
    let verdict = book.admit(&second).expect_err("a second one");
    note("second label at one head", swapped.digest().to_string(), "W-129", verdict);
    let (other, _) = gate.encapsulate(&label, &mut fixed(0x44));
    let other = gate.verify(&label, &other).expect("just made");
    let verdict = book.admit(&ReleaseSubject::new(&other, (WALLET, ACCEPTANCE), hop.label.prekey));
    let verdict = verdict.expect_err("a second one");
    note("second ciphertext under the label at one head", to_hex(&encode(other.ciphertext())), "W-129", verdict);
    let later = ReleaseSubject { head: Digest([9; 32]), label: swapped, ..subject };
    let verdict = book.admit(&later).expect_err("used before");
    note("prekey reuse", hop.label.prekey.to_string(), "W-130", verdict);

    let tree = policy();
    let leaf = tree.open(&region("us")).expect("a leaf");
    let verdict = leaf.verify(&tree.commitment()).expect_err("not allowed");
    note("forbidden region", to_hex(&encode(&leaf)), "W-102", verdict);
    let us = HopLabel { region: region("us"), ..hop.label.clone() };
    let keys = HopKeys::from_legs(&us, &opening(), &legs(exchange, hop.offered.clone()), hop.required(KemId::X25519));
    note("forbidden region under the opening of another", to_hex(&us.encode()), "W-106", keys.expect_err("not it"));

    let weak = ExchangeSecret::from_bytes(&[1; 32]).agree(&wallet::prekey::ExchangeKey([0; 32]));
    note("prekey of small order", to_hex(&[0; 32]), "W-105", weak.expect_err("contributes nothing"));
    log
}

/// `vectors/check.py` was written from the two format pages and shares no code with the wallet, by the same author.
#[test]
fn a_second_implementation_gives_the_same_values() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors");
    let run = Command::new("python3").arg("check.py").arg("gates.json").current_dir(folder).output();
    let run = run.expect("python3 is installed: scripts/setup does it");
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success(), "{said}{}", String::from_utf8_lossy(&run.stderr));
    assert_eq!(said, "X25519: agrees\nXWing: agrees\n");
}
