//! What is wrong with the entries, all of which are in the certified log.

use ledger::{
    author::AuthorSignature,
    bundle::Check,
    event::{
        AbortReason, BaselineCommitted, BatchClosed, BatchEvicted, CloseReason, Entry, Event, KeyConfirmed,
        LatencyDelta, MigrationAborted, MigrationAccepted, MigrationOffered, ValidatorResumed, WalletCreated,
    },
    testing::{consortium, key, node_key},
};
use wallet::{
    digest::Digest,
    grant::WalletAddress,
    identity::{PublicKey, RegionId, SecretKey, Signature},
    policy::PolicyOpening,
    prekey::ExchangeKey,
    ticket::ContentCommitment,
    units::{KeyEpoch, Micros, NodeId, TokenPosition},
};

use super::{Vectors, spoilt, universal};
use crate::{
    documents::small_points,
    story::{Step, Story, confirm_key, epoch_key, opening, prekey_by},
};

const STEPS: [&str; 6] =
    ["WalletCreated", "Touch", "MigrationOffered", "MigrationAccepted", "KeyConfirmed", "DecisionAnchored"];
const BY_HOLDER: [&str; 4] = ["WalletCreated", "Touch", "MigrationOffered", "KeyConfirmed"];

pub(super) fn add(all: &mut Vectors) {
    authors(all);
    batches(all);
    grants(all);
    policies(all);
    holders(all);
    prekeys(all);
    tickets(all);
    confirms(all);
    small_keys(all);
    orders(all);
    aborts(all);
}

/// Done to the creation in an event.
fn creation(lie: impl Fn(&mut WalletCreated) + 'static) -> impl Fn(&mut Event) {
    move |event| {
        if let Event::WalletCreated(created) = event {
            lie(created);
        }
    }
}

/// Done to the offer in an event.
fn offer(lie: impl Fn(&mut MigrationOffered) + 'static) -> impl Fn(&mut Event) {
    move |event| {
        if let Event::MigrationOffered(offer) = event {
            lie(offer);
        }
    }
}

/// Done to the confirm in an event.
fn confirm(lie: impl Fn(&mut KeyConfirmed) + 'static) -> impl Fn(&mut Event) {
    move |event| {
        if let Event::KeyConfirmed(confirm) = event {
            lie(confirm);
        }
    }
}

fn authors(all: &mut Vectors) {
    for event in STEPS {
        let by = |key: SecretKey| move |step: &mut Step| step.author_key = key;
        all.step(format!("{event} signed by a stranger"), Check::EntrySignature, event, by(key("nobody")));
        all.step(format!("{event} signed by another node"), Check::EntrySignature, event, by(node_key(2)));
        all.step(format!("{event} signed by the epoch key"), Check::EntrySignature, event, by(epoch_key(0)));
        for author in [4, u32::MAX] {
            all.step(format!("{event} by node {author}"), Check::EntrySignature, event, |step| step.author = author);
        }
        for (name, id) in [("another", consortium(7).id()), ("no", Digest::ZERO)] {
            all.step(format!("{event} of {name} consortium"), Check::EntrySignature, event, |step| {
                step.consortium = id
            });
        }
    }
    let sample = |entry: &Entry| match &entry.signature {
        AuthorSignature::Direct(signature) => *signature,
        AuthorSignature::Batch(batch) => batch.signature,
    };
    let signature = sample(&super::first_move().bundle().entries[2].entry);
    for (name, spoilt) in spoilt(signature) {
        let lie = move |entry: &mut Entry| entry.signature = AuthorSignature::Direct(spoilt);
        all.step(format!("an author's signature {name}"), Check::EntrySignature, "MigrationOffered", |step| {
            step.entry_lies.push(Box::new(lie));
        });
    }
}

fn batches(all: &mut Vectors) {
    type Lie = fn(&mut ledger::author::BatchSignature);
    let lies: [(&str, Lie); 9] = [
        ("of no entry", |b| b.size = 0),
        ("of one entry", |b| b.size = 1),
        ("of two entries", |b| b.size = 2),
        ("of four entries", |b| b.size = 4),
        ("larger than any", |b| b.size = 257),
        ("with another place", |b| b.index = 0),
        ("with a place beyond its end", |b| b.index = 3),
        ("with an empty path", |b| b.path = Default::default()),
        ("with a spoilt signature", |b| b.signature.0[0] ^= 1),
    ];
    for (name, lie) in lies {
        all.step(format!("a batch {name}"), Check::EntrySignature, "DecisionAnchored", |step| {
            step.entry_lies.push(Box::new(move |entry| {
                if let AuthorSignature::Batch(batch) = &mut entry.signature {
                    lie(batch);
                }
            }));
        });
    }
    for (name, change) in [("shorter", 1_usize), ("longer", 3), ("as long as any", 8)] {
        all.step(format!("a batch with a path that is {name}"), Check::EntrySignature, "DecisionAnchored", |step| {
            step.entry_lies.push(Box::new(move |entry| {
                if let AuthorSignature::Batch(batch) = &mut entry.signature {
                    let mut path = batch.path.hashes().to_vec();
                    path.resize(change, Digest::ZERO);
                    batch.path = path.try_into().expect("at most eight");
                }
            }));
        });
    }
    all.step("a batch's signature as one of its own", Check::EntrySignature, "DecisionAnchored", |step| {
        step.entry_lies.push(Box::new(|entry| {
            if let AuthorSignature::Batch(batch) = &entry.signature {
                entry.signature = AuthorSignature::Direct(batch.signature);
            }
        }));
    });
}

