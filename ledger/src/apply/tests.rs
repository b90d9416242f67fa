use wallet::{
    digest::Digest,
    ticket::HandoffTicket,
    units::{BlockHeight, KeyEpoch, NodeId},
};

use super::*;
use crate::{
    event::{AbortReason, Event, MigrationOffered},
    state::{Cause, Phase},
    testing::{Chain, Session, consortium, decision, key, node_key},
};

/// A chain of four nodes with a wallet at node 0.
fn begun() -> (Chain, Session) {
    let consortium = consortium(4);
    let (mut chain, session) = (Chain::new(consortium.clone()), Session::in_eu(&consortium, 0));
    chain.push(session.created()).expect("a valid creation");
    (chain, session)
}

/// The same with an open offer to node 1.
fn offered() -> (Chain, Session) {
    let (mut chain, session) = begun();
    let wallet = session.record(&chain);
    chain.push(session.offered(&wallet, session.offer(&wallet, 1, 100))).expect("a valid offer");
    (chain, session)
}

/// The same, taken up.
fn accepted() -> (Chain, Session) {
    let (mut chain, session) = offered();
    chain.push(session.accepted(&session.record(&chain), 1)).expect("a valid acceptance");
    (chain, session)
}

fn offer_with(change: impl FnOnce(&mut MigrationOffered)) -> Result<(), Refusal> {
    let (mut chain, session) = begun();
    let wallet = session.record(&chain);
    let mut offer = session.offer(&wallet, 1, 100);
    change(&mut offer);
    chain.push(session.offered(&wallet, offer))
}

fn confirm_with(change: impl FnOnce(&mut HandoffTicket)) -> Result<(), Refusal> {
    let (mut chain, session) = accepted();
    let wallet = session.record(&chain);
    let mut ticket = session.ticket(&wallet);
    change(&mut ticket);
    chain.push(session.confirmed(&wallet, ticket))
}

#[test]
fn a_confirmed_hop_changes_holder_epoch_and_key_and_records_the_rotation() {
    let (mut chain, session) = accepted();
    let wallet = session.record(&chain);
    assert_eq!(wallet.exposed, [NodeId::new(1)]);
    let entry = session.confirmed(&wallet, session.ticket(&wallet));
    chain.push(entry.clone()).expect("a valid confirm");
    let moved = session.record(&chain);
    assert_eq!((moved.holder, moved.epoch), (NodeId::new(1), KeyEpoch::new(1)));
    assert_eq!(moved.holder_key, session.epoch_key(1).public_key());
    assert_eq!((moved.phase, moved.exposed), (Phase::Active, Vec::new()));
    assert_eq!(moved.head, next_head(&wallet.head, &entry.id()));
    let causes: Vec<_> = moved.rotations.iter().map(|rotated| (rotated.cause, rotated.entry)).collect();
    assert_eq!(causes[0].0, Cause::Created);
    assert_eq!(causes[1], (Cause::Hop, entry.id()));
}

#[test]
fn the_old_epoch_key_signs_nothing_after_a_hop() {
    let (mut chain, session) = begun();
    session.hop(&mut chain, 1, None).expect("a valid hop");
    let mut wallet = session.record(&chain);
    wallet.epoch = KeyEpoch::ZERO;
    assert_eq!(chain.push(session.touched(&wallet, 1)), Err(Refusal::HolderSignature));
    wallet.holder = NodeId::new(0);
    let refusal = chain.push(session.touched(&wallet, 2)).expect_err("not the holder");
    assert_eq!(refusal, Refusal::NotHolder { holder: NodeId::new(1), author: NodeId::new(0) });
}

#[test]
fn an_entry_is_applied_once() {
    let (mut chain, session) = begun();
    let entry = session.touched(&session.record(&chain), 1);
    chain.push(entry.clone()).expect("valid");
    assert_eq!(chain.push(entry.clone()), Err(Refusal::Replayed { id: entry.id() }));
    let signed_again = entry.changed(|entry| entry.holder_signature = None);
    assert_eq!(chain.push(signed_again), Err(Refusal::Replayed { id: entry.id() }));
}

#[test]
fn an_entry_of_another_consortium_or_author_or_with_a_changed_body_is_refused() {
    let (mut chain, session) = begun();
    let entry = session.touched(&session.record(&chain), 1);
    let foreign = chain.push(entry.changed(|entry| entry.body.consortium = Digest([1; 32])));
    assert_eq!(foreign, Err(Refusal::ForeignConsortium { found: Digest([1; 32]) }));
    let unknown = chain.push(entry.changed(|entry| entry.body.author = NodeId::new(9)));
    assert_eq!(unknown, Err(Refusal::AuthorUnknown { author: NodeId::new(9) }));
    let changed = chain.push(entry.changed(|entry| entry.body.nonce = [0; 16]));
    assert_eq!(changed, Err(Refusal::AuthorSignature { author: NodeId::new(0) }));
}

