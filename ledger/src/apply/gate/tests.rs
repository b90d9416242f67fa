use wallet::{
    codec::{decode, encode},
    digest::Digest,
    gate::{
        Gate, GateId, GateLabel, GateShare, Opening, SecretNumber,
        dkg::{Complaint, Input, Notice, Phase, SignedPackage},
    },
    grant::WalletAddress,
    identity::context,
    units::{GateEpoch, KeyEpoch, NodeId, Timestamp},
};

use super::*;
use crate::{
    governance::{Action, Member},
    refusal::Retry,
    state::GateScope,
    testing::{
        Chain, Session, consortium, consortium_with,
        gates::{KeyGeneration, PHASE_MS, gated, scopes},
        key, next_node_key, node_key, operator_id,
    },
};

const GLOBAL: GateScope = GateScope::Global;

fn region(name: &str) -> GateScope {
    GateScope::Region(name.to_owned().try_into().expect("a name"))
}

/// `nodes` nodes with gates on; the last one of four or more is in region us, the others in eu.
fn chain(nodes: u32) -> Chain {
    Chain::new(consortium_with(nodes, gated()))
}

fn word(chain: &Chain, scope: &GateScope, notice: Notice) -> GateWord {
    GateWord::Run { run: run_of(chain, scope), notice }
}

fn run_of(chain: &Chain, scope: &GateScope) -> Digest {
    *chain.gate(scope).run.expect("under way").transcript.ceremony_hash()
}

fn members_of(chain: &Chain, scope: &GateScope) -> Vec<u32> {
    let run = chain.gate(scope).run.expect("under way");
    run.transcript.ceremony().members.iter().map(|node| node.get()).collect()
}

fn phase_of(chain: &Chain, scope: &GateScope) -> Phase {
    chain.gate(scope).run.expect("under way").transcript.phase().clone()
}

fn last_entry(chain: &Chain) -> Digest {
    chain.entries().last().expect("something is final").1.id()
}

fn in_force(chain: &Chain, scope: &GateScope) -> Gate {
    chain.gate(scope).in_force.expect("made")
}

/// Whether any `threshold` of the shares open what is locked to the gate.
fn opens(gate: &Gate, shares: &[GateShare]) {
    let label = GateLabel::unlock(&WalletAddress(Digest([3; 32])), KeyEpoch::ZERO, NodeId::ZERO);
    let (ciphertext, secret) = gate.encapsulate(&label, &mut |bytes: &mut [u8]| bytes.fill(7));
    let verified = gate.verify(&label, &ciphertext).expect("just made");
    let ours: Vec<_> = shares.iter().filter(|share| share.gate() == gate.hash()).collect();
    assert_eq!(ours.len(), gate.members().len());
    let mut opening = Opening::new(verified);
    for share in ours.iter().rev().take(gate.threshold()) {
        assert!(opening.secret().is_err(), "below the threshold");
        opening.add(share.release(&verified).expect("its gate")).expect("its part");
    }
    assert_eq!(opening.secret().expect("enough").expose(), secret.expose());
}

#[test]
fn every_gate_is_made_from_the_first_block_on() {
    let mut chain = chain(5);
    assert_eq!(members_of(&chain, &GLOBAL), [0, 1, 2, 3, 4]);
    assert_eq!(members_of(&chain, &region("eu")), [0, 1, 2, 3]);
    assert!(chain.gate(&region("us")).run.is_none(), "one node makes a key alone");
    let shares = chain.make_gates().expect("valid");
    for (scope, threshold) in [(GLOBAL, 4), (region("eu"), 3), (region("us"), 1)] {
        let record = chain.gate(&scope);
        let gate = in_force(&chain, &scope);
        assert_eq!((gate.threshold(), gate.id()), (threshold, &record.id(&scope, chain.consortium.id())), "{scope}");
        assert!(record.run.is_none() && record.former.is_none() && !record.is_being_made(), "{scope}");
        opens(&gate, &shares);
    }
}

