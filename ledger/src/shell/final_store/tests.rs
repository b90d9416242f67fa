//! A row that is gone is not taken for one that never was.

use wallet::{grant::WalletAddress, units::NodeId};

use super::*;
use crate::{
    bundle::FinalView as _,
    shell::store::Change,
    testing::{Chain, every_record},
};

mod view;
mod wallets;

/// A folder with the final blocks of `chain`.
fn stored(chain: &Chain) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("tempdir");
    committed(folder.path(), chain);
    folder
}

/// A store on `disk` with the final blocks of `chain`, and the state after each of them.
fn committed(disk: impl Into<Disk>, chain: &Chain) -> (FinalStore, Vec<Arc<Executed>>) {
    let (store, tip) = FinalStore::open(disk, &chain.consortium).expect("opens");
    let (mut before, mut states) = (tip.executed, Vec::new());
    for FinalBlock { block, certificate, carriers } in chain.final_blocks() {
        let executed = crate::execute::execute(&chain.consortium, &before, &block).expect("valid");
        let finalized = Final { certificate, carriers, block, executed, log_index: 0 };
        store.commit(&finalized, &before, RaftLogId::default()).expect("writes");
        before = finalized.executed;
        states.push(Arc::new(before.clone()));
    }
    (store, states)
}

/// A row, and who asks for it.
type Ask = fn(&FinalStore, &Executed) -> Result<(), Fault>;

/// The place of the first entry in this index.
fn indexed_row(store: &FinalStore, family: &'static str) -> Vec<u8> {
    let mut rows = Vec::new();
    let read = store.rows.scan(family, &[], None, |key, _| {
        rows.push(key.to_vec());
        Ok(Scan::More)
    });
    read.expect("reads");
    rows.swap_remove(0)
}

#[test]
fn a_row_of_the_final_chain_that_is_gone_raises_the_alarm_in_each_family() {
    let (chain, _) = every_record();
    let folder = stored(&chain);
    let one = number_key(1).to_vec();
    let cases: [(&str, Option<Vec<u8>>, Ask); 10] = [
        (HEADERS, Some(one.clone()), |store, _| store.header(BlockHeight::new(1)).map(drop)),
        (HEADERS, Some(one.clone()), |store, _| store.block(BlockHeight::new(1)).map(drop)),
        (CERTIFICATES, Some(one.clone()), |store, _| store.certificate(BlockHeight::new(1)).map(drop)),
        (ENTRIES, Some(one.clone()), |store, _| store.entry(LogIndex::new(1)).map(drop)),
        (ENTRIES, Some(one.clone()), |store, _| store.entry_bytes(0..3).map(drop)),
        (LEAVES, Some(one), |store, _| store.hashes(0, 0..3).map(drop)),
        (HAND_OVERS, Some(number_key(0).to_vec()), |store, _| store.hand_over(0).map(drop)),
        (BY_WALLET, None, |store, tip| {
            let address = tip.state.wallets().next().expect("one wallet").address;
            store.head_swaps(address, 0..u64::MAX, tip).map(drop)
        }),
        (BY_WALLET, None, |store, tip| {
            let address = tip.state.wallets().next().expect("one wallet").address;
            store.wallet_entries(address, 0..u64::MAX, 2, tip).map(drop)
        }),
        (ANCHORS, None, |store, tip| store.anchor_from(NodeId::ZERO, LogIndex::ZERO, tip).map(drop)),
    ];
    for (family, row, ask) in cases {
        let (store, tip) = FinalStore::open(folder.path(), &chain.consortium).expect("it is whole");
        let (tip, alarm) = (tip.executed, Alarm::default());
        store.watch_by(&alarm);
        let row = row.unwrap_or_else(|| indexed_row(&store, family));
        ask(&store, &tip).expect("it is there");
        assert!(alarm.raised().is_none());
        let value = store.rows.get_bytes(family, &row).expect("reads").expect("it is there");
        let mut batch = Batch::default();
        batch.delete(family, &row);
        store.rows.write(batch).expect("writes");
        assert!(ask(&store, &tip).is_err(), "{family}");
        let fault = alarm.raised().expect("the alarm");
        assert!(matches!(*fault, Fault::Missing { .. }), "{family}: {fault}");
        let mut batch = Batch::default();
        batch.put_bytes(family, &row, &value);
        store.rows.write(batch).expect("writes");
    }
}

#[test]
fn what_lies_beyond_the_final_chain_is_merely_not_there() {
    let (chain, _) = every_record();
    let folder = stored(&chain);
    let (store, tip) = FinalStore::open(folder.path(), &chain.consortium).expect("it is whole");
    let alarm = Alarm::default();
    store.watch_by(&alarm);
    let (height, size) = (tip.executed.height, tip.executed.log.size());
    for height in [BlockHeight::ZERO, height.next().expect("few blocks"), BlockHeight::new(u64::MAX)] {
        assert!(store.header(height).expect("reads").is_none() && store.certificate(height).expect("reads").is_none());
    }
    assert!(store.entry(LogIndex::new(size)).expect("reads").is_none());
    assert!(matches!(store.hashes(0, size - 1..size + 1), Err(Fault::Missing { .. })));
    assert!(matches!(store.hashes(1, 0..1), Err(Fault::Missing { .. })), "no tile is complete");
    assert!(store.hand_over(tip.executed.state.epoch()).expect("reads").is_none());
    let view = store.view(Arc::new(tip.executed)).expect("reads");
    assert_eq!(view.anchor_from(NodeId::new(3), LogIndex::ZERO), Ok(None));
    assert_eq!(view.anchor_from(NodeId::ZERO, LogIndex::new(size)), Ok(None));
    assert_eq!(view.head_swaps(WalletAddress(Digest([9; 32])), LogIndex::new(u64::MAX)), Ok(Vec::new()));
    assert!(alarm.raised().is_none());
}

#[test]
fn a_leaf_that_is_gone_is_seen_at_the_start() {
    let (chain, _) = every_record();
    for (family, key) in [
        (LEAVES, number_key(2).to_vec()),
        (STATE, chain.tip.state.tree().iter().next().expect("a record").0.0.to_vec()),
    ] {
        let folder = stored(&chain);
        let rows = Store::open(&folder.path().into(), STORE, &FAMILIES).expect("opens");
        rows.write(Batch(vec![Change::Delete { family, key }])).expect("writes");
        drop(rows);
        let opened = FinalStore::open(folder.path(), &chain.consortium).map(drop);
        let is_seen = matches!(opened, Err(Fault::Missing { .. } | Fault::StateDiffers { .. }));
        assert!(is_seen, "{family}: {opened:?}");
    }
}
