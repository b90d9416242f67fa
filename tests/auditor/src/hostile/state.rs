//! What is wrong with the wallet's record, or with its path to the state root.

use ledger::{
    bundle::{Bundle, Check},
    state::{Cause, KeyRotated, WalletRecord},
};
use wallet::{
    digest::Digest,
    grant::WalletAddress,
    identity::PublicKey,
    policy::PolicyCommitment,
    prekey::ExchangeKey,
    units::{KeyEpoch, NodeId},
};

use super::{Change, Lies, Vectors};

pub(super) fn add(all: &mut Vectors) {
    prekeys(all);
    let lies: Lies<Bundle, 9> = [
        ("no path", |b| b.record_path.clear()),
        ("a path with a hash too few", |b| _ = b.record_path.pop()),
        ("a path without its first hash", |b| _ = b.record_path.remove(0)),
        ("a path with a hash too many", |b| b.record_path.push(Digest::ZERO)),
        ("a path in disorder", |b| b.record_path.reverse()),
        ("a path longer than a key", |b| b.record_path = vec![Digest::ZERO; 257]),
        ("no record", |b| b.record.clear()),
        ("a longer record", |b| b.record.push(0)),
        ("a record with another holder", |b| b.record[36] ^= 1),
    ];
    for (name, lie) in lies {
        all.first(name, Check::StateProof, |s| s.bundle_lies.push(Box::new(lie)));
    }
    for at in 0..super::first_move().bundle().record_path.len() {
        let lie = move |b: &mut Bundle| b.record_path[at].0[at] ^= 1;
        all.first(format!("hash {at} of the path changed"), Check::StateProof, |s| s.bundle_lies.push(Box::new(lie)));
    }
    all.first("a state of another root", Check::StateProof, |s| {
        s.header_lies.push(Box::new(|h| h.state_root = Digest::ZERO));
    });
    let records: [(&str, Change); 8] = [
        ("an empty record", |_| Vec::new()),
        ("a record of another kind", |mut record| {
            record[0] = 2;
            record
        }),
        ("a record of no kind", |mut record| {
            record[0] = 9;
            record
        }),
        ("a prekey's record", |record| [&[2, 0, 0, 0], &record[4..36]].concat()),
        ("a record with a byte too many", |record| [record, vec![0]].concat()),
        ("a record with a byte too few", |record| record[..record.len() - 1].to_vec()),
        ("a record with a flag of 2", |mut record| {
            let at = record.len() - 10;
            record[at] = 2;
            record
        }),
        ("a record in another phase than there is", |mut record| {
            let at = 4 + 32 + 4 + 4 + 32 + 32 + 33 + 5 * 32 - 32;
            record[at] = 4;
            record
        }),
    ];
    for (name, change) in records {
        all.first(format!("certified: {name}"), Check::StateProof, |s| s.record = Some(change));
    }
    let wallets: Lies<WalletRecord, 15> = [
        ("another address", |r| r.address = WalletAddress::default()),
        ("another policy", |r| r.policy = PolicyCommitment(Digest::ZERO)),
        ("no rotation", |r| r.rotations.clear()),
        ("a rotation left out", |r| _ = r.rotations.pop()),
        ("the first rotation left out", |r| _ = r.rotations.remove(0)),
        ("rotations in disorder", |r| r.rotations.reverse()),
        ("a rotation of another epoch", |r| r.rotations[1].epoch = KeyEpoch::new(9)),
        ("a rotation of another holder", |r| r.rotations[1].holder = NodeId::new(3)),
        ("a rotation of another key", |r| r.rotations[1].key = PublicKey::default()),
        ("a rotation by another entry", |r| r.rotations[0].entry = Digest::ZERO),
        ("another holder", |r| r.holder = NodeId::new(0)),
        ("another key", |r| r.holder_key = PublicKey::default()),
        ("the key of an earlier epoch", |r| r.holder_key = r.rotations[0].key),
        ("an earlier epoch and another holder", |r| (r.epoch, r.holder) = (KeyEpoch::ZERO, NodeId::new(3))),
        ("a rotation before the first", |r| {
            let before = KeyRotated { cause: Cause::Created, ..r.rotations[0].clone() };
            r.rotations.insert(0, before);
        }),
    ];
    for (name, lie) in wallets {
        all.first(format!("record with {name}"), Check::StateProof, |s| s.record_lies.push(Box::new(lie)));
        all.third(format!("record after three moves with {name}"), Check::StateProof, |s| {
            s.record_lies.push(Box::new(lie));
        });
    }
}

/// The state does not say that the confirmed offer spent the receiver's prekey.
fn prekeys(all: &mut Vectors) {
    let lies: Lies<Bundle, 8> = [
        ("no path", |b| b.prekey_path.clear()),
        ("a path with a hash too few", |b| _ = b.prekey_path.pop()),
        ("a path without its first hash", |b| _ = b.prekey_path.remove(0)),
        ("a path with a hash too many", |b| b.prekey_path.push(Digest::ZERO)),
        ("a path in disorder", |b| b.prekey_path.reverse()),
        ("a path longer than a key", |b| b.prekey_path = vec![Digest::ZERO; 257]),
        ("the path of the wallet", |b| b.prekey_path = b.record_path.clone()),
        ("a flipped bit", |b| b.prekey_path[0].0[7] ^= 1),
    ];
    for (name, lie) in lies {
        all.first(format!("prekey by {name}"), Check::SoleRelease, |s| s.bundle_lies.push(Box::new(lie)));
    }
    let spent: Lies<Vec<(ExchangeKey, Digest)>, 4> = [
        ("not spent", Vec::clear),
        ("spent by nobody", |spent| spent[0].1 = Digest::ZERO),
        ("spent again by another offer", |spent| spent.push((spent[0].0, Digest([9; 32])))),
        ("of another key spent", |spent| spent[0].0 = ExchangeKey([9; 32])),
    ];
    for (name, lie) in spent {
        all.first(format!("prekey {name}"), Check::SoleRelease, |s| s.spent_lies.push(Box::new(lie)));
    }
    all.third("the prekeys of the first moves alone spent", Check::SoleRelease, |s| {
        s.spent_lies.push(Box::new(|spent| _ = spent.pop()));
    });
    all.third("the prekey of the last move spent by the first offer", Check::SoleRelease, |s| {
        s.spent_lies.push(Box::new(|spent| spent[2].1 = spent[0].1));
    });
}
