//! A gate's public side: who its members are, how many must release, and under which key.

use curve25519_dalek::{ristretto::RistrettoPoint, scalar::Scalar, traits::Identity as _};
use serde::{Deserialize, Serialize};

use super::{
    group::{Coefficient, Element, EncodedElement, SecretNumber},
    proof::{Proof, Statement},
    share::GateShare,
};
use crate::{
    codec::encode,
    digest::{Digest, sha256},
    grant::WalletAddress,
    identity::RegionId,
    refusal::Refusal,
    units::{GateEpoch, NodeId},
};

const GATE_DOMAIN: &str = "batchmind/v1/wallet/gate";
const POSSESSION_DOMAIN: &str = "batchmind/v1/wallet/gate/possession";
const POSSESSION_NONCE_DOMAIN: &str = "batchmind/v1/wallet/gate/possession-nonce";

/// The most members that a gate has: as many as a consortium.
pub const MEMBERS_MAX: usize = 256;

/// How many members open the global gate of a consortium of that many `validators`: floor((validators + f) / 2) + 1
/// with f = floor((validators - 1) / 3), so that any two such sets share an honest one, however many took part in the
/// key generation, and also if they open through gates of two epochs.
pub const fn global_threshold(validators: usize) -> usize {
    (validators + validators.saturating_sub(1) / 3) / 2 + 1
}

/// How many members open the gate of a region of that many `operators`: floor(operators / 2) + 1, more than half of
/// all, however many took part in the key generation.
pub const fn region_threshold(operators: usize) -> usize {
    operators / 2 + 1
}

/// What a gate guards.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum GateKind {
    /// Every move. Its members are validators.
    Global {
        /// How many validators the consortium has, those included who are not members.
        validators: u32,
    },
    /// Moves into one region. Its members are nodes of the region's operators, one of each.
    Region {
        /// The region.
        region: RegionId,
        /// How many operators it has, those included who are not members.
        operators: u32,
    },
    /// Moves of one wallet, if its tenant wants to release each one itself. The tenant is member 0, the only one.
    Tenant(WalletAddress),
    /// What one member of a key generation is sent in it. That member is the only one.
    Package {
        /// The key generation.
        ceremony: Digest,
    },
}

/// Which gate it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GateId {
    /// Hash of the genesis document.
    pub consortium: Digest,
    /// What it guards.
    pub kind: GateKind,
    /// How often its key was made anew.
    pub epoch: GateEpoch,
}

/// A gate's public side.
///
/// Its key is the value at 0 of a secret polynomial of degree threshold - 1, and member i's share the value at i + 1.
/// What stands here are the multiples of the generator by its coefficients: the key is the first, and every member's
/// verification share follows, so that they cannot contradict each other. The key is not the identity; the others may
/// be, since whoever contributes last to a key generation can have them cancel out. The threshold stays what it is:
/// as many parts are combined, whichever coefficients the polynomial has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "EncodedGate", into = "EncodedGate")]
pub struct Gate {
    id: GateId,
    members: Vec<NodeId>,
    key: Element,
    polynomial: Vec<Coefficient>,
    possession: Option<Proof>,
    hash: Digest,
}

/// The encoding of a [`Gate`]. Elements are decoded only once it is known how many there may be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct EncodedGate {
    id: GateId,
    members: Vec<NodeId>,
    polynomial: Vec<EncodedElement>,
    possession: Option<Proof>,
}

impl GateKind {
    /// How many of so many members must release.
    ///
    /// # Errors
    /// [`Refusal::GateInvalid`] if a gate of this kind has fewer or more members than that.
    pub fn threshold(&self, members: usize) -> Result<usize, Refusal> {
        let all = match self {
            Self::Global { validators } => *validators as usize,
            Self::Region { operators, .. } => *operators as usize,
            Self::Tenant(_) | Self::Package { .. } => 1,
        };
        let threshold = match self {
            Self::Global { .. } => global_threshold(all),
            Self::Region { .. } => region_threshold(all),
            Self::Tenant(_) | Self::Package { .. } => 1,
        };
        if members > all.min(MEMBERS_MAX) {
            return Err(Refusal::GateInvalid { reason: "it has more members than there may be" });
        }
        if threshold > members {
            return Err(Refusal::GateInvalid { reason: "it has fewer members than must release" });
        }
        Ok(threshold)
    }
}

impl Gate {
    /// A gate of several members, from what their key generation gave.
    ///
    /// # Errors
    /// [`Refusal::GateInvalid`]: members not ascending, too many or fewer than two, another threshold than this kind
    /// has, or a key that is the identity.
    pub fn shared(id: GateId, members: Vec<NodeId>, polynomial: Vec<Coefficient>) -> Result<Self, Refusal> {
        Self::new(id, members, polynomial, None)
    }

    /// A gate of one member with a plain key, and that member's share.
    ///
    /// FROST needs two, so a region or a consortium of one operator has this. Its key carries a proof that its maker
    /// knows the secret half: no key can be made from the keys of others.
    ///
    /// # Errors
    /// [`Refusal::GateInvalid`] if the number is 0.
    pub fn single(id: GateId, member: NodeId, secret: SecretNumber) -> Result<(Self, GateShare), Refusal> {
        let zero = || Refusal::GateInvalid { reason: "the key is the identity" };
        let key = secret.times(&Element::generator()).ok_or_else(zero)?;
        let context = encode(&(&id, member));
        let nonce = SecretNumber::hash(POSSESSION_NONCE_DOMAIN, &[secret.expose(), &context]);
        let proof = possession(&context, key, |statement| statement.prove(&secret, &nonce));
        let gate = Self::new(id, vec![member], vec![key.into()], Some(proof))?;
        let share = GateShare::new(&gate, member, secret)?;
        Ok((gate, share))
    }

