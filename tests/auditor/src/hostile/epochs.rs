//! Changes of the validator set: bundles of later epochs, and what is wrong with hand-overs, carriers, and the records
//! of nodes and keys.

use std::sync::Arc;

use genesis::{Consortium, Node, ValidatorSet};
use ledger::{
    block::{Header, TERMS_PER_EPOCH},
    bundle::{Bundle, Check, Subject},
    event::Event,
    governance::Member,
    hand_over::{ClosingProof, HandOver},
    state::{KeyRecord, KeyStatus, NodeRecord, Record, Standing},
    testing::{consortium, key, next_node_key, node_key, operator_id},
    vote::{Ballot, Signer, VoteKind},
};
use wallet::{
    digest::Digest,
    identity::{PublicKey, RegionId},
    units::{BlockHeight, NodeId},
};

use super::{Lies, Vectors, offer, spoilt};
use crate::{
    documents,
    story::{Ending, Story, carrier, decisions_of, prekey_by, signer},
};

/// Steps of a first move, and of that and the offer of a second one.
const FIRST_MOVE: usize = 5;
const SECOND_OFFER: usize = 6;

/// Node 1 gets another key between its two moves, and node 3 is suspended; it votes again before the second is
/// accepted. The first closing block is final by its second carrier.
pub(super) fn second_move() -> Story {
    let mut story = Story::of(consortium(5), &[1, 2]);
    story.end(FIRST_MOVE, &[0, 1, 2, 4], &[1]);
    story.end(SECOND_OFFER, &[0, 1, 2, 3, 4], &[1]);
    story.endings[0].carriers = 2;
    story
}

/// Node 1 is suspended after it got the wallet, gets another key, and lets the wallet go.
pub(super) fn letting_go() -> Story {
    let mut story = Story::of(consortium(5), &[1, 2]);
    story.end(FIRST_MOVE, &[0, 2, 3, 4], &[]);
    story.resign(FIRST_MOVE, &[1]);
    story.members = vec![key_of(Some(Member::Node(NodeId::new(1))), next_node_key(1).public_key())];
    story
}

/// A wallet moves to node 4, which joined.
fn joined() -> Story {
    let mut story = Story::of(consortium(4), &[4]);
    story.end(2, &[0, 1, 2, 3, 4], &[]);
    story.members = vec![(Subject::Node(NodeId::new(4)), record_of(4, "eu", 0))];
    story
}

/// The quorum of genesis ends its epoch after the last step, and makes up seven nodes that vote from there on, each of
/// an operator of its own. Nothing in the file can show that there are none.
fn made_up(consortium: Arc<Consortium>) -> Story {
    let first = consortium.nodes().len() as u32;
    let mut story = Story::of(consortium, &[1]);
    let made_up: Vec<u32> = (first..first + 7).collect();
    story.end(story.steps.len(), &made_up, &[]);
    let record = |node: &u32| (Subject::Node(NodeId::new(*node)), record_of(*node, "eu", node + 10));
    story.members = made_up.iter().map(record).collect();
    story
}

/// The certified header closes its epoch, and so many carriers lie above it.
fn at_the_end(carriers: usize) -> Story {
    let mut story = Story::of(consortium(4), &[1]);
    story.header_lies.push(Box::new(|header| header.next_validators = Digest([9; 32])));
    story.carriers = carriers;
    story
}

fn record_of(number: u32, region: &str, operator: u32) -> Record {
    let node = Node {
        name: format!("node-{number:02}").parse().expect("a name"),
        operator: operator_id(operator),
        region: RegionId::try_from(region.to_owned()).expect("a name"),
        key: node_key(number).public_key(),
        peer: "[2001:db8::4]:7004".parse().expect("an address"),
        api: "http://[2001:db8::4]:8004".to_owned(),
    };
    Record::Node(NodeRecord { node, standing: Standing::InForce, since: Digest([8; 32]) })
}

