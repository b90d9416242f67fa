//! How decisions come about: one node's client puts the operators' words on the ledger, and every node enacts at its turn.

use std::{sync::atomic::Ordering, time::Duration};

use ledger::{
    event::{Entry, Event},
    execute::Executed,
    governance::{OperatorBallot, ProposalEnacted, ProposalWithdrawn, Turns},
    shell::replica::Replica,
    state::{ProposalRecord, Stage},
};
use tokio::time::{Instant, sleep};
use wallet::{
    codec,
    digest::{Digest, sha256},
};

use crate::{
    node::Node,
    script::{Decision, End, Script},
    world::PROPOSAL_LIFE_MS,
};

/// Between two looks at what is final.
const LOOK: Duration = Duration::from_millis(150);

/// How often something is proposed at most.
const ATTEMPTS_MAX: u8 = 8;

/// A proposal with all that is said on it.
struct Put {
    digest: Digest,
    made: Event,
    approvals: Vec<Event>,
    rejections: Vec<Event>,
    withdrawn: Event,
}

impl Put {
    fn new(consortium: Digest, decision: &Decision, which: usize, attempt: u8) -> Self {
        let terms = decision.terms(consortium, which, attempt);
        let (digest, proposer) = (terms.digest(), &decision.electors[which % decision.electors.len()].1);
        let say = |approves| {
            let ballot = move |(operator, key): &(genesis::OperatorId, wallet::identity::SecretKey)| {
                let ballot = OperatorBallot { proposal: digest, operator: operator.clone(), approves };
                Event::BallotCast(ballot.sign(key))
            };
            decision.others(which).map(ballot).collect()
        };
        let (approvals, rejections) = (say(true), say(false));
        let withdrawn = Event::ProposalWithdrawn(ProposalWithdrawn::sign(digest, proposer));
        Self { digest, made: Event::ProposalMade(Box::new(terms.sign(proposer))), approvals, rejections, withdrawn }
    }

    fn record(&self, tip: &Executed) -> Option<ProposalRecord> {
        tip.state.proposal(self.digest)
    }

    fn is_at(&self, tip: &Executed, stage: impl Fn(Stage) -> bool) -> bool {
        self.record(tip).is_some_and(|record| stage(record.stage))
    }

    fn is_enacted(&self, tip: &Executed) -> bool {
        self.is_at(tip, |stage| matches!(stage, Stage::Enacted { .. }))
    }

    fn is_over(&self, tip: &Executed) -> bool {
        self.record(tip).is_some_and(|record| tip.time > record.expires_at)
    }
}

/// Whether it came to what was meant. What is not expired by design may be when clocks leap, and is proposed anew.
#[derive(PartialEq, Eq)]
enum Came {
    ToItsEnd,
    TooLate,
}

impl Node {
    /// Puts all decisions on the ledger, one after the other. A process that starts anew finds how far that is.
    pub async fn govern(&self, replica: &Replica, script: &Script) {
        if self.id.get() != script.governor {
            return;
        }
        for decision in &script.decisions {
            while decision.waits_for.is_some_and(|newcomer| !self.watch.has_joined(newcomer)) {
                sleep(LOOK).await;
            }
            for attempt in 0..ATTEMPTS_MAX {
                if self.decide(replica, decision, attempt).await == Came::ToItsEnd {
                    break;
                }
            }
        }
        self.watch.all_is_decided();
    }

