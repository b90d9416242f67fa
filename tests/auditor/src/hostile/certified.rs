//! What is wrong with the header, the certificate, or the proof that the entries are in the log.

use ledger::{
    block::Header,
    bundle::{Bundle, Check},
    certificate::Certificate,
    testing::{consortium, key, node_key},
    vote::{Ballot, Signer, Vote, VoteKind},
};
use wallet::{
    digest::Digest,
    identity::{SecretKey, Signature, context},
    units::{BlockHeight, LogIndex, NodeId, Timestamp},
};

use super::{Lies, Vectors, spoilt};
use crate::story::Story;

pub(super) fn add(all: &mut Vectors) {
    header(all);
    certificate(all);
    signers(all);
    inclusion(all);
}

fn header(all: &mut Vectors) {
    let lies: Lies<Header, 6> = [
        ("of another consortium", |h| h.consortium = consortium(7).id()),
        ("of no consortium", |h| h.consortium = Digest::ZERO),
        ("of epoch 1", |h| h.epoch = 1),
        ("of the last epoch", |h| h.epoch = u64::MAX),
        ("of other validators", |h| h.validators = consortium(7).validators().hash()),
        ("of no validators", |h| h.validators = Digest::ZERO),
    ];
    for (name, lie) in lies {
        all.first(format!("header {name}"), Check::HeaderConsortium, |s| s.header_lies.push(Box::new(lie)));
    }
    all.first("header in a view of a later epoch", Check::Certificate, |s| {
        s.header_lies.push(Box::new(|h| h.view.term = ledger::block::TERMS_PER_EPOCH));
    });
    let after: Lies<Bundle, 8> = [
        ("height", |b| b.header.height = BlockHeight::new(21)),
        ("view", |b| b.header.view.number += 1),
        ("leader", |b| b.header.leader = NodeId::new(1)),
        ("parent", |b| b.header.parent = Digest::ZERO),
        ("log size", |b| b.header.log_size += 1),
        ("log root", |b| b.header.log_root.0[0] ^= 1),
        ("state root", |b| b.header.state_root.0[31] ^= 0x80),
        ("time", |b| b.header.time = Timestamp::ZERO),
    ];
    for (name, lie) in after {
        all.first(format!("{name} changed after the vote"), Check::Certificate, |s| s.bundle_lies.push(Box::new(lie)));
    }
}

fn certificate(all: &mut Vectors) {
    let lies: Lies<Certificate, 12> = [
        ("of another block", |c| c.block = Digest::ZERO),
        ("of another height", |c| c.height = BlockHeight::new(1)),
        ("of another term", |c| c.view.term += 1),
        ("of another number", |c| c.view.number -= 1),
        ("that only notarizes", |c| c.kind = VoteKind::Notarize),
        ("without signatures", |c| c.signatures.clear()),
        ("with one signature", |c| c.signatures.truncate(1)),
        ("with one signature too few", |c| _ = c.signatures.pop()),
        ("with one signature three times", |c| c.signatures = vec![c.signatures[0]; 3]),
        ("with a repeated signer", |c| c.signatures[2] = c.signatures[1]),
        ("with signers in disorder", |c| c.signatures.reverse()),
        ("with two signatures exchanged", |c| {
            let first = c.signatures[0].1;
            c.signatures[0].1 = std::mem::replace(&mut c.signatures[1].1, first);
        }),
    ];
    for (name, lie) in lies {
        all.first(format!("certificate {name}"), Check::Certificate, |s| s.certificate_lies.push(Box::new(lie)));
        if !name.contains("three times") {
            all.third(format!("certificate of seven {name}"), Check::Certificate, |s| {
                s.certificate_lies.push(Box::new(lie))
            });
        }
    }
    let ballots: Lies<Ballot, 6> = [
        ("for another consortium", |b| b.consortium = consortium(7).id()),
        ("for another epoch", |b| b.epoch = 1),
        ("to notarize", |b| b.kind = VoteKind::Notarize),
        ("for another view", |b| b.view.number += 1),
        ("for another height", |b| b.height = BlockHeight::new(19)),
        ("for another block", |b| b.block.0[7] ^= 4),
    ];
    for (name, lie) in ballots {
        all.first(format!("a quorum voted {name}"), Check::Certificate, |s| s.ballot_lies.push(Box::new(lie)));
    }
    all.first("votes and certificate of another view than the header's", Check::Certificate, |s| {
        s.ballot_lies.push(Box::new(|b| b.view.number += 1));
        s.certificate_lies.push(Box::new(|c| c.view.number += 1));
    });
    all.first("a quorum that only notarized", Check::Certificate, |s| s.kind = VoteKind::Notarize);
    all.first("another consortium's certificate", Check::Certificate, |s| {
        let other = Story::of(consortium(7), &[1]).bundle().certificate;
        s.certificate_lies.push(Box::new(move |c| *c = other.clone()));
    });
    let sample = super::first_move().bundle().certificate.signatures[1].1;
    for (name, signature) in spoilt(sample) {
        let lie = move |c: &mut Certificate| c.signatures[1].1 = signature;
        all.first(format!("a vote {name}"), Check::Certificate, |s| s.certificate_lies.push(Box::new(lie)));
    }
}

