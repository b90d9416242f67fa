//! One test for each rule of the hand-over. Node 0 holds the wallet first; node 1 receives it.

use super::*;
use crate::{
    digest::{Digest, sha256},
    identity::SecretKey,
    ticket::{ContentCommitment, HandoffTicket},
    units::LogIndex,
};

const WALLET: WalletAddress = WalletAddress(Digest([7; 32]));
const BOOT: [u8; 16] = [1; 16];
const EARLIER_BOOT: [u8; 16] = [9; 16];
const DEADLINE: BlockHeight = BlockHeight::new(100);

fn node(number: u32) -> NodeId {
    NodeId::new(number)
}

fn holder_key(number: u8) -> SecretKey {
    SecretKey::from_seed(&[number; 32])
}

fn token(position: u32) -> TokenPosition {
    TokenPosition::new(position)
}

/// A final log under construction.
#[derive(Clone, Default)]
struct Log {
    facts: Vec<WalletFact>,
}

impl Log {
    fn head(&self) -> Digest {
        self.facts.last().map_or(Digest::ZERO, |fact| fact.after)
    }

    fn push(&mut self, author: u32, change: Change) -> Input {
        let epoch = self.facts.last().map_or(0, |fact| fact.epoch.get());
        let epoch = epoch + u32::from(matches!(change, Change::Confirmed { .. }));
        let at = self.facts.len() as u64;
        let (before, after) = (self.head(), sha256("test", &[self.head().as_bytes(), &at.to_le_bytes()]));
        let (author, epoch) = (node(author), KeyEpoch::new(epoch));
        self.facts.push(WalletFact { at: LogIndex::new(at), author, before, after, epoch, change });
        Input::Final(self.facts[self.facts.len() - 1].clone())
    }

    fn created(&mut self) -> Input {
        self.push(0, Change::Created { holder_key: holder_key(0).public_key() })
    }

    fn offered(&mut self) -> Input {
        self.push(0, Change::Offered { receiver: node(1), deadline: DEADLINE })
    }

    fn accepted(&mut self) -> Input {
        self.push(1, Change::Accepted)
    }

    fn confirmed(&mut self) -> Input {
        self.push(1, Change::Confirmed { holder_key: holder_key(1).public_key(), next_token: token(5) })
    }

    /// The source's ticket at the present head.
    fn ticket(&self) -> HandoffTicket {
        HandoffTicket {
            wallet: WALLET,
            head: self.head(),
            epoch: KeyEpoch::new(1),
            source: node(0),
            receiver: node(1),
            content: ContentCommitment::default(),
            next_token: token(5),
        }
    }
}

fn step(handoff: &mut Handoff, input: Input) -> Vec<Effect> {
    let mut effects = Vec::new();
    handoff.step(Timestamp::ZERO, input, &mut effects).expect("the rules allow it");
    effects
}

fn refused(handoff: &mut Handoff, input: Input) -> Refusal {
    let mut effects = Vec::new();
    let refusal = handoff.step(Timestamp::ZERO, input, &mut effects).expect_err("a rule forbids it");
    assert_eq!(effects, []);
    refusal
}

fn boundary(next: u32) -> Input {
    Input::StepBoundary { next_token: token(next) }
}

fn verified() -> Input {
    Input::Verified { holder_key: holder_key(1).public_key() }
}

/// A source that serves, with its offer accepted.
fn accepted_source() -> (Handoff, Log) {
    let (mut source, mut log) = (Handoff::create(node(0), WALLET, BOOT, Timestamp::ZERO), Log::default());
    for fact in [log.created(), log.offered(), log.accepted()] {
        step(&mut source, fact);
    }
    (source, log)
}

fn frozen_source() -> (Handoff, Log) {
    let (mut source, log) = accepted_source();
    step(&mut source, Input::Prepared);
    step(&mut source, boundary(5));
    assert_eq!(source.mode(), Mode::Frozen);
    (source, log)
}

/// A receiver that accepted.
fn accepted_receiver() -> (Handoff, Log) {
    let (mut receiver, mut log) = (Handoff::observe(node(1), WALLET, BOOT, Timestamp::ZERO), Log::default());
    for fact in [log.created(), log.offered(), log.accepted()] {
        step(&mut receiver, fact);
    }
    (receiver, log)
}

fn ahead_receiver() -> (Handoff, Log) {
    let (mut receiver, log) = accepted_receiver();
    step(&mut receiver, Input::Ticket(log.ticket().sign(&holder_key(0))));
    step(&mut receiver, verified());
    assert_eq!(receiver.mode(), Mode::Ahead);
    (receiver, log)
}

