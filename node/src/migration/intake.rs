//! Sealed pages at the receiver: out of the hop stream, onto the disk, and opened once the envelope is here.

use gpu::{
    continuation::{Entry, JOURNAL_BYTES_MAX},
    stream::{Cursor, Draft, Expect, Next, Page as StreamPage, Stream as _, StreamFault, StreamWriter as _, Wake},
};
use wallet::{
    page::{PageHead, StreamDescriptor},
    units::PageIndex,
};

use super::{
    hop::{self, HopReader, WINDOW_BYTES, WINDOW_PAGES},
    inbound::Inbound,
    messages::Handover,
    refusal::Refusal as MoveRefusal,
};
use crate::{
    network::stream::{RemoteOptions, RemoteStream},
    session::{
        Message,
        actor::Actor,
        disk::{DiskFault, apart, stream_fault, stream_took},
        refusal::Refusal,
    },
};

/// How long the receiver of an open offer asks a source that does not answer. The ledger ends the offer, and nothing else.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(3600);

/// How the hop stream of an open offer is read.
pub(crate) fn remote_options() -> RemoteOptions {
    RemoteOptions {
        window_pages: WINDOW_PAGES,
        window_bytes: WINDOW_BYTES,
        is_consumer: true,
        patience: PATIENCE,
        ..RemoteOptions::default()
    }
}

impl Actor {
    /// The offer is final: its pages are read from the first one that is not on the disk.
    pub(super) fn open_hop_stream(&mut self) -> Result<(), Refusal> {
        let wait = self.context.patience.answer;
        let Some(inbound) = &mut self.inbound else { return Ok(()) };
        let Some((offer, _)) = &inbound.offer else { return Ok(()) };
        let descriptor = hop::descriptor(*offer);
        let incoming = self.dir.incoming(&descriptor)?;
        let have = incoming.state().tail;
        let options = RemoteOptions {
            wait,
            root: Some(incoming.root(have).map_err(|fault| stream_fault(&incoming, fault))?),
            ..remote_options()
        };
        let link = self.context.streams.clone();
        let remote = RemoteStream::open(link, inbound.source, descriptor, Cursor(have), options);
        inbound.hop = Some(HopReader::new(remote.map_err(MoveRefusal::of_stream)?, incoming));
        self.await_page();
        Ok(())
    }

    /// Waits beside the session's task for the next page.
    fn await_page(&mut self) {
        let inbox = self.session.inbox();
        let Some(hop) = self.inbound.as_mut().and_then(|inbound| inbound.hop.as_mut()) else { return };
        let (next, remote) = (hop.have(), hop.remote.clone());
        hop.wait(tokio::spawn(async move {
            remote.wait(Wake::Page(next)).await;
            // An error means that the session is over.
            let _ = inbox.send(Message::HopPages);
        }));
    }

    /// There are pages in the hop stream, or its end.
    pub(crate) async fn on_hop_pages(&mut self) {
        match self.take_pages().await {
            Ok(()) => self.watch_inbound().await,
            Err(refusal) => self.refuse_hop(&refusal),
        }
    }

    /// Takes what there is: onto the disk first, then opened and verified if the envelope is here.
    async fn take_pages(&mut self) -> Result<(), Refusal> {
        let pages = self.context.engine.stream();
        let Some(inbound) = &mut self.inbound else { return Ok(()) };
        let Some((taken, is_over)) = inbound.read(&pages)? else { return Ok(()) };
        let Some(hop) = &inbound.hop else { return Ok(()) };
        let (bytes, elapsed) = hop.remote.transferred();
        self.context.links.note_transfer(inbound.source, bytes, elapsed);
        if !taken.is_empty() {
            let taken = hop.keep(taken).await?;
            // They are on the disk: the source need not keep them.
            hop.remote.trim(hop.have()).map_err(MoveRefusal::of_stream)?;
            inbound.bytes += taken.iter().map(|page| page.payload.len() as u64).sum::<u64>();
            inbound.pages_moved += u32::try_from(taken.len()).unwrap_or(u32::MAX);
            self.open_pages(&taken)?;
        }
        if !is_over {
            self.await_page();
        }
        Ok(())
    }

