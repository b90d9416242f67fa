//! Terms: when a validator gives one up, and how the next is entered.

use super::{super::*, net::*};
use crate::{
    block::Block,
    evidence::Evidence,
    execute::{BlockInvalid, Place},
    testing::{Chain, certify_as, signer},
    vote::{Nullify, VoteKind},
};

const FIRST: View = View { term: 0, number: 1 };

/// What a node gave up, as it broadcast it the first time.
fn given_up(effects: &[Effect]) -> Option<(View, u64)> {
    let recorded = effects.iter().any(|effect| matches!(effect, Effect::Record(_)));
    effects.iter().filter(|_| recorded).find_map(|effect| match effect {
        Effect::BroadcastNullify { vote, .. } => Some((vote.statement.from, vote.statement.through)),
        _ => None,
    })
}

fn tick(voter: &mut Voter, ms: u64) -> Vec<Effect> {
    step(voter, after_ms(ms), Input::Tick).expect("taken")
}

fn entered(effects: &[Effect]) -> Option<u64> {
    effects.iter().find_map(|effect| match effect {
        Effect::Entered { term, .. } => Some(*term),
        _ => None,
    })
}

/// Makes a block final at all nodes of a net.
fn make_final(net: &mut Net, block: &Block) {
    (0..net.voters.len()).for_each(|node| drop(net.flush(node, 5, block)));
    net.settle();
    assert!(net.finals.iter().all(|finals| finals.len() == 1));
}

#[test]
fn a_term_without_a_block_is_given_up_once_when_patience_ends() {
    let chain = chain();
    let mut voter = voter(&chain, 0, VoteRecord::default());
    tick(&mut voter, 0);
    assert_eq!(given_up(&tick(&mut voter, 999)), None);
    assert_eq!(given_up(&tick(&mut voter, 1_000)), Some((FIRST, 1)));
    assert_eq!(voter.status().complaint, Some(Complaint::TimeUp));
    let again = tick(&mut voter, 1_250);
    assert_eq!(given_up(&again), None, "signed once");
    assert!(again.iter().any(|effect| matches!(effect, Effect::BroadcastNullify { .. })), "and sent again");
}

#[test]
fn with_nothing_due_a_leader_has_the_idle_time_as_well() {
    let chain = chain();
    let mut net = Net::new(&chain, 4);
    make_final(&mut net, &two_blocks(&chain).0);
    let idle = &mut net.voters[0];
    assert_eq!(given_up(&tick(idle, 10_999)), None);
    assert_eq!(given_up(&tick(idle, 11_000)), Some((View { term: 1, number: 2 }, 1)));
    let waited_for = &mut net.voters[1];
    step(waited_for, after_ms(5_000), Input::Demand(true)).expect("taken");
    assert_eq!(given_up(&tick(waited_for, 5_999)), None, "patience begins when something is due");
    assert!(given_up(&tick(waited_for, 6_000)).is_some());
}

#[test]
fn a_certified_block_starts_the_timer_anew() {
    let chain = chain();
    let (one, _) = two_blocks(&chain);
    let mut voter = voter(&chain, 3, VoteRecord::default());
    tick(&mut voter, 0);
    step(&mut voter, after_ms(900), flushed(5, &one)).expect("taken");
    let notarized = certify_as(VoteKind::Notarize, &one, [0, 1, 2]);
    step(&mut voter, after_ms(900), Input::Certificate(notarized)).expect("taken");
    assert_eq!(given_up(&tick(&mut voter, 1_899)), None);
    assert_eq!(given_up(&tick(&mut voter, 1_900)), Some((View { term: 1, number: 2 }, 1)), "it finalized view 1");
}

#[test]
fn patience_doubles_with_each_term_that_fails_up_to_the_cap_and_a_final_block_resets_it() {
    let chain = chain();
    let mut voter = voter(&chain, 0, VoteRecord::default());
    let mut patience = Vec::new();
    for term in 1..7 {
        patience.push(voter.status().patience_ms);
        let vote = |node| Input::Nullify(nullify(&chain, node, FIRST, term));
        [1, 2, 3].into_iter().for_each(|node| drop(step(&mut voter, AT, vote(node))));
        assert_eq!(voter.term(), term + 1);
    }
    // What is due is known after the first step.
    assert_eq!(patience, [11_000, 2_000, 4_000, 8_000, 10_000, 10_000]);
    let skipped = Some(nullification(&chain, [1, 2, 3], FIRST, 6));
    let place = Place { skipped, ..chain.place(View { term: 7, number: 1 }) };
    let next = block(&chain, place, 3, NOW);
    step(&mut voter, AT, flushed(5, &next)).expect("taken");
    step(&mut voter, AT, Input::Certificate(crate::testing::certify(&next, [1, 2, 3]))).expect("taken");
    assert_eq!((voter.tip().height.get(), voter.status().failed_terms), (1, 0));
}

