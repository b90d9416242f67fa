use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::*;
use crate::{
    codec::{decode, encode},
    digest::{Digest, sha256},
    gate::{Element, Gate, GateId, GateKind, GateLabel, GateShare, Opening, Partial, SecretNumber},
    grant::WalletAddress,
    identity::SecretKey,
    refusal::Refusal,
    units::{GateEpoch, KeyEpoch, NodeId},
};

fn ceremony(members: &[u32]) -> Ceremony {
    let kind = GateKind::Global { validators: members.len() as u32 };
    let gate = GateId { consortium: Digest([1; 32]), kind, epoch: GateEpoch::ZERO };
    Ceremony { gate, lineage: Digest::ZERO, members: members.iter().copied().map(NodeId::new).collect(), run: 0 }
}

fn node_key(node: NodeId) -> SecretKey {
    SecretKey::from_seed(&[(node.get() as u8).wrapping_add(100); 32])
}

fn begun(ceremony: &Ceremony) -> Transcript {
    let keys = ceremony.members.iter().map(|node| (*node, node_key(*node).public_key())).collect();
    Transcript::new(ceremony.clone(), keys).expect("the rules")
}

fn join(ceremony: &Ceremony, node: NodeId) -> (Participant, Notice) {
    join_again(ceremony, node, None)
}

fn join_again(ceremony: &Ceremony, node: NodeId, kept: Option<SecretNumber>) -> (Participant, Notice) {
    let seed = CeremonySeed::from_bytes([node.get() as u8 + 1; 32]);
    Participant::join(begun(ceremony), node, node_key(node), seed, kept).expect("a member")
}

/// Members, a ledger that orders what they submit, and a network that brings what they send.
struct Run {
    members: BTreeMap<NodeId, Participant>,
    waiting: VecDeque<(NodeId, Notice)>,
    ledger: Vec<(NodeId, Notice)>,
    sent: Vec<SignedPackage>,
    kept: BTreeMap<NodeId, GateShare>,
    finished: BTreeMap<NodeId, (Gate, GateShare)>,
    failed: BTreeSet<NodeId>,
}

impl Run {
    /// All but `absent` have submitted their contribution.
    fn start(ceremony: &Ceremony, absent: &[u32]) -> Self {
        let (mut members, mut waiting) = (BTreeMap::new(), VecDeque::new());
        for node in ceremony.members.iter().filter(|node| !absent.contains(&node.get())) {
            let (member, notice) = join(ceremony, *node);
            members.insert(*node, member);
            waiting.push_back((*node, notice));
        }
        let (kept, finished, failed) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        Self { members, waiting, ledger: Vec::new(), sent: Vec::new(), kept, finished, failed }
    }

    fn step(&mut self, node: NodeId, input: &Input) -> Result<(), Refusal> {
        let mut effects = Vec::new();
        let member = self.members.get_mut(&node).expect("there");
        let result = member.step(input, &mut effects);
        let encoded = encode(member.transcript());
        assert_eq!(decode::<Transcript>(&encoded).as_ref(), Ok(member.transcript()), "what was said is all there is");
        for effect in effects {
            match effect {
                Effect::Submit(notice) => {
                    let confirms = matches!(notice, Notice::Confirmed(_));
                    assert!(!confirms || self.kept.contains_key(&node), "what is confirmed is kept before");
                    self.waiting.push_back((node, notice));
                }
                Effect::Send(package) => self.sent.push(package),
                Effect::Keep(share) => drop(self.kept.insert(node, *share)),
                Effect::Finished { gate, share } => drop(self.finished.insert(node, (*gate, *share))),
                Effect::Failed => drop(self.failed.insert(node)),
            }
        }
        result
    }

