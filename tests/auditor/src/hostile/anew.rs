//! A ledger that began anew: bundles across a re-genesis, and what is wrong with them.

use genesis::ValidatorSet;
use ledger::{
    block::{Header, TERMS_PER_EPOCH},
    bundle::{Bundle, Check, Grounds, build},
    event::MigrationOffered,
    governance::{Action, Member},
    hand_over::{HandOver, re_geneses},
    re_genesis::{ReGenesisProof, sign},
    testing::{Chain, Session, certify, consortium, node_key, operator_id, operator_key, signer},
    tlog::{Checkpoint, Cosignature, CosignedCheckpoint},
    tree::log::LogTree,
    vote::VoteKind,
};
use wallet::{
    digest::Digest,
    units::{BlockHeight, KeyEpoch, NodeId, Timestamp},
};

use super::{Honest, Lies, Told, Vector, Vectors, spoilt};
use crate::story::{Story, carrier, decision_log_end, decisions_of};

/// The wallet moves to `receiver`, and the source says why.
fn hop(chain: &mut Chain, session: &Session, receiver: u32) -> Vec<Vec<u8>> {
    let (wallet, decisions) = (session.record(chain), decisions_of(session.address, receiver));
    let decision = ledger::bundle::decision_hash(&decisions[0]);
    let deadline = chain.tip.height.get() + 100;
    let offer = MigrationOffered { decision, ..session.offer(&wallet, receiver, deadline) };
    let source = wallet.holder.get();
    chain.push(session.offered(&wallet, offer)).expect("valid");
    chain.push(session.accepted(&session.record(chain), receiver)).expect("valid");
    let wallet = session.record(chain);
    chain.push(session.confirmed(&wallet, session.ticket(&wallet))).expect("valid");
    let end = decision_log_end(&decisions);
    chain.push(session.anchored(source, end.decisions, end.log_head)).expect("valid");
    decisions
}

/// A wallet moved to node 1.
fn moved(nodes: u32) -> (Chain, Session) {
    let consortium = consortium(nodes);
    let (mut chain, session) = (Chain::new(consortium.clone()), Session::in_eu(&consortium, 0));
    chain.push(session.created()).expect("valid");
    hop(&mut chain, &session, 1);
    (chain, session)
}

/// A wallet moves to node 1; the operators that `stay` of `nodes` go on alone; it moves back, for these reasons.
fn begun(nodes: u32, stay: u32) -> (Chain, Session, Vec<Vec<u8>>) {
    let (mut chain, session) = moved(nodes);
    let lost = (stay..nodes).map(|operator| Member::Operator(operator_id(operator))).collect();
    chain.begin_anew(0, lost).expect("valid");
    let decisions = hop(&mut chain, &session, 0);
    (chain, session, decisions)
}

fn ledger(nodes: u32, stay: u32) -> (Chain, Bundle) {
    let (chain, session, decisions) = begun(nodes, stay);
    let grounds = Grounds::of(&decisions).expect("three");
    let bundle = build(&chain.consortium, &chain, session.address, KeyEpoch::new(2), &grounds, None);
    (chain, bundle.expect("provable"))
}

/// Bundles that both verifiers must take when each re-genesis is named, with the class of their assurance.
pub(super) fn honest() -> Vec<Honest> {
    let told = |name, (chain, bundle): (Chain, Bundle), class| {
        let told = Told { genesis: chain.consortium.id(), named: re_geneses(&bundle.hand_overs), ..Told::default() };
        Honest { name, bytes: bundle.to_bytes(), told, class }
    };
    vec![
        told("two of four went on", ledger(4, 2), "several-must-lie"),
        told("five of seven went on", ledger(7, 5), "several-must-lie"),
        told("one of four went on", ledger(4, 1), "consortium-of-one"),
        told("under the re-genesis itself", at_the_beginning(), "several-must-lie"),
    ]
}

