//! The legs of a hop's key: what each contributes in public and in secret, and that they belong to this hop.

use zeroize::Zeroizing;

use super::{GlobalGate, HopLabel, Legs, RegionGate, RequiredLegs};
use crate::{
    codec::encode,
    digest::Digest,
    entropy::Entropy,
    gate::{Gate, GateCiphertext, GateLabel, GateSecret, Opening},
    kdf::push_prefixed,
    kem::KemId,
    refusal::Refusal,
};

/// One gate's leg: a ciphertext under the hop's label, and the secret in it.
#[derive(Clone, Debug)]
pub struct GateLeg {
    gate: Digest,
    label: GateLabel,
    ciphertext: GateCiphertext,
    secret: GateSecret,
}

impl GateLeg {
    /// The source's side: a fresh secret to this gate under the hop's label. The gate is not asked.
    pub fn encapsulate(gate: &Gate, label: &HopLabel, entropy: &mut dyn Entropy) -> Self {
        let label = GateLabel::hop(label);
        let (ciphertext, secret) = gate.encapsulate(&label, entropy);
        Self { gate: *gate.hash(), label, ciphertext, secret }
    }

    /// The receiver's side: from what the gate's members released.
    ///
    /// # Errors
    /// [`Refusal::ReleasesMissing`].
    pub fn open(opening: &Opening<'_>) -> Result<Self, Refusal> {
        let (of, secret) = (opening.ciphertext(), opening.secret()?);
        Ok(Self { gate: *of.gate().hash(), label: *of.label(), ciphertext: *of.ciphertext(), secret })
    }

    /// What stands in the offer.
    pub const fn ciphertext(&self) -> &GateCiphertext {
        &self.ciphertext
    }

    /// The gate and the ciphertext: what it contributes to the salt.
    fn public(&self) -> Vec<u8> {
        encode(&(self.gate, self.ciphertext))
    }
}

impl Legs {
    /// Checks that these are the legs that the hop must have, each made for its label.
    pub(super) fn check(&self, label: &HopLabel, required: RequiredLegs) -> Result<(), Refusal> {
        if self.exchange.kem() != required.kem {
            return Err(Refusal::LegWrong { leg: "prekey" });
        }
        let gates = required.gates;
        let ours = GateLabel::hop(label);
        for (leg, gate, name) in [
            (self.global(), gates.map(|gates| gates.global), "global gate"),
            (self.region(), gates.map(|gates| gates.region), "region gate"),
            (self.tenant.as_deref(), required.tenant, "tenant's gate"),
        ] {
            if leg.map(|leg| leg.gate) != gate {
                return Err(Refusal::LegWrong { leg: name });
            }
            if leg.is_some_and(|leg| leg.label != ours) {
                return Err(Refusal::LabelMismatch { field: name });
            }
        }
        Ok(())
    }

    /// BLAKE3(lp(label) || lp(global) || lp(region) [|| lp(tenant)] [|| lp("kem: X-Wing")]). What is in brackets is
    /// there if the leg is, so that a consortium without it has the salt that it had before there was one.
    pub(super) fn salt(&self, label: &[u8]) -> Digest {
        let mut transcript = Vec::new();
        push_prefixed(&mut transcript, label);
        let global = self.global().map_or_else(|| b"global gate: not built".to_vec(), GateLeg::public);
        push_prefixed(&mut transcript, &global);
        let region = self.region().map_or_else(|| b"region gate: not built".to_vec(), GateLeg::public);
        push_prefixed(&mut transcript, &region);
        if let Some(tenant) = &self.tenant {
            push_prefixed(&mut transcript, &tenant.public());
        }
        match self.exchange.kem() {
            KemId::X25519 => {}
            KemId::XWing => push_prefixed(&mut transcript, b"kem: X-Wing"),
        }
        Digest(::blake3::hash(&transcript).into())
    }

    /// The secrets, 32 bytes each: global gate, region gate, prekey, tenant. The salt says which are there.
    pub(super) fn secrets(&self) -> Zeroizing<Vec<u8>> {
        let gate = |leg: Option<&GateLeg>| leg.map(|leg| *leg.secret.expose());
        let parts =
            [gate(self.global()), gate(self.region()), Some(*self.exchange.expose()), gate(self.tenant.as_deref())]
                .map(Zeroizing::new);
        // Large enough from the start: a vector that grows leaves copies behind.
        let mut secrets = Zeroizing::new(Vec::with_capacity(4 * 32));
        parts.iter().for_each(|part| part.iter().for_each(|secret| secrets.extend_from_slice(secret)));
        secrets
    }

    fn global(&self) -> Option<&GateLeg> {
        match &self.gates.global {
            GlobalGate::NotBuilt => None,
            GlobalGate::On(leg) => Some(leg),
        }
    }

    fn region(&self) -> Option<&GateLeg> {
        match &self.gates.region {
            RegionGate::NotBuilt => None,
            RegionGate::On(leg) => Some(leg),
        }
    }
}