    /// Opens and verifies the pages that are on the disk, if the envelope is here. Those in `fresh` are not read again.
    pub(super) fn open_pages(&mut self, fresh: &[StreamPage]) -> Result<(), Refusal> {
        let Some(inbound) = &mut self.inbound else { return Ok(()) };
        let (Some(opened), Some(hop)) = (&inbound.opened, &inbound.hop) else { return Ok(()) };
        for index in inbound.pages.len() as u64..hop.have() {
            let fresh = fresh.iter().find(|page| page.head.position == index);
            let sealed = match fresh {
                Some(page) => page.payload.to_vec(),
                None => hop.sealed(index)?,
            };
            inbound.pages.push(opened.opener.open(PageIndex::new(index), sealed)?);
        }
        Ok(())
    }
}

impl Inbound {
    /// What there is in the hop stream, checked, and whether nothing follows. None if it is not read.
    fn read(&self, pages: &StreamDescriptor) -> Result<Option<(Vec<StreamPage>, bool)>, Refusal> {
        let Some(hop) = &self.hop else { return Ok(None) };
        let (mut taken, mut cursor) = (Vec::new(), Cursor(hop.have()));
        let is_over = loop {
            match hop.remote.next(cursor) {
                Ok(Next::Item(page, after)) => {
                    check(pages, self.blocks, &page)?;
                    taken.push(page);
                    cursor = after;
                }
                Ok(Next::Blocked(_)) => break false,
                Ok(Next::End) => break true,
                Ok(Next::Gap { .. }) => return Err(MoveRefusal::TooMuch { reason: "pages are missing" }.into()),
                // What is taken is taken, and what is wrong is met again.
                Err(_) if !taken.is_empty() => break false,
                // With everything here, the source may be gone.
                Err(_) if self.is_whole()? => break true,
                Err(fault) => return Err(MoveRefusal::of_stream(fault).into()),
            }
        };
        Ok(Some((taken, is_over)))
    }

    /// Whether the receiver has all that the source put into the hop stream so far.
    pub(super) fn has_caught_up(&self) -> bool {
        self.hop.as_ref().is_some_and(|hop| hop.remote.origin_tail() == Some(hop.have()))
    }

    /// Whether the hand-over and all pages are here.
    pub(super) fn is_whole(&self) -> Result<bool, Refusal> {
        let (Some(handover), Some(hop)) = (&self.handover, &self.hop) else { return Ok(false) };
        let (have, full) = (hop.have(), u64::from(handover.full));
        if have > full {
            let reason = "there are more pages than the source says";
            return Err(MoveRefusal::TooMuch { reason }.into());
        }
        if have < full {
            return Ok(false);
        }
        let root = hop.incoming.root(full).map_err(|fault| stream_fault(&hop.incoming, fault))?;
        if root != handover.root {
            let reason = "the pages are not those of the hand-over".to_owned();
            return Err(MoveRefusal::Unverified { reason }.into());
        }
        Ok(true)
    }
}

impl HopReader {
    /// Copies pages onto the disk, and returns them once they are there.
    pub(crate) async fn keep(&self, pages: Vec<StreamPage>) -> Result<Vec<StreamPage>, DiskFault> {
        let incoming = self.incoming.clone();
        let keeping = apart(self.incoming.folder(), move || {
            for page in &pages {
                let at = Expect::At(page.head.position);
                stream_took(&incoming, incoming.append(0, at, &Draft::of(&page.head), &page.payload))?;
            }
            incoming.sync().map_err(|fault| stream_fault(&incoming, fault))?;
            Ok(pages)
        });
        keeping.await?
    }

