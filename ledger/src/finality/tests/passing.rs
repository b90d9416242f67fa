//! A leader that makes blocks and passes over what waits.

use std::time::Duration;

use super::{super::*, net::*};
use crate::{
    block::Block,
    execute::{Place, execute},
    planted::{Bug, plant},
    testing::{Chain, certify, signer},
};

/// Final blocks of term 1, one after the other, all of node 0.
struct Term {
    chain: Chain,
    tip: Executed,
    certificate: Option<Certificate>,
}

impl Term {
    fn new() -> Self {
        let chain = chain();
        Self { tip: chain.tip.clone(), chain, certificate: None }
    }

    fn next(&mut self, ms: u64) -> (Block, Certificate) {
        let view = View { term: 1, number: self.tip.view.number + 1 };
        let place = Place {
            parent: self.tip.clone(),
            certificate: self.certificate.take(),
            carriers: Vec::new(),
            skipped: None,
            view,
            after: Digest::ZERO,
        };
        let next = block(&self.chain, place, 0, after_ms(ms).wall);
        self.tip = execute(&self.chain.consortium, &self.tip, &next).expect("valid");
        let certificate = certify(&next, [0, 1, 2]);
        self.certificate = Some(certificate.clone());
        (next, certificate)
    }
}

/// When a node gives up a term in which a block becomes final every 100 ms, and why. It is told these inputs at these
/// times.
fn gives_up_at(told: &[(u64, Input)]) -> Option<(u64, Complaint)> {
    let mut term = Term::new();
    let mut voter = voter(&term.chain, 3, VoteRecord::default());
    step(&mut voter, AT, Input::Demand(true)).expect("taken");
    for (log_index, ms) in (5..).zip((100..5_000).step_by(100)) {
        let (next, certificate) = term.next(ms);
        step(&mut voter, after_ms(ms), flushed(log_index, &next)).expect("taken");
        step(&mut voter, after_ms(ms), Input::Certificate(certificate)).expect("taken");
        for (_, input) in told.iter().filter(|(at, _)| *at == ms) {
            step(&mut voter, after_ms(ms), input.clone()).expect("taken");
        }
        step(&mut voter, after_ms(ms), Input::Tick).expect("taken");
        if let Some(complaint) = voter.status().complaint {
            return Some((ms, complaint));
        }
        assert_eq!(voter.tip().height, next.header.height, "it goes on");
    }
    None
}

fn since(term: u64, ms: Option<u64>) -> Input {
    Input::PassedOver { term, since: ms.map(Duration::from_millis) }
}

#[test]
fn final_blocks_are_no_excuse_for_what_they_pass_over() {
    assert_eq!(gives_up_at(&[]), None, "who waits for nothing is patient");
    let expected = Some((1_200, Complaint::PassedOver));
    assert_eq!(gives_up_at(&[(300, since(1, Some(200)))]), expected, "since it was passed over, not since it was told");
}

#[test]
fn what_is_taken_at_last_is_forgotten_and_so_is_what_is_of_another_term() {
    assert_eq!(gives_up_at(&[(300, since(1, Some(200))), (1_100, since(1, None))]), None);
    assert_eq!(gives_up_at(&[(300, since(2, Some(200)))]), None);
    assert_eq!(gives_up_at(&[(300, since(0, Some(200)))]), None);
}

#[test]
fn where_progress_starts_the_patience_anew_a_leader_passes_over_what_it_likes() {
    let looking = std::thread::spawn(|| {
        plant(Bug::PassingOverForgotten);
        gives_up_at(&[(300, since(1, Some(200)))])
    });
    assert_eq!(looking.join().expect("nobody panics"), None);
}

#[test]
fn one_that_is_passed_over_deposes_nobody_and_f_plus_1_do() {
    let chain = chain();
    let mut net = Net::new(&chain, 4);
    let (first, _) = two_blocks(&chain);
    for node in 0..4 {
        net.step(node, Input::Leads { term: 1, leader: signer(0).node }).expect("taken");
        net.flush(node, 5, &first);
    }
    net.settle();
    let told = since(1, Some(0));
    net.step(1, told.clone()).expect("taken");
    net.pass(1_000, &[0, 1, 2, 3]);
    net.settle();
    assert_eq!(net.voters[1].status().complaint, Some(Complaint::PassedOver));
    assert!(net.voters.iter().all(|voter| voter.term() == 1), "what is one's own alone may be its own fault");
    net.step(2, told).expect("taken");
    net.settle();
    assert!(net.voters.iter().all(|voter| voter.term() == 2));
    assert!(net.voters[3].terms.is_barred(signer(0).node, chain.consortium.validators()));
}

#[test]
fn the_next_leader_begins_without_a_debt() {
    let chain = chain();
    let mut voter = voter(&chain, 3, VoteRecord::default());
    step(&mut voter, after_ms(900), since(1, Some(0))).expect("taken");
    step(&mut voter, after_ms(900), Input::Leads { term: 2, leader: signer(2).node }).expect("taken");
    step(&mut voter, after_ms(1_100), Input::Tick).expect("taken");
    assert_eq!((voter.term(), voter.status().complaint), (2, None));
}
