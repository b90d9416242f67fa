//! Who takes part, with which keys, and what is being decided, as the ledger knows it.

use genesis::{Auditor, Consortium, Node, Operator, OperatorId, Parameters, ValidatorSet};
use serde::{Deserialize, Serialize};
use wallet::{
    digest::Digest,
    identity::PublicKey,
    units::{BlockHeight, NodeId, Timestamp},
};

use super::{Record, State, StateKey};
use crate::governance::{MEMBERS_EVER_MAX, Member, ProposalTerms};

/// Which consortium this is the state of, and who is listed elsewhere in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GovernanceRecord {
    /// Hash of the genesis document.
    pub consortium: Digest,
    /// Which validator set votes for the next block: that of [`StateKey::Validators`].
    pub epoch: u64,
    /// How often the operators in force have changed, or one of them got a key without the word of the key before.
    /// Proposals are put to one electorate.
    pub electorate: u64,
    /// All operators that ever were, by id.
    pub operators: Vec<OperatorId>,
    /// How many nodes ever were: the join index that the next one gets.
    pub nodes: u32,
    /// Hashes of the API keys that may read, ascending.
    pub auditors: Vec<Digest>,
}

/// A validator set. Those of all epochs stay, so that what was signed in an earlier one can be checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ValidatorRecord {
    /// Who votes.
    pub set: ValidatorSet,
    /// Height of the closing block after which it votes; 0 for the set of genesis.
    pub since: BlockHeight,
}

/// What a member may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Standing {
    /// Everything.
    InForce,
    /// A node that has not begun, or may only let go of the wallets that it holds; an operator may do nothing.
    Suspended,
    /// Nothing: its key was revoked. Once it has another one it is suspended.
    Keyless,
    /// Nothing, for good.
    Removed,
}

impl Standing {
    /// Whether a node follows the ledger and is spoken to. A suspended one may hand over what it holds, and may be
    /// reinstated; one without a key cannot say who it is.
    pub const fn takes_part(self) -> bool {
        matches!(self, Self::InForce | Self::Suspended)
    }
}

/// An operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorRecord {
    /// Who it is, with the key that it has now.
    pub operator: Operator,
    /// Whether it votes on proposals.
    pub standing: Standing,
    /// Of the proposals that changed its standing, the digest of the one that was made last. Or the id of the re-genesis;
    /// zero if none did.
    pub since: Digest,
    /// Digests of its last proposals, at least those on which the others can still vote.
    pub proposals: Vec<Digest>,
}

/// A node. Its id is its join index and is never another node's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRecord {
    /// What it is, with the key that it has now.
    pub node: Node,
    /// Whether it votes and authors.
    pub standing: Standing,
    /// Of the proposals that changed its standing, the digest of the one that was made last. Or the id of the re-genesis;
    /// zero if none did.
    pub since: Digest,
}

/// A key that has or had a role. No key ever has another one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRecord {
    /// Whose it is; none for one that was revoked before it had a role.
    pub member: Option<Member>,
    /// Whether it counts.
    pub status: KeyStatus,
    /// Digest of the proposal that made it so; zero for genesis.
    pub since: Digest,
    /// Height of the block that made it so. What the key signed before stays as good as it was.
    pub at: BlockHeight,
}

/// What a key is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyStatus {
    /// Its member's key.
    InForce,
    /// Another key took its place.
    Rotated,
    /// Its member left.
    Retired,
    /// Others may have it.
    Revoked,
}

/// Who may read, or might once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditorRecord {
    /// The name, and the hash of the API key.
    pub auditor: Auditor,
    /// Whether the key still opens anything.
    pub granted: bool,
    /// Digest of the proposal that made it so; zero for genesis.
    pub since: Digest,
}

/// The last time that the ledger began anew: see [`crate::re_genesis`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineageRecord {
    /// 1 and how often it did.
    pub lineage: u32,
    /// Height of the block.
    pub since: BlockHeight,
    /// Id of its entry.
    pub entry: Digest,
}

