//! The proof of a re-genesis for who has no state: in a hand-over, and so in bundles, log proofs and offers.
//!
//! The old set's word is for the last final block, and under that block's state root stand the nodes and operators of
//! then. So a verifier sees for itself that those who signed ran the validators that stay, and that these were validators.

use std::collections::BTreeMap;

use genesis::{OperatorId, ValidatorSet};
use serde::{Deserialize, Serialize};
use wallet::{digest::Digest, identity::PublicKey, units::NodeId};

use super::{ReGenesis, Signatories, ballot, decided};
use crate::{
    block::{Block, Header},
    checks::Direct,
    event::{Entry, Event},
    governance::Member,
    hand_over::{ClosingProof, HandOverInvalid, ValidatorSets},
    state::{Record, RecordInvalid, Standing, State, StateKey, record_under},
    tree::log::LogTree,
};

/// What leads from the old set to the block of a re-genesis.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReGenesisProof {
    /// Of the last final block, on which it stands.
    pub last: Header,
    /// Why that is final.
    pub proof: ClosingProof,
    /// The log up to there.
    pub log: LogTree,
    /// The only entry. Never a gate's notice.
    #[serde(deserialize_with = "crate::event::of_proof")]
    pub entry: Entry,
    /// Of each validator that stays, by join index: its record as it was then.
    pub nodes: Vec<ProvenRecord>,
    /// Of each operator of those, by id: its record as it was then.
    pub operators: Vec<ProvenRecord>,
    /// Of each validator that does not stay, by join index: its record as it was then, which says whose it is.
    pub lost: Vec<(NodeId, ProvenRecord)>,
}

/// A record under the state root of the last final block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProvenRecord {
    /// The record, canonically encoded.
    pub record: Vec<u8>,
    /// The hashes beside the path from the state root to it, the root's children first.
    pub path: Vec<Digest>,
}

impl ProvenRecord {
    fn of(state: &State, key: StateKey) -> Option<Self> {
        let record = wallet::codec::encode(&state.record(key.clone())?);
        Some(Self { record, path: state.prove(key).siblings })
    }

    fn verify(&self, root: &Digest, key: &StateKey) -> Result<Record, RecordInvalid> {
        record_under(root, key, &self.record, &self.path)
    }
}

impl ReGenesisProof {
    /// The proof of `block`, which leads from one of the `sets` to the other; `state` and `log` are those after its parent,
    /// whose header is `last`. None if the block is no re-genesis.
    pub fn of(last: Header, state: &State, log: LogTree, block: &Block, sets: [&ValidatorSet; 2]) -> Option<Self> {
        let [old, next] = sets;
        decided(block)?;
        let proof = ClosingProof { certificate: block.parent_certificate.clone()?, carriers: block.carriers.clone() };
        let run: BTreeMap<NodeId, OperatorId> =
            next.members.iter().filter_map(|(id, _)| Some((*id, state.node(*id)?.node.operator))).collect();
        let nodes = run.keys().filter_map(|node| ProvenRecord::of(state, StateKey::Node(*node))).collect();
        let operators = distinct(run.values().cloned());
        let operators = operators.filter_map(|id| ProvenRecord::of(state, StateKey::Operator(id))).collect();
        let lost = gone(old, next).map(|node| Some((node, ProvenRecord::of(state, StateKey::Node(node))?)));
        let (lost, entry) = (lost.collect::<Option<_>>()?, block.entries.first()?.clone());
        Some(Self { last, proof, log, entry, nodes, operators, lost })
    }

    /// What was decided; none if the entry says something else.
    pub fn decided(&self) -> Option<&ReGenesis> {
        match &self.entry.body.event {
            Event::ReGenesis(event) => Some(event),
            _ => None,
        }
    }

    /// Checks that `closing` is a re-genesis after all that `sets` know, and leads to `next`. Gives who has to sign it.
    pub(crate) fn verify(
        &self,
        sets: &ValidatorSets,
        closing: &Header,
        next: &ValidatorSet,
    ) -> Result<Signatories, HandOverInvalid> {
        let Self { last, proof, entry, .. } = self;
        // Signatures last: they cost most.
        let signatories = self.signatories(closing, next)?;
        let old = sets.last();
        let is_of_epoch = last.epoch == old.epoch && last.view.epoch() == old.epoch && !last.is_closing();
        let follows = is_of_epoch || sets.began_on() == Some(last.digest());
        holds(follows, "the last final block is of another epoch")?;
        let begins = self.decided().map(|decided| decided.lineage);
        holds(begins == sets.lineage().checked_add(1), "its entry begins another lineage")?;
        let key = old.key(entry.body.author).filter(|_| entry.body.consortium == sets.consortium());
        let is_signed = key.is_some_and(|key| entry.signature.verify(&key, entry, &Direct).is_ok());
        holds(is_signed, "its author did not sign the entry")?;
        let all_stay = next.members.iter().all(|member| old.members.contains(member));
        holds(all_stay, "somebody is in the next set who was not in the one before")?;
        let lost = self.lost.iter().map(|(node, _)| *node);
        holds(lost.eq(gone(old, next)), "it is not said of each validator whether it stays")?;
        sets.verify_final(last.view.epoch(), &proof.certificate)?;
        Ok(signatories)
    }