#[test]
fn a_stale_head_is_refused() {
    let (mut chain, session) = begun();
    let before = session.record(&chain);
    chain.push(session.touched(&before, 1)).expect("valid");
    let current = session.record(&chain).head;
    let refusal = chain.push(session.offered(&before, session.offer(&before, 1, 100)));
    assert_eq!(refusal, Err(Refusal::HeadMoved { current, named: before.head }));
}

#[test]
fn a_wallet_needs_its_tenants_grant_for_this_holder_and_region() {
    let consortium = consortium(4);
    let session = Session::in_eu(&consortium, 0);
    let with = |author: u32, change: fn(&mut crate::event::WalletCreated)| {
        let Event::WalletCreated(mut created) = session.created().body.event.clone() else { unreachable!() };
        change(&mut created);
        let entry = session.sign(author, Event::WalletCreated(created), Some(&session.epoch_key(0)));
        Chain::new(consortium.clone()).push(entry)
    };
    assert_eq!(with(0, |_| {}), Ok(()));
    assert_eq!(with(1, |_| {}), Err(Refusal::GrantForeign));
    assert_eq!(with(0, |created| created.grant.terms.nonce = [0; 16]), Err(Refusal::GrantInvalid));
    assert_eq!(with(0, |created| created.holder_key = key("other").public_key()), Err(Refusal::HolderSignature));
    let opened = with(0, |created| created.opening.salt = [0; 32]);
    assert!(matches!(opened, Err(Refusal::PolicyOpening { .. })));
    let in_us = Session::in_eu(&consortium, 3).created();
    assert!(matches!(Chain::new(consortium).push(in_us), Err(Refusal::WrongRegion { .. })));
}

#[test]
fn a_move_to_a_forbidden_region_is_refused_whatever_the_opening_says() {
    let honest = offer_with(|offer| {
        let consortium = consortium(4);
        let session = Session::in_eu(&consortium, 0);
        (offer.receiver, offer.opening) = (NodeId::new(3), session.opening("us"));
        offer.prekey.node = offer.receiver;
        offer.prekey = wallet::prekey::ExchangeSecret::from_bytes(&[1; 32]).offer(NodeId::new(3), &node_key(3));
    });
    assert!(matches!(honest, Err(Refusal::RegionForbidden { .. })));
    let to_us = |offer: &mut MigrationOffered| {
        offer.receiver = NodeId::new(3);
        offer.prekey = wallet::prekey::ExchangeSecret::from_bytes(&[1; 32]).offer(NodeId::new(3), &node_key(3));
    };
    let other_leaf = offer_with(to_us);
    assert!(matches!(other_leaf, Err(Refusal::WrongRegion { .. })));
    let forged = offer_with(|offer| {
        to_us(offer);
        offer.opening.region = "us".to_owned().try_into().expect("a region name");
    });
    assert!(matches!(forged, Err(Refusal::PolicyOpening { .. })));
}

#[test]
fn an_offer_must_name_epoch_receiver_prekey_and_deadline_rightly() {
    assert_eq!(offer_with(|_| {}), Ok(()));
    let epoch = offer_with(|offer| offer.epoch = KeyEpoch::new(2));
    assert_eq!(epoch, Err(Refusal::WrongEpoch { expected: KeyEpoch::new(1), named: KeyEpoch::new(2) }));
    let own = offer_with(|offer| offer.receiver = NodeId::new(0));
    assert_eq!(own, Err(Refusal::ReceiverInvalid { receiver: NodeId::new(0) }));
    let prekey = offer_with(|offer| offer.receiver = NodeId::new(2));
    assert_eq!(prekey, Err(Refusal::PrekeyInvalid { receiver: NodeId::new(2) }));
    let past = offer_with(|offer| offer.deadline = BlockHeight::new(2));
    assert!(matches!(past, Err(Refusal::DeadlineOutOfRange { .. })));
    let far = offer_with(|offer| offer.deadline = BlockHeight::new(100_000));
    assert!(matches!(far, Err(Refusal::DeadlineOutOfRange { .. })));
    let baseline = offer_with(|offer| offer.baseline = Some(Digest([1; 32])));
    assert_eq!(baseline, Err(Refusal::BaselineUnknown { baseline: Digest([1; 32]) }));
}

