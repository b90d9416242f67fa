//! What is wrong with header, certificate, inclusion, anchor, decision or state.

use ledger::{
    bundle::{Bundle, Check},
    certificate::Certificate,
    event::Event,
    state::{Cause, KeyRotated},
    testing::{consortium, key, node_key},
    vote::{Ballot, Signer, Vote, VoteKind},
};
use scheduler::{action::Action, decision::Decision};
use wallet::{
    digest::Digest,
    grant::WalletAddress,
    identity::{PublicKey, SecretKey, context},
    policy::PolicyCommitment,
    units::{BlockHeight, KeyEpoch, LogIndex, NodeId, Timestamp},
};

use super::{Vectors, spoilt};
use crate::story::{Step, Story, decision, decision_log_end, decisions_of, link, log_from};

pub(super) fn add(all: &mut Vectors) {
    header(all);
    certificate(all);
    signers(all);
    inclusion(all);
    decisions(all);
    anchor(all);
    state(all);
    subject(all);
}

fn header(all: &mut Vectors) {
    let lies: [(&str, fn(&mut ledger::block::Header)); 6] = [
        ("of another consortium", |h| h.consortium = consortium(7).id()),
        ("of no consortium", |h| h.consortium = Digest::ZERO),
        ("of epoch 1", |h| h.epoch = 1),
        ("of the last epoch", |h| h.epoch = u64::MAX),
        ("of other validators", |h| h.validators = consortium(7).validators().hash()),
        ("of no validators", |h| h.validators = Digest::ZERO),
    ];
    for (name, lie) in lies {
        all.first(format!("header {name}"), Check::HeaderConsortium, |s| s.header_lies.push(Box::new(lie)));
    }
    let after: [(&str, fn(&mut Bundle)); 8] = [
        ("height", |b| b.header.height = BlockHeight::new(21)),
        ("view", |b| b.header.view.number += 1),
        ("leader", |b| b.header.leader = NodeId::new(1)),
        ("parent", |b| b.header.parent = Digest::ZERO),
        ("log size", |b| b.header.log_size += 1),
        ("log root", |b| b.header.log_root.0[0] ^= 1),
        ("state root", |b| b.header.state_root.0[31] ^= 0x80),
        ("time", |b| b.header.time = Timestamp::ZERO),
    ];
    for (name, lie) in after {
        all.first(format!("{name} changed after the vote"), Check::Certificate, |s| s.bundle_lies.push(Box::new(lie)));
    }
}

fn certificate(all: &mut Vectors) {
    let lies: [(&str, fn(&mut Certificate)); 12] = [
        ("of another block", |c| c.block = Digest::ZERO),
        ("of another height", |c| c.height = BlockHeight::new(1)),
        ("of another term", |c| c.view.term += 1),
        ("of another number", |c| c.view.number -= 1),
        ("that only notarizes", |c| c.kind = VoteKind::Notarize),
        ("without signatures", |c| c.signatures.clear()),
        ("with one signature", |c| c.signatures.truncate(1)),
        ("with one signature too few", |c| _ = c.signatures.pop()),
        ("with one signature three times", |c| c.signatures = vec![c.signatures[0]; 3]),
        ("with a repeated signer", |c| c.signatures[2] = c.signatures[1]),
        ("with signers in disorder", |c| c.signatures.reverse()),
        ("with two signatures exchanged", |c| {
            let first = c.signatures[0].1;
            c.signatures[0].1 = std::mem::replace(&mut c.signatures[1].1, first);
        }),
    ];
    for (name, lie) in lies {
        all.first(format!("certificate {name}"), Check::Certificate, |s| s.certificate_lies.push(Box::new(lie)));
        if !name.contains("three times") {
            all.third(format!("certificate of seven {name}"), Check::Certificate, |s| {
                s.certificate_lies.push(Box::new(lie))
            });
        }
    }
    let ballots: [(&str, fn(&mut Ballot)); 6] = [
        ("for another consortium", |b| b.consortium = consortium(7).id()),
        ("for another epoch", |b| b.epoch = 1),
        ("to notarize", |b| b.kind = VoteKind::Notarize),
        ("for another view", |b| b.view.number += 1),
        ("for another height", |b| b.height = BlockHeight::new(19)),
        ("for another block", |b| b.block.0[7] ^= 4),
    ];
    for (name, lie) in ballots {
        all.first(format!("a quorum voted {name}"), Check::Certificate, |s| s.ballot_lies.push(Box::new(lie)));
    }
    all.first("a quorum that only notarized", Check::Certificate, |s| s.kind = VoteKind::Notarize);
    all.first("another consortium's certificate", Check::Certificate, |s| {
        let other = Story::of(consortium(7), &[1]).bundle().certificate;
        s.certificate_lies.push(Box::new(move |c| *c = other.clone()));
    });
    let sample = super::first_move().bundle().certificate.signatures[1].1;
    for (name, signature) in spoilt(sample) {
        let lie = move |c: &mut Certificate| c.signatures[1].1 = signature;
        all.first(format!("a vote {name}"), Check::Certificate, |s| s.certificate_lies.push(Box::new(lie)));
    }
}

