//! Moves before and after changes of the validator set, and of nodes that genesis does not know.

use wallet::{
    digest::Digest,
    identity::PublicKey,
    units::{KeyEpoch, NodeId},
};

use super::super::*;
use crate::{
    governance::{Action, Member},
    hand_over::HandOver,
    testing::{Chain, Session, consortium, decision, next_node_key, node_key},
};

/// The decision of every move here.
fn decisions() -> Vec<Vec<u8>> {
    vec![decision(0, Digest::ZERO)]
}

/// The wallet moves to `receiver`, and the source anchors why.
fn moved(chain: &mut Chain, session: &Session, receiver: u32) {
    let source = session.record(chain).holder.get();
    session.hop(chain, receiver, None).expect("valid");
    chain.push(session.anchored(source, 1, decision_hash(&decisions()[0]))).expect("valid");
}

fn built(chain: &Chain, session: &Session, epoch: u32) -> Bundle {
    let grounds = Grounds::of(&decisions()).expect("there is one");
    build(&chain.consortium, chain, session.address, KeyEpoch::new(epoch), &grounds, None).expect("provable")
}

fn node(number: u32) -> Member {
    Member::Node(NodeId::new(number))
}

fn begun(nodes: u32, holder: u32) -> (Chain, Session) {
    let consortium = consortium(nodes);
    let (mut chain, session) = (Chain::new(consortium.clone()), Session::in_eu(&consortium, holder));
    chain.push(session.created()).expect("valid");
    (chain, session)
}

/// A wallet moves in three epochs: before node 3 is suspended, after that, and after node 2 has another key.
fn three_epochs() -> (Chain, Session) {
    let (mut chain, mut session) = begun(5, 0);
    moved(&mut chain, &session, 1);
    chain.enact(vec![Action::Suspend(node(3))]).expect("valid");
    moved(&mut chain, &session, 2);
    let rotation = chain.rotating(node(2), &node_key(2), &next_node_key(2));
    chain.enact(vec![rotation]).expect("valid");
    session.keys.insert(2, next_node_key(2));
    moved(&mut chain, &session, 0);
    (chain, session)
}

fn failing(change: impl FnOnce(&mut Bundle)) -> Check {
    let (chain, session) = three_epochs();
    let mut bundle = built(&chain, &session, 2);
    change(&mut bundle);
    verify(&bundle.to_bytes(), &chain.consortium.id(), &[], None).expect_err("a changed bundle").check
}

#[test]
fn moves_of_every_epoch_are_proven_after_each_hand_over() {
    let (mut chain, mut session) = begun(5, 0);
    let proves = |chain: &Chain, session: &Session, moves: u32| {
        for epoch in 1..=moves {
            let bundle = built(chain, session, epoch);
            let report = verify(&bundle.to_bytes(), &chain.consortium.id(), &[], None).expect("a good bundle");
            let header = &chain.blocks.last().expect("blocks").0.header;
            assert_eq!((report.moved.epoch.get(), report.attested.epoch), (epoch, header.epoch));
            assert_eq!((bundle.hand_overs.len() as u64, bundle.members.len()), (header.epoch, 0));
            let set = chain.tip.state.validators_of(header.epoch).expect("its set").set;
            assert_eq!(
                (report.attested.assurance.validators, report.attested.assurance.quorum),
                (set.members.len(), set.quorum())
            );
        }
    };
    moved(&mut chain, &session, 1);
    proves(&chain, &session, 1);
    chain.enact(vec![Action::Suspend(node(3))]).expect("valid");
    proves(&chain, &session, 1);
    for carriers in 1..=2 {
        let mut carried = chain.clone();
        carried.carry(carriers);
        let report =
            verify(&built(&carried, &session, 1).to_bytes(), &chain.consortium.id(), &[], None).expect("a good bundle");
        assert_eq!((report.attested.epoch, report.attested.height), (0, chain.tip.height));
        moved(&mut carried, &session, 2);
        proves(&carried, &session, 2);
    }
    moved(&mut chain, &session, 2);
    proves(&chain, &session, 2);
    let rotation = chain.rotating(node(2), &node_key(2), &next_node_key(2));
    chain.enact(vec![rotation]).expect("valid");
    session.keys.insert(2, next_node_key(2));
    proves(&chain, &session, 2);
    moved(&mut chain, &session, 0);
    proves(&chain, &session, 3);
    let reinstated = chain.reinstating(node(3));
    chain.enact(vec![reinstated]).expect("valid");
    chain.push(session.anchored(1, 9, Digest([7; 32]))).expect("valid");
    proves(&chain, &session, 3);
}

