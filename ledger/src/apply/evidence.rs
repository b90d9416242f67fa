//! Evidence: cites head and epoch of the wallet, and does not advance the head.

use wallet::{digest::Digest, grant::WalletAddress, units::KeyEpoch};

use super::Step;
use crate::{
    credits::Latency,
    event::{BaselineCommitted, BatchEvicted, LatencyDelta},
    refusal::Refusal,
    state::{BaselineRecord, Record, StateKey, WalletRecord},
};

impl Step<'_> {
    pub(super) fn baseline_committed(&mut self, event: &BaselineCommitted) -> Result<(), Refusal> {
        let wallet = self.cited(event.wallet, event.head, event.epoch)?;
        if event.samples == 0 {
            return Err(Refusal::NoSamples);
        }
        let record = BaselineRecord {
            wallet: wallet.address,
            epoch: event.epoch,
            inter_token_p50: event.inter_token_p50,
            samples: event.samples,
        };
        self.put(StateKey::Baseline(self.id), Record::Baseline(record));
        Ok(())
    }

    /// Settles the hop that brought the wallet to its present holder, once.
    pub(super) fn latency_delta(&mut self, event: &LatencyDelta) -> Result<(), Refusal> {
        let wallet = self.cited(event.wallet, event.head, event.epoch)?;
        if event.samples == 0 {
            return Err(Refusal::NoSamples);
        }
        let hop =
            wallet.hop.as_ref().filter(|hop| hop.baseline == Some(event.baseline)).ok_or(Refusal::DeltaForeign)?;
        if self.state.award(wallet.address, wallet.epoch).is_some() {
            return Err(Refusal::HopSettled { epoch: wallet.epoch });
        }
        let baseline = self.state.baseline(event.baseline).ok_or(Refusal::DeltaForeign)?;
        let before = Latency { inter_token_p50: baseline.inter_token_p50, samples: baseline.samples };
        let after = Latency { inter_token_p50: event.inter_token_p50, samples: event.samples };
        let earned = self.settle(hop.source, wallet.holder, Some((before, after)));
        self.award(&wallet, earned);
        Ok(())
    }

    /// The entry itself is the record.
    pub(super) fn batch_evicted(&mut self, event: &BatchEvicted) -> Result<(), Refusal> {
        self.cited(event.wallet, event.head, event.epoch).map(drop)
    }

    /// The open wallet at the head and epoch that its holder cites.
    fn cited(&self, address: WalletAddress, head: Digest, epoch: KeyEpoch) -> Result<WalletRecord, Refusal> {
        let wallet = self.swap(address, head)?;
        if wallet.epoch != epoch {
            return Err(Refusal::WrongEpoch { expected: wallet.epoch, named: epoch });
        }
        self.by_holder(&wallet)?;
        Ok(wallet)
    }
}