fn signers(all: &mut Vectors) {
    let signer = |node: u32, key: SecretKey| Signer { node: NodeId::new(node), key };
    let honest = |node: u32| signer(node, node_key(node));
    let cases: [(&str, Vec<Signer>); 6] = [
        ("a stranger among the signers", vec![honest(0), honest(1), signer(4, node_key(4))]),
        ("a stranger beside a quorum", vec![honest(0), honest(1), honest(2), signer(9, node_key(9))]),
        ("the last of all numbers as a signer", vec![honest(0), honest(1), signer(u32::MAX, node_key(4))]),
        ("one who signs for another", vec![honest(0), honest(1), signer(2, node_key(1))]),
        ("an operator who signs for its node", vec![honest(0), honest(1), signer(2, key("operator 2"))]),
        ("a bad vote beside a quorum", vec![honest(0), honest(1), honest(2), signer(3, key("nobody"))]),
    ];
    for (name, signers) in cases {
        all.first(name, Check::Certificate, |s| s.signers = signers);
    }
    for (name, under) in [("an entry", context::LEDGER_ENTRY), ("a proposal", context::LEDGER_PROPOSAL)] {
        all.first(format!("a vote signed as {name}"), Check::Certificate, |s| {
            let ballot = Ballot::for_header(VoteKind::Finalize, &s.bundle().header);
            let vote = Vote::sign(ballot, &honest(0)).statement;
            let signature = node_key(0).sign(under, &wallet::codec::encode(&vote));
            s.certificate_lies.push(Box::new(move |c| c.signatures[0].1 = signature));
        });
    }
}