#[test]
fn a_prekey_serves_one_offer_even_if_it_was_aborted() {
    let (mut chain, session) = begun();
    let wallet = session.record(&chain);
    let offer = session.offer(&wallet, 1, 100);
    chain.push(session.offered(&wallet, offer.clone())).expect("valid");
    chain.push(session.aborted(&session.record(&chain), 0, AbortReason::Source)).expect("valid");
    let wallet = session.record(&chain);
    let again = MigrationOffered { head: wallet.head, ..offer };
    assert_eq!(chain.push(session.offered(&wallet, again)), Err(Refusal::PrekeySpent));
}

#[test]
fn only_the_receiver_accepts_and_only_once() {
    let (mut chain, session) = offered();
    let refusal = chain.push(session.accepted(&session.record(&chain), 2));
    assert_eq!(refusal, Err(Refusal::NotReceiver { receiver: NodeId::new(1), author: NodeId::new(2) }));
    chain.push(session.accepted(&session.record(&chain), 1)).expect("valid");
    let twice = chain.push(session.accepted(&session.record(&chain), 1));
    assert_eq!(twice, Err(Refusal::WrongPhase { event: "MigrationAccepted" }));
}

#[test]
fn a_second_offer_needs_the_first_to_be_closed() {
    let (mut chain, session) = offered();
    let wallet = session.record(&chain);
    let refusal = chain.push(session.offered(&wallet, session.offer(&wallet, 2, 100)));
    assert_eq!(refusal, Err(Refusal::WrongPhase { event: "MigrationOffered" }));
}

#[test]
fn a_confirm_needs_the_sources_ticket_for_this_head_epoch_and_receiver() {
    assert_eq!(confirm_with(|_| {}), Ok(()));
    let head = confirm_with(|ticket| ticket.head = Digest([1; 32]));
    assert!(matches!(head, Err(Refusal::HeadMoved { .. })));
    let epoch = confirm_with(|ticket| ticket.epoch = KeyEpoch::new(2));
    assert!(matches!(epoch, Err(Refusal::WrongEpoch { .. })));
    let source = confirm_with(|ticket| ticket.source = NodeId::new(2));
    assert!(matches!(source, Err(Refusal::TicketForeign { .. })));
    let receiver = confirm_with(|ticket| ticket.receiver = NodeId::new(2));
    assert!(matches!(receiver, Err(Refusal::NotReceiver { .. })));
}

#[test]
fn a_confirm_with_a_forged_ticket_or_an_unopened_envelope_is_refused() {
    let with = |change: fn(&Session, &mut crate::event::KeyConfirmed)| {
        let (mut chain, session) = accepted();
        let wallet = session.record(&chain);
        let confirmed = session.confirmed(&wallet, session.ticket(&wallet));
        let Event::KeyConfirmed(mut confirm) = confirmed.body.event.clone() else { unreachable!() };
        change(&session, &mut confirm);
        chain.push(session.sign(1, Event::KeyConfirmed(confirm), Some(&session.epoch_key(1))))
    };
    let forged = with(|_, confirm| confirm.ticket = confirm.ticket.ticket.clone().sign(&key("forger")));
    assert_eq!(forged, Err(Refusal::TicketInvalid));
    let unopened = with(|session, confirm| {
        let holder_key = session.epoch_key(1).public_key();
        confirm.opened = confirm.ticket.sign_opened(&key("guess"), &holder_key, &confirm.exchange_key);
    });
    assert_eq!(unopened, Err(Refusal::NotOpened));
    let reused = with(|session, confirm| confirm.holder_key = session.epoch_key(0).public_key());
    assert_eq!(reused, Err(Refusal::KeyReused));
}

#[test]
fn a_ticket_is_void_after_a_touch() {
    let (mut chain, session) = accepted();
    let before = session.record(&chain);
    let confirm = session.confirmed(&before, session.ticket(&before));
    chain.push(session.touched(&before, 1)).expect("the holder goes on alone");
    assert!(matches!(chain.push(confirm), Err(Refusal::HeadMoved { .. })));
    let wallet = session.record(&chain);
    assert_eq!((wallet.phase, wallet.holder), (Phase::Active, NodeId::new(0)));
    assert_eq!(wallet.exposed, [NodeId::new(1)], "the receiver may have got the key");
}

