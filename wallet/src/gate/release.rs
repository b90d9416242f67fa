//! A release on its way: a member's part with its word for what it is about, sealed to the receiver's prekey.
//!
//! The signed word names wallet, head, gate, label, ciphertext and prekey, and the part by its hash. So two words of
//! one member at one head are evidence that shows no part, and a false part can be held against its member's word by
//! everybody; a true one is true for the one ciphertext that the word names. The sealed bytes repeat: what the seal
//! draws follows from the share.

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
    prekey::{ExchangeKey, SharedSecret},
    refusal::Refusal,
    units::NodeId,
};

const CIPHERTEXT_DOMAIN: &str = "batchmind/v1/wallet/gate/ciphertext";
const PART_DOMAIN: &str = "batchmind/v1/wallet/gate/part";

/// What a release is about: what a member writes down before it, and names in its word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseSubject {
    /// The wallet.
    pub wallet: WalletAddress,
    /// The wallet's head that allowed it: for a hop its acceptance, for `unlock` its touch.
    pub head: Digest,
    /// [`super::Gate::hash`].
    pub gate: Digest,
    /// The ciphertext's label.
    pub label: GateLabel,
    /// SHA-256 of the ciphertext. Anyone can make another one under the same label.
    pub ciphertext: Digest,
    /// To whom: the name of a prekey ([`crate::kem::Kem::key_name`]).
    pub prekey: ExchangeKey,
}

/// What a member says that it released. Small enough for a ledger's entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseStatement {
    /// The member.
    pub node: NodeId,
    /// What about.
    pub subject: ReleaseSubject,
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

impl ReleaseSubject {
    /// The release of this ciphertext at a wallet's head to a prekey.
    pub fn new(of: &VerifiedCiphertext<'_>, (wallet, head): (WalletAddress, Digest), prekey: ExchangeKey) -> Self {
        let ciphertext = sha256(CIPHERTEXT_DOMAIN, &[&encode(of.ciphertext())]);
        Self { wallet, head, gate: *of.gate().hash(), label: *of.label(), ciphertext, prekey }
    }

    /// Whether it is about this ciphertext.
    fn names(&self, of: &VerifiedCiphertext<'_>) -> bool {
        *self == Self::new(of, (self.wallet, self.head), self.prekey)
    }
}

impl GateShare {
    /// Releases and signs. The same subject always gets the same bytes.
    ///
    /// Call it only on entries that are final, and only after [`super::ReleaseBook::admit`] and after what it wrote
    /// down is durable: a second subject at one head is evidence against this node.
    ///
    /// # Errors
    /// [`Refusal::ReleaseMismatch`] if the subject is not about this ciphertext. As [`Self::release`].
    pub fn sign(
        &self,
        ciphertext: &VerifiedCiphertext<'_>,
        subject: &ReleaseSubject,
        key: &SecretKey,
    ) -> Result<Release, Refusal> {
        if !subject.names(ciphertext) {
            return Err(Refusal::ReleaseMismatch);
        }
        let partial = self.release(ciphertext)?;
        let statement = ReleaseStatement { node: self.node(), subject: subject.clone(), part: hash(&partial) };
        let signature = key.sign(context::GATE_RELEASE, &encode(&statement));
        Ok(Release { signed: SignedRelease { statement, signature }, partial })
    }

    /// Seals a release to the prekey that it names. The same release always gives the same bytes: what the
    /// encapsulation draws is a hash of the share and of both, which nobody else can tell from random bytes, and it
    /// serves nothing else.
    ///
    /// # Errors
    /// [`Refusal::ReleaseMismatch`] for another prekey; [`Refusal::KemMalformed`], [`Refusal::ExchangeWeak`].
    pub fn seal(&self, release: &Release, kem: KemId, prekey: &[u8]) -> Result<SealedRelease, Refusal> {
        if kem.kem().key_name(prekey)? != release.signed.statement.subject.prekey {
            return Err(Refusal::ReleaseMismatch);
        }
        let root = kdf::extract(self.gate().as_bytes(), self.secret().expose());
        let context = Zeroizing::new(encode(&(release, prekey)));
        let seed = kdf::expand(&root, "release-seal", &context);
        let mut stream = kdf::stream(&seed);
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
    /// Checks the signature of the member whose word it says to be. `keys` gives a node's key: what another key signed
    /// is nobody's word.
    ///
    /// # Errors
    /// [`Refusal::SignatureInvalid`]; [`Refusal::NotMember`] if the node has no key.
    pub fn verify(&self, keys: &dyn Fn(NodeId) -> Option<PublicKey>) -> Result<(), Refusal> {
        let node = self.statement.node;
        let key = keys(node).ok_or(Refusal::NotMember { node })?;
        key.verify(context::GATE_RELEASE, &encode(&self.statement), &self.signature)
            .map_err(|_| Refusal::SignatureInvalid { what: "release" })
    }

    /// Whether both are the word of one member who released at one head of a wallet for two labels or to two prekeys,
    /// or through one gate two ciphertexts or two parts. Then they are evidence against it, which anyone checks with
    /// the member's key. Whoever keeps to its [`super::ReleaseBook`] never signs two such words.
    ///
    /// # Errors
    /// As [`Self::verify`].
    pub fn contradicts(&self, other: &Self, keys: &dyn Fn(NodeId) -> Option<PublicKey>) -> Result<bool, Refusal> {
        self.verify(keys)?;
        other.verify(keys)?;
        let at = |of: &ReleaseStatement| (of.node, of.subject.wallet, of.subject.head);
        let to = |of: &ReleaseStatement| (of.subject.label, of.subject.prekey);
        let (one, two) = (&self.statement, &other.statement);
        let differ = to(one) != to(two) || (one.subject.gate == two.subject.gate && one != two);
        Ok(at(one) == at(two) && differ)
    }
}

impl Release {
    /// Checks signature, subject and part. Then [`super::Opening::add`] takes the part.
    ///
    /// A part that is false under a signature that holds is evidence: the word names the ciphertext, so whoever has
    /// gate, ciphertext and the member's key comes to the same refusal.
    ///
    /// # Errors
    /// As [`SignedRelease::verify`]; [`Refusal::ReleaseMismatch`] if it is about something else;
    /// [`Refusal::PartialInvalid`] with the member; [`Refusal::NotMember`].
    pub fn verify(
        &self,
        of: &VerifiedCiphertext<'_>,
        subject: &ReleaseSubject,
        keys: &dyn Fn(NodeId) -> Option<PublicKey>,
    ) -> Result<(), Refusal> {
        self.signed.verify(keys)?;
        let statement = &self.signed.statement;
        if statement.subject != *subject || !subject.names(of) || statement.part != hash(&self.partial) {
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
