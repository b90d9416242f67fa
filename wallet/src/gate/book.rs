//! What a member wrote down before it released: one label for each head of a wallet, one hop for each prekey.

use std::collections::{BTreeMap, BTreeSet};

use super::{label::GateLabel, release::ReleaseSubject};
use crate::{digest::Digest, grant::WalletAddress, prekey::ExchangeKey, refusal::Refusal};

/// The releases of one member. Its owner keeps every new subject on disk, and syncs it before the release leaves. After
/// a restart it admits all of them again, in any order.
///
/// Since any two sets that open the global gate share an honest validator, and that one keeps this rule, no two
/// destinations open at one head. Label and prekey know no gates: all legs of a hop have the same, and a gate whose key
/// was made anew meanwhile is no reason for another. Through each gate one ciphertext is released at a head.
#[derive(Clone, Debug, Default)]
pub struct ReleaseBook {
    heads: BTreeMap<(WalletAddress, Digest), Entry>,
    prekeys: BTreeSet<ExchangeKey>,
}

/// What was released at one head.
#[derive(Clone, Debug)]
struct Entry {
    label: GateLabel,
    prekey: ExchangeKey,
    /// By the gate's hash.
    ciphertexts: BTreeMap<Digest, Digest>,
}

impl ReleaseBook {
    /// Nothing released yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether this member may release it. Writes it down if so; asked again it says the same. The result is whether it
    /// is new and has to be made durable.
    ///
    /// # Errors
    /// [`Refusal::SecondRelease`] if something else was released at this head: for another label, to another prekey, or
    /// another ciphertext through this gate. [`Refusal::PrekeyReused`] if the prekey was used at another head or for
    /// another wallet.
    pub fn admit(&mut self, subject: &ReleaseSubject) -> Result<bool, Refusal> {
        let ReleaseSubject { wallet, head, gate, label, ciphertext, prekey } = *subject;
        let Some(entry) = self.heads.get_mut(&(wallet, head)) else {
            if !self.prekeys.insert(prekey) {
                return Err(Refusal::PrekeyReused);
            }
            let ciphertexts = [(gate, ciphertext)].into();
            self.heads.insert((wallet, head), Entry { label, prekey, ciphertexts });
            return Ok(true);
        };
        if (entry.label, entry.prekey) != (label, prekey) {
            return Err(Refusal::SecondRelease);
        }
        match entry.ciphertexts.get(&gate) {
            Some(before) if *before == ciphertext => Ok(false),
            Some(_) => Err(Refusal::SecondRelease),
            None => {
                entry.ciphertexts.insert(gate, ciphertext);
                Ok(true)
            }
        }
    }

    /// Forgets the heads of this wallet but `head`, which is final now: at one that is not the wallet's last, nothing
    /// is released any more. Of each stays its prekey, 32 bytes.
    pub fn superseded(&mut self, wallet: WalletAddress, head: Digest) {
        let all = (wallet, Digest::ZERO)..=(wallet, Digest([u8::MAX; 32]));
        let before: Vec<_> = self.heads.range(all).map(|(at, _)| *at).filter(|at| at.1 != head).collect();
        for at in before {
            self.heads.remove(&at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::{KeyEpoch, NodeId};

    const WALLET: WalletAddress = WalletAddress(Digest([3; 32]));
    const HEAD: Digest = Digest([4; 32]);
    const LATER: Digest = Digest([9; 32]);

    fn label(holder: u32) -> GateLabel {
        GateLabel::unlock(&WALLET, KeyEpoch::ZERO, NodeId::new(holder))
    }

    fn subject() -> ReleaseSubject {
        let (gate, ciphertext, prekey) = (Digest([1; 32]), Digest([2; 32]), ExchangeKey([5; 32]));
        ReleaseSubject { wallet: WALLET, head: HEAD, gate, label: label(0), ciphertext, prekey }
    }

    #[test]
    fn one_subject_is_released_at_a_head_and_again_on_request() {
        let mut book = ReleaseBook::new();
        let other = ExchangeKey([6; 32]);
        let new_gate = Digest([7; 32]);
        assert_eq!(book.admit(&subject()), Ok(true));
        assert_eq!(book.admit(&subject()), Ok(false));
        let second = Err(Refusal::SecondRelease);
        assert_eq!(book.admit(&ReleaseSubject { label: label(1), ..subject() }), second);
        assert_eq!(book.admit(&ReleaseSubject { prekey: other, ..subject() }), second);
        assert_eq!(book.admit(&ReleaseSubject { ciphertext: Digest::ZERO, ..subject() }), second);
        assert_eq!(book.admit(&ReleaseSubject { gate: new_gate, label: label(1), ..subject() }), second);
        // Another leg of the same hop.
        let leg = ReleaseSubject { gate: new_gate, ciphertext: Digest::ZERO, ..subject() };
        assert_eq!([book.admit(&leg), book.admit(&leg)], [Ok(true), Ok(false)]);
        let later = ReleaseSubject { head: LATER, label: label(1), prekey: other, ..subject() };
        assert_eq!(book.admit(&later), Ok(true));
    }

    #[test]
    fn a_prekey_serves_one_hop() {
        let mut book = ReleaseBook::new();
        assert_eq!(book.admit(&subject()), Ok(true));
        let later = ReleaseSubject { head: LATER, ..subject() };
        assert_eq!(book.admit(&later), Err(Refusal::PrekeyReused));
        let other = WalletAddress(Digest([8; 32]));
        assert_eq!(book.admit(&ReleaseSubject { wallet: other, ..subject() }), Err(Refusal::PrekeyReused));
        book.superseded(WALLET, LATER);
        assert_eq!(book.admit(&later), Err(Refusal::PrekeyReused), "that stays");
    }

    #[test]
    fn what_was_superseded_takes_no_room() {
        let mut book = ReleaseBook::new();
        let elsewhere =
            ReleaseSubject { wallet: WalletAddress(Digest([8; 32])), prekey: ExchangeKey([9; 32]), ..subject() };
        assert_eq!(book.admit(&elsewhere), Ok(true));
        for hop in 10..20 {
            let head = Digest([hop; 32]);
            let hop = ReleaseSubject { head, prekey: ExchangeKey([hop; 32]), ..subject() };
            assert_eq!(book.admit(&hop), Ok(true));
            book.superseded(WALLET, head);
            assert_eq!(book.admit(&hop), Ok(false), "the last head stays");
        }
        assert_eq!(book.heads.len(), 2);
        assert_eq!(book.admit(&elsewhere), Ok(false), "another wallet's, too");
    }
}
