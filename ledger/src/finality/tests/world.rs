//! A network of voters over a stand-in for raft: messages are lost, late and out of order, nodes restart from what is
//! durable, and one validator may lie. Times are simulated, the seed decides everything.

mod hand_over;
mod leader;
mod node;

use std::collections::{BTreeMap, BTreeSet};

use wallet::{
    codec,
    digest::sha256,
    units::{NodeId, Timestamp},
};

use self::leader::{LIES, Lie};
use super::{super::*, net::*};
use crate::{
    block::{Block, epoch_of},
    certificate::Nullification,
    execute::propose,
    hand_over::{HandOver, ValidatorSets},
    testing::{Chain, changes, consortium, dice::Dice, signer},
    vote::{Ballot, Nullify, Signed, SignedGrant, SignedNullify, Vote, VoteKind},
};

/// Between two steps of the world.
const STEP_MS: u64 = 10;
/// Ticks of a voter, and heartbeats of a leader.
const TICK_MS: u64 = 250;
const HEARTBEAT_MS: u64 = 50;

/// An entry of a raft log.
#[derive(Clone, Debug)]
struct LogEntry {
    block: Block,
    /// Hash of the log up to and with this entry.
    chain: Digest,
}

fn chain_of(before: Digest, block: &Block) -> Digest {
    let (term, leader) = (block.header.view.term, block.header.leader);
    sha256("test-chain", &[&codec::encode(&(before, block.header.digest(), term, leader))])
}

#[derive(Clone, Debug)]
enum Message {
    Vote(Vote),
    Nullify(SignedNullify, Option<Certificate>),
    Candidate {
        term: u64,
        permit: Option<Nullification>,
        parent: Option<Certificate>,
    },
    Grant(SignedGrant),
    /// The leader's whole log, with the grants that made it leader.
    Append {
        term: u64,
        permit: Option<Nullification>,
        log: Vec<LogEntry>,
    },
    Ask(u64),
    /// Certificates, the proof of the last block if it closed its epoch, and the log up to there.
    Finals {
        certificates: Vec<Certificate>,
        closing: Option<ClosingProof>,
        log: Vec<LogEntry>,
    },
}

struct Node {
    voter: Voter,
    /// More than one while its key is rotated.
    signers: Vec<Signer>,
    /// Durable.
    record: VoteRecord,
    log: Vec<LogEntry>,
    finals: Vec<Final>,
    /// Not durable.
    standing: Option<(u64, Option<Nullification>, Option<Certificate>)>,
    grants: BTreeSet<NodeId>,
    leads: Option<u64>,
    permit: Option<Nullification>,
}

/// How the network is.
#[derive(Clone, Copy, Debug)]
struct Weather {
    lost_percent: u64,
    delay_ms: u64,
}

struct World {
    chain: Chain,
    dice: Dice,
    nodes: Vec<Node>,
    liar: Option<(usize, Lie)>,
    now_ms: u64,
    weather: Weather,
    /// By time of arrival and number.
    wire: BTreeMap<(u64, u64), (usize, usize, Message)>,
    sent: u64,
    /// Nodes that the others do not reach.
    cut_off: BTreeSet<usize>,
    /// The final block of each height, as any honest node first had it.
    canon: BTreeMap<u64, Digest>,
    /// The validator sets, each handed over to by the one before.
    sets: ValidatorSets,
    /// Heights of which no finalize vote ever arrives.
    unfinished: BTreeSet<u64>,
    /// What honest nodes said.
    votes: BTreeMap<(usize, View), Digest>,
    finalized: BTreeMap<usize, BTreeSet<View>>,
    given_up: BTreeMap<usize, Vec<Nullify>>,
}

impl World {
    fn new(nodes: u32, seed: u64, liar: Option<Lie>) -> Self {
        let chain = Chain::new(consortium(nodes));
        let mut dice = Dice(seed);
        let liar = liar.map(|lie| (usize::try_from(dice.below(nodes.into())).expect("few"), lie));
        let node = |node| Node {
            voter: voter(&chain, node, VoteRecord::default()),
            signers: vec![signer(node)],
            record: VoteRecord::default(),
            log: Vec::new(),
            finals: Vec::new(),
            standing: None,
            grants: BTreeSet::new(),
            leads: None,
            permit: None,
        };
        let nodes = (0..nodes).map(node).collect();
        changes::plan([]);
        let sets = ValidatorSets::genesis(&chain.consortium);
        Self {
            dice,
            sets,
            unfinished: BTreeSet::new(),
            nodes,
            chain: chain.clone(),
            liar,
            now_ms: 0,
            weather: Weather { lost_percent: 0, delay_ms: 20 },
            wire: BTreeMap::new(),
            sent: 0,
            cut_off: BTreeSet::new(),
            canon: BTreeMap::new(),
            votes: BTreeMap::new(),
            finalized: BTreeMap::new(),
            given_up: BTreeMap::new(),
        }
    }

    fn lie_of(&self, node: usize) -> Option<Lie> {
        self.liar.filter(|(liar, _)| *liar == node).map(|(_, lie)| lie)
    }

    fn id(node: usize) -> NodeId {
        NodeId::new(u32::try_from(node).expect("few nodes"))
    }

