//! The sample consortium as it changes: its operators propose, vote and enact.

use genesis::{Consortium, Node, Operator, OperatorId};
use wallet::{
    digest::Digest,
    identity::{PublicKey, RegionId, SecretKey},
    units::NodeId,
};

use super::{Chain, key, node_key};
use crate::{
    event::{Entry, EntryBody, Event},
    governance::{
        Action, KeyClaim, Member, OperatorBallot, ProposalEnacted, ProposalTerms, ProposalWithdrawn, Rotation,
    },
    refusal::Refusal,
    vote::Signer,
};

/// The key of operator `number`.
pub fn operator_key(number: u32) -> SecretKey {
    key(&format!("operator {number}"))
}

/// The id of operator `number`.
pub fn operator_id(number: u32) -> OperatorId {
    format!("op-{number:02}").parse().expect("a name")
}

/// The key that node `node` can get after its first one.
pub fn next_node_key(node: u32) -> SecretKey {
    key(&format!("node {node}, second key"))
}

impl Chain {
    /// Lets so much block time pass before the next block.
    pub fn wait_ms(&mut self, by_ms: u64) {
        self.later_ms += by_ms;
    }

    /// How a validator of the next block signs, if its key is one that the chain knows.
    pub fn signer(&self, node: NodeId) -> Option<Signer> {
        let key = self.key_behind(self.tip.validators().key(node)?)?;
        Some(Signer { node, key })
    }

    /// The secret of a node's key that the chain knows.
    pub(super) fn key_behind(&self, public: PublicKey) -> Option<SecretKey> {
        let mut known = (0..16).map(node_key).chain(self.new_keys.iter().cloned());
        known.find(|key| key.public_key() == public)
    }

    /// The key that operator `number` has now, or its first one.
    fn key_of_operator(&self, number: u32) -> SecretKey {
        let named = self.tip.state.operator(&operator_id(number)).map(|record| record.operator.key);
        let mut known = self.new_keys.iter().filter(|key| Some(key.public_key()) == named);
        known.next().cloned().unwrap_or_else(|| operator_key(number))
    }

    /// An entry of a node in force about governance. Its nonce is its place.
    pub fn governing(&self, event: Event) -> Entry {
        let (author, _) = self.tip.validators().members[0];
        let mut nonce = [0xC0; 16];
        nonce[..8].copy_from_slice(&self.tip.log.size().to_le_bytes());
        let body = EntryBody { consortium: self.consortium.id(), author, nonce, event };
        body.sign(&self.signer(author).expect("the key of a validator").key, None)
    }

    /// A proposal of operator `operator` to the electorate of now. Its nonce is its place.
    pub fn terms(&self, operator: u32, actions: Vec<Action>) -> ProposalTerms {
        let electorate = self.tip.state.founded().electorate;
        let mut nonce = [0; 16];
        nonce[..8].copy_from_slice(&self.tip.log.size().to_le_bytes());
        ProposalTerms { consortium: self.consortium.id(), electorate, operator: operator_id(operator), nonce, actions }
    }

    /// Makes a proposal of operator `operator` final.
    ///
    /// # Errors
    /// What the rules say against it.
    pub fn propose_actions(&mut self, operator: u32, actions: Vec<Action>) -> Result<Digest, Refusal> {
        let terms = self.terms(operator, actions);
        let proposal = terms.digest();
        let made = terms.sign(&self.key_of_operator(operator));
        self.push(self.governing(Event::ProposalMade(Box::new(made)))).map(|()| proposal)
    }

    /// Makes a ballot of operator `operator` final.
    ///
    /// # Errors
    /// What the rules say against it.
    pub fn cast(&mut self, operator: u32, proposal: Digest, approves: bool) -> Result<(), Refusal> {
        let ballot = OperatorBallot { proposal, operator: operator_id(operator), approves };
        self.push(self.governing(Event::BallotCast(ballot.sign(&self.key_of_operator(operator)))))
    }

    /// Makes the withdrawal of a proposal final, signed by operator `operator`.
    ///
    /// # Errors
    /// What the rules say against it.
    pub fn withdraw(&mut self, operator: u32, proposal: Digest) -> Result<(), Refusal> {
        let withdrawn = ProposalWithdrawn::sign(proposal, &operator_key(operator));
        self.push(self.governing(Event::ProposalWithdrawn(withdrawn)))
    }

    /// The entry that enacts a proposal.
    pub fn enacting(&self, proposal: Digest) -> Entry {
        self.governing(Event::ProposalEnacted(ProposalEnacted { proposal }))
    }

