use std::collections::BTreeSet;

use proptest::prelude::*;
use wallet::units::NodeId;

use super::*;
use crate::{
    block::View,
    certificate::CertificateInvalid,
    testing::{CREATED_MS, Chain, Session, certify, consortium, node_key},
};

const NOW: Timestamp = Timestamp::new(CREATED_MS + 1_000);

/// Some voters, with the votes that are on their way, and what became final at each.
struct Net {
    voters: Vec<Voter>,
    wire: Vec<Vec<Vote>>,
    finals: Vec<Vec<Digest>>,
    cuts: Vec<Vec<u64>>,
    records: Vec<VoteRecord>,
}

fn voter(chain: &Chain, node: u32, record: VoteRecord) -> Voter {
    let signer = Signer { node: NodeId::new(node), key: node_key(node) };
    let certificate = chain.blocks.last().map(|(_, certificate)| certificate.clone());
    Voter::new(chain.consortium.clone(), Some(signer), chain.tip.clone(), certificate, record, NOW)
}

impl Net {
    fn new(chain: &Chain, nodes: u32) -> Self {
        Self {
            voters: (0..nodes).map(|node| voter(chain, node, VoteRecord::default())).collect(),
            wire: (0..nodes).map(|_| Vec::new()).collect(),
            finals: (0..nodes).map(|_| Vec::new()).collect(),
            cuts: (0..nodes).map(|_| Vec::new()).collect(),
            records: (0..nodes).map(|_| VoteRecord::default()).collect(),
        }
    }

    fn step(&mut self, node: usize, input: Input) -> Result<Vec<Effect>, Refusal> {
        let mut effects = Vec::new();
        self.voters[node].step(NOW, input, &mut effects)?;
        for effect in &effects {
            match effect {
                Effect::Record(record) => self.records[node] = record.clone(),
                Effect::Broadcast(vote) => {
                    assert!(self.records[node].has_signed(&vote.ballot), "recorded before it leaves");
                    let others = (0..self.wire.len()).filter(|other| *other != node);
                    others.for_each(|other| self.wire[other].push(vote.clone()));
                }
                Effect::Final(block) => self.finals[node].push(block.executed.digest),
                Effect::SelfCut { from } => self.cuts[node].push(*from),
                Effect::AskFor { .. } | Effect::Equivocation(_) | Effect::Conflict(_) => {}
            }
        }
        Ok(effects)
    }

    fn flush(&mut self, node: usize, log_index: u64, term: u64, block: &Block) -> Vec<Effect> {
        let block = Box::new(block.clone());
        self.step(node, Input::Flushed { log_index, term, block }).expect("taken")
    }

    /// Delivers all votes until none is left.
    fn settle(&mut self) {
        while let Some(node) = self.wire.iter().position(|votes| !votes.is_empty()) {
            let vote = self.wire[node].remove(0);
            self.step(node, Input::Vote(vote)).expect("taken");
        }
    }
}

/// Four nodes at genesis, and two blocks of one view for height 1.
fn two_blocks() -> (Chain, Block, Block) {
    let consortium = consortium(4);
    let (chain, session) = (Chain::new(consortium.clone()), Session::in_eu(&consortium, 0));
    let (one, other) = (chain.propose(vec![session.created()]).block, chain.propose(Vec::new()).block);
    (chain, one, other)
}

/// The block that follows `block`, certified by three, in view `view`.
fn child(chain: &Chain, block: &Block, view: View) -> Block {
    let parent = execute(&chain.consortium, &chain.tip, block, None).expect("valid");
    let certificate = Some(certify(block, [0, 1, 2]));
    crate::execute::propose(&chain.consortium, &parent, certificate, view, NOW, Vec::new()).block
}

