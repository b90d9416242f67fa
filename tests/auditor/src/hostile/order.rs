//! What is wrong with the order of the entries: left out, twice, too early, at another head, or of no history at all.

use genesis::Auditor;
use ledger::{
    bundle::Check,
    event::{
        AbortReason, BaselineCommitted, BatchClosed, BatchEvicted, CloseReason, Event, KeyConfirmed, LatencyDelta,
        MigrationAborted, MigrationAccepted, ValidatorResumed,
    },
    governance::{Action, Member, OperatorBallot, ProposalEnacted, ProposalMade, ProposalWithdrawn},
    testing::{Chain, consortium, key, next_node_key, node_key, operator_id, operator_key},
};
use wallet::{
    digest::Digest,
    grant::WalletAddress,
    identity::SecretKey,
    ticket::{ContentCommitment, HandoffTicket},
    units::{KeyEpoch, Micros, NodeId},
};

use super::{STEPS, Vectors, offer};
use crate::story::{Step, Story, epoch_key};

pub(super) fn add(all: &mut Vectors) {
    orders(all);
    aborts(all);
}

fn orders(all: &mut Vectors) {
    let check = Check::Continuity;
    for event in &STEPS[..5] {
        if *event != "Touch" {
            all.first(format!("{event} left out"), check, |s| drop(s.steps.remove(s.place(event))));
        }
        if *event != "WalletCreated" {
            all.step(format!("{event} at a stale head"), check, event, |step| stale(step, Digest([9; 32])));
            all.step(format!("{event} at no head"), check, event, |step| stale(step, Digest::ZERO));
            all.step(format!("{event} about another wallet"), check, event, elsewhere);
        }
    }
    for (one, two) in [(0, 1), (1, 2), (2, 3), (3, 4)] {
        all.first(format!("{} and {} exchanged", STEPS[one], STEPS[two]), check, |s| s.steps.swap(one, two));
    }
    all.first("nothing but an anchor", check, |s| drop(s.steps.drain(..5)));
    all.first("a history of one Touch", check, |s| {
        let touch = s.steps.remove(1);
        s.steps = vec![touch];
    });
    all.first("a history that ends with the acceptance", check, |s| drop(s.steps.remove(4)));
    all.first("a Touch after the confirm", check, |s| {
        let touch = Step::touch(&s.consortium, s.wallet(), 1, 1);
        s.steps.push(touch);
    });
    all.first("a Touch by the old holder", check, |s| {
        let touch = Step::touch(&s.consortium, s.wallet(), 0, 0);
        s.steps.push(touch);
    });
    for (name, node) in [("the receiver", 1), ("a third node", 2)] {
        all.first(format!("a Touch by {name}"), check, |s| {
            s.steps[1] = Step::touch(&s.consortium, s.wallet(), node, 0);
        });
        all.step(format!("an offer by {name}"), check, "MigrationOffered", |step| {
            (step.author, step.author_key) = (node, node_key(node));
        });
    }
    for node in [0, 2, 3] {
        all.step(format!("an acceptance by node {node}"), check, "MigrationAccepted", |step| {
            (step.author, step.author_key) = (node, node_key(node));
        });
    }
    for epoch in [0, 2, u32::MAX] {
        all.step(format!("an offer of epoch {epoch}"), check, "MigrationOffered", |step| {
            offer(move |offer| offer.epoch = KeyEpoch::new(epoch))(&mut step.event);
        });
    }
    let mut again = |name: &str, from: usize, to: usize| {
        all.first(name, check, |s| {
            let mut step = Story::of(consortium(4), &[1]).steps.swap_remove(from);
            if let Event::MigrationOffered(offer) = &mut step.event {
                offer.content = ContentCommitment(Digest([7; 32]));
            }
            s.steps.insert(to, step);
        });
    };
    again("a second creation", 0, 1);
    again("a second offer", 2, 3);
    again("an offer after the acceptance", 2, 4);
    again("a second acceptance", 3, 4);
    again("a second confirm", 4, 5);
    again("a confirm before the acceptance", 4, 3);
    again("an acceptance before the offer", 3, 2);
    all.first("a Touch between acceptance and confirm", check, |s| {
        let touch = Step::touch(&s.consortium, s.wallet(), 0, 0);
        s.steps.insert(4, touch);
    });
    all.first("a Touch between offer and acceptance", check, |s| {
        let touch = Step::touch(&s.consortium, s.wallet(), 0, 0);
        s.steps.insert(3, touch);
    });
    strangers(all);
}

/// A proposal with an action of each kind.
fn every_action() -> ProposalMade {
    let (member, operator) = (Member::Node(NodeId::new(1)), Member::Operator(operator_id(2)));
    let mut chain = Chain::new(consortium(4));
    let rotating = chain.rotating(operator.clone(), &operator_key(2), &next_node_key(9));
    let (name, key_hash) = ("Auditor".to_owned(), Digest([3; 32]));
    let actions = vec![
        chain.joining_operator(5),
        chain.joining_node(5, 5),
        Action::Suspend(member.clone()),
        chain.reinstating(member),
        Action::Remove(operator),
        rotating,
        Action::RevokeKey(operator_key(3).public_key()),
        Action::GrantAuditor(Auditor { name, key_hash }),
        Action::RevokeAuditor(key_hash),
        Action::SetParameter { name: "credit_per_ms".to_owned(), from: 1, to: 2 },
    ];
    chain.terms(0, actions).sign(&operator_key(0))
}

