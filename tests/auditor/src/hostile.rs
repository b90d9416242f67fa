//! Bundles that prove nothing, each made to break one rule, with the check that must name it. Where a rule lies deep,
//! all before it holds: entries, roots and certificate are made anew over the lie.

mod anew;
mod certified;
mod epochs;
mod file;
mod handover;
mod notices;
mod order;
mod reason;
mod signed;
mod since;
mod state;

use std::sync::Arc;

use genesis::Consortium;
use ledger::{
    bundle::Check,
    event::{Event, KeyConfirmed, MigrationOffered, WalletCreated},
    testing,
};
use wallet::{digest::Digest, identity::Signature};

use crate::{
    documents,
    story::{Step, Story},
};

/// What an auditor has beside the file.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// Hash of the genesis document.
    pub genesis: Digest,
    /// The re-geneses that are named.
    pub named: Vec<Digest>,
    /// A checkpoint that was kept.
    pub checkpoint: Option<Vec<u8>>,
}

/// A bundle, with what it is judged, and the check at which it fails.
#[derive(Clone, Debug)]
pub struct Vector {
    /// What is wrong with it.
    pub name: String,
    /// The file.
    pub bytes: Vec<u8>,
    /// What the auditor has.
    pub told: Told,
    /// The first check that does not hold.
    pub expected: Check,
}

/// A bundle that proves a move.
#[derive(Clone, Debug)]
pub struct Honest {
    /// What is told of it.
    pub name: &'static str,
    /// The file.
    pub bytes: Vec<u8>,
    /// What the auditor has.
    pub told: Told,
    /// The class of its assurance.
    pub class: &'static str,
}

/// A move from node 0 to node 1 of four.
fn first_move() -> Story {
    Story::of(testing::consortium(4), &[1])
}

/// The last of three moves of a wallet among seven.
fn third_move() -> Story {
    Story::of(testing::consortium(7), &[1, 2, 3])
}

/// Bundles that both verifiers must take, with the hashes that an auditor gives and the class of their assurance: the first
/// five have every part that a bundle can have.
pub fn honest() -> Vec<Honest> {
    let told = |name, story: Story, class| {
        let told = Told { genesis: story.consortium.id(), ..Told::default() };
        Honest { name, bytes: story.bundle().to_bytes(), told, class }
    };
    let bundle =
        |name, consortium: Arc<Consortium>, path: &[u32], class| told(name, Story::of(consortium, path), class);
    let mut anew = anew::honest();
    let mut all = vec![
        bundle("a first move among four", testing::consortium(4), &[1], "several-must-lie"),
        bundle("a third move among seven", testing::consortium(7), &[1, 2, 3], "several-must-lie"),
        since::honest("a second move over two hand-overs", epochs::second_move(), 4),
        told("a suspended node's new key", epochs::letting_go().going_on_from(3), "several-must-lie"),
        anew.remove(0),
        bundle("a consortium of one", documents::of_one_operator(2), &[1], "consortium-of-one"),
        bundle("one large operator", documents::with_a_large_operator(), &[1], "one-can-fork"),
        bundle("a full document", documents::with_everything(), &[1, 0], "several-must-lie"),
        bundle("three operators", testing::consortium(3), &[2], "several-must-lie"),
    ];
    all.extend(epochs::honest().into_iter().map(|(name, story, class)| told(name, story, class)));
    all.extend(anew);
    all.extend(since::all_honest());
    all
}

/// All of them.
pub fn vectors() -> Vec<Vector> {
    let mut all = Vectors::default();
    file::add(&mut all);
    anew::add(&mut all);
    certified::add(&mut all);
    epochs::add(&mut all);
    signed::add(&mut all);
    handover::add(&mut all);
    order::add(&mut all);
    notices::add(&mut all);
    reason::add(&mut all);
    state::add(&mut all);
    since::add(&mut all);
    all.0
}

#[derive(Default)]
struct Vectors(Vec<Vector>);

impl Vectors {
    fn bytes(&mut self, name: impl Into<String>, bytes: Vec<u8>, genesis: Digest, expected: Check) {
        self.named(name.into(), bytes, genesis, Vec::new(), expected);
    }

