//! Where the entries about a wallet stand in the log. Those that a bundle carries stand apart from the others, which a
//! holder may submit without limit.

use std::ops::Range;

use wallet::{digest::Digest, grant::WalletAddress, units::LogIndex};

use super::{BY_WALLET, FinalStore, indexed, place_of};
use crate::{
    event::{Entry, Event},
    execute::Executed,
    shell::{fault::Fault, store::Batch},
};

/// What an entry about a wallet is.
#[derive(Clone, Copy)]
enum Kind {
    /// It swaps the wallet's head.
    Swap = 0,
    /// The wallet's pages were dropped.
    Eviction = 1,
    /// Any other evidence.
    Evidence = 2,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Swap, Self::Eviction, Self::Evidence];

    fn of(event: &Event) -> Self {
        match event {
            Event::BatchEvicted(_) => Self::Eviction,
            _ if event.swaps_head().is_some() => Self::Swap,
            _ => Self::Evidence,
        }
    }

    fn topic(self, wallet: WalletAddress) -> Vec<u8> {
        [wallet.0.as_bytes().as_slice(), &[self as u8]].concat()
    }
}

/// Adds the row of an entry, if that is about a wallet.
pub(super) fn put(batch: &mut Batch, entry: &Entry, index: u64) {
    let event = &entry.body.event;
    if let Some(wallet) = event.wallet() {
        batch.put_bytes(BY_WALLET, &indexed(&Kind::of(event).topic(wallet), index), &[]);
    }
}

impl FinalStore {
    /// Where the entries stand that swapped the head of `wallet`, in a range of the log up to `tip`, a final state of this
    /// store, ascending. No row of other entries is read.
    ///
    /// # Errors
    /// [`Fault`] if the index is damaged, or lacks an entry that the wallet's record names.
    pub fn head_swaps(&self, wallet: WalletAddress, range: Range<u64>, tip: &Executed) -> Result<Vec<LogIndex>, Fault> {
        let range = range.start..range.end.min(tip.log.size());
        let listed = self.indices(BY_WALLET, &Kind::Swap.topic(wallet), range.clone(), usize::MAX)?;
        self.none_is_gone(wallet, range, tip, &listed)?;
        Ok(listed)
    }

    /// Where the first `count_max` entries about `wallet` stand in a range of the log up to `tip`, a final state of this
    /// store, ascending. Few more rows than these are read.
    ///
    /// # Errors
    /// [`Fault`] if the index is damaged, or lacks an entry that the wallet's record names.
    pub fn wallet_entries(
        &self,
        wallet: WalletAddress,
        range: Range<u64>,
        count_max: usize,
        tip: &Executed,
    ) -> Result<Vec<LogIndex>, Fault> {
        let mut range = range.start..range.end.min(tip.log.size());
        let of_kind =
            |kind: Kind| self.indices(BY_WALLET, &kind.topic(wallet), range.clone(), count_max.saturating_add(1));
        let mut listed = Kind::ALL.into_iter().map(of_kind).collect::<Result<Vec<_>, _>>()?.concat();
        listed.sort_unstable();
        if let Some(beyond) = listed.get(count_max) {
            range.end = beyond.get();
            listed.truncate(count_max);
        }
        self.none_is_gone(wallet, range, tip, &listed)?;
        Ok(listed)
    }

    /// Where the last `BatchEvicted` of `wallet` stands in the log up to `tip`, a final state of this store. One row is read.
    ///
    /// # Errors
    /// [`Fault`] if the index is damaged.
    pub fn last_eviction(&self, wallet: WalletAddress, tip: &Executed) -> Result<Option<LogIndex>, Fault> {
        let topic = Kind::Eviction.topic(wallet);
        let last = self.rows.last(BY_WALLET, &indexed(&topic, 0), Some(&indexed(&topic, tip.log.size())))?;
        last.map(|(key, _)| super::index_of(BY_WALLET, &key)).transpose()
    }

    /// That `listed` has all entries which the wallet's record names in a range.
    fn none_is_gone(
        &self,
        wallet: WalletAddress,
        range: Range<u64>,
        tip: &Executed,
        listed: &[LogIndex],
    ) -> Result<(), Fault> {
        let Some(record) = tip.state.wallet(wallet) else { return Ok(()) };
        let named = record.rotations.iter().map(|rotation| rotation.entry);
        let named = named.chain(record.offer().map(|offer| offer.entry));
        let is_gone = |entry: Digest| {
            place_of(tip, entry).filter(|at| range.contains(&at.get()) && listed.binary_search(at).is_err())
        };
        match named.chain(record.boot.as_ref().map(|boot| boot.entry)).find_map(is_gone) {
            Some(place) => self.rows.missing(format!("entry {place} in an index")),
            None => Ok(()),
        }
    }
}
