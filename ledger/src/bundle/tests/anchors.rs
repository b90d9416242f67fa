//! The anchor of a decision among all that its node made.

use std::cell::Cell;

use super::*;
use crate::{block::Header, certificate::Certificate, event::Entry, hand_over::HandOver, state::State};

/// What a chain has, and how often somebody looked for an anchor in it.
struct Counted {
    chain: Chain,
    looks: Cell<u32>,
}

impl FinalView for Counted {
    fn tip(&self) -> Option<(&Header, &Certificate)> {
        FinalView::tip(&self.chain)
    }

    fn carriers(&self) -> &[Header] {
        self.chain.carriers()
    }

    fn hand_overs(&self) -> &[HandOver] {
        FinalView::hand_overs(&self.chain)
    }

    fn state(&self) -> &State {
        self.chain.state()
    }

    fn inclusion(&self, places: &[LogIndex]) -> Result<Option<Vec<Digest>>, Unreadable> {
        self.chain.inclusion(places)
    }

    fn grown_since(&self, size: u64) -> Result<Option<(Digest, Vec<Digest>)>, Unreadable> {
        self.chain.grown_since(size)
    }

    fn entry(&self, index: LogIndex) -> Result<Option<Entry>, Unreadable> {
        FinalView::entry(&self.chain, index)
    }

    fn anchor_from(&self, node: NodeId, from: LogIndex) -> Result<Option<LogIndex>, Unreadable> {
        self.looks.set(self.looks.get() + 1);
        self.chain.anchor_from(node, from)
    }
}

#[test]
fn the_anchor_of_a_decision_is_found_by_looking_at_few_of_the_others() {
    const ANCHORS: u64 = 60;
    let consortium = consortium(4);
    let (mut chain, session) = (Chain::new(consortium.clone()), Session::in_eu(&consortium, 0));
    let decisions = chained(2 * ANCHORS);
    for anchor in 1..=ANCHORS {
        // One for two decisions, between those of others, which say more and less.
        chain.push(session.anchored(2, 7 * anchor, Digest([7; 32]))).expect("valid");
        let head = decision_hash(&decisions[2 * anchor as usize - 1]);
        chain.push(session.anchored(0, 2 * anchor, head)).expect("valid");
    }
    let view = Counted { chain, looks: Cell::default() };
    for first in 0..decisions.len() {
        view.looks.set(0);
        let kept = anchored(&view, NodeId::ZERO, &grounds(&decisions[first..])).expect("anchored");
        assert_eq!(kept.later.len(), 1 - first % 2, "decision {first} is covered by the next anchor");
        // Half of 120 places are left after each look, and the anchor itself is looked at.
        assert!(view.looks.get() <= 8, "{} looks for decision {first}", view.looks.get());
    }
    let unknown = anchored(&view, NodeId::new(3), &grounds(&decisions));
    assert_eq!(unknown, Err(NotProvable::NotAnchored(NodeId::new(3))));
}