    /// [`Self::signers`], for the certificate.
    pub(crate) fn signatories(&self, closing: &Header, next: &ValidatorSet) -> Result<Signatories, HandOverInvalid> {
        let keys = self.signers(closing, next)?.into_iter().map(|signer| (signer.node, signer.key)).collect();
        Ok(Signatories { ballot: ballot(closing), keys })
    }

    /// What can be said of a re-genesis without knowing the chain: who has to sign it, if it is whole.
    ///
    /// # Errors
    /// [`HandOverInvalid`] says what does not fit.
    pub(crate) fn signers(&self, closing: &Header, next: &ValidatorSet) -> Result<Vec<Signatory>, HandOverInvalid> {
        let Self { last, proof, log, entry, .. } = self;
        let (root, last_digest) = (&last.state_root, last.digest());
        let follows = closing.parent == last_digest
            && last.height.next() == Some(closing.height)
            && last.name() == closing.consortium
            && closing.time > last.time;
        holds(follows, "it does not follow the last final block")?;
        let is_final = proof.closes() == Some((last.height, last_digest))
            && (last.is_closing() || (proof.carriers.is_empty() && proof.certificate.view == last.view));
        holds(is_final, "the last block's certificate is of another")?;
        let is_before = log.is_whole() && log.size() < u64::MAX / 2;
        let is_before = is_before && (log.size(), log.root()) == (last.log_size, last.log_root);
        holds(is_before, "the log is not that of the last final block")?;
        let mut after = log.clone();
        after.append(entry.leaf_hash());
        holds((after.size(), after.root()) == (closing.log_size, closing.log_root), "its entry is not the only one")?;
        let decided = self.decided().ok_or(HandOverInvalid::ReGenesis("its entry decides something else"))?;
        let author = entry.body.author;
        holds(author == closing.leader && next.key(author).is_some(), "its author is not its leader, or is lost")?;
        let run = self.run(next)?;
        let names = |node, operator: &OperatorId| {
            decided.lost.contains(&Member::Node(node)) || decided.lost.contains(&Member::Operator(operator.clone()))
        };
        let kept_are_named = run.iter().any(|signatory| names(signatory.node, &signatory.operator));
        holds(!kept_are_named, "it keeps a validator that it names as lost")?;
        for (node, proven) in &self.lost {
            let named = match proven.verify(root, &StateKey::Node(*node))? {
                Record::Node(record) => names(*node, &record.node.operator),
                _ => false,
            };
            holds(named, "it drops a validator that it does not name as lost")?;
        }
        Ok(run)
    }

    /// Who runs the validators that stay.
    fn run(&self, next: &ValidatorSet) -> Result<Vec<Signatory>, HandOverInvalid> {
        let root = &self.last.state_root;
        let wrong = HandOverInvalid::ReGenesis("it is not proven who runs the validators that stay");
        if self.nodes.len() != next.members.len() || next.members.is_empty() {
            return Err(wrong);
        }
        let mut run = Vec::new();
        for ((id, key), proven) in next.members.iter().zip(&self.nodes) {
            match proven.verify(root, &StateKey::Node(*id))? {
                Record::Node(record) if record.standing == Standing::InForce && record.node.key == *key => {
                    run.push((*id, record.node.operator));
                }
                _ => return Err(wrong),
            }
        }
        let mut keys = BTreeMap::new();
        let mut proven = self.operators.iter();
        for id in distinct(run.iter().map(|(_, operator)| operator.clone())) {
            let record = proven.next().ok_or(wrong.clone())?.verify(root, &StateKey::Operator(id.clone()))?;
            match record {
                Record::Operator(record) if record.standing == Standing::InForce => {
                    keys.insert(id, record.operator.key);
                }
                _ => return Err(wrong),
            }
        }
        if proven.next().is_some() {
            return Err(wrong);
        }
        let signatory = |(node, operator)| Some(Signatory { node, key: *keys.get(&operator)?, operator });
        run.into_iter().map(signatory).collect::<Option<_>>().ok_or(wrong)
    }
}

/// An operator that has to sign a re-genesis, for one of its nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signatory {
    /// A validator that stays.
    pub node: NodeId,
    /// Who runs it.
    pub operator: OperatorId,
    /// That operator's key.
    pub key: PublicKey,
}

/// Who is in one set and not in the next.
fn gone(old: &ValidatorSet, next: &ValidatorSet) -> impl Iterator<Item = NodeId> {
    old.members.iter().map(|(node, _)| *node).filter(|node| next.key(*node).is_none())
}

fn holds(holds: bool, otherwise: &'static str) -> Result<(), HandOverInvalid> {
    if holds { Ok(()) } else { Err(HandOverInvalid::ReGenesis(otherwise)) }
}

/// Each once, in order.
fn distinct(ids: impl Iterator<Item = OperatorId>) -> impl Iterator<Item = OperatorId> {
    ids.collect::<std::collections::BTreeSet<_>>().into_iter()
}