/// Entries that belong to no history.
fn strangers(all: &mut Vectors) {
    type Make = fn(WalletAddress) -> Event;
    let events: [(&str, Make); 9] = [
        ("a closing", |wallet| {
            Event::BatchClosed(BatchClosed { wallet, head: Digest::ZERO, reason: CloseReason::Finished })
        }),
        ("a baseline", |wallet| {
            let (head, epoch, inter_token_p50) = (Digest::ZERO, KeyEpoch::ZERO, Micros::new(9));
            Event::BaselineCommitted(BaselineCommitted { wallet, head, epoch, inter_token_p50, samples: 9 })
        }),
        ("a delta", |wallet| {
            let (head, baseline, inter_token_p50) = (Digest::ZERO, Digest([1; 32]), Micros::new(9));
            let epoch = KeyEpoch::ZERO;
            Event::LatencyDelta(LatencyDelta { wallet, head, epoch, baseline, inter_token_p50, samples: 9 })
        }),
        ("an eviction", |wallet| {
            let (head, epoch, decision) = (Digest::ZERO, KeyEpoch::ZERO, Digest([1; 32]));
            Event::BatchEvicted(BatchEvicted { wallet, head, epoch, decision })
        }),
        ("a resumption", |_| Event::ValidatorResumed(ValidatorResumed { name: Digest([2; 32]), nonce: [1; 16] })),
        ("a proposal", |_| Event::ProposalMade(Box::new(every_action()))),
        ("a ballot", |_| {
            let operator = operator_id(0);
            let ballot = OperatorBallot { proposal: Digest([1; 32]), operator, approves: true };
            Event::BallotCast(ballot.sign(&operator_key(0)))
        }),
        ("a withdrawal", |_| Event::ProposalWithdrawn(ProposalWithdrawn::sign(Digest([1; 32]), &operator_key(0)))),
        ("an enactment", |_| Event::ProposalEnacted(ProposalEnacted { proposal: Digest([1; 32]) })),
    ];
    for (name, make) in events {
        for at in [1, 2, 5] {
            all.first(format!("{name} as entry {at}"), Check::Continuity, |s| {
                let step = Step::by_holder(&s.consortium, 0, make(s.wallet()), 0);
                s.steps.insert(at, step);
            });
        }
    }
}

fn aborts(all: &mut Vectors) {
    let abort = |s: &Story, node: u32, reason, key: Option<SecretKey>| {
        let event = MigrationAborted { wallet: s.wallet(), head: Digest::ZERO, reason };
        let mut step = Step::plain(&s.consortium, node, Event::MigrationAborted(event));
        step.holder_key = key;
        step
    };
    let reasons = [AbortReason::Source, AbortReason::Receiver, AbortReason::Deadline];
    for reason in reasons {
        all.first(format!("an abort without an offer, {reason:?}"), Check::Continuity, |s| {
            let step = abort(s, 0, reason, Some(epoch_key(0)));
            s.steps.insert(1, step);
        });
        let node = if reason == AbortReason::Receiver { 1 } else { 0 };
        for (name, at) in [("acceptance", 3), ("confirm", 4)] {
            all.first(format!("an abort before the {name}, {reason:?}"), Check::Continuity, |s| {
                let step = abort(s, node, reason, Some(epoch_key(0)));
                s.steps.insert(at, step);
            });
        }
    }
    for (name, node, reason) in [
        ("the source's abort by the receiver", 1, AbortReason::Source),
        ("the source's abort by a third node", 2, AbortReason::Source),
        ("the receiver's abort by the source", 0, AbortReason::Receiver),
        ("the receiver's abort by a third node", 2, AbortReason::Receiver),
    ] {
        all.first(name, Check::Continuity, |s| {
            let step = abort(s, node, reason, Some(epoch_key(0)));
            s.steps.insert(3, step);
        });
    }
    for (name, key) in [("without", None), ("with another key's", Some(key("nobody")))] {
        all.first(format!("the source's abort {name} signature"), Check::HolderSignature, |s| {
            let step = abort(s, 0, AbortReason::Source, key);
            s.steps.insert(3, step);
        });
    }
}

/// Names another head than the one before, in all that is signed.
fn stale(step: &mut Step, head: Digest) {
    let (ticket, opened) = (step.inner_key.clone(), step.confirm_key.clone());
    step.event_lies.push(Box::new(move |event| match event {
        Event::Touch(touch) => touch.head = head,
        Event::MigrationOffered(offer) => offer.head = head,
        Event::MigrationAccepted(accepted) => accepted.head = head,
        Event::KeyConfirmed(confirm) => resign(confirm, &ticket, &opened, |ticket| ticket.head = head),
        _ => {}
    }));
}

/// Names another wallet, in all that is signed.
fn elsewhere(step: &mut Step) {
    let (ticket, opened) = (step.inner_key.clone(), step.confirm_key.clone());
    let other = WalletAddress(Digest([8; 32]));
    step.event_lies.push(Box::new(move |event| match event {
        Event::Touch(touch) => touch.wallet = other,
        Event::MigrationOffered(offer) => offer.wallet = other,
        Event::MigrationAccepted(MigrationAccepted { wallet, .. }) => *wallet = other,
        Event::KeyConfirmed(confirm) => resign(confirm, &ticket, &opened, |ticket| ticket.wallet = other),
        _ => {}
    }));
}

fn resign(confirm: &mut KeyConfirmed, by: &SecretKey, opened: &SecretKey, change: impl Fn(&mut HandoffTicket)) {
    let mut ticket = confirm.ticket.ticket.clone();
    change(&mut ticket);
    confirm.ticket = ticket.sign(by);
    confirm.opened = confirm.ticket.sign_opened(opened, &confirm.holder_key, &confirm.exchange_key);
}