    fn all(&mut self, input: &Input) -> BTreeSet<Result<(), &'static str>> {
        let nodes: Vec<_> = self.members.keys().copied().collect();
        nodes.into_iter().map(|node| self.step(node, input).map_err(|refusal| refusal.code())).collect()
    }

    /// What waits becomes final, in order; all members come to the same verdict on each notice.
    fn order(&mut self) {
        while let Some((author, notice)) = self.waiting.pop_front() {
            let verdicts = self.all(&Input::Notice { author, notice: notice.clone() });
            assert_eq!(verdicts.len(), 1, "all decide the same: {verdicts:?}");
            if verdicts.contains(&Ok(())) {
                self.ledger.push((author, notice));
            }
        }
    }

    /// Brings the packages that `passes` lets through.
    fn deliver(&mut self, passes: impl Fn(&SignedPackage) -> bool) {
        for package in self.sent.clone() {
            if passes(&package) && self.members.contains_key(&package.to()) {
                self.step(package.to(), &Input::Package(package)).expect("from a member");
            }
        }
    }

    fn close_phase(&mut self) {
        self.all(&Input::PhaseOver);
    }

    fn phase(&self) -> Phase {
        let phases: Vec<_> = self.members.values().map(|member| member.transcript().phase().clone()).collect();
        assert!(phases.iter().all(|phase| *phase == phases[0]), "{phases:?}");
        phases[0].clone()
    }
}

fn failed(at_fault: u32) -> Phase {
    Phase::Failed { at_fault: [NodeId::new(at_fault)].into() }
}

/// Opens a fresh ciphertext with every set of `threshold` neighbours.
fn opens(finished: &BTreeMap<NodeId, (Gate, GateShare)>) {
    let shares: Vec<_> = finished.values().collect();
    let gate = &shares[0].0;
    assert!(shares.iter().all(|(other, _)| other == gate), "all have the same gate");
    let label = GateLabel::unlock(&WalletAddress(Digest([3; 32])), KeyEpoch::ZERO, NodeId::ZERO);
    let (ciphertext, secret) = gate.encapsulate(&label, &mut |bytes: &mut [u8]| bytes.fill(7));
    let verified = gate.verify(&label, &ciphertext).expect("just made");
    for start in 0..shares.len() {
        let mut opening = Opening::new(verified);
        for at in 0..gate.threshold() {
            assert!(opening.secret().is_err(), "below the threshold");
            let (_, share) = shares[(start + at) % shares.len()];
            opening.add(share.release(&verified).expect("its gate")).expect("its part");
        }
        assert_eq!(opening.secret().expect("enough").expose(), secret.expose());
    }
}

#[test]
fn honest_members_end_with_one_gate_and_shares_that_open_it() {
    for members in [&[0, 1][..], &[3, 4, 9, 200], &[0, 1, 2, 3, 4, 5, 6]] {
        let mut run = Run::start(&ceremony(members), &[]);
        run.order();
        assert_eq!(run.phase(), Phase::Sharing);
        run.deliver(|_| true);
        run.order();
        assert_eq!(run.phase(), Phase::Done);
        assert_eq!(run.finished.len(), members.len());
        opens(&run.finished);
    }
}

#[test]
fn packages_may_overtake_contributions() {
    let ceremony = ceremony(&[0, 1, 2, 3]);
    let mut run = Run::start(&ceremony, &[]);
    // Members 0 to 2 have read everything, and member 3 nothing.
    let notices: Vec<_> = run.waiting.drain(..).collect();
    for node in [0, 1, 2].map(NodeId::new) {
        for (author, notice) in notices.clone() {
            run.step(node, &Input::Notice { author, notice }).expect("valid");
        }
    }
    run.deliver(|_| true);
    let late = NodeId::new(3);
    for (author, notice) in notices {
        run.step(late, &Input::Notice { author, notice }).expect("valid");
    }
    run.deliver(|package| package.from() == late);
    run.order();
    assert_eq!(run.phase(), Phase::Done);
}

#[test]
fn who_does_not_contribute_is_absent_and_the_next_run_goes_without() {
    let first = ceremony(&[0, 1, 2, 3]);
    let mut run = Run::start(&first, &[2]);
    run.order();
    assert_eq!(run.phase(), Phase::Contributing);
    run.close_phase();
    assert_eq!(run.phase(), failed(2));
    assert_eq!(run.failed.len(), 3);

    let next = first.without(&[NodeId::new(2)].into()).expect("three are left");
    assert_eq!((next.run, next.members.len()), (1, 3));
    let mut run = Run::start(&next, &[]);
    run.order();
    run.deliver(|_| true);
    run.order();
    assert_eq!(run.phase(), Phase::Done);
    // Three of four may hold the liar, so all three must release.
    assert_eq!(run.finished[&NodeId::ZERO].0.threshold(), 3);
    opens(&run.finished);
    assert!(ceremony(&[0, 1]).without(&[NodeId::ZERO].into()).is_err(), "one alone generates nothing");
}