/// A proposal with the operators' words on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProposalRecord {
    /// What was proposed, to whom and by whom.
    pub terms: ProposalTerms,
    /// Block time of its making.
    pub made_at: Timestamp,
    /// Block time after which nothing becomes of it; set when it is made, and again when it passes.
    pub expires_at: Timestamp,
    /// Ballots in the order in which they came, the proposer's first.
    pub ballots: Vec<BallotRecord>,
    /// What became of it. That it expired or was superseded follows from time and electorate, and stands nowhere else.
    pub stage: Stage,
}

/// One operator's word on a proposal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BallotRecord {
    /// Whose.
    pub operator: OperatorId,
    /// Whether it is for the proposal.
    pub approves: bool,
    /// Id of the entry that carried it.
    pub entry: Digest,
}

/// What became of a proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// Too few ballots, for or against.
    Open,
    /// A quorum is for it.
    Passed {
        /// Block time from which it can be enacted.
        enactable_at: Timestamp,
    },
    /// So many are against it that no quorum can be for it.
    Rejected,
    /// Its proposer took it back.
    Withdrawn,
    /// All that it says was done.
    Enacted {
        /// Height of the block.
        at: BlockHeight,
    },
}

impl State {
    /// What the genesis document says of who takes part.
    pub(super) fn found(&mut self, consortium: &Consortium) {
        let (set, since, at) = (consortium.validators().clone(), Digest::ZERO, BlockHeight::ZERO);
        let standing = Standing::InForce;
        let key = |member| Record::Key(KeyRecord { member: Some(member), status: KeyStatus::InForce, since, at });
        for operator in consortium.operators() {
            let member = Member::Operator(operator.id.clone());
            self.put(StateKey::Key(operator.key), key(member));
            let record = OperatorRecord { operator: operator.clone(), standing, since, proposals: Vec::new() };
            self.put(StateKey::Operator(operator.id.clone()), Record::Operator(record));
        }
        let mut nodes = 0;
        for (node, index) in consortium.nodes().iter().zip(0..) {
            let id = NodeId::new(index);
            self.put(StateKey::Key(node.key), key(Member::Node(id)));
            self.put(StateKey::Node(id), Record::Node(NodeRecord { node: node.clone(), standing, since }));
            nodes = index + 1;
        }
        let mut auditors = Vec::new();
        for auditor in &consortium.document().draft().auditors {
            auditors.push(auditor.key_hash);
            let record = AuditorRecord { auditor: auditor.clone(), granted: true, since };
            self.put(StateKey::Auditor(auditor.key_hash), Record::Auditor(record));
        }
        auditors.sort_unstable();
        self.put(StateKey::Parameters, Record::Parameters(consortium.parameters().clone()));
        let operators = consortium.operators().iter().map(|operator| operator.id.clone()).collect();
        let (consortium, epoch) = (consortium.id(), set.epoch);
        let record = GovernanceRecord { consortium, epoch, electorate: 0, operators, nodes, auditors };
        self.put(StateKey::Governance, Record::Governance(record));
        self.put(StateKey::Validators(epoch), Record::Validators(ValidatorRecord { set, since: at }));
    }

    /// Which consortium this is the state of; none for leaves that are of none.
    pub fn governance(&self) -> Option<GovernanceRecord> {
        match self.record(StateKey::Governance)? {
            Record::Governance(record) => Some(record),
            _ => None,
        }
    }

    /// Whether what genesis puts and nothing takes away is there, with numbers that can still be counted up, as in
    /// every state that was executed.
    pub(crate) fn is_founded(&self) -> bool {
        let parameters = matches!(self.record(StateKey::Parameters), Some(Record::Parameters(_)));
        let is_sound = |governance: GovernanceRecord| {
            let GovernanceRecord { epoch, electorate, nodes, .. } = governance;
            let is_countable = epoch < u64::MAX && electorate < u64::MAX && nodes as usize <= MEMBERS_EVER_MAX;
            is_countable && self.validators_of(epoch).is_some()
        };
        parameters && self.governance().is_some_and(is_sound)
    }

    /// [`Self::governance`] of a state that was executed.
    pub(crate) fn founded(&self) -> GovernanceRecord {
        self.governance().expect("genesis puts it, and nothing takes it away")
    }

    /// Which epoch the next block is of.
    ///
    /// # Panics
    /// On leaves that are of no consortium. Every executed block has them.
    pub fn epoch(&self) -> u64 {
        self.founded().epoch
    }