/// A move that is proven under the re-genesis itself, before any block follows it.
fn at_the_beginning() -> (Chain, Bundle) {
    let (mut chain, session) = (Chain::new(consortium(4)), Session::in_eu(&consortium(4), 0));
    chain.push(session.created()).expect("valid");
    let decisions = hop(&mut chain, &session, 1);
    let lost = [2, 3].map(|operator| Member::Operator(operator_id(operator))).to_vec();
    chain.begin_anew(0, lost).expect("valid");
    let grounds = Grounds::of(&decisions).expect("three");
    let bundle = build(&chain.consortium, &chain, session.address, KeyEpoch::new(1), &grounds, None);
    (chain, bundle.expect("provable"))
}

/// The bundle of two of four, for an auditor who kept the checkpoint of `log`'s first `size` entries as `signers` of it
/// cosigned it; it goes on from as many.
fn going_on_from(log: &Chain, size: u64, signers: std::ops::Range<u32>) -> (Bundle, Told) {
    let (chain, session, decisions) = begun(4, 2);
    let grounds = Grounds::of(&decisions).expect("three");
    let bundle = build(&chain.consortium, &chain, session.address, KeyEpoch::new(2), &grounds, Some(size));
    let bundle = bundle.expect("provable");
    let name = log.tip.name;
    let leaves: Vec<Digest> = log.entries().map(|(_, entry)| entry.leaf_hash()).collect();
    let root = LogTree::from_leaf_hashes(&leaves[..usize::try_from(size).expect("few")]).root();
    let checkpoint = Checkpoint::new(&name, size, root);
    let cosignatures = signers.map(|node| Cosignature::sign(&checkpoint, &signer(node), 1_800_000_000)).collect();
    let kept = CosignedCheckpoint { checkpoint, cosignatures }.to_note(&log.tip.validators(), &name);
    let told = Told {
        genesis: chain.consortium.id(),
        named: re_geneses(&bundle.hand_overs),
        checkpoint: Some(kept.to_string().into_bytes()),
    };
    (bundle, told)
}

/// From a checkpoint of the new lineage on.
pub(super) fn going_on() -> Honest {
    let (chain, ..) = begun(4, 2);
    let (bundle, told) = going_on_from(&chain, chain.tip.log.size() - 1, 0..2);
    Honest {
        name: "from a checkpoint of the new lineage on",
        bytes: bundle.to_bytes(),
        told,
        class: "several-must-lie",
    }
}

/// A checkpoint of the part of the lineage before that was dropped.
pub(super) fn kept_of_what_was_left() -> Vector {
    let (mut left, session) = moved(4);
    for count in 4..7 {
        left.push(session.anchored(2, count, Digest([8; 32]))).expect("valid");
    }
    let (bundle, told) = going_on_from(&left, left.tip.log.size(), 0..4);
    let name = "kept: that of a dropped part of the lineage before".to_owned();
    Vector { name, bytes: bundle.to_bytes(), told, expected: Check::Checkpoint }
}

pub(super) fn add(all: &mut Vectors) {
    names(all);
    certificates(all);
    closings(all);
    proofs(all);
    branches(all);
    beginnings(all);
    all.first("certified in a term that is kept", Check::Certificate, |s| {
        s.header_lies.push(Box::new(|header| header.view.term = TERMS_PER_EPOCH - 1));
    });
}

impl Vectors {
    /// The bundle of two of four after a change; the re-genesis that it then holds is named.
    pub(super) fn anew(&mut self, name: &str, expected: Check, change: impl FnOnce(&mut Bundle)) {
        let (chain, mut bundle) = ledger(4, 2);
        change(&mut bundle);
        let named = re_geneses(&bundle.hand_overs);
        let name = format!("began anew, {name}");
        self.named(name, bundle.to_bytes(), chain.consortium.id(), named, expected);
    }
}

