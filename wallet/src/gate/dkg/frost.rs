//! The one place that knows `frost-ristretto255`. Only bytes pass: it stands on the generation of curve25519-dalek
//! before ours.

use std::collections::BTreeMap;

use ::frost_ristretto255::{
    Ciphersuite as _, Error, Identifier, Ristretto255Sha512, Signature,
    keys::{
        SigningShare, VerifiableSecretSharingCommitment,
        dkg::{self, round1, round2},
    },
    rand_core::{CryptoRng, Error as RngError, RngCore},
};
use zeroize::Zeroizing;

use crate::{
    gate::{Element, EncodedElement, EncodedNumber, Number, SecretNumber, key::place},
    units::NodeId,
};

/// What a member keeps from its first round to its second.
pub(super) type FirstSecret = round1::SecretPackage;
/// What a member keeps from its second round to the end.
pub(super) type SecondSecret = round2::SecretPackage;

/// A polynomial's commitments and the proof that its maker knows the number behind the first: R and mu of FROST.
#[derive(Clone)]
pub(super) struct Commitments<'a> {
    pub polynomial: &'a [Element],
    pub commitment: Element,
    pub response: Number,
}

/// The first round: a secret polynomial, and what all may see of it.
pub(super) fn begin(
    node: NodeId,
    members: usize,
    threshold: usize,
    stream: &mut ::blake3::OutputReader,
) -> (FirstSecret, Vec<Element>, Element, Number) {
    let count = |number| u16::try_from(number).expect("at most 256 members");
    let (secret, package) = dkg::part1(identifier(node), count(members), count(threshold), Stream(stream))
        .expect("a ceremony has 2 or more members and a threshold of 2 or more");
    let coefficients = package.commitment().serialize().expect("coefficients are drawn at random, so none is 0");
    let polynomial = coefficients.iter().map(|bytes| element(bytes)).collect();
    let proof = package.proof_of_knowledge().serialize().expect("the nonce is drawn at random");
    (secret, polynomial, element(&proof[..32]), number(&proof[32..]))
}

/// Whether the proof of knowledge holds, as FROST checks it.
pub(super) fn proof_holds(node: NodeId, of: &Commitments<'_>) -> bool {
    let identifier = place(node).to_bytes();
    let statement = [identifier, *of.polynomial[0].encode(), *of.commitment.encode()].concat();
    let Some(challenge) = Ristretto255Sha512::HDKG(&statement) else { return false };
    let challenge = number(&challenge.to_bytes());
    let expected = of.response.0 * Element::generator().point() - challenge.0 * of.polynomial[0].point();
    Element::from_point(expected) == Some(of.commitment)
}

/// The second round: a share for each other member. `others` are their contributions, each of them checked.
pub(super) fn share(
    secret: FirstSecret,
    others: &BTreeMap<NodeId, Commitments<'_>>,
) -> Result<(SecondSecret, BTreeMap<NodeId, SecretNumber>), Error> {
    let names: BTreeMap<_, _> = others.keys().map(|node| (identifier(*node), *node)).collect();
    let (secret, packages) = dkg::part2(secret, &packages(others)?)?;
    let share = |package: &round2::Package| secret_number(&Zeroizing::new(package.signing_share().serialize()));
    Ok((secret, packages.iter().map(|(identifier, package)| (names[identifier], share(package))).collect()))
}

/// The end: this member's share of the gate. `shares` are what it was sent, each of them checked.
pub(super) fn finish(
    secret: &SecondSecret,
    others: &BTreeMap<NodeId, Commitments<'_>>,
    shares: &BTreeMap<NodeId, SecretNumber>,
) -> Result<SecretNumber, Error> {
    let share = |number: &SecretNumber| SigningShare::deserialize(number.expose()).map(round2::Package::new);
    let shares: Result<_, Error> =
        shares.iter().map(|(node, number)| Ok((identifier(*node), share(number)?))).collect();
    let (key, _) = dkg::part3(secret, &packages(others)?, &shares?)?;
    Ok(secret_number(&Zeroizing::new(key.signing_share().serialize())))
}

fn packages(others: &BTreeMap<NodeId, Commitments<'_>>) -> Result<BTreeMap<Identifier, round1::Package>, Error> {
    let package = |of: &Commitments<'_>| -> Result<round1::Package, Error> {
        let coefficients = of.polynomial.iter().map(Element::encode);
        let proof = [*of.commitment.encode(), *of.response.encode()].concat();
        let commitment = VerifiableSecretSharingCommitment::deserialize(coefficients)?;
        Ok(round1::Package::new(commitment, Signature::deserialize(&proof)?))
    };
    others.iter().map(|(node, of)| Ok((identifier(*node), package(of)?))).collect()
}

fn identifier(node: NodeId) -> Identifier {
    Identifier::deserialize(&place(node).to_bytes()).expect("a place is not 0")
}

fn element(bytes: &[u8]) -> Element {
    let bytes = bytes.try_into().expect("frost writes elements in 32 bytes");
    Element::decode(&EncodedElement(bytes)).expect("frost writes elements as RFC 9496 says, and no identity")
}

fn number(bytes: &[u8]) -> Number {
    let bytes = bytes.try_into().expect("frost writes numbers in 32 bytes");
    Number::try_from(EncodedNumber(bytes)).expect("frost writes numbers in their least form")
}

fn secret_number(bytes: &[u8]) -> SecretNumber {
    let bytes = Zeroizing::new(<[u8; 32]>::try_from(bytes).expect("frost writes numbers in 32 bytes"));
    SecretNumber::decode(&bytes).expect("frost writes numbers in their least form")
}

/// Random bytes for frost: a stream below the ceremony's seed.
struct Stream<'a>(&'a mut ::blake3::OutputReader);

impl RngCore for Stream<'_> {
    fn next_u32(&mut self) -> u32 {
        let mut bytes = [0; 4];
        self.0.fill(&mut bytes);
        u32::from_le_bytes(bytes)
    }

    fn next_u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        self.0.fill(bytes);
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), RngError> {
        self.0.fill(bytes);
        Ok(())
    }
}

/// Keyed BLAKE3 with a secret key is a random stream for whoever does not know it.
impl CryptoRng for Stream<'_> {}
