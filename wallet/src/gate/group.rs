//! The group: ristretto255 (RFC 9496), with one encoding for each element and each number.
//!
//! Written additively, as curve25519-dalek does: what papers write as a power is a multiple here.

use std::fmt;

use curve25519_dalek::{
    constants::RISTRETTO_BASEPOINT_POINT,
    ristretto::{CompressedRistretto, RistrettoPoint},
    scalar::Scalar,
    traits::Identity as _,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha512};
use zeroize::{Zeroize, Zeroizing};

use crate::{
    digest::{hex_newtype, to_hex},
    entropy::{Entropy, draw},
};

/// 32 bytes that may encode an element. Nothing is known about them.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EncodedElement(pub [u8; 32]);
hex_newtype!(EncodedElement);

/// 32 bytes that may encode a number below the group's order.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EncodedNumber(pub [u8; 32]);
hex_newtype!(EncodedNumber);

/// An element that is not the identity. Its only encoding is that of RFC 9496, section 4.3.2.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(try_from = "EncodedElement", into = "EncodedElement")]
pub struct Element {
    point: RistrettoPoint,
    encoded: EncodedElement,
}

/// An element, or the identity: a coefficient that may have cancelled out in a sum. 32 zeros encode the identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Coefficient(Option<Element>);

/// A public number modulo the group's order, in its least form, the lowest byte first.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "EncodedNumber", into = "EncodedNumber")]
pub struct Number(pub(super) Scalar);

/// A secret number. Wiped on drop, never printed.
#[derive(Clone)]
pub struct SecretNumber(Zeroizing<Scalar>);

/// Bytes that encode no element or number that is allowed here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the canonical encoding of {expected}")]
pub struct NotCanonical {
    expected: &'static str,
}

impl Element {
    /// The generator of RFC 9496.
    pub fn generator() -> Self {
        Self::from_point(RISTRETTO_BASEPOINT_POINT).expect("the base point is not the identity")
    }

    /// The element of these bytes.
    ///
    /// # Errors
    /// [`NotCanonical`] for any other spelling, bytes that are no element, and the identity.
    pub fn decode(encoded: &EncodedElement) -> Result<Self, NotCanonical> {
        let point = CompressedRistretto(encoded.0).decompress();
        point
            .filter(|point| *point != RistrettoPoint::identity())
            .map(|point| Self { point, encoded: *encoded })
            .ok_or(NotCanonical { expected: "a group element that is not the identity" })
    }

    /// The element of a point, unless it is the identity.
    pub(super) fn from_point(point: RistrettoPoint) -> Option<Self> {
        let encoded = EncodedElement(point.compress().to_bytes());
        (point != RistrettoPoint::identity()).then_some(Self { point, encoded })
    }

    /// Its 32 bytes.
    pub const fn encode(&self) -> &[u8; 32] {
        &self.encoded.0
    }

    pub(super) const fn point(&self) -> &RistrettoPoint {
        &self.point
    }

    /// hash_to_ristretto255 of RFC 9380, appendix B, with expand_message_xmd over SHA-512: nobody knows how the result
    /// relates to any other element.
    ///
    /// # Panics
    /// If `domain` is longer than 255 bytes.
    pub fn hash(domain: &str, message: &[u8]) -> Self {
        const BLOCK: [u8; 128] = [0; 128];
        let length = u8::try_from(domain.len()).expect("domains are short");
        let after = |hash: Sha512| hash.chain_update(domain).chain_update([length]).finalize();
        let first = Sha512::new().chain_update(BLOCK).chain_update(message).chain_update(64_u16.to_be_bytes());
        let first = after(first.chain_update([0]));
        let uniform = after(Sha512::new().chain_update(first).chain_update([1]));
        Self::from_point(RistrettoPoint::from_uniform_bytes(&uniform.into()))
            .expect("a hash is the identity for no input that anyone could find")
    }
}

impl Coefficient {
    /// The coefficient of these bytes.
    ///
    /// # Errors
    /// [`NotCanonical`] for any other spelling, and bytes that are no element.
    pub fn decode(encoded: &EncodedElement) -> Result<Self, NotCanonical> {
        if *encoded == EncodedElement::default() { Ok(Self(None)) } else { Element::decode(encoded).map(Self::from) }
    }

