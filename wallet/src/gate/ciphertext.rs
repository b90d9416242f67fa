//! Encapsulation: a secret to a gate under a label, and the proof that its maker knew it.

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{
    group::{Element, SecretNumber},
    key::Gate,
    label::GateLabel,
    opening::GateSecret,
    proof::{Proof, Statement},
};
use crate::{
    codec::encode,
    digest::sha256,
    entropy::{Entropy, draw},
    kdf,
    refusal::Refusal,
};

const PROOF_DOMAIN: &str = "batchmind/v1/wallet/gate/encapsulation";
const GENERATOR_DOMAIN: &str = "batchmind/v1/wallet/gate/second-generator";
const NUMBER_DOMAIN: &str = "batchmind/v1/wallet/gate/encapsulation-number";
const NONCE_DOMAIN: &str = "batchmind/v1/wallet/gate/encapsulation-nonce";
const KEY_DOMAIN: &str = "batchmind/v1/wallet/gate/key";

/// A secret to a gate: u, ubar, e, f of the paper. 128 bytes.
///
/// u = r G and ubar = r Gbar with the proof that both have the same r, bound to gate and label. By the proof its maker
/// knows r, so that nobody learns anything by having it opened; by the label nobody has another's opened as his own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateCiphertext {
    pub(super) u: Element,
    ubar: Element,
    proof: Proof,
}

/// A ciphertext whose proof holds for its gate and label. Made by [`Gate::verify`] alone, and nothing is released
/// without one.
///
/// ```compile_fail,E0451
/// # use wallet::gate::{Gate, GateCiphertext, GateLabel, VerifiedCiphertext};
/// fn forge(gate: &Gate, label: GateLabel, ciphertext: GateCiphertext) -> VerifiedCiphertext<'_> {
///     VerifiedCiphertext { gate, label, ciphertext } // the fields are private
/// }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct VerifiedCiphertext<'a> {
    gate: &'a Gate,
    label: GateLabel,
    ciphertext: GateCiphertext,
}

impl Gate {
    /// Encapsulates a fresh secret to this gate under `label`.
    pub fn encapsulate(&self, label: &GateLabel, entropy: &mut dyn Entropy) -> (GateCiphertext, GateSecret) {
        self.encapsulate_from(label, &Zeroizing::new(draw(entropy)))
    }

    /// As [`Self::encapsulate`], from a seed. One seed serves one gate and label: then r and the proof's nonce are
    /// independent of each other and of all others, for whoever does not know the seed.
    pub(super) fn encapsulate_from(&self, label: &GateLabel, seed: &[u8; 32]) -> (GateCiphertext, GateSecret) {
        let parts: [&[u8]; 3] = [seed, self.hash().as_bytes(), label.digest().as_bytes()];
        let r = SecretNumber::hash(NUMBER_DOMAIN, &parts);
        let nonce = SecretNumber::hash(NONCE_DOMAIN, &parts);
        let times = |base: &Element| r.times(base).expect("a hash is 0 for no seed that anyone could find");
        let (u, ubar) = (times(&Element::generator()), times(&second_generator()));
        let proof = self.proved(label, u, ubar, |statement| statement.prove(&r, &nonce));
        let ciphertext = GateCiphertext { u, ubar, proof };
        let shared = Zeroizing::new(times(self.key()));
        let secret = self.secret(label, &ciphertext, &shared);
        (ciphertext, secret)
    }

    /// Checks that `ciphertext` was made for this gate under `label` by somebody who knew its secret.
    ///
    /// # Errors
    /// [`Refusal::CiphertextInvalid`].
    pub fn verify(&self, label: &GateLabel, ciphertext: &GateCiphertext) -> Result<VerifiedCiphertext<'_>, Refusal> {
        let GateCiphertext { u, ubar, proof } = ciphertext;
        if !self.proved(label, *u, *ubar, |statement| statement.holds(proof)) {
            return Err(Refusal::CiphertextInvalid);
        }
        Ok(VerifiedCiphertext { gate: self, label: *label, ciphertext: *ciphertext })
    }

    fn proved<T>(&self, label: &GateLabel, u: Element, ubar: Element, act: impl FnOnce(&Statement<'_>) -> T) -> T {
        let context: [&[u8]; 2] = [self.hash().as_bytes(), label.digest().as_bytes()];
        let pairs = [(Element::generator(), u), (second_generator(), ubar)];
        act(&Statement { domain: PROOF_DOMAIN, context: &context, pairs: &pairs })
    }

    /// The secret of a ciphertext, from r times the gate's key.
    pub(super) fn secret(&self, label: &GateLabel, ciphertext: &GateCiphertext, shared: &Element) -> GateSecret {
        let parts: [&[u8]; 3] = [self.hash().as_bytes(), label.digest().as_bytes(), &encode(ciphertext)];
        let salt = sha256(KEY_DOMAIN, &parts);
        GateSecret::from_bytes(*kdf::extract(salt.as_bytes(), shared.encode()))
    }
}

impl<'a> VerifiedCiphertext<'a> {
    /// The gate.
    pub const fn gate(&self) -> &'a Gate {
        self.gate
    }

    /// The label under which it was verified.
    pub const fn label(&self) -> &GateLabel {
        &self.label
    }

    /// The ciphertext.
    pub const fn ciphertext(&self) -> &GateCiphertext {
        &self.ciphertext
    }
}

/// Gbar of the paper: a second generator, whose multiple of the first nobody knows.
fn second_generator() -> Element {
    static GENERATOR: std::sync::LazyLock<Element> = std::sync::LazyLock::new(|| Element::hash(GENERATOR_DOMAIN, b""));
    *GENERATOR
}
