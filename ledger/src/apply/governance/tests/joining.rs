//! Operators and nodes that join.

use super::*;

#[test]
fn a_node_id_is_its_join_index_and_never_used_again() {
    let mut chain = chain();
    chain.expel(node(3)).expect("valid");
    chain.join(5, 0).expect("valid");
    assert_eq!(members(&chain), [0, 1, 2, 4]);
    assert_eq!(chain.tip.state.node(NodeId::new(3)).map(|record| record.standing), Some(Standing::Removed));
    let (key, joining) = (node_key(5).public_key(), chain.joining_node(5, 0));
    assert_eq!(chain.propose_actions(0, vec![joining]), Err(Refusal::MemberExists { what: "the name node-05".into() }));
    chain.expel(node(4)).expect("valid");
    let again = chain.joining_node(5, 0);
    assert_eq!(chain.propose_actions(0, vec![again]), Err(Refusal::KeyKnown { key }), "its key had a role");
    let (gone, back) = (Refusal::MemberUnknown { what: "node 4".to_owned() }, chain.reinstating(node(4)));
    assert_eq!(chain.propose_actions(0, vec![back]), Err(gone));
    assert_eq!(chain.tip.validators().epoch, 3);
}

#[test]
fn an_operator_and_its_node_join_together_and_vote() {
    let mut chain = chain();
    let joining = vec![chain.joining_operator(4), chain.joining_node(4, 4)];
    chain.enact(joining).expect("valid");
    assert_eq!(members(&chain), [0, 1, 2, 3], "a node that joins does not vote yet");
    let promoting = chain.reinstating(node(4));
    chain.enact(vec![promoting]).expect("valid");
    assert_eq!(members(&chain), [0, 1, 2, 3, 4]);
    assert_eq!(chain.tip.state.electorate().len(), 5);
    let proposal = chain.propose_actions(4, vec![cheaper()]).expect("it proposes");
    for number in [0, 1] {
        chain.cast(number, proposal, true).expect("valid");
    }
    let refused = chain.push(chain.enacting(proposal));
    assert_eq!(refused, Err(Refusal::ProposalNotPassed { found: 3, quorum: 4 }));
    chain.push(Session::in_eu(&chain.consortium, 0).anchored(4, 1, Digest::ZERO)).expect("its node authors");
}

#[test]
fn what_joins_keeps_the_rules_of_the_genesis_document() {
    let mut chain = chain();
    let mut joining = |change: fn(&mut genesis::Node)| {
        let Action::AddNode { mut node, .. } = chain.joining_node(4, 1) else { unreachable!() };
        change(&mut node);
        let sign = |key| KeyClaim::Node(&node).sign(&chain.consortium.id(), key);
        let (consent, by_operator) = (sign(&node_key(4)), sign(&operator_key(1)));
        chain.propose_actions(0, vec![Action::AddNode { node, consent, by_operator }]).map(drop)
    };
    let taken = |what: &str| Err(Refusal::MemberExists { what: what.to_owned() });
    assert_eq!(joining(|_| {}), Ok(()));
    assert_eq!(joining(|node| node.name = "node-00".parse().expect("a name")), taken("the name node-00"));
    assert_eq!(joining(|node| node.peer.set_port(7000)), taken("the address 127.0.0.1:7000"));
    assert!(matches!(joining(|node| node.peer.set_port(0)), Err(Refusal::GenesisRule { .. })));
    assert!(matches!(joining(|node| node.api.clear()), Err(Refusal::GenesisRule { .. })));
    let region = joining(|node| node.region = "mars".to_owned().try_into().expect("a region name"));
    assert_eq!(region, Err(Refusal::MemberUnknown { what: "region mars".to_owned() }));
    let foreign = joining(|node| node.key = node_key(5).public_key());
    assert_eq!(foreign, Err(Refusal::KeyConsent { key: node_key(5).public_key() }));
    let small_order = joining(|node| node.key = wallet::identity::PublicKey([0; 32]));
    assert!(matches!(small_order, Err(Refusal::GenesisRule { .. })));
}

#[test]
fn nobody_has_a_node_that_it_does_not_know_of() {
    let mut chain = chain();
    let Action::AddNode { node, consent, .. } = chain.joining_node(4, 3) else { unreachable!() };
    let by_operator = KeyClaim::Node(&node).sign(&chain.consortium.id(), &operator_key(0));
    let refused = chain.propose_actions(0, vec![Action::AddNode { node, consent, by_operator }]);
    assert_eq!(refused, Err(Refusal::KeyConsent { key: operator_key(3).public_key() }));
}

#[test]
fn a_node_joins_and_votes_by_two_decisions() {
    let mut chain = chain();
    let unfit = Err(Refusal::StandingUnfit { member: node(4) });
    let both = vec![chain.joining_node(4, 1), Action::Reinstate { member: node(4), key: node_key(4).public_key() }];
    assert_eq!(chain.propose_actions(0, both), unfit, "nobody has seen it yet");
    let joining = chain.joining_node(4, 1);
    chain.enact(vec![joining]).expect("valid");
    assert_eq!((chain.tip.state.epoch(), members(&chain).len()), (0, 4));
    assert_eq!(chain.tip.state.node(NodeId::new(4)).map(|record| record.standing), Some(Standing::Suspended));
    let promoting = chain.reinstating(node(4));
    chain.enact(vec![promoting]).expect("valid");
    assert_eq!(members(&chain), [0, 1, 2, 3, 4]);
}
