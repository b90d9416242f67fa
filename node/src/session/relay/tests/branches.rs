//! Followers among holders that the test makes up, under a clock that the test moves.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard},
};

use bytes::Bytes;
use futures::StreamExt as _;
use gpu::stream::{Draft, Expect, PAYLOAD_BYTES_MAX, RingOptions, RingStream, StreamWriter as _};
use wallet::{codec, digest::Digest, page::PageKind};

use super::{super::*, *};
use crate::{
    network::{
        Handler as _, NetworkFault,
        stream::{Readers, STREAM_IN_FLIGHT_MAX, StreamExports, StreamOffer},
    },
    session::tokens::End,
};

const WALLET: WalletAddress = WalletAddress(Digest([1; 32]));
const FIRST: u32 = 5;
/// Where the followers are.
const ME: NodeId = NodeId::ZERO;

/// All nodes but this one, and what the ledger says.
#[derive(Default)]
struct World {
    nodes: Mutex<BTreeMap<u32, Node>>,
    record: Mutex<Option<NodeId>>,
    asked: Mutex<usize>,
}

#[derive(Clone)]
struct Node {
    exports: StreamExports,
    answer: Answer,
}

/// What a node says to those who ask to be let in.
#[derive(Clone)]
enum Answer {
    /// The truth about this stream.
    Of(TokenStream),
    /// Something else, whatever it offers.
    Made(SessionReply),
}

impl Holders for Arc<World> {
    fn me(&self) -> NodeId {
        ME
    }

    fn here(&self, _: WalletAddress) -> Option<TokenStream> {
        match self.nodes().get(&ME.get())?.answer.clone() {
            Answer::Of(tokens) => Some(tokens),
            Answer::Made(_) => None,
        }
    }

    fn of_record(&self, _: WalletAddress) -> Option<NodeId> {
        *self.record.lock().expect("nothing panics")
    }

    fn ask(&self, at: NodeId, _: TokensRequest) -> BoxFuture<'_, Result<SessionReply, PeerFault>> {
        *self.asked.lock().expect("nothing panics") += 1;
        let node = self.nodes().get(&at.get()).cloned();
        Box::pin(async move {
            let node = node.ok_or_else(|| silent(at))?;
            Ok(match node.answer {
                Answer::Of(tokens) => {
                    tokens.offer(&node.exports, ME).expect("it has hashes");
                    SessionReply::Tokens(tokens.stand())
                }
                Answer::Made(reply) => reply,
            })
        })
    }

    fn streams(&self) -> Arc<dyn StreamLink> {
        Arc::new(Streams(self.clone()))
    }
}

/// The way to their streams.
struct Streams(Arc<World>);

impl StreamLink for Streams {
    fn ask(
        &self,
        to: NodeId,
        request: StreamRequest,
        _: Duration,
    ) -> BoxFuture<'_, Result<StreamReply, StreamLinkFault>> {
        let node = self.0.nodes().get(&to.get()).cloned();
        Box::pin(async move {
            let node = node.ok_or_else(|| silent(to))?;
            let reply = node.exports.handle(ME, codec::encode(&request)).await;
            StreamReply::decode(Bytes::from(reply)).map_err(|reason| StreamLinkFault::Nonsense { from: to, reason })
        })
    }
}

fn silent(to: NodeId) -> NetworkFault {
    NetworkFault::Timeout { to, waited: Duration::ZERO }
}

impl World {
    fn nodes(&self) -> MutexGuard<'_, BTreeMap<u32, Node>> {
        self.nodes.lock().expect("nothing panics")
    }

    /// `node` has these tokens from now on, after a start of its own.
    fn serve(&self, node: u32, tokens: &TokenStream) {
        self.put(node, Answer::Of(tokens.clone()), StreamExports::default());
    }

    /// `node` had the session up to `position`, and says that `to` has it now.
    fn send_on(&self, node: u32, position: u32, to: u32) {
        let tokens = stream_to(position);
        tokens.end(Some(End::Moved(NodeId::new(to))));
        self.serve(node, &tokens);
    }

    fn put(&self, node: u32, answer: Answer, exports: StreamExports) {
        self.nodes().insert(node, Node { exports, answer });
    }

    fn is_of_record(&self, node: u32) {
        *self.record.lock().expect("nothing panics") = Some(NodeId::new(node));
    }

    fn asked(&self) -> usize {
        *self.asked.lock().expect("nothing panics")
    }

    fn follow(self: &Arc<Self>, at: u32, from: u32) -> impl Futures<Item = StreamItem> + Send + Unpin + use<> {
        let request = TokensRequest { wallet: WALLET, resume_secret: ResumeSecret([1; 32]) };
        let (from, at) = (TokenPosition::new(from), NodeId::new(at));
        Box::pin(Follower::new(self.clone(), request, from, at).into_stream())
    }
}

/// The tokens up to a position.
fn stream_to(to: u32) -> TokenStream {
    let tokens = TokenStream::new(WALLET, TokenPosition::new(FIRST));
    push(&tokens, FIRST..to);
    tokens
}

