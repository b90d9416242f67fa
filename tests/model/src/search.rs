//! All runs: the honest nodes make moves in any order.

use std::{collections::HashSet, sync::Arc};

use ledger::{block::View, vote::VoteKind};
use stateright::{Model, Property};

use crate::{
    HONEST, LIAR,
    blocks::{BlockId, Word},
    lab::{Brief, Lab, LocalId, MoveId, certified},
    local::{Fault, Move},
    said::ballot_bit,
};

/// Patience may end in terms up to this one.
const GIVEN_UP_THROUGH: u64 = 1;

/// The states of the honest nodes. What is on its way needs no place of its own: whatever a node has said to anybody may
/// reach any other at any time, again and again, or never; and the liar may say anything to anybody at any time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State(pub [LocalId; 3]);

/// What one honest node does, by its place, until it has said something new: what it comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Action(pub u8, pub LocalId);

/// From one state of a node to all those in which it has just said something new.
#[derive(Debug, Default)]
pub struct Reach {
    /// Those.
    pub speaking: Vec<LocalId>,
    /// All others on the way, and the one at the beginning, each with the move that led to it.
    pub silent: Vec<LocalId>,
}

/// A move that is possible as soon as the node's log and term are fit for it.
struct Offer {
    step: Move,
    number: MoveId,
    /// The height at which a block is written, and what must be below.
    at: Option<(u8, Option<BlockId>)>,
}

impl Model for Lab {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State(self.start())]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let briefs = self.briefs(state.0);
        if briefs.iter().any(|brief| brief.fault.is_some()) {
            return;
        }
        for place in 0..3 {
            let reach = self.reach(state.0[place], &briefs);
            let place = u8::try_from(place).expect("one of three");
            actions.extend(reach.speaking.iter().map(|next| Action(place, *next)));
        }
    }

    fn next_state(&self, state: &State, Action(place, next): Action) -> Option<State> {
        let mut locals = state.0;
        locals[usize::from(place)] = next;
        Some(State(locals))
    }

    fn format_action(&self, Action(place, next): &Action) -> String {
        format!("node {}: {}", HONEST[usize::from(*place)], self.history(*next))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("no two blocks are final at one height", |lab, state| lab.is_one_chain(state)),
            Property::always("no two blocks are certified in one view", |lab, state| lab.views_are_single(state)),
            Property::always("no honest key contradicts itself", |lab, state| {
                use Fault::{GaveUpFinalized, TwoVotes, VotedWhereGivenUp};
                !lab.has_fault(state, &[TwoVotes, VotedWhereGivenUp, GaveUpFinalized])
            }),
            Property::always("no honest key is blamed", |lab, state| !lab.has_fault(state, &[Fault::HonestBlamed])),
            Property::always("what leaves is recorded", |lab, state| !lab.has_fault(state, &[Fault::NotRecorded])),
            Property::always("blocks become final in order", |lab, state| {
                !lab.has_fault(state, &[Fault::FinalOutOfOrder])
            }),
            Property::always("no voter stops", |lab, state| !lab.has_fault(state, &[Fault::Conflict])),
            Property::sometimes("a block of the second term is final", |lab, state| {
                lab.some_final(state, |view| view.term == 2)
            }),
            Property::sometimes("two finalized a block that the third gave up", |lab, state| lab.is_split(state)),
        ]
    }
}

impl Brief {
    fn at(&self, height: u8) -> Option<BlockId> {
        let at = usize::from(height).checked_sub(1)?;
        self.log[at]
    }

    /// Whether a leader may write at this height of the log: the guard keeps what is final, and what was finalized.
    fn may_write(&self, height: u8) -> bool {
        height > self.tip && height > self.keeps
    }
}

/// The blocks that a quorum finalized, if the liar did.
fn finalized(briefs: &[Brief; 3]) -> impl Iterator<Item = BlockId> {
    certified(briefs).ballots().filter(|(kind, _)| *kind == VoteKind::Finalize).map(|(_, id)| id)
}

