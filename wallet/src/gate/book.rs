//! What a member wrote down before it released: one label for each head of a wallet, one hop for each prekey.

use std::collections::{BTreeMap, BTreeSet};

use super::label::GateLabel;
use crate::{digest::Digest, grant::WalletAddress, prekey::ExchangeKey, refusal::Refusal};

/// The releases of one member. Its owner keeps it on disk, and syncs it before a release leaves.
///
/// Since any two sets that open the global gate share an honest validator, and that one keeps this rule, no two
/// destinations open at one head. The rule knows no gates: all legs of a hop have one label, and a gate whose key was
/// made anew meanwhile is no reason for another.
#[derive(Clone, Debug, Default)]
pub struct ReleaseBook {
    released: BTreeMap<(WalletAddress, Digest), (GateLabel, ExchangeKey)>,
    prekeys: BTreeSet<ExchangeKey>,
}

impl ReleaseBook {
    /// Nothing released yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether this member may release for `label` at this head of the wallet, to this prekey. Writes it down if so;
    /// asked again it says the same. The result is whether it is new and has to be made durable.
    ///
    /// # Errors
    /// [`Refusal::SecondRelease`] if another label or prekey was released at this head. [`Refusal::PrekeyReused`] if
    /// the prekey was used at another head or for another wallet.
    pub fn admit(
        &mut self,
        (wallet, head): (WalletAddress, Digest),
        label: GateLabel,
        prekey: ExchangeKey,
    ) -> Result<bool, Refusal> {
        if let Some(before) = self.released.get(&(wallet, head)) {
            return if *before == (label, prekey) { Ok(false) } else { Err(Refusal::SecondRelease) };
        }
        if self.prekeys.contains(&prekey) {
            return Err(Refusal::PrekeyReused);
        }
        self.released.insert((wallet, head), (label, prekey));
        self.prekeys.insert(prekey);
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::{KeyEpoch, NodeId};

    const WALLET: WalletAddress = WalletAddress(Digest([3; 32]));
    const HEAD: Digest = Digest([4; 32]);

    fn label(holder: u32) -> GateLabel {
        GateLabel::unlock(&WALLET, KeyEpoch::ZERO, NodeId::new(holder))
    }

    #[test]
    fn one_label_is_released_at_a_head_and_again_on_request() {
        let mut book = ReleaseBook::new();
        let (prekey, other) = (ExchangeKey([5; 32]), ExchangeKey([6; 32]));
        assert_eq!(book.admit((WALLET, HEAD), label(0), prekey), Ok(true));
        assert_eq!(book.admit((WALLET, HEAD), label(0), prekey), Ok(false));
        assert_eq!(book.admit((WALLET, HEAD), label(1), prekey), Err(Refusal::SecondRelease));
        assert_eq!(book.admit((WALLET, HEAD), label(0), other), Err(Refusal::SecondRelease));
        assert_eq!(book.admit((WALLET, Digest([9; 32])), label(1), other), Ok(true));
    }

    #[test]
    fn a_prekey_serves_one_hop() {
        let mut book = ReleaseBook::new();
        let prekey = ExchangeKey([5; 32]);
        assert_eq!(book.admit((WALLET, HEAD), label(0), prekey), Ok(true));
        assert_eq!(book.admit((WALLET, Digest([9; 32])), label(0), prekey), Err(Refusal::PrekeyReused));
        let other = WalletAddress(Digest([8; 32]));
        assert_eq!(book.admit((other, HEAD), label(0), prekey), Err(Refusal::PrekeyReused));
    }
}
