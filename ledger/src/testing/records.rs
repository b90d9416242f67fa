//! A chain whose state has a record of each kind.

use genesis::Auditor;
use wallet::{digest::Digest, units::NodeId};

use super::{
    Chain, Session, consortium_with,
    gates::{KeyGeneration, gated},
};
use crate::{
    event::Event,
    governance::{Action, Member},
    state::{GateScope, StateKey},
};

/// Five nodes with gates after a paid move, a resumption and two proposals, the second of which suspended node 4, so that
/// another global gate is being made; and keys of each kind, in the order of the kinds, under which records stand.
pub fn every_record() -> (Chain, Vec<StateKey>) {
    let consortium = consortium_with(5, gated());
    let (mut chain, session) = (Chain::new(consortium.clone()), Session::in_eu(&consortium, 0));
    let eu = GateScope::Region("eu".to_owned().try_into().expect("a region name"));
    let (_, _, contribution) =
        KeyGeneration::join(&chain, &eu, |_| true).next(&chain).expect("four wait to contribute");
    chain.push(contribution).expect("valid");
    KeyGeneration::join(&chain, &GateScope::Global, |_| true).go_on(&mut chain).expect("valid");
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
        StateKey::Gate(GateScope::Global),
        StateKey::Gate(eu),
    ];
    (chain, keys)
}