#[test]
fn a_package_that_got_lost_is_answered_on_the_ledger() {
    let mut run = Run::start(&ceremony(&[0, 1, 2, 3]), &[]);
    run.order();
    let lost = |package: &SignedPackage| (package.from().get(), package.to().get()) != (1, 3);
    run.deliver(lost);
    run.order();
    run.all(&Input::Waited);
    run.order();
    assert!(run.ledger.iter().any(|(author, notice)| author.get() == 1 && matches!(notice, Notice::Answered(_))));
    run.order();
    assert_eq!(run.phase(), Phase::Done);
    opens(&run.finished);
}

/// So that nobody fills the ledger with them.
#[test]
fn a_notice_is_taken_once() {
    let mut run = Run::start(&ceremony(&[0, 1, 2, 3]), &[]);
    run.order();
    run.deliver(|package| (package.from().get(), package.to().get()) != (1, 3));
    run.all(&Input::Waited);
    run.order();
    let done = run.ledger.clone();
    assert_eq!(run.phase(), Phase::Done);
    // Each notice a second time, right after the first.
    let mut transcript = begun(&ceremony(&[0, 1, 2, 3]));
    for (author, notice) in &done {
        assert_eq!(transcript.apply(*author, notice), Ok(()));
        let again = transcript.apply(*author, notice).expect_err("a second time");
        assert_eq!(again.code(), "W-126", "{notice:?}");
    }
}

#[test]
fn who_sends_nothing_and_does_not_answer_is_at_fault() {
    let mut run = Run::start(&ceremony(&[0, 1, 2, 3]), &[]);
    run.order();
    run.deliver(|package| package.from().get() != 1);
    run.members.remove(&NodeId::new(1));
    run.all(&Input::Waited);
    run.order();
    run.close_phase();
    assert_eq!(run.phase(), Phase::Answering);
    run.close_phase();
    assert_eq!(run.phase(), failed(1));
}

#[test]
fn who_does_not_confirm_is_at_fault() {
    let mut run = Run::start(&ceremony(&[0, 1, 2]), &[]);
    run.order();
    run.deliver(|_| true);
    run.waiting.retain(|(author, _)| author.get() != 1);
    run.order();
    for phase in [Phase::Answering, Phase::Confirming, failed(1)] {
        run.close_phase();
        assert_eq!(run.phase(), phase);
    }
}

/// Member 1's package for member 3 with another share in it, as a liar would make it.
fn false_package(run: &Run, ceremony: &Ceremony) -> SignedPackage {
    let theirs = run.members[&NodeId::ZERO].transcript().contribution(NodeId::new(3)).expect("it contributed");
    let share = SecretNumber::decode(&[5; 32].map(|byte: u8| byte & 7)).expect("small");
    let (from, to) = (NodeId::new(1), NodeId::new(3));
    SignedPackage::seal(ceremony, (from, to), &theirs, &share, (&node_key(from), &[8; 32]))
}

#[test]
fn a_false_share_is_shown_to_all_and_names_its_sender() {
    let ceremony = ceremony(&[0, 1, 2, 3]);
    let mut run = Run::start(&ceremony, &[]);
    run.order();
    let false_one = false_package(&run, &ceremony);
    run.deliver(|package| package.from().get() != 1);
    run.step(NodeId::new(3), &Input::Package(false_one)).expect("signed by its sender");
    run.order();
    assert_eq!(run.phase(), failed(1));
    assert_eq!(run.failed.len(), 4);
}