    /// The set that votes for the next block.
    ///
    /// # Panics
    /// On leaves that are of no consortium. Every executed block has them.
    pub fn validators(&self) -> ValidatorSet {
        self.validator_record(self.epoch()).set
    }

    /// The set of an epoch, if there was or is such an epoch.
    pub fn validators_of(&self, epoch: u64) -> Option<ValidatorRecord> {
        match self.record(StateKey::Validators(epoch))? {
            Record::Validators(record) => Some(record),
            _ => None,
        }
    }

    /// The set of an epoch up to the present one.
    pub(crate) fn validator_record(&self, epoch: u64) -> ValidatorRecord {
        self.validators_of(epoch).expect("the set of each epoch stays")
    }

    /// Whether the block of this height, whose state this is, changed the validator set.
    pub(crate) fn is_closed_at(&self, height: BlockHeight) -> bool {
        let epoch = self.epoch();
        epoch > 0 && self.validator_record(epoch).since == height
    }

    /// The last re-genesis; none in lineage 1.
    pub fn re_genesis(&self) -> Option<LineageRecord> {
        match self.record(StateKey::Lineage)? {
            Record::Lineage(record) => Some(record),
            _ => None,
        }
    }

    /// 1, and one more for each time that the ledger began anew.
    pub fn lineage(&self) -> u32 {
        self.re_genesis().map_or(1, |record| record.lineage)
    }

    /// The key of the operator that runs a node.
    pub(crate) fn operator_key_of(&self, node: NodeId) -> Option<PublicKey> {
        Some(self.operator(&self.node(node)?.node.operator)?.operator.key)
    }

    /// The numbers on which all nodes agree now.
    ///
    /// # Panics
    /// On leaves that are of no consortium. Every executed block has them.
    pub fn parameters(&self) -> Parameters {
        match self.record(StateKey::Parameters) {
            Some(Record::Parameters(parameters)) => parameters,
            _ => panic!("genesis puts them, and nothing takes them away"),
        }
    }

    /// An operator that is or was.
    pub fn operator(&self, id: &OperatorId) -> Option<OperatorRecord> {
        match self.record(StateKey::Operator(id.clone()))? {
            Record::Operator(record) => Some(record),
            _ => None,
        }
    }

    /// All operators that are or were, by id.
    pub fn operators(&self) -> impl Iterator<Item = OperatorRecord> {
        let listed = self.governance().map_or_else(Vec::new, |governance| governance.operators);
        listed.into_iter().filter_map(|id| self.operator(&id))
    }

    /// A node that is or was.
    pub fn node(&self, id: NodeId) -> Option<NodeRecord> {
        match self.record(StateKey::Node(id))? {
            Record::Node(record) => Some(record),
            _ => None,
        }
    }

    /// All nodes that are or were, by join index.
    pub fn nodes(&self) -> impl Iterator<Item = (NodeId, NodeRecord)> {
        let count = self.governance().map_or(0, |governance| governance.nodes);
        (0..count).map(NodeId::new).filter_map(|id| Some((id, self.node(id)?)))
    }

    /// Whose key it is or was.
    pub fn key(&self, key: PublicKey) -> Option<KeyRecord> {
        match self.record(StateKey::Key(key))? {
            Record::Key(record) => Some(record),
            _ => None,
        }
    }

    /// Who may read with the API key of this SHA-256, or might once.
    pub fn auditor(&self, key_hash: Digest) -> Option<AuditorRecord> {
        match self.record(StateKey::Auditor(key_hash))? {
            Record::Auditor(record) => Some(record),
            _ => None,
        }
    }

    /// A proposal, by its digest.
    pub fn proposal(&self, digest: Digest) -> Option<ProposalRecord> {
        match self.record(StateKey::Proposal(digest))? {
            Record::Proposal(record) => Some(*record),
            _ => None,
        }
    }

    /// Who votes on proposals: the operators in force with their keys, by id.
    pub fn electorate(&self) -> Vec<(OperatorId, PublicKey)> {
        let in_force = self.operators().filter(|record| record.standing == Standing::InForce);
        in_force.map(|record| (record.operator.id, record.operator.key)).collect()
    }
}