    fn new(
        id: GateId,
        members: Vec<NodeId>,
        polynomial: Vec<Coefficient>,
        proof: Option<Proof>,
    ) -> Result<Self, Refusal> {
        let invalid = |reason| Err(Refusal::GateInvalid { reason });
        if !members.is_sorted_by(|one, next| one < next) {
            return invalid("members are not in ascending order");
        }
        let n = members.len();
        if matches!(id.kind, GateKind::Tenant(_)) && members != [NodeId::ZERO] {
            return invalid("a tenant's gate has member 0 alone");
        }
        if polynomial.len() != id.kind.threshold(n)? {
            return invalid("its polynomial has another degree than its threshold says");
        }
        let Some(key) = polynomial.first().and_then(Coefficient::element) else {
            return invalid("the key is the identity");
        };
        match (n, &proof) {
            (1, Some(proof)) => {
                let context = encode(&(&id, members[0]));
                if !possession(&context, key, |statement| statement.holds(proof)) {
                    return invalid("the proof of possession does not hold");
                }
            }
            (1, None) => return invalid("a plain key carries a proof of possession"),
            (_, Some(_)) => return invalid("a shared key carries no proof of possession"),
            (_, None) => {}
        }
        let mut gate = Self { id, members, key, polynomial, possession: proof, hash: Digest::ZERO };
        gate.hash = sha256(GATE_DOMAIN, &[&encode(&gate)]);
        Ok(gate)
    }

    /// Which gate it is.
    pub const fn id(&self) -> &GateId {
        &self.id
    }

    /// Its members, ascending.
    pub fn members(&self) -> &[NodeId] {
        &self.members
    }

    /// How many of them must release.
    pub fn threshold(&self) -> usize {
        self.polynomial.len()
    }

    /// The key to which secrets are encapsulated.
    pub const fn key(&self) -> &Element {
        &self.key
    }

    /// SHA-256 of the gate's encoding. All that is made for a gate is bound to it.
    pub const fn hash(&self) -> &Digest {
        &self.hash
    }

    /// The generator times `member`'s share.
    ///
    /// # Errors
    /// [`Refusal::NotMember`]. [`Refusal::GateInvalid`] if the share is 0, which no honest key generation brings about.
    pub fn verification_share(&self, member: NodeId) -> Result<Element, Refusal> {
        if self.members.binary_search(&member).is_err() {
            return Err(Refusal::NotMember { node: member });
        }
        evaluate(self.polynomial.iter().map(Coefficient::point), member)
            .ok_or(Refusal::GateInvalid { reason: "a member's share is 0" })
    }
}

/// Where the polynomial has `member`'s share. 0 is the key itself, so the first member is at 1.
pub(super) fn place(member: NodeId) -> Scalar {
    Scalar::from(position(member))
}

fn position(member: NodeId) -> u64 {
    u64::from(member.get()) + 1
}

/// The value at `member`'s place of the polynomial with these coefficients, unless it is the identity. Horner's rule.
pub(super) fn evaluate(
    coefficients: impl DoubleEndedIterator<Item = RistrettoPoint>,
    member: NodeId,
) -> Option<Element> {
    let add = |sum, coefficient| small_multiple(sum, position(member)) + coefficient;
    Element::from_point(coefficients.rfold(RistrettoPoint::identity(), add))
}

/// `number` times a point, both public: faster for small numbers than a multiplication in constant time.
fn small_multiple(point: RistrettoPoint, number: u64) -> RistrettoPoint {
    let mut sum = RistrettoPoint::identity();
    for bit in (0..u64::BITS - number.leading_zeros()).rev() {
        sum += sum;
        if number >> bit & 1 == 1 {
            sum += point;
        }
    }
    sum
}

/// That whoever made the key knows its secret half. `context` names the gate and its member.
fn possession<T>(context: &[u8], key: Element, act: impl FnOnce(&Statement<'_>) -> T) -> T {
    act(&Statement { domain: POSSESSION_DOMAIN, context: &[context], pairs: &[(Element::generator(), key)] })
}

impl TryFrom<EncodedGate> for Gate {
    type Error = String;
    fn try_from(parts: EncodedGate) -> Result<Self, String> {
        if parts.polynomial.len() > parts.members.len() || parts.members.len() > MEMBERS_MAX {
            return Err("a gate has at most 256 members, and no more coefficients than members".to_owned());
        }
        let polynomial: Result<_, _> = parts.polynomial.iter().map(Coefficient::decode).collect();
        let polynomial = polynomial.map_err(|error| error.to_string())?;
        Self::new(parts.id, parts.members, polynomial, parts.possession).map_err(|refusal| refusal.to_string())
    }
}

impl From<Gate> for EncodedGate {
    fn from(gate: Gate) -> Self {
        let polynomial = gate.polynomial.into_iter().map(EncodedElement::from).collect();
        Self { id: gate.id, members: gate.members, polynomial, possession: gate.possession }
    }
}
