//! Streams between two real nodes on loopback. Nothing here waits for a fixed time: each wait ends with an event.

mod laws;
mod pairs;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use futures::future::BoxFuture;
use gpu::stream::{
    Accumulator, Appended, Cursor, Descriptor, Draft, Expect, Integrity, Next, Page, Retention, RingOptions,
    RingStream, Stream, StreamFault, StreamId, StreamWriter, Wake,
};
use tokio::time::timeout;
use wallet::{
    digest::Digest,
    page::{PageHead, PageKind, payload_hash},
    units::NodeId,
};

use super::{
    message::{Pull, Pulled, StreamReply, StreamRequest, Trim},
    refusal::StreamRefusal,
    *,
};
use crate::network::{
    Handler, NetworkFault, PeerNetwork,
    message::Dispatch,
    tests::{A, B, Echo, PATIENCE, loopback, nowhere, options, pair, start, until_connected},
};

const PAGE_BYTES: usize = 100;

pub(super) fn descriptor(integrity: Integrity) -> Descriptor {
    Descriptor {
        owner: Digest([1; 32]),
        name: "test".to_owned(),
        integrity,
        retention: Retention::Keep,
        format: Digest::ZERO,
    }
}

/// A page as a stream of plain bytes has it.
pub(super) fn page(position: u64, payload: &[u8]) -> Page {
    let Draft { kind, dtype, layout, rows, layer, shard, part, sealed, encrypted, last, fill, first, .. } =
        Draft::bytes(PageKind::Token);
    let payload_bytes = u32::try_from(payload.len()).expect("a small page");
    let hash = payload_hash(payload, None);
    let head = PageHead {
        kind,
        dtype,
        layout,
        rows,
        layer,
        shard,
        part,
        sealed,
        encrypted,
        last,
        fill,
        first,
        position,
        payload_bytes,
        hash,
    };
    Page { head, payload: Bytes::copy_from_slice(payload) }
}

fn payload(position: u64) -> Vec<u8> {
    vec![position as u8; PAGE_BYTES]
}

fn ring(descriptor: Descriptor, pages: usize) -> Arc<RingStream> {
    RingStream::new(descriptor, RingOptions { pages, payload_bytes: PAGE_BYTES })
}

fn append(to: &RingStream, count: u64) {
    for _ in 0..count {
        let position = to.state().tail;
        let draft = Draft::bytes(PageKind::Token);
        let appended = to.append(0, Expect::At(position), &draft, &payload(position)).expect("it has hashes");
        assert_eq!(appended, Appended::Ok(position));
    }
}

/// Node A offers, node B reads.
struct Rig {
    exports: StreamExports,
    a: PeerNetwork,
    b: PeerNetwork,
}

impl Rig {
    async fn new() -> Self {
        let exports = StreamExports::default();
        let (a, b) = pair(dispatch(&exports), Echo::default()).await;
        Self { exports, a, b }
    }

    fn link(&self) -> Arc<dyn StreamLink> {
        Arc::new(StreamPeers::new(self.b.clone()))
    }

    fn offer(&self, stream: &Arc<RingStream>) -> StreamOffer {
        self.exports.offer(stream.clone(), Readers::consumer(B)).expect("it has hashes")
    }
}

fn dispatch(exports: &StreamExports) -> Dispatch<Echo, Echo, StreamExports> {
    Dispatch { ledger: Echo::default(), session: Echo::default(), stream: exports.clone() }
}

fn open(link: Arc<dyn StreamLink>, descriptor: &Descriptor, options: RemoteOptions) -> Arc<RemoteStream> {
    RemoteStream::open(link, A, descriptor.clone(), Cursor(0), options).expect("it has hashes")
}

