//! What is wrong with who signed the entries: as their author, in a batch, for the holder.

use ledger::{
    author::{AuthorSignature, BatchSignature},
    bundle::Check,
    event::{Entry, EntryParts},
    testing::{consortium, key, node_key},
};
use wallet::{digest::Digest, identity::SecretKey};

use super::{STEPS, Vectors, spoilt};
use crate::story::{Step, epoch_key};

const BY_HOLDER: [&str; 4] = ["WalletCreated", "Touch", "MigrationOffered", "KeyConfirmed"];

pub(super) fn add(all: &mut Vectors) {
    authors(all);
    batches(all);
    holders(all);
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
        let lie = move |entry: &mut EntryParts| entry.signature = AuthorSignature::Direct(spoilt);
        all.step(format!("an author's signature {name}"), Check::EntrySignature, "MigrationOffered", |step| {
            step.entry_lies.push(Box::new(lie));
        });
    }
}

fn batches(all: &mut Vectors) {
    type Lie = fn(&mut BatchSignature);
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