fn key_of(member: Option<Member>, key: PublicKey) -> (Subject, Record) {
    let at = BlockHeight::new(7);
    let record = KeyRecord { member, status: KeyStatus::InForce, since: Digest([8; 32]), at };
    (Subject::Key(key), Record::Key(record))
}

/// Further bundles that both verifiers must take, with the class of their assurance.
pub(super) fn honest() -> Vec<(&'static str, Story, &'static str)> {
    let mut of_one = Story::of(documents::with_a_large_operator(), &[1]);
    of_one.end(2, &[0, 1, 2], &[]);
    let mut many = second_move();
    many.endings[0].carriers = 256;
    // No other leaf stands between the receiver's acceptance and the end of its key's epoch.
    let mut last = Story::of(consortium(5), &[1, 2]);
    last.end(7, &[0, 1, 2, 3, 4], &[2]);
    let mut before = Story::of(consortium(4), &[1]);
    before.end(FIRST_MOVE + 1, &[0, 1, 2], &[]);
    vec![
        ("a node that joined", joined(), "several-must-lie"),
        ("one operator stayed", of_one, "consortium-of-one"),
        ("seven made up by the only operator", made_up(documents::of_one_operator(2)), "consortium-of-one"),
        ("seven made up by the large operator", made_up(documents::with_a_large_operator()), "one-can-fork"),
        ("a hand-over by as many carriers as there may be", many, "several-must-lie"),
        ("an entry that is the last of its epoch", last, "several-must-lie"),
        ("a move before a hand-over", before, "several-must-lie"),
        ("the end of an epoch", at_the_end(0), "several-must-lie"),
        ("the end of an epoch by carriers", at_the_end(3), "several-must-lie"),
    ]
}

pub(super) fn add(all: &mut Vectors) {
    order(all);
    closings(all);
    proofs(all);
    voters(all);
    carriers(all);
    headers(all);
    records(all);
    keys(all);
}

impl Vectors {
    /// The second move, with something wrong in it.
    fn second(&mut self, name: impl Into<String>, expected: Check, change: impl FnOnce(&mut Story)) {
        self.tell(name, expected, second_move(), change);
    }

    /// With something wrong in how each of its epochs ended.
    fn ending(&mut self, name: &str, expected: Check, change: impl Fn(&mut Ending)) {
        for (epoch, place) in ["first", "second"].into_iter().enumerate() {
            self.second(format!("{place} hand-over {name}"), expected, |s| change(&mut s.endings[epoch]));
        }
    }
}

fn order(all: &mut Vectors) {
    let lies: Lies<Bundle, 6> = [
        ("without the first hand-over", |b| drop(b.hand_overs.remove(0))),
        ("with exchanged hand-overs", |b| b.hand_overs.swap(0, 1)),
        ("with the first hand-over twice", |b| b.hand_overs.insert(0, b.hand_overs[0].clone())),
        ("with the last hand-over twice", |b| b.hand_overs.push(b.hand_overs[1].clone())),
        ("with the next sets exchanged", |b| {
            let next = b.hand_overs[0].next.clone();
            b.hand_overs[0].next = std::mem::replace(&mut b.hand_overs[1].next, next);
        }),
        ("with the proofs exchanged", |b| {
            let proof = b.hand_overs[0].proof.clone();
            b.hand_overs[0].proof = std::mem::replace(&mut b.hand_overs[1].proof, proof);
        }),
    ];
    for (name, lie) in lies {
        all.second(name, Check::HandOvers, |s| s.bundle_lies.push(Box::new(lie)));
    }
    let mut other = Story::of(consortium(7), &[1]);
    other.end(2, &[0, 1, 2, 3, 4], &[]);
    let other = other.bundle().hand_overs[0].clone();
    for place in 0..2 {
        let other = other.clone();
        all.second(format!("with hand-over {place} of another chain"), Check::HandOvers, |s| {
            s.bundle_lies.push(Box::new(move |b| b.hand_overs[place] = other.clone()));
        });
    }
    all.first("with a hand-over of another chain", Check::HandOvers, |s| {
        s.bundle_lies.push(Box::new(move |b| b.hand_overs = vec![other.clone()]));
    });
    let lies: Lies<Bundle, 2> =
        [("without the last hand-over", |b| _ = b.hand_overs.pop()), ("without hand-overs", |b| b.hand_overs.clear())];
    for (name, lie) in lies {
        all.second(name, Check::HeaderConsortium, |s| s.bundle_lies.push(Box::new(lie)));
    }
    let mut longer = second_move();
    longer.end(7, &[0, 1, 2, 4], &[1]);
    let later = longer.bundle().hand_overs[2].clone();
    all.second("with a hand-over too many", Check::HeaderConsortium, |s| {
        s.bundle_lies.push(Box::new(move |b| b.hand_overs.push(later.clone())));
    });
    all.tell("the end of an epoch and a hand-over of that epoch", Check::HeaderConsortium, at_the_end(0), |s| {
        let mut ended = Story::of(consortium(4), &[1]);
        ended.end(2, &[0, 1, 2], &[]);
        let hand_overs = ended.bundle().hand_overs;
        s.bundle_lies.push(Box::new(move |b| b.hand_overs.clone_from(&hand_overs)));
    });
}