#[test]
fn a_lone_node_makes_its_gates_alone() {
    let mut chain = chain(1);
    chain.make_gates().expect("valid");
    assert_eq!((in_force(&chain, &GLOBAL).threshold(), in_force(&chain, &region("eu")).threshold()), (1, 1));
    assert!(chain.tip.state.gate(&region("us")).is_none(), "nobody is there");
}

#[test]
fn without_the_parameter_there_are_no_gates() {
    let off = Chain::new(consortium(4));
    assert!(scopes(&off.consortium).iter().all(|scope| off.tip.state.gate(scope).is_none()));
    let mut on = chain(4);
    let (_, notice, _) = KeyGeneration::join(&on, &GLOBAL, |_| true).next(&on).expect("a contribution");
    let word = GateWord::Run { run: Digest::ZERO, notice };
    let entry = off.noticing(NodeId::ZERO, &GLOBAL, word.clone());
    assert_eq!(off.clone().push(entry), Err(Refusal::GateUnknown { gate: "global".to_owned() }));
    let nowhere = region("mars");
    let entry = on.noticing(NodeId::ZERO, &nowhere, word);
    assert_eq!(on.push(entry), Err(Refusal::GateUnknown { gate: "region/mars".to_owned() }));
}

#[test]
fn the_parameter_stays_as_genesis_has_it() {
    for (from, mut chain) in [(0, Chain::new(consortium(4))), (PHASE_MS, chain(4))] {
        let name = "gate_phase_ms".to_owned();
        let action = Action::SetParameter { name: name.clone(), from, to: 7 };
        assert_eq!(chain.enact(vec![action]), Err(Refusal::ParameterFixed { name }));
    }
}

#[test]
fn the_next_run_goes_without_who_did_not_contribute() {
    let mut chain = chain(4);
    KeyGeneration::join(&chain, &GLOBAL, |node| node != 2).go_on(&mut chain).expect("valid");
    let ends = chain.gate(&GLOBAL).run.expect("under way").ends.expect("three of four can go on");
    chain.wait_ms(ends.get() - chain.next_time().get());
    assert_eq!(phase_of(&chain, &GLOBAL), Phase::Contributing, "the last block time that is in time");
    let mut on_time = chain.clone();
    KeyGeneration::join(&on_time, &GLOBAL, |node| node == 2).go_on(&mut on_time).expect("in time");
    assert_eq!(phase_of(&on_time, &GLOBAL), Phase::Sharing);

    let late = run_of(&chain, &GLOBAL);
    chain.wait_ms(1);
    assert_eq!(members_of(&chain, &GLOBAL), [0, 1, 3]);
    let (_, notice, _) = KeyGeneration::join(&on_time, &GLOBAL, |node| node == 2).next(&on_time).expect("its own");
    let entry = chain.noticing(NodeId::new(2), &GLOBAL, GateWord::Run { run: late, notice });
    let current = Some(run_of(&chain, &GLOBAL));
    assert_eq!(chain.push(entry), Err(Refusal::GateRunOver { current, named: late }));

    let mut shares = chain.make_gates().expect("three make it");
    let gate = in_force(&chain, &GLOBAL);
    assert_eq!((gate.members().len(), gate.threshold()), (3, 3), "the liar may be among the three");
    shares.retain(|share| share.gate() == gate.hash());
    opens(&gate, &shares);
}

#[test]
fn nobody_is_late_while_there_are_too_few_for_a_gate() {
    let mut chain = chain(4);
    KeyGeneration::join(&chain, &GLOBAL, |node| node < 2).go_on(&mut chain).expect("valid");
    chain.wait_ms(2 * PHASE_MS);
    assert_eq!((members_of(&chain, &GLOBAL), phase_of(&chain, &GLOBAL)), (vec![0, 1, 2, 3], Phase::Contributing));
    let record = chain.tip.state.gate(&GLOBAL).expect("on").at(Timestamp::new(u64::MAX), PHASE_MS);
    assert_eq!(record, chain.gate(&GLOBAL), "at any time");
}

