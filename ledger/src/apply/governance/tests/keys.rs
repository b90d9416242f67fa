//! Keys: rotated, replaced, revoked, and what a consent is worth.

use super::*;

#[test]
fn a_rotated_key_signs_nothing_and_what_it_signed_stays_provable() {
    let mut chain = chain();
    let session = Session::in_eu(&chain.consortium, 1);
    let before = session.anchored(1, 1, Digest::ZERO);
    let rotating = chain.rotating(node(1), &node_key(1), &next_node_key(1));
    chain.enact(vec![rotating]).expect("valid");
    assert_eq!(chain.push(before), Err(Refusal::AuthorSignature { author: NodeId::new(1) }));
    let body = session.anchored(1, 2, Digest::ZERO).body.clone();
    chain.push(body.sign(&next_node_key(1), None)).expect("signed by the new key");
    let (old, new) = (node_key(1).public_key(), next_node_key(1).public_key());
    let key = |key| chain.tip.state.key(key).map(|record| (record.member, record.status));
    assert_eq!(key(old), Some((Some(node(1)), KeyStatus::Rotated)));
    assert_eq!(key(new), Some((Some(node(1)), KeyStatus::InForce)));
    assert_eq!(chain.tip.validators().key(NodeId::new(1)), Some(new));
    let first = chain.tip.state.validators_of(0).expect("it stays").set;
    assert_eq!(first.key(NodeId::new(1)), Some(old), "what epoch 0 signed is checked with its set");
}

#[test]
fn a_rotation_names_the_key_in_force_and_a_new_one_that_agrees() {
    let mut chain = chain();
    let stale = chain.rotating(node(1), &node_key(2), &next_node_key(1));
    assert_eq!(chain.propose_actions(0, vec![stale]), Err(Refusal::KeyUnfit { key: node_key(2).public_key() }));
    let used = chain.rotating(node(1), &node_key(1), &operator_key(2));
    assert_eq!(chain.propose_actions(0, vec![used]), Err(Refusal::KeyKnown { key: operator_key(2).public_key() }));
    let mut silent = chain.rotating(node(1), &node_key(1), &next_node_key(1));
    if let Action::RotateKey { consent, .. } = &mut silent {
        consent.0[0] ^= 1;
    }
    let key = next_node_key(1).public_key();
    assert_eq!(chain.propose_actions(0, vec![silent]), Err(Refusal::KeyConsent { key }));
    let good = chain.rotating(node(1), &node_key(1), &next_node_key(1));
    let (first, second) = (chain.pass(vec![good.clone()]).expect("valid"), chain.pass(vec![good]).expect("valid"));
    chain.push(chain.enacting(first)).expect("valid");
    let again = chain.push(chain.enacting(second));
    assert_eq!(again, Err(Refusal::KeyUnfit { key: node_key(1).public_key() }), "rules are checked when it is enacted");
}

#[test]
fn a_revoked_key_leaves_its_node_out_until_another_is_reinstated() {
    let mut chain = chain();
    let session = Session::in_eu(&chain.consortium, 1);
    chain.enact(vec![Action::RevokeKey(node_key(1).public_key())]).expect("valid");
    assert_eq!(members(&chain), [0, 2, 3]);
    let anchored = chain.push(session.anchored(1, 1, Digest::ZERO));
    assert_eq!(anchored, Err(Refusal::AuthorSuspended { author: NodeId::new(1) }), "not even to let go");
    let action = chain.reinstating(node(1));
    let reinstated = chain.propose_actions(0, vec![action]);
    assert_eq!(reinstated, Err(Refusal::StandingUnfit { member: node(1) }));
    let (old, new) = (node_key(1).public_key(), next_node_key(1).public_key());
    let by_thief = chain.rotating(node(1), &node_key(1), &next_node_key(1));
    let refused = chain.propose_actions(0, vec![by_thief]);
    assert_eq!(refused, Err(Refusal::KeyUnfit { key: old }), "others may have the key that agrees");
    let replacing = chain.replacing(node(1), old, &next_node_key(1));
    chain.enact(vec![replacing, Action::Reinstate { member: node(1), key: new }]).expect("valid");
    assert_eq!(members(&chain), [0, 1, 2, 3]);
    let revoked = chain.tip.state.key(node_key(1).public_key()).map(|record| record.status);
    assert_eq!(revoked, Some(KeyStatus::Revoked), "and it stays so");
    let twice = chain.propose_actions(0, vec![Action::RevokeKey(node_key(1).public_key())]);
    assert_eq!(twice, Err(Refusal::KeyUnfit { key: node_key(1).public_key() }));
}