#[test]
fn f_plus_1_that_give_up_are_joined_and_a_quorum_enters_the_next_term() {
    let chain = chain();
    let mut voter = voter(&chain, 0, VoteRecord::default());
    let vote = |node| Input::Nullify(nullify(&chain, node, FIRST, 4));
    assert_eq!(step(&mut voter, AT, vote(3)), Ok(Vec::new()), "one may lie");
    let effects = step(&mut voter, AT, vote(2)).expect("taken");
    assert_eq!((given_up(&effects), entered(&effects)), (Some((FIRST, 4)), Some(5)));
    assert_eq!((voter.term(), voter.status().complaint), (5, None));
    let permit = voter.permit().expect("shown to others");
    assert_eq!(permit.verify(chain.consortium.validators(), &chain.consortium.id()), Ok(()));
    assert!(permit.permits(5) && !permit.permits(6));
}

#[test]
fn one_liar_s_word_on_far_terms_carries_nobody_away() {
    let chain = chain();
    let mut voter = voter(&chain, 0, VoteRecord::default());
    for (node, through) in [(1, 1), (2, 1), (3, View::start_of(1).term - 2)] {
        step(&mut voter, AT, Input::Nullify(nullify(&chain, node, FIRST, through))).expect("taken");
    }
    assert_eq!(voter.term(), 2);
}

#[test]
fn a_proven_leader_s_term_is_entered_and_what_came_before_is_given_up() {
    let chain = chain();
    let mut voter = voter(&chain, 0, VoteRecord::default());
    let leads = Input::Leads { term: 4, leader: signer(2).node };
    let effects = step(&mut voter, AT, leads).expect("taken");
    assert_eq!(given_up(&effects), Some((FIRST, 3)));
    assert_eq!((voter.term(), voter.status().leader), (4, Some(signer(2).node)));
}

#[test]
fn in_a_term_that_is_over_nothing_is_notarized() {
    let chain = chain();
    let (one, _) = two_blocks(&chain);
    let mut voter = voter(&chain, 0, VoteRecord::default());
    step(&mut voter, AT, Input::Leads { term: 2, leader: signer(2).node }).expect("taken");
    let effects = step(&mut voter, AT, flushed(5, &one)).expect("taken");
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Broadcast(_))));
}

#[test]
fn the_guard_s_complaint_ends_its_term_and_no_other() {
    let chain = chain();
    let mut voter = voter(&chain, 0, VoteRecord::default());
    assert_eq!(given_up(&step(&mut voter, AT, Input::Complaint { term: 2 }).expect("taken")), None);
    assert_eq!(given_up(&step(&mut voter, AT, Input::Complaint { term: 1 }).expect("taken")), Some((FIRST, 1)));
    assert_eq!(voter.status().complaint, Some(Complaint::Guard));
}

#[test]
fn an_invalid_block_is_complained_of_at_once_and_is_evidence() {
    let chain = chain();
    let (mut lie, _) = two_blocks(&chain);
    lie.header.state_root = Digest::ZERO;
    lie.proposal = lie.header.sign(&signer(0).key);
    let mut voter = voter(&chain, 1, VoteRecord::default());
    let effects = step(&mut voter, AT, flushed(5, &lie)).expect("taken");
    assert_eq!(given_up(&effects), Some((FIRST, 1)));
    assert!(matches!(voter.status().invalid.as_slice(), [(5, BlockInvalid::StateRoot { .. })]));
    let evidence = effects.iter().find_map(|effect| match effect {
        Effect::Evidence(evidence) => Some(evidence),
        _ => None,
    });
    let culprits = evidence.expect("signed by its leader").verify(&chain.consortium).expect("holds");
    assert_eq!(culprits.iter().map(|culprit| culprit.node).collect::<Vec<_>>(), [signer(0).node]);
    assert!(matches!(evidence.map(|evidence| &**evidence), Some(Evidence::InvalidBlock(_))));
}

