//! The hop key schedule: from one key agreement, bound to one label, to the keys of one hop.
//!
//! A migration key comes from independent legs: the global gate, the gate of the destination's region, the tenant's
//! own gate if it releases each hop itself, and the receiver's one-time prekey. Genesis says whether the gates are
//! on. Where they are not, they contribute a domain label and no secret, and what stands in for them is the type
//! [`VerifiedOpening`], without which no key is derived, and validators, who refuse an offer without a valid opening.
//! Neither stops a modified sender from sealing its session to anyone.
//!
//! The node does not switch the gates on yet: the ledger has no entries for releases.

mod legs;

pub use legs::GateLeg;

use serde::{Deserialize, Serialize};

use crate::{
    codec,
    digest::{Digest, blake3},
    grant::WalletAddress,
    identity::{PublicKey, RegionId, SecretKey},
    kdf,
    kem::KemId,
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
    /// The receiver's one-time prekey; for X-Wing its name ([`crate::kem`]).
    pub prekey: ExchangeKey,
    /// The sender's half, drawn for this attempt; for X-Wing the encapsulation's name.
    pub ephemeral: ExchangeKey,
    /// The pages that were full at the offer.
    pub content: ContentCommitment,
    /// What the engine guarantees about its arithmetic.
    pub numerics: Digest,
}

/// The global gate's leg: threshold release by the validators.
#[derive(Debug)]
pub enum GlobalGate {
    /// The consortium has not switched it on: contributes a domain label and no secret.
    NotBuilt,
    /// What was encapsulated to it under the hop's label.
    On(Box<GateLeg>),
}

/// The region gate's leg: threshold release by the operators of the destination's region.
#[derive(Debug)]
pub enum RegionGate {
    /// The consortium has not switched it on: contributes a domain label and no secret.
    NotBuilt,
    /// What was encapsulated to it under the hop's label.
    On(Box<GateLeg>),
}

/// What the consortium's gates contribute to a hop's key.
#[derive(Debug)]
pub struct Gates {
    /// The validators' leg.
    pub global: GlobalGate,
    /// The region's leg.
    pub region: RegionGate,
}

/// All legs of a hop's key.
#[derive(Debug)]
pub struct Legs {
    /// The receiver's prekey.
    pub exchange: SharedSecret,
    /// The consortium's gates.
    pub gates: Gates,
    /// The tenant's own gate, if it releases each hop itself.
    pub tenant: Option<Box<GateLeg>>,
}

/// Which legs a hop's key must have, no more and no fewer. It comes from what is final on the ledger, never from the
/// other side of the hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequiredLegs {
    /// The prekey's mechanism: genesis says which.
    pub kem: KemId,
    /// Both gates of the consortium, if genesis has them on.
    pub gates: Option<RequiredGates>,
    /// [`crate::gate::Gate::hash`] of the tenant's gate, if the tenant releases each hop itself. Nothing in the
    /// policy or the grant says so yet: both sides must have it from the tenant.
    pub tenant: Option<Digest>,
}

/// The gates that a hop's key must have, by [`crate::gate::Gate::hash`]. The hash covers consortium, kind, epoch,
/// members and key: anyone can make a gate that says to be the consortium's, and an old one's shares are deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequiredGates {
    /// The global gate that is final now.
    pub global: Digest,
    /// The gate of the label's region that is final now.
    pub region: Digest,
}

impl RequiredLegs {
    /// The receiver's prekey by X25519 and nothing else: a consortium whose gates are off.
    pub const PREKEY: Self = Self { kem: KemId::X25519, gates: None, tenant: None };
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
    /// The keys of a hop in a consortium whose gates are off: [`RequiredLegs::PREKEY`].
    ///
    /// # Errors
    /// As [`Self::from_legs`]; [`Refusal::LegWrong`] with another mechanism or a gate.
    pub fn derive(
        label: &HopLabel,
        opening: &VerifiedOpening,
        exchange: SharedSecret,
        gates: Gates,
    ) -> Result<Self, Refusal> {
        Self::from_legs(label, opening, &Legs { exchange, gates, tenant: None }, RequiredLegs::PREKEY)
    }

    /// mk = LX(BLAKE3(label || what each leg says in public), the legs' secrets one after the other), and the keys
    /// below.
    ///
    /// Whoever lacks one leg's secret knows nothing of mk, if HMAC-SHA256 is a PRF keyed by each of these secrets
    /// while the others are known, as hybrid key exchange in TLS assumes it; a random oracle is one. All that went
    /// over a wire or stands on the ledger is in the salt, so that no leg can be replaced or moved to another hop.
    ///
    /// # Errors
    /// [`Refusal::LegWrong`] for other legs than `required`: too few, too many, or through another gate.
    /// [`Refusal::LabelMismatch`] if the opening is for another region or policy than the label's, the exchange was
    /// between other keys, or a gate's leg was made for another label.
    pub fn from_legs(
        label: &HopLabel,
        opening: &VerifiedOpening,
        legs: &Legs,
        required: RequiredLegs,
    ) -> Result<Self, Refusal> {
        for (matches, field) in [
            (*opening.region() == label.region, "region"),
            (*opening.policy() == label.policy, "policy"),
            (*opening.hash() == label.opening, "opening"),
            (legs.exchange.is_between(&label.prekey, &label.ephemeral), "exchange keys"),
        ] {
            if !matches {
                return Err(Refusal::LabelMismatch { field });
            }
        }
        legs.check(label, required)?;
        let context = label.encode();
        let salt = legs.salt(&context);
        let migration = MigrationKey(*kdf::extract(salt.as_bytes(), &legs.secrets()));
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

#[cfg(test)]
mod legs_tests;
#[cfg(test)]
mod tests {
    use super::*;
    use crate::{policy::JurisdictionPolicy, prekey::ExchangeSecret, tenant::WalletSecret};

    const GATES: Gates = Gates { global: GlobalGate::NotBuilt, region: RegionGate::NotBuilt };

    pub(super) fn region(name: &str) -> RegionId {
        RegionId::try_from(name.to_owned()).expect("a region name")
    }

    pub(super) fn opening(name: &str) -> VerifiedOpening {
        let all = [region("eu"), region("us")].into();
        let policy = JurisdictionPolicy { allowed: [region("eu"), region("us")].into() };
        let tree = policy.tree(&all, &WalletSecret::from_bytes([1; 32])).expect("known regions");
        tree.open(&region(name)).expect("a leaf").verify(&tree.commitment()).expect("allowed")
    }

    pub(super) fn halves() -> (ExchangeSecret, ExchangeSecret) {
        (ExchangeSecret::from_bytes(&[2; 32]), ExchangeSecret::from_bytes(&[3; 32]))
    }

    pub(super) fn label() -> HopLabel {
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

    pub(super) fn exchange() -> SharedSecret {
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
}
