//! Over real sockets on loopback. Nothing here waits for a fixed time: each wait ends with an event.

use std::{
    net::Ipv4Addr,
    sync::atomic::{AtomicUsize, Ordering},
};

use tokio::{sync::Notify, task::JoinHandle};

use super::{
    message::{Dispatch, PeerMessage, SESSION_IN_FLIGHT_MAX, SessionPeers},
    *,
};

/// Long enough never to matter.
pub(super) const PATIENCE: Duration = Duration::from_secs(50);
pub(super) const A: NodeId = NodeId::new(0);
pub(super) const B: NodeId = NodeId::new(1);

/// Answers with the sender's id and the body.
#[derive(Clone, Default)]
pub(super) struct Echo {
    handled: Arc<AtomicUsize>,
}

impl Handler for Echo {
    async fn handle(&self, from: NodeId, body: Vec<u8>) -> Vec<u8> {
        self.handled.fetch_add(1, Ordering::Relaxed);
        [&[from.get() as u8], body.as_slice()].concat()
    }
}

fn key(of: u8) -> SecretKey {
    SecretKey::from_seed(&[of; 32])
}

pub(super) fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// Where nobody listens: the other side must dial.
pub(super) fn nowhere() -> SocketAddr {
    loopback(9)
}

pub(super) fn options(
    me: NodeId,
    my_key: u8,
    listen: SocketAddr,
    peer: NodeId,
    peer_key: u8,
    address: SocketAddr,
) -> Options {
    let peer = Peer { node: peer, key: key(peer_key).public_key(), address };
    Options { me, key: key(my_key), listen, peers: vec![peer] }
}

pub(super) async fn start<H: Handler>(options: Options, handler: H) -> PeerNetwork {
    PeerNetwork::start(options, handler).await.expect("loopback has a free port")
}

pub(super) async fn until_connected(network: &PeerNetwork, to: NodeId, wanted: bool) {
    let mut connected = network.connected();
    connected.wait_for(|nodes| nodes.contains(&to) == wanted).await.expect("the network runs");
}

/// A and B, connected; only B knows the other's address.
pub(super) async fn pair<H: Handler, I: Handler>(at_a: H, at_b: I) -> (PeerNetwork, PeerNetwork) {
    let a = start(options(A, 1, loopback(0), B, 2, nowhere()), at_a).await;
    let b = start(options(B, 2, loopback(0), A, 1, a.listen_address()), at_b).await;
    until_connected(&a, B, true).await;
    until_connected(&b, A, true).await;
    (a, b)
}

#[tokio::test]
async fn each_side_is_answered_and_known_by_its_key() {
    let (a, b) = pair(Echo::default(), Echo::default()).await;
    assert_eq!(b.request(A, b"to a".to_vec(), PATIENCE).await.expect("a answers"), b"\x01to a");
    assert_eq!(a.request(B, b"to b".to_vec(), PATIENCE).await.expect("b answers"), b"\x00to b");
}

