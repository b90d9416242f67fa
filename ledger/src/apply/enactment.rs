//! What the actions of a proposal do to the state: all of it or nothing.

use std::collections::BTreeSet;

use genesis::{Auditor, Consortium, Node, Operator, OperatorId, ValidatorSet};
use wallet::{
    digest::Digest,
    identity::{PublicKey, Signature},
    units::{BlockHeight, NodeId},
};

use crate::{
    governance::{Action, KeyClaim, MEMBERS_EVER_MAX, MEMBERS_MAX, Member, Rotation},
    refusal::Refusal,
    state::{
        AuditorRecord, GovernanceRecord, KeyRecord, KeyStatus, NodeRecord, OperatorRecord, Record, Standing, State,
        StateKey, ValidatorRecord,
    },
};

/// What `actions` put into `state`, in a block of height `at`.
///
/// # Errors
/// [`Refusal`] for the first rule that one of them breaks, or all together.
pub(super) fn changes(
    state: &State,
    consortium: &Consortium,
    proposal: Digest,
    actions: &[Action],
    at: BlockHeight,
) -> Result<Vec<(StateKey, Record)>, Refusal> {
    let mut draft = Enactment {
        state: state.clone(),
        governance: state.founded(),
        changed: BTreeSet::new(),
        consortium,
        proposal,
        at,
    };
    actions.iter().try_for_each(|action| draft.act(action))?;
    draft.finish(state)?;
    let Enactment { state, changed, .. } = draft;
    Ok(changed.into_iter().filter_map(|key| Some((key.clone(), state.record(key)?))).collect())
}

struct Enactment<'a> {
    /// As the actions so far leave it.
    state: State,
    governance: GovernanceRecord,
    changed: BTreeSet<StateKey>,
    consortium: &'a Consortium,
    proposal: Digest,
    at: BlockHeight,
}

