//! What the operators decide, drawn from the seed: only what the rules allow where it stands, tried on a chain of its own.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use genesis::{Auditor, Consortium, OperatorId};
use ledger::{
    governance::{Action, Member, ProposalTerms, quorum},
    testing::{Chain, key, next_node_key, node_key, operator_id, operator_key},
};
use liar::rng::Rng;
use wallet::{
    digest::{Digest, sha256},
    identity::SecretKey,
    units::NodeId,
};

use crate::plan::{Plan, Theme};

/// The operators' decisions, one after the other.
#[derive(Clone, Debug)]
pub struct Script {
    /// What they decide.
    pub decisions: Vec<Decision>,
    /// The node whose client puts their words on the ledger.
    pub governor: u32,
    /// Who votes at the end, and in which epoch.
    pub epoch: u64,
    /// See `epoch`.
    pub validators: BTreeSet<NodeId>,
    /// Nodes that are spoken to at the end.
    pub take_part: BTreeSet<NodeId>,
}

/// One decision.
#[derive(Clone, Debug)]
pub struct Decision {
    /// What is proposed. Of several only one can be enacted.
    pub proposals: Vec<Vec<Action>>,
    /// What becomes of it.
    pub end: End,
    /// To whom it is put.
    pub electorate: u64,
    /// Who that is, with the keys; the first one proposes.
    pub electors: Vec<(OperatorId, SecretKey)>,
    /// A node that has to run before it is put to them.
    pub waits_for: Option<NodeId>,
}

/// What becomes of a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// One of the proposals is enacted.
    Enacted,
    /// Its proposer takes it back, before a quorum is for it.
    Withdrawn,
    /// So many are against it that no quorum can be for it.
    Rejected,
    /// Too few have said something when its time is over.
    Expired,
    /// The first one is enacted, and changes the electorate that the second one was put to.
    Superseded,
}

impl Decision {
    /// The terms of its proposal `which`, made for the time `attempt`.
    pub fn terms(&self, consortium: Digest, which: usize, attempt: u8) -> ProposalTerms {
        let operator = self.electors[which % self.electors.len()].0.clone();
        let (electorate, actions) = (self.electorate, self.proposals[which].clone());
        ProposalTerms { consortium, electorate, operator, nonce: [attempt; 16], actions }
    }

    /// Who says something about proposal `which` beside its proposer, who is the first one.
    pub fn others(&self, which: usize) -> impl Iterator<Item = &(OperatorId, SecretKey)> {
        self.electors.iter().cycle().skip(which + 1).take(self.electors.len() - 1)
    }

    /// Votes that it takes.
    pub fn quorum(&self) -> usize {
        quorum(self.electors.len())
    }
}

impl Script {
    /// What is decided in a plan; nothing in one without a theme.
    pub fn draw(seed: u64, plan: &Plan, consortium: &Arc<Consortium>) -> Option<Self> {
        let mut draft = Draft::new(seed, plan, consortium);
        let nothing_at = draft.rng.range(0..4);
        if nothing_at == 0 {
            draft.nothing();
        }
        match plan.theme? {
            Theme::Sets => draft.sets(),
            Theme::Joining => draft.joining(),
            Theme::Operators => draft.operators(),
        }
        if nothing_at == 1 {
            draft.nothing();
        }
        let Draft { chain, decisions, governor, .. } = draft;
        let state = &chain.tip.state;
        let take_part = state.nodes().filter(|(_, record)| record.standing.takes_part()).map(|(id, _)| id).collect();
        let validators = state.validators().members.iter().map(|(node, _)| *node).collect();
        Some(Self { decisions, governor, epoch: state.epoch(), validators, take_part })
    }
}

/// A script that grows, with the state that it leads to.
struct Draft<'a> {
    rng: Rng,
    plan: &'a Plan,
    chain: Chain,
    decisions: Vec<Decision>,
    governor: u32,
    /// Nodes that fail by the plan: no set may have more of them than it bears.
    failing: BTreeSet<NodeId>,
    /// Operators' keys that are not their first.
    operator_keys: BTreeMap<u32, SecretKey>,
    operators: u32,
}

