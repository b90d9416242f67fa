//! One honest node: the production voter with its disk, and what a step of it does to both.

use std::{sync::Arc, time::Duration};

use genesis::Consortium;
use ledger::{
    certificate::Nullification,
    finality::{Effect, Input, Moment, VoteRecord, Voter},
    planted::{Bug, plant},
    testing::{CREATED_MS, remembered::remember_signatures, signer},
    vote::{Vote, VoteKind},
};
use wallet::{
    digest::{Digest, sha256},
    units::{NodeId, Timestamp},
};

use crate::{
    LIAR,
    blocks::{BlockId, Blocks, Word, after},
    said::{Said, Spans, ballot_bit},
};

/// What can happen to one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Move {
    /// A leader puts this block into its raft log, after its parent, and what stood there is cut.
    Flush(BlockId),
    /// As `Flush`, of a block that is not in place.
    FlushForged(BlockId),
    /// It gets a certificate.
    Certificate(VoteKind, BlockId),
    /// It gets single votes of the liar and of an honest node: fewer than a quorum.
    FewVotes(VoteKind, BlockId, u32),
    /// It gets a certificate with the signatures of the liar and of an honest node: fewer than a quorum.
    ShortCertificate(VoteKind, BlockId, u32),
    /// It gets a certificate with the signatures of an honest node, of the liar, and again of the liar.
    RepeatedSigner(VoteKind, BlockId, u32),
    /// It gets two nullify votes, which are more than the liar's.
    Join([Word; 2]),
    /// It gets two nullify votes, both the liar's.
    OnlyLiar([Word; 2]),
    /// It gets a quorum of nullify votes.
    Permit([Word; 3]),
    /// Its patience with the leader of the term ends.
    Complain,
    /// Its process dies and starts again.
    Crash,
    /// Its process dies, and a leader cuts its raft log as far as may be before it starts again.
    Forget,
}

impl Move {
    /// What it brings from others.
    pub fn messages(self, blocks: &Blocks, consortium: &Consortium) -> Vec<Input> {
        let certificate = |kind, id, signers: &[u32]| {
            vec![Input::Certificate(blocks.get(id).certificate(kind, signers.iter().copied()))]
        };
        let nullify = |word: &Word| word.sign(consortium);
        match self {
            Move::Certificate(kind, id) => certificate(kind, id, &[LIAR, 1, 2]),
            Move::ShortCertificate(kind, id, honest) => certificate(kind, id, &[LIAR, honest]),
            Move::RepeatedSigner(kind, id, honest) => certificate(kind, id, &[LIAR, LIAR, honest]),
            Move::FewVotes(kind, id, honest) => {
                let vote = |node| Input::Vote(Vote::sign(blocks.get(id).ballot(kind), &signer(node)));
                [honest, LIAR].map(vote).into()
            }
            Move::Join(words) | Move::OnlyLiar(words) => {
                words.iter().map(|word| Input::Nullify(nullify(word))).collect()
            }
            Move::Permit(words) => {
                vec![Input::Nullification(Nullification { votes: words.iter().map(nullify).collect() })]
            }
            Move::Flush(_) | Move::FlushForged(_) | Move::Complain | Move::Crash | Move::Forget => Vec::new(),
        }
    }

    /// Whether it is to have no effect, or one that does not matter as long as the node says nothing on it.
    fn is_probe(self) -> bool {
        use Move::{FewVotes, FlushForged, Join, OnlyLiar, Permit, RepeatedSigner, ShortCertificate};
        matches!(
            self,
            FewVotes(..)
                | FlushForged(_)
                | ShortCertificate(..)
                | RepeatedSigner(..)
                | Join(_)
                | OnlyLiar(_)
                | Permit(_)
        )
    }
}

/// What must never happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The key voted for two blocks in a view, or finalized what it did not notarize.
    TwoVotes,
    /// The key voted in a view that it had given up.
    VotedWhereGivenUp,
    /// The key gave up a view in which it had finalized, or in which a block is final at its node.
    GaveUpFinalized,
    /// A statement left before the record of it was durable.
    NotRecorded,
    /// A block became final at the node that does not stand on the one before, or without a certificate.
    FinalOutOfOrder,
    /// The voter found its consortium broken.
    Conflict,
    /// The voter made evidence against an honest key.
    HonestBlamed,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Local {
    /// Whose.
    pub node: u32,
    /// The voter as it runs.
    pub voter: Voter,
    /// The vote record on the disk.
    pub durable: VoteRecord,
    /// The raft log on the disk: the blocks of heights 1, 2 and so on. The final ones are never cut.
    pub log: Vec<BlockId>,
    /// How many blocks of it the node has stored as final.
    pub stored: u8,
    /// What its key has said.
    pub said: Said,
    /// The rule that it broke.
    pub fault: Option<Fault>,
}

