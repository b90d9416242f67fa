//! What the actions of a proposal do to the state: all of it or nothing.

use std::collections::BTreeSet;

use genesis::{Auditor, Consortium, Model, Node, Operator, OperatorId, ValidatorSet};
use wallet::{
    digest::Digest,
    identity::{PublicKey, Signature, context},
    units::{BlockHeight, NodeId, Timestamp},
};

use crate::{
    checks::Checks,
    governance::{Action, KeyClaim, MEMBERS_EVER_MAX, MEMBERS_MAX, Member, Rotation, quorum},
    refusal::Refusal,
    state::{
        AuditorRecord, GovernanceRecord, KeyRecord, KeyStatus, NodeRecord, OperatorRecord, Record, Standing, State,
        StateKey, ValidatorRecord,
    },
};

/// Parameters that a node reads from the genesis document when it starts, and not from the state.
const FIXED: [&str; 3] = ["batch_tokens", "heartbeat_ms", "leader_timeout_ms"];

/// Where a proposal is made or enacted.
pub(super) struct Site<'a> {
    pub(super) consortium: &'a Consortium,
    pub(super) checks: &'a dyn Checks,
    /// Digest of the proposal.
    pub(super) proposal: Digest,
    /// When it was made.
    pub(super) made_at: Timestamp,
    /// The block's height.
    pub(super) height: BlockHeight,
}

/// What `actions` put into `state`.
///
/// # Errors
/// [`Refusal`] for the first rule that one of them breaks, or all together. Signatures are checked last: they cost most.
pub(super) fn changes(state: &State, actions: &[Action], site: &Site<'_>) -> Result<Vec<(StateKey, Record)>, Refusal> {
    let mut draft = Enactment::on(state, site);
    actions.iter().try_for_each(|action| draft.act(action))?;
    draft.finish()
}

/// What a re-genesis puts into `state`: those that are `lost` are suspended, and whoever is left begins the next epoch as
/// another electorate, be it the same as before.
///
/// # Errors
/// [`Refusal`] for the first rule that it breaks.
pub(super) fn begin_anew(state: &State, lost: &[Member], site: &Site<'_>) -> Result<Vec<(StateKey, Record)>, Refusal> {
    let mut draft = Enactment::on(state, site);
    lost.iter().try_for_each(|member| draft.suspend(member))?;
    // The certificate has a signature for each validator, by its operator. So nobody has a say who did not sign.
    let runs_one = |operator: &OperatorId| draft.validators().any(|(_, record)| record.node.operator == *operator);
    if let Some((operator, _)) = draft.state.electorate().into_iter().find(|(operator, _)| !runs_one(operator)) {
        return Err(Refusal::OperatorWithoutValidator { operator });
    }
    draft.begins_anew = true;
    draft.finish()
}

/// The number of the electorate that a re-genesis begins, by the id of its entry. What was dropped may have counted on from
/// the last one, and so may another re-genesis: ballots that were cast there must not count here.
fn electorate_of(entry: &Digest) -> u64 {
    let [a, b, c, d, e, f, ..] = entry.0;
    u64::from_be_bytes([0, 0, a, b, c, d, e, f])
}

struct Enactment<'a> {
    before: &'a State,
    /// As the actions so far leave it.
    state: State,
    /// The electorate before, with the keys that their owners renewed.
    electors: Vec<(OperatorId, PublicKey)>,
    changed: BTreeSet<StateKey>,
    /// Names and addresses of the nodes, once somebody asked.
    taken: Option<BTreeSet<String>>,
    /// By whom the actions have to be signed, over what.
    consents: Vec<(PublicKey, Vec<u8>, Signature)>,
    /// Whether another electorate and the next epoch begin in any case.
    begins_anew: bool,
    site: &'a Site<'a>,
}

/// What operators and nodes have in common.
struct Seat {
    standing: Standing,
    key: PublicKey,
}

impl<'a> Enactment<'a> {
    fn on(state: &'a State, site: &'a Site<'a>) -> Self {
        Self {
            before: state,
            state: state.clone(),
            electors: state.electorate(),
            changed: BTreeSet::new(),
            taken: None,
            consents: Vec::new(),
            begins_anew: false,
            site,
        }
    }

