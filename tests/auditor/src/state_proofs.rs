//! State proofs, honest and hostile. What is wrong before the state root is wrong in the way of a hostile bundle: each of
//! those that fails there is made into a state proof that must fail alike.

use std::sync::LazyLock;

use ledger::{
    bundle::{Bundle, Check},
    state::{GateScope, Record, StateKey},
    state_proof::{PathEnd, STATE_PROOF_BYTES_MAX, StateProofFile, VERSION, build},
    testing::{Chain, Session, certify, every_record},
    tree::state::StateTree,
};
use sha2::{Digest as _, Sha256};
use wallet::{
    codec::{decode, encode},
    digest::Digest,
    grant::WalletAddress,
    prekey::ExchangeKey,
    units::{KeyEpoch, NodeId},
};

mod gates;

pub use gates::{bits as bits_of_gates, kept as gates_that_keep_the_rules};

use crate::hostile;

/// A file, the hash and the key with which it is judged, and what a verifier must say of it.
#[derive(Clone, Debug)]
pub struct Case {
    /// What it is, or what is wrong with it.
    pub name: String,
    /// The file.
    pub bytes: Vec<u8>,
    /// What the auditor gives.
    pub genesis: Digest,
    /// The re-geneses that the auditor names.
    pub named: Vec<Digest>,
    /// What the auditor asked about.
    pub key: StateKey,
    /// `present` or `absent` and the class of the assurance, or the code of the first check that does not hold.
    pub expected: String,
}

/// What both verifiers must take: a record of each kind, and keys of each kind without one.
pub fn honest() -> Vec<Case> {
    let (chain, keys) = &*RECORDED;
    let case = |key: &StateKey| {
        let there = if chain.tip.state.record(key.clone()).is_some() { "present" } else { "absent" };
        let expected = format!("{there} several-must-lie");
        Case { name: key.to_string(), ..of(built(chain, key), chain, expected) }
    };
    keys.iter().chain(&absent()).map(case).collect()
}

/// What neither may take.
pub fn hostile() -> Vec<Case> {
    let mut all = from_bundles();
    bytes(&mut all);
    presence(&mut all);
    absence(&mut all);
    places(&mut all);
    certified(&mut all);
    gates::add(&mut all);
    all
}

static RECORDED: LazyLock<(Chain, Vec<StateKey>)> = LazyLock::new(every_record);

/// A key of each kind under which there is nothing.
fn absent() -> Vec<StateKey> {
    let none = Digest([0x5a; 32]);
    vec![
        StateKey::Wallet(WalletAddress(none)),
        StateKey::Prekey(ExchangeKey(none.0)),
        StateKey::Entry(none),
        StateKey::Baseline(none),
        StateKey::Award(WalletAddress(none), KeyEpoch::new(1)),
        StateKey::Account(NodeId::new(3)),
        StateKey::Anchor(NodeId::new(3)),
        StateKey::Resumption(NodeId::new(3)),
        StateKey::Validators(2),
        StateKey::Operator("nobody".parse().expect("a name")),
        StateKey::Node(NodeId::new(9)),
        StateKey::Key(wallet::identity::PublicKey(none.0)),
        StateKey::Auditor(none),
        StateKey::Proposal(none),
        StateKey::Gate(GateScope::Region("mars".to_owned().try_into().expect("a name"))),
    ]
}

fn built(chain: &Chain, key: &StateKey) -> StateProofFile {
    build(&chain.consortium, chain, key.clone()).expect("provable")
}

/// A file, judged by who asked about its key.
fn of(file: StateProofFile, chain: &Chain, expected: impl Into<String>) -> Case {
    let (bytes, genesis) = (file.to_bytes(), chain.consortium.id());
    Case { name: String::new(), bytes, genesis, named: Vec::new(), key: file.key, expected: expected.into() }
}

/// The files with a lie in them; each must fail for its path.
fn lies(all: &mut Vec<Case>, name: &str, file: &StateProofFile, lie: impl FnOnce(&mut StateProofFile)) {
    let mut lying = file.clone();
    lie(&mut lying);
    assert_ne!(lying, *file, "{name}");
    let name = format!("{}: {name}", file.key);
    all.push(Case { name, key: file.key.clone(), ..of(lying, &RECORDED.0, Check::StateProof.code()) });
}

/// The checks that a bundle and a state proof share, and the record of a wallet.
fn from_bundles() -> Vec<Case> {
    const SHARED: [Check; 8] = [
        Check::Lineage,
        Check::GenesisDocument,
        Check::GenesisHash,
        Check::GenesisSignatures,
        Check::HandOvers,
        Check::HeaderConsortium,
        Check::Certificate,
        Check::Members,
    ];
    let is_wrong = |vector: &hostile::Vector| {
        // What contradicts the history is no matter here.
        let of_history = ["record with ", "record after "].iter().any(|name| vector.name.starts_with(name));
        SHARED.contains(&vector.expected) || vector.expected == Check::StateProof && !of_history
    };
    let shared = hostile::vectors().into_iter().filter(is_wrong);
    shared.filter_map(|vector| Some((decode::<Bundle>(&vector.bytes).ok()?, vector))).map(changed).collect()
}

