//! The release gate: label-bound threshold encryption.
//!
//! A gate is a public key whose secret half is shared among its members. Anyone encapsulates a secret to it under a
//! label, without asking them. A member who finds the label right releases its part, and any `threshold` parts open the
//! secret. The scheme is TDH2 of Shoup and Gennaro, "Securing Threshold Cryptosystems against Chosen Ciphertext Attack"
//! (Journal of Cryptology 15(2), 2002), over ristretto255 (RFC 9496), used to agree on a key: the paper's
//! `c`, a message under the key, is left out.
//!
//! # What holds, and why
//!
//! With fewer than `threshold` members corrupted, chosen beforehand, who may ask the others for parts of any other
//! ciphertext and label, the secret is indistinguishable from random, if the decisional Diffie-Hellman problem is hard
//! in ristretto255 and SHA-512 and HKDF-SHA256 behave as random oracles. That is the paper's theorem, for a key that a
//! dealer made. Its proof bears these differences:
//! - there is no `c`: a ciphertext is what the paper makes for an empty one, and the key is the pad of its message;
//! - hashes cover the gate besides, so that no proof for one gate serves another, and the whole statement;
//! - a part's nonce is derived from the share and all that its challenge covers, instead of drawn.
//!
//! It does not cover one: the key comes from a distributed key generation ([`dkg`]), which lets liars bias it. That
//! this gives them nothing is argued there, in the algebraic group model, and proved nowhere.
//!
//! A label cannot be changed: it is hashed into the proof without which no honest member releases. A part is proved, so
//! that a false one names its member.
//!
//! # What does not hold
//!
//! - `threshold` members open everything under the gate's key, past ciphertexts included, and nobody notices.
//! - Members who are corrupted while the gate lives, one after the other, are outside of the theorem.
//! - A quantum computer opens everything. The prekey's leg may be hybrid; the gates are not.
//! - Whoever can make a share's owner compute wrongly (by a fault in its processor) learns the share: nonces are
//!   deterministic. That is the price of parts that repeat byte for byte.
//! - Shares, seeds and secrets are wiped where they are kept. Copies that the compiler or a library leaves on the
//!   stack on the way are not.
//!
//! Bytes: `docs/formats/gate.md`. What a gate is for: `docs/concepts/gates.md`.

pub mod dkg;

mod book;
mod ciphertext;
mod group;
mod key;
mod label;
mod opening;
mod partial;
mod proof;
mod release;
mod share;

pub use book::ReleaseBook;
pub use ciphertext::{GateCiphertext, VerifiedCiphertext};
pub use group::{Coefficient, Element, EncodedElement, EncodedNumber, NotCanonical, Number, SecretNumber};
pub use key::{Gate, GateId, GateKind, MEMBERS_MAX, global_threshold, region_threshold};
pub use label::GateLabel;
pub use opening::{GateSecret, Opening};
pub use partial::Partial;
pub use proof::Proof;
pub use release::{Release, ReleaseStatement, ReleaseSubject, SealedRelease, SignedRelease};
pub use share::GateShare;

#[cfg(test)]
mod release_tests;
#[cfg(test)]
mod tests;