#[test]
fn a_false_ciphertext_or_broken_seal_names_its_sender() {
    let ceremony = ceremony(&[0, 1, 2, 3]);
    for altered in [0, 1] {
        let mut run = Run::start(&ceremony, &[]);
        run.order();
        let mut package = *false_package(&run, &ceremony).package;
        match altered {
            0 => package.sealed.0[0] ^= 1,
            _ => {
                package.ciphertext = {
                    let elsewhere = run.sent.iter().find(|sent| sent.to().get() == 2).expect("all send");
                    elsewhere.package.ciphertext
                }
            }
        }
        let package = package.sign(&node_key(NodeId::new(1)));
        run.step(NodeId::new(3), &Input::Package(package)).expect("signed by its sender");
        run.order();
        assert_eq!(run.phase(), failed(1));
    }
}

#[test]
fn who_accuses_with_a_good_package_is_at_fault() {
    let ceremony = ceremony(&[0, 1, 2, 3]);
    let mut run = Run::start(&ceremony, &[]);
    run.order();
    let good = run.sent.iter().find(|sent| (sent.from().get(), sent.to().get()) == (1, 3)).expect("sent").clone();
    let accuser = &run.members[&NodeId::new(3)];
    let ours = accuser.transcript().contribution(NodeId::new(3)).expect("it contributed");
    let label = GateLabel::package(accuser.transcript().ceremony_hash(), NodeId::new(1), NodeId::new(3));
    let verified = ours.packages.verify(&label, &good.package.ciphertext).expect("a good one");
    let opening = accuser.one_time_for_test().release(&verified).expect("its own");
    let accusation = |opening| Notice::Complained(Complaint::False { package: good.clone(), opening });
    let apply = |author, opening: Option<Partial>| {
        let mut transcript = accuser.transcript().clone();
        transcript.apply(NodeId::new(author), &accusation(opening.map(Box::new))).map(|()| transcript.phase().clone())
    };
    assert_eq!(apply(3, Some(opening)), Ok(failed(3)));
    // Whose package it is not, or who shows nothing, blames nobody.
    assert_eq!(apply(2, Some(opening)), Err(Refusal::PackageMismatch));
    assert_eq!(apply(3, None), Err(Refusal::PackageMismatch));
}

#[test]
fn a_package_that_its_sender_did_not_sign_blames_nobody() {
    let ceremony = ceremony(&[0, 1, 2, 3]);
    let mut run = Run::start(&ceremony, &[]);
    run.order();
    let forged = false_package(&run, &ceremony).package.sign(&node_key(NodeId::new(2)));
    let unsigned = Refusal::SignatureInvalid { what: "package" };
    assert_eq!(run.step(NodeId::new(3), &Input::Package(forged.clone())), Err(unsigned.clone()));
    let notice = Notice::Complained(Complaint::False { package: forged, opening: None });
    let mut transcript = run.members[&NodeId::ZERO].transcript().clone();
    assert_eq!(transcript.apply(NodeId::new(3), &notice), Err(unsigned));
}

#[test]
fn a_contribution_serves_its_author_and_run_alone() {
    let ceremony = ceremony(&[0, 1, 2, 3]);
    let (_, notice) = join(&ceremony, NodeId::new(1));
    let apply = |ceremony: &Ceremony, author, notice: &Notice| begun(ceremony).apply(NodeId::new(author), notice);
    assert_eq!(apply(&ceremony, 1, &notice), Ok(()));
    let invalid = |node| Err(Refusal::ContributionInvalid { node: NodeId::new(node) });
    assert_eq!(apply(&ceremony, 2, &notice), invalid(2));
    let next = Ceremony { run: 1, ..ceremony.clone() };
    assert_eq!(apply(&next, 1, &notice), invalid(1));
    let in_another_branch = Ceremony { lineage: Digest([7; 32]), ..ceremony.clone() };
    assert_eq!(apply(&in_another_branch, 1, &notice), invalid(1));
    assert_eq!(apply(&ceremony, 7, &notice), Err(Refusal::NotMember { node: NodeId::new(7) }));
    // Another's commitments with one's own one-time key: the proof of knowledge does not hold.
    let (Notice::Contributed(mut theirs), (_, Notice::Contributed(own))) = (notice, join(&ceremony, NodeId::new(2)))
    else {
        panic!("the first notice is a contribution");
    };
    theirs.packages = own.packages;
    assert_eq!(apply(&ceremony, 2, &Notice::Contributed(theirs)), invalid(2));
}

