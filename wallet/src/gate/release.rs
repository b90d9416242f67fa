//! A release on its way: a member's part with its word for what it is about, sealed to the receiver's prekey.
//!
//! The signed word names wallet, head, gate and label, and the part by its hash. So two words of one member at one head
//! are evidence that shows no part, and a false part can be held against its member's word by everybody. The sealed
//! bytes repeat: what the seal draws follows from the share.

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{ciphertext::VerifiedCiphertext, label::GateLabel, partial::Partial, share::GateShare};
use crate::{
    aead,
    codec::{self, encode},
    digest::{Digest, sha256},
    grant::WalletAddress,
    identity::{PublicKey, SecretKey, Signature, context},
    kdf,
    kem::{KemId, KemSecret},
    prekey::SharedSecret,
    refusal::Refusal,
    units::NodeId,
};

const PART_DOMAIN: &str = "batchmind/v1/wallet/gate/part";

/// What a member says that it released. Small enough for a ledger's entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseStatement {
    /// The member.
    pub node: NodeId,
    /// The wallet.
    pub wallet: WalletAddress,
    /// The wallet's head that allowed it: for a hop its acceptance, for `unlock` its touch.
    pub head: Digest,
    /// [`super::Gate::hash`].
    pub gate: Digest,
    /// The ciphertext's label.
    pub label: GateLabel,
    /// SHA-256 of the part.
    pub part: Digest,
}

/// A statement under the member's node key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedRelease {
    /// What was released.
    pub statement: ReleaseStatement,
    /// By the member's node key.
    pub signature: Signature,
}

/// A release with its part, as its receiver opens it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// The member's word.
    pub signed: SignedRelease,
    /// The part.
    pub partial: Partial,
}

/// A release as it travels: nobody but the prekey's owner opens it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedRelease {
    /// To the prekey.
    #[serde(with = "codec::bytes")]
    encapsulation: Vec<u8>,
    /// The release, under the encapsulated secret.
    #[serde(with = "codec::bytes")]
    sealed: Vec<u8>,
}

impl GateShare {
    /// Releases and signs. The same ciphertext and head always get the same bytes.
    ///
    /// Call it only on entries that are final, and only after [`super::ReleaseBook::admit`] and after what it wrote
    /// down is durable: a second label at one head is evidence against this node.
    ///
    /// # Errors
    /// As [`Self::release`].
    pub fn sign(
        &self,
        ciphertext: &VerifiedCiphertext<'_>,
        wallet: WalletAddress,
        head: Digest,
        key: &SecretKey,
    ) -> Result<Release, Refusal> {
        let partial = self.release(ciphertext)?;
        let (node, gate, label) = (self.node(), *self.gate(), *ciphertext.label());
        let statement = ReleaseStatement { node, wallet, head, gate, label, part: hash(&partial) };
        let signature = key.sign(context::GATE_RELEASE, &encode(&statement));
        Ok(Release { signed: SignedRelease { statement, signature }, partial })
    }

    /// Seals a release to a prekey. The same release and prekey always give the same bytes: what the encapsulation
    /// draws is a hash of the share and of both, which nobody else can tell from random bytes, and it serves nothing
    /// else.
    ///
    /// # Errors
    /// [`Refusal::KemMalformed`], [`Refusal::ExchangeWeak`].
    pub fn seal(&self, release: &Release, kem: KemId, prekey: &[u8]) -> Result<SealedRelease, Refusal> {
        let root = kdf::extract(self.gate().as_bytes(), self.secret().expose());
        let context = Zeroizing::new(encode(&(release, prekey)));
        let seed = kdf::expand(&root, "release-seal", &context);
        let mut stream = ::blake3::Hasher::new_keyed(&seed).finalize_xof();
        let (encapsulation, shared) = kem.kem().encapsulate(prekey, &mut |bytes: &mut [u8]| stream.fill(bytes))?;
        let key = sealing_key(&shared, &encapsulation);
        let sealed = aead::seal(&key, &[], encode(release));
        Ok(SealedRelease { encapsulation, sealed })
    }
}

impl SealedRelease {
    /// Opens it with the prekey.
    ///
    /// # Errors
    /// [`Refusal::KemMalformed`], [`Refusal::ExchangeWeak`], [`Refusal::SealBroken`], [`Refusal::Malformed`]. None of
    /// them blames the member: bytes may have been altered on their way. Ask it again.
    pub fn open(&self, kem: KemId, prekey: &KemSecret) -> Result<Release, Refusal> {
        let shared = kem.kem().decapsulate(prekey, &self.encapsulation)?;
        let key = sealing_key(&shared, &self.encapsulation);
        let bytes = Zeroizing::new(aead::open(&key, &[], self.sealed.clone(), "release")?);
        Ok(codec::decode(&bytes)?)
    }
}

impl SignedRelease {
    /// Checks the member's signature.
    ///
    /// # Errors
    /// [`Refusal::SignatureInvalid`].
    pub fn verify(&self, key: &PublicKey) -> Result<(), Refusal> {
        key.verify(context::GATE_RELEASE, &encode(&self.statement), &self.signature)
            .map_err(|_| Refusal::SignatureInvalid { what: "release" })
    }

    /// Whether both are the word of one member who released at one head of a wallet for two labels, to two receivers,
    /// say, or two parts through one gate. Then they are evidence against it, which anyone checks with the member's
    /// key.
    ///
    /// # Errors
    /// [`Refusal::SignatureInvalid`].
    pub fn contradicts(&self, other: &Self, key: &PublicKey) -> Result<bool, Refusal> {
        self.verify(key)?;
        other.verify(key)?;
        let at = |of: &Self| (of.statement.node, of.statement.wallet, of.statement.head);
        let (one, two) = (&self.statement, &other.statement);
        Ok(at(self) == at(other) && (one.label != two.label || (one.gate == two.gate && one.part != two.part)))
    }
}

impl Release {
    /// Checks signature, statement and part. Then [`super::Opening::add`] takes the part.
    ///
    /// A part that is false under a signature that holds is evidence: whoever has gate, ciphertext and the member's key
    /// comes to the same refusal.
    ///
    /// # Errors
    /// [`Refusal::SignatureInvalid`]; [`Refusal::ReleaseMismatch`] if it is about something else;
    /// [`Refusal::PartialInvalid`] with the member; [`Refusal::NotMember`].
    pub fn verify(
        &self,
        of: &VerifiedCiphertext<'_>,
        wallet: &WalletAddress,
        head: &Digest,
        key: &PublicKey,
    ) -> Result<(), Refusal> {
        self.signed.verify(key)?;
        let statement = &self.signed.statement;
        let about = (&statement.wallet, &statement.head, &statement.gate, &statement.label);
        if about != (wallet, head, of.gate().hash(), of.label()) || statement.part != hash(&self.partial) {
            return Err(Refusal::ReleaseMismatch);
        }
        if statement.node != self.partial.node() {
            return Err(Refusal::PartialInvalid { node: statement.node });
        }
        self.partial.verify(of)
    }
}

fn hash(partial: &Partial) -> Digest {
    sha256(PART_DOMAIN, &[&encode(partial)])
}

/// The key that seals one release. The encapsulation is fresh for each, so it seals once.
fn sealing_key(shared: &SharedSecret, encapsulation: &[u8]) -> Zeroizing<[u8; 32]> {
    kdf::expand(&kdf::extract(b"release", shared.expose()), "release", encapsulation)
}