fn names(all: &mut Vectors) {
    let (chain, bundle) = ledger(4, 2);
    let (bytes, genesis) = (bundle.to_bytes(), chain.consortium.id());
    let other = ledger(7, 5).1.hand_overs[0].closing.digest();
    for (name, named) in
        [("nothing named", vec![]), ("the genesis named", vec![genesis]), ("another named", vec![other])]
    {
        all.named(format!("began anew, {name}"), bytes.clone(), genesis, named, Check::Lineage);
    }
    // Whoever was told of a re-genesis is not shown the lineage that it left.
    let old = Story::of(consortium(4), &[1]);
    let named = vec![bundle.hand_overs[0].closing.digest()];
    all.named("named, and not begun anew".to_owned(), old.bundle().to_bytes(), genesis, named.clone(), Check::Lineage);
    all.named(
        "began anew, and another one named".to_owned(),
        bytes,
        genesis,
        [named, vec![other]].concat(),
        Check::Lineage,
    );
    for lineage in [0, 1, 3, u32::MAX] {
        all.anew(&format!("but of lineage {lineage}"), Check::Lineage, |b| b.lineage = lineage);
    }
    all.anew("without the hand-over", Check::Lineage, |b| b.hand_overs.clear());
    all.anew("without the hand-over, of lineage 1", Check::HeaderConsortium, |b| {
        b.hand_overs.clear();
        b.lineage = 1;
    });
    all.anew("twice", Check::HandOvers, |b| {
        b.hand_overs.push(b.hand_overs[0].clone());
        b.lineage = 3;
    });
    let stranger = ledger(7, 5).1.hand_overs[0].clone();
    all.anew("by a certificate of another chain", Check::HandOvers, |b| b.hand_overs[0] = stranger);
    // The old quorum goes on beside it.
    let consortium = consortium(4);
    let (mut old, session) = (Chain::new(consortium.clone()), Session::in_eu(&consortium, 0));
    old.push(session.created()).expect("valid");
    hop(&mut old, &session, 1);
    let (last, certificate) = old.blocks.last().expect("blocks").clone();
    all.anew("with a header of the old set", Check::HeaderConsortium, |b| {
        (b.header, b.certificate) = (last.header.clone(), certificate.clone());
    });
    all.anew("with a header that the old set's keys sign", Check::Certificate, |b| {
        let mut block = last;
        block.header = b.header.clone();
        b.certificate = certify(&block, 0..4);
    });
}

fn certificates(all: &mut Vectors) {
    let good = ledger(4, 2).1.hand_overs[0].proof.certificate.signatures[1].1;
    for (name, signature) in spoilt(good) {
        all.anew(&format!("with a signature {name}"), Check::HandOvers, |b| {
            b.hand_overs[0].proof.certificate.signatures[1].1 = signature;
        });
    }
    let lies: Lies<HandOver, 9> = [
        ("the first signer missing", |h| _ = h.proof.certificate.signatures.remove(0)),
        ("the last signer missing", |h| _ = h.proof.certificate.signatures.pop()),
        ("nobody's signature", |h| h.proof.certificate.signatures.clear()),
        ("a signer too many", |h| {
            let (_, signature) = h.proof.certificate.signatures[0];
            h.proof.certificate.signatures.push((NodeId::new(2), signature));
        }),
        ("the signers exchanged", |h| h.proof.certificate.signatures.swap(0, 1)),
        ("one signer for both", |h| h.proof.certificate.signatures[1].1 = h.proof.certificate.signatures[0].1),
        ("a notarization", |h| h.proof.certificate.kind = VoteKind::Notarize),
        ("the certificate of another block", |h| h.proof.certificate.block = Digest([1; 32])),
        ("carriers", |h| h.proof.carriers = vec![h.closing.clone()]),
    ];
    for (name, lie) in lies {
        all.anew(name, Check::HandOvers, |b| lie(&mut b.hand_overs[0]));
    }
    // By the same operators, over the same block, for another reason.
    all.anew("with the certificate of another re-genesis", Check::HandOvers, |b| {
        let mut other = b.hand_overs[0].closing.clone();
        other.time = Timestamp::new(other.time.get() + 1);
        let certificate = &mut b.hand_overs[0].proof.certificate;
        certificate.block = other.digest();
        for (node, signature) in &mut certificate.signatures {
            *signature = sign(&other, &operator_key(node.get())).expect("a key in memory signs");
        }
    });
    let block =
        ledger(4, 2).0.blocks.iter().find(|(block, _)| block.header.is_closing()).expect("it began anew").0.clone();
    all.anew("with votes of the old set", Check::HandOvers, |b| {
        b.hand_overs[0].proof.certificate.signatures = certify(&block, 0..2).signatures;
    });
}