#[test]
fn a_source_serves_and_copies_while_its_offer_is_open() {
    let (mut source, mut log) = (Handoff::create(node(0), WALLET, BOOT, Timestamp::ZERO), Log::default());
    step(&mut source, log.created());
    let offer = Intent::Offer { receiver: node(1), deadline: DEADLINE };
    let effects = step(&mut source, Input::Migrate { to: node(1), deadline: DEADLINE });
    assert_eq!(effects, [Effect::Submit { head: log.head(), intent: offer }]);
    assert_eq!(step(&mut source, log.offered()), [Effect::PreCopy { receiver: node(1) }]);
    assert_eq!(step(&mut source, boundary(3)), []);
    assert_eq!(step(&mut source, log.accepted()), []);
    assert_eq!(source.mode(), Mode::Serving);
}

#[test]
fn a_source_freezes_only_when_accepted_and_prepared_and_at_a_step_boundary() {
    let (mut source, mut log) = (Handoff::create(node(0), WALLET, BOOT, Timestamp::ZERO), Log::default());
    for fact in [log.created(), log.offered()] {
        step(&mut source, fact);
    }
    step(&mut source, Input::Prepared);
    assert_eq!(step(&mut source, boundary(3)), [], "prepared, not accepted");
    assert_eq!(step(&mut source, log.accepted()), [], "between two boundaries");
    let (epoch, receiver) = (KeyEpoch::new(1), node(1));
    let ticket = Effect::CutTicket { head: log.head(), epoch, receiver, next_token: token(4) };
    assert_eq!(step(&mut source, boundary(4)), [Effect::Freeze, ticket]);
    let (mut unprepared, _) = accepted_source();
    assert_eq!(step(&mut unprepared, boundary(4)), []);
}

#[test]
fn a_frozen_source_does_not_resume_by_timeout() {
    let (mut source, log) = frozen_source();
    let effects = step(&mut source, Input::Height(BlockHeight::new(101)));
    assert_eq!(effects, [Effect::Submit { head: log.head(), intent: Intent::Abort }]);
    step(&mut source, Input::Retry);
    assert_eq!(source.mode(), Mode::Frozen);
    assert_eq!(refused(&mut source, boundary(6)), Refusal::ModeWrong { mode: Mode::Frozen });
}

#[test]
fn a_frozen_source_serves_again_where_it_stopped_once_an_abort_is_final() {
    let (mut source, mut log) = frozen_source();
    step(&mut source, Input::Abort);
    assert_eq!(source.mode(), Mode::Frozen);
    assert_eq!(step(&mut source, log.push(0, Change::Aborted)), [Effect::Emit { from: token(5) }]);
}

#[test]
fn a_source_that_aborts_does_not_freeze_and_aborts_again_if_the_acceptance_came_first() {
    let (mut source, mut log) = (Handoff::create(node(0), WALLET, BOOT, Timestamp::ZERO), Log::default());
    for fact in [log.created(), log.offered()] {
        step(&mut source, fact);
    }
    step(&mut source, Input::Prepared);
    step(&mut source, Input::Abort);
    let accepted = log.accepted();
    let again = Effect::Submit { head: log.head(), intent: Intent::Abort };
    assert_eq!(step(&mut source, accepted), [again]);
    assert_eq!(step(&mut source, boundary(4)), []);
}

#[test]
fn a_source_stops_and_erases_its_epoch_when_the_confirm_is_final() {
    let (mut source, mut log) = frozen_source();
    let effects = step(&mut source, log.confirmed());
    assert_eq!(effects, [Effect::Stop { why: Stopped::HandedOver }, Effect::EraseKeys { epoch: KeyEpoch::ZERO }]);
    assert_eq!(source.mode(), Mode::Idle);
}

#[test]
fn a_receiver_emits_only_when_its_confirm_is_final() {
    let (mut receiver, mut log) = accepted_receiver();
    let ticket = log.ticket().sign(&holder_key(0));
    assert_eq!(step(&mut receiver, Input::Ticket(ticket.clone())), []);
    let confirm = Intent::Confirm { ticket: Box::new(ticket), holder_key: holder_key(1).public_key() };
    let effects = step(&mut receiver, verified());
    assert_eq!(effects, [Effect::DecodeAhead { from: token(5) }, Effect::Submit { head: log.head(), intent: confirm }]);
    assert_eq!(refused(&mut receiver, boundary(6)), Refusal::ModeWrong { mode: Mode::Ahead });
    assert_eq!(step(&mut receiver, log.confirmed()), [Effect::Emit { from: token(5) }]);
    assert_eq!(receiver.mode(), Mode::Serving);
}