#[test]
fn each_hand_over_must_be_there_in_its_turn_and_by_the_set_before() {
    let other = {
        let consortium = consortium(6);
        let mut chain = Chain::new(consortium);
        chain.enact(vec![Action::Suspend(node(3))]).expect("valid");
        chain.hand_overs.swap_remove(0)
    };
    assert_eq!(failing(|bundle| drop(bundle.hand_overs.remove(0))), Check::HandOvers);
    assert_eq!(failing(|bundle| bundle.hand_overs.swap(0, 1)), Check::HandOvers);
    assert_eq!(failing(|bundle| bundle.hand_overs.push(bundle.hand_overs[1].clone())), Check::HandOvers);
    assert_eq!(failing(|bundle| bundle.hand_overs[0] = other), Check::HandOvers);
    assert_eq!(failing(|bundle| bundle.hand_overs[1].closing.log_size += 1), Check::HandOvers);
    assert_eq!(failing(|bundle| bundle.hand_overs[1].next.members[2].1 = node_key(2).public_key()), Check::HandOvers);
    let few = |hand_over: &mut HandOver| hand_over.proof.certificate.signatures.truncate(2);
    assert_eq!(failing(|bundle| few(&mut bundle.hand_overs[0])), Check::HandOvers);
    assert_eq!(failing(|bundle| drop(bundle.hand_overs.pop())), Check::HeaderConsortium);
    assert_eq!(failing(|bundle| bundle.hand_overs.clear()), Check::HeaderConsortium);
}

#[test]
fn a_certificate_of_a_carrier_proves_nothing_without_its_carriers() {
    let (mut chain, session) = begun(5, 0);
    moved(&mut chain, &session, 1);
    chain.enact(vec![Action::Suspend(node(3))]).expect("valid");
    chain.carry(2);
    let genesis = chain.consortium.id();
    let refused = |bundle: &Bundle| verify(&bundle.to_bytes(), &genesis, &[], None).expect_err("refused").check;
    let good = built(&chain, &session, 1);
    assert_eq!(good.carriers.len(), 2);
    for left in [0..0, 0..1, 1..2] {
        let carriers = good.carriers[left].to_vec();
        assert_eq!(refused(&Bundle { carriers, ..good.clone() }), Check::Certificate);
    }
    moved(&mut chain, &session, 2);
    let mut later = built(&chain, &session, 1);
    later.carriers.clone_from(&good.carriers);
    assert_eq!(refused(&later), Check::Certificate, "nothing stands above a block that closes nothing");
    later.carriers.clear();
    later.hand_overs[0].proof.carriers.remove(0);
    assert_eq!(refused(&later), Check::HandOvers);
}

#[test]
fn the_key_of_before_is_worth_nothing_in_the_next_epoch() {
    let (chain, session) = three_epochs();
    let good = built(&chain, &session, 3);
    let authors: Vec<u32> = good.entries.iter().map(|placed| placed.entry.body.author.get()).collect();
    let epochs = crate::epochs::Epochs::proven(&chain.consortium, &good.hand_overs, &[]).expect("proven");
    let members = members::Members::proven(&chain.consortium, epochs, &good.header.state_root, &[]).expect("none");
    for (PlacedEntry { index, entry }, author) in good.entries.iter().zip(authors) {
        assert_eq!(members.check_author(*index, entry), Ok(()));
        let old = entry.body.clone().sign(&node_key(author), None);
        let is_of_its_epoch = author != 2 || members.epochs.of_entry(*index).epoch < 2;
        assert_eq!(members.check_author(*index, &old).is_ok(), is_of_its_epoch, "entry {index} by {author}");
        let next = entry.body.clone().sign(&next_node_key(author), None);
        assert_eq!(members.check_author(*index, &next).is_ok(), !is_of_its_epoch, "entry {index} by {author}");
    }
}