fn closings(all: &mut Vectors) {
    let lies: Lies<Header, 8> = [
        ("of another consortium", |h| h.consortium = consortium(7).id()),
        ("of the epoch before", |h| h.epoch = h.epoch.wrapping_sub(1)),
        ("of the epoch after", |h| h.epoch += 1),
        ("of the last of all epochs", |h| h.epoch = u64::MAX),
        ("of other validators", |h| h.validators = consortium(7).validators().hash()),
        ("of no validators", |h| h.validators = Digest::ZERO),
        ("that names no next set", |h| h.next_validators = Digest::ZERO),
        ("that names its own set", |h| h.next_validators = h.validators),
    ];
    for (name, lie) in lies {
        all.ending(name, Check::HandOvers, |ending| ending.closing_lies.push(Box::new(lie)));
    }
    // What the closing block says of itself is checked although a quorum signed for it.
    all.ending("of another consortium with votes of this one", Check::HandOvers, |ending| {
        ending.closing_lies.push(Box::new(|h| h.consortium = consortium(7).id()));
        ending.ballot_lies.push(Box::new(|b| b.consortium = consortium(5).id()));
    });
    all.ending("of another epoch with votes of this one", Check::HandOvers, |ending| {
        ending.closing_lies.push(Box::new(|h| h.epoch += 7));
        ending.ballot_lies.push(Box::new(|b| b.epoch -= 7));
    });
    let after: Lies<Header, 6> = [
        ("height", |h| h.height = BlockHeight::new(3)),
        ("view", |h| h.view.number += 1),
        ("parent", |h| h.parent = Digest::ZERO),
        ("log size", |h| h.log_size -= 1),
        ("log root", |h| h.log_root.0[0] ^= 1),
        ("state root", |h| h.state_root.0[0] ^= 1),
    ];
    for (name, lie) in after {
        all.ending(&format!("with its {name} changed after the vote"), Check::HandOvers, |ending| {
            ending.lies.push(Box::new(move |hand_over| lie(&mut hand_over.closing)));
        });
    }
    let sets: Lies<ValidatorSet, 8> = [
        ("of its own epoch", |set| set.epoch -= 1),
        ("of the epoch after the next", |set| set.epoch += 1),
        ("of epoch 0", |set| set.epoch = 0),
        ("of the last of all epochs", |set| set.epoch = u64::MAX),
        ("in disorder", |set| set.members.swap(0, 1)),
        ("in reverse", |set| set.members.reverse()),
        ("with a member twice", |set| set.members.insert(1, set.members[0])),
        ("with a member of two keys", |set| {
            set.members.insert(1, (set.members[0].0, key("nobody").public_key()));
        }),
    ];
    for (name, lie) in sets {
        all.ending(&format!("to a set {name}"), Check::HandOvers, |ending| lie(&mut ending.next));
    }
    let sets: Lies<ValidatorSet, 4> = [
        ("without a member", |set| _ = set.members.pop()),
        ("with one more member", |set| set.members.push((NodeId::new(9), node_key(9).public_key()))),
        ("with another key", |set| set.members[0].1 = node_key(9).public_key()),
        ("of nobody", |set| set.members.clear()),
    ];
    for (name, lie) in sets {
        all.ending(&format!("to the named set {name}"), Check::HandOvers, |ending| {
            ending.lies.push(Box::new(move |hand_over| lie(&mut hand_over.next)));
        });
    }
}

