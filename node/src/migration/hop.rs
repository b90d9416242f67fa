//! The hop stream: the sealed pages of one offer on their way from the source to the receiver.
//!
//! The source writes each full page into it once, as it becomes full; the receiver reads it through the network, and what
//! it has on its disk is trimmed at the source. So the source holds no more than a window of sealed pages, and the
//! receiver goes on after a cut or a restart with the first page that it lacks.

use std::sync::Arc;

use gpu::stream::{
    Appended, Descriptor, Draft, Expect, Integrity, Retention, RingOptions, RingStream, SegmentStream, Stream as _,
    StreamWriter as _,
};
use tokio::task::{AbortHandle, JoinHandle};
use wallet::{
    chain::PageHashKey,
    digest::Digest,
    page::{HEAD_BYTES, Layout, Page, PageHead, PageKind, Part, StreamDescriptor, payload_hash},
    seal::pages::PageSealer,
    units::PageIndex,
};

use super::refusal::Refusal as MoveRefusal;
use crate::{
    network::stream::{RemoteStream, StreamOffer},
    session::refusal::Refusal,
};

/// What the seal of AES-256-GCM adds to a page.
const TAG_BYTES: usize = 16;

/// Sealed pages that wait for the receiver, and as many that it takes in ahead. Few in tests, so that they meet its end.
pub(crate) const WINDOW_PAGES: usize = if cfg!(test) { 3 } else { 64 };

/// The most bytes of sealed pages that wait, but for two pages.
pub(crate) const WINDOW_BYTES: usize = 16 << 20;

/// The source's end.
pub(crate) struct HopWriter {
    pub ring: Arc<RingStream>,
    /// Pages that it holds.
    window: u32,
    /// The stream is offered to the receiver as long as this is there.
    pub offer: Option<StreamOffer>,
    /// Requests to freeze that came before the pages were through.
    pub deferred: u32,
    waits: Option<AbortHandle>,
}

/// The receiver's end.
pub(crate) struct HopReader {
    pub remote: Arc<RemoteStream>,
    /// The pages on the disk, sealed as they came.
    pub incoming: Arc<SegmentStream>,
    /// The task that waits for the next page.
    waits: Option<AbortHandle>,
}

/// The hop stream of an offer, by the id of its final entry. What its pages hold is under the offer's seal, and so is what
/// they have in common.
pub fn descriptor(offer: Digest) -> Descriptor {
    Descriptor {
        owner: offer,
        name: "hop".to_owned(),
        integrity: Integrity::Plain,
        retention: Retention::Keep,
        format: Digest::ZERO,
    }
}

/// The head of the sealed page `index`.
pub(super) fn head(pages: &StreamDescriptor, index: u64, sealed: &[u8]) -> PageHead {
    PageHead { hash: payload_hash(sealed, None), ..head_of(pages, index, sealed.len()) }
}

/// The same without the hash.
pub(super) fn head_of(pages: &StreamDescriptor, index: u64, bytes: usize) -> PageHead {
    PageHead {
        kind: PageKind::Kv,
        dtype: pages.dtype,
        layout: Layout::AllLayers,
        rows: pages.block,
        layer: PageHead::ALL_LAYERS,
        shard: 0,
        part: Part::KeysAndValues,
        sealed: true,
        encrypted: true,
        last: false,
        fill: pages.block,
        first: index.saturating_mul(u64::from(pages.block)),
        position: index,
        payload_bytes: u32::try_from(bytes).unwrap_or(u32::MAX),
        hash: Digest::ZERO,
    }
}

/// What to write for the sealed page `index`.
pub(super) fn draft(pages: &StreamDescriptor, index: u64, sealed: &[u8]) -> Draft {
    Draft::of(&head(pages, index, sealed))
}

/// How long a sealed page is.
///
/// # Errors
/// An impossible stream.
pub(crate) fn sealed_bytes(pages: &StreamDescriptor) -> Result<usize, Refusal> {
    Ok(HEAD_BYTES + pages.payload_bytes()? + TAG_BYTES)
}