    fn act(&mut self, action: &Action) -> Result<(), Refusal> {
        match action {
            Action::AddOperator { operator, consent } => self.add_operator(operator, *consent),
            Action::AddNode { node, consent, by_operator } => self.add_node(node, *consent, *by_operator),
            Action::Suspend(member) => self.suspend(member),
            Action::Reinstate { member, key } => self.reinstate(member, *key),
            Action::Remove(member) => self.remove(member),
            Action::RotateKey { rotation, consent, by_old_key } => self.rotate_key(rotation, *consent, *by_old_key),
            Action::RevokeKey(key) => self.revoke_key(*key),
            Action::GrantAuditor(auditor) => self.grant_auditor(auditor),
            Action::RevokeAuditor(key_hash) => self.revoke_auditor(*key_hash),
            Action::SetParameter { name, from, to } => self.set_parameter(name, *from, *to),
        }
    }

    /// The nodes in force.
    fn validators(&self) -> impl Iterator<Item = (NodeId, NodeRecord)> {
        self.state.nodes().filter(|(_, record)| record.standing == Standing::InForce)
    }

    /// All that changes, with what follows from all actions together: the next electorate and the next validator set, if
    /// they changed.
    fn finish(mut self) -> Result<Vec<(StateKey, Record)>, Refusal> {
        let electorate = self.state.electorate();
        let members: Vec<(NodeId, PublicKey)> = self.validators().map(|(id, record)| (id, record.node.key)).collect();
        if electorate.is_empty() || members.is_empty() {
            return Err(Refusal::NobodyLeft);
        }
        at_most(electorate.len(), MEMBERS_MAX, "operators in force")?;
        at_most(members.len(), MEMBERS_MAX, "nodes in force")?;
        if self.begins_anew || electorate != self.electors {
            let next = match self.begins_anew {
                true => electorate_of(&self.site.proposal),
                false => self.state.founded().electorate + 1,
            };
            self.govern(|governance| governance.electorate = next);
        }
        let old = self.before.validators();
        if self.begins_anew || members != old.members {
            step(&old, &members)?;
            let set = ValidatorSet { epoch: old.epoch + 1, members };
            self.govern(|governance| governance.epoch = set.epoch);
            let key = StateKey::Validators(set.epoch);
            self.put(key, Record::Validators(ValidatorRecord { set, since: self.site.height }));
        }
        self.consents.iter().try_for_each(|(key, message, signature)| {
            let verified = self.site.checks.verify(key, context::GOVERNANCE_KEY, message, signature);
            verified.map_err(|_| Refusal::KeyConsent { key: *key })
        })?;
        let Self { state, changed, .. } = self;
        Ok(changed.into_iter().filter_map(|key| Some((key.clone(), state.record(key)?))).collect())
    }

    fn add_operator(&mut self, operator: &Operator, consent: Signature) -> Result<(), Refusal> {
        operator.check().map_err(genesis_rule)?;
        let mut governance = self.state.founded();
        let Err(place) = governance.operators.binary_search(&operator.id) else {
            return Err(Refusal::MemberExists { what: format!("the id {}", operator.id) });
        };
        governance.operators.insert(place, operator.id.clone());
        at_most(governance.operators.len(), MEMBERS_EVER_MAX, "operators that ever were")?;
        self.put(StateKey::Governance, Record::Governance(governance));
        self.take_key(KeyClaim::Operator(operator), Member::Operator(operator.id.clone()), consent)?;
        let (standing, since, proposals) = (Standing::InForce, self.site.proposal, Vec::new());
        let record = OperatorRecord { operator: operator.clone(), standing, since, proposals };
        self.put(StateKey::Operator(operator.id.clone()), Record::Operator(record));
        Ok(())
    }

    /// It joins suspended: a set whose quorum needs somebody who is not there yet could not even take that back.
    fn add_node(&mut self, node: &Node, consent: Signature, by_operator: Signature) -> Result<(), Refusal> {
        node.check().map_err(genesis_rule)?;
        let operator = self.operator_in_force(&node.operator)?;
        if !self.site.consortium.regions().contains(&node.region) {
            return Err(Refusal::MemberUnknown { what: format!("region {}", node.region) });
        }
        let state = &self.state;
        let taken = self.taken.get_or_insert_with(|| {
            let present = state.nodes().filter(|(_, other)| other.standing != Standing::Removed);
            present.flat_map(|(_, other)| names(&other.node)).collect()
        });
        for what in names(node) {
            if taken.contains(&what) {
                return Err(Refusal::MemberExists { what });
            }
            taken.insert(what);
        }
        let id = NodeId::new(self.state.founded().nodes);
        at_most(id.get() as usize + 1, MEMBERS_EVER_MAX, "nodes that ever were")?;
        self.govern(|governance| governance.nodes += 1);
        let claim = KeyClaim::Node(node);
        self.needs(operator.key, &claim, by_operator);
        self.take_key(claim, Member::Node(id), consent)?;
        let record = NodeRecord { node: node.clone(), standing: Standing::Suspended, since: self.site.proposal };
        self.put(StateKey::Node(id), Record::Node(record));
        Ok(())
    }