/// The pages from `from` on, until there are none or `to` is reached.
async fn read(stream: &dyn Stream, from: u64, to: u64) -> Result<Vec<Page>, StreamFault> {
    let (mut pages, mut cursor) = (Vec::new(), Cursor(from));
    while cursor.0 < to {
        match stream.next(cursor)? {
            Next::Item(page, after) => {
                pages.push(page);
                cursor = after;
            }
            Next::Blocked(wake) => {
                timeout(PATIENCE, stream.wait(wake)).await.expect("it goes on");
            }
            Next::End => break,
            Next::Gap { earliest } => return Err(StreamFault::NotKept { position: cursor.0, earliest }),
        }
    }
    Ok(pages)
}

fn assert_pages(pages: &[Page], from: u64) {
    for (position, found) in (from..).zip(pages) {
        let expected = page(position, &payload(position));
        assert_eq!((found.head, &found.payload), (expected.head, &expected.payload));
    }
}

/// Stands between a reader and its origin.
trait Between: Send + Sync + 'static {
    fn answer(&self, request: StreamRequest, reply: StreamReply) -> Result<StreamReply, StreamLinkFault>;

    fn ask(&self, request: StreamRequest) -> StreamRequest {
        request
    }
}

struct Intercepted<B> {
    inner: Arc<dyn StreamLink>,
    between: B,
}

impl<B: Between> StreamLink for Intercepted<B> {
    fn ask(
        &self,
        to: NodeId,
        request: StreamRequest,
        patience: Duration,
    ) -> BoxFuture<'_, Result<StreamReply, StreamLinkFault>> {
        Box::pin(async move {
            let request = self.between.ask(request);
            let reply = self.inner.ask(to, request, patience).await?;
            self.between.answer(request, reply)
        })
    }
}

fn between<B: Between>(rig: &Rig, between: B) -> Arc<Intercepted<B>> {
    Arc::new(Intercepted { inner: rig.link(), between })
}

#[tokio::test]
async fn what_the_origin_writes_is_read_at_the_other_node() {
    let (rig, stream) = (Rig::new().await, ring(descriptor(Integrity::Plain), 64));
    append(&stream, 20);
    let _offer = rig.offer(&stream);
    let remote = open(rig.link(), stream.descriptor(), RemoteOptions::default());
    assert_pages(&read(remote.as_ref(), 0, 20).await.expect("it is honest"), 0);
    append(&stream, 5);
    assert_pages(&read(remote.as_ref(), 20, 25).await.expect("it is honest"), 20);
    stream.close(0).expect("a ring closes");
    assert_eq!(read(remote.as_ref(), 0, u64::MAX).await.expect("it is honest").len(), 25);
    assert!(remote.state().closed && matches!(remote.next(Cursor(25)), Ok(Next::End)));
    for at in 0..=25 {
        assert_eq!(remote.root(at).expect("all is here"), stream.root(at).expect("all is there"));
    }
    let (proof, heads) = (remote.prove(3, 9).expect("all is here"), read(remote.as_ref(), 3, 9).await);
    let heads: Vec<PageHead> = heads.expect("all is here").iter().map(|page| page.head).collect();
    assert_eq!(proof.verify(&heads).expect("it fits").to, stream.root(9).expect("all is there"));
}

#[tokio::test]
async fn a_reader_in_the_middle_stands_on_the_same_root() {
    let (rig, stream) = (Rig::new().await, ring(descriptor(Integrity::Plain), 64));
    append(&stream, 20);
    let _offer = rig.offer(&stream);
    for cursor in 0..=20 {
        let options = RemoteOptions { root: Some(stream.root(cursor).expect("there")), ..RemoteOptions::default() };
        let remote = RemoteStream::open(rig.link(), A, stream.descriptor().clone(), Cursor(cursor), options);
        let remote = remote.expect("it has hashes");
        remote.connected().await.expect("it is honest");
        assert_pages(&read(remote.as_ref(), cursor, 20).await.expect("it is honest"), cursor);
        for at in cursor..=20 {
            assert_eq!(remote.root(at).expect("it is here"), stream.root(at).expect("there"));
        }
        if cursor > 0 {
            assert!(matches!(remote.next(Cursor(cursor - 1)), Ok(Next::Gap { earliest }) if earliest == cursor));
        }
    }
}