/// The re-genesis is the header under which all is proven, and something else makes it final.
fn beginnings(all: &mut Vectors) {
    let (chain, bundle) = at_the_beginning();
    let (block, _) = chain.blocks.last().expect("it began anew");
    let mut header = |name: &str, change: &dyn Fn(&mut Bundle)| {
        let mut bundle = bundle.clone();
        change(&mut bundle);
        let (genesis, named) = (chain.consortium.id(), re_geneses(&bundle.hand_overs));
        let name = format!("under the re-genesis, {name}");
        all.named(name, bundle.to_bytes(), genesis, named, Check::HeaderConsortium);
    };
    header("by votes of the old set", &|b| b.certificate = certify(block, 0..4));
    header("by votes of the next set", &|b| b.certificate = certify(block, 0..2));
    header("with an operator too few", &|b| _ = b.certificate.signatures.pop());
    header("with a flipped bit of a signature", &|b| b.certificate.signatures[0].1.0[7] ^= 1);
    header("with a carrier", &|b| b.carriers.push(carrier(&b.header)));
    header("with another state", &|b| b.header.state_root = Digest::ZERO);
    header("in the next view", &|b| b.header.view.number += 1);
    let mut without = bundle.clone();
    without.hand_overs.pop();
    without.lineage = 1;
    let name = "under the re-genesis, without its hand-over".to_owned();
    all.named(name, without.to_bytes(), chain.consortium.id(), Vec::new(), Check::Certificate);
}

/// The old quorum suspends those whom the others name as lost: two epochs of one number with the same members and keys.
fn branches(all: &mut Vectors) {
    let consortium = consortium(4);
    let (mut old, session) = (Chain::new(consortium.clone()), Session::in_eu(&consortium, 0));
    old.push(session.created()).expect("valid");
    hop(&mut old, &session, 1);
    let lost = [2, 3].map(|operator| Action::Suspend(Member::Operator(operator_id(operator))));
    old.enact(lost.to_vec()).expect("valid");
    let decisions = hop(&mut old, &session, 0);
    let grounds = Grounds::of(&decisions).expect("three");
    let left = build(&consortium, &old, session.address, KeyEpoch::new(2), &grounds, None).expect("provable");
    let begun = ledger(4, 2).1;
    assert_eq!(left.hand_overs[0].next, begun.hand_overs[0].next);
    assert_eq!((left.header.epoch, left.header.validators), (begun.header.epoch, begun.header.validators));
    let beyond = begun.hand_overs[0].clone();
    let bundle = Bundle { hand_overs: left.hand_overs.clone(), lineage: 1, ..begun };
    let name = "the header of the lineage that began, behind the hand-over of the one that was left";
    all.named(name.to_owned(), bundle.to_bytes(), consortium.id(), Vec::new(), Check::HeaderConsortium);
    let named = re_geneses([&beyond]);
    let bundle = Bundle { hand_overs: vec![beyond], lineage: 2, ..left };
    let name = "the header of the lineage that was left, behind the re-genesis";
    all.named(name.to_owned(), bundle.to_bytes(), consortium.id(), named, Check::HeaderConsortium);
}

/// Signs a changed header by the operators of the nodes that stay.
fn sign_again(hand_over: &mut HandOver) {
    let (header, certificate) = (&hand_over.closing, &mut hand_over.proof.certificate);
    (certificate.view, certificate.height, certificate.block) = (header.view, header.height, header.digest());
    for (node, signature) in &mut certificate.signatures {
        *signature = sign(header, &operator_key(node.get())).expect("a key in memory signs");
    }
}

