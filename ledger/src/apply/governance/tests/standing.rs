//! Who is suspended, reinstated and removed, and by what.

use super::*;

/// The digest of the proposal by which node 3 has its standing.
fn since(chain: &Chain) -> Digest {
    chain.tip.state.node(NodeId::new(3)).expect("a node").since
}

#[test]
fn a_suspension_that_passed_is_refused_for_good_once_a_later_proposal_reinstated() {
    let mut chain = chain();
    let [first, second] = [(); 2].map(|()| chain.pass(vec![Action::Suspend(node(3))]).expect("valid"));
    chain.push(chain.enacting(first)).expect("both passed");
    let unfit = Refusal::StandingUnfit { member: node(3) };
    assert_eq!(chain.push(chain.enacting(second)), Err(unfit), "it is suspended");
    let reinstating = chain.reinstating(node(3));
    chain.enact(vec![reinstating]).expect("valid");
    let later = Refusal::DecidedLater { member: node(3), by: since(&chain) };
    assert_eq!(chain.push(chain.enacting(second)), Err(later), "who reinstated it knew more");
    assert_eq!(members(&chain), [0, 1, 2, 3]);
    chain.enact(vec![Action::Suspend(node(3))]).expect("what is proposed now is the last word");
    assert_eq!(members(&chain), [0, 1, 2]);
}

#[test]
fn nothing_old_reinstates_or_removes_whom_a_later_proposal_suspended() {
    let mut chain = chain();
    chain.enact(vec![Action::Suspend(node(3))]).expect("valid");
    let reinstating = chain.reinstating(node(3));
    let old = [reinstating.clone(), Action::Remove(node(3))].map(|action| chain.pass(vec![action]).expect("valid"));
    chain.enact(vec![reinstating]).expect("valid");
    chain.enact(vec![Action::Suspend(node(3))]).expect("for another reason");
    let later = Refusal::DecidedLater { member: node(3), by: since(&chain) };
    for proposal in old {
        assert_eq!(chain.push(chain.enacting(proposal)), Err(later.clone()));
    }
    assert_eq!(chain.tip.state.node(NodeId::new(3)).expect("a node").standing, Standing::Suspended);
}

#[test]
fn another_key_changes_nothing_about_who_is_suspended() {
    let begun = chain();
    for is_in_order in [true, false] {
        let mut chain = begun.clone();
        let suspending = chain.pass(vec![Action::Suspend(node(3))]).expect("valid");
        let rotating = chain.rotating(node(3), &node_key(3), &next_node_key(3));
        let rotating = chain.pass(vec![rotating]).expect("valid");
        let order = if is_in_order { [suspending, rotating] } else { [rotating, suspending] };
        for proposal in order {
            chain.push(chain.enacting(proposal)).expect("one does not hinder the other");
        }
        assert_eq!(since(&chain), suspending, "a node cannot rotate its way out");
        assert_eq!(members(&chain), [0, 1, 2]);
    }
}

#[test]
fn what_is_enacted_late_does_not_hide_what_was_decided_after_it() {
    let mut chain = chain();
    let rotating = chain.rotating(node(3), &node_key(3), &next_node_key(3));
    let rotating = chain.pass(vec![rotating]).expect("valid");
    let revoking = chain.pass(vec![Action::RevokeKey(next_node_key(3).public_key())]).expect("valid");
    let [first, second] = [(); 2].map(|()| chain.pass(vec![Action::Suspend(node(3))]).expect("valid"));
    chain.push(chain.enacting(first)).expect("both passed");
    let removing = chain.pass(vec![Action::Remove(node(3))]).expect("valid");
    let reinstating = chain.reinstating(node(3));
    chain.enact(vec![reinstating]).expect("valid");
    let last = since(&chain);
    chain.push(chain.enacting(rotating)).expect("its key was not changed since");
    let later = Refusal::DecidedLater { member: node(3), by: last };
    assert_eq!(chain.push(chain.enacting(second)), Err(later.clone()));
    chain.push(chain.enacting(revoking)).expect("a revocation waits for nothing");
    assert_eq!(since(&chain), last, "it was made before");
    assert_eq!(chain.push(chain.enacting(removing)), Err(later), "and opens the way to nothing else that is old");
}

#[test]
fn a_suspended_node_lets_go_of_its_wallets_and_takes_none() {
    let mut chain = chain();
    let session = Session::in_eu(&chain.consortium, 1);
    chain.push(session.created()).expect("valid");
    chain.enact(vec![Action::Suspend(operator(1))]).expect("valid");
    assert_eq!(members(&chain), [0, 2, 3]);
    let suspended = Err(Refusal::AuthorSuspended { author: NodeId::new(1) });
    assert_eq!(chain.push(Session::in_eu(&chain.consortium, 1).baseline(&session.record(&chain), 9, 9)), suspended);
    let wallet = session.record(&chain);
    chain.push(session.touched(&wallet, 1)).expect("it serves on");
    // To another node, but not to a suspended one.
    session.hop(&mut chain, 2, None).expect("it lets go");
    let wallet = session.record(&chain);
    let back = session.offer(&wallet, 1, chain.tip.height.get() + 100);
    let refused = chain.push(session.offered(&wallet, back));
    assert_eq!(refused, Err(Refusal::ReceiverInvalid { receiver: NodeId::new(1) }));
    assert_eq!(session.record(&chain).holder, NodeId::new(2));
}