#[test]
fn a_member_that_starts_again_makes_the_same_bytes() {
    let ceremony = ceremony(&[0, 1, 2, 3]);
    let mut run = Run::start(&ceremony, &[]);
    run.order();
    let node = NodeId::new(2);
    let (mut again, notice) = join(&ceremony, node);
    assert!(run.ledger.contains(&(node, notice)));
    let mut effects = Vec::new();
    for (author, notice) in run.ledger.clone() {
        again.step(&Input::Notice { author, notice }, &mut effects).expect("valid");
    }
    let sent: Vec<_> = run.sent.iter().filter(|sent| sent.from() == node).collect();
    assert_eq!(sent.len(), 3);
    for effect in effects {
        assert!(matches!(effect, Effect::Send(package) if sent.contains(&&package)));
    }
}

/// Nobody sends the packages again once a member has confirmed: what it kept is all that there is.
#[test]
fn a_member_that_starts_again_after_its_confirm_has_its_share() {
    let ceremony = ceremony(&[0, 1, 2, 3]);
    let mut run = Run::start(&ceremony, &[]);
    run.order();
    run.deliver(|_| true);
    let node = NodeId::new(2);
    let kept = run.kept[&node].clone();
    run.order();
    assert_eq!(run.phase(), Phase::Done);
    let replay = |kept| {
        let (mut again, _) = join_again(&ceremony, node, kept);
        let mut effects = Vec::new();
        for (author, notice) in run.ledger.clone() {
            again.step(&Input::Notice { author, notice }, &mut effects).expect("valid");
        }
        let number = |share: GateShare| *share.secret().expose();
        effects.into_iter().find_map(|effect| match effect {
            Effect::Finished { share, .. } => Some(number(*share)),
            _ => None,
        })
    };
    let number = *kept.secret().expose();
    assert_eq!(replay(Some(kept.secret().clone())), Some(number));
    assert_eq!(number, *run.finished[&node].1.secret().expose());
    // What another run had it keep is no share of this one.
    assert_eq!(replay(Some(SecretNumber::hash("test", &[b"another"]))), None);
}

/// A liar that sees an honest member's contribution on its way can speak first, and cancel any coefficient of it but
/// the first, which it would have to prove to know.
#[test]
fn who_cancels_anothers_commitment_is_at_fault_and_not_the_other() {
    for coefficient in 1..3 {
        let mut run = Run::start(&ceremony(&[0, 1, 2, 3]), &[]);
        let honest = match &run.waiting[1].1 {
            Notice::Contributed(contribution) => contribution.polynomial[coefficient],
            other => panic!("{other:?}"),
        };
        let Notice::Contributed(liars) = &mut run.waiting[0].1 else { panic!("it contributes first") };
        liars.polynomial[coefficient] = Element::from_point(-honest.point()).expect("not the identity");
        run.order();
        assert_eq!(run.ledger.len(), 4, "all contributions are taken");
        assert_eq!(run.phase(), Phase::Sharing);
        run.deliver(|_| true);
        run.all(&Input::Waited);
        run.order();
        run.close_phase();
        run.close_phase();
        assert_eq!(run.phase(), failed(0), "it has no share for anybody");
        assert!(run.sent.iter().all(|package| package.from() != NodeId::ZERO), "nor does it sign a false one");
    }
}

#[test]
fn a_demand_ends_when_its_author_has_its_share() {
    let mut run = Run::start(&ceremony(&[0, 1, 2, 3]), &[]);
    run.order();
    run.deliver(|package| (package.from().get(), package.to().get()) != (1, 3));
    let (accused, accuser) = (NodeId::new(1), NodeId::new(3));
    let missing = Notice::Complained(Complaint::Missing { accused: [accused].into() });
    // The demand stands in the phase's last block. The package comes off the ledger, and the answer is left out.
    assert_eq!(run.all(&Input::Notice { author: accuser, notice: missing }), [Ok(())].into());
    run.waiting.retain(|(_, notice)| !matches!(notice, Notice::Answered(_)));
    run.close_phase();
    run.deliver(|package| package.to() == accuser);
    let (mine, others): (VecDeque<_>, _) = run.waiting.drain(..).partition(|(author, _)| *author == accuser);
    run.waiting = mine;
    run.order();
    run.close_phase();
    assert_eq!(run.phase(), Phase::Confirming, "nobody waits for an answer any more");
    run.waiting = others;
    run.order();
    assert_eq!(run.phase(), Phase::Done);
}