    fn suspend(&mut self, member: &Member) -> Result<(), Refusal> {
        self.has_standing(member, &[Standing::InForce])?;
        self.is_the_last_word(member)?;
        self.stand(member, Standing::Suspended)?;
        self.suspend_nodes(member)
    }

    /// A node is in force only while its operator is, and not in the proposal by which it joins.
    fn reinstate(&mut self, member: &Member, key: PublicKey) -> Result<(), Refusal> {
        if let Member::Node(id) = member {
            let operator = self.node(*id)?.node.operator;
            self.operator_in_force(&operator)?;
            if self.before.node(*id).is_none() {
                return Err(Refusal::StandingUnfit { member: member.clone() });
            }
        }
        if self.has_standing(member, &[Standing::Suspended])?.key != key {
            return Err(Refusal::KeyUnfit { key });
        }
        self.is_the_last_word(member)?;
        self.stand(member, Standing::InForce)
    }

    /// Only who was out of force already, so that a node can let go of its wallets before.
    fn remove(&mut self, member: &Member) -> Result<(), Refusal> {
        self.has_standing(member, &[Standing::Suspended, Standing::Keyless])?;
        let was_in_force = match member {
            Member::Operator(id) => self.before.operator(id).is_none_or(|was| was.standing == Standing::InForce),
            Member::Node(id) => self.before.node(*id).is_some_and(|was| was.standing == Standing::InForce),
        };
        if was_in_force {
            return Err(Refusal::StandingUnfit { member: member.clone() });
        }
        self.is_the_last_word(member)?;
        self.taken = None;
        let nodes = self.nodes_of(member, |standing| standing != Standing::Removed);
        std::iter::once(member.clone()).chain(nodes).try_for_each(|member| {
            let key = self.seat(&member)?.key;
            self.stand(&member, Standing::Removed)?;
            self.end_key(key, KeyStatus::Retired);
            Ok(())
        })
    }

    fn rotate_key(
        &mut self,
        rotation: &Rotation,
        consent: Signature,
        by_old_key: Option<Signature>,
    ) -> Result<(), Refusal> {
        let Rotation { member, from, to } = rotation;
        let Seat { standing, key } = self.seat(member)?;
        // The word of a revoked key is worth nothing.
        if key != *from || (standing == Standing::Keyless && by_old_key.is_some()) {
            return Err(Refusal::KeyUnfit { key: *from });
        }
        let claim = KeyClaim::Rotation(rotation);
        if let Some(signature) = by_old_key {
            self.needs(*from, &claim, signature);
            self.electors.iter_mut().filter(|(_, key)| key == from).for_each(|(_, key)| *key = *to);
        }
        // That the new key is a good one follows from its consent: no signature is valid under one of small order.
        self.take_key(claim, member.clone(), consent)?;
        self.end_key(*from, KeyStatus::Rotated);
        let standing = if standing == Standing::Keyless { Standing::Suspended } else { standing };
        self.put_seat(member, Seat { standing, key: *to })
    }

    /// Also a key without a role: then it never gets one, whatever it consented to.
    fn revoke_key(&mut self, key: PublicKey) -> Result<(), Refusal> {
        let known = self.state.key(key);
        if known.as_ref().is_some_and(|record| record.status == KeyStatus::Revoked) {
            return Err(Refusal::KeyUnfit { key });
        }
        let (member, status) = known.map_or((None, None), |record| (record.member, Some(record.status)));
        if let Some(member) = member.as_ref().filter(|_| status == Some(KeyStatus::InForce)) {
            self.stand(member, Standing::Keyless)?;
            self.suspend_nodes(member)?;
        }
        self.put_key(key, member, KeyStatus::Revoked);
        Ok(())
    }