    async fn decide(&self, replica: &Replica, decision: &Decision, attempt: u8) -> Came {
        let put = |which| Put::new(self.consortium.id(), decision, which, attempt);
        let puts: Vec<Put> = (0..decision.proposals.len()).map(put).collect();
        let first = &puts[0];
        let approving = decision.quorum() - 1;
        let words = |put: &Put| -> Vec<Event> {
            std::iter::once(&put.made).chain(&put.approvals[..approving]).cloned().collect()
        };
        let is_there = |put: &Put, tip: &Executed| put.record(tip).is_some();
        match decision.end {
            End::Enacted => {
                let all: Vec<Event> = puts.iter().flat_map(words).collect();
                self.until(replica, &all, |tip| puts.iter().any(|put| put.is_enacted(tip)), &puts).await
            }
            End::Withdrawn => {
                let made = [first.made.clone()];
                if self.until(replica, &made, |tip| is_there(first, tip), &puts).await == Came::TooLate {
                    return Came::TooLate;
                }
                let withdrawn = [first.withdrawn.clone()];
                let is_withdrawn = |tip: &Executed| first.is_at(tip, |stage| stage == Stage::Withdrawn);
                let came = self.until(replica, &withdrawn, is_withdrawn, &puts).await;
                self.is_refused(replica, &first.approvals);
                came
            }
            End::Rejected => {
                let made: Vec<Event> = std::iter::once(&first.made).chain(&first.rejections).cloned().collect();
                let is_rejected = |tip: &Executed| first.is_at(tip, |stage| stage == Stage::Rejected);
                let came = self.until(replica, &made, is_rejected, &puts).await;
                self.is_refused(replica, &first.approvals);
                came
            }
            End::Expired => {
                let made = [first.made.clone()];
                self.until(replica, &made, |tip| is_there(first, tip), &[]).await;
                let expires_at = first.record(&replica.state()).map(|record| record.expires_at.get());
                let now = self.now_ms.load(Ordering::Relaxed);
                if expires_at.is_some_and(|expires_at| now <= expires_at) {
                    self.watch.note(&"all clocks leap to where proposals have expired");
                    self.now_ms.fetch_add(PROPOSAL_LIFE_MS, Ordering::Relaxed);
                }
                self.until(replica, &[], |tip| first.is_over(tip), &[]).await;
                self.is_refused(replica, &first.approvals);
                Came::ToItsEnd
            }
            End::Superseded => {
                let second = &puts[1];
                let made = [second.made.clone()];
                let is_put = |tip: &Executed| is_there(second, tip) || first.is_enacted(tip);
                if self.until(replica, &made, is_put, &puts).await == Came::TooLate {
                    return Came::TooLate;
                }
                let came = self.until(replica, &words(first), |tip| first.is_enacted(tip), &puts).await;
                self.is_refused(replica, &second.approvals);
                came
            }
        }
    }

    /// Submits `events` until the final state is as `done` says, or one of `puts` is too late for that.
    async fn until(&self, replica: &Replica, events: &[Event], done: impl Fn(&Executed) -> bool, puts: &[Put]) -> Came {
        loop {
            let tip = replica.state();
            if done(&tip) {
                return Came::ToItsEnd;
            }
            if puts.iter().any(|put| put.is_over(&tip)) {
                return Came::TooLate;
            }
            for event in events {
                let entry = self.governing(replica, event.clone());
                // What is refused for now, since what it speaks of is not final, is tried again.
                if tip.state.entry(entry.id()).is_none() {
                    self.watch.submits(self.id, entry.id());
                    let _ = replica.submit(entry);
                }
            }
            sleep(LOOK).await;
        }
    }

    /// Nothing more can be said where something came to its end.
    fn is_refused(&self, replica: &Replica, events: &[Event]) {
        for event in events {
            let entry = self.governing(replica, event.clone());
            self.watch.submits(self.id, entry.id());
            if let Ok(taken) = replica.submit(entry) {
                self.watch.fail(format_args!("what comes too late was taken: {taken:?}"));
            }
        }
    }

    /// Enacts what passed, at this node's turn, as `node::governance` does.
    pub async fn enact(&self, replica: &Replica) {
        let (started, mut turns) = (Instant::now(), Turns::new(self.id));
        loop {
            for proposal in turns.step(started.elapsed(), &replica.state()) {
                let entry = self.governing(replica, Event::ProposalEnacted(ProposalEnacted { proposal }));
                self.watch.submits(self.id, entry.id());
                self.watch.note(&format_args!("node {} enacts {proposal}", self.id));
                let _ = replica.submit(entry);
            }
            sleep(LOOK).await;
        }
    }

    /// The entry of this node that carries an event of governance: the same one for the same event.
    fn governing(&self, replica: &Replica, event: Event) -> Entry {
        let named = sha256("simulation/governance", &[&codec::encode(&event)]);
        let mut nonce = [0; 16];
        nonce.copy_from_slice(&named.as_bytes()[..16]);
        self.sign(replica, nonce, event)
    }
}

impl Script {
    /// What of the decisions did not come to its end, or to another one, after they were all made.
    pub fn contradicted_by(&self, consortium: Digest, tip: &Executed) -> Vec<String> {
        let mut found = Vec::new();
        for (number, decision) in self.decisions.iter().enumerate() {
            let is_enacted = |which, attempt| {
                let record = tip.state.proposal(decision.terms(consortium, which, attempt).digest());
                record.is_some_and(|record| matches!(record.stage, Stage::Enacted { .. }))
            };
            let count = |which| (0..ATTEMPTS_MAX).filter(|attempt| is_enacted(which, *attempt)).count();
            let enacted: Vec<usize> = (0..decision.proposals.len()).map(count).collect();
            let is_right = match decision.end {
                End::Enacted => enacted.iter().sum::<usize>() == 1,
                End::Superseded => enacted == [1, 0],
                End::Withdrawn | End::Rejected | End::Expired => enacted == [0],
            };
            if !is_right {
                found.push(format!("decision {number} is to end as {:?} and was enacted {enacted:?}", decision.end));
            }
        }
        found
    }
}