/// Gives one page at a time, and loses the first answer with each.
#[derive(Default)]
struct Cutter {
    cut: Mutex<Vec<u64>>,
    delivered: Mutex<Vec<u64>>,
}

impl Between for Cutter {
    fn ask(&self, request: StreamRequest) -> StreamRequest {
        match request {
            StreamRequest::Pull(pull) => StreamRequest::Pull(Pull { pages_max: 1, ..pull }),
            trim => trim,
        }
    }

    fn answer(&self, _: StreamRequest, reply: StreamReply) -> Result<StreamReply, StreamLinkFault> {
        let StreamReply::Pulled(Pulled { pages, .. }) = &reply else { return Ok(reply) };
        let Some(position) = pages.first().map(|page| page.head.position) else { return Ok(reply) };
        let mut cut = self.cut.lock().expect("no panic");
        if !cut.contains(&position) {
            cut.push(position);
            return Err(NetworkFault::Broken { to: A, reason: "cut by the test".to_owned() }.into());
        }
        self.delivered.lock().expect("no panic").push(position);
        Ok(reply)
    }
}

#[tokio::test]
async fn a_line_that_is_cut_at_every_page_brings_every_page_once() {
    let (rig, stream) = (Rig::new().await, ring(descriptor(Integrity::Plain), 64));
    append(&stream, 12);
    stream.close(0).expect("a ring closes");
    let _offer = rig.offer(&stream);
    let link = between(&rig, Cutter::default());
    let remote = open(link.clone(), stream.descriptor(), RemoteOptions::default());
    assert_pages(&read(remote.as_ref(), 0, u64::MAX).await.expect("every cut is survived"), 0);
    assert_eq!(remote.state().tail, 12);
    let all: Vec<u64> = (0..12).collect();
    assert_eq!(*link.between.cut.lock().expect("no panic"), all);
    assert_eq!(*link.between.delivered.lock().expect("no panic"), all);
}

/// Changes the first answer that has pages.
struct Liar<F>(F);

impl<F: Fn(&mut Pulled) + Send + Sync + 'static> Between for Liar<F> {
    fn answer(&self, _: StreamRequest, mut reply: StreamReply) -> Result<StreamReply, StreamLinkFault> {
        if let StreamReply::Pulled(pulled) = &mut reply
            && !pulled.pages.is_empty()
        {
            (self.0)(pulled);
        }
        Ok(reply)
    }
}