#[test]
fn a_member_names_at_once_who_sent_nothing_and_once_more_all_others() {
    let mut run = Run::start(&ceremony(&[0, 1, 2, 3, 4]), &[]);
    run.order();
    let mut transcript = run.members[&NodeId::ZERO].transcript().clone();
    let mut say = |accused: &[u32]| {
        let accused = accused.iter().copied().map(NodeId::new).collect();
        transcript.apply(NodeId::ZERO, &Notice::Complained(Complaint::Missing { accused }))
    };
    let refused = |reason| Err(Refusal::NoticeRefused { reason });
    assert_eq!(say(&[]), refused("the author misses nothing"));
    assert_eq!(say(&[0, 1]), refused("the author misses nothing"));
    assert_eq!(say(&[1, 5]), Err(Refusal::NotMember { node: NodeId::new(5) }));
    assert_eq!(say(&[1]), Ok(()));
    assert_eq!(say(&[1]), refused("it was said before"));
    assert_eq!(say(&[2]), refused("it was said before"), "else each would be named by a notice of its own");
    assert_eq!(say(&[2, 3, 4]), Ok(()), "it lost what it had in a restart");
    assert_eq!(say(&[1, 2, 3, 4]), refused("it was said before"));
}

#[test]
fn whoever_waits_names_all_who_sent_nothing_in_one_notice() {
    let mut run = Run::start(&ceremony(&[0, 1, 2, 3]), &[]);
    run.order();
    run.deliver(|package| package.to().get() == 3 && package.from().get() == 0);
    run.all(&Input::Waited);
    let accused = |node: u32| (0..4).filter(move |other| *other != node && (node, *other) != (3, 0)).map(NodeId::new);
    let named = |node| (NodeId::new(node), Notice::Complained(Complaint::Missing { accused: accused(node).collect() }));
    assert_eq!(Vec::from(run.waiting.clone()), [0, 1, 2, 3].map(named));
    run.order();
    assert_eq!(run.phase(), Phase::Done, "each answered all");
}

#[test]
fn a_run_has_the_key_of_each_member_from_its_begin() {
    let ceremony = ceremony(&[0, 1]);
    let alone = [(NodeId::ZERO, node_key(NodeId::ZERO).public_key())].into();
    let without = Transcript::new(ceremony, alone).err();
    assert_eq!(without, Some(Refusal::NotMember { node: NodeId::new(1) }));
}

#[test]
fn what_liars_certified_as_contributed_is_refused_once_somebody_is_judged_by_it() {
    let ceremony = ceremony(&[0, 1, 2, 3]);
    let mut run = Run::start(&ceremony, &[]);
    run.order();
    let transcript = run.members[&NodeId::ZERO].transcript().clone();
    let package = false_package(&run, &ceremony);
    let Ok(Contribution { polynomial, .. }) = transcript.contribution(NodeId::new(1)) else { panic!("it contributed") };
    let (mut bytes, real) = (encode(&transcript), *polynomial[1].encode());
    let at = bytes.windows(32).position(|window| *window == real).expect("in its contribution");
    bytes[at..at + 32].fill(0xFF);
    let mut forged: Transcript = decode(&bytes).expect("contributions stay as they are");
    let notice = Notice::Complained(Complaint::False { package, opening: None });
    let invalid = Refusal::ContributionInvalid { node: NodeId::new(1) };
    assert_eq!(forged.apply(NodeId::new(3), &notice), Err(invalid));
}

