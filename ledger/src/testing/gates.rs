//! The sample consortium as it makes its gates.

use std::collections::{BTreeMap, VecDeque};

use genesis::{Consortium, Parameters};
use wallet::{
    digest::{Digest, sha256},
    gate::{
        Gate, GateShare, SecretNumber,
        dkg::{CeremonySeed, Effect, Input, Notice, Participant, SignedPackage},
    },
    units::NodeId,
};

use super::Chain;
use crate::{
    event::{Entry, EntryBody, Event, GateNotice, GateWord},
    refusal::Refusal,
    state::{GateRecord, GateScope},
};

/// How long a phase lasts where [`gated`] says so.
pub const PHASE_MS: u64 = 60_000;

/// Parameters with gates on.
pub fn gated() -> Parameters {
    Parameters { gate_phase_ms: PHASE_MS, ..Parameters::default() }
}

/// All gates that the consortium can have.
pub fn scopes(consortium: &Consortium) -> Vec<GateScope> {
    let regions = consortium.regions().iter().cloned().map(GateScope::Region);
    std::iter::once(GateScope::Global).chain(regions).collect()
}

/// Members in a run of a key generation, and what they want to say in it.
#[derive(Debug)]
pub struct KeyGeneration {
    scope: GateScope,
    run: Digest,
    members: BTreeMap<NodeId, Participant>,
    /// What waits to be said, in its order.
    pub waiting: VecDeque<(NodeId, Notice)>,
    /// What members sent each other.
    pub sent: Vec<SignedPackage>,
    /// What members kept.
    pub shares: Vec<GateShare>,
}

impl KeyGeneration {
    /// Those of the members that `takes_part` names join the run that is under way.
    ///
    /// # Panics
    /// If none is.
    pub fn join(chain: &Chain, scope: &GateScope, takes_part: impl Fn(u32) -> bool) -> Self {
        let record = chain.gate(scope);
        let run = record.run.expect("a run is under way");
        let (name, mut waiting) = (*run.transcript.ceremony_hash(), VecDeque::new());
        let present = run.transcript.ceremony().members.iter().filter(|node| takes_part(node.get()));
        let mut join = |node: NodeId| {
            let (_, key) = record.members.iter().find(|(member, _)| *member == node).expect("a member");
            let key = chain.key_behind(*key).expect("a key that the chain knows");
            let seed = CeremonySeed::from_bytes(seed(node));
            let (member, first) = Participant::join(run.transcript.clone(), node, key, seed, None).expect("of the run");
            waiting.push_back((node, first));
            (node, member)
        };
        let members = present.map(|node| join(*node)).collect();
        Self { scope: scope.clone(), run: name, members, waiting, sent: Vec::new(), shares: Vec::new() }
    }

    /// Node `node` neither sends nor reads any more. What it wanted to say still waits.
    pub fn dismiss(&mut self, node: u32) {
        self.members.remove(&NodeId::new(node));
    }

    /// The entry of what waits first, which it does no longer.
    pub fn next(&mut self, chain: &Chain) -> Option<(NodeId, Notice, Entry)> {
        let (author, notice) = self.waiting.pop_front()?;
        let word = GateWord::Run { run: self.run, notice: notice.clone() };
        Some((author, notice, chain.noticing(author, &self.scope, word)))
    }

    /// Makes all that waits final, and what follows from it.
    ///
    /// # Errors
    /// What the rules say against one of the entries.
    pub fn go_on(&mut self, chain: &mut Chain) -> Result<(), Refusal> {
        while let Some((author, notice, entry)) = self.next(chain) {
            chain.push(entry)?;
            self.all(&Input::Notice { author, notice });
        }
        Ok(())
    }

    /// What happens to all of them.
    pub fn all(&mut self, input: &Input) {
        let nodes: Vec<_> = self.members.keys().copied().collect();
        nodes.into_iter().for_each(|node| self.step(node, input));
    }

    fn step(&mut self, node: NodeId, input: &Input) {
        let Some(member) = self.members.get_mut(&node) else { return };
        let mut effects = Vec::new();
        member.step(input, &mut effects).expect("what the ledger takes, members take");
        for effect in effects {
            match effect {
                Effect::Submit(notice) => self.waiting.push_back((node, notice)),
                Effect::Send(package) => {
                    self.sent.push(package.clone());
                    self.step(package.to(), &Input::Package(package));
                }
                Effect::Keep(share) => self.shares.push(*share),
                Effect::Finished { .. } | Effect::Failed => {}
            }
        }
    }
}

impl Chain {
    /// A gate as it stands at the next block's time.
    ///
    /// # Panics
    /// If there is none.
    pub fn gate(&self, scope: &GateScope) -> GateRecord {
        let phase_ms = self.tip.state.parameters().gate_phase_ms;
        self.tip.state.gate(scope).expect("gates are on, and it has a member").at(self.next_time(), phase_ms)
    }

    /// The word of node `author` about a gate, under the key that it has now. Its nonce is its place.
    ///
    /// # Panics
    /// If the chain does not know the node's key.
    pub fn noticing(&self, author: NodeId, scope: &GateScope, word: GateWord) -> Entry {
        let event = Event::GateNotice(Box::new(GateNotice { scope: scope.clone(), word }));
        let mut nonce = [0xDE; 16];
        nonce[..8].copy_from_slice(&self.tip.log.size().to_le_bytes());
        let key = self.tip.state.node(author).and_then(|record| self.key_behind(record.node.key));
        let body = EntryBody { consortium: self.consortium.id(), author, nonce, event };
        body.sign(&key.expect("a node of the chain"), None)
    }

    /// The gate that its only member makes, and the member's share.
    ///
    /// # Panics
    /// If it has another number of members.
    pub fn plain_gate(&self, scope: &GateScope) -> (Gate, GateShare) {
        let record = self.gate(scope);
        let [(member, _)] = record.members[..] else { panic!("one member alone has a plain key") };
        let mut bytes = [0; 64];
        bytes[..32].copy_from_slice(&seed(member));
        let secret = SecretNumber::draw(&mut |drawn: &mut [u8]| drawn.copy_from_slice(&bytes));
        Gate::single(record.id(scope, self.consortium.id()), member, secret).expect("not 0")
    }

    /// The word of the only member of a gate, in the lineage that the chain is in.
    pub fn plain(&self, gate: Gate) -> GateWord {
        GateWord::Plain { lineage: self.tip.state.lineage_entry(), gate: Box::new(gate) }
    }

    /// Lets the members make each gate that is not there, with all of them present. Their shares.
    ///
    /// # Errors
    /// What the rules say against one of their entries.
    pub fn make_gates(&mut self) -> Result<Vec<GateShare>, Refusal> {
        let mut shares = Vec::new();
        for scope in scopes(&self.consortium) {
            let record = self.tip.state.gate(&scope);
            if !record.is_some_and(|record| record.is_being_made()) {
                continue;
            }
            if self.gate(&scope).run.is_none() {
                let (gate, share) = self.plain_gate(&scope);
                self.push(self.noticing(share.node(), &scope, self.plain(gate)))?;
                shares.push(share);
                continue;
            }
            let mut generation = KeyGeneration::join(self, &scope, |_| true);
            generation.go_on(self)?;
            shares.append(&mut generation.shares);
        }
        Ok(shares)
    }
}

/// What node `node` draws from.
fn seed(node: NodeId) -> [u8; 32] {
    sha256("gate-seed", &[&node.get().to_le_bytes()]).0
}
