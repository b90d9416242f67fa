//! The move that a bundle proves, as the ledger tells it.

use wallet::{
    digest::Digest,
    grant::WalletAddress,
    prekey::ExchangeKey,
    units::{KeyEpoch, NodeId},
};

use super::{BUNDLE_BYTES_MAX, FinalView, NotProvable, PlacedEntry};
use crate::event::Event;

/// The move by which a wallet came to an epoch.
#[derive(Clone, Debug)]
pub struct Hop {
    pub(super) wallet: WalletAddress,
    /// What swapped the wallet's head, from its creation to the confirm.
    pub(super) entries: Vec<PlacedEntry>,
    pub(super) source: NodeId,
    pub(super) decision: Digest,
    /// What the confirmed offer spent.
    pub(super) prekey: ExchangeKey,
}

impl Hop {
    /// The move by which `wallet` came to `epoch`. Of the entries about the wallet those are read which a bundle carries, and
    /// no more of them than it may.
    ///
    /// # Errors
    /// [`NotProvable`] if there is no such move, or something of it cannot be read.
    pub fn find(view: &(impl FinalView + ?Sized), wallet: WalletAddress, epoch: KeyEpoch) -> Result<Self, NotProvable> {
        let unknown = NotProvable::HopUnknown(epoch);
        let record = view.state().wallet(wallet).ok_or(NotProvable::WalletUnknown(wallet))?;
        let rotation = record.rotations.iter().find(|rotation| rotation.epoch == epoch);
        let confirm = rotation.and_then(|rotation| view.state().entry(rotation.entry)).ok_or(unknown.clone())?;
        let (mut entries, mut bytes, mut offered) = (Vec::new(), 0, None);
        for index in view.head_swaps(wallet, confirm.log_index)? {
            let entry = view.entry(index)?.ok_or(NotProvable::EntryMissing(index))?;
            bytes += entry.bytes().len();
            if bytes > BUNDLE_BYTES_MAX {
                return Err(NotProvable::TooLarge { bytes });
            }
            if let Event::MigrationOffered(offer) = &entry.body.event {
                offered = Some((offer.decision, offer.prekey.key));
            }
            entries.push(PlacedEntry { index, entry });
        }
        let Some(Event::KeyConfirmed(confirm)) = entries.last().map(|placed| &placed.entry.body.event) else {
            return Err(unknown);
        };
        let source = confirm.ticket.ticket.source;
        let (decision, prekey) = offered.ok_or(unknown)?;
        Ok(Self { wallet, entries, source, decision, prekey })
    }

    /// The node that the wallet left.
    pub const fn source(&self) -> NodeId {
        self.source
    }

    /// The hash of its decision to give the wallet away.
    pub const fn decision(&self) -> Digest {
        self.decision
    }
}