impl<'a> Draft<'a> {
    fn new(seed: u64, plan: &'a Plan, consortium: &Arc<Consortium>) -> Self {
        let mut rng = Rng::new(seed, "script");
        let failing: BTreeSet<NodeId> = plan.failing();
        let sound: Vec<u32> = (0..plan.nodes).filter(|node| !failing.contains(&NodeId::new(*node))).collect();
        let governor = *rng.pick(&sound);
        let (chain, decisions, operator_keys) = (Chain::new(consortium.clone()), Vec::new(), BTreeMap::new());
        Self { rng, plan, chain, decisions, governor, failing, operator_keys, operators: plan.nodes }
    }

    /// A node leaves and comes back, and another gets a new key before, between or after that.
    fn sets(&mut self) {
        let (leaves, rotates) = (self.victim(), self.victim());
        let turn = self.rng.range(0..3);
        if turn == 0 {
            self.rotate_node(rotates);
        }
        let suspends = Action::Suspend(node(leaves));
        if self.rng.percent(40) {
            self.race(suspends);
        } else {
            self.enact(vec![suspends]);
        }
        if turn == 1 {
            self.rotate_node(rotates);
        }
        self.reinstate(node(leaves));
        if turn == 2 {
            self.rotate_node(rotates);
        }
    }

    /// Nodes join, of operators that join or were there, and perhaps others leave for them.
    fn joining(&mut self) {
        for number in self.plan.nodes..self.plan.hosts() {
            let operator = if self.rng.percent(50) { self.add_operator() } else { number % self.plan.nodes };
            let leaver = self.victim();
            let leaves_first = self.rng.percent(25);
            if leaves_first && self.enact(vec![Action::Suspend(node(leaver))]) {
                self.enact(vec![Action::Remove(node(leaver))]);
            }
            if !self.enact(vec![self.chain.joining_node(number, operator)]) {
                break;
            }
            if self.rng.percent(30) {
                let rotates = self.victim();
                self.rotate_node(rotates);
            }
            self.decide(End::Enacted, vec![vec![self.chain.reinstating(node(number))]], Some(NodeId::new(number)));
            if !leaves_first && self.rng.percent(40) && self.enact(vec![Action::Suspend(node(leaver))]) {
                self.enact(vec![Action::Remove(node(leaver))]);
            }
        }
    }

    /// Operators come and go with their nodes, and their keys, the auditors and the parameters change.
    fn operators(&mut self) {
        for _ in 0..self.rng.range(2..4) {
            let victim = self.victim();
            let operator = Member::Operator(operator_id(victim));
            match self.rng.range(0..7) {
                0 => {
                    if self.enact(vec![Action::Suspend(operator.clone())]) {
                        self.enact(vec![Action::Remove(operator)]);
                    }
                }
                1 => {
                    if self.enact(vec![Action::Suspend(operator.clone())]) {
                        self.reinstate(operator);
                        self.reinstate(node(victim));
                    }
                }
                2 => {
                    let by_old_key = self.rng.percent(50);
                    self.rotate_operator(victim, by_old_key);
                }
                3 => {
                    let named = self.chain.tip.state.operator(&operator_id(victim)).map(|record| record.operator.key);
                    let Some(named) = named else { continue };
                    if self.enact(vec![Action::RevokeKey(named)]) {
                        self.rotate_operator(victim, false);
                        self.reinstate(operator);
                        self.reinstate(node(victim));
                    }
                }
                4 => {
                    if self.enact(vec![Action::RevokeKey(node_key(victim).public_key())]) {
                        let key = next_node_key(victim);
                        let rotation = self.chain.replacing(node(victim), node_key(victim).public_key(), &key);
                        self.enact(vec![rotation]);
                        self.reinstate(node(victim));
                    }
                }
                5 => {
                    let key_hash = sha256("simulation/auditor", &[&victim.to_le_bytes()]);
                    let auditor = Auditor { name: format!("auditor {victim}"), key_hash };
                    self.enact(vec![Action::GrantAuditor(auditor)]);
                    self.enact(vec![Action::RevokeAuditor(key_hash)]);
                }
                _ => {
                    let change = self.parameter();
                    self.race(change);
                }
            }
        }
    }

    /// Something of which nothing becomes.
    fn nothing(&mut self) {
        let change = self.parameter();
        match self.rng.range(0..4) {
            0 => self.decide(End::Withdrawn, vec![vec![change]], None),
            1 => self.decide(End::Rejected, vec![vec![change]], None),
            2 => self.decide(End::Expired, vec![vec![change]], None),
            _ => {
                let number = self.operators;
                self.operators += 1;
                let joins = self.chain.joining_operator(number);
                self.decide(End::Superseded, vec![vec![joins], vec![change]], None)
            }
        };
    }