#[test]
fn nothing_waits_for_gates_that_nobody_makes() {
    let mut chain = chain(5);
    let record = chain.gate(&GLOBAL);
    let session = Session::in_eu(&chain.consortium, 0);
    chain.push(session.created()).expect("valid");
    session.hop(&mut chain, 1, None).expect("a move");
    chain.wait_ms(1_000 * PHASE_MS);
    session.hop(&mut chain, 2, None).expect("another");
    assert_eq!(chain.gate(&GLOBAL), record, "it waits");
    chain.enact(vec![Action::Suspend(Member::Node(NodeId::new(3)))]).expect("the members change");
    chain.begin_anew(0, vec![Member::Operator(operator_id(3))]).expect("whose node is suspended");
    session.hop(&mut chain, 0, None).expect("a third");
    assert_eq!((chain.gate(&GLOBAL).epoch, chain.gate(&GLOBAL).in_force), (GateEpoch::new(2), None));
}

#[test]
fn a_run_without_some_does_not_wait_so_that_who_is_back_is_asked_again() {
    let mut chain = chain(4);
    KeyGeneration::join(&chain, &GLOBAL, |node| node != 2).go_on(&mut chain).expect("three of four");
    chain.wait_ms(PHASE_MS);
    assert_eq!(members_of(&chain, &GLOBAL), [0, 1, 3], "2 was down");
    // Now 3 says nothing, and 2 is back.
    KeyGeneration::join(&chain, &GLOBAL, |node| node != 3).go_on(&mut chain).expect("two of three");
    chain.wait_ms(PHASE_MS);
    assert_eq!((members_of(&chain, &GLOBAL), phase_of(&chain, &GLOBAL)), (vec![0, 1, 2, 3], Phase::Contributing));
    KeyGeneration::join(&chain, &GLOBAL, |node| node != 3).go_on(&mut chain).expect("three of four");
    chain.wait_ms(PHASE_MS);
    assert_eq!(members_of(&chain, &GLOBAL), [0, 1, 2]);
    let shares = chain.make_gates().expect("the honest ones");
    let gate = in_force(&chain, &GLOBAL);
    opens(&gate, &shares);
}

#[test]
fn who_sends_nothing_and_does_not_answer_is_left_out() {
    let mut chain = chain(4);
    let mut generation = KeyGeneration::join(&chain, &GLOBAL, |_| true);
    generation.dismiss(3);
    generation.go_on(&mut chain).expect("four contributions");
    generation.all(&Input::Waited);
    assert!(generation.waiting.iter().all(|(_, notice)| {
        matches!(notice, Notice::Complained(Complaint::Missing { accused }) if *accused == [NodeId::new(3)].into())
    }));
    generation.go_on(&mut chain).expect("three complaints");
    assert_eq!(phase_of(&chain, &GLOBAL), Phase::Sharing);
    chain.wait_ms(PHASE_MS);
    assert_eq!(phase_of(&chain, &GLOBAL), Phase::Answering);
    chain.wait_ms(PHASE_MS);
    assert_eq!((members_of(&chain, &GLOBAL), phase_of(&chain, &GLOBAL)), (vec![0, 1, 2], Phase::Contributing));
}

#[test]
fn a_run_that_would_leave_too_few_begins_again_with_all() {
    let mut chain = chain(2);
    let mut generation = KeyGeneration::join(&chain, &GLOBAL, |_| true);
    generation.dismiss(1);
    generation.go_on(&mut chain).expect("two contributions");
    let first = run_of(&chain, &GLOBAL);
    // Sharing, answering, confirming.
    chain.wait_ms(3 * PHASE_MS);
    assert_eq!((members_of(&chain, &GLOBAL), phase_of(&chain, &GLOBAL)), (vec![0, 1], Phase::Contributing));
    assert_ne!(run_of(&chain, &GLOBAL), first);
    let shares = chain.make_gates().expect("both are there");
    opens(&in_force(&chain, &GLOBAL), &shares);
}

