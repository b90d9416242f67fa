//! Pages on their way to the receiver: each sealed under a key of its own.
//!
//! Key: LE(DEK, "page", index, 32). Nonce: zero. Associated data: wallet, epoch, index and stream. The data key is
//! drawn anew for each offer, so an offer that was closed leaves nothing that opens later pages. Only full pages are
//! sealed here, since a page that grew would meet the same key again with other content.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{
    aead,
    chain::PageHashKey,
    codec::encode,
    digest::Digest,
    grant::WalletAddress,
    kdf,
    page::{HEAD_BYTES, Page, StreamDescriptor},
    refusal::Refusal,
    secret::secret,
    units::{KeyEpoch, PageIndex},
};

secret! {
    /// DEK: the key above the page keys of one offer. Travels in the offer envelope.
    DataKey
}

/// Which pages are meant: those of one stream of one wallet, on their way into one epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageRoute {
    /// The wallet.
    pub wallet: WalletAddress,
    /// The epoch that the hop begins.
    pub epoch: KeyEpoch,
    /// The stream.
    pub stream: StreamDescriptor,
}

/// The sender's side.
#[derive(Debug)]
pub struct PageSealer {
    route: PageRoute,
    key: DataKey,
    sealed: BTreeMap<PageIndex, Digest>,
}

/// The receiver's side.
#[derive(Clone, Debug)]
pub struct PageOpener {
    route: PageRoute,
    key: DataKey,
    hash_key: PageHashKey,
}

impl PageSealer {
    /// A sealer under a data key drawn for this offer.
    pub const fn new(route: PageRoute, key: DataKey) -> Self {
        Self { route, key, sealed: BTreeMap::new() }
    }

    /// The page as it travels. The same page gives the same bytes again, for a transfer that was cut.
    ///
    /// # Errors
    /// [`Refusal::PageNotFull`]; [`Refusal::PageChanged`] if another page was sealed at this index.
    pub fn seal(&mut self, page: &Page) -> Result<Vec<u8>, Refusal> {
        let (index, hash) = (page.index(), page.head().hash);
        if !page.is_full() {
            return Err(Refusal::PageNotFull { index });
        }
        if *self.sealed.entry(index).or_insert(hash) != hash {
            return Err(Refusal::PageChanged { index });
        }
        let mut bytes = Vec::with_capacity(page.as_bytes().len() + aead::TAG_BYTES);
        bytes.extend_from_slice(page.as_bytes());
        Ok(aead::seal(&page_key(&self.key, index), &self.route.label(index), bytes))
    }
}

impl PageOpener {
    /// An opener with the keys of the offer envelope.
    pub const fn new(route: PageRoute, key: DataKey, hash_key: PageHashKey) -> Self {
        Self { route, key, hash_key }
    }

    /// Length of every sealed page of the stream.
    ///
    /// # Errors
    /// [`Refusal::PageMalformed`] if the stream is impossible.
    pub fn sealed_bytes(&self) -> Result<usize, Refusal> {
        Ok(HEAD_BYTES + self.route.stream.payload_bytes()? + aead::TAG_BYTES)
    }

    /// Opens and verifies the page at `index`: seal, head and hash.
    ///
    /// # Errors
    /// [`Refusal::SealBroken`], [`Refusal::PageMalformed`], [`Refusal::PageHashMismatch`], [`Refusal::PageNotFull`].
    pub fn open(&self, index: PageIndex, sealed: Vec<u8>) -> Result<Page, Refusal> {
        if sealed.len() != self.sealed_bytes()? {
            return Err(Refusal::PageMalformed {
                reason: "the sealed page has another length than the stream's pages",
            });
        }
        let bytes = aead::open(&page_key(&self.key, index), &self.route.label(index), sealed, "page")?;
        let page = Page::parse(bytes, &self.route.stream, Some(&self.hash_key))?;
        if page.index() != index {
            return Err(Refusal::PageMalformed { reason: "the page is of another index" });
        }
        if page.is_full() { Ok(page) } else { Err(Refusal::PageNotFull { index }) }
    }
}

impl PageRoute {
    /// The associated data of one page.
    fn label(&self, index: PageIndex) -> Vec<u8> {
        #[derive(Serialize)]
        struct PageLabel {
            wallet: WalletAddress,
            epoch: KeyEpoch,
            index: PageIndex,
            stream: Digest,
        }
        encode(&PageLabel { wallet: self.wallet, epoch: self.epoch, index, stream: self.stream.hash() })
    }
}

fn page_key(key: &DataKey, index: PageIndex) -> zeroize::Zeroizing<[u8; 32]> {
    kdf::expand(key.expose(), "page", &index.get().to_le_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::Dtype;

    fn route() -> PageRoute {
        let stream = StreamDescriptor {
            model: Digest([1; 32]),
            dtype: Dtype::F32,
            numerics: Digest([2; 32]),
            layers: 1,
            kv_heads: 1,
            head_dim: 2,
            block: 16,
        };
        PageRoute { wallet: WalletAddress(Digest([3; 32])), epoch: KeyEpoch::new(1), stream }
    }

    fn page(index: u64, fill: u16, byte: u8) -> Page {
        let key = PageHashKey::from_bytes([4; 32]);
        Page::new(&route().stream, PageIndex::new(index), fill, &[byte; 256], Some(&key)).expect("a valid page")
    }

    fn sealer() -> PageSealer {
        PageSealer::new(route(), DataKey::from_bytes([5; 32]))
    }

    fn opener(route: PageRoute) -> PageOpener {
        PageOpener::new(route, DataKey::from_bytes([5; 32]), PageHashKey::from_bytes([4; 32]))
    }

    #[test]
    fn a_sealed_page_opens_at_its_own_index_only() {
        let sealed = sealer().seal(&page(7, 16, 1)).expect("full");
        assert_eq!(opener(route()).open(PageIndex::new(7), sealed.clone()), Ok(page(7, 16, 1)));
        let broken = Err(Refusal::SealBroken { what: "page" });
        assert_eq!(opener(route()).open(PageIndex::new(8), sealed), broken);
    }

    #[test]
    fn wallet_epoch_and_stream_are_part_of_the_seal() {
        let sealed = sealer().seal(&page(7, 16, 1)).expect("full");
        for other in [
            PageRoute { wallet: WalletAddress::default(), ..route() },
            PageRoute { epoch: KeyEpoch::new(2), ..route() },
            PageRoute { stream: StreamDescriptor { numerics: Digest::ZERO, ..route().stream }, ..route() },
        ] {
            let verdict = opener(other).open(PageIndex::new(7), sealed.clone());
            assert_eq!(verdict, Err(Refusal::SealBroken { what: "page" }));
        }
    }

    #[test]
    fn a_page_that_may_still_grow_is_not_sealed() {
        let refusal = Refusal::PageNotFull { index: PageIndex::new(7) };
        assert_eq!(sealer().seal(&page(7, 15, 1)), Err(refusal));
    }

    #[test]
    fn one_key_never_seals_two_contents() {
        let mut sealer = sealer();
        let first = sealer.seal(&page(7, 16, 1)).expect("full");
        assert_eq!(sealer.seal(&page(7, 16, 1)), Ok(first));
        assert_eq!(sealer.seal(&page(7, 16, 2)), Err(Refusal::PageChanged { index: PageIndex::new(7) }));
    }

    #[test]
    fn a_cut_page_is_refused() {
        let mut sealed = sealer().seal(&page(7, 16, 1)).expect("full");
        sealed.pop();
        assert!(matches!(opener(route()).open(PageIndex::new(7), sealed), Err(Refusal::PageMalformed { .. })));
    }
}