fn grants(all: &mut Vectors) {
    let created = "WalletCreated";
    for (name, by) in [("a stranger", key("nobody")), ("the holder", node_key(0)), ("the epoch key", epoch_key(0))] {
        all.step(format!("a grant by {name}"), Check::Grant, created, |step| step.inner_key = by);
    }
    let mut term = |name: &str, lie: fn(&mut WalletCreated)| {
        all.step(format!("a grant {name}"), Check::Grant, created, |step| {
            step.event_lies.push(Box::new(creation(lie)))
        });
    };
    term("with another policy", |c| c.grant.terms.policy.0 = Digest::ZERO);
    term("with another model", |c| c.grant.terms.model = Digest::ZERO);
    term("with other numerics", |c| c.grant.terms.numerics = Digest::ZERO);
    term("with another nonce", |c| c.grant.terms.nonce = [0; 16]);
    term("with another tenant", |c| c.grant.terms.tenant_key = key("nobody").public_key());
    let mut before = |name: &str, lie: fn(&mut WalletCreated)| {
        all.step(format!("a grant signed {name}"), Check::Grant, created, |step| creation(lie)(&mut step.event));
    };
    before("for another consortium", |c| c.grant.terms.consortium = Digest::ZERO);
    before("for another holder", |c| c.grant.terms.holder = NodeId::new(1));
    before("for nobody", |c| c.grant.terms.holder = NodeId::new(u32::MAX));
    let Event::WalletCreated(sample) = super::first_move().bundle().entries[0].entry.body.event.clone() else { return };
    for (name, signature) in spoilt(sample.grant.signature) {
        all.step(format!("a grant's signature {name}"), Check::Grant, created, |step| {
            step.event_lies.push(Box::new(creation(move |c| c.grant.signature = signature)));
        });
    }
}

fn policies(all: &mut Vectors) {
    let region = |name: &str| RegionId::try_from(name.to_owned()).expect("a region's name");
    let forbidden = opening(&consortium(4), 3);
    let us = region("us");
    let (one, two, three) = (forbidden.clone(), forbidden, us);
    type Lie = Box<dyn Fn(&mut PolicyOpening)>;
    let lies: Vec<(&str, Lie)> = vec![
        ("of a forbidden region", Box::new(move |o| *o = one.clone())),
        (
            "of a forbidden region, said to be allowed",
            Box::new(move |o| *o = PolicyOpening { allowed: true, ..two.clone() }),
        ),
        ("of the other region", Box::new(move |o| o.region = three.clone())),
        ("of a region that there is not", Box::new(move |o| o.region = region("zz"))),
        ("that forbids", Box::new(|o| o.allowed = false)),
        ("with another salt", Box::new(|o| o.salt[0] ^= 1)),
        ("at another place", Box::new(|o| o.index ^= 1)),
        ("at a place beyond the tree", Box::new(|o| o.index |= 2)),
        ("at the last of all places", Box::new(|o| o.index = u16::MAX)),
        ("without a path", Box::new(|o| o.path.clear())),
        ("with a longer path", Box::new(|o| o.path.push(Digest::ZERO))),
        ("with a path longer than any", Box::new(|o| o.path = vec![Digest::ZERO; 17])),
        ("with another path", Box::new(|o| o.path[0].0[9] ^= 1)),
    ];
    for (name, lie) in lies {
        let lie = std::rc::Rc::new(lie);
        let (first, later) = (lie.clone(), lie);
        all.step(format!("a first holder by an opening {name}"), Check::Policy, "WalletCreated", |step| {
            creation(move |created| first(&mut created.opening))(&mut step.event);
        });
        all.step(format!("a receiver by an opening {name}"), Check::Policy, "MigrationOffered", |step| {
            offer(move |offer| later(&mut offer.opening))(&mut step.event);
        });
    }
    for node in [3, 4, u32::MAX] {
        all.step(
            format!("an offer to node {node}, where no tenant allowed it"),
            Check::Policy,
            "MigrationOffered",
            |step| {
                offer(move |offer| offer.receiver = NodeId::new(node))(&mut step.event);
            },
        );
    }
    all.first("a policy of another tenant", Check::Policy, |s| {
        creation(|c| c.grant.terms.policy.0 = Digest([1; 32]))(&mut s.steps[0].event);
    });
}

