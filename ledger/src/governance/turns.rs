//! Which node enacts what passed, and when. Enacting is nobody's choice, so each node does it by itself. The nodes take
//! turns, so that usually one does; where two do, the second entry is refused.

use std::{collections::BTreeMap, time::Duration};

use wallet::{digest::Digest, units::NodeId};

use crate::{
    execute::Executed,
    state::{Stage, State},
};

/// How long the next node waits for the one whose turn is before it.
const TURN: Duration = Duration::from_secs(3);

/// When a node tries again what the rules refused.
const AGAIN: Duration = Duration::from_secs(60);

/// The turns of one node, from its start on.
#[derive(Clone, Debug)]
pub struct Turns {
    me: NodeId,
    /// When this node enacts what passed.
    due: BTreeMap<Digest, Duration>,
}

impl Turns {
    /// Those of node `me`.
    pub const fn new(me: NodeId) -> Self {
        Self { me, due: BTreeMap::new() }
    }

    /// The proposals that the node enacts now, after this final block. `now` is on a clock that only goes forward.
    pub fn step(&mut self, now: Duration, tip: &Executed) -> Vec<Digest> {
        let ready = ready(tip);
        self.due.retain(|proposal, _| ready.contains(proposal));
        let mut enacts = Vec::new();
        for proposal in ready {
            let Some(turn) = turn(&tip.state, self.me, proposal) else { continue };
            let at = self.due.entry(proposal).or_insert_with(|| now + TURN * turn);
            if *at <= now {
                *at = now + AGAIN;
                enacts.push(proposal);
            }
        }
        enacts
    }

    /// When to look again, even if no other block becomes final.
    pub fn next(&self) -> Option<Duration> {
        self.due.values().min().copied()
    }
}

/// The proposals that can be enacted after this block, as far as their times and their electorate say.
fn ready(tip: &Executed) -> Vec<Digest> {
    let state = &tip.state;
    let Some(electorate) = state.governance().map(|record| record.electorate) else { return Vec::new() };
    let listed = state.operators().flat_map(|record| record.proposals);
    listed
        .filter(|proposal| {
            state.proposal(*proposal).is_some_and(|record| match record.stage {
                Stage::Passed { enactable_at } => {
                    record.terms.electorate == electorate && (enactable_at..=record.expires_at).contains(&tip.time)
                }
                Stage::Open | Stage::Rejected | Stage::Withdrawn | Stage::Enacted { .. } => false,
            })
        })
        .collect()
}

/// How many nodes enact `proposal` before this one does; none if it is no validator. Whose turn is first follows from the
/// proposal, so that it is not always the same node.
fn turn(state: &State, me: NodeId, proposal: Digest) -> Option<u32> {
    let members = state.validators().members;
    let place = members.iter().position(|(node, _)| *node == me)?;
    let first = usize::from(proposal.as_bytes()[0]) % members.len();
    u32::try_from((place + members.len() - first) % members.len()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        governance::{Action, Member},
        testing::{Chain, consortium},
    };

    #[test]
    fn what_passed_is_ready_once_its_lock_is_over_and_until_it_is_enacted() {
        let mut chain = Chain::new(consortium(4));
        let lock = chain.tip.state.parameters().proposal_lock_ms;
        let suspended = chain.pass(vec![Action::Suspend(Member::Node(NodeId::new(3)))]).expect("it passes");
        assert_eq!(ready(&chain.tip), [suspended], "what takes power away does not wait");
        chain.push(chain.enacting(suspended)).expect("it is enacted");
        assert_eq!(ready(&chain.tip), []);
        let reinstating = chain.reinstating(Member::Node(NodeId::new(3)));
        let back = chain.pass(vec![reinstating]).expect("it passes");
        assert_eq!(ready(&chain.tip), [], "its lock runs for {lock} ms");
        chain.wait_ms(lock);
        let open = chain.propose_actions(0, vec![Action::Suspend(Member::Node(NodeId::new(1)))]).expect("a proposal");
        assert_eq!(ready(&chain.tip), [back], "{open} has no quorum");
    }

    #[test]
    fn each_validator_has_a_turn_of_its_own_and_who_is_none_has_no_turn() {
        let mut chain = Chain::new(consortium(4));
        chain.enact(vec![Action::Suspend(Member::Node(NodeId::new(3)))]).expect("it is enacted");
        let count = chain.tip.state.validators().members.len() as u32;
        for byte in 0..=255 {
            let turns = |node: u32| turn(&chain.tip.state, NodeId::new(node), Digest([byte; 32]));
            let mut all: Vec<u32> = (0..=count).filter_map(turns).collect();
            all.sort_unstable();
            assert_eq!((all, turns(3)), ((0..count).collect(), None));
        }
    }

    #[test]
    fn where_the_first_one_is_dead_the_next_one_enacts_and_nobody_does_it_twice_at_once() {
        let mut chain = Chain::new(consortium(4));
        let proposal = chain.pass(vec![Action::Suspend(Member::Node(NodeId::new(3)))]).expect("it passes");
        let mut nodes: Vec<Turns> = (0..4).map(|node| Turns::new(NodeId::new(node))).collect();
        let mut enacts = |after: Duration| -> Vec<NodeId> {
            let those = nodes.iter_mut().filter_map(|turns| {
                let enacts = turns.step(after, &chain.tip);
                assert!(enacts.is_empty() || enacts == [proposal]);
                (!enacts.is_empty()).then_some(turns.me)
            });
            those.collect()
        };
        let mut each: Vec<NodeId> = (0..4).flat_map(|turn| enacts(TURN * turn)).collect();
        assert_eq!(enacts(TURN * 4), [], "all have tried");
        each.sort_unstable();
        assert_eq!(each, (0..4).map(NodeId::new).collect::<Vec<_>>(), "one after the other");
        assert_eq!(enacts(AGAIN).len(), 1, "what was refused is tried again");
    }
}