#[test]
fn a_node_that_is_suspended_between_acceptance_and_confirm_gets_nothing() {
    let mut chain = chain();
    let session = Session::in_eu(&chain.consortium, 0);
    chain.push(session.created()).expect("valid");
    let wallet = session.record(&chain);
    let offer = MigrationOffered { deadline: BlockHeight::new(100), ..session.offer(&wallet, 1, 100) };
    chain.push(session.offered(&wallet, offer)).expect("valid");
    chain.push(session.accepted(&session.record(&chain), 1)).expect("valid");
    chain.enact(vec![Action::Suspend(node(1))]).expect("valid");
    let wallet = session.record(&chain);
    let confirmed = chain.push(session.confirmed(&wallet, session.ticket(&wallet)));
    assert_eq!(confirmed, Err(Refusal::AuthorSuspended { author: NodeId::new(1) }));
}

#[test]
fn reinstating_an_operator_leaves_its_nodes_to_be_named() {
    let mut chain = chain();
    chain.enact(vec![Action::Suspend(operator(2))]).expect("valid");
    let action = chain.reinstating(node(2));
    let alone = chain.propose_actions(0, vec![action]);
    assert_eq!(alone, Err(Refusal::OperatorNotInForce { operator: operator_id(2) }));
    let action = chain.reinstating(operator(2));
    chain.enact(vec![action]).expect("valid");
    assert_eq!(members(&chain), [0, 1, 3]);
    let action = chain.reinstating(node(2));
    chain.enact(vec![action]).expect("valid");
    assert_eq!(members(&chain), [0, 1, 2, 3]);
    let action = chain.reinstating(node(2));
    let twice = chain.propose_actions(0, vec![action]);
    assert_eq!(twice, Err(Refusal::StandingUnfit { member: node(2) }));
}

#[test]
fn a_removed_operator_takes_its_nodes_with_it_for_good() {
    let mut chain = chain();
    chain.expel(operator(2)).expect("valid");
    assert_eq!(members(&chain), [0, 1, 3]);
    let said = chain.push(Session::in_eu(&chain.consortium, 2).anchored(2, 1, Digest::ZERO));
    assert_eq!(said, Err(Refusal::AuthorUnknown { author: NodeId::new(2) }));
    for key in [operator_key(2), node_key(2)] {
        let status = chain.tip.state.key(key.public_key()).map(|record| record.status);
        assert_eq!(status, Some(KeyStatus::Retired));
    }
    let joining = chain.joining_operator(2);
    let refused = chain.propose_actions(0, vec![joining]);
    assert_eq!(refused, Err(Refusal::MemberExists { what: "the id op-02".to_owned() }));
    let orphan = chain.joining_node(7, 2);
    let gone = Refusal::MemberUnknown { what: "operator op-02".to_owned() };
    assert_eq!(chain.propose_actions(0, vec![orphan]), Err(gone));
}

#[test]
fn a_reinstatement_is_of_the_key_that_the_operators_saw() {
    let mut chain = chain();
    chain.enact(vec![Action::Suspend(node(3))]).expect("valid");
    let reinstating = chain.reinstating(node(3));
    let proposal = chain.pass(vec![reinstating]).expect("valid");
    let rotating = chain.rotating(node(3), &node_key(3), &next_node_key(3));
    chain.enact(vec![rotating]).expect("valid");
    assert_eq!(chain.push(chain.enacting(proposal)), Err(Refusal::KeyUnfit { key: node_key(3).public_key() }));
}

#[test]
fn nobody_is_removed_from_one_moment_to_the_next() {
    let mut chain = chain();
    for member in [node(3), operator(3)] {
        let unfit = Err(Refusal::StandingUnfit { member: member.clone() });
        assert_eq!(chain.propose_actions(0, vec![Action::Remove(member.clone())]), unfit);
        let at_once = vec![Action::Suspend(member.clone()), Action::Remove(member.clone())];
        assert_eq!(chain.propose_actions(0, at_once), unfit, "it could not let go of its wallets");
        let revoked = if member == node(3) { node_key(3) } else { operator_key(3) };
        let at_once = vec![Action::RevokeKey(revoked.public_key()), Action::Remove(member)];
        assert_eq!(chain.propose_actions(0, at_once), unfit);
    }
    chain.expel(operator(3)).expect("first out of force, then out");
}
