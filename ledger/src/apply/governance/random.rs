//! Whatever operators decide, one after the other, these hold.

use std::collections::BTreeMap;

use genesis::{NodeName, OperatorId, Parameters};
use proptest::prelude::*;
use wallet::{identity::PublicKey, units::NodeId};

use crate::{
    governance::{Action, Member, quorum},
    state::{KeyStatus, Standing, State},
    testing::{Chain, consortium_with, key, operator_id},
};

/// One change, by numbers: what, and to whom.
fn action(chain: &mut Chain, step: u32, (kind, whom): (u8, u8)) -> Action {
    let nodes = u8::try_from(chain.tip.state.nodes().count()).expect("few nodes");
    let node = NodeId::new(u32::from(whom % nodes));
    let operator = operator_id(u32::from(whom % 4));
    let member = if kind & 8 == 0 { Member::Node(node) } else { Member::Operator(operator.clone()) };
    let key_of = |member: &Member| match member {
        Member::Operator(id) => chain.tip.state.operator(id).expect("it was there").operator.key,
        Member::Node(id) => chain.tip.state.node(*id).expect("it was there").node.key,
    };
    match kind % 8 {
        0 => Action::Suspend(member),
        1 => Action::Reinstate { key: key_of(&member), member },
        2 => Action::Remove(member),
        3 => chain.joining_operator(4 + u32::from(whom % 2)),
        4 => chain.joining_node(4 + step, u32::from(whom % 5)),
        5 => Action::RevokeKey(key_of(&member)),
        6 => {
            let from = key_of(&member);
            chain.replacing(member, from, &key(&format!("new key {step}")))
        }
        _ => {
            let (name, from) = ("credit_per_ms".to_owned(), chain.tip.state.parameters().credit_per_ms);
            Action::SetParameter { name, from, to: u64::from(whom) }
        }
    }
}

/// What holds of every state.
fn holds(state: &State) -> Result<(), TestCaseError> {
    let in_force: Vec<(NodeId, PublicKey)> = state
        .nodes()
        .filter(|(_, record)| record.standing == Standing::InForce)
        .map(|(id, record)| (id, record.node.key))
        .collect();
    prop_assert_eq!(&state.validators().members, &in_force, "who votes is who is in force");
    prop_assert!(!in_force.is_empty() && !state.electorate().is_empty(), "somebody is left");
    for record in state.operators() {
        let status = state.key(record.operator.key).expect("every key is on record").status;
        let fits = match record.standing {
            Standing::InForce | Standing::Suspended => status == KeyStatus::InForce,
            Standing::Keyless => status == KeyStatus::Revoked,
            Standing::Removed => matches!(status, KeyStatus::Retired | KeyStatus::Revoked),
        };
        prop_assert!(fits, "operator {} is {:?}, its key {:?}", record.operator.id, record.standing, status);
    }
    for (id, record) in state.nodes() {
        let operator = state.operator(&record.node.operator).expect("it was there").standing;
        let key = state.key(record.node.key).expect("every key is on record");
        prop_assert_eq!(key.member, Some(Member::Node(id)), "a key has one role");
        let (standing, status) = (record.standing, key.status);
        let fits = match standing {
            Standing::InForce => status == KeyStatus::InForce && operator == Standing::InForce,
            Standing::Suspended => status == KeyStatus::InForce && operator != Standing::Removed,
            Standing::Keyless => status == KeyStatus::Revoked && operator != Standing::Removed,
            Standing::Removed => matches!(status, KeyStatus::Retired | KeyStatus::Revoked),
        };
        prop_assert!(fits, "node {} is {:?}, its key {:?}, its operator {:?}", id, standing, status, operator);
    }
    Ok(())
}

/// What may differ between a state and a later one.
fn follows(before: &State, after: &State) -> Result<(), TestCaseError> {
    let (old, new) = (before.validators(), after.validators());
    let closed = old.members != new.members;
    prop_assert_eq!(new.epoch, old.epoch + u64::from(closed), "an epoch for each change of the set");
    let (stay, in_force) = (new.members.iter().filter(|(id, _)| old.key(*id).is_some()).count(), new.members.len());
    let by_one = old.members.len() < 3 && stay == old.members.len() && in_force == stay + 1;
    prop_assert!(by_one || stay >= quorum(in_force), "who stays can go on alone");
    prop_assert_eq!(after.validators_of(old.epoch).map(|record| record.set), Some(old), "its set stays");
    let changed = before.electorate() != after.electorate();
    let electorate = |state: &State| state.governance().expect("founded").electorate;
    prop_assert_eq!(electorate(after), electorate(before) + u64::from(changed));
    let was: BTreeMap<NodeId, (NodeName, OperatorId)> =
        before.nodes().map(|(id, record)| (id, (record.node.name, record.node.operator))).collect();
    for (id, (name, operator)) in was {
        let record = after.node(id).expect("a join index stays");
        prop_assert_eq!((record.node.name, record.node.operator), (name, operator), "nobody else ever has it");
        let was = before.node(id).map(|record| record.standing);
        prop_assert!(was != Some(Standing::InForce) || record.standing != Standing::Removed, "it had time to let go");
        let gone = before.node(id).is_some_and(|record| record.standing == Standing::Removed);
        prop_assert!(!gone || record.standing == Standing::Removed, "who left stays away");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]
    #[test]
    fn whatever_is_decided_sets_keys_and_members_fit(steps in proptest::collection::vec((0..16_u8, any::<u8>()), 1..10)) {
        let parameters = Parameters { proposal_lock_ms: 0, ..Parameters::default() };
        let mut chain = Chain::new(consortium_with(4, parameters));
        for (step, numbers) in (0..).zip(steps) {
            let before = chain.tip.state.clone();
            let action = action(&mut chain, step, numbers);
            let closes = match chain.enact(vec![action]) {
                Ok(()) => chain.tip.is_closing(),
                // A refused proposal is none at all.
                Err(_) => {
                    prop_assert_eq!(&chain.tip.state, &before);
                    false
                }
            };
            prop_assert_eq!(closes, before.validators() != chain.tip.validators());
            holds(&chain.tip.state)?;
            follows(&before, &chain.tip.state)?;
        }
    }
}