fn proofs(all: &mut Vectors) {
    let lies: Lies<HandOver, 11> = [
        ("of another block", |h| h.proof.certificate.block = Digest::ZERO),
        ("of another height", |h| h.proof.certificate.height = BlockHeight::new(1)),
        ("of another term", |h| h.proof.certificate.view.term += 1),
        ("of another number", |h| h.proof.certificate.view.number += 1),
        ("of the next epoch's view", |h| h.proof.certificate.view.term += TERMS_PER_EPOCH),
        ("that only notarizes", |h| h.proof.certificate.kind = VoteKind::Notarize),
        ("without signatures", |h| h.proof.certificate.signatures.clear()),
        ("with one signature too few", |h| _ = h.proof.certificate.signatures.pop()),
        ("with a repeated signer", |h| h.proof.certificate.signatures[1] = h.proof.certificate.signatures[0]),
        ("with signers in disorder", |h| h.proof.certificate.signatures.reverse()),
        ("with two signatures exchanged", |h| {
            let signatures = &mut h.proof.certificate.signatures;
            let first = signatures[0].1;
            signatures[0].1 = std::mem::replace(&mut signatures[1].1, first);
        }),
    ];
    for (name, lie) in lies {
        all.ending(&format!("by a certificate {name}"), Check::HandOvers, |ending| ending.lies.push(Box::new(lie)));
    }
    let ballots: Lies<Ballot, 6> = [
        ("for another consortium", |b| b.consortium = consortium(7).id()),
        ("for the next epoch", |b| b.epoch += 1),
        ("to notarize", |b| b.kind = VoteKind::Notarize),
        ("for another view", |b| b.view.number += 1),
        ("for another height", |b| b.height = BlockHeight::new(19)),
        ("for another block", |b| b.block.0[7] ^= 4),
    ];
    for (name, lie) in ballots {
        all.ending(&format!("by votes {name}"), Check::HandOvers, |ending| ending.ballot_lies.push(Box::new(lie)));
    }
    all.ending("that is only notarized", Check::HandOvers, |ending| ending.kind = VoteKind::Notarize);
    let sample = second_move().bundle().hand_overs[1].proof.certificate.signatures[1].1;
    for (name, signature) in spoilt(sample) {
        all.second(format!("a hand-over's vote {name}"), Check::HandOvers, |s| {
            s.endings[1].lies.push(Box::new(move |h| h.proof.certificate.signatures[1].1 = signature));
        });
    }
}

