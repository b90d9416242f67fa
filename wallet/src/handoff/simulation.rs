//! Random schedules: three nodes, a ledger that compares and swaps, a network that loses, repeats and reorders, and
//! crashes. At most one node serves, and each token is emitted once and in order.

use super::*;
use crate::{
    digest::{Digest, sha256},
    identity::SecretKey,
    ticket::{ContentCommitment, HandoffTicket},
    units::LogIndex,
};

const NODES: u32 = 3;
const STEPS: usize = 1500;
const SEEDS: u64 = 1200;
const WALLET: WalletAddress = WalletAddress(Digest([7; 32]));

/// What the test breaks on purpose, to show that it would notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mutant {
    None,
    /// The ledger takes a confirm at any head while some acceptance is open.
    ConfirmWithoutSwap,
    /// A restarted node serves if its own copy of the log says that it is the holder.
    ServeAfterRestart,
    /// Receivers emit while they decode ahead.
    EmitBeforeFinal,
}

#[test]
fn every_schedule_keeps_one_server_and_each_token_once() {
    let (mut confirms, mut restarts) = (0, 0);
    for seed in 0..SEEDS {
        let mut world = World::new(seed, Mutant::None);
        world.run().unwrap_or_else(|broken| panic!("seed {seed}: {broken}"));
        confirms += world.count(|change| matches!(change, Change::Confirmed { .. }));
        restarts += world.count(|change| matches!(change, Change::Touched { .. }));
    }
    assert!(confirms > 500 && restarts > 500, "the schedules reach few moves ({confirms}) or restarts ({restarts})");
}

#[test]
fn a_broken_rule_is_noticed() {
    for mutant in [Mutant::ConfirmWithoutSwap, Mutant::ServeAfterRestart, Mutant::EmitBeforeFinal] {
        assert!((0..SEEDS).any(|seed| World::new(seed, mutant).run().is_err()), "{mutant:?} goes unnoticed");
    }
}

struct World {
    random: u64,
    mutant: Mutant,
    log: Vec<WalletFact>,
    nodes: Vec<Node>,
    entries: Vec<(NodeId, Digest, Intent)>,
    tickets: Vec<SignedTicket>,
    emitted: u32,
}

struct Node {
    id: NodeId,
    handoff: Handoff,
    boot: u8,
    learned: usize,
    /// On disk: the tokens before this position are in the journal.
    journal: u32,
    position: u32,
    /// On disk: how many final entries the node has acted on.
    known: usize,
    key: SecretKey,
}

impl World {
    fn new(seed: u64, mutant: Mutant) -> Self {
        let nodes = (0..NODES)
            .map(|number| {
                let id = NodeId::new(number);
                let nonce = [0; 16];
                let handoff = match number {
                    0 => Handoff::create(id, WALLET, nonce, Timestamp::ZERO),
                    _ => Handoff::observe(id, WALLET, nonce, Timestamp::ZERO),
                };
                let key = key_of(number, 0);
                Node { id, handoff, boot: 0, learned: 0, journal: 0, position: 0, known: 0, key }
            })
            .collect();
        let random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let mut world = Self { random, mutant, log: vec![], nodes, entries: vec![], tickets: vec![], emitted: 0 };
        let holder_key = key_of(0, 0).public_key();
        world.append(NodeId::ZERO, Change::Created { holder_key });
        world
    }

    fn run(&mut self) -> Result<(), String> {
        for _ in 0..STEPS {
            let node = self.below(NODES as usize);
            match self.below(20) {
                0..=2 => self.order_an_entry(),
                3..=8 => self.learn(node),
                9..=11 => self.emit(node)?,
                12..=13 => self.deliver_a_ticket(node),
                14 => self.crash(node),
                _ => self.act(node),
            }
            self.check_servers()?;
        }
        Ok(())
    }

    /// Some submitted entry, never removed: it may come late, again or not at all.
    fn order_an_entry(&mut self) {
        if self.entries.is_empty() {
            return;
        }
        let at = self.mostly_recent(self.entries.len());
        let (author, head, intent) = self.entries[at].clone();
        let mut view = WalletView::new();
        for fact in &self.log {
            view.apply(fact).expect("the log is a chain");
        }
        let swap = head == view.head;
        let holder = view.holder.is_some_and(|(holder, _)| holder == author);
        let receiver = view.offer().is_some_and(|offer| offer.receiver == author);
        let accepted = matches!(view.phase, Phase::Accepted(_));
        let change = match intent {
            Intent::Offer { receiver, deadline } if swap && holder && view.phase == Phase::Active => {
                Change::Offered { receiver, deadline }
            }
            Intent::Accept if swap && receiver && matches!(view.phase, Phase::Offered(_)) => Change::Accepted,
            Intent::Confirm { ticket, holder_key } if accepted && receiver => {
                let bound = swap && ticket.ticket.head == view.head;
                if !bound && self.mutant != Mutant::ConfirmWithoutSwap {
                    return;
                }
                Change::Confirmed { holder_key, next_token: ticket.ticket.next_token }
            }
            Intent::Abort if swap && (holder || receiver) && view.offer().is_some() => Change::Aborted,
            Intent::Touch { boot_nonce } if swap && holder => Change::Touched { boot_nonce },
            _ => return,
        };
        self.append(author, change);
    }