#[test]
fn an_operators_new_key_votes_and_its_old_one_does_not() {
    let mut chain = chain();
    let rotating = chain.rotating(operator(1), &operator_key(1), &next_node_key(9));
    chain.enact(vec![rotating]).expect("valid");
    let proposal = chain.propose_actions(0, vec![cheaper()]).expect("valid");
    let by_old_key = OperatorBallot { proposal, operator: operator_id(1), approves: true }.sign(&operator_key(1));
    let refused = chain.push(chain.governing(Event::BallotCast(by_old_key)));
    assert_eq!(refused, Err(Refusal::OperatorSignature { operator: operator_id(1) }));
    chain.cast(1, proposal, true).expect("by the new key");
    assert_eq!((chain.tip.state.epoch(), members(&chain).len()), (0, 4), "its node's key is another");
    let revoked = Action::RevokeKey(next_node_key(9).public_key());
    let proposal = chain.propose_actions(0, vec![revoked]).expect("valid");
    [2, 3].into_iter().try_for_each(|number| chain.cast(number, proposal, true)).expect("valid");
    chain.push(chain.enacting(proposal)).expect("valid");
    let electorate: Vec<_> = chain.tip.state.electorate().into_iter().map(|(id, _)| id).collect();
    assert_eq!(electorate, [0, 2, 3].map(operator_id));
    assert_eq!(members(&chain), [0, 2, 3], "what speaks in its name is out of force, too");
    assert_eq!(chain.tip.state.node(NodeId::new(1)).map(|record| record.standing), Some(Standing::Suspended));
}

#[test]
fn a_key_changes_at_once_only_by_the_word_of_the_one_before() {
    let mut chain = chain();
    let enactable_at = |chain: &Chain, proposal| match chain.tip.state.proposal(proposal).expect("made").stage {
        Stage::Passed { enactable_at } => enactable_at,
        other => panic!("{other:?}"),
    };
    for (member, key) in [(node(1), node_key(1)), (operator(1), operator_key(1))] {
        let renewing = chain.rotating(member.clone(), &key, &next_node_key(1));
        let renewed = chain.pass(vec![renewing]).expect("valid");
        assert_eq!(enactable_at(&chain, renewed), chain.tip.time, "its owner wants it");
        let replacing = chain.replacing(member.clone(), key.public_key(), &next_node_key(1));
        let replaced = chain.pass(vec![replacing]).expect("valid");
        let lock = Parameters::default().proposal_lock_ms;
        assert_eq!(enactable_at(&chain, replaced).get(), chain.tip.time.get() + lock, "it gives its name to others");
        let mut forged = chain.rotating(member, &key, &next_node_key(1));
        if let Action::RotateKey { by_old_key: Some(signature), .. } = &mut forged {
            signature.0[0] ^= 1;
        }
        assert_eq!(chain.propose_actions(0, vec![forged]), Err(Refusal::KeyConsent { key: key.public_key() }));
    }
}

#[test]
fn a_key_that_its_operator_renews_leaves_the_others_proposals_alone() {
    let mut chain = chain();
    let proposal = chain.propose_actions(0, vec![cheaper()]).expect("valid");
    chain.cast(1, proposal, true).expect("valid");
    let renewing = chain.rotating(operator(1), &operator_key(1), &next_node_key(9));
    chain.enact(vec![renewing]).expect("valid");
    assert_eq!(chain.tip.state.founded().electorate, 0);
    chain.cast(2, proposal, true).expect("still the same operators");
    let replacing = chain.replacing(operator(2), operator_key(2).public_key(), &next_node_key(8));
    chain.enact(vec![replacing]).expect("valid");
    assert_eq!(chain.tip.state.founded().electorate, 1, "who has this key may be somebody else");
    assert_eq!(chain.push(chain.enacting(proposal)), Err(Refusal::ProposalSuperseded { proposal, named: 0 }));
}

#[test]
fn a_consent_is_worth_nothing_once_its_key_is_revoked() {
    let mut chain = chain();
    let (joining, key) = (chain.joining_node(4, 1), node_key(4).public_key());
    chain.enact(vec![Action::RevokeKey(key)]).expect("it has no role yet");
    assert_eq!(chain.tip.state.key(key).map(|record| (record.member, record.status)), Some((None, KeyStatus::Revoked)));
    assert_eq!(chain.propose_actions(0, vec![joining]), Err(Refusal::KeyKnown { key }));
}