#[test]
fn nothing_that_is_said_in_one_branch_counts_in_another() {
    let mut left = chain(5);
    let mut generation = KeyGeneration::join(&left, &GLOBAL, |_| true);
    for _ in 0..5 {
        let (author, notice, entry) = generation.next(&left).expect("five contributions");
        left.push(entry).expect("valid");
        generation.all(&Input::Notice { author, notice });
    }
    let sent = generation.sent;
    // The branch that goes on dropped most of that, and has the same members.
    let mut taken = chain(5);
    let begun = run_of(&taken, &GLOBAL);
    assert_eq!(begun, run_of(&left, &GLOBAL));
    KeyGeneration::join(&taken, &GLOBAL, |node| node == 0).go_on(&mut taken).expect("what both branches have");
    let contribution = KeyGeneration::join(&taken, &GLOBAL, |node| node == 1).next(&taken).expect("its own").1;
    taken.begin_anew(0, Vec::new()).expect("all operators begin anew");
    let entry = last_entry(&taken);
    let record = taken.gate(&GLOBAL);
    let ceremony = record.run.expect("under way").transcript.ceremony().clone();
    assert_eq!((record.epoch, ceremony.lineage, ceremony.run), (GateEpoch::new(1), entry, 0));
    assert_eq!(members_of(&taken, &GLOBAL), [0, 1, 2, 3, 4]);
    let again = taken.noticing(NodeId::new(1), &GLOBAL, GateWord::Run { run: begun, notice: contribution.clone() });
    let current = Some(run_of(&taken, &GLOBAL));
    assert_eq!(taken.clone().push(again), Err(Refusal::GateRunOver { current, named: begun }));
    let renamed = taken.noticing(NodeId::new(1), &GLOBAL, word(&taken, &GLOBAL, contribution));
    let reason = Box::new(WalletRefusal::ContributionInvalid { node: NodeId::new(1) });
    assert_eq!(taken.clone().push(renamed), Err(Refusal::GateNoticeRefused { reason }));

    let mut generation = KeyGeneration::join(&taken, &GLOBAL, |_| true);
    for _ in 0..5 {
        let (_, _, entry) = generation.next(&taken).expect("five contributions");
        taken.push(entry).expect("valid");
    }
    let is_its = |package: &&SignedPackage| (package.from().get(), package.to().get()) == (1, 3);
    let package = sent.iter().find(is_its).expect("all send to all").clone();
    let accusation = word(&taken, &GLOBAL, Notice::Complained(Complaint::False { package, opening: None }));
    let reason = Box::new(WalletRefusal::PackageMismatch);
    let refused = Err(Refusal::GateNoticeRefused { reason });
    assert_eq!(taken.push(taken.noticing(NodeId::new(3), &GLOBAL, accusation)), refused, "1 is not to blame");
}

#[test]
fn a_later_epoch_is_of_the_lineage_in_which_it_begins() {
    let mut chain = chain(5);
    KeyGeneration::join(&chain, &GLOBAL, |node| node == 0).go_on(&mut chain).expect("something is final");
    chain.begin_anew(0, Vec::new()).expect("all operators begin anew");
    let entry = last_entry(&chain);
    chain.enact(vec![Action::Suspend(Member::Node(NodeId::new(3)))]).expect("valid");
    assert_eq!(chain.gate(&GLOBAL).run.expect("under way").transcript.ceremony().lineage, entry);
    let shares = chain.make_gates().expect("valid");
    opens(&in_force(&chain, &GLOBAL), &shares);
    let made = chain.gate(&GLOBAL);
    chain.begin_anew(0, vec![Member::Operator(operator_id(3))]).expect("whose node is suspended");
    assert_eq!(chain.gate(&GLOBAL), made, "a gate that is there stays");
}