fn inclusion(all: &mut Vectors) {
    let lies: [(&str, fn(&mut Bundle)); 16] = [
        ("no entries", |b| b.entries.clear()),
        ("no entries and the root as proof", |b| {
            b.entries.clear();
            b.inclusion = vec![b.header.log_root];
        }),
        ("two entries exchanged", |b| b.entries.swap(1, 2)),
        ("two leaves exchanged", |b| {
            let first = b.entries[1].entry.clone();
            b.entries[1].entry = std::mem::replace(&mut b.entries[2].entry, first);
        }),
        ("an entry twice", |b| b.entries.insert(1, b.entries[1].clone())),
        ("an entry twice at two places", |b| {
            let mut again = b.entries[1].clone();
            again.index = again.index.next().expect("not the last");
            b.entries.insert(2, again);
        }),
        ("an entry left out", |b| drop(b.entries.remove(1))),
        ("a place beyond the end", |b| {
            b.entries.last_mut().expect("entries").index = LogIndex::new(b.header.log_size);
        }),
        ("the last of all places", |b| b.entries.last_mut().expect("entries").index = LogIndex::new(u64::MAX)),
        ("a place before", |b| {
            let place = &mut b.entries[3].index;
            *place = LogIndex::new(place.get() - 1);
        }),
        ("a place after", |b| {
            let place = &mut b.entries[3].index;
            *place = LogIndex::new(place.get() + 1);
        }),
        ("no proof", |b| b.inclusion.clear()),
        ("a proof with a hash too few", |b| _ = b.inclusion.pop()),
        ("a proof without its first hash", |b| _ = b.inclusion.remove(0)),
        ("a proof with a hash too many", |b| b.inclusion.push(Digest::ZERO)),
        ("a proof in disorder", |b| b.inclusion.reverse()),
    ];
    for (name, lie) in lies {
        all.first(name, Check::Inclusion, |s| s.bundle_lies.push(Box::new(lie)));
        all.third(format!("{name}, third move"), Check::Inclusion, |s| s.bundle_lies.push(Box::new(lie)));
    }
    let hashes = super::third_move().bundle().inclusion.len();
    for at in 0..hashes {
        let lie = move |b: &mut Bundle| b.inclusion[at].0[at % 32] ^= 1;
        all.third(format!("hash {at} of the proof changed"), Check::Inclusion, |s| s.bundle_lies.push(Box::new(lie)));
    }
    let headers: [(&str, fn(&mut ledger::block::Header)); 5] = [
        ("a log of another root", |h| h.log_root = Digest::ZERO),
        ("a log of twice the size", |h| h.log_size *= 2),
        ("a log of half the size", |h| h.log_size /= 2),
        ("a log of no leaf", |h| h.log_size = 0),
        ("a log as large as numbers go", |h| h.log_size = u64::MAX),
    ];
    for (name, lie) in headers {
        all.first(name, Check::Inclusion, |s| s.header_lies.push(Box::new(lie)));
    }
    for at in 0..super::first_move().steps.len() {
        let nonce = move |b: &mut Bundle| b.entries[at].entry.body.nonce[15] ^= 1;
        all.first(format!("nonce of entry {at} changed"), Check::Inclusion, |s| s.bundle_lies.push(Box::new(nonce)));
        let unsigned = move |b: &mut Bundle| {
            let entry = &mut b.entries[at].entry;
            entry.holder_signature = entry.holder_signature.is_none().then_some(wallet::identity::Signature([0; 64]));
        };
        all.first(format!("holder's signature of entry {at} taken or given"), Check::Inclusion, |s| {
            s.bundle_lies.push(Box::new(unsigned));
        });
    }
}

fn decisions(all: &mut Vectors) {
    let lies: [(&str, fn(&mut Bundle)); 6] = [
        ("no decision", |b| b.decision.clear()),
        ("half a head of a decision", |b| b.decision.truncate(47)),
        ("a head without a reason", |b| b.decision.truncate(48)),
        ("another time", |b| b.decision[8] ^= 1),
        ("another reason", |b| *b.decision.last_mut().expect("bytes") ^= 1),
        ("a longer reason", |b| b.decision.push(0)),
    ];
    for (name, lie) in lies {
        all.first(format!("decision: {name}"), Check::DecisionHash, |s| s.bundle_lies.push(Box::new(lie)));
    }
    all.first("decision: a later one", Check::DecisionHash, |s| drop(s.decisions.remove(0)));
    all.first("decision: of another wallet's move", Check::DecisionHash, |s| {
        s.decisions = decisions_of(WalletAddress(Digest([8; 32])), 1);
    });
    all.third("decision: to another node", Check::DecisionHash, |s| s.decisions = decisions_of(s.wallet(), 4));
}