#[test]
fn a_node_that_joined_shows_its_record_under_the_state_root() {
    let (mut chain, session) = begun(4, 0);
    chain.join(4, 0).expect("valid");
    moved(&mut chain, &session, 4);
    let (genesis, good) = (chain.consortium.id(), built(&chain, &session, 1));
    let report = verify(&good.to_bytes(), &genesis, &[], None).expect("a good bundle");
    assert_eq!((report.moved.destination.0, report.moved.destination.1.as_str()), (NodeId::new(4), "eu"));
    let Assurance { validators, operators, class, .. } = report.attested.assurance;
    assert_eq!((validators, operators, class), (5, 4, AssuranceClass::SeveralMustLie));
    assert_eq!(good.members[..].iter().map(|proof| proof.subject).collect::<Vec<_>>(), [Subject::Node(NodeId::new(4))]);
    let refused = |change: &dyn Fn(&mut Bundle)| {
        let mut bundle = good.clone();
        change(&mut bundle);
        verify(&bundle.to_bytes(), &genesis, &[], None).expect_err("refused").check
    };
    assert_eq!(refused(&|bundle| bundle.members.clear()), Check::Members);
    assert_eq!(refused(&|bundle| bundle.members[0].record[8] ^= 1), Check::Members);
    assert_eq!(refused(&|bundle| bundle.members[0].path[0].0[0] ^= 1), Check::Members);
    assert_eq!(refused(&|bundle| bundle.members[0].subject = Subject::Node(NodeId::new(5))), Check::Members);
    assert_eq!(refused(&|bundle| bundle.members.push(bundle.members[0].clone())), Check::Members);
}

#[test]
fn a_suspended_node_shows_the_key_that_it_got_since() {
    let (mut chain, mut session) = begun(5, 1);
    chain.enact(vec![Action::Suspend(node(1))]).expect("valid");
    let rotation = chain.rotating(node(1), &node_key(1), &next_node_key(1));
    chain.enact(vec![rotation]).expect("valid");
    assert_eq!(chain.tip.state.epoch(), 1, "a key of no validator changes no set");
    session.keys.insert(1, next_node_key(1));
    moved(&mut chain, &session, 2);
    let (genesis, good) = (chain.consortium.id(), built(&chain, &session, 1));
    let key = next_node_key(1).public_key();
    assert_eq!(good.members.iter().map(|proof| proof.subject).collect::<Vec<_>>(), [Subject::Key(key)]);
    verify(&good.to_bytes(), &genesis, &[], None).expect("a good bundle");
    let without = Bundle { members: Vec::new(), ..good.clone() };
    assert_eq!(verify(&without.to_bytes(), &genesis, &[], None).expect_err("refused").check, Check::EntrySignature);
    let mut other = good.clone();
    other.members[0].subject = Subject::Key(PublicKey([1; 32]));
    assert_eq!(verify(&other.to_bytes(), &genesis, &[], None).expect_err("refused").check, Check::Members);
    // Once it votes again the set says so.
    let reinstated = chain.reinstating(node(1));
    chain.enact(vec![reinstated]).expect("valid");
    chain.push(session.anchored(2, 9, Digest([7; 32]))).expect("valid");
    assert!(built(&chain, &session, 1).members.is_empty());
}

/// One in 61 of all bits, as in the first epoch.
#[test]
fn every_flipped_bit_is_rejected_after_hand_overs() {
    let (chain, session) = three_epochs();
    let good = built(&chain, &session, 3).to_bytes();
    for bit in (0..good.len() * 8).step_by(61) {
        let mut flipped = good.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(verify(&flipped, &chain.consortium.id(), &[], None).is_err(), "bit {bit}");
    }
}

#[test]
fn the_encoding_of_hand_overs_is_pinned() {
    let (chain, session) = three_epochs();
    let bytes = built(&chain, &session, 3).to_bytes();
    let golden = wallet::digest::sha256("golden", &[&bytes]).to_string();
    assert_eq!(golden, "3a9fc1acb03e90e67897510e85bf9c9565c8b7c53c82ca38c1910e27d66a0fe0");
    let HandOver { closing, proof, next, re_genesis } = &chain.hand_overs[0];
    let size = |bytes: Vec<u8>| bytes.len();
    let parts = [wallet::codec::encode(closing), wallet::codec::encode(proof), wallet::codec::encode(next)];
    let parts = parts.into_iter().chain([wallet::codec::encode(re_genesis)]).map(size).collect::<Vec<_>>();
    assert_eq!((parts.iter().sum::<usize>(), parts), (849, vec![340, 348, 160, 1]), "four of five validators sign");
}