impl Lab {
    /// What a node can come to on its own, until it has said something new, by what it knows that the others have said.
    ///
    /// Others see of a node only what it says, and whatever may reach it now may reach it later as well. So nothing is
    /// lost by letting each node go on by itself up to its next word.
    pub fn reach(&self, from: LocalId, briefs: &[Brief; 3]) -> Arc<Reach> {
        let place = usize::try_from(self.brief(from).node).expect("a small number") - 1;
        let others = [briefs[(place + 1) % 3].said, briefs[(place + 2) % 3].said];
        let mut key = (from, others);
        if others.iter().all(|said| said.nullifies().next().is_none()) {
            // Who of them voted for a block makes no difference.
            key.1 = [others[0].or(others[1]), others[0].and(others[1])];
        }
        if let Some(known) = self.known_reach(&key) {
            return known;
        }
        let first = self.brief(from);
        let said = first.said;
        let mut reach = Reach { silent: vec![from], ..Reach::default() };
        let mut met = HashSet::from([from]);
        let offers = self.offers(place, briefs);
        let forget = self.number(Move::Forget);
        let mut next = 0;
        while let Some(at) = reach.silent.get(next).copied() {
            next += 1;
            let brief = self.brief(at);
            for offer in &offers {
                if !self.is_open(&brief, offer, &first) {
                    continue;
                }
                let to = self.step(at, offer.number);
                if to == at || met.contains(&to) {
                    continue;
                }
                let brief = self.brief(to);
                if brief.said == said && brief.fault.is_none() && self.is_backed(&brief, briefs) {
                    met.insert(to);
                    reach.silent.push(to);
                } else {
                    let to = if brief.fault.is_none() { self.step(to, forget) } else { to };
                    if !reach.speaking.contains(&to) {
                        reach.speaking.push(to);
                    }
                }
            }
        }
        self.remember_reach(key, reach)
    }

    /// The moves that what was said offers to a node.
    fn offers(&self, place: usize, briefs: &[Brief; 3]) -> Vec<Offer> {
        let mut offers = Vec::new();
        let mut add = |step, at| offers.push(Offer { step, number: self.number(step), at });
        let [one, two, three] = briefs.map(|brief| brief.said);
        for (id, height, parent) in self.proposable(briefs) {
            add(Move::Flush(id), Some((height, parent)));
        }
        for (id, height, parent) in self.forged() {
            add(Move::FlushForged(id), Some((height, parent)));
        }
        for (kind, id) in certified(briefs).ballots() {
            add(Move::Certificate(kind, id), Some((self.height(id), None)));
        }
        for (kind, id) in one.or(two).or(three).ballots() {
            self.probe_votes(&briefs[place], briefs, kind, id, &mut |step| add(step, None));
        }
        self.nullify_votes(place, briefs, GIVEN_UP_THROUGH, &mut |step| add(step, None));
        add(Move::Complain, None);
        add(Move::Crash, None);
        offers
    }

    /// Whether a move can be made in this state of the node.
    fn is_open(&self, brief: &Brief, offer: &Offer, from: &Brief) -> bool {
        match (offer.step, offer.at) {
            (Move::Flush(id) | Move::FlushForged(id), Some((height, parent))) => {
                brief.may_write(height) && brief.at(height - 1) == parent && brief.at(height) != Some(id)
            }
            (Move::Crash, _) => brief.tip > from.tip,
            // What it hears of by certificate it may as well hear of before its log grows.
            (Move::Certificate(..), Some((height, _))) => height > brief.tip && brief.log == from.log,
            (Move::FewVotes(_, id, _) | Move::ShortCertificate(_, id, _) | Move::RepeatedSigner(_, id, _), _) => {
                brief.log.contains(&Some(id))
            }
            (Move::Join([word, _]) | Move::OnlyLiar([word, _]), _) => brief.gave_up < word.through,
            (Move::Permit([word, ..]), _) => {
                brief.term <= word.through && (brief.gave_up < word.through || brief.log == from.log)
            }
            (Move::Complain, _) => brief.term <= GIVEN_UP_THROUGH && brief.gave_up < brief.term,
            _ => true,
        }
    }

