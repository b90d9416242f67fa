//! What is wrong with what the entries say: grant, policy, prekey, ticket, confirm.

use ledger::{
    bundle::Check,
    event::{Event, KeyConfirmed, WalletCreated},
    testing::{consortium, key, node_key},
};
use wallet::{
    digest::Digest,
    identity::{PublicKey, RegionId, Signature},
    policy::PolicyOpening,
    prekey::ExchangeKey,
    ticket::ContentCommitment,
    units::{KeyEpoch, NodeId, TokenPosition},
};

use super::{Vectors, confirm, creation, offer, spoilt, universal};
use crate::{
    documents::small_points,
    story::{confirm_key, epoch_key, opening, prekey_by},
};

pub(super) fn add(all: &mut Vectors) {
    grants(all);
    policies(all);
    prekeys(all);
    tickets(all);
    confirms(all);
    small_keys(all);
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
