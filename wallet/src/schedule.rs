//! The hop key schedule: from one key agreement, bound to one label, to the keys of one hop.
//!
//! A migration key is meant to come from three independent legs: the global gate, the gate of the destination's
//! region, and the receiver's one-time prekey. The two gates are not built yet. Their places are [`GlobalGate`] and
//! [`RegionGate`]; today they contribute a domain label and no secret. What stands in for them is the type
//! [`VerifiedOpening`], without which no key is derived, and validators, who refuse an offer without a valid opening.
//! Neither stops a modified sender from sealing its session to anyone.

use serde::{Deserialize, Serialize};

use crate::{
    codec,
    digest::{Digest, blake3},
    grant::WalletAddress,
    identity::{PublicKey, RegionId, SecretKey},
    kdf::{self, push_prefixed},
    policy::{PolicyCommitment, VerifiedOpening},
    prekey::{ExchangeKey, SharedSecret},
    refusal::Refusal,
    seal::envelope::{EnvelopeKey, OfferSecrets, TailContents},
    secret::secret,
    ticket::ContentCommitment,
    units::{KeyEpoch, NodeId},
};

const LABEL_DOMAIN: &str = "batchmind/v1/wallet/hop-label";

/// Everything that one hop is about. Every key of the hop is bound to all of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HopLabel {
    /// Hash of the genesis document.
    pub consortium: Digest,
    /// The wallet.
    pub wallet: WalletAddress,
    /// The epoch that the hop begins.
    pub epoch: KeyEpoch,
    /// The wallet's head before the offer.
    pub head: Digest,
    /// The holder.
    pub source: NodeId,
    /// The destination.
    pub receiver: NodeId,
    /// The destination's region.
    pub region: RegionId,
    /// [`VerifiedOpening::hash`] of the policy's leaf for that region.
    pub opening: Digest,
    /// The wallet's policy.
    pub policy: PolicyCommitment,
    /// The receiver's one-time prekey.
    pub prekey: ExchangeKey,
    /// The sender's half, drawn for this attempt.
    pub ephemeral: ExchangeKey,
    /// The pages that were full at the offer.
    pub content: ContentCommitment,
    /// What the engine guarantees about its arithmetic.
    pub numerics: Digest,
}

/// The place of the global gate: threshold release by the validators.
///
/// Not built yet; it comes with the wallet work. Until then a modified sender could still seal to anyone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GlobalGate {
    /// Contributes a domain label and no secret.
    NotBuilt,
}

/// The place of the region gate: threshold release by the operators of the destination's region.
///
/// Not built yet; it comes with the wallet work. Until then a modified sender could still seal to anyone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegionGate {
    /// Contributes a domain label and no secret.
    NotBuilt,
}

/// What the gates contribute to a hop's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gates {
    /// The validators' leg.
    pub global: GlobalGate,
    /// The region's leg.
    pub region: RegionGate,
}

secret! {
    /// mk: the root of one hop's keys. Erased as soon as the next chain key is made.
    MigrationKey
}

/// The keys of one hop. Sender and receiver derive the same ones.
#[derive(Debug)]
pub struct HopKeys {
    /// Signs the receiver's confirm: whoever can sign has derived the hop's key.
    pub confirm: SecretKey,
    /// Seals the offer envelope, once.
    pub offer: EnvelopeKey<OfferSecrets>,
    /// Seals the tail envelope, once.
    pub tail: EnvelopeKey<TailContents>,
    /// Goes into the next chain key.
    pub migration: MigrationKey,
}

impl HopLabel {
    /// The canonical encoding: the context of all keys of the hop.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// BLAKE3 of the label: the associated data of both envelopes.
    pub fn hash(&self) -> Digest {
        blake3(LABEL_DOMAIN, None, &[&self.encode()])
    }
}

impl HopKeys {
    /// mk = LX(BLAKE3(label || gates' labels), shared secret), and the keys below it.
    ///
    /// # Errors
    /// [`Refusal::LabelMismatch`] if the opening is for another region or policy than the label's, or the exchange
    /// was between other keys.
    pub fn derive(
        label: &HopLabel,
        opening: &VerifiedOpening,
        exchange: SharedSecret,
        gates: Gates,
    ) -> Result<Self, Refusal> {
        for (matches, field) in [
            (*opening.region() == label.region, "region"),
            (*opening.policy() == label.policy, "policy"),
            (*opening.hash() == label.opening, "opening"),
            (exchange.is_between(&label.prekey, &label.ephemeral), "exchange keys"),
        ] {
            if !matches {
                return Err(Refusal::LabelMismatch { field });
            }
        }
        let context = label.encode();
        let mut transcript = Vec::new();
        for part in [context.as_slice(), gates.global.domain(), gates.region.domain()] {
            push_prefixed(&mut transcript, part);
        }
        let salt = ::blake3::hash(&transcript);
        let migration = MigrationKey(*kdf::extract(salt.as_bytes(), exchange.expose()));
        let below = |name| kdf::expand(migration.expose(), name, &context);
        let label = label.hash();
        Ok(Self {
            confirm: SecretKey::from_seed(&below("confirm")),
            offer: EnvelopeKey::new(below("wrap"), label),
            tail: EnvelopeKey::new(below("tail"), label),
            migration,
        })
    }