fn anchor(all: &mut Vectors) {
    all.first("no anchor", Check::Anchor, |s| drop(s.steps.pop()));
    all.first("two anchors", Check::Anchor, |s| {
        let event = s.step("DecisionAnchored").event.clone();
        let again = Step::plain(&s.consortium, 0, event);
        s.steps.push(again);
    });
    for node in [1, 2, 3] {
        all.first(format!("an anchor of node {node}"), Check::Anchor, |s| {
            let event = s.step("DecisionAnchored").event.clone();
            *s.step("DecisionAnchored") = Step::plain(&s.consortium, node, event);
        });
    }
    all.third("an anchor of an earlier holder", Check::Anchor, |s| {
        let event = s.step("DecisionAnchored").event.clone();
        *s.step("DecisionAnchored") = Step::plain(&s.consortium, 1, event);
    });
    for (name, more) in [("one decision more", 1), ("one decision less", -1_i64), ("no decision", -8)] {
        all.step(format!("an anchor of {name}"), Check::Anchor, "DecisionAnchored", |step| {
            let Event::DecisionAnchored(event) = &mut step.event else { return };
            event.decisions = event.decisions.wrapping_add_signed(more);
        });
    }
    all.step("an anchor of another log", Check::Anchor, "DecisionAnchored", |step| {
        let Event::DecisionAnchored(event) = &mut step.event else { return };
        event.log_head = Digest::ZERO;
    });
    all.first("an anchor from before the decision", Check::Anchor, |s| {
        let before = Decision { seq: 4, ..decision(s.wallet(), Action::Evict) }.encode();
        s.step("DecisionAnchored").event = Event::DecisionAnchored(decision_log_end(&[before]));
    });
    let lies: [(&str, fn(&mut Bundle)); 7] = [
        ("no later decision", |b| b.later.clear()),
        ("a later decision left out", |b| _ = b.later.remove(0)),
        ("a later decision too many", |b| b.later.push(b.later[0])),
        ("later decisions exchanged", |b| b.later.reverse()),
        ("a later decision's time", |b| b.later[0].at = Timestamp::ZERO),
        ("a later decision's reason", |b| b.later[1].reason.0[0] ^= 1),
        ("the last decision's time", |b| b.later[1].at = Timestamp::new(u64::MAX)),
    ];
    for (name, lie) in lies {
        all.first(name, Check::Anchor, |s| s.bundle_lies.push(Box::new(lie)));
    }
    all.first("a chain of decisions with a gap", Check::Anchor, |s| {
        let mut chain = decisions_of(s.wallet(), 1);
        chain.remove(1);
        s.decide(chain);
    });
    for (name, seq) in [("the last of all positions", u64::MAX), ("positions beyond all numbers", u64::MAX - 1)] {
        all.first(name, Check::Anchor, |s| {
            let first = Decision { seq, ..decision(s.wallet(), Action::Migrate { to: NodeId::new(1) }) };
            s.decide(log_from(first));
        });
    }
    all.first("a decision too short to be one, named and anchored", Check::Anchor, |s| s.decide(vec![vec![1; 47]]));
    all.first("an empty decision, named and anchored", Check::Anchor, |s| s.decide(vec![Vec::new()]));
    all.first("links of another log", Check::Anchor, |s| {
        let other = decisions_of(WalletAddress(Digest([8; 32])), 2);
        s.bundle_lies.push(Box::new(move |b| b.later = other[..2].iter().map(|bytes| link(bytes)).collect()));
    });
}