/// Who votes in an epoch that is not its own.
fn voters(all: &mut Vectors) {
    let with =
        |nodes: &[u32], rotated: &[u32]| -> Vec<Signer> { nodes.iter().map(|node| signer(*node, rotated)).collect() };
    for (name, signers) in [
        ("with a key that is not in force yet", with(&[0, 1, 2, 3], &[1])),
        ("by one who joins with it", with(&[0, 1, 2, 5], &[])),
        ("by a stranger beside a quorum", with(&[0, 1, 2, 3, 5], &[])),
    ] {
        all.second(format!("first hand-over {name}"), Check::HandOvers, |s| s.endings[0].signers = signers);
    }
    for (name, signers) in [
        ("with the old set's keys", with(&[0, 1, 2], &[])),
        ("by a suspended node", with(&[0, 2, 3], &[])),
        ("by a suspended node beside a quorum", with(&[0, 1, 2, 3], &[1])),
        ("with an old key beside a quorum", with(&[0, 1, 2, 4], &[])),
    ] {
        all.second(format!("second hand-over {name}"), Check::HandOvers, |s| s.endings[1].signers = signers);
    }
    for (name, signers) in [
        ("with the old set's keys", with(&[0, 1, 2, 3], &[])),
        ("by a quorum of the set before", with(&[0, 1, 2], &[1])),
        ("with an old key beside a quorum", with(&[0, 1, 2, 3, 4], &[])),
        ("by a stranger beside a quorum", with(&[0, 1, 2, 3, 5], &[1])),
    ] {
        all.second(format!("header certified {name}"), Check::Certificate, |s| s.signers = signers);
    }
    for (name, term) in [("the epoch before", TERMS_PER_EPOCH + 2), ("epoch 0", 2), ("the epoch after", 3_000_000_002)]
    {
        all.second(format!("header in a view of {name}"), Check::Certificate, |s| {
            s.header_lies.push(Box::new(move |h| h.view.term = term));
        });
        all.second(format!("header in a view of {name} with votes of it"), Check::Certificate, |s| {
            s.header_lies.push(Box::new(move |h| h.view.term = term));
            s.ballot_lies.push(Box::new(move |b| b.epoch = term / TERMS_PER_EPOCH));
        });
    }
    all.second("votes for the header of the epoch before", Check::Certificate, |s| {
        s.ballot_lies.push(Box::new(|b| b.epoch = 1));
    });
}

fn carriers(all: &mut Vectors) {
    type Change = fn(&mut Vec<Header>);
    let lies: [(&str, Change); 9] = [
        ("without its carriers", Vec::clear),
        ("without the first carrier", |c| _ = c.remove(0)),
        ("without the last carrier", |c| _ = c.pop()),
        ("with carriers in disorder", |c| c.reverse()),
        ("with a carrier twice", |c| c.insert(1, c[0].clone())),
        ("with a carrier more", |c| c.push(carrier(&c[1]))),
        ("with another parent of the first carrier", |c| c[0].parent = Digest([5; 32])),
        ("with another height of the first carrier", |c| c[0].height = BlockHeight::new(30)),
        ("with another time of the last carrier", |c| c[1].time = wallet::units::Timestamp::ZERO),
    ];
    for (name, lie) in lies {
        all.second(format!("first hand-over {name}"), Check::HandOvers, |s| {
            s.endings[0].lies.push(Box::new(move |h| lie(&mut h.proof.carriers)));
        });
        all.tell(format!("the end of an epoch {name}"), Check::Certificate, at_the_end(2), |s| {
            s.bundle_lies.push(Box::new(move |b| lie(&mut b.carriers)));
        });
    }
    all.second("first hand-over with a carrier too many", Check::HandOvers, |s| s.endings[0].carriers = 257);
    all.tell("the end of an epoch with a carrier too many", Check::Certificate, at_the_end(257), |_| {});
    // The first carrier stands at height 0, which none can.
    all.second("first hand-over at the height before 0", Check::HandOvers, |s| {
        s.endings[0].closing_lies.push(Box::new(|h| h.height = BlockHeight::new(u64::MAX)));
    });
    all.second("second hand-over with another's carriers", Check::HandOvers, |s| {
        let carriers = second_move().bundle().hand_overs[0].proof.carriers.clone();
        s.endings[1].lies.push(Box::new(move |h| h.proof.carriers.clone_from(&carriers)));
    });
    all.first("carriers above a header that closes nothing", Check::Certificate, |s| s.carriers = 2);
    all.first("a carrier's certificate above a header that closes nothing", Check::Certificate, |s| {
        s.carriers = 1;
        s.bundle_lies.push(Box::new(|b| b.carriers.clear()));
    });
    all.tell("the end of an epoch that is only notarized", Check::Certificate, at_the_end(2), |s| {
        s.kind = VoteKind::Notarize;
    });
    all.tell("carriers of the next epoch", Check::Certificate, at_the_end(1), |s| {
        s.bundle_lies.push(Box::new(|b| {
            let mut next = carrier(&b.header);
            next.view.term += TERMS_PER_EPOCH;
            let mut story = Story::of(consortium(4), &[1]);
            let changed = next.clone();
            story.header_lies.push(Box::new(move |h| *h = changed.clone()));
            story.ballot_lies.push(Box::new(|ballot| ballot.epoch = 1));
            (b.certificate, b.carriers) = (story.bundle().certificate, vec![next]);
        }));
    });
}