/// What all steps need.
pub struct World<'a> {
    /// Of all.
    pub consortium: &'a Arc<Consortium>,
    /// The blocks.
    pub blocks: &'a Blocks,
    /// The nullify votes.
    pub spans: &'a mut Spans,
    /// What is broken on purpose.
    pub mutant: Option<Bug>,
    /// The time.
    pub now: Moment,
}

/// When a search takes place: the time stands still, and patience ends by a move of its own.
pub const STILL: Moment = Moment { wall: Timestamp::new(CREATED_MS + 1000), steady: Duration::ZERO };

/// After so many ticks another one changes nothing more.
const TICKS: usize = 2;

impl Local {
    /// A node that starts for the first time.
    pub fn new(node: u32, world: &mut World<'_>) -> Self {
        let genesis = world.blocks.genesis().clone();
        let record = VoteRecord::default();
        let voter = Voter::new(world.consortium.clone(), Some(signer(node)), genesis, None, record.clone(), world.now);
        let mut local =
            Self { node, voter, durable: record, log: Vec::new(), stored: 0, said: Said::default(), fault: None };
        local.give(Input::Demand(true), world);
        local
    }

    /// What tells two nodes apart: both go on alike if this is the same.
    pub fn fingerprint(&self) -> Digest {
        let log: Vec<u8> = self.log.iter().map(|id| id.0).collect();
        let durable = wallet::codec::encode(&self.durable);
        let said = self.said.0.to_le_bytes();
        let fault = format!("{:?}", self.fault);
        let parts: [&[u8]; 6] =
            [&self.node.to_le_bytes(), &self.voter.fingerprint().0, &durable, &log, &said, fault.as_bytes()];
        sha256("batchmind/v1/test/local", &parts)
    }

    /// The height up to which blocks are final here.
    pub fn tip(&self) -> u8 {
        u8::try_from(self.voter.tip().height.get()).expect("few blocks")
    }

    /// The blocks that are final here.
    pub fn finals(&self) -> &[BlockId] {
        &self.log[..usize::from(self.tip())]
    }

    /// Makes a move, with the messages that it brings. None if it only tried something, and nothing came of it.
    pub fn make(mut self, step: Move, messages: &[Input], world: &mut World<'_>) -> Option<Self> {
        remember_signatures();
        if let Some(bug) = world.mutant {
            plant(bug);
        }
        let before = (self.said, self.voter.term(), self.tip());
        match step {
            Move::Flush(id) | Move::FlushForged(id) => self.flush(id, world),
            Move::Complain => {
                self.give(Input::Complaint { term: self.voter.term() }, world);
            }
            Move::Crash => self.crash(world),
            Move::Forget => {
                let keeps = self.durable.highest_finalized().map_or(0, |(height, _)| height.get());
                self.log.truncate(usize::from(self.tip()).max(usize::try_from(keeps).expect("few blocks")));
                self.crash(world);
            }
            _ => messages.iter().for_each(|message| drop(self.give(message.clone(), world))),
        }
        // The log is read to its end; then time passes, as the timers see it not at all.
        (0..TICKS).for_each(|_| drop(self.give(Input::Tick, world)));
        let silent = (self.said, self.voter.term(), self.tip()) == before && self.fault.is_none();
        (!step.is_probe() || !silent).then_some(self)
    }

    fn flush(&mut self, id: BlockId, world: &mut World<'_>) {
        let made = world.blocks.get(id);
        self.log.truncate(usize::from(made.height) - 1);
        self.log.push(id);
        self.give(flushed(id, world.blocks), world);
    }

    /// What is not on the disk is lost; the log and the final state are read again.
    fn crash(&mut self, world: &mut World<'_>) {
        let forgets = world.mutant == Some(Bug::VoteRecordForgotten);
        let record = if forgets { VoteRecord::default() } else { self.durable.clone() };
        let (tip, certificate) = (self.voter.tip().clone(), self.voter.tip_certificate().cloned());
        let above = self.log.split_off(usize::from(self.tip()));
        let signer = Some(signer(self.node));
        self.durable = record.clone();
        self.voter = Voter::new(world.consortium.clone(), signer, tip, certificate, record, world.now);
        self.give(Input::Demand(true), world);
        for id in above {
            self.flush(id, world);
        }
    }

