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