#[test]
fn a_late_block_gets_a_complaint_in_place_of_a_vote_unless_a_quorum_has_certified_it() {
    let chain = chain();
    let (one, _) = two_blocks(&chain);
    let is_vote = |effect: &Effect| matches!(effect, Effect::Broadcast(_));
    for (lag_ms, is_late) in [(2_000, false), (2_001, true)] {
        let mut voter = voter(&chain, 3, VoteRecord::default());
        let now = |ms| Moment { wall: Timestamp::new(one.header.time.get() + lag_ms), ..after_ms(ms) };
        let mut effects = step(&mut voter, now(0), flushed(5, &one)).expect("taken");
        effects.extend(step(&mut voter, now(250), Input::Tick).expect("taken"));
        effects.extend(step(&mut voter, now(500), Input::Tick).expect("taken"));
        assert_eq!((effects.iter().any(is_vote), given_up(&effects).is_some()), (!is_late, is_late));
        assert_eq!(voter.status().complaint, is_late.then_some(Complaint::LateBlock));
    }
    let mut voter = voter(&chain, 3, VoteRecord::default());
    let late = Moment { wall: Timestamp::new(one.header.time.get() + 9_000), ..AT };
    step(&mut voter, late, flushed(5, &one)).expect("taken");
    let notarized = certify_as(VoteKind::Notarize, &one, [0, 1, 2]);
    assert!(step(&mut voter, late, Input::Certificate(notarized)).expect("taken").iter().any(is_vote));
}

#[test]
fn a_vote_against_nothing_is_refused() {
    let chain = chain();
    let mut voter = voter(&chain, 0, VoteRecord::default());
    let empty = nullify(&chain, 1, View { term: 3, number: 1 }, 2);
    assert!(step(&mut voter, AT, Input::Nullify(empty)).is_err());
    let Nullify { from, through, .. } = empty.statement;
    assert!(through < from.term);
}

/// The block of view (1, 1), notarized and finalized by nodes 0 and 1 but not known as notarized to node 2, and node 3
/// silent. Then time passes, and all that was sent arrives.
fn two_finalized_and_one_gave_up(chain: &Chain) -> (Net, Block, Vec<(usize, Effect)>) {
    let (one, _) = two_blocks(chain);
    let mut net = Net::new(chain, 4);
    (0..3).for_each(|node| drop(net.flush(node, 5, &one)));
    let late = std::mem::take(&mut net.wire[2]);
    net.settle_among(&[0, 1]);
    for node in [0, 1] {
        assert_eq!(net.records[node].highest_finalized(), Some((one.header.height, one.header.digest())));
    }
    net.wire[2].clear();
    net.pass(1_000, &[2]);
    assert_eq!(net.records[2].nullified_through(), Some(1), "node 2 gave up the view that the others finalized");
    net.pass(1_000, &[0, 1]);
    net.wire[2].splice(0..0, late);
    let effects = net.settle_among(&[0, 1, 2]);
    (net, one, effects)
}

#[test]
fn two_finalized_and_one_gave_up_and_the_liar_is_silent_and_yet_it_goes_on() {
    let chain = chain();
    let (mut net, one, effects) = two_finalized_and_one_gave_up(&chain);
    assert!((0..3).all(|node| net.voters[node].term() == 2 && net.finals[node].is_empty()));
    let campaign = effects.into_iter().find_map(|(node, effect)| match effect {
        Effect::Campaign { term, permit, parent } => Some((node, term, permit, parent)),
        _ => None,
    });
    let (node, term, permit, parent) = campaign.expect("somebody stands");
    assert_eq!((node, term), (2, 2), "its turn");
    assert_eq!(
        parent.as_ref().map(|parent| (parent.kind, parent.block)),
        Some((VoteKind::Notarize, one.header.digest()))
    );
    let candidate = signer(2).node;
    for voter in 0..3 {
        let input = Input::Candidate { term, candidate, permit: permit.clone(), parent: parent.clone() };
        let granted = net.step(voter, input).expect("granted");
        assert!(granted.iter().any(|effect| matches!(effect, Effect::Grant(_))));
        net.step(voter, Input::Leads { term, leader: candidate }).expect("taken");
    }
    let place = net.voters[2].may_propose(2, Digest::ZERO).expect("leads");
    assert_eq!(place.parent.digest, one.header.digest(), "what may be final stays");
    let two = block(&chain, place, 2, net.now.wall);
    (0..3).for_each(|node| drop(net.flush(node, 6, &two)));
    net.settle_among(&[0, 1, 2]);
    assert!((0..3).all(|node| net.finals[node] == [one.header.digest(), two.header.digest()]));
}