#[tokio::test]
async fn a_key_that_genesis_does_not_name_is_refused_by_the_listener() {
    let echo = Echo::default();
    let a = start(options(A, 1, loopback(0), B, 2, nowhere()), echo.clone()).await;
    let stranger = start(options(B, 66, loopback(0), A, 1, a.listen_address()), Echo::default()).await;
    let fault = stranger.request(A, b"let me in".to_vec(), PATIENCE).await.expect_err("a stranger has no answer");
    assert!(matches!(fault, NetworkFault::Unreachable { .. } | NetworkFault::Broken { .. }), "{fault}");
    // The node with the genesis key comes in by the same door, and only its request was handled.
    let b = start(options(B, 2, loopback(0), A, 1, a.listen_address()), Echo::default()).await;
    until_connected(&b, A, true).await;
    assert_eq!(b.request(A, Vec::new(), PATIENCE).await.expect("a answers"), [1]);
    assert_eq!(echo.handled.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_listener_with_another_key_than_genesis_names_is_not_talked_to() {
    let echo = Echo::default();
    let impostor = start(options(B, 66, loopback(0), A, 1, nowhere()), echo.clone()).await;
    let a = start(options(A, 1, loopback(0), B, 2, impostor.listen_address()), Echo::default()).await;
    // The first attempt has a body to send; it must end without an answer.
    let fault = a.request(B, b"secret".to_vec(), PATIENCE).await.expect_err("it is not b");
    assert!(fault.retry(), "{fault}");
    assert_eq!(echo.handled.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn who_speaks_with_another_key_is_let_in_where_that_key_is_named_and_still_listens() {
    let echo = Echo::default();
    let (a, b) = pair(Echo::default(), echo.clone()).await;
    b.speak_as(key(3)).await;
    until_connected(&a, B, false).await;
    let fault = b.request(A, Vec::new(), PATIENCE).await.expect_err("nobody named that key yet");
    assert!(fault.retry(), "{fault}");
    // B cannot reach A's new place, so A dials.
    let renamed = Peer { node: B, key: key(3).public_key(), address: b.listen_address() };
    a.set_peers(vec![renamed]).await;
    until_connected(&a, B, true).await;
    assert_eq!(a.request(B, b"to b".to_vec(), PATIENCE).await.expect("it listens"), b"\x00to b");
    until_connected(&b, A, true).await;
    assert_eq!(b.request(A, b"to a".to_vec(), PATIENCE).await.expect("a answers"), b"\x01to a");
}

#[tokio::test]
async fn who_listens_everywhere_does_so_with_another_key_too() {
    let everywhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    let b = start(options(B, 2, everywhere, A, 1, nowhere()), Echo::default()).await;
    b.speak_as(key(3)).await;
    let not_the_first = (Ipv4Addr::new(127, 0, 0, 2), b.listen_address().port()).into();
    let a = start(options(A, 1, loopback(0), B, 3, not_the_first), Echo::default()).await;
    until_connected(&a, B, true).await;
}

#[tokio::test]
async fn only_a_peer_that_said_something_was_heard() {
    let (a, b) = pair(Echo::default(), Echo::default()).await;
    let begun = Instant::now();
    assert_eq!(a.heard_since(begun).await, BTreeSet::new());
    b.request(A, Vec::new(), PATIENCE).await.expect("a answers");
    assert_eq!(a.heard_since(begun).await, [B].into());
    assert_eq!(b.heard_since(begun).await, [A].into());
    assert_eq!(a.heard_since(Instant::now()).await, BTreeSet::new());
}

#[tokio::test]
async fn a_peer_that_was_removed_is_disconnected_and_let_in_no_more() {
    let echo = Echo::default();
    let (a, b) = pair(echo.clone(), Echo::default()).await;
    b.request(A, Vec::new(), PATIENCE).await.expect("it is a peer");
    a.set_peers(Vec::new()).await;
    until_connected(&b, A, false).await;
    let fault = b.request(A, Vec::new(), PATIENCE).await.expect_err("it is no peer any more");
    assert!(fault.retry(), "{fault}");
    let fault = a.request(B, Vec::new(), PATIENCE).await.expect_err("nor is it asked");
    assert!(matches!(fault, NetworkFault::NotAPeer { .. }), "{fault}");
    assert_eq!(echo.handled.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_peer_whose_key_was_rotated_comes_in_with_the_new_key_and_not_with_the_old_one() {
    let (a, old) = pair(Echo::default(), Echo::default()).await;
    let peer = Peer { node: B, key: key(3).public_key(), address: nowhere() };
    a.set_peers(vec![peer]).await;
    until_connected(&old, A, false).await;
    let fault = old.request(A, Vec::new(), PATIENCE).await.expect_err("the old key opens nothing");
    assert!(fault.retry(), "{fault}");
    let new = start(options(B, 3, loopback(0), A, 1, a.listen_address()), Echo::default()).await;
    until_connected(&new, A, true).await;
    assert_eq!(new.request(A, Vec::new(), PATIENCE).await.expect("a answers"), [1]);
    until_connected(&a, B, true).await;
    assert_eq!(a.request(B, Vec::new(), PATIENCE).await.expect("b answers"), [0]);
}

#[tokio::test]
async fn who_joins_is_dialled_and_who_stays_keeps_its_connection() {
    let a = start(Options { me: A, key: key(1), listen: loopback(0), peers: Vec::new() }, Echo::default()).await;
    let b = start(options(B, 2, loopback(0), A, 1, nowhere()), Echo::default()).await;
    let peer = Peer { node: B, key: key(2).public_key(), address: b.listen_address() };
    a.set_peers(vec![peer]).await;
    until_connected(&a, B, true).await;
    let mut connected = a.connected();
    connected.borrow_and_update();
    a.set_peers(vec![peer]).await;
    assert_eq!(a.request(B, Vec::new(), PATIENCE).await.expect("b answers"), [0]);
    assert!(!connected.has_changed().expect("the network runs"), "nothing changed, so nothing broke");
}

#[tokio::test]
async fn an_address_in_use_is_refused() {
    let taken = std::net::TcpListener::bind(loopback(0)).expect("a free port");
    let address = taken.local_addr().expect("bound");
    let fault = PeerNetwork::start(options(A, 1, address, B, 2, nowhere()), Echo::default()).await;
    assert_eq!(fault.expect_err("somebody listens there").code(), "N-141");
}

#[tokio::test]
async fn a_request_to_nobody_or_to_oneself_is_refused() {
    let a = start(options(A, 1, loopback(0), B, 2, nowhere()), Echo::default()).await;
    for to in [A, NodeId::new(7)] {
        let fault = a.request(to, Vec::new(), PATIENCE).await.expect_err("not a peer");
        assert!(matches!(fault, NetworkFault::NotAPeer { .. }), "{fault}");
    }
}

#[tokio::test]
async fn a_request_beyond_the_frame_is_refused_and_the_largest_frame_goes_through() {
    let (a, _b) = pair(Echo::default(), Echo::default()).await;
    let fault = a.request(B, vec![0; BODY_BYTES_MAX + 1], PATIENCE).await.expect_err("too large");
    assert!(matches!(fault, NetworkFault::TooLarge { .. }), "{fault}");
    let answer = a.request(B, vec![0; BODY_BYTES_MAX - 1], PATIENCE).await.expect("b answers");
    assert_eq!(answer.len(), BODY_BYTES_MAX);
}

/// Answers with the largest body there is.
struct Large;

impl Handler for Large {
    async fn handle(&self, _: NodeId, _: Vec<u8>) -> Vec<u8> {
        vec![7; BODY_BYTES_MAX + 1]
    }
}

#[tokio::test]
async fn an_answer_beyond_the_frame_breaks_its_stream_and_not_the_connection() {
    let (a, b) = pair(Echo::default(), Large).await;
    let fault = a.request(B, Vec::new(), PATIENCE).await.expect_err("the answer cannot be sent");
    assert!(matches!(fault, NetworkFault::Broken { .. }), "{fault}");
    assert_eq!(b.request(A, Vec::new(), PATIENCE).await.expect("a answers"), [1]);
}

#[tokio::test]
async fn after_a_restart_the_peer_is_found_again() {
    let (a, b) = pair(Echo::default(), Echo::default()).await;
    let address = b.listen_address();
    b.stop().await;
    until_connected(&a, B, false).await;
    // The restarted peer dials.
    let b = start(options(B, 2, address, A, 1, a.listen_address()), Echo::default()).await;
    until_connected(&a, B, true).await;
    assert_eq!(a.request(B, Vec::new(), PATIENCE).await.expect("b answers"), [0]);
    // The restarted peer is dialled.
    let address = a.listen_address();
    a.stop().await;
    until_connected(&b, A, false).await;
    let a = start(options(A, 1, address, B, 2, nowhere()), Echo::default()).await;
    until_connected(&a, B, true).await;
    assert_eq!(a.request(B, Vec::new(), PATIENCE).await.expect("b answers"), [0]);
}

#[tokio::test]
async fn sixty_four_requests_at_once_each_get_their_own_answer() {
    let (a, b) = pair(Echo::default(), Echo::default()).await;
    let requests = (0..64_u8).map(|i| {
        let (from, to, expected) = if i % 2 == 0 { (&a, B, [0, i]) } else { (&b, A, [1, i]) };
        async move { assert_eq!(from.request(to, vec![i], PATIENCE).await.expect("answered"), expected) }
    });
    futures::future::join_all(requests).await;
}

async fn connection(from: &PeerNetwork, to: NodeId) -> Arc<Connection> {
    routes::reach(from.route_to(to).expect("a peer")).await.expect("connected")
}

#[tokio::test]
async fn requests_one_after_the_other_share_a_substream_and_a_large_one_is_not_kept() {
    let (a, _b) = pair(Echo::default(), Echo::default()).await;
    let connection = connection(&a, B).await;
    for body in [vec![1], Vec::new(), vec![2; 10_000]] {
        a.request(B, body, PATIENCE).await.expect("b answers");
        assert_eq!(connection.idle_count(), 1);
    }
    a.request(B, vec![3; 1 << 20], PATIENCE).await.expect("b answers");
    assert_eq!(connection.idle_count(), 0);
}

/// Reports each request that it is given. Holds an empty one until told to go on; answers any other with as many bytes
/// as its first byte says, in MiB.
struct Gate {
    entered: mpsc::UnboundedSender<()>,
    go_on: Arc<Notify>,
}

fn gate() -> (Gate, mpsc::UnboundedReceiver<()>, Arc<Notify>) {
    let (sender, entered) = mpsc::unbounded_channel();
    let go_on = Arc::new(Notify::new());
    (Gate { entered: sender, go_on: Arc::clone(&go_on) }, entered, go_on)
}

impl Handler for Gate {
    async fn handle(&self, _: NodeId, body: Vec<u8>) -> Vec<u8> {
        self.entered.send(()).expect("the test waits for it");
        let Some(mebibytes) = body.first() else {
            self.go_on.notified().await;
            return Vec::new();
        };
        vec![0; usize::from(*mebibytes) << 20]
    }
}

fn spawn_request(from: &PeerNetwork, to: NodeId, body: Vec<u8>) -> JoinHandle<Result<Vec<u8>, NetworkFault>> {
    let from = from.clone();
    tokio::spawn(async move { from.request(to, body, PATIENCE).await })
}

#[tokio::test]
async fn neither_a_slow_handler_nor_large_answers_hold_up_small_ones() {
    let (gate, mut entered, go_on) = gate();
    let (a, _b) = pair(Echo::default(), gate).await;
    let slow = spawn_request(&a, B, Vec::new());
    let large = [(); 4].map(|()| spawn_request(&a, B, vec![31]));
    for _ in 0..5 {
        entered.recv().await.expect("all five reach the handler");
    }
    assert_eq!(a.request(B, vec![0], PATIENCE).await.expect("b answers"), b"");
    assert!(large.iter().any(|request| !request.is_finished()), "the small answer waited for 124 MiB");
    assert!(!slow.is_finished(), "nobody let the slow handler go on");
    go_on.notify_one();
    assert_eq!(slow.await.expect("no panic").expect("b answers"), b"");
    for request in large {
        assert_eq!(request.await.expect("no panic").expect("b answers").len(), 31 << 20);
    }
}

#[tokio::test]
async fn a_request_that_its_caller_gave_up_is_answered_and_its_substream_is_of_use_again() {
    let (gate, mut entered, go_on) = gate();
    let (a, _b) = pair(Echo::default(), gate).await;
    let fault = a.request(B, Vec::new(), Duration::from_millis(10)).await.expect_err("the handler waits");
    assert!(matches!(fault, NetworkFault::Timeout { .. }), "{fault}");
    entered.recv().await.expect("it reaches the handler");
    go_on.notify_one();
    let connection = connection(&a, B).await;
    while connection.idle_count() == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(a.request(B, vec![0], PATIENCE).await.expect("b answers"), b"");
    assert_eq!(connection.idle_count(), 1);
}

#[tokio::test]
async fn requests_beyond_the_bound_of_a_peer_wait_for_those_before_them() {
    let (gate, mut entered, go_on) = gate();
    let (a, _b) = pair(Echo::default(), gate).await;
    // Past the slots of a node that keeps its own bound.
    let connection = connection(&a, B).await;
    let asked: Vec<_> = (0..=IN_FLIGHT_MAX)
        .map(|_| {
            let connection = Arc::clone(&connection);
            tokio::spawn(async move { connection.exchange(&[]).await })
        })
        .collect();
    for _ in 0..IN_FLIGHT_MAX {
        entered.recv().await.expect("as many as may reach the handler");
    }
    assert!(entered.try_recv().is_err(), "one request more than may be handled at once was");
    for asked in asked {
        while !asked.is_finished() {
            go_on.notify_one();
            tokio::task::yield_now().await;
        }
        assert_eq!(asked.await.expect("no panic").expect("answered in the end"), b"");
    }
    entered.recv().await.expect("it reached the handler, too");
}

#[tokio::test]
async fn a_request_that_was_dropped_holds_its_slot_until_the_peer_is_done_with_it() {
    let (gate, mut entered, go_on) = gate();
    let (a, _b) = pair(Echo::default(), gate).await;
    let slots = a.slots.of(B);
    let mut asked = Box::pin(a.request(B, Vec::new(), PATIENCE));
    tokio::select! {
        _ = &mut asked => panic!("the handler waits"),
        _ = entered.recv() => {}
    }
    drop(asked);
    assert_eq!(slots.available_permits(), IN_FLIGHT_MAX - 1);
    go_on.notify_one();
    while slots.available_permits() < IN_FLIGHT_MAX {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn requests_in_flight_end_when_the_network_stops() {
    let (gate, mut entered, _) = gate();
    let (a, b) = pair(Echo::default(), gate).await;
    let waiting = spawn_request(&a, B, Vec::new());
    entered.recv().await.expect("it reaches the handler");
    a.stop().await;
    let fault = waiting.await.expect("no panic").expect_err("nobody answered");
    assert!(matches!(fault, NetworkFault::Stopped), "{fault}");
    until_connected(&b, A, false).await;
}

#[tokio::test]
async fn session_requests_leave_room_for_the_ledger() {
    let (session, mut entered, _) = gate();
    let dispatch = Dispatch { ledger: Echo::default(), session, stream: Echo::default() };
    let (a, _b) = pair(Echo::default(), dispatch).await;
    let peers = SessionPeers::new(a.clone());
    for _ in 0..=SESSION_IN_FLIGHT_MAX {
        let peers = peers.clone();
        tokio::spawn(async move { peers.request(B, Vec::new(), PATIENCE).await });
    }
    for _ in 0..SESSION_IN_FLIGHT_MAX {
        entered.recv().await.expect("as many as may reach the handler");
    }
    let answer = a.request(B, PeerMessage::Ledger(vec![7]).into_bytes(), PATIENCE).await.expect("there is room");
    assert_eq!(answer, [0, 7]);
    assert!(entered.try_recv().is_err(), "one poll more than may wait reached the handler");
}

#[test]
fn options_print_no_key() {
    let seed = wallet::digest::to_hex(&[1; 32]);
    let printed = format!("{:?}", options(A, 1, loopback(0), B, 2, nowhere()));
    assert!(!printed.contains(&seed) && !printed.contains("1, 1, 1"), "{printed}");
}