    /// Gives the voter an input, and does what it says. What it refuses, it refuses.
    pub fn give(&mut self, input: Input, world: &mut World<'_>) -> Vec<Effect> {
        let before = self.voter.record().clone();
        let mut effects = Vec::new();
        let _ = self.voter.step(world.now, input, &mut effects);
        let (mut cut, mut reread) = (None, None);
        for effect in &effects {
            match effect {
                Effect::Record(record) => {
                    let late = world.mutant == Some(Bug::VoteRecordLate);
                    self.durable = if late { before.clone() } else { record.clone() };
                }
                Effect::Broadcast(vote) => self.say_ballot(vote, world),
                Effect::BroadcastNullify { vote, .. } => {
                    let (from, through) = (vote.statement.from, vote.statement.through);
                    self.say_nullify(Word { node: self.node, from, through }, world);
                }
                Effect::Final(made) => self.became_final(made, world),
                Effect::SelfCut { from } => cut = Some(*from),
                Effect::ReadAgain { from } => reread = Some(*from),
                Effect::Evidence(evidence) => {
                    let culprits = evidence.verify(world.consortium).unwrap_or_default();
                    if culprits.iter().any(|culprit| culprit.node != NodeId::new(LIAR)) {
                        self.fault = Some(Fault::HonestBlamed);
                    }
                }
                Effect::OldFork(_) | Effect::Conflict(_) => self.fault = Some(Fault::Conflict),
                Effect::Grant(_)
                | Effect::Entered { .. }
                | Effect::Began { .. }
                | Effect::Campaign { .. }
                | Effect::AskFor { .. } => {}
            }
        }
        if let Some(from) = cut {
            self.log.truncate(usize::try_from(from - 1).expect("a short log"));
            effects.extend(self.give(Input::Truncated { from }, world));
        }
        if let Some(from) = reread {
            let again = self.log.split_off(usize::try_from(from - 1).expect("a short log"));
            again.into_iter().for_each(|id| self.flush(id, world));
        }
        effects
    }

    fn say_ballot(&mut self, vote: &Vote, world: &World<'_>) {
        let ballot = vote.statement;
        let Some(id) = world.blocks.find(&ballot.block) else { return self.fault = Some(Fault::TwoVotes) };
        let bit = ballot_bit(ballot.kind, id);
        if self.said.has(bit) {
            return;
        }
        let other = |(_, other): (VoteKind, BlockId)| other != id && world.blocks.get(other).view() == ballot.view;
        let is_unfounded = ballot.kind == VoteKind::Finalize && !self.said.has(ballot_bit(VoteKind::Notarize, id));
        if self.said.ballots().any(other) || is_unfounded {
            self.fault = Some(Fault::TwoVotes);
        }
        if self.said.nullifies().any(|bit| covers(world.spans.span(bit), ballot.view)) {
            self.fault = Some(Fault::VotedWhereGivenUp);
        }
        if !self.durable.has_signed(&ballot) {
            self.fault = Some(Fault::NotRecorded);
        }
        self.said = self.said.with(bit);
    }

    fn say_nullify(&mut self, word: Word, world: &mut World<'_>) {
        let span = (word.from, word.through);
        let bit = world.spans.bit(word.from, word.through);
        if self.said.has(bit) {
            return;
        }
        let view = |id: BlockId| world.blocks.get(id).view();
        let mut finalized = self.said.ballots().filter(|(kind, _)| *kind == VoteKind::Finalize);
        if finalized.any(|(_, id)| covers(span, view(id))) || self.finals().iter().any(|id| covers(span, view(*id))) {
            self.fault = Some(Fault::GaveUpFinalized);
        }
        if self.durable.nullified_through().is_none_or(|through| through < word.through) {
            self.fault = Some(Fault::NotRecorded);
        }
        self.said = self.said.with(bit);
    }

    /// The voter's tip may be ahead already, if the step made several blocks final.
    fn became_final(&mut self, made: &ledger::finality::Final, world: &World<'_>) {
        let (height, digest) = (made.block.header.height.get(), made.block.header.digest());
        let at = usize::try_from(height).ok().and_then(|height| height.checked_sub(1));
        let id = world.blocks.find(&digest);
        let in_log = at.and_then(|at| self.log.get(at)).copied();
        let below = at.and_then(|at| at.checked_sub(1)).and_then(|below| self.log.get(below)).copied();
        let parent = id.and_then(|id| world.blocks.get(id).recipe.parent);
        let certified = made.certificate.block == digest
            && made.certificate.verify(world.consortium.validators(), &world.consortium.id()).is_ok();
        let is_next = height == u64::from(self.stored) + 1 && made.log_index == height;
        if id.is_none() || in_log != id || parent != below || !is_next || !certified {
            self.fault = Some(Fault::FinalOutOfOrder);
        }
        self.stored = u8::try_from(height).expect("few blocks");
    }
}

/// What the shell says when a block is in the log.
pub fn flushed(id: BlockId, blocks: &Blocks) -> Input {
    let made = blocks.get(id);
    let header = &made.block.header;
    Input::Flushed {
        log_index: u64::from(made.height),
        term: header.view.term,
        leader: header.leader,
        after: after(made.recipe.parent.map(|parent| blocks.get(parent))),
        block: Box::new(made.block.clone()),
    }
}

/// Whether a nullify vote covers a view.
pub fn covers((from, through): (ledger::block::View, u64), view: ledger::block::View) -> bool {
    from <= view && view.term <= through
}