    /// Whether a quorum finalized what is final at a node, or a descendant of it.
    fn is_backed(&self, brief: &Brief, briefs: &[Brief; 3]) -> bool {
        let Some(last) = brief.at(brief.tip) else { return true };
        self.with_blocks(|blocks| {
            certified(briefs).ballots().any(|(kind, id)| kind == VoteKind::Finalize && blocks.descends(id, last))
        })
    }

    /// Votes that must not count: there are too few.
    fn probe_votes(&self, brief: &Brief, briefs: &[Brief; 3], kind: VoteKind, id: BlockId, add: &mut impl FnMut(Move)) {
        let bit = ballot_bit(kind, id);
        let signers = || briefs.iter().filter(|other| other.said.has(bit)).map(|other| other.node);
        if signers().count() != 1 {
            return;
        }
        for honest in signers() {
            if honest != brief.node {
                add(Move::FewVotes(kind, id, honest));
            }
            add(Move::ShortCertificate(kind, id, honest));
            add(Move::RepeatedSigner(kind, id, honest));
        }
    }

    /// Nullify votes: too few, f + 1, and a quorum.
    fn nullify_votes(&self, place: usize, briefs: &[Brief; 3], through: u64, add: &mut impl FnMut(Move)) {
        let node = briefs[place].node;
        let strong = Word { node: LIAR, from: View { term: 0, number: 1 }, through };
        let weak = Word { node: LIAR, from: View { term: through, number: 9 }, through };
        add(Move::OnlyLiar([weak, strong]));
        let words =
            briefs.each_ref().map(|other| self.words(other).into_iter().rev().find(|word| word.through >= through));
        let others = || words.iter().flatten().filter(|word| word.node != node);
        if let Some(other) = others().next() {
            add(Move::Join([strong, *other]));
        }
        let mut all = words.iter().flatten();
        if let (Some(one), Some(two)) = (all.next(), all.next()) {
            add(Move::Permit([strong, *one, *two]));
        }
    }

    fn height(&self, id: BlockId) -> u8 {
        self.with_blocks(|blocks| blocks.get(id).height)
    }

    fn has_fault(&self, state: &State, faults: &[Fault]) -> bool {
        self.briefs(state.0).iter().any(|brief| brief.fault.is_some_and(|fault| faults.contains(&fault)))
    }

    fn is_one_chain(&self, state: &State) -> bool {
        let briefs = self.briefs(state.0);
        let quorum: Vec<BlockId> = finalized(&briefs).collect();
        self.with_blocks(|blocks| {
            let related = |one, other| blocks.descends(one, other) || blocks.descends(other, one);
            quorum.iter().enumerate().all(|(at, one)| quorum[at + 1..].iter().all(|other| related(*one, *other)))
        }) && briefs.iter().all(|brief| brief.fault.is_some() || self.is_backed(brief, &briefs))
    }

    fn views_are_single(&self, state: &State) -> bool {
        let quorum: Vec<(VoteKind, BlockId)> = certified(&self.briefs(state.0)).ballots().collect();
        let differ = |one: &(VoteKind, BlockId), other: &(VoteKind, BlockId)| {
            one.1 != other.1 && self.with_blocks(|blocks| blocks.get(one.1).view() == blocks.get(other.1).view())
        };
        !quorum.iter().enumerate().any(|(at, one)| quorum[at + 1..].iter().any(|other| differ(one, other)))
    }

    fn some_final(&self, state: &State, fits: impl Fn(View) -> bool) -> bool {
        finalized(&self.briefs(state.0)).any(|id| fits(self.with_blocks(|blocks| blocks.get(id).view())))
    }

    /// The deadlock of votes that are bound to heights: with a silent liar, neither block nor successor would have a
    /// quorum ever.
    fn is_split(&self, state: &State) -> bool {
        let briefs = self.briefs(state.0);
        certified(&briefs).ballots().any(|(kind, id)| {
            let bit = ballot_bit(VoteKind::Finalize, id);
            let gave_up = |brief: &Brief| brief.gave_up == 1 && !brief.said.has(bit);
            kind == VoteKind::Finalize && briefs.iter().all(|brief| brief.tip == 0) && briefs.iter().any(gave_up)
        })
    }
}