#[test]
fn a_receiver_confirms_nothing_before_it_verified() {
    let (mut receiver, _) = accepted_receiver();
    assert_eq!(refused(&mut receiver, verified()), Refusal::PhaseWrong { reason: "no ticket has arrived" });
}

#[test]
fn a_ticket_cut_at_an_older_head_is_refused() {
    let (mut receiver, mut log) = accepted_receiver();
    let stale = log.ticket().sign(&holder_key(0));
    // The offer is closed and made again: same epoch, same nodes, another head.
    for fact in [log.push(0, Change::Aborted), log.offered(), log.accepted()] {
        step(&mut receiver, fact);
    }
    let named = stale.ticket.head;
    let refusal = refused(&mut receiver, Input::Ticket(stale));
    assert_eq!(refusal, Refusal::HeadMismatch { current: log.head(), named });
}

#[test]
fn a_ticket_that_differs_in_any_field_is_refused() {
    let (receiver, log) = accepted_receiver();
    type Alteration = fn(&mut HandoffTicket);
    let cases: [(Alteration, &str); 4] = [
        (|t| t.wallet = WalletAddress::default(), "wallet"),
        (|t| t.receiver = node(2), "receiver"),
        (|t| t.source = node(2), "source"),
        (|t| t.epoch = KeyEpoch::new(2), "epoch"),
    ];
    for (alter, field) in cases {
        let mut ticket = log.ticket();
        alter(&mut ticket);
        let refusal = refused(&mut receiver.clone(), Input::Ticket(ticket.sign(&holder_key(0))));
        assert_eq!(refusal, Refusal::TicketMismatch { field });
    }
    let forged = log.ticket().sign(&holder_key(8));
    let refusal = refused(&mut receiver.clone(), Input::Ticket(forged));
    assert_eq!(refusal, Refusal::SignatureInvalid { what: "ticket" });
}

#[test]
fn a_second_ticket_at_one_head_is_refused() {
    let (mut receiver, log) = ahead_receiver();
    let second = HandoffTicket { next_token: token(6), ..log.ticket() };
    let refusal = refused(&mut receiver, Input::Ticket(second.sign(&holder_key(0))));
    assert_eq!(refusal, Refusal::TicketMismatch { field: "content or position" });
}

#[test]
fn a_confirm_is_withdrawn_when_the_head_moves() {
    for close in [Change::Aborted, Change::Touched { boot_nonce: BOOT }] {
        let (mut receiver, mut log) = ahead_receiver();
        assert_eq!(step(&mut receiver, log.push(0, close)), [Effect::Stop { why: Stopped::OfferClosed }]);
        assert_eq!(step(&mut receiver, Input::Retry), []);
        assert_eq!(refused(&mut receiver, verified()), Refusal::PhaseWrong { reason: "no ticket has arrived" });
    }
}

#[test]
fn a_touch_closes_the_offer_and_voids_its_ticket() {
    let (mut receiver, mut log) = accepted_receiver();
    let stale = log.ticket().sign(&holder_key(0));
    step(&mut receiver, log.push(0, Change::Touched { boot_nonce: BOOT }));
    assert_eq!(receiver.view().phase, Phase::Active);
    assert!(matches!(refused(&mut receiver, Input::Ticket(stale)), Refusal::HeadMismatch { .. }));
}

#[test]
fn a_restarted_holder_serves_only_after_a_touch_of_this_boot() {
    let (_, mut log) = accepted_source();
    let mut source = Handoff::restart(node(0), WALLET, BOOT, token(3), Timestamp::ZERO);
    for fact in log.facts.clone() {
        assert_eq!(step(&mut source, Input::Final(fact)), []);
    }
    assert_eq!(refused(&mut source, boundary(3)), Refusal::ModeWrong { mode: Mode::Restarted });
    let touch = Effect::Submit { head: log.head(), intent: Intent::Touch { boot_nonce: BOOT } };
    assert_eq!(step(&mut source, Input::CaughtUp), [touch]);
    let other = log.push(0, Change::Touched { boot_nonce: EARLIER_BOOT });
    let again = Effect::Submit { head: log.head(), intent: Intent::Touch { boot_nonce: BOOT } };
    assert_eq!(step(&mut source, other), [again]);
    assert_eq!(source.mode(), Mode::Restarted);
    let own = log.push(0, Change::Touched { boot_nonce: BOOT });
    assert_eq!(step(&mut source, own), [Effect::Emit { from: token(3) }]);
    assert_eq!(step(&mut source, Input::Retry), []);
}