fn holders(all: &mut Vectors) {
    let check = Check::HolderSignature;
    for event in BY_HOLDER {
        all.step(format!("{event} without the holder's signature"), check, event, |step| step.holder_key = None);
        for (name, by) in
            [("a stranger", key("nobody")), ("the node's key", node_key(0)), ("the next epoch's key", epoch_key(5))]
        {
            all.step(format!("{event} signed for the holder by {name}"), check, event, |step| {
                step.holder_key = Some(by)
            });
        }
        all.step(format!("{event} with the author's signature as the holder's"), check, event, |step| {
            step.entry_lies.push(Box::new(|entry| {
                if let AuthorSignature::Direct(signature) = &entry.signature {
                    entry.holder_signature = Some(*signature);
                }
            }));
        });
    }
    for epoch in [0, 1, 3] {
        all.third(format!("a third offer under the key of epoch {epoch}"), check, |s| {
            s.step("MigrationOffered").holder_key = Some(epoch_key(epoch));
        });
    }
    all.third("a third confirm under the key before it", check, |s| {
        s.step("KeyConfirmed").holder_key = Some(epoch_key(2))
    });
    let sample = super::first_move().bundle().entries[2].entry.holder_signature.expect("an offer has one");
    for (name, signature) in spoilt(sample) {
        all.step(format!("a holder's signature {name}"), check, "MigrationOffered", |step| {
            step.entry_lies.push(Box::new(move |entry| entry.holder_signature = Some(signature)));
        });
    }
}

fn prekeys(all: &mut Vectors) {
    let cases = [
        ("of another node", prekey_by(2, &node_key(2))),
        ("by another node", prekey_by(1, &node_key(2))),
        ("of another node by the receiver", prekey_by(2, &node_key(1))),
        ("by the source", prekey_by(1, &node_key(0))),
        ("by an epoch key", prekey_by(1, &epoch_key(0))),
        ("of a node that there is not", prekey_by(9, &node_key(9))),
    ];
    for (name, prekey) in cases {
        all.step(format!("a prekey {name}"), Check::Prekey, "MigrationOffered", |step| {
            offer(move |offer| offer.prekey = prekey.clone())(&mut step.event);
        });
    }
    all.step("a prekey changed after it was signed", Check::Prekey, "MigrationOffered", |step| {
        offer(|offer| offer.prekey.key = ExchangeKey([1; 32]))(&mut step.event);
    });
    for (name, signature) in spoilt(prekey_by(1, &node_key(1)).signature) {
        all.step(format!("a prekey's signature {name}"), Check::Prekey, "MigrationOffered", |step| {
            let mut prekey = prekey_by(1, &node_key(1));
            prekey.signature = signature;
            offer(move |offer| offer.prekey = prekey.clone())(&mut step.event);
        });
    }
}

fn tickets(all: &mut Vectors) {
    let event = "KeyConfirmed";
    for (name, by) in [
        ("a stranger", key("nobody")),
        ("the new holder", epoch_key(1)),
        ("the source's node", node_key(0)),
        ("the receiver's node", node_key(1)),
        ("the confirm key", confirm_key(1)),
    ] {
        all.step(format!("a ticket by {name}"), Check::Ticket, event, |step| step.inner_key = by);
    }
    for epoch in [0, 1, 3] {
        all.third(format!("a third ticket under the key of epoch {epoch}"), Check::Ticket, |s| {
            s.step(event).inner_key = epoch_key(epoch);
        });
    }
    let mut named = |name: &str, lie: fn(&mut KeyConfirmed)| {
        all.step(format!("a ticket {name}"), Check::Ticket, event, |step| confirm(lie)(&mut step.event));
        all.third(format!("a third ticket {name}"), Check::Ticket, |s| confirm(lie)(&mut s.step(event).event));
    };
    named("of another source", |c| c.ticket.ticket.source = NodeId::new(5));
    named("of the receiver itself", |c| c.ticket.ticket.source = c.ticket.ticket.receiver);
    named("for another receiver", |c| c.ticket.ticket.receiver = NodeId::new(0));
    named("for the epoch before", |c| c.ticket.ticket.epoch = KeyEpoch::ZERO);
    named("for a later epoch", |c| c.ticket.ticket.epoch = KeyEpoch::new(9));
    let mut after = |name: &str, lie: fn(&mut KeyConfirmed)| {
        all.step(format!("a ticket with {name} changed after it was signed"), Check::Ticket, event, |step| {
            step.event_lies.push(Box::new(confirm(lie)));
        });
    };
    after("its content", |c| c.ticket.ticket.content = ContentCommitment(Digest::ZERO));
    after("its next token", |c| c.ticket.ticket.next_token = TokenPosition::ZERO);
    all.step("no ticket", Check::Ticket, event, |step| {
        step.event_lies.push(Box::new(confirm(|c| c.ticket.signature = Signature([0; 64]))));
    });
    let Event::KeyConfirmed(sample) = super::first_move().bundle().entries[4].entry.body.event.clone() else { return };
    for (name, signature) in spoilt(sample.ticket.signature) {
        all.step(format!("a ticket's signature {name}"), Check::Ticket, event, |step| {
            step.event_lies.push(Box::new(confirm(move |c| c.ticket.signature = signature)));
        });
    }
}