#[test]
fn abort_and_confirm_race_and_the_first_wins() {
    let (mut chain, session) = accepted();
    let wallet = session.record(&chain);
    chain.push(session.aborted(&wallet, 1, AbortReason::Receiver)).expect("the receiver may");
    assert!(matches!(chain.push(session.confirmed(&wallet, session.ticket(&wallet))), Err(Refusal::HeadMoved { .. })));
}

#[test]
fn outsiders_abort_only_after_the_deadline_and_nobody_confirms_then() {
    let (mut chain, session) = begun();
    let wallet = session.record(&chain);
    let deadline = chain.tip.height.get() + 3;
    chain.push(session.offered(&wallet, session.offer(&wallet, 1, deadline))).expect("valid");
    chain.push(session.accepted(&session.record(&chain), 1)).expect("valid");
    let wallet = session.record(&chain);
    for reason in [AbortReason::Source, AbortReason::Receiver, AbortReason::Deadline] {
        let refusal = chain.push(session.aborted(&wallet, 2, reason));
        assert_eq!(refusal, Err(Refusal::AbortNotAllowed { author: NodeId::new(2) }));
    }
    chain.push(session.anchored(2, 1, Digest([1; 32]))).expect("valid");
    let late = chain.push(session.confirmed(&wallet, session.ticket(&wallet)));
    assert_eq!(late, Err(Refusal::DeadlinePassed { deadline: BlockHeight::new(deadline) }));
    chain.push(session.aborted(&wallet, 2, AbortReason::Deadline)).expect("anybody may now");
}

#[test]
fn a_closed_wallet_refuses_everything() {
    let (mut chain, session) = begun();
    chain.push(session.closed(&session.record(&chain))).expect("valid");
    let wallet = session.record(&chain);
    let closed = Err(Refusal::WalletClosed { wallet: session.address });
    assert_eq!(chain.push(session.touched(&wallet, 1)), closed);
    assert_eq!(chain.push(session.offered(&wallet, session.offer(&wallet, 1, 100))), closed);
    assert_eq!(chain.push(session.baseline(&wallet, 10, 10)), closed);
}

#[test]
fn evidence_does_not_advance_the_head() {
    let (mut chain, session) = accepted();
    let wallet = session.record(&chain);
    chain.push(session.baseline(&wallet, 1_000, 9)).expect("valid");
    assert_eq!(session.record(&chain), wallet);
    chain.push(session.confirmed(&wallet, session.ticket(&wallet))).expect("the hand-over goes on");
}

#[test]
fn evidence_of_an_earlier_epoch_or_without_samples_is_refused() {
    let (mut chain, session) = begun();
    let mut wallet = session.record(&chain);
    assert_eq!(chain.push(session.baseline(&wallet, 10, 0)), Err(Refusal::NoSamples));
    wallet.epoch = KeyEpoch::new(1);
    let epoch = chain.push(session.baseline(&wallet, 10, 8));
    assert_eq!(epoch, Err(Refusal::WrongEpoch { expected: KeyEpoch::ZERO, named: KeyEpoch::new(1) }));
}

#[test]
fn a_decision_log_only_grows() {
    let (mut chain, session) = begun();
    let head = crate::testing::decision_hash(&decision(0, Digest::ZERO));
    chain.push(session.anchored(1, 3, head)).expect("valid");
    assert_eq!(chain.push(session.anchored(1, 3, head)), Err(Refusal::AnchorNotAfter { anchored: 3, named: 3 }));
    chain.push(session.anchored(2, 1, head)).expect("another node's log");
}

#[test]
fn a_touch_needs_a_key_of_its_own() {
    let (mut chain, session) = begun();
    chain.push(session.touched(&session.record(&chain), 1)).expect("valid");
    assert_eq!(chain.push(session.touched(&session.record(&chain), 1)), Err(Refusal::BootReused));
    chain.push(session.touched(&session.record(&chain), 2)).expect("another boot");
}

#[test]
fn a_refused_entry_leaves_the_state_as_it_was() {
    let (chain, session) = accepted();
    let wallet = session.record(&chain);
    let mut ticket = session.ticket(&wallet);
    ticket.epoch = KeyEpoch::new(9);
    let mut state = chain.tip.state.clone();
    let at = BlockContext {
        name: chain.tip.name,
        height: BlockHeight::new(9),
        time: chain.tip.time,
        log_index: chain.tip.log.next_index(),
        is_re_genesis: false,
    };
    state.apply(&chain.consortium, &session.confirmed(&wallet, ticket), at).expect_err("a wrong epoch");
    assert_eq!(state.root(), chain.tip.state.root());
}
