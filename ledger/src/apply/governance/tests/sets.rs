//! The next validator set, and how far it may be from the one before.

use super::*;

#[test]
fn a_change_of_the_set_closes_the_block_and_its_header_names_the_next_set() {
    let mut chain = chain();
    let before = chain.tip.validators();
    let joining = chain.joining_node(4, 1);
    chain.enact(vec![joining]).expect("valid");
    let promoting = chain.reinstating(node(4));
    let proposal = chain.pass(vec![promoting]).expect("valid");
    chain.wait_ms(Parameters::default().proposal_lock_ms);
    let later = Session::in_eu(&chain.consortium, 1).anchored(1, 1, Digest::ZERO);
    let proposed = chain.propose(vec![chain.enacting(proposal), later.clone()]);
    assert_eq!(proposed.left_over, std::slice::from_ref(&later), "the entry behind waits for the next epoch");
    let (parent, consortium) = (chain.tip.clone(), chain.consortium.clone());
    let executed = execute(&consortium, &parent, &proposed.block).expect("valid");
    assert_eq!(executed, proposed.executed);
    let (header, after) = (&proposed.block.header, executed.validators());
    assert_eq!((header.epoch, header.validators), (0, before.hash()));
    assert_eq!((after.epoch, header.next_validators), (1, after.hash()));
    assert_eq!(after.members.len(), 5);
    assert_eq!((executed.is_closing(), executed.voted_by()), (true, before.clone()));
    // The same block with the entry behind in it, or with another next set.
    let mut longer = proposed.block.clone();
    longer.entries.push(later.clone());
    longer.header.log_size += 1;
    longer.proposal = longer.header.sign(&node_key(0));
    let refused = execute(&consortium, &parent, &longer).expect_err("an entry behind");
    assert_eq!(refused, BlockInvalid::EntryAfterClosing { index: 1 });
    let mut silent = proposed.block.clone();
    silent.header.next_validators = Digest::ZERO;
    silent.proposal = silent.header.sign(&node_key(0));
    let refused = execute(&consortium, &parent, &silent).expect_err("it hides the hand-over");
    assert!(matches!(refused, BlockInvalid::NextValidators { .. }));
    // The next block is of the next epoch.
    chain.push(chain.enacting(proposal)).expect("valid");
    chain.push(later).expect("valid");
    let (block, _) = chain.blocks.last().expect("blocks");
    assert_eq!((block.header.epoch, block.header.validators), (1, after.hash()));
    assert_eq!(block.header.next_validators, Digest::ZERO);
    assert_eq!((chain.tip.is_closing(), chain.tip.voted_by()), (false, after));
    assert_eq!(chain.tip.state.validators_of(0).expect("it stays").set, before);
}

#[test]
fn somebody_is_always_left_to_vote() {
    let mut alone = Chain::new(consortium(1));
    for action in [
        Action::Suspend(node(0)),
        Action::Suspend(operator(0)),
        Action::RevokeKey(node_key(0).public_key()),
        Action::RevokeKey(operator_key(0).public_key()),
    ] {
        assert_eq!(alone.propose_actions(0, vec![action.clone()]), Err(Refusal::NobodyLeft), "{action:?}");
    }
}

#[test]
fn a_replay_gives_the_same_roots_and_the_same_sets() {
    let parameters = Parameters { proposal_lock_ms: 0, ..Parameters::default() };
    let mut chain = Chain::new(consortium_with(4, parameters));
    let joining = vec![chain.joining_operator(4), chain.joining_node(4, 4)];
    chain.enact(joining).expect("valid");
    let promoting = chain.reinstating(node(4));
    chain.enact(vec![promoting]).expect("valid");
    let rotating = chain.rotating(node(1), &node_key(1), &next_node_key(1));
    chain.enact(vec![rotating, cheaper()]).expect("valid");
    chain.enact(vec![Action::Suspend(operator(2))]).expect("valid");
    chain.enact(vec![Action::Remove(operator(2)), Action::GrantAuditor(auditor(1))]).expect("valid");
    let mut at = crate::execute::Executed::genesis(&chain.consortium);
    for (block, certificate) in &chain.blocks {
        let voters = at.validators();
        certificate.verify(&voters, &chain.consortium.id()).expect("by the set that the state names");
        at = crate::execute::Executed {
            digest: block.header.digest(),
            height: block.header.height,
            view: block.header.view,
            time: block.header.time,
            ..at
        };
        crate::execute::append_all(&chain.consortium, &mut at, &block.entries, &crate::checks::Direct).expect("valid");
        assert_eq!((at.state.root(), at.log.root()), (block.header.state_root, block.header.log_root));
        let next = if at.is_closing() { at.validators().hash() } else { Digest::ZERO };
        assert_eq!((block.header.validators, block.header.next_validators), (voters.hash(), next));
        assert_eq!(at.voted_by(), voters);
    }
    assert_eq!(at, chain.tip);
    assert_eq!(at.state.epoch(), 3);
    let stored = State::from_leaves(at.state.tree().iter().map(|(key, value)| (*key, value.to_vec())));
    assert_eq!(stored.validators(), at.validators(), "it is all in the leaves");
}

#[test]
fn who_stays_can_go_on_without_those_that_join() {
    let mut chain = chain();
    let joining = (4..7).map(|number| chain.joining_node(number, 1)).collect();
    chain.enact(joining).expect("valid");
    let two: Vec<_> = [4, 5].map(|number| chain.reinstating(node(number))).into();
    assert_eq!(chain.propose_actions(0, two), Err(Refusal::StepTooLarge { stay: 4, quorum: 5 }));
    let exchange = vec![chain.reinstating(node(4)), Action::Suspend(node(0)), Action::Suspend(node(1))];
    assert_eq!(chain.propose_actions(0, exchange), Err(Refusal::StepTooLarge { stay: 2, quorum: 3 }));
    for number in 4..7 {
        let promoting = chain.reinstating(node(number));
        chain.enact(vec![promoting]).expect("one by one");
    }
    assert_eq!(members(&chain).len(), 7);
}

/// Their processes still sign with the key of before.
#[test]
fn so_many_keys_at_once_are_not_rotated_that_the_others_could_not_go_on() {
    for (count, refused) in
        [(4, Refusal::StepTooLarge { stay: 2, quorum: 3 }), (3, Refusal::StepTooLarge { stay: 1, quorum: 3 })]
    {
        let mut chain = Chain::new(consortium(count));
        let mut rotate = |of: u32| chain.rotating(node(of), &node_key(of), &next_node_key(of));
        let (first, second) = (rotate(0), rotate(1));
        assert_eq!(chain.propose_actions(0, vec![first.clone(), second]), Err(refused));
        chain.enact(vec![first]).expect("one of them is few enough");
    }
}

#[test]
fn a_consortium_of_one_grows_by_one_at_a_time() {
    let mut alone = Chain::new(consortium(1));
    let joining = (1..4).map(|number| alone.joining_node(number, 0)).collect();
    alone.enact(joining).expect("valid");
    let two: Vec<_> = [1, 2].map(|number| alone.reinstating(node(number))).into();
    assert_eq!(alone.propose_actions(0, two), Err(Refusal::StepTooLarge { stay: 1, quorum: 3 }));
    for number in 1..4 {
        let promoting = alone.reinstating(node(number));
        alone.enact(vec![promoting]).expect("one by one");
    }
    assert_eq!(members(&alone), [0, 1, 2, 3]);
}