#[test]
fn the_sums_of_a_run_are_as_many_as_its_threshold() {
    let ceremony = ceremony(&[0, 1, 2, 3]);
    let mut run = Run::start(&ceremony, &[3]);
    run.order();
    let transcript = run.members[&NodeId::ZERO].transcript().clone();
    assert_eq!(transcript.contributed(), 3);
    let bytes = encode(&transcript);
    // Behind the sums stand nothing that is missing and nobody who confirmed: two empty lists.
    let sums = bytes.len() - 16 - 3 * 32 - 8;
    assert_eq!(bytes[sums..sums + 8], 3_u64.to_le_bytes());
    let with = |count: u64, elements: &[u8]| [&bytes[..sums], &count.to_le_bytes(), elements, &[0; 16]].concat();
    let elements = &bytes[sums + 8..bytes.len() - 16];
    assert_eq!(decode::<Transcript>(&with(3, elements)), Ok(transcript));
    assert!(decode::<Transcript>(&with(2, &elements[..64])).is_err());
    assert!(decode::<Transcript>(&with(0, &[])).is_err());
    assert!(decode::<Transcript>(&with(3, &[0xFF; 96])).is_err());
}

#[test]
fn two_runs_of_one_seed_share_no_number() {
    let first = ceremony(&[0, 1, 2, 3]);
    let next = Ceremony { run: 1, ..first.clone() };
    let key = |ceremony| match join(ceremony, NodeId::ZERO).1 {
        Notice::Contributed(contribution) => (contribution.polynomial[0], *contribution.packages.key()),
        other => panic!("{other:?}"),
    };
    assert_ne!(key(&first).0, key(&next).0);
    assert_ne!(key(&first).1, key(&next).1);
}

#[test]
fn the_bytes_of_notices_and_packages_are_pinned() {
    let ceremony = ceremony(&[0, 1, 2]);
    let mut run = Run::start(&ceremony, &[]);
    run.order();
    run.deliver(|_| true);
    run.order();
    let contributed = encode(&run.ledger[0].1);
    let confirmed = encode(&run.ledger.last().expect("it is done").1);
    let package = encode(&run.sent[0]);
    for bytes in [&contributed, &confirmed] {
        assert_eq!(encode(&decode::<Notice>(bytes).expect("canonical")), *bytes);
    }
    assert_eq!(encode(&decode::<SignedPackage>(&package).expect("canonical")), package);
    let pinned = ["7ab47d4dbda5f3ce", "7411e787dd20eb03", "babb4416c0b808ba"];
    let hashes = [contributed, confirmed, package].map(|bytes| sha256("golden", &[&bytes]).to_string());
    assert_eq!(hashes.map(|hash| hash[..16].to_owned()), pinned);
}

#[test]
fn an_encoded_run_that_no_notices_lead_to_is_refused() {
    let mut run = Run::start(&ceremony(&[0, 1, 2, 3]), &[]);
    run.order();
    let accused = [0, 2].map(NodeId::new).into();
    run.waiting.push_back((NodeId::new(1), Notice::Complained(Complaint::Missing { accused })));
    run.deliver(|package| [0, 3].contains(&package.to().get()));
    run.order();
    let encoded = serde_json::to_value(run.members[&NodeId::ZERO].transcript()).expect("JSON");
    assert!(serde_json::from_value::<Transcript>(encoded.clone()).is_ok());
    type Change = fn(&mut serde_json::Value);
    let changes: [(&str, Change); 9] = [
        ("a key is missing", |of| drop(of["keys"].as_array_mut().and_then(Vec::pop))),
        ("a member is missing", |of| drop(of["ceremony"]["members"].as_array_mut().and_then(Vec::pop))),
        ("it shares without a contribution", |of| drop(of["contributions"].as_array_mut().and_then(Vec::pop))),
        ("it contributes though all have", |of| of["phase"] = "Contributing".into()),
        ("a polynomial is short", |of| {
            drop(of["contributions"][1]["contribution"]["polynomial"].as_array_mut().and_then(Vec::pop));
        }),
        ("contributions are out of order", |of| of["contributions"].as_array_mut().expect("a list").swap(0, 1)),
        ("a stranger confirmed", |of| of["confirmed"][1] = 9.into()),
        ("complaints are out of order", |of| of["missing"].as_array_mut().expect("a list").swap(0, 1)),
        ("a stranger complains", |of| of["missing"][1]["accuser"] = 9.into()),
    ];
    for (what, change) in changes {
        let mut changed = encoded.clone();
        change(&mut changed);
        assert!(serde_json::from_value::<Transcript>(changed).is_err(), "{what}");
    }
}