fn push(tokens: &TokenStream, positions: std::ops::Range<u32>) {
    for position in positions {
        tokens.push(&token(position)).expect("in order");
    }
}

fn token(position: u32) -> EmittedToken {
    EmittedToken { position: TokenPosition::new(position), id: position, text: format!("t{position}") }
}

/// The next item; none if it does not come in a time in which a lost session is given up.
async fn next(follower: &mut (impl Futures<Item = StreamItem> + Unpin)) -> Option<StreamItem> {
    tokio::time::timeout(LOST_AFTER * 3, follower.next()).await.ok().flatten()
}

fn is_broken(item: &Option<StreamItem>) -> bool {
    matches!(item, Some(StreamItem::Broken { .. }))
}

/// As often as somebody is asked until he is given up, with all that is asked at once.
fn asked_max() -> usize {
    (LOST_AFTER.as_millis() / AGAIN_AFTER_MAX.as_millis()) as usize * (SENT_ON_MAX as usize + 1) + 30
}

#[tokio::test(start_paused = true)]
async fn a_session_that_nobody_serves_is_given_up_after_a_while_and_not_before() {
    let world = Arc::new(World::default());
    let mut follower = world.follow(1, FIRST);
    let begun = Instant::now();
    assert!(is_broken(&next(&mut follower).await));
    assert!(begun.elapsed() > LOST_AFTER);
    assert!(world.asked() <= asked_max(), "{}", world.asked());

    // Long enough for nearly all of that time, twice.
    let mut follower = world.follow(1, FIRST);
    let away = LOST_AFTER * 3 / 4;
    let events = async {
        tokio::time::sleep(away).await;
        world.serve(1, &stream_to(FIRST));
        // It has no token in all this time, and is there.
        tokio::time::sleep(LOST_AFTER * 2).await;
        world.nodes().clear();
        tokio::time::sleep(away).await;
        world.serve(1, &stream_to(FIRST + 1));
    };
    let (item, ()) = tokio::join!(follower.next(), events);
    assert_eq!(item, Some(StreamItem::Token(token(FIRST))));
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_gives_no_token_where_it_should_is_asked_less_and_less_often_and_given_up() {
    let stand = |next| TokensReply { first: TokenPosition::new(FIRST), next: TokenPosition::new(next), end: None };
    let of_another = token(FIRST + 1).to_page();
    for (what, page, reply) in [
        ("bytes that are no token", Some((Draft::bytes(PageKind::Token), vec![7; 3])), SessionReply::Tokens(stand(6))),
        ("a token of another position", Some(of_another), SessionReply::Tokens(stand(6))),
        ("an end that it does not know of", None, SessionReply::Tokens(stand(FIRST))),
        ("another answer", None, SessionReply::Noted),
    ] {
        let world = Arc::new(World::default());
        let options = RingOptions { pages: 16, payload_bytes: PAYLOAD_BYTES_MAX };
        let ring = RingStream::new(tokens::descriptor(WALLET), options);
        match page {
            Some((draft, payload)) => drop(ring.append(0, Expect::At(0), &draft, &payload).expect("there is room")),
            None => drop(ring.close(0).expect("it is open")),
        }
        let exports = StreamExports::default();
        let _offer: StreamOffer = exports.offer(ring, Readers::nodes([ME])).expect("it has hashes");
        world.put(1, Answer::Made(reply), exports);
        assert!(is_broken(&next(&mut world.follow(1, FIRST)).await), "{what}");
        // Of an end it is asked twice.
        assert!((3..=2 * asked_max()).contains(&world.asked()), "{what}: {}", world.asked());
    }
}

#[tokio::test(start_paused = true)]
async fn nodes_that_send_a_client_round_are_given_up_and_the_holder_of_record_is_read() {
    for ring in [&[1, 2][..], &[1, 2, 3], &[1, 2, 3, 4]] {
        let world = Arc::new(World::default());
        for (at, node) in ring.iter().enumerate() {
            world.send_on(*node, FIRST, ring[(at + 1) % ring.len()]);
        }
        assert!(is_broken(&next(&mut world.follow(1, FIRST)).await), "{ring:?}");
        assert!(world.asked() <= 2 * asked_max(), "{ring:?}: {}", world.asked());

        world.serve(9, &stream_to(FIRST + 1));
        world.is_of_record(9);
        assert_eq!(next(&mut world.follow(1, FIRST)).await, Some(StreamItem::Token(token(FIRST))), "{ring:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_leaves_a_node_that_says_nothing_more_for_the_holder_of_record() {
    let world = Arc::new(World::default());
    world.serve(1, &stream_to(FIRST));
    world.is_of_record(1);
    let mut follower = world.follow(1, FIRST);
    assert_eq!(next(&mut follower).await, None, "it is the holder, and has no token");
    world.serve(2, &stream_to(FIRST + 1));
    world.is_of_record(2);
    assert_eq!(next(&mut follower).await, Some(StreamItem::Token(token(FIRST))));
}

#[tokio::test(start_paused = true)]
async fn a_client_is_sent_on_at_once_with_every_move_that_it_did_not_see() {
    let world = Arc::new(World::default());
    let both = stream_to(FIRST + 1);
    world.serve(1, &both);
    let mut follower = world.follow(1, FIRST);
    assert_eq!(next(&mut follower).await, Some(StreamItem::Token(token(FIRST))));
    both.end(Some(End::Moved(NodeId::new(2))));
    world.send_on(2, FIRST + 1, 3);
    let third = stream_to(FIRST + 2);
    world.serve(3, &third);
    let begun = Instant::now();
    assert_eq!(next(&mut follower).await, Some(StreamItem::Token(token(FIRST + 1))));
    assert!(begun.elapsed() < AGAIN_AFTER, "nothing is waited for");
    // With a token it is known again who serves.
    third.end(Some(End::Moved(NodeId::new(4))));
    world.send_on(4, FIRST + 2, 5);
    world.serve(5, &stream_to(FIRST + 3));
    assert_eq!(next(&mut follower).await, Some(StreamItem::Token(token(FIRST + 2))));
    assert!(begun.elapsed() < AGAIN_AFTER, "nor now");
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_is_behind_is_asked_again_until_it_has_the_token() {
    let world = Arc::new(World::default());
    let behind = stream_to(FIRST + 2);
    world.serve(1, &behind);
    let mut follower = world.follow(1, FIRST + 4);
    assert!(tokio::time::timeout(LOST_AFTER / 2, follower.next()).await.is_err());
    push(&behind, FIRST + 2..FIRST + 5);
    assert_eq!(next(&mut follower).await, Some(StreamItem::Token(token(FIRST + 4))));
}

#[tokio::test(start_paused = true)]
async fn a_reader_goes_on_where_it_was_after_its_holder_restarted_or_withdrew_its_stream() {
    let world = Arc::new(World::default());
    let served = stream_to(FIRST + 1);
    world.serve(1, &served);
    let mut follower = world.follow(1, FIRST);
    assert_eq!(next(&mut follower).await, Some(StreamItem::Token(token(FIRST))));
    // It left and came back.
    served.end(Some(End::Moved(NodeId::new(1))));
    served.end(None);
    push(&served, FIRST + 1..FIRST + 2);
    assert_eq!(next(&mut follower).await, Some(StreamItem::Token(token(FIRST + 1))));
    world.nodes().clear();
    let restarted = async {
        tokio::time::sleep(LOST_AFTER / 2).await;
        world.serve(1, &stream_to(FIRST + 3));
    };
    let (item, ()) = tokio::join!(next(&mut follower), restarted);
    assert_eq!(item, Some(StreamItem::Token(token(FIRST + 2))));
}

#[tokio::test(start_paused = true)]
async fn a_reader_of_a_node_that_has_its_hands_full_waits_for_its_turn() {
    let world = Arc::new(World::default());
    let served = stream_to(FIRST);
    world.serve(1, &served);
    let node = world.nodes()[&1].clone();
    served.offer(&node.exports, ME).expect("it has hashes");
    let pull = Pull {
        stream: tokens::descriptor(WALLET).id(),
        cursor: 0,
        pages_max: 1,
        bytes_max: u32::MAX,
        wait_ms: LOST_AFTER.as_millis() as u32 / 2,
        trim_below: None,
        peaks: true,
    };
    for _ in 0..STREAM_IN_FLIGHT_MAX {
        let (exports, pull) = (node.exports.clone(), codec::encode(&StreamRequest::Pull(pull)));
        tokio::spawn(async move { exports.handle(ME, pull).await });
    }
    tokio::task::yield_now().await;
    let mut follower = world.follow(1, FIRST);
    assert!(tokio::time::timeout(LOST_AFTER / 4, follower.next()).await.is_err());
    assert!(world.asked() > 2, "it was refused: {}", world.asked());
    push(&served, FIRST..FIRST + 1);
    assert_eq!(next(&mut follower).await, Some(StreamItem::Token(token(FIRST))));
}

#[tokio::test(start_paused = true)]
async fn what_this_node_has_is_read_here_and_the_rest_where_the_session_went() {
    let world = Arc::new(World::default());
    let here = stream_to(FIRST + 1);
    world.serve(ME.get(), &here);
    let mut follower = world.follow(ME.get(), FIRST);
    assert_eq!(next(&mut follower).await, Some(StreamItem::Token(token(FIRST))));
    assert_eq!(world.asked(), 0, "nobody else is asked");
    // On its way back before it is there again.
    here.end(Some(End::Moved(ME)));
    let back = async {
        tokio::time::sleep(LOST_AFTER / 2).await;
        here.end(None);
        push(&here, FIRST + 1..FIRST + 2);
        here.end(Some(End::Moved(NodeId::new(1))));
    };
    let (item, ()) = tokio::join!(next(&mut follower), back);
    assert_eq!(item, Some(StreamItem::Token(token(FIRST + 1))));
    world.serve(1, &stream_to(FIRST + 3));
    assert_eq!(next(&mut follower).await, Some(StreamItem::Token(token(FIRST + 2))));
}
