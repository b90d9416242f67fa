//! Some voters at genesis, with the votes that are on their way, and what became final at each.

use std::time::Duration;

use wallet::{digest::Digest, units::Timestamp};

use super::super::*;
use crate::{
    block::Block,
    certificate::Nullification,
    execute::{Place, propose},
    testing::{CREATED_MS, Chain, consortium, signer},
    vote::{Nullify, Signed, SignedNullify, Vote},
};

pub(super) const NOW: Timestamp = Timestamp::new(CREATED_MS + 1_000);
pub(super) const AT: Moment = Moment { wall: NOW, steady: Duration::ZERO };

/// `AT` and some ms later, on both clocks.
pub(super) fn after_ms(ms: u64) -> Moment {
    Moment { wall: Timestamp::new(NOW.get() + ms), steady: Duration::from_millis(ms) }
}

pub(super) fn voter(chain: &Chain, node: u32, record: VoteRecord) -> Voter {
    let certificate = chain.blocks.last().map(|(_, certificate)| certificate.clone());
    Voter::new(chain.consortium.clone(), Some(signer(node)), chain.tip.clone(), certificate, record, AT)
}

/// A chain of four validators with no block yet.
pub(super) fn chain() -> Chain {
    Chain::new(consortium(4))
}

/// What an input gave.
pub(super) fn step(voter: &mut Voter, now: Moment, input: Input) -> Result<Vec<Effect>, Refusal> {
    let mut effects = Vec::new();
    voter.step(now, input, &mut effects)?;
    Ok(effects)
}

/// A block in its place of the log.
pub(super) fn flushed(log_index: u64, block: &Block) -> Input {
    let header = &block.header;
    let (term, leader, after) = (header.view.term, header.leader, header.after);
    Input::Flushed { log_index, term, leader, after, block: Box::new(block.clone()) }
}

/// A block of node `leader` on `place`, at `time`.
pub(super) fn block(chain: &Chain, place: Place, leader: u32, time: Timestamp) -> Block {
    propose(&chain.consortium, place, &signer(leader), time, Vec::new()).block
}

/// Two blocks of one view for height 1.
pub(super) fn two_blocks(chain: &Chain) -> (Block, Block) {
    let view = View { term: 1, number: 1 };
    let other = Timestamp::new(NOW.get() + 1);
    (block(chain, chain.place(view), 0, NOW), block(chain, chain.place(view), 0, other))
}

/// Where a block in `view` stands whose parent is `parent`, which stands on genesis.
pub(super) fn on(chain: &Chain, parent: &Block, certificate: Certificate, view: View) -> Place {
    let executed = crate::execute::execute(&chain.consortium, &chain.tip, parent).expect("valid");
    Place {
        parent: executed,
        certificate: Some(certificate),
        carriers: Vec::new(),
        skipped: None,
        view,
        after: Digest::ZERO,
    }
}

pub(super) fn nullify(chain: &Chain, node: u32, from: View, through: u64) -> SignedNullify {
    let (consortium, epoch) = (chain.consortium.id(), chain.consortium.validators().epoch);
    Signed::sign(Nullify { consortium, epoch, from, through }, &signer(node))
}

/// Some nodes' word that from `from` through a term all is over.
pub(super) fn nullification(
    chain: &Chain,
    nodes: impl IntoIterator<Item = u32>,
    from: View,
    through: u64,
) -> Nullification {
    Nullification { votes: nodes.into_iter().map(|node| nullify(chain, node, from, through)).collect() }
}

/// What is on its way to a node.
#[derive(Clone, Debug)]
pub(super) enum Wire {
    Vote(Vote),
    Nullify(SignedNullify, Option<Certificate>),
}

pub(super) struct Net {
    pub(super) voters: Vec<Voter>,
    pub(super) wire: Vec<Vec<Wire>>,
    pub(super) finals: Vec<Vec<Digest>>,
    pub(super) cuts: Vec<Vec<u64>>,
    pub(super) records: Vec<VoteRecord>,
    pub(super) now: Moment,
}

impl Net {
    pub(super) fn new(chain: &Chain, nodes: u32) -> Self {
        let count = usize::try_from(nodes).expect("few nodes");
        Self {
            voters: (0..nodes).map(|node| voter(chain, node, VoteRecord::default())).collect(),
            wire: vec![Vec::new(); count],
            finals: vec![Vec::new(); count],
            cuts: vec![Vec::new(); count],
            records: vec![VoteRecord::default(); count],
            now: AT,
        }
    }

    pub(super) fn step(&mut self, node: usize, input: Input) -> Result<Vec<Effect>, Refusal> {
        let effects = step(&mut self.voters[node], self.now, input)?;
        for effect in &effects {
            match effect {
                Effect::Record(record) => self.records[node] = record.clone(),
                Effect::Broadcast(vote) => {
                    assert!(self.records[node].knows_ballot(&vote.statement), "recorded before it leaves");
                    self.send(node, &Wire::Vote(*vote));
                }
                Effect::BroadcastNullify { vote, best } => {
                    assert!(self.records[node].nullified_through() >= Some(vote.statement.through), "recorded");
                    self.send(node, &Wire::Nullify(*vote, best.clone()));
                }
                Effect::Final(block) => self.finals[node].push(block.executed.digest),
                Effect::SelfCut { from } => self.cuts[node].push(*from),
                _ => {}
            }
        }
        Ok(effects)
    }

    fn send(&mut self, from: usize, message: &Wire) {
        let others = self.wire.iter_mut().enumerate().filter(|(node, _)| *node != from);
        others.for_each(|(_, wire)| wire.push(message.clone()));
    }

    pub(super) fn flush(&mut self, node: usize, log_index: u64, block: &Block) -> Vec<Effect> {
        self.step(node, flushed(log_index, block)).expect("taken")
    }

    /// Delivers the first message that waits for a node.
    pub(super) fn deliver(&mut self, node: usize) -> Vec<Effect> {
        match self.wire[node].remove(0) {
            Wire::Vote(vote) => self.step(node, Input::Vote(vote)).expect("taken"),
            Wire::Nullify(vote, best) => {
                let mut effects = Vec::new();
                if let Some(best) = best {
                    effects.extend(self.step(node, Input::Certificate(best)).expect("taken"));
                }
                effects.extend(self.step(node, Input::Nullify(vote)).expect("taken"));
                effects
            }
        }
    }

    /// Delivers all that waits for some nodes, and what comes of it; gives the effects of each node.
    pub(super) fn settle_among(&mut self, nodes: &[usize]) -> Vec<(usize, Effect)> {
        let mut effects = Vec::new();
        while let Some(node) = nodes.iter().copied().find(|node| !self.wire[*node].is_empty()) {
            effects.extend(self.deliver(node).into_iter().map(|effect| (node, effect)));
        }
        effects
    }

    pub(super) fn settle(&mut self) -> Vec<(usize, Effect)> {
        let all: Vec<usize> = (0..self.wire.len()).collect();
        self.settle_among(&all)
    }

    /// Lets time pass, with a tick at each of some nodes at the end.
    pub(super) fn pass(&mut self, ms: u64, nodes: &[usize]) -> Vec<(usize, Effect)> {
        self.now.wall = Timestamp::new(self.now.wall.get() + ms);
        self.now.steady += Duration::from_millis(ms);
        let mut effects = Vec::new();
        for node in nodes {
            let taken = self.step(*node, Input::Tick).expect("taken");
            effects.extend(taken.into_iter().map(|effect| (*node, effect)));
        }
        effects
    }
}
