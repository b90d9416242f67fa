//! No honest key is ever the subject of evidence, whatever it is asked to sign and however often it crashes.

use proptest::prelude::*;
use wallet::{codec, digest::Digest, units::BlockHeight};

use crate::{
    block::View,
    evidence::Evidence,
    finality::VoteRecord,
    testing::{consortium, signer},
    vote::{Ballot, Grant, Nullify, Signed, SignedGrant, SignedNullify, Vote, VoteKind},
};

/// Something that a voter may want to say, or that happens to it.
#[derive(Clone, Copy, Debug)]
enum Step {
    Vote(VoteKind, View, u8),
    Nullify(View, u64),
    Grant(u64, u32),
    Final(View),
    Enter(u64),
    /// The process ends; the record comes back from its bytes.
    Crash,
    /// The process ends, and the record comes back as it was after so many steps. Then `ValidatorResumed` becomes final.
    Restore(usize),
}

/// A key with its record, and all that left with its signature.
#[derive(Default)]
struct Key {
    record: VoteRecord,
    /// The record after each step.
    backups: Vec<VoteRecord>,
    votes: Vec<Vote>,
    nullifies: Vec<SignedNullify>,
    grants: Vec<SignedGrant>,
}

fn view() -> impl Strategy<Value = View> {
    (1..4_u64, 1..4_u64).prop_map(|(term, number)| View { term, number })
}

fn step() -> impl Strategy<Value = Step> {
    let kind = prop_oneof![Just(VoteKind::Notarize), Just(VoteKind::Finalize)];
    prop_oneof![
        6 => (kind, view(), 0..2_u8).prop_map(|(kind, view, block)| Step::Vote(kind, view, block)),
        3 => (view(), 0..3_u64).prop_map(|(from, more)| Step::Nullify(from, from.term + more)),
        2 => (1..5_u64, 0..3_u32).prop_map(|(term, candidate)| Step::Grant(term, candidate)),
        1 => view().prop_map(Step::Final),
        1 => (1..4_u64).prop_map(Step::Enter),
        1 => Just(Step::Crash),
        1 => (0..8_usize).prop_map(Step::Restore),
    ]
}

impl Key {
    fn take(&mut self, step: Step) {
        let (consortium, epoch, signer) = (consortium(4).id(), 0, signer(2));
        match step {
            Step::Vote(kind, view, block) => {
                // Heights differ from one leader's block to the other's, too.
                let height = BlockHeight::new(view.term + view.number + u64::from(block));
                let ballot = Ballot { consortium, epoch, kind, view, height, block: Digest([block; 32]) };
                if self.record.sign(&ballot).is_ok() {
                    self.votes.push(Signed::sign(ballot, &signer));
                }
            }
            Step::Nullify(from, through) => {
                if self.record.nullify(from, through).is_ok() {
                    self.nullifies.push(Signed::sign(Nullify { consortium, epoch, from, through }, &signer));
                }
            }
            Step::Grant(term, candidate) => {
                let candidate = wallet::units::NodeId::new(candidate);
                if self.record.grant(term, candidate).is_ok() {
                    self.grants.push(Signed::sign(Grant { consortium, epoch, term, candidate }, &signer));
                }
            }
            Step::Final(view) => self.record.raise_floor(view),
            Step::Enter(term) => self.record.enter(term),
            Step::Crash => {
                self.record = codec::decode(&codec::encode(&self.record)).expect("its own bytes");
            }
            Step::Restore(at) => {
                self.record = self.backups.get(at).cloned().unwrap_or_default();
                self.record.resume(self.resumes_at());
            }
        }
        self.backups.push(self.record.clone());
    }

    /// The lowest view in which `ValidatorResumed` can become final: nothing that the key signed is of a later term, and
    /// it finalized nothing in a later view. `finality::statements` says why.
    fn resumes_at(&self) -> View {
        let voted = self.votes.iter().map(|vote| vote.statement.view.term);
        let gave_up = self.nullifies.iter().map(|vote| vote.statement.through);
        let granted = self.grants.iter().map(|grant| grant.statement.term);
        let term = voted.chain(gave_up).chain(granted).max().unwrap_or(1);
        let finalized = self.votes.iter().filter(|vote| vote.statement.kind == VoteKind::Finalize);
        let finalized = finalized.map(|vote| vote.statement.view).max().unwrap_or_default();
        finalized.next().unwrap_or_default().max(View { term, number: 1 })
    }

    /// Everything that somebody could hold against the key.
    fn accusations(&self) -> Vec<Evidence> {
        let mut found = Vec::new();
        for (at, one) in self.votes.iter().enumerate() {
            found.extend(self.votes[..at].iter().map(|other| Evidence::DoubleVote(Box::new([*one, *other]))));
            found.extend(
                self.nullifies.iter().map(|nullify| Evidence::NullifiedFinalized { nullify: *nullify, finalize: *one }),
            );
        }
        for (at, one) in self.grants.iter().enumerate() {
            found.extend(self.grants[..at].iter().map(|other| Evidence::DoubleGrant(Box::new([*one, *other]))));
        }
        found
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn no_honest_key_is_ever_the_subject_of_evidence(steps in prop::collection::vec(step(), 1..40)) {
        let consortium = consortium(4);
        let mut key = Key::default();
        steps.into_iter().for_each(|step| key.take(step));
        for evidence in key.accusations() {
            prop_assert!(evidence.verify(&consortium).is_err(), "{evidence:?}");
        }
    }

    #[test]
    fn a_record_knows_all_that_its_key_signed(steps in prop::collection::vec(step(), 1..40)) {
        let mut key = Key::default();
        for step in steps.into_iter().filter(|step| !matches!(step, Step::Restore(_))) {
            key.take(step);
            prop_assert!(key.votes.iter().all(|vote| key.record.knows_ballot(&vote.statement)));
            prop_assert!(key.nullifies.iter().all(|vote| key.record.knows_nullify(&vote.statement)));
            prop_assert!(key.grants.iter().all(|grant| key.record.knows_grant(&grant.statement)));
        }
    }

    #[test]
    fn after_its_return_a_record_knows_what_it_lost(steps in prop::collection::vec(step(), 1..40)) {
        let mut key = Key::default();
        steps.into_iter().for_each(|step| key.take(step));
        key.take(Step::Restore(0));
        prop_assert!(key.votes.iter().all(|vote| key.record.knows_ballot(&vote.statement)));
        prop_assert!(key.nullifies.iter().all(|vote| key.record.knows_nullify(&vote.statement)));
        prop_assert!(key.grants.iter().all(|grant| key.record.knows_grant(&grant.statement)));
    }
}