    fn append(&mut self, author: NodeId, change: Change) {
        let (before, epoch) = self.log.last().map_or((Digest::ZERO, 0), |fact| (fact.after, fact.epoch.get()));
        let epoch = KeyEpoch::new(epoch + u32::from(matches!(change, Change::Confirmed { .. })));
        let at = self.log.len() as u64;
        let after = sha256("simulation", &[before.as_bytes(), &at.to_le_bytes()]);
        self.log.push(WalletFact { at: LogIndex::new(at), author, before, after, epoch, change });
    }

    fn learn(&mut self, number: usize) {
        let node = &mut self.nodes[number];
        let Some(fact) = self.log.get(node.learned).cloned() else { return };
        node.learned += 1;
        self.step(number, Input::Final(fact));
        let again = self.below(self.nodes[number].learned);
        let old = self.log[again].clone();
        self.step(number, Input::Final(old));
        let node = &mut self.nodes[number];
        node.known = node.known.max(node.learned);
    }

    fn emit(&mut self, number: usize) -> Result<(), String> {
        let ahead = self.mutant == Mutant::EmitBeforeFinal && self.nodes[number].handoff.mode() == Mode::Ahead;
        let node = &mut self.nodes[number];
        if node.handoff.mode() != Mode::Serving && !ahead {
            return Ok(());
        }
        if node.position != self.emitted {
            return Err(format!("token {} of the stream is token {} of {}", self.emitted, node.position, node.id));
        }
        node.position += 1;
        node.journal = node.position;
        self.emitted += 1;
        let next_token = TokenPosition::new(node.position);
        if !ahead {
            self.step(number, Input::StepBoundary { next_token });
        }
        Ok(())
    }

    fn deliver_a_ticket(&mut self, number: usize) {
        if self.tickets.is_empty() {
            return;
        }
        let at = self.mostly_recent(self.tickets.len());
        let ticket = self.tickets[at].clone();
        self.step(number, Input::Ticket(ticket));
        let holder_key = self.nodes[number].key.public_key();
        self.step(number, Input::Verified { holder_key });
    }

    fn crash(&mut self, number: usize) {
        if self.below(8) != 0 {
            return;
        }
        let node = &mut self.nodes[number];
        node.boot += 1;
        node.learned = 0;
        let nonce = [node.boot; 16];
        let journal = TokenPosition::new(node.journal);
        node.handoff = Handoff::restart(node.id, WALLET, nonce, journal, Timestamp::ZERO);
        node.position = node.journal;
        node.key = key_of(number as u32, node.boot);
    }

    /// Something that a node does on its own; most of it is refused most of the time.
    fn act(&mut self, number: usize) {
        let node = &self.nodes[number];
        let caught_up = node.learned >= node.known;
        let to = NodeId::new(self.below(NODES as usize) as u32);
        let input = match self.below(10) {
            0 | 1 => Input::Migrate { to, deadline: BlockHeight::new(u64::MAX) },
            2 | 3 => Input::Accept,
            4 | 5 => Input::Prepared,
            6 => Input::Retry,
            7 if self.below(2) == 0 => Input::Abort,
            8 | 9 if caught_up => {
                let node = &mut self.nodes[number];
                let holds = node.handoff.mode == Mode::Restarted && node.handoff.view.is_held_by(node.id);
                if self.mutant == Mutant::ServeAfterRestart && holds {
                    node.handoff.mode = Mode::Serving;
                }
                Input::CaughtUp
            }
            _ => return,
        };
        self.step(number, input);
    }

    /// A refusal is one of the outcomes. Effects go to the network, where half of the submissions get lost.
    fn step(&mut self, number: usize, input: Input) {
        let mut effects = Vec::new();
        let _refusal = self.nodes[number].handoff.step(Timestamp::ZERO, input, &mut effects).err();
        for effect in effects {
            let lost = self.below(2) == 0;
            let node = &mut self.nodes[number];
            match effect {
                Effect::Submit { head, intent } if !lost => self.entries.push((node.id, head, intent)),
                Effect::CutTicket { head, epoch, receiver, next_token } => {
                    let (source, content) = (node.id, ContentCommitment::default());
                    let ticket = HandoffTicket { wallet: WALLET, head, epoch, source, receiver, content, next_token };
                    let of_record = node.handoff.view().holder.map(|(_, key)| key);
                    let signer = (0..=node.boot).map(|boot| key_of(number as u32, boot));
                    let key = signer.into_iter().find(|key| Some(key.public_key()) == of_record);
                    self.tickets.push(ticket.sign(&key.expect("the holder has the key of record on its disk")));
                }
                Effect::Emit { from } | Effect::DecodeAhead { from } => node.position = from.get(),
                _ => {}
            }
        }
    }

    fn check_servers(&self) -> Result<(), String> {
        let serving: Vec<_> =
            self.nodes.iter().filter(|node| node.handoff.mode() == Mode::Serving).map(|node| node.id).collect();
        if serving.len() > 1 { Err(format!("{serving:?} serve at once")) } else { Ok(()) }
    }

    fn count(&self, wanted: impl Fn(&Change) -> bool) -> usize {
        self.log.iter().filter(|fact| wanted(&fact.change)).count()
    }

    /// An index below `count`, most often one of the last three, so that schedules get somewhere.
    fn mostly_recent(&mut self, count: usize) -> usize {
        let window = if self.below(4) == 0 { count } else { count.min(3) };
        count - 1 - self.below(window)
    }

    /// xorshift64.
    fn below(&mut self, bound: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) as usize % bound
    }
}

/// A node's epoch key, drawn anew in each boot.
fn key_of(number: u32, boot: u8) -> SecretKey {
    let mut seed = [boot; 32];
    seed[0] = number as u8;
    SecretKey::from_seed(&seed)
}
