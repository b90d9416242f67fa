//! A chain whose state has a record of each kind.

use genesis::Auditor;
use wallet::{digest::Digest, units::NodeId};

use super::{Chain, Session, consortium};
use crate::{
    event::Event,
    governance::{Action, Member},
    state::StateKey,
};

/// Five nodes after a paid move, a resumption and two proposals, the second of which suspended node 4; and a key of each
/// kind, in the order of the kinds, under which a record stands.
pub fn every_record() -> (Chain, Vec<StateKey>) {
    let consortium = consortium(5);
    let (mut chain, session) = (Chain::new(consortium.clone()), Session::in_eu(&consortium, 0));
    chain.push(session.created()).expect("valid");
    let baseline = session.baseline(&session.record(&chain), 50_000, 20);
    chain.push(baseline.clone()).expect("valid");
    session.hop(&mut chain, 1, Some(baseline.id())).expect("valid");
    chain.push(session.delta(&session.record(&chain), baseline.id(), 20_000, 20)).expect("valid");
    chain.push(session.anchored(0, 1, Digest([7; 32]))).expect("valid");
    chain.push(session.resumed(0, 3)).expect("valid");
    let auditor = Auditor { name: "Audit".to_owned(), key_hash: Digest([5; 32]) };
    chain.enact(vec![Action::GrantAuditor(auditor)]).expect("valid");
    chain.enact(vec![Action::Suspend(Member::Node(NodeId::new(4)))]).expect("valid");
    let entries: Vec<_> = chain.entries().map(|(_, entry)| entry.clone()).collect();
    let prekey = entries.iter().find_map(|entry| match &entry.body.event {
        Event::MigrationOffered(offer) => Some(offer.prekey.key),
        _ => None,
    });
    let proposal = entries.iter().find_map(|entry| match &entry.body.event {
        Event::ProposalMade(made) => Some(made.terms.digest()),
        _ => None,
    });
    let wallet = session.record(&chain);
    let keys = vec![
        StateKey::Governance,
        StateKey::Wallet(session.address),
        StateKey::Prekey(prekey.expect("it moved")),
        StateKey::Entry(baseline.id()),
        StateKey::Baseline(baseline.id()),
        StateKey::Award(session.address, wallet.epoch),
        StateKey::Account(wallet.holder),
        StateKey::Anchor(NodeId::ZERO),
        StateKey::Resumption(NodeId::ZERO),
        StateKey::Validators(1),
        StateKey::Parameters,
        StateKey::Operator(consortium.operators()[2].id.clone()),
        StateKey::Node(NodeId::new(4)),
        StateKey::Key(consortium.nodes()[3].key),
        StateKey::Auditor(Digest([5; 32])),
        StateKey::Proposal(proposal.expect("two were made")),
    ];
    (chain, keys)
}