    fn grant_auditor(&mut self, auditor: &Auditor) -> Result<(), Refusal> {
        auditor.check().map_err(genesis_rule)?;
        let mut governance = self.state.founded();
        // Others may have a key that was revoked.
        if self.state.auditor(auditor.key_hash).is_some() {
            return Err(Refusal::MemberExists { what: format!("the API key with hash {}", auditor.key_hash) });
        }
        // As in genesis, where the owners' keys stand for good.
        let is_owners = |model: &&Model| model.owner.as_ref().is_some_and(|owner| owner.key_hash == auditor.key_hash);
        if let Some(model) = self.site.consortium.models().iter().find(is_owners) {
            return Err(Refusal::OwnersKey { key_hash: auditor.key_hash, model: model.name.clone() });
        }
        let mut granted = governance.auditors.iter().filter_map(|hash| self.state.auditor(*hash));
        if granted.any(|other| other.auditor.name == auditor.name) {
            return Err(Refusal::MemberExists { what: format!("the name {}", auditor.name) });
        }
        let place = governance.auditors.partition_point(|hash| *hash < auditor.key_hash);
        governance.auditors.insert(place, auditor.key_hash);
        at_most(governance.auditors.len(), MEMBERS_MAX, "auditors")?;
        self.put(StateKey::Governance, Record::Governance(governance));
        let record = AuditorRecord { auditor: auditor.clone(), granted: true, since: self.site.proposal };
        self.put(StateKey::Auditor(auditor.key_hash), Record::Auditor(record));
        Ok(())
    }

    fn revoke_auditor(&mut self, key_hash: Digest) -> Result<(), Refusal> {
        let unknown = || Refusal::MemberUnknown { what: format!("an auditor whose API key has hash {key_hash}") };
        let record = self.state.auditor(key_hash).filter(|record| record.granted).ok_or_else(unknown)?;
        self.govern(|governance| governance.auditors.retain(|granted| *granted != key_hash));
        let record = AuditorRecord { granted: false, since: self.site.proposal, ..record };
        self.put(StateKey::Auditor(key_hash), Record::Auditor(record));
        Ok(())
    }

    fn set_parameter(&mut self, name: &str, from: u64, to: u64) -> Result<(), Refusal> {
        let mut parameters = self.state.parameters();
        let value = parameters.get_mut(name).filter(|value| **value == from);
        *value.ok_or_else(|| Refusal::ParameterUnfit { name: name.to_owned(), from })? = to;
        if FIXED.contains(&name) {
            return Err(Refusal::ParameterFixed { name: name.to_owned() });
        }
        parameters.check().map_err(genesis_rule)?;
        self.put(StateKey::Parameters, Record::Parameters(parameters));
        Ok(())
    }

    /// The seat of a member that has one of these standings.
    fn has_standing(&self, member: &Member, fit: &[Standing]) -> Result<Seat, Refusal> {
        let seat = self.seat(member)?;
        if fit.contains(&seat.standing) { Ok(seat) } else { Err(Refusal::StandingUnfit { member: member.clone() }) }
    }

    /// Whether no proposal that was made later has changed the member's standing: whoever voted on that knew more. Else what
    /// passed long ago, and could not be enacted then, would undo it.
    fn is_the_last_word(&self, member: &Member) -> Result<(), Refusal> {
        let by = self.since(member)?;
        if self.is_later(by) { Err(Refusal::DecidedLater { member: member.clone(), by }) } else { Ok(()) }
    }

    /// By which proposal a member has its standing: of those that changed it, the one that was made last.
    fn since(&self, member: &Member) -> Result<Digest, Refusal> {
        Ok(match member {
            Member::Operator(id) => self.operator(id)?.since,
            Member::Node(id) => self.node(*id)?.since,
        })
    }

    /// Whether a proposal was made after this one.
    fn is_later(&self, proposal: Digest) -> bool {
        self.state.proposal(proposal).is_some_and(|other| other.made_at > self.site.made_at)
    }

    fn stand(&mut self, member: &Member, standing: Standing) -> Result<(), Refusal> {
        let key = self.seat(member)?.key;
        self.put_seat(member, Seat { standing, key })
    }

    /// With an operator go its nodes that are in force.
    fn suspend_nodes(&mut self, of: &Member) -> Result<(), Refusal> {
        let nodes = self.nodes_of(of, |standing| standing == Standing::InForce);
        nodes.iter().try_for_each(|node| self.stand(node, Standing::Suspended))
    }

    /// The nodes of an operator with such a standing; none if it is none.
    fn nodes_of(&self, operator: &Member, are: fn(Standing) -> bool) -> Vec<Member> {
        let Member::Operator(operator) = operator else { return Vec::new() };
        let its = self.state.nodes().filter(|(_, record)| record.node.operator == *operator && are(record.standing));
        its.map(|(id, _)| Member::Node(id)).collect()
    }