    /// The sealed page `index` from the disk.
    fn sealed(&self, index: u64) -> Result<Vec<u8>, DiskFault> {
        let fault = |fault| stream_fault(&self.incoming, fault);
        match self.incoming.next(Cursor(index)).map_err(fault)? {
            Next::Item(page, _) => Ok(page.payload.to_vec()),
            Next::Blocked(_) | Next::End | Next::Gap { .. } => {
                Err(fault(StreamFault::BeyondTail { position: index, tail: self.have() }))
            }
        }
    }
}

/// Checks a page before it is kept: only what the source must send, and no more than there is room for.
pub(crate) fn check(pages: &StreamDescriptor, blocks: u32, page: &StreamPage) -> Result<(), Refusal> {
    let expected = PageHead { hash: page.head.hash, ..hop::head_of(pages, page.head.position, page.payload.len()) };
    for (holds, reason) in [
        (page.head.position < u64::from(blocks), "there are more pages than blocks were reserved"),
        (page.payload.len() == hop::sealed_bytes(pages)?, "a sealed page has another length than the stream's pages"),
        (page.head == expected, "a page has another head than a sealed page"),
    ] {
        if !holds {
            return Err(MoveRefusal::TooMuch { reason }.into());
        }
    }
    Ok(())
}

/// Whether a hand-over fits what was reserved, before anything of it is kept.
pub(super) fn fits(handover: &Handover, blocks: u32) -> Result<(), Refusal> {
    if handover.full <= blocks {
        return Ok(());
    }
    Err(MoveRefusal::TooMuch { reason: "more pages are full than blocks were reserved" }.into())
}

/// The journal in a tail. What its entries are worth is for whoever writes them down to find out.
pub(super) fn journal(bytes: &[u8]) -> Result<Vec<Entry>, MoveRefusal> {
    // How many there are stands before them.
    if bytes.len() > size_of::<u64>() + JOURNAL_BYTES_MAX {
        return Err(MoveRefusal::TooMuch { reason: "the journal is larger than one can be" });
    }
    wallet::codec::decode(bytes).map_err(|error| MoveRefusal::Unverified { reason: error.to_string() })
}

#[cfg(test)]
mod tests {
    use gpu::{FinishReason, continuation::Record};
    use wallet::{codec, digest::Digest, page::Dtype};

    use super::*;

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

    fn code(index: u64, more_bytes: usize, change: impl FnOnce(&mut PageHead)) -> Option<String> {
        let sealed = vec![0; hop::sealed_bytes(&stream()).expect("a possible stream") + more_bytes];
        let mut head = hop::head(&stream(), index, &sealed);
        change(&mut head);
        let page = StreamPage { head, payload: sealed.into() };
        check(&stream(), BLOCKS, &page).err().map(|refusal| refusal.code().to_owned())
    }

    #[test]
    fn the_source_may_send_what_is_reserved_and_nothing_beyond() {
        assert_eq!(code(u64::from(BLOCKS) - 1, 0, |_| {}), None);
        let refused = Some("N-312".to_owned());
        assert_eq!(code(u64::from(BLOCKS), 0, |_| {}), refused, "more than reserved");
        assert_eq!(code(u64::MAX, 0, |_| {}), refused, "more than can be counted");
        assert_eq!(code(0, 1, |_| {}), refused, "a page that is too long");
        assert_eq!(code(0, 0, |head| head.encrypted = false), refused, "another head");
        assert_eq!(code(0, 0, |head| head.first = 1), refused, "another head");
    }

    #[test]
    fn a_journal_is_read_up_to_the_size_that_one_can_have() {
        // The smallest entries there are.
        let of = |count| codec::encode(&vec![Entry::Record(Record::Finished(FinishReason::EndToken)); count]);
        let most = JOURNAL_BYTES_MAX / 12;
        let code = |bytes: &[u8]| journal(bytes).map(|entries| entries.len()).map_err(|refusal| refusal.code());
        assert_eq!(code(&of(most)), Ok(most));
        assert_eq!(code(&of(most + 1)), Err("N-312"));
        assert_eq!(code(&of(3)[1..]), Err("N-310"));
    }
}
