//! What honest keys signed: never two things that contradict each other.

use std::collections::{BTreeMap, BTreeSet};

use ledger::{
    block::{Block, View},
    shell::transport::{PeerReply, PeerRequest, Word},
    testing,
    vote::{Nullify, SignedGrant, SignedNullify, Vote, VoteKind},
};
use openraft::EntryPayload;
use wallet::{digest::Digest, units::NodeId};

/// Everything that honest nodes signed, as it went over the wire.
#[derive(Default)]
pub struct Statements {
    ballots: BTreeMap<(NodeId, View), Digest>,
    finalized: BTreeSet<(NodeId, View)>,
    nullifies: BTreeMap<NodeId, Vec<Nullify>>,
    grants: BTreeMap<(NodeId, u64), NodeId>,
    proposals: BTreeMap<(NodeId, View), Digest>,
    /// Who began anew, and in which name it signs nothing any more.
    left: BTreeMap<NodeId, Digest>,
}

impl Statements {
    /// Takes what `from` sent: what contradicts an earlier statement of it.
    pub fn request(&mut self, from: NodeId, request: &PeerRequest) -> Option<String> {
        match request {
            PeerRequest::Votes(words) => words.iter().find_map(|word| match word {
                Word::Vote(vote) => self.vote(from, vote),
                Word::Nullify { vote, .. } => self.nullify(from, vote),
            }),
            PeerRequest::Append { rpc, .. } => rpc.entries.iter().find_map(|entry| match &entry.payload {
                EntryPayload::Normal(block) => self.proposal(from, block.block()),
                _ => None,
            }),
            _ => None,
        }
    }

    /// Takes what `from` answered.
    pub fn reply(&mut self, from: NodeId, reply: &PeerReply) -> Option<String> {
        match reply {
            PeerReply::Granted(grant) => self.grant(from, grant),
            _ => None,
        }
    }

    /// A node began anew, and left the name.
    pub fn leaves(&mut self, node: NodeId, name: Digest) {
        self.left.insert(node, name);
    }

    /// What is wrong with a word in the name, if its signer left that.
    fn is_of_before(&self, from: NodeId, name: Digest) -> Option<String> {
        let has_left = self.left.get(&from) == Some(&name);
        has_left.then(|| format!("node {from} began anew, and signed in the name that it left"))
    }

    fn vote(&mut self, from: NodeId, vote: &Vote) -> Option<String> {
        if vote.validator != from {
            return None;
        }
        let ballot = vote.statement;
        if let Some(found) = self.is_of_before(from, ballot.consortium) {
            return Some(found);
        }
        let first = *self.ballots.entry((from, ballot.view)).or_insert(ballot.block);
        if first != ballot.block {
            return Some(format!(
                "node {from} signed {:?} for {first} and {} in {:?}",
                ballot.kind, ballot.block, ballot.view
            ));
        }
        if ballot.kind == VoteKind::Finalize {
            self.finalized.insert((from, ballot.view));
        }
        let given_up = self.nullifies.get(&from)?.iter().find(|nullify| nullify.covers(ballot.view))?;
        (ballot.kind == VoteKind::Finalize).then(|| format!("node {from} signed {given_up:?}, and then {ballot:?}"))
    }

    fn nullify(&mut self, from: NodeId, vote: &SignedNullify) -> Option<String> {
        if vote.validator != from {
            return None;
        }
        let nullify = vote.statement;
        if let Some(found) = self.is_of_before(from, nullify.consortium) {
            return Some(found);
        }
        let given_up = self.nullifies.entry(from).or_default();
        if !given_up.contains(&nullify) {
            given_up.push(nullify);
        }
        let (_, view) = self.finalized.iter().find(|(node, view)| *node == from && nullify.covers(*view))?;
        Some(format!("node {from} signed Finalize in {view:?}, and then {nullify:?}"))
    }

    fn grant(&mut self, from: NodeId, grant: &SignedGrant) -> Option<String> {
        if grant.validator != from {
            return None;
        }
        if let Some(found) = self.is_of_before(from, grant.statement.consortium) {
            return Some(found);
        }
        let first = *self.grants.entry((from, grant.statement.term)).or_insert(grant.statement.candidate);
        (first != grant.statement.candidate).then(|| format!("node {from} granted {first} and {:?}", grant.statement))
    }

    fn proposal(&mut self, from: NodeId, block: &Block) -> Option<String> {
        let (view, leader, digest) = (block.header.view, block.header.leader, block.header.digest());
        // What a liar put into the log in its name, an honest node passes on as it is.
        let keys = [testing::node_key(from.get()), testing::next_node_key(from.get())];
        let is_its_word = || keys.iter().any(|key| block.header.is_proposed_by(&key.public_key(), &block.proposal));
        if leader != from || !is_its_word() {
            return None;
        }
        if let Some(found) = self.is_of_before(from, block.header.consortium) {
            return Some(found);
        }
        let first = *self.proposals.entry((from, view)).or_insert(digest);
        (first != digest).then(|| format!("node {from} proposed {first} and {digest} in {view:?}"))
    }
}