impl Enactment<'_> {
    fn act(&mut self, action: &Action) -> Result<(), Refusal> {
        match action {
            Action::AddOperator { operator, consent } => self.add_operator(operator, consent),
            Action::AddNode { node, consent } => self.add_node(node, consent),
            Action::Suspend(member) => self.suspend(member),
            Action::Reinstate(member) => self.reinstate(member),
            Action::Remove(member) => self.remove(member),
            Action::RotateKey { rotation, consent } => self.rotate_key(rotation, consent),
            Action::RevokeKey(key) => self.revoke_key(*key),
            Action::GrantAuditor(auditor) => self.grant_auditor(auditor),
            Action::RevokeAuditor(key_hash) => self.revoke_auditor(*key_hash),
            Action::SetParameter { name, from, to } => self.set_parameter(name, *from, *to),
        }
    }

    /// What follows from all actions together: the next electorate and the next validator set, if they changed.
    fn finish(&mut self, before: &State) -> Result<(), Refusal> {
        let electorate = self.state.electorate();
        if electorate != before.electorate() {
            self.governance.electorate += 1;
        }
        let old = before.validators();
        let in_force = self.state.nodes().filter(|(_, record)| record.standing == Standing::InForce);
        let members: Vec<(NodeId, PublicKey)> = in_force.map(|(id, record)| (id, record.node.key)).collect();
        if electorate.is_empty() || members.is_empty() {
            return Err(Refusal::NobodyLeft);
        }
        at_most(electorate.len(), MEMBERS_MAX, "operators in force")?;
        at_most(members.len(), MEMBERS_MAX, "nodes in force")?;
        if members != old.members {
            let set = ValidatorSet { epoch: old.epoch + 1, members };
            self.governance.epoch = set.epoch;
            let record = ValidatorRecord { set, since: self.at };
            self.put(StateKey::Validators(self.governance.epoch), Record::Validators(record));
        }
        self.list();
        Ok(())
    }

    fn add_operator(&mut self, operator: &Operator, consent: &Signature) -> Result<(), Refusal> {
        operator.check().map_err(genesis_rule)?;
        let Err(place) = self.governance.operators.binary_search(&operator.id) else {
            return Err(Refusal::MemberExists { what: format!("the id {}", operator.id) });
        };
        self.take_key(KeyClaim::Operator(operator), Member::Operator(operator.id.clone()), consent)?;
        self.governance.operators.insert(place, operator.id.clone());
        at_most(self.governance.operators.len(), MEMBERS_EVER_MAX, "operators that ever were")?;
        let (standing, since, proposals) = (Standing::InForce, self.proposal, Vec::new());
        self.put_operator(OperatorRecord { operator: operator.clone(), standing, since, proposals });
        self.list();
        Ok(())
    }

    fn add_node(&mut self, node: &Node, consent: &Signature) -> Result<(), Refusal> {
        node.check().map_err(genesis_rule)?;
        self.operator_in_force(&node.operator)?;
        if !self.consortium.regions().contains(&node.region) {
            return Err(Refusal::MemberUnknown { what: format!("region {}", node.region) });
        }
        for (_, other) in self.state.nodes().filter(|(_, other)| other.standing != Standing::Removed) {
            let other = other.node;
            let taken = [
                (other.name == node.name).then(|| format!("the name {}", node.name)),
                (other.peer == node.peer).then(|| format!("the address {}", node.peer)),
                (other.api == node.api).then(|| format!("the address {}", node.api)),
            ];
            if let Some(what) = taken.into_iter().flatten().next() {
                return Err(Refusal::MemberExists { what });
            }
        }
        let id = NodeId::new(self.governance.nodes);
        self.take_key(KeyClaim::Node(node), Member::Node(id), consent)?;
        self.governance.nodes += 1;
        at_most(self.governance.nodes as usize, MEMBERS_EVER_MAX, "nodes that ever were")?;
        self.put_node(id, NodeRecord { node: node.clone(), standing: Standing::InForce, since: self.proposal });
        self.list();
        Ok(())
    }

    fn suspend(&mut self, member: &Member) -> Result<(), Refusal> {
        self.stand(member, Standing::Suspended, |standing| standing == Standing::InForce)
    }

    /// A node is in force only while its operator is.
    fn reinstate(&mut self, member: &Member) -> Result<(), Refusal> {
        if let Member::Node(id) = member {
            let operator = self.node(*id)?.node.operator;
            self.operator_in_force(&operator)?;
        }
        self.stand(member, Standing::InForce, |standing| standing == Standing::Suspended)
    }

    fn remove(&mut self, member: &Member) -> Result<(), Refusal> {
        self.stand(member, Standing::Removed, |_| true)
    }

    fn rotate_key(&mut self, rotation: &Rotation, consent: &Signature) -> Result<(), Refusal> {
        let Rotation { member, from, to } = rotation;
        // That the new key is a good one follows from its consent: no signature is valid under one of small order.
        let key = match member {
            Member::Operator(id) => self.operator(id)?.operator.key,
            Member::Node(id) => self.node(*id)?.node.key,
        };
        if key != *from {
            return Err(Refusal::KeyUnfit { key: *from });
        }
        self.take_key(KeyClaim::Rotation(rotation), member.clone(), consent)?;
        self.end_key(*from, KeyStatus::Rotated);
        let standing = |old| if old == Standing::Keyless { Standing::Suspended } else { old };
        match member {
            Member::Operator(id) => {
                let mut record = self.operator(id)?;
                record.operator.key = *to;
                (record.standing, record.since) = (standing(record.standing), self.proposal);
                self.put_operator(record);
            }
            Member::Node(id) => {
                let mut record = self.node(*id)?;
                record.node.key = *to;
                (record.standing, record.since) = (standing(record.standing), self.proposal);
                self.put_node(*id, record);
            }
        }
        Ok(())
    }

    fn revoke_key(&mut self, key: PublicKey) -> Result<(), Refusal> {
        let known = self.state.key(key).filter(|record| record.status != KeyStatus::Revoked);
        let KeyRecord { member, status, .. } = known.ok_or(Refusal::KeyUnfit { key })?;
        if status == KeyStatus::InForce {
            self.stand_alone(&member, Standing::Keyless)?;
        }
        let record = KeyRecord { member, status: KeyStatus::Revoked, since: self.proposal, at: self.at };
        self.put(StateKey::Key(key), Record::Key(record));
        Ok(())
    }

    fn grant_auditor(&mut self, auditor: &Auditor) -> Result<(), Refusal> {
        auditor.check().map_err(genesis_rule)?;
        let Err(place) = self.governance.auditors.binary_search(&auditor.key_hash) else {
            return Err(Refusal::MemberExists { what: format!("the API key with hash {}", auditor.key_hash) });
        };
        self.governance.auditors.insert(place, auditor.key_hash);
        at_most(self.governance.auditors.len(), MEMBERS_MAX, "auditors")?;
        let record = AuditorRecord { auditor: auditor.clone(), granted: true, since: self.proposal };
        self.put(StateKey::Auditor(auditor.key_hash), Record::Auditor(record));
        Ok(())
    }

    fn revoke_auditor(&mut self, key_hash: Digest) -> Result<(), Refusal> {
        let unknown = || Refusal::MemberUnknown { what: format!("an auditor whose API key has hash {key_hash}") };
        let record = self.state.auditor(key_hash).filter(|record| record.granted).ok_or_else(unknown)?;
        self.governance.auditors.retain(|granted| *granted != key_hash);
        let record = AuditorRecord { granted: false, since: self.proposal, ..record };
        self.put(StateKey::Auditor(key_hash), Record::Auditor(record));
        Ok(())
    }

    fn set_parameter(&mut self, name: &str, from: u64, to: u64) -> Result<(), Refusal> {
        let mut parameters = self.state.parameters();
        let value = parameters.get_mut(name).filter(|value| **value == from);
        *value.ok_or_else(|| Refusal::ParameterUnfit { name: name.to_owned(), from })? = to;
        parameters.check().map_err(genesis_rule)?;
        self.put(StateKey::Parameters, Record::Parameters(parameters));
        Ok(())
    }

    /// Gives a member another standing, and an operator's nodes with it, if `may` allows that for the one it has.
    fn stand(&mut self, member: &Member, to: Standing, may: fn(Standing) -> bool) -> Result<(), Refusal> {
        let standing = match member {
            Member::Operator(id) => self.operator(id)?.standing,
            Member::Node(id) => self.node(*id)?.standing,
        };
        if !may(standing) {
            return Err(Refusal::StandingUnfit { member: member.clone() });
        }
        self.stand_alone(member, to)?;
        let Member::Operator(operator) = member else { return Ok(()) };
        if to == Standing::InForce {
            return Ok(());
        }
        let follows = |record: &NodeRecord| {
            record.node.operator == *operator && record.standing != Standing::Removed && may(record.standing)
        };
        let nodes: Vec<NodeId> = self.state.nodes().filter(|(_, record)| follows(record)).map(|(id, _)| id).collect();
        nodes.into_iter().try_for_each(|id| self.stand_alone(&Member::Node(id), to))
    }

    /// Gives this member another standing, and takes its key from it if it leaves.
    fn stand_alone(&mut self, member: &Member, to: Standing) -> Result<(), Refusal> {
        let key = match member {
            Member::Operator(id) => {
                let mut record = self.operator(id)?;
                (record.standing, record.since) = (to, self.proposal);
                let key = record.operator.key;
                self.put_operator(record);
                key
            }
            Member::Node(id) => {
                let mut record = self.node(*id)?;
                (record.standing, record.since) = (to, self.proposal);
                let key = record.node.key;
                self.put_node(*id, record);
                key
            }
        };
        if to == Standing::Removed {
            self.end_key(key, KeyStatus::Retired);
        }
        Ok(())
    }

    /// Gives a new key its role: one that never had any, and agrees.
    fn take_key(&mut self, claim: KeyClaim<'_>, member: Member, consent: &Signature) -> Result<(), Refusal> {
        let key = claim.key();
        if self.state.key(key).is_some() {
            return Err(Refusal::KeyKnown { key });
        }
        claim.verify(&self.consortium.id(), consent).map_err(|_| Refusal::KeyConsent { key })?;
        let record = KeyRecord { member, status: KeyStatus::InForce, since: self.proposal, at: self.at };
        self.put(StateKey::Key(key), Record::Key(record));
        Ok(())
    }

    /// Ends a key's time. A revoked one stays revoked.
    fn end_key(&mut self, key: PublicKey, status: KeyStatus) {
        let Some(record) = self.state.key(key).filter(|record| record.status == KeyStatus::InForce) else { return };
        let record = KeyRecord { status, since: self.proposal, at: self.at, ..record };
        self.put(StateKey::Key(key), Record::Key(record));
    }

    /// An operator that has not left.
    fn operator(&self, id: &OperatorId) -> Result<OperatorRecord, Refusal> {
        let record = self.state.operator(id).filter(|record| record.standing != Standing::Removed);
        record.ok_or_else(|| Refusal::MemberUnknown { what: format!("operator {id}") })
    }

    /// A node that has not left.
    fn node(&self, id: NodeId) -> Result<NodeRecord, Refusal> {
        let record = self.state.node(id).filter(|record| record.standing != Standing::Removed);
        record.ok_or_else(|| Refusal::MemberUnknown { what: format!("node {id}") })
    }

    fn operator_in_force(&self, id: &OperatorId) -> Result<(), Refusal> {
        match self.operator(id)?.standing {
            Standing::InForce => Ok(()),
            _ => Err(Refusal::OperatorNotInForce { operator: id.clone() }),
        }
    }

    fn put_operator(&mut self, record: OperatorRecord) {
        self.put(StateKey::Operator(record.operator.id.clone()), Record::Operator(record));
    }

    fn put_node(&mut self, id: NodeId, record: NodeRecord) {
        self.put(StateKey::Node(id), Record::Node(record));
    }

    /// Writes down who is listed: before the next action looks at it, and in the end.
    fn list(&mut self) {
        self.put(StateKey::Governance, Record::Governance(self.governance.clone()));
    }

    fn put(&mut self, key: StateKey, record: Record) {
        self.changed.insert(key.clone());
        self.state.put(key, record);
    }
}

fn at_most(count: usize, max: usize, what: &'static str) -> Result<(), Refusal> {
    if count > max { Err(Refusal::TooManyMembers { what, max }) } else { Ok(()) }
}

fn genesis_rule(reason: genesis::GenesisError) -> Refusal {
    Refusal::GenesisRule { reason: Box::new(reason) }
}
