//! The two envelopes of a hop.
//!
//! The offer envelope goes to the receiver while the source still decodes and lets it open pages. The tail envelope
//! goes once the source has frozen, and carries everything that is not a full page. Their keys have separate labels
//! below the hop's key; the associated data of both is the hash of the hop's label.

use std::{fmt, marker::PhantomData};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use zeroize::{Zeroize as _, Zeroizing};

use crate::{
    aead,
    chain::{Link, PageHashKey},
    codec::{self, ENCODED_BYTES_MAX},
    content::{ContentChain, TailDigests},
    digest::Digest,
    page::StreamDescriptor,
    policy::PolicyTree,
    refusal::Refusal,
    seal::pages::DataKey,
    tenant::TenantKey,
    ticket::{Blind, ContentCommitment},
    units::TokenPosition,
};

/// Contents of the offer envelope.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OfferSecrets {
    /// Above the page keys of this offer.
    pub data_key: DataKey,
    /// Goes into the next chain key.
    pub link: Link,
    /// Keys the page hashes.
    pub page_hash_key: PageHashKey,
    /// What the pages are.
    pub stream: StreamDescriptor,
    /// How many pages the offer's commitment covers.
    pub pages: u64,
    /// The blind of the offer's commitment.
    pub blind: Blind,
}

/// Contents of the tail envelope.
#[derive(Clone, Serialize, Deserialize)]
pub struct TailContents {
    /// The page that is not full, head included; empty if the session ends on a page's edge.
    #[serde(with = "codec::bytes")]
    pub page: Vec<u8>,
    /// The continuation, signed by the source.
    #[serde(with = "codec::bytes")]
    pub continuation: Vec<u8>,
    /// All that stands in the session's journal, its tokens among it.
    #[serde(with = "codec::bytes")]
    pub journal: Vec<u8>,
    /// The batch record, C1 to C5.
    #[serde(with = "codec::bytes")]
    pub record: Vec<u8>,
    /// The root behind the ticket's commitment.
    pub root: Digest,
    /// The blind of the ticket's commitment.
    pub blind: Blind,
    /// Hash of the secret by which the client resumes its stream.
    pub resume_secret_hash: Digest,
    /// The tenant's key for this wallet, delegated to the holder.
    pub tenant_key: TenantKey,
    /// Opens the policy's leaves at later hops.
    pub policy: PolicyTree,
    /// The next token that the client has not been sent.
    pub client_cursor: TokenPosition,
}

/// The key of one envelope. Sealing uses it up, so that it seals once.
pub struct EnvelopeKey<T> {
    key: Zeroizing<[u8; 32]>,
    label: Digest,
    contents: PhantomData<fn(T) -> T>,
}

/// A sealed envelope, as it travels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope(#[serde(with = "codec::bytes")] pub Vec<u8>);

impl<T: Serialize + DeserializeOwned> EnvelopeKey<T> {
    pub(crate) const fn new(key: Zeroizing<[u8; 32]>, label: Digest) -> Self {
        Self { key, label, contents: PhantomData }
    }

    /// Seals the contents.
    pub fn seal(self, contents: &T) -> Envelope {
        Envelope(aead::seal(&self.key, self.label.as_bytes(), codec::encode(contents)))
    }

    /// Opens an envelope of this hop.
    ///
    /// # Errors
    /// [`Refusal::SealBroken`], [`Refusal::Malformed`].
    pub fn open(&self, envelope: &Envelope) -> Result<T, Refusal> {
        if envelope.0.len() > ENCODED_BYTES_MAX {
            return Err(Refusal::SealBroken { what: "envelope" });
        }
        let bytes = aead::open(&self.key, self.label.as_bytes(), envelope.0.clone(), "envelope")?;
        Ok(codec::decode(&Zeroizing::new(bytes))?)
    }
}

impl Envelope {
    /// BLAKE3 of the sealed bytes, to name the envelope in a transfer.
    pub fn hash(&self) -> Digest {
        Digest(::blake3::hash(&self.0).into())
    }
}

impl TailContents {
    /// Digests of the parts that the content root covers.
    pub fn digests(&self, key: &PageHashKey) -> TailDigests {
        TailDigests::of(key, &self.page, &self.continuation, &self.journal, &self.record)
    }

    /// Checks tail and received pages against the ticket's commitment.
    ///
    /// # Errors
    /// [`Refusal::ContentMismatch`].
    pub fn verify(&self, pages: &ContentChain, key: &PageHashKey, expected: &ContentCommitment) -> Result<(), Refusal> {
        let root = pages.root(&self.digests(key));
        if root == self.root && ContentCommitment::new(&root, &self.blind) == *expected {
            Ok(())
        } else {
            Err(Refusal::ContentMismatch)
        }
    }
}

impl Drop for TailContents {
    fn drop(&mut self) {
        for part in [&mut self.page, &mut self.continuation, &mut self.journal, &mut self.record] {
            part.zeroize();
        }
    }
}

impl fmt::Debug for TailContents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TailContents(cursor {}, redacted)", self.client_cursor)
    }
}

impl<T> fmt::Debug for EnvelopeKey<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EnvelopeKey(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::Dtype;

    fn key(byte: u8, label: u8) -> EnvelopeKey<OfferSecrets> {
        EnvelopeKey::new(Zeroizing::new([byte; 32]), Digest([label; 32]))
    }

    fn secrets() -> OfferSecrets {
        OfferSecrets {
            data_key: DataKey::from_bytes([1; 32]),
            link: Link::from_bytes([2; 32]),
            page_hash_key: PageHashKey::from_bytes([3; 32]),
            stream: StreamDescriptor {
                model: Digest([4; 32]),
                dtype: Dtype::F32,
                numerics: Digest([5; 32]),
                layers: 1,
                kv_heads: 1,
                head_dim: 2,
                block: 16,
            },
            pages: 6,
            blind: Blind::from_bytes([7; 32]),
        }
    }

    #[test]
    fn an_envelope_opens_under_its_own_label_only() {
        let envelope = key(1, 2).seal(&secrets());
        assert_eq!(key(1, 2).open(&envelope).expect("the same hop").data_key.expose(), &[1; 32]);
        let broken = Some(Refusal::SealBroken { what: "envelope" });
        assert_eq!(key(1, 9).open(&envelope).err(), broken);
        assert_eq!(key(9, 2).open(&envelope).err(), broken);
    }

    #[test]
    fn the_contents_of_an_offer_are_pinned() {
        let hash = crate::digest::sha256("golden", &[&codec::encode(&secrets())]);
        assert_eq!(hash.to_string(), "ffac48714fbfa11733f1cf7e73b15b01ae75820f08dc686daa9d8ba66ae52458");
    }
}