fn signers(all: &mut Vectors) {
    let signer = |node: u32, key: SecretKey| Signer { node: NodeId::new(node), key };
    let honest = |node: u32| signer(node, node_key(node));
    let cases: [(&str, Vec<Signer>); 6] = [
        ("a stranger among the signers", vec![honest(0), honest(1), signer(4, node_key(4))]),
        ("a stranger beside a quorum", vec![honest(0), honest(1), honest(2), signer(9, node_key(9))]),
        ("the last of all numbers as a signer", vec![honest(0), honest(1), signer(u32::MAX, node_key(4))]),
        ("one who signs for another", vec![honest(0), honest(1), signer(2, node_key(1))]),
        ("an operator who signs for its node", vec![honest(0), honest(1), signer(2, key("operator 2"))]),
        ("a bad vote beside a quorum", vec![honest(0), honest(1), honest(2), signer(3, key("nobody"))]),
    ];
    for (name, signers) in cases {
        all.first(name, Check::Certificate, |s| s.signers = signers);
    }
    for (name, under) in [("an entry", context::LEDGER_ENTRY), ("a proposal", context::LEDGER_PROPOSAL)] {
        all.first(format!("a vote signed as {name}"), Check::Certificate, |s| {
            let ballot = Ballot::for_header(VoteKind::Finalize, &s.bundle().header);
            let vote = Vote::sign(ballot, &honest(0)).statement;
            let signature = node_key(0).sign(under, &wallet::codec::encode(&vote));
            s.certificate_lies.push(Box::new(move |c| c.signatures[0].1 = signature));
        });
    }
}

fn inclusion(all: &mut Vectors) {
    let lies: Lies<Bundle, 16> = [
        ("no entries", |b| b.entries.clear()),
        ("no entries and the root as proof", |b| {
            b.entries.clear();
            b.inclusion = vec![b.header.log_root];
        }),
        ("two entries exchanged", |b| b.entries.swap(1, 2)),
        ("two leaves exchanged", |b| {
            let first = b.entries[1].entry.clone();
            b.entries[1].entry = std::mem::replace(&mut b.entries[2].entry, first);
        }),
        ("an entry twice", |b| b.entries.insert(1, b.entries[1].clone())),
        ("an entry twice at two places", |b| {
            let mut again = b.entries[1].clone();
            again.index = again.index.next().expect("not the last");
            b.entries.insert(2, again);
        }),
        ("an entry left out", |b| drop(b.entries.remove(1))),
        ("a place beyond the end", |b| {
            b.entries.last_mut().expect("entries").index = LogIndex::new(b.header.log_size);
        }),
        ("the last of all places", |b| b.entries.last_mut().expect("entries").index = LogIndex::new(u64::MAX)),
        ("a place before", |b| {
            let place = &mut b.entries[3].index;
            *place = LogIndex::new(place.get() - 1);
        }),
        ("a place after", |b| {
            let place = &mut b.entries[3].index;
            *place = LogIndex::new(place.get() + 1);
        }),
        ("no proof", |b| b.inclusion.clear()),
        ("a proof with a hash too few", |b| _ = b.inclusion.pop()),
        ("a proof without its first hash", |b| _ = b.inclusion.remove(0)),
        ("a proof with a hash too many", |b| b.inclusion.push(Digest::ZERO)),
        ("a proof in disorder", |b| b.inclusion.reverse()),
    ];
    for (name, lie) in lies {
        all.first(name, Check::Inclusion, |s| s.bundle_lies.push(Box::new(lie)));
        all.third(format!("{name}, third move"), Check::Inclusion, |s| s.bundle_lies.push(Box::new(lie)));
    }
    let hashes = super::third_move().bundle().inclusion.len();
    for at in 0..hashes {
        let lie = move |b: &mut Bundle| b.inclusion[at].0[at % 32] ^= 1;
        all.third(format!("hash {at} of the proof changed"), Check::Inclusion, |s| s.bundle_lies.push(Box::new(lie)));
    }
    let headers: Lies<Header, 5> = [
        ("a log of another root", |h| h.log_root = Digest::ZERO),
        ("a log of twice the size", |h| h.log_size *= 2),
        ("a log of half the size", |h| h.log_size /= 2),
        ("a log of no leaf", |h| h.log_size = 0),
        ("a log as large as numbers go", |h| h.log_size = u64::MAX),
    ];
    for (name, lie) in headers {
        all.first(name, Check::Inclusion, |s| s.header_lies.push(Box::new(lie)));
    }
    for at in 0..super::first_move().steps.len() {
        let nonce = move |b: &mut Bundle| {
            let entry = &mut b.entries[at].entry;
            *entry = entry.changed(|entry| entry.body.nonce[15] ^= 1);
        };
        all.first(format!("nonce of entry {at} changed"), Check::Inclusion, |s| s.bundle_lies.push(Box::new(nonce)));
        let unsigned = move |b: &mut Bundle| {
            let entry = &mut b.entries[at].entry;
            *entry = entry.changed(|entry| {
                entry.holder_signature = entry.holder_signature.is_none().then_some(Signature([0; 64]));
            });
        };
        all.first(format!("holder's signature of entry {at} taken or given"), Check::Inclusion, |s| {
            s.bundle_lies.push(Box::new(unsigned));
        });
    }
}