    /// As an auditor judges them who was told of re-geneses.
    fn named(&mut self, name: String, bytes: Vec<u8>, genesis: Digest, named: Vec<Digest>, expected: Check) {
        self.0.push(Vector { name, bytes, told: Told { genesis, named, checkpoint: None }, expected });
    }

    /// A story with something wrong in it.
    fn tell(&mut self, name: impl Into<String>, expected: Check, mut story: Story, change: impl FnOnce(&mut Story)) {
        let genesis = story.consortium.id();
        change(&mut story);
        self.bytes(name, story.bundle().to_bytes(), genesis, expected);
    }

    /// The first move, with something wrong in it.
    fn first(&mut self, name: impl Into<String>, expected: Check, change: impl FnOnce(&mut Story)) {
        self.tell(name, expected, first_move(), change);
    }

    /// The third move, with something wrong in it.
    fn third(&mut self, name: impl Into<String>, expected: Check, change: impl FnOnce(&mut Story)) {
        self.tell(name, expected, third_move(), change);
    }

    /// The first move, with something wrong in one step.
    fn step(&mut self, name: impl Into<String>, expected: Check, event: &str, change: impl FnOnce(&mut Step)) {
        self.first(name, expected, |story| change(story.step(event)));
    }
}

/// The steps of the first move.
const STEPS: [&str; 6] =
    ["WalletCreated", "Touch", "MigrationOffered", "MigrationAccepted", "KeyConfirmed", "DecisionAnchored"];

/// What makes a part wrong, by name.
type Lies<T, const N: usize> = [(&'static str, fn(&mut T)); N];
/// What makes an encoding wrong.
type Change = fn(Vec<u8>) -> Vec<u8>;

/// Done to the creation in an event.
fn creation(lie: impl Fn(&mut WalletCreated) + 'static) -> impl Fn(&mut Event) {
    move |event| {
        if let Event::WalletCreated(created) = event {
            lie(created);
        }
    }
}

/// Done to the offer in an event.
fn offer(lie: impl Fn(&mut MigrationOffered) + 'static) -> impl Fn(&mut Event) {
    move |event| {
        if let Event::MigrationOffered(offer) = event {
            lie(offer);
        }
    }
}

/// Done to the confirm in an event.
fn confirm(lie: impl Fn(&mut KeyConfirmed) + 'static) -> impl Fn(&mut Event) {
    move |event| {
        if let Event::KeyConfirmed(confirm) = event {
            lie(confirm);
        }
    }
}

/// The same signature with S + L in place of S: valid for whoever does not look.
fn with_large_scalar(signature: Signature) -> Signature {
    const L: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let mut bytes = signature.0;
    let mut carry = 0_u16;
    for (byte, more) in bytes[32..].iter_mut().zip(L) {
        let sum = u16::from(*byte) + u16::from(more) + carry;
        *byte = sum.to_le_bytes()[0];
        carry = sum >> 8;
    }
    Signature(bytes)
}

/// R is a point of small order, S is zero: under a key of small order, valid for whoever does not look.
fn universal(point: [u8; 32]) -> Signature {
    let mut bytes = [0; 64];
    bytes[..32].copy_from_slice(&point);
    Signature(bytes)
}

/// Ways to spoil a signature, by name.
fn spoilt(signature: Signature) -> Vec<(String, Signature)> {
    let mut flipped = signature;
    flipped.0[40] ^= 1;
    let mut negated = signature;
    negated.0[31] ^= 0x80;
    let mut all = vec![
        ("of zeros".to_owned(), Signature([0; 64])),
        ("with a flipped bit".to_owned(), flipped),
        ("with the other sign of R".to_owned(), negated),
        ("with S + L".to_owned(), with_large_scalar(signature)),
        ("with S of ones".to_owned(), {
            let mut bytes = signature.0;
            bytes[32..].fill(0xff);
            Signature(bytes)
        }),
    ];
    for (i, point) in documents::small_points().into_iter().enumerate() {
        all.push((format!("with R of small order {i}"), universal(point)));
    }
    all
}
