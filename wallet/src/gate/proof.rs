//! Proofs that several elements are the same multiple of several bases, without telling which multiple.
//!
//! Chaum and Pedersen, "Wallet Databases with Observers", CRYPTO '92, made non-interactive as Fiat and Shamir do. Over
//! one base it is Schnorr's proof. The challenge covers the context and the whole statement, bases and images included
//! (Bernhard, Pereira, Warinschi, "How not to Prove Yourself", ASIACRYPT 2012). A proof is (challenge, response), as in
//! Shoup and Gennaro's paper; the verifier computes the commitments.

use curve25519_dalek::{ristretto::RistrettoPoint, scalar::Scalar, traits::VartimeMultiscalarMul as _};
use serde::{Deserialize, Serialize};

use super::group::{Element, Number, SecretNumber};

/// That all images of a statement are the same multiple of their bases. 64 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    challenge: Number,
    response: Number,
}

/// What is proved: each image is the same multiple of its base.
pub(super) struct Statement<'a> {
    /// Separates the kinds of proof.
    pub domain: &'static str,
    /// What the proof is bound to besides.
    pub context: &'a [&'a [u8]],
    /// (base, image).
    pub pairs: &'a [(Element, Element)],
}

impl Statement<'_> {
    /// Proves it with the multiple and a nonce.
    ///
    /// The nonce must be unknown to all others, and must not serve for another challenge: two responses to two
    /// challenges under one nonce give the multiple away.
    pub fn prove(&self, multiple: &SecretNumber, nonce: &SecretNumber) -> Proof {
        let commitments: Vec<_> = self.pairs.iter().map(|(base, _)| nonce.scalar() * base.point()).collect();
        let challenge = self.challenge(&commitments);
        Proof { challenge, response: Number(nonce.scalar() + challenge.0 * multiple.scalar()) }
    }

    /// Whether `proof` proves it.
    pub fn holds(&self, proof: &Proof) -> bool {
        let commitments: Vec<_> = self.pairs.iter().map(|(base, image)| proof.commitment(base, image)).collect();
        self.challenge(&commitments) == proof.challenge
    }

    fn challenge(&self, commitments: &[RistrettoPoint]) -> Number {
        let count = (self.pairs.len() as u64).to_le_bytes();
        let commitments: Vec<_> = commitments.iter().map(|point| point.compress().to_bytes()).collect();
        let mut parts: Vec<&[u8]> = self.context.to_vec();
        parts.push(&count);
        for ((base, image), commitment) in self.pairs.iter().zip(&commitments) {
            parts.extend([base.encode().as_slice(), image.encode(), commitment]);
        }
        Number::hash(self.domain, &parts)
    }
}

impl Proof {
    /// response * base - challenge * image. Nothing here is secret.
    fn commitment(&self, base: &Element, image: &Element) -> RistrettoPoint {
        let numbers: [Scalar; 2] = [self.response.0, -self.challenge.0];
        RistrettoPoint::vartime_multiscalar_mul(numbers, [base.point(), image.point()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(byte: u8) -> SecretNumber {
        SecretNumber::decode(&{
            let mut bytes = [0; 32];
            bytes[0] = byte;
            bytes
        })
        .expect("small")
    }

    #[test]
    fn a_proof_holds_for_its_statement_alone() {
        let bases = [Element::generator(), Element::hash("test", b"other base")];
        let pairs = bases.map(|base| (base, number(5).times(&base).expect("no identity")));
        let context: [&[u8]; 1] = [b"context"];
        let statement = Statement { domain: "test", context: &context, pairs: &pairs };
        let proof = statement.prove(&number(5), &number(9));
        assert!(statement.holds(&proof));
        assert!(!Statement { domain: "test", context: &[b"other"], pairs: &pairs }.holds(&proof));
        assert!(!Statement { domain: "other", context: &context, pairs: &pairs }.holds(&proof));
        assert!(!Statement { domain: "test", context: &context, pairs: &pairs[..1] }.holds(&proof));
        let unequal = [pairs[0], (bases[1], number(6).times(&bases[1]).expect("no identity"))];
        let lie = Statement { domain: "test", context: &context, pairs: &unequal };
        assert!(!lie.holds(&proof));
        assert!(!lie.holds(&lie.prove(&number(5), &number(9))), "no multiple proves a false statement");
    }
}