fn confirms(all: &mut Vectors) {
    let event = "KeyConfirmed";
    for node in [0, 2, 3] {
        all.step(format!("a confirm by node {node}"), Check::Confirm, event, |step| {
            (step.author, step.author_key) = (node, node_key(node));
        });
    }
    for (name, by) in [
        ("a stranger's key", key("nobody")),
        ("the source's key", epoch_key(0)),
        ("the new holder's key", epoch_key(1)),
        ("the receiver's node key", node_key(1)),
        ("the confirm key of another hop", confirm_key(2)),
    ] {
        all.step(format!("an envelope opened with {name}"), Check::Confirm, event, |step| step.confirm_key = by);
    }
    all.step("another exchange key than the one confirmed", Check::Confirm, event, |step| {
        step.event_lies.push(Box::new(confirm(|c| c.exchange_key = ExchangeKey([1; 32]))));
    });
    all.step("an offer with another confirm key", Check::Confirm, "MigrationOffered", |step| {
        offer(|offer| offer.confirm_key = key("nobody").public_key())(&mut step.event);
    });
    all.third("the confirm of an earlier hop", Check::Confirm, |s| s.step(event).confirm_key = confirm_key(2));
    let Event::KeyConfirmed(sample) = super::first_move().bundle().entries[4].entry.body.event.clone() else { return };
    for (name, signature) in spoilt(sample.opened) {
        all.step(format!("an opening's signature {name}"), Check::Confirm, event, |step| {
            step.event_lies.push(Box::new(confirm(move |c| c.opened = signature)));
        });
    }
}

/// Under a key of small order there is a signature for every message.
fn small_keys(all: &mut Vectors) {
    for (i, point) in small_points().into_iter().enumerate() {
        let (small, forged) = (PublicKey(point), universal(point));
        all.step(format!("a tenant's key of small order {i}"), Check::Grant, "WalletCreated", |step| {
            creation(move |c| c.grant.terms.tenant_key = small)(&mut step.event);
            step.event_lies.push(Box::new(creation(move |c| c.grant.signature = forged)));
        });
        all.step(format!("an epoch key of small order {i}"), Check::HolderSignature, "WalletCreated", |step| {
            creation(move |c| c.holder_key = small)(&mut step.event);
            step.entry_lies.push(Box::new(move |entry| entry.holder_signature = Some(forged)));
        });
        all.step(format!("a next epoch key of small order {i}"), Check::HolderSignature, "KeyConfirmed", |step| {
            confirm(move |c| c.holder_key = small)(&mut step.event);
            step.entry_lies.push(Box::new(move |entry| entry.holder_signature = Some(forged)));
        });
        all.first(format!("a confirm key of small order {i}"), Check::Confirm, |s| {
            offer(move |offer| offer.confirm_key = small)(&mut s.step("MigrationOffered").event);
            s.step("KeyConfirmed").event_lies.push(Box::new(confirm(move |c| c.opened = forged)));
        });
    }
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

/// Entries that belong to no history.
fn strangers(all: &mut Vectors) {
    type Make = fn(WalletAddress) -> Event;
    let events: [(&str, Make); 5] = [
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
        ("a resumption", |_| Event::ValidatorResumed(ValidatorResumed { nonce: [1; 16] })),
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

fn resign(
    confirm: &mut KeyConfirmed,
    by: &SecretKey,
    opened: &SecretKey,
    change: impl Fn(&mut wallet::ticket::HandoffTicket),
) {
    let mut ticket = confirm.ticket.ticket.clone();
    change(&mut ticket);
    confirm.ticket = ticket.sign(by);
    confirm.opened = confirm.ticket.sign_opened(opened, &confirm.holder_key, &confirm.exchange_key);
}