    fn never_arrives(&self, message: &Message) -> bool {
        let Message::Vote(vote) = message else { return false };
        vote.statement.kind == VoteKind::Finalize && self.unfinished.contains(&vote.statement.height.get())
    }

    fn others(&self, node: usize) -> Vec<usize> {
        (0..self.nodes.len()).filter(|other| *other != node).collect()
    }

    fn send(&mut self, from: usize, to: usize, message: Message) {
        let lost = self.dice.chance(self.weather.lost_percent) || self.never_arrives(&message);
        let delay = 1 + self.dice.below(self.weather.delay_ms);
        if lost || self.lie_of(from) == Some(Lie::Silent) {
            return;
        }
        self.sent += 1;
        self.wire.insert((self.now_ms + delay, self.sent), (from, to, message));
    }

    fn broadcast(&mut self, from: usize, message: &Message) {
        for to in self.others(from) {
            let withheld = self.lie_of(from) == Some(Lie::VotesToSome) && self.dice.chance(60);
            if !withheld {
                self.send(from, to, message.clone());
            }
        }
    }

    fn moment(&self) -> Moment {
        after_ms(self.now_ms)
    }

    /// Lets the time go on.
    fn run(&mut self, ms: u64) {
        let end = self.now_ms + ms;
        while self.now_ms < end {
            self.now_ms += STEP_MS;
            while let Some(entry) = self.wire.first_entry().filter(|entry| entry.key().0 <= self.now_ms) {
                let (from, to, message) = entry.remove();
                self.take(from, to, message);
            }
            for node in 0..self.nodes.len() {
                let at = self.now_ms + 30 * node as u64;
                if at.is_multiple_of(TICK_MS) {
                    self.input(node, Input::Tick);
                    self.ask_for_grants(node);
                    if let Some(lie) = self.lie_of(node) {
                        self.lie(node, lie);
                    }
                }
                self.lead(node);
                if at.is_multiple_of(HEARTBEAT_MS) {
                    self.show_log(node);
                }
            }
        }
    }

    /// Bad weather for a while: losses, delays, nodes that are cut off, restarts.
    fn storm(&mut self, ms: u64) {
        let end = self.now_ms + ms;
        while self.now_ms < end {
            self.weather = Weather { lost_percent: self.dice.below(60), delay_ms: 5 + self.dice.below(800) };
            let node = usize::try_from(self.dice.below(self.nodes.len() as u64)).expect("small");
            match self.dice.below(4) {
                0 => drop(self.cut_off.insert(node)),
                1 => self.cut_off.clear(),
                2 if self.lie_of(node).is_none() => self.restart(node),
                _ => {}
            }
            let calm = 100 + self.dice.below(1_500);
            self.run(calm);
        }
        self.cut_off.clear();
        self.weather = Weather { lost_percent: 0, delay_ms: 40 };
    }

    fn lowest(&self) -> usize {
        let honest = (0..self.nodes.len()).filter(|node| self.lie_of(*node).is_none());
        honest.map(|node| self.nodes[node].finals.len()).min().expect("honest nodes")
    }

    /// In good weather every honest node gets on, within a bound.
    fn assert_it_gets_on(&mut self, within_ms: u64) {
        let before = self.canon.len();
        let end = self.now_ms + within_ms;
        while self.lowest() < before + 3 {
            assert!(self.now_ms < end, "stuck at {before}: {:#?}", self.picture());
            self.run(500);
        }
    }

    fn picture(&self) -> Vec<String> {
        let of = |node: &Node| {
            let status = node.voter.status();
            format!("height {} log {} leads {:?} {status:?}", node.finals.len(), node.log.len(), node.leads)
        };
        self.nodes.iter().map(of).collect()
    }
}

fn simulate(nodes: u32, seed: u64, lie: Option<Lie>, storm_ms: u64) {
    println!("{nodes} nodes, seed {seed}, {lie:?}");
    let mut world = World::new(nodes, seed, lie);
    for node in 0..world.nodes.len() {
        world.input(node, Input::Demand(true));
    }
    world.storm(storm_ms);
    world.assert_it_gets_on(240_000);
}

#[test]
fn four_honest_nodes_agree_and_get_on_after_any_storm() {
    (0..3).for_each(|seed| simulate(4, seed, None, 10_000));
}

#[test]
fn one_liar_of_four_neither_forks_nor_stops_the_others() {
    for (seed, lie) in (0..LIES.len() as u64).zip(LIES) {
        simulate(4, 100 + seed, Some(lie), 8_000);
    }
}

#[test]
fn one_liar_of_seven_neither_forks_nor_stops_the_others() {
    for (seed, lie) in (0..LIES.len() as u64).zip(LIES) {
        simulate(7, 200 + seed, Some(lie), 4_000);
    }
}

#[test]
fn without_a_storm_the_first_term_goes_on_for_ever() {
    let mut world = World::new(4, 1, None);
    (0..4).for_each(|node| world.input(node, Input::Demand(true)));
    world.run(20_000);
    assert!(world.nodes.iter().all(|node| node.voter.term() == 1), "{:#?}", world.picture());
    assert!(world.lowest() > 100, "{:#?}", world.picture());
}