fn state(all: &mut Vectors) {
    let lies: [(&str, fn(&mut Bundle)); 9] = [
        ("no path", |b| b.record_path.clear()),
        ("a path with a hash too few", |b| _ = b.record_path.pop()),
        ("a path without its first hash", |b| _ = b.record_path.remove(0)),
        ("a path with a hash too many", |b| b.record_path.push(Digest::ZERO)),
        ("a path in disorder", |b| b.record_path.reverse()),
        ("a path longer than a key", |b| b.record_path = vec![Digest::ZERO; 257]),
        ("no record", |b| b.record.clear()),
        ("a longer record", |b| b.record.push(0)),
        ("a record with another holder", |b| b.record[36] ^= 1),
    ];
    for (name, lie) in lies {
        all.first(name, Check::StateProof, |s| s.bundle_lies.push(Box::new(lie)));
    }
    for at in 0..super::first_move().bundle().record_path.len() {
        let lie = move |b: &mut Bundle| b.record_path[at].0[at] ^= 1;
        all.first(format!("hash {at} of the path changed"), Check::StateProof, |s| s.bundle_lies.push(Box::new(lie)));
    }
    all.first("a state of another root", Check::StateProof, |s| {
        s.header_lies.push(Box::new(|h| h.state_root = Digest::ZERO));
    });
    let records: [(&str, fn(Vec<u8>) -> Vec<u8>); 8] = [
        ("an empty record", |_| Vec::new()),
        ("a record of another kind", |mut record| {
            record[0] = 2;
            record
        }),
        ("a record of no kind", |mut record| {
            record[0] = 9;
            record
        }),
        ("a prekey's record", |record| [&[2, 0, 0, 0], &record[4..36]].concat()),
        ("a record with a byte too many", |record| [record, vec![0]].concat()),
        ("a record with a byte too few", |record| record[..record.len() - 1].to_vec()),
        ("a record with a flag of 2", |mut record| {
            let at = record.len() - 10;
            record[at] = 2;
            record
        }),
        ("a record in another phase than there is", |mut record| {
            let at = 4 + 32 + 4 + 4 + 32 + 32 + 33 + 5 * 32 - 32;
            record[at] = 4;
            record
        }),
    ];
    for (name, change) in records {
        all.first(format!("certified: {name}"), Check::StateProof, |s| s.record = Some(change));
    }
    let wallets: [(&str, fn(&mut ledger::state::WalletRecord)); 15] = [
        ("another address", |r| r.address = WalletAddress::default()),
        ("another policy", |r| r.policy = PolicyCommitment(Digest::ZERO)),
        ("no rotation", |r| r.rotations.clear()),
        ("a rotation left out", |r| drop(r.rotations.pop())),
        ("the first rotation left out", |r| drop(r.rotations.remove(0))),
        ("rotations in disorder", |r| r.rotations.reverse()),
        ("a rotation of another epoch", |r| r.rotations[1].epoch = KeyEpoch::new(9)),
        ("a rotation of another holder", |r| r.rotations[1].holder = NodeId::new(3)),
        ("a rotation of another key", |r| r.rotations[1].key = PublicKey::default()),
        ("a rotation by another entry", |r| r.rotations[0].entry = Digest::ZERO),
        ("another holder", |r| r.holder = NodeId::new(0)),
        ("another key", |r| r.holder_key = PublicKey::default()),
        ("the key of an earlier epoch", |r| r.holder_key = r.rotations[0].key),
        ("an earlier epoch and another holder", |r| (r.epoch, r.holder) = (KeyEpoch::ZERO, NodeId::new(3))),
        ("a rotation before the first", |r| {
            let before = KeyRotated { cause: Cause::Created, ..r.rotations[0].clone() };
            r.rotations.insert(0, before);
        }),
    ];
    for (name, lie) in wallets {
        all.first(format!("record with {name}"), Check::StateProof, |s| s.record_lies.push(Box::new(lie)));
        all.third(format!("record after three moves with {name}"), Check::StateProof, |s| {
            s.record_lies.push(Box::new(lie));
        });
    }
}

fn subject(all: &mut Vectors) {
    let to = |node| Action::Migrate { to: NodeId::new(node) };
    for action in [Action::Keep, Action::Demote, Action::Promote, Action::Suspend, Action::Evict, to(0), to(2), to(9)] {
        all.first(format!("a decision to {action}"), Check::DecisionSubject, |s| {
            s.decide(log_from(decision(s.wallet(), action)));
        });
    }
    all.first("a decision about another wallet", Check::DecisionSubject, |s| {
        s.decide(log_from(decision(WalletAddress(Digest([8; 32])), to(1))));
    });
    type Change = fn(Vec<u8>) -> Vec<u8>;
    let changes: [(&str, Change); 11] = [
        ("a byte too many", |d| [d, vec![0]].concat()),
        ("a byte too few", |d| d[..d.len() - 1].to_vec()),
        ("a head alone", |d| d[..48].to_vec()),
        ("a rule that does not exist", |d| put(d, 84, 13)),
        ("an input's name that is no UTF-8", |d| put(d, 104, 0xff)),
        ("inputs in disorder", |d| put(d, 104, b'z')),
        ("more inputs than bytes", |d| put(d, 95, 0x7f)),
        ("an action that does not exist", |d| {
            let at = d.len() - (8 + 4 + 4 + 8 + 4) - 8;
            put(d, at, 6)
        }),
        ("a refusal that does not exist", |d| {
            let at = d.len() - 4;
            put(d, at, 22)
        }),
        ("a refused action that does not exist", |d| {
            let at = d.len() - 12;
            put(d, at, 7)
        }),
        ("more than a MiB", |d| [d, vec![0; 1 << 20]].concat()),
    ];
    for (name, change) in changes {
        all.first(format!("a decision with {name}"), Check::DecisionSubject, |s| {
            let first = change(decision(s.wallet(), to(1)).encode());
            s.decide(vec![first]);
        });
    }
}

fn put(mut bytes: Vec<u8>, at: usize, byte: u8) -> Vec<u8> {
    bytes[at] = byte;
    bytes
}