    /// Checks that the offer on the ledger names the confirm key that this hop really has.
    ///
    /// AES-GCM does not commit to its key; this does.
    ///
    /// # Errors
    /// [`Refusal::LabelMismatch`] if it names another.
    pub fn check_confirm_key(&self, offered: &PublicKey) -> Result<(), Refusal> {
        if self.confirm.public_key() == *offered {
            Ok(())
        } else {
            Err(Refusal::LabelMismatch { field: "confirm key" })
        }
    }
}

impl GlobalGate {
    const fn domain(self) -> &'static [u8] {
        match self {
            Self::NotBuilt => b"global gate: not built",
        }
    }
}

impl RegionGate {
    const fn domain(self) -> &'static [u8] {
        match self {
            Self::NotBuilt => b"region gate: not built",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{policy::JurisdictionPolicy, prekey::ExchangeSecret, tenant::WalletSecret};

    const GATES: Gates = Gates { global: GlobalGate::NotBuilt, region: RegionGate::NotBuilt };

    fn region(name: &str) -> RegionId {
        RegionId::try_from(name.to_owned()).expect("a region name")
    }

    fn opening(name: &str) -> VerifiedOpening {
        let all = [region("eu"), region("us")].into();
        let policy = JurisdictionPolicy { allowed: [region("eu"), region("us")].into() };
        let tree = policy.tree(&all, &WalletSecret::from_bytes([1; 32])).expect("known regions");
        tree.open(&region(name)).expect("a leaf").verify(&tree.commitment()).expect("allowed")
    }

    fn halves() -> (ExchangeSecret, ExchangeSecret) {
        (ExchangeSecret::from_bytes(&[2; 32]), ExchangeSecret::from_bytes(&[3; 32]))
    }

    fn label() -> HopLabel {
        let (prekey, ephemeral) = halves();
        let opening = opening("eu");
        HopLabel {
            consortium: Digest([1; 32]),
            wallet: WalletAddress(Digest([2; 32])),
            epoch: KeyEpoch::new(1),
            head: Digest([3; 32]),
            source: NodeId::new(0),
            receiver: NodeId::new(1),
            region: region("eu"),
            opening: *opening.hash(),
            policy: *opening.policy(),
            prekey: prekey.public_key(),
            ephemeral: ephemeral.public_key(),
            content: ContentCommitment(Digest([4; 32])),
            numerics: Digest([5; 32]),
        }
    }

    fn exchange() -> SharedSecret {
        let (prekey, ephemeral) = halves();
        ephemeral.agree(&prekey.public_key()).expect("contributory")
    }

    #[test]
    fn sender_and_receiver_derive_the_same_keys() {
        let (prekey, ephemeral) = halves();
        let there = prekey.agree(&ephemeral.public_key()).expect("contributory");
        let sender = HopKeys::derive(&label(), &opening("eu"), exchange(), GATES).expect("a valid hop");
        let receiver = HopKeys::derive(&label(), &opening("eu"), there, GATES).expect("a valid hop");
        assert_eq!(sender.migration.expose(), receiver.migration.expose());
        assert_eq!(receiver.check_confirm_key(&sender.confirm.public_key()), Ok(()));
    }

    #[test]
    fn an_opening_for_another_region_gives_no_keys() {
        let keys = HopKeys::derive(&label(), &opening("us"), exchange(), GATES);
        assert_eq!(keys.err(), Some(Refusal::LabelMismatch { field: "region" }));
    }

    #[test]
    fn an_exchange_between_other_keys_gives_no_keys() {
        let stranger = ExchangeSecret::from_bytes(&[9; 32]).agree(&label().prekey).expect("contributory");
        let keys = HopKeys::derive(&label(), &opening("eu"), stranger, GATES);
        assert_eq!(keys.err(), Some(Refusal::LabelMismatch { field: "exchange keys" }));
    }

    #[test]
    fn every_field_of_the_label_changes_the_hop_key() {
        let derive = |label: &HopLabel| {
            *HopKeys::derive(label, &opening("eu"), exchange(), GATES).expect("a valid hop").migration.expose()
        };
        let alterations: [fn(&mut HopLabel); 8] = [
            |l| l.consortium = Digest::ZERO,
            |l| l.wallet = WalletAddress::default(),
            |l| l.epoch = KeyEpoch::new(9),
            |l| l.head = Digest::ZERO,
            |l| l.source = NodeId::new(9),
            |l| l.receiver = NodeId::new(9),
            |l| l.content = ContentCommitment::default(),
            |l| l.numerics = Digest::ZERO,
        ];
        for alter in alterations {
            let mut other = label();
            alter(&mut other);
            assert_ne!(derive(&label()), derive(&other));
        }
    }

    #[test]
    fn the_gates_have_one_value_and_no_size() {
        assert_eq!(std::mem::size_of::<Gates>(), 0);
    }
}