fn headers(all: &mut Vectors) {
    let lies: Lies<Header, 6> = [
        ("of another consortium", |h| h.consortium = consortium(7).id()),
        ("of epoch 0", |h| h.epoch = 0),
        ("of the epoch before", |h| h.epoch = 1),
        ("of the epoch after", |h| h.epoch = 3),
        ("of genesis's validators", |h| h.validators = consortium(5).validators().hash()),
        ("of no validators", |h| h.validators = Digest::ZERO),
    ];
    for (name, lie) in lies {
        all.second(format!("later header {name}"), Check::HeaderConsortium, |s| s.header_lies.push(Box::new(lie)));
    }
    all.second("a later header and a hand-over that ended before all entries", Check::EntrySignature, |s| {
        s.endings[0].closing_lies.push(Box::new(|h| h.log_size = 1));
    });
    all.second("a later header and a hand-over that ended after all entries", Check::EntrySignature, |s| {
        s.endings[0].closing_lies.push(Box::new(|h| h.log_size = u64::MAX));
    });
}

fn records(all: &mut Vectors) {
    let lies: Lies<Bundle, 9> = [
        ("left out", |b| b.members.clear()),
        ("given twice", |b| b.members.push(b.members[0].clone())),
        ("of another node", |b| b.members[0].subject = Subject::Node(NodeId::new(5))),
        ("of a key", |b| b.members[0].subject = Subject::Key(node_key(4).public_key())),
        ("changed", |b| b.members[0].record[30] ^= 1),
        ("cut short", |b| _ = b.members[0].record.pop()),
        ("with a changed path", |b| b.members[0].path[0].0[0] ^= 1),
        ("with a shorter path", |b| _ = b.members[0].path.pop()),
        ("with a path of 257 hashes", |b| b.members[0].path.resize(257, Digest::ZERO)),
    ];
    for (name, lie) in lies {
        all.tell(format!("a joined node's record {name}"), Check::Members, joined(), |s| {
            s.bundle_lies.push(Box::new(lie));
        });
    }
    let subject = Subject::Node(NodeId::new(4));
    let (_, key_record) = key_of(Some(Member::Node(NodeId::new(4))), node_key(4).public_key());
    let prekey = Record::Prekey(Digest([1; 32]));
    for (name, record) in [("a key's", key_record), ("a prekey's", prekey)] {
        all.tell(format!("a joined node's record is {name}"), Check::Members, joined(), |s| {
            s.members = vec![(subject, record)];
        });
    }
    for (name, region) in [("where the policy forbids it", "us"), ("in a region of nobody", "zz")] {
        all.tell(format!("a joined node {name}"), Check::Policy, joined(), |s| {
            s.members = vec![(subject, record_of(4, region, 0))];
        });
    }
    all.tell("records in disorder", Check::Members, joined(), |s| {
        s.members.insert(0, (Subject::Node(NodeId::new(5)), record_of(5, "eu", 1)));
    });
    all.tell("a record of a node of genesis that moves it", Check::Policy, joined(), |s| {
        let elsewhere = (Subject::Node(NodeId::new(3)), record_of(3, "eu", 0));
        s.members.insert(0, elsewhere);
        if let Event::MigrationOffered(offer) = &mut s.step("MigrationOffered").event {
            offer.receiver = NodeId::new(3);
            offer.prekey = prekey_by(3, &node_key(3));
        }
        for event in ["MigrationAccepted", "KeyConfirmed"] {
            let step = s.step(event);
            (step.author, step.author_key) = (3, node_key(3));
        }
        let decisions = decisions_of(s.wallet(), 3);
        s.decide(decisions);
    });
    all.tell("a wallet's record as a node's", Check::Members, joined(), |s| {
        s.bundle_lies.push(Box::new(|b| {
            b.members[0].record.clone_from(&b.record);
            b.members[0].path.clone_from(&b.record_path);
        }));
    });
    // Whoever may receive votes in that epoch.
    all.tell("a receiver that joined and does not vote yet", Check::Prekey, joined(), |s| {
        s.endings[0].after = 3;
    });
    all.second("a prekey by a key that is not in force yet", Check::Prekey, |s| {
        let first = s.steps.iter_mut().find(|step| step.event.name() == "MigrationOffered").expect("an offer");
        first.event_lies.push(Box::new(offer(|offer| offer.prekey = prekey_by(1, &next_node_key(1)))));
    });
}

