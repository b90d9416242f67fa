//! What is wrong with the reason of the move: the decision, the chain that leads to its anchor, the anchor.

use ledger::{
    bundle::{Bundle, Check},
    event::Event,
};
use scheduler::{action::Action, decision::Decision};
use wallet::{
    digest::Digest,
    grant::WalletAddress,
    units::{NodeId, Timestamp},
};

use super::{Change, Lies, Vectors};
use crate::story::{Step, decision, decision_log_end, decisions_of, link, log_from};

pub(super) fn add(all: &mut Vectors) {
    decisions(all);
    anchor(all);
    subject(all);
}

fn decisions(all: &mut Vectors) {
    let lies: Lies<Bundle, 6> = [
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
    let lies: Lies<Bundle, 7> = [
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