fn closings(all: &mut Vectors) {
    let lies: Lies<Header, 12> = [
        ("of another consortium", |h| h.consortium = consortium(7).id()),
        ("of another epoch", |h| h.epoch += 1),
        ("of other validators", |h| h.validators = Digest::ZERO),
        ("with another parent", |h| h.parent = Digest([1; 32])),
        ("with a height left out", |h| h.height = BlockHeight::new(h.height.get() + 1)),
        ("in the second view", |h| h.view.number = 2),
        ("in the kept term of the next epoch", |h| h.view.term += TERMS_PER_EPOCH),
        ("in a term of votes", |h| h.view.term -= 1),
        ("with another leader", |h| h.leader = NodeId::new(1)),
        ("with one more leaf", |h| h.log_size += 1),
        ("with another log", |h| h.log_root = Digest([1; 32])),
        ("at the time of the last block", |h| h.time = Timestamp::new(0)),
    ];
    for (name, lie) in lies {
        // In a term of votes it is no re-genesis, and the bundle holds none.
        let expected = if name == "in a term of votes" { Check::Lineage } else { Check::HandOvers };
        all.anew(name, expected, |b| {
            lie(&mut b.hand_overs[0].closing);
            sign_again(&mut b.hand_overs[0]);
        });
    }
    let sets: Lies<ValidatorSet, 4> = [
        ("to a set with another key", |set| set.members[1].1 = node_key(9).public_key()),
        ("to a set with a stranger", |set| set.members[1] = (NodeId::new(9), node_key(9).public_key())),
        ("to a set with somebody lost", |set| set.members.push((NodeId::new(2), node_key(2).public_key()))),
        ("to a set of nobody", |set| set.members.clear()),
    ];
    for (name, lie) in sets {
        all.anew(name, Check::HandOvers, |b| {
            let hand_over = &mut b.hand_overs[0];
            lie(&mut hand_over.next);
            hand_over.closing.next_validators = hand_over.next.hash();
            sign_again(hand_over);
        });
    }
}

/// What leads to the re-genesis of a bundle that begins with one.
pub(super) fn proof(bundle: &mut Bundle) -> &mut ReGenesisProof {
    bundle.hand_overs[0].re_genesis.as_mut().expect("it began anew")
}

fn proofs(all: &mut Vectors) {
    all.anew("without what leads to it", Check::HandOvers, |b| b.hand_overs[0].re_genesis = None);
    let lies: Lies<ReGenesisProof, 17> = [
        ("another last block", |p| p.last.height = BlockHeight::new(9)),
        ("a last block without a quorum", |p| _ = p.proof.certificate.signatures.pop()),
        ("a last block that is notarized", |p| p.proof.certificate.kind = VoteKind::Notarize),
        ("another block's certificate", |p| p.proof.certificate.block = Digest([1; 32])),
        ("carriers above the last block", |p| p.proof.carriers = vec![p.last.clone()]),
        ("an empty log", |p| p.log = Default::default()),
        ("another entry", |p| p.entry = p.entry.changed(|entry| entry.body.nonce = [1; 16])),
        ("a node's record missing", |p| drop(p.nodes.pop())),
        ("the nodes' records exchanged", |p| p.nodes.swap(0, 1)),
        ("an operator's record missing", |p| drop(p.operators.pop())),
        ("an operator's record twice", |p| p.operators.push(p.operators[0].clone())),
        ("the operators' records exchanged", |p| p.operators.swap(0, 1)),
        ("a path cut short", |p| _ = p.operators[0].path.pop()),
        ("a lost node's record missing", |p| drop(p.lost.pop())),
        ("nobody's record who is lost", |p| p.lost.clear()),
        ("a lost node's record twice", |p| p.lost.push(p.lost[0].clone())),
        ("the lost nodes' records exchanged", |p| {
            let [(one, _), (other, _)] = [p.lost[0].clone(), p.lost[1].clone()];
            (p.lost[0].0, p.lost[1].0) = (other, one);
        }),
    ];
    for (name, lie) in lies {
        all.anew(&format!("with {name}"), Check::HandOvers, |b| {
            lie(proof(b));
        });
    }
    all.anew("with records of what is no record", Check::HandOvers, |b| {
        proof(b).nodes[0].record = vec![7; 40];
    });
}
