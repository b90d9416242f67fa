//! How much one reply of the source may bring: the receiver keeps nothing that it did not ask for or has no room for.

use wallet::page::{HEAD_BYTES, StreamDescriptor};

use super::{messages::SealedPage, refusal::Refusal as MoveRefusal};
use crate::session::refusal::Refusal;

/// What the seal of AES-256-GCM adds to a page.
const TAG_BYTES: usize = 16;

/// What the next reply is held to.
pub(super) struct Bounds<'a> {
    /// Pages that were asked for.
    pub count_max: u32,
    /// Pages that are here already.
    pub have: u32,
    /// Blocks reserved for all of them.
    pub blocks: u32,
    /// Says how long a page is.
    pub stream: &'a StreamDescriptor,
}

impl Bounds<'_> {
    /// Checks a reply's pages, and how many are full at the source, before anything of it is kept.
    pub fn check(&self, pages: &[SealedPage], full: u32) -> Result<(), Refusal> {
        let count = u32::try_from(pages.len()).unwrap_or(u32::MAX);
        let sealed_bytes = HEAD_BYTES + self.stream.payload_bytes()? + TAG_BYTES;
        for (holds, reason) in [
            (count <= self.count_max, "a reply has more pages than were asked for"),
            (self.have.saturating_add(count) <= self.blocks, "there are more pages than blocks were reserved"),
            (full <= self.blocks, "more pages are full than blocks were reserved"),
            (pages.iter().all(|page| page.0.len() <= sealed_bytes), "a sealed page is longer than the stream's pages"),
        ] {
            if !holds {
                return Err(MoveRefusal::TooMuch { reason }.into());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use wallet::{digest::Digest, page::Dtype};

    use super::*;

    const ASKED: u32 = 64;
    const BLOCKS: u32 = 100;

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

    fn pages(count: u32, more_bytes: usize) -> Vec<SealedPage> {
        let bytes = HEAD_BYTES + stream().payload_bytes().expect("a possible stream") + TAG_BYTES + more_bytes;
        (0..count).map(|_| SealedPage(vec![0; bytes])).collect()
    }

    fn code(pages: &[SealedPage], full: u32, have: u32) -> Option<String> {
        let bounds = Bounds { count_max: ASKED, have, blocks: BLOCKS, stream: &stream() };
        bounds.check(pages, full).err().map(|refusal| refusal.code().to_owned())
    }

    #[test]
    fn a_reply_may_bring_what_was_asked_for_and_is_reserved_and_nothing_beyond() {
        assert_eq!(code(&pages(ASKED, 0), BLOCKS, BLOCKS - ASKED), None);
        let refused = Some("N-312".to_owned());
        assert_eq!(code(&pages(ASKED + 1, 0), BLOCKS, 0), refused, "more than asked for");
        assert_eq!(code(&pages(2, 0), BLOCKS, BLOCKS - 1), refused, "more than reserved");
        assert_eq!(code(&pages(1, 0), BLOCKS, u32::MAX), refused, "more than can be counted");
        assert_eq!(code(&[], BLOCKS + 1, 0), refused, "more full pages than reserved");
        assert_eq!(code(&pages(1, 1), BLOCKS, 0), refused, "a page that is too long");
    }

    #[test]
    fn a_sealed_page_of_the_stream_is_as_long_as_is_let_in() {
        use wallet::{
            chain::PageHashKey,
            grant::WalletAddress,
            seal::pages::{DataKey, PageOpener, PageRoute},
            units::KeyEpoch,
        };
        let route = PageRoute { wallet: WalletAddress(Digest([3; 32])), epoch: KeyEpoch::new(1), stream: stream() };
        let opener = PageOpener::new(route, DataKey::from_bytes([4; 32]), PageHashKey::from_bytes([5; 32]));
        assert_eq!(opener.sealed_bytes().expect("a possible stream"), pages(1, 0)[0].0.len());
    }
}