    /// The element, unless it is the identity.
    pub const fn element(&self) -> Option<Element> {
        self.0
    }

    /// The sum of both.
    pub(super) fn plus(&self, more: &Element) -> Self {
        Self(Element::from_point(self.point() + more.point()))
    }

    pub(super) fn point(&self) -> RistrettoPoint {
        self.0.map_or_else(RistrettoPoint::identity, |element| element.point)
    }
}

impl Number {
    /// SHA-512 over `domain` and `parts`, each with its length before it, modulo the group's order.
    pub(super) fn hash(domain: &str, parts: &[&[u8]]) -> Self {
        Self(wide(domain, parts))
    }

    /// Its 32 bytes.
    pub const fn encode(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }
}

impl SecretNumber {
    /// A fresh one.
    pub fn draw(entropy: &mut dyn Entropy) -> Self {
        let wide = Zeroizing::new(draw::<64>(entropy));
        Self(Zeroizing::new(Scalar::from_bytes_mod_order_wide(&wide)))
    }

    /// As [`Number::hash`], of parts of which one is secret.
    pub(super) fn hash(domain: &str, parts: &[&[u8]]) -> Self {
        Self(Zeroizing::new(wide(domain, parts)))
    }

    /// The number of these bytes, as a sealed file kept them.
    ///
    /// # Errors
    /// [`NotCanonical`] for numbers not below the group's order.
    pub fn decode(bytes: &[u8; 32]) -> Result<Self, NotCanonical> {
        let scalar: Option<Scalar> = Scalar::from_canonical_bytes(*bytes).into();
        scalar.map(|scalar| Self(Zeroizing::new(scalar))).ok_or(NotCanonical { expected: "a number" })
    }

    /// The bytes, to be sealed. They are neither printed nor logged.
    pub fn expose(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    pub(super) fn scalar(&self) -> &Scalar {
        &self.0
    }

    /// The number times `base`, unless that is the identity.
    pub(super) fn times(&self, base: &Element) -> Option<Element> {
        Element::from_point(*self.0 * base.point)
    }
}

fn wide(domain: &str, parts: &[&[u8]]) -> Scalar {
    let mut hash = Sha512::new();
    for part in std::iter::once(&domain.as_bytes()).chain(parts) {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    let mut bytes = Zeroizing::new([0; 64]);
    bytes.copy_from_slice(&hash.finalize());
    Scalar::from_bytes_mod_order_wide(&bytes)
}

impl TryFrom<EncodedElement> for Element {
    type Error = NotCanonical;
    fn try_from(encoded: EncodedElement) -> Result<Self, NotCanonical> {
        Self::decode(&encoded)
    }
}

impl From<Element> for EncodedElement {
    fn from(element: Element) -> Self {
        element.encoded
    }
}

impl From<Element> for Coefficient {
    fn from(element: Element) -> Self {
        Self(Some(element))
    }
}

impl From<Coefficient> for EncodedElement {
    fn from(coefficient: Coefficient) -> Self {
        coefficient.0.map_or_else(Self::default, Self::from)
    }
}

impl TryFrom<EncodedNumber> for Number {
    type Error = NotCanonical;
    fn try_from(encoded: EncodedNumber) -> Result<Self, NotCanonical> {
        let scalar: Option<Scalar> = Scalar::from_canonical_bytes(encoded.0).into();
        scalar.map(Self).ok_or(NotCanonical { expected: "a number" })
    }
}

impl From<Number> for EncodedNumber {
    fn from(number: Number) -> Self {
        Self(number.0.to_bytes())
    }
}

/// For the few elements that are secret. It wipes this copy; an element is copied freely.
impl Zeroize for Element {
    fn zeroize(&mut self) {
        self.point.zeroize();
        self.encoded.0.zeroize();
    }
}

impl PartialEq for Element {
    fn eq(&self, other: &Self) -> bool {
        self.encoded == other.encoded
    }
}

impl Eq for Element {}

impl fmt::Debug for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&to_hex(self.encode()))
    }
}

impl fmt::Debug for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&to_hex(self.encode()))
    }
}

impl fmt::Debug for SecretNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretNumber(redacted)")
    }
}