fn changed((bundle, vector): (Bundle, hostile::Vector)) -> Case {
    let wallet = bundle.entries.iter().find_map(|placed| placed.entry.body.event.wallet()).unwrap_or_default();
    let key = StateKey::Wallet(wallet);
    let file = StateProofFile {
        version: VERSION,
        lineage: bundle.lineage,
        consortium: bundle.consortium,
        hand_overs: bundle.hand_overs,
        header: bundle.header,
        certificate: bundle.certificate,
        carriers: bundle.carriers,
        members: bundle.members,
        key: key.clone(),
        path: bundle.record_path,
        end: PathEnd::Record(bundle.record),
    };
    let expected = vector.expected.code().to_owned();
    let hostile::Vector { name, told: hostile::Told { genesis, named, .. }, .. } = vector;
    Case { name: format!("bundle: {name}"), bytes: file.to_bytes(), genesis, named, key, expected }
}

/// What is no file, or one of another form.
fn bytes(all: &mut Vec<Case>) {
    let (chain, keys) = &*RECORDED;
    let file = built(chain, &keys[5]);
    let good = file.to_bytes();
    let mut add = |name: String, bytes: Vec<u8>, expected: Check| {
        all.push(Case { name, bytes, ..of(file.clone(), chain, expected.code()) });
    };
    for length in (0..4).chain((5..good.len()).step_by(good.len() / 24)).chain([good.len() - 1]) {
        add(format!("cut after {length} bytes"), good[..length].to_vec(), Check::Decode);
    }
    for more in [1, 8, 4_096] {
        add(format!("{more} bytes too many"), [good.clone(), vec![0; more]].concat(), Check::Decode);
    }
    add("larger than any file".to_owned(), vec![1; STATE_PROOF_BYTES_MAX + 1], Check::Decode);
    for version in [0, 1, 3, 1 << 8, u32::MAX] {
        let other = StateProofFile { version, ..file.clone() };
        add(format!("version {version}"), other.to_bytes(), Check::Version);
    }
    let tail = encode(&file.path).len() + encode(&file.end).len();
    let (key, end) = (good.len() - tail - encode(&file.key).len(), good.len() - encode(&file.end).len());
    for (name, at, byte) in [
        ("a key of no kind", key, 18),
        ("a key of a far kind", key + 3, 1),
        ("a path as long as numbers go", good.len() - tail + 7, 0xff),
        ("an end of no kind", end, 3),
        ("a record as long as numbers go", end + 11, 0xff),
        ("a record with a byte too many for the file", end + 4, good[end + 4] + 1),
    ] {
        let mut bytes = good.clone();
        bytes[at] = byte;
        add(name.to_owned(), bytes, Check::Decode);
    }
}

/// What is there, said to be otherwise or not to be there.
fn presence(all: &mut Vec<Case>) {
    let (chain, keys) = &*RECORDED;
    for key in keys {
        let file = built(chain, key);
        let own = key.digest();
        let PathEnd::Record(value) = file.end.clone() else { panic!("{key} is there") };
        let value_hash = Digest(Sha256::digest(&value).into());
        lies(all, "hidden behind an empty subtree", &file, |f| f.end = PathEnd::Empty);
        lies(all, "hidden behind itself", &file, |f| f.end = PathEnd::Other { key: own, value_hash });
        let mut near = own;
        near.0[31] ^= 1;
        lies(all, "hidden behind a key that differs in its last bit", &file, |f| {
            f.end = PathEnd::Other { key: near, value_hash };
        });
        lies(all, "hidden behind the leaf of another and its path", &file, |f| {
            let other = built(chain, keys.iter().find(|other| *other != key).expect("eighteen"));
            let PathEnd::Record(value) = &other.end else { panic!("it is there") };
            f.path = other.path;
            f.end = PathEnd::Other { key: other.key.digest(), value_hash: Digest(Sha256::digest(value).into()) };
        });
        lies(all, "hidden by a path of nothing", &file, |f| (f.path, f.end) = (Vec::new(), PathEnd::Empty));
        lies(all, "hidden by a path that ends early", &file, |f| {
            _ = f.path.pop();
            f.end = PathEnd::Empty;
        });
        lies(all, "another byte in its record", &file, |f| {
            let mut value = value.clone();
            value[4] ^= 1;
            f.end = PathEnd::Record(value);
        });
        lies(all, "another record", &file, |f| f.end = PathEnd::Record(encode(&Record::Prekey(Digest::ZERO))));
        lies(all, "no record", &file, |f| f.end = PathEnd::Record(Vec::new()));
    }
}