async fn fault_of_a_lie(lie: impl Fn(&mut Pulled) + Send + Sync + 'static) -> &'static str {
    let (rig, stream) = (Rig::new().await, ring(descriptor(Integrity::Plain), 64));
    append(&stream, 6);
    let _offer = rig.offer(&stream);
    let options = RemoteOptions { window_pages: 4, ..RemoteOptions::default() };
    let remote = open(between(&rig, Liar(lie)), stream.descriptor(), options);
    let fault = read(remote.as_ref(), 0, 6).await.expect_err("it lies");
    assert_eq!(remote.state().tail, 0, "something of it was seen");
    assert_eq!(remote.fault().map(|fault| fault.code()), Some(fault.code()));
    fault.code()
}

#[tokio::test]
async fn nothing_of_a_lying_origin_is_seen() {
    let hash = |pulled: &mut Pulled| pulled.pages[2].payload = Bytes::from(vec![9; PAGE_BYTES]);
    assert_eq!(fault_of_a_lie(hash).await, "E-202");
    assert_eq!(fault_of_a_lie(|pulled| pulled.pages[1].head.position = 7).await, "E-202");
    assert_eq!(fault_of_a_lie(|pulled| pulled.pages.push(page(4, &payload(4)))).await, "E-202", "not asked for");
    assert_eq!(fault_of_a_lie(|pulled| pulled.root = Digest([7; 32])).await, "E-210");
    assert_eq!(fault_of_a_lie(|pulled| pulled.pages[0].head.layer = 5).await, "E-210");
    assert_eq!(fault_of_a_lie(|pulled| pulled.stream = StreamId(Digest::ZERO)).await, "E-209");
    assert_eq!(fault_of_a_lie(|pulled| pulled.state.tail = 1).await, "E-209");
}

#[tokio::test]
async fn another_stream_than_the_one_that_was_read_before_is_refused() {
    let (rig, stream) = (Rig::new().await, ring(descriptor(Integrity::Plain), 64));
    append(&stream, 6);
    let _offer = rig.offer(&stream);
    let root = Accumulator::from_peaks(4, vec![Digest([7; 32])]).expect("one peak").root();
    let options = RemoteOptions { root: Some(root), ..RemoteOptions::default() };
    let remote = RemoteStream::open(rig.link(), A, stream.descriptor().clone(), Cursor(4), options);
    let remote = remote.expect("it has hashes");
    assert_eq!(remote.connected().await.expect_err("it has another past").code(), "E-209");
    let beyond = RemoteStream::open(rig.link(), A, stream.descriptor().clone(), Cursor(7), RemoteOptions::default());
    let fault = beyond.expect("it has hashes").connected().await.expect_err("there are six pages");
    assert!(matches!(fault, StreamFault::BeyondTail { position: 7, tail: 6 }), "{fault}");
}

#[tokio::test]
async fn a_node_that_is_not_named_learns_no_more_than_that_there_is_nothing() {
    let (rig, stream) = (Rig::new().await, ring(descriptor(Integrity::Plain), 64));
    append(&stream, 6);
    let _offer = rig.exports.offer(stream.clone(), Readers::nodes([NodeId::new(7)])).expect("it has hashes");
    let pull = |stream| {
        let pull =
            Pull { stream, cursor: 0, pages_max: 9, bytes_max: 999, wait_ms: 0, trim_below: Some(3), peaks: true };
        StreamRequest::Pull(pull)
    };
    let (link, id) = (rig.link(), stream.descriptor().id());
    let trim = |stream| StreamRequest::Trim(Trim { stream, below: 3 });
    for request in [pull(id), pull(StreamId(Digest::ZERO)), trim(id), trim(StreamId(Digest::ZERO))] {
        let reply = link.ask(A, request, PATIENCE).await.expect("it answers");
        assert!(matches!(reply, StreamReply::Refused(StreamRefusal::Unknown)), "{reply:?}");
    }
    assert_eq!(stream.state().earliest, 0);
    let options = RemoteOptions { patience: Duration::ZERO, ..RemoteOptions::default() };
    let fault = read(open(link, stream.descriptor(), options).as_ref(), 0, 6).await.expect_err("not for B");
    assert!(matches!(&fault, StreamFault::PeerGone { reason } if reason.contains("N-162")), "{fault}");
}

#[tokio::test]
async fn what_a_reader_trims_is_trimmed_at_the_origin_only_if_it_is_the_consumer() {
    let (rig, stream) = (Rig::new().await, ring(descriptor(Integrity::Plain), 64));
    append(&stream, 6);
    let _offer = rig.exports.offer(stream.clone(), Readers::nodes([B])).expect("it has hashes");
    let trim = StreamRequest::Trim(Trim { stream: stream.descriptor().id(), below: 3 });
    let reply = rig.link().ask(A, trim, PATIENCE).await.expect("it answers");
    assert!(matches!(reply, StreamReply::Trimmed) && stream.state().earliest == 0, "{reply:?}");
    let _offer = rig.offer(&stream);
    rig.link().ask(A, trim, PATIENCE).await.expect("it answers");
    assert_eq!(stream.state().earliest, 3);
}

/// Notes how far the reader ever asked.
#[derive(Default)]
struct Farthest(Mutex<u64>);

impl Between for Farthest {
    fn ask(&self, request: StreamRequest) -> StreamRequest {
        if let StreamRequest::Pull(pull) = request {
            let mut farthest = self.0.lock().expect("no panic");
            *farthest = farthest.max(pull.cursor + u64::from(pull.pages_max));
        }
        request
    }

    fn answer(&self, _: StreamRequest, reply: StreamReply) -> Result<StreamReply, StreamLinkFault> {
        Ok(reply)
    }
}

#[tokio::test]
async fn no_more_is_asked_for_than_the_reader_has_room_for() {
    let (rig, stream) = (Rig::new().await, ring(descriptor(Integrity::Plain), 64));
    append(&stream, 60);
    stream.close(0).expect("a ring closes");
    let _offer = rig.offer(&stream);
    let link = between(&rig, Farthest::default());
    let options = RemoteOptions { window_pages: 4, ..RemoteOptions::default() };
    let remote = open(link.clone(), stream.descriptor(), options);
    for position in 0..60 {
        assert_pages(&read(remote.as_ref(), position, position + 1).await.expect("it is honest"), position);
        let state = remote.state();
        assert!(state.tail - state.earliest <= 4, "{state:?}");
        assert!(*link.between.0.lock().expect("no panic") <= position + 4);
        remote.trim(position + 1).expect("it is here");
    }
    assert!(read(remote.as_ref(), 60, u64::MAX).await.expect("it is honest").is_empty());
    // As many bytes are room as pages are.
    let options = RemoteOptions { window_bytes: 3 * PAGE_BYTES, ..RemoteOptions::default() };
    let remote = open(rig.link(), stream.descriptor(), options);
    assert_pages(&read(remote.as_ref(), 0, 3).await.expect("it is honest"), 0);
    assert!(matches!(remote.next(Cursor(3)), Ok(Next::Blocked(_))));
}

#[tokio::test]
async fn a_full_origin_gets_room_from_what_the_reader_trims() {
    let (rig, stream) = (Rig::new().await, ring(descriptor(Integrity::Plain), 4));
    let _offer = rig.offer(&stream);
    let options = RemoteOptions { is_consumer: true, ..RemoteOptions::default() };
    let remote = open(rig.link(), stream.descriptor(), options);
    let writing = async {
        for position in 0..50 {
            let draft = Draft::bytes(PageKind::Token);
            while let Appended::Full(wake) =
                stream.append(0, Expect::At(position), &draft, &payload(position)).expect("it has hashes")
            {
                timeout(PATIENCE, stream.wait(wake)).await.expect("there will be room");
            }
        }
    };
    let reading = async {
        for position in 0..50 {
            assert_pages(&read(remote.as_ref(), position, position + 1).await.expect("it is honest"), position);
            remote.trim(position + 1).expect("it is here");
        }
    };
    tokio::join!(writing, reading);
    timeout(PATIENCE, stream.wait(Wake::Room(50))).await.expect("the last trim comes, too");
}

#[tokio::test]
async fn what_is_waited_for_ends_the_wait_if_it_holds_and_when_it_comes() {
    let (rig, stream) = (Rig::new().await, ring(descriptor(Integrity::Plain), 64));
    append(&stream, 2);
    let offer = rig.offer(&stream);
    let options = RemoteOptions { patience: Duration::ZERO, ..RemoteOptions::default() };
    let remote = open(rig.link(), stream.descriptor(), options);
    for wake in [Wake::Page(1), Wake::Page(0), Wake::Room(0)] {
        timeout(PATIENCE, remote.wait(wake)).await.expect("it holds or comes");
    }
    let waiting = [Wake::Page(2), Wake::Room(1)].map(|wake| {
        let remote = remote.clone();
        tokio::spawn(async move { remote.wait(wake).await })
    });
    tokio::task::yield_now().await;
    append(&stream, 1);
    remote.trim(1).expect("it is here");
    for waiting in waiting {
        timeout(PATIENCE, waiting).await.expect("it comes").expect("no panic");
    }
    // An end of any kind ends every wait.
    let waiting = remote.clone();
    let waiting = tokio::spawn(async move { waiting.wait(Wake::Page(9)).await });
    tokio::task::yield_now().await;
    drop(offer);
    timeout(PATIENCE, waiting).await.expect("it is withdrawn").expect("no panic");
    assert!(matches!(remote.next(Cursor(9)), Err(StreamFault::PeerGone { .. })));
    assert!(matches!(remote.next(Cursor(2)), Ok(Next::Item(..))), "what is here stays");
}

#[tokio::test]
async fn a_stream_that_is_offered_again_goes_on() {
    let (rig, stream) = (Rig::new().await, ring(descriptor(Integrity::Plain), 64));
    let remote = open(rig.link(), stream.descriptor(), RemoteOptions::default());
    append(&stream, 3);
    let offer = rig.offer(&stream);
    assert_pages(&read(remote.as_ref(), 0, 3).await.expect("it comes"), 0);
    drop(offer);
    append(&stream, 3);
    let _offer = rig.offer(&stream);
    assert_pages(&read(remote.as_ref(), 3, 6).await.expect("it comes"), 3);
}

#[tokio::test]
async fn a_later_offer_outlives_the_earlier_one() {
    let (rig, stream) = (Rig::new().await, ring(descriptor(Integrity::Plain), 64));
    let first = rig.offer(&stream);
    let _second = rig.offer(&stream);
    drop(first);
    append(&stream, 1);
    let remote = open(rig.link(), stream.descriptor(), RemoteOptions::default());
    assert_pages(&read(remote.as_ref(), 0, 1).await.expect("it is offered"), 0);
}

#[tokio::test]
async fn an_origin_that_restarts_is_read_on_from_the_cursor() {
    let stream = ring(descriptor(Integrity::Plain), 64);
    let Rig { exports, a, b } = Rig::new().await;
    append(&stream, 3);
    let _offer = exports.offer(stream.clone(), Readers::consumer(B)).expect("it has hashes");
    let remote = open(Arc::new(StreamPeers::new(b.clone())), stream.descriptor(), RemoteOptions::default());
    assert_pages(&read(remote.as_ref(), 0, 3).await.expect("it comes"), 0);
    let address = a.listen_address();
    a.stop().await;
    until_connected(&b, A, false).await;
    append(&stream, 3);
    let a = start(options(A, 1, address, B, 2, b.listen_address()), dispatch(&exports)).await;
    assert_pages(&read(remote.as_ref(), 3, 6).await.expect("it comes"), 3);
    a.stop().await;
}

#[tokio::test]
async fn an_origin_that_stays_away_ends_the_stream() {
    let stream = ring(descriptor(Integrity::Plain), 64);
    let b = start(options(B, 2, loopback(0), A, 1, nowhere()), Echo::default()).await;
    let patience = RemoteOptions { patience: Duration::from_millis(50), ..RemoteOptions::default() };
    let remote = open(Arc::new(StreamPeers::new(b)), stream.descriptor(), patience);
    let fault = read(remote.as_ref(), 0, 1).await.expect_err("nobody is there");
    assert!(matches!(fault, StreamFault::PeerGone { .. }), "{fault}");
}

#[tokio::test]
async fn of_a_stream_of_latest_pages_a_slow_reader_loses_the_oldest() {
    let latest = Descriptor { retention: Retention::Latest, ..descriptor(Integrity::Plain) };
    let (rig, stream) = (Rig::new().await, ring(latest, 8));
    append(&stream, 30);
    let _offer = rig.offer(&stream);
    let options = RemoteOptions { window_pages: 4, ..RemoteOptions::default() };
    let remote = open(rig.link(), stream.descriptor(), options);
    timeout(PATIENCE, remote.wait(Wake::Page(29))).await.expect("the latest comes");
    assert!(matches!(remote.next(Cursor(0)), Ok(Next::Gap { earliest: 26 })));
    assert_pages(&read(remote.as_ref(), 26, 30).await.expect("these are here"), 26);
    for at in 26..=30 {
        assert_eq!(remote.root(at).expect("it is here"), stream.root(at).expect("there"));
    }
    append(&stream, 1);
    assert_pages(&read(remote.as_ref(), 30, 31).await.expect("it comes"), 30);
}

#[tokio::test]
async fn a_node_has_no_more_requests_at_once_than_it_may() {
    let (exports, stream) = (StreamExports::default(), ring(descriptor(Integrity::Plain), 64));
    let _offer = exports.offer(stream.clone(), Readers::nodes([B, A])).expect("it has hashes");
    let pull = Pull {
        stream: stream.descriptor().id(),
        cursor: 0,
        pages_max: 1,
        bytes_max: 1,
        wait_ms: WAIT_MS_MAX,
        trim_below: None,
        peaks: false,
    };
    let body = wallet::codec::encode(&StreamRequest::Pull(pull));
    let ask = |from| {
        let (exports, body) = (exports.clone(), body.clone());
        async move { StreamReply::decode(Bytes::from(exports.handle(from, body).await)).expect("an answer") }
    };
    let mut waiting: Vec<_> = (0..STREAM_IN_FLIGHT_MAX).map(|_| Box::pin(ask(B))).collect();
    for waits in &mut waiting {
        assert!(futures::poll!(waits).is_pending());
    }
    let reply = ask(B).await;
    assert!(matches!(reply, StreamReply::Refused(StreamRefusal::Busy)), "{reply:?}");
    let mut other = Box::pin(ask(A));
    assert!(futures::poll!(&mut other).is_pending(), "the requests of one take nothing from another");
    let own = ring(Descriptor { owner: Digest([8; 32]), ..descriptor(Integrity::Plain) }, 64);
    let _own_offer = exports.offer(own.clone(), Readers::consumer(B)).expect("it has hashes");
    let trim = StreamRequest::Trim(Trim { stream: own.descriptor().id(), below: 0 });
    let trimmed = exports.handle(B, wallet::codec::encode(&trim)).await;
    let trimmed = StreamReply::decode(Bytes::from(trimmed)).expect("an answer");
    assert!(matches!(trimmed, StreamReply::Trimmed), "nor from its own of which it is the consumer: {trimmed:?}");
    append(&stream, 1);
    for waits in waiting {
        assert!(matches!(waits.await, StreamReply::Pulled(pulled) if pulled.pages.len() == 1));
    }
    assert!(matches!(ask(B).await, StreamReply::Pulled(_)));
}

#[tokio::test]
async fn what_is_no_request_is_refused() {
    let (a, _b) = pair(Echo::default(), dispatch(&StreamExports::default())).await;
    let reply = a.request(B, vec![2, 9, 9], PATIENCE).await.expect("it answers");
    let reply = StreamReply::decode(Bytes::from(reply)).expect("an answer");
    assert!(matches!(reply, StreamReply::Refused(StreamRefusal::Malformed)), "{reply:?}");
}

#[tokio::test]
async fn a_stream_without_hashes_does_not_leave_its_host() {
    let rig = Rig::new().await;
    let stream = ring(descriptor(Integrity::None), 4);
    let refused = rig.exports.offer(stream.clone(), Readers::consumer(B)).err().map(|fault| fault.code());
    assert_eq!(refused, Some("E-204"));
    let opened = RemoteStream::open(rig.link(), A, stream.descriptor().clone(), Cursor(0), RemoteOptions::default());
    assert_eq!(opened.err().map(|fault| fault.code()), Some("E-204"));
    rig.a.stop().await;
}