impl HopWriter {
    pub fn new(offer: Digest, pages: &StreamDescriptor) -> Result<Self, Refusal> {
        let payload_bytes = sealed_bytes(pages)?;
        let window = (WINDOW_BYTES / payload_bytes).clamp(2, WINDOW_PAGES);
        let ring = RingStream::new(descriptor(offer), RingOptions { pages: window, payload_bytes });
        let window = u32::try_from(window).unwrap_or(u32::MAX);
        Ok(Self { ring, window, offer: None, deferred: 0, waits: None })
    }

    /// Seals the full page `index` and adds it.
    ///
    /// # Errors
    /// A page that is none of `pages`, and those of the stream.
    pub fn put(
        &self,
        pages: &StreamDescriptor,
        sealer: &mut PageSealer,
        index: u64,
        payload: &[u8],
        key: &PageHashKey,
    ) -> Result<Appended, Refusal> {
        let page = Page::new(pages, PageIndex::new(index), pages.block, payload, Some(key))?;
        let sealed = sealer.seal(&page)?;
        let draft = draft(pages, index, &sealed);
        Ok(self.ring.append(0, Expect::At(index), &draft, &sealed).map_err(MoveRefusal::of_stream)?)
    }

    /// How many pages fit now; at least one, so that whoever tries learns what to wait for.
    pub fn room(&self) -> u32 {
        let state = self.ring.state();
        let kept = u32::try_from(state.tail - state.earliest).unwrap_or(u32::MAX);
        self.window.saturating_sub(kept).max(1)
    }

    /// The next page that goes in.
    pub fn next(&self) -> u32 {
        u32::try_from(self.ring.state().tail).unwrap_or(u32::MAX)
    }

    /// Keeps the task that waits for room; an earlier one is over.
    pub fn wait(&mut self, task: JoinHandle<()>) {
        if let Some(before) = self.waits.replace(task.abort_handle()) {
            before.abort();
        }
    }
}

impl HopReader {
    pub fn new(remote: Arc<RemoteStream>, incoming: SegmentStream) -> Self {
        Self { remote, incoming: Arc::new(incoming), waits: None }
    }

    /// How many pages are on the disk.
    pub fn have(&self) -> u64 {
        self.incoming.state().tail
    }

    /// Keeps the task that waits for the next page; an earlier one is over.
    pub fn wait(&mut self, task: JoinHandle<()>) {
        if let Some(before) = self.waits.replace(task.abort_handle()) {
            before.abort();
        }
    }
}

impl Drop for HopWriter {
    fn drop(&mut self) {
        if let Some(waits) = self.waits.take() {
            waits.abort();
        }
    }
}

impl Drop for HopReader {
    fn drop(&mut self) {
        if let Some(waits) = self.waits.take() {
            waits.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use wallet::{
        chain::PageHashKey,
        grant::WalletAddress,
        page::Dtype,
        seal::pages::{DataKey, PageOpener, PageRoute},
        units::KeyEpoch,
    };

    use super::*;

    fn stream() -> StreamDescriptor {
        StreamDescriptor {
            model: Digest([1; 32]),
            dtype: Dtype::F32,
            numerics: Digest([2; 32]),
            layers: 1,
            kv_heads: 1,
            head_dim: 2,
            block: 16,
        }
    }

    #[test]
    fn a_sealed_page_is_as_long_as_is_let_in() {
        let route = PageRoute { wallet: WalletAddress(Digest([3; 32])), epoch: KeyEpoch::new(1), stream: stream() };
        let opener = PageOpener::new(route, DataKey::from_bytes([4; 32]), PageHashKey::from_bytes([5; 32]));
        let sealed = opener.sealed_bytes().expect("a possible stream");
        assert_eq!(sealed, sealed_bytes(&stream()).expect("a possible stream"));
    }

    #[test]
    fn what_the_source_writes_has_the_head_that_the_receiver_expects() {
        use gpu::stream::{Cursor, Next};
        let writer = HopWriter::new(Digest([6; 32]), &stream()).expect("a possible stream");
        let sealed = vec![7; sealed_bytes(&stream()).expect("a possible stream")];
        for index in 0..3 {
            let draft = draft(&stream(), index, &sealed);
            writer.ring.append(0, Expect::At(index), &draft, &sealed).expect("there is room");
            let Ok(Next::Item(page, _)) = writer.ring.next(Cursor(index)) else { panic!("page {index} is there") };
            assert_eq!(page.head, head(&stream(), index, &sealed));
        }
        assert_eq!(writer.next(), 3);
    }
}