#[test]
fn a_confirm_of_an_earlier_boot_does_not_let_a_receiver_serve() {
    let (mut receiver, mut log) = ahead_receiver();
    let (holder_key, next_token) = (holder_key(5).public_key(), token(5));
    let earlier = log.push(1, Change::Confirmed { holder_key, next_token });
    let touch = Effect::Submit { head: log.head(), intent: Intent::Touch { boot_nonce: BOOT } };
    assert_eq!(step(&mut receiver, earlier), [Effect::Stop { why: Stopped::OtherBoot }, touch]);
    assert_eq!(receiver.mode(), Mode::Restarted);
}

#[test]
fn a_restarted_node_that_holds_nothing_is_idle_and_erases_old_keys() {
    let (_, mut log) = accepted_source();
    log.confirmed();
    let mut source = Handoff::restart(node(0), WALLET, BOOT, token(3), Timestamp::ZERO);
    for fact in log.facts {
        assert_eq!(step(&mut source, Input::Final(fact)), []);
    }
    assert_eq!(step(&mut source, Input::CaughtUp), [Effect::EraseKeys { epoch: KeyEpoch::ZERO }]);
    assert_eq!(source.mode(), Mode::Idle);
}

#[test]
fn entries_read_again_have_no_effect() {
    let (mut source, mut log) = frozen_source();
    step(&mut source, log.confirmed());
    for fact in log.facts {
        assert_eq!(step(&mut source, Input::Final(fact)), []);
    }
    assert_eq!(source.mode(), Mode::Idle);
}

#[test]
fn an_entry_that_skips_another_is_refused() {
    let mut log = Log::default();
    let (created, _, accepted) = (log.created(), log.offered(), log.accepted());
    let mut source = Handoff::observe(node(2), WALLET, BOOT, Timestamp::ZERO);
    step(&mut source, created);
    assert_eq!(refused(&mut source, accepted), Refusal::FactGap { at: LogIndex::new(2) });
}

#[test]
fn a_second_process_with_the_same_key_stops_the_first() {
    let (mut source, mut log) = accepted_source();
    let twin = log.push(0, Change::Touched { boot_nonce: EARLIER_BOOT });
    assert_eq!(step(&mut source, twin), [Effect::Stop { why: Stopped::OtherBoot }]);
    assert_eq!(source.mode(), Mode::Restarted);
}

#[test]
fn only_the_holder_offers_and_not_to_itself_nor_twice() {
    let (mut source, mut log) = (Handoff::create(node(0), WALLET, BOOT, Timestamp::ZERO), Log::default());
    let migrate = |to| Input::Migrate { to: node(to), deadline: DEADLINE };
    assert_eq!(refused(&mut source, migrate(1)), Refusal::NotHolder { holder: None });
    step(&mut source, log.created());
    let own = refused(&mut source, migrate(0));
    assert_eq!(own, Refusal::PhaseWrong { reason: "the receiver is the holder" });
    step(&mut source, log.offered());
    assert_eq!(refused(&mut source, migrate(1)), Refusal::PhaseWrong { reason: "an offer is open" });
    let mut stranger = Handoff::observe(node(2), WALLET, BOOT, Timestamp::ZERO);
    assert_eq!(refused(&mut stranger, migrate(1)), Refusal::ModeWrong { mode: Mode::Idle });
    let accept = refused(&mut stranger, Input::Accept);
    assert_eq!(accept, Refusal::PhaseWrong { reason: "no offer to this node is open" });
}

#[test]
fn a_token_position_never_goes_back() {
    let (mut source, _) = accepted_source();
    step(&mut source, boundary(4));
    let refusal = Refusal::PositionBackwards { current: token(4), next: token(3) };
    assert_eq!(refused(&mut source, boundary(3)), refusal);
}

#[test]
fn a_closed_wallet_is_served_by_nobody() {
    let (mut source, mut log) = accepted_source();
    step(&mut source, Input::Close);
    let effects = step(&mut source, log.push(0, Change::Closed));
    assert_eq!(effects, [Effect::Stop { why: Stopped::Closed }, Effect::EraseKeys { epoch: KeyEpoch::ZERO }]);
    assert_eq!(step(&mut source, Input::Retry), []);
}