    /// Proposes, approves by as many operators as it takes, waits for the lock, and enacts: a closing block if the
    /// validator set changes.
    ///
    /// # Errors
    /// What the rules say against the proposal, a ballot or the enactment.
    pub fn enact(&mut self, actions: Vec<Action>) -> Result<(), Refusal> {
        let proposal = self.pass(actions)?;
        self.wait_ms(self.tip.state.parameters().proposal_lock_ms);
        self.push(self.enacting(proposal))
    }

    /// Proposes, and approves by as many operators as it takes.
    ///
    /// # Errors
    /// What the rules say against the proposal or a ballot.
    pub fn pass(&mut self, actions: Vec<Action>) -> Result<Digest, Refusal> {
        let electorate = self.tip.state.electorate();
        let numbers: Vec<u32> =
            (0..256).filter(|number| electorate.iter().any(|(id, _)| *id == operator_id(*number))).collect();
        let quorum = crate::governance::quorum(numbers.len());
        let proposal = self.propose_actions(numbers[0], actions)?;
        numbers[1..quorum].iter().try_for_each(|number| self.cast(*number, proposal, true))?;
        Ok(proposal)
    }

    /// Lets operator `number` join.
    pub fn joining_operator(&self, number: u32) -> Action {
        let key = operator_key(number);
        let name = format!("Operator {number}");
        let operator = Operator { id: operator_id(number), name, key: key.public_key() };
        let consent = KeyClaim::Operator(&operator).sign(&self.consortium.id(), &key);
        Action::AddOperator { operator, consent }
    }

    /// Lets a node of operator `operator` join in the region eu, with the key and the addresses of node `number`.
    pub fn joining_node(&self, number: u32, operator: u32) -> Action {
        joining_node(&self.consortium, number, operator)
    }

    /// Reinstates `member` with the key that it has now.
    ///
    /// # Panics
    /// If it never was a member.
    pub fn reinstating(&self, member: Member) -> Action {
        let key = match &member {
            Member::Operator(id) => self.tip.state.operator(id).map(|record| record.operator.key),
            Member::Node(id) => self.tip.state.node(*id).map(|record| record.node.key),
        };
        Action::Reinstate { member, key: key.expect("a member") }
    }

    /// Lets a node join as [`Self::joining_node`], and then vote.
    ///
    /// # Errors
    /// What the rules say against it.
    pub fn join(&mut self, number: u32, operator: u32) -> Result<(), Refusal> {
        let id = NodeId::new(self.tip.state.founded().nodes);
        self.enact(vec![self.joining_node(number, operator)])?;
        self.enact(vec![self.reinstating(Member::Node(id))])
    }

    /// Suspends `member`, and then removes it.
    ///
    /// # Errors
    /// What the rules say against it.
    pub fn expel(&mut self, member: Member) -> Result<(), Refusal> {
        self.enact(vec![Action::Suspend(member.clone())])?;
        self.enact(vec![Action::Remove(member)])
    }

    /// Gives `member` another key, as the owner of both wants it.
    pub fn rotating(&mut self, member: Member, from: &SecretKey, to: &SecretKey) -> Action {
        let Action::RotateKey { rotation, consent, .. } = self.replacing(member, from.public_key(), to) else {
            unreachable!("it rotates")
        };
        let by_old_key = Some(KeyClaim::Rotation(&rotation).sign(&self.consortium.id(), from));
        Action::RotateKey { rotation, consent, by_old_key }
    }

    /// Gives `member` another key without the word of the one that it has.
    pub fn replacing(&mut self, member: Member, from: PublicKey, to: &SecretKey) -> Action {
        self.new_keys.push(to.clone());
        let rotation = Rotation { member, from, to: to.public_key() };
        let consent = KeyClaim::Rotation(&rotation).sign(&self.consortium.id(), to);
        Action::RotateKey { rotation, consent, by_old_key: None }
    }
}

/// See [`Chain::joining_node`].
///
/// # Panics
/// For numbers beyond those of ports.
pub fn joining_node(consortium: &Consortium, number: u32, operator: u32) -> Action {
    let key = node_key(number);
    let node = Node {
        name: format!("node-{number:02}").parse().expect("a name"),
        operator: operator_id(operator),
        region: RegionId::try_from("eu".to_owned()).expect("a region name"),
        key: key.public_key(),
        peer: ([127, 0, 0, 1], 7000 + u16::try_from(number).expect("few nodes")).into(),
        api: format!("http://127.0.0.1:{}", 8000 + number),
    };
    let sign = |key: &SecretKey| KeyClaim::Node(&node).sign(&consortium.id(), key);
    let (consent, by_operator) = (sign(&key), sign(&operator_key(operator)));
    Action::AddNode { node, consent, by_operator }
}