    /// Gives a new key its role: one that never had any, and agrees.
    fn take_key(&mut self, claim: KeyClaim<'_>, member: Member, consent: Signature) -> Result<(), Refusal> {
        let key = claim.key();
        if self.state.key(key).is_some() {
            return Err(Refusal::KeyKnown { key });
        }
        self.needs(key, &claim, consent);
        self.put_key(key, Some(member), KeyStatus::InForce);
        Ok(())
    }

    /// Somebody has to have signed a claim. That is checked in the end.
    fn needs(&mut self, key: PublicKey, claim: &KeyClaim<'_>, signature: Signature) {
        self.consents.push((key, claim.message(&self.site.consortium.id()), signature));
    }

    /// Ends a key's time. A revoked one stays revoked.
    fn end_key(&mut self, key: PublicKey, status: KeyStatus) {
        if let Some(record) = self.state.key(key).filter(|record| record.status == KeyStatus::InForce) {
            self.put_key(key, record.member, status);
        }
    }

    /// Of a member that has not left.
    fn seat(&self, member: &Member) -> Result<Seat, Refusal> {
        Ok(match member {
            Member::Operator(id) => {
                let record = self.operator(id)?;
                Seat { standing: record.standing, key: record.operator.key }
            }
            Member::Node(id) => {
                let record = self.node(*id)?;
                Seat { standing: record.standing, key: record.node.key }
            }
        })
    }

    fn put_seat(&mut self, member: &Member, Seat { standing, key }: Seat) -> Result<(), Refusal> {
        let since = match self.since(member)? {
            before if self.seat(member)?.standing == standing || self.is_later(before) => before,
            _ => self.site.proposal,
        };
        match member {
            Member::Operator(id) => {
                let OperatorRecord { operator, proposals, .. } = self.operator(id)?;
                let record = OperatorRecord { operator: Operator { key, ..operator }, standing, since, proposals };
                self.put(StateKey::Operator(id.clone()), Record::Operator(record));
            }
            Member::Node(id) => {
                let record = NodeRecord { node: Node { key, ..self.node(*id)?.node }, standing, since };
                self.put(StateKey::Node(*id), Record::Node(record));
            }
        }
        Ok(())
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

    fn operator_in_force(&self, id: &OperatorId) -> Result<Operator, Refusal> {
        let OperatorRecord { operator, standing, .. } = self.operator(id)?;
        match standing {
            Standing::InForce => Ok(operator),
            _ => Err(Refusal::OperatorNotInForce { operator: id.clone() }),
        }
    }

    fn govern(&mut self, change: impl FnOnce(&mut GovernanceRecord)) {
        let mut governance = self.state.founded();
        change(&mut governance);
        self.put(StateKey::Governance, Record::Governance(governance));
    }

    fn put_key(&mut self, key: PublicKey, member: Option<Member>, status: KeyStatus) {
        let record = KeyRecord { member, status, since: self.site.proposal, at: self.site.height };
        self.put(StateKey::Key(key), Record::Key(record));
    }

    fn put(&mut self, key: StateKey, record: Record) {
        self.changed.insert(key.clone());
        self.state.put(key, record);
    }
}

/// Whether the validators that stay can go on alone, whatever becomes of those that join: so they can remove these again.
/// To one or two nodes that cannot be: there one may join at a time.
fn step(old: &ValidatorSet, members: &[(NodeId, PublicKey)]) -> Result<(), Refusal> {
    let stay = members.iter().filter(|(id, key)| old.key(*id) == Some(*key)).count();
    let quorum = quorum(members.len());
    let nobody_leaves = old.members.iter().all(|(id, _)| members.iter().any(|(member, _)| member == id));
    let one_is_new = nobody_leaves && stay + 1 == members.len();
    if stay >= quorum || (old.members.len() < 4 && one_is_new) {
        Ok(())
    } else {
        Err(Refusal::StepTooLarge { stay, quorum })
    }
}

/// What no other node may have.
fn names(node: &Node) -> [String; 3] {
    [format!("the name {}", node.name), format!("the address {}", node.peer), format!("the address {}", node.api)]
}

fn at_most(count: usize, max: usize, what: &'static str) -> Result<(), Refusal> {
    if count > max { Err(Refusal::TooManyMembers { what, max }) } else { Ok(()) }
}

fn genesis_rule(reason: genesis::GenesisError) -> Refusal {
    Refusal::GenesisRule { reason: Box::new(reason) }
}