#[test]
fn a_plain_key_of_a_branch_that_was_dropped_is_not_taken() {
    let (us, of_us) = (region("us"), NodeId::new(4));
    let mut left = chain(5);
    let (gate, _) = left.plain_gate(&us);
    let word = left.plain(gate.clone());
    left.push(left.noticing(of_us, &us, word.clone())).expect("valid");
    let mut taken = chain(5);
    KeyGeneration::join(&taken, &GLOBAL, |node| node == 0).go_on(&mut taken).expect("something is final");
    taken.begin_anew(0, Vec::new()).expect("all operators begin anew");
    let refused = Err(Refusal::GatePlainUnfit { gate: us.to_string() });
    assert_eq!(taken.push(taken.noticing(of_us, &us, word)), refused, "its member may not have it any more");
    taken.push(taken.noticing(of_us, &us, taken.plain(gate.clone()))).expect("it says so in this branch");
    assert_eq!(in_force(&taken, &us), gate);
}

/// Node 1's package for node 3 with another's ciphertext in it, under its signature.
fn false_package(sent: &[SignedPackage]) -> SignedPackage {
    let bytes = |to: u32| {
        let package = sent.iter().find(|package| (package.from().get(), package.to().get()) == (1, to));
        encode(package.expect("all send to all"))
    };
    let (mut package, other) = (bytes(3), bytes(2));
    // Run, sender and receiver stand before the ciphertext, a sealed share and the signature behind it.
    package[40..168].copy_from_slice(&other[40..168]);
    package.truncate(216);
    let signature = node_key(1).sign(context::GATE_PACKAGE, &package);
    decode(&[package, encode(&signature)].concat()).expect("a package")
}

#[test]
fn a_false_package_that_is_shown_ends_the_run_at_once() {
    let mut chain = chain(4);
    let mut generation = KeyGeneration::join(&chain, &GLOBAL, |_| true);
    for _ in 0..4 {
        let (author, notice, entry) = generation.next(&chain).expect("four contributions");
        chain.push(entry).expect("valid");
        generation.all(&Input::Notice { author, notice });
    }
    let accusation = Complaint::False { package: false_package(&generation.sent), opening: None };
    let said = word(&chain, &GLOBAL, Notice::Complained(accusation));
    let by_another = chain.noticing(NodeId::new(2), &GLOBAL, said.clone());
    let reason = Box::new(WalletRefusal::PackageMismatch);
    assert_eq!(chain.push(by_another), Err(Refusal::GateNoticeRefused { reason }), "it is not for node 2");
    chain.push(chain.noticing(NodeId::new(3), &GLOBAL, said)).expect("anyone can check it");
    assert_eq!((members_of(&chain, &GLOBAL), phase_of(&chain, &GLOBAL)), (vec![0, 2, 3], Phase::Contributing));
}

#[test]
fn another_member_set_begins_the_next_gate_and_the_old_one_serves_until_it_is_there() {
    let mut chain = chain(5);
    chain.make_gates().expect("valid");
    let [first, eu, us] = [GLOBAL, region("eu"), region("us")].map(|scope| in_force(&chain, &scope));
    chain.enact(vec![Action::Suspend(Member::Node(NodeId::new(3)))]).expect("valid");
    assert_eq!((members_of(&chain, &GLOBAL), members_of(&chain, &region("eu"))), (vec![0, 1, 2, 4], vec![0, 1, 2]));
    assert_eq!((in_force(&chain, &GLOBAL), in_force(&chain, &region("eu"))), (first.clone(), eu.clone()));
    assert!(!chain.gate(&region("us")).is_being_made(), "its member and key are the same");

    let shares = chain.make_gates().expect("valid");
    let at = chain.tip.time.get();
    for (scope, threshold, before) in [(GLOBAL, 3, first), (region("eu"), 2, eu)] {
        let record = chain.gate(&scope);
        let (gate, former) = (in_force(&chain, &scope), record.former.expect("it served"));
        assert_eq!((gate.threshold(), gate.id().epoch, former.gate), (threshold, GateEpoch::new(1), before));
        assert!((at..=at + PHASE_MS).contains(&former.until.get()), "{}", former.until);
        opens(&gate, &shares);
    }
    assert_eq!(in_force(&chain, &region("us")), us);
}