/// What is not there, said to be.
fn absence(all: &mut Vec<Case>) {
    let chain = &RECORDED.0;
    for key in absent() {
        let file = built(chain, &key);
        lies(all, "a record made up", &file, |f| f.end = PathEnd::Record(encode(&Record::Prekey(Digest::ZERO))));
        lies(all, "behind a leaf that is not there", &file, |f| {
            let mut other = key.digest();
            other.0[31] ^= 1;
            f.end = PathEnd::Other { key: other, value_hash: Digest::ZERO };
        });
        lies(all, "in a subtree that is another", &file, |f| {
            f.end = match f.end {
                PathEnd::Empty => PathEnd::Other { key: key.digest(), value_hash: Digest::ZERO },
                _ => PathEnd::Empty,
            };
        });
    }
}

/// A path of another length, key or state.
fn places(all: &mut Vec<Case>) {
    let (chain, keys) = &*RECORDED;
    let mut later = chain.clone();
    let session = Session::in_eu(&later.consortium, 0);
    later.push(session.anchored(1, 1, Digest([8; 32]))).expect("valid");
    let asked: Vec<StateKey> = keys.iter().cloned().chain(absent()).collect();
    for (key, next) in asked.iter().zip(asked.iter().cycle().skip(1)) {
        let file = built(chain, key);
        lies(all, "no path", &file, |f| f.path.clear());
        lies(all, "a hash too few", &file, |f| _ = f.path.pop());
        lies(all, "without its first hash", &file, |f| _ = f.path.remove(0));
        lies(all, "a hash too many", &file, |f| f.path.push(Digest::ZERO));
        lies(all, "in disorder", &file, |f| f.path.reverse());
        lies(all, "longer than a key", &file, |f| f.path = vec![Digest::ZERO; 257]);
        lies(all, "a hash changed", &file, |f| f.path[0].0[31] ^= 1);
        lies(all, "the path of a later state", &file, |f| {
            let later = built(&later, key);
            (f.path, f.end) = (later.path, later.end);
        });
        let other = built(chain, next);
        let name = format!("{key}: the proof of {next}");
        all.push(Case { name, key: key.clone(), ..of(other.clone(), chain, Check::StateProof.code()) });
        lies(all, "the path of another key", &file, |f| (f.path, f.end) = (other.path.clone(), other.end.clone()));
        let newer = built(&later, key);
        for (name, expected, lying) in [
            (
                "an older header",
                Check::HeaderConsortium,
                StateProofFile { header: file.header.clone(), ..newer.clone() },
            ),
            (
                "a newer header",
                Check::HeaderConsortium,
                StateProofFile { header: newer.header.clone(), ..file.clone() },
            ),
            (
                "an older certificate",
                Check::Certificate,
                StateProofFile { certificate: file.certificate.clone(), ..newer.clone() },
            ),
            ("an epoch skipped", Check::HeaderConsortium, StateProofFile { hand_overs: Vec::new(), ..newer.clone() }),
        ] {
            all.push(Case { name: format!("{key}: {name}"), ..of(lying, chain, expected.code()) });
        }
    }
}

/// What a quorum certified that is no record of the key's kind.
fn certified(all: &mut Vec<Case>) {
    let (chain, keys) = &*RECORDED;
    let value = |key: &StateKey| encode(&chain.tip.state.record(key.clone()).expect("it is there"));
    // The last two are of one kind.
    for (key, next) in keys.iter().zip(keys.iter().cycle().skip(2)) {
        let good = value(key);
        for (name, value) in [
            ("a record of another kind", value(next)),
            ("a record of no kind", [&[18, 0, 0, 0], &good[4..]].concat()),
            ("an empty record", Vec::new()),
            ("a kind and nothing else", good[..3].to_vec()),
            ("a record with a byte too many", [good.clone(), vec![0]].concat()),
            ("a record with a byte too few", good[..good.len() - 1].to_vec()),
        ] {
            let file = made_final(chain, key, value);
            let name = format!("{key}, certified: {name}");
            all.push(Case { name, ..of(file, chain, Check::StateProof.code()) });
        }
    }
}

/// A file in which a quorum of the first set made these bytes final under a key.
fn made_final(chain: &Chain, key: &StateKey, value: Vec<u8>) -> StateProofFile {
    let others = (0..40_u8).map(|i| (Digest(Sha256::digest([i]).into()), vec![i]));
    let tree: StateTree = others.chain([(key.digest(), value.clone())]).collect();
    let mut block = chain.blocks[0].0.clone();
    block.header.state_root = tree.root();
    let certificate = certify(&block, 0..4);
    StateProofFile {
        hand_overs: Vec::new(),
        header: block.header,
        certificate,
        path: tree.prove(&key.digest()).siblings,
        end: PathEnd::Record(value),
        ..built(chain, key)
    }
}