    /// The same change proposed by two operators, with one beside it that can be made once: so only one of them is enacted.
    fn race(&mut self, change: Action) {
        let from = self.chain.tip.state.parameters().offer_deadline_blocks;
        let once = Action::SetParameter { name: "offer_deadline_blocks".to_owned(), from, to: from + 1 };
        let actions = vec![once, change];
        self.decide(End::Enacted, vec![actions.clone(), actions], None);
    }

    fn rotate_node(&mut self, number: u32) {
        let (from, to) = (node_key(number), next_node_key(number));
        let rotation = match self.rng.percent(70) {
            true => self.chain.rotating(node(number), &from, &to),
            false => self.chain.replacing(node(number), from.public_key(), &to),
        };
        self.enact(vec![rotation]);
    }

    fn rotate_operator(&mut self, number: u32, by_old_key: bool) {
        let (from, to) = (operator_key(number), key(&format!("operator {number}, second key")));
        let member = Member::Operator(operator_id(number));
        let rotation = match by_old_key {
            true => self.chain.rotating(member, &from, &to),
            false => self.chain.replacing(member, from.public_key(), &to),
        };
        if self.enact(vec![rotation]) {
            self.operator_keys.insert(number, to);
        }
    }

    fn add_operator(&mut self) -> u32 {
        let number = self.operators;
        self.operators += 1;
        self.enact(vec![self.chain.joining_operator(number)]);
        number
    }

    fn reinstate(&mut self, member: Member) {
        self.enact(vec![self.chain.reinstating(member)]);
    }

    fn enact(&mut self, actions: Vec<Action>) -> bool {
        self.decide(End::Enacted, vec![actions], None)
    }

    /// A node of genesis to which something may happen. A liar is as likely as all others together.
    fn victim(&mut self) -> u32 {
        let liars: Vec<u32> = self.plan.liars.keys().copied().collect();
        if !liars.is_empty() && self.rng.percent(50) {
            return *self.rng.pick(&liars);
        }
        let others: Vec<u32> = (0..self.plan.nodes).filter(|node| *node != self.governor).collect();
        *self.rng.pick(&others)
    }

    fn parameter(&mut self) -> Action {
        let name = *self.rng.pick(&["credit_per_ms", "idle_block_ms", "credit_expiry_blocks"]);
        let from = self.chain.tip.state.parameters().get_mut(name).map_or(0, |value| *value);
        Action::SetParameter { name: name.to_owned(), from, to: from + 1 }
    }

    /// Adds a decision if the rules allow what it comes to, and the plan bears it.
    fn decide(&mut self, end: End, proposals: Vec<Vec<Action>>, waits_for: Option<NodeId>) -> bool {
        let (state, mut next) = (&self.chain.tip.state, self.chain.clone());
        let electorate = state.governance().map_or(0, |governance| governance.electorate);
        let electors: Option<Vec<_>> = state
            .electorate()
            .into_iter()
            .map(|(id, named)| Some((id.clone(), self.key_of(&id).filter(|key| key.public_key() == named)?)))
            .collect();
        let enacted = match end {
            End::Enacted | End::Superseded => next.enact(proposals[0].clone()),
            End::Withdrawn | End::Rejected | End::Expired => next.pass(proposals[0].clone()).map(drop),
        };
        let Some(mut electors) = electors.filter(|_| enacted.is_ok()) else { return false };
        if matches!(end, End::Enacted | End::Superseded) {
            let set = next.tip.state.validators();
            let failing = set.members.iter().filter(|(node, _)| self.failing.contains(node)).count();
            let governs = set.key(NodeId::new(self.governor)).is_some();
            let bears = failing <= set.faults_max() || self.plan.has_too_many_liars();
            if !governs || !bears || set.members.len() < 4 {
                return false;
            }
            self.chain = next;
        }
        let first = self.rng.range(0..electors.len() as u64);
        electors.rotate_left(usize::try_from(first).unwrap_or(0));
        self.decisions.push(Decision { proposals, end, electorate, electors, waits_for });
        true
    }

    fn key_of(&self, id: &OperatorId) -> Option<SecretKey> {
        let number = (0..self.operators).find(|number| operator_id(*number) == *id)?;
        Some(self.operator_keys.get(&number).cloned().unwrap_or_else(|| operator_key(number)))
    }
}

fn node(number: u32) -> Member {
    Member::Node(NodeId::new(number))
}