#[test]
fn another_key_of_a_member_begins_the_next_gate_and_ends_a_run() {
    let mut chain = chain(4);
    chain.make_gates().expect("valid");
    for (from, to) in [(node_key(1), next_node_key(1)), (next_node_key(1), key("a third key"))] {
        let before = chain.gate(&GLOBAL);
        let rotating = chain.rotating(Member::Node(NodeId::new(1)), &from, &to);
        chain.enact(vec![rotating]).expect("valid");
        let record = chain.gate(&GLOBAL);
        assert_eq!((record.epoch, record.in_force), (before.epoch.next().expect("few"), before.in_force));
        let names = [before.run, record.run].map(|run| run.map(|run| *run.transcript.ceremony_hash()));
        assert_ne!(names[0], names[1]);
    }
    let shares = chain.make_gates().expect("with the key of now");
    opens(&in_force(&chain, &GLOBAL), &shares);
    assert_eq!(in_force(&chain, &GLOBAL).id().epoch, GateEpoch::new(2));
}

#[test]
fn a_region_without_nodes_keeps_its_gate_and_makes_none() {
    let mut chain = chain(4);
    chain.make_gates().expect("valid");
    let us = in_force(&chain, &region("us"));
    chain.enact(vec![Action::Suspend(Member::Node(NodeId::new(3)))]).expect("valid");
    let record = chain.gate(&region("us"));
    assert_eq!((record.members.len(), record.in_force.as_ref()), (0, Some(&us)));
    assert!(record.run.is_none() && !record.is_being_made());
    chain.enact(vec![chain.reinstating(Member::Node(NodeId::new(3)))]).expect("valid");
    let (gate, _) = chain.plain_gate(&region("us"));
    chain.push(chain.noticing(NodeId::new(3), &region("us"), chain.plain(gate))).expect("valid");
    assert_eq!(chain.gate(&region("us")).former.map(|former| former.gate), Some(us));
}

#[test]
fn of_each_operator_one_node_is_in_the_gate_of_a_region() {
    let mut chain = chain(4);
    chain.join(4, 0).expect("another node of operator 0 in eu");
    assert_eq!(members_of(&chain, &region("eu")), [0, 1, 2]);
    assert_eq!(members_of(&chain, &GLOBAL), [0, 1, 2, 3, 4]);
    chain.enact(vec![Action::Suspend(Member::Node(NodeId::ZERO))]).expect("valid");
    assert_eq!(members_of(&chain, &region("eu")), [1, 2, 4]);
}

#[test]
fn a_plain_key_is_that_of_the_only_member_in_this_epoch() {
    let mut chain = chain(4);
    let us = region("us");
    let unfit = |scope: &GateScope| Err(Refusal::GatePlainUnfit { gate: scope.to_string() });
    let (gate, _) = chain.plain_gate(&us);
    let made = |scope: &GateScope, epoch, consortium, member| {
        let id = GateId { epoch, ..chain.gate(scope).id(&us, consortium) };
        let secret = SecretNumber::draw(&mut |bytes: &mut [u8]| bytes.fill(9));
        Gate::single(id, NodeId::new(member), secret).expect("not 0").0
    };
    let consortium = chain.consortium.id();
    let others = [
        ("of another epoch", 3, made(&us, GateEpoch::new(1), consortium, 3)),
        ("of another consortium", 3, made(&us, GateEpoch::ZERO, Digest::ZERO, 3)),
        ("of a node that is not there", 3, made(&us, GateEpoch::ZERO, consortium, 2)),
        ("by another node", 2, gate.clone()),
    ];
    for (what, author, gate) in others {
        let entry = chain.noticing(NodeId::new(author), &us, chain.plain(gate));
        assert_eq!(chain.clone().push(entry), unfit(&us), "{what}");
    }
    let among_several = chain.noticing(NodeId::new(3), &GLOBAL, chain.plain(gate.clone()));
    assert_eq!(chain.clone().push(among_several), unfit(&GLOBAL));
    chain.push(chain.noticing(NodeId::new(3), &us, chain.plain(gate.clone()))).expect("valid");
    let again = chain.noticing(NodeId::new(3), &us, chain.plain(gate));
    assert_eq!(chain.push(again), unfit(&us), "it is there");
}

