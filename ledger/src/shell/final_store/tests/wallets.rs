//! What a bundle and a page of a wallet's history read of a wallet about which a holder said a great deal.

use wallet::{codec, units::KeyEpoch};

use super::*;
use crate::{
    bundle::{Bundle, Grounds, build},
    event::{BatchEvicted, Entry},
    shell::memory::MemoryDisk,
    testing::{Session, consortium, decision, decision_hash},
};

const OTHERS: u64 = 10_000;

/// A wallet that moved once after so many other entries, on a disk that counts what is read.
struct Moved {
    chain: Chain,
    session: Session,
    disk: Arc<MemoryDisk>,
    store: FinalStore,
    tip: Arc<Executed>,
}

impl Moved {
    /// After the wallet began, `other` makes the others: on its first head, by its number.
    fn after(other: fn(&Session, &Chain, u64) -> Entry) -> Self {
        let consortium = consortium(4);
        let (mut chain, session) = (Chain::new(consortium.clone()), Session::in_eu(&consortium, 0));
        chain.push(session.created()).expect("valid");
        let others: Vec<Entry> = (1..=OTHERS).map(|number| other(&session, &chain, number)).collect();
        for block in others.chunks(4_000) {
            chain.push_all(block.to_vec()).expect("valid");
        }
        session.hop(&mut chain, 1, None).expect("valid");
        chain.push(session.anchored(0, 1, decision_hash(&decision(0, Digest::ZERO)))).expect("valid");
        let disk = Arc::new(MemoryDisk::default());
        let (store, genesis) = FinalStore::open(disk.clone(), &consortium).expect("opens");
        store.put_executed(&chain.final_blocks(), &genesis.executed, &chain.tip).expect("our own disk");
        store.make_final(chain.tip.height, RaftLogId::default()).expect("our own disk");
        drop(store);
        let (store, tip) = FinalStore::open(disk.clone(), &consortium).expect("it is whole");
        Self { chain, session, disk, store, tip: Arc::new(tip.executed) }
    }

    /// What `read` finds, and how many rows it reads.
    fn counted<T>(&self, read: impl FnOnce() -> T) -> (T, u64) {
        let before = self.disk.reads();
        (read(), self.disk.reads() - before)
    }

    fn bundle(&self) -> (Bundle, u64) {
        let grounds = Grounds::of(&[decision(0, Digest::ZERO)]).expect("there is one");
        let (wallet, epoch) = (self.session.address, KeyEpoch::new(1));
        self.counted(|| {
            let view = self.store.view(self.tip.clone()).expect("reads");
            build(&self.chain.consortium, &view, wallet, epoch, &grounds, None).expect("provable")
        })
    }
}

fn anchor(session: &Session, _: &Chain, number: u64) -> Entry {
    session.anchored(3, number, Digest([7; 32]))
}

/// One in a thousand says that the wallet was evicted.
fn evidence(session: &Session, chain: &Chain, number: u64) -> Entry {
    let wallet = session.record(chain);
    match number % 1_000 {
        0 => {
            let (wallet, head, epoch) = (wallet.address, wallet.head, wallet.epoch);
            let event = BatchEvicted { wallet, head, epoch, decision: Digest([number as u8; 32]) };
            session.sign(0, Event::BatchEvicted(event), Some(&session.epoch_key(0)))
        }
        _ => session.baseline(&wallet, number, 20),
    }
}

#[test]
fn ten_thousand_pieces_of_evidence_at_one_head_cost_a_bundle_no_row_and_no_byte() {
    let (calm, told) = (Moved::after(anchor), Moved::after(evidence));
    let size = |bundle: &Bundle| {
        // How long the paths in the state are is a matter of chance, and of how many records there are.
        codec::encoded_size(&Bundle { record_path: Vec::new(), prekey_path: Vec::new(), ..bundle.clone() })
    };
    let ((without, rows), (with, rows_with)) = (calm.bundle(), told.bundle());
    assert_eq!(rows_with, rows);
    assert_eq!(size(&with), size(&without));
    let carried: Vec<_> = with.entries.iter().map(|placed| placed.entry.body.event.name()).collect();
    let expected = ["WalletCreated", "MigrationOffered", "MigrationAccepted", "KeyConfirmed", "DecisionAnchored"];
    assert_eq!(carried, expected);

    // A page of its history reads no more for what is not in it, and the last eviction is found among all of them.
    let (wallet, last) = (told.session.address, OTHERS + 4);
    for (range, expected) in [
        (0..last, vec![0, 1, 2]),
        (900..last, vec![900, 901, 902]),
        (999..1_001, vec![999, 1_000]),
        (OTHERS..u64::MAX, vec![OTHERS, OTHERS + 1, OTHERS + 2]),
        (OTHERS + 3..u64::MAX, vec![OTHERS + 3]),
        (OTHERS + 4..u64::MAX, Vec::new()),
    ] {
        let (found, rows) = told.counted(|| told.store.wallet_entries(wallet, range.clone(), 3, &told.tip));
        let found: Vec<u64> = found.expect("reads").into_iter().map(LogIndex::get).collect();
        assert_eq!(found, expected, "{range:?}");
        assert!(rows <= 3 * 4, "{rows} rows for {range:?}");
    }
    // Nothing of the other kinds stands here, and what is cut off is not gone.
    let found = told.store.wallet_entries(wallet, OTHERS + 1..u64::MAX, 2, &told.tip).expect("nothing is damaged");
    assert_eq!(found, [LogIndex::new(OTHERS + 1), LogIndex::new(OTHERS + 2)]);
    let (evicted, rows) = told.counted(|| told.store.last_eviction(wallet, &told.tip).expect("reads"));
    assert_eq!((evicted, rows), (Some(LogIndex::new(OTHERS)), 1));
    assert_eq!(calm.store.last_eviction(wallet, &calm.tip).expect("reads"), None);
}