#[test]
fn three_of_four_make_a_block_final_and_two_do_not() {
    let (chain, block, _) = two_blocks();
    for (alive, finals) in [(4, 1), (3, 1), (2, 0)] {
        let mut net = Net::new(&chain, 4);
        for node in 0..alive {
            net.flush(node, 5, 1, &block);
        }
        for node in alive..4 {
            net.wire[node].clear();
        }
        while let Some(node) = (0..alive).find(|node| !net.wire[*node].is_empty()) {
            let vote = net.wire[node].remove(0);
            net.step(node, Input::Vote(vote)).expect("taken");
        }
        for node in 0..alive {
            assert_eq!(net.finals[node].len(), finals, "{alive} alive");
        }
        assert_eq!(net.voters[0].status().open.map(|open| open.notarized.len()), (finals == 0).then_some(alive));
    }
}

#[test]
fn a_final_block_comes_with_a_certificate_that_verifies() {
    let (chain, block, _) = two_blocks();
    let mut net = Net::new(&chain, 4);
    (0..4).for_each(|node| drop(net.flush(node, 5, 1, &block)));
    net.settle();
    let certificate = net.voters[2].tip_certificate().expect("final").clone();
    assert_eq!(certificate.verify(chain.consortium.validators(), &chain.consortium.id()), Ok(()));
    assert_eq!(certificate.block, block.header.digest());
}

#[test]
fn a_consortium_of_one_is_final_at_once() {
    let chain = Chain::new(consortium(1));
    let block = chain.propose(Vec::new()).block;
    let effects = Net::new(&chain, 1).flush(0, 1, 1, &block);
    assert!(matches!(effects.last(), Some(Effect::Final(_))));
}

#[test]
fn a_block_is_recorded_before_it_is_voted_for() {
    let (chain, block, _) = two_blocks();
    let effects = Net::new(&chain, 4).flush(0, 5, 1, &block);
    assert!(matches!(effects.as_slice(), [Effect::Record(_), Effect::Broadcast(_)]));
}

#[test]
fn a_second_block_of_the_view_gets_no_vote_not_even_after_a_restart() {
    let (chain, one, other) = two_blocks();
    let mut net = Net::new(&chain, 4);
    net.flush(0, 5, 1, &one);
    net.step(0, Input::Truncated { from: 5 }).expect("taken");
    assert_eq!(net.flush(0, 5, 1, &other), []);
    net.voters[0] = voter(&chain, 0, net.records[0].clone());
    assert_eq!(net.flush(0, 5, 1, &other), []);
    net.step(0, Input::Truncated { from: 5 }).expect("taken");
    let again = net.flush(0, 5, 2, &one);
    assert!(matches!(again.as_slice(), [Effect::Broadcast(_)]), "the same vote may leave again");
}

#[test]
fn after_finalize_no_other_block_of_the_height_gets_a_vote_in_any_view() {
    let (chain, one, _) = two_blocks();
    let mut net = Net::new(&chain, 4);
    (0..3).for_each(|node| drop(net.flush(node, 5, 1, &one)));
    let notarized: Vec<Vote> = net.wire[0].drain(..).collect();
    for vote in notarized {
        net.step(0, Input::Vote(vote)).expect("taken");
    }
    assert_eq!(net.records[0].highest_finalized(), Some((BlockHeight::new(1), one.header.digest())));
    net.step(0, Input::Truncated { from: 5 }).expect("taken");
    let view = View { term: 2, number: 1 };
    let other = crate::execute::propose(&chain.consortium, &chain.tip, None, view, NOW, Vec::new()).block;
    assert_eq!(net.flush(0, 5, 2, &other), []);
    assert!(net.flush(3, 5, 2, &other).len() == 2, "who did not finalize may vote for it");
}

#[test]
fn lost_votes_heal_at_a_tick() {
    let (chain, block, _) = two_blocks();
    let mut net = Net::new(&chain, 4);
    (0..4).for_each(|node| drop(net.flush(node, 5, 1, &block)));
    net.wire.iter_mut().for_each(Vec::clear);
    (0..4).for_each(|node| drop(net.step(node, Input::Tick)));
    net.settle();
    assert!(net.finals.iter().all(|finals| finals.len() == 1));
}