#[test]
fn a_notice_is_a_member_s_in_the_run_under_way() {
    let mut chain = chain(5);
    let (eu, us) = (region("eu"), region("us"));
    let mut generation = KeyGeneration::join(&chain, &eu, |_| true);
    let (author, notice, entry) = generation.next(&chain).expect("a contribution");
    let refused = |reason| Err(Refusal::GateNoticeRefused { reason: Box::new(reason) });

    let stranger = NodeId::new(4);
    let by_stranger = chain.noticing(stranger, &eu, word(&chain, &eu, notice.clone()));
    assert_eq!(chain.clone().push(by_stranger), refused(WalletRefusal::NotMember { node: stranger }));
    let by_another = chain.noticing(NodeId::new(1), &eu, word(&chain, &eu, notice.clone()));
    let reason = WalletRefusal::ContributionInvalid { node: NodeId::new(1) };
    assert_eq!(chain.clone().push(by_another), refused(reason));
    let in_another_run = chain.noticing(author, &GLOBAL, word(&chain, &GLOBAL, notice.clone()));
    assert_eq!(chain.clone().push(in_another_run), refused(WalletRefusal::ContributionInvalid { node: author }));
    let named = run_of(&chain, &eu);
    let misnamed = chain.noticing(author, &GLOBAL, GateWord::Run { run: named, notice: notice.clone() });
    let current = Some(run_of(&chain, &GLOBAL));
    assert_eq!(chain.clone().push(misnamed), Err(Refusal::GateRunOver { current, named }));
    let where_none_is = chain.noticing(NodeId::new(4), &us, GateWord::Run { run: named, notice: notice.clone() });
    assert_eq!(chain.clone().push(where_none_is), Err(Refusal::GateRunOver { current: None, named }));
    let signed_twice = entry.changed(|parts| parts.holder_signature = Some(node_key(0).sign("any", b"thing")));
    assert_eq!(chain.clone().push(signed_twice), Err(Refusal::HolderSignature));

    chain.push(entry).expect("valid");
    let again = chain.noticing(author, &eu, word(&chain, &eu, notice));
    let reason = Box::new(WalletRefusal::NoticeRefused { reason: "members contribute once, before they share" });
    assert_eq!(chain.push(again), Err(Refusal::GateNoticeUntimely { reason }));
}

#[test]
fn who_says_it_too_early_may_say_it_again() {
    let mut chain = chain(4);
    let missing = Notice::Complained(Complaint::Missing { accused: [NodeId::ZERO].into() });
    let early = chain.noticing(NodeId::new(1), &GLOBAL, word(&chain, &GLOBAL, missing));
    let refusal = chain.push(early.clone()).expect_err("nobody has contributed");
    assert_eq!((refusal.code(), refusal.retry()), ("L-334", Retry::Later));
    let mut generation = KeyGeneration::join(&chain, &GLOBAL, |_| true);
    for _ in 0..4 {
        let (_, _, entry) = generation.next(&chain).expect("four contributions");
        chain.push(entry).expect("valid");
    }
    assert_eq!(chain.push(early), Ok(()));
}

#[test]
fn a_suspended_node_says_nothing_about_gates() {
    let mut chain = chain(5);
    chain.enact(vec![Action::Suspend(Member::Node(NodeId::new(3)))]).expect("valid");
    let (_, notice, _) = KeyGeneration::join(&chain, &GLOBAL, |_| true).next(&chain).expect("a contribution");
    let entry = chain.noticing(NodeId::new(3), &GLOBAL, word(&chain, &GLOBAL, notice));
    assert_eq!(chain.push(entry), Err(Refusal::AuthorSuspended { author: NodeId::new(3) }));
}