fn keys(all: &mut Vectors) {
    for (name, at) in [("an offer", FIRST_MOVE), ("a confirm", 7), ("an anchor", 8)] {
        all.second(format!("{name} under the key of another epoch"), Check::EntrySignature, |s| {
            let step = &mut s.steps[at];
            let other = if step.author == 1 { node_key(1) } else { next_node_key(step.author) };
            step.author_key = other;
        });
    }
    all.second("an acceptance before the new key is in force", Check::EntrySignature, |s| {
        s.steps[3].author_key = next_node_key(1);
    });
    let lies: Lies<Bundle, 5> = [
        ("of another key", |b| b.members[0].subject = Subject::Key(node_key(1).public_key())),
        ("of a node", |b| b.members[0].subject = Subject::Node(NodeId::new(1))),
        ("changed", |b| b.members[0].record[10] ^= 1),
        ("with a changed path", |b| b.members[0].path[1].0[9] ^= 1),
        ("given twice", |b| b.members.push(b.members[0].clone())),
    ];
    for (name, lie) in lies {
        all.tell(format!("a key's record {name}"), Check::Members, letting_go(), |s| s.bundle_lies.push(Box::new(lie)));
    }
    let key = next_node_key(1).public_key();
    for (name, member) in [("nobody's", None), ("an operator's", Some(Member::Operator(operator_id(1))))] {
        all.tell(format!("a key that is {name}"), Check::Members, letting_go(), |s| {
            s.members = vec![key_of(member, key)];
        });
    }
    all.tell("a key that is another node's", Check::EntrySignature, letting_go(), |s| {
        s.members = vec![key_of(Some(Member::Node(NodeId::new(2))), key)];
    });
    all.tell("a key of which nothing is said", Check::EntrySignature, letting_go(), |s| s.members.clear());
    all.tell("a node's record as a key's", Check::Members, letting_go(), |s| {
        s.members = vec![(Subject::Key(key), record_of(1, "eu", 1))];
    });
    all.tell("a validator under a key of which a record speaks", Check::EntrySignature, second_move(), |s| {
        s.members = vec![key_of(Some(Member::Node(NodeId::new(2))), next_node_key(2).public_key())];
        s.steps[7].author_key = next_node_key(2);
    });
    let proof = |proof: &mut ClosingProof| proof.certificate.signatures.truncate(1);
    all.tell("letting go by one signature", Check::HandOvers, letting_go(), |s| {
        s.endings[0].lies.push(Box::new(move |hand_over| proof(&mut hand_over.proof)));
    });
}