#[test]
fn a_node_that_missed_the_votes_asks_and_follows_by_the_certificate() {
    let (chain, block, _) = two_blocks();
    let mut net = Net::new(&chain, 4);
    net.flush(3, 5, 1, &block);
    net.step(3, Input::Tick).expect("taken");
    let effects = net.step(3, Input::Tick).expect("taken");
    assert!(effects.contains(&Effect::AskFor { height: BlockHeight::new(1) }));
    net.step(3, Input::Certificate(certify(&block, [0, 1, 2]))).expect("taken");
    assert_eq!(net.finals[3], [block.header.digest()]);
}

#[test]
fn the_certificate_inside_a_child_makes_its_parent_final() {
    let (chain, block, _) = two_blocks();
    let next = child(&chain, &block, View { term: 1, number: 2 });
    let mut net = Net::new(&chain, 4);
    net.flush(0, 5, 1, &block);
    let effects = net.flush(0, 6, 1, &next);
    assert!(matches!(&effects[0], Effect::Final(block) if block.log_index == 5));
    assert!(matches!(&effects[2], Effect::Broadcast(vote) if vote.ballot.height == BlockHeight::new(2)));
}

#[test]
fn a_block_carried_into_a_later_term_keeps_its_view_and_a_view_of_a_later_term_is_refused() {
    let (chain, block, _) = two_blocks();
    let mut net = Net::new(&chain, 4);
    assert_eq!(net.flush(0, 5, 7, &block).len(), 2);
    assert_eq!(net.flush(1, 5, 0, &block), []);
    let invalid = net.voters[1].status().invalid;
    assert_eq!(invalid, [(5, BlockInvalid::TermAhead { view: 1, log: 0 })]);
}

#[test]
fn a_block_ahead_of_the_clock_is_waited_for() {
    let (chain, block, _) = two_blocks();
    let mut early = voter(&chain, 0, VoteRecord::default());
    let before = Timestamp::new(block.header.time.get() - 2_001);
    let mut effects = Vec::new();
    let input = Input::Flushed { log_index: 5, term: 1, block: Box::new(block) };
    early.step(before, input, &mut effects).expect("taken");
    assert_eq!(effects, []);
    assert!(matches!(early.status().invalid.as_slice(), [(5, BlockInvalid::TimeAhead { .. })]));
    assert!(early.may_propose().is_none());
    early.step(NOW, Input::Tick, &mut effects).expect("taken");
    assert!(matches!(effects.as_slice(), [Effect::Record(_), Effect::Broadcast(_)]));
}

#[test]
fn a_lying_block_gets_no_vote_the_status_says_why_and_an_honest_leader_goes_on_above_it() {
    let (chain, honest, _) = two_blocks();
    let mut lie = honest.clone();
    lie.header.state_root = Digest::ZERO;
    lie.header.view = View { term: 1, number: 1 };
    let mut net = Net::new(&chain, 4);
    (0..4).for_each(|node| assert_eq!(net.flush(node, 5, 1, &lie), []));
    assert!(matches!(net.voters[0].status().invalid.as_slice(), [(5, BlockInvalid::StateRoot { .. })]));
    assert!(net.voters[0].may_propose().is_some(), "nothing valid is open");
    (0..4).for_each(|node| drop(net.flush(node, 6, 2, &honest)));
    net.settle();
    assert!(net.finals.iter().all(|finals| *finals == [honest.header.digest()]));
}

#[test]
fn a_leader_proposes_nothing_while_a_block_is_open() {
    let (chain, block, _) = two_blocks();
    let mut net = Net::new(&chain, 4);
    assert!(net.voters[0].may_propose().is_some());
    (0..4).for_each(|node| drop(net.flush(node, 5, 1, &block)));
    assert!(net.voters[0].may_propose().is_none());
    net.settle();
    let (tip, certificate) = net.voters[0].may_propose().expect("nothing is open");
    assert_eq!((tip.digest, certificate.map(|c| c.block)), (block.header.digest(), Some(block.header.digest())));
}

#[test]
fn a_certificate_for_another_block_cuts_the_own_suffix_and_the_node_follows() {
    let (chain, one, other) = two_blocks();
    let mut net = Net::new(&chain, 4);
    net.flush(0, 5, 1, &one);
    net.step(0, Input::Certificate(certify(&other, [1, 2, 3]))).expect("taken");
    assert_eq!(net.cuts[0], [5]);
    net.step(0, Input::Tick).expect("taken");
    assert_eq!(net.cuts[0], [5], "asked once");
    net.step(0, Input::Truncated { from: 5 }).expect("taken");
    net.flush(0, 5, 2, &other);
    assert_eq!(net.finals[0], [other.header.digest()]);
}

#[test]
fn two_certificates_for_one_height_stop_the_node_with_the_evidence() {
    let (chain, one, other) = two_blocks();
    let mut net = Net::new(&chain, 4);
    net.flush(0, 5, 1, &one);
    let (ours, theirs) = (certify(&one, [0, 1, 2]), certify(&other, [1, 2, 3]));
    net.step(0, Input::Certificate(ours.clone())).expect("taken");
    let effects = net.step(0, Input::Certificate(theirs.clone())).expect("taken");
    assert_eq!(effects, [Effect::Conflict(Box::new(Conflict::TwoCertificates { ours, theirs }))]);
    assert_eq!(net.step(0, Input::Tick), Err(Refusal::Halted));
    assert!(net.voters[0].status().halted);
}

#[test]
fn a_certified_block_that_does_not_execute_stops_the_node() {
    let (chain, mut block, _) = two_blocks();
    block.header.state_root = Digest::ZERO;
    let mut net = Net::new(&chain, 4);
    net.flush(0, 5, 1, &block);
    let effects = net.step(0, Input::Certificate(certify(&block, [1, 2, 3]))).expect("taken");
    assert!(matches!(&effects[..], [Effect::Conflict(conflict)]
        if matches!(**conflict, Conflict::CertifiedInvalid { reason: BlockInvalid::StateRoot { .. }, .. })));
}

#[test]
fn two_votes_of_one_kind_in_one_view_are_evidence_and_count_once() {
    let (chain, one, other) = two_blocks();
    let mut net = Net::new(&chain, 4);
    let vote = |block: &Block| {
        let ballot = Ballot::for_header(VoteKind::Notarize, &block.header);
        Vote::sign(ballot, NodeId::new(3), &node_key(3))
    };
    net.step(0, Input::Vote(vote(&one))).expect("taken");
    let effects = net.step(0, Input::Vote(vote(&other))).expect("taken");
    assert_eq!(effects, [Effect::Equivocation(Box::new([vote(&one), vote(&other)]))]);
}

#[test]
fn votes_of_strangers_other_consortia_and_far_heights_are_refused() {
    let (chain, block, _) = two_blocks();
    let mut net = Net::new(&chain, 4);
    let ballot = Ballot::for_header(VoteKind::Finalize, &block.header);
    let mut refused = |ballot, node, key| net.step(0, Input::Vote(Vote::sign(ballot, NodeId::new(node), &key)));
    let stranger = refused(ballot, 9, node_key(9));
    assert_eq!(stranger, Err(CertificateInvalid::NotAValidator { signer: NodeId::new(9) }.into()));
    let forged = refused(ballot, 2, node_key(1));
    assert_eq!(forged, Err(CertificateInvalid::BadSignature { signer: NodeId::new(2) }.into()));
    let foreign = refused(Ballot { consortium: Digest::ZERO, ..ballot }, 2, node_key(2));
    assert_eq!(foreign, Err(CertificateInvalid::ForeignConsortium { found: Digest::ZERO }.into()));
    let height = BlockHeight::new(HEIGHT_WINDOW + 1);
    let far = refused(Ballot { height, ..ballot }, 2, node_key(2));
    assert_eq!(far, Err(Refusal::BeyondWindow { height, final_height: BlockHeight::ZERO }));
}

#[test]
fn a_liar_cannot_fill_the_memory_with_votes() {
    let (chain, block, _) = two_blocks();
    let mut tally = Tally::default();
    for number in 0..1_000 {
        let mut header = block.header.clone();
        header.view.number = number;
        let ballot = Ballot::for_header(VoteKind::Notarize, &header);
        let vote = Vote { ballot, validator: NodeId::new(3), signature: wallet::identity::Signature([0; 64]) };
        tally.insert(vote);
    }
    let ballot = Ballot::for_header(VoteKind::Notarize, &block.header);
    assert_eq!(tally.count(&ballot), 0, "the early view was dropped");
    assert_eq!(chain.tip.height, BlockHeight::ZERO);
}

/// What may happen to a net in which node 3 lies: it signs whatever exists, and the log shows any of three blocks.
#[derive(Clone, Debug)]
enum Chance {
    /// The log of a node shows a block, in place of another.
    Flush {
        node: usize,
        block: usize,
    },
    /// Votes arrive, the last sent first or in order.
    Deliver {
        node: usize,
        count: usize,
        last_first: bool,
    },
    /// The liar votes for a block, and tells one node.
    Lie {
        node: usize,
        block: usize,
    },
    Restart {
        node: usize,
    },
    Tick {
        node: usize,
    },
}

fn chance() -> impl Strategy<Value = Chance> {
    let (node, block) = (0..3_usize, 0..3_usize);
    prop_oneof![
        3 => (node.clone(), block.clone()).prop_map(|(node, block)| Chance::Flush { node, block }),
        4 => (node.clone(), 1..4_usize, any::<bool>())
            .prop_map(|(node, count, last_first)| Chance::Deliver { node, count, last_first }),
        3 => (node.clone(), block).prop_map(|(node, block)| Chance::Lie { node, block }),
        1 => node.clone().prop_map(|node| Chance::Restart { node }),
        1 => node.prop_map(|node| Chance::Tick { node }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Safety with f = 1 of 4: whatever raft shows to whom, in whatever order, with restarts and a lying validator.
    #[test]
    fn no_two_honest_nodes_ever_finalize_different_blocks(chances in prop::collection::vec(chance(), 20..60)) {
        let (chain, one, other) = two_blocks();
        let view = View { term: 2, number: 1 };
        let later = crate::execute::propose(&chain.consortium, &chain.tip, None, view, NOW, Vec::new()).block;
        let blocks = [one, other, later];
        let mut net = Net::new(&chain, 4);
        for chance in chances {
            match chance {
                Chance::Flush { node, block } if net.finals[node].is_empty() => {
                    let _ = net.step(node, Input::Truncated { from: 5 });
                    net.flush(node, 5, 2, &blocks[block]);
                }
                Chance::Deliver { node, count, last_first } => {
                    for _ in 0..count.min(net.wire[node].len()) {
                        let at = if last_first { net.wire[node].len() - 1 } else { 0 };
                        let vote = net.wire[node].remove(at);
                        net.step(node, Input::Vote(vote)).expect("taken");
                    }
                }
                Chance::Lie { node, block } => {
                    for kind in [VoteKind::Notarize, VoteKind::Finalize] {
                        let ballot = Ballot::for_header(kind, &blocks[block].header);
                        let vote = Vote::sign(ballot, NodeId::new(3), &node_key(3));
                        net.step(node, Input::Vote(vote)).expect("taken");
                    }
                }
                Chance::Restart { node } if net.finals[node].is_empty() => {
                    let number = u32::try_from(node).expect("few nodes");
                    net.voters[node] = voter(&chain, number, net.records[node].clone());
                }
                Chance::Tick { node } => drop(net.step(node, Input::Tick).expect("taken")),
                Chance::Flush { .. } | Chance::Restart { .. } => {}
            }
        }
        let different: BTreeSet<Digest> = net.finals.iter().flatten().copied().collect();
        prop_assert!(different.len() <= 1);
    }
}
